"""When the disk or the lock fails, the caller learns what it may say of the batch (reliability.md D2, D3, D6)."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch
from engine.model.ids import DeliveryId
from engine.ports.store import CommitUnknown, StoreBusy, StoreError, StoreFull
from engine.testing.store_contract import EPR, FIRST, LAB, intake, result

IOERR_FSYNC = sqlite3.SQLITE_IOERR_FSYNC
EVERY_STATEMENT = [
    "BEGIN",
    "INSERT INTO message",
    "INSERT INTO body",
    "INSERT INTO delivery",
    "UPDATE delivery",
    "COMMIT",
]


def seqs(store):
    queries = store.queries()
    found = [message.seq for message in queries.messages(newest_first=False)]
    queries.close()
    return found


def reopened(store, tmp_path):
    """The store as the next process finds it."""
    folder = tmp_path / "next"
    shutil.copytree(store.path.parent, folder, ignore=shutil.ignore_patterns("*.lock", "*-shm"))
    return SqliteStore(folder / "store.db")


def test_a_store_that_is_full_refuses_the_batch_and_takes_the_next_when_there_is_room(open_store):
    store, connection = open_store()
    store.commit(Batch([intake(EPR)]))
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0] + 2}")
    big = intake(EPR, raw=b"x" * 100_000)
    with pytest.raises(StoreFull):
        store.commit(Batch([big], results=[result(DeliveryId(1))]))
    assert seqs(store) == [1]
    assert len(store.queued(LAB, EPR, FIRST, 10)) == 1, "the result was taken back, too"
    connection.execute("PRAGMA max_page_count = 100000")
    assert store.commit(Batch([big], results=[result(DeliveryId(1))])).seqs == [2]


@pytest.mark.parametrize("statement", EVERY_STATEMENT)
def test_no_room_at_any_statement_keeps_nothing_and_stops_nothing(statement, open_store, tmp_path):
    store, connection = open_store()
    store.commit(Batch([intake(EPR)]))
    connection.failure = (statement, sqlite3.SQLITE_FULL, False)
    batch = Batch([intake(EPR)], results=[result(DeliveryId(1))])
    with pytest.raises(StoreFull):
        store.commit(batch)
    assert seqs(store) == [1]
    assert store.commit(batch).seqs == [2]
    after = reopened(store, tmp_path)
    after.open()
    assert seqs(after) == [1, 2]
    after.close()


@pytest.mark.parametrize("statement", EVERY_STATEMENT)
@pytest.mark.parametrize("why", ["quota", "read-only"])
def test_a_write_that_a_quota_or_a_read_only_disk_forbids_keeps_nothing_and_stops_nothing(
    statement, why, open_store, tmp_path, monkeypatch
):
    """D4: SQLite calls it SQLITE_IOERR_WRITE, as it calls a bad disk."""
    store, connection = open_store()
    store.commit(Batch([intake(EPR)]))
    monkeypatch.setattr("engine.adapters.stores.connection.refusal_of_writes", lambda store: why)
    connection.failure = (statement, sqlite3.SQLITE_IOERR_WRITE, False)
    batch = Batch([intake(EPR)], results=[result(DeliveryId(1))])
    with pytest.raises(StoreFull, match=why):
        store.commit(batch)
    connection.failure = ("PRAGMA wal_checkpoint", sqlite3.SQLITE_IOERR_WRITE, False)
    store.checkpoint()
    assert seqs(store) == [1]
    assert store.commit(batch).seqs == [2]
    after = reopened(store, tmp_path)
    after.open()
    assert seqs(after) == [1, 2]
    after.close()


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_BUSY_RECOVERY])
@pytest.mark.parametrize("statement", EVERY_STATEMENT[:-1])
def test_a_lock_that_does_not_come_free_keeps_nothing_and_stops_nothing(statement, code, open_store):
    store, connection = open_store()
    store.commit(Batch([intake(EPR)]))
    connection.failure = (statement, code, False)
    batch = Batch([intake(EPR)], results=[result(DeliveryId(1))])
    with pytest.raises(StoreBusy):
        store.commit(batch)
    assert seqs(store) == [1]
    assert store.commit(batch).seqs == [2]


def test_a_backup_tool_that_holds_the_lock_delays_intake_and_does_not_stop_it(open_store):
    store, _ = open_store(busy_timeout_s=0.05)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreBusy):
        store.commit(Batch([intake(EPR)]))
    other.execute("ROLLBACK")
    other.close()
    assert store.commit(Batch([intake(EPR)])).seqs == [1]


@pytest.mark.parametrize("carried_out", [True, False])
@pytest.mark.parametrize("code", [IOERR_FSYNC, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CORRUPT])
def test_after_a_commit_that_failed_nothing_is_said_until_a_restart_finds_out(carried_out, code, open_store, tmp_path):
    """Measured in the past: after EIO in fdatasync the row was invisible, and there again after a restart."""
    store, connection = open_store()
    store.commit(Batch([intake(EPR)]))
    connection.failure = ("COMMIT", code, carried_out)
    repeated = intake(EPR)
    with pytest.raises(CommitUnknown):
        store.commit(Batch([repeated]))
    for refused in (
        lambda: store.commit(Batch([intake()])),
        lambda: store.commit(Batch([repeated])),
        lambda: store.queued(LAB, EPR, FIRST, 1),
        lambda: store.add_deliveries(1, None),
        lambda: store.move_deliveries([], "queued", ""),
        lambda: store.lane_window(LAB, EPR, 2),
        lambda: store.channel_version(LAB, {}),
        store.checkpoint,
    ):
        with pytest.raises(CommitUnknown):
            refused()
    after = reopened(store, tmp_path)
    after.open()
    assert seqs(after) == ([1, 2] if carried_out else [1])
    assert after.commit(Batch([repeated])).seqs == [2], "whichever it was, it is stored once"
    assert seqs(after) == [1, 2]
    after.close()


@pytest.mark.parametrize("statement", EVERY_STATEMENT[:-1])
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_READONLY])
def test_an_input_output_error_anywhere_stops_the_store(statement, code, open_store):
    store, connection = open_store()
    store.commit(Batch([intake(EPR)]))
    connection.failure = (statement, code, False)
    with pytest.raises(CommitUnknown):
        store.commit(Batch([intake(EPR)], results=[result(DeliveryId(1))]))
    with pytest.raises(CommitUnknown):
        store.commit(Batch([intake()]))
    assert seqs(store) == [1]


def test_a_rollback_that_fails_stops_the_store(open_store):
    store, connection = open_store()

    class NoWayBack(Exception):
        pass

    def fail_twice(sql, *values, run=connection.execute):
        if sql == "ROLLBACK":
            connection.failure = ("ROLLBACK", sqlite3.SQLITE_IOERR, False)
        return run(sql, *values)

    connection.execute = fail_twice
    with pytest.raises(CommitUnknown), store._db.transaction():
        raise NoWayBack
    connection.execute = super(type(connection), connection).execute
    with pytest.raises(CommitUnknown):
        store.commit(Batch([intake()]))


def test_a_stop_after_an_unknown_outcome_is_not_a_clean_one(open_store, tmp_path):
    store, connection = open_store()
    store.commit(Batch([intake(EPR)]))
    connection.failure = ("COMMIT", IOERR_FSYNC, False)
    with pytest.raises(CommitUnknown):
        store.commit(Batch([intake(EPR)]))
    store.close()
    store.open()
    assert [d.maybe_sent for d in store.queued(LAB, EPR, FIRST, 10)] == [True]


def test_a_checkpoint_that_finds_no_room_or_a_reader_is_tried_another_time(open_store):
    store, connection = open_store()
    store.commit(Batch([intake(EPR)]))
    for code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        connection.failure = ("PRAGMA wal_checkpoint", code, False)
        store.checkpoint()
    assert store.commit(Batch([intake(EPR)])).seqs == [2]


def test_a_checkpoint_whose_sync_fails_stops_the_store(open_store):
    store, connection = open_store()
    store.commit(Batch([intake(EPR)]))
    connection.failure = ("PRAGMA wal_checkpoint", IOERR_FSYNC, False)
    with pytest.raises(CommitUnknown):
        store.checkpoint()


def test_a_reader_of_a_locked_or_failing_store_says_so(open_store):
    store, _ = open_store()
    queries = store.queries()
    queries.close()
    with pytest.raises(StoreError, match="closed"):
        queries.counts()
    missing = SqliteStore(store.path.with_name("missing.db")).queries()
    with pytest.raises(StoreError, match="cannot be opened"):
        missing.counts()


SCRIPT = """
import sys
from pathlib import Path
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch
from engine.ports.store import CommitUnknown, StoreFull
from engine.testing.store_contract import EPR, intake

store = SqliteStore(Path(sys.argv[1]))
store.open()
print("open", flush=True)
for n in range(60):
    try:
        (seq,) = store.commit(Batch([intake(EPR, control_id=f"M{n}", raw=b"x" * 9000)])).seqs
        print("kept", f"M{n}", flush=True)
    except StoreFull:
        print("full", f"M{n}", flush=True)
    except CommitUnknown:
        print("unknown", f"M{n}", flush=True)
    if n % 10 == 9:
        try:
            store.checkpoint()
        except CommitUnknown:
            print("unknown", "checkpoint", flush=True)
"""


def run_under_strace(path, inject):
    """What the script said, with the fault of `inject` in its system calls on a store that is there."""
    there = SqliteStore(path)
    there.open()
    there.close()
    calls = inject.split(":")[0]
    done = subprocess.run(
        [
            *("strace", "-f", "-qq", "-e", f"trace={calls}", "-e", f"inject={inject}", "-o", "/dev/null"),
            *(sys.executable, "-c", SCRIPT, str(path)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    said = [line.split() for line in done.stdout.splitlines()]
    if "strace: " in done.stderr:
        pytest.skip(f"strace cannot trace here: {done.stderr[-200:]}")
    assert said, done.stderr[-500:]
    return said


def control_ids(path):
    store = SqliteStore(path)
    store.open()
    queries = store.queries()
    found = {message.control_id for message in queries.messages()}
    queries.close()
    store.close()
    return found


@pytest.mark.fault
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("nth", [12, 13, 14, 25, 41, 60])
def test_a_sync_that_fails_at_any_call_loses_nothing_that_was_promised(nth, path):
    """D2: every system call is a place where the disk may fail."""
    said = run_under_strace(path, f"fdatasync,fsync:error=EIO:when={nth}")
    assert ["open"] in said
    unknown = next((at for at, words in enumerate(said) if words[0] == "unknown"), len(said))
    assert unknown < len(said), "the fault was not met"
    assert all(words[0] == "unknown" for words in said[unknown:]), "nothing is said after it"
    kept = {words[1] for words in said if words[0] == "kept"}
    there = control_ids(path)
    assert kept <= there
    assert len(there - kept) <= 1, "at most the one whose outcome was not known"


@pytest.mark.fault
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("nth", ["60..66", "61", "75..90", "100..140", "133", "134"])
def test_a_disk_without_room_refuses_and_goes_on_when_there_is_room_again(nth, path):
    """D3: what was refused is not there, what was promised is, and no restart is needed."""
    said = run_under_strace(path, f"pwrite64:error=ENOSPC:when={nth}")
    assert "full" in {words[0] for words in said}, "the fault was not met"
    assert "unknown" not in {words[0] for words in said}
    assert said[-1][0] == "kept"
    assert control_ids(path) == {words[1] for words in said if words[0] == "kept"}
