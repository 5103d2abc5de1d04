"""A message as a tree with the standard's names: what each field is called, its data type, its table and code.

Values are masked unless they are asked for; of MSH those stand that name systems, types and ids, which the list of
messages shows as well. Bounded: MOST_SEGMENTS segments, MOST_LEAVES leaves, each cut.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from engine.adapters.console.values import MASK, Part, parts
from engine.hl7.delimiters import HEADERS
from engine.hl7.dictionary import Dictionary, load
from engine.hl7.dictionary.definitions import VARIES, DataTypeDef, FieldDef
from engine.hl7.dictionary.meanings import meaning
from engine.hl7.escape import unescape
from engine.hl7.message import Message

MOST_SEGMENTS: Final = 200
MOST_LEAVES: Final = 3000
MOST_REPETITIONS: Final = 50
OPEN: Final = frozenset({2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 15, 16, 17, 18})
"""Fields of MSH that hold nothing of a patient: not MSH-8 (security), and none that a site may have added."""


@dataclass(slots=True, frozen=True)
class Node:
    """A place. `value` None: it has nodes below it, or nothing stands there. `table`: `0001 Administrative Sex`;
    `meaning`: of the code that stands there, where the standard has one; `is_unlisted`: the table has no such code."""

    path: str
    name: str = ""
    data_type: str = ""
    value: tuple[Part, ...] | None = None
    is_masked: bool = False
    table: str = ""
    meaning: str = ""
    is_unlisted: bool = False
    children: tuple["Node", ...] = ()


@dataclass(slots=True, frozen=True)
class SegmentNode:
    """A segment: its fields that hold something, and those that the standard has and are empty, to be folded."""

    path: str
    title: str
    fields: tuple[Node, ...]
    empty: tuple[Node, ...] = ()


@dataclass(slots=True)
class Tree:
    """`left_out`: segments that are not shown; `is_cut`: nor some of the leaves."""

    version: str
    segments: list[SegmentNode] = field(default_factory=list)
    left_out: int = 0
    is_cut: bool = False


def tree(message: Message, *, show_values: bool) -> Tree:
    """The tree of a message that was read; by the dictionary of its MSH-12."""
    return _Reader(message, show_values).read()


class _Reader:
    def __init__(self, message: Message, show_values: bool) -> None:
        self._message = message
        self._shows = show_values
        self._cut = message.delimiters
        self._codec = message.codec
        self._dictionary: Dictionary = load(message.get("MSH-12.1") or "2.5.1")
        self._left = MOST_LEAVES
        self._types: dict[str, str] = {}

    def read(self) -> Tree:
        message = self._message
        names = message.names()
        found = Tree(self._dictionary.version, left_out=max(0, len(names) - MOST_SEGMENTS))
        total = Counter(names)
        seen: Counter[str] = Counter()
        for index, name in enumerate(names[:MOST_SEGMENTS]):
            seen[name] += 1
            is_name = len(name) == 3 and name.isascii() and name.isalnum()
            if not is_name:
                # A line that is no segment may be anything: a text that was broken into lines.
                found.segments.append(SegmentNode("", "no segment", (self._stray(index),)))
                continue
            place = name if total[name] == 1 else f"{name}[{seen[name]}]"
            found.segments.append(self._segment(index, name, place))
            if self._left <= 0:
                found.is_cut = True
                found.left_out = len(names) - index - 1
                break
        return found

    def _stray(self, index: int) -> Node:
        text = self._message.segment(index)
        return Node("", f"line {index + 1}", value=self._text(text), is_masked=not self._shows)

    def _segment(self, index: int, name: str, place: str) -> SegmentNode:
        known = self._dictionary.segment(name)
        texts = self._message.fields(index)
        self._types = {}
        if name == "OBX" and len(texts) > 2 and self._dictionary.data_type(texts[2]) is not None:
            # Only a type that there is: anything may stand in OBX-2, and what names a type is shown unmasked.
            self._types = {"OBX-5": texts[2]}
        filled: list[Node] = []
        empty: list[Node] = []
        for number in range(1, max(len(texts) - 1, len(known.fields) if known is not None else 0) + 1):
            definition = known.field(number) if known is not None else None
            text = texts[number] if number < len(texts) else ""
            path = f"{place}-{number}"
            if not text:
                if definition is not None and definition.usage != "X":
                    empty.append(Node(path, definition.name, definition.data_type))
            elif self._left > 0:
                filled.append(self._field(name, path, number, text, definition))
        title = (
            known.title if known is not None else "a segment of the site" if name[0] == "Z" else "not in the standard"
        )
        return SegmentNode(place, title, tuple(filled), tuple(empty))

    def _field(self, name: str, path: str, number: int, text: str, definition: FieldDef | None) -> Node:
        title = definition.name if definition is not None else ""
        kind = definition.data_type if definition is not None else ""
        if kind == VARIES:
            kind = self._types.get(f"{name}-{number}", "")
        table = definition.table if definition is not None else ""
        is_open = self._shows or (name == "MSH" and number in OPEN)
        if name in HEADERS and number <= 2:
            self._left -= 1
            return Node(path, title or "Encoding characters", kind, parts(text))
        repetition = self._cut.repetition
        texts = text.split(repetition) if repetition else [text]
        if len(texts) == 1:
            return self._repetition(path, title, kind, table, text, is_open)
        shown = [
            self._repetition(f"{path}[{n}]", "", kind, table, one, is_open)
            for n, one in enumerate(texts[:MOST_REPETITIONS], 1)
            if one and self._left > 0
        ]
        if len(texts) > MOST_REPETITIONS:
            more = (Part(f"{len(texts) - MOST_REPETITIONS} more repetitions", mark=True),)
            shown.append(Node("", value=more))
        return Node(path, title, kind, children=tuple(shown))

    def _repetition(self, path: str, title: str, kind: str, table: str, text: str, is_open: bool) -> Node:
        component = self._cut.component
        known = self._dictionary.data_type(kind) if kind else None
        texts = text.split(component) if component and not self._is_text(kind) else [text]
        if len(texts) == 1 and (known is None or known.is_primitive):
            return self._leaf(path, title, kind, table, text, is_open)
        below = tuple(self._components(path, known, table, texts, is_open))
        return Node(path, title, kind, children=below)

    def _components(
        self, path: str, known: DataTypeDef | None, table: str, texts: list[str], is_open: bool
    ) -> Iterator[Node]:
        for number, text in enumerate(texts, 1):
            if not text or self._left <= 0:
                continue
            one = known.component(number) if known is not None else None
            title = one.name if one is not None else ""
            kind = one.data_type if one is not None else ""
            # Of a coded element the field's table is that of its first component.
            of = one.table if one is not None and one.table else table if number == 1 else ""
            here = f"{path}.{number}"
            parts_of = self._cut.subcomponent
            below = text.split(parts_of) if parts_of else [text]
            inner = self._dictionary.data_type(kind) if kind else None
            if len(below) == 1 and (inner is None or inner.is_primitive or len(texts) == 1):
                yield self._leaf(here, title, kind, of, text, is_open)
            else:
                yield Node(here, title, kind, children=tuple(self._subcomponents(here, inner, of, below, is_open)))

    def _subcomponents(
        self, path: str, known: DataTypeDef | None, table: str, texts: list[str], is_open: bool
    ) -> Iterator[Node]:
        for number, text in enumerate(texts, 1):
            if not text or self._left <= 0:
                continue
            one = known.component(number) if known is not None else None
            of = one.table if one is not None and one.table else table if number == 1 else ""
            title, kind = (one.name, one.data_type) if one is not None else ("", "")
            yield self._leaf(f"{path}.{number}", title, kind, of, text, is_open)

    def _leaf(self, path: str, title: str, kind: str, table: str, text: str, is_open: bool) -> Node:
        self._left -= 1
        about = self._dictionary.table(table) if table else None
        named = f"{table} {about.name}" if about is not None else table
        if not is_open:
            return Node(path, title, kind, (Part(MASK),), is_masked=True, table=named)
        value = unescape(text, self._cut, self._codec)
        means, is_unlisted = "", False
        if about is not None and text != '""':
            means = meaning(table, value)
            is_unlisted = bool(about.codes) and not about.patterns and value not in about.codes
        if text == '""':
            means = "delete what is there"
        return Node(path, title, kind, parts(value), table=named, meaning=means, is_unlisted=is_unlisted)

    def _text(self, text: str) -> tuple[Part, ...]:
        self._left -= 1
        return parts(text) if self._shows else (Part(MASK),)

    def _is_text(self, kind: str) -> bool:
        return kind in ("ST", "TX", "FT", "NM", "SI", "ID", "IS", "DT", "TM")
