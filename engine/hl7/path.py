r"""Paths into a message, as the standard writes them, compiled once: `PID-3[2].1`, `OBX[3.1 == "718-7"]-5`.

A path without selectors matches every segment of that name and every repetition. `get` and `set` take the
first match, `all` gives every one, `delete` leaves none. A path that stops above the leaves reads the first
leaf below it, and one that goes deeper than the text finds the leaf itself as long as the rest is all 1s
(spec item 43). Values: None is absent, '' is present and empty, `""` is HL7's delete marker (item 46).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from engine.hl7.escape import plain_text, unescape
from engine.hl7.grammar import Spec, parse_path
from engine.hl7.reading import first_leaf, getter_of, matching_segments, raw_getter_of, raw_matches
from engine.hl7.writing import deleter_of, raw_setter_of, setter_of

if TYPE_CHECKING:
    from engine.hl7.message import Message


class Path:
    """One compiled path. Immutable, and equal to another of the same text and focus.

    `focus`: inside `each: OBX`, an un-indexed `OBX-n` means the segment at `message.focus`.
    """

    __slots__ = ("delete", "focus", "get", "raw", "set", "set_raw", "spec", "text")

    get: Callable[["Message"], str | None]
    """The value of the first match, unescaped; None when there is none. A segment's path gives its raw text."""

    raw: Callable[["Message"], str | None]
    """The first match as it stands in the message. `PID-3` is the whole field with all its repetitions."""

    set: Callable[["Message", str], int]
    """Write `value`, escaped; returns the number of places written.

    `PID-3` is the whole field with all its repetitions, `PID-3.1` a component of the first one. `*` writes
    every place there is; a filter writes the first match, and nothing if there is none. Otherwise what is
    missing is made: components, fields, empty repetitions up to the one named, the segment at the end of
    the message. An empty value makes nothing that is not there. A place that already holds that text
    stays untouched. Raises UnencodableText when the message has no delimiter or escape for it; EditError
    for MSH-1, MSH-2 and for a path without a field.
    """

    set_raw: Callable[["Message", str], int]
    """As `set`, with text that is written as it stands: `A^B` is two components.

    A segment's path takes the segment's whole text. Raises EditError when `text` would reach beyond the
    place: a CR, or a delimiter of a higher level.
    """

    delete: Callable[["Message"], int]
    """Remove every match; returns how many places held something.

    Segments and selected repetitions go, so that later ones move up; fields, components and subcomponents
    are emptied, and leave no trailing delimiter when they were the last. Raises EditError for MSH,
    MSH-1 and MSH-2.
    """

    def __init__(self, text: str, spec: Spec, focus: str | None) -> None:
        self.text = text
        self.spec = spec
        self.focus = focus is not None and focus == spec.segment and spec.segment_selector is None
        self.get = getter_of(spec, focused=self.focus)
        self.raw = raw_getter_of(spec, focused=self.focus)
        self.set = setter_of(spec, text, focused=self.focus)
        self.set_raw = raw_setter_of(spec, text, focused=self.focus)
        self.delete = deleter_of(spec, text, focused=self.focus)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Path({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Path) and (self.spec, self.focus) == (other.spec, other.focus)

    def __hash__(self) -> int:
        return hash((self.spec, self.focus))

    @property
    def segment(self) -> str:
        """The segment's name."""
        return self.spec.segment

    @property
    def field(self) -> int | None:
        """The field's number, None for a path of a whole segment."""
        return self.spec.field or None

    @property
    def component(self) -> int | None:
        """The component's number, None when the path stops above."""
        return self.spec.component or None

    @property
    def subcomponent(self) -> int | None:
        """The subcomponent's number, None when the path stops above."""
        return self.spec.subcomponent or None

    def getter(self) -> Callable[["Message"], str | None]:
        """`get` as a bare function: the fastest way to read one place of many messages."""
        return self.get

    def all(self, message: "Message") -> list[str]:
        """The values of all matches, in order; absent ones are left out."""
        texts = raw_matches(self.spec, message, focused=self.focus)
        if not self.spec.field or self.spec.is_header_mark:
            return texts
        delimiters, codec = message.delimiters, message.codec
        return [unescape(first_leaf(text, delimiters), delimiters, codec) for text in texts]

    def plain(self, message: "Message") -> str | None:
        """The first match as a text for people (`escape.plain_text`): of FT, TX and ST. None for absent."""
        texts = raw_matches(self.spec, message, focused=self.focus, first=True)
        if not texts or not self.spec.field or self.spec.is_header_mark:
            return texts[0] if texts else None
        return plain_text(first_leaf(texts[0], message.delimiters), message.delimiters, message.codec)

    def segments(self, message: "Message") -> list[int]:
        """The indexes of the segments that the path's first part matches."""
        return matching_segments(self.spec, message, focused=self.focus)


@lru_cache(maxsize=4096)
def compile_path(text: str, *, focus: str | None = None) -> Path:
    """The path that `text` writes. Raises PathError with a 0-based column in `text`."""
    return Path(text, parse_path(text), focus)
