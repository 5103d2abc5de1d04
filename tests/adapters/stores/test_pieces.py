"""Bodies in pieces: whole for everybody who reads them, nothing before their message, gone with it."""

import random
import sqlite3
from dataclasses import replace

import pytest

from engine.adapters.stores import pruning
from engine.adapters.stores.sqlite import SqliteStore
from engine.adapters.stores.statements import load_statements
from engine.model.envelope import Batch, DraftDelivery, Piece, Reprocessed
from engine.model.ids import VersionId
from engine.ports.store import StoreFull
from engine.testing.store_contract import EPR, FIRST, LAB, RIS, T0, intake, result
from tests.adapters.stores.test_pruning import EVERYTHING, files_of

BODY = random.Random(1).randbytes(10_000)
CHANGED = random.Random(2).randbytes(7_000)


def pieces(body, size=1024):
    return [Piece(body, at, min(at + size, len(body))) for at in range(0, len(body), size)]


def write(store, *bodies):
    """Each piece in a commit of its own, beside a small message."""
    for body in bodies:
        for piece in pieces(body):
            store.commit(Batch([intake()], pieces=[piece]))


def count(connection, table):
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_a_body_in_pieces_is_whole_wherever_it_is_read(open_store):
    store, connection = open_store()
    write(store, BODY, CHANGED)
    given = intake(EPR, RIS, raw=BODY, bodies=(None, CHANGED), state="processed")
    committed = store.commit(Batch([given]))
    assert [d.body for d in committed.deliveries[0]] == [BODY, CHANGED]
    assert [d.body for d in store.queued(LAB, RIS, FIRST, 10)] == [CHANGED]
    queries = store.queries()
    assert queries.message(committed.seqs[0]).raw == BODY
    assert [d.body for d in queries.deliveries(committed.seqs[0], bodies=True)] == [BODY, CHANGED]
    assert [d.body for d in store.commit(Batch([given])).deliveries[0]] == [BODY, CHANGED], "the same intake again"
    store.commit(Batch(results=[result(d) for d in committed.deliveries[0]]))
    again = store.add_deliveries(committed.seqs[0], [EPR, RIS])
    assert {d.destination: d.body for d in again} == {EPR: BODY, RIS: CHANGED}
    queries.close()
    assert count(connection, "body_piece") == 10 + 7, "each byte is there once"
    assert connection.execute("SELECT max(length(bytes)) FROM body").fetchone()[0] < 100


def test_what_no_piece_was_written_of_is_written_with_its_message(open_store):
    store, connection = open_store()
    store.commit(Batch(pieces=pieces(BODY)[:4]))
    seqs = store.commit(Batch([intake(raw=BODY), intake(raw=bytes(bytearray(CHANGED)))])).seqs
    queries = store.queries()
    assert [queries.message(seq).raw for seq in seqs] == [BODY, CHANGED]
    queries.close()
    assert connection.execute("SELECT count(*) FROM body WHERE length(bytes) = 0").fetchone()[0] == 0


def test_another_body_of_the_same_bytes_is_another_body(open_store):
    store, connection = open_store()
    write(store, BODY)
    twin = bytes(bytearray(BODY))
    (first, second) = store.commit(Batch([intake(raw=BODY), intake(raw=twin)])).seqs
    queries = store.queries()
    assert queries.message(first).raw == queries.message(second).raw == BODY
    queries.close()
    assert count(connection, "body_piece") == 10


def test_the_deliveries_of_a_stored_message_come_from_pieces_as_well(open_store):
    store, _ = open_store()
    (seq,) = store.commit(Batch([intake(state="held")])).seqs
    write(store, CHANGED)
    drafts = [DraftDelivery(EPR, CHANGED), DraftDelivery(RIS, CHANGED)]
    store.commit(Batch(reprocessed=[Reprocessed(seq, LAB, VersionId(1), "processed", "", drafts)]))
    assert [d.body for d in store.queued(LAB, RIS, FIRST, 10)] == [CHANGED]


@pytest.mark.parametrize("wrong", [Piece(BODY, 2048, 3000), Piece(BODY, 0, 1024), Piece(BODY, 1024, 10_001)])
def test_a_piece_out_of_turn_is_refused_and_takes_nothing_along(wrong, open_store):
    store, connection = open_store()
    first = pieces(BODY)[0]
    store.commit(Batch(pieces=[first]))
    with pytest.raises(ValueError, match="does not follow"):
        store.commit(Batch([intake()], pieces=[wrong]))
    assert count(connection, "message") == 0 and count(connection, "body_piece") == 1
    assert str(BODY[:20])[2:-1] not in repr(wrong)


def test_a_refused_commit_leaves_the_pieces_where_they_were(open_store):
    store, connection = open_store()
    parts = pieces(BODY)
    store.commit(Batch(pieces=parts[:5]))
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(StoreFull):
        store.commit(Batch(pieces=[Piece(BODY, 5120, 10_000)]))
    connection.execute("PRAGMA max_page_count = 1000000")
    for part in parts[5:]:
        store.commit(Batch(pieces=[part]))
    (seq,) = store.commit(Batch([intake(raw=BODY)])).seqs
    queries = store.queries()
    assert queries.message(seq).raw == BODY
    queries.close()


def test_what_is_unwanted_goes(open_store):
    store, connection = open_store()
    write(store, BODY, CHANGED)
    store.commit(Batch(unwanted=[BODY, b"never heard of"]))
    assert count(connection, "body_piece") == 7
    store.commit(Batch(pieces=pieces(BODY)[:1]))  # from its start again
    assert count(connection, "body_piece") == 8
    assert store._writing._ahead.keys() == {id(BODY), id(CHANGED)}


@pytest.mark.parametrize("there", [4, 10])
def test_what_was_refused_begins_again_with_the_commit_that_forgets_it(there, open_store):
    store, connection = open_store()
    for piece in pieces(BODY)[:there]:
        store.commit(Batch(pieces=[piece]))
    store.commit(Batch(pieces=pieces(BODY)[:1], unwanted=[BODY]))
    assert count(connection, "body_piece") == 1
    for piece in pieces(BODY)[1:]:
        store.commit(Batch(pieces=[piece]))
    (seq,) = store.commit(Batch([intake(raw=BODY)])).seqs
    assert count(connection, "body_piece") == 10
    assert store._writing._ahead == {}
    queries = store.queries()
    assert queries.message(seq).raw == BODY
    queries.close()


def test_a_body_that_is_committed_begins_again_with_the_same_commit(open_store):
    store, _ = open_store()
    write(store, BODY)
    seqs = store.commit(Batch([intake(raw=BODY)], pieces=pieces(BODY)[:1], unwanted=[BODY])).seqs
    for piece in pieces(BODY)[1:]:
        store.commit(Batch(pieces=[piece]))
    seqs += store.commit(Batch([intake(raw=BODY)])).seqs
    queries = store.queries()
    assert [queries.message(seq).raw for seq in seqs] == [BODY, BODY]
    queries.close()


def test_an_intake_that_is_there_already_takes_its_pieces_with_it(open_store):
    store, connection = open_store()
    given = intake(raw=BODY)
    store.commit(Batch([given]))
    store.commit(Batch(pieces=pieces(BODY)[:1]))
    store.commit(Batch([given], pieces=pieces(BODY)[1:2]))
    assert count(connection, "body_piece") == 0 and store._writing._ahead == {}


@pytest.mark.parametrize("clean", [True, False])
def test_pieces_without_their_message_are_forgotten_at_the_next_start(clean, path):
    store = SqliteStore(path)
    store.open()
    write(store, BODY, CHANGED)
    (seq,) = store.commit(Batch([intake(raw=BODY)])).seqs
    if clean:
        store.close()
    else:
        store._let_go(store._db)
    again = SqliteStore(path)
    again.open()
    with sqlite3.connect(path) as reader:
        assert count(reader, "body_piece") == 10
    queries = again.queries()
    assert queries.message(seq).raw == BODY
    queries.close()
    (other,) = again.commit(Batch([intake(raw=CHANGED)])).seqs
    queries = again.queries()
    assert queries.message(other).raw == CHANGED
    queries.close()
    again.close()


def test_what_is_to_be_forgotten_at_the_start_is_found_without_reading_the_pieces(open_store):
    _, connection = open_store()
    statement = load_statements("write.sql")["forget_pieces"]
    plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement)]
    assert [line for line in plan if line.startswith("SCAN")] == [
        "SCAN p USING COVERING INDEX sqlite_autoindex_body_piece_1"
    ]


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM body_piece WHERE body = 11 AND number = 3",
        "UPDATE body_piece SET bytes = zeroblob(1024) WHERE body = 11 AND number = 9",
        "UPDATE body_piece SET number = 99 WHERE body = 11 AND number = 0",
        "DELETE FROM body_piece",
    ],
)
def test_a_piece_that_is_lost_or_damaged_never_passes_for_the_message(damage, open_store):
    store, connection = open_store()
    for piece in pieces(BODY):
        store.commit(Batch(pieces=[piece]))
    store.commit(Batch([intake() for _ in range(9)]))
    (seq,) = store.commit(Batch([intake(EPR, raw=BODY)])).seqs
    connection.execute("UPDATE body_piece SET body = 11")
    connection.execute("UPDATE body SET id = 11 WHERE length(bytes) = 0")
    connection.execute(f"UPDATE message SET body = 11 WHERE seq = {seq}")
    assert [d.body for d in store.queued(LAB, EPR, FIRST, 10)] == [BODY]
    connection.execute(damage)
    assert list(store.queued(LAB, EPR, FIRST, 10)) == []
    queries = store.queries()
    message = queries.message(seq)
    assert message.raw is None and "E250" in message.findings
    queries.close()


def test_pieces_are_pruned_with_their_message_and_leave_nothing_in_the_files(open_store, path):
    store, connection = open_store()
    canary = b"KANARIENVOGEL" * 2000
    write(store, canary)
    (made,) = store.commit(Batch([intake(EPR, raw=canary, received_at_us=T0)])).deliveries
    store.commit(Batch(results=[result(made[0])]))
    store.checkpoint()
    assert b"KANARIENVOGEL" in files_of(path) and count(connection, "body_piece")
    store.prune(EVERYTHING)
    assert count(connection, "body_piece") == 0
    while store.give_back(1_000_000):
        pass
    assert b"KANARIENVOGEL" not in files_of(path)


def test_of_large_bodies_few_are_pruned_in_one_transaction(open_store, monkeypatch):
    """Each commit waits for it: 256 documents of 20 MB would be 5 GB in the write-ahead log."""
    monkeypatch.setattr(pruning, "MOST_PIECES", 25)
    store, connection = open_store()
    for _ in range(4):
        body, changed = bytes(bytearray(BODY)), bytes(bytearray(CHANGED))
        write(store, body, changed)
        made = store.commit(Batch([intake(EPR, raw=body, bodies=(changed,), received_at_us=T0)])).deliveries
        store.commit(Batch(results=[result(made[0][0])]))
    left, after = [count(connection, "body_piece")], EVERYTHING.after
    while after is not None:
        pruned = store.prune(replace(EVERYTHING, after=after))
        left.append(count(connection, "body_piece"))
        after = pruned.after
    assert left == [68, 51, 34, 17, 0]
    assert count(connection, "message") == 0


def test_pieces_are_counted_by_their_index(open_store):
    _, connection = open_store()
    sql = load_statements("prune.sql")["pieces_of"].replace("/*rows*/", "")
    plan = " | ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (1,)))
    assert "SCAN" not in plan.replace("SCAN SUBQUERY", "")
    assert "SEARCH d USING INDEX delivery_by_message (seq=?)" in plan
