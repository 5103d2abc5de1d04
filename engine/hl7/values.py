"""Typed values: numbers and times as HL7 writes them, with their precision kept (spec items 73 to 76).

HL7 v2.5.1 sections 2.A.21 (DT), 2.A.22 (DTM), 2.A.47 (NM), 2.A.69 (SI), 2.A.75 (TM). A text that breaks its grammar
reads as None: nothing is guessed, and Python's own laxer parsers are not asked.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from engine.hl7.message import Message

Precision = Literal["year", "month", "day", "hour", "minute", "second", "fraction"]

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_SEQUENCE = re.compile(r"[0-9]+")
_MOMENT = re.compile(
    r"(?P<year>[0-9]{4})(?:(?P<month>[0-9]{2})(?:(?P<day>[0-9]{2})"
    r"(?:(?P<hour>[0-9]{2})(?:(?P<minute>[0-9]{2})(?:(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,6}))?)?)?)?)?)?"
    r"(?P<offset>[+-][0-9]{4})?"
)
_CLOCK = re.compile(
    r"(?P<hour>[0-9]{2})(?:(?P<minute>[0-9]{2})(?:(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,6}))?)?)?"
    r"(?P<offset>[+-][0-9]{4})?"
)
_PRECISIONS: tuple[Precision, ...] = ("year", "month", "day", "hour", "minute", "second", "fraction")
_LEAST_OFFSET_MINUTES, _MOST_OFFSET_MINUTES = -12 * 60, 14 * 60


@dataclass(slots=True, frozen=True)
class Moment:
    """A DTM, TS or DT as far as it was written: `1980` is a year, not the first of January.

    `precision` names the last part that is there; the parts after it hold their least value. `fraction` is the
    digits after the point. `offset_minutes` is the zone as written, None for none; `offset_unknown` is `-0000`,
    which from v2.9 is UTC said by one who does not know the local zone.
    """

    year: int
    month: int = 1
    day: int = 1
    hour: int = 0
    minute: int = 0
    second: int = 0
    fraction: str = ""
    precision: Precision = "day"
    offset_minutes: int | None = None
    offset_unknown: bool = False

    def format(self, precision: Precision | None = None) -> str:
        """As HL7 writes it, at its own precision or a coarser one; a finer one adds nothing that is not known.

        The offset stays while the hour does.
        """
        wanted = _PRECISIONS.index(precision or self.precision)
        known = _PRECISIONS.index(self.precision)
        level = min(wanted, known)
        parts = (f"{self.year:04}", *(f"{n:02}" for n in (self.month, self.day, self.hour, self.minute, self.second)))
        text = "".join(parts[: level + 1])
        if level == len(_PRECISIONS) - 1:
            text += f".{self.fraction}"
        return text + self._offset_text() if level >= _PRECISIONS.index("hour") else text

    def to_date(self) -> date | None:
        """The calendar day, None when it is not known."""
        if _PRECISIONS.index(self.precision) < _PRECISIONS.index("day"):
            return None
        return date(self.year, self.month, self.day)

    def to_datetime(self, zone: tzinfo) -> datetime:
        """The first instant that this can mean; `zone` counts where none is written (`message_zone`)."""
        own = zone if self.offset_minutes is None else timezone(timedelta(minutes=self.offset_minutes))
        microsecond = int(self.fraction.ljust(6, "0")) if self.fraction else 0
        return datetime(self.year, self.month, self.day, self.hour, self.minute, self.second, microsecond, own)

    def _offset_text(self) -> str:
        if self.offset_minutes is None:
            return ""
        sign = "-" if self.offset_minutes < 0 or self.offset_unknown else "+"
        hours, minutes = divmod(abs(self.offset_minutes), 60)
        return f"{sign}{hours:02}{minutes:02}"


@dataclass(slots=True, frozen=True)
class Clock:
    """A TM as far as it was written, from `HH` to a fraction of a second; see `Moment`."""

    hour: int
    minute: int = 0
    second: int = 0
    fraction: str = ""
    precision: Precision = "minute"
    offset_minutes: int | None = None

    def to_time(self) -> time:
        """The first instant of the day that this can mean, aware only when an offset was written."""
        own = None if self.offset_minutes is None else timezone(timedelta(minutes=self.offset_minutes))
        microsecond = int(self.fraction.ljust(6, "0")) if self.fraction else 0
        return time(self.hour, self.minute, self.second, microsecond, own)


def parse_number(text: str) -> Decimal | None:
    """NM: an optional sign, ASCII digits, an optional point. `>5`, `1,5`, `1e3`, `nan` and blanks are none."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def format_number(number: Decimal) -> str:
    """NM without exponent, with the digits that the number has. Raises ValueError for nan and infinity."""
    if not number.is_finite():
        raise ValueError("HL7 has no way to write a number that is not finite")
    return f"{number:f}"


def parse_sequence_number(text: str) -> int | None:
    """SI: a non-negative integer, leading zeros allowed."""
    return int(text) if len(text) <= 16 and _SEQUENCE.fullmatch(text) else None


def parse_moment(text: str) -> Moment | None:
    """DTM, TS or DT: `YYYY[MM[DD[HH[MM[SS[.S...]]]]]][+/-ZZZZ]`; an hour without minutes is let pass.

    None for what is no point in time: the empty text, the delete marker, `00000000`, `24:00`, second 60, day 31 of
    a short month, an offset beyond -1200 to +1400. Blanks around it do not count.
    """
    found = _MOMENT.fullmatch(text.strip(" "))
    if not found:
        return None
    offset = _offset(found["offset"])
    if offset is None and found["offset"]:
        return None
    year, month, day = int(found["year"]), int(found["month"] or 1), int(found["day"] or 1)
    hour, minute, second = int(found["hour"] or 0), int(found["minute"] or 0), int(found["second"] or 0)
    try:
        datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return Moment(
        year,
        month,
        day,
        hour,
        minute,
        second,
        found["fraction"] or "",
        _precision(found),
        offset,
        found["offset"] == "-0000",
    )


def parse_clock(text: str) -> Clock | None:
    """TM: `HH[MM[SS[.S...]]][+/-ZZZZ]`; None for what is no time of day."""
    found = _CLOCK.fullmatch(text.strip(" "))
    if not found:
        return None
    offset = _offset(found["offset"])
    hour, minute, second = int(found["hour"]), int(found["minute"] or 0), int(found["second"] or 0)
    if hour > 23 or minute > 59 or second > 59 or (offset is None and found["offset"]):
        return None
    return Clock(hour, minute, second, found["fraction"] or "", _precision(found), offset)


def format_moment(at: datetime, precision: Precision = "second") -> str:
    """A datetime as DTM; an aware one keeps its offset. `fraction` is four digits, the most that HL7 allows."""
    offset = at.utcoffset()
    minutes = None if offset is None else round(offset.total_seconds() / 60)
    fraction = f"{at.microsecond:06}"[:4]
    whole = Moment(at.year, at.month, at.day, at.hour, at.minute, at.second, fraction, "fraction", minutes)
    return whole.format(precision)


def message_zone(message: "Message", local: tzinfo) -> tzinfo:
    """The zone of times without one: MSH-7's offset, else the sender's `local` zone; never UTC by assumption."""
    sent = parse_moment(message.get("MSH-7") or "")
    if sent is None or sent.offset_minutes is None:
        return local
    return timezone(timedelta(minutes=sent.offset_minutes))


def _offset(text: str | None) -> int | None:
    """Minutes east of UTC; None for none, and for one that is none."""
    if not text:
        return None
    hours, minutes = int(text[1:3]), int(text[3:5])
    total = (hours * 60 + minutes) * (-1 if text[0] == "-" else 1)
    return total if minutes < 60 and _LEAST_OFFSET_MINUTES <= total <= _MOST_OFFSET_MINUTES else None


def _precision(found: re.Match[str]) -> Precision:
    parts = found.groupdict()
    return next(name for name in reversed(_PRECISIONS) if parts.get(name))
