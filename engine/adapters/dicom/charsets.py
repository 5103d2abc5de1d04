"""In which character set a modality is answered, and what becomes of a name that it does not have (dicom.md 1.5).

The request's own character set says how its keys are written, and nothing of the answer (PS3.4 C.2.2.2). A text that
does not fit is never answered with question marks: of a name only the alphabetic group is sent; what still does not fit
is written in plain letters.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydicom import charset as pydicom_charset
from pydicom.charset import convert_encodings, custom_encoders

UNICODE: Final = "ISO_IR 192"
TERMS: Final = (
    "ISO_IR 6",
    *(f"ISO_IR {number}" for number in (100, 101, 109, 110, 144, 127, 126, 138, 148, 13, 166)),
    UNICODE,
    "GB18030",
    "GBK",
    *(f"\\ISO 2022 IR {number}" for number in (87, 159, 149, 58)),
    "\\ISO 2022 IR 87\\ISO 2022 IR 159",
    "ISO 2022 IR 13\\ISO 2022 IR 87",
)
"""What `charset:` of a modality may be (PS3.3 section C.12.1.1.2)."""

# pydicom 3.0 takes the Chinese codec for one that writes its own escape sequence, as the Japanese ones do. It does not,
# and without ESC $ ) A a scanner reads Latin letters (PS3.5 annex K). There is no other door for that.
setattr(  # noqa: B010 - its type says three codecs
    pydicom_charset,
    "handled_encodings",
    tuple(codec for codec in pydicom_charset.handled_encodings if codec != "iso_ir_58"),
)

_LETTERS: Final = str.maketrans(
    {"ß": "ss", "Æ": "AE", "æ": "ae", "Ø": "O", "ø": "o", "Œ": "OE", "œ": "oe", "Ł": "L", "ł": "l", "Đ": "D", "đ": "d"}
    | {"Þ": "Th", "þ": "th", "ð": "d", "ı": "i", "’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "€": "EUR"}
)
_TRANSLITERATED: Final = "_"


@dataclass(slots=True, frozen=True)
class Charset:
    """One answer's character set. `terms`: Specific Character Set, () for ASCII alone; `codecs`: Python's names."""

    terms: tuple[str, ...]
    codecs: tuple[str, ...]

    def holds(self, text: str) -> bool:
        """Whether every character can be written."""
        return all(any(_holds(character, codec) for codec in self.codecs) for character in set(text))

    @property
    def is_written_here(self) -> bool:
        """JIS X 0201 alone: pydicom does not mix its two halves, Latin and katakana, though they are one 8-bit code."""
        return self.codecs == ("shift_jis",)

    def ready(self, texts: Sequence[str]) -> list[bytes]:
        """Texts that it holds, as bytes, where `is_written_here`."""
        return [text.encode("shift_jis") for text in texts]

    def fitted(self, text: str, *, is_name: bool) -> tuple[str, bool]:
        """The text as it can be written, and whether something of it was lost or rewritten."""
        if self.holds(text):
            return text, False
        if is_name:
            alphabetic = text.split("=", 1)[0]
            if alphabetic and self.holds(alphabetic):
                return alphabetic, True
            text = alphabetic or text.replace("=", "")
        return "".join(c if self.holds(c) else self._plain(c) for c in text), True

    def _plain(self, character: str) -> str:
        rewritten = character.translate(_LETTERS)
        if rewritten == character:
            parts = unicodedata.normalize("NFKD", character)
            rewritten = "".join(part for part in parts if not unicodedata.combining(part))
        return rewritten if rewritten and self.holds(rewritten) else _TRANSLITERATED


@lru_cache(64)
def charset_of(setting: str) -> Charset:
    r"""The charset of a setting such as `ISO_IR 100` or `\ISO 2022 IR 87`. Raises ValueError."""
    if setting not in TERMS:
        raise ValueError(f"'{setting}' is no character set of DICOM that can be written")
    terms = tuple(setting.split("\\"))
    codecs = tuple(convert_encodings(list(terms)))
    return Charset(() if setting == "ISO_IR 6" else terms, codecs)


@lru_cache(65536)
def _holds(character: str, codec: str) -> bool:
    # pydicom writes the default repertoire with a codec that takes Latin-1, and JIS X 0201 with one that takes Kanji.
    if codec == "iso8859":
        return character.isascii()
    # Python's ISO 2022 codecs know more sets than the one that a term of DICOM stands for; pydicom's encoders do not.
    own = custom_encoders.get(codec)
    try:
        encoded = own(character, errors="strict") if own is not None else character.encode(codec)
    except UnicodeError:
        return False
    return codec != "shift_jis" or len(encoded) == 1
