"""kill -9 while the schema is brought up to date (reliability.md P6): the next start finishes it, nothing is gone."""

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from engine.adapters.stores.schema import APPLICATION_ID, load_migrations
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.ids import ChannelName, DeliveryId, DestinationName
from tests.faults.kill_rig import frame
from tests.faults.ledger import Ledger
from tests.faults.nursery import Nursery

MESSAGES = 60
STAGES = {"before-copy": 1, "after-copy": 1, "before-migration": 1, "mid-migration": 6_000, "after-migration": 1}


def first_store(path: Path) -> None:
    """A store of the first released schema, as it was written then: `MESSAGES` messages, half of them delivered."""
    from zlib import crc32

    from engine.adapters.stores.codes import lane_salt

    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(load_migrations()[0].sql)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("PRAGMA user_version = 1")
    db.execute("BEGIN")
    db.execute("INSERT INTO channel VALUES (1, 'rig')")
    db.execute("INSERT INTO lane (id, channel, destination) VALUES (1, 1, 'receiver')")
    for number in range(1, MESSAGES + 1):
        raw = frame(0, number)[1:-2]
        db.execute("INSERT INTO body VALUES (?, ?)", (number, raw))
        db.execute(
            "INSERT INTO message VALUES (?, ?, 1, 1, 1767225600000000, 'A|B', '127.0.0.1', 'ADT^A01', ?, x'00', 1,"
            " 'AA', '', ?, ?, x'')",
            (number, number.to_bytes(16, "big"), f"S0N{number}", number, crc32(raw)),
        )
        db.execute(
            "INSERT INTO delivery VALUES (?, ?, 1, ?, 0, 0, 0, '', '', 0, NULL, ?, x'')",
            (number, number, int(number <= MESSAGES // 2), crc32(raw) ^ lane_salt(1)),
        )
    db.execute("INSERT INTO tally VALUES (1, 1, ?)", (MESSAGES,))
    db.execute("COMMIT")
    db.close()


def assert_whole(path: Path) -> None:
    """The engine opens it, at the last schema, and has every message and what waits, in order."""
    store = SqliteStore(path)
    store.open()
    queries = store.queries()
    try:
        found = list(queries.messages(newest_first=False, bodies=True))
        assert [m.control_id for m in found] == [f"S0N{number}" for number in range(1, MESSAGES + 1)]
        assert all(m.raw == frame(0, n)[1:-2] for n, m in enumerate(found, 1))
        waiting = store.queued(ChannelName("rig"), DestinationName("receiver"), DeliveryId(0), 1000)
        assert [d.seq for d in waiting] == list(range(MESSAGES // 2 + 1, MESSAGES + 1))
    finally:
        queries.close()
        store.close()
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA user_version").fetchone()[0] == len(load_migrations())
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        db.close()


async def kill_migrations(folder: Path, count: int, seed: int) -> int:
    """How many starts died."""
    first_store(folder / "first.db")
    chance = random.Random(seed)
    died = 0
    async with Nursery(folder / "log") as nursery:
        for number in range(count):
            place = folder / f"store-{number}"
            place.mkdir()
            store = place / "segmill.db"
            shutil.copy(folder / "first.db", store)
            # Each of the others once, and then somewhere in the middle of a statement.
            stage = list(STAGES)[number] if number < len(STAGES) else "mid-migration"
            for _ in range(2):
                death = f"{stage}:{chance.randint(1, STAGES[stage])}"
                engine = await nursery.start(store, death=death, open_only=True)
                ended = await engine.wait()
                assert ended in (0, -9), engine.errors()
                died += ended == -9
            assert_whole(store)
            shutil.rmtree(place)
    return died


async def test_P6_a_start_that_dies_in_a_migration_is_finished_by_the_next(tmp_path: Path, ledger: Ledger) -> None:
    died = await kill_migrations(tmp_path, 12, seed=6)
    ledger.write("R1", "kill -9 in a schema migration", starts=24, died=died, lost=0)
    assert died >= 12


@pytest.mark.fault
@pytest.mark.timeout(600)
async def test_P6_300_starts_that_die_in_a_migration(tmp_path: Path, ledger: Ledger) -> None:
    died = await kill_migrations(tmp_path, 150, seed=600)
    ledger.write("R1", "kill -9 in a schema migration, long", starts=300, died=died, lost=0)
