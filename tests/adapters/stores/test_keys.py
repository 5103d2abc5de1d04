"""Keys in SQLite: what a search costs in work, what is left of a key, and what damage does."""

import contextlib
import sqlite3
from collections.abc import Callable

import pytest

from engine.adapters.stores import keys, schema
from engine.adapters.stores.keys import BLOCK, BUCKETS, KeyHashes, hashes_in, holds, places
from engine.adapters.stores.sqlite import SqliteStore
from engine.adapters.stores.statements import load_statements
from engine.model.envelope import Batch
from engine.model.ids import MessageSeq
from engine.ports.search import Find, KeyBlock
from engine.ports.store import Prune
from engine.testing.search_contract import everything, keys_of, message, put_in_order, seqs_of
from engine.testing.store_contract import HOUR_US, T0, intake

NOW_US = T0 + 1000 * HOUR_US


def fill(store: SqliteStore, count: int, raw: Callable[[int], bytes] = lambda n: message(str(n))) -> None:
    for at in range(0, count, 512):
        store.commit(Batch([intake(raw=raw(n), received_at_us=T0) for n in range(at, min(at + 512, count))]))


def steps_of(store: SqliteStore, wanted: Find) -> int:
    """How many hundreds of SQLite's instructions a search takes."""
    queries = store.queries()
    count = 0

    def counted() -> int:
        nonlocal count
        count += 1
        return 0

    with queries._reader() as db:
        db.set_progress_handler(counted, 100)
    queries.find(wanted)
    queries.close()
    return count


def test_a_search_by_key_reads_one_row_a_block_and_not_the_messages(open_store) -> None:
    store, _ = open_store()
    store.read_keys_by(keys_of)
    fill(store, 2 * BLOCK)
    wanted = Find(keys=(("mrn", "77"),))
    through_rows = steps_of(store, wanted)
    put_in_order(store)
    few = steps_of(store, wanted)
    assert few * 50 < through_rows
    assert everything(store.queries(), wanted) == [78]
    fill(store, 2 * BLOCK, lambda n: message(f"x{n}"))
    put_in_order(store)
    assert steps_of(store, wanted) <= few + 5
    assert seqs_of(store.queries().find(Find(keys=(("mrn", "x77"),)))) == [2 * BLOCK + 78]


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("entries_of_bucket", "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)"),
        ("entries_of_bucket", "SEARCH b USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("keys_of_range", "SEARCH message USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("newest_with_control_id", "SEARCH m USING COVERING INDEX message_by_control_id (control_id=?)"),
        ("find_walk", "SEARCH m USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("find_in_text", "SEARCH body USING INTEGER PRIMARY KEY (rowid=?)"),
        ("find_matches", "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
def test_every_search_is_led_by_an_index_and_sorts_nothing_but_one_control_id(open_store, name: str, plan: str) -> None:
    _, connection = open_store()
    sql = load_statements("find.sql")[name]
    given = dict.fromkeys(
        (
            *("before", "after", "limit", "channel", "channels", "since_us", "until_us", "type", "sender", "states"),
            *("delivery_states", "bucket", "lowest", "highest", "hash", "control_id", "seq"),
            *(f"text_{n}" for n in range(1, 7)),
        ),
        1,
    )
    told = " | ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", given))
    assert plan in told
    # Pieces of a large body come by their index, in a part of the plan of their own that is then gone through.
    assert "SCAN" not in told.replace(
        "SEARCH body_piece USING INDEX sqlite_autoindex_body_piece_1 (body=?) | SCAN p", ""
    )
    assert ("TEMP B-TREE" in told) == (name == "newest_with_control_id")


def test_retention_takes_the_hash_of_a_key_out_of_the_files(open_store, path) -> None:
    store, connection = open_store()
    store.read_keys_by(keys_of)
    fill(store, BLOCK + 10, lambda n: message("gone" if n < 10 else f"{n}"))
    put_in_order(store)
    store.checkpoint()
    (secret,) = connection.execute("SELECT secret FROM key_setup").fetchone()
    hash_ = KeyHashes(secret).of("mrn", "gone")

    def files() -> bytes:
        return b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())

    assert hash_ in files()
    assert store.prune(Prune(None, 0, NOW_US, MessageSeq(0), 10, NOW_US)).messages == 10
    queries = store.queries()
    assert queries.key_work().blocks == [0]
    assert everything(queries, Find(keys=(("mrn", "gone"),))) == []
    put_in_order(store)
    queries.close()
    while store.give_back(1_000_000):
        pass
    assert hash_ not in files()


def test_no_value_of_a_key_is_stored_beside_the_bytes(open_store, path) -> None:
    store, _ = open_store()
    store.read_keys_by(keys_of)
    fill(store, BLOCK + 1, lambda n: message("KANARIENVOGEL"))
    put_in_order(store)
    store.prune(Prune(None, NOW_US, 0, MessageSeq(0), 2 * BLOCK, NOW_US))
    while store.give_back(1_000_000):
        pass
    everything_left = b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file()).lower()
    assert b"kanarienvogel" not in everything_left
    assert len(everything(store.queries(), Find(keys=(("mrn", "kanarienvogel"),)), limit=1000)) == BLOCK + 1


def test_of_a_block_whose_messages_are_gone_no_entry_is_left(open_store) -> None:
    store, connection = open_store()
    store.read_keys_by(keys_of)
    fill(store, 2 * BLOCK)
    put_in_order(store)
    store.prune(Prune(None, 0, NOW_US, MessageSeq(0), BLOCK, NOW_US))
    put_in_order(store)
    assert connection.execute("SELECT min(id) FROM key_entry").fetchone()[0] >= BUCKETS


def test_a_gap_in_the_numbers_is_made_once_and_then_left_alone(open_store) -> None:
    """Where retention left one old message, or a store was restored."""
    store, _ = open_store()
    store.read_keys_by(keys_of)
    fill(store, 1)
    store.close()
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'last_seq'", (3 * BLOCK,))
    store.open()
    fill(store, 10)
    put_in_order(store)
    queries = store.queries()
    assert queries.key_work().blocks == []
    assert everything(queries, Find(keys=(("mrn", "0"),))) == [3 * BLOCK + 1, 1]
    queries.close()


def test_what_was_read_before_others_forgot_is_not_kept(open_store) -> None:
    store, _ = open_store()
    store.read_keys_by(keys_of)
    fill(store, BLOCK)
    queries = store.queries()
    draft = queries.draft_keys(0)
    store.prune(Prune(None, 0, NOW_US, MessageSeq(0), 5, NOW_US))
    assert store.keep_key_block(draft) is False
    assert queries.key_work().blocks == [0]
    assert store.keep_key_block(queries.draft_keys(0)) is True
    assert queries.key_work().blocks == []
    queries.close()


def test_damaged_entries_hide_nothing_and_make_nothing_up(open_store) -> None:
    store, connection = open_store()
    store.read_keys_by(keys_of)
    fill(store, BLOCK)
    put_in_order(store)
    for id_, entries in connection.execute("SELECT id, entries FROM key_entry").fetchall():
        turned = bytes(byte ^ 1 for byte in entries)
        connection.execute("UPDATE key_entry SET entries = ? WHERE id = ?", (turned, id_))
    for n in (0, 77, BLOCK - 1):
        assert everything(store.queries(), Find(keys=(("mrn", str(n)),))) == [n + 1]
    connection.execute("DELETE FROM key_entry")
    connection.execute("DELETE FROM key_block")
    assert everything(store.queries(), Find(keys=(("mrn", "77"),))) == [78]


def test_a_store_of_the_schema_before_is_read_for_its_keys_the_newest_first(path, monkeypatch) -> None:
    before = [m for m in schema.load_migrations() if m.number < 11]
    path.parent.mkdir()
    old = sqlite3.connect(path, isolation_level=None)
    old.execute("PRAGMA auto_vacuum = INCREMENTAL")
    schema.migrate(old, path, before)
    old.execute("INSERT INTO channel (id, name) VALUES (1, 'lab')")
    for n in range(1, 41):
        raw = message(str(n))
        old.execute("INSERT INTO body (id, bytes) VALUES (?, ?)", (n, raw))
        old.execute(
            "INSERT INTO message (seq, receive_id, channel, version, received_at_us, sender, peer, message_type,"
            " control_id, body_hash, state, ack_code, findings, body, crc, ack)"
            " VALUES (?, ?, 1, 1, ?, '', '', '', '', x'00', 1, 'AA', '', ?, ?, x'')",
            (n, n.to_bytes(16), T0, n if n != 7 else None, crc(raw)),
        )
    old.close()
    store = SqliteStore(path)
    store.read_keys_by(keys_of)
    store.open()
    fill(store, 1)
    queries = store.queries()
    assert queries.unread_keys() == 40
    assert everything(queries, Find(keys=(("mrn", "0"),))) == [41], "what comes now is found at once"
    assert everything(queries, Find(keys=(("mrn", "40"),))) == []
    old_ones = queries.bodies_without_keys(MessageSeq(40), 10)
    assert [seq for seq, _, _ in old_ones] == list(range(40, 30, -1))
    store.fill_in_keys([(seq, keys_of(channel, raw)) for seq, channel, raw in old_ones], MessageSeq(30))
    assert queries.unread_keys() == 30
    assert everything(queries, Find(keys=(("mrn", "40"),))) == [40]
    store.close()
    store.open()
    put_in_order(store)
    assert queries.unread_keys() == 0
    assert everything(queries, Find(keys=(("mrn", "1"),))) == [1]
    assert everything(queries, Find(keys=(("mrn", "7"),))) == [], "its bytes were gone"
    queries.close()
    store.close()


def crc(raw: bytes) -> int:
    from zlib import crc32

    return crc32(raw)


def test_a_hash_is_found_where_it_stands_and_not_across_two() -> None:
    hashes = KeyHashes(b"secret")
    one, two = hashes.of("mrn", "1"), hashes.of("mrn", "2")
    packed = one + two
    assert holds(packed, one)
    assert holds(packed, two)
    assert not holds(packed, packed[3:11])
    assert not holds(None, one)
    entries = one + b"\0\5" + two + b"\1\0" + one + b"\0\7"
    assert list(places(entries, one)) == [5, 7]
    assert list(places(entries, two)) == [256]
    assert list(places(entries, entries[2:10])) == []


def test_the_same_value_has_another_hash_in_each_store_and_under_each_name() -> None:
    assert KeyHashes(b"a").of("mrn", "1") != KeyHashes(b"b").of("mrn", "1")
    assert KeyHashes(b"a").of("mrn", "1") != KeyHashes(b"a").of("visit", "1")


def test_a_block_without_messages_has_no_entries(open_store) -> None:
    store, connection = open_store()
    assert store.keep_key_block(KeyBlock(0, 0, {})) is True
    assert connection.execute("SELECT count(*) FROM key_entry").fetchone() == (0,)


def test_a_commit_carries_out_no_statement_more_for_keys(open_store, tmp_path) -> None:
    """Nothing at random places of the file: what an index would cost intake (ADR 34)."""
    carried_out: dict[bool, list[str]] = {}
    for reads in (False, True):
        store, connection = open_store(path=tmp_path / f"{reads}.db")
        if reads:
            store.read_keys_by(keys_of)
        rows = [intake(raw=message(str(n), f"P{n}", f"Q{n}")) for n in range(32)]
        told = carried_out[reads] = []
        connection.set_trace_callback(lambda sql, told=told: told.append(sql.partition("(")[0].strip()))
        store.commit(Batch(rows))
        connection.set_trace_callback(None)
    assert carried_out[True] == carried_out[False]


def test_of_large_old_messages_few_are_in_memory_at_a_time(open_store, monkeypatch) -> None:
    monkeypatch.setattr(keys, "PAGE_BYTES", 250_000)
    store, _ = open_store()
    fill(store, 10, lambda n: message(str(n)) + b"OBX|" + b"x" * 100_000)
    queries = store.queries()
    assert [seq for seq, _, _ in queries.bodies_without_keys(MessageSeq(10), 100)] == [10, 9, 8]
    monkeypatch.setattr(keys, "PAGE_BYTES", 1)
    assert [seq for seq, _, _ in queries.bodies_without_keys(MessageSeq(10), 100)] == [10]
    queries.close()


@pytest.mark.parametrize("keys", [[], [("mrn", "4711")], [("mrn", "4711"), ("visit", "V1")]])
def test_no_turned_bit_of_what_a_row_holds_is_taken_for_whole(keys) -> None:
    packed = KeyHashes(b"secret").packed(keys)
    assert hashes_in(packed) == b"".join(KeyHashes(b"secret").of(*key) for key in keys)
    for bit in range(len(packed) * 8):
        turned = bytearray(packed)
        turned[bit // 8] ^= 1 << (bit % 8)
        assert hashes_in(bytes(turned)) is None


@pytest.mark.parametrize("read", [0, 7, 0.5, "", "text"])
def test_what_a_turned_bit_made_another_type_of_is_damaged(read) -> None:
    assert hashes_in(read) is None
    assert not holds(read, b"12345678")


def test_rows_without_a_checksum_and_without_keys_are_whole() -> None:
    assert hashes_in(None) == b""
    assert hashes_in(b"12345678") == b"12345678"
    assert holds(b"12345678", b"12345678")
