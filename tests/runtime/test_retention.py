"""What is old goes, what waits stays, and a wrong clock deletes nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from engine.model.envelope import DeliveryResult
from engine.model.ids import ChannelName, MessageSeq
from engine.ports.store import Prune, StoreBusy, StoreError, StoreFull
from engine.runtime import retention as module
from engine.runtime.committer import Committer
from engine.runtime.retention import Ages, Retention, ages
from tests.runtime.engines import SiteUnderTest, channel
from tests.runtime.parts import EPR, LAB, Answers, CountingMeter, SetClock, WatchedStore, owned_tasks, received, until

DAY_S = 86_400.0
T0_AGE_S = 0.0


@pytest.fixture(autouse=True)
def without_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PASS_S", 0.0)
    monkeypatch.setattr(module, "LEAST_REST_S", 0.0)
    monkeypatch.setattr(module, "REST", 0)
    monkeypatch.setattr(module, "QUIET_REST", 0)
    monkeypatch.setattr(module, "LEAST_QUIET_REST_S", 0.0)
    monkeypatch.setattr(module, "PASS_EVERY_S", 0.01)
    monkeypatch.setattr(module, "RETRY_S", 0.01)


def retention(
    committer: Committer, clock: SetClock, meter: CountingMeter, kept: Ages, most_bytes: int = 0
) -> Retention:
    return Retention({LAB: kept}, most_bytes, committer, clock, meter)


@asynccontextmanager
async def running(retention: Retention) -> AsyncIterator[None]:
    async with owned_tasks() as (tasks, failures):
        tasks.spawn(retention.run(), "forget")
        yield
        assert failures == []


def raws(store: WatchedStore) -> list[bytes | None]:
    return [message.raw for message in store.queries().messages(newest_first=False, bodies=True)]


async def stored(answers: Answers, count: int, *to: object, raw: bytes = b"MSH|") -> None:
    for n in range(count):
        answers.put(str(n), received(*to, raw=raw))  # type: ignore[arg-type]
    await until(lambda: len(answers.said) >= count)


def put(answers: Answers, clock: SetClock, name: str) -> None:
    """A message that comes now, by that clock."""
    record = received(raw=b"MSH|")
    record.received_at_us = clock.now_us()
    answers.put(name, record)


async def test_bytes_go_at_their_age_and_messages_at_theirs(committer, clock, meter, store, answers) -> None:
    """`received` gives a time years ago, so everything is old."""
    await stored(answers, 300)
    keeper = retention(committer, clock, meter, Ages(bodies_s=DAY_S))
    await keeper.one_pass()
    assert raws(store) == [None] * 300
    assert keeper.status().bodies == 300 == meter.counts["pruned", "bodies"]
    await retention(committer, clock, meter, Ages(messages_s=DAY_S)).one_pass()
    assert raws(store) == []


async def test_what_waits_for_its_receiver_is_kept_and_goes_after_its_end(
    committer, clock, meter, store, answers
) -> None:
    await stored(answers, 1, EPR)
    keeper = retention(committer, clock, meter, Ages(bodies_s=DAY_S, messages_s=2 * DAY_S))
    await keeper.one_pass()
    assert raws(store) == [b"MSH|"]
    recorded: list[bool] = []
    result = DeliveryResult(answers.deliveries[0].id, "delivered", 1, clock.now_us(), 0, "delivered", "")
    committer.record(result, lambda: recorded.append(True), urgent=True)
    await until(lambda: recorded)
    clock.ahead_s += DAY_S  # a whole pass again, from the oldest on
    await keeper.one_pass()
    assert raws(store) == []


async def test_a_message_is_known_as_long_as_its_resend_is_to_be_recognised() -> None:
    assert ages((3600.0, 7200.0), 7 * DAY_S) == Ages(3600.0, 7 * DAY_S + 3600.0)
    assert ages((3600.0, 8 * DAY_S), 7 * DAY_S) == Ages(3600.0, 8 * DAY_S)
    assert ages((3600.0, 7200.0), 0.0) == Ages(3600.0, 7200.0)
    assert ages((None, None), 7 * DAY_S).keeps_all


async def test_over_its_bound_the_store_loses_the_oldest_bytes_and_no_more_than_needed(
    committer, clock, meter, store, answers
) -> None:
    await stored(answers, 1000, raw=b"MSH|" + b"x" * 996)
    await retention(committer, clock, meter, Ages(), most_bytes=700_000).one_pass()
    kept = raws(store)
    gone = kept.count(None)
    assert 300 <= gone <= 700 and kept[:gone] == [None] * gone and None not in kept[gone:]


async def test_without_ages_and_bound_nothing_is_looked_at(committer, clock, meter, store) -> None:
    keeper = retention(committer, clock, meter, Ages())
    assert not keeper.is_on
    await asyncio.wait_for(keeper.run(), 1)


@pytest.mark.parametrize("jump_days", [400, -400])
async def test_a_clock_that_jumps_forgets_nothing_until_somebody_confirms(
    committer, clock, meter, store, answers, caplog, jump_days
) -> None:
    """E3: everything would be old enough at the new date."""
    keeper = retention(committer, clock, meter, Ages(messages_s=DAY_S))
    async with running(keeper):
        await until(lambda: keeper.status().last_pass_us)
        clock.wall_ahead_s += jump_days * DAY_S
        await until(lambda: keeper.status().paused)
        await stored(answers, 1)
        await asyncio.sleep(0.05)
        assert len(raws(store)) == 1 and "400.0 days" in keeper.status().paused
        assert "retention --confirm" in caplog.text
        keeper.confirm()
        if jump_days > 0:
            await until(lambda: not raws(store))
        await until(lambda: not keeper.status().paused)
    assert meter.counts["retention paused", True] == 1 == meter.counts["retention paused", False]


async def test_a_clock_that_went_on_for_a_day_without_another_jump_is_believed(
    committer, clock, meter, store, answers
) -> None:
    keeper = retention(committer, clock, meter, Ages(messages_s=DAY_S))
    async with running(keeper):
        await until(lambda: keeper.status().last_pass_us)
        clock.wall_ahead_s += 400 * DAY_S
        await until(lambda: keeper.status().paused)
        await stored(answers, 1)
        clock.ahead_s += DAY_S + 1
        await until(lambda: not raws(store))


@pytest.mark.parametrize("jump_days", [30, -30])
async def test_a_clock_that_jumped_while_the_engine_was_off_is_noticed(
    committer, clock, meter, store, answers, jump_days
) -> None:
    await retention(committer, clock, meter, Ages(messages_s=DAY_S)).one_pass()
    clock.wall_ahead_s += jump_days * DAY_S
    await stored(answers, 1)
    keeper = retention(committer, clock, meter, Ages(messages_s=DAY_S))
    async with running(keeper):
        await until(lambda: keeper.status().paused)
        await asyncio.sleep(0.03)
        assert len(raws(store)) == 1


async def test_channels_that_the_site_no_longer_has_forget_as_the_site_says(
    committer, clock, meter, store, answers
) -> None:
    gone = ChannelName("gone")
    answers.put("old", received(channel=gone))
    await until(lambda: answers.said)
    await Retention({gone: Ages(messages_s=DAY_S)}, 0, committer, clock, meter).one_pass()
    assert raws(store) == []


async def test_a_store_that_cannot_be_read_now_ends_nothing(
    committer, clock, meter, store, answers, monkeypatch
) -> None:
    """Damage, or another process in the way, is said, and tried again: what is old can wait."""
    real = store.last_pruned_us
    failures = iter([StoreError("it cannot be read"), StoreBusy("it is locked")])

    def failing() -> int:
        for error in failures:
            raise error
        return real()

    monkeypatch.setattr(store, "last_pruned_us", failing)
    await stored(answers, 1)
    store.prune(Prune(LAB, 0, 0, MessageSeq(0), 1, clock.now_us()))
    async with running(retention(committer, clock, meter, Ages(messages_s=DAY_S))):
        await until(lambda: not raws(store))


@pytest.mark.parametrize("jump_days", [400, -400])
async def test_a_clock_that_jumps_before_the_first_look_is_not_believed(
    committer, clock, meter, store, answers, jump_days
) -> None:
    """A store that nothing was ever forgotten in, and a jump between the start and the first pass."""
    keeper = retention(committer, clock, meter, Ages(messages_s=DAY_S))
    record = received(raw=b"MSH|")
    record.received_at_us = clock.now_us()
    answers.put("1", record)
    await until(lambda: answers.said)
    clock.wall_ahead_s += jump_days * DAY_S
    async with running(keeper):
        await until(lambda: keeper.status().paused)
    assert raws(store) == [b"MSH|"]


async def test_a_store_in_which_nothing_was_ever_forgotten_knows_when_its_newest_message_came(
    committer, clock, meter, store, answers
) -> None:
    record = received(raw=b"MSH|")
    record.received_at_us = clock.now_us()
    answers.put("1", record)
    await until(lambda: answers.said)
    clock.wall_ahead_s += 400 * DAY_S
    keeper = retention(committer, clock, meter, Ages(messages_s=DAY_S))
    async with running(keeper):
        await until(lambda: keeper.status().paused)
    assert raws(store) == [b"MSH|"]


async def test_a_person_who_confirms_before_the_first_look_is_asked_no_more(
    committer, clock, meter, store, answers
) -> None:
    await stored(answers, 1)  # years ago, by their time
    keeper = retention(committer, clock, meter, Ages(messages_s=DAY_S))
    keeper.confirm()
    async with running(keeper):
        await until(lambda: not raws(store))
    assert meter.counts["retention paused", True] == 0


async def test_a_clock_that_jumps_in_the_middle_of_a_pass_is_not_believed(
    committer, clock, meter, store, answers, monkeypatch
) -> None:
    """Between the look at the clock and the look at what is old: all of a pass goes by the time that was judged."""
    record = received(raw=b"MSH|")
    record.received_at_us = clock.now_us()
    answers.put("1", record)
    await until(lambda: answers.said)
    keeper = retention(committer, clock, meter, Ages(messages_s=DAY_S))
    one_pass = keeper.one_pass

    async def later() -> None:
        monkeypatch.setattr(keeper, "one_pass", one_pass)
        clock.wall_ahead_s += 400 * DAY_S
        await one_pass()

    monkeypatch.setattr(keeper, "one_pass", later)
    async with running(keeper):
        await until(lambda: keeper.status().paused)
    assert raws(store) == [b"MSH|"]


async def test_a_clock_that_is_set_back_by_hours_in_a_pass_makes_nothing_old_that_came_since(
    committer, clock, meter, store, answers, monkeypatch
) -> None:
    """A pass may be long, and goes by one reading: what came after it by the clock of now looks hours old."""
    keeper = retention(committer, clock, meter, Ages(messages_s=3600.0))
    slices, begun = keeper._slice, []

    async def set_back(order: Prune) -> object:
        if not begun:
            begun.append(order)
            clock.wall_ahead_s -= 5 * 3600.0
            put(answers, clock, "1")
            await until(lambda: answers.said)
        return await slices(order)

    monkeypatch.setattr(keeper, "_slice", set_back)
    await keeper.one_pass()
    await keeper.one_pass()
    assert begun and raws(store) == [b"MSH|"]
    clock.ahead_s += 2 * 3600.0
    await keeper.one_pass()
    assert raws(store) == []


async def test_a_clock_that_jumps_before_the_first_pass_is_not_believed(
    committer, clock, meter, store, answers, monkeypatch
) -> None:
    """Of a new store there is no earlier pass to compare with: what the clock said at the start counts."""
    record = received(raw=b"MSH|")
    record.received_at_us = clock.now_us()
    answers.put("1", record)
    await until(lambda: answers.said)
    keeper = retention(committer, clock, meter, Ages(messages_s=DAY_S))
    pause = keeper._pause

    async def jumping(seconds: float) -> None:
        monkeypatch.setattr(keeper, "_pause", pause)
        clock.wall_ahead_s += 400 * DAY_S
        await pause(seconds)

    monkeypatch.setattr(keeper, "_pause", jumping)
    async with running(keeper):
        await until(lambda: keeper.status().paused)
        assert raws(store) == [b"MSH|"]
        keeper.confirm()
        await until(lambda: not raws(store))
    assert meter.counts["retention paused", True] == 1


class TestAStoreThatIsNew:
    """What the first start notes is all that a second one has to compare its clock with."""

    @pytest.mark.parametrize("kept", [Ages(messages_s=DAY_S), Ages()], ids=["forgets", "forgets nothing at first"])
    async def test_a_jump_before_the_first_pass_and_a_start_after_it_are_not_believed(
        self, committer, clock, meter, store, answers, kept
    ) -> None:
        await retention(committer, clock, meter, kept).begin()
        put(answers, clock, "right")
        clock.wall_ahead_s += 400 * DAY_S
        put(answers, clock, "wrong")  # by its own time, the newest message bears the jump out
        await until(lambda: len(answers.said) == 2)
        keeper = retention(committer, clock, meter, Ages(messages_s=DAY_S))
        await keeper.begin()
        async with running(keeper):
            await until(lambda: keeper.status().paused)
            assert len(raws(store)) == 2
            keeper.confirm()
            await until(lambda: len(raws(store)) == 1)

    async def test_a_start_whose_clock_agrees_goes_on(self, committer, clock, meter, store, answers) -> None:
        await retention(committer, clock, meter, Ages(messages_s=3600.0)).begin()
        put(answers, clock, "old")
        clock.wall_ahead_s += 7200
        await until(lambda: answers.said)
        keeper = retention(committer, clock, meter, Ages(messages_s=3600.0))
        await keeper.begin()
        async with running(keeper):
            await until(lambda: not raws(store))
        assert meter.counts["retention paused", True] == 0

    async def test_a_clock_in_doubt_is_not_noted(self, committer, clock, meter, store) -> None:
        await retention(committer, clock, meter, Ages()).begin()
        noted = store.last_pruned_us()
        clock.wall_ahead_s += 400 * DAY_S
        for _ in range(2):
            await retention(committer, clock, meter, Ages(messages_s=DAY_S)).begin()
            assert store.last_pruned_us() == noted

    async def test_a_full_disk_at_the_start_ends_nothing(
        self, committer, clock, meter, store, monkeypatch, caplog
    ) -> None:
        def full(now_us: int) -> None:
            raise StoreFull("no room")

        monkeypatch.setattr(store, "note_time", full)
        await retention(committer, clock, meter, Ages(messages_s=DAY_S)).begin()
        assert "could not be noted" in caplog.text

    async def test_whoever_forgets_nothing_is_not_told_of_a_clock(self, committer, clock, meter, store, caplog) -> None:
        store.note_time(clock.now_us() - int(400 * DAY_S * 1e6))
        keeper = retention(committer, clock, meter, Ages())
        await keeper.begin()
        assert "retention" not in caplog.text and meter.counts["retention paused", True] == 0


async def test_an_engine_notes_the_clock_before_its_ports_are_open(tmp_path, clock) -> None:
    site = SiteUnderTest(tmp_path / "site", {"adt": channel()}, clock=clock)
    noted: list[tuple[bool, int]] = []
    note_time = site.store.note_time

    def noting(now_us: int) -> None:
        noted.append((bool(site.engine._assembly.ports), now_us))
        note_time(now_us)

    site.store.note_time = noting
    async with site.running():
        assert noted == [(False, site.store.last_pruned_us())]
