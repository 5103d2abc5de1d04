"""Values sealed before they are written: encryption at rest (ADR 54; reliability.md 4.3, SEC1).

Three kinds of keys::

    key of the site     32 bytes outside the store, from a file or the environment; wraps the others, and nothing else
    data keys           the store's own, numbered from 1; what is written is sealed with the newest (AES-256-GCM)
    token key           the store's own, number 0; for what is looked up by equality (AES-SIV, RFC 5297)

A sealed value is a version byte, the number of its data key, a random nonce, ciphertext and tag. What it is bound to
goes in as associated data: its place (``message.ack``) and its row, so that it opens nowhere else. A token is bound to
its place only: the same text there is the same token.

Invariants:

- whether values of a store are sealed is recorded in the store and never guessed from a value;
- an empty value stays empty: it tells no more than that there is none;
- no nonce is used with the site's key or a data key that another value had: random ones, and far fewer than 2^32;
- what cannot be opened raises Unopened, and nothing of it is given.
"""

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from threading import Lock
from typing import Final, Literal, Protocol

from engine.model.store_key import StoreKey
from engine.ports.store import StoreError

TOKEN_KEY_BYTES: Final = 64
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
DRAWN_NONCES: Final = 256

SEALED: Final = 1
TOKEN: Final = 2
_HEAD: Final = struct.Struct(">BH")
_START: Final = _HEAD.size + NONCE_BYTES
SEALED_MORE_BYTES: Final = _START + TAG_BYTES
"""By so much a sealed value is longer."""

TOKEN_KEY: Final = 0
MOST_KEY_NUMBER: Final = 0xFFFF
RENEW_AT: Final = 1 << 30
"""A data key that sealed so many values is followed by a new one; NIST SP 800-38D section 8.3 bounds random nonces at
2^32."""
RESERVED: Final = 1 << 20
"""So many values are counted in the store ahead of their sealing: no commit has to write the count."""
LOW: Final = RESERVED // 4


class Unopened(Exception):
    """A sealed value is damaged, of another place, or sealed with a key that the store does not have."""


NOT_INSTALLED: Final = "encryption at rest needs the package cryptography: pip install 'segmill[encrypt]'"


def is_installed() -> bool:
    """Whether the package that encrypts is there."""
    return find_spec("cryptography") is not None


def wrap(key: StoreKey, store: bytes, number: int, secret: bytes) -> bytes:
    """A key of the store `store`, closed with the site's key."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key.secret).encrypt(nonce, secret, b"key|%s|%d" % (store, number))


def unwrap(key: StoreKey, store: bytes, number: int, wrapped: bytes) -> bytes:
    """The reverse. Unopened where it is not this key's, or was damaged."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key.secret).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], b"key|%s|%d" % (store, number))
    except (InvalidTag, ValueError):
        raise Unopened("a wrapped key") from None


Row = int | str | tuple[int | str, ...]
"""What a sealed value is bound to beside its place: the row's id, or the parts of its key."""


def bound(place: str, row: Row) -> bytes:
    """The associated data of a value."""
    if isinstance(row, tuple):
        # With their lengths: ("a|b", "c") is another row than ("a", "b|c").
        parts = "|".join(f"{len(part)}:{part}" if isinstance(part, str) else str(part) for part in row)
        return f"{place}|{parts}".encode("utf-8", "surrogatepass")
    return f"{place}|{row}".encode("utf-8", "surrogatepass")


class _Seals(Protocol):
    def __call__(self, nonce: bytes, data: bytes | memoryview, associated_data: bytes | None) -> bytes: ...


class Sealing:
    """Seals and opens the values of one store; off until `unlock` gives it the store's keys.

    Used by any thread; only the one that writes seals. `missing` is asked for keys that others made since.
    """

    __slots__ = (
        "_drawn", "_head", "_lock", "_missing", "_nonces", "_opens", "_seals", "_siv", "is_on", "left", "number",
    )  # fmt: skip

    def __init__(self) -> None:
        self.is_on = False
        self.number = 0
        self.left = 0
        """How many more values the store has counted ahead for the newest data key."""
        self._head = b""
        self._nonces = b""
        self._drawn = 0
        self._seals: _Seals | None = None
        self._opens: dict[int, Callable[[bytes, bytes, bytes], bytes]] = {}
        self._siv: tuple[Callable[..., bytes], Callable[..., bytes]] | None = None
        self._missing: Callable[[], Mapping[int, bytes]] | None = None
        self._lock = Lock()

    def unlock(
        self, keys: Mapping[int, bytes], *, left: int = 0, missing: Callable[[], Mapping[int, bytes]] | None = None
    ) -> None:
        """Take the store's keys by number. `left`: how many values may be sealed before `count_ahead`."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

        siv = AESSIV(keys[TOKEN_KEY])
        self._siv = siv.encrypt, siv.decrypt
        data = {number: AESGCM(secret) for number, secret in keys.items() if number != TOKEN_KEY}
        for number, cipher in data.items():
            self._opens.setdefault(number, cipher.decrypt)
        newest = max(data)
        self.number = newest
        self._head = _HEAD.pack(SEALED, newest)
        self._seals = data[newest].encrypt
        self.left = left
        self._missing = missing
        self.is_on = True

    def lock(self) -> None:
        """Forget the keys."""
        self.is_on = False
        self._seals = self._siv = self._missing = None
        self._nonces, self._drawn = b"", 0
        self._opens.clear()
        self.left = 0

    # -- sealed values --------------------------------------------------------------------------

    def seal(self, place: str, row: Row, value: bytes | memoryview) -> bytes:
        """The sealed form of a value that is to stand in this place and row."""
        if not len(value):
            return b""
        self.left -= 1
        if self.left < 0 or self._seals is None:
            raise StoreError("more values are to be sealed than the store has counted ahead: this is a defect")
        end = self._drawn + NONCE_BYTES
        if end > len(self._nonces):  # asking the system each time would cost as much as the sealing
            self._nonces, end = os.urandom(DRAWN_NONCES * NONCE_BYTES), NONCE_BYTES
        nonce = self._nonces[end - NONCE_BYTES : end]
        self._drawn = end
        data = f"{place}|{row}".encode() if type(row) is int else bound(place, row)
        return self._head + nonce + self._seals(nonce, value, data)

    def seal_text(self, place: str, row: Row, text: str) -> bytes | str:
        """As `seal`, of a text; the empty one stays one."""
        return self.seal(place, row, text.encode()) if text else ""

    def open(self, place: str, row: Row, sealed: object) -> bytes:
        """The value that was sealed. Raises Unopened."""
        from cryptography.exceptions import InvalidTag

        if not isinstance(sealed, bytes):
            if sealed == "":
                return b""
            raise Unopened(place)
        if not sealed:
            return b""
        if len(sealed) <= SEALED_MORE_BYTES:
            raise Unopened(place)
        version, number = _HEAD.unpack_from(sealed)
        opens = self._opens.get(number) or self._of_others(number)
        if version != SEALED or opens is None:
            raise Unopened(place)
        try:
            return opens(sealed[_HEAD.size : _START], sealed[_START:], bound(place, row))
        except InvalidTag:
            raise Unopened(place) from None

    def open_text(self, place: str, row: Row, sealed: object) -> str:
        """As `open`, of a text."""
        return self.open(place, row, sealed).decode("utf-8", "replace")

    # -- tokens ---------------------------------------------------------------------------------

    def token(self, place: str, text: str) -> bytes | str:
        """What stands in a column that is looked up by equality: the same for the same text. The empty one stays."""
        if not text:
            return ""
        if self._siv is None:
            raise StoreError("the store's keys are not open")
        return bytes((TOKEN,)) + self._siv[0](text.encode(), [place.encode()])

    def untoken(self, place: str, token: object) -> str:
        """The text of a token. Raises Unopened."""
        from cryptography.exceptions import InvalidTag

        if token == "":
            return ""
        if not isinstance(token, bytes) or len(token) <= 1 + TAG_BYTES or token[0] != TOKEN or self._siv is None:
            raise Unopened(place)
        try:
            return self._siv[1](token[1:], [place.encode()]).decode("utf-8", "replace")
        except InvalidTag:
            raise Unopened(place) from None

    def _of_others(self, number: int) -> Callable[[bytes, bytes, bytes], bytes] | None:
        """A data key that the one who writes made since these were read."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if self._missing is None:
            return None
        with self._lock:
            if number not in self._opens:
                for found, secret in self._missing().items():
                    if found != TOKEN_KEY:
                        self._opens.setdefault(found, AESGCM(secret).decrypt)
        return self._opens.get(number)


def number_of(sealed: bytes) -> int:
    """The data key that a value was sealed with; Unopened for what is no sealed value."""
    if len(sealed) <= SEALED_MORE_BYTES or sealed[0] != SEALED:
        raise Unopened("no sealed value")
    return int(_HEAD.unpack_from(sealed)[1])


# -- what is sealed ---------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class SealedColumn:
    """A column whose values are sealed, or are tokens.

    `row`: the columns whose values bind it, one or several; none for a token. `place`: what it is bound to, where that
    is not `table.column`: values that statements move from one table to another have the same.
    """

    name: str
    kind: Literal["sealed", "token"] = "sealed"
    is_text: bool = False
    row: tuple[str, ...] = ()
    place: str = ""

    @property
    def is_plain_text(self) -> bool:
        """Whether it is text where it is not sealed."""
        return self.is_text or self.kind == "token"


@dataclass(slots=True, frozen=True)
class SealedTable:
    """A table with such columns. `key`: its primary key.

    `also`: further columns that `recheck` looks at. `recheck`: given a row before and after, by column, what else
    changes in it: checksums that cover what stands in the row. `at_once`: the table is small, and its key has tokens:
    all of it is converted in one transaction.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[SealedColumn, ...]
    also: tuple[str, ...] = ()
    recheck: Callable[[Mapping[str, object], Mapping[str, object]], Mapping[str, object]] | None = None
    at_once: bool = False

    def place(self, column: SealedColumn) -> str:
        """What values of the column are bound to."""
        return column.place or f"{self.name}.{column.name}"


def row_of(sealing: Sealing, table: SealedTable, column: SealedColumn, values: Mapping[str, object]) -> Row:
    """What a value of this row is bound to: columns as they are where nothing is sealed. Raises Unopened."""
    parts = [_without_token(sealing, table, name, values[name]) for name in column.row]
    if len(parts) == 1 and isinstance(parts[0], int | str):
        return parts[0]
    return tuple(part if isinstance(part, int | str) else repr(part) for part in parts)


def _without_token(sealing: Sealing, table: SealedTable, name: str, value: object) -> object:
    """What names a row, as it is where nothing is sealed."""
    if not isinstance(value, bytes):
        return value
    token = next((one for one in table.columns if one.name == name and one.kind == "token"), None)
    return value if token is None else sealing.untoken(table.place(token), value)


def closed(sealing: Sealing, table: SealedTable, column: SealedColumn, values: Mapping[str, object]) -> object:
    """A plain value of a row as it is to stand there. NULL stays."""
    value = values[column.name]
    if value is None:
        return None
    place = table.place(column)
    if column.kind == "token":
        if not isinstance(value, str):
            raise Unopened(place)
        return sealing.token(place, value)
    if column.is_text:
        if not isinstance(value, str):
            raise Unopened(place)
        return sealing.seal_text(place, row_of(sealing, table, column, values), value)
    if not isinstance(value, bytes):
        raise Unopened(place)
    return sealing.seal(place, row_of(sealing, table, column, values), value)


def opened(sealing: Sealing, table: SealedTable, column: SealedColumn, values: Mapping[str, object]) -> object:
    """The plain value of what stands in a row. Raises Unopened. NULL stays."""
    value = values[column.name]
    if value is None:
        return None
    place = table.place(column)
    if column.kind == "token":
        return sealing.untoken(place, value)
    found = sealing.open(place, row_of(sealing, table, column, values), value)
    return found.decode("utf-8", "replace") if column.is_text else found


def table_named(tables: Sequence[SealedTable], name: str) -> SealedTable:
    """The one with this name."""
    return next(table for table in tables if table.name == name)
