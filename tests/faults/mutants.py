"""The engine with one promise broken on purpose (reliability.md R1m): a rig that does not catch them proves nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine.adapters.sinks import folder
from engine.adapters.stores.connection import WriteConnection
from engine.adapters.stores.writing import Writing
from engine.model.envelope import Delivery
from engine.model.outcome import Delivered
from engine.runtime import intake, lane
from tests.faults.reload_mutants import RELOAD_MUTANTS


def ack_before_commit() -> None:
    finish = intake.Receiver._finish

    def early(self: Any, waiting: Any, *args: Any) -> None:
        finish(self, waiting, *args)
        waiting.reply.settle(intake.framed(waiting.answer.payload))

    intake.Receiver._finish = early  # type: ignore[method-assign]


def done_before_receivers_ack() -> None:
    async def hasty(self: Any, batch: list[Delivery]) -> None:
        for delivery in batch:
            self._settle(delivery, Delivered())
        await asyncio.sleep(0.002)
        await self._sink.send(batch)

    lane.Lane._send = hasty  # type: ignore[method-assign]


def lane_overtaking() -> None:
    """What is tried again goes to the end of the queue, and the next one first."""

    def behind(self: Any, batch: list[Delivery]) -> None:
        for delivery in batch:
            self._ready.append(delivery)
            self._ready_bytes += len(delivery.body)

    lane.Lane._put_back = behind  # type: ignore[method-assign]


def lost_wake_up() -> None:
    """A lane that waits is not told of what comes."""
    offer = lane.Lane.offer

    def silently(self: Any, delivery: Delivery) -> None:
        wake, self._wake = self._wake, asyncio.Event()
        offer(self, delivery)
        self._wake = wake

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


def no_folder_sync() -> None:
    def lazily(self: Any) -> None:
        self._to_sync.clear()

    folder.Writing.sync = lazily  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    "ack-before-commit": ack_before_commit,
    "done-before-receivers-ack": done_before_receivers_ack,
    "lane-overtaking": lane_overtaking,
    "lost-wake-up": lost_wake_up,
    "window-off-by-one": window_off_by_one,
    "nothing-marked": nothing_marked,
    "normal-sync": normal_sync,
    "no-folder-sync": no_folder_sync,
    **RELOAD_MUTANTS,
}


def mutate(name: str) -> None:
    """Break one promise, in this process."""
    MUTANTS[name]()
