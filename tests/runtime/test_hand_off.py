"""One hand-off: the difference is handed over, failures are borne, and what happened is told once."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from engine.adapters.stores.memory import MemoryStore
from engine.model.envelope import Batch
from engine.model.outcome import Effects
from engine.ports.hand_off import Gone, Handed, Inventory, Kept, NotTaken, Taken, TakerDown, TakerOutcome, WaitingStep
from engine.ports.store import StoreError
from engine.runtime.committer import Committer
from engine.runtime.hand_off import HandOff, Pace
from engine.testing.store_contract import EPR, intake, result
from engine.testing.worklist_contract import MAIN, item
from engine.worklist.changes import Change, Drop, Put
from engine.worklist.item import ItemKey
from tests.runtime.parts import CountingMeter, SetClock

PACE = Pace(look_s=1.0, first_s=1.0, most_s=60.0, most_refused_s=3600.0, inventory_s=3600.0)


@dataclass
class ScriptedTaker:
    """Keeps what it is given. `down`, `refusing`: sentences; `cut`: how many of a call are taken before it is down."""

    kind = "scripted"
    most: int = 10
    there: dict[ItemKey, str] = field(default_factory=dict)
    calls: list[list[ItemKey]] = field(default_factory=list)
    looks: int = 0
    down: str = ""
    refusing: dict[ItemKey, NotTaken] = field(default_factory=dict)
    cut: int | None = None
    inventory: Inventory | None = None
    is_closed: bool = False

    async def take(self, steps: Sequence[WaitingStep]) -> Taken:
        self.calls.append([step.key for step in steps])
        if self.down:
            return Taken((), self.down)
        if self.cut is not None:
            steps = steps[: self.cut]
        return Taken([self.take_one(step) for step in steps], "cut off" if self.cut is not None else "")

    def take_one(self, step: WaitingStep) -> TakerOutcome:
        if step.key in self.refusing:
            return self.refusing[step.key]
        if step.is_shown:
            self.there[step.key] = step.mark
            return Kept()
        self.there.pop(step.key, None)
        return Gone()

    async def look(self, handed: Sequence[Handed]) -> Inventory:
        self.looks += 1
        if self.down:
            raise TakerDown(self.down)
        return self.inventory or Inventory()

    async def close(self) -> None:
        self.is_closed = True


class Meter:
    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.now: tuple[bool, int, int, int] = (False, 0, 0, 0)

    def stands(self, is_up: bool, waiting: int, refused: int, oldest_us: int) -> None:
        self.now = (is_up, waiting, refused, oldest_us)

    def event(self, event: str, count: int = 1) -> None:
        self.events.append((event, count))

    def count(self, event: str) -> int:
        return sum(count for name, count in self.events if name == event)


class Bench:
    """A store with a worklist, and a hand-off that the test turns by hand."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.store = MemoryStore(clock=self.clock)
        self.store.open()
        self.queries = self.store.queries()
        self.reads = 0
        self.taker = ScriptedTaker()
        self.meter = Meter()
        self.committer = Committer(self.store, self.clock, CountingMeter(), lambda error: None)
        self.hand_off = self.another()

    def another(self) -> HandOff:
        """As after a start."""
        return HandOff("wlm", MAIN, self.taker, self.queries, self.committer, self.clock, self.meter, PACE)

    def do(self, *changes: Change) -> None:
        with self.queries.worklist(MAIN) as view:
            seen = view.epoch
        ((delivery,),) = self.store.commit(Batch([intake(EPR)])).deliveries
        made = result(delivery)
        made.at_us = self.clock.now_us()
        made.effects = Effects(MAIN, changes, seen, "lab/epr")
        self.store.commit(Batch(results=[made]))

    def put(self, *numbers: int) -> None:
        self.do(*(Put(item(number), None, "created") for number in numbers))

    def change(self, number: int) -> None:
        with self.queries.worklist(MAIN) as view:
            before = view.item(item(number).key)
        assert before is not None
        self.do(Put(replace(before, status="ARRIVED"), before, "arrived"))

    def drop(self, number: int) -> None:
        with self.queries.worklist(MAIN) as view:
            before = view.item(item(number).key)
        assert before is not None
        self.do(Drop(before, "dropped"))

    @property
    def there(self) -> set[ItemKey]:
        return set(self.taker.there)


@asynccontextmanager
async def benched() -> AsyncIterator[Bench]:
    made = Bench()
    try:
        yield made
    finally:
        made.committer.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with benched() as made:
        yield made


def keys(*numbers: int) -> set[ItemKey]:
    return {item(number).key for number in numbers}


async def test_what_is_on_the_worklist_is_handed_over_and_what_goes_is_taken_away(bench: Bench) -> None:
    bench.put(1, 2)
    assert await bench.hand_off.turn() >= PACE.look_s
    assert bench.there == keys(1, 2)
    bench.put(3)
    bench.drop(1)
    await bench.hand_off.turn()
    assert bench.there == keys(2, 3)
    assert (bench.hand_off.status.state, bench.hand_off.status.handed, bench.hand_off.status.waiting) == ("up", 2, 0)
    assert (bench.meter.count("handed"), bench.meter.count("removed")) == (3, 1)
    assert bench.meter.now[:3] == (True, 0, 0)


async def test_where_nothing_was_written_nothing_is_done(bench: Bench) -> None:
    bench.put(1)
    await bench.hand_off.turn()
    calls, looks = len(bench.taker.calls), bench.taker.looks
    for _ in range(5):
        bench.clock.ahead_s += 10
        await bench.hand_off.turn()
    assert (len(bench.taker.calls), bench.taker.looks) == (calls, looks)


async def test_many_steps_go_in_lots_each_on_record_before_the_next(bench: Bench) -> None:
    bench.taker.most = 3
    bench.put(*range(1, 9))
    await bench.hand_off.turn()
    assert [len(call) for call in bench.taker.calls] == [3, 3, 2]
    assert bench.there == keys(*range(1, 9))


async def test_a_new_start_hands_over_the_difference_alone(bench: Bench) -> None:
    bench.put(1, 2)
    await bench.hand_off.turn()
    bench.taker.calls.clear()
    bench.put(3)
    again = bench.another()
    await again.turn()
    assert bench.taker.calls == [[item(3).key]]
    assert again.status.handed == 3


async def test_a_crash_before_the_record_hands_over_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put(1)

    async def dies(_: object) -> None:
        raise StoreError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(bench.hand_off, "_record", dies)
        await bench.hand_off.turn()
    assert bench.there == keys(1)
    await bench.another().turn()
    assert bench.taker.calls == [[item(1).key]] * 2


async def test_while_the_other_side_is_down_all_waits_and_it_is_told_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "segmill.worklist")
    bench.put(1)
    await bench.hand_off.turn()
    bench.taker.down = "no connection"
    bench.put(2, 3)
    rests = [await bench.hand_off.turn() for _ in range(10)]
    assert [round(rest / 0.8) for rest in rests] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60], "bounded, and never given up"
    status = bench.hand_off.status
    assert (status.state, status.waiting, status.why) == ("down", 2, "no connection")
    assert bench.meter.now[:2] == (False, 2) and bench.meter.now[3] > 0
    bench.taker.down = ""
    await bench.hand_off.turn()
    assert bench.there == keys(1, 2, 3) and bench.hand_off.status.why == ""
    told = [record.message for record in caplog.records if "is down" in record.message or "is back" in record.message]
    assert told == ["hand-off wlm is down: no connection; it is tried again", "hand-off wlm is back: 0 steps wait"]
    assert bench.taker.looks >= 2, "it looks what is there before it goes on"


async def test_the_wait_after_a_failure_is_spread_out(bench: Bench) -> None:
    bench.taker.down = "no connection"
    bench.clock.jitter = b"\xff\xff"
    assert await bench.hand_off.turn() == pytest.approx(1.0, abs=0.01)


async def test_what_came_through_before_it_went_down_is_on_record(bench: Bench) -> None:
    bench.put(1, 2, 3)
    bench.taker.cut = 2
    await bench.hand_off.turn()
    assert bench.hand_off.status.state == "down"
    bench.taker.cut = None
    bench.taker.calls.clear()
    await bench.hand_off.turn()
    assert bench.taker.calls == [[item(3).key]]


async def test_a_step_that_is_not_taken_keeps_no_other_and_is_tried_again_ever_more_seldom(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bad = item(1).key
    bench.taker.refusing[bad] = NotTaken("HTTP 400")
    bench.put(1, 2)
    await bench.hand_off.turn()
    assert bench.there == keys(2)
    status = bench.hand_off.status
    assert (status.state, status.waiting, status.refused, status.why) == ("up", 1, 1, "HTTP 400")
    waits = []
    for _ in range(14):
        tries, waited = sum(bad in call for call in bench.taker.calls), 0
        while sum(bad in call for call in bench.taker.calls) == tries:
            bench.clock.ahead_s += 1 if waited < 64 else 256
            waited += 1 if waited < 64 else 256
            await bench.hand_off.turn()
        waits.append(waited)
    assert waits[:5] == [1, 2, 4, 8, 16] and max(waits) <= PACE.most_refused_s + 256
    assert len([record for record in caplog.records if "W441" in record.message]) == 1
    del bench.taker.refusing[bad]
    bench.clock.ahead_s += PACE.most_refused_s
    await bench.hand_off.turn()
    assert bench.there == keys(1, 2) and bench.hand_off.status.refused == 0


async def test_a_step_that_was_not_taken_is_tried_at_once_when_it_changes(bench: Bench) -> None:
    bad = item(1).key
    bench.taker.refusing[bad] = NotTaken("HTTP 400")
    bench.put(1)
    for _ in range(4):
        await bench.hand_off.turn()
        bench.clock.ahead_s += 100
    await bench.hand_off.turn()
    tries = len(bench.taker.calls)
    bench.change(1)
    await bench.hand_off.turn()
    assert len(bench.taker.calls) == tries + 1


async def test_a_refused_step_that_goes_is_forgotten(bench: Bench) -> None:
    bench.taker.refusing[item(1).key] = NotTaken("HTTP 400")
    bench.put(1)
    await bench.hand_off.turn()
    bench.drop(1)
    await bench.hand_off.turn()
    assert bench.hand_off.status.refused == 0 and bench.meter.now[:3] == (True, 0, 0)


async def test_refused_steps_do_not_hide_those_behind_them(bench: Bench) -> None:
    bench.taker.most = 2
    bench.taker.refusing = {item(number).key: NotTaken("HTTP 400") for number in range(1, 6)}
    bench.put(*range(1, 9))
    await bench.hand_off.turn()
    assert bench.there == keys(6, 7, 8) and bench.hand_off.status.refused == 5


async def test_a_failure_of_theirs_makes_it_ask_whether_they_are_there(bench: Bench) -> None:
    bench.put(1)
    await bench.hand_off.turn()
    looks = bench.taker.looks
    bench.taker.refusing[item(2).key] = NotTaken("HTTP 500", is_theirs=True)
    bench.put(2)
    await bench.hand_off.turn()
    await bench.hand_off.turn()
    assert bench.taker.looks == looks + 1


async def test_once_an_hour_it_sees_what_is_there_and_mends_it(bench: Bench) -> None:
    bench.put(1, 2)
    await bench.hand_off.turn()
    bench.taker.there.clear()
    left = Handed(item(2).key, next(one.mark for one in handed(bench) if one.key == item(2).key), is_shown=False)
    bench.taker.inventory = Inventory(lost=[item(1).key], left=[left], removed=3)
    bench.clock.ahead_s += PACE.inventory_s
    await bench.hand_off.turn()
    assert bench.there == keys(1), "what the other side took off stays off"
    assert bench.hand_off.status.handed == 1 and bench.meter.count("removed") == 3


async def test_a_defect_of_one_is_told_and_tried_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.put(1)

    async def broken(steps: object) -> Taken:
        raise ZeroDivisionError("900001 Muster")

    take, bench.taker.take = bench.taker.take, broken  # type: ignore[method-assign]
    await bench.hand_off.turn()
    assert bench.hand_off.status.state == "down" and "ZeroDivisionError" in bench.hand_off.status.why
    assert "Muster" not in caplog.text + bench.hand_off.status.why
    bench.taker.take = take  # type: ignore[method-assign]
    await bench.hand_off.turn()
    assert bench.there == keys(1)


def handed(bench: Bench) -> Sequence[Handed]:
    with bench.queries.hand_offs() as view:
        return view.handed("wlm")
