"""What the store in SQLite does beside its contract: settings that make a commit durable, readers, checkpoints."""

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.adapters.stores.queries import SqliteQueries
from engine.adapters.stores.sqlite import CHECKPOINT_PAGES, SqliteStore
from engine.model.envelope import Batch
from engine.model.ids import DeliveryId, MessageSeq
from engine.ports.store import StoreError
from engine.testing.store_contract import EPR, FIRST, LAB, RIS, intake, result

PAGE = 4096


def pragma(connection, name):
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_commit_is_synced_to_a_write_ahead_log_and_only_we_checkpoint(open_store):
    _, connection = open_store()
    settings = {
        name: pragma(connection, name) for name in ("journal_mode", "synchronous", "wal_autocheckpoint", "page_size")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0, "page_size": PAGE}


def test_an_sqlite_that_is_too_old_is_named(path, monkeypatch):
    monkeypatch.setattr("engine.adapters.stores.sqlite.OLDEST_SQLITE", (99, 0, 0))
    with pytest.raises(StoreError, match=sqlite3.sqlite_version):
        SqliteStore(path).open()


def test_a_reader_cannot_write(open_store):
    store, _ = open_store()
    queries = store.queries()
    with queries._reader() as db, pytest.raises(sqlite3.OperationalError):
        db.execute("DELETE FROM message")
    queries.close()


def test_a_body_that_several_deliveries_share_is_stored_once(open_store):
    store, connection = open_store()
    shared = b"the same object"
    store.commit(Batch([intake(EPR, RIS, bodies=(shared, shared)), given := intake(EPR, RIS)]))
    given = intake(EPR, RIS, raw=(raw := b"its own"), bodies=(raw, None))
    store.commit(Batch([given]))
    assert connection.execute("SELECT count(*) FROM body").fetchone()[0] == 3 + 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE delivery SET body = 2 WHERE id = 1",
        "UPDATE delivery SET seq = 2 WHERE id = 1",
        "UPDATE delivery SET lane = 2 WHERE id = 1",
        "UPDATE delivery SET crc = crc + 1 WHERE id = 1",
        "UPDATE message SET body = 2 WHERE seq = 1",
        "UPDATE message SET body = NULL WHERE seq = 1",
        "DELETE FROM body WHERE id = 1",
    ],
)
def test_a_reference_that_was_damaged_never_sends_the_bytes_of_another(damage, open_store):
    """One flipped bit must not deliver one patient's message in place of another's, nor to another system."""
    store, connection = open_store()
    store.commit(Batch([intake(EPR), intake(RIS)]))
    connection.execute(damage)
    lanes = [*store.queued(LAB, EPR, FIRST, 10), *store.queued(LAB, RIS, FIRST, 10)]
    assert [d.id for d in lanes] == [2]


def test_what_is_held_as_damaged_is_told_once_whoever_finds_it(open_store):
    told: list[int] = []
    store, connection = open_store(on_damage=told.append)
    store.commit(Batch([intake(EPR) for _ in range(4)]))
    connection.execute("UPDATE delivery SET crc = crc + 1 WHERE id <= 3")
    store.queued(LAB, EPR, FIRST, 10)
    assert told == [3]
    connection.execute("UPDATE delivery SET crc = crc + 1 WHERE id = 4")
    queries = store.queries()
    for _ in range(2):
        assert queries.queued_delivery(DeliveryId(4)) is None
    queries.close()
    assert told == [3], "nothing more is held yet"
    store.commit(Batch())
    store.commit(Batch())
    assert told == [3, 1]


def test_a_message_that_waits_for_its_channel_and_is_damaged_is_told(open_store):
    told: list[int] = []
    store, connection = open_store(on_damage=told.append)
    store.commit(Batch([intake(state="received"), intake(state="received")]))
    connection.execute("UPDATE message SET crc = crc + 1 WHERE seq = 1")
    assert [message.seq for message in store.unprocessed(LAB, MessageSeq(0), 10)] == [2]
    assert told == [1]


def test_rows_say_the_lane_by_a_short_number(open_store):
    store, connection = open_store()
    for _ in range(3):
        store.commit(Batch([intake(EPR, RIS)]))
    assert connection.execute("SELECT count(*) FROM lane").fetchone()[0] == 2
    assert connection.execute("SELECT count(*) FROM channel").fetchone()[0] == 1


def test_numbers_are_never_given_twice_when_the_newest_rows_were_deleted(open_store):
    store, connection = open_store()
    store.commit(Batch([intake(EPR) for _ in range(3)]))
    for table in ("delivery", "body", "message"):
        connection.execute(f"DELETE FROM {table}")
    store.close()
    store.open()
    committed = store.commit(Batch([intake(EPR)]))
    assert committed.seqs == [4]
    assert committed.deliveries[0][0].id == 4


def test_a_receive_id_is_recognised_among_the_newest_messages(open_store, monkeypatch):
    monkeypatch.setattr("engine.adapters.stores.writing.RECENT_RECEIVE_IDS", 10)
    store, _ = open_store()
    given = [intake() for _ in range(35)]
    for one in given:
        store.commit(Batch([one]))
    assert store.commit(Batch(given[-10:])).seqs == list(range(26, 36))
    assert len(store._writing._recent) + len(store._writing._less_recent) <= 22, "and memory does not grow"


# -- readers ------------------------------------------------------------------------------------

READER = """
import sys
from pathlib import Path
from engine.adapters.stores.queries import SqliteQueries
queries = SqliteQueries(Path(sys.argv[1]))
print(sorted(m.seq for m in queries.messages()), [(d.destination, d.queued) for d in queries.depths()])
queries.close()
"""


@pytest.mark.parametrize("running", [True, False])
def test_another_process_reads_while_the_engine_runs_and_when_it_does_not(running, open_store, path):
    store, _ = open_store()
    store.commit(Batch([intake(EPR), intake()]))
    if not running:
        store.close()
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout == "[1, 2] [('epr', 1)]\n"
    if running:
        assert store.commit(Batch([intake()])).seqs == [3]


def test_readers_on_many_threads_see_whole_commits_only(open_store):
    """A batch is all or nothing also for those who look while it is written."""
    store, _ = open_store()
    queries = store.queries()
    odd = []
    stop = threading.Event()

    def look():
        while not stop.is_set():
            depths = {d.destination: d.queued for d in queries.depths()}
            if depths.get(EPR, 0) != depths.get(RIS, 0) or depths.get(EPR, 0) % 4:
                odd.append(depths)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(60):
        store.commit(Batch([intake(EPR, RIS) for _ in range(4)]))
    stop.set()
    for reader in readers:
        reader.join()
    assert odd == []
    assert len(queries._idle) <= 3
    queries.close()


def test_a_list_of_big_messages_is_read_in_small_pages(open_store):
    store, _ = open_store()
    big = bytes(3_000_000)
    store.commit(Batch([intake(raw=big) for _ in range(8)]))
    queries = store.queries()
    taken = []
    take = queries._take
    queries._take = lambda *args: taken.append(args[1]) or take(*args)
    some = queries.messages(bodies=True)
    next(some)
    assert len(taken) == 3, "no more than comes to the page's bytes"
    assert [m.seq for m in some] == list(range(7, 0, -1))
    assert [m.seq for m in queries.messages(states=["processed"], control_id="no", bodies=True)] == []
    queries.close()


def test_a_list_of_few_among_big_ones_is_read_in_small_pages_too(open_store):
    store, _ = open_store()
    store.commit(Batch([intake(raw=bytes(3_000_000), state="held") for _ in range(8)]))
    queries = store.queries()
    assert [m.seq for m in queries.messages(states=["held"], bodies=True)] == list(range(8, 0, -1))
    queries.close()


def test_a_state_that_many_deliveries_are_in_is_listed_all_the_same(open_store, monkeypatch):
    monkeypatch.setattr("engine.adapters.stores.queries.FEW", 10)
    store, _ = open_store()
    made = store.commit(Batch([intake(EPR) for _ in range(40)])).deliveries
    store.commit(Batch(results=[result(made[n][0], "held") for n in range(0, 40, 2)]))
    queries = store.queries()
    assert [m.seq for m in queries.messages(delivery_states=["held"])] == list(range(39, 0, -2))
    assert [m.seq for m in queries.messages(delivery_states=["queued"], newest_first=False)] == list(range(2, 41, 2))
    queries.close()


def test_queries_on_no_store_say_so(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened for reading"):
        SqliteQueries(tmp_path / "none.db").message(MessageSeq(1))
    assert not (tmp_path / "none.db").exists()


# -- checkpoints --------------------------------------------------------------------------------


def write_until_wanted(store):
    while not store.wants_checkpoint():
        store.commit(Batch([intake(EPR, raw=os.urandom(2000)) for _ in range(16)]))


def test_the_log_is_used_again_from_its_beginning_and_does_not_grow(open_store, path):
    store, _ = open_store()
    wal = path.with_name("store.db-wal")
    sizes = []
    for _ in range(5):
        write_until_wanted(store)
        store.checkpoint()
        sizes.append(wal.stat().st_size)
    assert max(sizes) <= (CHECKPOINT_PAGES + 100) * (PAGE + 24)
    assert sizes[0] >= CHECKPOINT_PAGES * PAGE


def test_a_reader_in_the_way_delays_a_checkpoint_and_harms_nothing(open_store, path):
    store, _ = open_store()
    store.commit(Batch([intake(EPR)]))
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM message").fetchone()[0] == 1
    write_until_wanted(store)
    store.checkpoint()
    write_until_wanted(store)  # wanted again only after as much again
    store.checkpoint()
    held_back = path.with_name("store.db-wal").stat().st_size
    assert held_back >= CHECKPOINT_PAGES * PAGE
    assert reader.execute("SELECT count(*) FROM message").fetchone()[0] == 1
    reader.execute("COMMIT")
    reader.close()
    store.checkpoint()
    for _ in range(2):
        write_until_wanted(store)
        store.checkpoint()
    assert path.with_name("store.db-wal").stat().st_size <= held_back + (CHECKPOINT_PAGES + 100) * (PAGE + 24)


def test_the_log_that_a_reader_made_grow_is_cut_back(open_store, path, monkeypatch):
    monkeypatch.setattr("engine.adapters.stores.connection.WAL_KEPT_BYTES", 1_000_000)
    store, _ = open_store()
    write_until_wanted(store)
    store.checkpoint()
    store.commit(Batch([intake(EPR)]))
    assert path.with_name("store.db-wal").stat().st_size <= 1_000_000


def test_a_reader_that_stays_does_not_keep_the_engine_from_starting(open_store, path):
    store, _ = open_store()
    store.commit(Batch([intake(EPR)]))
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM message").fetchone()
    store.commit(Batch([intake(EPR)]))
    store.close()
    store.open()
    assert len(store.queued(LAB, EPR, FIRST, 10)) == 2
    reader.close()


def test_after_a_clean_stop_the_log_is_gone(open_store, path):
    store, _ = open_store()
    store.commit(Batch([intake(EPR)]))
    store.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["store.db", "store.db.lock"]


def test_what_recovery_finds_in_the_log_is_moved_and_synced_before_anything_else(open_store, path, tmp_path):
    """fsyncgate: the log may be in a page cache that never reached the disk, so it is not trusted as it lies there."""
    store, _ = open_store()
    store.commit(Batch([intake(EPR)]))
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    copy.with_name("copy.db-wal").write_bytes(path.with_name("store.db-wal").read_bytes())
    after = SqliteStore(copy)
    after.open()
    rows = sqlite3.connect(f"{copy.as_uri()}?immutable=1", uri=True)
    assert rows.execute("SELECT count(*) FROM message").fetchone()[0] == 1, "in the main file itself"
    rows.close()
    after.close()
