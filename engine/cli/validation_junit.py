"""A validation's report in the form that CI servers read: a test case a message.

The counts stand in the first line and are known last, so the test cases wait in a temporary file.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final
from xml.sax.saxutils import escape, quoteattr

from engine.cli.output import printable
from engine.cli.validation_report import Checked, Report, Told

IN_MEMORY_BYTES: Final = 4 * 1024 * 1024
MOST_LINES: Final = 100


class JUnit:
    """Takes messages as they come, and writes all of them at the end."""

    def __init__(self, spool: IO[str]) -> None:
        self._spool = spool
        self._count = self._failures = 0

    def add(self, checked: Checked) -> None:
        """One message: it failed where it has errors."""
        self._count += 1
        name = f"message {checked.file.number}" if checked.file.of > 1 else "message"
        case = f"<testcase classname={_quoted(checked.file.file)} name={_quoted(name)}"
        errors = [told for told in checked.told if told.level == "error"]
        rest = [told for told in checked.told if told.level != "error"]
        if not errors and not rest:
            self._spool.write(f"{case}/>\n")
            return
        self._spool.write(f"{case}>")
        if errors:
            self._failures += 1
            first = f"{errors[0].location}: {errors[0].text}" if errors[0].location else errors[0].text
            self._spool.write(f"<failure message={_quoted(first)} type={_quoted(errors[0].rule)}>")
            self._spool.write(f"{_lines(errors)}</failure>")
        if rest:
            self._spool.write(f"<system-out>{_lines(rest)}</system-out>")
        self._spool.write("</testcase>\n")

    def write(self, report: Report, out: IO[str]) -> None:
        """The document."""
        counts = f'tests="{self._count}" failures="{self._failures}"'
        out.write(f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites {counts}>\n')
        out.write(f"<testsuite name={_quoted(f'segmill validate, {report.profile}')} {counts}>\n")
        self._spool.seek(0)
        shutil.copyfileobj(self._spool, out)
        out.write("</testsuite>\n</testsuites>\n")


@contextmanager
def spooled() -> Iterator[JUnit]:
    """A collector, with its temporary file until the end of the block."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, mode="w+", encoding="utf-8", newline="\n") as spool:
        yield JUnit(spool)


def _lines(told: list[Told]) -> str:
    lines = [_line(one) for one in told[:MOST_LINES]]
    if len(told) > MOST_LINES:
        lines.append(f"and {len(told) - MOST_LINES} more")
    return escape("\n".join(map(printable, lines)))


def _line(told: Told) -> str:
    span = f" bytes {told.start}-{told.end}" if told.end > told.start else ""
    return f"{told.level} {told.rule} {told.location}{span}: {told.text}"


def _quoted(text: str) -> str:
    return quoteattr(printable(text))
