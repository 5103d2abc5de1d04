"""kill -9 at labelled and random moments, under load: what was acknowledged is delivered (reliability.md R1, R1m)."""

import os
from pathlib import Path

import pytest

from tests.faults.kill_rig import Rig, Verdict
from tests.faults.ledger import Ledger
from tests.faults.parts_rig import PartsRig

WINDOW = 1
"""Deliveries that may be in flight unrecorded: the default of a destination."""


def assert_promise_kept(verdict: Verdict) -> None:
    assert not verdict.lost, str(verdict)
    assert not verdict.out_of_order, str(verdict)
    assert not verdict.torn, str(verdict)
    assert not verdict.stored_twice, str(verdict)
    assert not verdict.unmarked, str(verdict)
    assert sum(verdict.duplicates.values()) <= verdict.cycles * WINDOW, str(verdict)
    assert len(verdict.acknowledged) > verdict.cycles, str(verdict)


def note(ledger: Ledger, what: str, verdict: Verdict) -> None:
    ledger.write(
        "R1",
        what,
        kills=verdict.cycles,
        acknowledged=len(verdict.acknowledged),
        lost=len(verdict.lost),
        out_of_order=len(verdict.out_of_order),
        torn=verdict.torn,
        stored_twice=len(verdict.stored_twice),
        delivered_twice=sum(verdict.duplicates.values()),
        of_these_unmarked=len(verdict.unmarked),
    )


@pytest.mark.timeout(120)
async def test_nothing_acknowledged_is_lost_when_the_engine_is_killed(tmp_path: Path, ledger: Ledger) -> None:
    verdict = await Rig(tmp_path, seed=20260102).run(cycles=12)
    note(ledger, "kill -9", verdict)
    assert_promise_kept(verdict)


@pytest.mark.fault
@pytest.mark.timeout(900)
async def test_nothing_acknowledged_is_lost_in_150_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = await Rig(tmp_path, seed=int(os.environ.get("SEGMILL_SEED", "150"))).run(cycles=150)
    with capsys.disabled():
        print(f"\n{verdict}")
    assert_promise_kept(verdict)


@pytest.mark.timeout(120)
async def test_batches_and_messages_in_fragments_go_on_where_a_kill_cut_them_off(tmp_path: Path) -> None:
    """Members and fragments are durable one by one; what is sent again is recognised, and the order is kept."""
    assert_promise_kept(await PartsRig(tmp_path, seed=6667, senders=6).run(cycles=8))


@pytest.mark.fault
@pytest.mark.timeout(900)
async def test_batches_and_fragments_in_100_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = await PartsRig(tmp_path, seed=int(os.environ.get("SEGMILL_SEED", "100"))).run(cycles=100)
    with capsys.disabled():
        print(f"\n{verdict}")
    assert_promise_kept(verdict)


@pytest.mark.timeout(120)
async def test_the_rig_catches_an_engine_that_acknowledges_before_it_commits(tmp_path: Path) -> None:
    verdict = await Rig(tmp_path, seed=7, mutant="ack-before-commit").run(cycles=8)
    assert verdict.lost, str(verdict)


@pytest.mark.timeout(120)
async def test_the_rig_catches_an_engine_that_records_before_the_receivers_ack(tmp_path: Path) -> None:
    verdict = await Rig(tmp_path, seed=8, mutant="done-before-receivers-ack").run(cycles=8)
    assert verdict.lost, str(verdict)
