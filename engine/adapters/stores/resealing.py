"""Makes a plain store a sealed one, the way back, and new data keys for all that is sealed (ADR 54).

With the engine stopped, and its lock held. Rows are converted in slices, each with how far it came in one transaction:
after a kill at any moment, the same command goes on from there, and nothing else opens the store until it is through.
At the end the store is copied without its free pages, the copy is read from end to end, every value opened, and put in
the store's place: no byte of before is left in the file or its log. (Blocks of the disk that the old file had are the
file system's to reuse.)
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from engine.adapters.stores import faults, health, schema
from engine.adapters.stores.connection import WriteConnection
from engine.adapters.stores.copying import NoRoom
from engine.adapters.stores.place import StoreLock, sync_folder
from engine.adapters.stores.sealed_tables import TABLES
from engine.adapters.stores.sealing import (
    NOT_INSTALLED,
    TOKEN_KEY,
    SealedColumn,
    SealedTable,
    Sealing,
    Unopened,
    closed,
    is_installed,
    number_of,
    opened,
)
from engine.adapters.stores.starting import RECORD_VALUES, record, record_restore, wrap_anew
from engine.adapters.stores.unlocking import (
    KeyChanges,
    KeyTable,
    Sealed,
    State,
    opened_keys,
    read_at,
    refuse_half,
    refuse_wrong_key,
)
from engine.model.store_key import StoreKeys
from engine.ports.store import StoreError, WrongKey

Way = Literal["encrypt", "decrypt", "reseal"]

ON_THE_WAY: Final[Mapping[Way, State]] = {"encrypt": "sealing", "decrypt": "unsealing", "reseal": "resealing"}
RECORDED_AS: Final[Mapping[Way, str]] = {"encrypt": "encrypt", "decrypt": "decrypt", "reseal": "rotate data key"}
SLICE_ROWS: Final = 1000
SLICE_BYTES: Final = 8 * 1024 * 1024
CHECKPOINT_PAGES: Final = 2000
COUNTED_AHEAD: Final = 1 << 16
"""More than a slice can seal, of any table but those that are converted at once."""
ROOM: Final = 1.5
"""So many times its size the store takes on its disk beside itself: what it grows by, and the copy at the end."""

OnProgress = Callable[[int, int], None]
"""Rows done, and rows in all; may raise to stop, and what was done stays done."""


@dataclass(slots=True, frozen=True)
class Converted:
    """What a conversion did. `damaged`: values that did not open before, and do not now. `was_done`: there was nothing
    to do. `key_id`: of the site's key. `copies`: of the store from before migrations, which it does not touch."""

    rows: int
    values: int
    damaged: int
    key_id: str
    was_done: bool = False
    copies: tuple[Path, ...] = ()


@dataclass(slots=True)
class Progress:
    """How far a conversion came: behind which key of which table."""

    table: int = 0
    after: list[int | str] | None = None
    rows: int = 0
    total: int = 0
    values: int = 0
    damaged: int = 0
    number: int = 0
    """Of the data key that seals."""

    @classmethod
    def load(cls, text: str) -> "Progress":
        """As `dump` wrote it. StoreError for what it did not."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            raise StoreError("how far the conversion came is damaged: put back a backup") from None

    def dump(self) -> str:
        """As it stands in the store."""
        return json.dumps({name: getattr(self, name) for name in self.__dataclass_fields__}, separators=(",", ":"))


def convert(
    path: Path,
    keys: StoreKeys,
    way: Way,
    *,
    actor: str,
    now_us: int,
    on_progress: OnProgress | None = None,
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
) -> Converted:
    """Go all the way, from wherever the store stands. Raises StoreError (WrongKey, NoRoom, StoreInUse, StoreFull)."""
    if not path.is_file():
        raise StoreError(f"there is no store at {path}")
    lock = StoreLock(path)
    lock.acquire()
    try:
        return _Conversion(path, keys, way, actor, now_us, on_progress, connect).go()
    finally:
        lock.release()


class _Conversion:
    def __init__(
        self,
        path: Path,
        keys: StoreKeys,
        way: Way,
        actor: str,
        now_us: int,
        on_progress: OnProgress | None,
        connect: Callable[..., sqlite3.Connection],
    ) -> None:
        self._path = path
        self._keys = keys
        self._way: Way = way
        self._actor = actor
        self._now_us = now_us
        self._tell = on_progress or (lambda done, total: None)
        self._connect = connect
        self._sealing = Sealing()
        self._table = KeyTable()

    def go(self) -> Converted:
        schema.refuse_newer(self._path, schema.load_migrations()[-1].number)
        before = read_at(self._path)
        self._refuse(before)
        if before.state == ("plain" if self._way == "decrypt" else "sealed") and self._way != "reseal":
            return Converted(0, 0, 0, before.key_id, was_done=True)
        self._find_room()
        db = WriteConnection(self._path, connect=self._connect)
        try:
            db.set_up()
            db.recover()
            health.check(db.connection, self._path)
            schema.migrate(db.connection, self._path, schema.load_migrations())
            record_restore(db, self._keys)
            sealed = self._begin(db)
            progress = Progress.load(sealed.progress)
            self._through(db, progress)
            copy = self._copied(db, progress)
        except faults.ERRORS as exc:
            raise StoreError(f"{self._path} cannot be converted ({faults.name_of(exc)})") from exc
        except OSError as exc:
            raise StoreError(f"{self._path} cannot be converted: {exc.strerror}") from exc
        finally:
            db.close()
        self._put_in_place(copy)
        key_id = self._keys.current.id if self._keys.current is not None else ""
        copies = tuple(schema.copies_of(self._path))
        return Converted(progress.rows, progress.values, progress.damaged, key_id, copies=copies)

    # -- before anything is touched -------------------------------------------------------------

    def _refuse(self, sealed: Sealed) -> None:
        if not is_installed():
            raise WrongKey(NOT_INSTALLED)
        refuse_wrong_key(self._path, sealed, self._keys)
        if self._keys.current is None:
            raise WrongKey("the site has no key for its store: name one under 'encryption' in segmill.yaml")
        if sealed.state != ON_THE_WAY[self._way]:
            refuse_half(self._path, sealed)
        if sealed.state == "plain" and self._way == "reseal":
            raise WrongKey(f"{self._path} is not encrypted: segmill store encrypt")

    def _find_room(self) -> None:
        size = self._path.stat().st_size
        wanted, free = int(size * ROOM), shutil.disk_usage(self._path.parent).free
        if free < wanted:
            there = f"{self._path.parent} has {free:,} bytes free"
            raise NoRoom(f"{there}; this takes up to {wanted:,}. Nothing was changed")

    # -- slices ---------------------------------------------------------------------------------

    def _begin(self, db: WriteConnection) -> Sealed:
        """The store on its way: as it is, or as it is now that it was said so in it."""
        assert self._keys.current is not None, "_refuse has seen to it"
        sealed = self._table.read(db.connection)
        changes = KeyChanges(db.execute)
        if sealed.state != ON_THE_WAY[self._way]:
            with db.transaction():
                number = 1
                if sealed.state == "plain":
                    changes.set_up(self._keys.current, self._now_us)
                elif self._way == "reseal":
                    number, _ = changes.add(self._keys.current, sealed, self._now_us)
                else:
                    number = sealed.keys[-1].number
                progress = Progress(total=sum(_count(db, table) for table in TABLES), number=number)
                changes.set_state(ON_THE_WAY[self._way], progress.dump())
            sealed = self._table.read(db.connection)
        self._sealing.unlock(opened_keys(self._path, sealed, self._keys))
        return sealed

    def _through(self, db: WriteConnection, progress: Progress) -> None:
        while progress.table < len(TABLES):
            table = TABLES[progress.table]
            with db.transaction():
                rows = self._slice(db, table, progress.after)
                if self._way != "decrypt":
                    # A table that is converted at once may be larger than any slice.
                    ahead = max(COUNTED_AHEAD, len(rows) * len(table.columns))
                    KeyChanges(db.execute).count_ahead(progress.number, ahead)
                    self._sealing.left = ahead
                with _without_guards(db, table):
                    for row in rows:
                        self._change(db, table, row, progress)
                if rows and not table.at_once:
                    progress.after = [_part(rows[-1][name]) for name in table.key]
                else:
                    progress.table, progress.after = progress.table + 1, None
                progress.rows += len(rows)
                KeyChanges(db.execute).set_state(ON_THE_WAY[self._way], progress.dump())
            if db.wal_holds(CHECKPOINT_PAGES):
                db.checkpoint("PASSIVE")
            self._tell(progress.rows, progress.total)

    def _slice(self, db: WriteConnection, table: SealedTable, after: list[int | str] | None) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        size = 0
        for row in _rows(db.connection, table, after):
            rows.append(row)
            size += sum(len(value) for value in row.values() if isinstance(value, bytes | str))
            if not table.at_once and (len(rows) >= SLICE_ROWS or size >= SLICE_BYTES):
                break
        return rows

    def _change(self, db: WriteConnection, table: SealedTable, before: dict[str, object], progress: Progress) -> None:
        after = dict(before)
        for column in table.columns:
            value = before[column.name]
            if value is None or value in (b"", ""):
                continue
            try:
                after[column.name] = self._changed(table, column.name, before)
            except Unopened:
                progress.damaged += 1
                # It was damaged before. Sealed it stays as it is; nobody will be able to open it later.
                after[column.name] = _lost(column, progress.damaged) if self._way == "decrypt" else value
            progress.values += 1
        if after == before:
            return
        if table.recheck is not None:
            after |= table.recheck(before, after)
        changed = [name for name in after if after[name] != before[name]]
        sets, where = ", ".join(f"{name} = ?" for name in changed), " AND ".join(f"{name} = ?" for name in table.key)
        db.execute(
            f"UPDATE main.{table.name} SET {sets} WHERE {where}",  # noqa: S608 - names of our own schema
            (*(after[name] for name in changed), *(before[name] for name in table.key)),
        )

    def _changed(self, table: SealedTable, name: str, row: Mapping[str, object]) -> object:
        column = next(column for column in table.columns if column.name == name)
        if self._way == "encrypt":
            return closed(self._sealing, table, column, {**row, name: _as_written(row[name], column.is_plain_text)})
        plain = opened(self._sealing, table, column, row)
        if self._way == "decrypt" or column.kind == "token":
            return row[name] if self._way == "reseal" else plain
        return closed(self._sealing, table, column, {**row, name: plain})

    # -- the end --------------------------------------------------------------------------------

    def _copied(self, db: WriteConnection, progress: Progress) -> Path:
        """The store as it is to be, whole and verified, under another name."""
        if not db.checkpoint("TRUNCATE"):
            raise StoreError(f"another process reads {self._path}: end it, then run the command again")
        copy = self._path.with_name(f"{self._path.name}.converted")
        # Of a command that was killed; its journal would be played into the new copy.
        for name in ("", "-journal", ".part", ".part-journal"):
            copy.with_name(copy.name + name).unlink(missing_ok=True)
        schema.back_up(db.connection, copy)
        try:
            _as_owned(copy, self._path)
            with closing(sqlite3.connect(copy, isolation_level=None)) as made:
                made.execute("PRAGMA journal_mode = DELETE")
                made.execute("PRAGMA synchronous = FULL")
                self._say_so(made, progress)
            self._verify(copy, progress)
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        return copy

    def _say_so(self, db: sqlite3.Connection, progress: Progress) -> None:
        changes = KeyChanges(db.execute)
        assert self._keys.current is not None, "_refuse has seen to it"
        db.execute("BEGIN IMMEDIATE")
        if self._way == "decrypt":
            changes.forget_all()
        else:
            numbers = [row.number for row in self._table.read(db).keys]
            changes.forget_data_keys([number for number in numbers if TOKEN_KEY < number < progress.number])
            changes.set_state("sealed")
        counts = {"rows": progress.rows, "values": progress.values}
        if progress.damaged:
            counts["damaged"] = progress.damaged
        scope = f"key {self._keys.current.id}"
        if self._way == "reseal":
            scope = f"data key {progress.number}"
        sealing = Sealing()
        if self._way != "decrypt":
            sealing = self._sealing
            changes.count_ahead(progress.number, RECORD_VALUES)
            sealing.left = RECORD_VALUES
        record(db.execute, sealing, RECORDED_AS[self._way], self._actor, scope, counts, self._now_us)
        db.execute("COMMIT")

    def _verify(self, copy: Path, progress: Progress) -> None:
        """Open everything, with what the copy itself says of its keys."""
        with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?immutable=1", uri=True)) as db:
            db.text_factory = faults.read_text
            if self._way == "decrypt":
                wrong = _still_sealed(db, self._sealing)
            else:
                sealing = Sealing()
                sealing.unlock(opened_keys(copy, self._table.read(db), self._keys))
                wrong = len(list(unopened(db, sealing)))
        most = 0 if self._way == "decrypt" else progress.damaged
        if wrong > most:
            raise StoreError(
                f"{wrong} values of the converted copy are not what they are to be. {self._path} is left as it is: run "
                "the command again, and report it"
            )

    def _put_in_place(self, copy: Path) -> None:
        """The log was moved into the old file and is empty: nothing of it is to be played into the new one."""
        try:
            for name in ("-wal", "-shm"):
                left = self._path.with_name(self._path.name + name)
                if name == "-wal" and left.exists() and left.stat().st_size:
                    raise StoreError(f"another process writes to {self._path}: end it, then run the command again")
                left.unlink(missing_ok=True)
            copy.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as exc:
            raise StoreError(f"{copy} cannot be put in the place of {self._path}: {exc.strerror}") from exc


@contextmanager
def _without_guards(db: WriteConnection, table: SealedTable) -> Iterator[None]:
    """Within a transaction, which takes this back as well: no trigger forbids to change the table's rows. The record
    says the same afterwards, and its chain of hashes is of the plain words."""
    asked = "SELECT name, sql FROM main.sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
    guards = [row for row in db.execute(asked, (table.name,)) if "BEFORE UPDATE" in row[1]]
    for name, _ in guards:
        db.execute(f"DROP TRIGGER main.{name}")
    yield
    for _, sql in guards:
        db.execute(sql)


def _as_owned(copy: Path, store: Path) -> None:
    """Whoever may read the store may read what takes its place, and nobody else."""
    now, before = copy.stat(), store.stat()
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        os.chown(copy, before.st_uid, before.st_gid)
    copy.chmod(before.st_mode & 0o777)


def _lost(column: SealedColumn, number: int) -> object:
    """What stands in a plain store for what did not open. Of a token, a word that no other row has: rows are told apart
    by them, and two without a number are not one."""
    if column.kind == "token":
        return f"damaged value {number}"
    return "" if column.is_text else b""


def _as_written(value: object, is_text: bool) -> object:
    """A value as its column has it; what damage made another type of is kept as bytes, and stays damaged."""
    if is_text:
        return value if isinstance(value, str) else str(value)
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def _part(value: object) -> int | str:
    """Of a primary key, as JSON can hold it."""
    if not isinstance(value, int | str):
        raise StoreError("the key of a row is damaged: put back a backup")
    return value


def _count(db: WriteConnection, table: SealedTable) -> int:
    return int(db.execute(f"SELECT count(*) FROM main.{table.name}").fetchone()[0])  # noqa: S608 - of our own schema


def _rows(
    db: sqlite3.Connection, table: SealedTable, after: Sequence[int | str] | None = None
) -> Iterator[dict[str, object]]:
    """Rows of a table by their key, with what a conversion looks at."""
    bound = (name for column in table.columns for name in column.row)
    names = list(dict.fromkeys((*table.key, *(column.name for column in table.columns), *bound, *table.also)))
    key = ", ".join(table.key)
    where = f"WHERE ({key}) > ({', '.join('?' * len(table.key))})" if after is not None else ""
    asked = f"SELECT {', '.join(names)} FROM main.{table.name} {where} ORDER BY {key}"  # noqa: S608 - of our own schema
    for row in db.execute(asked, tuple(after or ())):
        yield dict(zip(names, row, strict=True))


def unopened(db: sqlite3.Connection, sealing: Sealing) -> Iterator[tuple[str, str]]:
    """Table and column of every value of a sealed store that does not open."""
    db.text_factory = faults.read_text
    for table in TABLES:
        for row in _rows(db, table):
            for column in table.columns:
                try:
                    opened(sealing, table, column, row)
                except Unopened:
                    yield table.name, column.name


def values_by_key(db: sqlite3.Connection) -> dict[int, int]:
    """How many sealed values there are of each data key."""
    db.text_factory = faults.read_text
    found: dict[int, int] = {}
    for table in TABLES:
        for column in table.columns:
            if column.kind != "sealed":
                continue
            asked = f"SELECT substr({column.name}, 1, 32) FROM main.{table.name}"  # noqa: S608 - of our own schema
            for (start,) in db.execute(asked):
                if isinstance(start, bytes) and start:
                    try:
                        number = number_of(start)
                    except Unopened:
                        continue
                    found[number] = found.get(number, 0) + 1
    return found


def _still_sealed(db: sqlite3.Connection, sealing: Sealing) -> int:
    """Values of a store that is plain again which would open: they were left."""
    left = 0
    for table in TABLES:
        for row in _rows(db, table):
            for column in table.columns:
                if row[column.name] not in (None, b"", ""):
                    try:
                        opened(sealing, table, column, row)
                        left += 1
                    except Unopened:
                        pass
    return left


def rewrap(path: Path, keys: StoreKeys, *, actor: str, now_us: int) -> int:
    """Wrap the store's own keys with the site's current key, with the engine stopped; how many were not. StoreError."""
    if not path.is_file():
        raise StoreError(f"there is no store at {path}")
    lock = StoreLock(path)
    lock.acquire()
    try:
        schema.refuse_newer(path, schema.load_migrations()[-1].number)
        sealed = read_at(path)
        refuse_wrong_key(path, sealed, keys)
        if sealed.state == "plain":
            raise WrongKey(f"{path} is not encrypted: segmill store encrypt")
        if (
            sealed.state != "resealing"
        ):  # there the record is sealed throughout; else it is half, and nothing is put on it
            refuse_half(path, sealed)
        db = WriteConnection(path)
        try:
            db.set_up()
            db.recover()
            return wrap_anew(db, KeyTable().read(db.connection), keys, actor, now_us)
        except faults.ERRORS as exc:
            raise StoreError(f"{path} cannot be changed ({faults.name_of(exc)})") from exc
        finally:
            db.close()
    finally:
        lock.release()
