"""A lane with keys: order within a key over several connections, and one key's trouble is not the others'."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch, Delivery, DeliveryResult, DraftDelivery, Intake
from engine.model.ids import DeliveryId, MessageSeq
from engine.model.outcome import Delivered
from engine.ports.operations import By, Change
from engine.ports.store import StoreBusy
from engine.runtime import keyed_window as module
from engine.runtime.committer import Committer
from engine.runtime.keyed_window import KeyedWindow
from engine.runtime.policy import Action, Policy, Rules
from tests.runtime.keyed import AE, AR, AT_ONCE, DOWN, SILENT, Bench, keyed
from tests.runtime.parts import EPR, LAB, CountingMeter, owned_tasks, received, turns, until


@pytest.fixture
async def bench(store, committer, clock) -> AsyncIterator[Bench]:
    async with owned_tasks() as (tasks, failures):
        yield Bench(store, committer, clock, tasks)
        assert failures == []


def in_order(deliveries: Sequence[Delivery]) -> bool:
    """Whether each key's came in the order of their ids."""
    last: dict[str, int] = {}
    for delivery in deliveries:
        if delivery.id < last.get(delivery.key or "", 0):
            return False
        last[delivery.key or ""] = delivery.id
    return True


class TestOrder:
    async def test_keys_go_beside_each_other_and_each_in_its_order(self, bench) -> None:
        bench.make(lanes=3)
        gates = [bench.receiver.hold(key) for key in "ABC"]
        await bench.feed(*"AAABBBCCC")
        await until(lambda: len(bench.receiver.in_hand) == 3)
        assert sorted(bench.receiver.order) == ["A", "B", "C"]
        for gate in gates:
            gate.set()
        await bench.all_delivered()
        assert in_order(bench.receiver.sent) and bench.receiver.most_in_hand == 3

    async def test_no_more_than_one_of_a_key_is_in_hand_whatever_the_connections(self, bench) -> None:
        bench.make(lanes=4)
        gate = bench.receiver.hold("A")
        await bench.feed(*"AAAA")
        await until(lambda: bench.receiver.order == ["A"])
        await turns(200)
        assert bench.receiver.order == ["A"]
        gate.set()
        await bench.all_delivered()

    async def test_a_retry_holds_up_its_key_alone(self, bench) -> None:
        bench.receiver.answer = lambda d: AR if d.key == "A" and len(bench.receiver.sent) < 3 else Delivered()
        bench.make(lanes=1)
        await bench.feed(*"AABABB")
        await until(lambda: bench.states().count("delivered") == 3)
        assert bench.receiver.order == ["A", "B", "B", "B"]
        assert bench.blocked() == 1
        (head,) = bench.queries.queued_waiting(LAB, EPR, 0, 10)
        assert (head.id, head.seq, head.attempts) == (1, 1, 1)
        bench.clock.ahead_s += 601
        bench.lane.retry_now()
        await bench.all_delivered()
        assert bench.receiver.order[4:] == ["A", "A", "A"] and bench.blocked() == 0

    async def test_messages_without_a_key_are_in_order_among_themselves(self, bench) -> None:
        bench.make(lanes=4)
        gate = bench.receiver.hold("")
        await bench.feed("", "", "A", "")
        await until(lambda: bench.states()[2] == "delivered")
        assert bench.receiver.order.count("") == 1
        gate.set()
        await bench.all_delivered()

    async def test_one_that_is_held_lets_its_key_go_on(self, bench) -> None:
        bench.receiver.answer = lambda d: AE if d.id == 1 else Delivered()
        bench.make()
        await bench.feed(*"AAB")
        await until(lambda: bench.states() == ["held", "delivered", "delivered"])

    async def test_what_another_order_left_goes_first_and_one_by_one(self, bench) -> None:
        """A destination that had one order over all, and gets a key: what waits has no key of it."""
        bench.make(order_by="", start=False, lanes=1)
        await bench.feed(*(_unkeyed() for _ in range(3)))
        bench.make(lanes=3)
        await bench.feed(*"ABC")
        await bench.all_delivered()
        assert [d.id for d in bench.receiver.sent][:3] == [1, 2, 3]
        assert sorted(d.id for d in bench.receiver.sent[3:]) == [4, 5, 6]

    async def test_while_what_another_order_left_waits_for_a_retry_nothing_passes_it(self, bench) -> None:
        bench.make(order_by="", start=False, lanes=1)
        await bench.feed(_unkeyed(), _unkeyed())
        bench.receiver.answer = lambda d: AR if d.id == 1 and len(bench.receiver.sent) < 2 else Delivered()
        bench.make(lanes=3)
        await bench.feed(keyed("A", urgent=True), "B")
        await until(lambda: bench.lane.state == "waiting")
        await turns(100)
        assert [d.id for d in bench.receiver.sent] == [1]
        bench.lane.retry_now()
        await bench.all_delivered()
        assert [d.id for d in bench.receiver.sent][:3] == [1, 1, 2]

    async def test_what_another_order_left_is_read_again_while_it_is_in_hand_and_goes_once(self, bench) -> None:
        """A person queues something, the lane reads its queue anew, and then the attempt at hand fails."""
        bench.make(order_by="", start=False, lanes=1)
        await bench.feed(_unkeyed(), _unkeyed())
        gate = bench.receiver.hold("")
        bench.receiver.answer = lambda d: SILENT if len(bench.receiver.sent) < 2 else Delivered()
        bench.make(lanes=1, policy=AT_ONCE)
        await until(lambda: bench.receiver.sent)
        bench.lane.reread()
        gate.set()
        await bench.all_delivered()
        await turns(50)
        assert [d.id for d in bench.receiver.sent] == [1, 1, 2]

    async def test_what_another_order_left_and_a_person_releases_goes_before_the_followers_of_a_key_in_hand(
        self, bench
    ) -> None:
        await _two_of_another_order(bench)
        gate = bench.receiver.hold("A")
        bench.make(lanes=2)
        await bench.feed(*"AABA")
        await until(lambda: "A" in bench.receiver.order and bench.states()[1] == "delivered")
        await _released(bench)
        gate.set()
        await bench.all_delivered()
        before = [d.id for d in bench.receiver.sent if d.id < 6 and d.id not in (2, 5)]
        assert before == [3, 1, 4]

    async def test_a_key_that_is_refused_for_ever_does_not_keep_what_another_order_left_before_it_from_going(
        self, bench
    ) -> None:
        """Released while that key is in hand. What stands before neither would stand for ever, all other keys too."""
        await _two_of_another_order(bench)
        gate = bench.receiver.hold("A")
        bench.receiver.answer = lambda d: AR if d.key == "A" else Delivered()
        bench.make(lanes=2, policy=AT_ONCE)
        await bench.feed(*"AAB")
        await until(lambda: "A" in bench.receiver.order and bench.states()[4] == "delivered")
        await _released(bench)
        gate.set()
        await bench.feed(*"CB")
        await until(lambda: bench.states().count("delivered") == 5)
        assert bench.states() == ["delivered", "delivered", "queued", "queued", *["delivered"] * 3]
        sent = [d.id for d in bench.receiver.sent]
        assert sent[:4] == [2, 3, 5, 1] and 4 not in sent and bench.receiver.wrong == []
        bench.receiver.answer = lambda _: Delivered()
        await bench.all_delivered()

    async def test_another_expression_is_another_order(self, bench) -> None:
        bench.make(start=False)
        await bench.feed(*"AB")
        assert bench.store.lane_window(LAB, EPR, 1, "PID-18") == 3
        assert bench.store.lane_window(LAB, EPR, 1, "PID-18") == 3


def _unkeyed() -> Intake:
    intake = received()
    intake.deliveries = [DraftDelivery(EPR, b"old")]
    return intake


async def _two_of_another_order(bench: Bench) -> None:
    """1 and 2, of which a person holds the first."""
    bench.make(order_by="", start=False, lanes=1)
    await bench.feed(_unkeyed(), _unkeyed())
    bench.store.operate(Change(By("anna"), "hold", "hold", moves=[(DeliveryId(1), "queued")]))


async def _released(bench: Bench) -> None:
    """A person releases the first, and the lane has had all the time that it needs to hear of it."""
    bench.store.operate(Change(By("anna"), "release", "release", moves=[(DeliveryId(1), "held")]))
    bench.lane.reread()
    await turns(100)


class TestCommitsElsewhere:
    async def test_what_the_lane_read_before_it_was_offered_goes_once(self, bench, monkeypatch) -> None:
        """A commit on the writer's thread is in the store before the loop hears of it."""
        monkeypatch.setattr(module, "PER_KEY", 1)
        bench.make(lanes=2)
        gate = bench.receiver.hold("A")
        await bench.feed(*"AAA")
        await until(lambda: bench.receiver.order == ["A"])
        late = bench.store.commit(Batch([keyed("A")])).deliveries[0]
        bench.fed += 1
        while len(bench.receiver.sent) < 4:
            gate.set()
            gate = bench.receiver.hold("A")
            await turns(50)
        for delivery in late:
            bench.lane.offer(delivery)
        gate.set()
        await bench.all_delivered()
        await turns(100)
        assert [d.id for d in bench.receiver.sent] == [1, 2, 3, 4]


class TestDown:
    async def test_a_dead_peer_is_tried_by_one_connection_and_blocks_no_key(self, bench) -> None:
        """Its failure is the destination's: keys are not parked one by one, and none is tried but the first."""
        bench.receiver.answer = lambda _: DOWN
        bench.make(lanes=4)
        await bench.feed(*"ABCDEFGH")
        await until(lambda: bench.lane.state == "down")
        await turns(200)
        tried = len(bench.receiver.sent)
        assert tried <= 4, "those that were under way when it went down"
        assert bench.blocked() == 0
        bench.lane.retry_now()
        await until(lambda: len(bench.receiver.sent) > tried)
        await turns(200)
        assert len(bench.receiver.sent) == tried + 1, "one probe"
        bench.receiver.answer = lambda _: Delivered()
        bench.lane.retry_now()
        await bench.all_delivered()

    async def test_a_message_that_the_receiver_hangs_on_does_not_take_the_destination_down(self, bench, caplog) -> None:
        bench.receiver.answer = lambda d: SILENT if d.key == "POISON" else Delivered()
        bench.make(lanes=2)
        await bench.feed("POISON", *"ABCD" * 5)
        await until(lambda: bench.states().count("delivered") == 20)
        assert bench.blocked() == 1 and "is down" not in caplog.text


class TestPriority:
    async def test_urgent_keys_go_before_the_others(self, bench) -> None:
        await bench.feed("A", "B", keyed("C", urgent=True), keyed("D", urgent=True))
        bench.make(lanes=1)
        await bench.all_delivered()
        assert bench.receiver.order == ["C", "D", "A", "B"]

    async def test_nothing_urgent_overtakes_within_its_key(self, bench) -> None:
        await bench.feed("A", "B", "B", keyed("B", urgent=True), "B")
        bench.make(lanes=1)
        await bench.all_delivered()
        assert bench.receiver.order == ["B", "B", "B", "A", "B"], "what stands before it in its key goes with it"
        assert in_order(bench.receiver.sent)

    async def test_an_ordinary_one_goes_after_seven_urgent_ones(self, bench) -> None:
        await bench.feed(*(f"o{n}" for n in range(3)), *(keyed(f"u{n}", urgent=True) for n in range(30)))
        bench.make(lanes=1)
        await bench.all_delivered()
        places = [at for at, key in enumerate(bench.receiver.order) if key.startswith("o")]
        assert places == [7, 15, 23]

    async def test_what_is_urgent_is_found_behind_all_that_fits_in_memory(self, bench, monkeypatch) -> None:
        monkeypatch.setattr(module, "MOST_IN_MEMORY", 20)
        monkeypatch.setattr(module, "PAGE", 5)
        monkeypatch.setattr(module, "ENOUGH_READY", 5)
        await bench.feed(*(f"o{n}" for n in range(200)), "late", keyed("late", urgent=True))
        bench.make(lanes=1)
        await bench.all_delivered()
        assert bench.receiver.order[:2] == ["late", "late"]

    async def test_what_is_urgent_and_comes_while_the_lane_is_behind_goes_soon(self, bench, monkeypatch) -> None:
        monkeypatch.setattr(module, "MOST_IN_MEMORY", 20)
        monkeypatch.setattr(module, "ENOUGH_READY", 5)
        gate = bench.receiver.hold("o0")
        await bench.feed(*(f"o{n}" for n in range(300)))
        bench.make(lanes=1)
        await until(lambda: bench.receiver.order == ["o0"])
        await bench.feed(keyed("stat", urgent=True))
        gate.set()
        await bench.all_delivered()
        assert bench.receiver.order.index("stat") <= 2


class TestRate:
    async def test_no_more_leave_than_the_rate_allows(self, bench) -> None:
        bench.make(lanes=4, per_s=10, window=100)
        began = bench.clock.monotonic()
        await bench.feed(*(f"k{n}" for n in range(8)))
        await until(lambda: len(bench.receiver.sent) >= 2)
        for _ in range(200):
            await turns(5)
            passed = bench.clock.monotonic() - began
            assert len(bench.receiver.sent) <= 10 * (passed + 0.1) + 1
            bench.clock.ahead_s += 0.01
        await bench.all_delivered()


class TestPlaces:
    async def test_batches_hold_each_key_once(self, bench) -> None:
        bench.make(lanes=1, max_batch=4, linger_s=3600, window=20, start=False)
        await bench.feed(*"AAABBCD")
        bench.make(lanes=1, max_batch=4, linger_s=0.01, window=20)
        await bench.all_delivered()
        assert bench.connections[0].calls[0] == 4 and bench.receiver.most_in_hand == 4

    async def test_all_connections_are_closed_in_the_end(self, bench) -> None:
        bench.make(lanes=3)
        gate = bench.receiver.hold("A")
        await bench.feed(*"AAB")
        await until(lambda: bench.states()[2] == "delivered")
        bench.lane.drain()
        await turns(50)
        assert not bench.task.done()
        gate.set()
        await asyncio.wait_for(bench.task, 5)
        assert all(connection.is_closed for connection in bench.connections)
        await bench.committer.drained()
        assert bench.states() == ["delivered", "queued", "delivered"]

    async def test_what_is_cut_off_on_each_connection_is_recorded_as_tried(self, bench) -> None:
        bench.make(lanes=2)
        for key in "AB":
            bench.receiver.hold(key)
        await bench.feed(*"ABA")
        await until(lambda: len(bench.receiver.in_hand) == 2)
        bench.task.cancel()
        await asyncio.wait([bench.task])
        await bench.committer.drained()
        assert [(row.attempts, row.code) for row in bench.rows()] == [(1, "unanswered"), (1, "unanswered"), (0, "")]

    @pytest.mark.parametrize("window", [1, 4])
    async def test_what_is_sent_and_not_recorded_is_within_the_bound(self, bench, window) -> None:
        """window - 1 ends, and one on each connection."""
        bench.make(lanes=3, window=window)
        await bench.feed("warm")
        await bench.all_delivered()
        bench.store.takes_s = 0.05  # the next commits run on the writer's thread
        await bench.feed("slow")
        bench.store.takes_s = 0.0
        await bench.all_delivered()
        await bench.feed(*(f"k{n}" for n in range(40)))
        with bench.store.commits_held():
            sent = len(bench.receiver.sent)
            recorded = bench.states().count("delivered")
            for _ in range(20):
                await turns(20)
            sent = len(bench.receiver.sent)
            recorded = bench.states().count("delivered")
            assert sent - recorded <= window - 1 + 3
        await bench.all_delivered()

    async def test_a_stop_stands_still_with_all_keys_until_a_person_goes_on(self, bench) -> None:
        bench.receiver.answer = lambda d: AE if d.key == "A" and len(bench.receiver.sent) < 2 else Delivered()
        bench.make(lanes=1, policy=Policy(on_refused=Rules(Action("stop"))))
        await bench.feed("A", "B")
        await until(lambda: bench.lane.state == "stopped")
        await turns(100)
        assert bench.receiver.order == ["A"] and bench.lane.head == 1
        bench.lane.retry_now()
        await bench.all_delivered()

    async def test_a_store_that_cannot_be_read_now_is_read_later(self, bench, monkeypatch) -> None:
        monkeypatch.setattr(module, "STORE_RETRY_S", 0.01)
        await bench.feed(*"ABAB")
        read = bench.queries.queued_delivery
        fails = [StoreBusy("locked")] * 3

        def busy(id_: DeliveryId) -> Delivery | None:
            if fails:
                raise fails.pop()
            return read(id_)

        monkeypatch.setattr(bench.queries, "queued_delivery", busy)
        bench.make()
        await bench.all_delivered()

    async def test_a_delivery_with_damaged_bytes_is_passed_and_its_key_goes_on(self, bench) -> None:
        for _ in range(3):
            intake = received()
            intake.deliveries = [DraftDelivery(EPR, None, "A")]
            await bench.feed(intake)
        bench.store.damage(MessageSeq(1))
        bench.make()
        await until(lambda: bench.states()[1:] == ["delivered", "delivered"])
        await bench.feed("A", "B")
        await until(lambda: bench.states()[1:] == ["delivered"] * 4)


class TestMemory:
    async def test_a_backlog_is_read_from_the_store_without_gaps_or_repeats(self, bench, monkeypatch) -> None:
        for name, value in (("MOST_IN_MEMORY", 12), ("PAGE", 7), ("ENOUGH_READY", 4), ("PER_KEY", 2)):
            monkeypatch.setattr(module, name, value)
        keys = [random.Random(number).choice("ABCDEFGH") for number in range(150)]
        gate = bench.receiver.hold("A")
        bench.make(lanes=3)
        await bench.feed(*keys[:100])
        gate.set()
        await bench.feed(*keys[100:])
        await bench.all_delivered()
        assert len(bench.receiver.sent) == 150 and in_order(bench.receiver.sent)

    async def test_one_key_with_a_long_queue_does_not_hold_up_those_behind_it(self, bench, monkeypatch) -> None:
        for name, value in (("MOST_IN_MEMORY", 12), ("PAGE", 7), ("PER_KEY", 2)):
            monkeypatch.setattr(module, name, value)
        gate = bench.receiver.hold("A")
        await bench.feed(*"A" * 100, "B")
        bench.make(lanes=2)
        await until(lambda: bench.states()[-1] == "delivered")
        assert bench.receiver.order.count("A") == 1
        gate.set()
        await bench.all_delivered()

    async def test_of_the_keys_that_wait_only_so_many_are_in_memory(self, bench, monkeypatch) -> None:
        monkeypatch.setattr(module, "MOST_PARKED", 5)
        bench.receiver.answer = lambda d: Delivered() if d.key == "FREE" else AR
        bench.make(lanes=2, window=4)
        await bench.feed(*(f"k{n}" for n in range(60)), *(f"k{n}" for n in range(60)))
        await until(lambda: bench.blocked() == 60)
        await until(lambda: len(_window(bench)._keys) <= 5)
        await bench.feed("FREE", "FREE")
        await until(lambda: bench.states().count("delivered") == 2)
        assert len(_window(bench)._keys) <= 7
        bench.receiver.answer = lambda _: Delivered()
        bench.clock.ahead_s += 601
        bench.lane.retry_now()
        await bench.all_delivered()
        assert in_order(bench.receiver.done)

    @pytest.mark.parametrize("days", [-400, 400])
    async def test_a_wall_clock_that_jumps_leaves_no_key_behind(self, bench, monkeypatch, days) -> None:
        monkeypatch.setattr(module, "MOST_PARKED", 2)
        bench.receiver.answer = lambda _: AR
        bench.make(lanes=2)
        await bench.feed(*"ABCDEF")
        await until(lambda: bench.blocked() == 6)
        await until(lambda: len(_window(bench)._keys) <= 2)
        bench.clock.wall_ahead_s = days * 86400.0
        bench.clock.ahead_s += 601
        bench.receiver.answer = lambda _: Delivered()
        bench.lane.retry_now()
        await bench.all_delivered()

    @pytest.mark.parametrize("jump_s", [-4.0, 4.0, -400 * 86400.0, 400 * 86400.0])
    async def test_a_wall_clock_that_jumps_at_each_of_its_reads_has_no_say_in_a_wait(
        self, bench, monkeypatch, jump_s
    ) -> None:
        read = bench.clock.now_us

        def jumping() -> int:
            bench.clock.wall_ahead_s += jump_s
            return read()

        monkeypatch.setattr(bench.clock, "now_us", jumping)
        bench.receiver.answer = lambda _: AR
        bench.make(policy=Policy(first_s=60, most_s=600, jitter=0.0))
        began = bench.clock.monotonic()
        await bench.feed("A")
        await until(lambda: _window(bench)._parked_count == 1)
        (key,) = _window(bench)._keys.values()
        assert began + 60 <= key.not_before <= bench.clock.monotonic() + 60

    async def test_ten_thousand_keys_of_which_all_but_one_are_blocked_cost_no_more_than_their_rows(
        self, tmp_path, clock
    ) -> None:
        """What the lane reads is counted: each waiting row once, and for the free key's deliveries a few each."""
        store = SqliteStore(tmp_path / "store.db", clock=clock)
        store.open()
        fatal: list[BaseException] = []
        committer = Committer(store, clock, CountingMeter(), fatal.append)
        async with owned_tasks() as (tasks, failures):
            bench = Bench(store, committer, clock, tasks)
            counted = CountedQueue(bench.queries)
            bench.make(start=False)
            keys = [f"k{n}" for n in range(9_999)]
            await bench.feed(*keys)
            later = clock.now_us() + 600_000_000  # each was tried once, and waits for ten minutes
            for number in range(1, 10_000):
                tried = DeliveryResult(DeliveryId(number), "queued", 1, clock.now_us(), later, "AR")
                committer.record(tried, None, urgent=False)
            await committer.drained()
            await bench.feed(*keys[:200])
            bench.make(lanes=4, queue=counted)
            await bench.feed(*["FREE"] * 50)
            await until(lambda: sum(d.key == "FREE" for d in bench.receiver.done) == 50)
            window = _window(bench)
            assert {d.key for d in bench.receiver.sent} == {"FREE"}
            assert window._count <= module.MOST_IN_MEMORY and len(window._keys) <= module.MOST_PARKED + 10
            assert counted.rows <= 10_199 + 50 * 20, "each row is read once"
            assert counted.bodies <= module.MOST_PARKED + 50
            before = counted.rows
            for _ in range(20):
                await bench.feed("FREE")
            await until(lambda: sum(d.key == "FREE" for d in bench.receiver.done) == 70)
            assert counted.rows - before <= 20 * 20, "one more costs no more for all that is blocked"
            assert failures == [] and fatal == []
        committer.close()
        store.close()


def _window(bench: Bench) -> KeyedWindow:
    window = bench.lane._window
    assert isinstance(window, KeyedWindow)
    return window


class CountedQueue:
    """A reader that counts what it gives."""

    def __init__(self, queries) -> None:
        self._queries = queries
        self.rows = 0
        self.bodies = 0

    def _counted(self, name: str, args: tuple[object, ...]):
        found = getattr(self._queries, name)(*args)
        self.rows += len(found)
        return found

    def queued(self, *args):
        return self._queries.queued(*args)

    def queued_rows(self, *args):
        return self._counted("queued_rows", args)

    def queued_of_key(self, *args):
        return self._counted("queued_of_key", args)

    def queued_urgent(self, *args):
        return self._counted("queued_urgent", args)

    def queued_waiting(self, *args):
        return self._counted("queued_waiting", args)

    def queued_delivery(self, *args):
        self.bodies += 1
        return self._queries.queued_delivery(*args)


async def test_what_was_read_with_its_key_beside_its_own_commit_is_sent_once(bench, monkeypatch) -> None:
    """On a slow disk a row is there before its commit has ended, and so before the lane is told of it."""
    monkeypatch.setattr(module, "PER_KEY", 2)
    gate = bench.receiver.hold("k")
    bench.make(lanes=1)
    await bench.feed("k", "k", "k")  # the third is left in the store, to be read with its key
    await until(lambda: bench.receiver.sent)
    committed = bench.store.commit(Batch([keyed("k")]))  # durable, and its end is yet to be told
    for sent in (2, 3):
        await turns(5)  # its answer waits at this gate by now, and not at the next one
        gate.set()
        gate = bench.receiver.hold("k")
        await until(lambda sent=sent: len(bench.receiver.sent) == sent)
    bench._stored(MessageSeq(4), committed.deliveries[0])
    gate.set()
    await bench.all_delivered()
    assert [delivery.id for delivery in bench.receiver.sent] == [1, 2, 3, 4]
