"""The file of a SQLite store, looked at beside whoever writes it."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from engine.adapters.stores.schema import APPLICATION_ID, load_migrations
from engine.adapters.stores.statements import load_statements
from engine.ports.store_file import StoreIdentity, StoreUnread

WAIT_S: Final = 5.0
LOCKED: Final = ("SQLITE_BUSY", "SQLITE_LOCKED")
LAYOUT: Final = ("user_version", "page_count", "page_size", "freelist_count", "auto_vacuum")


class SqliteStoreFile:
    """As StoreFile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sql = load_statements("store_file.sql")

    def identity(self) -> StoreIdentity:
        """As StoreFile.identity."""
        with self._opened() as db:
            application, schema = (self._one(db, name) for name in ("application_id", "user_version"))
        return StoreIdentity(application == APPLICATION_ID, int(str(schema)), load_migrations()[-1].number)

    def check(self, *, whole: bool) -> None:
        """As StoreFile.check."""
        with self._opened() as db:
            if self._one(db, "integrity_check" if whole else "quick_check") != "ok":
                raise StoreUnread("damaged", is_locked=False)

    def pages(self) -> Mapping[str, int]:
        """As StoreFile.pages."""
        with self._opened() as db:
            return {name: int(str(self._one(db, name))) for name in LAYOUT}

    def newest_us(self) -> int:
        """As StoreFile.newest_us."""
        with self._opened() as db:
            return int(str(self._one(db, "newest_received") or 0))

    def _one(self, db: sqlite3.Connection, name: str) -> object:
        row = db.execute(self._sql[name]).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=WAIT_S)) as db:
                yield db
        except sqlite3.Error as exc:
            kind = getattr(exc, "sqlite_errorname", "") or "damaged"
            raise StoreUnread(kind, is_locked=kind in LOCKED) from exc
