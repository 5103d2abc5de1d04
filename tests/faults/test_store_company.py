"""Others at the store while the engine runs, and a disk that is slow (reliability.md D5, D6, D10)."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.faults.kill_rig import frame
from tests.faults.ledger import Ledger, needs
from tests.faults.one_site import OneSite

SLOW_SYNC = Path(__file__).parents[1] / "bench" / "slow_sync.c"


async def test_D5_a_disk_that_stalls_makes_answers_late_and_nothing_else(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sync takes 200 ms longer: all are answered AA, in order, and nobody is refused or cut off."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    needs("D5", compiler is not None, "there is no C compiler for the library that slows syncs")
    assert compiler is not None
    library = tmp_path / "slow_sync.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SLOW_SYNC), "-ldl"], check=True)
    monkeypatch.setenv("SYNC_US", "200000")
    async with OneSite(tmp_path / "site", preload=library, senders=8) as site:
        await site.start()
        await site.more(48, within_s=60)
        assert set(site.load.answers) == {"AA"}
        assert site.load.unanswered == 0
        await site.end_well()
        ledger.write("D5", "syncs of 200 ms", acknowledged=len(site.load.acknowledged), refused=0, lost=0)


async def test_D6_a_store_that_another_process_has_locked_refuses_and_goes_on(tmp_path: Path, ledger: Ledger) -> None:
    """A shell that began a transaction and went to lunch: AR after the time-out, never the end of the engine."""
    async with OneSite(tmp_path / "site") as site:
        await site.start()
        await site.more(20)
        other = sqlite3.connect(site.data / "segmill.db", isolation_level=None, timeout=5)
        try:
            other.execute("BEGIN IMMEDIATE")
            await site.until(lambda: site.load.answers["AR"] >= 3)
            other.execute("ROLLBACK")
            await site.more(20)
        finally:
            other.close()
        assert site.load.unanswered == 0
        await site.end_well()
        refused = site.load.answers["AR"]
        ledger.write("D6", "store locked from outside", acknowledged=len(site.load.acknowledged), refused=refused)


async def test_D10_a_backup_of_a_running_engine_restores_to_one_moment(tmp_path: Path, ledger: Ledger) -> None:
    """VACUUM INTO by a reader, under load. A site on the copy delivers all that had not been, and nothing is half."""
    copies: list[tuple[Path, set[str]]] = []
    async with OneSite(tmp_path / "site", senders=6) as site:
        await site.start()
        for number in range(4):
            await site.more(60)
            before = set(site.load.acknowledged)
            copy = tmp_path / f"backup-{number}" / "segmill.db"
            copy.parent.mkdir()
            await asyncio.to_thread(back_up, site.data / "segmill.db", copy)
            copies.append((copy, before))
        await site.end_well()
    for copy, before in copies:
        stored = look_into(copy)
        assert before <= stored, "acknowledged before the backup began, and not in it"
    copy, before = copies[-1]
    async with OneSite(tmp_path / "restored", data=copy.parent, senders=1) as restored:
        stored, waiting = look_into(copy), waiting_in(copy)
        await restored.start()
        await restored.until(lambda: waiting <= set(restored.receiver.accepted))
        # The one sender's first messages were sent before: they are recognised in the restored store.
        await restored.more(5)
        await restored.load.stop()
        assert set(restored.receiver.accepted) & stored == waiting, "what was delivered before is not delivered again"
        assert restored.engine is not None
        restored.engine.terminate()
        assert await restored.engine.wait() == 0
    ledger.write("D10", "backup while it runs", backups=len(copies), acknowledged_before=len(before), missing=0)


def back_up(store: Path, copy: Path) -> None:
    reader = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        reader.execute("VACUUM INTO ?", (str(copy),))
    finally:
        reader.close()
    os.chmod(copy, 0o600)


def look_into(copy: Path) -> set[str]:
    """Control ids; each message whole, with its delivery, and the numbers without a gap."""
    db = sqlite3.connect(f"file:{copy}?mode=ro", uri=True)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = db.execute(
            "SELECT m.seq, m.control_id, b.bytes, count(d.id) FROM message m JOIN body b ON b.id = m.body"
            " LEFT JOIN delivery d ON d.seq = m.seq GROUP BY m.seq ORDER BY m.seq"
        ).fetchall()
    finally:
        db.close()
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    for _, control_id, content, deliveries in rows:
        sender, _, number = control_id[1:].partition("N")
        assert content == frame(int(sender), int(number))[1:-2]
        assert deliveries == 1
    return {row[1] for row in rows}


def waiting_in(copy: Path) -> set[str]:
    db = sqlite3.connect(f"file:{copy}?mode=ro", uri=True)
    try:
        rows = db.execute("SELECT m.control_id FROM delivery d JOIN message m ON m.seq = d.seq WHERE d.state = 0")
        return {row[0] for row in rows}
    finally:
        db.close()
