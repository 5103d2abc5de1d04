"""What the sender of a message is told, once its channel has decided and before anything is stored.

AA or CA: we hold it durably, or wanted it and need nothing of it (filtered). AE or CE: its content breaks
a rule, one ERR for each finding. AR or CR: not for us. A held message is ours, so AA, unless the site wants
its sender to stop (DESIGN section 4; hl7.md items 16 to 22, 33 to 35). The answer may leave only after the commit.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from engine.config.channel import Ack
from engine.hl7.ack import AckError, Decision, Mode, answers, build_ack
from engine.hl7.message import Message
from engine.mllp.framing import END, VT
from engine.model.finding import Finding
from engine.pipeline.run import Result

MOST_ERRORS = 100
"""ERR segments in one answer; a message may break a rule in each of its thousands of segments."""

BETWEEN = END + VT
"""Two answers to one message (CA and AA) are two blocks: the end of one and the start of the next."""


@dataclass(slots=True, frozen=True)
class AnswerSettings:
    """How one channel answers. `own` stands in for an empty MSH-5 and MSH-6 of the message."""

    mode: Mode = "auto"
    when_held: Literal["AA", "AE"] = "AA"
    on_store_failure: Literal["AR", "AE", "close"] = "AR"
    own: tuple[str, str] = ("SEGMILL", "")

    @classmethod
    def of(cls, ack: Ack) -> "AnswerSettings":
        """As the channel's file says."""
        return cls(ack.mode, ack.when_held, ack.on_store_failure, (ack.identity.application, ack.identity.facility))


@dataclass(slots=True, frozen=True)
class Answer:
    """The answer's bytes, without the MLLP frame; b'' where none is due. `code` is the last one's MSA-1, or ''.

    Where two are due, `payload` holds both with `BETWEEN` between them.
    """

    code: str
    payload: bytes


NOTHING = Answer("", b"")


def answer_result(
    message: Message, result: Result, settings: AnswerSettings, now: datetime, next_id: Callable[[], str]
) -> Answer:
    """The answer to a message as it came, given what its channel decided. `next_id` gives MSH-10, one a call."""
    decision, errors = decide(result, settings)
    return _answer(message, decision, errors, settings, now, next_id)


def refuse(
    message: Message | None,
    findings: Iterable[Finding],
    decision: Decision,
    settings: AnswerSettings,
    now: datetime,
    next_id: Callable[[], str],
) -> Answer:
    """The answer to what no channel got to see. `message` None: nothing in it could be read."""
    return _answer(message, decision, _errors(findings), settings, now, next_id)


def decide(result: Result, settings: AnswerSettings) -> tuple[Decision, tuple[AckError, ...]]:
    """What is said, and the errors that go with it.

    A rejection is AR where its first error is of the codes 2xx of table 0357, AE for 1xx and others (item 35).
    """
    if result.state == "rejected":
        errors = _errors(result.findings)
        return ("reject" if errors and errors[0].hl7_code.startswith("2") else "error"), errors
    if result.state == "held" and settings.when_held == "AE":
        return "error", _errors(result.findings)
    return "accept", ()


def _errors(findings: Iterable[Finding]) -> tuple[AckError, ...]:
    """Findings as a sender is told of them: those that are errors."""
    told = [f for f in findings if f.severity == "error"][:MOST_ERRORS]
    return tuple(AckError(f.hl7_code, f.severity, f.location, f.text) for f in told)


def _answer(
    message: Message | None,
    decision: Decision,
    errors: Sequence[AckError],
    settings: AnswerSettings,
    now: datetime,
    next_id: Callable[[], str],
) -> Answer:
    codes = answers(message, decision, errors[0].hl7_code if errors else "", settings.mode)
    if len(codes) == 1:
        code = codes[0]
        payload = build_ack(message, code, errors=errors, now=now, control_id=next_id(), own=settings.own)
        return Answer(code, payload)
    if not codes:
        return NOTHING
    payloads = [
        build_ack(message, code, errors=errors, now=now, control_id=next_id(), own=settings.own) for code in codes
    ]
    return Answer(codes[-1], BETWEEN.join(payloads))
