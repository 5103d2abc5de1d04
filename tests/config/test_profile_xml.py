"""Conformance profiles in XML: what becomes of each part, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.profile_load import AnyFiles, load_profile
from engine.config.profile_xml import MAX_BYTES, MAX_DEPTH, ProfileXmlError, parse, read_profile, translated
from engine.hl7.message import Message
from engine.hl7.profile import Profile
from engine.testing import messages

SAMPLE = Path(__file__).parent.parent.parent / "samples" / "profiles" / "adt_a01.xml"
HEAD = '<HL7v2xConformanceProfile HL7Version="2.5.1"><HL7v2xStaticDef MsgType="ADT" EventType="A01">'
TAIL = "</HL7v2xStaticDef></HL7v2xConformanceProfile>"


def imported(raw: bytes, folder: Path) -> Profile:
    """The profile as our own reader reads the file that the import writes."""
    (folder / "imported.yaml").write_text(read_profile(raw).document.text(), encoding="utf-8")
    loaded, findings = load_profile("imported.yaml", AnyFiles(folder))
    assert findings == []
    return loaded.profiles.choices[0][1]


@pytest.fixture
def sample(tmp_path: Path) -> Profile:
    return imported(SAMPLE.read_bytes(), tmp_path)


def test_what_differs_from_the_standard_is_carried_over_and_nothing_else(sample):
    said = {}
    for element in sample.rules_for("ADT", "A01").elements:
        rules = [element.usage, element.cardinality, element.length, element.constant, element.data_type]
        said[element.path] = " ".join(str(getattr(rule, "value", rule)) for rule in rules[:4] if rule is not None)
    assert said == {
        "MSH-3": "R 1..1",
        "MSH-3.1": "R HIS",
        "MSH-3.2": "X",
        "MSH-3.3": "X",
        "EVN-1": "X",
        "PID-2": "X",
        "PID-3": "1..3",
        "PID-3.1": "R 0..10",
        "PID-3.3": "C(R/X)",
        "PID-3.4": "R",
        "PID-3.4.1": "R",
        "PID-3.5": "R",
        "PID-4": "X",
        "PID-7": "RE",
        "PID-8": "R 1..1",
        "PV1-3": "C(RE/X)",
        "PV1-4": "O",
        "ZPV-1": "R 1..1 0..20",
        "ZPV-1.1": "R 0..12",
        "ZPV-2": "0..1 0..8",
    }


def test_rules_hold_for_the_type_and_event_of_the_profile_only(sample):
    assert sample.version == "2.5.1"
    assert sample.rules_for("ADT", "A08").elements == ()


def test_segments_and_groups_keep_their_place(sample):
    parts = {part.key: (str(part.usage), str(part.cardinality)) for part in sample.rules_for("ADT", "A01").parts}
    assert parts == {
        ("", "INSURANCE"): ("RE", "0..3"),
        ("", "ZPV"): ("RE", "0..1"),
        ("INSURANCE", "ROL"): ("X", "None"),
    }


def test_a_z_segment_is_described(sample):
    definition = sample.segments["ZPV"]
    assert definition.title == "Stay of the ward system"
    assert [(f.name, f.data_type) for f in definition.fields] == [("Stay", "CX"), ("Wing", "ST")]


def test_a_condition_in_usual_words_is_tested_and_another_is_told(sample):
    (element,) = (e for e in sample.rules_for("ADT", "A01").elements if e.path == "PV1-3")
    assert element.usage.of(Message.parse(messages.adt(patient_class="I"))) == "RE"
    assert element.usage.of(Message.parse(messages.adt(patient_class="O"))) == "X"
    made = read_profile(SAMPLE.read_bytes())
    assert any("PV1-4" in note and "weekend" in note for note in made.notes)
    assert any("PV1-2" in note and "EXAMPLE-CLASS" in note for note in made.notes)
    assert "# C: Required for stays that began on a weekend." in made.document.text()


@pytest.mark.parametrize(
    ("words", "condition"),
    [
        ("If PID-3.2 is valued.", "PID-3.2 is not empty"),
        ("when OBX-5 is not populated", "OBX-5 is empty"),
        ("If OBX-2 = 'NM'", 'OBX-2 == "NM"'),
        ("This field is required if PID-29 is populated", "PID-29 is not empty"),
        ("If the patient is dead", ""),
        ("", ""),
        ("If PID-1 is valued and PID-2 is valued", ""),
    ],
)
def test_predicates(words, condition):
    assert translated(words) == condition


def test_a_segment_in_two_groups_has_rules_for_each(tmp_path):
    profile = imported(
        b'<HL7v2xConformanceProfile HL7Version="2.5.1"><HL7v2xStaticDef MsgType="ORU" EventType="R01">'
        b'<SegGroup Name="PATIENT_RESULT" Usage="R" Min="1" Max="1">'
        b'<SegGroup Name="PATIENT" Usage="R" Min="1" Max="1"><Segment Name="NTE" Usage="X" Min="0" Max="0"/></SegGroup>'
        b'<SegGroup Name="ORDER_OBSERVATION" Usage="R" Min="1" Max="*">'
        b'<SegGroup Name="OBSERVATION" Usage="R" Min="1" Max="*"><Segment Name="NTE" Usage="R" Min="1" Max="2">'
        b'<Field Name="Set ID" Usage="R" Min="1" Max="1" Datatype="SI" Length="4"/></Segment></SegGroup>'
        b"</SegGroup></SegGroup></HL7v2xStaticDef></HL7v2xConformanceProfile>",
        tmp_path,
    )
    rules = profile.rules_for("ORU", "R01")
    assert {(p.within, p.name, str(p.usage)) for p in rules.parts if p.name == "NTE"} == {
        ("PATIENT", "NTE", "X"),
        ("OBSERVATION", "NTE", "R"),
    }
    assert [(e.within, e.path) for e in rules.elements] == [("OBSERVATION", "NTE-1")]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"MSH|^~\\&|", "not XML"),
        (b"", "not XML"),
        (b"<a><b></a>", "not XML"),
        (b"<html/>", "no message profile"),
        (b"<HL7v2xConformanceProfile/>", "nothing to import"),
        (b'<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><HL7v2xConformanceProfile/>', "line 1: it has a DOCTYPE"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><HL7v2xConformanceProfile>&b;</HL7v2xConformanceProfile>', "DOCTYPE"),
        (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "DOCTYPE"),
        (b"<a>&b;</a>", "not XML: undefined entity"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "encoding"),
        (b"<a>" * (MAX_DEPTH + 1), "larger than any profile"),
        (b" " * (MAX_BYTES + 1), "bytes"),
        (f"{HEAD}<Segment Name='../x'/>{TAIL}".encode(), "without a name"),
        (f"{HEAD}<Segment Name='PID' Usage='R' Min='a' Max='1'/>{TAIL}".encode(), "not numbers"),
        (f"{HEAD}<Segment Name='PID' Usage='O' Min='3' Max='1'/>{TAIL}".encode(), "below Min"),
        (b"<HL7v2xConformanceProfile><HL7v2xStaticDef MsgType='?'/></HL7v2xConformanceProfile>", "MsgType"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_what_is_no_profile_is_refused_with_a_sentence(raw, reason):
    with pytest.raises(ProfileXmlError, match=reason):
        read_profile(raw)


def test_the_name_of_an_element_may_have_a_namespace():
    assert parse(b'<p:a xmlns:p="urn:x" b="1"><p:c/></p:a>').children[0].tag == "c"


ATTRIBUTES = st.dictionaries(
    st.sampled_from(["Name", "Usage", "Min", "Max", "Length", "Table", "Datatype", "ConstantValue", "LongName"]),
    st.sampled_from(
        ["", "R", "C", "X", "0", "1", "*", "PID", "ZZZ", "GRP", "CX", "0001", "-1", "ä\"'<&{}:#", "9" * 30]
    ),
)


def written(draw, tags: list[str], depth: int) -> str:
    from xml.sax.saxutils import quoteattr

    tag = draw(st.sampled_from(tags))
    attributes = "".join(f" {key}={quoteattr(value)}" for key, value in draw(ATTRIBUTES).items())
    below = [] if depth == 0 else draw(st.lists(st.just(None), max_size=3))
    return f"<{tag}{attributes}>{''.join(written(draw, tags, depth - 1) for _ in below)}</{tag}>"


@given(st.data())
def test_whatever_stands_in_it_becomes_a_file_that_can_be_read_or_a_sentence(tmp_path_factory, data):
    tags = ["Segment", "SegGroup", "Field", "Component", "SubComponent", "Predicate"]
    raw = f"{HEAD}{written(data.draw, tags, 4)}{TAIL}".encode()
    try:
        imported(raw, tmp_path_factory.mktemp("import"))
    except ProfileXmlError as error:
        assert str(error).startswith("line ")
