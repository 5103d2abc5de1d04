"""Reading a store beside its writer, from any thread and from another process.

Every connection is read-only twice over (`mode=ro`, `query_only`), and is used by one thread at a time.
A list is read a page at a time: a read transaction that stays open would keep the write-ahead log from
starting again from its beginning.
"""

import sqlite3
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from engine.adapters.giving_way import aside
from engine.adapters.stores import faults
from engine.adapters.stores.access import AccessReading
from engine.adapters.stores.codes import DELIVERY_CODES, MESSAGE_CODES, MESSAGE_OF, mask
from engine.adapters.stores.connection import BUSY_TIMEOUT_S
from engine.adapters.stores.finding import Finding
from engine.adapters.stores.hand_offs import SqliteHandOffs
from engine.adapters.stores.keys import KeyReading
from engine.adapters.stores.operations import OperationReading
from engine.adapters.stores.reading import PAGE_ROWS, QueuedRows, Reading
from engine.adapters.stores.sealing import Sealing
from engine.adapters.stores.unlocking import KeyTable, unlock
from engine.adapters.stores.worklist import WorklistReading, counts_of, without_station
from engine.model.audit import AuditRow
from engine.model.envelope import Delivery, Known
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import DeliveryState, MessageState
from engine.model.store_key import NO_KEYS, KeysInUse, StoreKeys
from engine.ports.hand_off import HandOffView
from engine.ports.operations import AuditHead, Links, Pause
from engine.ports.search import SPAN, Find, Found, KeyBlock, KeyWork
from engine.ports.store import Arrived, LaneDepth, QueuedRow, StoredAttempt, StoredDelivery, StoredMessage, StoreError
from engine.ports.worklist import WorklistView
from engine.worklist.item import Status

CACHE_KIB = 2 * 1024
MOST_IDLE = 4
"""Connections that are kept for the next reader; those of a crowd beyond them are closed."""
PAGE_BYTES = 8 * 1024 * 1024
FEW = 10_000
"""Up to so many messages with a delivery in a state are looked at one by one; more are met often enough by walking."""

NO_SEQ_IS_AS_HIGH = 1 << 62


class Filters(NamedTuple):
    """What a list is narrowed by, as the statements take it. `channel` -1: one that has no messages."""

    channel: int | None
    states: int
    delivery_states: int
    since_us: int
    until_us: int


class SqliteQueries(AccessReading):
    """StoreQueries on the store at `path`.

    `on_damage` is told of queued deliveries whose bytes are not what they were. `keys`: the site's, for a sealed store.
    Every method raises StoreError when the store cannot be read (StoreBusy: locked for longer than the time-out;
    WrongKey: it is encrypted with another key).
    """

    def __init__(
        self,
        path: Path,
        on_damage: Callable[[DeliveryId, str], None] | None = None,
        *,
        keys: StoreKeys = NO_KEYS,
    ) -> None:
        self._path = path
        self._on_damage = on_damage
        self._site_keys = keys
        self._sealing = Sealing()
        self._reading = Reading(self._sealing)
        self._operations = OperationReading(self._sealing)
        self._finding = Finding(self._reading, self._in_rare_states, self._sealing)
        self._keys = KeyReading(self._sealing)
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    def message(self, seq: MessageSeq) -> StoredMessage | None:
        """One message with its bytes."""
        with self._reader() as db:
            return self._reading.message(db, seq, bodies=True)

    def deliveries(self, seq: MessageSeq, bodies: bool = False) -> Sequence[StoredDelivery]:
        """Its deliveries, oldest first."""
        with self._reader() as db:
            return self._reading.deliveries(db, seq, bodies=bodies)

    def attempts(self, seq: MessageSeq) -> Sequence[StoredAttempt]:
        """As StoreQueries.attempts."""
        with self._reader() as db:
            return self._reading.attempts(db, seq)

    def known(self, channel: ChannelName, sender: str, control_id: str, since_us: int) -> Sequence[Known]:
        """As Store.known."""
        with self._reader() as db:
            return self._reading.known(db, channel, sender, control_id, since_us)

    def queued(
        self,
        channel: ChannelName,
        destination: DestinationName,
        after: DeliveryId,
        limit: int,
        most_bytes: int | None = None,
    ) -> Sequence[Delivery]:
        """As Store.queued; damaged ones are reported to `on_damage`."""
        with self._reader() as db:
            good, bad = self._reading.queued(db, channel, destination, after, limit, most_bytes)
        if self._on_damage is not None:
            for id_, note in bad:
                self._on_damage(id_, note)
        return good

    def queued_rows(
        self, channel: ChannelName, destination: DestinationName, after: DeliveryId, limit: int
    ) -> Sequence[QueuedRow]:
        """As StoreQueries.queued_rows."""
        return self._queued_rows("queued_rows", channel, destination, limit, after=after)

    def queued_before(
        self, channel: ChannelName, destination: DestinationName, upto: DeliveryId, limit: int
    ) -> Sequence[DeliveryId]:
        """As StoreQueries.queued_before."""
        given = {"channel": channel, "destination": destination, "upto": upto, "limit": limit}
        with self._reader() as db:
            return [DeliveryId(id_) for (id_,) in db.execute(self._reading.sql["queued_before"], given)]

    def queued_of_key(
        self, channel: ChannelName, destination: DestinationName, key: str, after: DeliveryId, limit: int
    ) -> Sequence[QueuedRow]:
        """As StoreQueries.queued_of_key."""
        return self._queued_rows("queued_of_key", channel, destination, limit, key=key, after=after)

    def queued_urgent(
        self, channel: ChannelName, destination: DestinationName, after: DeliveryId, limit: int
    ) -> Sequence[QueuedRow]:
        """As StoreQueries.queued_urgent."""
        return self._queued_rows("queued_urgent", channel, destination, limit, after=after)

    def queued_waiting(
        self, channel: ChannelName, destination: DestinationName, after_us: int, limit: int
    ) -> Sequence[QueuedRow]:
        """As StoreQueries.queued_waiting."""
        return self._queued_rows("queued_waiting", channel, destination, limit, after_us=after_us)

    def _queued_rows(
        self, which: QueuedRows, channel: ChannelName, destination: DestinationName, limit: int, **given: object
    ) -> Sequence[QueuedRow]:
        with self._reader() as db:
            return self._reading.queued_rows(db, which, channel=channel, destination=destination, limit=limit, **given)

    def queued_delivery(self, id_: DeliveryId) -> Delivery | None:
        """As StoreQueries.queued_delivery; a damaged one is reported to `on_damage`."""
        with self._reader() as db:
            found, fault = self._reading.queued_delivery(db, id_)
        if fault and self._on_damage is not None:
            self._on_damage(id_, fault)
        return found

    def messages(
        self,
        *,
        channel: ChannelName | None = None,
        states: Sequence[MessageState] = (),
        delivery_states: Sequence[DeliveryState] = (),
        control_id: str | None = None,
        since_us: int = 0,
        until_us: int | None = None,
        before: MessageSeq | None = None,
        newest_first: bool = True,
        bodies: bool = False,
    ) -> Iterator[StoredMessage]:
        """Matching messages, lazily. Each page is what the store held when it was read."""
        with self._reader() as db:
            filters = Filters(
                self._channel_id(db, channel),
                mask(states, MESSAGE_CODES),
                mask(delivery_states, DELIVERY_CODES),
                since_us,
                (1 << 62) if until_us is None else until_us,
            )
            lowest = self._reading.lowest_seq(db, since_us) - 1 if since_us else 0
            highest = self._reading.highest_seq(db, until_us) if until_us is not None else NO_SEQ_IS_AS_HIGH
            if before is not None:
                highest = min(highest, before)
            few = self._candidates(db, filters, control_id, lowest, highest)
        if few is not None:
            return self._pages_of(array("q", sorted(few, reverse=newest_first)), filters, bodies)
        return self._walk(filters, lowest, highest, newest_first, bodies)

    def depths(self) -> Sequence[LaneDepth]:
        """Every lane that was ever used."""
        with self._reader() as db:
            return self._reading.depths(db)

    def lanes(self) -> Sequence[tuple[ChannelName, DestinationName]]:
        """As StoreQueries.lanes."""
        with self._reader() as db:
            rows = db.execute(self._reading.sql["lane_names"]).fetchall()
        return [(channel, destination) for _, channel, destination in rows]

    def counts(self) -> Mapping[tuple[ChannelName, MessageState], int]:
        """How many messages are in each state, by channel."""
        with self._reader() as db:
            rows = db.execute(self._reading.sql["counts"]).fetchall()
        return {(channel, MESSAGE_OF[state]): count for channel, state, count in rows}

    def seq_before(self, at_us: int) -> MessageSeq:
        """As StoreQueries.seq_before."""
        sql = self._reading.sql
        with self._reader() as db:
            newest: int | None = db.execute(sql["newest_seq"]).fetchone()[0]
            low, high = 0, newest or 0  # what is received before at_us: all up to low, none behind high
            while low < high:
                middle = (low + high + 1) // 2
                row = db.execute(sql["next_received"], (middle,)).fetchone()
                # Messages that are forgotten leave gaps: the row may be far behind the middle, and speaks for it.
                if row is None or row[1] >= at_us:
                    high = middle - 1
                else:
                    low = row[0]
            return MessageSeq(low)

    def arrivals(self, after: MessageSeq, span: int) -> tuple[Sequence[Arrived], MessageSeq, bool]:
        """As StoreQueries.arrivals."""
        sql = self._reading.sql
        with self._reader() as db:
            newest: int = db.execute(sql["newest_seq"]).fetchone()[0] or 0
            upto = min(after + span, newest)
            rows = db.execute(sql["arrivals"], {"after": after, "upto": upto}).fetchall()
            found = [Arrived(ChannelName(channel), *row) for channel, *row in rows]
            return found, MessageSeq(max(after, upto)), upto < newest

    def version_files(self, version: VersionId) -> Mapping[str, bytes] | None:
        """The files of one recorded state of a channel, by path."""
        with self._reader() as db:
            if db.execute(self._reading.sql["version"], (version,)).fetchone() is None:
                return None
            return dict(db.execute(self._reading.sql["version_files"], (version,)).fetchall())

    def keys_in_use(self) -> KeysInUse | None:
        """As StoreQueries.keys_in_use."""
        with self._reader() as db:
            return KeyTable().read(db).in_use

    # -- searches -------------------------------------------------------------------------------

    def find(
        self,
        wanted: Find,
        *,
        before: MessageSeq | None = None,
        after: MessageSeq | None = None,
        limit: int = 50,
        span: int = SPAN,
        bodies: bool = False,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> Found:
        """As KeyQueries.find."""
        with self._reader() as db:
            look = partial(
                self._finding.find,
                db,
                wanted,
                before=before,
                after=after,
                limit=limit,
                span=span,
                bodies=bodies,
                is_cancelled=is_cancelled,
            )
            # Looking through the bytes of messages is SQLite's work alone, but for a sealed store, whose are opened by
            # Python: a thread that may have to wait for the processor must not hold the interpreter's lock meanwhile.
            return aside(look) if wanted.texts and not self._sealing.is_on else look()

    def _in_rare_states(
        self, db: sqlite3.Connection, states: int, delivery_states: int, lowest: int, highest: int
    ) -> set[int] | None:
        filters = Filters(None, states, delivery_states, 0, NO_SEQ_IS_AS_HIGH)
        return self._candidates(db, filters, None, lowest, highest)

    def unread_keys(self) -> int:
        """As KeyQueries.unread_keys."""
        with self._reader() as db:
            return self._keys.count_unread(db)

    def key_work(self) -> KeyWork:
        """As KeyQueries.key_work."""
        with self._reader() as db:
            return self._keys.work(db)

    def draft_keys(self, block: int) -> KeyBlock:
        """As KeyQueries.draft_keys."""
        with self._reader() as db:
            return self._keys.draft(db, block)

    def bodies_without_keys(self, upto: MessageSeq, limit: int) -> Sequence[tuple[MessageSeq, ChannelName, bytes]]:
        """As KeyQueries.bodies_without_keys."""
        with self._reader() as db:
            return self._keys.bodies(db, upto, limit)

    # -- what people did ------------------------------------------------------------------------

    def delivery_states(
        self, ids: Sequence[DeliveryId]
    ) -> dict[DeliveryId, tuple[DeliveryState, MessageSeq, ChannelName, DestinationName]]:
        """As OperationQueries.delivery_states."""
        with self._reader() as db:
            return self._operations.states(db, ids)

    def audit(self, after: int = 0, limit: int = 1000) -> Sequence[AuditRow]:
        """As OperationQueries.audit."""
        with self._reader() as db:
            return self._operations.audit(db, after, limit)

    def audit_head(self) -> AuditHead:
        """As OperationQueries.audit_head."""
        with self._reader() as db:
            return self._operations.head(db)

    def paused(self) -> Sequence[Pause]:
        """As OperationQueries.paused."""
        with self._reader() as db:
            return self._operations.pauses(db)

    def links(self, seq: MessageSeq) -> Links:
        """As OperationQueries.links."""
        with self._reader() as db:
            return self._operations.links(db, seq)

    def last_version(self, channel: ChannelName) -> VersionId | None:
        """As OperationQueries.last_version."""
        with self._reader() as db:
            return self._operations.last_version(db, channel)

    def close(self) -> None:
        """Let go of the connections; one in use goes when its query ends."""
        self._closed = True
        while True:
            try:
                db = self._idle.pop()
            except IndexError:
                return
            db.close()

    # -- pages ----------------------------------------------------------------------------------

    def _channel_id(self, db: sqlite3.Connection, channel: ChannelName | None) -> int | None:
        if channel is None:
            return None
        row = db.execute(self._reading.sql["channel_id"], (channel,)).fetchone()
        return -1 if row is None else int(row[0])

    def _candidates(
        self, db: sqlite3.Connection, filters: Filters, control_id: str | None, lowest: int, highest: int
    ) -> set[int] | None:
        """Seqs that an index knows to hold all that can match, or None where the list has to be walked."""
        sql = self._reading.sql
        bounds: dict[str, object] = {"before": highest, "after": lowest}
        if control_id is not None:
            return {row[0] for row in db.execute(sql["seqs_with_control_id"], bounds | {"control_id": control_id})}
        aside = [MESSAGE_CODES[state] for state in ("received", "held", "rejected", "discarded")]
        if filters.states and not filters.states & ~sum(1 << code for code in aside):
            wanted = [code for code in aside if filters.states & (1 << code)]
            return {row[0] for code in wanted for row in db.execute(sql["seqs_aside"], bounds | {"state": code})}
        if filters.states == 1 << MESSAGE_CODES["waiting"]:
            return {row[0] for row in db.execute(sql["seqs_waiting"], bounds)}
        if filters.delivery_states and not filters.delivery_states & (1 << DELIVERY_CODES["delivered"]):
            found: set[int] = set()
            limit = {"limit": FEW + 1}
            if filters.delivery_states & (1 << DELIVERY_CODES["queued"]):
                found.update(row[0] for row in db.execute(sql["seqs_with_queued"], limit))
            for state in (DELIVERY_CODES["held"], DELIVERY_CODES["failed"]):
                if filters.delivery_states & (1 << state):
                    found.update(row[0] for row in db.execute(sql["seqs_with_aside"], limit | {"state": state}))
            if filters.delivery_states & (1 << DELIVERY_CODES["redirected"]):
                found.update(row[0] for row in db.execute(sql["seqs_redirected"], limit))
            if len(found) <= FEW:
                return {seq for seq in found if lowest < seq < highest}
        return None

    def _pages_of(self, seqs: "array[int]", filters: Filters, bodies: bool) -> Iterator[StoredMessage]:
        left = iter(seqs)
        while page := list(islice(left, PAGE_ROWS)):
            at = 0
            while at < len(page):
                found: list[StoredMessage] = []
                with self._reader() as db:
                    size = 0
                    while at < len(page) and size < PAGE_BYTES:
                        seq = page[at]
                        at += 1
                        if db.execute(self._reading.sql["seq_matches"], {"seq": seq, **filters._asdict()}).fetchone():
                            size += self._take(db, seq, bodies, found)
                yield from found

    def _walk(
        self, filters: Filters, lowest: int, highest: int, newest_first: bool, bodies: bool
    ) -> Iterator[StoredMessage]:
        statement = self._reading.sql["newest_seqs" if newest_first else "oldest_seqs"]
        while True:
            found: list[StoredMessage] = []
            size = 0
            with self._reader() as db:
                bounds = {"before": highest, "after": lowest, "limit": PAGE_ROWS}
                for (seq,) in db.execute(statement, {**bounds, **filters._asdict()}).fetchall():
                    size += self._take(db, seq, bodies, found)
                    if newest_first:
                        highest = seq
                    else:
                        lowest = seq
                    if size >= PAGE_BYTES:
                        break
            if not found:
                return
            yield from found

    def _take(self, db: sqlite3.Connection, seq: int, bodies: bool, found: list[StoredMessage]) -> int:
        """Add one message to the page, unless it was deleted meanwhile; its size in bytes."""
        stored = self._reading.message(db, MessageSeq(seq), bodies=bodies)
        if stored is None:
            return 0
        found.append(stored)
        return len(stored.raw or b"")

    # -- worklists ------------------------------------------------------------------------------

    def worklist(self, name: str) -> AbstractContextManager[WorklistView]:
        """As WorklistQueries.worklist."""
        return self._worklist(name)

    @contextmanager
    def _worklist(self, name: str) -> Iterator[WorklistView]:
        with self._reader() as db:
            yield WorklistReading(db.execute, name, self._sealing)

    @contextmanager
    def hand_offs(self) -> Iterator[HandOffView]:
        """As HandOffQueries.hand_offs."""
        with self._reader() as db:
            yield SqliteHandOffs(db.execute, self._sealing)

    def worklist_counts(self) -> Mapping[tuple[str, Status], int]:
        """As WorklistQueries.worklist_counts."""
        with self._reader() as db:
            return counts_of(db.execute)

    def worklist_without_station(self) -> Mapping[str, int]:
        """As WorklistQueries.worklist_without_station."""
        with self._reader() as db:
            return without_station(db.execute)

    # -- connections ----------------------------------------------------------------------------

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """A connection for one short read transaction."""
        if self._closed:
            raise StoreError("these queries were closed")
        try:
            db = self._idle.pop()
        except IndexError:
            db = self._connect()
        try:
            db.execute("BEGIN")
            yield db
        except faults.ERRORS as exc:
            raise faults.on_reading(exc) from exc
        finally:
            self._give_back(db)

    def _give_back(self, db: sqlite3.Connection) -> None:
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        except faults.ERRORS:
            db.close()
            return
        if len(self._idle) >= MOST_IDLE:
            db.close()  # of a crowd that is gone; each keeps descriptors and a cache of its own
            return
        self._idle.append(db)
        if self._closed:
            self.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            db.text_factory = faults.read_text
            try:
                unlock(db, self._path, self._site_keys, self._sealing)
            except BaseException:
                db.close()
                raise
            for setting in (
                "query_only = ON",
                f"cache_size = -{CACHE_KIB}",
                "trusted_schema = OFF",
                "cell_size_check = ON",
            ):
                db.execute(f"PRAGMA {setting}")
        except faults.ERRORS as exc:
            raise StoreError(f"{self._path} cannot be opened for reading ({faults.name_of(exc)})") from exc
        return db
