"""A feed is silent when much less came than usually does at this weekday and hour, and one message ends it."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.ids import ChannelName, MessageSeq
from engine.ports.store import Arrived, StoreBusy
from engine.runtime import feeds as feeds_module
from engine.runtime.feeds import MOST_FEEDS, WEEK_H, Feed, Feeds, clock_changes, local_hour, missed_since
from engine.runtime.holidays import NO_HOLIDAYS, Holidays
from tests.adapters.test_metrics import value
from tests.runtime.engines import SiteUnderTest, channel
from tests.runtime.parts import SetClock, owned_tasks, until

ADT = ChannelName("adt")
MONDAY = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
"""Winter time in Berlin: nine o'clock is ten there."""
MINUTE_US = 60_000_000


class Kept:
    """Arrivals as a store would give them."""

    def __init__(self) -> None:
        self.rows: list[Arrived] = []
        self.spans: list[tuple[int, int]] = []
        self.error: StoreBusy | None = None

    def add(self, at: datetime, messages: int = 1, sender: str = "HIS|NORTH", kind: str = "ADT^A01^ADT_A01") -> None:
        at_us = int(at.timestamp() * 1_000_000)
        self.rows.append(Arrived(ADT, sender, kind, at_us // (30 * MINUTE_US), messages, at_us))

    def weeks(self, at: datetime, weeks: int, messages: int, **more: str) -> None:
        """So many in the hour of each of the weeks before."""
        for week in range(weeks, 0, -1):
            self.add(at - timedelta(weeks=week), messages, **more)

    def seq_before(self, at_us: int) -> MessageSeq:
        return MessageSeq(sum(row.newest_us < at_us for row in self.rows))

    def arrivals(self, after: MessageSeq, span: int) -> tuple[Sequence[Arrived], MessageSeq, bool]:
        if self.error is not None:
            raise self.error
        self.spans.append((after, span))
        upto = min(after + span, len(self.rows))
        return self.rows[after:upto], MessageSeq(upto), upto < len(self.rows)


class WallClock(SetClock):
    def __init__(self, now: datetime) -> None:
        super().__init__()
        self.now = now

    def now_us(self) -> int:
        return int(self.now.timestamp() * 1_000_000)


class Bench:
    def __init__(self, now: datetime = MONDAY, zone: tzinfo = UTC) -> None:
        self.kept = Kept()
        self.clock = WallClock(now)
        self.zone = zone
        self.told: list[tuple[ChannelName, int]] = []
        self.watched = {ADT}
        self.holidays = NO_HOLIDAYS
        self.feeds = Feeds(
            self.kept,
            self.clock,
            lambda: self.zone,
            lambda *both: self.told.append(both),
            lambda: self.watched,
            lambda: self.holidays,
        )

    async def at(self, now: datetime) -> list[bool]:
        self.clock.now = now
        await self.feeds.look()
        return [row.is_silent for row in self.feeds.status()]

    async def missed_at(self, now: datetime) -> float:
        await self.at(now)
        (row,) = self.feeds.status()
        return row.missed


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestSilence:
    async def test_ten_that_would_usually_have_come_are_missed_and_one_message_ends_it(self, bench, caplog):
        caplog.set_level(logging.WARNING, "segmill")
        bench.kept.weeks(MONDAY, 5, 40)
        bench.kept.add(MONDAY)
        assert await bench.at(MONDAY + timedelta(minutes=14)) == [False]
        assert await bench.missed_at(MONDAY + timedelta(minutes=14)) == 0, "less than a quarter of an hour"
        assert await bench.at(MONDAY + timedelta(minutes=15)) == [True]
        assert await bench.missed_at(MONDAY + timedelta(minutes=15)) == pytest.approx(10)
        bench.kept.add(MONDAY + timedelta(minutes=20))
        assert await bench.at(MONDAY + timedelta(minutes=21)) == [False]
        assert bench.told == [(ADT, 1), (ADT, 0)]
        assert "channel adt: 1 of its feeds are silent that usually are not, 0 before" in caplog.text
        assert "channel adt: 0 of its feeds are silent, 1 before" in caplog.text
        assert "HIS" not in caplog.text, "names of senders come from messages"

    async def test_at_night_when_usually_nothing_comes_nothing_is_missed(self, bench):
        bench.kept.weeks(MONDAY, 5, 40)
        bench.kept.weeks(MONDAY + timedelta(hours=24), 5, 40)
        bench.kept.add(MONDAY + timedelta(minutes=59))
        assert await bench.missed_at(MONDAY + timedelta(hours=20)) == pytest.approx(40 / 60)
        assert await bench.missed_at(MONDAY + timedelta(hours=24, minutes=30)) == pytest.approx(40 / 60), "it may begin"
        assert await bench.missed_at(MONDAY + timedelta(hours=25)) == pytest.approx(40 + 40 / 60)

    async def test_a_feed_is_not_learned_before_three_weeks(self, bench):
        bench.kept.weeks(MONDAY, 3, 40)  # the first hour is seldom a whole one
        bench.kept.add(MONDAY)
        assert await bench.at(MONDAY + timedelta(minutes=30)) == [False]
        (row,) = bench.feeds.status()
        assert row.usual is None

    async def test_one_quiet_holiday_among_the_weeks_changes_nothing(self, bench):
        for week, messages in ((6, 40), (5, 38), (4, 41), (3, 0), (2, 40), (1, 40)):
            bench.kept.add(MONDAY - timedelta(weeks=week), messages)
        bench.kept.add(MONDAY)
        await bench.at(MONDAY + timedelta(minutes=30))
        (row,) = bench.feeds.status()
        assert row.usual == 40

    async def test_a_feed_that_was_given_up_weeks_ago_is_usual_no_more(self, bench):
        bench.kept.weeks(MONDAY - timedelta(weeks=5), 5, 40)
        assert await bench.at(MONDAY + timedelta(minutes=30)) == [False]

    async def test_kinds_of_message_and_senders_are_feeds_of_their_own_and_silent_ones_come_first(self, bench):
        bench.kept.weeks(MONDAY, 5, 40, sender="A|", kind="ADT^A01")
        bench.kept.weeks(MONDAY, 5, 40, sender="B|", kind="ADT^A01^ADT_A01")
        bench.kept.weeks(MONDAY, 5, 40, sender="B|", kind="ADT^A08")
        bench.kept.add(MONDAY + timedelta(minutes=50), sender="A|", kind="ADT^A01")
        bench.kept.add(MONDAY + timedelta(minutes=50), sender="B|", kind="ADT^A08")
        bench.kept.add(MONDAY, sender="B|", kind="ADT^A01")
        await bench.at(MONDAY + timedelta(minutes=55))
        shown = [(row.sender, row.kind, row.is_silent) for row in bench.feeds.status()]
        assert shown == [("B|", "ADT^A01", True), ("A|", "ADT^A01", False), ("B|", "ADT^A08", False)]
        assert bench.told == [(ADT, 1)]

    async def test_of_a_channel_that_the_site_no_longer_has_nothing_is_missed(self, bench):
        bench.kept.weeks(MONDAY, 5, 40)
        bench.kept.add(MONDAY)
        assert await bench.at(MONDAY + timedelta(minutes=30)) == [True]
        bench.watched.clear()
        assert await bench.at(MONDAY + timedelta(minutes=31)) == []
        assert bench.told == [(ADT, 1), (ADT, 0)]
        bench.watched.add(ADT)
        assert await bench.at(MONDAY + timedelta(minutes=32)) == [True]

    async def test_a_channel_that_never_was_of_this_site_is_not_told_of(self, bench):
        bench.watched.clear()
        bench.kept.weeks(MONDAY, 5, 40)
        bench.kept.add(MONDAY)
        assert await bench.at(MONDAY + timedelta(minutes=30)) == []
        assert bench.told == []

    async def test_messages_have_their_turn_while_many_feeds_are_weighed(self, bench, monkeypatch):
        steps = count()
        monkeypatch.setattr(bench.clock, "monotonic", lambda: next(steps) / 1000)
        for number in range(20):
            bench.kept.add(MONDAY, sender=f"S{number}|")
        await bench.at(MONDAY)
        rests: list[float] = []
        sleep = asyncio.sleep

        async def counted(seconds: float) -> None:
            rests.append(seconds)
            await sleep(0)

        monkeypatch.setattr(feeds_module.asyncio, "sleep", counted)
        await bench.at(MONDAY + timedelta(minutes=1))
        assert len(rests) >= 5, "twenty feeds of a millisecond each, and two milliseconds at a stretch"
        assert min(rests) >= 0.008, "four times as long is left to others"


class TestTime:
    async def test_hours_are_those_of_the_site_and_stay_so_when_summer_begins(self):
        """In Berlin clocks go forward on 29 March 2026: nine o'clock there is seven in UTC then, not eight."""
        berlin = ZoneInfo("Europe/Berlin")
        nine = datetime(2026, 3, 30, 9, 0, tzinfo=berlin)
        bench = Bench(nine, berlin)
        for week in range(6, 0, -1):
            bench.kept.add(nine - timedelta(weeks=week), 40)  # at nine by the clock on the wall
        bench.kept.add(nine)
        assert await bench.missed_at(nine + timedelta(minutes=30)) == pytest.approx(20)
        assert local_hour(int(nine.timestamp()), berlin) % 24 == 9

    async def test_a_zone_that_is_off_by_half_an_hour_has_hours_too(self):
        delhi = ZoneInfo("Asia/Kolkata")
        nine = datetime(2026, 3, 2, 9, 0, tzinfo=delhi)
        bench = Bench(nine, delhi)
        for week in range(6, 0, -1):
            bench.kept.add(nine - timedelta(weeks=week), 40)
        bench.kept.add(nine)
        assert await bench.missed_at(nine + timedelta(minutes=90)) == pytest.approx(40)

    async def test_in_another_zone_hours_are_learned_anew(self, bench):
        """Nine o'clock here is twelve there: what is known by nine is asked for by twelve."""
        bench.kept.weeks(MONDAY, 6, 40)
        bench.kept.add(MONDAY)
        assert await bench.missed_at(MONDAY + timedelta(minutes=30)) == pytest.approx(20)
        bench.zone = timezone(timedelta(hours=3))
        assert await bench.missed_at(MONDAY + timedelta(minutes=30)) == pytest.approx(20)

    async def test_what_comes_while_a_long_history_is_read_counts(self, bench, monkeypatch):
        monkeypatch.setattr(feeds_module, "SPAN", 2)
        bench.kept.weeks(MONDAY, 6, 40)
        late = MONDAY + timedelta(hours=3)

        def arrivals(after: MessageSeq, span: int) -> tuple[Sequence[Arrived], MessageSeq, bool]:
            if after == 4:
                bench.clock.now = late  # reading took that long
                bench.kept.add(late - timedelta(minutes=1))
            return Kept.arrivals(bench.kept, after, span)

        monkeypatch.setattr(bench.kept, "arrivals", arrivals)
        await bench.at(MONDAY)
        (row,) = bench.feeds.status()
        assert row.newest_us == int((late - timedelta(minutes=1)).timestamp() * 1_000_000)
        assert row.missed == 0

    async def test_a_clock_that_was_ahead_and_is_set_back_forgets_nothing(self, bench):
        bench.kept.weeks(MONDAY, 5, 40)
        bench.kept.add(MONDAY)
        await bench.at(MONDAY + timedelta(days=300))
        bench.kept.add(MONDAY + timedelta(days=300))
        await bench.at(MONDAY + timedelta(days=300, minutes=1))
        bench.kept.add(MONDAY + timedelta(minutes=1))
        assert await bench.missed_at(MONDAY + timedelta(minutes=31)) == pytest.approx(20)

    def test_a_week_at_most_is_weighed(self):
        feed = Feed(0)
        for hour in range(WEEK_H * 5):
            feed.add(hour, 1, hour * 3_600_000_000)
        end_us = WEEK_H * 5 * 3_600_000_000
        assert missed_since(feed, end_us + 10 * 3_600_000_000, UTC) == pytest.approx(11)
        assert missed_since(feed, end_us + (WEEK_H + 50) * 3_600_000_000, UTC) == pytest.approx(WEEK_H)

    @given(st.lists(st.tuples(st.integers(0, WEEK_H * 20), st.integers(1, 9)), max_size=60))
    def test_what_is_kept_is_what_a_plain_table_has(self, came: list[tuple[int, int]]):
        came.sort()
        feed, plain, first = Feed(came[0][0] if came else 0), dict[int, int](), came[0][0] if came else 0
        for hour, messages in came:
            feed.add(hour, messages, hour)
            plain[hour] = plain.get(hour, 0) + messages
        now = (came[-1][0] if came else 0) + 1
        known = sorted(plain.get(now - w * WEEK_H, 0) for w in range(1, 8) if now - w * WEEK_H > first)
        middle = len(known) // 2
        expected = known[middle] if len(known) % 2 else (known[middle - 1] + known[middle]) / 2 if known else None
        assert feed.usual(now) == (expected if len(known) >= 3 else None)


class TestReading:
    async def test_only_what_is_new_is_read_and_only_eight_weeks_at_first(self, bench):
        bench.kept.weeks(MONDAY, 12, 1)
        await bench.at(MONDAY)
        assert [after for after, _ in bench.kept.spans] == [4]
        bench.kept.add(MONDAY + timedelta(minutes=1))
        await bench.at(MONDAY + timedelta(minutes=2))
        assert [after for after, _ in bench.kept.spans] == [4, 12]

    async def test_a_long_history_is_read_in_slices(self, bench, monkeypatch):
        monkeypatch.setattr(feeds_module, "SPAN", 2)
        bench.kept.weeks(MONDAY, 5, 40)
        bench.kept.add(MONDAY)
        assert await bench.at(MONDAY + timedelta(minutes=30)) == [True]
        assert [after for after, _ in bench.kept.spans] == [0, 2, 4]

    async def test_names_from_messages_are_bounded(self, bench):
        for number in range(MOST_FEEDS + 50):
            bench.kept.add(MONDAY, sender=f"S{number}|")
        await bench.at(MONDAY)
        assert len(bench.feeds.status()) == MOST_FEEDS

    async def test_a_store_that_cannot_be_read_is_told_once_and_tried_again(self, bench, monkeypatch, caplog):
        bench.kept.error = StoreBusy("locked")
        rounds = count(1)

        class Enough(Exception):
            pass

        async def sleep(seconds: float) -> None:
            number = next(rounds)
            if number == 3:
                bench.kept.error = None
            if number == 4:
                raise Enough

        monkeypatch.setattr(feeds_module.asyncio, "sleep", sleep)
        with pytest.raises(Enough):
            await bench.feeds.run()
        assert caplog.text.count("cannot be told now") == 1
        assert bench.feeds.status() == ()


BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
"""Two o'clock in Berlin becomes three."""


class TestAfterTheEngineWasDown:
    """Two feeds: one that has 40 an hour all day, and one that has 2."""

    @pytest.fixture
    def bench(self, bench: Bench) -> Bench:
        for hour in range(-12, 24):
            bench.kept.weeks(MONDAY + timedelta(hours=hour), 5, 40)
            bench.kept.weeks(MONDAY + timedelta(hours=hour), 5, 2, kind="ADT^A40")
        bench.kept.rows.sort(key=lambda row: row.newest_us)
        return bench

    async def started(self, bench: Bench, at: datetime) -> None:
        """An engine begins to take messages."""
        bench.clock.now = at
        async with owned_tasks() as (tasks, failures):
            tasks.spawn(bench.feeds.run(), "watch feeds")
            await until(bench.feeds.status)
        assert failures == []

    async def test_nothing_is_missed_of_the_time_when_nothing_could_come(self, bench):
        bench.kept.add(MONDAY, kind="ADT^A40")
        bench.kept.add(MONDAY)
        back = MONDAY + timedelta(hours=8)
        await self.started(bench, back)
        assert [row.missed for row in bench.feeds.status()] == [0, 0]
        assert await bench.at(back + timedelta(minutes=14, seconds=59)) == [False, False], "senders come back"
        assert await bench.at(back + timedelta(minutes=15)) == [True, False], "ten of the one, half of one of the other"
        assert await bench.at(back + timedelta(hours=4, minutes=59)) == [True, False]
        assert await bench.at(back + timedelta(hours=5)) == [True, True]

    async def test_a_silence_from_before_the_stop_goes_on_after_it(self, bench):
        bench.kept.add(MONDAY, kind="ADT^A40")
        stopped = MONDAY + timedelta(hours=4)
        bench.kept.add(stopped)
        back = stopped + timedelta(hours=2)
        await self.started(bench, back)
        assert {row.kind: row.missed for row in bench.feeds.status()} == pytest.approx({"ADT^A01": 0, "ADT^A40": 8})
        await bench.at(back + timedelta(hours=1))
        assert {row.kind: row.is_silent for row in bench.feeds.status()} == {"ADT^A01": True, "ADT^A40": True}

    async def test_a_restart_changes_nothing(self, bench):
        """Of an hour of which something is known until the last minute."""
        bench.kept.add(MONDAY)
        stopped = MONDAY + timedelta(hours=1)
        bench.kept.add(stopped, kind="ADT^A40")
        await self.started(bench, stopped + timedelta(minutes=1))
        silent = {row.kind: row.is_silent for row in bench.feeds.status()}
        assert silent == {"ADT^A01": True, "ADT^A40": False}


class TestHolidays:
    """A feed of 40 an hour by day from Monday to Saturday, and of 4 on Sundays, over six weeks. MONDAY is one."""

    @pytest.fixture
    def bench(self, bench: Bench) -> Bench:
        for day in range(-6, 2):
            for hour in range(-3, 9):
                at = MONDAY + timedelta(days=day, hours=hour)
                bench.kept.weeks(at, 6, 4 if at.weekday() == 6 else 40)
        bench.kept.rows.sort(key=lambda row: row.newest_us)
        return bench

    async def test_on_a_holiday_no_more_is_missed_than_on_a_sunday(self, bench):
        bench.kept.add(MONDAY)
        assert await bench.missed_at(MONDAY + timedelta(hours=2)) == pytest.approx(80)
        for holidays in (Holidays([MONDAY.date()]), Holidays(yearly=[(3, 2)])):
            bench.holidays = holidays
            assert await bench.missed_at(MONDAY + timedelta(hours=2)) == pytest.approx(8)
            (row,) = bench.feeds.status()
            assert (row.usual, row.is_silent) == (4, False)
        assert await bench.at(MONDAY + timedelta(hours=4)) == [True], "it would be on a Sunday, too"

    async def test_where_nothing_is_expected_nothing_is_missed_and_the_day_after_it_is(self, bench):
        bench.holidays = Holidays([MONDAY.date()], is_nothing_expected=True)
        bench.kept.add(MONDAY)
        assert await bench.missed_at(MONDAY + timedelta(hours=14)) == 0
        work = MONDAY + timedelta(hours=21)
        assert await bench.at(work + timedelta(minutes=59)) == [False], "it may begin in this hour"
        assert await bench.at(work + timedelta(minutes=60)) == [True]

    async def test_a_day_that_is_none_of_them_is_as_ever(self, bench):
        bench.holidays = Holidays([MONDAY.date() + timedelta(days=1)], [(12, 25)])
        bench.kept.add(MONDAY)
        assert await bench.missed_at(MONDAY + timedelta(hours=2)) == pytest.approx(80)

    async def test_a_batch_of_sundays_need_not_come_on_a_holiday(self, bench):
        sunday = MONDAY - timedelta(days=1)
        bench.kept.weeks(sunday + timedelta(hours=10), 6, 500)
        bench.kept.rows.sort(key=lambda row: row.newest_us)
        bench.holidays = Holidays([MONDAY.date()])
        bench.kept.add(MONDAY + timedelta(hours=8))
        assert await bench.missed_at(MONDAY + timedelta(hours=13)) < 10

    async def test_a_holiday_is_one_by_the_clocks_of_the_site(self, bench):
        """At three in the afternoon by UTC Tuesday begins in Tokyo."""
        bench.holidays = Holidays([MONDAY.date() + timedelta(days=1)], is_nothing_expected=True)
        bench.kept.add(MONDAY + timedelta(hours=5))
        now = MONDAY + timedelta(hours=7)
        assert await bench.missed_at(now) == pytest.approx(80)
        bench.zone = ZoneInfo("Asia/Tokyo")
        assert await bench.missed_at(now) == pytest.approx(40)

    async def test_of_holidays_that_are_past_nothing_is_learned(self):
        bench = Bench()
        bench.kept.weeks(MONDAY - timedelta(weeks=3), 4, 40)  # and nothing came in the three weeks since
        await bench.at(MONDAY)
        (row,) = bench.feeds.status()
        assert row.usual == 20
        bench.holidays = Holidays([(MONDAY - timedelta(weeks=week)).date() for week in (1, 2, 3)])
        await bench.at(MONDAY)
        (row,) = bench.feeds.status()
        assert row.usual == 40

    def test_which_hours_are_of_which_day(self):
        hour = local_hour(int(MONDAY.timestamp()), UTC)
        one = Holidays([MONDAY.date()])
        assert [one.has(hour + shift) for shift in (-10, -9, 0, 14, 15)] == [False, True, True, True, False]
        assert one.sunday(hour) == hour - 24 and one.sunday(hour - 24) == hour - 24
        assert one.sunday(hour + 5 * 24) == hour - 24, "of a Saturday the one before"
        assert one and not NO_HOLIDAYS and not Holidays()


class TestBatches:
    """A hundred messages once a night."""

    @pytest.mark.parametrize("minute", [3, 30, 57])
    async def test_a_nightly_batch_is_not_missed_by_day_and_not_before_its_hour_is_over(self, bench, minute):
        batch = datetime(2026, 3, 2, 3, minute, tzinfo=UTC)
        for day in range(40, 0, -1):
            bench.kept.add(batch - timedelta(days=day), 100)
        for minutes in range(-23 * 60, 0, 30):
            assert await bench.at(batch + timedelta(minutes=minutes)) == [False], minutes
        bench.clock.now = batch
        over = batch.replace(minute=0) + timedelta(hours=1)
        assert await bench.at(over) == [True], "it did not come"
        bench.kept.add(over, 100)
        assert await bench.at(over + timedelta(minutes=16)) == [False], "it is late, and through"

    async def test_one_that_stops_in_the_middle_of_its_hour_is_missed(self, bench):
        bench.kept.weeks(MONDAY, 5, 40)
        bench.kept.add(MONDAY + timedelta(minutes=20), 13)
        assert await bench.at(MONDAY + timedelta(minutes=35)) == [True]


class TestChangedClocks:
    """A batch that a sender starts by UTC comes an hour later by the clocks on the wall, for one half of the year."""

    async def weeks_by_utc(self, bench: Bench, until: datetime) -> None:
        bench.zone = BERLIN
        for day in range(49, 0, -1):
            bench.kept.add(until - timedelta(days=day), 100)

    @pytest.mark.parametrize("days", [1, 8, 15, 22, 27])
    async def test_one_that_goes_by_utc_is_not_silent_after_the_change(self, bench, days):
        batch = datetime(2026, 3, 28, 3, 10, tzinfo=UTC) + timedelta(days=days)
        await self.weeks_by_utc(bench, batch)
        for minute in range(-130, 0, 10):
            assert await bench.at(batch + timedelta(minutes=minute)) == [False], minute

    @pytest.mark.parametrize("days", [1, 8, 15, 22, 27])
    async def test_nor_after_the_one_in_autumn(self, bench, days):
        batch = datetime(2026, 10, 24, 3, 10, tzinfo=UTC) + timedelta(days=days)
        await self.weeks_by_utc(bench, batch)
        for minute in range(-130, 0, 10):
            assert await bench.at(batch + timedelta(minutes=minute)) == [False], minute

    async def test_one_that_stays_away_is_missed_all_the_same(self, bench):
        bench.zone = BERLIN
        for hour in range(-12, 4):
            bench.kept.weeks(SPRING + timedelta(days=1, hours=hour), 5, 40)
        bench.kept.rows.sort(key=lambda row: row.newest_us)
        last = SPRING + timedelta(days=1)
        bench.kept.add(last)
        assert await bench.at(last + timedelta(minutes=15)) == [True]

    def test_of_how_much_they_were_changed(self):
        at = int(SPRING.timestamp() * 1_000_000)
        week_us = WEEK_H * 3_600_000_000
        assert clock_changes(at - 1, BERLIN) == []
        assert clock_changes(at, BERLIN) == [1]
        assert clock_changes(at + 4 * week_us - 1, BERLIN) == [1]
        assert clock_changes(at + 4 * week_us, BERLIN) == []
        assert clock_changes(at + 30 * week_us + 3_600_000_000, BERLIN) == [-1]
        assert clock_changes(at, UTC) == []


async def test_an_engine_shows_its_feeds(tmp_path: Path, adt) -> None:
    site = SiteUnderTest(tmp_path / "site", {"adt": channel()})
    async with site.running() as engine:
        wire = await site.wire()
        await wire.send(adt(control_id="A1"))
        await wire.answers(1)
        feeds = engine._watch_feeds()
        await feeds.look()
        (status,) = await engine.control.status()
        (feed,) = status.feeds
        assert (feed.channel, feed.kind, feed.usual, feed.is_silent) == ("adt", "ADT^A01", None, False)
        assert value(engine.meter, "segmill_silent_feeds", channel="adt") == 0


async def test_an_engine_goes_on_where_its_feeds_cannot_be_watched(tmp_path: Path, adt, monkeypatch, caplog) -> None:
    async def broken(self: Feeds) -> None:
        raise ZeroDivisionError("HIS|NORTH")

    monkeypatch.setattr(Feeds, "look", broken)
    site = SiteUnderTest(tmp_path / "site", {"adt": channel()})
    async with site.running() as engine:
        async with asyncio.timeout(60):
            while "by a defect: ZeroDivisionError" not in caplog.text:
                await asyncio.sleep(0.01)
        wire = await site.wire()
        await wire.send(adt(control_id="A1"))
        await wire.answers(1)
        assert (await engine.control.ready())[0]
    assert "NORTH" not in caplog.text, "what an exception quotes may come from a message"
