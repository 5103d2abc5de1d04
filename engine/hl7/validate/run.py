"""One message's validation in progress: what the checks see, and what they have found so far."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from engine.hl7.message import Message
from engine.hl7.profile import Usage, UsageCode
from engine.hl7.validate.rules import Breach

T = TypeVar("T")


class Found(NamedTuple):
    """A breach at a place: `segment` is an index in the message, the others count from 1, 0 for none.

    `missing` names a segment that is not there; `segment` is then where it would stand.
    """

    breach: Breach
    segment: int
    field: int = 0
    repetition: int = 0
    component: int = 0
    subcomponent: int = 0
    missing: str = ""


class Run:
    """`at` and `fields` are the segment that is looked at. Past `limit`, what is found is only counted."""

    __slots__ = (
        "at",
        "component",
        "escape",
        "fields",
        "found",
        "left_out",
        "limit",
        "marks",
        "message",
        "repetition",
        "subcomponent",
    )

    def __init__(self, message: Message, limit: int) -> None:
        delimiters = message.delimiters
        self.message = message
        self.limit = limit
        self.found: list[Found] = []
        self.left_out: dict[Breach, int] = {}
        self.at = 0
        self.fields: list[str] = []
        self.repetition = delimiters.cut_repetition
        self.component = delimiters.cut_component
        self.subcomponent = delimiters.cut_subcomponent
        self.escape = delimiters.cut_escape
        self.marks = self.repetition + self.component + self.subcomponent + " "

    def add(
        self,
        breach: Breach | None,
        field: int = 0,
        repetition: int = 0,
        component: int = 0,
        subcomponent: int = 0,
    ) -> None:
        """Note a breach in the segment at hand. None: the rule is off."""
        if breach is not None:
            self.note(Found(breach, self.at, field, repetition, component, subcomponent))

    def note(self, found: Found) -> None:
        """Note a breach anywhere."""
        if len(self.found) < self.limit:
            self.found.append(found)
        else:
            self.left_out[found.breach] = self.left_out.get(found.breach, 0) + 1

    def usage_of(self, usage: Usage) -> UsageCode:
        """A conditional usage in this message, with the segment at hand in focus."""
        return self.focused(usage.of)

    def focused(self, ask: Callable[[Message], T]) -> T:
        """What `ask` says of the message while the segment at hand is in focus."""
        message, before = self.message, self.message.focus
        message.focus = self.at
        try:
            return ask(message)
        finally:
            message.focus = before

    def is_plain(self, text: str) -> bool:
        """Whether a text has neither repetitions nor components nor subcomponents."""
        return text.isalnum() or not (self.component in text or self.repetition in text or self.subcomponent in text)

    def is_empty(self, text: str) -> bool:
        """Whether a text has no value: nothing, the delete marker, or delimiters and blanks (hl7.md item 46)."""
        return not text or text == '""' or not text.strip(self.marks)
