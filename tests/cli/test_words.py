"""The small parts every command stands on: what is shown of a message, and what is understood of an option."""

from datetime import UTC, datetime

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli.messages import masked
from engine.cli.output import columns, duration, printable
from engine.cli.selection import moment_us, parse_seqs
from engine.cli.words import host_and_port, per_second, seconds

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@given(st.text(alphabet=st.characters(codec=None)))
def test_nothing_that_is_shown_can_act_upon_a_terminal(text):
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"])))
def test_text_that_can_be_shown_is_shown_as_it_is(text):
    assert printable(text) == text


@given(st.from_regex(r"\A[A-Z][A-Z0-9]{2}\|[^\r\n]{0,40}\Z"))
def test_a_masked_segment_keeps_its_shape_and_no_letter_or_digit_of_a_value(segment):
    if segment[:3] in ("MSH", "FHS", "BHS"):
        return
    shown = masked(segment)
    assert len(shown) == len(segment)
    assert shown[:3] == segment[:3]
    assert not any(c.isalnum() or not c.isascii() for c in shown[3:])
    assert [c for c in shown if c in "|^~&"] == [c for c in segment if c in "|^~&"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", "2026-11-22T10:00:00+00:00"),
        ("90m", "2026-11-22T10:30:00+00:00"),
        ("7d", "2026-11-15T12:00:00+00:00"),
        ("2026-11-22T08:00+01:00", "2026-11-22T07:00:00+00:00"),
    ],
)
def test_a_time_is_ago_or_at(text, moment):
    assert moment_us(text, NOW) == int(datetime.fromisoformat(moment).timestamp() * 1_000_000)


def test_a_time_without_a_zone_is_local():
    local = datetime(2026, 11, 22, 8).astimezone()
    assert moment_us("2026-11-22T08:00", NOW) == int(local.timestamp() * 1_000_000)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=20))
def test_numbers_of_messages_are_taken_once_and_in_order(numbers):
    assert parse_seqs([str(n) for n in numbers]) == list(dict.fromkeys(numbers))


def test_a_range_of_messages_has_both_ends():
    assert parse_seqs(["3-5", "4", "9"]) == [3, 4, 5, 9]


@pytest.mark.parametrize("text", ["0", "-1", "5-", "5-2", "a", "1.5", "1-99999999999", "", "²"])
def test_what_is_no_number_of_a_message_is_refused(text):
    with pytest.raises(click.UsageError):
        parse_seqs([text])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ris.local:6661", ("ris.local", 6661)),
        ("6661", ("127.0.0.1", 6661)),
        ("[::1]:2575", ("::1", 2575)),
    ],
)
def test_addresses(text, address):
    assert host_and_port(text) == address


@pytest.mark.parametrize("text", ["host", "host:", "host:0", "host:65536", ":", "host:x", ""])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(click.UsageError):
        host_and_port(text)


def test_rates_and_durations():
    assert (per_second("50/s"), per_second("30/m"), per_second("3")) == (50.0, 0.5, 3.0)
    assert seconds("250ms", "--timeout") == 0.25
    for wrong in ("0/s", "x/s", "5/y", "-1", "inf", "nan"):
        with pytest.raises(click.UsageError):
            per_second(wrong)
    for wrong in ("0", "5", "-1s"):
        with pytest.raises(click.UsageError):
            seconds(wrong, "--timeout")


def test_times_are_read_at_a_glance():
    assert [duration(s) for s in (0.000_25, 0.0042, 0.5, 1.25, 90)] == ["250 us", "4.2 ms", "500 ms", "1.25 s", "90 s"]


def test_columns_are_one_line_a_row_whatever_the_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    shown = columns(("name", "count", "text"), [("a", "7", "long " * 30), ("bcd", "12", "")], right=("count",))
    lines = shown.splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["name", "count", "text"]
    assert lines[1].startswith("a         7  long long")
    assert lines[2] == "bcd      12"
