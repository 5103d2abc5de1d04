"""Order control by order status, row by row, and the rules that matter more than the codes (dicom.md 1.3)."""

from dataclasses import replace

import pytest

from engine.worklist.changes import Policy
from engine.worklist.control import ACTIONS, DEFAULT, NOTHING, Controls
from engine.worklist.event import OrderEvent, Step
from engine.worklist.item import EntityId, ItemKey, OrderKeys, Problems, UidOrigin
from tests.worklist.shelf import MRN, Shelf, order, patient, step

LATER = "20260101130000.000000"
EARLIER = "20260101110000.000000"
OTHER = EntityId("900002", "HIS")


def codes(decision) -> list[str]:
    return [problem.code for problem in decision.warnings]


def refusal(shelf: Shelf, event: OrderEvent) -> tuple[str, str, str]:
    before = dict(shelf.items)
    with pytest.raises(Problems) as caught:
        shelf.take(event)
    assert shelf.items == before
    (problem,) = caught.value.found
    assert problem.is_refusal
    return problem.code, problem.location, problem.hl7_code


@pytest.fixture
def shelf() -> Shelf:
    """With one scheduled step."""
    made = Shelf()
    made.take(order("NW", "SC", step()))
    assert made.statuses() == ["SCHEDULED"]
    return made


EXISTING = [
    # ORC-1, ORC-5, the status afterwards
    ("NW", "SC", "SCHEDULED"),
    ("NW", "", "SCHEDULED"),
    ("NW", "IP", "SCHEDULED"),
    ("XO", "SC", "SCHEDULED"),
    ("XO", "", "SCHEDULED"),
    ("XO", "CM", "COMPLETED"),
    ("RP", "", "SCHEDULED"),
    ("RU", "SC", "SCHEDULED"),
    ("XX", "", "SCHEDULED"),
    ("CA", "CA", "CANCELED"),
    ("CA", "", "CANCELED"),
    ("OC", "CA", "CANCELED"),
    ("DC", "CA", "DISCONTINUED"),
    ("DC", "DC", "DISCONTINUED"),
    ("DC", "", "DISCONTINUED"),
    ("SC", "IP", "STARTED"),
    ("SC", "CM", "COMPLETED"),
    ("SC", "A", "COMPLETED"),
    ("SC", "CA", "DISCONTINUED"),
    ("SC", "DC", "DISCONTINUED"),
    ("SC", "SC", "SCHEDULED"),
    ("SC", "HD", "SCHEDULED, hidden"),
    ("HD", "", "SCHEDULED, hidden"),
    ("HD", "HD", "SCHEDULED, hidden"),
    ("OH", "", "SCHEDULED, hidden"),
    ("OH", "HD", "SCHEDULED, hidden"),
    ("RL", "", "SCHEDULED"),
    ("RL", "SC", "SCHEDULED"),
    ("RL", "IP", "SCHEDULED"),
    ("OE", "", "SCHEDULED"),
    ("OE", "SC", "SCHEDULED"),
    ("OE", "IP", "SCHEDULED"),
    ("XO", "IP", "STARTED"),
    ("XO", "CA", "CANCELED"),
    ("XO", "DC", "DISCONTINUED"),
    ("RP", "SC", "SCHEDULED"),
    ("RU", "", "SCHEDULED"),
    ("XX", "SC", "SCHEDULED"),
    ("CA", "DC", "CANCELED"),
    ("OC", "", "CANCELED"),
    ("OC", "DC", "CANCELED"),
    ("OD", "", "DISCONTINUED"),
    ("OD", "CA", "DISCONTINUED"),
    ("OD", "DC", "DISCONTINUED"),
    ("RO", "", "SCHEDULED"),
    ("RO", "SC", "SCHEDULED"),
    ("RO", "IP", "SCHEDULED"),
    ("SN", "", "SCHEDULED"),
    ("NA", "", "SCHEDULED"),
    ("OK", "IP", "SCHEDULED"),
]


@pytest.mark.parametrize(("control", "status", "expected"), EXISTING)
def test_what_each_pair_does_to_an_item_that_is_there(shelf: Shelf, control: str, status: str, expected: str) -> None:
    shelf.take(order(control, status, step(), at=LATER))
    (item,) = shelf.items.values()
    assert item.status + (", hidden" if item.is_held else "") == expected


def test_every_row_of_the_table_is_tried() -> None:
    """But for what does nothing, of which some stand for all: each is looked at below."""
    rows = {(control, status) for control, by in DEFAULT.items() for status, action in by.items() if action != "none"}
    assert rows <= {(control, status) for control, status, _ in EXISTING}


@pytest.mark.parametrize("control", NOTHING)
def test_responses_and_requests_of_other_kinds_do_nothing(shelf: Shelf, control: str) -> None:
    before = dict(shelf.items)
    for status in ("", "SC", "IP", "CM"):
        assert not shelf.take(order(control, status, step(), at=LATER)).changes
    assert shelf.items == before


ABSENT = [
    ("NW", "SC", ["SCHEDULED"], []),
    ("XO", "SC", ["SCHEDULED"], ["W423"]),
    ("RO", "", ["SCHEDULED"], ["W423"]),
    ("NW", "", ["SCHEDULED"], []),
    ("NW", "IP", ["SCHEDULED"], []),
    ("XO", "", ["SCHEDULED"], ["W423"]),
    ("RP", "SC", ["SCHEDULED"], ["W423"]),
    ("RU", "", ["SCHEDULED"], ["W423"]),
    ("XX", "SC", ["SCHEDULED"], ["W423"]),
    ("XO", "CM", [], ["W426"]),
    ("XO", "IP", [], ["W426"]),
    ("CA", "", [], ["W425"]),
    ("OC", "CA", [], ["W425"]),
    ("OD", "", [], ["W425"]),
    ("DC", "CA", [], ["W425"]),
    ("SC", "CM", [], ["W426"]),
    ("SC", "A", [], ["W426"]),
    ("SC", "SC", [], ["W426"]),
    ("SC", "HD", [], ["W426"]),
    ("OH", "", [], ["W426"]),
    ("OE", "", [], ["W426"]),
    ("CA", "CA", [], ["W425"]),
    ("DC", "", [], ["W425"]),
    ("SC", "IP", [], ["W426"]),
    ("HD", "", [], ["W426"]),
    ("RL", "", [], ["W426"]),
    ("SN", "", [], []),
    ("OR", "", [], []),
]


@pytest.mark.parametrize(("control", "status", "expected", "warned"), ABSENT)
def test_what_each_pair_does_without_an_item(control: str, status: str, expected: list[str], warned: list[str]) -> None:
    shelf = Shelf()
    decision = shelf.take(order(control, status, step()))
    assert (shelf.statuses(), codes(decision)) == (expected, warned)


@pytest.mark.parametrize(("control", "status"), [("ZZ", ""), ("", ""), ("nw", "SC"), ("NW", "CM"), ("SC", "")])
def test_a_pair_that_no_row_knows_is_refused_at_orc_1(shelf: Shelf, control: str, status: str) -> None:
    assert refusal(shelf, order(control, status, step())) == ("E410", "ORC^1^1", "103")


def test_a_channel_adds_and_changes_rows(shelf: Shelf) -> None:
    shelf.policy = Policy(Controls({"ZZ": "cancel", "SC_CM": "none", "SC_AR": "arrive"}))
    shelf.take(order("SC", "CM", step(), at=LATER))
    assert shelf.statuses() == ["SCHEDULED"]
    shelf.take(order("SC", "AR", step(), at=LATER))
    assert shelf.statuses() == ["ARRIVED"]
    shelf.take(order("ZZ", "", step(), at=LATER))
    assert shelf.statuses() == ["CANCELED"]


def test_every_row_has_an_action_that_there_is() -> None:
    assert {action for row in DEFAULT.values() for action in row.values()} <= set(ACTIONS)


def test_a_resend_changes_nothing(shelf: Shelf) -> None:
    decision = shelf.take(order("NW", "SC", step()))
    assert (decision.changes, decision.warnings) == ([], [])


def test_a_new_order_with_other_content_updates_and_says_so(shelf: Shelf) -> None:
    decision = shelf.take(order("NW", "SC", step(description="CT neck"), at=LATER))
    assert codes(decision) == ["W424"]
    (item,) = shelf.items.values()
    assert item.attributes["RequestedProcedureDescription"] == ("CT neck",)
    assert item.ordered_at == LATER


@pytest.mark.parametrize(("control", "status"), [("XO", "SC"), ("CA", "CA"), ("SC", "CM"), ("NW", "SC")])
def test_an_older_message_changes_nothing(shelf: Shelf, control: str, status: str) -> None:
    before = dict(shelf.items)
    decision = shelf.take(order(control, status, step(description="old"), at=EARLIER))
    assert codes(decision) == ["W421"]
    assert shelf.items == before


def test_an_update_drops_the_steps_that_it_does_not_name_and_that_nobody_began() -> None:
    shelf = Shelf()
    shelf.take(order("NW", "SC", step("S1"), step("S2"), step("S3")))
    shelf.take(order("SC", "IP", step("S2")))
    decision = shelf.take(order("XO", "SC", step("S1"), step("S4"), at=LATER))
    assert codes(decision) == ["W423", "W437"]
    assert {key.step_id: item.status for key, item in shelf.items.items()} == {
        "S1": "SCHEDULED",
        "S2": "STARTED",
        "S4": "SCHEDULED",
    }


def test_steps_of_one_study_in_several_orders_of_a_message_are_not_dropped() -> None:
    shelf = Shelf()
    first, second = order("XO", "SC", step("S1", placer="P1")), order("XO", "SC", step("S2", placer="P2"))
    shelf.take(OrderEvent(patient(), (*first.orders, *second.orders)))
    shelf.take(OrderEvent(patient(), (*first.orders, *second.orders)))
    assert [key.step_id for key in sorted(shelf.items)] == ["S1", "S2"]


def test_a_replaced_order_ends_and_its_replacement_begins() -> None:
    shelf = Shelf()
    shelf.take(order("NW", "SC", step("S1", "1.2.3", accession="A1", placer="P1")))
    old = order("RP", "", step("S1", "1.2.3", accession="A1", placer="P1"), at=LATER)
    new = order("RO", "", step("S1", "1.2.4", accession="A2", placer="P2"), at=LATER)
    shelf.take(OrderEvent(patient(), (*old.orders, *new.orders)))
    assert {key.study_uid: item.status for key, item in shelf.items.items()} == {
        "1.2.3": "CANCELED",
        "1.2.4": "SCHEDULED",
    }


class TestEnds:
    @pytest.mark.parametrize("ending", [("CA", "CA"), ("SC", "CM"), ("DC", "")])
    @pytest.mark.parametrize("again", [("NW", "SC"), ("XO", "SC"), ("SC", "IP"), ("SC", "SC")])
    def test_what_has_ended_stays_ended(self, shelf: Shelf, ending: tuple[str, str], again: tuple[str, str]) -> None:
        shelf.take(order(*ending, step(), at=LATER))
        ended = shelf.statuses()
        decision = shelf.take(order(*again, step(), at="20260101140000.000000"))
        assert shelf.statuses() == ended
        assert codes(decision) == ["W420"]

    def test_only_a_newer_update_reopens_where_the_channel_allows_it(self, shelf: Shelf) -> None:
        shelf.policy = Policy(reopen=True)
        shelf.take(order("CA", "CA", step(), at=LATER))
        shelf.take(order("XO", "SC", step(), at=EARLIER))
        shelf.take(order("NW", "SC", step(), at="20260101140000.000000"))
        assert shelf.statuses() == ["CANCELED"]
        shelf.take(order("XO", "SC", step(), at="20260101140000.000000"))
        assert shelf.statuses() == ["SCHEDULED"]

    def test_what_was_begun_is_broken_off_by_a_cancel(self, shelf: Shelf) -> None:
        shelf.take(order("SC", "IP", step(), at=LATER))
        shelf.take(order("CA", "CA", step(), at=LATER))
        assert shelf.statuses() == ["DISCONTINUED"]

    def test_a_cancel_that_comes_first_keeps_the_order_off(self) -> None:
        shelf = Shelf()
        decision = shelf.take(order("CA", "CA", keys=step().keys, names_steps=False, at=LATER))
        assert codes(decision) == ["W425"]
        decision = shelf.take(order("NW", "SC", step(), step("S2", number=2)))
        assert (shelf.items, codes(decision)) == ({}, ["W422", "W422"])

    def test_a_cancel_of_one_step_that_comes_first_keeps_only_that_one_off(self) -> None:
        shelf = Shelf()
        shelf.take(order("CA", "CA", step("S1")))
        shelf.take(order("NW", "SC", step("S1"), step("S2"), at=LATER))
        assert [key.step_id for key in shelf.items] == ["S2"]

    @pytest.mark.parametrize("names_steps", [True, False])
    def test_a_cancel_in_the_message_of_its_order_ends_it(self, names_steps: bool) -> None:
        new, cancel = order("NW", "SC", step()), order("CA", "CA", keys=step().keys, names_steps=False)
        if names_steps:
            cancel = order("CA", "CA", step())
        shelf = Shelf()
        shelf.take(OrderEvent(patient(), (*new.orders, *cancel.orders)))
        assert shelf.statuses() == ["CANCELED"]

    def test_a_cancel_of_two_studies_ends_the_steps_of_both(self) -> None:
        first, second = step(), step(study="1.2.4", accession="A2")
        shelf = Shelf()
        shelf.take(order("NW", "SC", first, second))
        shelf.take(order("CA", "CA", first, second, at=LATER))
        assert shelf.statuses() == ["CANCELED", "CANCELED"]

    def test_a_cancel_of_another_study_of_the_order_keeps_that_one_off_alone(self) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", step(study="1.2.4", accession="A2")))
        shelf.take(order("CA", "CA", step(), at=LATER))
        assert shelf.statuses() == ["SCHEDULED"]
        shelf.take(order("NW", "SC", step()))
        assert list(shelf.items) == [ItemKey("1.2.4", "S1")]

    def test_a_number_without_an_issuer_that_two_have_given_is_refused(self, shelf: Shelf) -> None:
        other = step(study="1.2.4", accession="A2")
        shelf.take(order("NW", "SC", replace(other, keys=replace(other.keys, placer=EntityId("P1", "RIS")))))
        bare = order("CA", "CA", keys=OrderKeys(placer=EntityId("P1")), names_steps=False, at=LATER)
        assert refusal(shelf, bare) == ("E413", "ORC^1", "205")

    def test_a_cancel_of_what_is_not_there_can_be_refused(self) -> None:
        shelf = Shelf(Policy(unknown_cancel="refuse"))
        assert refusal(shelf, order("CA", "CA", step())) == ("E411", "ORC^1", "204")


class TestFinding:
    @pytest.mark.parametrize(
        "keys",
        [
            OrderKeys("1.2.3"),
            OrderKeys("", EntityId("P1", "HIS")),
            OrderKeys("", EntityId("P1")),
            OrderKeys("", accession=EntityId("A1")),
            OrderKeys("1.2.3", EntityId("P1", "HIS"), accession=EntityId("A1", "RIS")),
            OrderKeys("9.9.9", EntityId("P1", "HIS")),
        ],
    )
    def test_a_cancel_finds_its_order_by_any_key_and_ends_all_of_its_steps(self, keys: OrderKeys) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", step("S1"), step("S2")))
        shelf.take(order("CA", "CA", keys=keys, names_steps=False, at=LATER))
        assert shelf.statuses() == ["CANCELED", "CANCELED"]

    def test_a_cancel_that_names_a_step_ends_that_one(self) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", step("S1"), step("S2")))
        shelf.take(order("CA", "CA", step("S2"), at=LATER))
        assert shelf.statuses() == ["SCHEDULED", "CANCELED"]

    def test_the_same_number_of_another_issuer_is_another_order(self, shelf: Shelf) -> None:
        decision = shelf.take(order("CA", "CA", keys=OrderKeys("", EntityId("P1", "LAB")), names_steps=False, at=LATER))
        assert (shelf.statuses(), codes(decision)) == (["SCHEDULED"], ["W425"])

    def test_keys_of_different_orders_are_refused(self, shelf: Shelf) -> None:
        shelf.take(order("NW", "SC", step("S1", "1.2.4", accession="A2", placer="P2")))
        keys = OrderKeys("", EntityId("P1", "HIS"), accession=EntityId("A2"))
        event = order("CA", "CA", keys=keys, names_steps=False, at=LATER)
        assert refusal(shelf, event) == ("E413", "ORC^1", "205")


class TestThePatient:
    @pytest.mark.parametrize("pair", [("NW", "SC"), ("XO", "SC"), ("CA", "CA"), ("SC", "CM"), ("HD", ""), ("DC", "")])
    def test_an_order_of_another_patient_is_refused_and_changes_nothing(
        self, shelf: Shelf, pair: tuple[str, str]
    ) -> None:
        event = order(*pair, step(), at=LATER, who=patient(OTHER, "Other^Olga"))
        assert refusal(shelf, event)[1:] == ("PID^1^3", "204")

    def test_the_same_number_of_another_authority_is_another_patient(self, shelf: Shelf) -> None:
        event = order("XO", "SC", step(), at=LATER, who=patient(EntityId(MRN.id, "LAB")))
        assert refusal(shelf, event)[0] == "E415"

    def test_an_accession_number_of_another_patients_open_order_is_refused(self, shelf: Shelf) -> None:
        event = order("NW", "SC", step("S1", "1.2.9", placer="P9"), who=patient(OTHER, "Other^Olga"))
        assert refusal(shelf, event) == ("E414", "ORC^1", "205")

    def test_all_orders_of_a_message_or_none(self, shelf: Shelf) -> None:
        good = order("NW", "SC", step("S1", "1.2.5", accession="A5", placer="P5"))
        bad = order("CA", "ZZ", step())
        assert refusal(shelf, OrderEvent(patient(), (*good.orders, *bad.orders)))[0] == "E410"

    def test_a_late_order_with_a_merged_identifier_goes_to_the_survivor(self, shelf: Shelf) -> None:
        shelf.aliases[OTHER] = MRN
        shelf.take(order("NW", "SC", step("S9", "1.2.9", accession="A9", placer="P9"), who=patient(OTHER, "Old^Name")))
        item = shelf.items[ItemKey("1.2.9", "S9")]
        assert (item.patient, item.attributes["PatientID"]) == (MRN, (MRN.id,))

    def test_or_is_refused_by_choice(self, shelf: Shelf) -> None:
        shelf.policy = Policy(merged="refuse")
        shelf.aliases[OTHER] = MRN
        assert refusal(shelf, order("NW", "SC", step("S9"), who=patient(OTHER)))[0] == "E412"

    def test_demographics_of_adt_are_not_overwritten_by_an_order(self, shelf: Shelf) -> None:
        known = replace(shelf.patients[MRN], from_adt=True, attributes={"PatientName": ("Newer^Anna",)})
        shelf.patients[MRN] = known
        shelf.take(order("NW", "SC", step("S9", "1.2.9", accession="A9", placer="P9"), who=patient(name="Older^Anna")))
        assert shelf.items[ItemKey("1.2.9", "S9")].attributes["PatientName"] == ("Newer^Anna",)

    def test_nor_by_one_that_does_not_say_who_assigned_the_number(self, shelf: Shelf) -> None:
        known = replace(shelf.patients[MRN], from_adt=True, attributes={"PatientName": ("Newer^Anna",)})
        shelf.patients[MRN] = known
        bare = patient(EntityId(MRN.id), "Older^Anna")
        shelf.take(order("XO", "SC", step(description="CT neck"), who=bare, at=LATER))
        (item,) = shelf.items.values()
        assert item.attributes["PatientName"] == ("Newer^Anna",)
        assert (item.patient, item.attributes["IssuerOfPatientID"]) == (MRN, ("HIS",))

    def test_an_order_that_says_who_assigned_the_number_makes_the_step_that_patients(self) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", step(), who=patient(EntityId(MRN.id))))
        shelf.take(order("XO", "SC", step(), at=LATER))
        (item,) = shelf.items.values()
        assert (item.patient, item.attributes["IssuerOfPatientID"]) == (MRN, ("HIS",))

    def test_unless_the_channel_says_that_the_latest_counts(self, shelf: Shelf) -> None:
        shelf.policy = Policy(demographics="latest")
        shelf.patients[MRN] = replace(shelf.patients[MRN], from_adt=True)
        shelf.take(order("XO", "SC", step(), at=LATER, who=patient(name="Latest^Anna")))
        (item,) = shelf.items.values()
        assert item.attributes["PatientName"] == ("Latest^Anna",)


def test_a_hold_hides_and_a_release_shows_again(shelf: Shelf) -> None:
    shelf.take(order("HD", "", step()))
    assert [item.is_shown for item in shelf.items.values()] == [False]
    shelf.take(order("RL", "", step()))
    assert [item.is_shown for item in shelf.items.values()] == [True]


def test_a_late_hold_does_not_hide_what_a_newer_release_shows(shelf: Shelf) -> None:
    shelf.take(order("RL", "", step(), at=LATER))
    assert codes(shelf.take(order("HD", "", step(), at="20260101123000.000000"))) == ["W421"]
    assert not shelf.items[ItemKey("1.2.3", "S1")].is_held


def numbered(
    study: str,
    origin: UidOrigin,
    *,
    accession: str = "A1",
    placer: str = "P1",
    filler: str = "F1",
    procedure: str = "R1",
) -> Step:
    """A step as a message has it: its numbers, its procedure, and where its study's UID is from."""
    made = step(study=study, accession=accession, placer=placer)
    keys = replace(made.keys, filler=EntityId(filler, "RIS") if filler else EntityId(""))
    attributes = {**made.attributes, "RequestedProcedureID": (procedure,), "StudyInstanceUID": (study,)}
    return replace(made, keys=keys, uid_origin=origin, attributes=attributes)


class TestTheStudyUidOfAStep:
    """dicom.md 1.4: a step is not on the worklist twice because one of its messages brings a UID and another none."""

    @pytest.mark.parametrize("control", ["NW", "XO"])
    def test_stays_where_a_later_message_brings_none(self, control: str) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", numbered("1.2.3", "zds")))
        shelf.take(order(control, "SC", numbered("2.25.7", "derived"), at=LATER))
        (item,) = shelf.items.values()
        assert (item.key, item.keys.study_uid, item.uid_origin) == (ItemKey("1.2.3", "S1"), "1.2.3", "zds")
        assert item.attributes["StudyInstanceUID"] == ("1.2.3",)

    @pytest.mark.parametrize(("first", "control"), [("derived", "XO"), ("derived", "NW"), ("zds", "XO"), ("zds", "NW")])
    def test_becomes_the_one_that_a_later_message_brings(self, first: UidOrigin, control: str) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", numbered("2.25.7", first)))
        shelf.take(order("SC", "IP", numbered("", "derived"), at="20260101123000.000000"))
        assert codes(shelf.take(order(control, "SC", numbered("1.2.3", "zds"), at=LATER))) == ["W435"]
        (item,) = shelf.items.values()
        assert (item.key, item.status, item.uid_origin) == (ItemKey("1.2.3", "S1"), "STARTED", "zds")

    def test_does_not_bring_back_what_has_ended(self) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", numbered("2.25.7", "derived")))
        shelf.take(order("CA", "CA", keys=OrderKeys(placer=EntityId("P1", "HIS")), names_steps=False, at=LATER))
        again = order("NW", "SC", numbered("1.2.3", "zds"), at="20260101140000.000000")
        assert codes(shelf.take(again)) == ["W420"]
        assert shelf.statuses() == ["CANCELED"]

    def test_is_not_changed_by_an_older_message(self) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", numbered("2.25.7", "derived"), at=LATER))
        assert codes(shelf.take(order("NW", "SC", numbered("1.2.3", "zds"), at=EARLIER))) == ["W421"]
        assert list(shelf.items) == [ItemKey("2.25.7", "S1")]

    def test_stays_where_a_change_brings_another_accession_number(self) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", numbered("2.25.7", "derived")))
        changed = numbered("2.25.8", "derived", accession="A2", procedure="A2")
        shelf.take(order("XO", "SC", changed, at=LATER))
        (item,) = shelf.items.values()
        assert (item.key.study_uid, item.keys.accession.id) == ("2.25.7", "A2")

    @pytest.mark.parametrize("numbers", [{"filler": "F2"}, {"placer": "P2"}, {"procedure": "R2"}])
    @pytest.mark.parametrize("origin", ["derived", "zds"])
    def test_is_its_own_for_another_order_or_procedure(self, numbers: dict[str, str], origin: UidOrigin) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", numbered("1.2.3", "zds")))
        shelf.take(order("NW", "SC", numbered("1.2.4", origin, **numbers), at=LATER))
        assert sorted(key.study_uid for key in shelf.items) == ["1.2.3", "1.2.4"]

    def test_is_not_taken_from_another_patient(self) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", numbered("1.2.3", "zds")))
        event = order("NW", "SC", numbered("2.25.7", "derived"), who=patient(OTHER), at=LATER)
        assert refusal(shelf, event) == ("E414", "ORC^1", "205")


def test_what_a_scanner_is_at_is_not_scheduled_again_by_an_order() -> None:
    """Table 0038 SC takes a step back that an order began; while a scanner performs it, the scanner knows better."""
    shelf = Shelf()
    shelf.take(order("NW", "SC", step(), at="1"))
    shelf.take(order("SC", "IP", step(), at="2"))
    shelf.performing = {ItemKey("1.2.3", "S1")}
    decision = shelf.take(order("SC", "SC", step(), at="3"))
    assert decision.changes == []
    assert [(warning.code, warning.location) for warning in decision.warnings] == [("W420", "ORC^1")]
    assert shelf.statuses() == ["STARTED"]
    shelf.take(order("SC", "CM", step(), at="4"))
    assert shelf.statuses() == ["COMPLETED"], "that the examination is over is the ordering system's to say"


def test_what_no_scanner_is_at_is_scheduled_again_by_an_order() -> None:
    shelf = Shelf()
    shelf.take(order("NW", "SC", step(), at="1"))
    shelf.take(order("SC", "IP", step(), at="2"))
    shelf.take(order("SC", "SC", step(), at="3"))
    assert shelf.statuses() == ["SCHEDULED"]


def test_what_a_person_took_back_from_a_scanner_is_scheduled_again_by_an_order() -> None:
    shelf = Shelf()
    shelf.take(order("NW", "SC", step(), at="1"))
    (key,) = shelf.items
    shelf.items[key] = replace(shelf.items[key], status="ARRIVED")
    shelf.performing = {key}
    shelf.take(order("SC", "SC", step(), at="3"))
    assert shelf.statuses() == ["SCHEDULED"]
