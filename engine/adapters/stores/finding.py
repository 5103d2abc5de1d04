"""Searches in a store in SQLite: which messages are looked at, and in which order (`engine.ports.search`).

Keys and control ids lead to the few that can match, and so do states that are rare; everything else is walked from the
newest on, `span` messages a piece. Each piece is a short read transaction of its own: one that stays open would keep
the write-ahead log from starting again from its beginning.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Final

from engine.adapters.stores import faults
from engine.adapters.stores.codes import DELIVERY_CODES, MESSAGE_CODES, mask
from engine.adapters.stores.keys import (
    BLOCK,
    KeyHashes,
    KeyReading,
    block_of,
    bucket_of,
    entry_crc,
    entry_id,
    first_of,
    holds,
    places,
)
from engine.adapters.stores.reading import Reading
from engine.adapters.stores.sealing import Sealing
from engine.adapters.stores.statements import load_statements
from engine.model.ids import MessageSeq
from engine.ports.search import Find, Found, SearchCancelled
from engine.ports.store import StoredMessage

STEPS: Final = 20_000
"""Between two questions whether the search is cancelled, in instructions of SQLite's machine: about a millisecond."""
PAGE_BYTES: Final = 8 * 1024 * 1024
MOST_WAYS: Final = 6
HIGHEST: Final = 1 << 62
SEALED_SPAN: Final = 2000
"""Of a sealed store, so many messages are looked through for a text in one piece: each is opened by a call of Python,
which takes turns with whatever else the process does, some 10 us at a time."""
CANDIDATES: Final = 1000
"""So many that an index leads to are looked at in one piece."""


Rare = Callable[[sqlite3.Connection, int, int, int, int], set[int] | None]
"""Given states and states of deliveries, one of them 0, and the two seqs around: those that an index knows to hold all
that can match; None where it leads to too many."""


@dataclass(slots=True)
class Bounds:
    """Between which seqs, both outside, and how much."""

    after: int
    before: int
    limit: int
    span: int


class Finding:
    """Answers one piece of a search on a connection that reads. `rare`: what leads to states that few are in."""

    def __init__(self, reading: Reading, rare: Rare, sealing: Sealing | None = None) -> None:
        self._reading = reading
        self._rare = rare
        self._sealing = sealing
        self._keys = KeyReading(sealing)
        self._sql = load_statements("find.sql")
        self._hashes: KeyHashes | None = None

    def find(
        self,
        db: sqlite3.Connection,
        wanted: Find,
        *,
        before: int | None,
        after: int | None,
        limit: int,
        span: int,
        bodies: bool,
        is_cancelled: Callable[[], bool] | None,
    ) -> Found:
        """As KeyQueries.find."""
        if is_cancelled is not None:
            db.set_progress_handler(lambda: 1 if is_cancelled() else 0, STEPS)
        try:
            return self._find(db, wanted, before, after, limit, span, bodies)
        except sqlite3.OperationalError as exc:
            if is_cancelled is not None and faults.primary_code(exc) == sqlite3.SQLITE_INTERRUPT:
                raise SearchCancelled from None
            raise
        finally:
            if is_cancelled is not None:
                db.set_progress_handler(None, 0)

    def _find(
        self,
        db: sqlite3.Connection,
        wanted: Find,
        before: int | None,
        after: int | None,
        limit: int,
        span: int,
        bodies: bool,
    ) -> Found:
        newest = db.execute(self._sql["newest"]).fetchone()[0] or 0
        highest = newest + 1 if before is None else min(before, newest + 1)
        if wanted.until_us is not None:
            highest = min(highest, self._reading.highest_seq(db, wanted.until_us))
        lowest = self._reading.lowest_seq(db, wanted.since_us) - 1 if wanted.since_us else 0
        if after is not None:
            lowest = max(lowest, after)
        bounds = Bounds(lowest, highest, limit, span)
        filters = self._filters(db, wanted)
        if filters is None or highest <= lowest + 1:
            return Found((), None, 0, 0)
        led = self._led(db, wanted, bounds)
        if led is None:
            return self._walk(db, wanted, bounds, filters, bodies)
        return self._follow(db, wanted, led, bounds, filters, bodies)

    def _filters(self, db: sqlite3.Connection, wanted: Find) -> dict[str, object] | None:
        """What the statements are given; None for channels that have no messages."""
        channel: int | None = None
        if wanted.channel is not None:
            row = db.execute(self._reading.sql["channel_id"], (wanted.channel,)).fetchone()
            if row is None:
                return None
            channel = row[0]
        channels: str | None = None
        if wanted.channels is not None:
            rows = [db.execute(self._reading.sql["channel_id"], (name,)).fetchone() for name in wanted.channels]
            ids = [str(row[0]) for row in rows if row is not None]
            if not ids:
                return None
            channels = f",{','.join(ids)},"
        return {
            "channel": channel,
            "channels": channels,
            "since_us": wanted.since_us,
            "until_us": HIGHEST if wanted.until_us is None else wanted.until_us,
            "type": wanted.message_type,
            "sender": None if wanted.sender is None else f"|{wanted.sender.lower()}|",
            "states": mask(wanted.states, MESSAGE_CODES),
            "delivery_states": mask(wanted.delivery_states, DELIVERY_CODES),
        }

    # -- walking --------------------------------------------------------------------------------

    def _walk(
        self, db: sqlite3.Connection, wanted: Find, bounds: Bounds, filters: dict[str, object], bodies: bool
    ) -> Found:
        """From the newest on, no more than `span` of them."""
        span = bounds.span
        if wanted.texts and self._sealing is not None and self._sealing.is_on:
            span = min(span, SEALED_SPAN)
        after = max(bounds.after, bounds.before - 1 - span)
        given = {**filters, "before": bounds.before, "after": after, "limit": bounds.limit}
        statement = "find_walk"
        if wanted.texts:
            statement = "find_in_text"
            ways = [*wanted.texts[0][:MOST_WAYS], *(None,) * MOST_WAYS]
            given |= {f"text_{n + 1}": ways[n] for n in range(MOST_WAYS)}
        found: list[StoredMessage] = []
        at = bounds.before
        size = count = 0
        for (seq,) in db.execute(self._sql[statement], given).fetchall():
            count += 1
            at = seq
            size += self._take(db, seq, wanted.texts[1:], bodies, found)
            if size >= PAGE_BYTES:
                break
        if count >= bounds.limit or size >= PAGE_BYTES:
            after = at - 1
        left = after - bounds.after
        return Found(found, MessageSeq(after + 1) if left > 0 else None, bounds.before - 1 - after, max(0, left))

    # -- where an index leads -------------------------------------------------------------------

    def _led(self, db: sqlite3.Connection, wanted: Find, bounds: Bounds) -> Iterator[int] | None:
        """The seqs that can match, newest first; None where nothing leads to few."""
        within = {"before": bounds.before, "after": bounds.after}
        if wanted.keys or wanted.any_of:
            group = wanted.any_of if not wanted.keys else wanted.keys[:1]
            hashes = [self._hash(db, name, value) for name, value in group]
            by_key = self._by_keys(db, hashes, bounds)
            if wanted.keys or wanted.or_control_id is None:
                return by_key
            named = {**within, "control_id": wanted.or_control_id, "limit": -1}
            by_id = (seq for (seq,) in db.execute(self._sql["newest_with_control_id"], named))
            return merge(by_key, by_id, reverse=True)
        control_id = wanted.control_id if wanted.control_id is not None else wanted.or_control_id
        if control_id is not None:
            named = {**within, "control_id": control_id, "limit": -1}
            return (seq for (seq,) in db.execute(self._sql["newest_with_control_id"], named))
        states, of_deliveries = mask(wanted.states, MESSAGE_CODES), mask(wanted.delivery_states, DELIVERY_CODES)
        few: set[int] = set()
        for pair in ((states, 0), (0, of_deliveries)):
            if any(pair):
                found = self._rare(db, *pair, bounds.after, bounds.before)
                if found is None:
                    return None
                few |= found
        return iter(sorted(few, reverse=True)) if states or of_deliveries else None

    def _hash(self, db: sqlite3.Connection, name: str, value: str) -> bytes:
        if self._hashes is None:
            self._hashes = self._keys.hashes(db)
        return self._hashes.of(name, value)

    def _by_keys(self, db: sqlite3.Connection, hashes: Sequence[bytes], bounds: Bounds) -> Iterator[int]:
        """Seqs whose messages may have one of these keys, newest first; one that has several comes more than once."""
        unmade = self._keys.unmade(db, bounds.after + 1, bounds.before - 1)
        return merge(*(self._by_key(db, hash_, bounds, unmade) for hash_ in hashes), reverse=True)

    def _by_key(self, db: sqlite3.Connection, hash_: bytes, bounds: Bounds, unmade: Sequence[int]) -> Iterator[int]:
        lowest, highest = block_of(bounds.after + 1), block_of(bounds.before - 1)
        given = {"bucket": bucket_of(hash_), "lowest": lowest, "highest": highest}
        waiting = list(reversed(unmade))
        for block, entries, crc in db.execute(self._sql["entries_of_bucket"], given):
            while waiting and waiting[-1] > block:
                yield from self._in_rows(db, hash_, waiting.pop(), bounds)
            if entry_crc(entry_id(block, bucket_of(hash_)), entries) != crc:
                yield from self._in_rows(db, hash_, block, bounds)
                continue
            first = first_of(block)
            for place in sorted(places(entries, hash_), reverse=True):
                if bounds.after < first + place < bounds.before:
                    yield first + place
        while waiting:
            yield from self._in_rows(db, hash_, waiting.pop(), bounds)

    def _in_rows(self, db: sqlite3.Connection, hash_: bytes, block: int, bounds: Bounds) -> list[int]:
        """Of a block without entries: its messages are looked through."""
        first = first_of(block)
        given = {
            "after": max(bounds.after, first - 1),
            "before": min(bounds.before, first + BLOCK),
            "hash": hash_,
        }
        rows = db.execute(self._sql["keys_of_range"], given)
        return sorted((seq for seq, packed in rows if holds(packed, hash_)), reverse=True)

    def _follow(
        self,
        db: sqlite3.Connection,
        wanted: Find,
        led: Iterator[int],
        bounds: Bounds,
        filters: dict[str, object],
        bodies: bool,
    ) -> Found:
        every = [self._hash(db, *pair) for pair in wanted.keys]
        any_of = [self._hash(db, *pair) for pair in wanted.any_of]
        found: list[StoredMessage] = []
        looked_at = size = 0
        last = bounds.before
        for seq in led:
            if seq == last:
                continue
            if looked_at >= CANDIDATES or len(found) >= bounds.limit or size >= PAGE_BYTES:
                return Found(found, MessageSeq(last), looked_at, 0)
            last = seq
            looked_at += 1
            row = db.execute(self._sql["keys_of_message"], (seq,)).fetchone()
            if row is None or not self._has_keys(row[0], row[1], wanted, every, any_of):
                continue
            if db.execute(self._sql["find_matches"], {"seq": seq, **filters}).fetchone() is not None:
                size += self._take(db, seq, wanted.texts, bodies, found)
        return Found(found, None, looked_at, 0)

    def _has_keys(
        self,
        packed: bytes | None,
        control_id: str,
        wanted: Find,
        every: Sequence[bytes],
        any_of: Sequence[bytes],
    ) -> bool:
        if wanted.control_id is not None and control_id != wanted.control_id:
            return False
        if not all(holds(packed, hash_) for hash_ in every):
            return False
        if not wanted.any_of and wanted.or_control_id is None:
            return True
        return control_id == wanted.or_control_id or any(holds(packed, hash_) for hash_ in any_of)

    def _take(
        self,
        db: sqlite3.Connection,
        seq: int,
        texts: Sequence[Sequence[bytes]],
        bodies: bool,
        found: list[StoredMessage],
    ) -> int:
        """Add one message, if these texts stand in it; its size in bytes."""
        stored = self._reading.message(db, MessageSeq(seq), bodies=bodies or bool(texts))
        if stored is None:
            return 0
        if texts and (stored.raw is None or not has_texts(stored.raw, texts)):
            return 0
        found.append(stored)
        return len(stored.raw or b"")


def has_texts(raw: bytes, texts: Sequence[Sequence[bytes]]) -> bool:
    """Whether of each text at least one way to write it stands in these bytes."""
    lowered = raw.lower()
    return all(any(way in lowered for way in ways) for ways in texts)
