"""Opening hours in histories that last seconds: a day of the wall clock goes by in DAY_US.

The engine's own timetable answers, asked about a wall clock that runs that much quicker. The model does not ask it: it
counts minutes (`is_open`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from engine.config.hours import HoursText, Timetable

DAY_US = 4_000_000
QUICKER = 86_400_000_000 // DAY_US
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
WEEK_US = 7 * 86_400_000_000
US = timedelta(microseconds=1)

RANGES = ("12:00-24:00", "06:00-18:00", "20:00-08:00", "03:00-05:00")
"""What destinations are open in."""


def is_open(opens: str, wall_us: int) -> bool:
    """Whether a destination with these hours is open when the wall clock shows so many microseconds since 1970."""
    if not opens:
        return True
    ends = [int(text[:2]) * 60 + int(text[3:]) for text in opens.split("-")]
    since_monday_us = wall_us - int(MONDAY.timestamp()) * 1_000_000
    minute = since_monday_us * QUICKER // 60_000_000 % 1440
    if ends[0] < ends[1]:
        return ends[0] <= minute < ends[1]
    return minute >= ends[0] or minute < ends[1]


def _quick(at: datetime) -> datetime:
    """The time on the quick clock, within one week, as every week is the same."""
    return MONDAY + timedelta(microseconds=(at - MONDAY) // US * QUICKER % WEEK_US)


class QuickTimetable:
    """Stands where the engine makes a `Timetable`."""

    def __init__(self, hours: Sequence[HoursText], zone_name: str) -> None:
        self._table = Timetable(hours, zone_name)
        self.zone_name = zone_name

    def is_open(self, at: datetime) -> bool:
        return self._table.is_open(_quick(at))

    def opens_next(self, at: datetime) -> datetime | None:
        quick = _quick(at)
        opens = self._table.opens_next(quick)
        return None if opens is None else at + timedelta(microseconds=-(-((opens - quick) // US) // QUICKER))

    def shown(self, at: datetime) -> str:
        return self._table.shown(_quick(at))

    def open_s(self, since: datetime, until: datetime) -> float:
        ends = _quick(until)
        lasts = min(timedelta(days=400), max(timedelta(0), (until - since)) % timedelta(days=30) * QUICKER)
        return self._table.open_s(ends - lasts, ends) / QUICKER
