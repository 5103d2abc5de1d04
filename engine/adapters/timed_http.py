"""Uvicorn's HTTP/1.1 with bounds on what a client may take: time for a head, and a place.

Uvicorn waits for ever for the head of a request, and takes connections without a bound; the file descriptors that a
crowd of slow clients holds are those of the ports that messages come in by (reliability.md E7, C8).
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

ABORT: Final = "segmill.abort"
"""In a request's extensions: cuts its connection, for who waits for a client that does not read."""
SLOW_READER_S: Final = 30.0
"""A response that has taken so long is given up where its place is wanted."""


class TimedH11(H11Protocol):
    """One connection. `head_timeout_s`: how long the head of a request may take.

    `most_connections` not 0: with more than so many on this server, the one that has been silent longest gives up its
    place: a client that means it sends its request at once, and so gets in beside any number of those that do not.
    """

    def __init__(self, head_timeout_s: float, *args: Any, most_connections: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timeout_s = head_timeout_s
        self._most_connections = most_connections
        self._head_timer: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._unread_since: float | None = None
        app = self.app

        async def with_abort(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})[ABORT] = self.transport.abort
            await app(scope, receive, send)

        self.app = with_abort

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._heard_at = self.loop.time()
        if self._most_connections and len(self.connections) > self._most_connections:
            self._make_place()
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_watching()

    def pause_writing(self) -> None:
        """The client does not read what is there for it."""
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_since = None

    @property
    def _is_in_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _is_sending(self) -> bool:
        """A body that has begun is not here yet: nothing is worked on, however long that goes on."""
        return self.cycle is not None and self.cycle.more_body

    def _make_place(self) -> None:
        others = [one for one in self.connections if isinstance(one, TimedH11) and one is not self]
        late = self.loop.time() - SLOW_READER_S
        idle = [one for one in others if not one._is_in_request or one._is_sending or one._heard_at < late]
        victim = min(idle, key=lambda one: one._heard_at, default=None) or self._who_does_not_read(others) or self
        self.connections.discard(victim)
        victim.transport.abort()

    @staticmethod
    def _who_does_not_read(others: "list[TimedH11]") -> "TimedH11 | None":
        """Nothing is worked on for it, either. Who reads slowly goes on now and then, and so is not the first."""
        unread = [(one._unread_since, at) for at, one in enumerate(others) if one._unread_since is not None]
        return others[min(unread)[1]] if unread else None

    def _watch_head(self) -> None:
        """Running while a head has begun, or the first is awaited, and no request is in hand."""
        has_begun = self.cycle is None or bool(self.conn.trailing_data[0])
        if self._is_in_request or not has_begun:
            self._stop_watching()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self._head_timeout_s, self._too_slow)

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self.transport.abort()
