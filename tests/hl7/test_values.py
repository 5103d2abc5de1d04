"""Numbers and times keep their precision, and what breaks the grammar is None (spec items 73 to 76)."""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hl7.message import Message
from engine.hl7.values import (
    format_moment,
    format_number,
    message_zone,
    parse_clock,
    parse_moment,
    parse_number,
    parse_sequence_number,
)

CET = dt.timezone(dt.timedelta(hours=1))


@pytest.mark.parametrize(
    ("text", "number"), [("1", "1"), ("-1.50", "-1.50"), ("+007.", "7"), (".5", "0.5"), ("0", "0")]
)
def test_numbers(text, number):
    assert parse_number(text) == Decimal(number)


@pytest.mark.parametrize(
    "text", ["", ">5", "<0.1", "1,5", "1e3", "nan", "Infinity", "1_0", "²", " 1", "1 ", "٣", "--1", ".", '""']
)
def test_what_is_no_number(text):
    assert parse_number(text) is None


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_numbers_round_trip_with_their_digits(number):
    assert str(parse_number(format_number(number))) == str(number)


def test_numbers_that_cannot_be_written():
    assert format_number(Decimal("1E+3")) == "1000"
    with pytest.raises(ValueError, match="finite"):
        format_number(Decimal("NaN"))


def test_sequence_numbers():
    assert [parse_sequence_number(t) for t in ("1", "007", "0", "-1", "1.0", "", " 1", "9" * 17)] == [1, 7, 0] + [
        None
    ] * 5


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("1980", "year"),
        ("198002", "month"),
        ("19800229", "day"),
        ("2026030110", "hour"),
        ("202603011015", "minute"),
        ("20260301101507", "second"),
        ("20260301101507.1", "fraction"),
        ("20260301101507.1234", "fraction"),
        ("20260301101507.1234+0545", "fraction"),
        ("202603011015-0330", "minute"),
        ("2026030110+0000", "hour"),
        ("20260301101507-0000", "second"),
        ("20260301101507-0030", "second"),
        ("20260301101507+1400", "second"),
        ("20260301000000", "second"),
    ],
)
def test_a_moment_keeps_what_was_written(text, precision):
    moment = parse_moment(text)
    assert moment.precision == precision
    assert moment.format() == text


@pytest.mark.parametrize(
    "text",
    (
        *("", '""', "00000000", "20260230", "20261301", "202603012400", "20260301101560", "20260301106001", "198"),
        *("2026-11-22", "20260301T1015", "20260301101507Z", "20260301101507+05", "20260301101507+1500", "now"),
        *(
            "20260301101507-1230",
            "20260301101507+0060",
            "2026030110150",
            "20260301101507.",
            "２０２６",
            "19800101 1015",
        ),
    ),
)
def test_what_is_no_moment(text):
    assert parse_moment(text) is None


def test_blanks_around_a_moment_do_not_count():
    assert parse_moment(" 19800101 ").format() == "19800101"


def test_half_an_hour_west_is_west():
    assert parse_moment("20260301101507-0030").offset_minutes == -30
    unknown = parse_moment("20260301101507-0000")
    assert (unknown.offset_minutes, unknown.offset_unknown) == (0, True)
    assert not parse_moment("20260301101507+0000").offset_unknown


def test_formatting_can_only_lose_precision():
    moment = parse_moment("20260301101507.25+0100")
    assert [moment.format(p) for p in ("day", "hour", "minute", "second", "fraction")] == [
        "20260301",
        "2026030110+0100",
        "202603011015+0100",
        "20260301101507+0100",
        "20260301101507.25+0100",
    ]
    assert parse_moment("1980").format("day") == "1980"


def test_a_moment_in_time():
    assert parse_moment("20260301101507.25").to_datetime(CET) == dt.datetime(2026, 3, 1, 10, 15, 7, 250000, CET)
    assert parse_moment("202603011015+0000").to_datetime(CET) == dt.datetime(2026, 3, 1, 10, 15, tzinfo=dt.UTC)
    assert parse_moment("19800229").to_date() == dt.date(1980, 2, 29)
    assert parse_moment("1980").to_date() is None


@given(st.datetimes(timezones=st.sampled_from([None, dt.UTC, CET, dt.timezone(dt.timedelta(hours=-3, minutes=-30))])))
def test_datetimes_round_trip(at):
    read = parse_moment(format_moment(at)).to_datetime(at.tzinfo or dt.UTC)
    assert read == at.replace(microsecond=0, tzinfo=at.tzinfo or dt.UTC)
    assert format_moment(at, "fraction")[15:19] == f"{at.microsecond:06}"[:4]


@given(st.text(st.sampled_from("0123456789+-. Z"), max_size=26))
def test_whatever_reads_as_a_moment_is_written_as_it_stood(text):
    moment = parse_moment(text)
    assert moment is None or moment.format() == text.strip(" ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10", dt.time(10)),
        ("1015", dt.time(10, 15)),
        ("101507.5", dt.time(10, 15, 7, 500000)),
        ("1015+0100", dt.time(10, 15, tzinfo=CET)),
    ],
)
def test_times_of_day(text, expected):
    assert parse_clock(text).to_time() == expected


@pytest.mark.parametrize("text", ["", "24", "2400", "1060", "101560", "1", "10:15", "1015+9900", '""'])
def test_what_is_no_time_of_day(text):
    assert parse_clock(text) is None


def test_the_zone_of_a_message_is_that_of_msh_7():
    assert message_zone(Message.parse(b"MSH|^~\\&|||||20260301101507-0330\r"), CET) == dt.timezone(
        -dt.timedelta(minutes=210)
    )
    assert message_zone(Message.parse(b"MSH|^~\\&|||||20260301101507\r"), CET) is CET
    assert message_zone(Message.parse(b"MSH|^~\\&\r"), CET) is CET
