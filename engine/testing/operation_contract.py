"""What every store keeps of what people do, as tests: subclass `OperationContract` beside `StoreContract`.

class TestOperationsOfMyStore(OperationContract):
    @pytest.fixture
    def bench(self, tmp_path): ...  # a StoreBench
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from engine.model.audit import START, broken_at, chained
from engine.model.envelope import Batch, Delivery, DraftDelivery, Reprocessed
from engine.model.ids import DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import DELIVERY_STATES, DeliveryState
from engine.ports.operations import (
    ACT_FROM,
    ACT_TO,
    INTAKE,
    Act,
    ActionReport,
    By,
    Change,
    Pause,
    Progress,
    Resend,
)
from engine.ports.store import Prune, Store, StoreQueries
from engine.testing.store_contract import EPR, FIRST, LAB, RIS, T0, StoreBench, intake, result

ANNA = By("anna (uid 1000)", "as the ward asked", 'PID-3.1 == "4711"', "run-1")
WAYS: dict[DeliveryState, Callable[[Store, Delivery], object]] = {
    "queued": lambda store, delivery: None,
    "delivered": lambda store, delivery: _end(store, delivery, "delivered"),
    "held": lambda store, delivery: _end(store, delivery, "held"),
    "failed": lambda store, delivery: _end(store, delivery, "failed"),
    "redirected": lambda store, delivery: _act(store, "redirect", [(delivery.id, "queued")], to=RIS),
}


def _end(store: Store, delivery: Delivery, state: DeliveryState) -> None:
    store.commit(Batch(results=[result(delivery, state)]))


def _act(store: Store, act: Act, moves: Sequence[tuple[DeliveryId, DeliveryState]], **more: Any) -> ActionReport:
    return store.operate(Change(ANNA, act, act, moves, f"{act} by anna", **more)).report


class OperationContract:
    """Every promise of `engine.ports.operations`, one test each."""

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

    # -- deliveries -----------------------------------------------------------------------------

    @pytest.mark.parametrize("act", list(ACT_FROM))
    @pytest.mark.parametrize("state", DELIVERY_STATES)
    def test_a_delivery_is_moved_from_the_states_of_the_table_and_from_no_other(
        self, store: Store, queries: StoreQueries, act: Act, state: DeliveryState
    ) -> None:
        ((delivery,),) = store.commit(Batch([intake(EPR)])).deliveries
        WAYS[state](store, delivery)
        report = _act(store, act, [(delivery.id, state)], to=RIS)
        (now, *_) = queries.delivery_states([delivery.id])[delivery.id]
        if state in ACT_FROM[act]:
            assert (now, report.deliveries, report.left) == (ACT_TO[act], 1, ())
        else:
            assert (now, report.deliveries) == (state, 0)
            assert [seq for seq, _ in report.left] == [delivery.seq]

    def test_what_has_changed_since_the_plan_is_left_alone_with_the_reason(
        self, store: Store, queries: StoreQueries
    ) -> None:
        (first,), (second,) = store.commit(Batch([intake(EPR), intake(EPR)])).deliveries
        _end(store, first, "delivered")
        report = _act(store, "skip", [(first.id, "queued"), (second.id, "queued")])
        assert (report.deliveries, report.left) == (1, ((first.seq, "its delivery is delivered now (to epr)"),))
        assert [d.state for d in queries.deliveries(first.seq)] == ["delivered"]

    def test_the_note_says_who_and_the_queue_no_longer_has_it(self, store: Store, queries: StoreQueries) -> None:
        (first,), (second,) = store.commit(Batch([intake(EPR), intake(EPR)])).deliveries
        _act(store, "hold", [(first.id, "queued")])
        (row,) = queries.deliveries(first.seq)
        assert (row.state, row.note, row.done_at_us > 0) == ("held", "hold by anna", True)
        assert [d.id for d in store.queued(LAB, EPR, FIRST, 10)] == [second.id]

    def test_what_is_released_has_its_old_place_and_may_be_tried_at_once(self, store: Store) -> None:
        made = [d for (d,) in store.commit(Batch([intake(EPR) for _ in range(3)])).deliveries]
        store.commit(Batch(results=[result(made[1], "held", attempts=4, next_at_us=T0 + 9)]))
        _act(store, "release", [(made[1].id, "held")])
        waiting = store.queued(LAB, EPR, FIRST, 10)
        assert [d.id for d in waiting] == [d.id for d in made]
        assert waiting[1].next_at_us == 0

    def test_a_retry_ends_the_wait_and_keeps_the_attempts(self, store: Store) -> None:
        ((delivery,),) = store.commit(Batch([intake(EPR)])).deliveries
        store.commit(Batch(results=[result(delivery, "queued", attempts=3, next_at_us=T0 + 99, code="AR")]))
        _act(store, "retry", [(delivery.id, "queued")])
        (waiting,) = store.queued(LAB, EPR, FIRST, 10)
        assert (waiting.next_at_us, waiting.attempts) == (0, 3)

    def test_no_attempt_is_listed_without_its_time(self, store: Store, queries: StoreQueries) -> None:
        """Of a receiver that is down only the first is kept; a person's move must not list the newest as of 1970."""
        ((delivery,),) = store.commit(Batch([intake(EPR)])).deliveries
        for number in (1, 2, 3):
            store.commit(Batch(results=[result(delivery, "queued", attempts=number, code="unreachable")]))
        _act(store, "hold", [(delivery.id, "queued")])
        _act(store, "release", [(delivery.id, "held")])
        _act(store, "redirect", [(delivery.id, "queued")], to=RIS)
        assert [(a.number, a.at_us > 0) for a in queries.attempts(delivery.seq)] == [(1, True)]

    def test_what_a_crash_left_in_doubt_stays_marked_when_a_person_moves_it(self, bench: StoreBench) -> None:
        """In a lane with keys, whose next unclean stop is about other deliveries."""
        store = bench.store
        store.lane_window(LAB, EPR, 3, "PID-3.1")
        acts: tuple[Act, ...] = ("hold", "skip", "redirect")
        made = store.commit(Batch([intake(EPR) for _ in acts])).deliveries
        store = bench.restart(clean=False)
        for act, (delivery,) in zip(acts, made, strict=True):
            _act(store, act, [(delivery.id, "queued")], to=RIS if act == "redirect" else None)
        store = bench.restart(clean=False)
        queries = store.queries()
        rows = [queries.deliveries(MessageSeq(seq))[0] for seq in (1, 2, 3)]
        queries.close()
        assert [(row.state, row.maybe_sent) for row in rows] == [(ACT_TO[act], True) for act in acts]

    def test_a_redirected_delivery_goes_on_as_a_new_one_behind_what_waits_there(
        self, store: Store, queries: StoreQueries
    ) -> None:
        made = store.commit(Batch([intake(EPR, bodies=(b"for epr",)), intake(RIS), intake(EPR)])).deliveries
        moves: list[tuple[DeliveryId, DeliveryState]] = [(d.id, "queued") for (d,) in (made[0], made[2])]
        changed = store.operate(Change(ANNA, "redirect", "redirect", moves, "redirected", to=RIS))
        assert changed.grown == ((LAB, RIS),)
        waiting = store.queued(LAB, RIS, FIRST, 10)
        assert [d.seq for d in waiting] == [2, 1, 3], "in the order in which they came to this lane"
        assert waiting[1].body == b"for epr"
        assert store.queued(LAB, EPR, FIRST, 10) == []
        old, new = queries.deliveries(MessageSeq(1))
        assert (old.state, new.state, new.origin) == ("redirected", "queued", old.id)

    def test_a_redirect_to_where_it_goes_already_is_left_alone(self, store: Store) -> None:
        ((delivery,),) = store.commit(Batch([intake(EPR)])).deliveries
        report = _act(store, "redirect", [(delivery.id, "queued")], to=EPR)
        assert (report.deliveries, len(report.left)) == (0, 1)
        assert len(store.queued(LAB, EPR, FIRST, 10)) == 1

    def test_without_its_bytes_nothing_is_sent_again(self, store: Store, queries: StoreQueries) -> None:
        ((delivery,),) = store.commit(Batch([intake(EPR)])).deliveries
        _end(store, delivery, "failed")
        store.prune(Prune(None, T0 + 10**15, 0, MessageSeq(0), 100, T0 + 10**15))
        for act in ("release", "redirect"):
            report = _act(store, act, [(delivery.id, "failed")], to=RIS)
            assert report.deliveries == 0
            assert "no longer kept" in report.left[0][1]

    # -- messages -------------------------------------------------------------------------------

    def test_a_resend_is_queued_with_the_bytes_of_the_last_delivery(self, store: Store) -> None:
        made = store.commit(Batch([intake(EPR, RIS, bodies=(b"for epr", None)), intake(EPR)])).deliveries
        for delivery in (d for of in made for d in of):
            _end(store, delivery, "delivered")
        every, one = Resend(MessageSeq(1), None), Resend(MessageSeq(2), [RIS])
        report = store.operate(Change(ANNA, "resend", resends=[every, one])).report
        assert (report.messages, report.deliveries) == (1, 2)
        assert report.left == ((2, "it was never delivered there"),)
        assert [d.body for d in store.queued(LAB, EPR, FIRST, 10)] == [b"for epr"]

    def test_a_resend_has_the_key_that_is_given_and_else_the_one_of_before(
        self, store: Store, queries: StoreQueries
    ) -> None:
        store.lane_window(LAB, EPR, 1, "PID-3.1")
        draft = DraftDelivery(EPR, None, "before", True)
        ((delivery,),) = store.commit(Batch([replace(intake(), deliveries=[draft])])).deliveries
        _end(store, delivery, "delivered")
        given: list[dict[DestinationName, tuple[str, bool]]] = [{}, {RIS: ("other", True)}, {EPR: ("now", False)}]
        for keys in given:
            store.operate(Change(ANNA, "resend", resends=[Resend(delivery.seq, [EPR], keys)]))
        made = queries.deliveries(delivery.seq)[1:]
        assert [(d.key, d.urgent) for d in made] == [("before", True), ("before", True), ("now", False)]

    def test_messages_that_go_through_again_move_with_their_deliveries(
        self, store: Store, queries: StoreQueries
    ) -> None:
        store.commit(Batch([intake(state="held"), intake(state="rejected")]))
        again = [
            Reprocessed(MessageSeq(seq), LAB, VersionId(1), "processed", "", [DraftDelivery(EPR, None)])
            for seq in (1, 2, 9)
        ]
        changed = store.operate(Change(ANNA, "release", reprocessed=again))
        assert (changed.report.messages, changed.report.deliveries) == (1, 1)
        assert [seq for seq, _ in changed.report.left] == [2, 9]
        assert changed.grown == ((LAB, EPR),)
        message = queries.message(MessageSeq(1))
        assert message is not None
        assert message.state == "processed"

    def test_an_edited_message_is_linked_both_ways(self, store: Store, queries: StoreQueries) -> None:
        store.commit(Batch([intake(EPR)]))
        made = store.operate(Change(ANNA, "edit", edited=intake(EPR, origin=MessageSeq(1)))).report.made
        assert made == (2,)
        assert queries.links(MessageSeq(2)).origin == 1
        assert list(queries.links(MessageSeq(1)).edited) == [2]
        assert queries.links(MessageSeq(1)).origin is None
        store.prune(Prune(None, T0 + 10**15, T0 + 10**15, MessageSeq(0), 100, T0 + 10**15))
        assert list(queries.links(MessageSeq(1)).edited) == [2], "nothing of it is finished, so nothing is forgotten"

    # -- pauses ---------------------------------------------------------------------------------

    def test_a_pause_outlives_the_engine_and_the_first_one_counts(self, bench: StoreBench) -> None:
        first = Pause(LAB, EPR, 0, "anna", "RIS moves")
        for pause in (first, replace(first, actor="bert"), Pause(LAB, INTAKE, 0, "anna", "")):
            bench.store.operate(Change(ANNA, "pause", pauses=[pause], is_always_recorded=True))
        store = bench.restart(clean=False)
        found = [(p.channel, p.destination, p.actor, p.reason, p.at_us > 0) for p in store.pauses()]
        assert found == [(LAB, INTAKE, "anna", "", True), (LAB, EPR, "anna", "RIS moves", True)]
        queries = store.queries()
        assert list(queries.paused()) == list(store.pauses())
        queries.close()
        store.operate(Change(ANNA, "resume", resumes=[Pause(LAB, EPR), Pause(LAB, DestinationName("x"))]))
        assert [p.destination for p in store.pauses()] == [INTAKE]

    # -- the record -----------------------------------------------------------------------------

    def test_each_change_is_on_record_with_who_why_and_what(self, store: Store, queries: StoreQueries) -> None:
        made = [d for (d,) in store.commit(Batch([intake(EPR) for _ in range(4)])).deliveries]
        _act(store, "hold", [(d.id, "queued") for d in made[:3]])
        store.operate(Change(ANNA, "read", read=[MessageSeq(4)]))
        first, second = queries.audit()
        assert (first.actor, first.action, first.reason, first.scope, first.key) == (
            "anna (uid 1000)",
            "hold",
            "as the ward asked",
            'PID-3.1 == "4711"',
            "run-1",
        )
        assert (first.counts, first.ids) == ('{"messages":0,"deliveries":3}', "deliveries 1-3")
        assert (second.action, second.ids) == ("read", "messages 4")
        assert (first.at_us > 0, first.id, second.id) == (True, 1, 2)
        assert [row.id for row in queries.audit(after=1, limit=1)] == [2]

    def test_what_touches_nothing_leaves_no_record(self, store: Store, queries: StoreQueries) -> None:
        _act(store, "hold", [(DeliveryId(99), "queued")])
        assert list(queries.audit()) == []

    def test_the_record_is_a_chain_over_restarts(self, bench: StoreBench) -> None:
        for clean in (True, False):
            bench.store.operate(Change(ANNA, "read", read=[MessageSeq(1)], is_always_recorded=True))
            bench.restart(clean=clean)
        queries = bench.store.queries()
        rows, head = list(queries.audit()), queries.audit_head()
        queries.close()
        assert rows[0].hash == chained(START, replace(rows[0], hash=b""))
        assert (head.last, head.hash) == (2, rows[1].hash)
        assert broken_at(rows, head.last, head.hash) is None

    def test_retention_keeps_the_record(self, store: Store, queries: StoreQueries) -> None:
        ((delivery,),) = store.commit(Batch([intake(EPR)])).deliveries
        _act(store, "skip", [(delivery.id, "queued")])
        assert store.prune(Prune(None, T0 + 10**15, T0 + 10**15, MessageSeq(0), 100, T0 + 10**15)).messages == 1
        assert [row.ids for row in queries.audit()] == ["deliveries 1"]

    def test_what_cannot_be_recorded_is_not_done(self, store: Store, queries: StoreQueries) -> None:
        ((delivery,),) = store.commit(Batch([intake(EPR)])).deliveries
        unstorable = replace(ANNA, reason="\udce4")
        with pytest.raises(ValueError):
            store.operate(Change(unstorable, "hold", "hold", [(delivery.id, "queued")], "held"))
        assert queries.delivery_states([delivery.id])[delivery.id][0] == "queued"
        assert list(queries.audit()) == []

    # -- runs -----------------------------------------------------------------------------------

    def test_how_far_a_run_came_is_stored_with_what_it_did(self, bench: StoreBench) -> None:
        store = bench.store
        made = [d for (d,) in store.commit(Batch([intake(EPR) for _ in range(2)])).deliveries]
        assert store.progress("run-1") is None
        progress = Progress("run-1", "hold", b"digest", 1, is_finished=False)
        _act(store, "hold", [(made[0].id, "queued")], progress=progress)
        store = bench.restart(clean=False)
        found = store.progress("run-1")
        assert found == replace(progress, report=ActionReport(deliveries=1))
        assert found is not None
        _act(store, "hold", [(made[1].id, "held")], progress=replace(found, done=2, is_finished=True))
        found = store.progress("run-1")
        assert found is not None
        assert (found.done, found.is_finished, found.report.deliveries, len(found.report.left)) == (2, True, 1, 1)
