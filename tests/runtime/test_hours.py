"""The gate of a destination with hours: closed whatever the circuit says, and true to a wall clock that is set."""

import pytest

from engine.config.hours import HoursText, Timetable
from engine.model.outcome import Delivered, Unreachable
from engine.runtime.circuit import Circuit
from engine.runtime.gate import LOOK_AGAIN_S, Hours

NOON = 1_718_020_800_000_000  # 2024-06-10 12:00 UTC, a Monday
MINUTE = 60_000_000


class WallClock:
    """The wall clock, which only a test moves; how often it was asked for the hours counts."""

    def __init__(self) -> None:
        self.us = NOON

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return 0.0

    def random_bytes(self, count: int) -> bytes:
        return bytes(count)


class CountingTable(Timetable):
    looked = 0

    def opens_next(self, at):
        self.looked += 1
        return super().opens_next(at)


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
def table() -> CountingTable:
    return CountingTable([HoursText("Mon 13:00-14:00")], "UTC")


@pytest.fixture
def circuit() -> Circuit:
    return Circuit(lambda failures: 5.0)


@pytest.fixture
def gate(table, circuit, clock) -> Hours:
    return Hours(table, circuit, clock)


def test_closed_it_waits_a_minute_at_most_and_says_until_when(gate):
    assert gate.wait_s(0.0) == LOOK_AGAIN_S
    assert gate.why == "closed until Mon 13:00 (UTC)"
    assert not gate.is_down


def test_just_before_it_opens_it_waits_no_longer_than_that(gate, clock):
    clock.us = NOON + 60 * MINUTE - 2_000_000
    assert gate.wait_s(0.0) == pytest.approx(2.0)
    clock.us += 2_000_000
    assert gate.wait_s(0.0) == 0
    assert gate.why == ""


def test_however_many_messages_come_the_hours_are_worked_out_once_a_minute(gate, clock, table):
    for _ in range(1000):
        gate.wait_s(0.0)
        clock.us += 59_000  # a minute in all, nearly
    assert table.looked == 1


@pytest.mark.parametrize(
    ("minutes", "is_open"), [(61, True), (-30, False), (-7 * 1440 + 61, True), (400 * 1440, False)]
)
def test_a_clock_that_is_set_is_followed_at_the_next_look(gate, clock, minutes, is_open):
    """R13: a wait that was worked out before must not outlive it."""
    gate.wait_s(0.0)
    clock.us += minutes * MINUTE
    assert (gate.wait_s(0.0) == 0) is is_open


def test_open_it_asks_the_circuit_and_closed_it_does_not_forget_what_that_knows(gate, circuit, clock):
    clock.us = NOON + 61 * MINUTE
    gate.leaving()
    gate.ended(Unreachable("nobody there"), 0.0)
    assert gate.is_down
    assert gate.wait_s(0.0) == 5.0
    gate.retry_now()
    assert gate.wait_s(0.0) == 0
    clock.us = NOON + 121 * MINUTE
    assert gate.wait_s(0.0) == LOOK_AGAIN_S, "a person's word does not open it"
    assert gate.is_down
    clock.us = NOON + 61 * MINUTE
    gate.leaving()
    gate.cut_off()
    gate.leaving()
    gate.ended(Delivered(), 0.0)
    assert not gate.is_down
    assert circuit.state == "closed"
