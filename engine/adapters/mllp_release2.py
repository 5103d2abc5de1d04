"""An outgoing connection that speaks MLLP Release 2 (MLLP-R2 section 1.2; hl7.md item 14).

The receiver's transport commits each block before anything else; the HL7 answer is a block of its own behind that,
which we commit in turn::

    written    --06-->                        committed: the HL7 answer is waited for, where one is due
    written    --15, or no commit in time-->  written again, up to `commit_retries` times; then the attempt is over
    being written    --06 or 15-->            the attempt is over: neither can mean all of it
    any        --HL7 answer-->                committed by us, and taken as what it says

A receiver that recognises a repeated block as a duplicate commits it again, and processes it once. An HL7 answer
without a commit before it is from a receiver of Release 1, and says more than a commit would.
"""

import asyncio
from collections.abc import Callable, Sequence

from engine.adapters.mllp_connection import End, MllpConnection, Posted, Target
from engine.hl7.ack import Ack, read_ack
from engine.mllp.exchange import Accepted, Answered, BreakCode, Broken, Committed, Event, Exchange, Foreign, Late
from engine.mllp.framing import COMMIT_ACK, END, VT

COMMITTED = VT + COMMIT_ACK + END


class Release2Connection(MllpConnection):
    """One connection, one outstanding message at a time, each committed by the receiver's transport."""

    __slots__ = ("_block", "_tries")

    def __init__(self, loop: asyncio.AbstractEventLoop, target: Target) -> None:
        super().__init__(loop, target)
        self._exchange: Exchange[Ack] = Exchange(read_ack, max_answer_bytes=target.max_answer_bytes, commits=True)
        self._block = b""
        """What waits to be committed, b'' when nothing does."""
        self._tries = 0

    def send(self, block: bytes, control_id: bytes, done: Callable[[End], None]) -> None:
        """As MllpConnection.send; the answer's time begins with the commit."""
        self._block, self._tries = block, 1
        super().send(block, control_id, done)
        self._wait_for_commit()

    def post(self, block: bytes, done: Callable[[Posted | Broken], None]) -> None:
        """Write one message that no HL7 answer is due for: it is done when the receiver's transport has it."""
        self._block, self._tries = block, 1
        self._posted = done
        self._write(block)
        self._wait_for_commit()

    def resume_writing(self) -> None:
        if not self._block:
            super().resume_writing()
            return
        self._paused = False
        self._pump()
        self._wait_for_commit()

    def connection_lost(self, exc: Exception | None) -> None:
        self._block = b""
        super().connection_lost(exc)

    def _wait_for_commit(self) -> None:
        if self._block:
            self._arm(self._target.write_timeout_s if self._paused else self._target.commit_timeout_s)

    def _settle(self, events: Sequence[Event[Ack]]) -> None:
        for event in events:
            if isinstance(event, Committed):
                self._on_commit(event.positive)
                continue
            if isinstance(event, (Answered, Foreign, Late, Accepted)):
                if self._transport is not None and not self._transport.is_closing():
                    self._transport.write(COMMITTED)
                if self._block and not isinstance(event, Late):
                    self._block = b""  # no need of a commit any more
                    self._arm(self._target.ack_timeout_s)
            super()._settle([event])

    def _on_commit(self, positive: bool) -> None:
        if not self._block:
            return  # of a block that was written twice
        if self._untaken_bytes():
            # Written again now, the block would be one with the part that is on its way already.
            self._give_up("too-early" if positive else "uncommitted")
            return
        if not positive:
            self._again()
            return
        self._block = b""
        if self._posted is not None:
            self._stop_timer()
            self._end_post()
        else:
            self._arm(self._target.ack_timeout_s)

    def _tick(self) -> None:
        is_due = self._timer is not None and self._loop.time() >= self._deadline
        if self._block and is_due and not self._unsent_bytes() and self._transport is not None:
            self._timer = None
            self._again()
            return
        super()._tick()

    def _again(self) -> None:
        """Write the block once more, on the same connection; or give the attempt up, and the connection with it."""
        if self._tries <= self._target.commit_retries:
            self._tries += 1
            self._write(self._block)
            self._is_long = False  # what comes now may be meant for the first of the two
            self._wait_for_commit()
            return
        self._give_up("uncommitted")

    def _give_up(self, why: BreakCode) -> None:
        self._block = b""
        if self._posted is not None:
            if self._transport is not None:
                self._transport.abort()
            self._end_post(Broken(why))
        else:
            super()._settle(self._exchange.on_uncommitted(why))
