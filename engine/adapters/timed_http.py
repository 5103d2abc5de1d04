"""Uvicorn's HTTP/1.1 with bounds on what a client may take: time for a head and for a body, and a place.

Uvicorn waits for ever for the head of a request and for its body, and takes connections without a bound; the file
descriptors that a crowd of slow clients holds are those of the ports that messages come in by (reliability.md E7, C8).
"""

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from engine.adapters.places import Guest, Places

ABORT: Final = "segmill.abort"
"""In a request's extensions: cuts its connection, for who waits for a client that does not read."""
SIGNED: Final = "segmill.signed"
"""In a request's extensions: takes whether it was somebody's who is signed in, once that is known."""
BODY_LOOK_S: Final = 10.0
BODY_LEAST_BYTES: Final = 64 * 1024
"""Of a body that takes longer than its time, so much comes between two looks: 52 kbit/s."""
SLOW_READER_S: Final = 30.0
"""A response that has taken so long is given up where its place is wanted."""


class TimedH11(H11Protocol):
    """One connection. `head_timeout_s`: how long the head of a request may take, from its first byte to its last;
    `body_timeout_s`: the same of its body, also where nobody reads it any more; 0: for ever. Who is signed in may
    take longer for a body, as long as it goes on: large ones come over slow links, and a trickle holds no place.

    `places`: with more connections on this server than it has, one of those on which nothing is worked gives up its
    own: a client that means it sends its request at once, and so gets in beside any number of those that do not.
    """

    def __init__(
        self,
        head_timeout_s: float,
        *args: Any,
        body_timeout_s: float = 0.0,
        places: Places | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._head_timeout_s = head_timeout_s
        self._body_timeout_s = body_timeout_s
        self._places = places
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._body_came = 0
        self._heard_at = 0.0
        self._waits_since = 0.0
        self._network = ""
        self._is_signed = self._is_told = False
        self._unread_since: float | None = None
        app = self.app

        async def with_extensions(scope: Any, receive: Any, send: Any) -> None:
            extensions = scope.setdefault("extensions", {})
            extensions[ABORT], extensions[SIGNED] = self.transport.abort, self._is_known
            self._is_told = False
            try:
                await app(scope, receive, send)
            finally:
                if not self._is_told:  # refused before it was known whose it is, as with a token that is none
                    self._is_signed = False

        self.app = with_extensions

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._heard_at = self._waits_since = self.loop.time()
        if self._places is not None:
            self._network = self._places.network(self.client[0] if self.client is not None else "")
            self._keep_to(self._places)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        self._body_came += len(data)
        super().data_received(data)
        self._watch_head()
        self._watch_body()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_watching()
        self._stop_body_timer()

    def on_response_complete(self) -> None:
        self._waits_since = self.loop.time()
        super().on_response_complete()
        self._watch_body()  # the next request may have been here already

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

    def _is_known(self, is_signed: bool) -> None:
        """Whether the request in hand was somebody's."""
        self._is_signed, self._is_told = is_signed, True
        if is_signed and self._places is not None:
            self._places.known.heard(self._network, self.loop.time())

    @property
    def _guest(self) -> Guest:
        return Guest(self._network, self._is_signed, self._waits_since)

    def _keep_to(self, places: Places) -> None:
        """One goes, this one at worst, where there are too many now that it has come."""
        everybody = [one for one in self.connections if isinstance(one, TimedH11)]
        guests, now_s = [one._guest for one in everybody], self.loop.time()
        others = [one for one in everybody if one is not self]
        victim: TimedH11 | None = None
        if places.is_full_of(self._network, guests):
            crowd = [one for one in others if one._network == self._network and not one._is_signed]
            victim = self._last_of(places, crowd, guests)
            if victim is None and places.is_stranger(self._guest, now_s):
                victim = self
        if victim is None and len(self.connections) > places.most:
            strangers = [one for one in others if places.is_stranger(one._guest, now_s)]
            idle = [one for one in others if not one._is_in_request]
            sending = [one for one in others if one._is_sending]
            # A stranger who does not read goes before who is signed in and idle; a stream goes last.
            victim = self._last_of(places, strangers, guests) or self._last_of(places, idle, guests)
            victim = victim or self._last_of(places, sending, guests) or self._last_of(places, others, guests) or self
        if victim is not None:
            self.connections.discard(victim)
            victim.transport.abort()

    def _last_of(self, places: Places, some: "list[TimedH11]", guests: list[Guest]) -> "TimedH11 | None":
        """Of those on which nothing is worked; None: on each of them something is."""
        now_s = self.loop.time()
        late = now_s - SLOW_READER_S
        idle = [one for one in some if not one._is_in_request or one._is_sending or one._heard_at < late]
        return places.last_of([(one, one._guest) for one in idle], guests, now_s) or self._who_does_not_read(some)

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

    def _watch_body(self) -> None:
        """Running from the end of a head to the end of its body: what trickles in renews nothing."""
        if self.conn.their_state is not h11.SEND_BODY:
            self._stop_body_timer()
        elif self._body_timer is None and self._body_timeout_s:
            self._body_came = 0
            self._body_timer = self.loop.call_later(self._body_timeout_s, self._look_at_body)

    def _look_at_body(self) -> None:
        """It has had its time: it goes on if it is somebody's, is read still, and enough came since the last look."""
        self._body_timer = None
        # What we do not take off the wire is not the client's fault.
        goes_on = self._body_came >= BODY_LEAST_BYTES or self.flow.read_paused
        if not (self._is_signed and self._is_in_request and goes_on):
            self.transport.abort()
            return
        self._body_came = 0
        self._body_timer = self.loop.call_later(BODY_LOOK_S, self._look_at_body)

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
