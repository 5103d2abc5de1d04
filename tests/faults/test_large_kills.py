"""kill -9 while large messages are stored piece by piece (ADR 30, reliability.md R1, R1m)."""

import os
from pathlib import Path

import pytest

from tests.faults import shim
from tests.faults.engine_under_test import BETWEEN_PIECES
from tests.faults.engine_under_test import STAGES as EVERY_STAGE
from tests.faults.kill_rig import CHANNEL, Verdict
from tests.faults.large_rig import LargeRig, LargeSite
from tests.faults.ledger import Ledger
from tests.faults.sites import until_caught

STORED = CHANNEL.replace("{{mode: original}}", "{{mode: original, when: stored}}")
STAGES = (
    BETWEEN_PIECES,
    BETWEEN_PIECES,
    "before-commit",
    "mid-commit",
    "after-commit",
    "before-ack",
    "after-ack",
    "before-checkpoint",
    "before-send",
)


@pytest.mark.timeout(180)
async def test_R1_no_large_message_is_lost_or_changed_when_the_engine_is_killed(tmp_path: Path, ledger: Ledger) -> None:
    """The very bytes arrive, and nothing stays of what was on its way when the engine died."""
    rig = LargeRig(tmp_path / "site", seed=30, senders=4, stages=STAGES)
    await check(rig, 8, ledger, "kill -9, large messages")


@pytest.mark.fault
@pytest.mark.timeout(1800)
async def test_R1_no_large_message_is_lost_or_changed_in_150_kills(tmp_path: Path, ledger: Ledger) -> None:
    seed = int(os.environ.get("SEGMILL_SEED", "30"))
    await check(
        LargeRig(tmp_path / "site", seed=seed, senders=6, stages=(BETWEEN_PIECES, *EVERY_STAGE)),
        150,
        ledger,
        "kill -9, large messages, long",
    )


async def check(rig: LargeRig, kills: int, ledger: Ledger, what: str) -> None:
    verdict = await rig.run(cycles=kills)
    large = sum(1 for control_id in verdict.acknowledged if control_id.startswith(("S0N", "S3N")))
    figures = {"large": large, "kills_between_pieces": rig.left_behind, "orphans": rig.orphans}
    ledger.write("R1", what, **verdict.figures(), **figures)
    verdict.assert_promise_kept()
    assert rig.orphans == 0
    assert rig.left_behind and rig.pieces and large, "nothing was in pieces, so nothing was seen"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("mutant", "wrong"),
    [
        ("ack-with-the-first-piece", "lost"),
        ("keeps-pieces", "orphans"),
    ],
)
async def test_R1m_the_rig_catches_an_engine_that_says_yes_too_early_or_never_forgets(
    tmp_path: Path, ledger: Ledger, mutant: str, wrong: str
) -> None:
    """Each kill is in the middle of a large message."""

    async def look(site: int) -> tuple[int, Verdict]:
        rig = LargeRig(tmp_path / f"site-{site}", seed=31 + site, senders=2, mutant=mutant, stages=(BETWEEN_PIECES,))
        rig.labelled = 1.0
        verdict = await rig.run(cycles=3)
        return rig.orphans if wrong == "orphans" else len(verdict.lost), verdict

    seen = await until_caught(look, lambda found: found[0], sites=5)
    ledger.write("R1m", f"mutant {mutant}", kills=sum(one.cycles for _, one in seen), **{wrong: seen[-1][0]})


@pytest.mark.timeout(180)
@pytest.mark.parametrize("channel", [CHANNEL, STORED], ids=["processed", "stored"])
@pytest.mark.parametrize("error", ["EDQUOT", "ENOSPC"])
async def test_R4_a_large_message_that_finds_no_room_in_its_middle_is_refused_or_waits_and_comes_whole(
    tmp_path: Path, ledger: Ledger, channel: str, error: str
) -> None:
    """One that was acknowledged when stored waits for room with what its channel made of it, and is not overtaken."""
    library = shim.build("R4", tmp_path)
    async with LargeSite(tmp_path / "site", channel=channel, preload=library) as site:
        calls = shim.order("pwrite,write", error, 700, tmp_path / "report", path=str(site.data), count=700)
        await site.start(system_call=calls)
        await site.until(lambda: site.load.answers["AR"] >= 3)
        await site.more(12)
        assert site.load.unanswered == 0
        await site.end_well()
        pieces, orphans = site.pieces()
        assert pieces and not orphans, "what was refused is forgotten while the engine runs"
        figures = {"acknowledged": len(site.load.acknowledged), "refused": site.load.answers["AR"]}
        ledger.write("R4", f"{error} amid large messages", **figures, lost=len(site.verdict.lost))
