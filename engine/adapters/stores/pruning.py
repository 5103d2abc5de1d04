"""Forgetting in a store in SQLite: one slice a transaction, and the freed room given back in slices, too.

What is deleted is overwritten with zeros (`secure_delete`), which costs the deleting a second write of those pages,
and nobody else anything. Bytes are in the write-ahead log as well, until it starts again from its beginning.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from engine.adapters.stores import faults
from engine.adapters.stores.connection import PAGE_BYTES, WriteConnection
from engine.adapters.stores.draft import HOUR_US
from engine.adapters.stores.keys import KeyWriting
from engine.adapters.stores.reading import Reading
from engine.adapters.stores.statements import RowStatement, load_statements
from engine.model.ids import MessageSeq
from engine.ports.store import WRONG_AHEAD_US, Prune, Pruned

KEPT_FREE_SHARE = 10
"""A tenth of the file may be free and stay: the next messages take it, and the file need not grow again."""
KEPT_FREE_PAGES = 1000
MOST_PIECES = 128
"""Of large bodies, so many pieces (32 MB) go in one transaction, or those of one message: commits wait for it."""
PIECE_BYTES = 256 * 1024


class Pruning:
    """The statements of `sql/prune.sql`. Used by the thread that writes."""

    def __init__(self, db: WriteConnection, reading: Reading, keys: KeyWriting) -> None:
        self._db = db
        self._keys = keys
        self._reading = reading
        self._sql = load_statements("prune.sql")
        self._rows = {name: RowStatement(sql) for name, sql in self._sql.items() if RowStatement.takes(sql)}

    def prune(self, order: Prune, newest: MessageSeq, also: Callable[[Counter[tuple[int, int]]], None]) -> Pruned:
        """As Store.prune. `newest`: the last seq given. `also`: what else belongs into the transaction, given how
        many messages of each (channel, state) went."""
        before = max(order.bodies_before_us, order.messages_before_us)
        keep_from, keep_whole_from = self._young(order, before), self._young(order, order.messages_before_us)
        end = min(newest, self._reading.highest_seq(self._db.connection, before), keep_from - 1)
        upto = min(order.after + order.span, end)
        found = self._finished(order, upto, before, keep_whole_from)
        few = self._few(found, order.most_bytes)
        if found and not few:
            return Pruned(0, 0, MessageSeq(found[0][0] - 1), is_large=True)
        if few < len(found):
            found = found[:few]
            upto = found[-1][0]
        gone = [row for row in found if row[4]]
        emptied = [row for row in found if not row[4]]
        (secure,) = self._db.execute("PRAGMA secure_delete").fetchone()
        self._db.execute("PRAGMA secure_delete = ON")
        try:
            with self._db.transaction():
                self._forget_bodies([row[0] for row in found], [row[3] for row in found if row[3] is not None])
                for name in ("empty_messages", "empty_attempts", "empty_deliveries"):
                    self._rows[name].run(self._db.execute, [row[0] for row in emptied])
                for name in ("delete_attempts", "delete_more", "delete_deliveries", "delete_links", "delete_messages"):
                    self._rows[name].run(self._db.execute, [row[0] for row in gone])
                self._keys.forget([row[0] for row in gone])
                also(Counter((channel, state) for _, channel, state, _, _ in gone))
        finally:
            if not self._db.is_broken:
                self._db.execute(f"PRAGMA secure_delete = {secure}")
        return Pruned(len(emptied), len(gone), None if upto >= end else MessageSeq(upto))

    def _young(self, order: Prune, before: int) -> int:
        """From this seq on, every message came after one that was received later than `before`."""
        hours = (before // HOUR_US, (order.now_us + WRONG_AHEAD_US) // HOUR_US)
        try:
            (first,) = self._db.execute(self._sql["young"], hours).fetchone()
        except faults.ERRORS as exc:
            raise faults.on_reading(exc) from exc
        return 1 << 62 if first is None else int(first)

    def _finished(
        self, order: Prune, upto: int, before: int, keep_whole_from: int
    ) -> list[tuple[int, int, int, int | None, int]]:
        """(seq, channel, state, body, whether all of it goes) of what may be forgotten."""
        given = {
            "after": order.after,
            "upto": upto,
            "before": before,
            "messages_before": order.messages_before_us,
            "keep_whole_from": keep_whole_from,
            "channel": order.channel,
        }
        try:
            return self._db.execute(self._sql["finished"], given).fetchall()
        except faults.ERRORS as exc:
            raise faults.on_reading(exc) from exc

    def _few(self, found: Sequence[tuple[int, int, int, int | None, int]], most_bytes: int | None) -> int:
        """How many of these may go at once: one at the least, but for `most_bytes`."""
        seqs = [row[0] for row in found]
        try:
            has_pieces = self._db.execute(self._sql["any_piece"]).fetchone() is not None
            pieces = dict(self._rows["pieces_of"].fetch(self._db.execute, seqs)) if has_pieces else {}
            sizes = dict(self._rows["bytes_of"].fetch(self._db.execute, seqs)) if most_bytes is not None else {}
        except faults.ERRORS as exc:
            raise faults.on_reading(exc) from exc
        total = size = 0
        for count, seq in enumerate(seqs):
            total += pieces.get(seq, 0)
            size += sizes.get(seq, 0) + pieces.get(seq, 0) * PIECE_BYTES
            if most_bytes is not None and size > most_bytes:
                return count
            if total > MOST_PIECES and count:
                return count
        return len(found)

    def _forget_bodies(self, seqs: Sequence[int], bodies: Sequence[int]) -> None:
        self._rows["delete_bodies_of_deliveries"].run(self._db.execute, seqs)
        self._rows["delete_bodies"].run(self._db.execute, bodies)

    def used_bytes(self) -> int:
        """As Store.used_bytes."""
        pages, free = self._pages()
        return (pages - free) * PAGE_BYTES

    def give_back(self, most_bytes: int) -> bool:
        """As Store.give_back. A store that was made without the means for it keeps its room for itself."""
        self._db.check()
        (kind,) = self._db.execute("PRAGMA auto_vacuum").fetchone()
        pages, free = self._pages()
        spare = free - max(KEPT_FREE_PAGES, pages // KEPT_FREE_SHARE)
        if kind != 2 or spare <= 0:
            return False
        slice_ = min(spare, max(1, most_bytes // PAGE_BYTES))
        with self._db.transaction():
            self._db.execute(f"PRAGMA incremental_vacuum({slice_})").fetchall()
        return spare > slice_

    def empty_log(self) -> bool:
        """Move all of the write-ahead log into the file and cut it; False while a reader is in the way."""
        self._db.execute("PRAGMA busy_timeout = 0")
        try:
            return self._db.checkpoint("TRUNCATE")
        finally:
            if not self._db.is_broken:
                self._db.execute(f"PRAGMA busy_timeout = {round(self._db.busy_timeout_s * 1000)}")

    def _pages(self) -> tuple[int, int]:
        self._db.check()
        try:
            (pages,) = self._db.execute("PRAGMA page_count").fetchone()
            (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        except faults.ERRORS as exc:
            raise faults.on_reading(exc) from exc
        return pages, free
