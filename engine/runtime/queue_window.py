"""What a lane has in memory of its destination's queue. The rest is in the store, and is read from there in order.

`Window` is what a lane wants of it. Two kinds: `FifoWindow` here, first in first out over all that goes to a
destination, and `KeyedWindow` (`keyed_window`), first in first out within each key.
"""

import logging
from collections import deque
from collections.abc import Sequence, Set
from typing import Protocol, runtime_checkable

from engine.model.envelope import Delivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName
from engine.ports.clock import Clock
from engine.ports.store import QueuedRow, StoreError
from engine.runtime.endings import LaneSettings

log = logging.getLogger("segmill.lane")

MOST_IN_MEMORY = 1024
MOST_BYTES_IN_MEMORY = 16 * 1024 * 1024
LOAD_LIMIT = 256
LOAD_BYTES = 2 * 1024 * 1024
"""Read on the loop, so in small bites."""
STORE_RETRY_S = 1.0


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


@runtime_checkable
class KeyedQueue(QueueReader, Protocol):
    """Where a lane with keys reads what waits: rows without their bytes, and then those it takes up."""

    def queued_rows(
        self, channel: ChannelName, destination: DestinationName, after: DeliveryId, limit: int
    ) -> Sequence[QueuedRow]: ...

    def queued_of_key(
        self, channel: ChannelName, destination: DestinationName, key: str, after: DeliveryId, limit: int
    ) -> Sequence[QueuedRow]: ...

    def queued_urgent(
        self, channel: ChannelName, destination: DestinationName, after: DeliveryId, limit: int
    ) -> Sequence[QueuedRow]: ...

    def queued_waiting(
        self, channel: ChannelName, destination: DestinationName, after_us: int, limit: int
    ) -> Sequence[QueuedRow]: ...

    def queued_delivery(self, id_: DeliveryId) -> Delivery | None: ...


class Window(Protocol):
    """The part of a queue that is in memory, and the order in which it leaves."""

    @property
    def has_more(self) -> bool:
        """Whether something is here that is not in hand, be it that it has to wait for its time."""
        ...

    @property
    def head(self) -> Delivery | None:
        """What is to go next, as far as it is here."""
        ...

    def offer(self, delivery: Delivery) -> bool:
        """A delivery was committed; True: somebody who rests should look. Called in the order of the commits."""
        ...

    def load(self) -> bool:
        """Read what is missing from the store, as far as there is room; whether something is here then."""
        ...

    def wait_s(self) -> float | None:
        """After `load`: 0: `take` gives something. Seconds: look again then. None: when something happens."""
        ...

    def take(self) -> list[Delivery]:
        """The next call's deliveries; they are in hand until `settled`. Not empty after `wait_s` was 0."""
        ...

    def settled(self, batch: Sequence[Delivery], back: Sequence[Delivery]) -> None:
        """What was in hand has ended, but for `back`: those are tried again, not before their `next_at_us`."""
        ...

    def recorded(self, delivery_id: DeliveryId) -> None:
        """The end of one delivery is on stable storage."""
        ...

    def noted(self, delivery: Delivery) -> None:
        """A failed attempt of it is on stable storage."""
        ...

    def retry_now(self) -> None:
        """End the wait for a retry at once."""
        ...

    def reread(self) -> None:
        """The store's queue changed beside us (release, resend): read it again from its start."""
        ...


class FifoWindow:
    """First in, first out over the whole destination; a retry keeps its place at the head.

    `unrecorded`: ended deliveries whose end is not on stable storage yet; the store still has them as queued.
    """

    def __init__(
        self,
        settings: LaneSettings,
        queue: QueueReader,
        clock: Clock,
        unrecorded: Set[DeliveryId],
        max_batch: int,
        linger_s: float,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._clock = clock
        self._unrecorded = unrecorded
        self._max_batch = max_batch
        self._linger_s = linger_s
        self._ready: deque[Delivery] = deque()
        self._ready_bytes = 0
        self._last_id = DeliveryId(0)
        self._behind = True
        self._batch_since = 0.0
        self._not_before = 0.0
        """On the monotonic clock: the head waits for it. 0: it does not."""
        self._in_hand: frozenset[DeliveryId] = frozenset()

    @property
    def has_more(self) -> bool:
        return bool(self._ready)

    @property
    def head(self) -> Delivery | None:
        return self._ready[0] if self._ready else None

    # -- what comes in --------------------------------------------------------------------------

    def offer(self, delivery: Delivery) -> bool:
        if self._behind or delivery.id <= self._last_id:
            return False
        if len(self._ready) >= MOST_IN_MEMORY or self._ready_bytes > MOST_BYTES_IN_MEMORY:
            self._behind = True
            return True  # a batch that waits for company has enough of it
        self._last_id = delivery.id
        self._append(delivery)
        count = len(self._ready)
        return count == 1 or count == self._max_batch

    def load(self) -> bool:
        return bool(self._ready) or (self._behind and self._load())

    def _load(self) -> bool:
        """Read the next of what waits from the store; False when there is none."""
        # Read again from the start, the store has those, too, that went back to the head after an attempt.
        here = {delivery.id for delivery in self._ready} if self._behind else ()
        while self._behind and not self._is_full():
            try:
                found = self._queue.queued(
                    self._settings.channel, self._settings.destination, self._last_id, LOAD_LIMIT, LOAD_BYTES
                )
            except StoreError as error:
                log.error("%s: what waits cannot be read now, and is tried again: %s", self._settings.name, error)
                break
            self._behind = bool(found)
            for delivery in found:
                self._last_id = delivery.id
                if delivery.id not in self._unrecorded and delivery.id not in self._in_hand and delivery.id not in here:
                    self._append(delivery)
        return bool(self._ready)

    def _is_full(self) -> bool:
        """Whether what is here is a batch already, by its number or its size."""
        return len(self._ready) >= self._max_batch or self._ready_bytes > MOST_BYTES_IN_MEMORY

    def _append(self, delivery: Delivery) -> None:
        if self._linger_s and not self._ready:
            self._batch_since = self._clock.monotonic()
        self._ready.append(delivery)
        self._ready_bytes += len(delivery.body)

    # -- what goes out --------------------------------------------------------------------------

    def wait_s(self) -> float | None:
        if not self._ready:
            return STORE_RETRY_S if self._behind else None
        head = self._ready[0]
        if head.next_at_us or self._not_before:
            wait_s = self._until_retry(head)
            if wait_s > 0:
                return wait_s
        if self._linger_s and not self._is_full():
            self._load()
            left = self._batch_since + self._linger_s - self._clock.monotonic()
            if left > 0 and not self._is_full():
                return left
        return 0

    def _until_retry(self, head: Delivery) -> float:
        """Seconds until the head may be tried again.

        The wall clock is gone by only for a time that another run of the engine has set, once, when the delivery comes
        to the head. The wait is capped by the longest that the policy knows: a clock that is set then or before must
        not hold a retry up for longer.
        """
        now_s = self._clock.monotonic()
        if head.next_at_us:
            by_the_wall = (head.next_at_us - self._clock.now_us()) / 1_000_000
            wait_s = head.not_before - now_s if head.not_before else by_the_wall
            head.next_at_us, head.not_before = 0, 0.0
            self._not_before = now_s + min(wait_s, self._settings.policy.most_s) if wait_s > 0 else 0.0
        left = self._not_before - now_s
        if left <= 0:
            self._not_before = 0.0
        return left

    def take(self) -> list[Delivery]:
        ready = self._ready
        if self._max_batch == 1:
            batch = [ready.popleft()]
            self._ready_bytes -= len(batch[0].body)
        else:
            batch = [ready.popleft() for _ in range(min(self._max_batch, len(ready)))]
            self._ready_bytes -= sum([len(delivery.body) for delivery in batch])
        # A reread meanwhile finds these still queued in the store, and must not take them up again.
        self._in_hand = frozenset([delivery.id for delivery in batch])
        if self._linger_s:
            self._batch_since = self._clock.monotonic()
        return batch

    def settled(self, batch: Sequence[Delivery], back: Sequence[Delivery]) -> None:
        self._in_hand = frozenset()
        for delivery in reversed(back):
            self._ready.appendleft(delivery)
            self._ready_bytes += len(delivery.body)
        if back:
            self._not_before = 0.0

    def recorded(self, delivery_id: DeliveryId) -> None:
        pass

    def noted(self, delivery: Delivery) -> None:
        pass

    # -- a person's hand ------------------------------------------------------------------------

    def retry_now(self) -> None:
        if self._ready:
            self._ready[0].next_at_us = 0
        self._not_before = 0.0

    def reread(self) -> None:
        self._ready.clear()
        self._ready_bytes = 0
        self._last_id = DeliveryId(0)
        self._behind = True
        self._not_before = 0.0
