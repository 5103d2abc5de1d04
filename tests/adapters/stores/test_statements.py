"""Every statement has a name, every name a use; hot statements go by an index, and by the one meant."""

import re
from pathlib import Path

import pytest

from engine.adapters.stores import statements
from engine.adapters.stores.sealed_tables import TABLES
from engine.adapters.stores.statements import RowStatement, load_statements

PACKAGE = Path(statements.__file__).parent
FILES = sorted(file.name for file in (PACKAGE / "sql").glob("*.sql"))


@pytest.mark.parametrize("file", FILES)
def test_every_statement_is_used_and_is_one_that_sqlite_understands(file, open_store):
    _, connection = open_store()
    code = "".join(module.read_text() for module in PACKAGE.glob("*.py"))
    for name, sql in load_statements(file).items():
        assert f'"{name}"' in code, f"{name} is not used"
        named = re.findall(r":(\w+)", sql)
        texts = RowStatement(sql)._texts if RowStatement.takes(sql) else [(1, sql)]
        for _, text in texts:
            values = dict.fromkeys(named, 0) if named else [0] * text.count("?")
            connection.execute(f"EXPLAIN {text}", values)


def test_no_statement_is_put_together_from_values():
    """SEC4: what is not in a .sql file is a pragma or a word of transactions, with no value of a message in it."""
    for module in PACKAGE.glob("*.py"):
        for sql in re.findall(r"execute\(\s*f?\"([^\"]+)\"", module.read_text()):
            plain = r"PRAGMA|BEGIN|COMMIT|ROLLBACK|VACUUM INTO \?|SELECT (count\(\*\)|name) FROM sqlite_master"
            assert re.match(plain, sql) or (module.name in CONVERSIONS and of_registry(sql)), sql


CONVERSIONS = {"resealing.py", "starting.py"}
"""What walks all sealed tables: their statements are of names in the registry, which are no values."""


def of_registry(sql):
    """Whether nothing but names of tables and columns, and placeholders, goes into it."""
    return set(re.findall(r"{(.*?)}", sql)) <= {"table.name", "sets", "where", "name"}


def test_names_in_the_registry_of_sealed_tables_are_names():
    for table in TABLES:
        columns = (column.name for column in table.columns)
        for name in (table.name, *table.key, *table.also, *columns):
            assert re.fullmatch(r"[a-z_]+", name), name


def test_a_name_that_comes_twice_is_refused(monkeypatch, tmp_path):
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "x.sql").write_text("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n")
    monkeypatch.setattr(statements, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match="a comes twice"):
        load_statements("x.sql")


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 8, 9, 15, 23, 31, 32, 33, 63, 64, 100])
def test_a_statement_of_many_rows_takes_each_row_once_and_in_order(rows):
    taken = []
    statement = RowStatement("INSERT INTO t VALUES /*rows*/(?, ?)/*rows*/ RETURNING x")

    class Cursor:
        rowcount = 1

    def execute(sql, values):
        assert sql.count("(?, ?)") * 2 == len(values)
        taken.append(list(values))
        return Cursor()

    values = list(range(rows * 2))
    assert statement.run(execute, values) == len(taken)
    assert [value for part in taken for value in part] == values
    assert len(taken) <= rows // 32 + (2 if rows % 32 > 8 else 1)  # each step costs as much as several rows


KEYED = ["queued_rows", "queued_of_key", "queued_urgent", "queued_waiting"]


def plan(connection, file, name, **values):
    sql = load_statements(file)[name]
    if RowStatement.takes(sql):
        sql = RowStatement(sql)._texts[0][1]
    named = re.findall(r":(\w+)", sql)
    given = {**dict.fromkeys(named, 1), **values} if named else [1] * sql.count("?")
    return " | ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", given))


@pytest.mark.parametrize(
    ("file", "name", "wanted"),
    [
        ("write.sql", "record_results", "SEARCH delivery USING INTEGER PRIMARY KEY"),
        ("write.sql", "move_messages", "SEARCH message USING INTEGER PRIMARY KEY"),
        ("write.sql", "messages_to_move", "SEARCH message USING INTEGER PRIMARY KEY"),
        ("write.sql", "delivery_states", "SEARCH delivery USING INTEGER PRIMARY KEY"),
        ("write.sql", "mark_maybe_sent", "SEARCH delivery USING COVERING INDEX delivery_queued (lane=? AND state=?)"),
        ("write.sql", "queued_of_message", "SEARCH d USING INDEX delivery_by_message (seq=?)"),
        ("write.sql", "last_deliveries_of_message", "SEARCH delivery USING INDEX delivery_by_message (seq=?)"),
        ("write.sql", "recent_receive_ids", "SCAN message"),
        ("read.sql", "known", "message_by_control_id (control_id=? AND channel=? AND sender=? AND rowid>?)"),
        ("read.sql", "recent_ids", "SEARCH m USING INTEGER PRIMARY KEY (rowid>?)"),
        ("read.sql", "queued", "SEARCH d USING INDEX delivery_queued (lane=? AND state=? AND rowid>?)"),
        ("read.sql", "queued_before", "SEARCH d USING COVERING INDEX delivery_queued (lane=? AND state=? AND rowid<?)"),
        ("read.sql", "queued_rows", "SEARCH d USING INDEX delivery_queued (lane=? AND state=? AND rowid>?)"),
        ("read.sql", "queued_rows", "SEARCH e USING COVERING INDEX delivery_of_key (lane=? AND key=? AND state=?)"),
        ("read.sql", "queued_of_key", "SEARCH d USING INDEX delivery_of_key (lane=? AND key=? AND state=?"),
        ("read.sql", "queued_urgent", "SEARCH d USING INDEX delivery_urgent (lane=? AND state=?"),
        ("read.sql", "queued_waiting", "SEARCH d USING INDEX delivery_waiting (lane=? AND state=? AND next_at_us>?)"),
        ("read.sql", "queued_delivery", "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)"),
        ("read.sql", "waiting_depths", "SCAN delivery USING COVERING INDEX delivery_waiting"),
        ("read.sql", "unprocessed", "SEARCH m USING INDEX message_aside (state=? AND rowid>?)"),
        ("read.sql", "deliveries", "SEARCH d USING INDEX delivery_by_message (seq=?)"),
        ("read.sql", "newest_seqs", "SEARCH m USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("read.sql", "oldest_seqs", "SEARCH m USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("read.sql", "seqs_with_control_id", "SEARCH m USING COVERING INDEX message_by_control_id (control_id=?)"),
        ("read.sql", "seqs_aside", "SEARCH m USING COVERING INDEX message_aside (state=? AND rowid>? AND rowid<?)"),
        ("read.sql", "seqs_with_queued", "SCAN d USING INDEX delivery_queued"),
        ("read.sql", "seqs_with_aside", "SEARCH d USING INDEX delivery_aside (state=?)"),
        ("read.sql", "seq_matches", "SEARCH m USING INTEGER PRIMARY KEY"),
        ("read.sql", "queued_depths", "SCAN delivery USING COVERING INDEX delivery_queued"),
        ("read.sql", "held_depths", "SEARCH delivery USING COVERING INDEX delivery_aside (state=?)"),
    ],
)  # fmt: skip
def test_a_hot_statement_goes_by_its_index(file, name, wanted, open_store):
    _, connection = open_store()
    assert wanted in plan(connection, file, name)


@pytest.mark.parametrize("name", [*KEYED, "queued", "known", "unprocessed", "newest_seqs", "oldest_seqs", "recent_ids"])
def test_a_page_is_read_in_order_and_never_sorted(name, open_store):
    _, connection = open_store()
    assert "TEMP B-TREE" not in plan(connection, "read.sql", name)
