"""Step times reach the metrics of a running engine, and a defect in one message does not silence its resend."""

import asyncio

from engine.app import Engine, load
from engine.pipeline.compile import CompiledChannel
from engine.testing import messages

CHANNEL = """
    description: Steps that are timed
    listen:
      mllp: {port: 0}
    accept: [ADT^*]
    ack: {mode: original}
    steps:
      - set: {MSH-5: RIS}
    routes:
      - to: out
    destinations:
      out:
        file: {folder: out, name: "{MSH-10}.hl7"}
"""
SETTINGS = "admin: off\nstore: 'memory:'\n"


async def exchange(address: tuple[str, int], payload: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(b"\x0b" + payload + b"\x1c\r")
        async with asyncio.timeout(10):
            return await reader.readuntil(b"\x1c\r")
    finally:
        writer.close()


async def test_step_times_are_measured_on_some_of_the_messages(make_site) -> None:
    engine = Engine(load(make_site({"timed": CHANNEL}, SETTINGS), {}))
    await engine.start()
    try:
        for number in range(40):
            assert b"MSA|AA" in await exchange(engine.addresses["timed"], messages.adt(control_id=f"T{number}"))
        page = engine.meter.render()[1].decode()
    finally:
        await engine.stop()
    count = next(line for line in page.splitlines() if line.startswith("segmill_step_seconds_count{"))
    assert 1 <= float(count.rpartition(" ")[2]) < 40


async def test_a_message_that_met_a_defect_is_taken_when_it_is_sent_again(make_site, monkeypatch) -> None:
    engine = Engine(load(make_site({"timed": CHANNEL}, SETTINGS), {}))
    await engine.start()
    run = CompiledChannel.run
    try:
        monkeypatch.setattr(CompiledChannel, "run", lambda *_, **__: 1 / 0)
        try:
            await exchange(engine.addresses["timed"], messages.adt(control_id="D1"))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        else:
            raise AssertionError("a message whose processing failed was answered")
        monkeypatch.setattr(CompiledChannel, "run", run)
        assert b"MSA|AA|D1" in await exchange(engine.addresses["timed"], messages.adt(control_id="D1"))
    finally:
        await engine.stop()
