"""A network that is bad on purpose: a TCP proxy that delays, tears, dribbles, resets, half-closes; no byte is changed.

Everything it does to a connection is drawn from the seed and the connection's number, by places in the stream and not
by times: so a seed tells the same story again, as far as the ends say the same.
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Literal

Cut = Literal["reset", "close", "half-close"]


@dataclass(frozen=True)
class Weather:
    """How bad it is. A direction of a connection is cut with `cuts`, within its first `cut_within` bytes."""

    cuts: float = 0.9
    cut_within: int = 12_000
    delays: float = 0.05
    most_delay_s: float = 0.01
    dribbles: float = 0.05
    most_piece: int = 700


CLEAR = Weather(cuts=0.0, delays=0.0, dribbles=0.0, most_piece=65536)


class ChaosProxy:
    """Listens on `port`, passes on to `target`. `counts`: connections, pieces, delays, dribbles, each kind of cut."""

    def __init__(self, target: int, seed: int, weather: Weather = Weather()) -> None:
        self.target = target
        self.seed = seed
        self.weather = weather
        self.port = 0
        self.counts: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "ChaosProxy":
        self._server = await asyncio.start_server(self._link, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for link in list(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def clear_up(self) -> None:
        """Fine weather for connections to come."""
        self.weather = CLEAR

    async def _link(self, near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        task.add_done_callback(self._links.discard)
        self.counts["connections"] += 1
        number = self.counts["connections"]
        writers = [near_writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            writers.append(far_writer)
            ways = [
                asyncio.get_running_loop().create_task(self._pass_on(there, back, number, way))
                for there, back, way in (
                    ((near_reader, far_writer), near_writer, "there"),
                    ((far_reader, near_writer), far_writer, "back"),
                )
            ]
            try:
                done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                if any(way.result() == "half-close" for way in done):
                    await asyncio.wait(ways, timeout=1.0)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # nobody there, and whoever came is turned away; or the proxy ends, and all its links
        finally:
            for writer in writers:
                writer.close()

    async def _pass_on(
        self,
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        back: asyncio.StreamWriter,
        number: int,
        way: str,
    ) -> str:
        """One direction, until it ends; how it did."""
        reader, writer = there
        weather = self.weather
        dice = Random(f"{self.seed} {number} {way}")
        cut_at = dice.randrange(1, weather.cut_within) if dice.random() < weather.cuts else -1
        kind: Cut = dice.choice(("reset", "close", "half-close"))
        passed = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                while data:
                    size = dice.randint(1, weather.most_piece)
                    if cut_at >= 0:
                        size = min(size, cut_at - passed)
                    piece, data = data[:size], data[size:]
                    await self._send(writer, piece, dice, weather)
                    passed += len(piece)
                    if passed == cut_at:
                        self.counts[kind] += 1
                        return self._cut(kind, writer, back)
            if writer.can_write_eof():
                writer.write_eof()
            return "half-close"
        return "gone"

    async def _send(self, writer: asyncio.StreamWriter, piece: bytes, dice: Random, weather: Weather) -> None:
        self.counts["pieces"] += 1
        if dice.random() < weather.delays:
            self.counts["delays"] += 1
            await asyncio.sleep(dice.random() * weather.most_delay_s)
        if dice.random() < weather.dribbles:
            self.counts["dribbles"] += 1
            for at in range(min(40, len(piece))):
                writer.write(piece[at : at + 1])
                await asyncio.sleep(0)
            piece = piece[40:]
        writer.write(piece)
        await writer.drain()

    @staticmethod
    def _cut(kind: Cut, *writers: asyncio.StreamWriter) -> str:
        if kind == "half-close":
            writers[0].write_eof()
            return kind
        for writer in writers:
            if kind == "reset":
                plain = writer.get_extra_info("socket")
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()
        return kind
