"""The part of a store in memory that scanners, and others who get worklists, write to."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from engine.adapters.stores.memory_operations import MemoryOperations
from engine.adapters.stores.memory_rows import MemoryRows
from engine.ports.hand_off import HandedOver
from engine.ports.worklist import Aged, MppsReply, PerformedOrder, Teller


class MemoryScannerStore:
    """What MemoryStore has beside messages and their deliveries."""

    _rows: MemoryRows
    _operations: MemoryOperations
    _opened: Callable[[], AbstractContextManager[None]]

    def perform(self, order: PerformedOrder, tell: Teller | None = None) -> MppsReply:
        """As Store.perform."""
        with self._opened():
            return self._operations.perform(order, tell)

    def age_worklists(self, aged: Aged) -> int:
        """As Store.age_worklists."""
        with self._opened():
            return self._rows.worklists.age(aged)

    def hand_over(self, order: HandedOver) -> None:
        """As Store.hand_over."""
        with self._opened():
            handed = self._rows.handed.setdefault(order.hand_off, {})
            for key in order.gone:
                handed.pop(key, None)
            for one in order.kept:
                handed[one.key] = one
