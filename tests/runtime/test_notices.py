"""What was odd about a message as it came is kept with it and counted, though it was let pass."""

import asyncio

from engine.app import Engine, load
from engine.testing import messages

CHANNEL = """
    description: Takes what comes
    listen:
      mllp: {port: 0}
    accept: [ADT^*]
    ack: {mode: original}
    routes:
      - to: out
    destinations:
      out:
        file: {folder: out, name: "{MSH-10}.hl7"}
"""


async def exchange(address: tuple[str, int], payload: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(b"\x0b" + payload + b"\x1c\r")
        async with asyncio.timeout(10):
            return await reader.readuntil(b"\x1c\r")
    finally:
        writer.close()


async def test_a_message_with_line_feeds_is_taken_and_says_so(make_site) -> None:
    engine = Engine(load(make_site({"all": CHANNEL}, "admin: off\nstore: 'memory:'\n"), {}))
    await engine.start()
    try:
        plain = messages.adt(control_id="PLAIN")
        odd = messages.adt(control_id="ODD").replace(b"\r", b"\n")
        assert b"MSA|AA|PLAIN" in await exchange(engine.addresses["all"], plain)
        assert b"MSA|AA|ODD" in await exchange(engine.addresses["all"], odd)
        stored = {m.control_id: m.findings for m in engine._queries.messages()}
        page = engine.meter.render()[1].decode()
    finally:
        await engine.stop()
    assert "W322" in stored["ODD"]
    assert stored["PLAIN"] == ""
    assert 'segmill_findings_total{channel="all",code="W322"} 1.0' in page


STORED_FIRST = CHANNEL.replace("{mode: original}", "{when: stored, mode: original}").replace(
    "    routes:", "    steps:\n      - validate: {required: [PID-30]}\n    routes:"
)


async def test_what_a_channel_rejects_after_its_sender_was_told_yes_is_held_for_a_person(make_site) -> None:
    engine = Engine(load(make_site({"all": STORED_FIRST}, "admin: off\nstore: 'memory:'\n"), {}))
    await engine.start()
    try:
        assert b"MSA|AA|GONE" in await exchange(engine.addresses["all"], messages.adt(control_id="GONE"))
        async with asyncio.timeout(10):
            while (stored := next(iter(engine._queries.messages()))).state == "received":
                await asyncio.sleep(0.001)
        assert stored.state == "held"
        report = await engine.control.release([stored.seq])
        assert "held again" in report.left[0][1]
        assert next(iter(engine._queries.messages())).state == "held"
    finally:
        await engine.stop()
