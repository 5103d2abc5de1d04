"""Our verdicts beside those of hl7apy's validator, on public samples: who says more, and why.

The samples are not part of this project. SEGMILL_CORPUS names a folder of `*.hl7` files. A disagreement that none of
the REASONS explains fails the test; it is a fault of ours, or a new reason to be written down, here and in
`engine/docs/validation.md`.
"""

import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hl7apy.parser import parse_message
from hl7apy.validation import Validator as Hl7apyValidator

from engine.hl7.dictionary import Dictionary, FieldDef, Group, SegmentRef, load
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.validate import Validation, Validator
from engine.hl7.validate.values import codes_of, is_coded

CORPUS = Path(os.environ.get("SEGMILL_CORPUS", ""))
MOST_BYTES = 20_000
"""hl7apy takes minutes for the largest samples."""

pytestmark = pytest.mark.skipif(
    not os.environ.get("SEGMILL_CORPUS") or not CORPUS.is_dir(), reason="SEGMILL_CORPUS names no folder of samples"
)

WITHDRAWN = ("field.withdrawn", "component.withdrawn")
UNPLACED = ("segment.unknown", "structure.unexpected", "structure.order")
LIMITS = ("cardinality", "structure.repeated", *WITHDRAWN)

Claim = tuple[str, str]
"""What is said of a place: `missing`, `limit`, `table`, or anything else; and a place, `PID-3.5` without indexes."""


@dataclass
class Case:
    """One sample, with what both say of it."""

    message: Message
    validation: Validation
    ours: set[Claim] = field(default_factory=set)
    theirs: set[Claim] = field(default_factory=set)

    @property
    def dictionary(self) -> Dictionary:
        return load(self.validation.version)

    def definition(self, place: str) -> FieldDef | None:
        segment, _, rest = place.partition("-")
        known = self.dictionary.segment(segment)
        number = rest.partition(".")[0]
        return known.field(int(number)) if known and number.isdigit() else None

    def places_of(self, *rules: str) -> set[str]:
        return {bare(v.location) for v in self.validation.violations if v.rule in rules}


def bare(location: str) -> str:
    return re.sub(r"\[\d+\]", "", location)


def segment_of(place: str) -> str:
    return place.partition("-")[0]


# --- what hl7apy says -------------------------------------------------------------------------------------------------


def hl7apys_lines(raw: bytes) -> tuple[bool, list[str]]:
    """Whether hl7apy knows the structure, and its report; raises what hl7apy raises for what it cannot read."""
    text = raw.decode("utf-8", "replace").strip("\r\n").replace("\n", "\r")
    message = parse_message(text, find_groups=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.txt"
        try:
            Hl7apyValidator.validate(message, report_file=str(report))
        except Exception:
            assert report.exists()  # it raises its first error after it wrote them all
        return message.name is not None, report.read_text("utf-8").splitlines()


def hl7apys_claims(lines: list[str], case: Case) -> Iterator[Claim]:
    for line in lines:
        if found := re.match(r"Error: Missing required child (\S+)\.(\S+)$", line):
            yield "missing", place_of(found[1], found[2], case)
        elif found := re.match(r"Error: Child limit exceeded (\S+)\.(\S+)$", line):
            yield "limit", place_of(found[1], found[2], case)
        elif found := re.match(r"Warning: Value .* not in table HL7\d+ in element (\S+)\.(\S+)$", line, re.DOTALL):
            yield "table", place_of(found[1], found[2], case)
        elif found := re.match(r"Error: Datatype \S+ is not correct for (\S+)\.(\S+) ", line):
            yield "type", place_of(found[1], found[2], case)
        elif found := re.match(r"Error: Invalid children detected for <\w+ (\w+)", line):
            yield "invalid", found[1].replace("_", "-")
        elif line.startswith(("Error:", "Warning:")):
            yield "other", line


def place_of(parent: str, child: str, case: Case) -> str:
    """`PID` and `PID_3` as PID-3; `PID_3` and `CX_5` as PID-3.5; a group as the segment that it is missed by."""
    head, _, number = child.rpartition("_")
    if number.isdigit() and head == parent:
        return f"{head}-{number}"
    if number.isdigit() and re.fullmatch(r"[A-Z][A-Z0-9]{2}_\d+", parent):
        return f"{parent.replace('_', '-')}.{number}"
    if case.validation.structure and child.startswith(f"{case.validation.structure}_"):
        structure = case.dictionary.structure(case.validation.structure)
        name = child[len(case.validation.structure) + 1 :]
        group = next((g for g in groups_of(structure.children) if g.name == name), None)
        return first_segment(group) if group else child
    return child


def groups_of(children: tuple[Group | SegmentRef, ...]) -> Iterator[Group]:
    for child in children:
        if isinstance(child, Group):
            yield child
            yield from groups_of(child.children)


def first_segment(place: Group | SegmentRef) -> str:
    if isinstance(place, SegmentRef):
        return place.name
    required = [child for child in place.children if child.minimum or place.is_choice]
    return first_segment((required or place.children)[0])


# --- what we say ------------------------------------------------------------------------------------------------------


def our_claims(validation: Validation) -> Iterator[Claim]:
    for violation in validation.violations:
        place = bare(violation.location)
        if violation.rule in ("required", "structure.missing"):
            yield "missing", place
        elif violation.rule in LIMITS:
            yield "limit", place
        elif violation.rule.startswith("table"):
            yield "table", place
        else:
            yield violation.rule, place


# --- why they differ --------------------------------------------------------------------------------------------------


def is_withdrawn(case: Case, place: str) -> bool:
    definition = case.definition(place)
    return definition is not None and definition.usage == "X"


def is_in_choice(case: Case, name: str) -> bool:
    structure = case.dictionary.structure(case.validation.structure or "")
    groups = groups_of(structure.children) if structure else ()
    return any(name in [child.name for child in group.children] for group in groups if group.is_choice)


def has_parts(case: Case, place: str) -> bool:
    """Whether there are components where the standard has none."""
    return any(segment_of(found) == segment_of(place) for found in case.places_of("component.unknown"))


def is_of_data_type(case: Case, place: str) -> bool:
    """A subcomponent, which hl7apy names by its data type (`XCN-9.3`, `RI_1`) wherever it stands."""
    return case.dictionary.data_type(re.split(r"[-_]", place)[0]) is not None


def has_no_codes(case: Case, place: str) -> bool:
    definition = case.definition(place)
    table = case.dictionary.table(definition.table) if definition else None
    return table is not None and not table.codes


def ends_in_delimiters(case: Case, place: str) -> bool:
    segment, _, number = place.partition("-")
    texts = (
        [case.message.fields(i)[int(number) :][:1] for i in case.message.indexes(segment)] if number.isdigit() else []
    )
    return any(text and text[0].endswith(case.message.delimiters.component) for text in texts)


def is_open_table(case: Case, place: str) -> bool:
    """Of a component: any of the tables of its field's data type stands for more codes than it lists."""
    definition = case.definition(place)
    known = case.dictionary.data_type(definition.data_type) if definition else None
    numbers = [component.table for component in known.components] if known else []
    tables = [case.dictionary.table(number) for number in numbers if number]
    return any(table is not None and codes_of(table) is None for table in tables)


def is_code(case: Case, place: str) -> bool:
    """A coded field, or one of whose components is coded."""
    definition = case.definition(place)
    known = case.dictionary.data_type(definition.data_type) if definition else None
    types = [definition.data_type if definition else "", *(c.data_type for c in (known.components if known else ()))]
    return any(is_coded(data_type) for data_type in types)


def is_unplaced(case: Case, place: str) -> bool:
    """In a message in which hl7apy leaves segments out, because they are unknown, unexpected or out of order."""
    return bool(case.places_of(*UNPLACED))


def is_of_empty_group(case: Case, place: str) -> bool:
    """The first segment of a group of which every part is optional."""
    structure = case.dictionary.structure(case.validation.structure or "")
    groups = groups_of(structure.children) if structure else ()
    return any(first_segment(g) == place and not any(child.minimum for child in g.children) for g in groups)


def has_odd_name(case: Case, place: str) -> bool:
    return any(name and len(name) != 3 for name in case.message.names())


def is_there(case: Case, place: str) -> bool:
    return place in case.message.names()


def stands_twice(case: Case, place: str) -> bool:
    return "-" not in place and case.message.names().count(place) > 1


def always(case: Case, place: str) -> bool:
    return True


@dataclass(frozen=True)
class Reason:
    """`who` alone claims something of that kind, where `when` holds, because of `why`."""

    who: str
    kind: str
    when: Callable[[Case, str], bool]
    why: str


REASONS = (
    Reason("hl7apy", "missing", is_withdrawn, "it asks for components of withdrawn fields; we look no further there"),
    Reason("hl7apy", "missing", is_in_choice, "it asks for every alternative of a choice"),
    Reason("hl7apy", "missing", lambda c, p: p == "OBX-4", "OBX-4 is conditional (a repair of the dictionary)"),
    Reason("hl7apy", "missing", has_odd_name, "it takes the first three characters of a line for a segment"),
    Reason("hl7apy", "missing", is_of_empty_group, "a group of which every part is optional can be there without any"),
    Reason("hl7apy", "missing", is_there, "it opens a group again, and misses in it what stands in the other"),
    Reason("hl7apy", "missing", is_unplaced, "what it leaves out, it misses"),
    Reason("hl7apy", "limit", stands_twice, "it counts a segment by its name, wherever the structure has it"),
    Reason("hl7apy", "limit", lambda c, p: "-" not in p, "it opens a group again that goes on"),
    Reason("hl7apy", "table", is_open_table, "the table has rows that stand for many codes, such as HL7nnnn"),
    Reason("hl7apy", "table", lambda c, p: p == "OBX-2", "table 0125 lacks data types (a repair of the dictionary)"),
    Reason("hl7apy", "table", lambda c, p: p.startswith("MSH-9"), "codes of a site's own events begin with Z"),
    Reason("hl7apy", "table", has_parts, "it looks a whole field up, components and all"),
    Reason("hl7apy", "table", is_of_data_type, "it names subcomponents by their data type, so they cannot be compared"),
    Reason("hl7apy", "table", has_no_codes, "a table without codes is one that a site fills"),
    Reason("hl7apy", "table", ends_in_delimiters, "delimiters at the end of a field mean nothing (hl7.md item 45)"),
    Reason("hl7apy", "table", has_odd_name, "it takes the first three characters of a line for a segment"),
    Reason("hl7apy", "type", is_withdrawn, "it has no data type for withdrawn fields"),
    Reason("hl7apy", "type", has_parts, "it gives a field with unexpected components no data type"),
    Reason("hl7apy", "type", always, "it gives some components no data type, and then says that this is the wrong one"),
    Reason("hl7apy", "invalid", always, "we name the field or component itself: unknown or withdrawn"),
    Reason("hl7apy", "other", always, "elements that it could not name"),
    Reason("segmill", "structure.declared", always, "it takes MSH-9.3 as it stands, and has no table of events"),
    Reason("segmill", "length", always, "it has no lengths"),
    Reason("segmill", "component.unknown", always, "it says only that a segment has invalid children, if anything"),
    Reason("segmill", "component.withdrawn", always, "it does not have the component"),
    Reason("segmill", "field.unknown", always, "it says only that a segment has invalid children"),
    Reason("segmill", "segment.unknown", always, "it leaves such segments out (hl7.md item 44)"),
    Reason("segmill", "structure.unexpected", always, "it leaves such segments out (hl7.md item 44)"),
    Reason("segmill", "structure.order", always, "it does not look at the order"),
    Reason("segmill", "limit", is_withdrawn, "it does not have fields whose number the standard withdrew"),
    Reason("segmill", "limit", is_in_choice, "it counts groups, we name the segment that is too many"),
    Reason("segmill", "limit", stands_twice, "it puts what is too many into a group again"),
    Reason("segmill", "limit", lambda c, p: "XTN" in str(c.definition(p)), "XTN.1 of 2.6 is withdrawn, and not there"),
    Reason("segmill", "table", is_code, "it looks only up what has no components, not codes with a coding system"),
    Reason("segmill", "table", lambda c, p: c.validation.version in ("2.1", "2.2", "2.3"), "it has no tables there"),
    Reason("segmill", "table", lambda c, p: p.startswith("OBX-5"), "it does not look into OBX-5"),
    Reason("segmill", "table", is_unplaced, "it leaves such segments out (hl7.md item 44)"),
    Reason("segmill", "missing", lambda c, p: p.startswith("OBX-5"), "it does not look into OBX-5"),
    Reason("segmill", "missing", is_unplaced, "it leaves such segments out (hl7.md item 44)"),
    Reason("segmill", "datatype.OBX-5", always, "it does not look into OBX-5"),
    *(
        Reason(
            "segmill",
            f"datatype.{name}",
            always,
            "its validator looks at no value; its strict parser takes `>5` for a number",
        )
        for name in ("NM", "SI", "DT", "TM", "TS", "DTM", "blank")
    ),
)


def reason_for(who: str, claim: Claim, case: Case) -> str | None:
    kind, place = claim
    return next((r.why for r in REASONS if r.who == who and r.kind == kind and r.when(case, place)), None)


def test_every_disagreement_with_hl7apy_has_a_reason() -> None:
    logging.disable(logging.CRITICAL)
    validator = Validator()
    agreed: Counter[str] = Counter()
    explained: Counter[tuple[str, str, str]] = Counter()
    unexplained: list[tuple[str, str, Claim, str]] = []
    unreadable = nameless = 0
    try:
        for path in sorted(CORPUS.glob("*.hl7")):
            raw = path.read_bytes().partition(b"\x1c")[0].replace(b"\x0b", b"")
            if len(raw) > MOST_BYTES:
                continue
            try:
                message = Message.parse(raw)
            except UnreadableMessage:
                continue
            validation = validator.validate(message)
            try:
                has_name, lines = hl7apys_lines(raw)
            except Exception:  # whatever hl7apy raises for what it cannot read; we can
                unreadable += 1
                continue
            if not has_name:
                nameless += 1  # MSH-9.3 is empty: without an event map it knows no structure, and checks nothing
                continue
            case = Case(message, validation)
            case.ours = set(our_claims(validation))
            case.theirs = set(hl7apys_claims(lines, case))
            agreed.update(kind for kind, _ in case.ours & case.theirs)
            for who, claims in (("segmill", case.ours - case.theirs), ("hl7apy", case.theirs - case.ours)):
                for claim in claims:
                    why = reason_for(who, claim, case)
                    if why is None:
                        unexplained.append((path.name, who, claim, validation.version))
                    else:
                        explained[who, claim[0], why] += 1
    finally:
        logging.disable(logging.NOTSET)
    for (who, kind, why), count in sorted(explained.items()):
        print(f"{count:5} only {who:8} {kind:22} {why}")
    print(f"agreed: {dict(agreed)}; {unreadable} that hl7apy cannot read, {nameless} without a structure for it")
    assert not unexplained, "\n".join(map(str, unexplained))
    assert sum(agreed.values()) > 300


def test_reasons_are_in_the_documentation() -> None:
    """The page says why we differ, reason by reason."""
    import engine.docs

    page = (Path(engine.docs.__file__).parent / "validation.md").read_text("utf-8")
    words = " ".join(page.split())
    assert [r.why for r in REASONS if r.why not in words] == []
