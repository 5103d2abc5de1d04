"""A lane whose task died, by a defect of ours, is started again: a new one takes its place and reads the queue anew.

    runs --its task dies--> failed --after a wait, at most len(WAITS_S) times--> runs
                            failed --no time left, or its destination is leaving--> stands still
    (one that ran STEADY_S since its last start begins to count anew; a reload that exchanges its destination, too)

What it had in hand may have been sent, though nobody recorded it: before the new lane sends anything, each of these
is recorded as an attempt that was cut off, as at a stop. So a message that kills its lane goes out at most
1 + len(WAITS_S) times. Nothing of the old lane is used again: its state is what the defect left.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from engine.failures import EngineFailed
from engine.runtime.lane import Lane
from engine.runtime.tasks import describe

if TYPE_CHECKING:
    from engine.assembly import Assembly

log = logging.getLogger("segmill")

WAITS_S: Final = (1.0, 5.0, 30.0, 120.0, 600.0)
STEADY_S: Final = 3600.0
FOR_GOOD: Final = "stands still until the engine is started again"
CODE: Final = "E251"
CUT_OFF: Final = "the lane failed before the answer was recorded"


class LaneRestarts:
    """Sees to lanes that died. `failed`: those that do not run now, by name, with what becomes of them."""

    def __init__(self, assembly: "Assembly") -> None:
        self._assembly = assembly
        self._makers: dict[Lane, Callable[[], Lane]] = {}
        self._started_s: dict[Lane, float] = {}
        self._tries: dict[Lane, int] = {}
        self._is_ending = False
        self.failed: dict[str, str] = {}

    def keep(self, lane: Lane, make: Callable[[], Lane]) -> None:
        """How another like it is made."""
        self._makers[lane] = make
        self._started_s[lane] = self._assembly.clock.monotonic()

    def forget(self, lane: Lane) -> None:
        """It has ended, and did not die."""
        for known in (self._makers, self._started_s, self._tries):
            known.pop(lane, None)

    def end(self) -> None:
        """The engine stops: nothing is started any more."""
        self._is_ending = True

    def died(self, lane: Lane, error: BaseException) -> None:
        """A defect of ours in one lane. What it had is in the store, and all others can go on."""
        assembly, settings = self._assembly, lane.settings
        lane.failed(describe(_first(error)))
        assembly.meter.lane(settings.channel, settings.destination).failed()
        since_s = assembly.clock.monotonic() - self._started_s.get(lane, 0.0)
        tries = 0 if since_s >= STEADY_S else self._tries.get(lane, 0)
        self._tries[lane] = tries
        if tries >= len(WAITS_S) or lane not in self._makers:
            self._stand_still(lane)
            return
        wait_s = WAITS_S[tries]
        self.failed[lane.name] = "starts again by itself"
        log.critical(
            "%s %s failed, and is started again in %g s (%d of %d): %s",
            CODE,
            lane.name,
            wait_s,
            tries + 1,
            len(WAITS_S),
            lane.last_note,
        )
        assembly.tasks.spawn(self._again(lane, wait_s), f"start {lane.name} again")

    def _stand_still(self, lane: Lane) -> None:
        self.failed[lane.name] = FOR_GOOD
        log.critical("%s %s failed, and %s: %s", CODE, lane.name, FOR_GOOD, lane.last_note)

    async def _again(self, dead: Lane, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        assembly = self._assembly
        name = dead.settings.destination
        async with assembly.lanes_stay.alone():  # neither a person nor a reload has its lanes in hand
            channel = assembly.channels.get(dead.settings.channel)
            if self._is_ending:
                return
            if channel is None or channel.lanes.get(name) is not dead:
                if dead.name in self.failed and (channel is None or channel.lane(name) in (None, dead)):
                    self._stand_still(dead)  # its destination is leaving, and nobody adds to its queue
                return
            try:
                lane = self._makers[dead]()
            except EngineFailed as failure:
                log.error("%s cannot be made anew: %s", dead.name, failure.sentence)
                self._stand_still(dead)
                return
            self._tries[lane] = self._tries[dead] + 1
            doubt, _ = assembly.windows[lane]
            assembly.windows[lane] = doubt, assembly.windows[dead][1]  # which may have ended, see `order_ends`
            channel.lanes[name] = lane
            if dead.watcher is not None:
                lane.watch(dead.watcher)
            assembly.start_lane(lane, after=dead)
            assembly.apply_pauses(channel)
            log.warning("%s is started again", lane.name)

    async def hand_over(self, dead: Lane) -> None:
        """Before another takes over from `dead`, if it died: put on record what may have been sent."""
        if dead not in self._makers or not dead.has_failed:
            return
        left = dead.in_hand
        if left:
            assembly = self._assembly
            states = await asyncio.to_thread(assembly.queries.delivery_states, list(left))
            for id_, delivery in left.items():
                if id_ in states and states[id_][0] == "queued":
                    dead.cut_off(delivery, CUT_OFF)
            await assembly.committer.settled()
        dead.let_go_of_all()
        self.failed.pop(dead.name, None)
        self.forget(dead)


def _first(error: BaseException) -> BaseException:
    """The cause, where several connections of a lane ended by it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
