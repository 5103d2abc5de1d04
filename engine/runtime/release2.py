"""MLLP Release 2 on the receiver's side: each block is committed apart from its HL7 answer (hl7.md items 14, 15).

`VT 06 FS CR` says that a block is on stable storage, `VT 15 FS CR` that it could not be kept; the sender then writes
it again, and a block that was kept after all is recognised as a duplicate. Our HL7 answers are blocks, too, which
the sender commits::

    tolerate   commit blocks of the sender are read and passed over
    require    one answer at a time is under way: the next leaves when the one before was committed

    answer under way  --06-->                      the next one
    answer under way  --15, or no commit in time-->  written again, up to `commit_retries` times; then we hang up

What was not committed is not lost: the sender sends its message again, and gets the stored answer.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import ClassVar

from engine.mllp.framing import COMMIT_ACK, COMMIT_NAK, END, VT
from engine.runtime.connection import Connection, Reply

COMMITTED = VT + COMMIT_ACK + END
NOT_COMMITTED = VT + COMMIT_NAK + END


class CommittingReply(Reply):
    """The place of one block's commit, and of its answer behind that."""

    __slots__ = ()

    commits: ClassVar[bool] = True

    def settle(self, answer: bytes) -> None:
        """The block is kept, or was refused for good: a retransmission would change nothing."""
        super().settle(COMMITTED + answer)

    def not_kept(self, answer: bytes) -> None:
        """Nothing of it was stored. Its sender is to send it again, so there is no answer to it yet."""
        super().settle(NOT_COMMITTED)


class CommittingConnection(Connection):
    """A connection on a port of Release 2 whose senders may leave our answers uncommitted."""

    __slots__ = ()

    reply_kind: ClassVar[type[Reply]] = CommittingReply

    def commit_came(self, positive: bool) -> None:
        """The sender has our answer, or says that it has not: it will send its message again then."""
        if not positive:
            self._listener.commit_refused(self)


class StrictConnection(CommittingConnection):
    """A connection on a port of Release 2 whose senders must commit each of our answers."""

    __slots__ = ("_outbox", "_timer", "_tries")

    def _writer(self, transport: asyncio.Transport) -> Callable[[bytes], None]:
        self._outbox: deque[bytes] = deque()
        self._tries = 0
        self._timer: asyncio.TimerHandle | None = None
        return self._queue

    def _queue(self, data: bytes) -> None:
        """Our commits leave at once; an answer waits for the commit of the one before."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        for part in data.split(END)[:-1]:
            block = part + END
            if self.closing or block in (COMMITTED, NOT_COMMITTED):
                transport.write(block)
                continue
            self._outbox.append(block)
            self.owed += 1
            if len(self._outbox) == 1:
                self._send_head()

    def commit_came(self, positive: bool) -> None:
        if not self._outbox:
            return  # a commit too many commits nothing
        if not positive:
            self._again()
            return
        self._outbox.popleft()
        self._tries = 0
        self._stop_timer()
        self.owed -= 1
        if self._outbox:
            self._send_head()
        self.settled()

    def close_when_answered(self) -> None:
        self._wait_no_longer()
        super().close_when_answered()

    def eof_received(self) -> bool:
        self._wait_no_longer()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._write = _nowhere  # it referred to this connection
        super().connection_lost(exc)

    def abort(self) -> None:
        self._stop_timer()
        self._outbox.clear()
        super().abort()

    def _wait_no_longer(self) -> None:
        """Nothing is read any more, so no commit can come: what waits for one leaves at once."""
        self._stop_timer()
        transport = self._transport
        if self._outbox and transport is not None and not transport.is_closing():
            transport.write(b"".join(list(self._outbox)[1:]))
        self.owed -= len(self._outbox)
        self._outbox.clear()

    def _send_head(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._tries += 1
        transport.write(self._outbox[0])
        self._stop_timer()
        timeout_s = self._listener.settings.commit_timeout_s
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._overdue)

    def _overdue(self) -> None:
        """No commit was read in time; while nothing is read at all, that is not the sender's doing (D5)."""
        if self.paused and not self.write_blocked_since:
            self._timer = asyncio.get_running_loop().call_later(self._listener.settings.commit_timeout_s, self._overdue)
            return
        self._again()

    def _again(self) -> None:
        """The answer under way was refused, or nothing came for it while we read."""
        if self._tries <= self._listener.settings.commit_retries:
            self._send_head()
            return
        self._listener.uncommitted(self)
        self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _nowhere(data: bytes) -> None:
    """Where answers go when the connection has gone."""
