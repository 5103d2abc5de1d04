"""What the fault rigs found, told at the end of a run: one line a rig, with its figures.

A rig that cannot run says so by name, and is counted: `needs()` skips with "R2: ..." and the ledger lists it.
"""

from collections.abc import Mapping
from typing import Any, Final, NoReturn

import pytest

PROPERTY: Final = "segmill-ledger"


class Ledger:
    """Where a test writes its rig's line."""

    def __init__(self, properties: list[tuple[str, Any]]) -> None:
        self._properties = properties

    def write(self, rig: str, what: str, **figures: int | float | str) -> None:
        """`rig`: its id in reliability.md section 5, such as `R2`; `what`: a few words; then the figures by name."""
        self._properties.append((PROPERTY, {"rig": rig, "what": what, "figures": dict(figures)}))


def needs(rig: str, there: bool, what: str) -> None:
    """Skip by name where this machine lacks what the rig needs."""
    if not there:
        cannot(rig, what)


def cannot(rig: str, why: str) -> NoReturn:
    """The rig cannot run here."""
    pytest.skip(f"{rig}: {why}")


def lines(passed: Mapping[str, list[Any]]) -> list[str]:
    """The ledger of a finished run, from pytest's reports by outcome."""
    rows: list[tuple[str, str]] = []
    for outcome in ("passed", "failed"):
        for report in passed.get(outcome, []):
            for name, value in report.user_properties:
                if name == PROPERTY:
                    figures = ", ".join(f"{_words(key)} {_number(figure)}" for key, figure in value["figures"].items())
                    mark = "" if outcome == "passed" else "  FAILED"
                    rows.append((value["rig"], f"{value['what']}: {figures}{mark}"))
    for report in passed.get("skipped", []):
        if "faults" in report.nodeid or "simulation" in report.nodeid:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            rows.append(("-", f"skipped: {reason.removeprefix('Skipped: ')} ({report.nodeid.rsplit('::', 1)[-1]})"))
    return [f"{rig:<4} {text}" for rig, text in sorted(rows, key=_order)]


def _order(row: tuple[str, str]) -> tuple[int, int, str]:
    rig, text = row
    digits = "".join(c for c in rig if c.isdigit())
    return (0 if rig != "-" else 1, int(digits) if digits else 999, rig + text)


def _words(key: str) -> str:
    return key.replace("_", " ")


def _number(figure: int | float | str) -> str:
    if isinstance(figure, bool) or not isinstance(figure, int | float):
        return str(figure)
    return f"{figure:,}" if isinstance(figure, int) else f"{figure:,.2f}"
