"""The part of a store in memory that scanners, and others who get worklists, write to."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from engine.adapters.stores.memory_rows import MemoryRows
from engine.adapters.stores.memory_worklist import MemoryPerformed
from engine.adapters.stores.performed import perform
from engine.model.envelope import Batch, Committed, Delivery, Intake
from engine.model.ids import MessageSeq
from engine.ports.hand_off import HandedOver
from engine.ports.worklist import Aged, MppsReply, PerformedOrder, Teller


class MemoryScannerStore:
    """What MemoryStore has beside messages and their deliveries."""

    _rows: MemoryRows
    _opened: Callable[[], AbstractContextManager[None]]

    def _commit(self, batch: Batch) -> Committed:
        raise NotImplementedError

    def perform(self, order: PerformedOrder, tell: Teller | None = None) -> MppsReply:
        """As Store.perform."""
        with self._opened():
            rows = MemoryPerformed(self._rows.worklists, order.worklist, self._rows.order_received, self._add_one)
            return perform(order, rows, tell)

    def _add_one(self, intake: Intake) -> tuple[MessageSeq, Sequence[Delivery]]:
        committed = self._commit(Batch([intake]))
        return committed.seqs[0], committed.deliveries[0]

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
