"""Answers to messages in fragments, and their joining where nothing is stored: `try` and the cases of a channel.

HL7 v2.5.1 section 2.10.2.2; hl7.md item 66. Every fragment has an accept acknowledgment for its own MSH-10. The answer
to the whole message follows that to the last fragment, and names the first fragment's MSH-10. A sender in original mode
knows one answer only: AA for each fragment that is kept, and the whole message's in place of the last one's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from engine.config.fragments import Continuation
from engine.hl7.ack import Decision, answers, application_code, build_ack, is_enhanced
from engine.hl7.fragments import Assembly, Bounds, Fragment, Misplaced, OpenSet, join_fragments, read_fragment
from engine.hl7.message import Message
from engine.model.finding import Finding
from engine.pipeline.answer import BETWEEN, NOTHING, Answer, AnswerSettings, decide
from engine.pipeline.run import Result

UNKNOWN: Final = "E261"
_CODES: Final[Mapping[str, tuple[str, str]]] = {
    "unknown": (UNKNOWN, "204"),
    "fit": ("E262", "207"),
    "too much": ("E263", "207"),
}


def bounds_of(settings: Continuation) -> Bounds:
    """The channel's bounds, as the joiner needs them."""
    return Bounds(settings.most_fragments, settings.max_message, settings.unfinished)


def misplaced(why: Misplaced) -> Finding:
    """Of a fragment that is refused or, with `unknown: hold`, kept for a person."""
    code, hl7_code = _CODES[why.kind]
    return Finding(code, "error", why.reason, "MSH-14" if why.kind == "unknown" else "", hl7_code)


def incomplete(count: int, timeout_s: float) -> Finding:
    """Of what came of a message before its sender fell silent."""
    came = "1 fragment" if count == 1 else f"{count} fragments"
    text = f"{came} of this message came, and the next did not within {timeout_s:g} s; released, it goes on as it is"
    return Finding("E260", "error", text, "DSC-1", "207")


def superseded(count: int) -> Finding:
    """Of what came of a message before its sender used the same continuation pointer for another."""
    came = "1 fragment" if count == 1 else f"{count} fragments"
    text = f"{came} of this message came, and then another message with the same continuation pointer"
    return Finding("E260", "error", text, "DSC-1", "207")


def joined_from(count: int) -> Finding:
    """Of a message that was joined."""
    return Finding("I260", "information", f"joined from {count} fragments")


def answer_fragment(
    message: Message, settings: AnswerSettings, now: datetime, next_id: Callable[[], str], *, is_last: bool
) -> Answer:
    """What the sender of one fragment is told once it is on stable storage: that we have it."""
    codes = _accept_codes(message, settings)
    if not codes or (is_last and codes[0] == "AA"):  # the whole message's answer stands for the latter
        return NOTHING
    return Answer(codes[0], build_ack(message, codes[0], now=now, control_id=next_id(), own=settings.own))


def answer_whole(
    last: Message,
    accepted: Answer,
    joined: Message,
    result: Result,
    settings: AnswerSettings,
    now: datetime,
    next_id: Callable[[], str],
    *,
    names_last: bool = False,
) -> Answer:
    """All that the last fragment is answered: `accepted`, as `answer_fragment` gave it, and the whole message's answer.

    The header of the first fragment, which `joined` has, says whether that is wanted. `names_last`: its MSA-2 is the
    last fragment's MSH-10, for senders that look at nothing else.
    """
    decision, errors = decide(result, settings)
    code = _application(joined, decision, settings)
    if not code:
        return accepted
    is_apart = settings.app_ack == "connect-back" and _is_enhanced(joined, settings)
    payload = build_ack(
        last if names_last else joined,
        code,
        errors=errors,
        now=now,
        control_id=next_id(),
        own=settings.own,
        accept_when=settings.accept_ack if is_apart else "NE",
    )
    if is_apart:
        return Answer(accepted.code or code, accepted.payload, payload)
    return Answer(code, BETWEEN.join([accepted.payload, payload]) if accepted.payload else payload)


def settled(joined: Message, result: Result, settings: AnswerSettings) -> Result:
    """What becomes of the whole message: a rejection that its sender is not told of holds it for a person.

    Its fragments were accepted, so a sender that wants to hear no more (MSH-16) has let go of it.
    """
    if result.state != "rejected" or _application(joined, decide(result, settings)[0], settings):
        return result
    return replace(result, state="held")


def _application(joined: Message, decision: Decision, settings: AnswerSettings) -> str:
    if settings.app_ack == "none" and _is_enhanced(joined, settings):
        return ""
    return application_code(joined, decision, settings.mode)


def _accept_codes(message: Message, settings: AnswerSettings) -> list[str]:
    """CA where the sender asked for it, AA in original mode, nothing where it asked for nothing."""
    codes = answers(message, "accept", "", settings.mode)
    return [code for code in codes if code == "CA"] if _is_enhanced(message, settings) else codes


def _is_enhanced(message: Message, settings: AnswerSettings) -> bool:
    return settings.mode == "enhanced" or (settings.mode == "auto" and is_enhanced(message))


# -- without a store --------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Waits:
    """A fragment that was taken, and whose message is not complete: `number` of them are here."""

    number: int


@dataclass(slots=True, frozen=True)
class Whole:
    """The last fragment was taken: the message they make."""

    raw: bytes
    parts: Sequence[Message]


class Joining:
    """Joins fragments as a running channel does, in memory."""

    def __init__(self, settings: Continuation) -> None:
        self._assembly: Assembly[Message] = Assembly(bounds_of(settings))

    @property
    def unfinished(self) -> list[OpenSet[Message]]:
        """Messages that are not complete."""
        return self._assembly.open_sets

    def expects(self, message: Message) -> bool:
        """Whether an unfinished message goes on with this fragment, whatever its type is said to be."""
        fragment = read_fragment(message)
        return fragment is not None and self._assembly.expects(_sender(message), fragment.pointer) is not None

    def take(self, message: Message) -> Waits | Whole | Finding | None:
        """Put it where it belongs; None: it is no fragment. A finding: it has no place."""
        fragment = read_fragment(message)
        return None if fragment is None else self._take(message, fragment)

    def _take(self, message: Message, fragment: Fragment) -> Waits | Whole | Finding:
        sender = _sender(message)
        try:
            found = self._assembly.place(sender, fragment)
        except Misplaced as why:
            return misplaced(why)
        rival = self._assembly.rival(sender, fragment, found)
        if rival is not None:
            self._assembly.drop(rival)
        found = self._assembly.add(sender, found, fragment, message, 0.0)
        return Whole(join_fragments(found.parts), found.parts) if found.is_complete else Waits(len(found.parts))


def _sender(message: Message) -> str:
    """MSH-3 and MSH-4."""
    header = [*message.fields(0), "", "", "", ""]
    return f"{header[3]}|{header[4]}"
