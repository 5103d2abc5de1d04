"""How much room a text takes on the map, by what its letters are on the whole: SVG breaks no lines and cuts nothing."""

import unicodedata
from typing import Final

NARROW: Final = frozenset("iIjlt.,:;|!'`()[]/\\ -f")
WIDE: Final = frozenset("mwMW@%&")
BREAKS: Final = frozenset("-_./ :|")
"""A line may end behind these."""


def width_of(text: str) -> float:
    """In letters as they are on the whole."""
    return sum(_width(letter) for letter in text)


def _width(letter: str) -> float:
    if letter in NARROW:
        return 0.75
    if letter in WIDE:
        return 1.5
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.9
    return 1.2 if letter.isupper() or letter in "…" else 1.0


def cut(text: str, most: float) -> str:
    """To so many letters, with an ellipsis where something is left out."""
    return text if width_of(text) <= most else _fitting(text, most - 1) + "…"


def lines_of(text: str, most: float) -> list[str]:
    """In at most two lines. Of a text that takes more, the middle is left out: names of one site begin alike."""
    if width_of(text) <= most:
        return [text]
    first = _fitting(text, most)
    at = max((at + 1 for at, letter in enumerate(first) if letter in BREAKS), default=0)
    if at > len(first) / 2:
        first = first[:at]
    rest = text[len(first) :]
    if width_of(rest) > most:
        rest = "…" + _fitting(rest[::-1], most - 1)[::-1]
    return [first, rest]


def _fitting(text: str, most: float) -> str:
    """The beginning of it that does."""
    used = 0.0
    for at, letter in enumerate(text):
        used += _width(letter)
        if used > most:
            return text[:at]
    return text
