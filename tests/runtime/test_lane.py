"""A lane: one destination's deliveries in order, each to a recorded end, and a bound on what a crash can repeat."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.envelope import Delivery, DeliveryResult
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable
from engine.ports.store import StoreBusy, StoredDelivery, StoreFull
from engine.runtime import committer as committer_module
from engine.runtime import endings
from engine.runtime import queue_window as module
from engine.runtime.committer import Committer
from engine.runtime.lane import Lane, LaneSettings, QueueReader
from engine.runtime.policy import Policy
from engine.runtime.tasks import Tasks
from tests.runtime.parts import (
    EPR,
    LAB,
    CountingMeter,
    Direct,
    ScriptedSink,
    SetClock,
    WatchedStore,
    owned_tasks,
    received,
    slow_disk,
    turns,
    until,
)

AT_ONCE = Policy(first_s=0.0, most_s=0.05, jitter=0.0)
DOWN = Unreachable("nobody there")
SILENT = Unanswered("no answer")
AE, AR = Refused("AE"), Refused("AR")


class Bench:
    """A store, a committer, and one lane with a scripted sink."""

    def __init__(
        self, store: WatchedStore, committer: Committer, clock: SetClock, tasks: Tasks, *, directly: bool = False
    ) -> None:
        self.directly = directly
        self.store = store
        self.committer = committer
        self.clock = clock
        self.meter = CountingMeter()
        self.queries = store.queries()
        self.tasks = tasks
        self.sink = ScriptedSink()
        self.lane = self.make()
        self.fed = 0

    def make(
        self,
        sink: ScriptedSink | None = None,
        policy: Policy = AT_ONCE,
        window: int = 1,
        queue: QueueReader | None = None,
    ) -> Lane:
        self.sink = sink or ScriptedSink()
        if self.directly and self.sink.max_batch == 1:
            self.direct = Direct(self.sink)
        self.lane = Lane(
            LaneSettings(LAB, EPR, policy, window),
            self.sink,
            queue or self.queries,
            self.committer,
            self.clock,
            self.meter,
        )
        return self.lane

    def start(self) -> "asyncio.Task[None]":
        return self.tasks.spawn(self.lane.run(), "deliver lab/epr")

    async def feed(self, count: int = 1) -> None:
        """Commit so many messages for the lane, each offered to it when it is stored."""
        wanted = self.fed + count
        for _ in range(count):
            self.committer.put(received(EPR), self._stored, lambda _: None)
        await until(lambda: self.fed == wanted)

    def _stored(self, _: MessageSeq, deliveries: list[Delivery]) -> None:
        self.fed += 1
        for delivery in deliveries:
            self.lane.offer(delivery)

    def rows(self) -> list[StoredDelivery]:
        return [row for seq in range(1, self.fed + 3) for row in self.queries.deliveries(MessageSeq(seq))]

    def states(self) -> list[str]:
        return [row.state for row in self.rows()]

    async def release(self, *ids: int) -> None:
        await self.committer.call(lambda s: s.move_deliveries([DeliveryId(i) for i in ids], "queued", "released"))
        self.lane.reread()

    async def all_delivered(self, count: int) -> None:
        await until(lambda: self.states() == ["delivered"] * count)


@pytest.fixture(params=["by its task", "directly"])
async def bench(store, committer, clock, request) -> AsyncIterator[Bench]:
    async with owned_tasks() as (tasks, failures):
        yield Bench(store, committer, clock, tasks, directly=request.param == "directly")
        assert failures == []


class TestOrder:
    async def test_deliveries_go_out_in_the_order_they_were_stored(self, bench) -> None:
        bench.start()
        for _ in range(5):
            await bench.feed(20)
        await bench.all_delivered(100)
        assert bench.sink.sent == list(range(1, 101))

    async def test_what_waits_in_the_store_goes_first(self, bench) -> None:
        await bench.feed(10)
        lane = bench.make()
        bench.start()
        await bench.feed(10)
        await bench.all_delivered(20)
        assert bench.sink.sent == list(range(1, 21))
        assert lane.state == "idle"

    async def test_a_retry_keeps_its_place_at_the_head(self, bench) -> None:
        bench.make(ScriptedSink(DOWN, SILENT, AR, Delivered(), DOWN))
        bench.start()
        await bench.feed(3)
        await bench.all_delivered(3)
        assert bench.sink.sent == [1, 1, 1, 1, 2, 2, 3]
        assert [row.attempts for row in bench.rows()] == [4, 2, 1]

    async def test_one_at_a_time_and_delivered_is_said_after_the_sink_said_so(self, bench) -> None:
        bench.sink.gate.clear()
        bench.start()
        await bench.feed(3)
        await until(lambda: bench.sink.sent == [1])
        await bench.committer.drained()
        assert bench.states() == ["queued"] * 3 and bench.lane.state == "sending"
        bench.sink.gate.set()
        await bench.all_delivered(3)


class TestWatcher:
    async def test_a_defect_of_who_tells_the_sender_undoes_no_delivery(self, bench, caplog) -> None:
        class Broken:
            def ending(self, delivery: object, outcome: object, result: DeliveryResult) -> bool:
                result.ack_code = "AA"
                raise KeyError("PATIENT")

            def recorded(self, delivery_id: DeliveryId) -> None:
                raise KeyError("PATIENT")

        lane = bench.make()
        lane.watch(Broken())
        bench.start()
        await bench.feed(3)
        await bench.all_delivered(3)
        assert bench.sink.sent == [1, 2, 3]
        assert "cannot be told" in caplog.text and "PATIENT" not in caplog.text


class TestWindow:
    @pytest.mark.parametrize("window", [1, 3])
    async def test_no_more_than_the_window_is_sent_and_not_recorded(self, bench, window) -> None:
        bench.make(window=window)
        bench.start()
        await slow_disk(bench.committer, bench.store)
        await bench.feed(10)
        done = len([s for s in bench.states() if s == "delivered"])
        with bench.store.commits_held():
            await until(lambda: len(bench.sink.sent) - done >= window)
            await turns(200)
            recorded = len([s for s in bench.states() if s == "delivered"])
            assert len(bench.sink.sent) - recorded <= window
        await bench.all_delivered(10)

    async def test_a_full_window_makes_the_committer_hurry(self, bench, monkeypatch) -> None:
        monkeypatch.setattr(committer_module, "RESULTS_WAIT_S", 3600)
        bench.start()
        await bench.feed(1)
        await until(lambda: bench.sink.sent == [1])
        await bench.feed(5)
        await until(lambda: len(bench.sink.sent) == 6)

    @pytest.mark.parametrize("step", ["hold", "skip"])
    async def test_nothing_overtakes_what_is_set_aside_before_that_is_on_record(self, bench, step) -> None:
        policy = Policy(first_s=0.0, most_s=0.01, on_refused=step)
        bench.make(ScriptedSink(Delivered(), AE), policy=policy, window=8)
        await bench.feed(4)
        await slow_disk(bench.committer, bench.store)
        with bench.store.commits_held():
            bench.start()
            await until(lambda: len(bench.sink.sent) >= 2)
            await turns(200)
            assert bench.sink.sent == [1, 2], "a crash now would bring 2 back, behind 3"
        await until(lambda: bench.states() == ["delivered", "held" if step == "hold" else "failed", *["delivered"] * 2])
        assert bench.sink.sent == [1, 2, 3, 4]

    async def test_what_is_set_aside_makes_the_committer_hurry(self, bench, monkeypatch) -> None:
        monkeypatch.setattr(committer_module, "RESULTS_WAIT_S", 3600)
        policy = Policy(first_s=0.0, most_s=0.01, on_refused="hold")
        bench.make(ScriptedSink(AE), policy=policy, window=8)
        await bench.feed(3)
        bench.start()
        await until(lambda: bench.sink.sent == [1, 2, 3])

    async def test_a_full_store_holds_the_lane_and_loses_no_result(self, bench, monkeypatch) -> None:
        monkeypatch.setattr(committer_module, "RETRY_S", 0.01)
        await bench.feed(4)
        for _ in range(5):
            bench.store.fail_next(StoreFull("full"))
        bench.make()
        bench.start()
        await bench.all_delivered(4)
        assert bench.sink.sent == [1, 2, 3, 4]


class TestRetries:
    async def test_waits_double_up_to_the_longest_and_never_past_it(self) -> None:
        from engine.runtime.policy import backoff

        policy = Policy(first_s=1, most_s=60, jitter=0.2)
        assert [backoff(policy, n, 0.0) for n in range(1, 10)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert all(48 <= backoff(policy, 10_000, j / 10) <= 60 for j in range(10))

    async def test_the_head_waits_its_time_and_the_others_behind_it(self, bench) -> None:
        bench.make(ScriptedSink(DOWN), policy=Policy(first_s=0.2, most_s=0.2, jitter=0.0))
        bench.start()
        began = bench.clock.monotonic()
        await bench.feed(2)
        await until(lambda: bench.lane.state == "down")
        assert bench.sink.sent == [1]
        await until(lambda: len(bench.sink.sent) == 3)
        assert bench.sink.sent == [1, 1, 2]
        assert bench.clock.monotonic() - began >= 0.19

    async def test_the_time_of_the_next_attempt_survives_a_restart(self, bench) -> None:
        bench.make(ScriptedSink(DOWN), policy=Policy(first_s=600, most_s=600, jitter=0.0))
        bench.start()
        await bench.feed(1)
        await until(lambda: bench.lane.state == "down")
        await bench.committer.drained()
        bench.lane.drain()
        bench.make(policy=Policy(first_s=600, most_s=600))
        bench.start()
        await until(lambda: bench.lane.state == "waiting")
        assert bench.sink.sent == [] and bench.lane.attempts == 1

    @pytest.mark.parametrize("days", [-400, 400])
    async def test_a_wall_clock_that_jumps_neither_delays_nor_hastens_a_retry_by_more_than_its_wait(
        self, bench, days
    ) -> None:
        bench.make(ScriptedSink(DOWN), policy=Policy(first_s=0.1, most_s=0.1, jitter=0.0))
        bench.start()
        began = bench.clock.monotonic()
        await bench.feed(1)
        await until(lambda: bench.lane.state == "down")
        bench.clock.wall_ahead_s = days * 86400.0
        await until(lambda: len(bench.sink.sent) == 2, within_s=5)
        assert bench.clock.monotonic() - began >= 0.09

    @pytest.mark.parametrize("jump_s", [-4.0, 4.0, -400 * 86400.0, 400 * 86400.0])
    async def test_a_wall_clock_that_jumps_at_each_of_its_reads_has_no_say_in_a_wait(
        self, bench, monkeypatch, jump_s
    ) -> None:
        """R13: between the end of the attempt and the look at how long to wait for the next."""
        read = bench.clock.now_us

        def jumping() -> int:
            bench.clock.wall_ahead_s += jump_s
            return read()

        monkeypatch.setattr(bench.clock, "now_us", jumping)
        bench.make(ScriptedSink(DOWN), policy=Policy(first_s=60, most_s=600, jitter=0.0))
        began = bench.clock.monotonic()
        bench.start()
        await bench.feed(1)
        await until(lambda: bench.lane.state == "down" and bench.lane._window._not_before)
        assert began + 60 <= bench.lane._window._not_before <= bench.clock.monotonic() + 60

    async def test_a_destination_that_comes_and_goes_is_told_of_once_each_way(self, bench, caplog) -> None:
        bench.make(ScriptedSink(DOWN, DOWN, SILENT, Delivered(), Delivered(), DOWN))
        with caplog.at_level(logging.WARNING, logger="segmill.lane"):
            bench.start()
            await bench.feed(3)
            await bench.all_delivered(3)
        said = [record.getMessage() for record in caplog.records]
        assert [text.split(" is ")[1][:4] for text in said] == ["down", "back", "down", "back"]

    async def test_limits_hold_the_delivery_for_a_person(self, bench) -> None:
        bench.make(ScriptedSink(DOWN, DOWN, DOWN), policy=Policy(first_s=0.0, most_attempts=3))
        bench.start()
        await bench.feed(2)
        await until(lambda: bench.states() == ["held", "delivered"])
        assert bench.sink.sent == [1, 1, 1, 2]


class TestOutcomes:
    @pytest.mark.parametrize(
        ("outcome", "policy", "state"),
        [
            (AE, Policy(), "held"),
            (Refused("CR", "207"), Policy(), "held"),
            (AE, Policy(on_refused="skip"), "failed"),
            (Refused("AR", "201"), Policy(), "held"),
            (AR, Policy(on_rejected="skip"), "failed"),
            (SILENT, Policy(on_unanswered="hold"), "held"),
            (Unsendable("a VT in it"), Policy(), "held"),
        ],
    )
    async def test_what_cannot_pass_is_set_aside_and_the_next_one_goes(self, bench, outcome, policy, state) -> None:
        bench.make(ScriptedSink(outcome), policy=policy)
        bench.start()
        await bench.feed(2)
        await until(lambda: bench.states() == [state, "delivered"])
        assert bench.sink.sent == [1, 2]

    @pytest.mark.parametrize(
        ("outcome", "policy"),
        [(AR, Policy(first_s=0)), (AE, Policy(first_s=0, on_refused="retry")), (SILENT, Policy(first_s=0))],
    )
    async def test_what_may_pass_later_is_tried_again(self, bench, outcome, policy) -> None:
        bench.make(ScriptedSink(outcome, outcome), policy=policy)
        bench.start()
        await bench.feed(1)
        await bench.all_delivered(1)
        assert bench.sink.sent == [1, 1, 1]

    async def test_a_lane_that_stops_stands_still_until_a_person_says_so(self, bench, caplog) -> None:
        bench.make(ScriptedSink(AE), policy=Policy(on_refused="stop"))
        bench.start()
        await bench.feed(3)
        await until(lambda: bench.lane.state == "stopped")
        (told,) = [one.getMessage() for one in caplog.records if "stopped at message 1" in one.getMessage()]
        assert f"segmill queue retry {bench.lane.name}." in told, "what to do stands where it is looked for"
        assert told.endswith("segmill queue skip --delivery 1")
        await bench.feed(2)
        await turns(100)
        assert bench.sink.sent == [1] and bench.states()[0] == "queued"
        assert bench.meter.is_stopped
        bench.lane.retry_now()
        await bench.all_delivered(5)
        assert bench.sink.sent == [1, 1, 2, 3, 4, 5]
        assert not bench.meter.is_stopped

    async def test_the_receivers_answer_is_kept_but_not_more_than_a_page_of_it(self, bench) -> None:
        bench.make(ScriptedSink(Refused("AE", "102", b"MSA|AE" * 10_000, "refused " * 1000)))
        bench.start()
        await bench.feed(1)
        await until(lambda: bench.states() == ["held"])
        (row,) = bench.rows()
        assert row.code == "AE 102" and len(row.answer) == endings.MOST_ANSWER_BYTES and len(row.note) <= 300

    @pytest.mark.parametrize("error", [KeyError("a defect of the sink"), OSError("disk")])
    async def test_a_sink_that_raises_leaves_its_deliveries_unanswered_and_the_engine_running(
        self, bench, error, caplog
    ) -> None:
        bench.make(ScriptedSink(error))
        bench.start()
        with caplog.at_level(logging.ERROR, logger="segmill.lane"):
            await bench.feed(2)
            await bench.all_delivered(2)
        assert bench.sink.sent == [1, 1, 2]
        assert "a defect of the sink" not in caplog.text, "an exception's text may hold a message"

    async def test_a_sink_that_says_too_little_is_not_believed(self, bench) -> None:
        class Silent(ScriptedSink):
            async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
                await super().send(deliveries)
                return [Delivered()] * (len(deliveries) - (1 if len(self.calls) == 1 else 0))

        bench.make(Silent(max_batch=2))
        await bench.feed(2)
        bench.start()
        await bench.all_delivered(2)
        assert bench.sink.sent == [1, 2, 1, 2]


class TestRelease:
    async def test_a_released_delivery_goes_out_again(self, bench) -> None:
        bench.make(ScriptedSink(AE))
        bench.start()
        await bench.feed(3)
        await until(lambda: bench.states() == ["held", "delivered", "delivered"])
        await bench.release(1)
        await bench.all_delivered(3)
        assert bench.sink.sent == [1, 2, 3, 1]

    async def test_a_release_never_repeats_what_is_in_hand_or_not_yet_recorded(self, bench) -> None:
        bench.make(ScriptedSink(AE), window=8)
        bench.start()
        await bench.feed(1)
        await until(lambda: bench.states() == ["held"])
        await slow_disk(bench.committer, bench.store)
        with bench.store.commits_held():
            waiting = asyncio.gather(bench.feed(3))
            await until(lambda: len(bench.store.batches) >= 4)
        await waiting
        with bench.store.commits_held():
            await until(lambda: len(bench.sink.sent) == 4)  # three delivered, not recorded
            bench.sink.gate.clear()
            bench.lane.reread()
            await turns(50)
            assert bench.sink.sent == [1, 2, 3, 4]
        bench.sink.gate.set()
        await bench.release(1)
        await bench.all_delivered(4)
        assert bench.sink.sent == [1, 2, 3, 4, 1]

    async def test_a_release_while_one_is_being_sent_does_not_send_it_twice(self, bench) -> None:
        bench.sink.gate.clear()
        bench.start()
        await bench.feed(3)
        await until(lambda: bench.sink.sent == [1])
        bench.lane.reread()
        await turns(50)
        bench.sink.gate.set()
        await bench.all_delivered(3)
        assert bench.sink.sent == [1, 2, 3]

    async def test_a_release_while_a_batch_is_being_retried_does_not_double_it(self, bench) -> None:
        """What went back to the head of the lane is found in the store, too, when the lane reads it again."""
        bench.make(ScriptedSink(DOWN, DOWN, max_batch=4, linger_s=0.02))
        bench.sink.gate.clear()
        await bench.feed(2)
        bench.start()
        await until(lambda: bench.sink.calls)
        bench.lane.reread()
        bench.sink.gate.set()
        await bench.all_delivered(2)
        await turns(100)
        assert [[d.id for d in call] for call in bench.sink.calls] == [[1, 2], [1, 2]]

    async def test_a_wait_is_ended_by_retry_now(self, bench) -> None:
        bench.make(ScriptedSink(DOWN), policy=Policy(first_s=600, most_s=600))
        bench.start()
        await bench.feed(2)
        await until(lambda: bench.lane.state == "down")
        bench.lane.retry_now()
        await bench.all_delivered(2)

    async def test_a_release_behind_a_retry_waits_its_turn_at_once(self, bench) -> None:
        bench.make(ScriptedSink(AE, DOWN), policy=Policy(first_s=600, most_s=600))
        bench.start()
        await bench.feed(2)
        await until(lambda: bench.lane.state == "down")
        await bench.release(1)
        await bench.all_delivered(2)


class TestMemory:
    async def test_a_backlog_is_read_from_the_store_without_gaps_or_repeats(self, bench, monkeypatch) -> None:
        monkeypatch.setattr(module, "MOST_IN_MEMORY", 10)
        monkeypatch.setattr(module, "LOAD_LIMIT", 7)
        bench.sink.gate.clear()
        bench.start()
        await bench.feed(60)
        assert len(bench.lane._window._ready) <= 10
        bench.sink.gate.set()
        await bench.feed(20)
        await bench.all_delivered(80)
        assert bench.sink.sent == list(range(1, 81))

    async def test_large_bodies_are_read_a_few_at_a_time(self, bench, monkeypatch) -> None:
        monkeypatch.setattr(module, "LOAD_BYTES", 1000)
        asked: list[int | None] = []
        queued = bench.queries.queued

        def watched(channel: ChannelName, destination: DestinationName, after: DeliveryId, limit: int, most_bytes=None):
            found = queued(channel, destination, after, limit, most_bytes)
            asked.append(sum(len(d.body) for d in found))
            return found

        monkeypatch.setattr(bench.queries, "queued", watched)
        for number in range(20):
            intake = received(EPR)
            intake.deliveries[0].body = b"x" * 400
            bench.committer.put(intake, lambda *_: None, lambda _: None)
            await asyncio.sleep(0) if number % 3 else None
        await bench.committer.drained()
        bench.start()
        await until(lambda: len(bench.sink.sent) == 20)
        assert bench.sink.sent == list(range(1, 21))
        assert max(asked) <= 1400, "more than the bound and one body is in memory"

    async def test_a_batch_of_large_bodies_does_not_wait_to_be_full(self, bench, monkeypatch) -> None:
        monkeypatch.setattr(module, "MOST_BYTES_IN_MEMORY", 1000)
        bench.make(ScriptedSink(max_batch=10_000, linger_s=3600), window=20)
        bench.start()
        for _ in range(4):
            intake = received(EPR)
            intake.deliveries[0].body = b"x" * 400
            bench.committer.put(intake, bench._stored, lambda _: None)
        await until(lambda: bench.sink.sent)
        assert 3 <= len(bench.sink.sent) <= 4

    async def test_a_store_that_cannot_be_read_now_is_read_later(self, bench, monkeypatch, caplog) -> None:
        monkeypatch.setattr(module, "STORE_RETRY_S", 0.01)
        await bench.feed(3)
        queued = bench.queries.queued
        fails = [StoreBusy("locked"), StoreBusy("locked")]

        def busy(*args, **kwargs):
            if fails:
                raise fails.pop()
            return queued(*args, **kwargs)

        monkeypatch.setattr(bench.queries, "queued", busy)
        bench.make()
        bench.start()
        await bench.all_delivered(3)
        assert bench.sink.sent == [1, 2, 3]

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("feed"), st.integers(1, 9)),
                st.tuples(st.just("outcomes"), st.lists(st.sampled_from([DOWN, SILENT, AE, AR]), max_size=4)),
                st.tuples(st.just("gate"), st.booleans()),
                st.tuples(st.just("reread"), st.just(0)),
                st.tuples(st.just("release"), st.just(0)),
                st.tuples(st.just("full"), st.integers(1, 2)),
                st.tuples(st.just("turn"), st.integers(1, 30)),
            ),
            max_size=25,
        ),
        st.integers(1, 4),
        st.integers(1, 3),
        st.sampled_from([0.0, 0.002]),
        st.booleans(),
    )
    def test_whatever_happens_every_delivery_is_delivered_once_and_in_order(
        self, actions, window, max_batch, linger_s, directly
    ) -> None:
        """Once: never sent again after the sink said Delivered for it. In order: but for those a person released."""
        most, limit, retry = module.MOST_IN_MEMORY, module.LOAD_LIMIT, committer_module.RETRY_S
        module.MOST_IN_MEMORY, module.LOAD_LIMIT, committer_module.RETRY_S = 4, 3, 0.002
        try:
            asyncio.run(self._life(actions, window, max_batch, linger_s, directly))
        finally:
            module.MOST_IN_MEMORY, module.LOAD_LIMIT, committer_module.RETRY_S = most, limit, retry

    async def _life(self, actions, window: int, max_batch: int, linger_s: float, directly: bool) -> None:
        clock = SetClock()
        store = WatchedStore(clock)
        store.open()
        fatal: list[BaseException] = []
        committer = Committer(store, clock, CountingMeter(), fatal.append)
        done: list[int] = []
        released: set[int] = set()

        class Sink(ScriptedSink):
            async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
                outcomes = await super().send(deliveries)
                for delivery, outcome in zip(deliveries, outcomes, strict=True):
                    assert delivery.id not in done, f"{delivery.id} was delivered before"
                    if isinstance(outcome, Delivered):
                        done.append(delivery.id)
                return outcomes

        async with owned_tasks() as (tasks, failures):
            bench = Bench(store, committer, clock, tasks, directly=directly)
            sink = Sink(max_batch=max_batch, linger_s=linger_s)
            bench.make(sink, policy=Policy(first_s=0.0, most_s=0.01, on_refused="hold"), window=window)
            bench.start()
            for action, value in actions:
                if action == "feed":
                    for _ in range(value):
                        committer.put(received(EPR), bench._stored, lambda _: None)
                elif action == "outcomes":
                    sink.script += value
                elif action == "gate":
                    (sink.gate.set if value else sink.gate.clear)()
                elif action == "reread":
                    bench.lane.reread()
                elif action == "release":
                    held = [row.id for row in bench.rows() if row.state == "held"]
                    released.update(held)
                    await bench.release(*held)
                elif action == "full":
                    for _ in range(value):
                        store.fail_next(StoreFull("full"))
                else:
                    await turns(value)
            sink.gate.set()
            sink.script.clear()
            await committer.drained()
            await until(lambda: not [row for row in bench.rows() if row.state == "queued"])
            states = {row.id: row.state for row in bench.rows()}
            lane_task_failures = list(failures)
        committer.close()
        assert lane_task_failures == [] and fatal == []
        assert {i for i, state in states.items() if state == "delivered"} == set(done)
        assert len(done) == len(set(done))
        if max_batch == 1:
            in_order = [i for i in done if i not in released]
            assert in_order == sorted(in_order)


class TestBatches:
    async def test_a_batch_waits_for_company(self, bench) -> None:
        bench.make(ScriptedSink(max_batch=5, linger_s=3600))
        bench.start()
        await bench.feed(2)
        await turns(20)
        assert bench.sink.calls == []

    async def test_a_batch_waits_no_longer_than_its_linger(self, bench) -> None:
        await bench.feed(2)
        bench.make(ScriptedSink(max_batch=5, linger_s=0.05))
        bench.start()
        await bench.all_delivered(2)
        assert [len(call) for call in bench.sink.calls] == [2]

    async def test_a_full_batch_goes_at_once(self, bench) -> None:
        bench.make(ScriptedSink(max_batch=5, linger_s=3600), window=20)
        bench.start()
        await bench.feed(12)
        await until(lambda: len(bench.sink.calls) == 2)
        assert [[d.id for d in call] for call in bench.sink.calls] == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]
        await turns(50)
        assert len(bench.sink.calls) == 2

    async def test_what_waits_in_the_store_fills_the_batch(self, bench) -> None:
        await bench.feed(5)
        bench.make(ScriptedSink(max_batch=5, linger_s=3600))
        bench.start()
        await until(lambda: bench.sink.calls)
        assert len(bench.sink.calls[0]) == 5

    async def test_of_a_batch_that_failed_in_part_only_the_rest_is_sent_again(self, bench) -> None:
        bench.make(ScriptedSink(Delivered(), DOWN, Delivered(), AE, max_batch=4), window=10)
        await bench.feed(4)
        bench.make(bench.sink, window=10)
        bench.start()
        await bench.all_delivered(4)
        assert [[d.id for d in call] for call in bench.sink.calls] == [[1, 2, 3, 4], [2, 4]]

    async def test_what_came_behind_a_failure_keeps_its_place_behind_it(self, bench) -> None:
        bench.make(ScriptedSink(AE, DOWN, AE, max_batch=3), window=10)
        await bench.feed(3)
        bench.make(bench.sink, window=10)
        bench.start()
        await until(lambda: bench.states() == ["held", "delivered", "delivered"])
        assert [[d.id for d in call] for call in bench.sink.calls] == [[1, 2, 3], [2, 3]]

    async def test_a_try_behind_a_failed_one_is_on_record(self, bench) -> None:
        """The receiver may have it: after a start nothing else says so."""
        policy = Policy(first_s=600, most_s=600)
        bench.make(ScriptedSink(DOWN, SILENT, AE, DOWN, max_batch=4), policy=policy, window=10)
        await bench.feed(4)
        bench.make(bench.sink, policy=policy, window=10)
        bench.start()
        await until(lambda: bench.rows()[2].attempts)
        await bench.committer.drained()
        assert [(row.state, row.attempts, row.code) for row in bench.rows()] == [
            ("queued", 1, "unreachable"),
            ("queued", 1, "unanswered"),
            ("queued", 1, "AE"),
            ("queued", 0, ""),
        ]

    async def test_a_lane_that_stands_still_knows_at_what_after_its_queue_changed(self, bench) -> None:
        bench.make(ScriptedSink(AE), policy=Policy(on_refused="stop"))
        bench.start()
        await bench.feed(2)
        await until(lambda: bench.lane.state == "stopped")
        bench.lane.reread(go_on=False)
        await turns()
        assert (bench.lane.state, bench.lane.head) == ("stopped", 1)


class TestRate:
    @pytest.mark.parametrize("max_batch", [1, 5])
    async def test_no_more_leave_than_the_rate_allows(self, bench, max_batch) -> None:
        """A batch leaves whole, and what follows it waits for as long as all of it takes."""
        await bench.feed(15)
        bench.sink = ScriptedSink(max_batch=max_batch)
        told = LaneSettings(LAB, EPR, AT_ONCE, 20, per_s=10.0)
        bench.lane = Lane(told, bench.sink, bench.queries, bench.committer, bench.clock, bench.meter)
        began = bench.clock.monotonic()
        bench.start()
        await until(lambda: bench.sink.sent)
        while len(bench.sink.sent) < 15:
            await turns(20)
            passed = bench.clock.monotonic() - began
            assert len(bench.sink.sent) <= 10 * (passed + 0.1) + max_batch
            bench.clock.ahead_s += 0.02
            bench.lane.retry_now()  # looks at the clock anew
        await bench.all_delivered(15)
        assert bench.sink.sent == list(range(1, 16))


class TestEnd:
    async def test_a_drained_lane_finishes_what_it_sends_and_begins_nothing(self, bench) -> None:
        bench.sink.gate.clear()
        task = bench.start()
        await bench.feed(3)
        await until(lambda: bench.sink.sent == [1])
        bench.lane.drain()
        await turns()
        assert not task.done()
        bench.sink.gate.set()
        await asyncio.wait_for(task, 5)
        await bench.committer.drained()
        assert bench.states() == ["delivered", "queued", "queued"]
        assert bench.sink.is_closed

    @pytest.mark.parametrize("state", ["idle", "down", "stopped"])
    async def test_a_lane_that_waits_ends_at_once(self, bench, state) -> None:
        script = {"idle": [], "down": [DOWN], "stopped": [AE]}[state]
        bench.make(ScriptedSink(*script), policy=Policy(first_s=600, on_refused="stop"))
        task = bench.start()
        if script:
            await bench.feed(1)
        await until(lambda: bench.lane.state == state)
        await turns()
        bench.lane.drain()
        await asyncio.wait_for(task, 2)
        assert bench.sink.is_closed

    async def test_one_that_is_cut_off_while_it_sends_is_recorded_as_tried(self, bench) -> None:
        """The receiver may have it: the attempt is on record, so that a repeat is not unexplained."""
        bench.sink.gate.clear()
        task = bench.start()
        await bench.feed(2)
        await until(lambda: bench.sink.sent == [1])
        task.cancel()
        await asyncio.wait([task])
        await bench.committer.drained()
        first, second = bench.rows()
        assert (first.state, first.attempts, first.code) == ("queued", 1, "unanswered")
        assert (second.state, second.attempts) == ("queued", 0)
        assert bench.sink.is_closed
