"""Every column of the store is decided on: sealed, a token, or readable for a reason that is written down (ADR 55)."""

import re
import sqlite3
from importlib.resources import files
from pathlib import Path

import pytest

from engine.adapters.stores.sealed_tables import TABLES
from engine.adapters.stores.sqlite import SqliteStore

ROW = re.compile(r"\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|")
SHARED = {"study_uid", "step_id", "uid"}


def decided() -> dict[str, dict[str, str]]:
    """By table and column, what the ADR says."""
    text = files("engine.docs").joinpath("adr", "0055-what-is-sealed.md").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = {}
    for table, *cells in ROW.findall(text):
        assert table not in found, f"{table} is there twice"
        names = [(name, how) for how, cell in zip(HOWS, cells, strict=True) for name in re.findall(r"`(\w+)`", cell)]
        found[table] = dict(names)
        assert len(found[table]) == len(names), f"a column of {table} is there twice"
    return found


HOWS = ("sealed", "token", "readable")


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    """The columns of a new store with their types, by table."""
    path: Path = tmp_path_factory.mktemp("store") / "store.db"
    store = SqliteStore(path)
    store.open()
    store.close()
    db = sqlite3.connect(path)
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: [(row[1], row[2]) for row in db.execute(f"PRAGMA table_info({name})")] for name in tables}
    db.close()
    return found


def test_every_column_is_decided_on_and_no_other(schema: dict[str, list[tuple[str, str]]]) -> None:
    there = {table: {name for name, _ in columns} for table, columns in schema.items() if "sqlite_" not in table}
    assert {table: set(columns) for table, columns in decided().items()} == there


def test_the_code_seals_what_was_decided() -> None:
    told = {
        table: {name: how for name, how in columns.items() if how != "readable"} for table, columns in decided().items()
    }
    done = {table.name: {column.name: column.kind for column in table.columns} for table in TABLES}
    assert {table: columns for table, columns in told.items() if columns} == done


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_is_as_the_schema_has_it(table, schema: dict[str, list[tuple[str, str]]]) -> None:  # type: ignore[no-untyped-def]
    types = dict(schema[table.name])
    rows_have = {*types, "rowid"}
    assert set(table.key) | set(table.also) <= rows_have
    for column in table.columns:
        assert column.is_text == (types[column.name] == "TEXT") or column.kind == "token"
        assert set(column.row) <= set(types) and bool(column.row) == (column.kind == "sealed")
    # A row that is found by what changes with it needs all of its table in one transaction.
    changes = {column.name for column in table.columns} & set(table.key)
    assert not changes or table.at_once


def test_only_steps_share_a_place() -> None:
    places = [(table.place(column), column.name) for table in TABLES for column in table.columns]
    shared = {name for place, name in places if sum(place == other for other, _ in places) > 1}
    assert shared == SHARED | {"answer"}
