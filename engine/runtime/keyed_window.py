"""What a lane with keys has in memory of its queue: first in, first out within each key, and keys beside each other.

How it stays small, whatever the number of keys: a cursor goes once over the queue in the store, in order, and takes
up what can go. What cannot, as an earlier one of its key is on its way or waits for a retry, is passed over and stays
in the store; it is read by its key once that is free. A key that waits for a retry is kept here with its first delivery
alone, and only so many are: the others are known to the store, by the time they wait for.

A key's life::

    (not here) --cursor, offer, its time has come--> ready --take--> in hand --ended--> ready with the next | (not here)
                                                     ready <--its time-- parked <--retry--
                                                     parked --too many are, and it is recorded--> (not here)

Invariants:

- one delivery of a key in hand at a time, and it is the key's oldest queued one (but for one that a person released
  while a later one was in hand);
- a key that is here is here from its oldest on, without gaps up to `last_id`; `behind` says that the store has more;
- a key stays here until the ends of its deliveries are recorded: until then the store has them as queued;
- what was stored under another order (before `keyed_from`, or without a key) goes first, one by one: it is a key of
  its own, `OLD`, and nothing else is taken up beside it;
- at most MOST_IN_MEMORY deliveries are here, PER_KEY of a key, MOST_PARKED of those that wait.

Which key goes next is for `turns` to say.
"""

import logging
from collections import deque
from collections.abc import Sequence, Set
from heapq import heapify, heappop, heappush

from engine.model.envelope import Delivery
from engine.model.ids import DeliveryId
from engine.ports.clock import Clock
from engine.ports.store import QueuedRow, StoreError
from engine.runtime.endings import LaneSettings
from engine.runtime.queue_window import MOST_BYTES_IN_MEMORY, STORE_RETRY_S, KeyedQueue
from engine.runtime.turns import NO_ID, Key, Turns

log = logging.getLogger("segmill.lane")

MOST_IN_MEMORY = 1024
MOST_PARKED = 256
MOST_PARKED_UNRECORDED = 256
"""So many more may wait for a retry while the store has not recorded that yet; then nothing is sent."""
PER_KEY = 8
PAGE = 128
PAGES_AT_ONCE = 4
ENOUGH_READY = 128

OLD = "\0old"
"""The key of what has none of this order. No stored key begins so: the pipeline's keys are read off a message."""
SOON_S = 0.001
LOOK_AGAIN_S = 0.1


class KeyedWindow:
    """The window of a lane with keys. `unrecorded`: ended deliveries that the store still has as queued."""

    def __init__(
        self,
        settings: LaneSettings,
        queue: KeyedQueue,
        clock: Clock,
        unrecorded: Set[DeliveryId],
        max_batch: int,
        linger_s: float,
    ) -> None:
        self._settings = settings
        self._lane = (settings.channel, settings.destination)
        self._queue = queue
        self._clock = clock
        self._unrecorded = unrecorded
        self._max_batch = max_batch
        self._linger_s = linger_s
        self._batch_since = 0.0
        self._in_hand: set[DeliveryId] = set()
        self._of: dict[DeliveryId, str] = {}
        """The key of what ended and is not recorded yet."""
        self._store_again_at = 0.0
        self._forget()

    def _forget(self) -> None:
        """All that is known of the store."""
        self._keys: dict[str, Key] = {}
        self._turns = Turns(self._keys)
        self._parked: list[tuple[float, DeliveryId, str]] = []
        self._parked_count = 0
        self._count = 0
        self._bytes = 0
        self._fetching: deque[str] = deque()
        self._damaged: set[DeliveryId] = set()
        self._last_id = NO_ID
        self._behind = True
        self._urgent_id = NO_ID
        self._urgent_behind = True
        self._is_past_old = False
        self._stands = False
        """The cursor stands before something that cannot be taken up now."""
        self._old_at = NO_ID
        """What it stands before is this one, of another order."""
        self._held_up: list[str] = []
        """Keys that could go, and wait for that one's end, as they came behind it."""
        self._out = False
        """Keys that wait for a retry may be in the store alone."""
        self._out_at = 0.0

    @property
    def has_more(self) -> bool:
        return self._turns.count > 0

    @property
    def head(self) -> Delivery | None:
        return self._turns.head

    # -- what comes in --------------------------------------------------------------------------

    def offer(self, delivery: Delivery) -> bool:
        if delivery.id <= self._last_id:
            return False
        if self._behind:
            self._urgent_behind = self._urgent_behind or delivery.urgent
            return delivery.urgent
        key = self._keys.get(delivery.key or "")
        if key is not None and delivery.key is not None and delivery.id <= key.last_id:
            self._last_id = delivery.id  # it was read with its key, beside the commit that we hear of now
            return False
        is_old = self._old_is_here() or delivery.id < self._settings.keyed_from or delivery.key is None
        if is_old or (key is None and (self._out or not self._has_room())):
            # The cursor finds out whether an earlier one of its key is in the store.
            self._behind = self._urgent_behind = True
            return True
        self._last_id = delivery.id
        if key is None:
            key = self._add(delivery.key or "")
        elif delivery.id <= key.last_id:
            return False  # a commit on the writer's thread is in the store before we hear of it: read there
        elif not self._takes_more(key):
            self._leave_behind(key)
            self._turns.raise_to(key, delivery.id if delivery.urgent else NO_ID)
            return False
        before = self._turns.count
        self._append(key, delivery)
        return self._turns.count > before

    def load(self) -> bool:
        now_s = self._clock.monotonic()
        self._unpark(now_s)
        if now_s >= self._store_again_at:
            try:
                self._read(now_s)
            except StoreError as error:
                log.error("%s: what waits cannot be read now, and is tried again: %s", self._settings.name, error)
                self._store_again_at = now_s + STORE_RETRY_S
        return bool(self._count or self._out or self._behind or self._fetching)

    def _read(self, now_s: float) -> None:
        """From the store: the followers of keys that are free, what is urgent, whose time has come, and the next."""
        self._fetch()
        self._read_ahead(now_s)
        pages = 0
        enough = max(ENOUGH_READY, self._max_batch)
        while self._behind and self._turns.count < enough and self._has_room() and pages < PAGES_AT_ONCE:
            pages += 1
            if not self._read_page() and not self._gives_way():
                break
        self._read_ahead(now_s)
        self._fetch()

    def _read_ahead(self, now_s: float) -> None:
        """What does not wait for the cursor. Only what is of this order may pass it."""
        if not self._is_past_old or self._old_is_here():
            return
        if self._urgent_behind and self._has_room():
            self._read_urgent()
        if self._out and now_s >= self._out_at and self._has_room():
            self._read_due(now_s)

    def _read_page(self) -> bool:
        """The next of the queue; False when the one that is next cannot be taken up or passed over yet."""
        rows = self._queue.queued_rows(*self._lane, self._last_id, PAGE)
        for row in rows:
            if not self._admit(row):
                self._stands = True
                self._stand_before(row.id if row.id < self._settings.keyed_from or row.key is None else NO_ID)
                return False
            self._last_id = row.id
        self._stand_before(NO_ID)
        self._stands = False
        self._behind = len(rows) == PAGE
        if not self._behind:
            self._is_past_old = True
        return True

    def _stand_before(self, old: DeliveryId) -> None:
        self._old_at = old
        held_up, self._held_up = self._held_up, []
        for name in held_up:
            key = self._keys.get(name)
            if key is not None and key.waiting and not (key.in_hand or key.is_ready or key.not_before):
                self._list(key)

    def _gives_way(self) -> bool:
        """What is here came behind the one of another order that the cursor stands before: it goes back into the store.

        A key that is refused again and again would else keep that one, and with it all other keys, from going. Not
        before its last attempt is on record: read without that, it would not wait for its retry.
        """
        if not self._old_at or self._in_hand:
            return False
        for key in self._keys.values():
            if key.unnoted or (key.waiting and key.waiting[0].id < self._old_at):
                return False
        self.reread()
        return True

    def _admit(self, row: QueuedRow) -> bool:
        """Take a row up, or pass over it; False: it must be looked at again."""
        if row.id in self._unrecorded or row.id in self._in_hand:
            return True
        if row.id < self._settings.keyed_from or row.key is None:
            return self._admit_old(row)
        if self._old_is_here():
            return False
        self._is_past_old = True
        key = self._keys.get(row.key)
        if key is not None:
            if row.id <= key.last_id or key.behind:
                return True
            if not self._takes_more(key):
                self._leave_behind(key)
                return True
            self._take_up(key, row)
            return True
        first = self._first_of(row)
        if first < row.id:
            if first in self._damaged:
                self._bring(row.key, first)
            return True  # else the first is in the store, waits for its time, and brings this one with it
        if not self._has_room():
            return False
        wait_s = self._wait_of(row.next_at_us)
        if wait_s > 0 and self._parked_count >= MOST_PARKED:
            self._leave_out(wait_s)
            return True
        self._take_up(self._add(row.key), row)
        return True

    def _first_of(self, row: QueuedRow) -> DeliveryId:
        """The first of the row's key in this order: the store may still have one of another order with the same key."""
        if row.first is None or row.key is None or row.first >= self._settings.keyed_from:
            return row.first or row.id
        before = DeliveryId(self._settings.keyed_from - 1)
        rows = self._queue.queued_of_key(*self._lane, row.key, before, 1)
        return rows[0].id if rows else row.id

    def _admit_old(self, row: QueuedRow) -> bool:
        """One of another order. It waits until nothing of this order is on its way, and then goes in order."""
        key = self._keys.get(OLD)
        if key is None:
            if self._count or self._in_hand:
                return False
            key = self._add(OLD)
        if row.id <= key.last_id or (key.waiting and row.id == key.waiting[0].id):
            return True  # it is here, be it that it went back after an attempt, and a reread came in between
        if not self._has_room():
            return False
        self._take_up(key, row)
        return True

    def _read_urgent(self) -> None:
        """What is urgent and further back than the cursor: its key comes here, from its first on."""
        rows = self._queue.queued_urgent(*self._lane, self._urgent_id, PAGE)
        for row in rows:
            if row.id >= self._settings.keyed_from and row.key is not None:
                if (key := self._keys.get(row.key)) is not None:
                    self._turns.raise_to(key, row.id)
                elif not self._has_room():
                    return
                else:
                    self._bring(row.key, NO_ID, row.id)
            self._urgent_id = row.id
        self._urgent_behind = len(rows) == PAGE

    def _read_due(self, now_s: float) -> None:
        """The keys in the store whose time has come.

        A time that lies further ahead than the longest wait is of a clock that was set back since: it has come.
        """
        limit = len(self._keys) + PAGE
        most_us = int(self._settings.policy.most_s * 1_000_000) + 1_000_000
        now_us = self._clock.now_us()
        rows = list(self._queue.queued_waiting(*self._lane, 0, limit))
        is_all = len(rows) < limit
        if not is_all:
            rows += self._queue.queued_waiting(*self._lane, now_us + most_us, PAGE)
        next_us = None
        brought = is_out = False
        for row in rows:
            if row.key is None or row.key in self._keys or row.id < self._settings.keyed_from:
                continue
            if not now_us < row.next_at_us <= now_us + most_us and self._has_room():
                self._bring(row.key, NO_ID)
                brought = True
                continue
            is_out = True
            next_us = min(next_us or row.next_at_us, row.next_at_us)
        self._out = is_out or not is_all
        if next_us is not None and next_us > now_us:
            self._out_at = now_s + min((next_us - now_us) / 1_000_000, self._settings.policy.most_s)
        else:
            self._out_at = now_s + (SOON_S if brought else LOOK_AGAIN_S)

    # -- keys -----------------------------------------------------------------------------------

    def _old_is_here(self) -> bool:
        """Whether something of another order is on its way: nothing goes beside it."""
        key = self._keys.get(OLD)
        return key is not None and bool(key.waiting or key.in_hand)

    def _has_more_to_read(self) -> bool:
        """Whether to look into the store again. What stands behind one of another order waits for that one's end."""
        if self._behind and not self._stands:
            return True
        return bool(self._fetching) and not self._old_at and not self._old_is_here()

    def _has_room(self) -> bool:
        return self._count < MOST_IN_MEMORY and self._bytes <= MOST_BYTES_IN_MEMORY

    def _takes_more(self, key: Key) -> bool:
        """Whether another delivery of a key may come here now."""
        return not key.behind and not key.not_before and len(key.waiting) < PER_KEY and self._has_room()

    def _leave_behind(self, key: Key) -> None:
        """Something of a key that is here stays in the store; where nothing else of it is to end, it is read next."""
        if not (key.behind or key.waiting or key.in_hand):
            self._fetching.append(key.name)
        key.behind = True

    def _add(self, name: str) -> Key:
        key = self._keys[name] = Key(name)
        return key

    def _bring(self, name: str, after: DeliveryId, raised: DeliveryId = NO_ID) -> None:
        """A key from the store, from its first on (behind `after`)."""
        key = self._add(name)
        key.last_id = after
        key.behind = True
        key.raised = raised
        self._fetching.append(name)

    def _may_pass(self, id_: DeliveryId) -> bool:
        """Whether one of this order may be taken up ahead of the cursor: nothing of another order stands before it."""
        if not self._is_past_old:
            return id_ <= self._last_id
        return not self._old_at or id_ < self._old_at

    def _fetch(self) -> None:
        """The followers of keys of which nothing more is here."""
        if self._old_is_here():
            return
        for _ in range(len(self._fetching)):
            if not self._has_room():
                return
            key = self._keys.get(self._fetching[0])
            if key is not None and key.behind and not key.waiting and not key.in_hand:
                self._fetch_key(key)
                if key.behind and not key.waiting:
                    self._fetching.append(key.name)
                elif key.not_before and self._parked_count > MOST_PARKED:
                    self._evict(key)
                else:
                    self._drop_if_done(key)
            self._fetching.popleft()

    def _fetch_key(self, key: Key) -> None:
        limit = PER_KEY + key.unrecorded
        rows = self._queue.queued_of_key(*self._lane, key.name, key.last_id, limit)
        is_more = len(rows) == limit
        for row in rows:
            if row.id in self._unrecorded or row.id in self._in_hand or row.id < self._settings.keyed_from:
                key.last_id = row.id
            elif key.not_before or not self._has_room() or not self._may_pass(row.id):
                is_more = True
                break
            else:
                self._take_up(key, row)
        key.behind = is_more

    def _take_up(self, key: Key, row: QueuedRow) -> None:
        delivery = self._queue.queued_delivery(row.id)
        if delivery is None:
            # Its bytes are damaged, and the store holds it with its next commit; or it was just moved.
            self._damaged.add(row.id)
            key.last_id = row.id
            if not key.waiting and not key.in_hand:
                key.behind = key.name != OLD
                self._next_of(key)
            return
        self._append(key, delivery)

    def _append(self, key: Key, delivery: Delivery) -> None:
        key.waiting.append(delivery)
        key.last_id = delivery.id
        self._count += 1
        self._bytes += len(delivery.body)
        if delivery.urgent:
            self._turns.raise_to(key, delivery.id)
        if len(key.waiting) == 1 and not key.in_hand:
            self._settle_head(key)

    def _settle_head(self, key: Key) -> None:
        """The key has a first one that is not in hand: it may go, or waits for its time."""
        head = key.waiting[0]
        if head.next_at_us and head.not_before:
            wait_s = head.not_before - self._clock.monotonic()
        else:
            wait_s = self._wait_of(head.next_at_us)
        head.next_at_us, head.not_before = 0, 0.0
        if wait_s > 0:
            key.not_before = self._clock.monotonic() + wait_s
            self._parked_count += 1
            heappush(self._parked, (key.not_before, head.id, key.name))
            if key.name != OLD:
                while len(key.waiting) > 1:
                    dropped = key.waiting.pop()
                    self._count -= 1
                    self._bytes -= len(dropped.body)
                    key.behind = True
                    key.last_id = head.id
        else:
            self._list(key)

    def _wait_of(self, next_at_us: int) -> float:
        """The wall clock is read once; a wait longer than the policy's longest is of a clock that was set back."""
        if not next_at_us:
            return 0.0
        wait_s = (next_at_us - self._clock.now_us()) / 1_000_000
        return wait_s if wait_s <= self._settings.policy.most_s + 1 else 0.0

    def _list(self, key: Key) -> None:
        """It may go, but for what came behind one of another order that the cursor stands before."""
        if self._old_at and key.name != OLD and key.waiting[0].id > self._old_at:
            self._held_up.append(key.name)
            return
        if not self._turns.count:
            self._batch_since = self._clock.monotonic()
        self._turns.add(key)

    def _unpark(self, now_s: float) -> None:
        """Those whose time has come."""
        while self._parked and self._parked[0][0] <= now_s:
            entry = heappop(self._parked)
            if self._is_parked(*entry):
                self._free(self._keys[entry[2]])

    def _is_parked(self, not_before: float, id_: DeliveryId, name: str) -> bool:
        """Whether what was noted of a key's wait still holds."""
        key = self._keys.get(name)
        return key is not None and key.not_before == not_before and bool(key.waiting) and key.waiting[0].id == id_

    def _free(self, key: Key) -> None:
        key.not_before = 0.0
        self._parked_count -= 1
        self._list(key)

    def _evict(self, key: Key) -> None:
        """A key that waits is in the store alone from now on."""
        if key.unrecorded or key.unnoted or key.name == OLD:
            return
        wait_s = key.not_before - self._clock.monotonic()
        self._parked_count -= 1
        for delivery in key.waiting:
            self._count -= 1
            self._bytes -= len(delivery.body)
        del self._keys[key.name]
        self._leave_out(wait_s)
        if len(self._parked) > 2 * (self._parked_count + MOST_PARKED):
            self._parked = [entry for entry in self._parked if self._is_parked(*entry)]
            heapify(self._parked)

    def _leave_out(self, wait_s: float) -> None:
        at = self._clock.monotonic() + wait_s
        self._out_at = min(self._out_at, at) if self._out else at
        self._out = True

    def _next_of(self, key: Key) -> None:
        """What was first in the key is gone."""
        if key.waiting:
            self._settle_head(key)
        elif key.behind:
            self._fetching.append(key.name)
        else:
            self._drop_if_done(key)

    def _drop_if_done(self, key: Key) -> None:
        if not (key.waiting or key.in_hand or key.unrecorded or key.behind):
            del self._keys[key.name]

    # -- what goes out --------------------------------------------------------------------------

    def wait_s(self) -> float | None:
        now_s = self._clock.monotonic()
        if self._turns.count:
            if self._parked_count >= MOST_PARKED + MOST_PARKED_UNRECORDED:
                return None  # `recorded` makes room
            if self._linger_s and self._turns.count < self._max_batch and self._bytes <= MOST_BYTES_IN_MEMORY:
                left = self._batch_since + self._linger_s - now_s
                return max(0.0, left)
            return 0
        waits: list[float] = []
        if self._store_again_at > now_s:
            waits.append(self._store_again_at - now_s)
        elif self._has_more_to_read() and self._has_room():
            waits.append(SOON_S)
        if self._parked:
            waits.append(max(SOON_S, self._parked[0][0] - now_s))
        if self._out and not self._old_is_here():
            waits.append(max(SOON_S, self._out_at - now_s))
        return min(waits, default=None)

    def take(self) -> list[Delivery]:
        batch: list[Delivery] = []
        size = 0
        while len(batch) < self._max_batch and size <= MOST_BYTES_IN_MEMORY:
            key = self._turns.next()
            if key is None:
                break
            delivery = self._hand_out(key)
            size += len(delivery.body)
            batch.append(delivery)
        self._batch_since = self._clock.monotonic()
        return batch

    def _hand_out(self, key: Key) -> Delivery:
        self._turns.remove(key)
        delivery = key.waiting.popleft()
        self._count -= 1
        self._bytes -= len(delivery.body)
        key.in_hand = delivery.id
        self._in_hand.add(delivery.id)
        return delivery

    def settled(self, batch: Sequence[Delivery], back: Sequence[Delivery]) -> None:
        again = {delivery.id for delivery in back}
        for delivery in batch:
            self._in_hand.discard(delivery.id)
            name = self._name_of(delivery)
            key = self._keys[name]
            key.in_hand = NO_ID
            if delivery.id in again:
                key.unnoted += 1
                key.waiting.appendleft(delivery)
                self._count += 1
                self._bytes += len(delivery.body)
                self._settle_head(key)
            else:
                self._of[delivery.id] = name
                key.unrecorded += 1
                self._next_of(key)

    def _name_of(self, delivery: Delivery) -> str:
        return OLD if delivery.id < self._settings.keyed_from or delivery.key is None else delivery.key

    def recorded(self, delivery_id: DeliveryId) -> None:
        name = self._of.pop(delivery_id, None)
        key = self._keys.get(name) if name is not None else None
        if key is not None:
            key.unrecorded -= 1
            self._drop_if_done(key)

    def noted(self, delivery: Delivery) -> None:
        key = self._keys.get(self._name_of(delivery))
        if key is not None:
            key.unnoted = max(0, key.unnoted - 1)
            if key.not_before and self._parked_count > MOST_PARKED:
                self._evict(key)

    # -- a person's hand ------------------------------------------------------------------------

    def retry_now(self) -> None:
        for entry in self._parked:
            if self._is_parked(*entry):
                self._free(self._keys[entry[2]])
        self._parked.clear()

    def reread(self) -> None:
        kept = [key for key in self._keys.values() if key.in_hand or key.unrecorded or key.unnoted]
        self._forget()
        for key in kept:
            again = self._keys[key.name] = Key(key.name)
            again.in_hand, again.unrecorded, again.unnoted = key.in_hand, key.unrecorded, key.unnoted
            if key.name != OLD:
                again.behind = True
                if not again.in_hand:
                    self._fetching.append(key.name)
