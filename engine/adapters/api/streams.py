"""Answers without an end: server-sent events, few at a time, and none that anybody has to wait for.

- There are so many of all, and so many of a session: a browser has six connections to a server, and pages need some.
- Who does not read is cut off: nothing is kept for him.
- All end with their session, and at once when the server stops.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine.adapters.timed_http import ABORT

MOST: Final = 12
MOST_OF_SESSION: Final = 3
WRITE_S: Final = 10.0


class Streams:
    """Those that are open, by session. Used by the loop of the server alone, but for `end_all`."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Event, bytes] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._open)

    def take(self, session: bytes) -> "asyncio.Event | None":
        """A place: what is set when the stream is to end. None: there is none left."""
        of_session = sum(one == session for one in self._open.values())
        if len(self._open) >= MOST or of_session >= MOST_OF_SESSION:
            return None
        self._loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self._open[ended] = session
        return ended

    def give_back(self, ended: asyncio.Event) -> None:
        self._open.pop(ended, None)

    def end_all(self) -> None:
        """From any thread."""
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._end)
            except RuntimeError:
                pass  # it has ended already, and they with it

    def _end(self) -> None:
        for ended in list(self._open):
            ended.set()


class EventStream(Response):
    """What `events` gives, a block each, until `ended` is set, the client goes, or does not read for WRITE_S."""

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[bytes], ended: asyncio.Event, closed: Callable[[], None], write_s: float = WRITE_S
    ) -> None:
        """`closed` is called at the end, whatever ends it."""
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events, self._ended, self._closed, self._write_s = events, ended, closed, write_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                ends = [
                    tasks.create_task(self._ended.wait(), name="end of a stream"),
                    tasks.create_task(_gone(receive), name="client of a stream"),
                    tasks.create_task(self._write(scope, send), name="stream"),
                ]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for one in ends:
                    one.cancel()
            async with asyncio.timeout(self._write_s):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            _cut(scope)
        finally:
            self._closed()

    async def _write(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for event in self._events:
            try:
                async with asyncio.timeout(self._write_s):
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            except TimeoutError:
                _cut(scope)
                return


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _cut(scope: Scope) -> None:
    abort = scope.get("extensions", {}).get(ABORT)
    if abort is not None:
        abort()
