"""The store's schema: numbered migrations, forward only, each in a transaction of its own.

`PRAGMA user_version` holds the number of the last one. A store of a newer engine is refused and not touched.
Before a store is changed, a copy is put beside it, checked and synced: `segmill.db.schema-3.20260102T030405Z` is the
way back to the engine of schema 3. A kill at any moment leaves a store that the next start brings up.
"""

import logging
import os
import re
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from engine.adapters.stores import faults
from engine.adapters.stores.place import sync_folder
from engine.ports.store import StoreError, StoreTooNew

COPIES_KEPT = 3
"""Of the copies that were made before migrations, the newest; older ones are removed once the store is up to date."""

APPLICATION_ID = 0x5345474D  # "SEGM"


log = logging.getLogger("segmill.store")


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


def refuse_newer(path: Path, latest: int) -> None:
    """Raise StoreTooNew for a store with a schema past `latest`, before anything writes to it, its log or its index."""
    if not path.exists() or not path.stat().st_size:
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as reader:
            version = reader.execute("PRAGMA user_version").fetchone()[0]
    except faults.ERRORS:
        return  # what is wrong with it is said when it is opened
    _refuse_newer(path, version, latest)


def _refuse_newer(path: Path, version: int, latest: int) -> None:
    if version > latest:
        raise StoreTooNew(
            f"{path} was written by a newer Segmill (schema {version}; this one knows {latest}) and is left as it is. "
            "Run that version, or go back to a copy of the store from before the upgrade."
        )


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration], *, now: datetime | None = None
) -> None:
    """Bring the open store up to the last of `migrations`. StoreError with a sentence where that cannot be."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application != APPLICATION_ID and not (is_empty and application == 0):
        raise StoreError(f"{path} is a SQLite file, but not a store of Segmill")
    latest = migrations[-1].number
    _refuse_newer(path, version, latest)
    advice = ""
    if 0 < version < latest:
        at = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        copy = path.with_name(f"{path.name}.schema-{version}.{at}")
        back_up(connection, copy)
        log.warning("%s: schema %d becomes %d; a copy from before it is %s", path, version, latest, copy.name)
        advice = f". Tell its makers of it; until then, run the version before, with the copy {copy.name} as its store"
    for migration in migrations[version:]:
        _apply(connection, path, migration, advice)
    if 0 < version < latest:
        _remove_old_copies(path)


def bring_up(connection: sqlite3.Connection, path: Path) -> None:
    """As `migrate`, of a file that is a copy itself: none is made of it."""
    migrations = load_migrations()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for migration in migrations[version:]:
        _apply(connection, path, migration)


def copies_of(path: Path) -> list[Path]:
    """The copies that were made before migrations of this store, oldest first."""
    named = re.compile(re.escape(path.name) + r"\.schema-\d+\.(\d{8}T\d{6}Z)")
    found = [(match[1], file) for file in path.parent.iterdir() if (match := named.fullmatch(file.name))]
    return [file for _, file in sorted(found)]


def _remove_old_copies(path: Path) -> None:
    for copy in copies_of(path)[:-COPIES_KEPT]:
        try:
            copy.unlink()
        except OSError as exc:
            log.warning("the old copy %s could not be removed: %s", copy, exc.strerror)


def _apply(connection: sqlite3.Connection, path: Path, migration: Migration, advice: str = "") -> None:
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
        advice = ". Make room on its disk" if name == "SQLITE_FULL" else advice
        raise StoreError(
            f"{path}: step {migration.number} ({migration.name}) of the schema failed ({name}); "
            f"the store is as it was before it{advice}"
        ) from exc


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """A consistent copy of the store at `target`, readable by its owner only, complete or not there at all.

    It has been checked and is on stable storage, with its name, when this returns. StoreError where that cannot be.
    """
    part = target.with_name(target.name + ".part")
    for left in target.parent.glob(f"{target.name.partition('.schema-')[0]}.schema-*.part"):
        left.unlink(missing_ok=True)  # of a start that was killed
    _find_room(connection, target)
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection.execute("VACUUM INTO ?", (str(part),))
        _check_copy(connection, part)
        with part.open("rb+") as copy:
            os.fsync(copy.fileno())
        part.replace(target)
        sync_folder(target.parent)
    except (*faults.ERRORS, OSError) as exc:
        part.unlink(missing_ok=True)
        raise StoreError(f"no copy of the store could be made at {target} ({type(exc).__name__})") from exc


def _find_room(connection: sqlite3.Connection, target: Path) -> None:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    wanted = (pages - free) * size
    there = shutil.disk_usage(target.parent).free
    if wanted > there:
        raise StoreError(
            f"no copy of the store can be made at {target}: it takes {wanted} bytes, and {there} are free. "
            "Make room on that disk; nothing was changed"
        )


def _check_copy(connection: sqlite3.Connection, part: Path) -> None:
    """The copy must be a whole database, of the same schema, with as much in each table."""
    with closing(sqlite3.connect(f"{part.absolute().as_uri()}?mode=ro", uri=True)) as copy:
        if copy.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("the copy is damaged")
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        questions = ["PRAGMA user_version", *(f'SELECT count(*) FROM "{name}"' for name in tables)]  # noqa: S608 - names of our own schema
        if any(copy.execute(asked).fetchone() != connection.execute(asked).fetchone() for asked in questions):
            raise sqlite3.DatabaseError("the copy is not complete")
