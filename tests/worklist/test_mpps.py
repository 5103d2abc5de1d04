"""Performed procedure steps (dicom.md 1.9; PS3.4 annex F)."""

from dataclasses import replace

import pytest

from engine.worklist import mpps
from engine.worklist.item import EntityId, Item, ItemKey, OrderKeys, Status
from engine.worklist.mpps import Performed, Reference, change, create, effect, meant

ITEM = Item(
    ItemKey("1.2.3", "S1"),
    EntityId("900001", "HIS"),
    OrderKeys("1.2.3", accession=EntityId("A1")),
    {},
    "20260102100000.000000",
    "zds",
)
BEGUN = Performed("1.9.1", "IN PROGRESS", (Reference("1.2.3", "S1", "A1"),))


def with_status(status: Status) -> Item:
    return replace(ITEM, status=status)


def test_a_performed_step_begins_in_progress() -> None:
    assert create(None, BEGUN) == mpps.Answer(0x0000, performed=BEGUN)
    assert create(None, replace(BEGUN, status="COMPLETED")).status == 0x0106


def test_the_same_uid_again_is_a_duplicate() -> None:
    assert create(BEGUN, BEGUN).status == 0x0111


def test_an_unknown_one_cannot_be_changed() -> None:
    assert change(None, "COMPLETED").status == 0x0112


@pytest.mark.parametrize("ended", ["COMPLETED", "DISCONTINUED"])
@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED", "IN PROGRESS", ""])
def test_what_has_ended_is_not_changed(ended: mpps.PerformedStatus, status: str) -> None:
    answer = change(replace(BEGUN, status=ended), status)
    assert (answer.status, answer.performed) == (0x0110, None)


def test_a_change_without_a_status_leaves_it() -> None:
    assert change(BEGUN, "").performed == BEGUN
    assert change(BEGUN, "DONE").status == 0x0106


@pytest.mark.parametrize(
    ("status", "reason", "before", "after"),
    [
        ("IN PROGRESS", ("", ""), "SCHEDULED", "STARTED"),
        ("IN PROGRESS", ("", ""), "ARRIVED", "STARTED"),
        ("IN PROGRESS", ("", ""), "COMPLETED", None),
        ("IN PROGRESS", ("", ""), "CANCELED", None),
        ("COMPLETED", ("", ""), "STARTED", "COMPLETED"),
        ("DISCONTINUED", ("110501", "DCM"), "STARTED", "DISCONTINUED"),
        ("DISCONTINUED", ("110514", "DCM"), "STARTED", "SCHEDULED"),
        ("COMPLETED", ("", ""), "DISCONTINUED", None),
    ],
)
def test_what_it_does_to_its_item(
    status: mpps.PerformedStatus, reason: tuple[str, str], before: Status, after: Status | None
) -> None:
    put = effect(replace(BEGUN, status=status, reason=reason), with_status(before), ())
    assert (put.item.status if put else None) == after


def test_an_item_is_complete_when_no_performed_step_of_it_is_in_progress() -> None:
    done = replace(BEGUN, status="COMPLETED")
    other = replace(BEGUN, uid="1.9.2")
    assert effect(done, with_status("STARTED"), [other]) is None
    put = effect(replace(other, status="DISCONTINUED"), with_status("STARTED"), [done])
    assert put is not None and put.item.status == "COMPLETED"


OTHER = replace(ITEM, key=ItemKey("1.2.3", "S2"))
THIRD = replace(ITEM, key=ItemKey("1.2.4", "S1"), keys=OrderKeys("1.2.4", accession=EntityId("A4")))


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (Reference("1.2.3", "S1", "A1"), [ITEM]),
        (Reference("1.2.3", "S2"), [OTHER]),
        (Reference("", "S2", "A1"), [OTHER]),
        (Reference("9.9", "S1", "A1"), [ITEM]),
        (Reference("", "", "A1"), [ITEM, OTHER]),
        (Reference("1.2.4", "", ""), [THIRD]),
        (Reference("1.2.3", "", ""), []),
        (Reference("9.9", "S9", ""), []),
        (Reference("9.9", "S9", "A1"), []),
        (Reference(), []),
    ],
)
def test_which_items_a_reference_names(reference: Reference, expected: list[Item]) -> None:
    assert meant(reference, [ITEM, OTHER, THIRD]) == expected


def test_an_accession_number_of_two_patients_names_no_step() -> None:
    one = replace(ITEM, keys=OrderKeys("1.2.3", accession=EntityId("A1", "NORTH")))
    other = replace(
        ITEM,
        key=ItemKey("1.2.4", "S1"),
        patient=EntityId("900001", "SOUTH"),
        keys=OrderKeys("1.2.4", accession=EntityId("A1", "SOUTH")),
    )
    assert meant(Reference("", "S1", "A1"), [one]) == [one]
    assert meant(Reference("", "S1", "A1"), [one, other]) == []
    assert meant(Reference("1.2.4", "S1", "A1"), [one, other]) == [other]
