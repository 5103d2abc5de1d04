"""Forgetting in SQLite: nothing is left of it in the files, and the room is given back."""

from dataclasses import replace

from engine.adapters.stores.statements import load_statements
from engine.model.envelope import Batch
from engine.model.ids import MessageSeq
from engine.ports.store import Prune, Pruned
from engine.testing.store_contract import EPR, HOUR_US, T0, intake, result

EVERYTHING = Prune(None, 0, T0 + 1_000_000 * HOUR_US, MessageSeq(0), 1_000_000, T0 + 1_000_000 * HOUR_US)
CANARY = b"KANARIENVOGEL"


def files_of(path):
    return b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())


def filled(store, count, size):
    for at in range(0, count, 50):
        rows = [
            intake(EPR, raw=b"MSH|%d" % n + CANARY + b"x" * size, bodies=[CANARY + b"%d" % n], received_at_us=T0)
            for n in range(at, at + 50)
        ]
        committed = store.commit(Batch(rows))
        ends = [result(made[0], answer=b"MSA|AA|1|" + CANARY) for made in committed.deliveries]
        store.commit(Batch(results=ends))


def test_nothing_of_what_was_forgotten_is_left_in_the_files(open_store, path):
    store, _ = open_store()
    filled(store, 200, 700)
    store.checkpoint()
    assert CANARY in files_of(path)
    assert store.prune(EVERYTHING).messages == 200
    while store.give_back(1_000_000):
        pass
    assert CANARY not in files_of(path)


def test_bytes_of_messages_that_stay_known_are_overwritten_too(open_store, path):
    store, _ = open_store()
    filled(store, 100, 700)
    assert store.prune(Prune(None, T0 + HOUR_US, 0, MessageSeq(0), 1000, T0 + 1_000_000 * HOUR_US)).bodies == 100
    while store.give_back(1_000_000):
        pass
    assert CANARY not in files_of(path)


def test_freed_room_goes_back_to_the_file_system_in_slices(open_store, path):
    store, _ = open_store()
    filled(store, 1000, 20_000)
    store.checkpoint()
    before = path.stat().st_size
    assert before > 20_000_000
    store.prune(EVERYTHING)
    slices = 1
    while store.give_back(1_000_000):
        slices += 1
    assert slices >= 10
    assert path.stat().st_size < before / 3
    assert path.with_name(path.name + "-wal").stat().st_size == 0


def test_a_slice_walks_its_own_messages_and_no_others(open_store):
    _, connection = open_store()
    sql = load_statements("prune.sql")["finished"]
    given = dict.fromkeys(("after", "upto", "before", "messages_before", "keep_whole_from", "channel"), 1)
    plan = " | ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", given))
    assert "SEARCH m USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in plan
    assert "SEARCH d USING INDEX delivery_by_message (seq=?)" in plan
    assert "TEMP B-TREE" not in plan


def documents(store, *sizes):
    """Messages of so many bytes, with a delivery that has a body of its own."""
    for size in sizes:
        row = intake(EPR, raw=b"MSH|" + b"x" * (size // 2), bodies=[b"y" * (size // 2)], received_at_us=T0)
        (made,) = store.commit(Batch([row])).deliveries
        store.commit(Batch(results=[result(made[0])]))


def test_bytes_that_go_at_once_are_bounded(open_store):
    """They are overwritten: 32 scans of 200 kB take a third of a second."""
    store, _ = open_store()
    documents(store, *[40_000] * 5)
    went, after = [], EVERYTHING.after
    while after is not None:
        pruned = store.prune(replace(EVERYTHING, after=after, most_bytes=100_000))
        went.append(pruned.messages)
        after = pruned.after
    assert went == [2, 2, 1]


def test_a_message_of_more_than_may_go_at_once_is_told_of(open_store):
    store, _ = open_store()
    documents(store, 40_000, 300_000, 40_000)
    bounded = replace(EVERYTHING, most_bytes=100_000)
    assert store.prune(bounded) == Pruned(0, 1, MessageSeq(1))
    told = store.prune(replace(bounded, after=MessageSeq(1)))
    assert told == Pruned(0, 0, MessageSeq(1), is_large=True)
    assert store.prune(replace(bounded, after=told.after, span=1, most_bytes=None)) == Pruned(0, 1, MessageSeq(2))
    assert store.prune(replace(bounded, after=MessageSeq(2))) == Pruned(0, 1, None)


def test_their_size_is_found_by_indexes(open_store):
    _, connection = open_store()
    sql = load_statements("prune.sql")["bytes_of"].replace("/*rows*/", "")
    plan = " | ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (1,)))
    assert "SCAN" not in plan.replace("SCAN SUBQUERY", "")
    assert "SEARCH d USING INDEX delivery_by_message (seq=?)" in plan
