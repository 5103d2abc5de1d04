"""A channel's failure stays its own: the others are answered, processed and delivered, and somebody is told."""

import asyncio
from typing import Any

import pytest

from engine import lane_restarts
from engine.app import EngineFailed
from engine.model.envelope import Delivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName
from engine.ports.control import By, Order
from engine.runtime.endings import Endings
from engine.runtime.policy import Next
from engine.testing import messages
from tests.runtime.engines import MEMORY, SiteUnderTest, channel
from tests.runtime.parts import until

OUT = DestinationName("out")
TWO = {"adt": channel(), "other": channel()}


async def test_a_lane_that_dies_too_often_stands_still_and_all_others_go_on(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(lane_restarts, "WAITS_S", ())
    site = SiteUnderTest(tmp_path, TWO)
    async with site.running() as engine:
        lane = next(iter(site.running_channel("adt").lanes.values()))

        def broken(*_: object) -> None:
            raise KeyError("TESTPERSON")

        monkeypatch.setattr(lane._window, "take", broken)
        dying, living = await site.wire("adt"), await site.wire("other")
        await dying.send(messages.adt(control_id="A1"))
        assert b"MSA|AA|A1" in await dying.answer()
        await until(lambda: lane.state == "failed")
        for n in range(3):
            await living.send(messages.adt(control_id=f"B{n}"))
            assert b"MSA|AA" in await living.answer()
            await dying.send(messages.adt(control_id=f"C{n}"))
            assert b"MSA|AA" in await dying.answer()
        await until(lambda: len(site.kept.bodies("other/out")) == 3)
        told = "adt/out failed and stands still until the engine is started again"
        assert await engine.control.ready() == (True, told)
        status = {one.channel: one.lanes[0] for one in await engine.control.status()}
        assert (status["adt"].state, status["other"].state) == ("failed", "idle")
        assert status["adt"].last_note.startswith("KeyError at ")
    assert "TESTPERSON" not in caplog.text
    assert "adt/out failed, and stands still until the engine is started again" in caplog.text
    # What it had in hand may have been sent, so the next start says so, and sends it all in order.
    monkeypatch.undo()
    async with site.running():
        await until(lambda: len(site.kept.bodies("adt/out")) == 4)
        ids = [body.split(b"|")[9] for body in site.kept.bodies("adt/out")]
        assert ids == [b"A1", b"C0", b"C1", b"C2"]


def poisoned(monkeypatch, control_id: bytes, times: int) -> list[bytes]:
    """The engine's own code fails `times` times, after the receiver took the message with this control id."""
    whole = Endings.settle
    died: list[bytes] = []

    def settle(self: Endings, delivery: Delivery, *args: Any, **more: Any) -> Next:
        if control_id in delivery.body and len(died) < times:
            died.append(delivery.body)
            raise KeyError("TESTPERSON")
        return whole(self, delivery, *args, **more)

    monkeypatch.setattr(Endings, "settle", settle)
    return died


def ids_of(site: SiteUnderTest, lane: str) -> list[bytes]:
    return [body.split(b"|")[9] for body in site.kept.bodies(lane)]


async def test_a_lane_that_dies_is_started_again_and_what_it_had_in_hand_is_marked(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(lane_restarts, "WAITS_S", (0.01, 0.01))
    poisoned(monkeypatch, b"A2", 2)
    site = SiteUnderTest(tmp_path, TWO)
    async with site.running() as engine:
        wire = await site.wire("adt")
        for n in range(1, 5):
            await wire.send(messages.adt(control_id=f"A{n}"))
            assert b"MSA|AA" in await wire.answer()
        await until(lambda: len(ids_of(site, "adt/out")) == 6)
        # It goes again as often as its lane died, and nothing overtakes it.
        assert ids_of(site, "adt/out") == [b"A1", b"A2", b"A2", b"A2", b"A3", b"A4"]
        await until(lambda: site.running_channel("adt").lanes[OUT].state == "idle")
        assert await engine.control.ready() == (True, "")
        assert engine.meter.lane("adt", "out").failures == 2
    assert caplog.text.count("E251 adt/out failed, and is started again in 0.01 s") == 2
    assert "TESTPERSON" not in caplog.text
    store = site.store.queries()
    (message,) = store.messages(control_id="A2")
    cut_off = [attempt.note for attempt in store.attempts(message.seq)]
    assert cut_off == [lane_restarts.CUT_OFF] * 2


async def test_a_lane_that_dies_once_too_often_is_given_up_until_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(lane_restarts, "WAITS_S", (0.01, 0.01))
    died = poisoned(monkeypatch, b"A1", 1000)
    site = SiteUnderTest(tmp_path, TWO)
    async with site.running() as engine:
        wire = await site.wire("adt")
        await wire.send(messages.adt(control_id="A1"))
        assert b"MSA|AA" in await wire.answer()
        await until(lambda: lane_restarts.FOR_GOOD in engine.control.failed_lanes.get("adt/out", ""))
        assert len(died) == 3
        assert site.running_channel("adt").lanes[OUT].state == "failed"


async def test_an_hour_without_a_failure_begins_the_count_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(lane_restarts, "WAITS_S", (0.01,))
    monkeypatch.setattr(lane_restarts, "STEADY_S", 0.0)
    poisoned(monkeypatch, b"A1", 4)
    site = SiteUnderTest(tmp_path, TWO)
    async with site.running():
        wire = await site.wire("adt")
        await wire.send(messages.adt(control_id="A1"))
        assert b"MSA|AA" in await wire.answer()
        await until(lambda: len(ids_of(site, "adt/out")) == 5)


async def test_a_lane_that_died_stays_paused_and_lets_a_person_take_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lane_restarts, "WAITS_S", (0.01,))
    died = poisoned(monkeypatch, b"A1", 1)
    site = SiteUnderTest(tmp_path, TWO)
    async with site.running() as engine:
        wire = await site.wire("adt")
        first = site.running_channel("adt").lanes[OUT]
        await wire.send(messages.adt(control_id="A1"))
        assert b"MSA|AA" in await wire.answer()
        await until(lambda: bool(died))
        await engine.control.operate(Order("pause", By("a person"), lanes=[(ChannelName("adt"), OUT)]))
        await until(lambda: site.running_channel("adt").lanes[OUT] is not first)
        lane = site.running_channel("adt").lanes[OUT]
        await until(lambda: lane.state == "paused" and "adt/out" not in engine.control.failed_lanes)
        hold = Order("hold", By("a person"), deliveries=[(DeliveryId(1), "queued")])
        assert (await engine.control.operate(hold)).deliveries == 1
        await engine.control.operate(Order("resume", By("a person"), lanes=[(ChannelName("adt"), OUT)]))
        await wire.send(messages.adt(control_id="A2"))
        assert b"MSA|AA" in await wire.answer()
        await until(lambda: ids_of(site, "adt/out")[-1:] == [b"A2"])


async def test_a_stored_message_whose_processing_fails_keeps_no_other_from_it(tmp_path, monkeypatch, caplog):
    stored = "ack: {when: stored}"
    site = SiteUnderTest(tmp_path, {"adt": channel(more=stored), "other": channel(more=stored)})
    async with site.running():
        running = site.running_channel("adt")
        inner = running.backlog._process

        async def broken(seq: int, raw: bytes, at_us: int) -> None:
            if b"BAD" in raw:
                raise RuntimeError("TESTPERSON")
            await inner(seq, raw, at_us)

        monkeypatch.setattr(running.backlog, "_process", broken)
        wire = await site.wire("adt")
        for control_id in ("G1", "BAD", "G2"):
            await wire.send(messages.adt(control_id=control_id))
            assert b"MSA|AA" in await wire.answer()
        await until(lambda: len(site.kept.bodies("adt/out")) == 2)
    assert "TESTPERSON" not in caplog.text and "message 2 failed: RuntimeError" in caplog.text
    assert [(m.control_id, m.state) for m in site.messages(control_id="BAD")] == [("BAD", "received")]


async def test_a_destination_that_cannot_be_set_up_is_told_at_the_start_by_its_place(tmp_path, monkeypatch):
    site = SiteUnderTest(tmp_path, TWO)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("s3cret")

    engine = site.make()
    monkeypatch.setattr(type(site.kept), "open", broken)
    with pytest.raises(
        EngineFailed, match="channel adt: destination out cannot be set up: ZeroDivisionError at "
    ) as told:
        await engine.start()
    assert told.value.exit_code == 78 and "s3cret" not in told.value.sentence


async def test_own_code_that_cannot_start_holds_its_messages_and_no_others(tmp_path, monkeypatch):
    own = {"channel.yaml": channel(steps="steps:\n  - python: steps.py:f"), "steps.py": "def f(m, c): pass\n"}
    site = SiteUnderTest(tmp_path, {"own": own, "other": channel()}, MEMORY)
    async with site.running():
        worker = site.running_channel("own").isolated
        monkeypatch.setattr("engine.runtime.worker.START_PAUSES_S", (0.001,))
        monkeypatch.setattr("sys.executable", "/no/such/python")
        child = worker._child.process
        child.kill()
        await child.wait()
        wire, living = await site.wire("own"), await site.wire("other")
        await wire.send(messages.adt(control_id="X1"))
        assert b"MSA|AA|X1" in await wire.answer()
        (held,) = site.messages(control_id="X1")
        assert held.state == "held" and "E222" in held.findings
        assert worker.problem == "the channel's process does not start: No such file or directory"
        await living.send(messages.adt(control_id="Y1"))
        assert b"MSA|AA|Y1" in await living.answer()
        monkeypatch.undo()
        await wire.send(messages.adt(control_id="X2"))
        assert b"MSA|AA|X2" in await wire.answer()
        assert [m.state for m in site.messages(control_id="X2")] == ["processed"]
        await asyncio.sleep(0)
