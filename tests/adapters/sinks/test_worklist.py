"""The worklist sink: what it decides on what is stored, and in which words it refuses."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.adapters.sinks.worklist import WorklistSink
from engine.adapters.stores.memory import MemoryStore
from engine.config.worklist import WorklistOptions
from engine.model.envelope import Batch, Delivery, DeliveryResult
from engine.model.outcome import UNDECIDED, Delivered, Outcome, Refused, Unreachable, Unsendable
from engine.ports.clock import SystemClock
from engine.ports.store import StoreError
from engine.ports.worklist import PerformedOrder
from engine.testing.store_contract import EPR, intake
from engine.worklist.event import Event
from engine.worklist.item import Attributes, EntityId, ItemKey
from engine.worklist.json_form import dump_event
from tests.worklist.shelf import order, patient, step

OTHER = patient(EntityId("900002", "HIS"))


class Desk:
    """A sink on a store in memory, and what becomes of events that are delivered to it."""

    def __init__(self, options: WorklistOptions) -> None:
        self.refused: list[str] = []
        self.store = MemoryStore()
        self.store.open()
        self.queries = self.store.queries()
        self.sink = WorklistSink.open(
            options,
            folder=Path(),
            lane="orders/modalities",
            clock=SystemClock(),
            store=self.queries,
            turns={},
            refused=self.refused.append,
        )

    async def send(self, body: bytes) -> tuple[Delivery, Outcome]:
        committed = self.store.commit(Batch([intake(EPR, bodies=[body])]))
        delivery = committed.deliveries[0][0]
        (outcome,) = await self.sink.send([delivery])
        return delivery, outcome

    async def take(self, event: Event) -> Outcome:
        """Decide, and record what comes of it as a lane does."""
        delivery, outcome = await self.send(dump_event(event))
        state = "delivered" if isinstance(outcome, Delivered) else "held"
        result = DeliveryResult(delivery.id, state, 1, 1)
        result.effects = outcome.effects if isinstance(outcome, Delivered) else None
        self.store.commit(Batch(results=[result]))
        assert not result.is_stale
        self.sink.recorded()
        return outcome

    async def give(self, *events: Event) -> list[tuple[Delivery, Outcome]]:
        """A lane's batch, decided on and not recorded."""
        committed = self.store.commit(Batch([intake(EPR, bodies=[dump_event(event)]) for event in events]))
        batch = [delivery for (delivery,) in committed.deliveries]
        return list(zip(batch, await self.sink.send(batch), strict=True))

    def record(self, ends: list[tuple[Delivery, Outcome]]) -> list[bool]:
        """Record their ends; which of them could not be."""
        results = []
        for delivery, outcome in ends:
            state = "delivered" if isinstance(outcome, Delivered) else "held"
            results.append(DeliveryResult(delivery.id, state, 1, 1))
            results[-1].effects = outcome.effects if isinstance(outcome, Delivered) else None
        self.store.commit(Batch(results=results))
        self.sink.recorded()
        return [result.is_stale for result in results]

    def status(self, step_id: str = "S1") -> str:
        with self.queries.worklist("main") as view:
            item = view.item(ItemKey("1.2.3", step_id))
        return item.status if item is not None else ""


def begun(uid: str, step_id: str = "S1") -> PerformedOrder:
    named: Attributes = {"StudyInstanceUID": ("1.2.3",), "ScheduledProcedureStepID": (step_id,)}
    attributes: Attributes = {
        "PerformedProcedureStepStatus": ("IN PROGRESS",),
        "ScheduledStepAttributesSequence": (named,),
    }
    return PerformedOrder("main", uid, attributes, "CT1", 1, is_new=True)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk(WorklistOptions())
    yield made
    await made.sink.close()


async def test_an_order_is_delivered_with_what_it_writes(desk: Desk) -> None:
    outcome = await desk.take(order("NW", "SC", step()))
    assert isinstance(outcome, Delivered) and outcome.effects is not None
    assert (outcome.effects.worklist, outcome.effects.seen, outcome.effects.who) == ("main", 0, "orders/modalities")
    assert desk.queries.worklist_counts() == {("main", "SCHEDULED"): 1}


async def test_a_resend_writes_nothing(desk: Desk) -> None:
    await desk.take(order("NW", "SC", step()))
    outcome = await desk.take(order("NW", "SC", step()))
    assert outcome == Delivered(note="nothing to change")


async def test_warnings_are_in_the_note_with_code_and_place(desk: Desk) -> None:
    outcome = await desk.take(order("CA", "CA", step()))
    assert isinstance(outcome, Delivered)
    assert outcome.note == "W425 ORC: a cancel of an order that is not there; it is remembered"


async def test_an_order_of_another_patient_is_refused_without_a_value(desk: Desk) -> None:
    await desk.take(order("NW", "SC", step()))
    outcome = await desk.take(order("XO", "SC", step(description="CT neck"), who=OTHER))
    assert isinstance(outcome, Refused)
    assert (outcome.ack_code, outcome.hl7_code) == ("AE", "204")
    assert outcome.note == "E415 PID-3: ORC 1 is of an order of another patient"
    assert desk.refused == ["E415"]
    assert desk.queries.worklist_counts() == {("main", "SCHEDULED"): 1}


async def test_what_dicom_cannot_hold_is_refused_with_the_attribute(desk: Desk) -> None:
    outcome = await desk.take(order("NW", "SC", step(accession="A" * 17)))
    assert isinstance(outcome, Refused)
    assert (outcome.ack_code, outcome.hl7_code) == ("AE", "102")
    assert outcome.note == "E445: AccessionNumber cannot be written as DICOM"
    assert desk.refused == ["E445"]
    assert desk.queries.worklist_counts() == {}


async def test_what_was_written_for_others_cannot_be_sent(desk: Desk) -> None:
    _, outcome = await desk.send(b"MSH|^~\\&|HIS\r")
    assert isinstance(outcome, Unsendable)
    assert outcome.note.startswith("E446")


async def test_what_comes_together_is_decided_on_what_is_before_it_and_written_in_one_commit(desk: Desk) -> None:
    ends = await desk.give(
        order("NW", "SC", step()),
        order("XO", "SC", step(description="CT neck")),
        order("SC", "IP", step()),
        order("NW", "SC", step("S2", "1.2.4", accession="A2", placer="P2")),
    )
    assert desk.record(ends) == [False] * 4
    assert desk.queries.worklist_counts() == {("main", "STARTED"): 1, ("main", "SCHEDULED"): 1}
    with desk.queries.worklist("main") as view:
        assert [row.what for row in view.history(ItemKey("1.2.3", "S1"))] == ["created", "updated", "started"]


async def test_nothing_is_written_that_stands_on_what_was_not_written(desk: Desk) -> None:
    await desk.take(order("NW", "SC", step()))
    ends = await desk.give(
        order("CA", "CA", step()),
        order("NW", "SC", step("S2")),
        order("NW", "SC", step("S3")),
        order("CA", "CA", step()),
    )
    assert desk.store.perform(begun("9.1")).status == 0
    assert desk.record(ends) == [True] * 4
    assert [desk.status(one) for one in ("S1", "S2", "S3")] == ["STARTED", "", ""]


async def test_what_is_recorded_in_another_commit_counts_only_where_nothing_came_between(desk: Desk) -> None:
    ends = await desk.give(*(order("NW", "SC", step(f"S{n}")) for n in range(1, 5)))
    assert desk.record(ends[:1]) == [False]
    assert desk.record(ends[1:2]) == [False]
    assert desk.store.perform(begun("9.1")).status == 0
    assert desk.record(ends[2:]) == [True, True]
    assert [desk.status(f"S{n}") for n in range(1, 5)] == ["STARTED", "SCHEDULED", "", ""]


async def test_a_refusal_stands_on_what_is_stored(desk: Desk) -> None:
    ends = await desk.give(order("NW", "SC", step()), order("XO", "SC", step(), who=OTHER), order("CA", "CA", step()))
    assert [outcome.effects.seen == UNDECIDED for _, outcome in ends] == [False, True, True]  # type: ignore[union-attr]
    assert desk.record(ends) == [False, True, True]
    (_, refused), (_, behind) = await desk.give(order("XO", "SC", step(), who=OTHER), order("CA", "CA", step()))
    assert isinstance(refused, Refused) and refused.note.startswith("E415")
    assert isinstance(behind, Delivered) and behind.effects is not None and behind.effects.seen == UNDECIDED
    desk.sink.recorded()
    await desk.take(order("CA", "CA", step()))
    assert desk.status() == "CANCELED"


async def test_resends_in_front_need_no_record_of_their_own(desk: Desk) -> None:
    await desk.take(order("NW", "SC", step()))
    ends = await desk.give(order("NW", "SC", step()), order("NW", "SC", step()), order("NW", "SC", step("S2")))
    assert [outcome.effects is None for _, outcome in ends] == [True, True, False]  # type: ignore[union-attr]
    assert desk.record(ends) == [False] * 3


async def test_a_store_that_cannot_be_read_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> object:
        raise StoreError("the store cannot be read")

    monkeypatch.setattr(desk.queries, "worklist", gone)
    _, outcome = await desk.send(dump_event(order("NW", "SC", step())))
    assert outcome == Unreachable("the store cannot be read")


async def test_the_destinations_own_rules_count() -> None:
    desk = Desk(WorklistOptions(unknown_cancel="refuse", name="ward", controls={"ZZ": "create"}))
    outcome = await desk.take(order("CA", "CA", step()))
    assert isinstance(outcome, Refused) and outcome.note.startswith("E411")
    assert isinstance(await desk.take(order("ZZ", "", step())), Delivered)
    assert desk.queries.worklist_counts() == {("ward", "SCHEDULED"): 1}
    await desk.sink.close()
