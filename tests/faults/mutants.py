"""The engine with one promise broken on purpose (reliability.md R1m): a rig that does not catch them proves nothing."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from engine.adapters.sinks import folder
from engine.adapters.stores import faults
from engine.adapters.stores.connection import WriteConnection
from engine.adapters.stores.place import StoreLock
from engine.adapters.stores.writing import Writing
from engine.model.envelope import Delivery
from engine.model.outcome import Delivered
from engine.ports.store import StoreFull
from engine.runtime import intake, lane, queue_window
from engine.runtime.pieces import Pieces
from tests.faults.reload_mutants import RELOAD_MUTANTS


def ack_before_commit() -> None:
    finish = intake.Receiver._finish

    def early(self: Any, waiting: Any, *args: Any) -> None:
        finish(self, waiting, *args)
        waiting.reply.settle(intake.framed(waiting.answer.payload))

    intake.Receiver._finish = early  # type: ignore[method-assign]


def ack_with_the_first_piece() -> None:
    """A large message is acknowledged once some of it is durable."""
    committed = Pieces.committed

    def early(self: Any, piece: Any) -> None:
        waiting = self._entries[0].release.args[0][1].__self__
        committed(self, piece)
        waiting.reply.settle(intake.framed(waiting.answer.payload))

    Pieces.committed = early  # type: ignore[method-assign]


def keeps_pieces() -> None:
    """What a crash left of large messages stays."""
    load = Writing.load

    def hoarding(self: Any) -> None:
        load(self)
        self._sql = {**self._sql, "forget_pieces": "SELECT 1"}

    Writing.load = hoarding  # type: ignore[method-assign]


def done_before_receivers_ack() -> None:
    async def hasty(self: Any, sink: Any, batch: list[Delivery]) -> None:
        self._settle(batch, [Delivered()] * len(batch), 0.0)
        await asyncio.sleep(0.02)  # most deaths fall into it, and none has to be lucky
        await sink.send(batch)

    lane.Lane._send = hasty  # type: ignore[method-assign]
    lane.Lane._begin = lambda self, wake: "no"  # type: ignore[method-assign]  # so that all goes by `_send`


def lane_overtaking() -> None:
    """What is tried again goes to the end of the queue, and the next one first."""

    def behind(self: Any, batch: Sequence[Delivery], back: Sequence[Delivery]) -> None:
        self._in_hand = frozenset()
        for delivery in back:
            self._append(delivery)

    queue_window.FifoWindow.settled = behind  # type: ignore[method-assign]


def lost_wake_up() -> None:
    """A lane that waits is not told of what comes."""

    def silently(self: Any, delivery: Delivery) -> None:
        self._window.offer(delivery)

    lane.Lane.offer = silently  # type: ignore[method-assign]


def window_off_by_one() -> None:
    """One more than the store knows of may be sent and not recorded."""
    make = lane.Lane.__init__

    def wider(self: Any, settings: Any, *rest: Any, **named: Any) -> None:
        make(self, replace(settings, window=settings.window + 1), *rest, **named)

    lane.Lane.__init__ = wider  # type: ignore[method-assign]


def nothing_marked() -> None:
    """After a crash nobody notes what may have been sent."""
    load = Writing.load

    def forgetful(self: Any) -> None:
        load(self)
        self._sql = {**self._sql, "mark_maybe_sent": "SELECT :lane, :window"}

    Writing.load = forgetful  # type: ignore[method-assign]


def normal_sync() -> None:
    set_up = WriteConnection.set_up

    def hasty(self: Any) -> None:
        set_up(self)
        self.connection.execute("PRAGMA synchronous = NORMAL")

    WriteConnection.set_up = hasty  # type: ignore[method-assign]


def goes_on_after_a_failed_sync() -> None:
    """A failed sync is taken for a no: the batch is refused, and the next one is accepted."""
    not_kept = faults.not_kept

    def trusting(error: Exception, *, committing: bool) -> Exception | None:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_FSYNC:
            return StoreFull("a mutant's guess")
        return not_kept(error, committing=committing)

    faults.not_kept = trusting  # type: ignore[assignment]


def no_transaction() -> None:
    """Every statement is durable by itself."""

    @contextmanager
    def at_once(self: Any) -> Iterator[None]:
        yield

    WriteConnection.transaction = at_once  # type: ignore[method-assign]


def no_lock() -> None:
    StoreLock.acquire = lambda self: None  # type: ignore[method-assign]


def never_looks() -> None:
    WriteConnection.check_place = lambda self: None  # type: ignore[method-assign]


def no_folder_sync() -> None:
    def lazily(self: Any) -> None:
        self._to_sync.clear()

    folder.Writing.sync = lazily  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    "ack-before-commit": ack_before_commit,
    "ack-with-the-first-piece": ack_with_the_first_piece,
    "keeps-pieces": keeps_pieces,
    "done-before-receivers-ack": done_before_receivers_ack,
    "lane-overtaking": lane_overtaking,
    "lost-wake-up": lost_wake_up,
    "window-off-by-one": window_off_by_one,
    "nothing-marked": nothing_marked,
    "normal-sync": normal_sync,
    "no-folder-sync": no_folder_sync,
    "goes-on-after-a-failed-sync": goes_on_after_a_failed_sync,
    "no-transaction": no_transaction,
    "no-lock": no_lock,
    "never-looks": never_looks,
    **RELOAD_MUTANTS,
}


def mutate(name: str) -> None:
    """Break one promise, in this process."""
    MUTANTS[name]()
