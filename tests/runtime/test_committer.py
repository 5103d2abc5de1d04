"""The committer: nothing is said before it is stored, nothing that was learned is forgotten, nobody waits for ever."""

import asyncio
import logging
import threading
from collections.abc import Awaitable

import pytest

from engine.model.envelope import DeliveryResult, Reprocessed
from engine.model.ids import DeliveryId, MessageSeq, VersionId
from engine.model.states import IllegalMove
from engine.ports.store import CommitUnknown, Store, StoreBusy, StoreError, StoreFull
from engine.runtime import committer as module
from engine.runtime import pace
from engine.runtime.committer import Committer
from tests.runtime.parts import (
    EPR,
    LAB,
    Answers,
    CountingMeter,
    SetClock,
    WatchedStore,
    received,
    slow_disk,
    turns,
    until,
)


def delivered(delivery_id: int, attempts: int = 1) -> DeliveryResult:
    return DeliveryResult(DeliveryId(delivery_id), "delivered", attempts, 1)


def tried(delivery_id: int, attempts: int) -> DeliveryResult:
    return DeliveryResult(DeliveryId(delivery_id), "queued", attempts, 1, 5, "unreachable")


def state_of(store: WatchedStore, delivery_id: int) -> str:
    queries = store.queries()
    (row,) = [d for seq in range(1, 50) for d in queries.deliveries(MessageSeq(seq)) if d.id == delivery_id]
    return row.state


@pytest.fixture
def still(clock: SetClock) -> None:
    """Time goes on only where a test adds some: what a busy machine takes for a commit is not the disk's."""
    clock.stand()


async def heard_of(end: Awaitable[None]) -> None:
    """A future as a task."""
    await end


async def stored(answers: Answers, count: int = 1) -> None:
    """So many messages, each with one delivery; ids from 1."""
    for number in range(count):
        answers.put(f"first {number}", received(EPR))
    await until(lambda: len(answers.said) == count)
    answers.said.clear()


class TestAnswers:
    async def test_nobody_is_told_before_the_commit_has_ended(self, committer, store, answers) -> None:
        await slow_disk(committer, store)
        with store.commits_held():
            answers.put("a", received())
            await until(lambda: len(store.batches) == 2)
            answers.put("b", received())
            await turns()
            assert answers.said == []
        await until(lambda: len(answers.said) == 2)
        assert answers.said == [("a", "stored"), ("b", "stored")]

    async def test_answers_come_in_the_order_of_the_messages_however_the_commits_fell(
        self, committer, store, answers
    ) -> None:
        for number in range(2000):
            answers.put(str(number), received())
            if not number % 7:
                await asyncio.sleep(0)
        await until(lambda: len(answers.said) == 2000)
        assert [name for name, _ in answers.said] == [str(n) for n in range(2000)]
        assert answers.seqs == sorted(answers.seqs)

    async def test_all_that_waits_is_one_commit(self, committer, store, answers) -> None:
        await stored(answers, 3)
        store.batches.clear()
        for number in range(3):
            committer.record(delivered(number + 1), None, urgent=False)
        for number in range(40):
            answers.put(str(number), received())
        await until(lambda: len(answers.said) == 40)
        (batch,) = store.batches
        assert len(batch.intakes) == 40 and len(batch.results) == 3

    async def test_a_flood_is_committed_in_bounded_bites(self, committer, store, answers, monkeypatch) -> None:
        monkeypatch.setattr(module, "MOST_BYTES", 1000)
        for number in range(10):
            answers.put(str(number), received(raw=b"x" * 400))
        answers.put("big", received(raw=b"x" * 5000))
        await until(lambda: len(answers.said) == 11)
        assert [len(batch.intakes) for batch in store.batches] == [2, 2, 2, 2, 2, 1]
        assert committer.waiting_bytes == 0

    async def test_one_answer_that_fails_does_not_silence_its_neighbours(self, committer, answers, caplog) -> None:
        def defect(*_: object) -> None:
            raise KeyError("a defect")

        answers.put("before", received())
        committer.put(received(), defect, lambda _: None)
        answers.put("after", received())
        ended: list[str] = []
        committer.record(tried(99, 1), None, urgent=False)  # unknown: the batch is taken apart
        with caplog.at_level(logging.ERROR):
            await until(lambda: len(answers.said) == 2)
            committer.soon(lambda: ended.append("soon"))
            await until(lambda: ended)
        assert "was not answered: KeyError" in caplog.text

    async def test_one_refusal_that_fails_does_not_silence_its_neighbours(self, committer, store, answers) -> None:
        def defect(_: Exception) -> None:
            raise KeyError("a defect")

        store.fail_next(StoreFull("full"))
        answers.put("before", received())
        committer.put(received(), lambda *_: None, defect)
        answers.put("after", received())
        await until(lambda: len(answers.said) == 2)
        assert answers.said == [("before", "StoreFull"), ("after", "StoreFull")]
        answers.put("next", received())
        await until(lambda: answers.said[-1] == ("next", "stored"))

    async def test_one_connection_that_fails_to_write_does_not_keep_the_others_from_it(
        self, committer, answers
    ) -> None:
        written: list[str] = []

        def defect() -> None:
            raise KeyError("a defect")

        def done(*_: object) -> None:
            committer.soon(defect)
            committer.soon(lambda: written.append("neighbour"))

        committer.put(received(), done, lambda _: None)
        await until(lambda: written)
        answers.put("next", received())
        await until(lambda: answers.said)

    async def test_writes_leave_together_behind_the_last_answer_of_a_commit(self, committer, answers) -> None:
        order: list[str] = []

        def done(name: str):
            def run(*_: object) -> None:
                order.append(name)
                committer.soon(lambda: order.append(f"write {name}"))

            return run

        for name in "ab":
            committer.put(received(), done(name), lambda _: None)
        await until(lambda: len(order) == 4)
        assert order == ["a", "b", "write a", "write b"]


class TestResults:
    async def test_what_nobody_waits_for_rides_with_the_next_message(self, committer, store, answers) -> None:
        await stored(answers)
        store.batches.clear()
        recorded: list[str] = []
        committer.record(delivered(1), lambda: recorded.append("1"), urgent=False)
        answers.put("next", received())
        await until(lambda: recorded)
        (batch,) = store.batches
        assert len(batch.results) == len(batch.intakes) == 1

    async def test_what_nobody_waits_for_is_recorded_all_the_same(self, committer, store, answers) -> None:
        await stored(answers)
        recorded: list[str] = []
        committer.record(delivered(1), lambda: recorded.append("1"), urgent=False)
        await until(lambda: recorded, within_s=2)
        assert state_of(store, 1) == "delivered"

    async def test_hurry_does_not_wait_for_company(self, committer, answers, monkeypatch) -> None:
        monkeypatch.setattr(module, "RESULTS_WAIT_S", 3600)
        await stored(answers)
        recorded: list[str] = []
        committer.record(delivered(1), lambda: recorded.append("1"), urgent=False)
        await turns()
        assert recorded == []
        committer.hurry()
        await until(lambda: recorded)

    @pytest.mark.parametrize("how", ["urgent", "hurry"])
    async def test_haste_is_not_forgotten_while_a_commit_runs(
        self, committer, store, answers, monkeypatch, how
    ) -> None:
        monkeypatch.setattr(module, "RESULTS_WAIT_S", 3600)
        await stored(answers)
        await slow_disk(committer, store)
        recorded: list[str] = []
        with store.commits_held():
            answers.put("a", received())
            await until(lambda: len(store.batches) == 3)
            committer.record(delivered(1), lambda: recorded.append("1"), urgent=how == "urgent")
            if how == "hurry":
                committer.hurry()
            await turns()
        await until(lambda: recorded, within_s=3)

    async def test_a_full_store_refuses_messages_and_keeps_results_for_later(
        self, committer, store, answers, monkeypatch
    ) -> None:
        monkeypatch.setattr(module, "RETRY_S", 0.01)
        await stored(answers)
        recorded: list[str] = []
        for _ in range(3):
            store.fail_next(StoreFull("full"))
        answers.put("a", received())
        committer.record(delivered(1), lambda: recorded.append("1"), urgent=False)
        await until(lambda: answers.said)
        assert answers.said == [("a", "StoreFull")] and recorded == []
        await until(lambda: recorded)
        assert state_of(store, 1) == "delivered"
        assert not store._failures

    async def test_a_busy_store_is_asked_again(self, committer, store, answers) -> None:
        store.fail_next(StoreBusy("locked"))
        answers.put("a", received())
        await until(lambda: answers.said)
        answers.put("b", received())
        await until(lambda: len(answers.said) == 2)
        assert answers.said == [("a", "StoreBusy"), ("b", "stored")]

    async def test_deliveries_are_recorded_though_every_message_is_refused(
        self, committer, store, answers, monkeypatch
    ) -> None:
        """No room for another message, and room for the few bytes of a result (reliability.md D3)."""
        await stored(answers)
        commit = store.commit

        def nearly_full(batch):
            if batch.intakes:
                raise StoreFull("full")
            return commit(batch)

        monkeypatch.setattr(store, "commit", nearly_full)
        recorded: list[str] = []
        committer.record(delivered(1), lambda: recorded.append("1"), urgent=False)
        for number in range(200):
            answers.put(str(number), received())
            await asyncio.sleep(0)
            if recorded:
                break
        assert recorded, "senders that try again and again keep a result from being recorded"
        await until(lambda: all(said == "StoreFull" for _, said in answers.said))

    async def test_results_of_one_delivery_keep_their_order_through_a_full_store(
        self, committer, store, answers, monkeypatch
    ) -> None:
        monkeypatch.setattr(module, "RETRY_S", 0.01)
        await stored(answers, 2)
        for attempts in (1, 2, 3):
            committer.record(tried(1, attempts), None, urgent=False)
        committer.record(delivered(77), None, urgent=False)  # unknown: the batch is taken apart
        store.fail_next(IllegalMove("one of them"))
        for _ in range(4):
            store.fail_next(StoreFull("full"))
        await until(lambda: not store._failures)
        await committer.drained()
        (row,) = store.queries().deliveries(MessageSeq(1))
        assert row.attempts == 3


class TestCulprits:
    async def test_one_impossible_change_does_not_take_its_neighbours_along(self, committer, store, answers) -> None:
        await stored(answers, 2)
        ended: list[str] = []
        answers.put("good", received())
        committer.put(received(control_id="\ud800"), lambda *_: ended.append("kept"), lambda e: ended.append(repr(e)))
        answers.put("also good", received())
        bad = committer.reprocess(Reprocessed(MessageSeq(4711), LAB, VersionId(1), "filtered"))
        fine = committer.reprocess(Reprocessed(MessageSeq(1), LAB, VersionId(1), "filtered"))
        committer.record(delivered(1), lambda: ended.append("recorded"), urgent=False)
        committer.record(delivered(99), lambda: ended.append("goes on"), urgent=False)
        with pytest.raises(IllegalMove):
            await bad
        assert await fine == []
        await until(lambda: len(ended) == 3)
        assert answers.said == [("good", "stored"), ("also good", "stored")]
        assert ended[0].startswith("UnicodeEncodeError") or ended[0].startswith("ValueError")
        assert sorted(ended[1:]) == ["goes on", "recorded"]
        assert state_of(store, 1) == "delivered"

    async def test_a_lane_goes_on_when_a_person_moved_its_delivery(self, committer, answers, caplog) -> None:
        ended: list[str] = []
        with caplog.at_level(logging.ERROR):
            committer.record(delivered(1), lambda: ended.append("goes on"), urgent=True)
            await until(lambda: ended)
        assert "the store refused one change" in caplog.text

    async def test_a_unknown_end_among_the_singles_stops_them(self, committer, store, answers, fatal) -> None:
        store.fail_next(ValueError("one of them"))
        store.fail_next(CommitUnknown("disk"))
        for number in range(3):
            answers.put(str(number), received())
        await until(lambda: fatal)
        await turns()
        assert answers.said == [] and len(store.batches) == 2


class TestUnknown:
    async def test_after_an_unknown_outcome_nothing_is_said_to_anybody(self, committer, store, answers, fatal) -> None:
        store.fail_next(CommitUnknown("disk"), kept=True)
        answers.put("a", received())
        await until(lambda: fatal)
        answers.put("b", received())
        committer.record(delivered(1), lambda: answers.said.append(("1", "recorded")), urgent=True)
        committer.hurry()
        await turns(50)
        assert answers.said == []
        assert len(fatal) == 1 and len(store.batches) == 1
        assert committer.dead

    async def test_whatever_else_a_store_raises_is_an_unknown_outcome(self, committer, store, answers, fatal) -> None:
        store.fail_next(RuntimeError("what is this"))
        answers.put("a", received())
        await until(lambda: fatal)
        assert answers.said == [] and isinstance(fatal[0], RuntimeError)

    async def test_on_the_thread_it_is_the_same(self, committer, store, answers, fatal) -> None:
        await slow_disk(committer, store)
        store.fail_next(CommitUnknown("disk"))
        answers.put("a", received())
        await until(lambda: fatal)
        assert answers.said == []

    async def test_nobody_waits_for_ever_for_a_store_that_is_gone(self, committer, store, answers, fatal) -> None:
        await slow_disk(committer, store)
        store.fail_next(CommitUnknown("disk"))
        with store.commits_held():
            answers.put("a", received())
            await until(lambda: len(store.batches) == 2)
            before = committer.reprocess(Reprocessed(MessageSeq(1), LAB, VersionId(1), "filtered"))
            called = committer.call(lambda s: None)
        async with asyncio.timeout(5):
            with pytest.raises(CommitUnknown):
                await before
            with pytest.raises(CommitUnknown):
                await called
            assert fatal
            with pytest.raises(CommitUnknown):
                await committer.reprocess(Reprocessed(MessageSeq(1), LAB, VersionId(1), "filtered"))
            with pytest.raises(CommitUnknown):
                await committer.call(lambda s: None)
            await committer.drained()

    async def test_an_unknown_outcome_of_a_call_is_one_of_the_store(self, committer, fatal) -> None:
        def work(_: Store) -> None:
            raise CommitUnknown("disk")

        with pytest.raises(CommitUnknown):
            await committer.call(work)
        assert len(fatal) == 1

    async def test_a_checkpoint_that_fails_is_an_unknown_outcome(
        self, committer, store, answers, fatal, monkeypatch
    ) -> None:
        def checkpoint() -> None:
            raise CommitUnknown("disk")

        monkeypatch.setattr(store, "checkpoint", checkpoint)
        for number in range(10):
            answers.put(str(number), received())
        await until(lambda: fatal)


class TestCalls:
    async def test_work_with_the_store_runs_off_the_loop_and_never_beside_a_commit(
        self, committer, store, answers
    ) -> None:
        main = threading.get_ident()
        running = threading.Lock()
        overlaps: list[str] = []
        commit = store.commit

        def guarded(batch):
            if not running.acquire(blocking=False):
                overlaps.append("commit beside something else")
                return commit(batch)
            try:
                return commit(batch)
            finally:
                running.release()

        store.commit = guarded  # type: ignore[method-assign]

        def work(given: Store) -> str:
            assert given is store
            with running:
                return "here" if threading.get_ident() == main else "elsewhere"

        futures = []
        for number in range(30):
            answers.put(str(number), received())
            futures.append(committer.call(work))
            await asyncio.sleep(0)
        assert set(await asyncio.gather(*futures)) == {"elsewhere"}
        await until(lambda: len(answers.said) == 30)
        assert overlaps == []

    async def test_who_waits_for_a_call_hears_of_it_before_anything_else_is_committed(
        self, committer, store, answers
    ) -> None:
        """A message that came in the very turn in which the call ended was committed first, and a backlog that waited
        for the call never heard of it."""
        loop = asyncio.get_running_loop()
        may_end = threading.Event()
        heard: list[str] = []

        def work(_: Store) -> None:
            may_end.wait(10)

        call = committer.call(work)
        call.add_done_callback(lambda _: heard.append(f"the call, {len(answers.said)} stored"))
        await turns()
        committer.soon(lambda: answers.put("a", received()))
        may_end.set()
        while len(loop._ready) < 2:  # its end is to be taken up in the same turn as the message
            pass
        await until(lambda: answers.said)
        assert heard == ["the call, 0 stored"]

    async def test_its_exception_is_the_callers(self, committer) -> None:
        def work(_: Store) -> None:
            raise StoreError("no such thing")

        with pytest.raises(StoreError, match="no such thing"):
            await committer.call(work)
        assert await committer.call(lambda s: 5) == 5

    async def test_calls_one_after_the_other_do_not_hold_up_messages(self, committer) -> None:
        """A release of thousands is thousands of calls; senders wait for one or two of them."""
        calls = 0
        waits: list[int] = []

        def put() -> None:
            before = calls
            committer.put(received(), lambda *_: waits.append(calls - before), lambda _: None)

        for number in range(50):
            if not number % 10:
                put()
            await committer.call(lambda s: None)
            calls += 1
        assert len(waits) == 5 and max(waits) <= 2, f"calls done while a message waited: {waits}"

    async def test_messages_do_not_hold_up_a_call(self, committer, answers) -> None:
        said = 0

        def done(*_: object) -> None:
            nonlocal said
            said += 1
            if said < 5000:
                committer.put(received(), done, lambda _: None)

        committer.put(received(), done, lambda _: None)
        await committer.call(lambda s: None)
        assert said < 5000


class TestCheckpoints:
    async def test_quiet_is_used_for_a_checkpoint(self, committer, store, answers) -> None:
        for number in range(12):
            answers.put(str(number), received())
        await until(lambda: store.checkpoints)
        assert store.done.index("checkpoint") > store.done.index("commit")
        await committer.drained()

    async def test_a_log_that_cannot_be_looked_at_ends_the_engine(self, store, answers, fatal, monkeypatch) -> None:
        def broken(idle: bool = False) -> bool:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(store, "wants_checkpoint", broken)
        answers.put("a", received())
        await until(lambda: fatal)
        assert answers.said == [("a", "stored")], "what was stored is said"

    async def test_while_messages_wait_only_a_large_log_is_moved(self, committer, store, answers) -> None:
        """Idle from 10, forced from 100 (the memory store's own numbers)."""
        sizes: list[int] = []

        def done(*_: object) -> None:
            sizes.append(store.checkpoints)
            if len(sizes) < 150:
                committer.put(received(), done, lambda _: None)

        for _ in range(3):
            committer.put(received(), done, lambda _: None)
        await until(lambda: len(sizes) >= 150)
        assert sizes[60] == 0
        await until(lambda: store.checkpoints)

    async def test_a_log_that_a_reader_holds_is_not_tried_again_and_again(
        self, still, committer, store, answers
    ) -> None:
        store.reader_in_the_way = True
        answers.put("a", received())
        await until(lambda: store.checkpoints)
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert store.checkpoints <= 2
        answers.put("b", received())
        await until(lambda: len(answers.said) == 2)
        await asyncio.wait_for(committer.drained(), 5)


class TestWhereCommitsRun:
    async def test_a_fast_disk_is_written_to_on_the_loop(self, still, committer, store, answers) -> None:
        for number in range(20):
            answers.put(str(number), received())
            await until(lambda: len(answers.said) > number)  # noqa: B023
        assert store.threads == [False] * 20

    async def test_a_slow_disk_is_written_to_on_a_thread_and_a_fast_one_again_on_the_loop(
        self, still, committer, store, answers
    ) -> None:
        store.takes_s = 0.004
        for number in range(30):
            answers.put(str(number), received())
            await until(lambda: len(answers.said) > number)  # noqa: B023
        assert store.threads[0] is False and store.threads[-1] is True
        store.takes_s = 0.0
        for number in range(30, 30 + 3 * pace.LOOK_BACK):
            answers.put(str(number), received())
            await until(lambda: len(answers.said) > number)  # noqa: B023
        assert store.threads[-1] is False

    async def test_one_long_stall_is_enough(self, committer, store, answers) -> None:
        await slow_disk(committer, store)
        answers.put("a", received())
        await until(lambda: answers.said)
        assert store.threads == [False, True]


class TestLinger:
    async def test_senders_that_are_on_their_way_join_the_commit(self, committer, store, answers, monkeypatch) -> None:
        """Two that wait for their answers send again within a turn or two of the loop, not in the same."""
        monkeypatch.setattr(pace, "LINGER_SHARE", 1000.0)
        monkeypatch.setattr(pace, "LINGER_MOST_S", 0.5)
        for number in range(8):
            answers.put(str(number), received())
        await until(lambda: len(answers.said) == 8)
        store.batches.clear()
        for number in range(8):
            answers.put(str(number), received())
            await asyncio.sleep(0)
        await until(lambda: len(answers.said) == 16)
        assert [len(batch.intakes) for batch in store.batches] == [8]

    async def test_one_that_comes_alone_waits_no_longer_than_the_linger(self, committer, store, answers) -> None:
        for number in range(100):
            answers.put(str(number), received())
        await until(lambda: len(answers.said) == 100)
        answers.put("alone", received())
        await until(lambda: answers.said[-1][0] == "alone", within_s=2)


class TestEnd:
    async def test_drained_waits_for_everything(self, committer, store, answers) -> None:
        await stored(answers, 5)
        await slow_disk(committer, store)
        with store.commits_held():
            answers.put("a", received())
            called = committer.call(lambda s: "called")
            drained = asyncio.get_running_loop().create_task(committer.drained())
            await turns()
            committer.record(delivered(1), None, urgent=False)
            await turns()
            assert not drained.done()
        await asyncio.wait_for(drained, 5)
        assert answers.said == [("a", "stored")]
        assert called.done() and state_of(store, 1) == "delivered"

    async def test_drained_of_an_idle_committer_returns_at_once(self, committer) -> None:
        await asyncio.wait_for(committer.drained(), 1)

    async def test_drained_waits_for_results_that_a_full_store_did_not_take(
        self, committer, store, answers, monkeypatch
    ) -> None:
        monkeypatch.setattr(module, "RETRY_S", 0.01)
        await stored(answers)
        for _ in range(3):
            store.fail_next(StoreFull("full"))
        committer.record(delivered(1), None, urgent=False)
        await asyncio.wait_for(committer.drained(), 5)
        assert state_of(store, 1) == "delivered"

    async def test_close_waits_for_the_commit_at_hand_and_begins_no_other(
        self, store: WatchedStore, clock: SetClock, meter: CountingMeter
    ) -> None:
        committer = Committer(store, clock, meter, lambda _: None)
        answers = Answers(committer)
        await slow_disk(committer, store)
        with store.commits_held():
            answers.put("a", received())
            await until(lambda: len(store.batches) == 2)
            closing = asyncio.get_running_loop().run_in_executor(None, committer.close)
            await turns()
            assert not closing.done()
        await closing
        answers.put("b", received())
        await turns(50)
        assert len(store.batches) == 2


class TestSettled:
    async def test_it_waits_for_all_that_was_given_before_and_not_for_what_comes_behind(
        self, committer, store, answers
    ) -> None:
        await stored(answers)
        await slow_disk(committer, store)
        said: list[str] = []
        with store.commits_held():
            answers.put("a", received())
            await until(lambda: len(store.batches) == 3)
            answers.put("b", received())
            committer.record(delivered(1), lambda: said.append("recorded"), urgent=False)
            settled = asyncio.get_running_loop().create_task(committer.settled())
            await turns()
            assert not settled.done()
        await asyncio.wait_for(settled, 10)
        assert [name for name, _ in answers.said[-2:]] == ["a", "b"] and said == ["recorded"]

    async def test_what_is_refused_is_settled_too(self, committer, store, answers) -> None:
        store.fail_next(StoreFull("full"))
        answers.put("a", received())
        await asyncio.wait_for(committer.settled(), 10)
        assert answers.said == [("a", "StoreFull")]

    async def test_a_store_that_is_gone_says_so(self, committer, store, answers) -> None:
        store.fail_next(CommitUnknown("gone"))
        answers.put("a", received())
        with pytest.raises(CommitUnknown):
            await asyncio.wait_for(committer.settled(), 10)

    @pytest.mark.parametrize("wait", [Committer.flushed, Committer.settled])
    @pytest.mark.parametrize("error", [StoreFull, StoreBusy])
    async def test_results_that_the_commit_at_hand_does_not_keep_are_waited_for(
        self, committer, store, answers, monkeypatch, wait, error
    ) -> None:
        """They go with a later one: who moves the delivery before that takes its attempts off the record."""
        monkeypatch.setattr(module, "RETRY_S", 0.01)
        await stored(answers)
        await slow_disk(committer, store)
        seen = len(store.batches)
        recorded: list[str] = []
        with store.commits_held():
            committer.record(tried(1, 1), lambda: recorded.append("noted"), urgent=True)
            await until(lambda: len(store.batches) > seen)
            store.fail_next(error("no room"))
            waiting = asyncio.get_running_loop().create_task(heard_of(wait(committer)))
            await turns()
            assert not waiting.done()
        await asyncio.wait_for(waiting, 10)
        (row,) = store.queries().deliveries(MessageSeq(1))
        assert (row.attempts, recorded) == (1, ["noted"])
