"""As much of a message as a page shows: the whole of most, and of a large one its beginning."""

from dataclasses import dataclass
from typing import Final

from engine.hl7.convert import form_of
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message

MOST_BYTES: Final = 64 * 1024


@dataclass(slots=True, frozen=True)
class Excerpt:
    """`raw`: what is shown, `size` the length of all of it. `message` None: these bytes are no HL7, for `reason`.

    `is_cut`: there is more behind it; `is_in_segment`: it ends within a segment.
    """

    raw: bytes
    size: int
    message: Message | None
    reason: str = ""
    is_cut: bool = False
    is_in_segment: bool = False
    form: str = "hl7"


def excerpt(raw: bytes, fallback: str = "cp1252", most: int = MOST_BYTES) -> Excerpt:
    """Never raises for what the bytes are."""
    shown, is_in_segment = raw, False
    if len(raw) > most:
        end = raw.rfind(b"\r", 0, most)
        is_in_segment = end < 0 or end < most // 2
        # A segment that alone is longer than what is shown ends within it, but not within a character of UTF-8.
        shown = _whole_characters(raw[:most]) if is_in_segment else raw[: end + 1]
    is_cut = len(shown) < len(raw)
    form = form_of(shown)
    if form != "hl7":
        return Excerpt(
            shown, len(raw), None, f"it is {form.upper()} and not HL7's own form", is_cut, is_in_segment, form
        )
    try:
        message = Message.parse(shown, fallback=fallback)
    except UnreadableMessage as error:
        return Excerpt(shown, len(raw), None, error.reason, is_cut, is_in_segment, "unreadable")
    return Excerpt(shown, len(raw), message, "", is_cut, is_in_segment)


def _whole_characters(raw: bytes) -> bytes:
    """Without the beginning of a character at the end, as UTF-8 has them."""
    for back in range(1, min(4, len(raw)) + 1):
        byte = raw[-back]
        if byte < 0x80:
            return raw
        if byte >= 0xC0:
            needs = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return raw if back >= needs else raw[:-back]
    return raw
