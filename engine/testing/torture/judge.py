"""The verdict on a peer: what came back against what a row allows."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

from engine.testing.torture.row import Due, Outcome, Row, Said, Send

Verdict = Literal[
    "standard",
    "tolerated",
    "lost",
    "merged",
    "accepted",
    "refused",
    "misdirected",
    "unasked",
    "disordered",
    "outside",
    "closed",
    "silent",
]

MEANINGS: dict[Verdict, str] = {
    "standard": "as the standard says",
    "tolerated": "not quite, but no message comes to harm",
    "lost": "a message has no answer, while a later one on its connection has: its sender may think it arrived",
    "merged": "two messages were taken for one, and that was accepted",
    "accepted": "a positive answer to what must not be accepted",
    "refused": "a good message was refused; it will be sent again, or given up",
    "misdirected": "an answer to a control id that nobody sent",
    "unasked": "an answer that the message did not ask for, or one too many",
    "disordered": "the right answers, in another order than the messages",
    "outside": "bytes came back outside an MLLP block, or a block that holds no answer",
    "closed": "the connection was closed without an answer; its sender cannot get past this message",
    "silent": "no answer came within the time-out",
}
assert set(MEANINGS) == set(get_args(Verdict))

GOOD: frozenset[Verdict] = frozenset({"standard", "tolerated"})

POSITIVE = ("AA", "CA")


@dataclass(slots=True, frozen=True)
class Got:
    """All that came back in one row. `closed`: by the peer, before we were done. `stray`: what else came, in words."""

    said: tuple[Said, ...] = ()
    closed: bool = False
    stray: str = ""


@dataclass(slots=True, frozen=True)
class Judged:
    """The verdict on one row, and in a few words why."""

    verdict: Verdict
    why: str = ""

    @property
    def is_good(self) -> bool:
        return self.verdict in GOOD


def judge(row: Row, got: Got) -> Judged:
    """The best verdict that one of the row's outcomes allows."""
    if got.stray:
        return Judged("outside", got.stray)
    near: Judged | None = None
    for outcome in row.outcomes:
        if not _fits(outcome, got):
            continue
        why = _details(outcome, got)
        if not why and outcome.is_standard:
            return Judged("standard")
        near = near or Judged("tolerated", why or in_words(got))
    return near or _wrong(row, got)


def _fits(outcome: Outcome, got: Got) -> bool:
    """Whether these are the outcome's answers, in its order."""
    if len(got.said) != len(outcome.answers):
        return False
    if not outcome.answers and got.closed != outcome.closes:
        return False
    return all(said.fits(due) for said, due in zip(got.said, outcome.answers, strict=True))


def _details(outcome: Outcome, got: Got) -> str:
    if got.closed != outcome.closes:
        return "it closed the connection" if got.closed else "it did not close the connection"
    for said, due in zip(got.said, outcome.answers, strict=True):
        if why := said.lacks(due):
            return why
    return ""


def in_words(got: Got) -> str:
    """What came back, without values."""
    codes = ", ".join(said.code or "?" for said in got.said)
    if got.closed:
        return f"answered {codes} and closed" if codes else "closed without an answer"
    return f"answered {codes}" if codes else "did not answer"


def _wrong(row: Row, got: Got) -> Judged:
    """What is wrong, the worst first; measured by the row's first outcome."""
    due = row.outcomes[0].answers
    wanted = {one.control_id for one in due}
    good = {one.control_id for outcome in row.outcomes for one in outcome.answers if one.code in POSITIVE}
    accepted = [one.control_id for one in got.said if one.code in POSITIVE]
    missing = wanted - {one.control_id for one in got.said}
    count = f"{len(missing)} of {len(wanted)} without an answer"
    may_be_silent = any(not outcome.answers and not outcome.closes for outcome in row.outcomes)
    if not (row.stored and may_be_silent) and any(one not in good and (one in wanted or not due) for one in accepted):
        return Judged("accepted", in_words(got))
    if missing and accepted and row.joins:
        return Judged("merged", count)
    if not got.said and not due:
        return Judged("tolerated", in_words(got))
    wire = b"".join([step.data for step in row.steps if isinstance(step, Send)])
    if any(not one.control_id or one.control_id not in wire for one in got.said):
        return Judged("misdirected", in_words(got))
    if missing and got.said and not got.closed and _is_passed_over(due, got.said, missing):
        return Judged("lost", count)
    if missing:
        return Judged("closed" if got.closed else "silent", count)
    if Counter((one.code, one.control_id) for one in got.said) == Counter((one.code, one.control_id) for one in due):
        return Judged("disordered", in_words(got))
    if any(one.code not in POSITIVE and one.control_id in good for one in got.said):
        return Judged("refused", in_words(got))
    return Judged("unasked", in_words(got))


def _is_passed_over(due: tuple[Due, ...], said: tuple[Said, ...], missing: set[bytes]) -> bool:
    """Whether a message that stands behind an unanswered one was answered."""
    answered = {one.control_id for one in said}
    order = list(dict.fromkeys(one.control_id for one in due))
    first = min(order.index(one) for one in missing)
    return any(one in answered for one in order[first + 1 :])
