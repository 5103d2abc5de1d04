"""hl7apy's tables of one version as plain records, before anything in them is repaired."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from engine.hl7.dictionary.versions import VERSIONS


@dataclass(slots=True)
class Record:
    """A field or component as hl7apy has it: `maximum` -1 for any number, `table` such as `HL70001` or ''."""

    name: str
    data_type: str
    minimum: int
    maximum: int
    table: str
    source: tuple[Any, ...] = ()


@dataclass(slots=True)
class Place:
    """A segment or group in a structure; of a segment `children` is None."""

    name: str
    minimum: int
    maximum: int
    children: "list[Place] | None" = None
    is_choice: bool = False

    def walk(self) -> Iterator["Place"]:
        """This place and all below it."""
        yield self
        for child in self.children or ():
            yield from child.walk()


@dataclass(slots=True)
class CodeTable:
    """A table: `patterns` are the rows that stand for many codes."""

    name: str
    codes: Any
    version: str
    patterns: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tables:
    """One version. Fields and components by number."""

    version: str
    segments: dict[str, dict[int, Record]]
    data_types: dict[str, dict[int, Record]]
    tables: dict[str, CodeTable]
    structures: dict[str, Place]


def read_all() -> dict[str, Tables]:
    """Every version of the installed hl7apy that there is a dictionary for."""
    return {version: _read(version) for version in VERSIONS}


def _read(version: str) -> Tables:
    source = importlib.import_module("hl7apy.v" + version.replace(".", "_"))
    structures = {
        name: Place(name, 1, 1, _children(content[1], name, source.GROUPS)) for name, content in source.MESSAGES.items()
    }
    types = {name: _records(components) for name, components in source.DATATYPES_STRUCTS.items()}
    types |= {name: {} for name in source.get_base_datatypes() if name not in types}
    return Tables(
        version,
        {name: _records(content[1] if len(content) == 2 else content) for name, content in source.SEGMENTS.items()},
        types,
        {n: CodeTable(title, codes, version) for n, (title, codes) in getattr(source, "TABLES", {}).items()},
        structures,
    )


def _records(rows: Any) -> dict[int, Record]:
    """Records by number; the pseudo segment ANYHL7SEGMENT, whose rows are segments, has none."""
    found: dict[int, Record] = {}
    for row in rows:
        if isinstance(row, tuple | list) and len(row) == 4 and "_" in row[0]:
            name, reference, (minimum, maximum), _ = row
            number = int(name.rpartition("_")[2])
            found[number] = Record(
                reference[3], str(reference[2]), minimum, maximum, reference[4] or "", tuple(reference)
            )
    return found


def _children(rows: Any, structure: str, groups: Any) -> list[Place]:
    found = []
    for name, _, (minimum, maximum), kind in rows:
        if kind == "SEG":
            found.append(Place(name, minimum, maximum))
        else:
            mode, below = groups[name]
            children = _children(below, structure, groups)
            short = name[len(structure) + 1 :] if name.upper().startswith(f"{structure.upper()}_") else name
            found.append(Place(short, minimum, maximum, children, mode == "choice"))
    return found
