r"""A message as a person types it: segments one a line, and back to bytes in the message's own character set.

What a text box of a browser would change on the way, or not show (a line feed within a segment, a control character, a
byte that is no character, a mark that turns the direction of writing) cannot be typed: such a message is not given out
as a text at all, rather than come back otherwise than it went.
"""

import re
from typing import Final

from engine.hl7.charset import declared_codecs
from engine.hl7.delimiters import HEADERS
from engine.hl7.errors import EditError, Hl7Error, UnencodableText, UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.output import encode_strictly

_NOT_TYPED: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""What a text box changes, and what nobody sees in it: control characters, and what turns the direction of writing."""
_LINE_END: Final = re.compile("\r\n|\r|\n")


class NotTyped(Hl7Error):
    """A message that no text box can hold as it is, or a text that is no message; the sentence holds no value."""

    def __init__(self, reason: str, location: str = "") -> None:
        super().__init__(f"{location}: {reason}" if location else reason)
        self.reason = reason
        self.location = location


def to_text(message: Message) -> str:
    """The segments, one a line, as they stand (escapes too). Raises NotTyped."""
    texts = [message.segment(index) for index in range(len(message))]
    for number, text in enumerate(texts, 1):
        if _NOT_TYPED.search(text):
            raise NotTyped(f"line {number} holds a byte or a character that a text box would change or not show")
    return "\n".join(texts)


def from_text(original: Message, text: str) -> bytes:
    """The bytes of a text that was typed, which began as `to_text` of `original`.

    In the original's character set, also where that was found by evidence; in another where MSH-18 was typed anew.
    Blank lines are left out. Raises NotTyped, with the place, for what cannot be written or is no message.
    """
    texts = [line for line in _LINE_END.split(text) if line.strip()]
    if not texts:
        raise NotTyped("there is nothing in it")
    for number, line in enumerate(texts, 1):
        if _NOT_TYPED.search(line):
            raise NotTyped(f"line {number} holds a character that a text box would change or not show")
    field = texts[0][3:4]
    if texts[0][:3] not in HEADERS or len(texts[0]) < 8:
        raise NotTyped("the first line must be a header: MSH, a field separator, and what follows")
    try:
        raw = encode_strictly(texts, None, _codec(original, texts[0], field), field)
        Message.parse(raw)
    except UnencodableText as error:
        raise NotTyped(error.reason, error.location) from None
    except UnreadableMessage as error:
        raise NotTyped(error.reason) from None
    return raw


def with_id(raw: bytes, control_id: str) -> bytes:
    """The same with this MSH-10. Raises NotTyped."""
    try:
        message = Message.parse(raw)
        message.set("MSH-10", control_id)
        return message.to_bytes()
    except EditError as error:
        raise NotTyped(error.reason, error.location) from None
    except UnreadableMessage as error:
        raise NotTyped(error.reason) from None


def _codec(original: Message, header: str, field: str) -> str:
    fields = header.split(field)
    declared = fields[17] if len(fields) > 17 else ""
    before = original.segment(0).split(original.delimiters.field)
    if declared == (before[17] if len(before) > 17 else ""):
        return original.codec
    repetition = original.delimiters.repetition or "~"
    candidates = declared_codecs(declared, repetition)
    if candidates is None:
        raise NotTyped("it names no character set that can be written", "MSH-18")
    return candidates[0] if candidates else "ascii"
