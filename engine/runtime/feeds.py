"""Feeds that have gone silent, as told by what is usual for them (STYLE section 14).

A feed is what one sender sends of one kind: (channel, MSH-3 and MSH-4, MSH-9.1 and 9.2). What is usual in an hour is
the median of the same weekday and hour of the seven weeks before, in the site's time zone; a feed is learned once three
such weeks are known. A silence is weighed by what would usually have come since the last message: ten messages, and at
least a quarter of an hour. At night, when usually nothing comes, nothing is missed; a feed of a hundred an hour is
missed soon, one of two an hour after half a day. One message ends it.

What must not be taken for silence of a sender:

- the engine was down: nothing is missed of the time between the newest message of all before its start and the start,
  and nobody is silent before senders had a quarter of an hour to come back;
- a batch is through, or has yet to come: of the hour in which the newest message came no more is missed than it has
  less than usual, once it has half of that; and what begins in the hour that is now may come at its end;
- the clocks were changed: senders that go by UTC send at another hour of the wall clock. For four weeks after a change,
  until the median has learned it, the lesser of the two hours is what is usual;
- it is a public holiday (`feeds.holidays`): no more is missed than on a Sunday. Of past ones nothing is learned.

All of it is derived from the messages in the store, which remembers them over restarts: nothing is counted on the path
of a message. What is older than retention keeps is not known.
"""

import asyncio
import logging
from array import array
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from statistics import median
from typing import Final, Protocol

from engine.model.ids import ChannelName, MessageSeq
from engine.ports.clock import Clock
from engine.ports.control import FeedStatus
from engine.ports.store import Arrived, StoreError
from engine.runtime.holidays import NO_HOLIDAYS, Holidays

log = logging.getLogger("segmill")

WEEK_H: Final = 7 * 24
WEEK_S: Final = WEEK_H * 3600
WEEKS: Final = 8
UNLEARNED_WEEKS: Final = 4
"""So long the median of seven weeks is of the time before a change."""
LEAST_WEEKS: Final = 3
MISSED: Final = 10
"""By chance alone, a feed that usually has ten messages has none once in 22,000 times."""
LEAST_S: Final = 15 * 60
LONGEST_H: Final = WEEK_H
"""A silence is weighed by its last week at most: longer ones are no news."""
MOST_FEEDS: Final = 200
"""Of one channel, by name; names come from messages. What comes behind them is not watched."""
SPAN: Final = 20_000
LOOK_S: Final = 60.0
HOUR_US: Final = 3_600_000_000
HALF_US: Final = HOUR_US // 2
SET_BACK_US: Final = HOUR_US
"""A clock that is set back by more was wrong before; a message that is stamped later than that is so, too."""
REST: Final = 4
"""Reading what was before the start, and weighing, leave four fifths of the time to others."""
TURN_S: Final = 0.002
"""So long feeds are weighed at a stretch: it is done on the loop that messages wait for."""


class FeedQueries(Protocol):
    """Those of StoreQueries that this needs."""

    def seq_before(self, at_us: int) -> MessageSeq: ...

    def arrivals(self, after: MessageSeq, span: int) -> tuple[Sequence[Arrived], MessageSeq, bool]: ...


@dataclass(slots=True, frozen=True)
class FeedName:
    """`kind`: MSH-9.1 and MSH-9.2, `ADT^A01`."""

    channel: ChannelName
    sender: str
    kind: str


class Feed:
    """What came in each hour of the last eight weeks. Hours are local ones since 1970."""

    __slots__ = ("_counts", "_first", "_newest", "newest_us")

    def __init__(self, hour: int) -> None:
        self._counts = array("I", bytes(4 * WEEK_H * WEEKS))
        self._first = hour
        self._newest = hour
        self.newest_us = 0

    def add(self, hour: int, messages: int, newest_us: int) -> None:
        """So many more in this hour. What is older than all that is kept is passed over."""
        if hour > self._newest:
            self._forget(hour)
        if hour > self._newest - len(self._counts):
            self._counts[hour % len(self._counts)] += messages
            self._first = min(self._first, hour)
        self.newest_us = max(self.newest_us, newest_us)

    def came(self, hour: int) -> int:
        """Messages in this hour, of those that are kept."""
        return self._counts[hour % len(self._counts)] if self._newest - len(self._counts) < hour <= self._newest else 0

    def usual(self, hour: int, holidays: Holidays = NO_HOLIDAYS) -> float | None:
        """Messages in such an hour; None while it is not learned, or is long past what is known."""
        if hour > self._newest:
            self._forget(hour)
        usual = self._learned(hour, holidays)
        if usual is None or not holidays or not holidays.has(hour):
            return usual
        # A batch of each Sunday need not come on a holiday, so what is more than on this weekday is not expected.
        return (
            0.0 if holidays.is_nothing_expected else min(usual, self._learned(holidays.sunday(hour), holidays) or 0.0)
        )

    def _learned(self, hour: int, holidays: Holidays) -> float | None:
        """Of the weeks before; the first hour is seldom a whole one."""
        before = [one for week in range(1, WEEKS) if (one := hour - week * WEEK_H) > self._first]
        if holidays:
            before = [one for one in before if not holidays.has(one)]
        known = [self._counts[one % len(self._counts)] for one in before]
        return median(known) if len(known) >= LEAST_WEEKS else None

    def _forget(self, hour: int) -> None:
        """What stands where the hours up to this one go."""
        for one in range(max(self._newest + 1, hour - len(self._counts) + 1), hour + 1):
            self._counts[one % len(self._counts)] = 0
        self._newest = max(self._newest, hour)


class Feeds:
    """Those of one engine. `run` until cancelled; asked from the loop, read in a thread.

    `tell` is called with a channel and how many of its feeds are silent, when that changes. `watched`: the channels
    that there are; the store remembers more, and of one that was given up nothing is missed. `holidays`: as of now.
    """

    def __init__(
        self,
        queries: FeedQueries,
        clock: Clock,
        zone: Callable[[], tzinfo],
        tell: Callable[[ChannelName, int], None],
        watched: Callable[[], Container[ChannelName]],
        holidays: Callable[[], Holidays] = lambda: NO_HOLIDAYS,
    ) -> None:
        self._queries = queries
        self._clock = clock
        self._zone = zone
        self._tell = tell
        self._watched = watched
        self._holidays = holidays
        self._since_us = 0
        """When this engine began to take messages; 0 where that is not asked for."""
        self._looked_us = 0
        self._looked_in: tzinfo | None = None
        self._told: dict[ChannelName, int] = {}
        self._status: tuple[FeedStatus, ...] = ()
        self._start_over()

    def _start_over(self) -> None:
        self._feeds: dict[FeedName, Feed] = {}
        self._of_channel: dict[ChannelName, int] = {}
        self._before_us = 0
        self._after: MessageSeq | None = None

    def status(self) -> tuple[FeedStatus, ...]:
        """As of the last look: silent ones first, those that miss most before others."""
        return self._status

    async def run(self) -> None:
        """Look at what came, minute after minute; at first at the last eight weeks, with rests between."""
        is_blind = False
        self._since_us = self._clock.now_us()
        while True:
            try:
                await self.look()
                is_blind = False
            except StoreError as error:
                if not is_blind:
                    log.error("whether feeds are silent cannot be told now: %s", error)
                is_blind = True
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """At all that came since the last look, and at the time."""
        now_us = self._clock.now_us()
        zone = self._zone()
        if now_us < self._looked_us - SET_BACK_US or zone != self._looked_in:
            # By a clock that was ahead, hours were forgotten that are yet to come; in another zone they are others.
            self._start_over()
        self._looked_us, self._looked_in = now_us, zone
        while await self._read(zone):
            pass
        await self._weigh(self._clock.now_us(), zone)

    async def _read(self, zone: tzinfo) -> bool:
        """One slice; whether there is more."""
        started = self._clock.monotonic()
        now_us = self._clock.now_us()  # a long history takes long to read, and what comes meanwhile is part of it
        arrived, after, is_more = await asyncio.to_thread(self._slice, now_us)
        self._after = after
        for one in arrived:
            if one.half_hour * 1_800_000_000 <= now_us + SET_BACK_US:
                self._add(one, zone)
        if is_more:
            await self._rest(started)
        return is_more

    async def _rest(self, since: float) -> None:
        await asyncio.sleep(REST * (self._clock.monotonic() - since))

    def _slice(self, now_us: int) -> tuple[Sequence[Arrived], MessageSeq, bool]:
        after = self._after
        if after is None:
            after = self._queries.seq_before(now_us - WEEKS * WEEK_H * HOUR_US)
        return self._queries.arrivals(after, SPAN)

    def _add(self, one: Arrived, zone: tzinfo) -> None:
        if one.newest_us < self._since_us:
            self._before_us = max(self._before_us, one.newest_us)
        name = FeedName(one.channel, one.sender, "^".join(one.message_type.split("^")[:2]))
        hour = local_hour(one.half_hour * 1800, zone)
        feed = self._feeds.get(name)
        if feed is None:
            known = self._of_channel.get(one.channel, 0)
            if known >= MOST_FEEDS:
                return
            self._of_channel[one.channel] = known + 1
            feed = self._feeds[name] = Feed(hour)
        feed.add(hour, one.messages, one.newest_us)

    @property
    def _down(self) -> tuple[int, int]:
        """From when until when nothing could be seen; (0, 0) where it was for no longer than a restart takes."""
        if not self._before_us or self._since_us - self._before_us < LEAST_S * 1_000_000:
            return (0, 0)
        return (self._before_us, self._since_us)

    async def _weigh(self, now_us: int, zone: tzinfo) -> None:
        watched, holidays = self._watched(), self._holidays()
        # Also what is no longer watched, or known: it is not silent any more.
        silent = dict.fromkeys((*self._told, *self._of_channel), 0)
        rows: list[FeedStatus] = []
        hours: dict[int, int] = {}
        down = self._down
        has_begun = now_us - down[1] >= LEAST_S * 1_000_000
        shifts = clock_changes(now_us, zone)
        started = self._clock.monotonic()
        for name, feed in self._feeds.items():
            if name.channel not in watched:
                continue
            missed = missed_since(feed, now_us, zone, hours, down, shifts, holidays)
            is_silent = missed >= MISSED and has_begun
            silent[name.channel] += is_silent
            usual = feed.usual(local_hour(now_us // 1_000_000, zone), holidays)
            rows.append(FeedStatus(name.channel, name.sender, name.kind, feed.newest_us, usual, missed, is_silent))
            if self._clock.monotonic() - started >= TURN_S:
                await self._rest(started)
                started = self._clock.monotonic()
        rows.sort(key=lambda row: (-row.missed, row.channel, row.sender, row.kind))
        self._status = tuple(rows)
        for channel, count in silent.items():
            before = self._told.get(channel, 0)
            if count == before:
                continue
            self._told[channel] = count
            self._tell(channel, count)
            # Without names: those of senders come from messages.
            if count > before:
                log.warning(
                    "channel %s: %d of its feeds are silent that usually are not, %d before; "
                    "`segmill senders --feeds` names them",
                    channel,
                    count,
                    before,
                )
            else:
                log.warning("channel %s: %d of its feeds are silent, %d before", channel, count, before)


def missed_since(
    feed: Feed,
    now_us: int,
    zone: tzinfo,
    hours: dict[int, int] | None = None,
    down: tuple[int, int] = (0, 0),
    shifts: Sequence[int] = (),
    holidays: Holidays = NO_HOLIDAYS,
) -> float:
    """How many messages would usually have come since the last one; 0 while that is less than a quarter of an hour
    ago, and for a feed that is not learned.

    `hours`: local ones by half an hour, as far as they are known. `down`: a time of which nothing is missed. `shifts`:
    by how many hours the clocks were changed of late.
    """
    if hours is None:
        hours = {}
    if now_us - feed.newest_us < LEAST_S * 1_000_000:
        return 0.0
    from_us = max(feed.newest_us, now_us - LONGEST_H * HOUR_US)
    last_hour, this_hour = (local_hour(at_us // 1_000_000, zone) for at_us in (feed.newest_us, now_us))
    missed, usual = 0.0, 0.0
    known_hour: int | None = None
    while from_us < now_us:
        # Whole hours of the clock are whole hours everywhere but where zones are off by half an hour: halves, then.
        half = from_us // HALF_US
        until_us = min(now_us, (half + 1) * HALF_US)
        if (hour := hours.get(half)) is None:
            hour = hours[half] = local_hour(from_us // 1_000_000, zone)
        if hour != known_hour:
            usual, known_hour = _to_come(feed, hour, last_hour, this_hour, shifts, holidays), hour
        unseen_us = max(0, min(until_us, down[1]) - max(from_us, down[0]))
        missed += usual * (until_us - from_us - unseen_us) / HOUR_US
        from_us = until_us
    return missed


def _to_come(feed: Feed, hour: int, last_hour: int, this_hour: int, shifts: Sequence[int], holidays: Holidays) -> float:
    """What is usual in an hour, as far as its messages can be called missed."""
    usual = feed.usual(hour, holidays) or 0.0
    if hour == last_hour:
        # It has come in this hour. A batch that is through, or most of it, is not missed for the rest of the hour; of
        # fewer messages there is nothing that would be told.
        came = feed.came(hour)
        return usual if came < max(MISSED, usual / 2) else max(0.0, usual - came)
    # What begins in the hour that is now, as a batch or the day's work does, may still come at the end of it.
    beside = [hour - 1] if hour == this_hour else []
    # The hour before a change of the clocks that is this one by UTC.
    return min([usual, *(feed.usual(one, holidays) or 0.0 for one in (*beside, *(hour - shift for shift in shifts)))])


def clock_changes(now_us: int, zone: tzinfo) -> list[int]:
    """By how many hours the clocks on the wall are ahead of where they were in the last four weeks."""
    now_s = now_us // 1_000_000
    ahead = {
        local_hour(now_s, zone) - local_hour(now_s - week * WEEK_S, zone) - week * WEEK_H
        for week in range(1, UNLEARNED_WEEKS + 1)
    }
    return sorted(ahead - {0})


def local_hour(at_s: int, zone: tzinfo) -> int:
    """Hours since 1970 by the clocks on the wall there."""
    there = datetime.fromtimestamp(at_s, zone)
    offset = there.utcoffset()
    return int((at_s + (offset.total_seconds() if offset else 0)) // 3600)
