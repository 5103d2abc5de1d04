"""Whatever happens to a lane with keys, each key keeps its order and nothing is lost; and mutants that this catches."""

import asyncio
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Delivery
from engine.model.ids import DeliveryId, MessageSeq
from engine.model.outcome import Delivered, Outcome
from engine.ports.store import StoreFull
from engine.runtime import committer as committer_module
from engine.runtime import keyed_window as module
from engine.runtime import lane as lane_module
from engine.runtime.committer import Committer
from engine.runtime.keyed_window import KeyedWindow
from engine.runtime.policy import Policy
from engine.runtime.turns import NO_ID
from tests.runtime.keyed import AE, AR, DOWN, SILENT, Bench, Receiver, keyed
from tests.runtime.parts import CountingMeter, SetClock, WatchedStore, owned_tasks, turns, until

SMALL = {"MOST_IN_MEMORY": 8, "PAGE": 4, "PER_KEY": 2, "MOST_PARKED": 2, "ENOUGH_READY": 3, "LOOK_AGAIN_S": 0.002}
QUICK = Policy(first_s=0.003, most_s=0.01, jitter=0.0)

actions = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), st.lists(st.sampled_from(["A", "B", "C", "D", "E", ""]), min_size=1, max_size=9)),
        st.tuples(st.just("urgent"), st.lists(st.sampled_from("AEF"), min_size=1, max_size=3)),
        st.tuples(st.just("outcomes"), st.lists(st.sampled_from([DOWN, SILENT, AE, AR]), max_size=4)),
        st.tuples(st.just("gate"), st.sampled_from("ABC")),
        st.tuples(st.just("open"), st.just(0)),
        st.tuples(st.just("reread"), st.just(0)),
        st.tuples(st.just("release"), st.just(0)),
        st.tuples(st.just("full"), st.integers(1, 2)),
        st.tuples(st.just("slow"), st.sampled_from([0.0, 0.03])),
        st.tuples(st.just("crash"), st.booleans()),
        st.tuples(st.just("turn"), st.integers(1, 30)),
    ),
    max_size=25,
)


class Judge(Receiver):
    """A receiver that knows what was committed: nothing comes before what was before it in its key has ended.

    A crash may make what was under way come again: then it must be marked.
    """

    def __init__(self) -> None:
        super().__init__()
        self.committed: dict[str, list[DeliveryId]] = defaultdict(list)
        self.ended: set[DeliveryId] = set()
        self.released: set[DeliveryId] = set()
        self.script: list[Outcome] = []
        self.answer = self._next

    def _next(self, delivery: Delivery) -> Outcome:
        outcome = self.script.pop(0) if self.script else Delivered()
        if isinstance(outcome, Delivered) or outcome is AE:
            self.ended.add(delivery.id)
        return outcome

    async def take(self, delivery: Delivery) -> Outcome:
        if delivery.maybe_sent:
            self.done = [d for d in self.done if d.id != delivery.id]
        before = [id_ for id_ in self.committed[delivery.key or ""] if id_ < delivery.id]
        passed = [id_ for id_ in before if id_ not in self.ended and id_ not in self.released]
        if passed and delivery.id not in self.released:
            self.wrong.append(f"{delivery.id} before {passed} of its key")
        return await super().take(delivery)


class Life:
    """One store through engines that come and go, each with one lane to one judge."""

    def __init__(self, lanes: int, window: int, max_batch: int) -> None:
        self.lanes, self.window, self.max_batch = lanes, window, max_batch
        self.clock = SetClock()
        self.store = WatchedStore(self.clock)
        self.judge = Judge()
        self.fed = 0

    async def live(self, script: Sequence[tuple[str, object]]) -> None:
        """Every action, then to the end. Raises AssertionError for what must not be."""
        runs: list[list[tuple[str, object]]] = [[]]
        for action, value in script:
            if action == "crash":
                runs[-1].append((action, value))
                runs.append([])
            else:
                runs[-1].append((action, value))
        for number, run in enumerate(runs, 1):
            await self._run(run, f"order {number // 2}", is_last=number == len(runs))
        assert self.judge.wrong == []

    async def _run(self, script: Sequence[tuple[str, object]], order_by: str, *, is_last: bool) -> None:
        self.store.open()
        fatal: list[BaseException] = []
        committer = Committer(self.store, self.clock, CountingMeter(), fatal.append)
        async with owned_tasks() as (tasks, failures):
            bench = Bench(self.store, committer, self.clock, tasks)
            bench.receiver, bench.fed = self.judge, self.fed
            bench.make(self.lanes, QUICK, self.window, max_batch=self.max_batch, order_by=order_by)
            clean = None
            for action, value in script:
                if action == "crash":
                    clean = value
                else:
                    await self._do(bench, action, value)
            if is_last:
                self.store.takes_s = 0.0
                for gate in self.judge.gates.values():
                    gate.set()
                self.judge.script.clear()
                await committer.drained()
                await until(lambda: "queued" not in bench.states())
                delivered = {row.id for row in bench.rows() if row.state == "delivered"}
                assert delivered <= {d.id for d in self.judge.done}
            elif clean:
                bench.lane.drain()
                for gate in self.judge.gates.values():
                    gate.set()
                await asyncio.wait_for(bench.task, 5)
                await committer.drained()
            self.fed = bench.fed
            seen = list(failures)
        committer.close()
        assert seen == [] and fatal == []
        self.judge.in_hand.clear()
        if clean:
            self.store.close()
        else:
            self.store.crash()

    async def _do(self, bench: Bench, action: str, value: object) -> None:
        if action in ("feed", "urgent"):
            for key in value:
                bench.committer.put(keyed(key, urgent=action == "urgent"), self._stored(bench), lambda _: None)
        elif action == "outcomes":
            self.judge.script += value
        elif action == "gate":
            self.judge.hold(value)
        elif action == "open":
            for gate in self.judge.gates.values():
                gate.set()
        elif action == "reread":
            bench.lane.reread()
        elif action == "release":
            held = [row.id for row in bench.rows() if row.state == "held"]
            self.judge.released.update(held)
            self.judge.ended.difference_update(held)
            if held:
                await bench.committer.call(lambda store: store.move_deliveries(held, "queued", "released"))
                bench.lane.reread()
        elif action == "slow":
            self.store.takes_s = value  # commits that take so long go to the writer's thread
        elif action == "full":
            for _ in range(value):
                self.store.fail_next(StoreFull("full"))
        else:
            await turns(value)

    def _stored(self, bench: Bench) -> Callable[[MessageSeq, list[Delivery]], None]:
        def stored(seq: MessageSeq, deliveries: list[Delivery]) -> None:
            for delivery in deliveries:
                self.judge.committed[delivery.key or ""].append(delivery.id)
            bench._stored(seq, deliveries)

        return stored


class SqliteLife(Life):
    """The same with a store in a file, whose crash is the copy of what lies on the disk."""

    def __init__(self, folder: Path, lanes: int, window: int, max_batch: int) -> None:
        super().__init__(lanes, window, max_batch)
        self.folder, self.number = folder, 0
        self._take(folder / "0" / "store.db")

    def _take(self, path: Path) -> None:
        self.store = store = SqliteStore(path)
        store.fail_next, store.takes_s, store.crash = (lambda _: None), 0.0, self._crash  # type: ignore[attr-defined]

    def _crash(self) -> None:
        before = self.store.path.parent
        self.number += 1
        after = self.folder / str(self.number)
        shutil.copytree(before, after, ignore=shutil.ignore_patterns("*.lock", "*-shm"))
        self.store.close()
        self._take(after / "store.db")


@pytest.fixture
def small(monkeypatch) -> None:
    """Bounds so small that every way through the window is taken."""
    for name, value in SMALL.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(committer_module, "RETRY_S", 0.002)


@pytest.mark.usefixtures("small")
class TestWhatever:
    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    @given(actions, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
    def test_whatever_happens_each_key_keeps_its_order_and_nothing_is_lost(
        self, script, lanes, window, max_batch
    ) -> None:
        asyncio.run(Life(lanes, window, max_batch).live(script))

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(actions, st.integers(1, 4), st.integers(1, 4))
    def test_the_same_with_the_store_in_a_file(self, script, lanes, window) -> None:
        with TemporaryDirectory(prefix="segmill-lanes-") as folder:
            life = SqliteLife(Path(folder), lanes, window, 1)
            asyncio.run(life.live(script))
            life.store.close()

    @pytest.mark.parametrize("mutant", ["overtakes", "goes on", "forgets who waits"])
    def test_a_lane_that_breaks_the_order_is_caught(self, monkeypatch, mutant) -> None:
        """Mutants of the window: this property would see them."""

        class Overtakes(KeyedWindow):
            """Hands out the next of a key while one is in hand."""

            def _hand_out(self, key):
                delivery = super()._hand_out(key)
                if key.waiting:
                    key.in_hand = NO_ID
                    self._settle_head(key)
                return delivery

        class GoesOn(KeyedWindow):
            """Lets the next of a key go while its first waits for a retry."""

            def settled(self, batch, back):
                super().settled(batch, [])

        class Forgets(KeyedWindow):
            """Takes up what comes for a key, though an earlier one of it waits in the store."""

            def _leave_out(self, wait_s):
                super()._leave_out(wait_s)
                self._out = False

        made = {"overtakes": Overtakes, "goes on": GoesOn, "forgets who waits": Forgets}[mutant]
        assert not any(_breaks_order(seed) for seed in range(10))
        monkeypatch.setattr(lane_module, "KeyedWindow", made)
        assert any(_breaks_order(seed) for seed in range(100))


def _breaks_order(seed: int) -> bool:
    """Whether a random history has something overtake another of its key."""
    rng = random.Random(seed)
    script: list[tuple[str, object]] = []
    for _ in range(20):
        script.append(
            rng.choice(
                [
                    ("feed", [rng.choice("ABCDE") for _ in range(rng.randint(3, 9))]),
                    ("outcomes", [AR] * rng.randint(1, 12)),
                    ("turn", rng.randint(5, 40)),
                ]
            )
        )
    life = Life(3, 4, 1)
    try:
        asyncio.run(asyncio.wait_for(life.live(script), 5))
    except (AssertionError, KeyError, TimeoutError):
        return bool(life.judge.wrong)  # a mutant may do whatever, but only this counts
    return False
