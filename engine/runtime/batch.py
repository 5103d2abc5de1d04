"""One block that holds several messages, and its one answer (hl7.md item 67).

Each message of a batch is a message of its own: accepted, stored and answered for itself, in order. With a batch
header (FHS, BHS) the sender gets one block, a batch of the answers in the same shape; without one it gets each answer
as a block of its own, or one for all, as the port is set. Nothing leaves before the last member is settled.

A long batch does not keep the loop from other senders: it is taken in slices, and no more than `MOST_UNSETTLED` of its
messages are on their way to the disk at a time. What comes behind it on the same connection waits its turn.

States of a batch::

    taking  --every member taken-->  settling  --every member settled-->  answered
    taking, settling  --a member's outcome is unknown, or a defect-->  dropped (the connection closes unanswered)
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import ClassVar, Literal, Protocol

from engine.config.fragments import Batches as BatchFields
from engine.hl7.batch import Batch
from engine.hl7.batch_answer import AnswerWith, answer_batch, says_no
from engine.mllp.framing import END, VT
from engine.model.finding import Finding
from engine.model.states import MessageState
from engine.pipeline.entry import miscounted
from engine.ports.clock import Clock, from_us
from engine.runtime.connection import Connection, Reply
from engine.runtime.large import LargeBlock, Seen
from engine.runtime.received import read_or_none
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.intake")

SLICE_S = 0.003
"""Other senders wait so long for a batch at most, and then it waits for them."""
MOST_UNSETTLED = 128
"""Messages of one batch that were taken and have no answer yet."""


@dataclass(slots=True, frozen=True)
class BatchSettings:
    """How a port takes and answers batches.

    `answer_with` for batches with a header, `without_header` for blocks of several messages that have none: each
    answer as a block, or the first answer that says no, else the first. `count`: what a false BTS-1 or FTS-1 does.
    """

    answer_with: AnswerWith = "all"
    without_header: Literal["each", "one"] = "each"
    count: Literal["warn", "reject"] = "warn"

    @classmethod
    def of(cls, batch: BatchFields) -> "BatchSettings":
        """As the port's file says."""
        return cls(batch.answer, batch.without_header, batch.count)


class BatchReply:
    """Collects the answers to the members of one block and settles the block's reply with them."""

    __slots__ = (
        "_answers",
        "_batch",
        "_fallback",
        "_is_kept",
        "_next_id",
        "_now",
        "_open",
        "_reply",
        "_settings",
        "is_dropped",
        "on_settled",
        "peer",
        "sender",
        "started",
        "whole",
    )

    def __init__(
        self,
        batch: Batch,
        reply: Reply,
        settings: BatchSettings,
        now: datetime,
        next_id: Callable[[], str],
        fallback: str,
    ) -> None:
        self._batch = batch.files
        self._answers: list[bytes | None] = [None] * len(batch)
        self._open = len(batch) + 1  # one for end(): members may settle while others are still being made
        self._reply = reply
        self._settings = settings
        self._now = now
        self._next_id = next_id
        self.whole = reply
        self._fallback = fallback
        self._is_kept = True
        self.is_dropped = False
        self.on_settled: Callable[[], None] = lambda: None
        """Called after each member."""
        self.peer = reply.peer
        self.sender = reply.sender
        self.started = reply.started

    def member(self, number: int) -> "BatchMember":
        """The reply of one message in the block."""
        return BatchMember(self, number)

    def end(self) -> None:
        """Every member was taken."""
        self._one_less()

    def settle(self, number: int, answer: bytes) -> None:
        """The answer of one member, framed or b''."""
        if self._answers[number] is None:
            self._answers[number] = answer
            self._one_less()
            self.on_settled()

    def not_kept(self, number: int, answer: bytes) -> None:
        """The answer of one member that could not be stored: the block as a whole was not."""
        self._is_kept = False
        self.settle(number, answer)

    def drop(self) -> None:
        """Nothing can be said about one member: then nothing about any."""
        self.is_dropped = True
        self._reply.drop()
        self.on_settled()  # or a run that waits for its members would wait for ever

    def _one_less(self) -> None:
        self._open -= 1
        if self._open or self.is_dropped:
            return
        settle = self._reply.settle if self._is_kept else self._reply.not_kept
        settle(self._answer())
        self._answers.clear()

    def _answer(self) -> bytes:
        """Everything that goes to the sender, framed; b'' when no member is owed anything."""
        framed = [answer for answer in self._answers if answer]
        if any(file.header or any(group.header for group in file.groups) for file in self._batch):
            blocks = [_blocks(answer or b"") for answer in self._answers]
            told = answer_batch(
                self._batch,
                blocks,
                self._settings.answer_with,
                now=self._now,
                next_id=self._next_id,
                fallback=self._fallback,
            )
            return VT + told + END
        if self._settings.without_header == "each" or not framed:
            return b"".join(framed)
        return next((answer for answer in framed if any(map(says_no, _blocks(answer)))), framed[0])


def _blocks(framed: bytes) -> list[bytes]:
    """The blocks of an answer (CA and AA are two), without their frames."""
    return [part for block in framed.split(END) if (part := block.removeprefix(VT))]


class BatchMember:
    """The reply of one message among several in a block."""

    __slots__ = ("_batch", "_number")

    commits: ClassVar[bool] = False
    can_follow: ClassVar[bool] = False
    """The answers of a batch are one answer."""

    def __init__(self, batch: BatchReply, number: int) -> None:
        self._batch = batch
        self._number = number

    @property
    def peer(self) -> str:
        """The address the block came from."""
        return self._batch.peer

    @property
    def sender(self) -> Connection:
        """The connection the block came on."""
        return self._batch.sender

    @property
    def outermost(self) -> Reply:
        """The reply of the whole block."""
        return self._batch.whole

    @property
    def started(self) -> float:
        """When the block was complete, on the monotonic clock."""
        return self._batch.started

    def settle(self, answer: bytes) -> None:
        """Give this message's answer, framed; b'' when none is due."""
        self._batch.settle(self._number, answer)

    def settle_first(self, answer: bytes) -> None:
        """Not for a member of a batch: `can_follow` says so."""
        raise TypeError("the answers of a batch leave together")

    def follow(self, answer: bytes) -> None:
        """As settle_first."""
        raise TypeError("the answers of a batch leave together")

    def not_kept(self, answer: bytes) -> None:
        """Give the answer of a message that could not be stored."""
        self._batch.not_kept(self._number, answer)

    def drop(self) -> None:
        """Nothing can be said about this message."""
        self._batch.drop()


Take = Callable[[bytes, BatchMember, tuple[Finding, ...]], None]
"""Take one member: its bytes, its reply, and what was found about the batch."""


class BatchRun:
    """Takes the members of one batch in their order, a slice at a time."""

    def __init__(self, batch: Batch, together: BatchReply, clock: Clock, take: Take, ended: Callable[[], None]) -> None:
        self._batch: Batch | None = batch
        self._size = len(batch)
        self._together = together
        self._clock = clock
        self._take = take
        self._ended = ended
        self._next = 0
        self._settled = 0
        self._is_waiting = False
        self._noted = miscounted(batch)
        self.behind: deque[tuple[Reply, Callable[[], None]]] = deque()
        """What came on the same connection meanwhile."""
        together.on_settled = self._member_settled

    @property
    def is_cut_off(self) -> bool:
        """Whether there was no use in taking all of its members."""
        return self._together.is_dropped or self._next < self._size

    def go_on(self) -> None:
        """Take members until the slice is over; calls `ended` when there are none left. Never raises."""
        try:
            is_over = self._slice()
        except Exception as error:  # noqa: BLE001 - the edge of a request: its neighbours keep running
            log.error("a batch is given up, and its connection closed: %s", describe(error))
            self._together.drop()
            is_over = True
        if is_over:
            self._batch = None  # and with it the bytes of the whole block
            self._ended()

    def _slice(self) -> bool:
        batch, together = self._batch, self._together
        assert batch is not None, "a batch that is over does not go on"
        until = self._clock.monotonic() + SLICE_S
        while self._next < self._size:
            # Without an owed answer the connection was cut off by us: the engine ends, and its sender sends it again.
            if together.is_dropped or not together.sender.unanswered:
                return True
            if self._next - self._settled >= MOST_UNSETTLED:
                self._is_waiting = True
                return False
            number = self._next
            self._next += 1
            self._take(batch.message(number), together.member(number), self._noted.get(number, ()))
            if self._next < self._size and self._clock.monotonic() > until:
                asyncio.get_running_loop().call_soon(self.go_on)
                return False
        together.end()
        return True

    def _member_settled(self) -> None:
        self._settled += 1
        if self._is_waiting and self._next - self._settled <= MOST_UNSETTLED // 2:
            self._is_waiting = False
            asyncio.get_running_loop().call_soon(self.go_on)


class Taker(Protocol):
    """Intake, as a batch needs it."""

    def take_one(self, raw: bytes, reply: BatchMember, now_us: int, noted: tuple[Finding, ...] = (), /) -> None: ...

    def take_miscounted(self, raw: bytes, noted: Sequence[Finding], reply: BatchMember, now_us: int, /) -> None: ...

    def told(self, reply: Reply, state: MessageState, /) -> None: ...

    def next_id(self) -> str: ...


class Batches:
    """The batches, and the large blocks, of one port that are being taken; at most one of a connection."""

    def __init__(self, taker: Taker, settings: BatchSettings, fallback: str, clock: Clock) -> None:
        self._taker = taker
        self._settings = settings
        self._fallback = fallback
        self._clock = clock
        self.running: dict[Connection, BatchRun | LargeBlock] = {}

    def take(self, batch: Batch, reply: Reply, now_us: int) -> None:
        """Several messages in one block: each is a message of its own, none is joined to its neighbour (hl7.md 67)."""
        settings, taker = self._settings, self._taker
        fallback = charset_of(batch, self._fallback)
        if not len(batch):
            taker.told(reply, "processed")  # nothing is all there was
        together = BatchReply(batch, reply, settings, from_us(now_us), taker.next_id, fallback)

        def take(raw: bytes, member: BatchMember, noted: tuple[Finding, ...]) -> None:
            if noted and settings.count == "reject":
                taker.take_miscounted(raw, noted, member, now_us)
            else:
                taker.take_one(raw, member, now_us, noted)

        run = self.running[reply.sender] = BatchRun(batch, together, self._clock, take, lambda: self._after(run, reply))
        run.go_on()

    def look(self, payload: bytes, fallback: str, reply: Reply, then: Callable[[Seen], None]) -> None:
        """Look at a large block in turns, and then do `then`, before anything else of the same connection."""
        seen = Seen(fallback)
        steps = seen.look(payload)
        run = self.running[reply.sender] = LargeBlock(reply, steps, lambda: self._after(run, reply))
        run.behind.append((reply, partial(then, seen)))
        asyncio.get_running_loop().call_soon(run.go_on)

    def is_before(self, reply: Reply, later: Callable[[], None]) -> bool:
        """Whether a batch of the same connection is being taken; `later` is done when it is."""
        running = self.running.get(reply.sender)
        if running is None:
            return False
        running.behind.append((reply, later))
        return True

    def _after(self, run: BatchRun | LargeBlock, reply: Reply) -> None:
        """A batch was taken, or a large block looked at: what came behind it on its connection has its turn.

        Not behind one that was cut off with its connection: what is sent again comes in its order. What came from
        elsewhere than a connection is waited for, each for itself.
        """
        self.running.pop(reply.sender, None)
        if run.is_cut_off and reply.sender.closing:
            return
        while run.behind:
            behind, later = run.behind.popleft()
            try:
                later()
            except Exception as error:  # noqa: BLE001 - as for a member of the batch
                log.error("what came behind a batch is given up, and its connection closed: %s", describe(error))
                behind.drop()
                if behind.sender.closing:
                    return
            if (following := self.running.get(reply.sender)) is not None:
                following.behind.extend(run.behind)
                return


def charset_of(batch: Batch, fallback: str) -> str:
    """What to read a batch's headers with, which declare no character set: that of its first message."""
    headers = [file.header for file in batch.files]
    headers += [group.header for file in batch.files for group in file.groups]
    if not len(batch) or all(header.isascii() for header in headers):
        return fallback
    first = read_or_none(batch.message(0), fallback)
    return fallback if first is None else first.codec
