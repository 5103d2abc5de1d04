"""What can wait goes between commits, in small slices, and is not put off for ever."""

import asyncio
import threading
from collections.abc import Callable
from itertools import count

import pytest

from engine.model.envelope import Batch, Committed, DeliveryResult
from engine.model.ids import DeliveryId
from engine.ports.store import CommitUnknown, Prune, Pruned, StoreFull
from engine.runtime import calls as module
from engine.runtime import retention as retention_module
from engine.runtime.committer import Committer
from engine.runtime.retention import Ages, Retention
from engine.runtime.strides import Stride
from tests.runtime.parts import EPR, LAB, Answers, CountingMeter, SetClock, WatchedStore, received, slow_disk, until


@pytest.fixture
def before_commits(store: WatchedStore, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What is done before each commit."""
    actions: list[Callable[[], None]] = []
    real = store.commit

    def commit(batch: Batch) -> Committed:
        for action in list(actions):
            action()
        return real(batch)

    monkeypatch.setattr(store, "commit", commit)
    return actions


class TestWhatCanWait:
    async def test_messages_that_wait_go_first(self, committer, answers, before_commits) -> None:
        order: list[str] = []
        before_commits.append(lambda: order.append("commit"))
        committer.call(lambda store: order.append("call"))
        quiet = committer.when_quiet(lambda store: order.append("quiet"))
        answers.put("a", received())
        await quiet
        assert order == ["call", "commit", "quiet"]

    async def test_a_stream_of_messages_does_not_put_it_off_for_ever(self, committer, answers, before_commits) -> None:
        """Each commit is followed by a message that waits already."""
        commits = count(1)
        before_commits.append(lambda: answers.put(f"m{next(commits)}", received()))
        answers.put("first", received())
        await committer.when_quiet(lambda store: before_commits.clear())
        assert next(commits) - 1 == module.MOST_PASSED_OVER

    async def test_a_stream_of_other_calls_does_not_put_it_off_for_ever(
        self, committer, answers, before_commits
    ) -> None:
        """As where each message's answer is recorded when it comes from a receiver: one call waits at any time."""
        is_going_on, calls, commits = True, count(1), count(1)

        def again(_ended: object = None) -> None:
            if is_going_on and next(calls) < 200:
                committer.call(lambda store: None).add_done_callback(again)

        before_commits.append(lambda: is_going_on and answers.put(f"m{next(commits)}", received()))
        answers.put("first", received())
        for _ in range(3):
            again()
        await committer.when_quiet(lambda store: before_commits.clear())
        is_going_on = False
        assert next(calls) - 1 <= 3 + module.MOST_PASSED_OVER

    async def test_it_goes_to_the_thread_where_it_held_the_loop_for_long(self, committer, clock) -> None:
        """A disk that became slow while no message came, and so no commit told of it."""
        here = threading.get_ident()

        def slow(store: object) -> int:
            clock.ahead_s += 0.2
            return threading.get_ident()

        assert await committer.when_quiet(slow) == here
        assert await committer.when_quiet(slow) != here

    async def test_it_runs_where_commits_run(self, committer, store) -> None:
        here = threading.get_ident()
        assert await committer.when_quiet(lambda store: threading.get_ident()) == here
        await slow_disk(committer, store)
        assert await committer.when_quiet(lambda store: threading.get_ident()) != here

    async def test_on_a_slow_disk_it_may_take_as_long_as_two_commits(self, committer, store) -> None:
        assert committer.budget_s(0.001) == 0.001
        await slow_disk(committer, store)
        assert committer.budget_s(0.001) == 2 * committer._pace.average_s >= 0.003

    @pytest.mark.parametrize("error", [StoreFull("no room"), ValueError("what it was given")])
    async def test_who_asked_is_told_of_an_error_and_the_others_go_on(self, committer, store, answers, error) -> None:
        def failing(store: object) -> None:
            raise error

        with pytest.raises(type(error)):
            await committer.when_quiet(failing)
        answers.put("a", received())
        await until(lambda: answers.said)

    async def test_an_unknown_outcome_ends_all(self, committer, answers) -> None:
        def failing(store: object) -> None:
            raise CommitUnknown("the disk is gone")

        with pytest.raises(CommitUnknown):
            await committer.when_quiet(failing)
        assert committer.dead
        with pytest.raises(CommitUnknown):
            await committer.when_quiet(lambda store: None)

    async def test_results_that_nobody_waits_for_are_not_put_off_by_it(self, committer, store, answers) -> None:
        """Nor hurried: they go with the next message, or after their few milliseconds."""
        answers.put("a", received(EPR))
        await until(lambda: answers.said)
        recorded: list[bool] = []
        result = DeliveryResult(DeliveryId(1), "delivered", 1, 1)
        committer.record(result, lambda: recorded.append(True), urgent=False)
        await committer.when_quiet(lambda store: None)
        for _ in range(100_000):
            if recorded:
                break
            await committer.when_quiet(lambda store: None)
        assert recorded

    async def test_results_that_somebody_waits_for_go_first(self, committer, store, answers) -> None:
        answers.put("a", received(EPR))
        await until(lambda: answers.said)
        order: list[str] = []
        quiet = committer.when_quiet(lambda store: order.append("quiet"))
        committer.record(DeliveryResult(DeliveryId(1), "delivered", 1, 1), lambda: order.append("kept"), urgent=True)
        await quiet
        assert order == ["kept", "quiet"]


class TestStrides:
    def test_it_finds_what_fits_into_its_time_and_stays_there(self) -> None:
        """8 us a message and 200 us a slice: a hundred fit into a millisecond."""
        stride = Stride(32, 256)
        taken = []
        for _ in range(40):
            stride.learn(0.0002 + stride.amount * 8e-6, 0.001)
            taken.append(stride.amount)
        assert all(40 <= amount <= 100 for amount in taken[3:]), taken

    def test_it_stays_within_its_bounds(self) -> None:
        stride = Stride(32, 256)
        for _ in range(10):
            stride.learn(0.0001, 0.001)
        assert stride.amount == 256
        for _ in range(10):
            stride.learn(0.5, 0.001)
        assert stride.amount == 32


US_A_MESSAGE, US_A_SLICE = 20, 100


class TestRetentionInSlices:
    @pytest.fixture
    def slices(self, monkeypatch: pytest.MonkeyPatch, store: WatchedStore, clock: SetClock) -> list[int]:
        """How many messages each slice was to look at; what it takes is the fake clock's."""
        orders: list[int] = []
        real = store.prune

        def prune(order: Prune) -> Pruned:
            orders.append(order.span)
            clock.ahead_s += (US_A_SLICE + order.span * US_A_MESSAGE) / 1e6
            return real(order)

        monkeypatch.setattr(store, "prune", prune)
        return orders

    @pytest.fixture
    def rests(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """What was waited for after each slice, and not waited for here."""
        found: list[float] = []

        async def pause(self: Retention, seconds: float) -> None:
            found.append(seconds)
            await asyncio.sleep(0)

        monkeypatch.setattr(Retention, "_pause", pause)
        return found

    @pytest.fixture
    def quick_disk(self, monkeypatch: pytest.MonkeyPatch, committer: Committer) -> None:
        """Whatever this machine's was just measured to be."""
        monkeypatch.setattr(committer, "budget_s", lambda quick_s: quick_s)

    async def kept(self, committer: Committer, clock: SetClock, answers: Answers, messages: int) -> Retention:
        for n in range(messages):
            answers.put(str(n), received(raw=b"MSH|"))
        await until(lambda: len(answers.said) >= messages)
        return Retention({LAB: Ages(bodies_s=86_400.0)}, 0, committer, clock, CountingMeter())

    async def test_no_slice_takes_on_more_than_a_millisecond_of_work(
        self, committer, clock, answers, slices, rests, quick_disk
    ) -> None:
        keeper = await self.kept(committer, clock, answers, 1000)
        clock.stand()
        await keeper.one_pass()
        assert keeper.status().bodies == 1000
        most_us = max(US_A_SLICE + span * US_A_MESSAGE for span in slices)
        assert most_us <= 1500 and len(slices) <= 1000 / 32 + 2, slices

    async def test_it_rests_for_longer_while_messages_come(
        self, committer, clock, answers, slices, rests, quick_disk
    ) -> None:
        keeper = await self.kept(committer, clock, answers, 300)
        clock.stand()
        await keeper.one_pass()
        busy, *quiet = rests
        first_s = (US_A_SLICE + slices[0] * US_A_MESSAGE) / 1e6
        assert busy == max(retention_module.LEAST_REST_S, retention_module.REST * first_s), "messages had just come"
        assert len(quiet) == len(slices) and max(quiet) < busy / 2

    async def test_a_large_message_does_not_hold_the_loop(
        self, committer, clock, answers, store, rests, monkeypatch
    ) -> None:
        """What it has is overwritten, byte by byte: that is the writer's thread's to do."""
        keeper = await self.kept(committer, clock, answers, 3)
        answers.put("large", received(raw=b"MSH|" + b"x" * 2 * retention_module.MOST_BYTES))
        await until(lambda: len(answers.said) >= 4)
        answers.put("last", received(raw=b"MSH|"))
        await until(lambda: len(answers.said) >= 5)
        went: list[tuple[int, bool]] = []
        here = threading.get_ident()
        real = store.prune

        def prune(order: Prune) -> Pruned:
            pruned = real(order)
            if pruned.bodies:
                went.append((pruned.bodies, threading.get_ident() == here))
            return pruned

        monkeypatch.setattr(store, "prune", prune)
        monkeypatch.setattr(committer._pace, "in_thread", False)
        await keeper.one_pass()
        assert went == [(3, True), (1, False), (1, True)]
