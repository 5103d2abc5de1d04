"""One version's dictionary: a text of lines, of which only those that somebody asks for are taken apart.

The text is compressed package data, `<version>.z`. Each line is a name, a tab, and what `_decode` functions read:

    S PID     title | fields             a field: name;type;usage;maximum;length;table
    D CX      title | components         a component: name;type;usage;length;table
    T 0001    name | codes               codes and patterns apart by tabs, a pattern begins with `=`
    M ADT_A01 MSH SFT* EVN PID PROCEDURE*( PR1 ROL* )    times as in patterns, `<` opens a choice, `@` is any segment
    E         ADT_A04=ADT_A01 ...
"""

import pkgutil
import re
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType

from engine.hl7.dictionary.definitions import (
    ANY_SEGMENT,
    ComponentDef,
    DataTypeDef,
    FieldDef,
    Group,
    SegmentDef,
    SegmentRef,
    StructureChoice,
    StructureDef,
    TableDef,
    Usage,
)
from engine.hl7.dictionary.versions import nearest_version
from engine.hl7.errors import Notice

_USAGES: Mapping[str, Usage] = MappingProxyType({"": "O", "R": "R", "X": "X"})
_PLACE = re.compile(r"(?P<name>\w+|@)(?P<times>[?*+]|\{(?P<least>\d+),(?P<most>\d*)\})?(?P<opens>[(<])?")
_TIMES: Mapping[str, tuple[int, int | None]] = MappingProxyType({"?": (0, 1), "*": (0, None), "+": (1, None)})


def load(version: str) -> "Dictionary":
    """The dictionary for what MSH-12 says, or else of the nearest version below (hl7.md item 70)."""
    return _load(nearest_version(version))


@cache
def _load(version: str) -> "Dictionary":
    packed = pkgutil.get_data("engine.hl7.dictionary", f"{version}.z")
    assert packed is not None, "the package's loader gives its data"
    return Dictionary(version, zlib.decompress(packed).decode("utf-8"))


class Dictionary:
    """What one version of the standard defines; `load` makes it. All it gives is immutable and given again."""

    def __init__(self, version: str, text: str) -> None:
        self.version = version
        pairs = [line.partition("\t") for line in text.split("\n")]
        self._lines = {name: content for name, _, content in pairs}
        self._segments: dict[str, SegmentDef | None] = {}
        self._data_types: dict[str, DataTypeDef | None] = {}
        self._tables: dict[str, TableDef | None] = {}
        self._structures: dict[str, StructureDef | None] = {}
        self._events: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"Dictionary({self.version!r})"

    def segment(self, name: str) -> SegmentDef | None:
        """The segment of that name, None for an unknown one."""
        if name not in self._segments:
            line = self._lines.get(f"S {name}")
            self._segments[name] = None if line is None else _segment(name, line)
        return self._segments[name]

    def data_type(self, name: str) -> DataTypeDef | None:
        """The data type of that name, None for an unknown one and for `varies`."""
        if name not in self._data_types:
            line = self._lines.get(f"D {name}")
            self._data_types[name] = None if line is None else _data_type(name, line)
        return self._data_types[name]

    def table(self, number: str) -> TableDef | None:
        """The table of that number, such as `0001`."""
        if number not in self._tables:
            line = self._lines.get(f"T {number}")
            self._tables[number] = None if line is None else _table(number, line)
        return self._tables[number]

    def structure(self, id: str) -> StructureDef | None:
        """The message structure of that id, such as `ADT_A01`."""
        if id not in self._structures:
            line = self._lines.get(f"M {id}")
            self._structures[id] = (
                None if line is None else StructureDef(id, tuple(_read_children(iter(line.split(" ")))))
            )
        return self._structures[id]

    def structure_of(self, message_code: str, event: str, declared: str = "") -> StructureChoice:
        """The structure of a message by MSH-9.1, MSH-9.2 and MSH-9.3 (hl7.md item 69).

        The table of events is believed first; MSH-9.3 only where the table knows nothing: for events of the site,
        and when MSH-9.2 is empty. None: the message has no structure that is known in this version.
        """
        decided = self._by_event(message_code, event)
        if not declared or declared == decided:
            return StructureChoice(decided, () if decided else (self._unknown_type(),))
        if decided is None:
            if f"M {declared}" in self._lines:
                return StructureChoice(declared)
            return StructureChoice(None, (self._unknown_type(),))
        text = "MSH-9.3 is not the structure that the standard has for this message type; the standard's was taken"
        return StructureChoice(decided, (Notice("W350", text, "MSH-9.3"),))

    def _by_event(self, message_code: str, event: str) -> str | None:
        if self._events is None:
            pairs = [pair.partition("=") for pair in self._lines["E"].split(" ")]
            self._events = {event: structure for event, _, structure in pairs}
        id = f"{message_code}_{event}"
        if id in self._events:
            return self._events[id]
        # ACK, and QRY of some versions, are the same for every event, and are sent without one.
        return next((known for known in (id, message_code) if f"M {known}" in self._lines), None)

    def _unknown_type(self) -> Notice:
        text = f"version {self.version} of the standard has no structure for this message type and event"
        return Notice("W351", text, "MSH-9")

    def segment_names(self) -> list[str]:
        """The names of all segments."""
        return self._keys("S ")

    def data_type_names(self) -> list[str]:
        """The names of all data types."""
        return self._keys("D ")

    def table_numbers(self) -> list[str]:
        """The numbers of all tables."""
        return self._keys("T ")

    def structure_ids(self) -> list[str]:
        """The ids of all message structures."""
        return self._keys("M ")

    def _keys(self, kind: str) -> list[str]:
        return [key[2:] for key in self._lines if key.startswith(kind)]


def _segment(name: str, line: str) -> SegmentDef:
    title, *fields = line.split("|")
    return SegmentDef(name, title, tuple([_field(number, text) for number, text in enumerate(fields, 1)]))


def _field(number: int, text: str) -> FieldDef:
    name, data_type, usage, maximum, length, table = text.split(";")
    return FieldDef(number, name, data_type, _USAGES[usage], _bound(maximum, 1), _length(length), table)


def _data_type(name: str, line: str) -> DataTypeDef:
    title, *components = line.split("|")
    return DataTypeDef(name, title, tuple([_component(number, text) for number, text in enumerate(components, 1)]))


def _component(number: int, text: str) -> ComponentDef:
    name, data_type, usage, length, table = text.split(";")
    return ComponentDef(number, name, data_type, _USAGES[usage], _length(length), table)


def _table(number: str, line: str) -> TableDef:
    name, version, *codes = line.split("\t")
    plain = tuple([code for code in codes if not code.startswith("=")])
    return TableDef(number, name, plain, tuple([code[1:] for code in codes if code.startswith("=")]), version)


def _bound(text: str, usual: int) -> int | None:
    return usual if not text else None if text == "*" else int(text)


def _length(text: str) -> int | None:
    return int(text) if text else None


def _read_children(words: Iterator[str]) -> Iterator[Group | SegmentRef]:
    """Places up to the end of the group or of the words: `PID`, `NTE*`, or `PROCEDURE*(` and its own up to `)`."""
    for word in words:
        if word == ")":
            return
        found = _PLACE.fullmatch(word)
        assert found, "the generator wrote it"
        minimum, maximum = _TIMES.get(found["times"] or "", (1, 1))
        if found["least"]:
            minimum, maximum = int(found["least"]), int(found["most"]) if found["most"] else None
        if found["opens"]:
            children = tuple(_read_children(words))
            yield Group(found["name"], minimum, maximum, found["opens"] == "<", children)
        else:
            name = found["name"]
            yield SegmentRef(ANY_SEGMENT if name == "@" else name, minimum, maximum)
