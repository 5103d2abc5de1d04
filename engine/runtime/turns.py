"""Whose turn it is among the keys of a lane that may go: urgent ones before the others, and of equals the oldest.

Of EVERY sends for which both wait, one is an ordinary one's, so that no flood of urgent ones starves the others. A key
is urgent up to its last urgent delivery: what stands before that in the key goes first, as urgently as itself.
"""

from collections import deque
from collections.abc import Mapping
from heapq import heappop, heappush

from engine.model.envelope import Delivery
from engine.model.ids import DeliveryId

EVERY = 8
NO_ID = DeliveryId(0)


class Key:
    """One key that is in memory.

    `waiting`: its deliveries, from the first that is not in hand. `in_hand`: the delivery that is being sent, NO_ID for
    none. `last_id`: up to this one it is here without gaps; `behind`: the store has more. `not_before`: on the
    monotonic clock, 0 unless it waits for a retry. `raised`: the last urgent delivery known of it. `is_ready`: it is
    listed as such. `unrecorded`, `unnoted`: how many ends, and failed attempts, are not on stable storage yet.
    """

    __slots__ = (
        "behind",
        "in_hand",
        "is_ready",
        "last_id",
        "name",
        "not_before",
        "raised",
        "unnoted",
        "unrecorded",
        "waiting",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: deque[Delivery] = deque()
        self.in_hand = NO_ID
        self.last_id = NO_ID
        self.behind = False
        self.unrecorded = 0
        self.unnoted = 0
        self.not_before = 0.0
        self.raised = NO_ID
        self.is_ready = False

    @property
    def is_urgent(self) -> bool:
        """Of one that has something waiting."""
        return self.raised >= self.waiting[0].id


class Turns:
    """The keys of `keys` that may go, in the order in which they do. `count`: how many."""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        self._keys = keys
        self._urgent: list[tuple[DeliveryId, str]] = []
        self._ordinary: list[tuple[DeliveryId, str]] = []
        self._streak = 0
        self.count = 0

    def add(self, key: Key) -> None:
        """It may go."""
        key.is_ready = True
        self.count += 1
        heappush(self._urgent if key.is_urgent else self._ordinary, (key.waiting[0].id, key.name))

    def remove(self, key: Key) -> None:
        """It may not go any more, or goes now."""
        key.is_ready = False
        self.count -= 1

    def raise_to(self, key: Key, upto: DeliveryId) -> None:
        """Something urgent is in this key, as far back as `upto`."""
        if upto > key.raised:
            key.raised = upto
            if key.is_ready and key.is_urgent:
                heappush(self._urgent, (key.waiting[0].id, key.name))

    @property
    def head(self) -> Delivery | None:
        """What would go first, but for the turn of an ordinary one."""
        key = self._first(self._urgent, True) or self._first(self._ordinary, False)
        return key.waiting[0] if key is not None else None

    def next(self) -> Key | None:
        """Whose turn it is now. Asking is taking the turn."""
        urgent = self._first(self._urgent, True)
        ordinary = self._first(self._ordinary, False)
        if urgent is None or (ordinary is not None and self._streak >= EVERY - 1):
            self._streak = 0
            return ordinary
        self._streak = self._streak + 1 if ordinary is not None else 0
        return urgent

    def _first(self, heap: list[tuple[DeliveryId, str]], is_urgent: bool) -> Key | None:
        """The first of a heap that is still as it was put there."""
        while heap:
            id_, name = heap[0]
            key = self._keys.get(name)
            if key is not None and key.is_ready and key.waiting[0].id == id_ and key.is_urgent == is_urgent:
                return key
            heappop(heap)
        return None
