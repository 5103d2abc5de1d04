"""What the engine does about encryption when it opens its store, and while it writes (ADR 54).

Before anything is touched, the site's key is compared with the store's. A new store is sealed from its first row; one
whose site changed its key has its own keys wrapped anew, in one transaction.
"""

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from engine.adapters.stores import faults
from engine.adapters.stores.connection import WriteConnection
from engine.adapters.stores.recording import append, newest, operation_statements
from engine.adapters.stores.sealed_tables import TABLES
from engine.adapters.stores.sealing import (
    NOT_INSTALLED,
    RENEW_AT,
    RESERVED,
    Sealing,
    is_installed,
)
from engine.adapters.stores.unlocking import (
    KeyChanges,
    KeyTable,
    Sealed,
    opened_keys,
    read_at,
    refuse_half,
    refuse_wrong_key,
    sealed_at,
    shadow,
)
from engine.model.audit import AuditRow
from engine.model.store_key import StoreKey, StoreKeys
from engine.ports.store import WrongKey

log = logging.getLogger("segmill.store")

ENGINE: Final = "engine"
RECORD_VALUES: Final = 16
"""A row of the audit has fewer that are sealed, with its head."""
SECRET_BYTES: Final = 16
"""Of what search keys are hashed with, as migration 11 makes it."""


def look(path: Path, keys: StoreKeys) -> None:
    """Refuse a store that the site's keys do not open, with nothing changed. Raises WrongKey."""
    sealed = sealed_at(path)
    refuse_wrong_key(path, sealed, keys)
    refuse_half(path, sealed)
    if keys.current is None:
        return
    if not is_installed():
        raise WrongKey(f"the site has a key for its store, but {NOT_INSTALLED}")
    if sealed.state == "plain" and path.exists() and path.stat().st_size:
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
                _refuse_plain(path, db, keys.current)
        except faults.ERRORS:
            return  # what is wrong with it is said when it is opened


def _refuse_plain(path: Path, db: sqlite3.Connection, key: StoreKey) -> None:
    if holds_anything(db):
        raise WrongKey(
            f"{path} is not encrypted, and the site has the key {key.id} for it. Nothing was changed. Encrypt it once, "
            "with the engine stopped: segmill store encrypt"
        )


def holds_anything(db: sqlite3.Connection) -> bool:
    """Whether anything was ever stored."""
    there = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    wanted = {table.name for table in TABLES} - {"key_setup"} | {"message", "audit", "channel_version", "user"}
    return any(
        db.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() is not None  # noqa: S608 - names of our own schema
        for name in sorted(wanted & there)
    )


def unlock_writer(db: WriteConnection, keys: StoreKeys, now_us: int) -> None:
    """Give the connection's `sealing` the store's keys. A new store is made a sealed one, where the site has a key."""
    table, changes = KeyTable(), KeyChanges(db.execute)
    sealed = table.read(db.connection)
    refuse_wrong_key(db.path, sealed, keys)
    refuse_half(db.path, sealed)
    if keys.current is None:
        return
    if sealed.state == "plain":
        _refuse_plain(db.path, db.connection, keys.current)
        with db.transaction():
            db.sealing.unlock(changes.set_up(keys.current, now_us), left=1)
            # Nothing was hashed with the one that stands there in the clear: it is not worth sealing.
            secret = db.sealing.seal("key_setup.secret", 1, os.urandom(SECRET_BYTES))
            db.execute(table.sql["set_search_secret"], (secret,))
        log.info("%s is new, and encrypted with the key %s", db.path, keys.current.id)
    else:
        wrap_anew(db, sealed, keys, ENGINE, now_us)
    record_restore(db, keys)
    count_ahead(db, keys, now_us)
    shadow(db.connection, db.sealing)


def wrap_anew(db: WriteConnection, sealed: Sealed, keys: StoreKeys, actor: str, now_us: int) -> int:
    """Wrap what is not wrapped with the site's current key; how many keys that were.

    One transaction: after a kill, either the old key opens all of them, or the new one does.
    """
    assert keys.current is not None, "refuse_wrong_key has seen to it"
    others = sorted({row.key_id for row in sealed.keys if row.key_id != keys.current.id})
    if not others:
        return 0
    opened = opened_keys(db.path, sealed, keys)
    changes = KeyChanges(db.execute)
    with overwriting(db), db.transaction():
        done = changes.wrap_anew(keys.current, sealed, opened, now_us)
        _make_ready_to_record(db, changes, sealed, opened)
        scope = f"key {' and '.join(others)} to {keys.current.id}"
        record(db.execute, db.sealing, "rotate key", actor, scope, {"keys": done}, now_us)
    db.checkpoint("TRUNCATE")
    log.warning(
        "%s: its %d keys are wrapped with the key %s now; %s opens it no longer, only backups from before",
        db.path,
        done,
        keys.current.id,
        " and ".join(others),
    )
    return done


def count_ahead(db: WriteConnection, keys: StoreKeys, now_us: int) -> None:
    """Note in the store how many values may be sealed next, with a new data key where one has sealed enough."""
    assert keys.current is not None, "refuse_wrong_key has seen to it"
    table, changes = KeyTable(), KeyChanges(db.execute)
    path = db.path
    with db.transaction():
        sealed = table.read(db.connection)
        opened = opened_keys(db.path, sealed, keys)
        newest_key = sealed.keys[-1]
        number, is_new = newest_key.number, newest_key.used >= RENEW_AT
        if is_new:
            _make_ready_to_record(db, changes, sealed, opened)
            number, opened_key = changes.add(keys.current, sealed, now_us)
            opened[number] = opened_key
            scope = f"data key {number}, after {newest_key.used} values"
            record(db.execute, db.sealing, "new data key", ENGINE, scope, {}, now_us)
        changes.count_ahead(number, RESERVED)
    db.sealing.unlock(opened, left=RESERVED, missing=lambda: opened_keys(path, read_at(path), keys))
    if is_new:
        log.info("%s: data key %d seals from now on", path, number)


def record_restore(db: WriteConnection, keys: StoreKeys) -> None:
    """Put a restore on record that nobody with the key has seen since (`copying`)."""
    sealed = KeyTable().read(db.connection)
    if sealed.state != "sealed" or not sealed.progress:
        return
    opened, changes = opened_keys(db.path, sealed, keys), KeyChanges(db.execute)
    restored = json.loads(sealed.progress)["restored"]
    with db.transaction():
        _make_ready_to_record(db, changes, sealed, opened)
        scope, counts = restored["scope"], restored["counts"]
        record(db.execute, db.sealing, "restore", restored["actor"], scope, counts, restored["at_us"])
        changes.set_state("sealed")


def _make_ready_to_record(db: WriteConnection, changes: KeyChanges, sealed: Sealed, opened: dict[int, bytes]) -> None:
    """See that a row of the audit can be sealed, with the newest key that the store has before this transaction."""
    if not db.sealing.is_on:
        db.sealing.unlock(opened)
    if db.sealing.left < RECORD_VALUES:
        changes.count_ahead(sealed.keys[-1].number, RECORD_VALUES)
        db.sealing.left += RECORD_VALUES


def give_back(db: WriteConnection) -> None:
    """At a clean stop: what was counted ahead and not used."""
    if db.sealing.is_on and db.sealing.left > 0:
        with db.transaction():
            KeyChanges(db.execute).count_ahead(db.sealing.number, -db.sealing.left)
        db.sealing.left = 0


@contextmanager
def overwriting(db: WriteConnection) -> Iterator[None]:
    """What is replaced meanwhile is overwritten with zeros in its page, not only unlinked."""
    (secure,) = db.execute("PRAGMA secure_delete").fetchone()
    db.execute("PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        if not db.is_broken:
            db.execute(f"PRAGMA secure_delete = {secure}")


def record(
    execute: Callable[..., sqlite3.Cursor],
    sealing: Sealing,
    action: str,
    actor: str,
    scope: str,
    counts: dict[str, int],
    now_us: int,
) -> None:
    """A row of the audit, within a transaction. In a sealed store `sealing` may seal RECORD_VALUES more."""
    run = operation_statements(execute, sealing)
    last, _ = newest(run)
    told = json.dumps(counts, separators=(",", ":"))
    append(run, AuditRow(last + 1, now_us, actor, action, "", scope, told, "", ""))
