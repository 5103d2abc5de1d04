"""What `send --torture` and `listen --torture` do: the rows of the torture table against somebody else's peer."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import click

from engine.adapters.mllp_connection import Target
from engine.cli.command import misuse
from engine.cli.exits import FINDINGS, GOOD, UNREACHABLE, Failure
from engine.cli.output import count, emit, printable, say, styled
from engine.cli.words import why
from engine.testing.torture.judge import GOOD as GOOD_VERDICTS
from engine.testing.torture.judge import MEANINGS, Got, Judged, in_words
from engine.testing.torture.row import Due, Row
from engine.testing.torture.rows import ROWS
from engine.testing.torture.run import Receiver, run_rows
from engine.testing.torture.senders import SENDER_MEANINGS, SENDER_ROWS, SenderRow, SenderVerdict, Then

QUIET_S: Final = 0.5
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def show_rows() -> None:
    """Every row, with the items of the conformance table and what is sent."""
    for row in ROWS:
        items = ", ".join(map(str, row.items))
        click.echo(f"  {row.name:<30} {items:<16} {row.about}")


def chosen(names: Sequence[str]) -> list[Row]:
    """The rows of those names, all without one. Raises a misuse."""
    known = {row.name for row in ROWS}
    for name in names:
        if name not in known:
            raise misuse(f"--only {name}: no such row; --only help lists them")
    return [row for row in ROWS if not names or row.name in names]


def torture(target: Target, rows: Sequence[Row], *, as_json: bool) -> int:
    """Run the rows against a receiver; the command's exit code."""
    receiver = Receiver(
        target.host,
        target.port,
        target.tls,
        target.server_name,
        target.ack_timeout_s,
        min(QUIET_S, target.ack_timeout_s),
    )
    try:
        told = asyncio.run(_torture(receiver, rows, as_json=as_json))
    except OSError as exc:
        raise Failure(UNREACHABLE, f"no connection to {target.host}:{target.port}: {why(exc) or 'no answer'}") from None
    verdicts = Counter(one["verdict"] for one in told)
    if as_json:
        emit({"to": f"{target.host}:{target.port}", "verdicts": dict(verdicts), "rows": told})
    else:
        _sum_up(verdicts, MEANINGS)
    return GOOD if set(verdicts) <= GOOD_VERDICTS else FINDINGS


async def _torture(receiver: Receiver, rows: Sequence[Row], *, as_json: bool) -> list[dict[str, Any]]:
    # A run's own mark in every control id: the messages of another run would be resends to a receiver that knows them.
    tag = "".join(secrets.choice(_ALPHABET) for _ in range(5)).encode()
    told = []
    async for row, got, judged in run_rows(rows, receiver, tag):
        told.append(_as_json(row, got, judged))
        if not as_json:
            click.echo(_line(row.name, judged.verdict, judged.is_good, _came_back(row, got, judged)))
    return told


def _line(name: str, verdict: str, is_good: bool, text: str) -> str:
    shown = styled(f"{verdict:<12}", fg="green" if is_good else "red")
    return f"{name:<30} {shown} {text}".rstrip()


def _came_back(row: Row, got: Got, judged: Judged) -> str:
    """What came back; of what is not as the standard says, what was expected too."""
    if judged.verdict == "standard":
        return in_words(got)
    wanted = [_due(due) for due in row.outcomes[0].answers]
    expected = f"{', '.join(wanted) or 'no answer'}{' and an end of the connection' if row.outcomes[0].closes else ''}"
    found = in_words(got)
    return f"{found}{f' ({judged.why})' if judged.why not in ('', found) else ''}; expected {expected}"


def _due(due: Due) -> str:
    return f"{due.code} {due.error}".rstrip()


def _as_json(row: Row, got: Got, judged: Judged) -> dict[str, Any]:
    return {
        "row": row.name,
        "items": list(row.items),
        "about": row.about,
        "verdict": judged.verdict,
        "why": judged.why,
        "answers": [
            {
                "code": printable(said.code),
                "control_id": printable(said.control_id.decode("utf-8", "backslashreplace")),
                "errors": [printable(code) for code, _ in said.errors],
            }
            for said in got.said
        ],
        "closed": got.closed,
        "expected": [
            {"code": due.code, "control_id": due.control_id.decode("utf-8", "backslashreplace"), "error": due.error}
            for due in row.outcomes[0].answers
        ],
    }


def _sum_up(verdicts: Counter[str], meanings: dict[Any, str]) -> None:
    say("")
    for verdict, meaning in meanings.items():
        if verdicts[verdict]:
            click.echo(f"{verdicts[verdict]:>5} {verdict:<12} {meaning}")


# -- the other direction --------------------------------------------------------------------------


def show_sender_rows() -> None:
    """Every way to answer that a sender is put through."""
    for row in SENDER_ROWS:
        click.echo(f"  {row.kind:<12} {row.about}; the sender {row.then}")


class SenderVerdicts:
    """Collects and prints what a sender under torture did."""

    def __init__(self, *, as_json: bool) -> None:
        self.counts: Counter[str] = Counter()
        self._as_json = as_json

    def judged(self, row: SenderRow, did: Then, verdict: SenderVerdict) -> None:
        """One row is decided."""
        self.counts[verdict] += 1
        if self._as_json:
            emit({"row": row.kind, "about": row.about, "verdict": verdict, "did": did, "expected": row.then})
            return
        text = f"it {did}" if did == row.then else f"it {did}; expected: {row.then}"
        click.echo(_line(row.kind, verdict, verdict in GOOD_VERDICTS, text))

    def end(self) -> int:
        """The summary; the command's exit code."""
        if not self._as_json:
            _sum_up(self.counts, SENDER_MEANINGS)
        missing = len(SENDER_ROWS) - self.counts.total()
        if missing:
            say(f"{count(missing, 'row')} not reached: the sender sent no more")
        # Stopped half-way, it says nothing of the rest; stopped before it began, it was only tried out.
        return FINDINGS if (missing and self.counts) or set(self.counts) - GOOD_VERDICTS else GOOD
