"""R14: reloads under 32 senders, bad files among them: nothing lost, nothing reordered, no connection dropped."""

import os
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger
from tests.faults.reload_rig import Outcome, ReloadRig
from tests.faults.sites import until_caught


def note(ledger: Ledger, what: str, outcome: Outcome) -> None:
    ledger.write(
        "R14",
        what,
        reloads=outcome.reloads,
        bad_and_rejected=outcome.rejected,
        acknowledged=outcome.acknowledged,
        lost=len(outcome.lost),
        twice=len(outcome.twice),
        out_of_order=len(outcome.out_of_order),
        connections_dropped=len(outcome.dropped),
        taken_in_part=len(outcome.half),
        through_mixed_files=len(outcome.mixed),
    )


@pytest.mark.timeout(180)
async def test_R14_reloads_under_load_lose_nothing_and_drop_no_connection(tmp_path: Path, ledger: Ledger) -> None:
    async with ReloadRig(tmp_path / "site", seed=14) as rig:
        await rig.some(20)
        outcome = await rig.end()
    note(ledger, "reloads under 32 senders", outcome)
    outcome.assert_promise_kept()


@pytest.mark.fault
@pytest.mark.timeout(900)
async def test_R14_200_reloads_under_load(tmp_path: Path, ledger: Ledger) -> None:
    async with ReloadRig(tmp_path / "site", seed=int(os.environ.get("SEGMILL_SEED", "200"))) as rig:
        await rig.some(200)
        outcome = await rig.end()
    note(ledger, "reloads under 32 senders, long", outcome)
    outcome.assert_promise_kept()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("mutant", "change", "caught"),
    [
        ("no-handover", "receiver", "twice"),
        ("leave-at-once", "leave", "lost"),
        ("take-what-is-good", "", "half"),
        pytest.param("open-every-port-anew", "table", "dropped", marks=pytest.mark.fault),
    ],
)
async def test_R14_catches_a_reload_that(tmp_path: Path, mutant: str, change: str, caught: str) -> None:
    """A reload that falls between two messages shows nothing."""

    async def look(site: int) -> Outcome:
        async with ReloadRig(tmp_path / f"site-{site}", seed=7 + site, mutant=mutant) as rig:
            for _ in range(12):
                await rig.more(60)
                await (rig.good(change) if change else rig.bad(0))
                if getattr(rig.outcome, caught):
                    break
            return await rig.end(arrives_within_s=3)

    await until_caught(look, lambda outcome: getattr(outcome, caught))
