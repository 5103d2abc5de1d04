"""A store in a file, and a connection that can be made to fail."""

import sqlite3

import pytest

from engine.adapters.stores.sqlite import SqliteStore


class FailingConnection(sqlite3.Connection):
    """Raises the error set in `failure` = (start of the SQL, sqlite_errorcode, whether it is carried out first)."""

    failure = None

    def execute(self, sql, *values):
        if self.failure is not None and sql.startswith(self.failure[0]):
            _, code, carried_out = self.failure
            self.failure = None
            if carried_out:
                super().execute(sql, *values)
            error = sqlite3.OperationalError("injected")
            error.sqlite_errorcode, error.sqlite_errorname = code, f"SQLITE_{code}"
            raise error
        return super().execute(sql, *values)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "store.db"


@pytest.fixture
def open_store(path):
    """`open_store(**settings) -> (SqliteStore, FailingConnection)`: all are closed at the end."""
    opened = []

    def open_(**settings):
        connections = []

        def connect(*args, **given):
            connections.append(sqlite3.connect(*args, factory=FailingConnection, **given))
            return connections[-1]

        store = SqliteStore(settings.pop("path", path), connect=connect, **settings)
        store.open()
        opened.append(store)
        return store, connections[-1]

    yield open_
    for store in opened:
        store.close()
