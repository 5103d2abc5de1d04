"""A store is brought up to this engine's schema, or refused with a sentence, never half changed."""

import contextlib
import shutil
import sqlite3
from datetime import UTC, datetime
from zlib import crc32

import pytest

from engine.adapters.stores import schema
from engine.adapters.stores.codes import delivery_crc, lane_salt
from engine.adapters.stores.health import check
from engine.adapters.stores.schema import APPLICATION_ID, Migration, back_up, copies_of, load_migrations, migrate
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch, DraftDelivery
from engine.model.ids import DeliveryId, MessageSeq
from engine.ports.store import StoreError, StoreTooNew
from engine.testing.store_contract import EPR, FIRST, LAB, T0, intake, result


def copied(path) -> list[str]:
    """Of which schemas copies lie beside the store."""
    return [copy.name.partition(".schema-")[2][:2] for copy in copies_of(path)]


FIRST_STEP = Migration(1, "first", "CREATE TABLE a (x); INSERT INTO a VALUES (1); INSERT INTO a VALUES (2);")
SECOND_STEP = Migration(2, "second", "ALTER TABLE a ADD COLUMN y; UPDATE a SET y = x * 10;")


@pytest.fixture
def db(tmp_path):
    connection = sqlite3.connect(tmp_path / "old.db", isolation_level=None)
    yield connection
    connection.close()


def version(connection):
    return connection.execute("PRAGMA user_version").fetchone()[0]


def test_the_migrations_that_ship_are_numbered_from_one_without_a_gap():
    assert [migration.number for migration in load_migrations()] == list(range(1, len(load_migrations()) + 1))


def test_a_store_of_an_earlier_engine_is_brought_up_and_a_copy_of_it_kept(db, tmp_path):
    migrate(db, tmp_path / "old.db", [FIRST_STEP])
    migrate(db, tmp_path / "old.db", [FIRST_STEP, SECOND_STEP])
    assert db.execute("SELECT * FROM a").fetchall() == [(1, 10), (2, 20)]
    assert version(db) == 2
    (copy,) = copies_of(tmp_path / "old.db")
    assert copy.name.startswith("old.db.schema-1.")
    assert copy.stat().st_mode & 0o077 == 0
    kept = sqlite3.connect(copy)
    assert kept.execute("SELECT * FROM a").fetchall() == [(1,), (2,)]
    assert version(kept) == 1
    kept.close()
    migrate(db, tmp_path / "old.db", [FIRST_STEP, SECOND_STEP])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["old.db", copy.name], "nothing to do, no other copy"


def test_a_copy_that_a_killed_start_began_is_removed_and_the_newest_three_are_kept(db, tmp_path):
    path = tmp_path / "old.db"
    half = tmp_path / "old.db.schema-1.20260101T000000Z.part"
    half.write_bytes(b"half")
    steps = [FIRST_STEP, SECOND_STEP, *(Migration(n, "more", f"CREATE TABLE t{n} (x);") for n in range(3, 8))]
    migrate(db, path, steps[:1])
    for number in range(2, 8):
        migrate(db, path, steps[:number], now=datetime(2026, 1, number, tzinfo=UTC))
    assert not half.exists()
    assert [copy.name for copy in copies_of(path)] == [
        f"old.db.schema-{number}.2026010{number + 1}T000000Z" for number in (4, 5, 6)
    ]


def test_a_copy_that_is_not_what_the_store_is_stops_the_migration(db, tmp_path, monkeypatch):
    migrate(db, tmp_path / "old.db", [FIRST_STEP])
    check_copy = schema._check_copy

    def tampered(connection, part):
        with contextlib.closing(sqlite3.connect(part)) as copy:
            copy.execute("DELETE FROM a WHERE x = 1")
            copy.commit()
        check_copy(connection, part)

    monkeypatch.setattr(schema, "_check_copy", tampered)
    with pytest.raises(StoreError, match="no copy of the store"):
        migrate(db, tmp_path / "old.db", [FIRST_STEP, SECOND_STEP])
    assert version(db) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["old.db"]


def test_without_room_for_the_copy_it_is_said_before_anything_is_written(db, tmp_path, monkeypatch):
    migrate(db, tmp_path / "old.db", [FIRST_STEP])
    full = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(schema.shutil, "disk_usage", lambda _: full)
    with pytest.raises(StoreError, match=r"it takes \d+ bytes, and 100 are free. Make room"):
        migrate(db, tmp_path / "old.db", [FIRST_STEP, SECOND_STEP])
    assert version(db) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["old.db"]


def test_a_step_that_fails_leaves_the_store_as_it_was_before_it(db, tmp_path):
    migrate(db, tmp_path / "old.db", [FIRST_STEP])
    bad = Migration(2, "bad", "DELETE FROM a; INSERT INTO no_such_table VALUES (1);")
    told = r"step 2 \(bad\) of the schema failed .* run the version before, with the copy old\.db\.schema-1\.\w+ as its"
    with pytest.raises(StoreError, match=told):
        migrate(db, tmp_path / "old.db", [FIRST_STEP, bad])
    assert db.execute("SELECT x FROM a").fetchall() == [(1,), (2,)]
    assert version(db) == 1
    migrate(db, tmp_path / "old.db", [FIRST_STEP, SECOND_STEP])
    assert version(db) == 2


def test_where_the_copy_cannot_be_put_nothing_is_changed(db, tmp_path):
    migrate(db, tmp_path / "old.db", [FIRST_STEP])
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    (tmp_path / "old.db.schema-1.20260102T030405Z").mkdir()
    with pytest.raises(StoreError, match="no copy of the store"):
        migrate(db, tmp_path / "old.db", [FIRST_STEP, SECOND_STEP], now=at)
    assert version(db) == 1
    assert not list(tmp_path.glob("*.part"))


def test_a_store_of_a_newer_engine_is_refused_and_left_alone(path):
    store = SqliteStore(path)
    store.open()
    store.close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    before = contents(path)
    with pytest.raises(StoreTooNew, match=r"newer Segmill .schema 99"):
        store.open()
    assert contents(path) == before, "not a byte of it, nor of its log"


def test_a_newer_schema_that_is_in_the_log_alone_is_refused_and_left_alone(path):
    store = SqliteStore(path)
    store.open()
    store.close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA wal_autocheckpoint = 0")
    newer.execute("PRAGMA user_version = 99")
    newer.commit()
    files = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    newer.close()  # which moves the log into the file: as after a kill, it stands where it was
    for name, content in files.items():
        (path.parent / name).write_bytes(content)
    before = contents(path)
    assert before[f"{path.name}-wal"]
    with pytest.raises(StoreTooNew):
        store.open()
    assert contents(path) == before


def contents(path):
    """Of the store and its log; the lock, the log's index and a log without a byte say nothing of messages."""
    files = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    return {name: content for name, content in files.items() if content and not name.endswith(("-shm", ".lock"))}


def test_a_database_of_something_else_is_refused(path):
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    other.close()
    with pytest.raises(StoreError, match="not a store of Segmill"):
        SqliteStore(path).open()


def test_the_file_says_whose_it_is(open_store):
    _, connection = open_store()
    assert connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    assert version(connection) == load_migrations()[-1].number


def test_a_copy_made_beside_a_writer_is_a_store_of_its_own(open_store, tmp_path):
    """D10: consistent, and restored by opening it."""
    store, connection = open_store()
    store.commit(Batch([intake(EPR) for _ in range(5)]))
    back_up(connection, tmp_path / "copy.db")
    store.commit(Batch([intake(EPR)]))
    copy = SqliteStore(tmp_path / "copy.db")
    copy.open()
    assert len(copy.queued(LAB, EPR, FIRST, 10)) == 5
    copy.close()


def test_damage_in_the_structure_is_found_at_the_start_and_said(open_store, path):
    store, _ = open_store()
    store.commit(Batch([intake(EPR, raw=b"x" * 9000) for _ in range(50)]))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 9] = bytes(4096 * 6)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"):
        store.open()


def test_a_delivery_that_the_index_of_the_queue_lost_is_found_again(open_store, path, caplog):
    store, connection = open_store()
    store.commit(Batch([intake(EPR) for _ in range(50)]))
    page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'delivery_queued'").fetchone()[0]
    store.close()
    content = bytearray(path.read_bytes())
    at = content.rindex(b"\x04\x09\x08\x01\x07", (page - 1) * 4096, page * 4096)  # (lane 1, state 0, delivery 7)
    content[at + 4] ^= 0x40
    path.write_bytes(content)
    store.open()
    assert [d.id for d in store.queued(LAB, EPR, FIRST, 100)] == list(range(1, 51))
    assert "built anew" in caplog.text
    caplog.clear()
    store.close()
    store.open()
    assert caplog.text == ""


def test_a_delivery_that_the_index_of_keys_lost_is_found_again(open_store, path, caplog):
    store, connection = open_store()
    given = [intake() for _ in range(50)]
    for number, one in enumerate(given):
        one.deliveries = [DraftDelivery(EPR, None, f"patient-{number:02}", number == 3)]
    store.commit(Batch(given))
    page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'delivery_of_key'").fetchone()[0]
    store.close()
    content = bytearray(path.read_bytes())
    at = content.index(b"patient-07", (page - 1) * 4096, page * 4096)
    content[at] ^= 0x02
    path.write_bytes(content)
    store.open()
    queries = store.queries()
    assert [row.id for row in queries.queued_of_key(LAB, EPR, "patient-07", FIRST, 10)] == [8]
    queries.close()
    assert "built anew" in caplog.text and "patient" not in caplog.text
    caplog.clear()
    store.close()
    store.open()
    assert caplog.text == ""


def test_a_big_store_is_looked_through_by_its_steering_tables(open_store, path):
    store, connection = open_store()
    store.commit(Batch([intake(EPR)]))
    asked = []
    connection.set_trace_callback(asked.append)
    check(connection, path, full_check_bytes=0)
    connection.set_trace_callback(None)
    assert any("'meta'" in sql for sql in asked)
    assert "PRAGMA quick_check(1)" not in asked
    store.close()
    store._full_check_bytes = 0
    store.open()


def test_one_turned_bit_in_a_name_does_not_make_a_row_unreadable_nor_appear_in_an_error(open_store):
    store, connection = open_store()
    store.commit(Batch([intake(EPR, control_id="ok"), intake(EPR)]))
    connection.execute(
        "UPDATE message SET control_id = CAST(x'C141' AS TEXT), sender = CAST(x'FF' AS TEXT) WHERE seq = 1"
    )
    store.close()
    store.open()
    assert [key[2] for key in store.recent_ids(0, 10)[0]][1] == "\ufffdA"
    queries = store.queries()
    assert [message.sender for message in queries.messages(newest_first=False)] == ["\ufffd", "HIS|MAIN"]
    queries.close()


def test_damage_in_the_schema_itself_is_said_in_a_sentence(open_store, path):
    store, _ = open_store()
    store.close()
    whole = path.read_bytes()
    for turned in (b"CREATE T\xc1BLE delivery", b"CREATE TABLE \xff(ivery  ", b"CREAT\xff TABLE delivery"):
        path.write_bytes(whole.replace(b"CREATE TABLE delivery", turned, 1))
        with pytest.raises(StoreError, match="is damaged"):
            store.open()


def test_a_store_of_the_first_schema_is_brought_up_with_what_is_in_it(path):
    path.parent.mkdir()
    first = sqlite3.connect(path, isolation_level=None)
    migrate(first, path, load_migrations()[:1])
    first.execute("INSERT INTO channel (id, name) VALUES (1, 'lab')")
    first.close()
    store = SqliteStore(path)
    store.open()
    assert dict(store.last_sequences(LAB)) == {}
    store.commit(Batch([intake(EPR, sequence=4)]))
    assert dict(store.last_sequences(LAB)) == {"HIS|MAIN": 4}
    assert len(store.queued(LAB, EPR, FIRST, 10)) == 1
    store.close()
    assert copied(path) == ["1."]


def test_a_store_from_before_attempts_were_kept_goes_on_with_its_deliveries(path):
    """Schema 4 to 5: what was queued, held and done is as it was, and from now on attempts are kept."""
    path.parent.mkdir()
    before = sqlite3.connect(path, isolation_level=None)
    migrate(before, path, load_migrations()[:4])
    before.execute("INSERT INTO channel (id, name) VALUES (1, 'lab')")
    before.execute("INSERT INTO lane (id, channel, destination) VALUES (1, 1, 'epr')")
    for seq, (state, attempts, code) in enumerate([(1, 1, "delivered"), (2, 1, "AE"), (0, 3, "unreachable")], 1):
        body = b"MSH|%d" % seq
        row = (seq, bytes(16), T0, f"C{seq}", bytes(16), seq, crc32(body))
        before.execute("INSERT INTO body VALUES (?, ?)", (seq, body))
        before.execute("INSERT INTO message VALUES (?, ?, 1, 1, ?, '', '', '', ?, ?, 1, 'AA', '', ?, ?, x'')", row)
        before.execute(
            "INSERT INTO delivery (id, seq, lane, state, attempts, next_at_us, done_at_us, code, note, maybe_sent,"
            " crc, answer) VALUES (?, ?, 1, ?, ?, 0, ?, ?, '', 0, ?, x'4D5341')",
            (seq, seq, state, attempts, T0 + seq if state else 0, code, delivery_crc(body, 1)),
        )
    before.close()
    store = SqliteStore(path)
    store.open()
    assert copied(path) == ["4."]
    queries = store.queries()
    assert [queries.deliveries(MessageSeq(n))[0].state for n in (1, 2, 3)] == ["delivered", "held", "queued"]
    (waiting,) = store.queued(LAB, EPR, FIRST, 10)
    assert (waiting.id, waiting.attempts, waiting.since_us, waiting.redirects) == (3, 3, 0, 0)
    assert queries.attempts(MessageSeq(2)) == []
    store.move_deliveries([DeliveryId(2)], "queued", "released")
    store.commit(Batch(results=[result(DeliveryId(2), "queued", attempts=2, code="AR"), result(waiting, "redirected")]))
    assert [(a.number, a.code, a.at_us, a.answer) for a in queries.attempts(MessageSeq(2))] == [
        (1, "AE", T0 + 2, b"MSA"),
        (2, "AR", T0 + 1, b""),
    ]
    assert [row.state for row in queries.deliveries(MessageSeq(3))] == ["redirected", "queued"]
    queries.close()
    store.close()


def test_a_store_without_keys_gets_them_and_what_waits_in_it_has_none(path):
    """From the schema before lanes had keys: what waits is of another order, and goes first."""
    path.parent.mkdir()
    old = sqlite3.connect(path, isolation_level=None)
    migrate(old, path, load_migrations()[:3])
    old.execute("INSERT INTO channel (id, name) VALUES (1, 'lab')")
    old.execute("INSERT INTO lane (id, channel, destination) VALUES (1, 1, 'epr')")
    old.execute("INSERT INTO body (id, bytes) VALUES (1, x'4142')")
    old.execute(
        "INSERT INTO message VALUES (1, x'00', 1, 1, 1, '', '', 'ADT^A01', 'C', x'00', 1, 'AA', '', 1, ?, x'')",
        (crc32(b"AB"),),
    )
    old.execute(
        "INSERT INTO delivery VALUES (7, 1, 1, 0, 0, 0, 0, '', '', 0, NULL, ?, x'')", (crc32(b"AB") ^ lane_salt(1),)
    )
    old.close()
    store = SqliteStore(path)
    store.open()
    (waiting,) = store.queued(LAB, EPR, FIRST, 10)
    assert (waiting.id, waiting.body, waiting.key, waiting.urgent) == (7, b"AB", None, False)
    assert store.lane_window(LAB, EPR, 1, "PID-3.1") == 8
    assert store.commit(Batch([intake(EPR)])).deliveries[0][0].key == ""
    store.close()
    assert copied(path) == ["3."]
