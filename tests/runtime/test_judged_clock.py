"""A clock that may jump at any of its reads forgets nothing that is young by the steady one (reliability.md R13)."""

from collections.abc import Callable

import pytest

from engine.adapters.stores.memory import MemoryStore
from engine.model.envelope import Batch
from engine.model.ids import MessageSeq
from engine.ports.judged_clock import JudgedClock
from engine.ports.store import Prune, Pruned
from engine.runtime import retention as module
from engine.runtime.committer import Committer
from engine.runtime.retention import Ages, Retention
from tests.runtime.parts import LAB, CountingMeter, SetClock, WatchedStore, received

DAY_S = 86_400.0
HOUR_S = 3600.0
HOUR_US = 3_600_000_000
START_US = 1_800_000_000_000_000


class StillClock(SetClock):
    """It stands until a test moves it, and counts how often it is read. `on_read` is called before each."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.on_read: Callable[[int], None] = lambda reads: None

    def now_us(self) -> int:
        self._read()
        return self.wall_us

    def monotonic(self) -> float:
        self._read()
        return self.ahead_s

    @property
    def wall_us(self) -> int:
        return START_US + int((self.ahead_s + self.wall_ahead_s) * 1_000_000)

    def _read(self) -> None:
        self.reads += 1
        self.on_read(self.reads)


@pytest.fixture
def still() -> StillClock:
    return StillClock()


@pytest.fixture
def judged(still: StillClock) -> JudgedClock:
    return JudgedClock(still)


class TestJudgedClock:
    @pytest.mark.parametrize("days", [1.01, -1.01, 400, -400])
    def test_a_jump_since_it_was_made_is_seen_at_the_first_look(self, still, judged, days) -> None:
        still.wall_ahead_s = days * DAY_S
        assert not judged.agrees()
        assert judged.look() is None
        assert f"{abs(days):.1f} days {'ahead of' if days > 0 else 'behind'}" in judged.doubt

    def test_a_jump_that_is_let_pass_does_not_hasten_anything(self, still, judged) -> None:
        still.ahead_s += 600
        still.wall_ahead_s = 20 * HOUR_S
        assert judged.agrees()
        assert judged.look() == START_US + 600 * 10**6

    def test_a_clock_that_was_set_back_a_little_is_gone_by(self, still, judged) -> None:
        still.wall_ahead_s = -HOUR_S
        assert judged.look() == START_US - HOUR_US

    def test_small_jumps_add_up(self, still, judged) -> None:
        still.wall_ahead_s = 20 * HOUR_S
        assert judged.look()
        still.ahead_s += 600
        still.wall_ahead_s = 40 * HOUR_S
        assert judged.look() is None

    def test_after_a_day_it_is_counted_from_another_reading(self, still, judged) -> None:
        still.wall_ahead_s = 20 * HOUR_S
        still.ahead_s += DAY_S
        assert judged.look() == START_US + int(DAY_S) * 10**6
        assert judged.look() == still.wall_us
        still.wall_ahead_s = 40 * HOUR_S
        assert judged.look() is not None

    def test_a_clock_that_goes_on_for_a_day_is_believed_and_another_jump_begins_that_day_anew(
        self, still, judged
    ) -> None:
        still.wall_ahead_s = 400 * DAY_S
        assert judged.look() is None
        still.ahead_s += DAY_S - 1
        still.wall_ahead_s = 0
        assert judged.look() is None
        still.ahead_s += DAY_S - 1
        assert judged.look() is None and not judged.agrees()
        still.ahead_s += 1
        assert judged.look() == still.wall_us and judged.agrees() and not judged.doubt

    def test_a_person_says_that_it_is_right_as_it_is_also_before_it_was_looked_at(self, still, judged) -> None:
        still.wall_ahead_s = 400 * DAY_S
        judged.believe()
        assert judged.look() == still.wall_us

    @pytest.mark.parametrize(("days", "is_believed"), [(0.9, True), (-0.9, True), (1.1, False), (-1.1, False)])
    def test_it_is_compared_with_what_was_known_before(self, still, judged, days, is_believed) -> None:
        judged.compare(START_US - int(days * DAY_S * 1_000_000))
        assert (judged.look() is not None) == is_believed


@pytest.fixture
def without_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_REST_S", 0.0)
    monkeypatch.setattr(module, "REST", 0)
    monkeypatch.setattr(module, "QUIET_REST", 0)
    monkeypatch.setattr(module, "LEAST_QUIET_REST_S", 0.0)
    monkeypatch.setattr(module, "LEAST_SPAN", 2)
    monkeypatch.setattr(module, "MOST_SPAN", 2)


PASSES = 3


async def passes_with_a_jump(
    committer: Committer,
    store: WatchedStore,
    still: StillClock,
    days: float,
    first: int,
    length: int,
    after_h: float = 0.0,
) -> int:
    """Three passes over four old messages and four young ones; for reads `first` to `first + length` the clock is
    `days` ahead, then `after_h` hours, and at each of its changes a message comes by it. How many young ones went."""
    young: list[MessageSeq] = []

    def receive(*, old: bool = False) -> None:
        record = received(raw=b"MSH|")
        record.received_at_us = still.wall_us - (20 * int(DAY_S) * 1_000_000 if old else 0)
        (seq,) = store.commit(Batch([record])).seqs
        if not old:
            young.append(seq)

    def jump(reads: int) -> None:
        ahead_s = 0.0 if reads < first else days * DAY_S if reads < first + length else after_h * HOUR_S
        if ahead_s != still.wall_ahead_s:
            still.wall_ahead_s = ahead_s
            receive()

    for old in (True, True, True, True, False, False, False, False):
        receive(old=old)
    store.prune(Prune(LAB, 0, 0, MessageSeq(0), 1, still.wall_us))  # the last pass of the engine before
    keeper = Retention({LAB: Ages(DAY_S / 2, 8 * DAY_S)}, 0, committer, still, CountingMeter())
    still.reads, still.on_read = 0, jump
    for _ in range(PASSES):
        await keeper._compare()
        await keeper.one_pass()
        still.ahead_s += 600
    still.on_read = lambda reads: None
    kept = {m.seq for m in store.queries().messages(bodies=True) if m.raw is not None}
    return len(set(young) - kept)


async def test_without_a_jump_the_old_ones_go(committer, store, still, without_rests) -> None:
    assert await passes_with_a_jump(committer, store, still, 0, 0, 0) == 0
    assert len(list(store.queries().messages())) == 4
    assert still.reads > 6 * PASSES, "the reads that jumps are tried at"


@pytest.mark.parametrize("days", [400, -400])
@pytest.mark.parametrize("length", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("after_h", [0, -1, -20, 20])
async def test_a_jump_at_any_read_of_the_clock_forgets_nothing_that_is_young(
    clock, meter, without_rests, days, length, after_h
) -> None:
    tried = 0
    for first in range(1, 200):
        still, store = StillClock(), WatchedStore(clock)
        store.open()
        committer = Committer(store, clock, meter, lambda error: None)
        try:
            assert await passes_with_a_jump(committer, store, still, days, first, length, after_h) == 0, (
                f"at read {first}"
            )
        finally:
            committer.close()
        tried += 1
        if still.reads < first:
            break
    assert 20 < tried < 199


async def test_a_jump_while_a_slice_is_taken_ends_the_pass(committer, store, still, without_rests, monkeypatch) -> None:
    """By what the slice itself could not know: the next one is not begun."""
    for _ in range(10):
        store.commit(Batch([received(raw=b"MSH|")]))
    prune, slices = MemoryStore.prune, []

    def jumping(self: MemoryStore, order: Prune) -> Pruned:
        slices.append(order)
        still.wall_ahead_s = 400 * DAY_S
        return prune(self, order)

    monkeypatch.setattr(MemoryStore, "prune", jumping)
    keeper = Retention({LAB: Ages(messages_s=DAY_S)}, 0, committer, still, CountingMeter())
    await keeper.one_pass()
    assert len(slices) == 1 and keeper.status().paused and not keeper.status().last_pass_us
    assert store.last_pruned_us() == START_US, "what is kept for the next start is what was judged"
