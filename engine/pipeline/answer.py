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
from engine.hl7.ack import AckError, Decision, Mode, accept_code, answers, application_code, build_ack, is_enhanced
from engine.hl7.message import Message
from engine.mllp.framing import END, VT
from engine.model.envelope import DraftDelivery
from engine.model.finding import Finding
from engine.model.ids import DestinationName
from engine.pipeline.run import Result

MOST_ERRORS = 100
"""ERR segments in one answer; a message may break a rule in each of its thousands of segments."""

BETWEEN = END + VT
"""Two answers to one message (CA and AA) are two blocks: the end of one and the start of the next."""

NOBODY = DestinationName("")

APP_ACK = DestinationName("app_ack")
"""The lane of application acknowledgements that go over a connection of our own; no destination can be named so."""


@dataclass(slots=True, frozen=True)
class AnswerSettings:
    """How one channel answers. `own` stands in for an empty MSH-5 and MSH-6 of the message.

    `accept_ack`: MSH-15 of an application acknowledgement over a connection of our own. `waits_for`: the
    destination whose answer is the application's, '' for none.
    """

    mode: Mode = "auto"
    when_held: Literal["AA", "AE"] = "AA"
    on_store_failure: Literal["AR", "AE", "close"] = "AR"
    own: tuple[str, str] = ("SEGMILL", "")
    app_ack: Literal["same", "connect-back", "none"] = "same"
    accept_ack: Literal["AL", "NE"] = "AL"
    waits_for: DestinationName = NOBODY
    on_timeout: Literal["AE", "AR"] = "AE"
    is_plain: bool = True
    """Whether all that is said goes back at once and on the same connection, as nearly always."""

    @classmethod
    def of(cls, ack: Ack) -> "AnswerSettings":
        """As the channel's file says."""
        return cls(
            ack.mode,
            ack.when_held,
            ack.on_store_failure,
            (ack.identity.application, ack.identity.facility),
            ack.app_ack,
            ack.connect_back.accept_ack if ack.connect_back is not None else "AL",
            ack.when.destination,
            ack.on_timeout,
            is_plain=ack.app_ack == "same" and not ack.when.destination,
        )


@dataclass(slots=True)
class Answer:
    """The answer's bytes, without the MLLP frame; b'' where none is due. `code` is the last one's MSA-1, or ''.

    Where two are due, `payload` holds both with `BETWEEN` between them. `apart`: the application acknowledgement
    that goes over a connection of our own, as a message of its own. `is_first`: the application's answer comes
    later, from a destination, and `payload` is the accept level alone.
    """

    code: str
    payload: bytes
    apart: bytes = b""
    is_first: bool = False

    @property
    def deliveries(self) -> tuple[DraftDelivery, ...]:
        """What goes out of it as a delivery."""
        return (DraftDelivery(APP_ACK, self.apart),) if self.apart else ()


NOTHING = Answer("", b"")


def answer_result(
    message: Message,
    result: Result,
    settings: AnswerSettings,
    now: datetime,
    next_id: Callable[[], str],
    sequence: int | None = None,
) -> Answer:
    """The answer to a message as it came, given what its channel decided. `next_id` gives MSH-10, one a call.

    `sequence` is MSA-4, where the message has a sequence number.
    """
    decision, errors = decide(result, settings)
    if settings.is_plain or not any(delivery.destination == settings.waits_for for delivery in result.deliveries):
        return _answer(message, decision, errors, settings, now, next_id, sequence)
    if not (application_code(message, "accept", settings.mode) or application_code(message, "error", settings.mode)):
        return _answer(message, decision, errors, settings, now, next_id, sequence)
    code = accept_code(message, "accept", "", settings.mode)
    payload = build_ack(message, code, now=now, control_id=next_id(), own=settings.own) if code else b""
    return Answer(code, payload, is_first=True)


def refuse(
    message: Message | None,
    findings: Iterable[Finding],
    decision: Decision,
    settings: AnswerSettings,
    now: datetime,
    next_id: Callable[[], str],
    sequence: int | None = None,
) -> Answer:
    """The answer to what no channel got to see. `message` None: nothing in it could be read."""
    return _answer(message, decision, _errors(findings), settings, now, next_id, sequence)


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
    sequence: int | None = None,
) -> Answer:
    codes = answers(message, decision, errors[0].hl7_code if errors else "", settings.mode)
    apart = ""
    if settings.app_ack != "same" and message is not None:
        codes, apart = _apart(message, codes, settings)
    elif len(codes) == 1:
        code = codes[0]
        payload = build_ack(
            message, code, errors=errors, now=now, control_id=next_id(), own=settings.own, sequence=sequence
        )
        return Answer(code, payload)
    elif not codes:
        return NOTHING
    payloads = [
        build_ack(message, code, errors=errors, now=now, control_id=next_id(), own=settings.own, sequence=sequence)
        for code in codes
    ]
    own_message = b""
    if apart:
        own_message = build_ack(
            message,
            apart,
            errors=errors,
            now=now,
            control_id=next_id(),
            own=settings.own,
            sequence=sequence,
            accept_when=settings.accept_ack,
        )
    return Answer(codes[-1] if codes else apart, BETWEEN.join(payloads), own_message)


def _apart(message: Message, codes: list[str], settings: AnswerSettings) -> tuple[list[str], str]:
    """What stays on the connection, and the application's code that goes over another; original mode stays.

    Only a sender that asked for it (MSH-15 or MSH-16 valued) speaks of two levels (hl7.md item 22).
    """
    if settings.mode != "enhanced" and not is_enhanced(message):
        return codes, ""
    application = [code for code in codes if code[0] == "A"]
    if settings.app_ack == "none" or not application:
        application = [""]
    return [code for code in codes if code[0] == "C"], application[0]
