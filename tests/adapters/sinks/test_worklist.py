"""The worklist sink: what it decides on what is stored, and in which words it refuses."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.adapters.sinks.worklist import WorklistSink
from engine.adapters.stores.memory import MemoryStore
from engine.config.worklist import WorklistOptions
from engine.model.envelope import Batch, Delivery, DeliveryResult
from engine.model.outcome import Delivered, Outcome, Refused, Unreachable, Unsendable
from engine.ports.clock import SystemClock
from engine.ports.store import StoreError
from engine.testing.store_contract import EPR, intake
from engine.worklist.event import Event
from engine.worklist.item import EntityId
from engine.worklist.json_form import dump_event
from tests.worklist.shelf import order, patient, step

OTHER = patient(EntityId("900002", "HIS"))


class Desk:
    """A sink on a store in memory, and what becomes of events that are delivered to it."""

    def __init__(self, options: WorklistOptions) -> None:
        self.store = MemoryStore()
        self.store.open()
        self.queries = self.store.queries()
        self.sink = WorklistSink.open(
            options, folder=Path(), lane="orders/modalities", clock=SystemClock(), store=self.queries, turns={}
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
    assert outcome.note == "E415 PID-3: ORC^1 is of an order of another patient"
    assert desk.queries.worklist_counts() == {("main", "SCHEDULED"): 1}


async def test_what_dicom_cannot_hold_is_refused_with_the_attribute(desk: Desk) -> None:
    outcome = await desk.take(order("NW", "SC", step(accession="A" * 17)))
    assert isinstance(outcome, Refused)
    assert (outcome.ack_code, outcome.hl7_code) == ("AE", "102")
    assert outcome.note == "E445: AccessionNumber cannot be written as DICOM"
    assert desk.queries.worklist_counts() == {}


async def test_what_was_written_for_others_cannot_be_sent(desk: Desk) -> None:
    _, outcome = await desk.send(b"MSH|^~\\&|HIS\r")
    assert isinstance(outcome, Unsendable)
    assert outcome.note.startswith("E446")


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
