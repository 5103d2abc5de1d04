"""What every store keeps of worklists, as tests: subclass `WorklistContract` beside `StoreContract`.

class TestWorklistsOfMyStore(WorklistContract):
    @pytest.fixture
    def bench(self, tmp_path): ...  # a StoreBench
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from engine.model.envelope import Batch, Delivery, DeliveryResult
from engine.model.ids import DeliveryId
from engine.model.outcome import Effects
from engine.model.states import IllegalMove
from engine.ports.store import Store, StoreQueries
from engine.ports.worklist import Aged, PerformedOrder
from engine.testing.store_contract import EPR, LAB, T0, StoreBench, intake, result
from engine.worklist.attributes import SPS
from engine.worklist.changes import Bury, Change, Demographics, Drop, Know, Merge, Put
from engine.worklist.item import Attributes, EntityId, Item, ItemKey, OrderKeys, Status
from engine.worklist.matching import compile_query

MAIN = "main"
MRN = EntityId("900001", "HIS")
OLD = EntityId("900007", "HIS")


def item(number: int, status: Status = "SCHEDULED", *, study: int | None = None) -> Item:
    """A step that DICOM can hold, with numbers of its own."""
    uid = f"1.2.{study if study is not None else number}"
    step: Attributes = {
        "ScheduledStationAETitle": ("CT1",),
        "Modality": ("CT",),
        "ScheduledProcedureStepStartDate": ("20260102",),
        "ScheduledProcedureStepStartTime": ("103000",),
        "ScheduledProcedureStepID": (f"S{number}",),
        "ScheduledProcedureStepDescription": ("CT head",),
    }
    attributes: Attributes = {
        "PatientName": ("Muster^Anna",),
        "PatientID": (MRN.id,),
        "AccessionNumber": (f"A{number}",),
        "StudyInstanceUID": (uid,),
        SPS: (step,),
    }
    keys = OrderKeys(uid, EntityId(f"P{number}", "HIS"), EntityId(f"F{number}"), EntityId(f"A{number}"))
    return Item(ItemKey(uid, f"S{number}"), MRN, keys, attributes, f"202601021030{number:02}.000000", "zds", status)


def _without_station(number: int) -> Item:
    made = item(number)
    step = {**made.step, "ScheduledStationAETitle": ()}
    return replace(made, attributes={**made.attributes, SPS: (step,)})


def performed(number: int, status: str = "IN PROGRESS", *, uid: str = "9.1", is_new: bool = True) -> PerformedOrder:
    """A scanner's word on the step of `item(number)`."""
    attributes: Attributes = {"PerformedProcedureStepStatus": (status,)}
    if is_new:
        named: Attributes = {"StudyInstanceUID": (f"1.2.{number}",), "ScheduledProcedureStepID": (f"S{number}",)}
        attributes = {**attributes, "ScheduledStepAttributesSequence": (named,)}
    return PerformedOrder(MAIN, uid, attributes, "CT1", T0 + 5, is_new)


class WorklistContract:
    """Every promise of `engine.ports.worklist`, and of `effects` in a commit, one test each."""

    @pytest.fixture
    def bench(self) -> StoreBench:
        """Override: the store under test."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, bench: StoreBench) -> Store:
        return bench.store

    @pytest.fixture
    def queries(self, bench: StoreBench) -> Iterator[StoreQueries]:
        found = bench.store.queries()
        yield found
        found.close()

    def deliveries(self, store: Store, count: int) -> list[Delivery]:
        committed = store.commit(Batch([intake(EPR) for _ in range(count)]))
        return [delivery for (delivery,) in committed.deliveries]

    def done(self, store: Store, delivery: Delivery, *changes: Change, seen: int) -> DeliveryResult:
        """A delivery's end with what it does; as the commit left it."""
        made = result(delivery)
        made.effects = Effects(MAIN, changes, seen, "lab/epr")
        store.commit(Batch(results=[made]))
        return made

    def epoch(self, queries: StoreQueries) -> int:
        with queries.worklist(MAIN) as view:
            return view.epoch

    def keys(self, queries: StoreQueries, *, names_status: bool = False) -> Sequence[ItemKey]:
        asked: Attributes = {SPS: ({"ScheduledProcedureStepStatus": ("*",)},)} if names_status else {}
        with queries.worklist(MAIN) as view:
            return [
                one.item.key for one in view.candidates(replace(compile_query(asked), names_status=names_status), 99)
            ]

    def waiting(self, store: Store) -> list[DeliveryId]:
        return [delivery.id for delivery in store.queued(LAB, EPR, DeliveryId(0), 99)]

    # -- effects --------------------------------------------------------------------------------

    def test_a_worklist_that_nothing_was_written_to_is_empty(self, queries: StoreQueries) -> None:
        assert self.epoch(queries) == 0
        assert self.keys(queries) == []
        assert queries.worklist_counts() == {}

    def test_what_a_delivery_does_is_there_with_its_record(self, store: Store, queries: StoreQueries) -> None:
        (delivery,) = self.deliveries(store, 1)
        assert not self.done(store, delivery, Put(item(1), None, "created"), seen=0).is_stale
        assert self.keys(queries) == [item(1).key]
        assert self.waiting(store) == []
        with queries.worklist(MAIN) as view:
            assert view.item(item(1).key) == item(1)
            ((at_us, seq, who, what, status),) = view.history(item(1).key)
        assert (at_us, seq, who, what, status) == (T0 + 1, delivery.seq, "lab/epr", "created", "SCHEDULED")
        assert queries.worklist_counts() == {(MAIN, "SCHEDULED"): 1}

    def test_an_item_is_found_by_each_of_its_numbers(self, store: Store, queries: StoreQueries) -> None:
        first, second = self.deliveries(store, 2)
        self.done(store, first, Put(item(1), None, "created"), seen=0)
        self.done(store, second, Put(item(2), None, "created"), seen=1)
        with queries.worklist(MAIN) as view:
            for found in (view.by_study("1.2.1"), view.by_placer("P1"), view.by_filler("F1"), view.by_accession("A1")):
                assert [one.key for one in found] == [item(1).key]
            assert [one.key for one in view.by_patient(MRN)] == [item(1).key, item(2).key]
            assert view.by_patient(EntityId(MRN.id, "OTHER")) == []

    def test_what_one_worklist_knows_of_a_bare_number_is_its_own(self, store: Store, queries: StoreQueries) -> None:
        (delivery,) = self.deliveries(store, 1)
        bare, other = EntityId("1"), EntityId("2")
        keys = OrderKeys(placer=EntityId("P1"))
        known = Demographics({"PatientName": ("Muster^Anna",)}, from_adt=True)
        self.done(store, delivery, Merge(bare, other), Know(other, known), Bury(keys, "", "2026"), seen=0)
        with queries.worklist(MAIN) as view:
            assert view.survivor(bare) == other
            assert (view.demographics(other), view.tombstone(keys, "S1")) == (known, "2026")
        with queries.worklist("another hospital") as view:
            assert view.survivor(bare) == bare
            assert (view.demographics(other), view.tombstone(keys, "S1")) == (None, None)

    def test_what_was_decided_before_another_change_is_not_written_and_stays_queued(
        self, store: Store, queries: StoreQueries
    ) -> None:
        first, second = self.deliveries(store, 2)
        seen = self.epoch(queries)
        self.done(store, first, Put(item(1), None, "created"), seen=seen)
        late = self.done(store, second, Put(item(2), None, "created"), seen=seen)
        assert late.is_stale
        assert self.keys(queries) == [item(1).key]
        assert self.waiting(store) == [second.id]
        assert store.queued(LAB, EPR, DeliveryId(0), 9)[0].attempts == 0
        assert not self.done(store, second, Put(item(2), None, "created"), seen=self.epoch(queries)).is_stale
        assert self.waiting(store) == []

    def test_one_that_is_stale_takes_nothing_of_its_batch_with_it(self, store: Store, queries: StoreQueries) -> None:
        first, second, third = self.deliveries(store, 3)
        results = [result(one) for one in (first, second, third)]
        for made, number in zip(results[:2], (1, 2), strict=True):
            made.effects = Effects(MAIN, (Put(item(number), None, "created"),), 0)
        committed = store.commit(Batch([intake(EPR)], results=results))
        assert [made.is_stale for made in results] == [False, True, False]
        assert self.waiting(store) == [second.id, committed.deliveries[0][0].id]
        assert self.keys(queries) == [item(1).key]

    def test_a_result_that_cannot_be_recorded_writes_nothing(self, store: Store, queries: StoreQueries) -> None:
        (delivery,) = self.deliveries(store, 1)
        store.commit(Batch(results=[result(delivery)]))
        with pytest.raises(IllegalMove):
            self.done(store, delivery, Put(item(1), None, "created"), seen=0)
        assert self.keys(queries) == []
        assert self.epoch(queries) == 0

    def test_an_item_may_be_changed_twice_by_one_message(self, store: Store, queries: StoreQueries) -> None:
        deliveries = self.deliveries(store, 2)
        started, done = item(1, "STARTED"), item(1, "COMPLETED")
        new = (Put(item(1), None, "created"), Put(started, item(1), "started"), Put(done, started, "completed"))
        assert not self.done(store, deliveries[0], *new, seen=0).is_stale
        with queries.worklist(MAIN) as view:
            (stored,) = view.by_study("1.2.1")
            assert (stored.status, len(view.history(stored.key))) == ("COMPLETED", 3)
        again = (Put(replace(stored, is_held=True), stored, "hold"), Drop(replace(stored, is_held=True), "dropped"))
        assert not self.done(store, deliveries[1], *again, seen=1).is_stale
        assert self.keys(queries, names_status=True) == []

    def test_what_is_not_shown_is_found_by_a_query_for_its_status(self, store: Store, queries: StoreQueries) -> None:
        (delivery,) = self.deliveries(store, 1)
        held = replace(item(3), is_held=True)
        puts = [Put(one, None, "created") for one in (item(2), item(1, "COMPLETED"), held)]
        self.done(store, delivery, *puts, seen=0)
        assert self.keys(queries) == [item(2).key]
        assert self.keys(queries, names_status=True) == [item(1).key, item(2).key, held.key]

    def test_steps_that_are_for_no_scanner_are_counted_as_long_as_they_are_shown(
        self, store: Store, queries: StoreQueries
    ) -> None:
        first, second = self.deliveries(store, 2)
        nowhere = [_without_station(number) for number in (2, 3)]
        self.done(store, first, *(Put(one, None, "created") for one in (item(1), *nowhere)), seen=0)
        assert queries.worklist_without_station() == {MAIN: 2}
        self.done(store, second, Put(replace(nowhere[0], status="COMPLETED"), nowhere[0], "completed"), seen=1)
        assert queries.worklist_without_station() == {MAIN: 1}
        assert queries.worklist_counts() == {(MAIN, "SCHEDULED"): 2, (MAIN, "COMPLETED"): 1}

    def test_each_worklist_is_counted_by_its_name(self, store: Store, queries: StoreQueries) -> None:
        first, second = self.deliveries(store, 2)
        self.done(store, first, Put(_without_station(1), None, "created"), seen=0)
        made = result(second)
        made.effects = Effects("ward", (Put(item(2), None, "created"),), 0)
        store.commit(Batch(results=[made]))
        assert queries.worklist_counts() == {(MAIN, "SCHEDULED"): 1, ("ward", "SCHEDULED"): 1}
        assert queries.worklist_without_station() == {MAIN: 1}

    def test_what_was_decided_on_top_of_others_is_written_after_them_or_not_at_all(
        self, store: Store, queries: StoreQueries
    ) -> None:
        deliveries = self.deliveries(store, 4)
        results = [result(one) for one in deliveries]
        seen = 0
        for number, made in enumerate(results, 1):
            then = seen + 1000 if number < 4 else None
            made.effects = Effects(MAIN, (Put(item(number), None, "created"),), seen, "lab/epr", then)
            seen += 1000
        store.commit(Batch(results=results[:2]))
        assert [made.is_stale for made in results[:2]] == [False, False]
        assert self.epoch(queries) == 2000
        store.perform(performed(1))
        store.commit(Batch(results=results[2:]))
        assert [made.is_stale for made in results[2:]] == [True, True]
        assert self.keys(queries) == [item(2).key]
        assert self.waiting(store) == [one.id for one in deliveries[2:]]

    def test_merges_patients_and_cancels_are_remembered(self, store: Store, bench: StoreBench) -> None:
        (delivery,) = self.deliveries(store, 1)
        said = Demographics({"PatientName": ("Muster^Anna",)}, from_adt=True, at="20260101")
        buried = Bury(OrderKeys(placer=EntityId("P9", "HIS")), "S9", "20260101120000")
        self.done(store, delivery, Merge(OLD, MRN), Know(MRN, said), buried, seen=0)
        queries = bench.restart(clean=False).queries()
        with queries.worklist(MAIN) as view:
            assert view.survivor(OLD) == MRN
            assert view.survivor(MRN) == MRN
            assert view.demographics(MRN) == said
            assert view.demographics(OLD) is None
            asked = OrderKeys(placer=EntityId("P9", "HIS"))
            assert view.tombstone(asked, "S9") == "20260101120000"
            assert view.tombstone(asked, "S1") is None
            assert view.tombstone(OrderKeys(placer=EntityId("P9", "LAB")), "S9") is None
        queries.close()

    def test_worklists_are_apart(self, store: Store, queries: StoreQueries) -> None:
        (delivery,) = self.deliveries(store, 1)
        self.done(store, delivery, Put(item(1), None, "created"), seen=0)
        with queries.worklist("other") as view:
            assert view.item(item(1).key) is None
            assert view.epoch == 0

    # -- performed steps ------------------------------------------------------------------------

    def status(self, queries: StoreQueries, number: int) -> str:
        with queries.worklist(MAIN) as view:
            found = view.item(item(number).key)
        assert found is not None
        return found.status

    def put(self, store: Store, *items: Item) -> None:
        (delivery,) = self.deliveries(store, 1)
        self.done(store, delivery, *(Put(one, None, "created") for one in items), seen=0)

    def test_a_performed_step_moves_the_item_that_it_names(self, store: Store, queries: StoreQueries) -> None:
        self.put(store, item(1), item(2))
        assert store.perform(performed(1)).status == 0
        assert (self.status(queries, 1), self.status(queries, 2)) == ("STARTED", "SCHEDULED")
        assert store.perform(performed(1, "COMPLETED", is_new=False)).status == 0
        assert self.status(queries, 1) == "COMPLETED"

    def test_a_scanner_is_at_a_step_until_all_that_it_performs_of_it_has_ended(
        self, store: Store, queries: StoreQueries
    ) -> None:
        self.put(store, item(1), item(2), item(3, study=1))

        def at_it() -> list[int]:
            with queries.worklist(MAIN) as view:
                return [n for n, one in enumerate((item(1), item(2), item(3, study=1)), 1) if view.in_progress(one)]

        assert at_it() == []
        for uid in ("9.1", "9.2"):
            assert store.perform(performed(1, uid=uid)).status == 0
        assert at_it() == [1]
        assert store.perform(performed(1, "COMPLETED", uid="9.1", is_new=False)).status == 0
        assert at_it() == [1]
        assert store.perform(performed(1, "DISCONTINUED", uid="9.2", is_new=False)).status == 0
        assert at_it() == []
        by_number: Attributes = {
            "PerformedProcedureStepStatus": ("IN PROGRESS",),
            "ScheduledStepAttributesSequence": ({"AccessionNumber": ("A2",)},),
        }
        assert store.perform(PerformedOrder(MAIN, "9.3", by_number, "CT1", T0 + 6, is_new=True)).status == 0
        assert at_it() == [2]

    @pytest.mark.parametrize("named", ["A1", "RIS2026-000000000001"])
    def test_an_accession_number_is_the_items_as_ordered_and_as_scanners_see_it(
        self, store: Store, queries: StoreQueries, named: str
    ) -> None:
        ordered = EntityId("RIS2026-000000000001")
        keys = replace(item(1).keys, accession=ordered)
        made = replace(item(1), keys=keys, originals={"AccessionNumber": ordered.id})
        self.put(store, made, item(2))
        with queries.worklist(MAIN) as view:
            assert view.item(made.key) == made
            assert list(view.by_accession(named)) == [made]
            assert list(view.by_accession("")) == []
        begun: Attributes = {
            "PerformedProcedureStepStatus": ("IN PROGRESS",),
            "ScheduledStepAttributesSequence": ({"AccessionNumber": (named,)},),
        }
        for uid in ("9.1", "9.2"):
            assert store.perform(PerformedOrder(MAIN, uid, begun, "CT1", T0 + 5, is_new=True)).status == 0
        assert (self.status(queries, 1), self.status(queries, 2)) == ("STARTED", "SCHEDULED")
        with queries.worklist(MAIN) as view:
            assert (view.in_progress(made), view.in_progress(item(2))) == (True, False)
        assert store.perform(performed(1, "COMPLETED", uid="9.1", is_new=False)).status == 0
        assert self.status(queries, 1) == "STARTED", "the other scanner is at it still"
        assert store.perform(performed(1, "COMPLETED", uid="9.2", is_new=False)).status == 0
        assert self.status(queries, 1) == "COMPLETED"

    def test_a_performed_step_is_kept_over_a_crash(self, store: Store, bench: StoreBench) -> None:
        self.put(store, item(1))
        assert store.perform(performed(1)).status == 0
        again = bench.restart(clean=False)
        assert again.perform(performed(1)).status == 0x0111
        assert again.perform(performed(1, "DISCONTINUED", is_new=False)).status == 0
        assert again.perform(performed(1, "COMPLETED", is_new=False)).status == 0x0110

    def test_an_item_with_two_performed_steps_ends_with_the_last_of_them(
        self, store: Store, queries: StoreQueries
    ) -> None:
        self.put(store, item(1))
        for uid in ("9.1", "9.2"):
            assert store.perform(performed(1, uid=uid)).status == 0
        assert store.perform(performed(1, "COMPLETED", uid="9.1", is_new=False)).status == 0
        assert self.status(queries, 1) == "STARTED"
        assert store.perform(performed(1, "COMPLETED", uid="9.2", is_new=False)).status == 0
        assert self.status(queries, 1) == "COMPLETED"

    def test_what_a_change_has_empty_stays_as_it_was_said(self, store: Store, queries: StoreQueries) -> None:
        self.put(store, item(1))
        assert store.perform(performed(1)).items == 1
        empty: Attributes = {"PerformedProcedureStepStatus": (), "ScheduledStepAttributesSequence": ()}
        reply = store.perform(replace(performed(1, is_new=False), attributes=empty))
        assert (reply.status, reply.items) == (0, 1)
        assert self.status(queries, 1) == "STARTED"
        ended: Attributes = {**empty, "PerformedProcedureStepStatus": ("COMPLETED",)}
        assert store.perform(replace(performed(1, is_new=False), attributes=ended)).items == 1
        assert self.status(queries, 1) == "COMPLETED"

    def test_what_is_refused_changes_nothing(self, store: Store, queries: StoreQueries) -> None:
        self.put(store, item(1))
        assert store.perform(performed(1, "COMPLETED", is_new=False)).status == 0x0112
        assert store.perform(performed(1, "COMPLETED")).status == 0x0106
        assert self.status(queries, 1) == "SCHEDULED"
        assert self.epoch(queries) == 1

    def test_an_unscheduled_examination_is_kept_and_moves_nothing(self, store: Store, queries: StoreQueries) -> None:
        self.put(store, item(1))
        unscheduled = replace(performed(1), attributes={"PerformedProcedureStepStatus": ("IN PROGRESS",)})
        reply = store.perform(unscheduled)
        assert (reply.status, reply.items) == (0, 0)
        assert store.perform(unscheduled).status == 0x0111
        assert self.status(queries, 1) == "SCHEDULED"

    # -- forgetting -----------------------------------------------------------------------------

    def test_steps_that_are_old_enough_go_with_their_histories(self, store: Store, queries: StoreQueries) -> None:
        ended, overdue, kept = item(1, "COMPLETED"), item(2), item(3)
        self.put(store, ended, overdue, kept)
        assert store.age_worklists(Aged(T0, overdue.starts_at, 9)) == 0
        assert store.age_worklists(Aged(0, "", 9)) == 0
        assert store.age_worklists(Aged(T0 + 2, kept.starts_at, 9)) == 2
        with queries.worklist(MAIN) as view:
            assert [view.item(one.key) is not None for one in (ended, overdue, kept)] == [False, False, True]
            assert [len(view.history(one.key)) for one in (ended, overdue, kept)] == [0, 0, 1]
            assert view.epoch == 2, "what was decided before is to be decided anew"
        assert self.keys(queries) == [kept.key]

    def test_no_more_go_at_once_than_was_asked_for(self, store: Store, queries: StoreQueries) -> None:
        self.put(store, *(item(number) for number in range(1, 6)))
        gone = [store.age_worklists(Aged(0, "29990101", 2)) for _ in range(3)]
        assert gone == [2, 2, 1]
        assert queries.worklist_counts() == {}

    def test_cancels_and_performed_steps_go_with_what_has_ended(self, store: Store, queries: StoreQueries) -> None:
        (delivery,) = self.deliveries(store, 1)
        keys = OrderKeys(placer=EntityId("P9"))
        self.done(store, delivery, Bury(keys, "", "20260101"), Put(item(1), None, "created"), seen=0)
        for uid in ("9.1", "9.2"):
            store.perform(performed(1, uid=uid))
        store.perform(performed(1, "COMPLETED", is_new=False))
        store.age_worklists(Aged(T0 + 6, "", 9))
        with queries.worklist(MAIN) as view:
            assert view.tombstone(keys, "S1") is None
        assert store.perform(performed(1, "COMPLETED", is_new=False)).status == 0x0112
        assert store.perform(performed(1, "COMPLETED", uid="9.2", is_new=False)).status == 0
