"""What the dictionary says of each version, that it is fresh, small and quickly loaded."""

import re
import time
from pathlib import Path

import pytest

import engine.hl7.dictionary as dictionary_package
from engine.hl7.dictionary import (
    ANY_SEGMENT,
    VARIES,
    VERSIONS,
    Dictionary,
    Group,
    SegmentRef,
    load,
    nearest_version,
)
from engine.hl7.dictionary.lookup import _load
from engine.hl7.errors import NOTICES
from engine.testing.dictionary.generate import texts
from engine.testing.dictionary.names import in_words
from engine.testing.dictionary.repairs import REPAIRS, repair
from engine.testing.dictionary.tables import read_all

FOLDER = Path(dictionary_package.__file__).parent


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.5.1", "2.5.1"),
        ("2.5^FRA^2.11", "2.5"),
        ("2.4^^", "2.4"),
        ("2.9", "2.8.2"),
        ("2.7.1", "2.7"),
        ("2.3.z", "2.3"),
        ("2.3 PID", "2.3"),
        ("1.0", "2.1"),
        ("", "2.5.1"),
        ("nonsense", "2.5.1"),
    ],
)
def test_a_version_that_is_not_known_is_the_nearest_below(text: str, version: str) -> None:
    assert nearest_version(text) == version
    assert load(text).version == version


@pytest.mark.parametrize(
    ("version", "code", "event", "structure"),
    [
        *[("2.5", "ADT", event, "ADT_A01") for event in ("A01", "A04", "A08", "A13")],
        *[("2.4", "ADT", event, "ADT_A05") for event in ("A05", "A14", "A28", "A31")],
        ("2.5.1", "ADT", "A07", "ADT_A06"),
        ("2.5.1", "ADT", "A10", "ADT_A09"),
        ("2.4", "ADT", "A12", "ADT_A09"),
        ("2.5", "ADT", "A12", "ADT_A12"),
        *[("2.5", "ADT", event, "ADT_A21") for event in ("A22", "A23", "A25", "A26", "A27", "A29", "A32", "A33")],
        *[("2.5", "ADT", event, "ADT_A30") for event in ("A34", "A35", "A36", "A46", "A47", "A48", "A49")],
        *[("2.5.1", "ADT", event, "ADT_A39") for event in ("A40", "A41", "A42")],
        ("2.5", "ADT", "A44", "ADT_A43"),
        ("2.5", "ADT", "A51", "ADT_A50"),
        ("2.5", "ADT", "A53", "ADT_A52"),
        ("2.5", "ADT", "A55", "ADT_A52"),
        ("2.5", "ADT", "A62", "ADT_A61"),
        *[("2.5", "SIU", f"S{n}", "SIU_S12") for n in (13, 20, 24, 26)],
        *[("2.5", "SRM", f"S{n:02}", "SRM_S01") for n in range(2, 12)],
        *[("2.5", "MDM", f"T{n:02}", "MDM_T01") for n in (1, 3, 5, 7, 9, 11)],
        *[("2.5", "MDM", f"T{n:02}", "MDM_T02") for n in (2, 4, 6, 8, 10)],
        ("2.5", "REF", "I14", "REF_I12"),
        ("2.5", "ORU", "R32", "ORU_R30"),
        ("2.5", "ACK", "A01", "ACK"),
        ("2.5", "ACK", "", "ACK"),
        ("2.8", "ADT", "A40", "ADT_A39"),
        ("2.8", "ADT", "A47", "ADT_A44"),
        ("2.8", "ADT", "A49", "ADT_A43"),
        ("2.8", "ADT", "A53", "ADT_A52"),
        ("2.8", "ADT", "A55", "ADT_A54"),
        ("2.8", "SIU", "S27", "SIU_S12"),
        ("2.8", "ORU", "R40", "ORU_R01"),
        ("2.3.1", "ADT", "A08", "ADT_A01"),
        ("2.3.1", "ADT", "A40", "ADT_A39"),
        ("2.3.1", "SIU", "S13", "SIU_S12"),
        ("2.3.1", "REF", "I13", "REF_I12"),
        ("2.3", "ADT", "A08", "ADT_A01"),
        ("2.2", "ADT", "A08", "ADT_A08"),
        ("2.1", "ORU", "R01", "ORU_R01"),
        ("2.5", "ZZZ", "Z01", None),
    ],
)
def test_the_structure_of_an_event_is_looked_up_by_version(
    version: str, code: str, event: str, structure: str | None
) -> None:
    assert load(version).structure_of(code, event).id == structure


def test_a_group_that_2_8_dropped_is_not_looked_up_any_more() -> None:
    assert load("2.8").structure("ADT_A30") is None
    assert load("2.8").structure_of("ADT", "A34").id is None


@pytest.mark.parametrize(
    ("code", "event", "declared", "structure", "notices"),
    [
        ("ADT", "A08", "", "ADT_A01", []),
        ("ADT", "A08", "ADT_A01", "ADT_A01", []),
        ("ADT", "A08", "ADT_A08", "ADT_A01", ["W350"]),
        ("ORU", "", "ORU_R01", "ORU_R01", []),
        ("ADT", "Z99", "ADT_A01", "ADT_A01", []),
        ("ADT", "Z99", "", None, ["W351"]),
        ("ADT", "Z99", "ADT_Z99", None, ["W351"]),
        ("", "", "", None, ["W351"]),
    ],
)
def test_a_declared_structure_counts_only_where_the_table_knows_nothing(
    code: str, event: str, declared: str, structure: str | None, notices: list[str]
) -> None:
    choice = load("2.5").structure_of(code, event, declared)
    assert choice.id == structure
    assert [notice.code for notice in choice.notices] == notices
    assert set(notices) <= set(NOTICES)


def test_a_field_is_described() -> None:
    field = load("2.5.1").segment("PID").field(3)
    assert (field.name, field.data_type, field.usage, field.maximum, field.length, field.table) == (
        "Patient Identifier List",
        "CX",
        "R",
        None,
        250,
        "",
    )
    assert load("2.5.1").segment("PID").title == "Patient Identification"
    assert load("2.5.1").segment("PID").field(8).table == "0001"
    assert load("2.5.1").segment("OBX").field(5).data_type == VARIES
    assert load("2.5.1").segment("PID").field(99) is None
    assert load("2.5.1").segment("PID").field(0) is None
    assert load("2.5.1").segment("ZZZ") is None


def test_a_data_type_is_described() -> None:
    cx = load("2.5.1").data_type("CX")
    assert [component.name for component in cx.components[:4]] == [
        "ID Number",
        "Check Digit",
        "Check Digit Scheme",
        "Assigning Authority",
    ]
    assert cx.component(4).data_type == "HD"
    assert cx.component(1).length == 15
    assert not cx.is_primitive
    assert load("2.5.1").data_type("NM").is_primitive
    assert load("2.5.1").data_type("XYZ") is None


def test_a_table_is_described() -> None:
    table = load("2.5.1").table("0001")
    assert table.codes == ("A", "F", "M", "N", "O", "U")
    assert load("2.5.1").table("0335").patterns[0] == "Q<integer>D"
    assert load("2.5.1").table("9999") is None


def test_groups_have_the_names_that_the_xml_encoding_writes() -> None:
    children = load("2.5.1").structure("ORU_R01").children
    result = next(child for child in children if isinstance(child, Group))
    assert (result.name, result.minimum, result.maximum) == ("PATIENT_RESULT", 1, None)
    assert [child.name for child in result.children] == ["PATIENT", "ORDER_OBSERVATION"]
    assert load("2.5.1").structure("ORU_R01").segment_names() >= {"MSH", "PID", "OBX", "SPM"}


def test_a_choice_is_one() -> None:
    for version in ("2.1", "2.5"):
        detail = _group(load(version), "ORM_O01", "ORDER_DETAIL")
        choice = detail.children[0]
        assert isinstance(choice, Group)
        assert choice.is_choice
        assert "OBR" in [child.name for child in choice.children]


def _group(dictionary: Dictionary, structure: str, name: str) -> Group:
    found = [g for g in _groups(dictionary.structure(structure).children) if g.name == name]
    return found[0]


def _groups(children):
    for child in children:
        if isinstance(child, Group):
            yield child
            yield from _groups(child.children)


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_in_a_version_can_be_read_and_refers_to_what_is_there(version: str) -> None:
    dictionary = load(version)
    types = set(dictionary.data_type_names()) | {VARIES}
    segments = set(dictionary.segment_names()) | {ANY_SEGMENT}
    for name in dictionary.segment_names():
        segment = dictionary.segment(name)
        assert segment.title
        assert [field.number for field in segment.fields] == list(range(1, len(segment.fields) + 1))
        for field in segment.fields:
            assert field.data_type in types, (name, field)
            assert re.fullmatch(r"\d{4}|", field.table), (name, field)
            assert field.name and "_" not in field.name
            assert field.name != field.name.upper() or len(field.name) < 7
            assert field.length is None or field.length > 0
    for name in dictionary.data_type_names():
        for component in dictionary.data_type(name).components:
            assert component.data_type in types, (name, component)
            assert component.name and "_" not in component.name, (name, component)
    for id in dictionary.structure_ids():
        structure = dictionary.structure(id)
        assert isinstance(structure.children[0], SegmentRef)
        assert structure.children[0].name == "MSH"
        assert structure.segment_names() <= segments | {"MSH"}, id
        assert all(group.children for group in _groups(structure.children)), id
    for number in dictionary.table_numbers():
        table = dictionary.table(number)
        assert table.name
        assert all(code == code.strip() and code for code in table.codes), number


def test_countries_are_iso_s_and_no_version_of_hl7_refuses_a_newer_one() -> None:
    tables = [load(version).table("0399") for version in VERSIONS]
    assert [table.codes for table in tables if table is not None] == [()] * sum(table is not None for table in tables)
    assert any(tables)


def test_what_hl7apy_gets_wrong_is_right() -> None:
    assert [field.name for field in load("2.1").segment("ORO").fields] == [
        "Order Item ID",
        "Substitute Allowed",
        "Results Copies to",
        "Stocklocation",
    ]
    assert load("2.1").segment("RX1").field(30).data_type == "CE"
    withdrawn = load("2.7").segment("PID").field(2)
    assert (withdrawn.usage, withdrawn.data_type, withdrawn.name) == ("X", "CX", "Patient ID")
    assert load("2.8.2").segment("PID").field(28).usage == "X"
    assert load("2.8.2").segment("PID").field(29).name == "Patient Death Date and Time"
    assert load("2.7").segment("QRD").field(1).usage == "X"
    assert load("2.7").segment("OBX").field(4).usage == "O"
    assert load("2.3").structure_of("ADR", "A19").id == "ADR_A19"
    assert load("2.2").table("0001").version == "2.3.1"
    assert load("2.5").table("0423").codes == ("D",)
    assert load("2.6").data_type("XTN").component(1).usage == "X"


@pytest.mark.parametrize(
    ("name", "data_type", "segment", "words"),
    [
        ("DATE_TIME_OF_MESSAGE", "", "MSH", "Date/Time of Message"),
        ("MOTHER_S_MAIDEN_NAME", "", "PID", "Mother's Maiden Name"),
        ("SET_ID_PID", "", "PID", "Set ID - PID"),
        ("STREET_ADDRESS_ST", "ST", "", "Street Address"),
        ("PATIENT_ID", "ID", "", "Patient ID"),
        ("FAMILIY_NAME", "", "", "Family Name"),
        ("SUFFIX_E_G_JR_OR_III", "ST", "", "Suffix (e.g. Jr or III)"),
        ("OBSERVATION_SUB_ID", "", "OBX", "Observation Sub-ID"),
    ],
)
def test_names_are_written_as_people_write_them(name: str, data_type: str, segment: str, words: str) -> None:
    assert in_words(name, data_type, segment) == words


def test_the_data_is_what_the_generator_makes() -> None:
    fresh = texts()
    assert list(fresh) == list(VERSIONS)
    for version, text in fresh.items():
        lines = {name: content for name, _, content in (line.partition("\t") for line in text.split("\n"))}
        assert load(version)._lines == lines, f"{version}.z is stale: run python -m engine.testing.dictionary"


def test_every_repair_still_has_something_to_repair() -> None:
    assert [repair_ for repair_, _ in repair(read_all())] == list(REPAIRS)
    assert all(each.what and each.why for each in REPAIRS)


def test_the_data_is_small() -> None:
    files = sorted(FOLDER.glob("*.z"))
    assert {path.stem for path in files} == set(VERSIONS)
    assert sum(path.stat().st_size for path in files) < 600_000


def test_a_version_is_loaded_in_about_a_millisecond() -> None:
    def best_of(times: int) -> float:
        best = 1.0
        for _ in range(times):
            _load.cache_clear()
            begin = time.perf_counter()
            load("2.5.1")
            best = min(best, time.perf_counter() - begin)
        return best

    assert best_of(30) < 0.01, "ten times what it takes on an idle machine"


def test_what_was_read_once_is_not_read_again() -> None:
    dictionary = load("2.5.1")
    assert dictionary is load("2.5.1")
    assert dictionary.segment("PID") is dictionary.segment("PID")
    assert dictionary.structure("ADT_A01") is dictionary.structure("ADT_A01")
