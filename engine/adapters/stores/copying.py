"""A copy of a store while its engine runs, and the way back from one (reliability.md D10).

The copy is of one moment: it is read in slices within one read transaction, so that no commit makes it begin anew and
none of them waits for it. What it costs meanwhile is room: the engine's write-ahead log cannot start again from its
beginning before the copy is done. A copy is complete, checked and on stable storage, or it is not there.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.adapters.stores import faults, row_checks
from engine.adapters.stores.connection import BUSY_TIMEOUT_S, PAGE_BYTES
from engine.adapters.stores.place import StoreLock, sync_folder
from engine.adapters.stores.recording import append, newest, operation_statements
from engine.adapters.stores.schema import APPLICATION_ID, bring_up, load_migrations
from engine.adapters.stores.statements import load_statements
from engine.adapters.stores.unlocking import KeyChanges, KeyTable, refuse_half
from engine.model.audit import AuditRow
from engine.ports.store import StoreError, StoreTooNew

SLICE_PAGES: Final = 1024
"""4 MB: some milliseconds, after which whoever waits is told, and may stop it."""
SKIPPED_SEQS: Final = 1_000_000
"""After a restore the numbers go on so much higher: those given since the copy was made stay with what they meant."""


@dataclass(slots=True, frozen=True)
class RestoredBy:
    """Who puts a copy back, when, and which: for the record."""

    actor: str
    at_us: int
    scope: str


OnProgress = Callable[[int, int], None]
"""Bytes done, and bytes in all; may raise to stop the copy."""


class NoRoom(StoreError):
    """The disk of a copy is full, or would be."""


@dataclass(slots=True, frozen=True)
class CopyFacts:
    """What a copy holds. Times are microseconds since 1970, 0 for none."""

    schema: int
    size_bytes: int
    messages: int
    first_seq: int
    last_seq: int
    last_received_us: int
    queued: int
    held: int


def copy_store(store: Path, target: Path, *, keep_free: int = 0, on_progress: OnProgress | None = None) -> CopyFacts:
    """Copy the store in `store` to `target`, which is not there; its engine may run. Raises StoreError.

    Ends with NoRoom as soon as the target's disk has less than `keep_free` bytes left.
    """
    made = False
    try:
        with closing(_reader(store)) as source:
            source.execute("BEGIN")
            facts = facts_of(source)
            refuse_half(store, KeyTable().read(source))
            find_room(target.parent, facts.size_bytes, keep_free)
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            made = True
            with closing(sqlite3.connect(target, isolation_level=None)) as copy:
                # Nothing of it counts before the end, so it needs no journal, and one sync.
                copy.execute("PRAGMA journal_mode = OFF")
                copy.execute("PRAGMA synchronous = OFF")
                _copy(source, copy, target, keep_free, on_progress)
            _sync(target)
            _check(target, facts)
        return facts
    except FileExistsError:
        raise StoreError(f"{target} is there already") from None
    except BaseException as exc:
        if made:
            forget(target)
        if isinstance(exc, faults.ERRORS):
            if faults.primary_code(exc) == sqlite3.SQLITE_FULL:
                raise NoRoom(f"the disk of {target} is full") from exc
            raise StoreError(f"{store} cannot be copied ({faults.name_of(exc)})") from exc
        if isinstance(exc, OSError):
            raise StoreError(f"{target} cannot be written: {exc.strerror}") from exc
        raise


def _reader(store: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    db.execute("PRAGMA query_only = ON")
    return db


def _copy(
    source: sqlite3.Connection, copy: sqlite3.Connection, target: Path, keep_free: int, on_progress: OnProgress | None
) -> None:
    def after_slice(_status: int, remaining: int, total: int) -> None:
        if keep_free and shutil.disk_usage(target.parent).free < keep_free:
            raise NoRoom(f"the copy at {target} would leave less than {keep_free:,} bytes on its disk")
        if on_progress is not None:
            on_progress((total - remaining) * PAGE_BYTES, total * PAGE_BYTES)

    source.backup(copy, pages=SLICE_PAGES, progress=after_slice)


def find_room(folder: Path, size: int, keep_free: int) -> None:
    """Raise NoRoom where a folder's disk has not `size` bytes to give, and `keep_free` beside them."""
    free = shutil.disk_usage(folder).free
    if free < size + keep_free:
        beside = f", and {keep_free:,} have to stay free" if keep_free else ""
        raise NoRoom(f"{folder} has {free:,} bytes free; the copy takes {size:,}{beside}")


def facts_of(db: sqlite3.Connection) -> CopyFacts:
    """What a store holds, also one of an earlier schema; within a read transaction, at that moment."""
    sql = load_statements("copy.sql")
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise StoreError("this is no store of Segmill")
    latest = load_migrations()[-1].number
    if schema > latest:
        raise StoreTooNew(f"it is of a newer Segmill (schema {schema}; this one knows {latest})")
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    return CopyFacts(schema, pages * page_bytes, *db.execute(sql["facts"]).fetchone())


def key_of(copy: Path) -> str:
    """The id of the key that a copy is encrypted with; empty for a plain one. StoreError where it says nothing."""
    try:
        with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)) as db:
            sealed = KeyTable().read(db)
    except faults.ERRORS as exc:
        raise StoreError(f"{copy} is damaged ({faults.name_of(exc)})") from exc
    return "" if sealed.state == "plain" else sealed.key_id


def check_copy(copy: Path) -> CopyFacts:
    """Read a copy from end to end, and say what it holds. StoreError for one that is not whole."""
    try:
        # Nobody writes it, and nothing is to be made beside it: neither a log nor its index.
        with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)) as db:
            facts = facts_of(db)
            answer = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if answer != "ok" or copy.stat().st_size != facts.size_bytes:
                raise StoreError(f"{copy} is damaged: integrity_check found errors")
            return facts
    except faults.ERRORS as exc:
        raise StoreError(f"{copy} is damaged ({faults.name_of(exc)})") from exc


def _check(copy: Path, facts: CopyFacts) -> None:
    if check_copy(copy) != facts:
        raise StoreError(f"{copy} is not what was copied: its disk gives back something else")


def _sync(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())
    sync_folder(file.parent)


def forget(copy: Path) -> None:
    """Take away what was made of a copy that is not to be."""
    for name in ("", "-journal", "-wal", "-shm"):
        copy.with_name(copy.name + name).unlink(missing_ok=True)


def put_back(copy: Path, store: Path, by: RestoredBy, *, on_progress: OnProgress | None = None) -> CopyFacts:
    """Make a store of a copy, where there is none. Raises StoreError, StoreInUse where an engine has it open.

    What is queued in it may have been sent since the copy was made, and is marked so; numbers that were given since are
    not given again; and that it was put back is on record in it.
    """
    _refuse_existing(store)
    store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = StoreLock(store)
    lock.acquire()
    part = store.with_name(store.name + ".restoring")
    try:
        _refuse_existing(store)
        forget(part)  # of a restore that was killed
        facts = check_copy(copy)
        find_room(store.parent, facts.size_bytes, 0)
        try:
            _copy_file(copy, part, facts.size_bytes, on_progress)
            _mark(part, facts, by)
            check_copy(part)
            os.link(part, store)  # fails where somebody else made one meanwhile
            part.unlink()
            sync_folder(store.parent)
        except BaseException:
            forget(part)
            raise
        return facts
    except faults.ERRORS as exc:
        raise StoreError(f"{store} cannot be made ({faults.name_of(exc)})") from exc
    except OSError as exc:
        raise StoreError(f"{store} cannot be made: {exc.strerror}") from exc
    finally:
        lock.release()


def _refuse_existing(store: Path) -> None:
    """A log that is left of another store would be played into the new one."""
    for name in ("", "-wal", "-shm"):
        path = store.with_name(store.name + name)
        if path.exists():
            raise StoreError(f"{path} is there, and nothing is overwritten: stop its engine and move it away first")


def _copy_file(copy: Path, part: Path, size: int, on_progress: OnProgress | None) -> None:
    done = 0
    with copy.open("rb") as source, os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as made:
        while piece := source.read(SLICE_PAGES * PAGE_BYTES):
            made.write(piece)
            done += len(piece)
            if on_progress is not None:
                on_progress(done, size)
        made.flush()
        os.fsync(made.fileno())


def _mark(part: Path, facts: CopyFacts, by: RestoredBy) -> None:
    """What an engine must know that starts on it; without a log, so that the file is all there is."""
    sql = load_statements("copy.sql")
    with closing(sqlite3.connect(part, isolation_level=None)) as db:
        row_checks.set_up(db)
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA synchronous = FULL")
        bring_up(db, part)  # a copy from before an upgrade: what is marked has its place in this schema
        db.execute("BEGIN IMMEDIATE")
        db.execute(sql["mark_queued"])
        for name in ("skip_seqs", "skip_deliveries", "skip_bodies"):
            db.execute(sql[name], (SKIPPED_SEQS,))
        _record(db, facts, by)
        db.execute("COMMIT")
    _sync(part)


def _record(db: sqlite3.Connection, facts: CopyFacts, by: RestoredBy) -> None:
    """A row of the audit, within the transaction that marks the store.

    Of a sealed store it is written by whoever opens it next with the key (`starting.record_restore`): a backup is put
    back without one.
    """
    counts = {"messages": facts.messages, "deliveries": facts.queued}
    sealed = KeyTable().read(db)
    if sealed.state == "plain":
        run = operation_statements(db.execute)
        last, _ = newest(run)
        told = json.dumps(counts, separators=(",", ":"))
        append(run, AuditRow(last + 1, by.at_us, by.actor, "restore", "", by.scope, told, "", ""))
    elif sealed.state == "sealed":
        restored = {"actor": by.actor, "at_us": by.at_us, "scope": by.scope, "counts": counts}
        KeyChanges(db.execute).set_state("sealed", json.dumps({"restored": restored}))
    else:
        raise StoreError("it is of a store that was half encrypted: put back the backup before it")
