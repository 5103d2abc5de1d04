"""TCP between processes of a simulation: bytes in order, cut anywhere, late, and connections that end in every way.

What is kept of the real thing: a stream stays in order; what was written before a close or an abort may arrive; a
close on unread bytes, and bytes for a closed end, reset the connection; a reset may overtake what is on its way and
takes with it what its peer has not read; a peer that does not read fills its window, and the writer is told.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.simulation.loop import Loop, Process


@dataclass(slots=True)
class Weather:
    """How the network is. `window`: bytes on the wire that nobody has read, at most, in one direction."""

    latency_us: int = 300
    cuts: float = 0.1
    window: int = 65_536
    resets: float = 0.3
    """How likely the end of a process is a reset to its peers, rather than an orderly end."""


class Port:
    """What listens at an address. `mood`: open, refusing, or silent."""

    def __init__(self, process: Process, takes: "Callable[[], Any] | Bound") -> None:
        self.process = process
        self.takes = takes
        self.mood = "open"


class Bound:
    """What several sockets of one process may have in common: a place in the network, and who waits before it."""

    def __init__(self, network: "Network", process: Process, address: tuple[str, int]) -> None:
        self.network = network
        self.process = process
        self.address = address
        self.waiting: deque[End] = deque()
        self.news: deque[asyncio.Future[None]] = deque()
        """Of those who would accept."""
        self.sockets = 0

    def came(self, end: "End") -> None:
        """A connection is made, and waits to be accepted."""
        if not self.sockets:
            end.die()
            return
        self.waiting.append(end)
        self.wake()

    def wake(self) -> None:
        while self.news and self.waiting:
            news = self.news.popleft()
            if not news.done():
                news.set_result(None)
                break


class BoundSocket:
    """As much of a listening socket as the engine's door uses."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._is_closed = False
        bound.sockets += 1

    def getsockname(self) -> tuple[str, int]:
        return self._bound.address

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    def fileno(self) -> int:
        return -1 if self._is_closed else 3

    def dup(self) -> "BoundSocket":
        return BoundSocket(self._bound)

    def listen(self, backlog: int) -> None:
        self._bound.network.ports[self._bound.address] = Port(self._bound.process, self._bound)

    async def accepted(self) -> tuple["Incoming", tuple[str, int]]:
        bound = self._bound
        while not bound.waiting:
            news = bound.network.loop.create_future()
            bound.news.append(news)
            try:
                await news
            except asyncio.CancelledError:
                if news.done() and not news.cancelled():
                    bound.wake()  # somebody else may have it
                raise
        end = bound.waiting.popleft()
        return Incoming(end), end.get_extra_info("peername")

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        bound = self._bound
        bound.sockets -= 1
        if not bound.sockets:
            bound.network.ports.pop(bound.address, None)
            while bound.waiting:
                bound.waiting.popleft().die()


class Incoming:
    """A connection that was accepted and has no protocol yet."""

    def __init__(self, end: "End") -> None:
        self._end = end
        self._has_begun = False

    def enter(self, factory: Callable[[], Any]) -> tuple["End", Any]:
        self._has_begun = True
        self._end.accept(factory)
        return self._end, self._end.protocol

    def close(self) -> None:
        """Turned away."""
        if not self._has_begun:
            self._end.die()


class Network:
    """Ports, and the connections between processes."""

    def __init__(self, loop: Loop, rng: Random, weather: Weather) -> None:
        self.loop = loop
        self.weather = weather
        self.ports: dict[tuple[str, int], Port] = {}
        self._random = rng.random
        self._ends: dict[Process, dict[End, None]] = {}
        self._connections = 0
        loop.network = self

    def listen(self, process: Process, host: str, port: int, factory: Callable[[], Any]) -> Port:
        found = self.ports[host, port] = Port(process, factory)
        return found

    def bind(self, process: Process, host: str, port: int) -> BoundSocket:
        """Raises OSError where somebody else has the address."""
        if (host, port) in self.ports:
            raise OSError(98, "Address already in use")
        return BoundSocket(Bound(self, process, (host, port)))

    async def connect(self, process: Process, factory: Callable[[], Any], host: str, port: int) -> tuple["End", Any]:
        """From `process` to what listens there. Raises ConnectionRefusedError."""
        opened = self.loop.create_future()
        self.loop.after(self.latency_us(), _wake, opened)
        await opened
        there = self.ports.get((host, port))
        if there is not None and there.mood == "silent":
            await self.loop.create_future()
        if there is None or there.process.is_dead or there.mood != "open":
            raise ConnectionRefusedError(111, "Connection refused")
        self._connections += 1
        number = self._connections
        near = End(self, process, (host, port), f"{process.name}>{port}#{number}")
        far = End(self, there.process, (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 40_000), near.name)
        near.peer, far.peer = far, near
        self.added(far)
        near.protocol = factory()
        if isinstance(there.takes, Bound):
            self.loop.at(self.loop.now_us, there.process, there.takes.came, far)
        else:
            self.loop.at(self.loop.now_us, there.process, far.accept, there.takes)
        near.start()
        return near, near.protocol

    def latency_us(self) -> int:
        return self.loop.draw_us(self.weather.latency_us)

    def chance(self, of: float) -> bool:
        return self._random() < of

    def cut(self, data: bytes) -> int:
        """Where this write is torn."""
        return 1 + int(self._random() * (len(data) - 1))

    def added(self, end: "End") -> None:
        self._ends.setdefault(end.process, {})[end] = None

    def removed(self, end: "End") -> None:
        self._ends.get(end.process, {}).pop(end, None)

    def killed(self, process: Process) -> None:
        """The kernel closes what the process had open."""
        for address in [address for address, port in self.ports.items() if port.process is process]:
            del self.ports[address]
        for end in list(self._ends.pop(process, {})):
            end.die()


def _wake(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


class End(asyncio.Transport):
    """One end of a connection: the transport of its protocol."""

    def __init__(self, network: Network, process: Process, peername: tuple[str, int], name: str) -> None:
        super().__init__()
        self.network = network
        self.process = process
        self.name = name
        self.peer: End
        self.protocol: Any = None
        self._peername = peername
        self._out = bytearray()
        self._on_wire = 0
        self._last_us = 0
        self._held = bytearray()
        self._held_end = False
        self._is_paused = False
        self._writing_paused = False
        self._is_closing = False
        self._eof_wanted = False
        self._is_unread = False
        self.is_lost = False
        self._high, self._low = 65_536, 16_384

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        self.network.added(self)
        self._buffered = isinstance(self.protocol, asyncio.BufferedProtocol)
        self.protocol.connection_made(self)

    def accept(self, factory: Callable[[], Any]) -> None:
        if self.is_lost:
            return
        self.protocol = factory()
        self.start()
        if self._held or self._held_end:
            self.network.loop.call_soon(self._read_held)

    def die(self) -> None:
        """Its process is gone."""
        if self.is_lost:
            return
        self.is_lost = self._is_closing = True
        self.network.removed(self)
        if self._held or self.network.chance(self.network.weather.resets):
            self._to_peer(self.peer.arrive_reset, overtakes=True)
        else:
            self._to_peer(self.peer.arrive_end)

    # -- asyncio's transport --------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._peername if name == "peername" else default

    def is_closing(self) -> bool:
        return self._is_closing

    def write(self, data: Any) -> None:
        if self._is_closing or self._eof_wanted or not data:
            return
        self._out += data
        self._flush()
        if len(self._out) > self._high and not self._writing_paused:
            self._writing_paused = True
            self.protocol.pause_writing()

    def write_at(self, data: bytes, at_us: int) -> None:
        """All of `data` arrives in one piece, and exactly then if nothing is on its way before it."""
        if self._is_closing or self._out:
            return
        self._on_wire += len(data)
        self._last_us = max(at_us, self._last_us + 1)
        self.network.loop.at(self._last_us, self.peer.process, self.peer.arrive, bytes(data))

    def write_eof(self) -> None:
        if not self._eof_wanted and not self._is_closing:
            self._eof_wanted = True
            self._flush()

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return len(self._out)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 65_536 if high is None else high
        self._low = self._high // 4 if low is None else low

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.network.loop.call_soon(self._read_held)

    def is_reading(self) -> bool:
        return not self._is_paused

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if not self._out:
                self.network.loop.call_soon(self._lose, None)

    def abort(self) -> None:
        if not self.is_lost:
            self._is_closing = True
            self._out.clear()
            self.network.loop.call_soon(self._lose, None)

    # -- out ------------------------------------------------------------------------------------

    def _flush(self) -> None:
        network = self.network
        while self._out and self._on_wire < network.weather.window:
            room = network.weather.window - self._on_wire
            data = bytes(self._out[:room])
            if len(data) > 1 and network.chance(network.weather.cuts):
                data = data[: network.cut(data)]
            del self._out[: len(data)]
            self._on_wire += len(data)
            self._to_peer(self.peer.arrive, data)
        if self._out:
            return
        if self._eof_wanted:
            if not self._is_closing:
                self._to_peer(self.peer.arrive_end)
        elif self._is_closing and not self.is_lost:
            network.loop.call_soon(self._lose, None)

    def _to_peer(self, arrive: Callable[..., None], *args: Any, overtakes: bool = False) -> None:
        loop = self.network.loop
        at_us = loop.now_us + self.network.latency_us()
        if not (overtakes and self.network.chance(0.5)):
            at_us = max(at_us, self._last_us + 1)
            self._last_us = at_us
        loop.at(at_us, self.peer.process, arrive, *args)

    def taken(self, size: int) -> None:
        """The peer's side has read so much."""
        self._on_wire -= size
        if self.is_lost:
            return
        if self._out:
            self._flush()
        if self._writing_paused and len(self._out) <= self._low:
            self._writing_paused = False
            self.protocol.resume_writing()

    # -- in -------------------------------------------------------------------------------------

    def arrive(self, data: bytes) -> None:
        if self.is_lost:
            if not self.peer.is_lost:
                self._to_peer(self.peer.arrive_reset, overtakes=True)
            return
        if self._is_closing:
            self._is_unread = True
            return
        if self._is_paused or self._held or self.protocol is None:
            self._held += data
            return
        self._feed(data)

    def _read_held(self) -> None:
        if self._is_paused or self._is_closing:
            return
        data = bytes(self._held)
        self._held.clear()
        if data:
            self._feed(data)
        if self._held_end and not self._is_closing and not self._is_paused:
            self._held_end = False
            self.arrive_end()

    def _feed(self, data: bytes) -> None:
        loop = self.network.loop
        loop.at(loop.now_us + 1, self.peer.process, self.peer.taken, len(data))
        if not self._buffered:
            self.protocol.data_received(data)
            return
        while data and not self._is_closing:
            view = self.protocol.get_buffer(len(data))
            size = min(len(view), len(data))
            view[:size] = data[:size]
            data = data[size:]
            self.protocol.buffer_updated(size)

    def arrive_end(self) -> None:
        """The peer will send no more."""
        if self.is_lost or self._is_closing:
            return
        if self._held or self._is_paused or self.protocol is None:
            self._held_end = True
            return
        if not self.protocol.eof_received():
            self.close()

    def arrive_reset(self) -> None:
        if not self.is_lost:
            self._is_closing = True
            self._out.clear()
            self._held.clear()
            self._lose(ConnectionResetError(104, "Connection reset by peer"))

    def _lose(self, error: Exception | None) -> None:
        if self.is_lost:
            return
        self.is_lost = True
        self.network.removed(self)
        if error is None:
            if self._held or self._is_unread:
                self._to_peer(self.peer.arrive_reset, overtakes=True)
            else:
                self._to_peer(self.peer.arrive_end)
        if self.protocol is not None:
            self.protocol.connection_lost(error)
