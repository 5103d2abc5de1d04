"""Users, sessions and tokens in SQLite: found by their keys, and refused where what is stored is damaged."""

import sqlite3
from contextlib import closing

import pytest

from engine.adapters.stores.sqlite import SqliteStore
from engine.adapters.stores.statements import load_statements
from engine.ports.access import AddUser, User
from engine.ports.operations import By, Change
from engine.ports.store import StoreError

SQL = load_statements("access.sql")


@pytest.fixture
def store(tmp_path):
    opened = SqliteStore(tmp_path / "segmill.db")
    opened.open()
    yield opened
    opened.close()


@pytest.mark.parametrize("name", ["user", "session", "sessions", "token", "close_session", "seen_session"])
def test_what_each_request_asks_for_is_found_by_its_key(store, tmp_path, name):
    with closing(sqlite3.connect(tmp_path / "segmill.db")) as db:
        given = ("x",) * SQL[name].count("?")
        plan = " | ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", given))
    assert "SEARCH" in plan and "SCAN" not in plan, plan


@pytest.mark.parametrize("grants", ["", "[]", "{", '{"*": "king"}', '{"../x": "admin"}', "null", '{"adt": 1}'])
def test_grants_that_are_none_give_nothing(store, tmp_path, grants):
    store.operate(Change(By("root"), "user-add", access=[AddUser(User("anna", "x", {}, False, 0, False, 1, 1))]))
    queries = store.queries()
    with closing(sqlite3.connect(tmp_path / "segmill.db")) as db:
        db.execute("UPDATE user SET grants = ?", (grants,))
        db.commit()
    with pytest.raises(StoreError):
        queries.user("anna")
    queries.close()
