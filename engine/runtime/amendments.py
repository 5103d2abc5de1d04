"""New answers of stored messages, on their way to the record: one call of the store takes all that wait.

A call goes between two commits. Were each answer one of its own, senders that ask again without a pause, beside a store
that takes none, would queue up faster than they are told so, and their connections with them.

Invariants:

- one call at a time, of all that came before it, in their order;
- each is told once: what is stored then, or the error that kept it from being so; where the engine ends, nothing;
- what the store has no room for as a whole is tried in part, the shortest of it: of many that come again, some are
  recorded each time;
- an answer that the store cannot keep, for what it is, keeps no other one from the record.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from engine.model.envelope import AckUpdate
from engine.model.ids import MessageSeq
from engine.ports.store import CommitUnknown, Store, StoreBusy, StoreFull
from engine.runtime.tasks import describe

log = logging.getLogger("segmill.answers")

MOST_UPDATES = 32
"""So many answers go in one call: what each is told may have to be looked up, all on one turn of the loop."""

Stored = AckUpdate | Exception
Told = Callable[[Stored], None]
Work = Callable[[Store], list[Stored]]


class Amendments:
    """Collects answers. `call`: as Committer.call."""

    def __init__(self, call: "Callable[[Work], asyncio.Future[list[Stored]]]") -> None:
        self._call = call
        self._waiting: list[tuple[AckUpdate, Told]] = []
        self._is_called = False
        self._owed: dict[MessageSeq, list[AckUpdate]] = {}

    def owe(self, update: AckUpdate) -> None:
        """Somebody is told `update` once it is on record, however many tries that takes, until it is `settled`."""
        self._owed.setdefault(update.seq, []).append(update)

    def settled(self, update: AckUpdate) -> None:
        """One of those who are owed `update` was told what is on record, or that nothing can be."""
        left = self._owed.get(update.seq, [])
        if update in left:
            left.remove(update)
            if not left:
                del self._owed[update.seq]

    def owed(self, seq: MessageSeq) -> AckUpdate | None:
        """The first of what is owed to senders of this message."""
        return next(iter(self._owed.get(seq, ())), None)

    def record(self, update: AckUpdate, told: Told) -> None:
        """Make `update` the stored answer, durable; `told` hears on the loop what is stored then, or why not."""
        self._waiting.append((update, told))
        self._go_on()

    def _go_on(self) -> None:
        if self._is_called or not self._waiting:
            return
        self._is_called = True
        taken, self._waiting = self._waiting[:MOST_UPDATES], self._waiting[MOST_UPDATES:]
        updates = [update for update, _ in taken]
        self._call(lambda store: amended(store, updates)).add_done_callback(lambda saved: self._ended(taken, saved))

    def _ended(self, taken: Sequence[tuple[AckUpdate, Told]], saved: "asyncio.Future[list[Stored]]") -> None:
        self._is_called = False
        if saved.cancelled():
            return  # the engine ends, and with it the connections
        try:
            results: Sequence[Stored] = saved.result()
        except Exception as error:  # noqa: BLE001 - each of those that wait is told what it was
            results = [error] * len(taken)
        for (update, told), result in zip(taken, results, strict=True):
            try:
                told(result)
            except Exception as defect:  # noqa: BLE001 - one sender's defect must not silence the others
                log.error("a resend of message %d was not answered: %s", update.seq, describe(defect))
        self._go_on()


def amended(store: Store, updates: Sequence[AckUpdate]) -> list[Stored]:
    """Record `updates` in one transaction, or as many of the shortest as it has room for; what became of each."""
    half = len(updates) // 2
    try:
        return list(store.amend_acks(updates))
    except StoreFull as error:
        results: list[Stored] = [error] * len(updates)
        # The shortest: one that is too long for what room there is must not stand before those that are not.
        fewer = sorted(sorted(range(len(updates)), key=lambda at: len(updates[at].ack))[:half])
        for at, result in zip(fewer, amended(store, [updates[at] for at in fewer]) if fewer else (), strict=True):
            results[at] = result
        return results
    except StoreBusy as error:
        return [error] * len(updates)
    except CommitUnknown:
        raise
    except Exception as error:  # noqa: BLE001 - one of them is at fault: it is told so, and no other one is
        return [*amended(store, updates[:half]), *amended(store, updates[half:])] if half else [error]
