"""The disk fails under load: nothing is promised that is not kept, nothing acknowledged is lost (D2, D3, D6).

Of full disks see test_full_disk.py, of every system call test_system_calls.py.
"""

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.faults.load import Load

EXIT_STORE_FAILED = 74


@pytest.mark.parametrize("what", ["full", "busy"])
async def test_a_store_that_takes_nothing_for_a_while_refuses_and_then_accepts(tmp_path: Path, what: str) -> None:
    async with Load(tmp_path) as load:
        load.write_site()
        engine = await load.start(f"{what}:20:40")
        load.send()
        await load.until(lambda: load.answers["AA"] > 10 and load.answers["AR"] >= 20)
        before = load.answers["AA"]
        await load.until(lambda: load.answers["AA"] > before + 50)
        await load.until_delivered()
        assert await load.stop(engine) == 0
        load.judge()
        assert load.answers["AR"] >= 40 and set(load.answers) == {"AA", "AR"}


@pytest.mark.parametrize("what", ["lost", "kept"])
async def test_after_an_unknown_outcome_the_engine_ends_and_a_new_start_finds_out(tmp_path: Path, what: str) -> None:
    async with Load(tmp_path) as load:
        load.write_site()
        engine = await load.start(f"{what}:30")
        load.send()
        turns, answered_at = 0, 0.0
        async with asyncio.timeout(60):
            while engine.returncode is None:
                await asyncio.sleep(0.05)
                turns, answered_at = turns + 1 if load.answered_at == answered_at else 0, load.answered_at
        assert engine.returncode == EXIT_STORE_FAILED
        assert load.answers["AR"] == 0, "nothing at all is said of a batch whose end is unknown"
        assert turns * 0.05 < 2, "it took long to end, by the turns of a loop beside it"
        engine = await load.start()
        before = len(load.acknowledged)
        await load.until(lambda: len(load.acknowledged) > before + 50)
        await load.until_delivered()
        assert await load.stop(engine) == 0
        load.judge(most_repeats=1)


@pytest.mark.fault
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("number", [9, 14, 23, 40, 77, 150])
async def test_a_sync_that_fails_ends_the_engine_and_loses_nothing(tmp_path: Path, number: int) -> None:
    """EIO from the kernel at the n-th fdatasync: the row may be there after the restart, or not (D2)."""
    inject = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync")
    async with Load(tmp_path) as load:
        load.write_site()
        engine = await load.start(under=(*inject, "-e", f"inject=fdatasync:error=EIO:when={number}"))
        load.send()
        code = await asyncio.wait_for(engine.wait(), 60)
        assert code == EXIT_STORE_FAILED
        assert load.answers["AR"] == 0
        engine = await load.start()
        before = len(load.acknowledged)
        await load.until(lambda: len(load.acknowledged) > before + 50)
        await load.until_delivered()
        assert await load.stop(engine) == 0
        load.judge(most_repeats=1)


@pytest.mark.fault
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("number", [350, 450, 600])  # a start on a new store writes some 300 pages
async def test_a_write_for_which_there_is_no_room_refuses_and_goes_on(tmp_path: Path, number: int) -> None:
    """ENOSPC from the kernel at some writes, then room again: AR, and AA (D3)."""
    inject = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64")
    async with Load(tmp_path) as load:
        load.write_site()
        when = f"{number}..{number + 8}"
        engine = await load.start(under=(*inject, "-e", f"inject=pwrite64:error=ENOSPC:when={when}"))
        load.send()
        await load.until(lambda: load.answers["AA"] > 200 or engine.returncode is not None, within_s=60)
        assert engine.returncode is None, f"it ended with {engine.returncode}"
        assert load.answers["AR"] > 0
        await load.until_delivered()
        assert await load.stop(engine) == 0
        load.judge()
