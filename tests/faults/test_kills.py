"""kill -9 at labelled and random moments, under load: what was acknowledged is delivered (reliability.md R1, R1m)."""

import os
from pathlib import Path

import pytest

from tests.faults.kill_rig import FanOutRig, Rig, Verdict, many_rigs
from tests.faults.ledger import Ledger
from tests.faults.parts_rig import PartsRig
from tests.faults.sites import until_caught
from tests.faults.sizes import size


@pytest.mark.timeout(120)
async def test_R1_nothing_acknowledged_is_lost_when_the_engine_is_killed(tmp_path: Path, ledger: Ledger) -> None:
    """Three receivers, one of which refuses and one hangs, and a folder (P1 to P6)."""
    verdict = await FanOutRig(tmp_path / "site", seed=20260102).run(cycles=12)
    ledger.write("R1", "kill -9, fan-out to four", **verdict.figures())
    verdict.assert_promise_kept()
    assert verdict.at["refusing"].held, "the refusing receiver refused nothing"


@pytest.mark.fault
@pytest.mark.timeout(3600)
async def test_R1_nothing_acknowledged_is_lost_in_2000_kills(tmp_path: Path, ledger: Ledger) -> None:
    """At night more of them, so that 200,000 messages are acknowledged (the goal of R1)."""
    seed, cycles = int(os.environ.get("SEGMILL_SEED", "2000")), size(2000, 3200)
    verdict = await many_rigs(tmp_path, seed=seed, cycles=cycles, lives=10)
    figures = {**verdict.figures(), "of_acknowledged_wanted": 200_000}
    ledger.write("R1", "kill -9, fan-out to four, long", **figures, stages=len(verdict.died_at))


@pytest.mark.timeout(120)
async def test_batches_and_messages_in_fragments_go_on_where_a_kill_cut_them_off(
    tmp_path: Path, ledger: Ledger
) -> None:
    """Members and fragments are durable one by one; what is sent again is recognised, and the order is kept."""
    verdict = await PartsRig(tmp_path / "site", seed=6667, senders=6).run(cycles=8)
    ledger.write("R1", "kill -9, batches and fragments", **verdict.figures())
    verdict.assert_promise_kept()


@pytest.mark.fault
@pytest.mark.timeout(900)
async def test_batches_and_fragments_in_100_kills(tmp_path: Path, ledger: Ledger) -> None:
    seed = int(os.environ.get("SEGMILL_SEED", "100"))
    verdict = await PartsRig(tmp_path / "site", seed=seed).run(cycles=100)
    ledger.write("R1", "kill -9, batches and fragments, long", **verdict.figures())
    verdict.assert_promise_kept()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("mutant", "rig", "wrong", "stage", "kills"),
    [
        ("ack-before-commit", Rig, "lost", "before-commit", 2),
        ("done-before-receivers-ack", Rig, "lost", "received", 10),
        ("lost-wake-up", Rig, "lost", "received", 2),
        ("lane-overtaking", FanOutRig, "out_of_order", "received", 6),
        ("window-off-by-one", Rig, "unmarked", "after-receivers-ack", 20),
        ("nothing-marked", Rig, "unmarked", "after-receivers-ack", 6),
    ],
)
async def test_R1m_the_rig_catches_an_engine_with_one_promise_broken(
    tmp_path: Path, ledger: Ledger, mutant: str, rig: type[Rig], wrong: str, stage: str, kills: int
) -> None:
    """Within so few kills that each of them is in every run; all are at the stage where the promise matters.

    A kill that falls between two messages shows nothing. Of the other mutants of R1m, `normal-sync` and
    `no-folder-sync` are caught by test_power_cuts.py.
    """

    async def look(site: int) -> Verdict:
        broken = rig(tmp_path / f"site-{site}", seed=8 + site, mutant=mutant, stages=(stage,))
        broken.labelled = 1.0
        return await broken.run(cycles=kills)

    seen = await until_caught(look, lambda verdict: getattr(verdict, wrong))
    tried, caught = sum(verdict.cycles for verdict in seen), len(getattr(seen[-1], wrong))
    ledger.write("R1m", f"mutant {mutant}", kills=tried, **{wrong: caught})
