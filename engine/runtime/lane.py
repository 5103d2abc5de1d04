"""A lane: one destination's deliveries, first in first out, at least once.

Invariants:

- one call of the sink at a time, in the order of the delivery ids; a retry keeps its place at the head;
- a delivery is reported `delivered` only after the sink said Delivered for it;
- nothing is sent while the ends of `window` deliveries are not on stable storage yet: so many, less one, and
  one batch of the sink may be sent again after a crash, and are marked then (reliability.md section 0, row 7);
- what does not fit in memory stays in the store and is read from there, in order.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from engine.model.envelope import Delivery, DeliveryResult
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable
from engine.ports.clock import Clock
from engine.ports.meter import LaneMeter
from engine.ports.sink import AnsweringSink, Sink
from engine.ports.store import StoreError
from engine.runtime.committer import Committer
from engine.runtime.policy import Done, Policy, Retry, SetAside, Stop, after, word
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.lane")

MOST_IN_MEMORY = 1024
MOST_BYTES_IN_MEMORY = 16 * 1024 * 1024
LOAD_LIMIT = 256
LOAD_BYTES = 2 * 1024 * 1024
"""Read on the loop, so in small bites."""
STORE_RETRY_S = 1.0
MOST_NOTE = 300
MOST_ANSWER_BYTES = 4096


class QueueReader(Protocol):
    """Where a lane reads what waits: usable beside a running commit."""

    def queued(
        self,
        channel: ChannelName,
        destination: DestinationName,
        after: DeliveryId,
        limit: int,
        most_bytes: int | None = None,
    ) -> Sequence[Delivery]: ...


class LaneWatcher(Protocol):
    """Who must know how deliveries of a lane end: senders may wait for it."""

    def ending(self, delivery: Delivery, outcome: Outcome, result: DeliveryResult) -> bool:
        """A delivery ends, and `result` will say so; may add to it. True: somebody waits for its record."""
        ...

    def recorded(self, delivery_id: DeliveryId) -> None:
        """That is on stable storage."""
        ...


@dataclass(slots=True, frozen=True)
class LaneSettings:
    """A destination's settings as its lane needs them."""

    channel: ChannelName
    destination: DestinationName
    policy: Policy
    window: int = 1


class Lane:
    """Sends one destination's deliveries, and sees to it that each comes to a recorded end."""

    def __init__(
        self,
        settings: LaneSettings,
        sink: Sink,
        queue: QueueReader,
        committer: Committer,
        clock: Clock,
        meter: LaneMeter,
    ) -> None:
        self.settings = settings
        self._sink = sink
        self._queue = queue
        self._committer = committer
        self._clock = clock
        self._meter = meter
        self._ready: deque[Delivery] = deque()
        self._ready_bytes = 0
        self._last_id = DeliveryId(0)
        self._behind = True
        self._batch_since = 0.0
        self._wake = asyncio.Event()
        self._unrecorded: set[DeliveryId] = set()
        self._in_hand: frozenset[DeliveryId] = frozenset()
        self._first_try: dict[DeliveryId, int] = {}
        self._draining = False
        self._stopped = False
        self._down = False
        self.state = "idle"
        self.last_note = ""
        self.watcher: LaneWatcher | None = None

    @property
    def name(self) -> str:
        """`channel/destination`."""
        return f"{self.settings.channel}/{self.settings.destination}"

    @property
    def head(self) -> MessageSeq | None:
        """The message that is to go next, as far as it is in memory."""
        return self._ready[0].seq if self._ready else None

    @property
    def attempts(self) -> int:
        """How often the head was tried."""
        return self._ready[0].attempts if self._ready else 0

    def watch(self, watcher: LaneWatcher) -> None:
        """Tell `watcher` of each end; where the receiver's application answers after its CA, wait for that, too."""
        self.watcher = watcher
        if isinstance(self._sink, AnsweringSink):
            self._sink.await_application()

    # -- what comes in --------------------------------------------------------------------------

    def offer(self, delivery: Delivery) -> None:
        """A delivery was committed. Called in the order of the commits."""
        if self._behind or delivery.id <= self._last_id:
            return
        if len(self._ready) >= MOST_IN_MEMORY or self._ready_bytes > MOST_BYTES_IN_MEMORY:
            self._behind = True
            self._wake.set()  # a batch that waits for company has enough of it
            return
        self._last_id = delivery.id
        self._append(delivery)
        count = len(self._ready)
        if count == 1 or count == self._sink.max_batch:
            self._wake.set()

    def reread(self) -> None:
        """The store's queue changed beside us (release, resend): read it again from its start."""
        self._ready.clear()
        self._ready_bytes = 0
        self._last_id = DeliveryId(0)
        self._behind = True
        self.retry_now()

    def retry_now(self) -> None:
        """End the wait of a retry, or a stop, at once."""
        if self._ready:
            self._ready[0].next_at_us = 0
        self._stopped = False
        self._wake.set()

    @property
    def is_settled(self) -> bool:
        """Whether each end that it reported is on stable storage."""
        return not self._unrecorded

    def drain(self) -> None:
        """Finish the attempt at hand and start no other."""
        self._draining = True
        self._wake.set()

    # -- the lane's task ------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until drained or cancelled."""
        try:
            while not self._draining:
                wait_s = self._wait_s()
                if wait_s == 0:
                    await self._send(self._take_batch())
                else:
                    await self._sleep(wait_s)
        finally:
            self.state = "idle"
            await self._sink.close()

    def _wait_s(self) -> float | None:
        """0: send now. None: until woken. Else: seconds after which to look again."""
        if self._stopped:
            self.state = "stopped"
            return None
        if not self._ready and not self._load():
            self.state = "idle"
            return STORE_RETRY_S if self._behind else None
        if len(self._unrecorded) >= self.settings.window:
            # The next one may leave only when an earlier end is durable, and now it is waited for.
            self._committer.hurry()
            return None
        head = self._ready[0]
        if head.next_at_us:
            wait_s = (head.next_at_us - self._clock.now_us()) / 1_000_000
            if wait_s > 0:
                self.state = "down" if self._down else "waiting"
                # Capped: a wall clock that was set back must not hold a retry up for longer than that.
                return min(wait_s, self.settings.policy.most_s)
        if self._sink.linger_s and not self._is_full():
            self._load()
            left = self._batch_since + self._sink.linger_s - self._clock.monotonic()
            if left > 0 and not self._is_full():
                self.state = "waiting"
                return left
        return 0

    async def _sleep(self, seconds: float | None) -> None:
        self._wake.clear()
        if self._draining:
            return
        if seconds is None:
            await self._wake.wait()
            return
        slept_from = self._clock.monotonic()
        try:
            # Not wait_for: in Python 3.11 it can lose a cancellation that comes at the moment of the time-out.
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            head = self._ready[0] if self._ready else None
            if (
                head is not None
                and head.next_at_us
                and self._clock.monotonic() - slept_from >= self.settings.policy.most_s
            ):
                head.next_at_us = 0

    def _load(self) -> bool:
        """Read the next of what waits from the store; False when there is none."""
        # Read again from the start, the store has those, too, that went back to the head after an attempt.
        here = {delivery.id for delivery in self._ready} if self._behind else ()
        while self._behind and not self._is_full():
            try:
                found = self._queue.queued(
                    self.settings.channel, self.settings.destination, self._last_id, LOAD_LIMIT, LOAD_BYTES
                )
            except StoreError as error:
                log.error("%s: what waits cannot be read now, and is tried again: %s", self.name, error)
                break
            self._behind = bool(found)
            for delivery in found:
                self._last_id = delivery.id
                if delivery.id not in self._unrecorded and delivery.id not in self._in_hand and delivery.id not in here:
                    self._append(delivery)
        return bool(self._ready)

    def _is_full(self) -> bool:
        """Whether what is here is a batch already, by its number or its size."""
        return len(self._ready) >= self._sink.max_batch or self._ready_bytes > MOST_BYTES_IN_MEMORY

    def _append(self, delivery: Delivery) -> None:
        if not self._ready:
            self._batch_since = self._clock.monotonic()
        self._ready.append(delivery)
        self._ready_bytes += len(delivery.body)

    def _take_batch(self) -> list[Delivery]:
        batch = [self._ready.popleft() for _ in range(min(self._sink.max_batch, len(self._ready)))]
        for delivery in batch:
            self._ready_bytes -= len(delivery.body)
        self._batch_since = self._clock.monotonic()
        return batch

    def _put_back(self, batch: Sequence[Delivery]) -> None:
        for delivery in reversed(batch):
            self._ready.appendleft(delivery)
            self._ready_bytes += len(delivery.body)

    async def _send(self, batch: list[Delivery]) -> None:
        self.state = "sending"
        started = self._clock.monotonic()
        # A reread meanwhile finds these still queued in the store, and must not take them up again.
        self._in_hand = frozenset(delivery.id for delivery in batch)
        outcomes: Sequence[Outcome]
        try:
            outcomes = await self._sink.send(batch)
        except asyncio.CancelledError:
            self._cut_off(batch)
            raise
        except Exception as error:  # noqa: BLE001 - the edge of the lane: a sink's defect stops this lane only
            log.error("%s: the sink failed: %s", self.name, describe(error))
            outcomes = [Unanswered(f"the sink failed with {type(error).__name__}")] * len(batch)
        if len(outcomes) != len(batch):
            log.error("%s: the sink was given %d and answered for %d", self.name, len(batch), len(outcomes))
            outcomes = [Unanswered("the sink did not say what came of each delivery")] * len(batch)
        took = self._clock.monotonic() - started
        back: list[Delivery] = []
        for delivery, outcome in zip(batch, outcomes, strict=True):
            self._meter.attempt(word(outcome), took)
            # Once one must be tried again, what came behind it in the batch keeps its place behind it,
            # but for what the sink did deliver: that is done.
            if (back and not isinstance(outcome, Delivered)) or not self._settle(delivery, outcome):
                back.append(delivery)
        self._put_back(back)
        self._in_hand = frozenset()

    def _cut_off(self, batch: Sequence[Delivery]) -> None:
        """The engine stops and cannot wait for the answer: the receiver may have these, and may get them again."""
        now_us = self._clock.now_us()
        note = "the engine stopped before the answer came"
        for delivery in batch:
            result = DeliveryResult(delivery.id, "queued", delivery.attempts + 1, now_us, code="unanswered", note=note)
            self._committer.record(result, None, urgent=False)

    def _settle(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Record what an attempt came to; False when the delivery stays at the head of the lane."""
        if isinstance(outcome, Delivered) and not self._down:
            # Nearly always: nothing to decide and nobody to tell.
            delivery_id = delivery.id
            if self._first_try:
                self._first_try.pop(delivery_id, None)
            self.last_note = ""
            result = DeliveryResult(
                delivery_id, "delivered", delivery.attempts + 1, self._clock.now_us(), 0, "delivered", outcome.note
            )
            self._end(result, self.watcher is not None and self._somebody_waits(delivery, outcome, result))
            return True
        policy = self.settings.policy
        attempts = delivery.attempts + 1
        now_us = self._clock.now_us()
        since_us = self._first_try.setdefault(delivery.id, now_us)
        jitter = int.from_bytes(self._clock.random_bytes(2)) / 65536 if not isinstance(outcome, Delivered) else 0.0
        step = after(outcome, policy, attempts, (now_us - since_us) / 1_000_000, jitter)
        self._note(outcome)
        result = DeliveryResult(delivery.id, "queued", attempts, now_us, code=_code(outcome), note=self.last_note)
        if isinstance(outcome, (Refused, Unanswered)):
            result.answer = outcome.answer[:MOST_ANSWER_BYTES]
        match step:
            case Done():
                result.state = "delivered"
            case SetAside(state=state):
                result.state = state
                log.warning(
                    "%s: message %d %s after %d attempt(s): %s",
                    self.name,
                    delivery.seq,
                    state,
                    attempts,
                    self.last_note,
                )
            case Retry(delay_s=delay_s):
                result.next_at_us = now_us + int(delay_s * 1_000_000)
            case Stop():
                self._stopped = True
                log.error("%s stopped at message %d: %s", self.name, delivery.seq, self.last_note)
        if result.state == "queued":
            delivery.attempts = attempts
            delivery.next_at_us = result.next_at_us
            self._committer.record(result, None, urgent=False)
            return False
        del self._first_try[delivery.id]
        self._end(result, self.watcher is not None and self._somebody_waits(delivery, outcome, result))
        return True

    def _somebody_waits(self, delivery: Delivery, outcome: Outcome, result: DeliveryResult) -> bool:
        """Tell the watcher. Its defect must not undo what the receiver has done: the end is recorded without it."""
        assert self.watcher is not None
        try:
            return self.watcher.ending(delivery, outcome, result)
        except Exception as error:  # noqa: BLE001 - the edge of one message: its sender is not told, its delivery is done
            log.error("%s: the sender of message %d cannot be told: %s", self.name, delivery.seq, describe(error))
            result.ack_code, result.ack = "", b""
            return False

    def _end(self, result: DeliveryResult, urgent: bool) -> None:
        """A delivery has come to its end: record that, at once if the next one must wait for it."""
        unrecorded = self._unrecorded
        unrecorded.add(result.delivery_id)
        urgent = urgent or (len(unrecorded) >= self.settings.window and bool(self._ready))
        self._committer.record(result, partial(self._recorded, result.delivery_id), urgent=urgent)

    def _recorded(self, delivery_id: DeliveryId) -> None:
        """The end of one delivery is on stable storage."""
        full = len(self._unrecorded) >= self.settings.window
        self._unrecorded.discard(delivery_id)
        if full:
            self._wake.set()
        if self.watcher is not None:
            try:
                self.watcher.recorded(delivery_id)
            except Exception as error:  # noqa: BLE001 - it must not silence what the same commit recorded for others
                log.error("%s: the sender of a message cannot be told: %s", self.name, describe(error))

    def _note(self, outcome: Outcome) -> None:
        """Log when the destination goes down and when it is back, and nothing in between."""
        self.last_note = "" if isinstance(outcome, Delivered) else outcome.note[:MOST_NOTE]
        down = isinstance(outcome, (Unreachable, Unanswered))
        if down != self._down:
            self._down = down
            self._meter.connected(not down)
            if down:
                log.warning("%s is down: %s; what comes for it waits", self.name, self.last_note)
            else:
                log.warning("%s is back", self.name)


def _code(outcome: Outcome) -> str:
    """The word kept with the attempt: the ACK code where there was one."""
    if isinstance(outcome, Refused):
        return f"{outcome.ack_code} {outcome.hl7_code}".rstrip()
    return word(outcome)
