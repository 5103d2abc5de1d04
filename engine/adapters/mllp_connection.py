"""One outgoing MLLP connection: what the MLLP sink, `segmill send` and the tests send through.

It is the hot path of delivery, so it is a `BufferedProtocol` with a callback per message and one loop
timer for everything: the timer is armed for the first deadline and, when it fires, for the next one.

States: idle -> writing (the network has not taken the whole block) -> waiting (for the answer) -> idle.
A connection ends in `closed`, from any of them, and is never used again after an exchange that did not
end well (`engine.mllp.exchange`).
"""

import asyncio
import select
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from engine.hl7.ack import Ack, read_ack
from engine.mllp.exchange import Accepted, Answered, Broken, Committed, Event, Exchange, Foreign, Late
from engine.ports.gone import bound_unheard, is_tcp, keep_alive, untaken_bytes


@dataclass(slots=True, frozen=True)
class Posted:
    """A message that asks for no answer was handed to the network; nobody says whether it arrived."""


End = Answered[Ack] | Foreign[Ack] | Broken

_READ_BUFFER_BYTES = 16 * 1024
_SLICE_BYTES = 64 * 1024
_AT_ONCE_BYTES = 4 * 1024
"""What is no longer is with its receiver as soon as it is sent: any window has room for it."""


class ConnectFailed(Exception):
    """No connection. The text is a sentence for people."""


@dataclass(slots=True, frozen=True)
class Target:
    """Where to connect, and the bounds of every exchange there. Times in seconds.

    `write_timeout_s`: how long the receiver may take nothing off the wire while a message is on its way.
    `idle_close_s` 0: an idle connection is kept. The last two are for MLLP Release 2.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    connect_timeout_s: float = 10.0
    write_timeout_s: float = 12.0
    ack_timeout_s: float = 30.0
    idle_close_s: float = 0.0
    max_answer_bytes: int = 64_000
    commit_timeout_s: float = 10.0
    commit_retries: int = 2

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class MllpConnection(asyncio.BufferedProtocol):
    """One connection, one outstanding message at a time. Made by `connect`."""

    __slots__ = (
        "_accept",
        "_answered",
        "_buffer",
        "_deadline",
        "_done",
        "_exchange",
        "_is_long",
        "_loop",
        "_lost",
        "_on_closed",
        "_paused",
        "_plain",
        "_poll",
        "_posted",
        "_rest",
        "_target",
        "_timer",
        "_transport",
        "_unsent",
        "_view",
        "failure",
        "late_answers",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, target: Target) -> None:
        self._loop = loop
        self._target = target
        self._exchange: Exchange[Ack] = Exchange(read_ack, max_answer_bytes=target.max_answer_bytes)
        self._view = memoryview(bytearray(_READ_BUFFER_BYTES))
        self._transport: asyncio.Transport | None = None
        self._done: Callable[[End], None] | None = None
        self._on_closed: Callable[[], None] | None = None
        self._posted: Callable[[Posted | Broken], None] | None = None
        self._rest: memoryview | None = None
        self._paused = False
        self._poll: select.poll | None = None
        self._plain: socket.socket | None = None
        self._is_long = False
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._lost = False
        self._answered = 0
        self.failure: Exception | None = None
        self.late_answers = 0

    # -- for the sender -------------------------------------------------------------------------

    def fits(self, control_id: bytes) -> bool:
        """Whether a message with this MSH-10 may go out on this connection now."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and self._exchange.fits(control_id)

    @property
    def has_unread_input(self) -> bool:
        """Whether something came that the loop has not read yet: a close, most often.

        A receiver that hangs up after its answer would otherwise cost every second message an attempt. One
        system call, less than a microsecond.
        """
        transport = self._transport
        if self._poll is None or transport is None or transport.is_closing():
            return False
        return bool(self._poll.poll(0))

    @property
    def is_open(self) -> bool:
        """Whether the next message may go out here, if its MSH-10 is not the last one's again."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and self._exchange.is_trusted

    @property
    def ever_answered(self) -> bool:
        """Whether the receiver has answered anything on this connection."""
        return self._answered > 0

    def send(self, block: bytes, control_id: bytes, done: Callable[[End], None]) -> None:
        """Write one framed message; `done` is called once, with its answer or the reason why there is none.

        Only while `is_open` and nothing is outstanding. After any end but a trusted Answered the
        connection is closed already when `done` is called.
        """
        self._exchange.start(control_id)
        self._done = done
        self._write(block)
        target = self._target
        self._arm(target.write_timeout_s if self._paused else target.ack_timeout_s)

    def post(self, block: bytes, done: Callable[[Posted | Broken], None]) -> None:
        """Write one framed message that no answer is due for (MSH-15 and MSH-16 are NE: hl7.md item 22)."""
        self._posted = done
        self._write(block)
        self._arm(self._target.write_timeout_s)
        if not self._paused:
            self._loop.call_soon(self._end_post)

    def expect_application(self, is_due: bool) -> None:
        """Whether the next message is answered by its receiver's application, after CA."""
        self._exchange.awaits_application = is_due

    def close(self) -> None:
        """Close in good order. An outstanding message ends Broken."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection now; what the network has not taken is never sent, and `done` is not called."""
        self._done = self._posted = None
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    async def closed(self, within_s: float) -> None:
        """Return when the connection is gone; drop it after `within_s`."""
        if self._lost:
            return
        gone = self._loop.create_future()
        self._on_closed = lambda: None if gone.done() else gone.set_result(None)
        try:
            async with asyncio.timeout(within_s):
                await gone
        except TimeoutError:
            self.abort()

    # -- asyncio's calls ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # pause_writing then means "not all of it is on its way", resume_writing "now it is".
        self._transport.set_write_buffer_limits(high=1, low=0)
        plain = transport.get_extra_info("socket")
        if plain is not None and is_tcp(plain):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._plain = plain
            keep_alive(plain)
            # What the receiver has not taken by then, it does not take: a vanished one and one that hangs (S8, S11).
            bound_unheard(plain, self._target.write_timeout_s)
        if plain is not None and hasattr(select, "poll"):  # Windows has none
            self._poll = select.poll()
            self._poll.register(plain.fileno(), select.POLLIN)
        if self._target.idle_close_s:
            self._arm(self._target.idle_close_s)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        is_gone = self._rest is None and not self._paused and not self._is_long  # nearly always: it has all of it
        unsent_bytes = 0 if is_gone else self._untaken_bytes()
        self._settle(self._exchange.on_bytes(self._view[:nbytes], unsent_bytes=unsent_bytes))

    def eof_received(self) -> bool:
        """The receiver will say no more: a half-closed connection is of no use to a sender."""
        self._settle(self._exchange.on_close())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._transport = None
        self._rest = None
        self.failure = self.failure or exc
        self._stop_timer()
        self._settle(self._exchange.on_close())
        self._end_post(Broken("closed"))
        if self._on_closed is not None:
            self._on_closed()

    def pause_writing(self) -> None:
        self._paused = True
        self._unsent = self._unsent_bytes()

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()
        if self._paused:
            self._arm(self._target.write_timeout_s)  # a slice went out: that is progress
        elif self._done is not None:
            self._arm(self._target.ack_timeout_s)
        else:
            self._end_post()

    # -- inside ---------------------------------------------------------------------------------

    def _write(self, block: bytes) -> None:
        transport = self._transport
        assert transport is not None, "send and post are for an open connection"
        self._is_long = len(block) > _AT_ONCE_BYTES
        if len(block) <= _SLICE_BYTES:
            transport.write(block)
        else:
            # In slices: the transport would copy the whole, and a TLS one would hide how much is left.
            self._rest = memoryview(block)
            self._pump()

    def _end_post(self, end: Posted | Broken = Posted()) -> None:
        done, self._posted = self._posted, None
        if done is not None:
            done(end)

    def _pump(self) -> None:
        transport = self._transport
        while self._rest is not None and not self._paused and transport is not None:
            part, rest = self._rest[:_SLICE_BYTES], self._rest[_SLICE_BYTES:]
            self._rest = rest or None
            transport.write(part)

    def _unsent_bytes(self) -> int:
        """Of the outstanding message, what this process still holds. With TLS, up to 128 KiB more may be held."""
        size = len(self._rest) if self._rest is not None else 0
        if self._paused and self._transport is not None:
            size += self._transport.get_write_buffer_size()
        return size

    def _untaken_bytes(self) -> int:
        """Of the outstanding message, what its receiver cannot have yet.

        The system takes some hundred kilobytes from us at once, and drops them when either end hangs up.
        """
        unsent_bytes = self._unsent_bytes()
        if unsent_bytes or not self._is_long or self._plain is None:
            return unsent_bytes
        untaken = untaken_bytes(self._plain)
        # The last byte is the CR behind the block's FS. It may travel alone, and a receiver that answers at the FS has
        # the whole message; of a TLS record it would have nothing.
        return 0 if untaken == 1 and self._target.tls is None else untaken

    def _settle(self, events: list[Event[Ack]]) -> None:
        for event in events:
            if isinstance(event, (Late, Accepted, Committed)):
                self.late_answers += isinstance(event, Late)
                continue
            if isinstance(event, Answered):
                self._answered += 1
            if not self._exchange.is_trusted and self._transport is not None:
                self._transport.abort()
            done, self._done = self._done, None
            if done is None:
                continue
            if self._target.idle_close_s and self._exchange.is_trusted:
                self._arm(self._target.idle_close_s)
            done(event)

    def _arm(self, seconds: float) -> None:
        """One deadline at a time; the timer that runs is left alone when it fires early enough."""
        self._deadline = deadline = self._loop.time() + seconds
        timer = self._timer
        if timer is None:
            self._timer = self._loop.call_at(deadline, self._tick)
        elif timer.when() > deadline:
            timer.cancel()
            self._timer = self._loop.call_at(deadline, self._tick)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        if self._transport is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._tick)
        elif self._done is not None or self._posted is not None:
            unsent = self._unsent_bytes()
            if 0 < unsent < self._unsent:
                self._unsent = unsent  # slow, but it takes bytes: S8 is about progress, not the total
                self._arm(self._target.write_timeout_s)
            elif self._done is not None:
                self._settle(self._exchange.on_timeout(unsent_bytes=unsent))
            else:
                self._transport.abort()
                self._end_post(Broken("stalled"))
        elif self._target.idle_close_s:
            self._transport.close()


async def connect(target: Target, kind: type[MllpConnection] = MllpConnection) -> MllpConnection:
    """Open a connection. Raises ConnectFailed with a sentence: DNS, refused, unreachable, TLS, too slow."""
    loop = asyncio.get_running_loop()
    server_name = (target.server_name or target.host) if target.tls is not None else None
    try:
        async with asyncio.timeout(target.connect_timeout_s):
            _, connection = await loop.create_connection(
                lambda: kind(loop, target),
                target.host,
                target.port,
                ssl=target.tls,
                server_hostname=server_name,
                ssl_handshake_timeout=target.connect_timeout_s if target.tls is not None else None,
            )
    except OSError as error:  # TimeoutError, ssl.SSLError and socket.gaierror among them
        raise ConnectFailed(explain(error, target, while_connecting=True)) from error
    return connection


def explain(error: Exception, target: Target, *, while_connecting: bool = False) -> str:
    """What went wrong with a connection, in a sentence that names the place."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {target} was not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "no reason given").replace("_", " ").lower()
        return f"TLS with {target} failed: {reason}"
    if isinstance(error, socket.gaierror):
        return f"the host name {target.host} cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return f"{target} refuses connections"
    if isinstance(error, ConnectionResetError | ConnectionAbortedError) and while_connecting and target.tls is not None:
        return f"TLS with {target} failed: the receiver dropped the connection"
    if isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return f"{target} dropped the connection"
    if isinstance(error, TimeoutError):
        return f"{target} does not respond"
    if isinstance(error, OSError) and error.strerror:
        return f"no connection to {target}: {error.strerror}"
    return f"no connection to {target}: {type(error).__name__}"
