"""Configuration files as trees with positions, on PyYAML's parser.

The YAML that is read here is smaller than YAML: every scalar is the text that was typed (`NO`, `012` and
`12:30` stay text), keys are texts and unique, and there are no anchors, aliases, merge keys and tags; so
no file is larger in memory than on disk, and no two readers of it disagree. See ux.md 1.4.
"""

import re
from collections.abc import Iterator
from typing import Final, Protocol

import yaml

from engine.config.finding import ConfigFinding, at
from engine.config.node import Mapping, Node, Scalar, Sequence, Source
from engine.config.syntax import TAB, Trouble, explain, repair

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 32
MAX_TROUBLES: Final = 20
"""How many mistakes in the YAML itself are told at once."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
# What comes of a missing line above it; other mistakes are a line's own.
_SHAPELESS = ("E110", "E112", "E118")
_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
_STARTS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)


def decode(raw: bytes, file: str) -> tuple[str, list[ConfigFinding]]:
    """The text of a file, which must be UTF-8 of at most 1 MB; a byte order mark is dropped."""
    if len(raw) > MAX_BYTES:
        message = f"the file has {len(raw):,} bytes; {MAX_BYTES:,} are read at most"
        return "", [ConfigFinding("E117", file, 0, 0, 0, message)]
    # Without its mark too: a text of ours begins with a letter or a sign of ASCII.
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or (len(raw) > 1 and (raw[0] == 0) != (raw[1] == 0)):
        return "", [ConfigFinding("E116", file, 1, 1, 1, "the file is UTF-16", "save it as UTF-8")]
    try:
        return raw.decode("utf-8").removeprefix("\ufeff"), []
    except UnicodeDecodeError as exc:
        before = raw[: exc.start].decode("utf-8")
        place = Source(file, before + "?").position(len(before))
        message = f"byte {raw[exc.start]:#04x} is not UTF-8"
        return "", [at(place, "E116", message, "save the file as UTF-8")]


def load_yaml(text: str, file: str) -> tuple[Node | None, list[ConfigFinding]]:
    """The tree of a YAML text and every mistake in it; None where nothing can be read.

    After a mistake in the YAML itself the line is set aside, as if its value were a text that nothing more
    is said about, and reading goes on: so mistakes further down are found in the same run.
    """
    source = Source(file, text)
    findings = [
        at(source.position(found.start()), "E116", f"control character {ord(found.group()):#04x}", "delete it")
        for found in list(_UNPRINTABLE.finditer(text))[:MAX_TROUBLES]
    ]
    readable = _UNPRINTABLE.sub(" ", text)
    aside: set[int] = set()
    while True:
        builder = _Builder(source, readable, aside)
        try:
            root = builder.document()
        except yaml.MarkedYAMLError as error:
            trouble = explain(source, readable, error)
            mended = repair(readable, trouble, aside)
            if mended is None or len(aside) >= MAX_TROUBLES - 1:
                _add(findings, trouble, aside)
                return None, findings
            _add(findings, trouble, aside)
            aside.update(trouble.lines)
            readable = mended
            continue
        return root, findings + builder.findings


def _add(findings: list[ConfigFinding], trouble: Trouble, aside: set[int]) -> None:
    """Tell of a mistake, unless it only follows from a line that was set aside there or just above."""
    finding = trouble.finding
    follows = finding.line in aside or (finding.line - 1 in aside and finding.code in _SHAPELESS)
    # A tab in one entry of a list puts all entries below it into another column.
    follows = follows or (trouble.is_column and any(one.message == TAB for one in findings))
    if not follows:
        findings.append(finding)


class _Builder:
    """Nodes out of the parser's events. `readable` differs from the source only in lines set aside."""

    def __init__(self, source: Source, readable: str, aside: set[int]) -> None:
        self.findings: list[ConfigFinding] = []
        self._source = source
        # Positions in a mended text are those of the original: a line set aside keeps its length.
        self._text = readable
        self._aside = aside
        self._events: Iterator[yaml.Event] = yaml.parse(readable, Loader=_LOADER)

    def document(self) -> Node | None:
        """The one document of the file; None for an empty one. Raises yaml.MarkedYAMLError."""
        root: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents == 2:
                    place = self._source.position(index_of(event.start_mark), 3)
                    self.findings.append(
                        at(place, "E117", "a second document begins here", "one file holds one document: remove ---")
                    )
            elif isinstance(event, yaml.NodeEvent):
                node = self._node(event, 1)
                root = node if documents == 1 else root
        if root is None or (isinstance(root, Scalar) and not root.text):
            if not self._aside:
                message = "there is nothing in the file" + (" but comments" if self._source.text.strip() else "")
                self.findings.append(
                    ConfigFinding("E109", self._source.file, 1, 1, 1, message, "fill it, or remove it")
                )
            return None
        return root

    def _node(self, event: yaml.NodeEvent, depth: int) -> Node:
        start, end = index_of(event.start_mark), index_of(event.end_mark)
        refused = self._refused(event, start)
        if isinstance(event, yaml.AliasEvent):
            return Scalar(self._source, "", "", start, end, is_broken=True)
        if isinstance(event, yaml.ScalarEvent):
            style = event.style or ""
            broken = refused or self._is_aside(start)
            if not style:
                self._check_comment(event.value, start, end)
            return Scalar(self._source, event.value, style, start, end, broken)
        if depth > MAX_DEPTH:
            place = self._source.position(start)
            self.findings.append(at(place, "E117", f"nested more than {MAX_DEPTH} deep"))
            self._skip()
            return Scalar(self._source, "", "", start, end, is_broken=True)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(start, depth)
        return self._sequence(start, depth)

    def _next(self) -> yaml.Event:
        return next(self._events)

    def _skip(self) -> None:
        open_count = 1
        while open_count:
            event = self._next()
            open_count += isinstance(event, _STARTS) - isinstance(event, _ENDS)

    def _mapping(self, start: int, depth: int) -> Mapping:
        items: list[tuple[Scalar, Node]] = []
        first: dict[str, Scalar] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            assert isinstance(event, yaml.NodeEvent), "a mapping holds nodes"
            key = self._node(event, depth + 1)
            following = self._next()
            assert isinstance(following, yaml.NodeEvent), "a key has a value"
            value = self._node(following, depth + 1)
            if not isinstance(key, Scalar):
                place = key.position
                self.findings.append(
                    at(place, "E110", "a key must be a text", "put a text that begins with [ or { in quotes")
                )
            elif key.text in first:
                # Where an entry's first line was set aside, its keys seem to be those of the entry before.
                if not self._entry_aside(first[key.text].position.line, key.position.line):
                    self._duplicate(key, first[key.text])
            elif not key.is_broken or self._is_aside(key.start):
                first[key.text] = key
                items.append((key, self._value(key, value)))
        end = index_of(event.end_mark)
        return Mapping(self._source, start, end, items, self._has_aside(start, end))

    def _sequence(self, start: int, depth: int) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            assert isinstance(event, yaml.NodeEvent), "a sequence holds nodes"
            item = self._node(event, depth + 1)
            if _is_nothing(item):
                place = self._source.position(max(start, item.start - 1))
                self.findings.append(
                    at(
                        place,
                        "E109",
                        "an empty entry in a list",
                        'write one here, or remove the dash; an empty text is ""',
                    )
                )
                item = Scalar(self._source, "", "", item.start, item.end, is_broken=True)
            items.append(item)
        return Sequence(self._source, start, index_of(event.end_mark), items)

    def _value(self, key: Scalar, value: Node) -> Node:
        if not _is_nothing(value):
            return value
        name, colon, rest = key.text.partition(":")
        if key.position.line + 1 in self._aside:
            pass  # its value was in that line
        elif colon and rest:
            self.findings.append(
                at(key.position, "E110", "a space is missing after the colon", f"write {name}: {rest}")
            )
        else:
            self.findings.append(
                at(
                    key.position,
                    "E109",
                    f"'{key.text[:60]}' has no value",
                    'write one, indented further if in lines of its own, or remove the line; an empty text is ""',
                )
            )
        return Scalar(self._source, "", "", value.start, value.end, is_broken=True)

    def _entry_aside(self, above: int, below: int) -> bool:
        return any(above < line < below and self._source.line(line).lstrip().startswith("- ") for line in self._aside)

    def _duplicate(self, key: Scalar, first: Scalar) -> None:
        line = first.position.line
        message = f"'{key.text[:60]}' stands here a second time; the first is in line {line}"
        self.findings.append(at(key.position, "E111", message, "keep one of the two"))

    def _refused(self, event: yaml.NodeEvent, start: int) -> bool:
        """Tell of an anchor, an alias, a tag or a merge key."""
        if self._is_aside(start):
            return False
        message, length, sign = "", 1, ""
        if isinstance(event, yaml.AliasEvent):
            message, length, sign = "aliases are not used in this file", len(event.anchor or "") + 1, "*"
        elif event.anchor is not None:
            message, length, sign = "anchors are not used in this file", len(event.anchor) + 1, "&"
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            message, sign = "tags are not used in this file", "!"
        elif isinstance(event, yaml.ScalarEvent) and event.value == "<<" and not event.style:
            self.findings.append(
                at(
                    self._source.position(start, 2),
                    "E115",
                    "merge keys are not used in this file",
                    "write out the keys",
                )
            )
            return True
        if message:
            place = self._source.position(start, length)
            hint = f"if this is meant as text: put it in quotes, as it begins with {sign}"
            self.findings.append(at(place, "E115", message, hint))
        return bool(message)

    def _check_comment(self, text: str, start: int, end: int) -> None:
        """` #` inside an expression begins a comment, and the rest of the expression is silently gone."""
        if text.count('"') % 2 == 0 or self._is_aside(start):
            return
        rest = self._source.text[end : end + 200].split("\n")[:1]
        if rest and rest[0].lstrip(" \t").startswith("#") and '"' in rest[0]:
            place = self._source.position(end + rest[0].index("#"))
            hint = "put the whole value in single quotes: '...'"
            self.findings.append(at(place, "E114", "everything after ' #' is a comment to YAML", hint))

    def _has_aside(self, start: int, end: int) -> bool:
        if not self._aside:
            return False
        lines = range(self._source.position(start).line, self._source.position(end).line + 1)
        return not self._aside.isdisjoint(lines)

    def _is_aside(self, index: int) -> bool:
        return bool(self._aside) and self._source.position(index).line in self._aside


class _Mark(Protocol):
    index: int


def index_of(mark: _Mark | None) -> int:
    """Where an event begins or ends in the text."""
    assert mark is not None, "the parser marks every event"
    return mark.index


def _is_nothing(node: Node) -> bool:
    """`key:` with nothing after it."""
    return isinstance(node, Scalar) and not node.text and not node.style and not node.is_broken
