"""Senders that misbehave: each gets what it deserves, and a well-behaved one beside them notices nothing (C1 to C6)."""

import asyncio
import contextlib
import gc
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.app import Engine, load
from engine.testing.messages import adt
from engine.testing.peers import ReceivingPeer
from engine.testing.sites import make_site
from tests.runtime.engines import msa
from tests.runtime.parts import until
from tests.runtime.wires import Wire, block

CHANNEL = """
listen:
  mllp: {{port: 0, max_message: 64KiB, frame_timeout: {frame_timeout}, trailing_cr: 50ms, max_connections: 500}}
accept: [ADT^*]
ack: {{mode: original}}
routes: [{{to: out}}]
destinations:
  out:
    mllp: {{host: 127.0.0.1, port: {port}}}
    window: 64
"""


class Running:
    """An engine, its receiver, and the good sender beside the bad ones."""

    def __init__(self, engine: Engine, receiver: ReceivingPeer) -> None:
        self.engine = engine
        self.receiver = receiver
        self.address = engine.addresses["adt"]
        self.good = 0

    async def behave(self, count: int) -> None:
        """One message after the other, each answered in its turn."""
        wire = await Wire.open(self.address)
        try:
            for _ in range(count):
                control_id = f"GOOD{self.good}"
                self.good += 1
                await wire.send(adt(control_id=control_id))
                assert msa(await wire.answer()) == ("AA", control_id)
        finally:
            wire.reset()

    async def behave_beside(self, *others: Coroutine[Any, Any, None]) -> None:
        """The good sender sends for as long as the others take."""
        others_done = asyncio.gather(*others)

        async def until_done() -> None:
            while not others_done.done():
                await self.behave(1)

        await asyncio.gather(others_done, until_done())

    @property
    def connections(self) -> int:
        return sum(listener.connection_count for listener in self.engine._listeners)

    def events(self) -> dict[str, int]:
        text = self.engine.meter.render("")[1].decode()
        found: dict[str, int] = {}
        for line in text.splitlines():
            if line.startswith("segmill_connection_events_total{"):
                labels, _, value = line.rpartition(" ")
                found[labels.split('event="')[1].split('"')[0]] = int(float(value))
        return found


@asynccontextmanager
async def running(folder: Path, frame_timeout: str = "60s") -> AsyncIterator[Running]:
    async with ReceivingPeer() as receiver:
        files = {"adt": CHANNEL.format(port=receiver.address[1], frame_timeout=frame_timeout)}
        engine = Engine(load(make_site(folder, files, "admin: off\nstore: 'memory:'\n"), {}))
        await engine.start()
        try:
            yield Running(engine, receiver)
        finally:
            await engine.stop(deadline_s=2)


@pytest.fixture(autouse=True)
def quiet_log(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Whatever a sender does, it is no error of ours."""
    with caplog.at_level(logging.WARNING):
        yield
    bad = [r for r in caplog.records if r.levelno >= logging.ERROR or r.exc_info or r.name == "asyncio"]
    assert bad == []


async def write_all(address: tuple[str, int], data: bytes, *, piece: int = 65536, end: bool = True) -> bytes:
    """Everything, whatever comes of it; what was answered."""
    wire = await Wire.open(address)
    got = b""
    try:
        with contextlib.suppress(ConnectionError, TimeoutError):
            for at in range(0, len(data), piece):
                wire.writer.write(data[at : at + piece])
                await asyncio.wait_for(wire.writer.drain(), 60)
            if end:
                wire.end()
            got = await wire.rest(60)
    finally:
        wire.reset()
    return got


FLOODS: dict[str, Callable[[], bytes]] = {
    "starts of block": lambda: b"\x0b" * 2_000_000,
    "ends of block": lambda: b"\x1c\r" * 1_000_000,
    "empty blocks": lambda: b"\x0b\x1c\r" * 300_000,
    "zeros": lambda: bytes(2_000_000),
    "half blocks": lambda: b"\x0bMSH|^~\\&|half" * 100_000,
    "a block without end": lambda: b"\x0bMSH|^~\\&|A|B|C|D|1||ADT^A01|BIG|P|2.5.1\r" + b"x" * 4_000_000,
    "text": lambda: b"GET / HTTP/1.1\r\nHost: example\r\n\r\n" * 20_000,
    "TLS hellos": lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 50_000,
    "noise": lambda: random.Random(5).randbytes(1_000_000),
    "nonsense in blocks": lambda: b"".join(
        block(random.Random(n).randbytes(60).replace(b"\x1c", b"")) for n in range(3000)
    ),
}


@pytest.mark.parametrize("what", FLOODS)
async def test_a_flood_costs_its_sender_the_connection_and_nobody_else_anything(tmp_path: Path, what: str) -> None:
    async with running(tmp_path) as here:
        flood = FLOODS[what]()

        async def one() -> None:
            await write_all(here.address, flood)

        await here.behave_beside(*(one() for _ in range(2)))
        assert here.good > 0  # each of them answered AA, while the flood came and when it was cut off
        await until(lambda: here.connections == 0)
        room = here.engine._listeners[0].room
        assert room.in_hand_bytes == 0 and room.partial_bytes == 0
        await here.behave(5)
        await here.receiver.until_received(here.good)


async def test_a_message_that_is_too_long_and_never_ends_is_answered_and_its_connection_closed(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        got = await write_all(here.address, FLOODS["a block without end"](), end=False)
        assert msa(got[1:-2]) == ("AE", "BIG")


async def test_senders_that_dawdle_are_cut_off_and_take_no_place_for_ever(tmp_path: Path) -> None:
    async with running(tmp_path, frame_timeout="300ms") as here:
        wires = [await Wire.open(here.address) for _ in range(100)]
        for wire in wires:
            await wire.raw(b"\x0bMSH|^~\\&|slow")

        async def dawdle(wire: Wire) -> None:
            with contextlib.suppress(ConnectionError):
                while not wire.reader.at_eof():
                    wire.writer.write(b"x")
                    await asyncio.sleep(0.02)
            wire.reset()

        await asyncio.wait_for(here.behave_beside(*(dawdle(wire) for wire in wires)), 60)
        await until(lambda: here.connections == 0)
        assert here.events()["midframe"] == 100


@pytest.mark.parametrize("seed", range(3))
async def test_senders_that_vanish_at_any_byte_leave_whole_messages_and_nothing_else(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    async with running(tmp_path) as here:
        whole: set[str] = set()

        async def vanish(number: int) -> None:
            stream = b""
            ends: list[tuple[int, str]] = []
            for n in range(5):
                control_id = f"V{number}N{n}"
                stream += block(adt(control_id=control_id))
                ends.append((len(stream), control_id))
            cut = dice.randrange(len(stream))
            wire = await Wire.open(here.address)
            with contextlib.suppress(ConnectionError):
                await wire.raw(stream[:cut])
            wire.reset() if number % 2 else wire.close()
            # A block that lacks only its CR is whole when its sender ends in good order.
            whole.update(control_id for end, control_id in ends if end <= cut + 1)

        await here.behave_beside(*(vanish(n) for n in range(60)))
        await until(lambda: here.connections == 0)
        await here.receiver.until_received(here.good)
        for body in here.receiver.received:
            assert body.count(b"MSH|") == 1 and body.endswith(b"\r")
            control_id = body.split(b"|")[9].decode()
            assert control_id.startswith("GOOD") or control_id in whole


async def test_a_sender_that_reads_no_answers_is_not_kept_in_memory(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        wire = await Wire.open(here.address)
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        nonsense = block(b"x" * 10) * 50_000
        writing = asyncio.get_running_loop().create_task(write_all_of(wire, nonsense))
        await here.behave(200)
        there = here.engine._listeners[0]._connections
        await until(lambda: any(c.write_blocked_since for c in there))
        (connection,) = (c for c in there if c.write_blocked_since)
        assert connection.unanswered < 30_000, "it is read from, though it reads nothing"
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
        wire.reset()
        await until(lambda: here.connections == 0)


async def write_all_of(wire: Wire, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        wire.writer.write(data)
        await wire.writer.drain()


async def test_a_storm_of_connections_is_survived(tmp_path: Path) -> None:
    async with running(tmp_path) as here:

        async def knock() -> None:
            for _ in range(15):
                with contextlib.suppress(OSError):
                    wire = await Wire.open(here.address)
                    wire.reset()

        await here.behave_beside(*(knock() for _ in range(60)))
        await until(lambda: here.connections == 0)
        await here.behave(5)
        gc.collect()


PIECES = st.one_of(
    st.just("good"),
    st.just("empty"),
    st.sampled_from([b"\n", b"\r\n", b"\x00", b"junk", b"\x06"]).map(lambda junk: ("between", junk)),
    st.binary(min_size=1, max_size=40).map(lambda payload: ("payload", payload.translate(None, b"\x0b\x1c"))),
    st.just("no-cr"),
    st.just("restart"),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(PIECES, max_size=12), st.integers(1, 400))
def test_whatever_stands_between_them_good_messages_are_answered_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[Any], cut: int
) -> None:
    asyncio.run(_mixed(tmp_path_factory.mktemp("mixed"), pieces, cut))


async def _mixed(folder: Path, pieces: list[Any], cut: int) -> None:
    stream = b""
    expected: list[str] = []
    for number, piece in enumerate(pieces):
        control_id = f"M{number}"
        if piece == "good":
            stream += block(adt(control_id=control_id))
            expected.append(control_id)
        elif piece == "no-cr":
            stream += block(adt(control_id=control_id))[:-1]
            # What follows must be the start of a block: anything else behind FS cannot be told from data.
            control_id = f"M{number}B"
            stream += block(adt(control_id=control_id))
            expected += [f"M{number}", control_id]
        elif piece == "restart":
            stream += b"\x0bMSH|^~\\&|cut off" + block(adt(control_id=control_id))
            expected.append(control_id)
        elif piece == "empty":
            stream += block(b"")
        elif piece[0] == "between":
            stream += piece[1]
        else:
            stream += block(piece[1])
    async with running(folder) as here:
        got = await write_all(here.address, stream, piece=cut)
    told = [
        line.split(b"|")[2].decode()
        for answer in got.split(b"\x1c\r")
        for line in answer.split(b"\r")
        if line.startswith(b"MSA|AA|")
    ]
    assert told == expected
