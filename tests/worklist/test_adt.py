"""ADT messages as patient events (dicom.md 1.8)."""

from datetime import UTC

import pytest

from engine.hl7.message import Message
from engine.worklist.adt import ACTIONS, patient_event
from engine.worklist.event import PatientEvent
from engine.worklist.item import NO_ID, EntityId, Problems
from engine.worklist.mapping import MappingTable

TABLE = MappingTable()
PID = "PID|1||900001^^^HIS^MR||Muster^Anna||19800203|F"
MRG = "MRG|900002^^^HIS^MR||ACC1||V1"


def adt(trigger: str, *segments: str, evn: str = "20260101113000+0100") -> bytes:
    msh = f"MSH|^~\\&|HIS|NORTH|RIS|RAD|20260101120000+0100||ADT^{trigger}|1|P|2.5.1"
    return "\r".join((msh, f"EVN||{evn}", *(segments or (PID,)), "")).encode()


def event(raw: bytes, **more) -> PatientEvent:
    return patient_event(Message.parse(raw), TABLE, "", UTC, **more)


def refusals(raw: bytes) -> list[tuple[str, str, str]]:
    with pytest.raises(Problems) as caught:
        event(raw)
    return [(one.code, one.location, one.hl7_code) for one in caught.value.found]


# dicom.md 1.8, row by row.
EVENTS = {
    "update": ("A01", "A04", "A05", "A08", "A28", "A31", "A03", "A06", "A07", "A11", "A13", "A38"),
    "locate": ("A02", "A12"),
    "arrive": ("A10",),
    "merge": ("A40", "A18", "A34", "A35", "A41", "A36", "A39"),
    "rename": ("A47", "A30", "A46", "A49"),
    "move": ("A43", "A44", "A45"),
    "delete": ("A29", "A23"),
    "none": ("A24", "A37"),
}
ROWS = [(trigger, action) for action, triggers in EVENTS.items() for trigger in triggers]


@pytest.mark.parametrize(("trigger", "action"), ROWS)
def test_what_each_event_does(trigger: str, action: str) -> None:
    assert event(adt(trigger, PID, MRG)).action == action


def test_every_event_of_the_table_is_tried() -> None:
    assert dict(ROWS) == ACTIONS


def test_others_do_nothing() -> None:
    assert event(adt("A60")) == PatientEvent("none", (), "20260101103000.000000")


def test_who_where_and_when() -> None:
    found = event(adt("A02", PID, "PV1|1|I|3W^12^A|||||||||||||||" + "|V1^^^ADM"))
    (pair,) = found.pairs
    assert (pair.patient.id, pair.prior) == (EntityId("900001", "HIS"), NO_ID)
    assert pair.patient.attributes["PatientName"] == ("Muster^Anna",)
    assert (found.location, found.at) == (("3W 12 A",), "20260101103000.000000")


def test_without_evn_2_the_message_time_counts() -> None:
    assert event(adt("A08", evn="")).at == "20260101110000.000000"


def test_pairs_of_a_merge() -> None:
    second = PID.replace("900001", "900003")
    found = event(adt("A40", PID, MRG, second, MRG.replace("900002", "900004")))
    assert [(pair.patient.id.id, pair.prior.id, pair.location) for pair in found.pairs] == [
        ("900001", "900002", "1"),
        ("900003", "900004", "2"),
    ]


def test_a_move_says_which_visit() -> None:
    assert event(adt("A45", PID, MRG)).pairs[0].visit == EntityId("V1")
    assert event(adt("A43", PID, "MRG|900002^^^HIS||ACC1")).pairs[0].visit == EntityId("ACC1")


@pytest.mark.parametrize("trigger", ["A40", "A47", "A45"])
def test_without_mrg_these_are_refused(trigger: str) -> None:
    assert refusals(adt(trigger)) == [("E416", "MRG^1", "100")]


def test_without_a_patient_it_is_refused() -> None:
    assert refusals(adt("A08", "PV1|1|I")) == [("E444", "PID^1", "100")]
    assert refusals(adt("A08", PID.replace("900001^^^HIS^MR", ""))) == [("E444", "PID^1^3", "101")]


def test_more_events_may_be_arrivals() -> None:
    assert event(adt("A04"), arrivals=frozenset({"A04"})).action == "arrive"
    assert event(adt("A04")).action == "update"


def test_a_null_deletes_and_what_is_empty_says_nothing() -> None:
    attributes = event(adt("A08", 'PID|1||900001^^^HIS||Muster^Anna||""|')).pairs[0].patient.attributes
    assert attributes["PatientBirthDate"] == () and "PatientSex" not in attributes


@pytest.mark.parametrize("trigger", ["A40", "A18", "A34", "A35", "A36", "A39", "A41", "A47"])
def test_an_identifier_that_ends_is_of_the_domain_of_the_one_that_stays(trigger: str) -> None:
    found = event(adt(trigger, PID, "MRG|900002"))
    assert found.pairs[0].prior == EntityId("900002", "HIS")
    assert [(one.code, one.location, one.is_refusal) for one in found.warnings] == [("W436", "MRG^1^1", False)]
    assert event(adt(trigger, PID, "MRG|900002^^^LAB")).pairs[0].prior == EntityId("900002", "LAB")


def test_a_prior_identifier_without_an_authority_is_of_the_one_that_is_left() -> None:
    (pair,) = event(adt("A40", PID, "MRG|900002")).pairs
    assert pair.prior == EntityId("900002", "HIS")


def test_each_prior_identifier_of_the_same_authority_is_merged() -> None:
    pairs = event(adt("A40", PID, "MRG|900002^^^HIS^MR~77^^^ADM^PI~900003^^^HIS^MR")).pairs
    assert [pair.prior.id for pair in pairs] == ["900002", "900003"]


def test_a_name_is_not_deleted() -> None:
    found = event(adt("A08", 'PID|1||900001^^^HIS||""||19800203'))
    assert "PatientName" not in found.pairs[0].patient.attributes
    assert [(one.code, one.location) for one in found.warnings] == [("W434", "PID^1^5")]
