"""Senders that wait for each answer and send again until it is AA, over as many connections and engines as it takes."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable

from tests.faults.kill_rig import frame
from tests.faults.receivers import END


class Senders:
    """`acknowledged`: control ids in the order of their AA. `answers`: how often each code came."""

    def __init__(self, port: int, count: int = 3, *, padding: int = 0) -> None:
        self.port = port
        self.count = count
        self.acknowledged: list[str] = []
        self.answers: Counter[str] = Counter()
        self.unanswered = 0
        """Messages that got no answer while their connection was whole."""
        self._padding = padding
        self._over = False
        self._numbers = [0] * count
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_running(self) -> bool:
        return bool(self._tasks) and not self._over

    def start(self) -> None:
        """Begin, or go on where `stop` was called."""
        self._over = False
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._send(number)) for number in range(self.count)]

    async def stop(self) -> None:
        """Let each come to the end of what it sends; a defect of theirs is raised here."""
        self._over = True
        try:
            async with asyncio.timeout(60):
                await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()

    def payload(self, sender: int, number: int) -> bytes:
        """What goes between VT and FS."""
        note = b"NTE|1||" + b"x" * self._padding + b"\r" if self._padding else b""
        return frame(sender, number)[1:-2] + note

    async def _send(self, sender: int) -> None:
        while not self._over:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    while not self._over:
                        await self._one(sender, reader, writer)
                finally:
                    writer.close()
            await asyncio.sleep(0.005)

    async def _one(self, sender: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self._numbers[sender]
        writer.write(b"\x0b" + self.payload(sender, number) + END)
        try:
            answer = await asyncio.wait_for(reader.readuntil(END), 20)
        except TimeoutError as exc:
            self.unanswered += 1
            raise ConnectionError from exc
        code, _, told = answer.split(b"MSA|")[1].split(b"\r")[0].decode().partition("|")
        assert told.partition("|")[0] == f"S{sender}N{number}", f"an answer to another message: {answer!r}"
        self.answers[code] += 1
        if code == "AA":
            self.acknowledged.append(f"S{sender}N{number}")
            self._numbers[sender] += 1
        else:
            await asyncio.sleep(0.005)

    async def until(self, acknowledged: int) -> None:
        """Wait until so many were acknowledged; a sender's defect is raised."""
        await self.until_true(lambda: len(self.acknowledged) >= acknowledged)

    async def until_true(self, condition: Callable[[], bool]) -> None:
        """Wait for it; a sender's defect is raised."""
        while not condition():
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.002)
