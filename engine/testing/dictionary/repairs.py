"""What is wrong in hl7apy's tables, and how it is put right: one row a fault, with the reason.

A repair gives the number of places that it changed. One that finds nothing fails the generator, so that no row
outlives the fault that it is for.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from engine.hl7.dictionary.versions import VERSIONS
from engine.testing.dictionary.names import in_words
from engine.testing.dictionary.tables import CodeTable, Place, Record, Tables

Versions = dict[str, Tables]
Kind = Literal["segments", "data_types"]

WITHDRAWN_NAME: Final = "Withdrawn"
_NO_TYPE: Final = frozenset({"WD", "wd", "None"})
_MANY: Final = re.compile(r"<\w+#?>|\.\.\.|…|\bn{2,}\b|^\d+ _ ?\d+$|nnnn")
_SEVERAL: Final = re.compile(r"[A-Z](?:, ?[A-Z])+")
_NO_CODE: Final = re.compile(r"[.…_\s\xa0]*|no suggested.*|<null>|2 _", re.IGNORECASE)


class Repair(NamedTuple):
    """`what` is wrong, `why` it is put right in this way, and `apply`, which counts the places."""

    what: str
    why: str
    apply: Callable[[Versions], int]


def _single_field_lists(all: Versions) -> int:
    """Nothing to change: `read_all` takes ORO's fields from the list that hl7apy forgot to wrap."""
    return int(len(all["2.1"].segments["ORO"]) == 4)


def _shifted_record(all: Versions) -> int:
    record = all["2.1"].segments["RX1"][30]
    if len(record.source) != 7:
        return 0
    record.name, record.data_type, record.table = "INSTRUCTIONS_SIG", "CE", ""
    return 1


def _pseudo_segments(all: Versions) -> int:
    count = 0
    for tables in all.values():
        count += len([tables.segments.pop(name) for name in list(tables.segments) if len(name) != 3])
        for place in _places(tables):
            if place.name == "ANYHL7SEGMENT":
                place.name = "@"
                count += 1
    return count


def _withdrawn_segments(all: Versions) -> int:
    count = 0
    for version, tables in all.items():
        for name in [name for name, fields in tables.segments.items() if not fields]:
            before = next(t.segments[name] for t in _earlier(all, version) if t.segments.get(name))
            tables.segments[name] = {n: _withdrawn(record) for n, record in before.items()}
            count += 1
    return count


def _gaps(all: Versions) -> int:
    count = 0
    for version, tables in all.items():
        for kind, name, records in _records(tables):
            for number in [n for n in range(1, max(records, default=0)) if n not in records]:
                before = _last_in_use(all, version, kind, name, number)
                records[number] = _withdrawn(before) if before else Record(WITHDRAWN_NAME, "WD", 0, 0, "")
                count += 1
    return count


def _withdrawn_types(all: Versions) -> int:
    count = 0
    for version, tables in all.items():
        for kind, name, records in _records(tables):
            for number, record in records.items():
                if record.maximum != 0 and record.data_type not in _NO_TYPE:
                    continue
                before = _last_in_use(all, version, kind, name, number)
                record.minimum = record.maximum = 0
                if before:
                    record.name, record.data_type, record.table = before.name, before.data_type, before.table
                elif record.data_type in _NO_TYPE:
                    record.data_type = "ST"
                count += 1
    for tables in all.values():
        tables.data_types.pop("WD", None)
    return count


def _dropped_data_types(all: Versions) -> int:
    count = 0
    for version, tables in all.items():
        for earlier in _earlier(all, version):
            for name in earlier.data_types.keys() - tables.data_types.keys():
                if not name.startswith("CM_"):
                    tables.data_types[name] = earlier.data_types[name]
                    count += 1
    return count


def _empty_groups(all: Versions) -> int:
    count = 0
    for tables in all.values():
        for place in _places(tables):
            children = place.children or []
            kept = [child for child in children if child.children is None or child.children]
            count += len(children) - len(kept)
            if place.children is not None:
                place.children[:] = kept
    return count


def _conditional_fields(all: Versions) -> int:
    count = 0
    for version in ("2.7", "2.8", "2.8.1", "2.8.2"):
        for number in (2, 4):
            record = all[version].segments["OBX"][number]
            count += record.minimum
            record.minimum, record.maximum = 0, 1
    return count


def _degree_of_precision(all: Versions) -> int:
    record = all["2.1"].data_types["TS"][2]
    count, record.minimum = record.minimum, 0
    return count


def _names_in_words(all: Versions) -> int:
    count = 0
    for tables in all.values():
        for name, records in tables.segments.items():
            for record in records.values():
                record.name = in_words(record.name, "", name)
                count += 1
        for records in tables.data_types.values():
            for record in records.values():
                record.name = in_words(record.name, record.data_type)
                count += 1
    return count


def _missing_names(all: Versions) -> int:
    count = 0
    for tables in all.values():
        for records in tables.data_types.values():
            for record in records.values():
                if not record.name:
                    table = tables.tables.get(record.table)
                    record.name = table.name if table else "Unnamed"
                    count += 1
    return count


def _no_table(all: Versions) -> int:
    count = 0
    for tables in all.values():
        for records in [*tables.segments.values(), *tables.data_types.values()]:
            for record in records.values():
                if record.table == "HL79999" or not re.fullmatch(r"(HL7\d{4})?", record.table):
                    record.table = ""
                    count += 1
    return count


def _single_codes(all: Versions) -> int:
    count = 0
    for tables in all.values():
        for table in tables.tables.values():
            if isinstance(table.codes, str):
                table.codes = (table.codes,)
                count += 1
    return count


def _codes(all: Versions) -> int:
    count = 0
    for tables in all.values():
        for table in tables.tables.values():
            codes: list[str] = []
            rows = [part for code in table.codes for part in (code.split(",") if _SEVERAL.fullmatch(code) else [code])]
            for code in rows:
                text = re.sub(r"[\s\xa0]+", " ", re.sub(r" \((?:obsolete|deprecated)\)$", "", code)).strip()
                if _NO_CODE.fullmatch(text):
                    continue
                if _MANY.search(text):
                    table.patterns.append(text)
                elif text not in codes:
                    codes.append(text)
            count += codes != list(table.codes)
            table.codes = codes
    return count


def _value_types(all: Versions) -> int:
    count = 0
    for tables in all.values():
        table = tables.tables.get("HL70125")
        if table is not None:
            types = {name for name in tables.data_types if len(name) <= 3} - {"CM", "CQ", "SI", "ID"}
            missing = sorted(types - set(table.codes))
            table.codes = [*table.codes, *missing]
            count += len(missing)
    return count


def _table_numbers(all: Versions) -> int:
    count = 0
    for tables in all.values():
        for number in [n for n in tables.tables if not re.fullmatch(r"HL7\d{4}", n)]:
            del tables.tables[number]
            count += 1
        for number, table in tables.tables.items():
            name = re.sub(r"\s+", " ", table.name).strip()
            count += name != table.name
            table.name = name or f"Table {number[3:]}"
    return count


def _borrowed_tables(all: Versions) -> int:
    count = 0
    for version in ("2.1", "2.2", "2.3"):
        for number in sorted(_numbers_used(all[version])):
            table = all["2.3.1"].tables.get(number)
            if table and number not in all[version].tables:
                all[version].tables[number] = CodeTable(table.name, table.codes, table.version, table.patterns)
                count += 1
    return count


def _country_codes(all: Versions) -> int:
    count = 0
    for tables in all.values():
        table = tables.tables.get("HL70399")
        if table is not None and table.codes:
            table.codes = ()
            count += 1
    return count


def _misspelt_structure(all: Versions) -> int:
    place = all["2.3"].structures.pop("ARD_A19", None)
    if place is None:
        return 0
    place.name = "ADR_A19"
    all["2.3"].structures["ADR_A19"] = place
    return 1


def _one_of_order_details(all: Versions) -> int:
    count = 0
    for place in list(_places(all["2.1"])):
        names = [child.name for child in place.children or ()]
        if place.children and names[:3] == ["OBR", "ORO", "RX1"]:
            place.children[:3] = [Place("CHOICE", 1, 1, place.children[:3], is_choice=True)]
            count += 1
    return count


def _notes_after_results(all: Versions) -> int:
    count = 0
    for tables in (all["2.1"], all["2.2"]):
        for place in _places(tables):
            for child in place.children or ():
                if child.name == "NTE" and child.minimum:
                    child.minimum = 0
                    count += 1
    return count


REPAIRS: Final = (
    Repair(
        "the fields of ORO in 2.1 stand where the list of fields should stand",
        "the list was not wrapped; hl7apy itself fails on an ORO segment",
        _single_field_lists,
    ),
    Repair(
        "RX1-30 in 2.1 has a word too many, so that its name is its data type and its table its name",
        "it is Instructions (sig), CE",
        _shifted_record,
    ),
    Repair(
        "ANYHL7SEGMENT is listed as a segment whose fields are segments",
        "in a structure it stands for any segment; as a segment it does not exist",
        _pseudo_segments,
    ),
    Repair(
        "QRD, QRF, URD and URS have no fields in 2.7",
        "they were withdrawn; senders still send them, so they keep the fields of 2.6, all withdrawn",
        _withdrawn_segments,
    ),
    Repair(
        "numbers are left out of the fields of a segment, such as PID-28 in 2.8, or of the components of XTN in 2.6",
        "those are withdrawn; by position every later one would have the wrong definition",
        _gaps,
    ),
    Repair(
        "withdrawn fields have the data type WD, wd or None, or the name and type of the field before",
        "they keep those of the last version that defines them, since old senders still send them so",
        _withdrawn_types,
    ),
    Repair(
        "data types that a version dropped, such as CE and TS, are not there",
        "withdrawn fields have them, and old senders still write them into OBX-2; they stay as they were last",
        _dropped_data_types,
    ),
    Repair(
        "OBX-2 and OBX-4 are required from 2.7 on, and OBX-4 repeats in 2.8",
        "they are conditional: on a value in OBX-5, and on an OBX-3 that occurs more than once (v2.7 section 7.4.2)",
        _conditional_fields,
    ),
    Repair(
        "a time stamp of 2.1 must have its degree of precision",
        "a component that is not needed may be left out (v2.1 section 2.4.5), and hardly any sender writes it",
        _degree_of_precision,
    ),
    Repair("a table's only code is a text instead of a list", "it would be read as a list of letters", _single_codes),
    Repair(
        "codes with blanks around, remarks, rows of dots, codes in one row (L,M,N), and rows for many: Q<integer>H",
        "blanks and remarks are not part of a code, dots are no code, and ranges must not be compared as text",
        _codes,
    ),
    Repair(
        "a table number with three digits, and names of tables with line breaks or none",
        "no field refers to the first; a name is one line",
        _table_numbers,
    ),
    Repair(
        "table HL79999, and a name in the place of a table's number",
        "9999 is the standard's mark for none",
        _no_table,
    ),
    Repair(
        "2.1, 2.2 and 2.3 have no tables at all",
        "they take those of 2.3.1, which say so by their version; a code that is missing there is only a warning",
        _borrowed_tables,
    ),
    Repair(
        "table 0125, of what OBX-2 may say, lacks data types that the version has, such as CWE in 2.5.1",
        "all data types are valid there, but for CM, CQ, SI and ID (v2.5.1 section 7.4.2.2)",
        _value_types,
    ),
    Repair(
        "table 0399 has the country codes of ISO 3166 as they once were: not those of Romania, Serbia and others today",
        "they are ISO's and change with it; from 2.7 on the table itself lists none",
        _country_codes,
    ),
    Repair("components without a name", "they take that of their table", _missing_names),
    Repair(
        "names in capitals with underscores, misspelt, with data types at their end",
        "people read them in reports and in the console",
        _names_in_words,
    ),
    Repair("ADR_A19 is called ARD_A19 in 2.3", "the message is ADR^A19", _misspelt_structure),
    Repair(
        "ORM_O01 and ORR_O02 in 2.1 ask for OBR, ORO and RX1 in every order",
        "an order has one of them (v2.1 section 4.2.1), as later versions say with a choice",
        _one_of_order_details,
    ),
    Repair("QBP_Q13 in 2.4 has a group with nothing in it", "nothing can stand there", _empty_groups),
    Repair("ORM_O01 in 2.2 asks for an NTE after the results", "notes are optional everywhere", _notes_after_results),
)
"""In the order in which they are applied."""


def repair(all: Versions) -> list[tuple[Repair, int]]:
    """Apply all repairs; how many places each changed. Raises ValueError for one that found nothing to change."""
    done = [(each, each.apply(all)) for each in REPAIRS]
    if idle := [each.what for each, count in done if not count]:
        raise ValueError(f"hl7apy no longer has this fault; remove its repair: {idle[0]}")
    return done


def _withdrawn(record: Record) -> Record:
    return Record(record.name, record.data_type, 0, 0, record.table)


def _earlier(all: Versions, version: str) -> Iterator[Tables]:
    """The versions below, the nearest first."""
    for name in reversed(VERSIONS[: VERSIONS.index(version)]):
        yield all[name]


def _last_in_use(all: Versions, version: str, kind: Kind, name: str, number: int) -> Record | None:
    """A field or component as the last version below had it in which it was not withdrawn."""
    for tables in _earlier(all, version):
        records = tables.segments if kind == "segments" else tables.data_types
        record = records.get(name, {}).get(number)
        if record and record.maximum != 0 and record.data_type not in _NO_TYPE:
            return record
    return None


def _records(tables: Tables) -> Iterator[tuple[Kind, str, dict[int, Record]]]:
    for name, fields in tables.segments.items():
        yield "segments", name, fields
    for name, components in tables.data_types.items():
        yield "data_types", name, components


def _places(tables: Tables) -> Iterator[Place]:
    for structure in tables.structures.values():
        yield from structure.walk()


def _numbers_used(tables: Tables) -> set[str]:
    records = [*tables.segments.values(), *tables.data_types.values()]
    return {record.table for each in records for record in each.values() if record.table}
