"""The text form of paths: `PID-3[2].1.1`, `OBX[3]-5`, `PID-3[5 == "MR"].1`, `OBX[3.1 in ["a", "b"]]-5`, `NTE[*]`."""

import re
from typing import Literal, NamedTuple

from engine.hl7.delimiters import HEADERS
from engine.hl7.errors import PathError

_MOST = 99_999
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_NUMBER = re.compile(r"[0-9]+")
_SPACE = re.compile(r"[ \t]*")
_STRING = re.compile(r'"((?:[^"\\]|\\["\\])*)"|\'((?:[^\'\\]|\\[\'\\])*)\'')
_QUOTED = re.compile(r"\\(.)")


class Nth(NamedTuple):
    """The n-th one, from 1."""

    number: int


class Every(NamedTuple):
    """All there are: `*`."""


class Where(NamedTuple):
    """Those whose part equals one of `values` (or none of them, when `negated`). An absent part reads as ''.

    In a field's selector `place` is component[.subcomponent] and `field` 0; in a segment's selector it is
    field[.component[.subcomponent]], of the field's first repetition.
    """

    field: int
    component: int
    subcomponent: int
    negated: bool
    values: frozenset[str]


Selector = Nth | Every | Where


class Spec(NamedTuple):
    """A path's parts. `field` 0: the segment itself. `component` and `subcomponent` 0: not named."""

    segment: str
    segment_selector: Selector | None
    field: int
    field_selector: Selector | None
    component: int
    subcomponent: int

    @property
    def is_header_mark(self) -> bool:
        """Whether this is MSH-1, MSH-2 or their like: never split, escaped or edited (spec item 42)."""
        return 1 <= self.field <= 2 and self.segment in HEADERS


def parse_path(text: str) -> Spec:
    """The parts of a path text. Raises PathError with the column of what is wrong."""
    reader = _Reader(text)
    found = _SEGMENT.match(text)
    if not found:
        raise PathError("a path starts with a segment name: three capital letters or digits, as in PID-3.1", 0)
    reader.at = 3
    segment_selector = reader.selector("segment")
    field = component = subcomponent = 0
    field_selector: Selector | None = None
    if reader.take("-"):
        field = reader.number("a field number", 9999)
        field_selector = reader.selector("field")
        if reader.take("."):
            component = reader.number("a component number", 9999)
            if reader.take("."):
                subcomponent = reader.number("a subcomponent number", 9999)
    if reader.at < len(text):
        expected = "a field, as in PID-3" if not field else "the end of the path"
        if subcomponent and text[reader.at] == ".":
            expected += ": nothing is below a subcomponent"
        raise PathError(f"'{text[reader.at]}' is not understood here; expected {expected}", reader.at)
    return Spec(found[0], segment_selector, field, field_selector, component, subcomponent)


class _Reader:
    """A position in a path text, and what can be read there."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def take(self, mark: str) -> bool:
        if self.text.startswith(mark, self.at):
            self.at += len(mark)
            return True
        return False

    def blanks(self) -> None:
        found = _SPACE.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def number(self, what: str, most: int) -> int:
        found = _NUMBER.match(self.text, self.at)
        if not found:
            raise PathError(f"expected {what}", self.at)
        number = int(found[0]) if len(found[0]) <= 6 else most + 1
        if not 1 <= number <= most:
            raise PathError(f"{what} is between 1 and {most}", self.at)
        self.at = found.end()
        return number

    def selector(self, level: Literal["segment", "field"]) -> Selector | None:
        start = self.at
        if not self.take("["):
            return None
        self.blanks()
        if self.take("*"):
            chosen: Selector = Every()
        else:
            chosen = self._nth_or_where(level)
        self.blanks()
        if not self.take("]"):
            if self.at >= len(self.text):
                raise PathError("this bracket is not closed", start)
            raise PathError("expected ']'", self.at)
        return chosen

    def _nth_or_where(self, level: Literal["segment", "field"]) -> Selector:
        what = "a number, '*' or a filter such as 3.1 == \"x\"" if level == "segment" else None
        start = self.at
        numbers = [self.number(what or "a number, '*' or a filter such as 5 == \"MR\"", _MOST)]
        depth = 3 if level == "segment" else 2
        while len(numbers) < depth and self.take("."):
            numbers.append(self.number("a number", 9999))
        self.blanks()
        negated = False
        if self.take("=="):
            values = frozenset((self._after_blanks_string(),))
        elif self.take("!="):
            negated, values = True, frozenset((self._after_blanks_string(),))
        elif self._word("not"):
            self.blanks()
            if not self._word("in"):
                raise PathError("expected 'in' after 'not'", self.at)
            negated, values = True, self._list()
        elif self._word("in"):
            values = self._list()
        elif len(numbers) == 1:
            return Nth(numbers[0])
        else:
            raise PathError("expected '==', '!=' or 'in'", self.at)
        if numbers[0] > 9999:
            raise PathError("a number here is between 1 and 9999", start)
        if level == "field":
            numbers.insert(0, 0)
        numbers += [0] * (3 - len(numbers))
        return Where(numbers[0], numbers[1], numbers[2], negated, values)

    def _word(self, word: str) -> bool:
        end = self.at + len(word)
        return not self.text[end : end + 1].isalnum() and self.take(word)

    def _after_blanks_string(self) -> str:
        self.blanks()
        found = _STRING.match(self.text, self.at)
        if not found:
            raise PathError('expected a text in quotes, as in "MR"', self.at)
        self.at = found.end()
        return _QUOTED.sub(r"\1", found[1] if found[1] is not None else found[2])

    def _list(self) -> frozenset[str]:
        self.blanks()
        if not self.take("["):
            raise PathError('expected a list, as in ["MR", "PI"]', self.at)
        values = [self._after_blanks_string()]
        self.blanks()
        while self.take(","):
            values.append(self._after_blanks_string())
            self.blanks()
        if not self.take("]"):
            raise PathError("expected ',' or ']'", self.at)
        return frozenset(values)
