"""What messages are looked up by, in a store in SQLite (ADR 0034).

A message's row holds keyed hashes of its keys' values, 8 bytes each, written with the row: a commit writes nothing else
for them, however many messages there are. Once BLOCK seqs are full, their hashes are put into entries by bucket, some
128 rows in one short transaction: a search reads one row of entries a block. What is in no block yet, one or two
blocks' worth, is looked through in the messages' own rows.

Behind the hashes of a row stands their checksum: a turned bit would hide the message from those who look for it.

Invariants:

- the hash in a message's row decides; entries only lead there, so that a stale or damaged one shows nothing wrong;
- a block whose messages are others than were read is not kept;
- values are nowhere: what is left of a key when the bytes are gone is its hash, and it goes with the row.
"""

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Final
from zlib import crc32

from engine.adapters.stores.connection import WriteConnection
from engine.adapters.stores.sealing import Sealing, Unopened
from engine.adapters.stores.statements import RowStatement, load_statements
from engine.model.ids import ChannelName, MessageSeq
from engine.ports.search import KeyBlock, KeysOf, KeyWork
from engine.ports.store import StoreError

log = logging.getLogger("segmill.store")

BLOCK: Final = 4096
BUCKETS: Final = 128
HASH_BYTES: Final = 8
ENTRY_BYTES: Final = HASH_BYTES + 2
CHECKED: Final = b"\x01"
"""Ends what has a checksum. A length is then 5 above whole hashes, and no single bit of a length makes it whole ones:
those are rows from before there was one."""
CHECK_BYTES: Final = 4 + len(CHECKED)
PAGE_BYTES: Final = 8 * 1024 * 1024
"""Of old messages, no more than this and one more are in memory at a time."""
MOST_BLOCKS: Final = 16
"""So many are named as work at a time."""


class KeyHashes:
    """The hashes of one store."""

    __slots__ = ("_begun", "_key")

    def __init__(self, secret: bytes) -> None:
        self._key = secret
        self._begun: dict[str, blake2b] = {}
        """By a key's name, with the secret and the name taken in: beginning anew costs half of a hash."""

    def of(self, name: str, value: str) -> bytes:
        """The hash of a value as it is compared."""
        begun = self._begun.get(name)
        if begun is None:
            begun = self._begun[name] = blake2b(f"{name}\0".encode(), digest_size=HASH_BYTES, key=self._key)
        hash_ = begun.copy()
        hash_.update(value.encode("utf-8", "surrogatepass"))
        return hash_.digest()

    def packed(self, keys: Iterable[tuple[str, str]]) -> bytes:
        """What a message's row holds."""
        begun = self._begun
        found = []
        for name, value in keys:
            if name in begun and value.isascii():  # as `of`, without its call: this is done for every message
                hash_ = begun[name].copy()
                hash_.update(value.encode())
                found.append(hash_.digest())
            else:
                found.append(self.of(name, value))
        hashes = b"".join(found)
        return hashes + crc32(hashes).to_bytes(4) + CHECKED


def bucket_of(hash_: bytes) -> int:
    """The bucket that a hash is in."""
    return hash_[0] & (BUCKETS - 1)


def block_of(seq: int) -> int:
    """The block that a message is in."""
    return (seq - 1) // BLOCK


def first_of(block: int) -> int:
    """The first seq of a block."""
    return block * BLOCK + 1


def hashes_in(packed: object) -> bytes | None:
    """A message's hashes out of its row; None where they are not what was written: a turned bit can make another type
    of it."""
    if packed is None:
        return b""
    if not isinstance(packed, bytes):
        return None
    if len(packed) % HASH_BYTES == 0:
        return packed
    hashes = packed[:-CHECK_BYTES]
    whole = len(hashes) % HASH_BYTES == 0 and packed == hashes + crc32(hashes).to_bytes(4) + CHECKED
    return hashes if whole else None


def holds(packed: object, hash_: bytes) -> bool:
    """Whether what a message's row has holds this hash; what is damaged holds none."""
    hashes = hashes_in(packed)
    return hashes is not None and _aligned(hashes, hash_, HASH_BYTES, 0) >= 0


def _aligned(packed: bytes, hash_: bytes, width: int, start: int) -> int:
    at = packed.find(hash_, start)
    while at >= 0 and at % width:
        at = packed.find(hash_, at + 1)
    return at


def places(entries: bytes, hash_: bytes) -> Iterator[int]:
    """Where in the block the messages with this hash are."""
    at = _aligned(entries, hash_, ENTRY_BYTES, 0)
    while at >= 0:
        yield int.from_bytes(entries[at + HASH_BYTES : at + ENTRY_BYTES])
        at = _aligned(entries, hash_, ENTRY_BYTES, at + ENTRY_BYTES)


def entry_id(block: int, bucket: int) -> int:
    """The id of a row of entries."""
    return block * BUCKETS + bucket


def entry_crc(id_: int, entries: bytes) -> int:
    """What a row of entries must come to."""
    return crc32(entries, id_ & 0xFFFFFFFF)


class KeyReading:
    """The statements of `sql/keys.sql` that read, on whichever connection."""

    def __init__(self, sealing: Sealing | None = None) -> None:
        self._sealing = sealing
        self.sql: Mapping[str, str] = load_statements("keys.sql")

    def hashes(self, db: sqlite3.Connection) -> KeyHashes:
        """Of this store."""
        secret = db.execute(self.sql["setup"]).fetchone()[0]
        if self._sealing is not None and self._sealing.is_on:
            try:
                secret = self._sealing.open("key_setup.secret", 1, secret)
            except Unopened:
                raise StoreError("what keys are hashed with is damaged in the store: put back a backup") from None
        return KeyHashes(secret)

    def unread(self, db: sqlite3.Connection) -> int:
        """Up to this seq, keys are still to be read."""
        return int(db.execute(self.sql["setup"]).fetchone()[1])

    def count_unread(self, db: sqlite3.Connection) -> int:
        """As KeyQueries.unread_keys."""
        unread = self.unread(db)
        return int(db.execute(self.sql["count_unread"], (unread,)).fetchone()[0]) if unread else 0

    def unmade(self, db: sqlite3.Connection, lowest: int, highest: int) -> list[int]:
        """Blocks between two seqs that have no entries, the newest first; none that holds nothing but unread ones."""
        least, newest = db.execute(self.sql["ends"]).fetchone()
        if least is None:
            return []
        first = block_of(max(lowest, least, self.unread(db) + 1))
        last = block_of(min(highest, newest))
        made = {row[0] for row in db.execute(self.sql["blocks"], (first, last))}
        return [block for block in range(last, first - 1, -1) if block not in made]

    def work(self, db: sqlite3.Connection) -> KeyWork:
        """As KeyQueries.key_work. A block is made when its last seq was given and none of it is unread."""
        unread = self.unread(db)
        _, newest = db.execute(self.sql["ends"]).fetchone()
        stale = [row[0] for row in db.execute(self.sql["stale_blocks"], (MOST_BLOCKS,))]
        if newest is None:
            return KeyWork(stale, MessageSeq(unread))
        whole = newest // BLOCK  # the first block that is not full
        unmade = [b for b in self.unmade(db, unread + 1, newest) if b < whole and first_of(b) > unread]
        return KeyWork((unmade + stale)[:MOST_BLOCKS], MessageSeq(unread))

    def draft(self, db: sqlite3.Connection, block: int) -> KeyBlock:
        """As KeyQueries.draft_keys."""
        first = first_of(block)
        buckets: list[list[bytes]] = [[] for _ in range(BUCKETS)]
        messages = 0
        for seq, packed in db.execute(self.sql["keys_of_block"], (first, first + BLOCK)):
            messages += 1
            place = (seq - first).to_bytes(2)
            hashes = hashes_in(packed)
            if hashes is None:
                log.error("E250 message %s: what it is looked up by does not match its checksum", seq)
                continue
            for at in range(0, len(hashes), HASH_BYTES):
                hash_ = hashes[at : at + HASH_BYTES]
                buckets[hash_[0] & (BUCKETS - 1)] += (hash_, place)
        return KeyBlock(block, messages, {n: b"".join(parts) for n, parts in enumerate(buckets) if parts})

    def bodies(self, db: sqlite3.Connection, upto: int, limit: int) -> list[tuple[MessageSeq, ChannelName, bytes]]:
        """As KeyQueries.bodies_without_keys."""
        found: list[tuple[MessageSeq, ChannelName, bytes]] = []
        size = 0
        for seq, channel, raw, crc in db.execute(self.sql["bodies_upto"], (upto, limit)):
            whole = raw if raw is not None and crc32(raw) == crc else b""
            found.append((seq, channel, whole))
            size += len(whole)
            if size >= PAGE_BYTES:
                break
        return found


class KeyWriting:
    """What the one connection that writes does about keys."""

    def __init__(self, db: WriteConnection) -> None:
        self._db = db
        self._reading = KeyReading(db.sealing)
        sql = self._sql = self._reading.sql
        self._rows = {name: RowStatement(text) for name, text in sql.items() if RowStatement.takes(text)}
        self._hashes = self._reading.hashes(db.connection)
        self._keys_of: KeysOf | None = None

    def read_by(self, keys_of: KeysOf) -> None:
        """As KeyStore.read_keys_by."""
        self._keys_of = keys_of

    def of(self, channel: ChannelName, raw: bytes) -> bytes:
        """What a new message's row holds."""
        return b"" if self._keys_of is None else self._hashes.packed(self._keys_of(channel, raw))

    def keep_block(self, block: KeyBlock) -> bool:
        """As KeyStore.keep_key_block. What was there before is overwritten, not only unlinked."""
        first = first_of(block.number)
        entries = entry_id(block.number, 0), entry_id(block.number + 1, 0)
        (secure,) = self._db.execute("PRAGMA secure_delete").fetchone()
        self._db.execute("PRAGMA secure_delete = ON")
        try:
            with self._db.transaction():
                count = self._db.execute(self._sql["count_block"], (first, first + BLOCK)).fetchone()[0]
                if count != block.messages:
                    return False
                self._db.execute(self._sql["forget_entries"], entries)
                rows: list[object] = []
                for bucket, packed in sorted(block.buckets.items()):
                    id_ = entry_id(block.number, bucket)
                    rows += (id_, packed, entry_crc(id_, packed))
                self._rows["insert_entries"].run(self._db.execute, rows)
                # Also of a block without messages, among others that have some: it is not to be looked at again.
                self._db.execute(self._sql["insert_block"], (block.number,))
            return True
        finally:
            if not self._db.is_broken:
                self._db.execute(f"PRAGMA secure_delete = {secure}")

    def fill_in(self, keys: Sequence[tuple[MessageSeq, Sequence[tuple[str, str]]]], unread: MessageSeq) -> None:
        """As KeyStore.fill_in_keys."""
        rows: list[object] = []
        for seq, values in keys:
            rows += (seq, self._hashes.packed(values))
        with self._db.transaction():
            self._rows["set_keys"].run(self._db.execute, rows)
            self._db.execute(self._sql["set_unread"], (unread,))

    def forget(self, seqs: Sequence[int]) -> None:
        """Messages are gone: their blocks are to be made anew. Within the transaction that they go in."""
        self._rows["mark_stale"].run(self._db.execute, sorted({block_of(seq) for seq in seqs}))
