"""A channel's failure stays its own: the others are answered, processed and delivered, and somebody is told."""

import asyncio

import pytest

from engine.app import EngineFailed
from engine.testing import messages
from tests.runtime.engines import MEMORY, SiteUnderTest, channel
from tests.runtime.parts import until

TWO = {"adt": channel(), "other": channel()}


async def test_a_lane_that_dies_stands_still_and_all_others_go_on(tmp_path, caplog, monkeypatch):
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
        assert await engine.control.ready() == (True, "failed, and to be started again: adt/out")
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
