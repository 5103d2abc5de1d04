"""Opens a store's keys with the site's, and makes the connections of a sealed store read as others do (ADR 54).

States of a store, and the moves between them::

    plain --encrypt--> sealing --> sealed --decrypt--> unsealing --> plain
                                   sealed --new data key for all--> resealing --> sealed

On the way, nothing but the command that goes it opens the store.
"""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from engine.adapters.stores import faults
from engine.adapters.stores.sealing import (
    MOST_KEY_NUMBER,
    NOT_INSTALLED,
    RENEW_AT,
    RESERVED,
    TOKEN_KEY,
    TOKEN_KEY_BYTES,
    Sealing,
    Unopened,
    is_installed,
    unwrap,
    wrap,
)
from engine.adapters.stores.statements import Execute, load_statements
from engine.model.store_key import KEY_BYTES, KeysInUse, StoreKey, StoreKeys
from engine.ports.store import StoreError, WrongKey

State = Literal["plain", "sealed", "sealing", "unsealing", "resealing"]

COMMANDS: Final[Mapping[str, str]] = {
    "sealing": "segmill store encrypt",
    "unsealing": "segmill store decrypt",
    "resealing": "segmill store rotate --data-key",
}
"""What finishes what was begun."""


@dataclass(slots=True, frozen=True)
class KeyRow:
    """One of the store's keys, as it is stored. Times are microseconds since 1970."""

    number: int
    key_id: str
    wrapped: bytes
    created_us: int
    wrapped_us: int
    used: int


@dataclass(slots=True, frozen=True)
class Sealed:
    """What a store says of its sealing. `store`: what its keys are bound to."""

    state: State
    store: bytes = b""
    progress: str = ""
    keys: tuple[KeyRow, ...] = ()

    @property
    def key_id(self) -> str:
        """Of the site's key that opens it."""
        return self.keys[0].key_id if self.keys else ""

    @property
    def in_use(self) -> KeysInUse | None:
        """None for a plain store. A data key that was added later was closed later, by a site's key of before."""
        data = [row for row in self.keys if row.number != TOKEN_KEY]
        if self.state == "plain" or not data:
            return None
        newest = max(data, key=lambda row: row.number)
        since_us = min(row.wrapped_us for row in self.keys if row.key_id == self.key_id)
        return KeysInUse(self.key_id, since_us, newest.number, newest.created_us)


PLAIN: Final = Sealed("plain")


class KeyTable:
    """The statements of `sql/sealing.sql`, on whichever connection."""

    def __init__(self) -> None:
        self.sql = load_statements("sealing.sql")

    def read(self, db: sqlite3.Connection) -> Sealed:
        """What the store says. A store of a schema from before sealing is plain."""
        try:
            row, rows = self._rows(db)
            if row is None and rows:  # set up between the two: then it is there by now
                row, rows = self._rows(db)
        except sqlite3.OperationalError as exc:
            if "no such table" in str(exc):
                return PLAIN
            raise
        if row is None:
            if rows:
                raise StoreError("the store has keys and does not say that it is encrypted: it is damaged")
            return PLAIN
        store, state, progress = row
        if state not in get_args(State):
            raise StoreError(f"the store says of its encryption what this engine does not know ({len(state)} letters)")
        return Sealed(state, store, progress, rows)

    def _rows(self, db: sqlite3.Connection) -> tuple[Any, tuple[KeyRow, ...]]:
        row = db.execute(self.sql["sealing"]).fetchone()
        return row, tuple(KeyRow(*key) for key in db.execute(self.sql["keys"]))


def read_at(path: Path) -> Sealed:
    """What the store at `path` says, without a change of it or anything beside it. StoreError where it says nothing."""
    if not path.exists() or not path.stat().st_size:
        return PLAIN
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            return KeyTable().read(db)
    except faults.ERRORS as exc:
        raise StoreError(f"{path} cannot be read, nor whether it is encrypted ({faults.name_of(exc)})") from exc


def sealed_at(path: Path) -> Sealed:
    """As `read_at`, for who opens it next: what cannot be read counts as plain, as what is wrong is said then."""
    try:
        return read_at(path)
    except StoreError as exc:
        if isinstance(exc.__cause__, faults.ERRORS):
            return PLAIN
        raise


def refuse_wrong_key(path: Path, sealed: Sealed, keys: StoreKeys) -> None:
    """Raise WrongKey, with both ids, for keys that do not open the store; before anything of it is touched."""
    if sealed.state == "plain":
        return
    if keys.current is None or keys.by_id(sealed.key_id) is None:
        configured = "no key is configured" if keys.current is None else f"configured is {keys.ids()}"
        raise WrongKey(
            f"{path} is encrypted with the key {sealed.key_id}, and {configured}. Nothing was changed. "
            "Name the right one under 'encryption' in segmill.yaml"
        )
    if not is_installed():
        raise WrongKey(f"{path} is encrypted, and {NOT_INSTALLED}")


def refuse_half(path: Path, sealed: Sealed) -> None:
    """Raise StoreError where an encryption, or the way back, was begun and not finished."""
    if sealed.state in COMMANDS:
        command = COMMANDS[sealed.state]
        raise WrongKey(f"{path} is between two states, as '{command}' was not finished: run it again")


def opened_keys(path: Path, sealed: Sealed, keys: StoreKeys) -> dict[int, bytes]:
    """The store's own keys, by number. Raises WrongKey."""
    found: dict[int, bytes] = {}
    for row in sealed.keys:
        key = keys.by_id(row.key_id)
        try:
            if key is None:
                raise Unopened("a wrapped key")
            found[row.number] = unwrap(key, sealed.store, row.number, row.wrapped)
        except Unopened:
            raise WrongKey(
                f"{path}: its data key {row.number} does not open with the key {row.key_id}: it is damaged, or of "
                "another store. Put back a backup"
            ) from None
    if TOKEN_KEY not in found or len(found) < 2:
        raise WrongKey(f"{path} is encrypted, and its own keys are not in it: it is damaged. Put back a backup")
    return found


def unlock(
    db: sqlite3.Connection, path: Path, keys: StoreKeys, sealing: Sealing, *, half: str = "", left: int = 0
) -> Sealed:
    """Give `sealing` the store's keys where it is sealed, and make the connection read opened bodies.

    `half`: the state between two in which the store may be. Raises WrongKey.
    """
    table = KeyTable()
    sealed = table.read(db)
    refuse_wrong_key(path, sealed, keys)
    if sealed.state != half:
        refuse_half(path, sealed)
    if sealed.state == "plain":
        if sealing.is_on:
            raise StoreError(f"{path} was decrypted since it was opened")
        return sealed
    if not sealing.is_on:
        sealing.unlock(opened_keys(path, sealed, keys), left=left, missing=lambda: _keys_at(path, keys))
    if sealed.state == "sealed":
        shadow(db, sealing)
    return sealed


def _keys_at(path: Path, keys: StoreKeys) -> Mapping[int, bytes]:
    """The store's keys as they are now: a data key may have been added since."""
    sealed = read_at(path)
    return {} if sealed.state == "plain" else opened_keys(path, sealed, keys)


def shadow(db: sqlite3.Connection, sealing: Sealing) -> None:
    """Have the connection read bodies opened: to its statements the store is as any other.

    What cannot be opened comes as other bytes, different each time, so that no checksum in a row can be made to fit
    them: it counts as damaged (E250), one value at a time. An exception would take the whole page with it.
    """

    def opened_body(id_: object, value: object) -> bytes:
        return _opened("body.bytes", id_, value)

    def opened_piece(body: object, number: object, value: object) -> bytes:
        return _opened("body_piece.bytes", (body, number), value)

    def _opened(place: str, row: object, value: object) -> bytes:
        try:
            return sealing.open(place, row, value)  # type: ignore[arg-type]  # as SQLite has it
        except Unopened:
            return os.urandom(16)
        # StoreError goes through SQLite: a key that cannot be looked up just now says nothing of the value.

    # Before the view, which a change of it would drop: what is opened is not to be spilled to a disk.
    db.execute("PRAGMA temp_store = MEMORY")
    db.create_function("opened_body", 2, opened_body, deterministic=True)
    db.create_function("opened_piece", 3, opened_piece, deterministic=True)
    db.execute(load_statements("sealing.sql")["shadow_bodies"])


# -- changes: within a transaction of the one that writes ------------------------------------------------------


class KeyChanges:
    """What is written about keys; each method within a transaction."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._sql = load_statements("sealing.sql")

    def set_up(self, key: StoreKey, now_us: int, state: State = "sealed") -> dict[int, bytes]:
        """Make a store's own keys; what they are."""
        store = os.urandom(16)
        self._execute(self._sql["set_up"], (store, state))
        made = {TOKEN_KEY: os.urandom(TOKEN_KEY_BYTES), 1: os.urandom(KEY_BYTES)}
        for number, secret in made.items():
            self._insert(key, store, number, secret, now_us)
        return made

    def add(self, key: StoreKey, sealed: Sealed, now_us: int) -> tuple[int, bytes]:
        """A new data key: its number, and what it is."""
        number = max(row.number for row in sealed.keys) + 1
        if number > MOST_KEY_NUMBER:
            raise StoreError(f"the store has had {MOST_KEY_NUMBER} data keys: decrypt it and encrypt it anew")
        secret = os.urandom(KEY_BYTES)
        self._insert(key, sealed.store, number, secret, now_us)
        return number, secret

    def _insert(self, key: StoreKey, store: bytes, number: int, secret: bytes, now_us: int) -> None:
        wrapped = wrap(key, store, number, secret)
        self._execute(self._sql["insert_key"], (number, key.id, wrapped, now_us, now_us, 0))

    def wrap_anew(self, key: StoreKey, sealed: Sealed, opened: Mapping[int, bytes], now_us: int) -> int:
        """Close every key with this one; how many there are that were not."""
        done = 0
        for row in sealed.keys:
            if row.key_id != key.id:
                wrapped = wrap(key, sealed.store, row.number, opened[row.number])
                self._execute(self._sql["wrap_key"], (key.id, wrapped, now_us, row.number))
                done += 1
        return done

    def count_ahead(self, number: int, values: int = RESERVED) -> None:
        """Note that so many values more may have been sealed with a data key."""
        self._execute(self._sql["count_ahead"], (values, number))

    def set_state(self, state: State, progress: str = "") -> None:
        """Where the store stands on its way."""
        self._execute(self._sql["set_state"], (state, progress))

    def forget_data_keys(self, numbers: Sequence[int]) -> None:
        """Nothing is sealed with these any more."""
        for number in numbers:
            self._execute(self._sql["forget_key"], (number,))

    def forget_all(self) -> None:
        """The store is plain."""
        self._execute(self._sql["forget_keys"], ())
        self._execute(self._sql["forget_sealing"], ())


def is_used_up(row: KeyRow) -> bool:
    """Whether a data key is to be followed by a new one."""
    return row.used >= RENEW_AT
