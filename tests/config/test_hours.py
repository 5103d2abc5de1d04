"""When a destination is open: hours by the clock on the wall, over midnight, weeks and the changes of that clock."""

from datetime import UTC, datetime, timedelta

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.config.hours import HoursText, Timetable
from engine.config.schema import channel_schema

BERLIN = "Europe/Berlin"
CHANNEL = """\
listen:
  mllp: {port: 2576}
routes:
  - to: archive
destinations:
  archive:
    file: {folder: out}
    open: OPEN
"""


def table(*hours: str, zone: str = BERLIN) -> Timetable:
    return Timetable([HoursText(text) for text in hours], zone)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "wall", "is_open"),
    [
        ("08:00-18:00", "2024-06-05 08:00", True),
        ("08:00-18:00", "2024-06-05 17:59", True),
        ("08:00-18:00", "2024-06-05 18:00", False),
        ("08:00-18:00", "2024-06-05 07:59", False),
        ("22:00-06:00", "2024-06-05 23:30", True),
        ("22:00-06:00", "2024-06-05 05:59", True),
        ("22:00-06:00", "2024-06-05 06:00", False),
        ("00:00-24:00", "2024-06-05 23:59", True),
        # A night belongs to the day it begins on: Friday's ends on Saturday morning.
        ("Mon-Fri 22:00-06:00", "2024-06-08 05:00", True),
        ("Mon-Fri 22:00-06:00", "2024-06-08 23:00", False),
        ("Mon-Fri 22:00-06:00", "2024-06-10 05:00", False),
        ("Sat,Sun 00:00-24:00", "2024-06-09 12:00", True),
        ("Fri-Mon 12:00-13:00", "2024-06-10 12:30", True),
        ("Fri-Mon 12:00-13:00", "2024-06-11 12:30", False),
    ],
)
def test_it_is_open_when_the_clock_on_the_wall_says_so(hours, wall, is_open):
    summer = timedelta(hours=2)
    assert table(hours).is_open(utc(wall) - summer) is is_open


@pytest.mark.parametrize(
    ("hours", "at", "opens"),
    [
        ("22:00-06:00", "2024-06-05 12:00", "2024-06-05 20:00"),
        ("22:00-06:00", "2024-01-05 12:00", "2024-01-05 21:00"),
        ("22:00-06:00", "2024-06-05 23:00", "2024-06-05 23:00"),
        ("Mon 08:00-09:00", "2024-06-05 12:00", "2024-06-10 06:00"),
        # On 31 March 2024 the clock goes from 02:00 to 03:00: the hour is not there, and is not open.
        ("02:15-02:45", "2024-03-31 00:00", "2024-04-01 00:15"),
        ("02:15-04:00", "2024-03-31 00:00", "2024-03-31 01:00"),
        ("Sun 02:15-02:45", "2024-03-31 00:00", "2024-04-07 00:15"),
        # On 27 October 2024 the hour from 02:00 comes twice: it is open twice.
        ("02:15-02:45", "2024-10-26 23:00", "2024-10-27 00:15"),
        ("02:15-02:45", "2024-10-27 00:45", "2024-10-27 01:15"),
        ("02:15-02:45", "2024-10-27 01:45", "2024-10-28 01:15"),
    ],
)
def test_when_it_opens_next(hours, at, opens):
    assert table(hours).opens_next(utc(at)) == utc(opens)


@pytest.mark.parametrize(
    ("hours", "since", "until", "hours_open"),
    [
        ("08:00-18:00", "2024-06-05 00:00", "2024-06-06 00:00", 10),
        ("22:00-06:00", "2024-06-05 00:00", "2024-06-12 00:00", 56),
        ("22:00-06:00", "2024-03-30 12:00", "2024-03-31 12:00", 7),
        ("22:00-06:00", "2024-10-26 12:00", "2024-10-27 12:00", 9),
        ("00:00-24:00", "2024-03-30 12:00", "2024-04-02 12:00", 72),
        ("08:00-18:00", "2024-06-05 09:00", "2024-06-05 09:30", 0.5),
        ("08:00-18:00", "2024-06-06 09:00", "2024-06-05 09:30", 0),
    ],
)
def test_time_in_which_it_is_closed_does_not_count(hours, since, until, hours_open):
    assert table(hours).open_s(utc(since), utc(until)) == pytest.approx(hours_open * 3600)


minutes = st.integers(0, 24 * 60 - 1)
ranges = st.tuples(minutes, minutes).filter(lambda r: r[0] != r[1])
zones = st.sampled_from([BERLIN, "UTC", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"])
instants = st.datetimes(datetime(2023, 1, 1), datetime(2025, 12, 31)).map(lambda d: d.replace(tzinfo=UTC))


def text(span: tuple[int, int]) -> str:
    (begin, end) = span
    return f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"


@given(spans=st.lists(ranges, min_size=1, max_size=3), zone=zones, at=instants)
def test_between_now_and_the_next_opening_it_is_closed(spans, zone, at):
    hours = table(*map(text, spans), zone=zone)
    opens = hours.opens_next(at)
    assert opens is not None
    assert hours.is_open(opens)
    step = (opens - at) / 50
    assert not any(hours.is_open(at + n * step) for n in range(50)) or opens == at


@given(spans=st.lists(ranges, min_size=1, max_size=3), zone=zones, at=instants, days=st.integers(0, 5))
def test_open_time_is_what_a_look_at_every_minute_gives(spans, zone, at, days):
    hours = table(*map(text, spans), zone=zone)
    since = at.replace(second=0, microsecond=0)
    until = since + timedelta(days=days, minutes=17)
    counted = sum(hours.is_open(since + timedelta(minutes=n)) for n in range(days * 1440 + 17))
    assert hours.open_s(since, until) == counted * 60


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("22:00-06:00", ""),
        ("[Mon-Fri 20:00-06:00, 'Sat,Sun 00:00-24:00']", ""),
        ("{hours: [22:00-06:00], zone: America/New_York}", "America/New_York"),
    ],
)
def test_hours_are_written_in_three_ways(load, kinds, written, zone):
    site = load(CHANNEL.replace("OPEN", written), settings="time_zone: Europe/Berlin\n")
    assert site.findings == []
    complaints = jsonschema.Draft7Validator(channel_schema(kinds)).iter_errors(
        yaml.safe_load(CHANNEL.replace("OPEN", written.replace("22:00-06:00", "'22:00-06:00'")))
    )
    assert [error.message for error in complaints] == []
    hours = site.channels[0].file.destinations["archive"].policy.open
    assert (hours.zone or "") == zone
    assert hours.hours[0].span[1:] in ((22 * 60, 6 * 60), (20 * 60, 6 * 60))


@pytest.mark.parametrize(
    ("written", "place", "code", "hint"),
    [
        ("nights", (8, 11), "E107", "22:00-06:00"),
        ("22-06", (8, 11), "E107", "22:00-06:00"),
        ("22:00-22:00", (8, 11), "E107", "00:00-24:00"),
        ("24:30-25:00", (8, 11), "E107", ""),
        ("24:00-06:00", (8, 11), "E107", "00:00-24:00"),
        ("Mo-Fr 22:00-06:00", (8, 11), "E107", "Mon"),
        ("[22:00-06:00, Mon-Xyz 08:00-09:00]", (8, 25), "E107", "Mon"),
        ("[]", (8, 11), "E106", ""),
        ("{hours: [22:00-06:00], zone: Europe/Berln}", (8, 40), "E105", "Europe/Berlin"),
        ("{hour: [22:00-06:00]}", (8, 12), "E101", "hours"),
    ],
)
def test_what_is_no_hours_is_said_where_it_stands(load, written, place, code, hint):
    findings = load(CHANNEL.replace("OPEN", written)).findings
    finding = next(f for f in findings if f.code == code)
    assert (finding.line, finding.column) == place
    assert hint in finding.hint


def test_hours_without_a_time_zone_are_doubted_as_nobody_means_utc(load):
    (finding,) = load(CHANNEL.replace("OPEN", "22:00-06:00")).findings
    assert (finding.code, finding.line, finding.column) == ("W183", 8, 11)
    assert "time_zone" in finding.hint
    assert load(CHANNEL.replace("OPEN", "{hours: [22:00-06:00], zone: UTC}")).findings == []


def test_a_sites_zone_is_checked(load):
    findings = load(CHANNEL.replace("    open: OPEN\n", ""), settings="time_zone: Europe/Berln\n").findings
    assert [(f.code, f.file, f.line, f.column, "Europe/Berlin" in f.hint) for f in findings] == [
        ("E105", "segmill.yaml", 1, 12, True)
    ]
