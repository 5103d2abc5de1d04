"""ADT on the worklist: demographics, arrivals, merges, renames, moves (dicom.md 1.8)."""

import pytest

from engine.worklist.changes import Policy
from engine.worklist.event import Pair, Patient, PatientEvent
from engine.worklist.item import EntityId, ItemKey, Problems
from tests.worklist.shelf import MRN, Shelf, merge, order, patient, step

OTHER = EntityId("900002", "HIS")
THIRD = EntityId("900003", "HIS")
AT = "20260101130000.000000"


def adt(action: str, who=None, *, at: str = AT, **more) -> PatientEvent:
    return PatientEvent(action, (Pair(who or patient(), EntityId(""), "1"),), at, **more)


def names(shelf: Shelf) -> list[str]:
    return [item.attributes["PatientName"][0] for _, item in sorted(shelf.items.items())]


def owners(shelf: Shelf) -> list[EntityId]:
    return [item.patient for _, item in sorted(shelf.items.items())]


def refusal(shelf: Shelf, event: PatientEvent) -> tuple[str, str]:
    before = dict(shelf.items), dict(shelf.aliases)
    with pytest.raises(Problems) as caught:
        shelf.take(event)
    assert (shelf.items, shelf.aliases) == before
    (problem,) = caught.value.found
    return problem.code, problem.hl7_code


@pytest.fixture
def shelf() -> Shelf:
    """Two steps of one patient, one of another."""
    made = Shelf()
    made.take(order("NW", "SC", step("S1"), step("S2")))
    other = step("S1", "1.2.8", accession="A8", placer="P8")
    made.take(order("NW", "SC", other, who=patient(OTHER, "Other^Olga")))
    return made


class TestDemographics:
    def test_reach_all_open_items_of_the_patient_and_of_nobody_else(self, shelf: Shelf) -> None:
        shelf.take(adt("update", patient(name="Newer^Anna", PatientSex=("F",))))
        assert names(shelf) == ["Newer^Anna", "Newer^Anna", "Other^Olga"]
        assert shelf.items[ItemKey("1.2.3", "S1")].attributes["PatientSex"] == ("F",)

    def test_leave_what_has_ended_as_it_was(self, shelf: Shelf) -> None:
        shelf.take(order("SC", "CM", step("S1")))
        shelf.take(adt("update", patient(name="Newer^Anna")))
        assert names(shelf) == ["Muster^Anna", "Newer^Anna", "Other^Olga"]

    def test_make_no_items(self) -> None:
        shelf = Shelf()
        shelf.take(adt("update"))
        assert shelf.items == {}

    def test_are_there_for_a_later_order_that_still_has_the_old_name(self) -> None:
        shelf = Shelf()
        shelf.take(adt("update", patient(name="Newer^Anna")))
        shelf.take(order("NW", "SC", step(), who=patient(name="Older^Anna")))
        assert names(shelf) == ["Newer^Anna"]

    def test_older_ones_do_not_overwrite_newer_ones(self, shelf: Shelf) -> None:
        shelf.take(adt("update", patient(name="Newer^Anna")))
        decision = shelf.take(adt("update", patient(name="Older^Anna"), at="20260101110000.000000"))
        assert [problem.code for problem in decision.warnings] == ["W427"]
        assert names(shelf)[0] == "Newer^Anna"

    def test_a_null_deletes_and_what_is_not_said_stays(self, shelf: Shelf) -> None:
        shelf.take(adt("update", patient(PatientSex=("F",), PatientBirthDate=("19800101",))))
        shelf.take(adt("update", patient(PatientSex=())))
        item = shelf.items[ItemKey("1.2.3", "S1")]
        assert (item.attributes["PatientSex"], item.attributes["PatientBirthDate"]) == ((), ("19800101",))

    def test_the_same_again_changes_nothing(self, shelf: Shelf) -> None:
        shelf.take(adt("update", patient(name="Newer^Anna")))
        assert shelf.take(adt("update", patient(name="Newer^Anna"))).changes == []

    def test_a_transfer_changes_the_location(self, shelf: Shelf) -> None:
        shelf.take(adt("locate", location=("3W 12",)))
        assert shelf.items[ItemKey("1.2.3", "S1")].attributes["CurrentPatientLocation"] == ("3W 12",)

    def test_a_transfer_of_another_visit_leaves_the_location(self) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", step(), visit=EntityId("V1")))
        shelf.take(adt("locate", visit=EntityId("V2"), location=("ICU",)))
        assert "CurrentPatientLocation" not in shelf.items[ItemKey("1.2.3", "S1")].attributes

    @pytest.mark.parametrize("event", [adt("update", patient(name="Newer^Anna")), merge(OTHER, MRN)])
    def test_tell_of_steps_of_the_bare_number_and_leave_them(self, event: PatientEvent) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", step(), who=patient(EntityId(MRN.id))))
        assert [problem.code for problem in shelf.take(event).warnings] == ["W438"]
        assert names(shelf) == ["Muster^Anna"]


class TestArrival:
    def test_scheduled_items_of_the_patient_have_arrived(self, shelf: Shelf) -> None:
        shelf.take(order("SC", "IP", step("S2")))
        shelf.take(adt("arrive"))
        assert shelf.statuses() == ["ARRIVED", "STARTED", "SCHEDULED"]

    def test_of_the_visit_where_both_name_one(self) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", step("S1"), visit=EntityId("V1")))
        shelf.take(order("NW", "SC", step("S2", "1.2.4", accession="A2", placer="P2"), visit=EntityId("V2")))
        shelf.take(order("NW", "SC", step("S3", "1.2.5", accession="A3", placer="P3")))
        shelf.take(adt("arrive", visit=EntityId("V1")))
        assert shelf.statuses() == ["ARRIVED", "SCHEDULED", "ARRIVED"]


class TestMerge:
    def test_items_of_the_identifier_that_ends_go_to_the_survivor_with_its_name(self, shelf: Shelf) -> None:
        shelf.take(merge(MRN, OTHER, "Muster^Anna"))
        assert owners(shelf) == [MRN, MRN, MRN]
        assert names(shelf) == ["Muster^Anna"] * 3
        assert [item.attributes["PatientID"] for item in shelf.items.values()] == [(MRN.id,)] * 3

    def test_other_identifiers_of_the_one_that_ends_do_not_stay(self) -> None:
        shelf = Shelf()
        others = ({"PatientID": ("77",)},)
        who = Patient(OTHER, {"PatientName": ("Muster^Anna",), "OtherPatientIDsSequence": others})
        shelf.take(order("NW", "SC", step(), who=who))
        shelf.take(merge(EntityId("900001"), OTHER))
        (item,) = shelf.items.values()
        assert item.attributes["PatientID"] == ("900001",)
        assert not {"IssuerOfPatientID", "OtherPatientIDsSequence"} & set(item.attributes)

    def test_what_is_known_of_the_survivor_counts_for_the_items_that_come(self, shelf: Shelf) -> None:
        shelf.take(adt("update", patient(PatientBirthDate=("19800203",))))
        shelf.take(adt("update", patient(OTHER, "Other^Olga", PatientBirthDate=("19991231",))))
        shelf.take(merge(MRN, OTHER))
        assert [item.attributes["PatientBirthDate"] for item in shelf.items.values()] == [("19800203",)] * 3

    def test_pairs_of_one_message_follow_each_other(self) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", step()))
        last = EntityId("900003", "HIS")
        pairs = (Pair(patient(OTHER), MRN, "1"), Pair(patient(last, "Last^Lea"), OTHER, "2"))
        shelf.take(PatientEvent("merge", pairs, "20260101130000.000000"))
        (item,) = shelf.items.values()
        assert (item.patient, item.attributes["PatientName"]) == (last, ("Last^Lea",))

    def test_a_late_merge_moves_the_items_and_leaves_the_newer_name(self, shelf: Shelf) -> None:
        shelf.take(adt("update", patient(name="Newer^Anna")))
        shelf.take(merge(MRN, OTHER, "Older^Anna", at="20260101110000.000000"))
        assert owners(shelf) == [MRN, MRN, MRN]
        assert names(shelf) == ["Newer^Anna"] * 3
        decision = shelf.take(adt("update", patient(name="Old^Anna"), at="20260101113000.000000"))
        assert [problem.code for problem in decision.warnings] == ["W427"]

    def test_a_late_order_with_the_old_identifier_goes_there_too(self, shelf: Shelf) -> None:
        shelf.take(merge(MRN, OTHER))
        late = step("S7", "1.2.7", accession="A7", placer="P7")
        shelf.take(order("NW", "SC", late, who=patient(OTHER, "Other^Olga")))
        item = shelf.items[ItemKey("1.2.7", "S7")]
        assert (item.patient, item.attributes["PatientName"]) == (MRN, ("Muster^Anna",))

    def test_a_cancel_with_the_old_identifier_finds_its_order(self, shelf: Shelf) -> None:
        shelf.take(merge(MRN, OTHER))
        other = step("S1", "1.2.8", accession="A8", placer="P8")
        shelf.take(order("CA", "CA", other, who=patient(OTHER, "Other^Olga"), at=AT))
        assert shelf.statuses() == ["SCHEDULED", "SCHEDULED", "CANCELED"]

    def test_chains_end_at_the_last_survivor(self, shelf: Shelf) -> None:
        shelf.take(merge(MRN, OTHER))
        shelf.take(merge(THIRD, MRN, "Third^Tina"))
        assert owners(shelf) == [THIRD] * 3
        assert shelf.survivor(OTHER) == THIRD

    def test_into_one_that_was_merged_itself_goes_on_to_the_survivor(self, shelf: Shelf) -> None:
        shelf.take(merge(THIRD, MRN, "Third^Tina"))
        shelf.take(merge(MRN, OTHER))
        assert owners(shelf) == [THIRD] * 3

    def test_the_same_again_changes_nothing_of_the_items(self, shelf: Shelf) -> None:
        shelf.take(merge(MRN, OTHER))
        before = dict(shelf.items), dict(shelf.aliases)
        shelf.take(merge(MRN, OTHER))
        assert (shelf.items, shelf.aliases) == before

    def test_with_itself_is_refused(self, shelf: Shelf) -> None:
        assert refusal(shelf, merge(MRN, MRN)) == ("E417", "204")

    def test_with_itself_but_for_a_missing_authority_is_refused(self, shelf: Shelf) -> None:
        assert refusal(shelf, merge(MRN, EntityId(MRN.id))) == ("E417", "204")

    def test_the_other_way_round_is_refused(self, shelf: Shelf) -> None:
        shelf.take(merge(MRN, OTHER))
        assert refusal(shelf, merge(OTHER, MRN)) == ("E418", "205")

    def test_without_the_one_that_ends_is_refused(self, shelf: Shelf) -> None:
        assert refusal(shelf, merge(MRN, EntityId(""))) == ("E416", "101")

    def test_several_pairs_are_all_done_or_none(self, shelf: Shelf) -> None:
        bad = PatientEvent("merge", (Pair(patient(), OTHER, "1"), Pair(patient(THIRD), THIRD, "2")), AT)
        assert refusal(shelf, bad)[0] == "E417"
        good = PatientEvent("merge", (Pair(patient(), OTHER, "1"), Pair(patient(), THIRD, "2")), AT)
        shelf.take(good)
        assert (owners(shelf), shelf.survivor(THIRD)) == ([MRN] * 3, MRN)

    def test_of_an_identifier_without_items_is_remembered(self, shelf: Shelf) -> None:
        shelf.take(merge(MRN, THIRD))
        assert shelf.survivor(THIRD) == MRN

    def test_the_history_goes_along(self, shelf: Shelf) -> None:
        other = step("S1", "1.2.8", accession="A8", placer="P8")
        shelf.take(order("SC", "CM", other, who=patient(OTHER, "Other^Olga")))
        shelf.take(merge(MRN, OTHER))
        assert owners(shelf) == [MRN] * 3
        assert shelf.statuses() == ["SCHEDULED", "SCHEDULED", "COMPLETED"]


class TestRename:
    def rename(self, new: EntityId, prior: EntityId) -> PatientEvent:
        return PatientEvent("rename", (Pair(patient(new), prior, "1"),), AT)

    def test_an_identifier_is_changed_in_place(self, shelf: Shelf) -> None:
        shelf.take(self.rename(THIRD, MRN))
        assert owners(shelf) == [THIRD, THIRD, OTHER]
        assert shelf.survivor(MRN) == THIRD
        shelf.take(self.rename(THIRD, MRN))
        assert owners(shelf) == [THIRD, THIRD, OTHER]

    def test_into_one_that_is_there_is_refused(self, shelf: Shelf) -> None:
        assert refusal(shelf, self.rename(OTHER, MRN)) == ("E419", "205")

    def test_into_itself_is_refused(self, shelf: Shelf) -> None:
        assert refusal(shelf, self.rename(MRN, MRN)) == ("E417", "204")


class TestMove:
    def test_the_items_of_the_visit_follow_it(self) -> None:
        shelf = Shelf()
        wrong = patient(OTHER, "Other^Olga")
        shelf.take(order("NW", "SC", step("S1"), visit=EntityId("V1"), who=wrong))
        more = step("S2", "1.2.4", accession="A2", placer="P2")
        shelf.take(order("NW", "SC", more, visit=EntityId("V2"), who=wrong))
        shelf.take(PatientEvent("move", (Pair(patient(), OTHER, "1", EntityId("V1")),), AT))
        assert owners(shelf) == [MRN, OTHER]
        assert names(shelf) == ["Muster^Anna", "Other^Olga"]

    def test_nothing_of_the_patient_who_loses_it_stays(self) -> None:
        shelf = Shelf()
        wrong = patient(PatientBirthDate=("19800203",), PatientSex=("F",), IssuerOfPatientID=("HIS",))
        shelf.take(order("NW", "SC", step(), who=wrong, visit=EntityId("V1")))
        pair = Pair(patient(EntityId("900002"), "Right^Rita"), MRN, "1", EntityId("V1"))
        shelf.take(PatientEvent("move", (pair,), "20260101130000.000000"))
        (item,) = shelf.items.values()
        assert (item.attributes["PatientName"], item.attributes["PatientID"]) == (("Right^Rita",), ("900002",))
        assert not {"PatientBirthDate", "PatientSex", "IssuerOfPatientID"} & set(item.attributes)

    def test_to_a_patient_without_a_name_is_refused(self) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", step(), visit=EntityId("V1")))
        pair = Pair(Patient(OTHER, {}), MRN, "1", EntityId("V1"))
        event = PatientEvent("move", (pair,), "20260101130000.000000")
        assert refusal(shelf, event) == ("E431", "101")

    def test_of_a_visit_that_no_open_step_names_is_told(self) -> None:
        shelf = Shelf()
        shelf.take(order("NW", "SC", step(), visit=EntityId("V1")))
        pair = Pair(patient(OTHER), MRN, "1", EntityId("ACC9"))
        decision = shelf.take(PatientEvent("move", (pair,), "20260101130000.000000"))
        assert [problem.code for problem in decision.warnings] == ["W439"]
        assert owners(shelf) == [MRN]

    def test_without_the_patient_who_loses_it_is_refused(self, shelf: Shelf) -> None:
        pair = Pair(patient(OTHER), EntityId(""), "1", EntityId("V1"))
        event = PatientEvent("move", (pair,), "20260101130000.000000")
        assert refusal(shelf, event) == ("E416", "101")

    def test_without_the_visit_is_refused(self, shelf: Shelf) -> None:
        assert refusal(shelf, PatientEvent("move", (Pair(patient(), OTHER, "1"),), AT)) == ("E416", "101")


class TestDelete:
    def test_only_warns_by_default(self, shelf: Shelf) -> None:
        decision = shelf.take(adt("delete"))
        assert [problem.code for problem in decision.warnings] == ["W428"]
        assert shelf.statuses() == ["SCHEDULED"] * 3

    def test_cancels_by_choice(self, shelf: Shelf) -> None:
        shelf.policy = Policy(on_delete="cancel")
        shelf.take(order("SC", "IP", step("S2")))
        shelf.take(adt("delete"))
        assert shelf.statuses() == ["CANCELED", "DISCONTINUED", "SCHEDULED"]


def test_what_has_nothing_to_do_with_items_does_nothing(shelf: Shelf) -> None:
    assert shelf.take(adt("none")).changes == []
