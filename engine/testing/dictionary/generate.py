"""From hl7apy's tables and `supplement.txt` to the data files of `engine.hl7.dictionary`, the same bytes every time."""

import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from engine.hl7.dictionary.versions import VERSIONS
from engine.hl7.version import parse_version
from engine.testing.dictionary.events import event_map
from engine.testing.dictionary.repairs import repair
from engine.testing.dictionary.tables import CodeTable, Place, Record, Tables, read_all

FOLDER = Path(__file__).parents[2] / "hl7" / "dictionary"
_LENGTHS_END_AT = parse_version("2.7")
"""From 2.7 on a length says where a value may be cut, not that it is wrong (v2.7 section 2.5.5)."""


class _Extra(NamedTuple):
    title: str
    lengths: tuple[str, ...]


Supplement = Mapping[tuple[str, str], _Extra]


def texts() -> dict[str, str]:
    """The text of each version, which the data files hold compressed."""
    all = read_all()
    repair(all)
    supplement = _supplement()
    return {version: _text(tables, supplement) for version, tables in all.items()}


def write(folder: Path = FOLDER) -> None:
    """Write all data files anew."""
    for version, text in texts().items():
        (folder / f"{version}.z").write_bytes(zlib.compress(text.encode("utf-8"), 9))


def main() -> None:
    """Write the data files and say what was repaired."""
    for done, count in repair(read_all()):
        sys.stdout.write(f"{count:6} {done.what}\n")
    write()


def _text(tables: Tables, supplement: Supplement) -> str:
    version = tables.version
    lines = []
    for name, fields in sorted(tables.segments.items()):
        extra = _extra(supplement, version, name)
        lines.append(f"S {name}\t" + "|".join([extra.title, *_fields(fields, extra, tables)]))
    for name, components in sorted(tables.data_types.items()):
        extra = _extra(supplement, version, f"@{name}")
        lines.append(f"D {name}\t" + "|".join([extra.title, *_components(components, extra, tables)]))
    lines += [f"T {number[3:]}\t{_table(table)}" for number, table in sorted(tables.tables.items())]
    lines += [f"M {name}\t{_children(place)}" for name, place in sorted(tables.structures.items())]
    events = event_map(version, VERSIONS, tables.structures)
    lines.append("E\t" + " ".join(f"{event}={structure}" for event, structure in events.items()))
    return "\n".join(lines) + "\n"


def _fields(fields: dict[int, Record], extra: _Extra, tables: Tables) -> list[str]:
    found = []
    for number in range(1, max(fields, default=0) + 1):
        record = fields[number]
        maximum = "" if record.maximum in (0, 1) else "*" if record.maximum == -1 else str(record.maximum)
        parts = (
            record.name,
            record.data_type,
            _usage(record),
            maximum,
            _length(extra, number, record, tables),
            record.table[3:],
        )
        found.append(";".join(parts))
    return found


def _components(components: dict[int, Record], extra: _Extra, tables: Tables) -> list[str]:
    found = []
    for number in range(1, max(components, default=0) + 1):
        record = components[number]
        found.append(
            ";".join(
                (
                    record.name,
                    record.data_type,
                    _usage(record),
                    _length(extra, number, record, tables),
                    record.table[3:],
                )
            )
        )
    return found


def _usage(record: Record) -> str:
    return "X" if record.maximum == 0 else "R" if record.minimum else ""


def _length(extra: _Extra, number: int, record: Record, tables: Tables) -> str:
    """The stated length; none where a code of the place's own table is longer, such as CWE in OBX-2 (2 characters)."""
    length = extra.lengths[number - 1] if number <= len(extra.lengths) else ""
    table = tables.tables.get(record.table)
    is_short = length and table and record.data_type in ("ID", "IS") and any(len(c) > int(length) for c in table.codes)
    return "" if is_short else length


def _table(table: CodeTable) -> str:
    return "\t".join([table.name, table.version, *table.codes, *[f"={pattern}" for pattern in table.patterns]])


def _children(place: Place) -> str:
    return " ".join(_place(child) for child in place.children or ())


def _place(place: Place) -> str:
    usual = {(1, 1): "", (0, 1): "?", (0, -1): "*", (1, -1): "+"}
    most = "" if place.maximum == -1 else str(place.maximum)
    times = usual.get((place.minimum, place.maximum), f"{{{place.minimum},{most}}}")
    if place.children is None:
        return place.name + times
    return f"{place.name}{times}{'<' if place.is_choice else '('} {_children(place)} )"


def _supplement() -> Supplement:
    found = {}
    for line in Path(__file__).with_name("supplement.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            version, name, title, lengths = line.split("\t")
            found[version, name] = _Extra(title, tuple(lengths.split(",")) if lengths else ())
    return found


def _extra(supplement: Supplement, version: str, name: str) -> _Extra:
    """Of that version; the title else of the nearest one that has one, the lengths only below 2.7."""
    own = supplement.get((version, name))
    order = sorted(VERSIONS, key=lambda other: abs(VERSIONS.index(other) - VERSIONS.index(version)))
    titles = [supplement[other, name].title for other in order if (other, name) in supplement]
    lengths = own.lengths if own and parse_version(version) < _LENGTHS_END_AT else ()
    return _Extra(next((title for title in titles if title), ""), lengths)
