"""A YAML file as text with positions: what every value in a model can be traced back to.

Every scalar stays the text that was typed. The tree is handed to pydantic as `SourceDict`, `SourceList`
and `SourceText`, which are plain dicts, lists and strings that remember their node: so a validator, the
linter and an error all know the line and column, however the models nest.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

from engine.config.align import source_offsets
from engine.config.finding import Position

# What editors begin a new line after; YAML 1.1 knows three more, which no file here can mean.
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(slots=True)
class Source:
    """One file's text. `file` is its name for people, relative to the site."""

    file: str
    text: str
    starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.starts = [0, *(found.end() for found in _LINE_END.finditer(self.text))]

    def line(self, number: int) -> str:
        """The text of a line, counted from 1, without its end; '' beyond the file."""
        if not 1 <= number <= len(self.starts):
            return ""
        end = self.starts[number] if number < len(self.starts) else len(self.text)
        return self.text[self.starts[number - 1] : end].rstrip("\r\n")

    def position(self, index: int, length: int = 1) -> Position:
        """Line and column of a character index; the length is cut at the end of the line."""
        low = max(bisect_right(self.starts, index) - 1, 0)
        column = index - self.starts[low]
        if length > 1:
            length = min(length, max(1, len(self.line(low + 1)) - column))
        return Position(self.file, low + 1, column + 1, max(1, length))


@dataclass(slots=True, frozen=True)
class Scalar:
    """A text. `style`: '' plain, or one of `'`, `"`, `|`, `>`. `start` and `end` are indexes into the source.

    `is_broken` where a finding about it has been given already, so that what follows from it is not told again.
    """

    source: Source
    text: str
    style: str
    start: int
    end: int
    is_broken: bool = False

    @property
    def position(self) -> Position:
        return self.source.position(self.start, self.end - self.start)


@dataclass(slots=True, frozen=True)
class Mapping:
    """Keys and values in order, keys unique. `is_broken` where some of them could not be read."""

    source: Source
    start: int
    end: int
    items: list[tuple[Scalar, "Node"]]
    is_broken: bool = False

    @property
    def position(self) -> Position:
        return self.source.position(self.start)


@dataclass(slots=True, frozen=True)
class Sequence:
    """Values in order."""

    source: Source
    start: int
    end: int
    items: list["Node"]

    @property
    def position(self) -> Position:
        return self.source.position(self.start)


Node = Scalar | Mapping | Sequence


@dataclass(slots=True, frozen=True)
class Piece:
    """A part of a text that `${...}` was replaced by: where it is in the text, and where `${...}` is in the scalar."""

    start: int
    end: int
    raw_start: int
    raw_end: int


class SourceText(str):
    """A text from a file that knows where it stands.

    `scalar` is None for a text that code made. `pieces` are what `${...}` put into it; `is_secret` where
    one of them must not be shown; `is_broken` where a finding about it has been given already.
    """

    __slots__ = ("is_broken", "is_secret", "pieces", "scalar")
    scalar: Scalar | None
    pieces: tuple[Piece, ...]
    is_secret: bool
    is_broken: bool

    def __new__(
        cls,
        text: str,
        scalar: Scalar | None = None,
        pieces: tuple[Piece, ...] = (),
        *,
        is_secret: bool = False,
        is_broken: bool = False,
    ) -> "SourceText":
        self = super().__new__(cls, text)
        self.scalar = scalar
        self.pieces = pieces
        self.is_secret = is_secret
        self.is_broken = is_broken
        return self

    def __repr__(self) -> str:
        return "'***'" if self.is_secret else super().__repr__()

    @property
    def shown(self) -> str:
        """The text for a message: starred where it is secret, cut and made printable."""
        if self.is_secret:
            return "***"
        return "".join(c if c.isprintable() else "?" for c in (self if len(self) <= 60 else self[:57] + "..."))

    def position(self, offset: int = 0, length: int = 0) -> Position | None:
        """Where the character at `offset` stands in the file; `length` 0: to the end of the text."""
        if self.scalar is None:
            return None
        scalar = self.scalar
        if offset <= 0 and not length:
            return scalar.position
        raw = self._raw_offset(offset)
        offsets = source_offsets(scalar.source.text, scalar.start, scalar.end, scalar.text, scalar.style)
        if not offsets:
            return scalar.position
        if raw >= len(offsets):
            return scalar.source.position(offsets[-1] + 1)
        last = self._raw_offset(offset + (length or len(self)) - 1)
        end = offsets[min(max(last, raw), len(offsets) - 1)]
        return scalar.source.position(offsets[raw], end - offsets[raw] + 1)

    def _raw_offset(self, offset: int) -> int:
        """The offset in the scalar's own text, before `${...}` was replaced."""
        shift = 0
        for piece in self.pieces:
            if offset < piece.start:
                break
            if offset < piece.end:
                return piece.raw_start
            shift += (piece.raw_end - piece.raw_start) - (piece.end - piece.start)
        return offset + shift


class SourceDict(dict[SourceText, Any]):
    """A mapping that knows where it stands; its keys are `SourceText`. `owner` is the key it stands under."""

    __slots__ = ("node", "owner")
    node: Mapping
    owner: SourceText | None

    def key(self, name: str) -> SourceText | None:
        """The key as it stands in the file."""
        return next((key for key in self if key == name), None)

    def value(self, name: str) -> Any:
        """The value under a key, None where there is none."""
        return self.get(SourceText(name))


class SourceList(list[Any]):
    """A sequence that knows where it stands."""

    __slots__ = ("node",)
    node: Sequence


def position_of(value: object) -> Position | None:
    """Where a value from a file stands; None for one that code made."""
    if isinstance(value, SourceText):
        return value.position()
    if isinstance(value, SourceDict | SourceList):
        return value.node.position
    return None
