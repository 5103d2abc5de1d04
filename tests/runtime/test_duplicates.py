"""Duplicates (reliability.md P2, C7; DESIGN decision 6): the window's very edge, in both stores and over restarts, with
the mutant that is off by one; and senders that start their control ids again."""

from pathlib import Path

import pytest

from engine.adapters.stores import reading
from engine.adapters.stores.memory import MemoryStore
from engine.adapters.stores.reading import Reading
from engine.adapters.stores.sealing import Sealing
from engine.model.finding import load_findings
from engine.model.ids import MessageSeq
from engine.runtime import recent
from engine.runtime.recent import TOLD_AGAIN_US, Reuse
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, codes
from tests.runtime.parts import SetClock

HOUR_US = 3_600_000_000
START_US = 1_800_000_000_000_000
"""On the hour, where the store's table of hours changes its row."""
WINDOW = channel(more="duplicates: {window: 1h}")
SQLITE = "admin: off\n"


class StoppedClock(SetClock):
    """The wall clock stands where it was put."""

    def __init__(self) -> None:
        super().__init__()
        self.us = START_US

    def now_us(self) -> int:
        return self.us


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


async def stored(site: SiteUnderTest, clock: StoppedClock, payload: bytes, *, offset_us: int, restart: bool) -> int:
    """How many messages are stored after `payload` came at START_US and again `offset_us` later."""
    async with site.running() as engine:
        clock.us = START_US
        wire = await site.wire()
        await wire.send(payload)
        assert codes([await wire.answer()]) == ["AA"]
        if not restart:
            return await again(site, engine, clock, payload, offset_us)
    clock.us = START_US + offset_us  # the start reads which ids came within the window of now
    async with site.running() as engine:
        return await again(site, engine, clock, payload, offset_us)


async def again(site: SiteUnderTest, engine: object, clock: StoppedClock, payload: bytes, offset_us: int) -> int:
    clock.us = START_US + offset_us
    wire = await site.wire()
    await wire.send(payload)
    assert codes([await wire.answer()]) == ["AA"]
    queries = site.engine._queries
    return len(list(queries.messages()))


EDGE = [(0, 1), (HOUR_US - 1, 1), (HOUR_US, 1), (HOUR_US + 1, 2), (2 * HOUR_US, 2)]


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("settings", [MEMORY, SQLITE], ids=["memory", "sqlite"])
@pytest.mark.parametrize(("offset_us", "messages"), EDGE)
async def test_the_window_ends_to_the_microsecond(
    tmp_path: Path, adt, clock, settings, restart, offset_us, messages
) -> None:
    """Exactly at the window's end it is a resend still; a microsecond later it is a new message."""
    site = SiteUnderTest(tmp_path / "s", {"adt": WINDOW}, settings, clock=clock)
    assert await stored(site, clock, adt(control_id="A1"), offset_us=offset_us, restart=restart) == messages


@pytest.mark.parametrize("settings", [MEMORY, SQLITE], ids=["memory", "sqlite"])
async def test_a_clock_that_was_ahead_at_the_start_and_is_set_back_forgets_no_id(
    tmp_path: Path, adt, clock, settings
) -> None:
    """What the start has read of known ids reaches back from the time it had then (reliability.md E3)."""
    site = SiteUnderTest(tmp_path / "s", {"adt": WINDOW}, settings, clock=clock)
    async with site.running() as engine:
        assert await again(site, engine, clock, adt(control_id="A1"), 0) == 1
    clock.us = START_US + 400 * 24 * HOUR_US
    async with site.running() as engine:
        assert await again(site, engine, clock, adt(control_id="A1"), 60_000_000) == 1


class OffByOneReading(Reading):
    """The mutant: what came exactly at the window's start is no longer in it."""

    def __init__(self, sealing: Sealing | None = None) -> None:
        super().__init__(sealing)
        for name in ("known", "recent_ids"):
            self.sql = {
                **self.sql,
                name: self.sql[name].replace("received_at_us >= :since_us", "received_at_us > :since_us"),
            }


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
async def test_the_mutant_off_by_one_is_caught_in_sqlite(tmp_path: Path, adt, clock, monkeypatch, restart) -> None:
    from engine.adapters.stores import queries, sqlite

    for module in (sqlite, queries):
        monkeypatch.setattr(module, "Reading", OffByOneReading)
    assert reading.Reading is Reading
    site = SiteUnderTest(tmp_path / "s", {"adt": WINDOW}, SQLITE, clock=clock)
    assert await stored(site, clock, adt(control_id="A1"), offset_us=HOUR_US, restart=restart) == 2, "the edge sees it"


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
async def test_the_mutant_off_by_one_is_caught_in_memory(tmp_path: Path, adt, clock, monkeypatch, restart) -> None:
    known = MemoryStore.known
    monkeypatch.setattr(MemoryStore, "known", lambda self, *key: known(self, *key[:3], key[3] + 1))
    site = SiteUnderTest(tmp_path / "s", {"adt": WINDOW}, MEMORY, clock=clock)
    assert await stored(site, clock, adt(control_id="A1"), offset_us=HOUR_US, restart=restart) == 2, "the edge sees it"


async def test_the_mutant_one_too_long_is_caught_as_well(tmp_path: Path, adt, clock, monkeypatch) -> None:
    known = MemoryStore.known
    monkeypatch.setattr(MemoryStore, "known", lambda self, *key: known(self, *key[:3], key[3] - 1))
    site = SiteUnderTest(tmp_path / "s", {"adt": WINDOW}, MEMORY, clock=clock)
    assert await stored(site, clock, adt(control_id="A1"), offset_us=HOUR_US + 1, restart=False) == 1, "seen"


# -- a sender that starts its ids again --------------------------------------------------------------


async def test_a_sender_that_restarts_its_counter_is_processed_and_told_of_a_few_times(
    tmp_path: Path, adt, clock
) -> None:
    site = SiteUnderTest(tmp_path / "s", {"adt": WINDOW}, clock=clock)
    async with site.running() as engine:
        wire = await site.wire()
        first = [adt(control_id=str(n), ward="4W") for n in range(50)]
        second = [adt(control_id=str(n), ward="5W") for n in range(50)]
        for part in (first, second):
            await wire.send(*part)
            assert set(codes(await wire.answers(50))) == {"AA"}
        await site.delivered("adt/out", 100)
        found = [[f.code for f in load_findings(m.findings)] for m in site.messages()]
        assert found[:50] == [[]] * 50
        assert found[50:] == [["E232"]] * 3 + [["W232"]] + [[]] * 46
        counted = engine.meter.channel("adt").findings
        assert counted["E232"] == 3 + 46
        # A true resend of either is a resend still.
        await wire.send(first[7], second[7])
        await wire.answers(2)
        assert len(site.messages()) == 100


async def test_after_an_hour_and_for_another_sender_it_is_told_anew(tmp_path: Path, adt, clock) -> None:
    reuse = Reuse()

    def told(sender: str, at_us: int) -> list[str]:
        return [f.code for f in reuse.again(("adt", sender, "1"), MessageSeq(9), at_us)]

    assert [told("HIS", START_US) for _ in range(6)] == [["E232"]] * 3 + [["W232"], [], []]
    assert told("LIS", START_US) == ["E232"]
    assert told("HIS", START_US + TOLD_AGAIN_US - 1) == []
    assert told("HIS", START_US + TOLD_AGAIN_US) == ["E232"]
    assert told("HIS", START_US - 1) == ["E232"], "a clock that was set back starts anew"


def test_what_is_remembered_of_senders_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(recent, "MOST_SENDERS", 3)
    reuse = Reuse()
    for number in range(10):
        reuse.again(("adt", f"S{number}", "1"), 1, START_US)
    assert len(reuse._told) == 3
