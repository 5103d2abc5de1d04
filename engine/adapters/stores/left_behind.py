"""Stores beside one that is new and empty, in which something waits: their site may have been sent elsewhere.

`store:` or `data:` in segmill.yaml do not move what is stored. Where an engine starts on a new store, what waits in the
old one goes nowhere, and nothing else would say so. Looked at are the site's folder, the folders in it, and those
beside the new store: a place that is none of these is not found. A copy is not meant: no engine had it open, so no lock
is beside it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from engine.adapters.stores import faults
from engine.adapters.stores.place import StoreLock
from engine.adapters.stores.schema import APPLICATION_ID
from engine.adapters.stores.statements import load_statements
from engine.ports.store import StoreError, StoreInUse

MOST_FILES: Final = 200
HEADER: Final = b"SQLite format 3\0"
ID_AT: Final = 68
"""Of the application id in the header of a database (SQLite file format, section 1.3)."""


@dataclass(slots=True, frozen=True)
class LeftBehind:
    """A store, and what waits in it: queued and held deliveries, messages that are held or not processed."""

    path: Path
    queued: int
    held: int
    messages: int

    def __str__(self) -> str:
        counts = (self.queued, "queued deliveries"), (self.held, "held ones"), (self.messages, "messages")
        return f"{self.path} ({', '.join(f'{count} {what}' for count, what in counts if count)})"


def left_behind(site: Path, store: Path) -> list[LeftBehind]:
    """Other stores in which something waits, and that no engine has open."""
    found: list[LeftBehind] = []
    for path in islice(_stores(site, store), MOST_FILES):
        lock = StoreLock(path)
        if not lock.path.exists():
            continue
        try:
            lock.acquire()
        except (StoreInUse, StoreError):
            continue  # another engine is at work on it, or another user's: not this site's past
        try:
            left = _look(path)
        finally:
            lock.release()
        if left is not None:
            found.append(left)
    return found


def _stores(site: Path, store: Path) -> Iterator[Path]:
    """Files with a store's header but `store` itself."""
    seen = {store.resolve()}
    for folder in (site, *_folders(site), store.parent, *_folders(store.parent.parent)):
        try:
            files = sorted(file for file in folder.glob("*.db") if file.is_file())
        except OSError:
            continue
        for file in files:
            if file.resolve() not in seen and _is_store(file):
                seen.add(file.resolve())
                yield file


def _folders(of: Path) -> list[Path]:
    try:
        return sorted(folder for folder in of.iterdir() if folder.is_dir())[:MOST_FILES]
    except OSError:
        return []


def _is_store(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            header = opened.read(ID_AT + 4)
    except OSError:
        return False
    return header.startswith(HEADER) and header[ID_AT:] == APPLICATION_ID.to_bytes(4, "big")


def _look(path: Path) -> LeftBehind | None:
    """What waits in it; None for nothing, and for a file that cannot be read: it is not this engine's to judge."""
    sql = load_statements("health.sql")["left_behind"]
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            queued, held, messages = db.execute(sql).fetchone()
    except faults.ERRORS:
        return None
    return LeftBehind(path, queued, held, messages) if queued or held or messages else None
