"""Tables beside the messages in a sealed store: what stands there, what opens, and what is done where it does not."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.adapters.stores.hand_offs import SqliteHandOffs, hand_over
from engine.adapters.stores.recording import append, audit_row, newest, operation_statements
from engine.adapters.stores.sealed_others import OTHERS, WORKLISTS
from engine.adapters.stores.sealed_shapes import ACCESS, HAND_OFF, OPERATIONS, SAVED_SEARCH, WORKLIST
from engine.adapters.stores.sealed_statements import Shape
from engine.adapters.stores.sealing import SealedTable, closed, opened
from engine.adapters.stores.statements import load_statements
from engine.model.audit import START, AuditRow, broken_at, chained
from engine.ports.hand_off import Handed, HandedOver
from engine.ports.store import StoreError
from engine.worklist.item import EntityId, ItemKey
from engine.worklist.matching import compile_query
from tests.adapters.stores.test_worklist import Book, book, opened_sealing
from tests.wire.worklist_rules import item

__all__ = ["book"]

sealed = pytest.mark.parametrize("book", ["sealed"], indirect=True)
FILES = {
    "worklist.sql": WORKLIST,
    "hand_off.sql": HAND_OFF,
    "operations.sql": OPERATIONS,
    "access.sql": ACCESS,
    "saved_search.sql": SAVED_SEARCH,
}


@pytest.mark.parametrize(("file", "shapes"), FILES.items(), ids=FILES)
def test_every_shape_is_of_a_statement_and_has_its_columns_in_order(file: str, shapes: dict[str, Shape]) -> None:
    sql = load_statements(file)
    assert shapes.keys() <= sql.keys()
    for name, shape in shapes.items():
        assert len(shape.given) <= sql[name].count("?"), name
        listed = sql[name].partition("SELECT")[2].partition("FROM")[0].replace("DISTINCT", "")
        if not shape.found or "*" in listed:
            continue
        told = [part.strip().split(".")[-1].strip() for part in listed.split(",")]
        assert told[: len(shape.found)] == [one.name if one else "" for one in shape.found], name


@sealed
@pytest.mark.parametrize("column", ["attributes", "encoded", "originals", "study_uid", "patient", "patient_issuer"])
def test_an_item_that_cannot_be_opened_is_answered_with_nowhere_and_decided_on_nowhere(book: Book, column: str) -> None:
    good, bad = item(1), replace(item(2), originals={"AccessionNumber": "RIS-A1"})
    book.put(good, bad)
    where = {"key": book.sealing.token("worklist.study_uid", bad.key.study_uid)}
    (value,) = book.db.execute(f"SELECT {column} FROM worklist_item WHERE study_uid = :key", where).fetchone()
    broken = value[:-1] + bytes([value[-1] ^ 1])
    book.db.execute(f"UPDATE worklist_item SET {column} = :value WHERE study_uid = :key", {**where, "value": broken})
    known = book.known
    assert [one.item.key for one in known.candidates(compile_query({}), 10)] == [good.key]
    assert known.damaged == 1
    with pytest.raises(StoreError) as refused:
        known.by_accession(bad.keys.accession.id)
    assert "worklist" in str(refused.value) and bad.patient.id not in str(refused.value)
    hand_offs = SqliteHandOffs(book.db.execute, book.sealing)
    assert [one.key for one in hand_offs.waiting("wlm", "main", 10)] == [good.key]


@sealed
def test_a_value_of_another_row_does_not_open(book: Book) -> None:
    one, two = item(1), item(2)
    book.put(one, two)
    book.db.execute("UPDATE worklist_item SET attributes = (SELECT attributes FROM worklist_item WHERE id = 1)")
    assert [found.item.key for found in book.known.candidates(compile_query({}), 10)] == [one.key]


@sealed
def test_the_same_value_is_the_same_token_in_its_column_and_nowhere_else(book: Book) -> None:
    book.put(replace(item(1), patient=EntityId("4711", "4711")), replace(item(2), patient=EntityId("4711", "OTHER")))
    rows = book.db.execute("SELECT patient, patient_issuer FROM worklist_item ORDER BY id").fetchall()
    assert rows[0][0] == rows[1][0] != rows[0][1]
    assert [len(book.known.by_patient(EntityId("4711", of))) for of in ("4711", "OTHER", "X")] == [1, 1, 0]


@sealed
def test_a_name_in_two_items_is_sealed_in_two_ways(book: Book) -> None:
    book.put(item(1, "Muster^Anna"), item(2, "Muster^Anna"))
    names = [name for (name,) in book.db.execute("SELECT name FROM worklist_name")]
    assert len(set(names)) == len(names) >= 2


def test_what_was_handed_over_comes_back_with_its_token(book: Book) -> None:
    db = book.db
    had = Handed(ItemKey("1.2.3", "S1"), "1.0.1", True, "study 4711")
    hand_over(db.execute, HandedOver("wlm", 5, [had]), book.sealing)
    hand_offs = SqliteHandOffs(db.execute, book.sealing)
    assert list(hand_offs.handed("wlm")) == [had]
    (gone,) = hand_offs.waiting("wlm", "main", 10)
    assert (gone.key, gone.had) == (had.key, had)
    hand_over(db.execute, HandedOver("wlm", 6, [], [had.key]), book.sealing)
    assert not hand_offs.handed("wlm")


# -- the record -------------------------------------------------------------------------------------


@pytest.fixture
def record() -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(load_migration("0006_operations.sql"))
    yield db
    db.close()


def load_migration(name: str) -> str:
    from importlib.resources import files

    return files("engine.adapters.stores").joinpath("sql", "migrations", name).read_text()


def told(number: int) -> AuditRow:
    return AuditRow(number, 7, "anna", "search", "asked for", "PID-3.1 = 4711", '{"messages":1}', "messages 1", "run 1")


def rows_of(db: sqlite3.Connection) -> list[AuditRow]:
    run = operation_statements(db.execute, opened_sealing())
    return [audit_row(row) for row in run("audit", {"after": 0, "limit": 10})]


def test_a_sealed_record_is_a_chain_as_a_plain_one_is(record: sqlite3.Connection) -> None:
    run = operation_statements(record.execute, opened_sealing())
    for number in (1, 2, 3):
        append(run, told(number))
    rows = rows_of(record)
    assert [replace(row, hash=b"", salt="") for row in rows] == [told(1), told(2), told(3)]
    assert newest(run) == (3, rows[-1].hash)
    assert broken_at(rows, *newest(run)) is None
    kept = record.execute("SELECT reason, scope, counts, ids, run, hash FROM audit").fetchall()
    assert all(isinstance(value, bytes) and b"4711" not in value for row in kept for value in row)


def test_the_hash_of_a_sealed_row_confirms_no_guess_at_its_words(record: sqlite3.Connection) -> None:
    """What the anchor has beside the store: the hashes, one behind the other."""
    append(operation_statements(record.execute, opened_sealing()), told(1))
    (row,) = rows_of(record)
    assert len(row.salt) == 32
    assert chained(START, told(1)) != row.hash == chained(START, replace(told(1), salt=row.salt))


@pytest.mark.parametrize("column", ["scope", "reason", "counts", "ids", "run", "hash"])
def test_a_row_of_the_record_that_does_not_open_is_where_the_chain_breaks(
    record: sqlite3.Connection, column: str
) -> None:
    run = operation_statements(record.execute, opened_sealing())
    for number in (1, 2, 3):
        append(run, told(number))
    record.execute("DROP TRIGGER audit_is_not_changed")
    record.execute(f"UPDATE audit SET {column} = (SELECT {column} FROM audit WHERE id = 3) WHERE id = 2")
    rows = rows_of(record)
    assert [row.id for row in rows] == [1, 2, 3], "it is shown all the same"
    assert broken_at(rows, *newest(run)) == 2


def test_a_plain_record_is_as_it_ever_was(record: sqlite3.Connection) -> None:
    append(operation_statements(record.execute), told(1))
    (found,) = record.execute("SELECT id, at_us, actor, action, reason, scope, counts, ids, run, hash FROM audit")
    assert AuditRow(*found) == replace(told(1), hash=chained(START, told(1)))


def test_no_table_is_told_of_twice() -> None:
    assert len({table.name for table in OTHERS}) == len(OTHERS)


@sealed
def test_a_row_is_known_by_its_names_sealed_or_not(book: Book) -> None:
    """As a conversion meets it: all of a row as it is stored."""
    book.put(item(1))

    def all_of(table: SealedTable, values: dict[str, object]) -> dict[str, object]:
        return {one.name: opened(book.sealing, table, one, values) for one in table.columns}

    for table in WORKLISTS[:3]:
        names = [row[1] for row in book.db.execute(f"PRAGMA table_info({table.name})")]
        for row in book.db.execute(f"SELECT * FROM {table.name}").fetchall():
            stored = dict(zip(names, row, strict=True))
            plain = all_of(table, stored)
            assert all(isinstance(value, bytes if name == "encoded" else str) for name, value in plain.items())
            for one in table.columns:
                stored[one.name] = closed(book.sealing, table, one, {**stored, one.name: plain[one.name]})
            assert all_of(table, stored) == plain
