"""In which character set a modality is answered, and what becomes of a name that it does not have (dicom.md 1.5).

The request's own character set says how its keys are written, and nothing of the answer (PS3.4 C.2.2.2). A text that
does not fit is never answered with question marks: of a name only the alphabetic group is sent; what still does not fit
is written in plain letters.
"""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydicom.charset import convert_encodings

UNICODE: Final = "ISO_IR 192"
TERMS: Final = (
    "ISO_IR 6",
    *(f"ISO_IR {number}" for number in (100, 101, 109, 110, 144, 127, 126, 138, 148, 13, 166)),
    UNICODE,
    "GB18030",
    "GBK",
    *(f"\\ISO 2022 IR {number}" for number in (87, 159, 149, 58)),
    "ISO 2022 IR 13\\ISO 2022 IR 87",
)
"""What `charset:` of a modality may be (PS3.3 section C.12.1.1.2)."""

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
    try:
        encoded = character.encode(codec)
    except UnicodeEncodeError:
        return False
    return codec != "shift_jis" or len(encoded) == 1
