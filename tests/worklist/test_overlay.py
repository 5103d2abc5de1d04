"""What a decision sees of those before it that are not written yet: as the store will answer once they are."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from engine.worklist.changes import Bury, Change, Demographics, Drop, Know, Merge, Put
from engine.worklist.item import EntityId, Item, ItemKey, OrderKeys
from engine.worklist.overlay import MOST_MERGES, Overlay, names_the_same
from tests.worklist.shelf import MRN, Shelf

OTHER = EntityId("900002", "HIS")
THIRD = EntityId("900003", "HIS")


class Stored(Shelf):
    """A shelf that tells the single steps of a chain of merges."""

    def merged_into(self, patient: EntityId) -> EntityId | None:
        return self.aliases.get(patient)


def item(number: int, *, patient: EntityId = MRN, revision: int = 0, **keys: str) -> Item:
    numbers = {"placer": f"P{number}", "filler": f"F{number}", "accession": f"A{number}", **keys}
    made = OrderKeys(f"1.2.{number}", *(EntityId(numbers[name]) for name in ("placer", "filler", "accession")))
    attributes = {"ScheduledProcedureStepSequence": ({},)}
    return Item(ItemKey(f"1.2.{number}", f"S{number}"), patient, made, attributes, "", "zds", revision=revision)


def overlay(*stored: Item, changes: Sequence[Change] = ()) -> Overlay:
    shelf = Stored()
    shelf.items = {one.key: one for one in stored}
    made = Overlay(shelf)
    made.apply(changes)
    return made


def changed(before: Item, **changes: object) -> Put:
    return Put(replace(before, **changes), before, "updated")  # type: ignore[arg-type]


LOOKUPS: dict[str, Callable[[Overlay, int], Sequence[Item]]] = {
    "study": lambda known, n: known.by_study(f"1.2.{n}"),
    "placer": lambda known, n: known.by_placer(f"P{n}"),
    "filler": lambda known, n: known.by_filler(f"F{n}"),
    "accession": lambda known, n: known.by_accession(f"A{n}"),
    "patient": lambda known, n: known.by_patient(EntityId(f"90000{n}", "HIS")),
}


def of(number: int, **more: object) -> Item:
    """The item that each lookup finds by its number, and by no other."""
    return replace(item(number, patient=EntityId(f"90000{number}", "HIS")), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("lookup", LOOKUPS.values(), ids=LOOKUPS.keys())
class TestEachLookup:
    def test_finds_what_is_stored_alone(self, lookup: Callable[[Overlay, int], Sequence[Item]]) -> None:
        assert lookup(overlay(of(1), of(2)), 1) == [of(1)]

    def test_finds_what_is_new_and_what_is_stored_beside_it(
        self, lookup: Callable[[Overlay, int], Sequence[Item]]
    ) -> None:
        known = overlay(of(1), changes=[Put(of(2), None, "created")])
        assert (lookup(known, 1), lookup(known, 2), lookup(known, 3)) == ([of(1)], [of(2)], [])

    def test_finds_one_that_changed_once_as_it_will_be(self, lookup: Callable[[Overlay, int], Sequence[Item]]) -> None:
        known = overlay(of(1, revision=4), changes=[changed(of(1, revision=4), status="ARRIVED")])
        assert lookup(known, 1) == [of(1, revision=5, status="ARRIVED")]

    def test_finds_no_longer_what_is_dropped(self, lookup: Callable[[Overlay, int], Sequence[Item]]) -> None:
        known = overlay(of(1), of(2), changes=[Drop(of(1), "gone")])
        assert (lookup(known, 1), lookup(known, 2)) == ([], [of(2)])

    def test_finds_one_that_was_dropped_and_made_again(self, lookup: Callable[[Overlay, int], Sequence[Item]]) -> None:
        known = overlay(of(1, revision=4), changes=[Drop(of(1, revision=4), "gone"), Put(of(1), None, "created")])
        assert lookup(known, 1) == [of(1)]

    def test_finds_nothing_by_an_empty_number(self, lookup: Callable[[Overlay, int], Sequence[Item]]) -> None:
        bare = replace(of(9), keys=OrderKeys("1.2.9"))
        known = overlay(changes=[Put(bare, None, "created")])
        assert [*known.by_placer(""), *known.by_filler(""), *known.by_accession("")] == []
        assert lookup(overlay(), 9) == []


def test_one_whose_numbers_and_patient_change_is_found_by_the_new_ones_alone() -> None:
    before = item(1)
    keys = OrderKeys("1.2.1", EntityId("P7"), EntityId("F7"), EntityId("A7"))
    known = overlay(before, item(2), changes=[changed(before, keys=keys, patient=OTHER)])
    after = replace(before, keys=keys, patient=OTHER, revision=1)
    assert [known.by_placer("P1"), known.by_filler("F1"), known.by_accession("A1")] == [[], [], []]
    assert [known.by_placer("P7"), known.by_filler("F7"), known.by_accession("A7")] == [[after]] * 3
    assert (known.by_patient(MRN), known.by_patient(OTHER)) == ([item(2)], [after])


def test_one_that_scanners_see_under_another_accession_number_is_found_by_both() -> None:
    long = replace(item(1), keys=OrderKeys("1.2.1", accession=EntityId("RIS-A1")))
    short = replace(long, attributes={**long.attributes, "AccessionNumber": ("A1",)})
    known = overlay(changes=[Put(short, None, "created"), Put(item(2), None, "created")])
    assert (known.by_accession("A1"), known.by_accession("RIS-A1"), known.by_accession("")) == ([short], [short], [])


def test_several_of_one_number_are_each_found_once() -> None:
    first, second, third = (item(n, accession="A0") for n in (1, 2, 3))
    known = overlay(first, second, changes=[changed(first, status="ARRIVED"), Put(third, None, "created")])
    found = known.by_accession("A0")
    assert sorted((one.key, one.status, one.revision) for one in found) == [
        (first.key, "ARRIVED", 1),
        (second.key, "SCHEDULED", 0),
        (third.key, "SCHEDULED", 0),
    ]


def test_revisions_are_counted_change_by_change_as_the_store_will() -> None:
    stored = item(1, revision=6)
    known = overlay(stored)
    known.apply([changed(stored, status="ARRIVED")])
    (once,) = known.by_study("1.2.1")
    known.apply([changed(once, status="STARTED")])
    (twice,) = known.by_study("1.2.1")
    # Decided on one state, two changes of one message: the second is a revision more than the first.
    known.apply([changed(twice, is_held=True), changed(twice, status="COMPLETED")])
    (last,) = known.by_study("1.2.1")
    assert (once.revision, twice.revision, last.revision, last.status) == (7, 8, 10, "COMPLETED")
    known.apply([Put(item(2), None, "created"), Put(replace(item(2), status="ARRIVED"), item(2), "arrived")])
    (new,) = known.by_study("1.2.2")
    assert (new.revision, new.status) == (1, "ARRIVED")


class TestPatients:
    def test_are_followed_from_what_is_stored_into_what_is_not_and_back(self) -> None:
        first, last = EntityId("1"), EntityId("4")
        shelf = Stored()
        shelf.aliases = {first: EntityId("2"), EntityId("3"): last}
        known = Overlay(shelf)
        assert (known.survivor(first), known.survivor(last)) == (EntityId("2"), last)
        known.apply([Merge(EntityId("2"), EntityId("3"))])
        assert known.survivor(first) == last
        assert known.survivor(OTHER) == OTHER

    def test_that_merged_anew_are_followed_by_the_newer_merge(self) -> None:
        shelf = Stored()
        shelf.aliases = {MRN: OTHER}
        known = Overlay(shelf)
        known.apply([Merge(MRN, THIRD)])
        assert known.survivor(MRN) == THIRD
        known.apply([Merge(MRN, EntityId("900004"))])
        assert known.survivor(MRN) == EntityId("900004")

    def test_in_a_ring_end(self) -> None:
        known = overlay(changes=[Merge(MRN, OTHER), Merge(OTHER, MRN)])
        assert known.survivor(MRN) in (MRN, OTHER)

    def test_in_a_chain_as_long_as_is_followed_are_found(self) -> None:
        chain = [EntityId(str(n)) for n in range(MOST_MERGES + 1)]
        known = overlay(changes=[Merge(one, next_) for one, next_ in pairwise(chain)])
        assert known.survivor(chain[0]) == chain[-1]

    def test_are_known_as_the_last_message_says(self) -> None:
        shelf = Stored()
        shelf.patients = {MRN: Demographics({"PatientName": ("Muster^Anna",)}, from_adt=False)}
        known = Overlay(shelf)
        newer = Demographics({"PatientName": ("Muster^Eva",)}, from_adt=True, at="1")
        assert known.demographics(MRN) == shelf.patients[MRN]
        assert known.demographics(OTHER) is None
        known.apply([Know(MRN, newer), Know(OTHER, shelf.patients[MRN])])
        assert (known.demographics(MRN), known.demographics(OTHER)) == (newer, shelf.patients[MRN])
        last = replace(newer, at="2")
        known.apply([Know(MRN, last)])
        assert known.demographics(MRN) == last


class TestCancelsThatCameFirst:
    KEYS = OrderKeys("", EntityId("P1"))

    def test_are_seen_in_what_is_stored_and_in_what_is_not_the_latest_of_them(self) -> None:
        shelf = Stored()
        shelf.buried = [Bury(self.KEYS, "", "3")]
        known = Overlay(shelf)
        assert known.tombstone(self.KEYS, "S1") == "3"
        known.apply([Bury(self.KEYS, "", "2")])
        assert known.tombstone(self.KEYS, "S1") == "3"
        known.apply([Bury(self.KEYS, "", "5"), Bury(self.KEYS, "", "4")])
        assert known.tombstone(self.KEYS, "S1") == "5"
        assert overlay(changes=[Bury(self.KEYS, "", "1")]).tombstone(self.KEYS, "S1") == "1"
        assert overlay().tombstone(self.KEYS, "S1") is None

    def test_of_one_step_are_of_that_step(self) -> None:
        known = overlay(changes=[Bury(self.KEYS, "S1", "1")])
        assert (known.tombstone(self.KEYS, "S1"), known.tombstone(self.KEYS, "S2")) == ("1", None)
        assert known.tombstone(OrderKeys("", EntityId("P2")), "S1") is None


def test_whether_a_scanner_is_at_a_step_is_what_is_stored() -> None:
    shelf = Stored()
    shelf.performing = {item(1).key}
    known = Overlay(shelf)
    assert (known.in_progress(item(1)), known.in_progress(item(2))) == (True, False)


NUMBERS = OrderKeys("1.2", EntityId("P", "HIS"), EntityId("F", "RIS"), EntityId("A", "RIS"))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (OrderKeys("1.2"), True),
        (OrderKeys("1.3"), False),
        (OrderKeys("", EntityId("P")), True),
        (OrderKeys("", EntityId("P", "RIS")), False),
        (OrderKeys("", filler=EntityId("F", "RIS")), True),
        (OrderKeys("", filler=EntityId("P", "HIS")), False),
        (OrderKeys("", accession=EntityId("A")), True),
        (OrderKeys("", accession=EntityId("B", "RIS")), False),
        (OrderKeys("1.3", EntityId("X"), EntityId("Y"), EntityId("A")), True),
        (OrderKeys(), False),
    ],
)
def test_orders_are_the_same_by_any_number_and_its_issuer(other: OrderKeys, same: bool) -> None:
    assert names_the_same(NUMBERS, other) is same
    assert names_the_same(other, NUMBERS) is same


def test_orders_without_a_number_are_not_the_same() -> None:
    assert not names_the_same(OrderKeys(), OrderKeys())
