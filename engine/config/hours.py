"""When a destination is open: ranges of the wall clock, by day of the week, in a time zone.

A range belongs to the day it begins on and may run past midnight. It is open whenever the clock on the wall shows a
time in it. So on the two nights when that clock is changed nothing is guessed: an hour that is left out is not open
and not missed, as the range goes on behind it; an hour that comes twice is open twice.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from engine.config.base import ConfigModel, Reading, nearest
from engine.config.finding import BadValue
from engine.config.node import SourceDict, SourceList, SourceText
from engine.config.reading import validate
from engine.config.types import MarkedText

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY_MINUTES: Final = 24 * 60
AHEAD: Final = timedelta(days=15)
"""So far ahead the next opening is looked for: a range comes once a week, and a change of the clock may swallow one."""
MOST_DAYS: Final = 400
"""So many days back open time is counted."""

_CLOCK: Final = r"([01][0-9]|2[0-4]):([0-5][0-9])"
_RANGE: Final = re.compile(rf"(?:([A-Za-z][A-Za-z, -]*?)\s+)?{_CLOCK}\s*-\s*{_CLOCK}")
_JSON: Final = r"^([A-Z][a-z]{2}([-,] ?[A-Z][a-z]{2})* +)?[0-2][0-9]:[0-5][0-9] ?- ?[0-2][0-9]:[0-5][0-9]$"


class ZoneText(MarkedText):
    """A time zone by its name in the IANA database: `Europe/Berlin`."""

    __slots__ = ()
    json_schema = {"type": "string", "description": "A time zone, such as Europe/Berlin"}  # noqa: RUF012

    def check(self) -> None:
        """One that this machine knows."""
        try:
            zone(self)
        except ZoneInfoNotFoundError:
            close = nearest(self, available_timezones())
            hint = f"did you mean {close}?" if close else "such as Europe/Berlin or UTC"
            raise BadValue(f"'{self.shown}' is not a time zone", hint, code="E105") from None


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """The zone of this name. Raises ZoneInfoNotFoundError."""
    try:
        return ZoneInfo(str(name))
    except (ValueError, OSError) as exc:
        raise ZoneInfoNotFoundError(f"no time zone {name!r}") from exc


class HoursText(MarkedText):
    """One range: `22:00-06:00`, `Mon-Fri 08:00-18:00`, `Sat,Sun 00:00-24:00`."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": _JSON,
        "description": "A range of the day: `22:00-06:00`, `Mon-Fri 08:00-18:00`",
    }

    def check(self) -> None:
        """A range that is not empty, on days that there are."""
        found = _RANGE.fullmatch(self.strip())
        if found is None:
            raise BadValue(f"'{self.shown}' is not a range of hours", "such as 22:00-06:00 or Mon-Fri 08:00-18:00")
        days, begins, ends = self.span
        if not days:
            hint = f"write them as {', '.join(DAYS)}, such as Mon-Fri or Sat,Sun"
            raise BadValue(f"'{found[1]}' names no days", hint)
        if begins in (ends, DAY_MINUTES) or max(begins, ends) > DAY_MINUTES:
            hint = "the whole day is 00:00-24:00"
            raise BadValue(f"'{self.shown}' is not a range of hours", hint)

    @property
    def span(self) -> tuple[frozenset[int], int, int]:
        """Days it begins on (Monday is 0), minute of the day it begins at, and the first minute that is not in it."""
        found = _RANGE.fullmatch(self.strip())
        assert found is not None, "only asked of what was checked"
        begins, ends = int(found[2]) * 60 + int(found[3]), int(found[4]) * 60 + int(found[5])
        return _days(found[1]), begins, ends


def _days(text: str | None) -> frozenset[int]:
    """The days of `Mon-Fri, Sun`; all where nothing is said, none where a name is wrong."""
    if text is None:
        return frozenset(range(7))
    numbers = {name: number for number, name in enumerate(DAYS)}
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        begin, end = numbers.get(first.strip()), numbers.get((last or first).strip())
        if begin is None or end is None:
            return frozenset()
        days.update((begin + n) % 7 for n in range((end - begin) % 7 + 1))
    return frozenset(days)


class OpenModel(ConfigModel):
    """`open` with a time zone of its own."""

    hours: tuple[HoursText, ...] = Field(min_length=1, description="Ranges of the day")
    zone: ZoneText | None = Field(default=None, description="Their time zone; else the site's")


@dataclass(slots=True, frozen=True)
class OpenHours:
    """When a destination is open, as its file says. `zone` None: in the site's time zone."""

    hours: tuple[HoursText, ...]
    zone: ZoneText | None = None

    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> "OpenHours | None":
        reading = info.context
        if value is None or isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls((HoursText._read(value, info),))
        if not isinstance(reading, Reading) or not isinstance(value, SourceList | SourceDict):
            raise BadValue("must be hours", "such as 22:00-06:00 or [Mon-Fri 22:00-06:00, Sat-Sun 00:00-24:00]")
        if isinstance(value, SourceList):
            holder = SourceDict({SourceText("hours"): value})
            holder.node, holder.owner = value.node, None  # type: ignore[assignment]  # only asked for its place
            value = holder
        made = validate(value, OpenModel, reading)
        return None if made is None else cls(made.hours, made.zone)

    def __str__(self) -> str:
        return ", ".join(self.hours)


class _OpenField:
    json_schema: Final[dict[str, Any]] = {
        "description": "hours: `22:00-06:00`, `[Mon-Fri 20:00-06:00, Sat-Sun 00:00-24:00]`, or `hours` and `zone`",
        "anyOf": [
            {"type": "string", "pattern": _JSON},
            {"type": "array", "items": {"type": "string", "pattern": _JSON}, "minItems": 1},
            {
                "type": "object",
                "properties": {
                    "hours": {"type": "array", "items": {"type": "string", "pattern": _JSON}, "minItems": 1},
                    "zone": {"type": "string"},
                },
                "required": ["hours"],
                "additionalProperties": False,
            },
        ],
    }

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(OpenHours._read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.json_schema)


OpenField = Annotated[OpenHours | None, _OpenField()]


class Timetable:
    """Answers whether it is open at an instant, when it opens next, and how long it was open. Pure: no clock in it."""

    def __init__(self, hours: Sequence[HoursText], zone_name: str) -> None:
        self._spans = [text.span for text in hours]
        self._zone = zone(zone_name)
        self.zone_name = zone_name

    def is_open(self, at: datetime) -> bool:
        """Whether the wall clock shows a time in one of the ranges. `at` is aware."""
        wall = at.astimezone(self._zone)
        minute, day = wall.hour * 60 + wall.minute, wall.weekday()
        for days, begins, ends in self._spans:
            if begins < ends:
                if day in days and begins <= minute < ends:
                    return True
            elif (day in days and minute >= begins) or ((day - 1) % 7 in days and minute < ends):
                return True
        return False

    def opens_next(self, at: datetime) -> datetime | None:
        """`at` itself while it is open, else when it opens; None: not within two weeks."""
        if self.is_open(at):
            return at
        return next((change for change in self._changes(at, at + AHEAD) if self.is_open(change)), None)

    def shown(self, at: datetime) -> str:
        """An instant as the wall clock there shows it: `Mon 22:00 (Europe/Berlin)`."""
        wall = at.astimezone(self._zone)
        return f"{DAYS[wall.weekday()]} {wall:%H:%M} ({self.zone_name})"

    def open_s(self, since: datetime, until: datetime) -> float:
        """For how many seconds it was open between the two."""
        since = max(since, until - timedelta(days=MOST_DAYS))
        total = 0.0
        begin = since
        for change in (*self._changes(since, until), until):
            if change > begin and self.is_open(begin):
                total += (change - begin).total_seconds()
            begin = max(begin, change)
        return total

    def _changes(self, after: datetime, until: datetime) -> list[datetime]:
        """Every instant after the one and before the other at which it may open or close, in order."""
        first, last = after.astimezone(self._zone).date(), until.astimezone(self._zone).date()
        found: set[datetime] = set()
        day = first - timedelta(days=1)
        while day <= last:
            found.update(self._changes_of(day))
            day += timedelta(days=1)
        return sorted(change for change in found if after < change < until)

    def _changes_of(self, day: date) -> set[datetime]:
        """Of one day of the wall clock: beginnings and ends, as often as the clock shows each, and where it jumps."""
        found: set[datetime] = set()
        for _, *minutes in self._spans:
            for minute in minutes:
                at = datetime.combine(day, time()) + timedelta(minutes=minute)
                for fold in (0, 1):
                    found.add(at.replace(tzinfo=self._zone, fold=fold).astimezone(UTC))
        begin = datetime.combine(day, time(), self._zone).astimezone(UTC)
        end = datetime.combine(day + timedelta(days=1), time(), self._zone).astimezone(UTC)
        if begin.astimezone(self._zone).utcoffset() != end.astimezone(self._zone).utcoffset():
            found.add(self._jump(begin, end))
        return found

    def _jump(self, low: datetime, high: datetime) -> datetime:
        """The minute in which the zone's offset changes."""
        before = low.astimezone(self._zone).utcoffset()
        while high - low > timedelta(minutes=1):
            middle = low + (high - low) / 2
            middle = middle.replace(second=0, microsecond=0)
            if middle <= low:
                break
            if middle.astimezone(self._zone).utcoffset() == before:
                low = middle
            else:
                high = middle
        return high
