"""What the dictionary says about a segment, a field, a data type, a table or a structure: immutable values.

`length` and `maximum` are None for "no bound is stated". `table` is the four digits of an HL7 table or ''.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from engine.hl7.errors import Notice

Usage = Literal["R", "O", "X"]
"""Required, optional, or withdrawn from the standard. What is conditional counts as optional here."""

VARIES = "varies"
"""The data type of a field whose type another field names, as OBX-2 does for OBX-5 (hl7.md item 49)."""

ANY_SEGMENT = "*"
"""Stands in a structure for whatever segment may come; hl7apy writes ANYHL7SEGMENT."""


@dataclass(frozen=True, slots=True)
class ComponentDef:
    """One component of a data type, `number` counted from 1."""

    number: int
    name: str
    data_type: str
    usage: Usage
    length: int | None
    table: str


@dataclass(frozen=True, slots=True)
class FieldDef:
    """One field of a segment, `number` counted from 1. `maximum` is how often it may repeat, None for any number."""

    number: int
    name: str
    data_type: str
    usage: Usage
    maximum: int | None
    length: int | None
    table: str


@dataclass(frozen=True, slots=True)
class SegmentDef:
    """A segment: `fields[n - 1]` is field n, without gaps."""

    name: str
    title: str
    fields: tuple[FieldDef, ...]

    def field(self, number: int) -> FieldDef | None:
        """Field `number`, None past the last one."""
        return self.fields[number - 1] if 0 < number <= len(self.fields) else None


@dataclass(frozen=True, slots=True)
class DataTypeDef:
    """A data type; a primitive one has no components."""

    name: str
    title: str
    components: tuple[ComponentDef, ...]

    @property
    def is_primitive(self) -> bool:
        """Whether a value of it has no components."""
        return not self.components

    def component(self, number: int) -> ComponentDef | None:
        """Component `number`, None past the last one."""
        return self.components[number - 1] if 0 < number <= len(self.components) else None


@dataclass(frozen=True, slots=True)
class TableDef:
    """A table of codes, `codes` in the order of the standard; none are listed for one that a site fills itself.

    `patterns` are rows such as `Q<integer>H` or `10 ... 19` that stand for many codes. `version` is the version of
    the standard whose codes these are: for 2.1 to 2.3, of which no tables are known, it is 2.3.1.
    """

    number: str
    name: str
    codes: tuple[str, ...]
    patterns: tuple[str, ...]
    version: str


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """A segment's place in a structure."""

    name: str
    minimum: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class Group:
    """A segment group's place in a structure.

    `name` is without the structure's: `PATIENT_RESULT`; the XML encoding writes `ORU_R01.PATIENT_RESULT`. Of a
    choice exactly one child stands there. HL7 leaves most choices unnamed, so that their names (`CHOICE`,
    `OBRRQDRQ1RXOODSODT_SUPPGRP`) were made up by the makers of its XML schemas; HAPI has no such level.
    """

    name: str
    minimum: int
    maximum: int | None
    is_choice: bool
    children: "tuple[Group | SegmentRef, ...]"


@dataclass(frozen=True, slots=True)
class StructureDef:
    """A message structure, `id` as MSH-9.3 writes it."""

    id: str
    children: tuple[Group | SegmentRef, ...]

    def segment_names(self) -> frozenset[str]:
        """The names of all segments that can stand in it, at any depth."""
        return frozenset(_names(self.children))


@dataclass(frozen=True, slots=True)
class StructureChoice:
    """What `Dictionary.structure_of` decided: a structure's id or None, and what was odd about MSH-9."""

    id: str | None
    notices: tuple[Notice, ...] = ()


def _names(children: tuple[Group | SegmentRef, ...]) -> Iterator[str]:
    for child in children:
        if isinstance(child, SegmentRef):
            yield child.name
        else:
            yield from _names(child.children)
