"""Texts of messages as a page may show them: what is hostile in them is made visible, and all of it is bounded.

A template writes the parts one after the other, escaped; marks stand in an element of their own. So control characters,
stray bytes and characters that turn the direction of writing are seen and do nothing.
"""

from dataclasses import dataclass
from typing import Final

from engine.hl7.charset import text_of

MASK: Final = "•••••"
"""In the place of a value, whatever its length: that, too, says something."""
MOST_CHARS: Final = 400
_NAMES: Final = {0x0B: "VT", 0x0D: "CR", 0x1C: "FS", 0x85: "NEL", 0xFEFF: "BOM", 0xFFFE: "BOM"}


@dataclass(slots=True, frozen=True)
class Part:
    """A run of characters; `mark`: it stands for characters that do not show, and is no text of the message."""

    text: str
    mark: bool = False


def parts(text: str, most: int = MOST_CHARS) -> tuple[Part, ...]:
    """`text` up to `most` characters, with marks for what does not show, and one for what was left out."""
    cut = len(text) - most
    if cut > 0:
        text = text[:most]
    found: list[Part] = []
    if text.isprintable():
        if text:
            found.append(Part(text))
    else:
        run = ""
        for char in text:
            if char.isprintable():
                run += char
                continue
            if run:
                found.append(Part(run))
                run = ""
            found.append(Part(mark_of(char), mark=True))
        if run:
            found.append(Part(run))
    if cut > 0:
        found.append(Part(f"… {cut:,} more", mark=True))
    return tuple(found)


def mark_of(char: str) -> str:
    """How a character that does not show is written: `CR`, `\\x1b`, `\\u202e`, and a stray byte as `\\xe4`."""
    code = ord(char)
    if code in _NAMES:
        return _NAMES[code]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def plain(text: str, most: int = MOST_CHARS) -> str:
    """The same as one text, for where marks cannot stand apart."""
    return "".join(part.text for part in parts(text, most))


def readable(raw: bytes, codec: str = "ascii") -> str:
    """Bytes that are no HL7 as text; what is none of `codec` becomes stray bytes, which `parts` marks."""
    return text_of(raw, codec)
