"""The store's schema: numbered migrations, forward only, each in a transaction of its own.

`PRAGMA user_version` holds the number of the last one. A store of a newer engine is refused. Before a
store with messages in it is changed, a copy is put beside it.
"""

import os
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from engine.adapters.stores import faults
from engine.ports.store import StoreError

APPLICATION_ID = 0x5345474D  # "SEGM"


@dataclass(slots=True, frozen=True)
class Migration:
    """One step of the schema: `number` from 1, and its SQL."""

    number: int
    name: str
    sql: str


def load_migrations() -> tuple[Migration, ...]:
    """Those that came with this engine, in order. ValueError when a number is missing or comes twice."""
    found = []
    for file in files(__package__).joinpath("sql", "migrations").iterdir():
        if named := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name):
            found.append(Migration(int(named[1]), named[2], file.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.number)
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise ValueError("the numbers of the migrations have gaps")
    return tuple(found)


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    """Bring the open store up to the last of `migrations`. StoreError with a sentence where that cannot be."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application != APPLICATION_ID and not (is_empty and application == 0):
        raise StoreError(f"{path} is a SQLite file, but not a store of Segmill")
    latest = migrations[-1].number
    if version > latest:
        raise StoreError(
            f"{path} was written by a newer Segmill (schema {version}; this one knows {latest}). "
            "Run that version, or go back to a copy of the store from before the upgrade."
        )
    if 0 < version < latest:
        back_up(connection, path.with_name(f"{path.name}.schema-{version}"))
    for migration in migrations[version:]:
        _apply(connection, path, migration)


def _apply(connection: sqlite3.Connection, path: Path, migration: Migration) -> None:
    script = (
        f"BEGIN IMMEDIATE;\n{migration.sql}\n;PRAGMA application_id = {APPLICATION_ID};\n"
        f"PRAGMA user_version = {migration.number};\nCOMMIT;"
    )
    try:
        connection.executescript(script)
    except faults.ERRORS as exc:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        name = faults.name_of(exc)
        advice = ". Make room on its disk" if name == "SQLITE_FULL" else ""
        raise StoreError(
            f"{path}: step {migration.number} ({migration.name}) of the schema failed ({name}); "
            f"the store is as it was before it{advice}"
        ) from exc


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """A consistent copy of the store at `target`, readable by its owner only, complete or not there at all."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection.execute("VACUUM INTO ?", (str(part),))
        with part.open("rb+") as copy:
            os.fsync(copy.fileno())
        part.replace(target)
    except (*faults.ERRORS, OSError) as exc:
        part.unlink(missing_ok=True)
        raise StoreError(f"no copy of the store could be made at {target} ({type(exc).__name__})") from exc
