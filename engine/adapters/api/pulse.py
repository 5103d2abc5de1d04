"""The engine's numbers over the last hour, a minute each: for sparklines, rates, and how long answers took.

Read from the meter's plain counters on the server's own thread, once a minute: the engine's loop has no part in it.
Memory is bounded: 60 numbers for each channel and destination that there is. All of it ends with the engine.
"""

import asyncio
import logging
import time
from array import array
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from engine.adapters.metrics import PrometheusMeter
from engine.adapters.metrics_numbers import ACK_BOUNDS_S, Histogram
from engine.ports.store import StoreError, StoreQueries

log = logging.getLogger("segmill.api")

MINUTES: Final = 60
MINUTE_S: Final = 60.0
MARKS: Final = 6
"""So many times an hour it is noted how long answers took."""
RATE_MINUTES: Final = 5
LOOK_S: Final = 1.0
FAILED_S: Final = 30.0
MOST_FAILED: Final = 1_000
"""More is work, and so is done seldom and has a bound; what is held is counted by every commit."""


class Ring:
    """How many there were in each of the last 60 minutes, of a counter that only grows."""

    __slots__ = ("_at", "_last", "_minutes", "filled")

    def __init__(self, count: int) -> None:
        self._minutes = array("Q", bytes(8 * MINUTES))
        self._last = count
        self._at = 0
        self.filled = 0

    def turn(self, count: int) -> None:
        """A minute is over, and the counter stands there."""
        self._minutes[self._at] = max(0, count - self._last)
        self._last = count
        self._at = (self._at + 1) % MINUTES
        self.filled = min(MINUTES, self.filled + 1)

    def minutes(self) -> list[int]:
        """Oldest first; fewer than 60 in the first hour."""
        whole = [*self._minutes[self._at :], *self._minutes[: self._at]]
        return whole[MINUTES - self.filled :]

    def since(self, count: int) -> int:
        """In the minute that goes on."""
        return max(0, count - self._last)

    def a_minute(self) -> float:
        """The mean of the last few minutes; 0.0 before there is one."""
        last = self.minutes()[-RATE_MINUTES:]
        return sum(last) / len(last) if last else 0.0


class Pulse:
    """Of all channels and destinations. Filled and read by the loop of the console's server alone."""

    def __init__(self, meter: PrometheusMeter, queries: StoreQueries) -> None:
        self._meter = meter
        self._queries = queries
        self._held: Mapping[str, int] = {}
        self._failed: Mapping[str, int] = {}
        self._looked_s = self._failed_s = float("-inf")
        self._received: dict[str, Ring] = {}
        self._delivered: dict[tuple[str, str], Ring] = {}
        self._acks: dict[str, deque[tuple[int, ...]]] = {}
        self._turns = 0

    def turn(self) -> None:
        """A minute is over."""
        for name, channel in list(self._meter.channels.items()):
            self._received.setdefault(name, Ring(0)).turn(channel.total)
            if self._turns % (MINUTES // MARKS) == 0:
                marks = self._acks.setdefault(name, deque(maxlen=MARKS))
                marks.append(tuple(channel.ack_seconds.counts))
        for place, lane in list(self._meter.lanes.items()):
            self._delivered.setdefault(place, Ring(0)).turn(lane.outcomes.values["delivered"])
        self._turns += 1

    async def look(self) -> None:
        """Count what is held and failed in the store, unless that was done a moment ago."""
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        try:
            self._held = await asyncio.to_thread(self._count_held)
            if now_s - self._failed_s >= FAILED_S:
                self._failed_s = now_s
                self._failed = await asyncio.to_thread(self._count_failed)
        except StoreError as error:
            log.warning("what is held cannot be counted now: %s", error)

    def _count_held(self) -> Mapping[str, int]:
        return {str(channel): count for (channel, state), count in self._queries.counts().items() if state == "held"}

    def _count_failed(self) -> Mapping[str, int]:
        newest = islice(self._queries.messages(delivery_states=("failed",)), MOST_FAILED)
        return Counter(str(message.channel) for message in newest)

    def held(self) -> Mapping[str, int]:
        """By channel: messages, and deliveries of others, that wait for a person. One with none may be missing."""
        found = Counter(self._held)
        for (channel, _), lane in list(self._meter.lanes.items()):
            found[channel] += lane.held
        return found

    def failed(self, channel: str) -> int:
        """Messages with a delivery that was given up; of more than MOST_FAILED in all, the newest are counted."""
        return self._failed.get(channel, 0)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(MINUTE_S)
            try:
                self.turn()
            except Exception:
                log.exception("the console's numbers of this minute are missing")

    def received(self, channel: str) -> Sequence[int]:
        """Messages a minute of the last hour, oldest first; the last one is the minute that goes on."""
        numbers, ring = self._meter.channels.get(channel), self._received.get(channel)
        if numbers is None:
            return ()
        if ring is None:
            return (numbers.total,)
        return (*ring.minutes()[1 - MINUTES :], ring.since(numbers.total))

    def received_a_minute(self, channel: str) -> float:
        ring = self._received.get(channel)
        return ring.a_minute() if ring is not None else 0.0

    def delivered_a_minute(self, channel: str, destination: str) -> float:
        ring = self._delivered.get((channel, destination))
        return ring.a_minute() if ring is not None else 0.0

    def ack_p99_s(self, channel: str) -> float | None:
        """Within so long 99 of 100 answers of about the last hour left; None where there were none.

        It is the bound of the histogram's bucket that the 99th falls into, so no more than it says; infinity where it
        took longer than the last bound.
        """
        numbers = self._meter.channels.get(channel)
        if numbers is None:
            return None
        marks = self._acks.get(channel)
        # In the first hour all there were: nothing was counted before the engine started.
        before = marks[0] if marks is not None and len(marks) == MARKS else (0,) * (len(ACK_BOUNDS_S) + 1)
        return _p99(numbers.ack_seconds, before)


def _p99(now: Histogram, before: Sequence[int]) -> float | None:
    counts = [count - earlier for count, earlier in zip(now.counts, before, strict=True)]
    total = sum(counts)
    if total <= 0:
        return None
    within, seen = total * 0.99, 0
    for bound, count in zip((*now.bounds, float("inf")), counts, strict=True):
        seen += count
        if seen >= within:
            return bound
    return float("inf")
