"""One hand-off of a worklist: somebody has what scanners are to see, as the store says, and goes on having it.

It follows the worklist's epoch. Where that moved on, the store tells the difference between what is there and what
should be, and the difference is handed over, a few steps at a time, each lot on record before the next. So nothing is
lost and nothing is to be remembered: a crash between handing over and the record does it twice, which does no harm; an
absence of days is a longer difference. Once an hour, at the start and after each failure it looks at what is there in
truth.

Two kinds of failure: the other side cannot be reached (all waits, tried again from `first_s` to `most_s` apart, without
end) and a step that is not taken (others go on; it is tried again from `first_s` to `most_refused_s` apart, and at
once when it changes).
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, assert_never

from engine.ports.clock import Clock
from engine.ports.hand_off import (
    Backlog,
    Gone,
    Handed,
    HandedOver,
    HandOffState,
    HandOffStatus,
    Inventory,
    Kept,
    NotTaken,
    Taken,
    Taker,
    TakerDown,
    UnreadyTaker,
    WaitingStep,
)
from engine.ports.store import StoreError, StoreQueries
from engine.runtime.committer import Committer
from engine.runtime.tasks import describe
from engine.worklist.item import ItemKey

log = logging.getLogger("segmill.worklist")

NOT_TAKEN: Final = "W441"
AT_MOST_BUSY: Final = 10
"""It rests so many times as long as it looked for differences, so that a long list and a busy feed take no core."""


@dataclass(slots=True, frozen=True)
class Pace:
    """How often it does what, in seconds."""

    look_s: float = 1.0
    first_s: float = 1.0
    most_s: float = 60.0
    most_refused_s: float = 3600.0
    inventory_s: float = 3600.0


HandOffEvent = Literal["handed", "removed", "refused", "failed"]


class HandOffMeter(Protocol):
    """What is counted of one hand-off."""

    def stands(self, is_up: bool, waiting: int, refused: int, oldest_us: int) -> None: ...

    def event(self, event: HandOffEvent, count: int = 1) -> None:
        """handed, removed: steps. refused: a step that was not taken. failed: the other side was down."""
        ...


@dataclass(slots=True)
class _Refused:
    """A step that was not taken, in which state, how often, and when it is tried again (monotonic)."""

    mark: str
    attempts: int
    next_s: float


class HandOff:
    """One of them, from its start to its end."""

    def __init__(
        self,
        name: str,
        worklist: str,
        taker: Taker,
        queries: StoreQueries,
        committer: Committer,
        clock: Clock,
        meter: HandOffMeter,
        pace: Pace | None = None,
    ) -> None:
        self.name = name
        self._worklist = worklist
        self._taker = taker
        self._queries = queries
        self._committer = committer
        self._clock = clock
        self._meter = meter
        self._pace = pace or Pace()
        self._state: HandOffState = "starting"
        self._since_us = clock.now_us()
        self._why = ""
        self._failures = 0
        self._epoch = -1
        self._look_at = 0.0
        self._is_to_look = True
        self._refused: dict[ItemKey, _Refused] = {}
        self._backlog = Backlog(0, 0)
        self._handed = 0

    @property
    def why_unready(self) -> str:
        """What of its own files keeps it from handing anything over; '' for nothing."""
        return self._taker.why_unready if isinstance(self._taker, UnreadyTaker) else ""

    @property
    def status(self) -> HandOffStatus:
        """How it stands."""
        return HandOffStatus(
            self.name,
            self._taker.kind,
            self._worklist,
            self._state,
            self._since_us,
            self._handed,
            self._backlog.steps,
            len(self._refused),
            self._backlog.oldest_us,
            self._why,
        )

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                rest_s = await self.turn()
                await asyncio.sleep(rest_s)
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the other side."""
        await self._taker.close()

    async def turn(self) -> float:
        """Hand over what waits; for how many seconds to rest then."""
        try:
            looked_s = await self._turn()
        except TakerDown as down:
            await self._count()
            return self._went_down(str(down))
        except StoreError as error:
            return self._went_down(f"the store cannot be read or written: {error}")
        except Exception as error:  # noqa: BLE001 - the edge of a hand-off: scanners of ours and other hand-offs go on
            return self._went_down(f"a defect: {describe(error)}")
        return max(self._pace.look_s, looked_s * AT_MOST_BUSY)

    async def _turn(self) -> float:
        now = self._clock.monotonic()
        if self._is_to_look or now >= self._look_at:
            await self._look()
        elif not self._has_due(now) and await asyncio.to_thread(self._read_epoch) == self._epoch:
            self._is_up()
            return 0.0
        looked_s = 0.0
        while True:
            at = self._clock.monotonic()
            epoch, found, self._backlog = await asyncio.to_thread(self._read_waiting)
            looked_s = max(looked_s, self._clock.monotonic() - at)
            self._forget_refused(found)
            due = [step for step in found if self._is_due(step)]
            if not due:
                break
            await self._hand_over(due[: self._taker.most])
        self._epoch = epoch
        self._is_up()
        return looked_s

    # -- what is there --------------------------------------------------------------------------

    async def _look(self) -> None:
        """See what is there in truth, and mend the record."""
        self._is_to_look = True
        handed = await asyncio.to_thread(self._read_handed)
        found: Inventory = await self._taker.look(handed)
        if found.lost or found.left:
            await self._record(HandedOver(self.name, self._clock.now_us(), found.left, found.lost))
        if found.removed:
            self._meter.event("removed", found.removed)
        if found.lost or found.removed or found.left:
            log.info(
                "hand-off %s: %d steps are handed over again, %d were removed, %d were taken off there and stay off",
                self.name,
                len(found.lost),
                found.removed,
                len(found.left),
            )
        absent = {*found.lost, *(one.key for one in found.left)}
        self._handed = sum(one.is_shown and one.key not in absent for one in handed)
        self._is_to_look = False
        self._look_at = self._clock.monotonic() + self._pace.inventory_s

    # -- handing over ---------------------------------------------------------------------------

    async def _hand_over(self, steps: Sequence[WaitingStep]) -> None:
        taken: Taken = await self._taker.take(steps)
        kept: list[Handed] = []
        gone: list[ItemKey] = []
        theirs = 0
        for step, outcome in zip(steps, taken.outcomes, strict=False):
            match outcome:
                case Kept(is_shown=is_shown, token=token):
                    kept.append(Handed(step.key, step.mark, is_shown, token))
                    self._refused.pop(step.key, None)
                    self._meter.event("handed" if is_shown else "removed")
                    self._handed += is_shown - (step.had is not None and step.had.is_shown)
                case Gone():
                    gone.append(step.key)
                    self._refused.pop(step.key, None)
                    self._meter.event("removed")
                    self._handed -= step.had is not None and step.had.is_shown
                case NotTaken(why=why, is_theirs=is_theirs):
                    theirs += is_theirs
                    self._refuse(step, why)
                case _:
                    assert_never(outcome)
        if kept or gone:
            await self._record(HandedOver(self.name, self._clock.now_us(), kept, gone))
        if taken.down:
            raise TakerDown(taken.down)
        if theirs and not kept and not gone:
            self._is_to_look = True  # and so learn whether anything can be handed over

    async def _record(self, order: HandedOver) -> None:
        await self._committer.call(lambda store: store.hand_over(order))

    def _refuse(self, step: WaitingStep, why: str) -> None:
        before = self._refused.get(step.key)
        attempts = before.attempts + 1 if before is not None and before.mark == step.mark else 1
        wait_s = min(self._pace.first_s * 2.0 ** min(attempts - 1, 30), self._pace.most_refused_s)
        if not self._refused:
            log.warning("hand-off %s: %s a step is not taken: %s; it is tried again", self.name, NOT_TAKEN, why)
        self._refused[step.key] = _Refused(step.mark, attempts, self._clock.monotonic() + wait_s)
        self._why = why
        self._meter.event("refused")

    def _is_due(self, step: WaitingStep) -> bool:
        refused = self._refused.get(step.key)
        return refused is None or refused.mark != step.mark or refused.next_s <= self._clock.monotonic()

    def _has_due(self, now: float) -> bool:
        return any(refused.next_s <= now for refused in self._refused.values())

    def _forget_refused(self, found: Sequence[WaitingStep]) -> None:
        """Of steps that do not wait any more."""
        if not self._refused:
            return
        waiting = {step.key for step in found}
        for key in [key for key in self._refused if key not in waiting]:
            del self._refused[key]
        if not self._refused:
            log.info("hand-off %s: all steps are taken again", self.name)

    # -- up and down ----------------------------------------------------------------------------

    def _is_up(self) -> None:
        if self._state == "down":
            log.warning("hand-off %s is back: %d steps wait", self.name, self._backlog.steps)
        if self._state != "up":
            self._state, self._since_us = "up", self._clock.now_us()
        self._failures = 0
        if not self._refused:
            self._why = ""
        self._show()

    def _went_down(self, why: str) -> float:
        if self._state != "down":
            log.error("hand-off %s is down: %s; it is tried again", self.name, why)
            self._state, self._since_us = "down", self._clock.now_us()
        self._why = why
        self._failures += 1
        self._is_to_look = True
        self._epoch = -1
        self._meter.event("failed")
        self._show()
        jitter = int.from_bytes(self._clock.random_bytes(2)) / 65536
        wait_s = min(self._pace.first_s * 2.0 ** min(self._failures - 1, 30), self._pace.most_s)
        return wait_s * (0.8 + 0.2 * jitter)

    def _show(self) -> None:
        self._meter.stands(self._state == "up", self._backlog.steps, len(self._refused), self._backlog.oldest_us)

    async def _count(self) -> None:
        """What waits, while the other side is down."""
        try:
            self._backlog = await asyncio.to_thread(self._read_backlog)
        except StoreError as error:
            log.debug("hand-off %s: what waits cannot be counted: %s", self.name, error)

    # -- reading, on a thread -------------------------------------------------------------------

    def _read_epoch(self) -> int:
        with self._queries.hand_offs() as view:
            return view.epoch(self._worklist)

    def _read_handed(self) -> Sequence[Handed]:
        with self._queries.hand_offs() as view:
            return view.handed(self.name)

    def _read_waiting(self) -> tuple[int, Sequence[WaitingStep], Backlog]:
        most = self._taker.most + len(self._refused)
        with self._queries.hand_offs() as view:
            found = view.waiting(self.name, self._worklist, most)
            is_all = len(found) < most
            count, oldest_us = view.backlog(self.name, self._worklist) if found else (0, 0)
            return view.epoch(self._worklist), found, Backlog(len(found) if is_all else count, oldest_us)

    def _read_backlog(self) -> Backlog:
        with self._queries.hand_offs() as view:
            return view.backlog(self.name, self._worklist)
