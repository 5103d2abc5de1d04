"""One engine a store, on a disk of this machine, and the store stays where it is (reliability.md D8, D9, R20)."""

import asyncio
import hashlib
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger, needs
from tests.faults.nursery import Nursery
from tests.faults.one_site import OneSite

EXIT_STORE_FAILED = 74
EXIT_STORE_IN_USE = 75
TRIES = 50


def digests(folder: Path) -> dict[str, str]:
    """Every file's name and content; but for the shared memory, in which the first engine notes who reads."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file() and not path.name.endswith("-shm")
    }


def states(pid: int) -> list[str]:
    """Of each thread of a process, as Linux has it: R, S, D, T and the like."""
    stats = (task.joinpath("stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir())
    return [stat.rpartition(")")[2].split()[0] for stat in stats]


async def test_R20_a_second_engine_is_refused_and_changes_nothing(tmp_path: Path, ledger: Ledger) -> None:
    needs("R20", Path("/proc/self/task").is_dir(), "whether a process stands still is Linux's to say")
    async with OneSite(tmp_path / "site") as site, Nursery(tmp_path / "second.log") as others:
        first = await site.start()
        await site.more(20)
        await site.until_arrived()
        # What the first still has to record and to move is its own affair: it holds its lock, and stands still.
        first.signal(signal.SIGSTOP)
        await site.until(lambda: all(state == "T" for state in states(first.pid)))
        before = digests(site.data)
        for _ in range(TRIES):
            second = await others.start(site.folder)
            assert await second.wait() == EXIT_STORE_IN_USE, second.errors()
            assert f"(process {first.pid})" in second.errors().splitlines()[-1], "it does not name the owner"
        assert digests(site.data) == before
        first.signal(signal.SIGCONT)
        assert first.returncode is None
        site.load.start()
        await site.more(20)
        await site.end_well()
    ledger.write("R20", "a second engine", tries=TRIES, refused=TRIES, files_changed=0)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p"])
async def test_R20_a_network_file_system_is_refused(tmp_path: Path, ledger: Ledger, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n40 22 0:35 / {tmp_path} rw - {kind} host:/x rw\n"
    )
    site = OneSite(tmp_path / "site")
    async with site:
        engine = await site.nursery.start(site.folder, mounts=str(mounts))
        assert await engine.wait() == EXIT_STORE_FAILED
        assert f"network file system ({kind})" in engine.errors()
        assert not (site.data / "segmill.db").exists()
    ledger.write("R20", f"a store on {kind}", refused=1)


def move(db: Path) -> None:
    db.rename(f"{db}.kept")


def replace(db: Path) -> None:
    os.link(db, f"{db}.kept")
    copy = Path(shutil.copy(db, f"{db}.copy"))
    copy.replace(db)


def delete_log(db: Path) -> None:
    os.link(f"{db}-wal", f"{db}.kept-wal")
    Path(f"{db}-wal").unlink()


def put_back(db: Path) -> None:
    for kept in (Path(f"{db}.kept"), Path(f"{db}.kept-wal")):
        if kept.exists():
            kept.replace(Path(str(kept).replace(".kept", "")))


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
@pytest.mark.parametrize("way", [move, replace, delete_log])
async def test_D8_an_engine_whose_store_is_taken_away_ends_and_loses_nothing(
    tmp_path: Path, ledger: Ledger, way: object, busy: bool
) -> None:
    """Nothing is acknowledged that went where nobody finds it: put back, the store has all of it."""
    assert callable(way)
    async with OneSite(tmp_path / "site") as site:
        engine = await site.start()
        await site.more(60)
        if not busy:
            await site.until_arrived()
        db = site.data / "segmill.db"
        way(db)
        async with asyncio.timeout(60):
            assert await engine.wait() == EXIT_STORE_FAILED, engine.errors()
        assert "moved, replaced or deleted" in engine.errors()
        put_back(db)
        await site.start()
        await site.more(20)
        await site.end_well(kills=1)
        what = f"store taken away, {way.__name__.replace('_', ' ')}, {'busy' if busy else 'idle'}"
        ledger.write("D8", what, acknowledged=len(site.load.acknowledged), lost=len(site.verdict.lost))


async def test_R1m_an_engine_without_a_lock_and_one_that_never_looks_are_caught(tmp_path: Path, ledger: Ledger) -> None:
    async with OneSite(tmp_path / "site") as site, Nursery(tmp_path / "second.log") as others:
        first = await site.start(mutant="never-looks")
        await site.more(20)
        second = await others.start(site.folder, mutant="no-lock")
        assert await second.wait() != EXIT_STORE_IN_USE
        move(site.data / "segmill.db")
        await site.more(60)
        assert first.returncode is None
    ledger.write("R1m", "mutants no-lock, never-looks", caught=2)
