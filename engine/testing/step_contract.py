"""What every store keeps of steps that are moved by scanners and by people, as tests: subclass `StepContract`.

class TestStepsOfMyStore(StepContract):
    @pytest.fixture
    def bench(self, tmp_path): ...  # a StoreBench
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.model.envelope import Batch, DeliveryResult, Intake
from engine.model.ids import DeliveryId, MessageSeq
from engine.model.outcome import Effects
from engine.ports.operations import By, Change, Changed, Progress, StepChanged, StepMove
from engine.ports.store import Prune, Store, StoreQueries
from engine.ports.worklist import HistoryRow, Moved
from engine.testing.store_contract import EPR, LAB, T0, StoreBench, intake, result
from engine.testing.worklist_contract import MAIN, item, performed
from engine.worklist.changes import Put
from engine.worklist.item import Item, ItemKey, Status
from engine.worklist.status import OrderReceived

ORDER = b"MSH|^~\\&|HIS|NORTH|||||ORM^O01|1|P|2.3.1\r"
TOLD = b"MSH|^~\\&|SEGMILL|||||ORM^O01|2|P|2.3.1\r"
ANNA = By("anna (uid 1000)", "it was done on paper", "step 1")


class Teller:
    """Keeps what it is told of, and makes a message of it."""

    def __init__(self) -> None:
        self.moved: list[Moved] = []

    def __call__(self, moved: Moved) -> Intake | None:
        self.moved.append(moved)
        return intake(EPR, raw=TOLD, sender="(worklist)", message_type="ORM^O01")


def move(to: Status, planned: Status = "SCHEDULED", revision: int = 0, *, force: bool = False) -> StepMove:
    """Of `item(1)`."""
    return StepMove(MAIN, "1.2.1", "S1", planned, revision, to, force)


class StepContract:
    """Every promise of `Store.perform` with somebody to tell, and of `Change.step`, one test each."""

    @pytest.fixture
    def bench(self) -> StoreBench:
        """Override: the store under test."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, bench: StoreBench) -> Store:
        """With `item(1)` of an order that is its first message."""
        return self.with_items(bench.store, item(1))

    def with_items(self, store: Store, *items: Item) -> Store:
        for number, one in enumerate(items):
            ((delivery,),) = store.commit(Batch([intake(EPR, raw=ORDER, message_type="ORM^O01")])).deliveries
            made: DeliveryResult = result(delivery)
            made.effects = Effects(MAIN, (Put(one, None, "created"),), number, "lab/epr")
            store.commit(Batch(results=[made]))
            assert not made.is_stale
        return store

    @pytest.fixture
    def queries(self, store: Store) -> Iterator[StoreQueries]:
        found = store.queries()
        yield found
        found.close()

    def status(self, queries: StoreQueries, number: int = 1) -> Status:
        with queries.worklist(MAIN) as view:
            found = view.item(item(number).key)
        assert found is not None
        return found.status

    def history(self, queries: StoreQueries) -> list[HistoryRow]:
        with queries.worklist(MAIN) as view:
            return list(view.history(item(1).key))

    def told(self, store: Store) -> list[tuple[MessageSeq, bytes]]:
        return [(delivery.seq, delivery.body) for delivery in store.queued(LAB, EPR, DeliveryId(0), 99)]

    def set(
        self,
        store: Store,
        step: StepMove,
        teller: Teller | None = None,
        by: By = ANNA,
        progress: Progress | None = None,
    ) -> Changed:
        change = Change(by, "set-status", step=step, tell=teller, lanes=[step.name], progress=progress)
        return store.operate(change)

    # -- by a scanner ---------------------------------------------------------------------------

    def test_a_performed_step_is_told_with_the_order_that_its_item_is_from(
        self, store: Store, queries: StoreQueries
    ) -> None:
        teller = Teller()
        reply = store.perform(performed(1), teller)
        assert (reply.status, reply.grown) == (0, ((LAB, EPR),))
        (moved,) = teller.moved
        assert (moved.worklist, moved.item.key, moved.item.status, moved.before) == (
            MAIN,
            item(1).key,
            "STARTED",
            "SCHEDULED",
        )
        assert (moved.at_us, moved.order) == (T0 + 5, OrderReceived("ORM^O01", ORDER))
        assert self.told(store) == [(2, TOLD)]
        assert self.status(queries) == "STARTED"

    def test_what_is_told_is_there_after_a_crash_as_the_move_is(self, store: Store, bench: StoreBench) -> None:
        assert store.perform(performed(1), Teller()).status == 0
        again = bench.restart(clean=False)
        assert self.told(again) == [(2, TOLD)]
        queries = again.queries()
        assert self.status(queries) == "STARTED"
        queries.close()

    def test_what_moves_nothing_is_not_told(self, store: Store) -> None:
        teller = Teller()
        assert store.perform(performed(1, uid="9.1"), teller).grown
        for order in (performed(1, uid="9.1"), performed(1, uid="9.2"), performed(7, uid="9.3")):
            assert store.perform(order, teller).grown == ()
        assert len(teller.moved) == 1
        assert len(self.told(store)) == 1

    def test_of_several_steps_that_one_performed_step_names_each_is_told(self, bench: StoreBench) -> None:
        store = self.with_items(bench.store, item(1), item(2))
        named = [
            {"StudyInstanceUID": (f"1.2.{number}",), "ScheduledProcedureStepID": (f"S{number}",)} for number in (1, 2)
        ]
        attributes = {**performed(1).attributes, "ScheduledStepAttributesSequence": tuple(named)}
        teller = Teller()
        assert store.perform(replace(performed(1), attributes=attributes), teller).status == 0
        assert [moved.item.key for moved in teller.moved] == [item(1).key, item(2).key]
        assert len(self.told(store)) == 2

    def test_where_nobody_is_to_be_told_the_step_moves_all_the_same(self, store: Store, queries: StoreQueries) -> None:
        assert store.perform(performed(1), lambda moved: None).grown == ()
        assert self.status(queries) == "STARTED"
        assert self.told(store) == []

    def test_what_cannot_be_told_takes_the_move_back(self, store: Store, queries: StoreQueries) -> None:
        def fails(moved: Moved) -> Intake:
            raise RuntimeError("a teller never raises; this one shows what is kept then")

        with pytest.raises(RuntimeError):
            store.perform(performed(1), fails)
        assert self.status(queries) == "SCHEDULED"
        assert store.perform(performed(1), Teller()).status == 0, "it was not kept, so it is new"

    def test_an_order_whose_bytes_are_gone_is_known_by_its_type(self, store: Store) -> None:
        store.prune(Prune(None, T0 + 10**9, 0, MessageSeq(0), 100))
        teller = Teller()
        store.perform(performed(1), teller)
        assert teller.moved[0].order == OrderReceived("ORM^O01", None)

    def test_an_order_that_is_gone_is_not_known(self, store: Store) -> None:
        store.prune(Prune(None, T0 + 10**9, T0 + 10**9, MessageSeq(0), 100))
        teller = Teller()
        store.perform(performed(1), teller)
        assert teller.moved[0].order is None

    def test_damaged_bytes_of_an_order_are_not_told_with(self, store: Store, bench: StoreBench) -> None:
        bench.damage(MessageSeq(1))
        teller = Teller()
        bench.restart(clean=True).perform(performed(1), teller)
        assert teller.moved[0].order == OrderReceived("ORM^O01", None)

    # -- by a person ----------------------------------------------------------------------------

    def test_a_person_moves_a_step_and_that_is_on_record(self, store: Store, queries: StoreQueries) -> None:
        teller = Teller()
        changed = self.set(store, move("COMPLETED"), teller)
        assert (changed.report.steps, changed.report.deliveries, changed.report.made) == (1, 1, (2,))
        assert list(changed.grown) == [(LAB, EPR)]
        assert self.status(queries) == "COMPLETED"
        last = self.history(queries)[-1]
        assert (last.seq, last.who, last.status) == (0, ANNA.actor, "COMPLETED")
        assert last.what == "completed by hand: it was done on paper"
        (row,) = queries.audit()
        assert (row.actor, row.action, row.reason) == (ANNA.actor, "set-status", ANNA.reason)
        assert row.counts == '{"steps":1,"messages":0,"deliveries":1}'
        assert row.ids == "messages 2; step main/1.2.1/S1"
        assert self.told(store) == [(2, TOLD)]

    def test_the_status_that_it_has_changes_nothing(self, store: Store, queries: StoreQueries) -> None:
        teller = Teller()
        changed = self.set(store, move("SCHEDULED"), teller)
        assert (changed.report.steps, teller.moved) == (0, [])
        assert queries.audit() == []
        assert len(self.history(queries)) == 1

    @pytest.mark.parametrize(
        ("step", "is_temporary"),
        [
            (move("COMPLETED", "STARTED"), False),
            (move("COMPLETED", "SCHEDULED", 4), True),
            (replace(move("COMPLETED"), step_id="S9"), False),
            (replace(move("COMPLETED"), worklist="other"), False),
        ],
    )
    def test_a_step_that_is_not_as_it_was_planned_is_not_moved(
        self, store: Store, queries: StoreQueries, step: StepMove, is_temporary: bool
    ) -> None:
        with pytest.raises(StepChanged) as refused:
            self.set(store, step, Teller())
        assert refused.value.is_temporary is is_temporary
        assert self.status(queries) == "SCHEDULED"
        assert queries.audit() == []
        assert self.told(store) == []

    def test_what_has_ended_stays_so_but_by_force(self, store: Store, queries: StoreQueries) -> None:
        self.set(store, move("COMPLETED"))
        again = move("SCHEDULED", "COMPLETED", 1)
        with pytest.raises(StepChanged) as refused:
            self.set(store, again)
        assert not refused.value.is_temporary
        assert self.status(queries) == "COMPLETED"
        assert self.set(store, replace(again, force=True)).report.steps == 1
        assert self.status(queries) == "SCHEDULED"
        assert self.history(queries)[-1].what == "scheduled by hand, by force: it was done on paper"

    def test_a_step_that_was_moved_by_hand_is_found_by_its_status(self, store: Store, queries: StoreQueries) -> None:
        self.set(store, move("CANCELED"))
        assert queries.worklist_counts() == {(MAIN, "CANCELED"): 1}
        with queries.worklist(MAIN) as view:
            found = view.item(ItemKey("1.2.1", "S1"))
            assert view.epoch == 2, "what was decided before is stale now"
        assert found is not None and found.revision == 1

    def test_what_was_reported_of_a_run_can_be_told_again(self, store: Store) -> None:
        progress = Progress("K1", "set-status", b"digest", 1, is_finished=True)
        report = self.set(store, move("COMPLETED"), progress=progress).report
        kept = store.progress("K1")
        assert kept is not None and kept.report == report and kept.report.steps == 1
