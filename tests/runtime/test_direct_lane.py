"""A lane whose sink can begin at once: what it does beside its task, and how the task has it back.

That it does all else as any lane does, `test_lane` shows: all of it runs both ways.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from engine.model.outcome import Delivered, Refused, Unanswered
from tests.runtime.parts import EPR, owned_tasks, received, slow_disk, turns, until
from tests.runtime.test_lane import Bench


@pytest.fixture
async def bench(store, committer, clock) -> AsyncIterator[Bench]:
    async with owned_tasks() as (tasks, failures):
        yield Bench(store, committer, clock, tasks, directly=True)
        assert failures == []


async def resting(bench: Bench) -> "asyncio.Task[None]":
    """The lane's task, once it has nothing to do."""
    bench.make(bench.sink)
    task = bench.start()
    await until(lambda: bench.lane._rests_until_woken)
    return task


async def away(bench: Bench) -> "asyncio.Task[None]":
    """One delivery is begun, and not answered."""
    task = await resting(bench)
    bench.sink.gate.clear()
    await bench.feed(1)
    await until(lambda: bench.sink.sent == [1])
    assert bench.direct.begun == 1 and bench.lane.state == "sending"
    return task


async def test_what_is_offered_to_a_lane_that_rests_is_begun_without_its_task(bench) -> None:
    await resting(bench)
    for _ in range(5):
        await bench.feed(4)
    await bench.all_delivered(20)
    assert bench.sink.sent == list(range(1, 21)) and bench.direct.begun == 20
    assert bench.lane.state == "idle"


async def test_the_next_one_is_begun_where_the_one_before_ended(bench) -> None:
    await away(bench)
    await bench.feed(5)
    assert bench.sink.sent == [1], "one at a time"
    bench.sink.gate.set()
    await bench.all_delivered(6)
    assert bench.sink.sent == [1, 2, 3, 4, 5, 6]


async def test_what_cannot_be_begun_is_sent_by_the_task_and_the_next_one_directly_again(bench) -> None:
    await resting(bench)
    bench.direct.refusals = 2  # where it is offered, and by the task
    await bench.feed(1)
    await bench.all_delivered(1)
    assert bench.direct.begun == 0
    await until(lambda: bench.lane._rests_until_woken)
    await bench.feed(1)
    await bench.all_delivered(2)
    assert bench.sink.sent == [1, 2] and bench.direct.begun == 1


async def test_drained_it_ends_when_the_attempt_at_hand_has_ended_and_begins_no_other(bench) -> None:
    task = await away(bench)
    await bench.feed(1)
    bench.lane.drain()
    await turns(50)
    assert not task.done()
    bench.sink.gate.set()
    await until(task.done)
    await bench.committer.drained()
    assert bench.states() == ["delivered", "queued"] and bench.sink.sent == [1] and bench.sink.is_closed


async def test_cancelled_it_cuts_off_what_is_away_and_has_that_on_record(bench) -> None:
    task = await away(bench)
    task.cancel()
    await until(task.done)
    await bench.committer.drained()
    (row,) = bench.rows()
    assert (row.state, row.attempts, row.code) == ("queued", 1, "unanswered")
    assert bench.direct.cut == 1 and bench.sink.is_closed and not bench.lane.in_hand
    bench.sink.gate.set()
    await turns(50)
    assert bench.states() == ["queued"], "nothing that comes later is credited to it"


async def test_paused_it_begins_nothing_and_resumed_it_goes_on(bench) -> None:
    await away(bench)
    await bench.feed(2)
    bench.lane.pause()
    bench.sink.gate.set()
    await until(lambda: bench.states()[0] == "delivered")
    await turns(50)
    assert bench.sink.sent == [1] and bench.lane.state == "paused"
    bench.lane.resume()
    await bench.all_delivered(3)
    assert bench.sink.sent == [1, 2, 3]


async def test_nothing_begins_while_somebody_moves_what_waits(bench) -> None:
    await away(bench)
    await bench.feed(1)
    with bench.lane.standing_still():
        bench.sink.gate.set()
        await bench.lane.let_go_of({1})
        await turns(50)
        assert bench.sink.sent == [1]
    await bench.all_delivered(2)


async def test_who_waits_for_it_to_let_go_waits_for_the_record_of_what_is_away(bench) -> None:
    await away(bench)
    gone = bench.tasks.spawn(bench.lane.let_go_of({1}), "let go")
    await turns(50)
    assert not gone.done()
    bench.sink.gate.set()
    await gone
    assert bench.states() == ["delivered"]


async def test_no_more_ends_are_open_than_the_window_says(bench) -> None:
    await slow_disk(bench.committer, bench.store)
    bench.sink.gate.clear()
    bench.make(bench.sink, window=2)
    bench.start()
    await bench.feed(6)
    await until(lambda: bench.sink.sent == [1])
    with bench.store.commits_held():
        bench.sink.gate.set()
        await until(lambda: bench.sink.sent == [1, 2])
        await turns(100)
        assert bench.sink.sent == [1, 2]
    await until(lambda: bench.states() == ["delivered"] * 6)
    assert bench.sink.sent == [1, 2, 3, 4, 5, 6] and bench.direct.begun == 6


@pytest.mark.parametrize("outcome", [Unanswered("no answer"), Refused("AR")])
async def test_what_is_tried_again_keeps_its_place(bench, outcome) -> None:
    bench.sink.script = [Delivered(), outcome]
    await resting(bench)
    await bench.feed(4)
    await bench.all_delivered(4)
    assert bench.sink.sent == [1, 2, 2, 3, 4]


async def test_a_sink_that_cannot_even_begin_leaves_it_unanswered_and_tries_again(bench, caplog) -> None:
    await resting(bench)
    bench.direct.failure = KeyError("PATIENT")
    with caplog.at_level(logging.ERROR, logger="segmill.lane"):
        await bench.feed(2)
        await bench.all_delivered(2)
    assert bench.rows()[0].attempts == 2 and "PATIENT" not in caplog.text
    assert "the sink failed: KeyError" in caplog.text


async def test_a_defect_beside_the_task_ends_the_task_with_what_was_in_hand(store, committer, clock) -> None:
    async with owned_tasks() as (tasks, failures):
        bench = Bench(store, committer, clock, tasks, directly=True)
        task = await away(bench)
        error = KeyError("a defect of ours")

        def fails(*of: object, **more: object) -> None:
            raise error

        bench.lane._ends.settle = fails  # type: ignore[method-assign, assignment]
        bench.sink.gate.set()
        await until(task.done)
        assert [failed for _, failed in failures] == [error]
        assert list(bench.lane.in_hand) == [1], "who starts it again has it on record as cut off"
        await bench.committer.drained()
        assert bench.states() == ["queued"]


async def test_answers_leave_before_lanes_begin(bench) -> None:
    """A sender must not wait while its message and those of its neighbours are written to their receivers."""
    await resting(bench)
    order: list[str] = []
    begin = bench.sink.begin

    def begins(*of: object) -> bool:
        order.append("begins")
        return begin(*of)

    bench.sink.begin = begins

    def stored(seq: object, deliveries: list) -> None:
        bench._stored(seq, deliveries)
        bench.committer.soon(lambda: order.append("answer"))

    for _ in range(3):
        bench.committer.put(received(EPR), stored, lambda _: None)
    await bench.all_delivered(3)
    assert order[:4] == ["answer", "answer", "answer", "begins"]


async def test_what_was_sent_where_the_lane_died_of_beginning_it_is_in_hand(store, committer, clock) -> None:
    async with owned_tasks() as (tasks, failures):
        bench = Bench(store, committer, clock, tasks, directly=True)
        task = await resting(bench)
        bench.sink.gate.clear()
        error = KeyError("a defect of ours")

        def fails() -> None:
            raise error

        bench.lane._window.take = fails  # type: ignore[method-assign, assignment]
        await bench.feed(1)
        await until(task.done)
        assert [failed for _, failed in failures] == [error]
        assert bench.sink.sent == [1] and list(bench.lane.in_hand) == [1]
        bench.sink.gate.set()
        await turns(50)
        await bench.committer.drained()
        assert bench.states() == ["queued"]
