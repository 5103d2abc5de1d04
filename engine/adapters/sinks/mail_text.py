"""Texts for people, with places of the message in braces: `Result {MSH-10} of {channel}`.

{PID-5.1}                         a value of the message, by any HL7 path, unescaped
{seq}                             the number of the message in order of receipt
{channel} {destination}           as they are called
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from engine.config.finding import BadValue
from engine.hl7.errors import PathError
from engine.hl7.message import Message
from engine.hl7.path import compile_path
from engine.model.envelope import Delivery

MOST_VALUE: Final = 1000
_HARMLESS: Final = frozenset({"MSH", "EVN", "MSA"})

Part = Callable[[Message | None, Delivery], str]

_WORDS: Final[dict[str, Part]] = {
    "seq": lambda _, delivery: str(delivery.seq),
    "channel": lambda _, delivery: str(delivery.channel),
    "destination": lambda _, delivery: str(delivery.destination),
}


@dataclass(slots=True, frozen=True)
class TextTemplate:
    """A compiled text. `segments`: those it takes values of."""

    parts: tuple[Part | str, ...]
    segments: frozenset[str]

    @property
    def patient_segments(self) -> list[str]:
        """Segments in it that can hold data of a patient: all but the headers."""
        return sorted(self.segments - _HARMLESS)

    def text(self, message: Message | None, delivery: Delivery) -> str:
        """The text for one delivery; `message` may be None where no segment is named."""
        return "".join(part if isinstance(part, str) else part(message, delivery) for part in self.parts)


def compile_text(text: str) -> TextTemplate:
    """Read a template. Raises BadValue with the place of the mistake."""
    parts: list[Part | str] = []
    segments: set[str] = set()
    at = 0
    for found in re.finditer(r"\{([^{}]*)\}", text):
        parts.append(_literal(text[at : found.start()], at))
        inside = found.group(1)
        if inside in _WORDS:
            parts.append(_WORDS[inside])
        else:
            part, segment = _value(inside, found.start(1))
            parts.append(part)
            segments.add(segment)
        at = found.end()
    parts.append(_literal(text[at:], at))
    return TextTemplate(tuple(part for part in parts if part != ""), frozenset(segments))


def _literal(text: str, at: int) -> str:
    if stray := re.search(r"[{}]", text):
        raise BadValue("has a brace without its other", "places stand in braces: {MSH-10}", offset=at + stray.start())
    return text


def _value(text: str, at: int) -> tuple[Part, str]:
    try:
        path = compile_path(text)
        if path.field is None:
            raise PathError("a whole segment cannot stand in a text", 0)
        get = path.getter()
    except PathError as error:
        hint = "in braces: an HL7 path, seq, channel or destination"
        raise BadValue(error.message, hint, offset=at + error.column) from error

    def part(message: Message | None, _: Delivery) -> str:
        assert message is not None, "segments says so"
        value = (get(message) or "")[:MOST_VALUE]
        return "".join(c if c.isprintable() else " " for c in value)

    return part, path.segment
