"""The audit is sent on: each record at least once, in order, from a position that survives; nothing waits for it."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from engine.adapters.stores.memory import MemoryStore
from engine.model.audit import AuditRow
from engine.ports.audit_export import RepositoryDown
from engine.ports.operations import By, Change
from engine.ports.store import StoreError
from engine.runtime.audit_export import MOST_ROWS, QUIET_S, TRIES, AuditExport, ExportPace
from engine.runtime.committer import Committer
from tests.runtime.parts import CountingMeter, SetClock

PACE = ExportPace(settle_s=5.0, stall_s=30.0, first_s=1.0, most_s=60.0)


@dataclass
class ScriptedRepository:
    """Takes what it is given. `down`: why it cannot be reached; `fails_at`: the message that is cut off on its way."""

    got: list[int] = field(default_factory=list)
    down: str = ""
    fails_at: int | None = None
    is_taking: bool = True
    is_open: bool = False
    opened: int = 0
    largest: int = 0
    ends_well: bool = True

    async def open(self) -> bool:
        if self.down:
            self.is_open = False
            raise RepositoryDown(self.down)
        if self.is_open:
            return False
        self.is_open = True
        self.opened += 1
        return True

    async def send(self, messages: Sequence[bytes]) -> None:
        assert self.is_open
        self.largest = max(self.largest, len(messages))
        for message in messages:
            if self.fails_at == int(message):
                self.fails_at, self.is_open = None, False
                raise RepositoryDown("the connection was lost")
            self.got.append(int(message))

    def has_all(self) -> bool:
        return self.is_open and self.is_taking

    async def close(self) -> bool:
        was_open, self.is_open = self.is_open, False
        return was_open and self.ends_well


class Meter:
    def __init__(self) -> None:
        self.now = (False, 0, 0)
        self.messages = self.failures = 0

    def stands(self, is_up: bool, waiting: int, oldest_us: int) -> None:
        self.now = (is_up, waiting, oldest_us)

    def sent(self, count: int) -> None:
        self.messages += count

    def failed(self) -> None:
        self.failures += 1


def render(row: AuditRow) -> Sequence[bytes]:
    return [str(row.id).encode()]


class Bench:
    """A store with an audit, and an export that the test turns by hand."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.store = MemoryStore(clock=self.clock)
        self.store.open()
        self.queries = self.store.queries()
        self.repository = ScriptedRepository()
        self.meter = Meter()
        self.committer = Committer(self.store, self.clock, CountingMeter(), lambda error: None)  # type: ignore[arg-type]
        self.export = self.made()

    def made(self) -> AuditExport:
        """As after a start."""
        return AuditExport(
            *("arr:6514", self.repository, render, self.queries, self.committer, self.clock, self.meter, PACE),
            bare=lambda row: [str(-row.id).encode()],
        )

    def record(self, count: int = 1) -> None:
        for _ in range(count):
            self.store.operate(Change(By("anna"), "reload", is_always_recorded=True))

    async def settled(self) -> float:
        """A turn, and another when what was sent counts as sent."""
        await self.export.turn()
        self.clock.ahead_s += PACE.settle_s + 0.001
        return await self.export.turn()


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    bench = Bench()
    try:
        yield bench
    finally:
        bench.committer.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with running() as made:
        yield made


async def test_everything_on_record_is_sent_in_order(bench: Bench) -> None:
    bench.record(3)
    assert await bench.settled() == QUIET_S
    bench.record(2)
    await bench.settled()
    assert bench.repository.got == [1, 2, 3, 4, 5]
    assert bench.queries.audit_sent() == 5
    assert bench.meter.now == (True, 0, 0) and bench.meter.messages == 5


async def test_a_long_record_goes_in_small_parts(bench: Bench) -> None:
    bench.record(3 * MOST_ROWS + 1)
    await bench.export.turn()
    assert bench.repository.got == list(range(1, 3 * MOST_ROWS + 2))
    assert bench.repository.largest == MOST_ROWS


async def test_what_was_sent_counts_only_when_the_connection_still_stands_later(bench: Bench) -> None:
    bench.record(2)
    rest_s = await bench.export.turn()
    assert bench.queries.audit_sent() == 0 and 0 < rest_s <= PACE.settle_s
    assert bench.meter.now[:2] == (True, 2)
    bench.repository.is_open = False  # it went away, and perhaps with what it had
    bench.clock.ahead_s += PACE.settle_s + 1
    await bench.export.turn()
    assert bench.repository.got == [1, 2, 1, 2]
    await bench.settled()
    assert bench.queries.audit_sent() == 2 and bench.repository.got == [1, 2, 1, 2]


async def test_what_the_other_machine_does_not_have_is_not_taken_for_sent(bench: Bench) -> None:
    bench.record(1)
    bench.repository.is_taking = False
    await bench.settled()
    assert bench.queries.audit_sent() == 0
    bench.clock.ahead_s += PACE.stall_s + 1
    await bench.export.turn()
    assert bench.meter.now[0] is False, "it stands still, and that is not taken for a connection"
    bench.repository.is_taking = True
    await bench.settled()
    assert bench.repository.got == [1, 1] and bench.queries.audit_sent() == 1


async def test_a_message_that_was_cut_off_is_sent_again_and_none_before_the_position(bench: Bench) -> None:
    bench.record(3)
    await bench.settled()
    bench.record(4)
    bench.repository.fails_at = 6
    await bench.export.turn()
    await bench.settled()
    assert bench.repository.got == [1, 2, 3, 4, 5, 4, 5, 6, 7]


async def test_a_repository_that_is_away_is_told_once_and_tried_again_ever_more_rarely(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "segmill.audit")
    bench.record(2)
    bench.repository.down = "arr:6514: connection refused"
    waits = [await bench.export.turn() for _ in range(9)]
    assert waits == [pytest.approx(0.8 * wait) for wait in (1, 2, 4, 8, 16, 32, 60, 60, 60)]
    assert bench.meter.now[:2] == (False, 2) and bench.meter.now[2] > 0 and bench.meter.failures == 9
    bench.repository.down = ""
    await bench.settled()
    assert bench.repository.got == [1, 2]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and "E560" in told[0] and "connection refused" in told[0] and "is back" in told[1]


@pytest.mark.parametrize("down_s", [60.0, pytest.param(600.0, marks=pytest.mark.soak)])
async def test_nothing_is_lost_of_what_came_while_the_repository_was_down(bench: Bench, down_s: float) -> None:
    """SEC10: fifty records a second for ten minutes, and the connection is cut off once while they are caught up."""
    bench.repository.down = "arr:6514: connection refused"
    last_s = 0.0
    while last_s < down_s:
        wait_s = await bench.export.turn()
        bench.record(int((last_s + wait_s) * 50) - int(last_s * 50))
        bench.clock.ahead_s += wait_s
        last_s += wait_s
    count = bench.queries.audit_head().last
    assert count >= 50 * down_s and bench.repository.got == []
    bench.repository.down, bench.repository.fails_at = "", 1_234
    while bench.queries.audit_sent() < count:
        await bench.export.turn()
        bench.clock.ahead_s += PACE.settle_s + 0.001
    assert sorted(set(bench.repository.got)) == list(range(1, count + 1)), "each of them"
    first = list(dict.fromkeys(bench.repository.got))
    assert first == sorted(first), "in order"
    assert len(bench.repository.got) - count <= 1_234, "again is sent only what was not known to have arrived"
    assert bench.repository.largest <= MOST_ROWS


async def test_after_a_start_it_goes_on_from_its_position(bench: Bench) -> None:
    bench.record(2)
    await bench.settled()
    bench.record(1)
    bench.repository.is_open = False
    bench.export = bench.made()
    await bench.settled()
    assert bench.repository.got == [1, 2, 3]


async def test_an_orderly_end_sends_what_is_left_and_none_of_it_again(bench: Bench) -> None:
    bench.record(1)
    await bench.export.turn()
    bench.record(2)
    await bench.export.finish(10.0)
    assert bench.repository.got == [1, 2, 3] and bench.queries.audit_sent() == 3
    assert not bench.repository.is_open


async def test_an_end_that_the_other_side_does_not_confirm_sends_again(bench: Bench) -> None:
    bench.record(1)
    await bench.export.turn()
    bench.repository.ends_well = False
    await bench.export.finish(10.0)
    assert bench.queries.audit_sent() == 0


async def test_an_end_while_it_is_down_waits_for_nobody(bench: Bench) -> None:
    bench.record(1)
    bench.repository.down = "away"
    await bench.export.turn()
    await bench.export.finish(10.0)
    assert bench.queries.audit_sent() == 0 and bench.meter.failures == 1


async def test_the_position_leaves_no_record_of_its_own(bench: Bench) -> None:
    bench.record(2)
    await bench.settled()
    assert bench.queries.audit_head().last == 2


async def test_a_defect_keeps_the_neighbours_running_and_says_nothing_of_the_text(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(row: AuditRow) -> Sequence[bytes]:
        raise ValueError("ZQ12345QZ")

    bench.record(1)
    bench.export._render = broken
    assert await bench.export.turn() > 0
    assert "ZQ12345QZ" not in caplog.text and "ValueError" in caplog.text
    bench.export._bare = broken
    bench.record(1)
    assert await bench.export.turn() > 0
    assert bench.meter.now[0] is False and "ZQ12345QZ" not in caplog.text


async def test_a_record_that_no_message_can_be_made_of_holds_up_none_behind_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(row: AuditRow) -> Sequence[bytes]:
        if row.id in (3, 4):
            raise ValueError("ZQ12345QZ")
        return render(row)

    bench.record(5)
    bench.export._render = broken
    await bench.settled()
    assert bench.repository.got == [1, 2, -3, -4, 5] and bench.queries.audit_sent() == 5
    assert bench.meter.now == (True, 0, 0)
    told = [record.getMessage() for record in caplog.records if "E564" in record.getMessage()]
    assert len(told) == 1 and "record 3" in told[0] and "ZQ12345QZ" not in told[0], "and not a line for each"


async def test_a_store_that_cannot_say_more_of_a_record_is_asked_again_and_not_for_ever(bench: Bench) -> None:
    def broken(row: AuditRow) -> Sequence[bytes]:
        if row.id == 2:
            raise StoreError("damaged")
        return render(row)

    bench.record(3)
    bench.export._render = broken
    turns = 0
    while -2 not in bench.repository.got:
        await bench.export.turn()
        turns += 1
        assert turns <= TRIES
    assert turns == TRIES and bench.repository.got[-2:] == [-2, 3] and bench.meter.now[0] is True


async def test_a_defect_at_the_end_does_not_stop_the_stop(bench: Bench) -> None:
    def broken(row: AuditRow) -> Sequence[bytes]:
        raise ValueError

    await bench.settled()
    bench.record(1)
    bench.export._render = bench.export._bare = broken
    await bench.export.finish(10.0)
    assert bench.queries.audit_sent() == 0 and not bench.repository.is_open


async def test_a_long_record_moves_on_while_it_is_sent(bench: Bench) -> None:
    """What has just been written is on its way: only a moment later the other machine can have said that it has it."""
    repository, clock = bench.repository, bench.clock

    def slow(count: int) -> None:
        clock.ahead_s += 2 * PACE.settle_s + 1
        repository.is_taking = False

    bench.meter.sent = slow  # type: ignore[method-assign]
    bench.record(4 * MOST_ROWS)
    for part in range(1, 4):
        repository.is_taking = True
        assert await bench.export.turn() == PACE.first_s / 10, "it waits until it is known to have arrived"
        assert repository.got[-1] == part * MOST_ROWS
        assert bench.queries.audit_sent() == (part - 1) * MOST_ROWS
    repository.is_open = False
    repository.got.clear()
    await bench.export.turn()
    assert repository.got[0] == 2 * MOST_ROWS + 1, "a lost connection begins where it was known to be"
