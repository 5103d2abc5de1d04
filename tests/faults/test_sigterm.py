"""R6: SIGTERM under load, again and again: exit 0 within the limit, nothing lost or twice, nobody left waiting."""

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger
from tests.faults.one_site import OneSite
from tests.faults.sites import until_it_fails

ROOM = "limits: {free_disk: 0, low_disk: 0}\n"
LIMIT_S = 10.0
"""`shutdown`, as it is when nobody says otherwise."""


async def stop_often(folder: Path, count: int, seed: int, mutant: str | None = None) -> tuple[OneSite, list[float]]:
    """Start, let it work for a moment, SIGTERM; `count` times, and a last one that finishes what is left."""
    chance = random.Random(seed)
    took: list[float] = []
    async with OneSite(folder / "site", senders=8) as site:
        for _ in range(count):
            engine = await site.start(mutant=mutant)
            await site.more(chance.randint(1, 60))
            asked = time.monotonic()
            engine.terminate()
            ended = await engine.wait()
            took.append(time.monotonic() - asked)
            assert ended == 0, f"it ended with {ended}: {engine.errors()}"
        await site.start(mutant=mutant)
        await site.more(1)
        await site.load.stop()
        wanted = set(site.load.acknowledged)
        # Lives this short leave much to deliver: as long as something comes, it goes on.
        while not wanted <= set(site.receiver.accepted):
            so_far = len(site.receiver.accepted)
            await site.until(lambda: len(site.receiver.accepted) > so_far)  # noqa: B023
        await site.end_well()
    return site, took


def note(ledger: Ledger, what: str, site: OneSite, took: list[float]) -> None:
    verdict = site.verdict
    ledger.write(
        "R6",
        what,
        stops=len(took),
        exit_0=len(took),
        acknowledged=len(verdict.acknowledged),
        lost=len(verdict.lost),
        twice=sum(sum(seen.duplicates.values()) for seen in verdict.at.values()),
        without_an_answer_on_a_whole_connection=site.load.unanswered,
        longest_s=max(took),
        within_s=LIMIT_S,
    )


def assert_in_order(site: OneSite) -> None:
    """As after no crash at all: `end_well` has asked for losses, order, and duplicates (none is allowed)."""
    assert site.load.unanswered == 0, "a sender waited in vain"
    assert set(site.load.answers) == {"AA"}


@pytest.mark.timeout(180)
async def test_R6_sigterm_under_load_20_times(tmp_path: Path, ledger: Ledger) -> None:
    site, took = await stop_often(tmp_path, 20, seed=6)
    note(ledger, "SIGTERM under load", site, took)
    assert_in_order(site)


@pytest.mark.fault
@pytest.mark.timeout(900)
async def test_R6_sigterm_under_load_200_times(tmp_path: Path, ledger: Ledger) -> None:
    site, took = await stop_often(tmp_path, 200, seed=int(os.environ.get("SEGMILL_SEED", "600")))
    note(ledger, "SIGTERM under load, long", site, took)
    assert_in_order(site)


@pytest.mark.timeout(300)
async def test_R6_catches_a_stop_that_does_not_record_what_lanes_have_learned(tmp_path: Path) -> None:
    async def look(site: int) -> None:
        await stop_often(tmp_path / f"{site}", 8, seed=66 + site, mutant="stop-without-records")

    await until_it_fails(look, r"[1-9]\d* duplicates")


def silence(site: OneSite) -> tuple[asyncio.Event, list[str]]:
    """Its receiver takes messages and says nothing until the event is set; what it was asked."""
    speaks = asyncio.Event()
    well = site.receiver.code_for
    asked: list[str] = []

    def quiet(control_id: str, connection: int) -> str | None:
        asked.append(control_id)
        return well(control_id, connection) if speaks.is_set() else None

    site.receiver.code_for = quiet
    return speaks, asked


@pytest.mark.timeout(120)
async def test_R6_a_stop_does_not_wait_for_a_receiver_that_hangs_and_what_it_may_have_is_marked(tmp_path: Path) -> None:
    async with OneSite(tmp_path / "site", settings=f"{ROOM}shutdown: 1s\n") as site:
        speaks, asked = silence(site)
        engine = await site.start()
        await site.more(5)
        await site.until(lambda: bool(asked))
        engine.terminate()
        assert await engine.wait() == 0
        assert "stop: cut off after 1 s: deliver rig/receiver" in engine.errors()
        speaks.set()
        await site.start()
        await site.end_well(kills=1)


@pytest.mark.timeout(120)
async def test_R6_a_second_signal_ends_the_process_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    async with OneSite(tmp_path / "site", settings=f"{ROOM}shutdown: 10m\n") as site:
        speaks, asked = silence(site)
        engine = await site.start()
        await site.more(5)
        await site.until(lambda: bool(asked))
        engine.terminate()
        await site.until(lambda: "stopping: what is in hand has 600 s" in engine.errors())
        engine.terminate()
        assert await engine.wait() == -signal.SIGTERM
        speaks.set()
        await site.start()
        await site.end_well(kills=1)
