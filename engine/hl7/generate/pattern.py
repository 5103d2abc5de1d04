"""A text that a pattern matches, made from the pattern: RE2's own syntax, as channel files and profiles have it."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

_DIGITS: Final = "0123456789"
_UPPER: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTERS: Final = _UPPER + _UPPER.lower()
_ANY: Final = _UPPER + _DIGITS
_PRINTED: Final = tuple(chr(code) for code in range(32, 127))
_CLASSES: Final = {
    "d": _DIGITS, "w": _ANY + _UPPER.lower() + "_", "s": " ",
    "D": _UPPER, "W": " -", "S": _ANY,
}  # fmt: skip
_NAMED: Final = {
    "digit": _DIGITS, "alpha": _LETTERS, "alnum": _LETTERS + _DIGITS, "upper": _UPPER, "lower": _UPPER.lower(),
    "space": " ", "punct": "-.,", "xdigit": _DIGITS + "ABCDEF", "word": _LETTERS + _DIGITS + "_",
    "print": _ANY, "graph": _ANY, "blank": " ",
}  # fmt: skip
_MOST_MORE: Final = 3
"""What has no bound is repeated that many times more than it must be, at most."""

Sample = Callable[[Random], str]


class _NotKnown(Exception):
    """The pattern holds something that is not read here."""


def sample_of(pattern: str, is_match: Callable[[str], bool], chance: Random, tries: int = 20) -> str | None:
    """A text that the whole pattern matches, None where none was found; `is_match` has the last word."""
    try:
        make = _Reader(pattern).whole()
    except (_NotKnown, IndexError, ValueError):
        return None
    for _ in range(tries):
        text = make(chance)
        if is_match(text):
            return text
    return None


class _Reader:
    """Reads a pattern once, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> Sample:
        made = self._alternatives()
        if self._at < len(self._text):
            raise _NotKnown
        return made

    def _alternatives(self) -> Sample:
        ways = [self._sequence()]
        while self._take("|"):
            ways.append(self._sequence())
        return lambda chance: chance.choice(ways)(chance)

    def _sequence(self) -> Sample:
        parts: list[Sample] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._repeated(self._one()))
        return lambda chance: "".join(part(chance) for part in parts)

    def _one(self) -> Sample:
        character = self._text[self._at]
        self._at += 1
        match character:
            case "(":
                return self._group()
            case "[":
                return self._among(self._class())
            case ".":
                return self._among(_ANY)
            case "^" | "$":
                return lambda chance: ""
            case "\\":
                return self._escape()
            case _:
                return lambda chance: character

    def _group(self) -> Sample:
        if self._take("?"):
            named = self._take("P<") or self._take("<")
            end = self._text.index(">" if named else ":", self._at)
            if not named and self._text[self._at : end]:
                raise _NotKnown  # flags change how the rest is read
            self._at = end + 1
        made = self._alternatives()
        if not self._take(")"):
            raise _NotKnown
        return made

    def _escape(self) -> Sample:
        if self._take("Q"):
            end = self._text.find("\\E", self._at)
            literal = self._text[self._at :] if end < 0 else self._text[self._at : end]
            self._at = len(self._text) if end < 0 else end + 2
            return lambda chance: literal
        character = self._text[self._at]
        if character in "AzbB":
            self._at += 1
            return lambda chance: ""
        return self._among(self._escaped())

    def _escaped(self) -> str:
        character = self._text[self._at]
        self._at += 1
        if character in _CLASSES:
            return _CLASSES[character]
        if character == "x":
            if self._take("{"):
                end = self._text.index("}", self._at)
                code, self._at = self._text[self._at : end], end + 1
            else:
                code, self._at = self._text[self._at : self._at + 2], self._at + 2
            return chr(int(code, 16))
        if character.isalnum():
            raise _NotKnown
        return character

    def _class(self) -> Sequence[str]:
        is_negated = self._take("^")
        found: list[str] = []
        is_first = True
        while is_first or self._text[self._at] != "]":
            is_first = False
            if self._take("[:"):
                end = self._text.index(":]", self._at)
                found += _NAMED.get(self._text[self._at : end]) or self._unknown()
                self._at = end + 2
                continue
            start = self._member()
            if len(start) == 1 and self._text[self._at] == "-" and self._text[self._at + 1] != "]":
                self._at += 1
                found += _span(start, self._member())
            else:
                found += start
        self._at += 1
        if is_negated:
            return [character for character in _ANY if character not in found] or [
                character for character in _PRINTED if character not in found
            ]
        return found

    def _unknown(self) -> str:
        raise _NotKnown

    def _member(self) -> str:
        character = self._text[self._at]
        self._at += 1
        return self._escaped() if character == "\\" else character

    def _repeated(self, one: Sample) -> Sample:
        least, most = 1, 1
        if self._take("*"):
            least, most = 0, _MOST_MORE
        elif self._take("+"):
            least, most = 1, 1 + _MOST_MORE
        elif self._take("?"):
            least, most = 0, 1
        elif self._text[self._at : self._at + 1] == "{":
            end = self._text.index("}", self._at)
            first, comma, last = self._text[self._at + 1 : end].partition(",")
            self._at = end + 1
            least = int(first or 0)
            most = int(last) if last else least + _MOST_MORE if comma else least
        else:
            return one
        self._take("?")  # as few as possible: to what is matched it makes no difference
        return lambda chance: "".join(one(chance) for _ in range(chance.randint(least, most)))

    def _among(self, characters: Sequence[str]) -> Sample:
        if not characters:
            raise _NotKnown
        # Capitals and digits before all others, where there are any: they need no escape and are easy to read.
        plain = [character for character in characters if character in _ANY] or characters
        return lambda chance: chance.choice(plain)

    def _take(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True


def _span(first: str, last: str) -> list[str]:
    if len(last) != 1 or ord(last) - ord(first) > 0x3000:
        raise _NotKnown
    return [chr(code) for code in range(ord(first), ord(last) + 1)]
