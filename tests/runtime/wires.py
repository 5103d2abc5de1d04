"""What tests of ports share: a sender over a real socket, and an intake that answers as it is told."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from engine.mllp.framing import END, VT, Oversize
from engine.runtime.connection import Reply
from engine.runtime.listener import Listener, ListenerSettings
from tests.runtime.parts import CountingMeter, SetClock, turns


def block(payload: bytes) -> bytes:
    return VT + payload + END


class Wire:
    """A sender: raw bytes there, blocks back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, address: tuple[str, int], **options: Any) -> "Wire":
        return cls(*await asyncio.open_connection(*address, limit=64 * 1024 * 1024, **options))

    async def send(self, *payloads: bytes) -> None:
        """Each as a block, all in one go."""
        await self.raw(b"".join(block(payload) for payload in payloads))

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), 10)

    def end(self) -> None:
        self.writer.write_eof()

    async def answer(self, within_s: float = 10.0) -> bytes:
        """The next block's payload."""
        found = await asyncio.wait_for(self.reader.readuntil(END), within_s)
        assert found.startswith(VT)
        return found[1:-2]

    async def answers(self, count: int) -> list[bytes]:
        return [await self.answer() for _ in range(count)]

    async def rest(self, within_s: float = 10.0) -> bytes:
        """Everything up to the end of the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), within_s)
        except ConnectionError:
            return b""

    async def is_silent(self) -> bool:
        """Whether nothing is here to be read, after a round trip of the loop."""
        for _ in range(20):
            await asyncio.sleep(0.001)
        return not self.reader._buffer  # type: ignore[attr-defined]

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """RST, not FIN: the peer is gone, and so is what it had not read."""
        plain = self.writer.get_extra_info("socket")
        if plain is not None and plain.fileno() >= 0:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class HeldIntake:
    """Keeps what it is given; answers at once with the payload itself, or when it is told to."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.taken: list[bytes] = []
        self.replies: list[Reply] = []
        self.oversize: list[Oversize] = []
        self.defect: Exception | None = None

    def take(self, payload: bytes, reply: Reply) -> None:
        if self.defect is not None:
            raise self.defect
        self.taken.append(payload)
        self.replies.append(reply)
        if self.at_once:
            reply.settle(block(payload))

    def take_oversize(self, given: Oversize, reply: Reply) -> None:
        self.oversize.append(given)
        reply.settle(block(b"too long"))

    def answer(self, place: int) -> None:
        self.replies[place].settle(block(self.taken[place]))

    def answer_all(self) -> None:
        for place in range(len(self.replies)):
            self.answer(place)


class Port:
    """A listener with all that it needs, and its counts."""

    def __init__(self, intake: HeldIntake, clock: SetClock, **settings: Any) -> None:
        self.intake = intake
        self.clock = clock
        self.meter = CountingMeter()
        loop = asyncio.get_running_loop()
        extra = {key: settings.pop(key) for key in ("room",) if key in settings}
        self.listener = Listener(
            ListenerSettings("port", "127.0.0.1", 0, **settings), intake, clock, self.meter, loop.call_soon, **extra
        )
        self.address = ("", 0)
        self.wires: list[Wire] = []

    async def wire(self, **options: Any) -> Wire:
        self.wires.append(await Wire.open(self.address, **options))
        return self.wires[-1]


@asynccontextmanager
async def listening(intake: HeldIntake, clock: SetClock | None = None, **settings: Any) -> AsyncIterator[Port]:
    """A port that listens; everything is closed at the end."""
    port = Port(intake, clock or SetClock(), **settings)
    port.address = await port.listener.start()
    try:
        yield port
    finally:
        for wire in port.wires:
            wire.reset()
        await port.listener.stop(0.2)
        await turns()
