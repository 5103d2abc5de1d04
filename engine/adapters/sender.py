"""An MLLP sender: what `segmill send`, the demo and the benchmarks send with.

Several connections take messages from one source; each waits for a message's own answer before it takes
the next. It works in callbacks from answer to next message, so that one process can load an engine.
"""

import asyncio
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from engine.adapters.mllp_connection import ConnectFailed, End, MllpConnection, Posted, Target, connect
from engine.adapters.outgoing import control_id_of, expects_answer
from engine.hl7.errors import UnreadableMessage
from engine.mllp.exchange import POSITIVE, Answered, Broken
from engine.mllp.framing import PayloadError, encode


@dataclass(slots=True, frozen=True)
class Sent:
    """What came of one message. `ack_code` '' and a `failure` sentence: no answer that counts.

    `number` counts messages from 0 in the order they were taken. `ack_code` and `failure` both '': sent, and
    no answer was due. `seconds`: from the write to the answer, of the attempt that ended it.
    """

    number: int
    control_id: bytes
    ack_code: str
    hl7_code: str
    failure: str
    seconds: float
    answer: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class SendReport:
    """All of a run. `latencies_s` holds a value for every answer, unordered."""

    sent: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    resent: int = 0
    elapsed_s: float = 0.0
    latencies_s: "array[float]" = field(default_factory=lambda: array("d"))

    @property
    def answered(self) -> int:
        """Messages with an answer, good or bad."""
        return sum(self.codes.values())

    @property
    def accepted(self) -> int:
        """Messages answered AA or CA."""
        return sum(self.codes[code] for code in POSITIVE)

    @property
    def is_clean(self) -> bool:
        """Whether every message that was due an answer got a positive one."""
        return not self.failures and self.accepted == self.answered

    def percentile(self, fraction: float) -> float:
        """Seconds within which this share of the answers came; 0.0 where there is none."""
        if not self.latencies_s:
            return 0.0
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


class Sender:
    """Sends `messages` to one target over `connections` connections, each in order, none before its turn.

    `rate`: messages a second over all connections, 0 for as fast as answers come. `resend_after_s`: a
    message without an answer is sent again after so long, on a new connection, until it has one; None:
    it is counted as failed. `on_sent` sees every message's end. `force_answer`: wait for an answer even
    where MSH-15 and MSH-16 ask for none.
    """

    def __init__(
        self,
        target: Target,
        messages: Iterable[bytes],
        *,
        connections: int = 1,
        rate: float = 0.0,
        resend_after_s: float | None = None,
        force_answer: bool = False,
        on_sent: Callable[[Sent], None] | None = None,
    ) -> None:
        self.report = SendReport()
        self._target = target
        self._messages: Iterator[tuple[int, bytes]] = enumerate(messages)
        self._connections = connections
        self._interval_s = 1.0 / rate if rate else 0.0
        self._resend_after_s = resend_after_s
        self._force_answer = force_answer
        self._on_sent = on_sent
        self._began = 0.0
        self._stopping = False

    async def run(self) -> SendReport:
        """Until the messages are at their end. A message that cannot be framed counts as failed."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._connections):
                    group.create_task(_Lane(self, loop).run(), name=f"send {number + 1}")
        finally:
            self.report.elapsed_s = loop.time() - self._began
        return self.report

    def stop(self) -> None:
        """Take no more messages; what is outstanding still gets its answer."""
        self._stopping = True

    def _take(self) -> tuple[int, bytes] | None:
        return None if self._stopping else next(self._messages, None)

    def _ended(self, sent: Sent) -> None:
        report = self.report
        if sent.ack_code:
            report.codes[sent.ack_code] += 1
            report.latencies_s.append(sent.seconds)
        elif sent.failure:
            report.failures[sent.failure] += 1
        if self._on_sent is not None:
            self._on_sent(sent)


class _Lane:
    """One connection after the other, one message at a time."""

    def __init__(self, sender: Sender, loop: asyncio.AbstractEventLoop) -> None:
        self._sender = sender
        self._loop = loop
        self._connection: MllpConnection | None = None
        self._stopped: asyncio.Future[bool] | None = None
        self._number = 0
        self._body = b""
        self._block = b""
        self._control_id = b""
        self._waits = True
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Send until the source is empty; connect again whenever a connection is spent."""
        sender = self._sender
        try:
            again = self._next()
            while again:
                try:
                    self._connection = await connect(sender._target)
                except ConnectFailed as error:
                    again = await self._failed(str(error))
                    continue
                self._stopped = self._loop.create_future()
                self._due()
                again = await self._stopped
                self._connection.close()
            if self._connection is not None:
                await self._connection.closed(1.0)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._connection is not None:
                self._connection.abort()

    def _next(self) -> bool:
        """Take the next message that can be framed; false at the end of them."""
        while (taken := self._sender._take()) is not None:
            self._number, self._body = taken
            try:
                self._block = encode(self._body)
                self._control_id = control_id_of(self._body)
            except (PayloadError, UnreadableMessage) as error:
                self._sender._ended(Sent(self._number, b"", "", "", str(error), 0.0))
                continue
            self._waits = self._sender._force_answer or expects_answer(self._body)
            return True
        return False

    def _due(self) -> None:
        """Send now, or when the rate allows."""
        sender = self._sender
        if sender._interval_s:
            at = sender._began + self._number * sender._interval_s
            if at > self._loop.time():
                self._timer = self._loop.call_at(at, self._go)
                return
        self._go()

    def _go(self) -> None:
        connection = self._connection
        assert connection is not None
        if not connection.is_open:
            self._stop(True)  # closed while it waited for its turn: nothing was sent
            return
        self._sender.report.sent += 1
        self._began = self._loop.time()
        if self._waits:
            connection.send(self._block, self._control_id, self._done)
        else:
            connection.post(self._block, self._done)

    def _done(self, end: End | Posted) -> None:
        seconds = self._loop.time() - self._began
        if isinstance(end, Answered):
            answer = end.answer
            sent = Sent(self._number, self._control_id, answer.code, answer.hl7_code, "", seconds, end.raw)
        elif isinstance(end, Posted):
            sent = Sent(self._number, self._control_id, "", "", "", seconds)
        else:
            failure = end.reason if isinstance(end, Broken) else "an answer came, but to another message"
            self._retry_or_fail(failure, seconds, end.raw)
            return
        self._sender._ended(sent)
        if not self._next():
            self._stop(False)
        elif self._connection is not None and self._connection.is_open:
            self._due()
        else:
            self._stop(True)

    def _retry_or_fail(self, failure: str, seconds: float, raw: bytes) -> None:
        sender = self._sender
        if sender._resend_after_s is not None and not sender._stopping:
            sender.report.resent += 1
            self._timer = self._loop.call_later(sender._resend_after_s, self._stop, True)
            return
        sender._ended(Sent(self._number, self._control_id, "", "", failure, seconds, raw))
        self._stop(self._next())

    async def _failed(self, failure: str) -> bool:
        """No connection: wait and try again with the same message, or give it up. False at the end."""
        sender = self._sender
        if sender._resend_after_s is not None and not sender._stopping:
            await asyncio.sleep(sender._resend_after_s)
            return True
        sender._ended(Sent(self._number, self._control_id, "", "", failure, 0.0))
        return self._next()

    def _stop(self, again: bool) -> None:
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(again)
