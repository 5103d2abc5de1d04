"""The store in one SQLite file: what is committed here survives a power cut (reliability.md sections 0 and 1).

The life of a store::

    closed --open--> open --close--> closed    the file says whether the last stop was a clean one
                     open --the outcome of a commit is not known--> broken    everything raises CommitUnknown

Opening: lock, file system, checkpoint of all that recovery found in the log (which syncs it anew),
check, migrate, mark what may have been sent unrecorded. What a commit writes is in `writing`, which
ids it takes in `draft`, what its errors prove in `faults`.
"""

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import Literal, TypeVar

from engine.adapters.stores import faults, health, schema
from engine.adapters.stores.ageing import age_worklists
from engine.adapters.stores.connection import BUSY_TIMEOUT_S, WriteConnection
from engine.adapters.stores.hand_offs import hand_over
from engine.adapters.stores.keys import KeyWriting
from engine.adapters.stores.operations import OperationReading, Operations
from engine.adapters.stores.performed import SqlitePerformed, perform
from engine.adapters.stores.place import StoreLock, refuse_network_file_system, sync_folder
from engine.adapters.stores.pruning import Pruning
from engine.adapters.stores.queries import SqliteQueries
from engine.adapters.stores.reading import Reading, with_damage
from engine.adapters.stores.sealing import LOW, Sealing
from engine.adapters.stores.starting import count_ahead, give_back, look, unlock_writer
from engine.adapters.stores.writing import Writing
from engine.model.envelope import AckUpdate, Batch, Committed, Delivery, DraftDelivery, Known, Reprocessed
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import DeliveryState
from engine.model.store_key import NO_KEYS, StoreKeys
from engine.ports.clock import Clock, SystemClock
from engine.ports.hand_off import HandedOver
from engine.ports.operations import Change, Changed, Pause, Progress
from engine.ports.search import KeyBlock, KeysOf
from engine.ports.store import Prune, Pruned, StoredMessage, StoreError
from engine.ports.worklist import Aged, MppsReply, PerformedOrder, Teller

T = TypeVar("T")

OLDEST_SQLITE = (3, 33, 0)
"""UPDATE ... FROM."""

CHECKPOINT_PAGES = 500
"""A checkpoint holds up the commits behind it, so it is taken in small bites. Measured with commits of 8
messages (0.4 ms each): bites of 500 pages last 1.6 ms and leave a message that comes at any moment a p99
of 2.3 ms; of 1,000 pages 2.8 and 3.4 ms; of 8,000 pages 17 and 16 ms. What is carried a second is the same
for all; below 500 the syncs begin to cost (a checkpoint has two)."""

IDLE_CHECKPOINT_PAGES = 100


class SqliteStore:
    """Store in the file `path`, which is made with its folder where it is not there.

    `allow_network`: open it on a network file system all the same. `full_check_bytes`: up to this size
    the whole file is checked at the start. `busy_timeout_s`: how long a commit waits for another
    process that has the file locked. `keys`: the site's, with which what is stored is
    encrypted. `connect` is for tests that make the disk fail. `on_damage` is told how many more
    messages and deliveries are held, as their bytes are not what was stored.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock | None = None,
        allow_network: bool = False,
        full_check_bytes: int = health.FULL_CHECK_BYTES,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        keys: StoreKeys = NO_KEYS,
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
        on_damage: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.path = Path(path)
        self._clock = clock or SystemClock()
        self._allow_network = allow_network
        self._full_check_bytes = full_check_bytes
        self._busy_timeout_s = busy_timeout_s
        self._connect = connect
        self._on_damage = on_damage
        self._lock = StoreLock(self.path)
        self._site_keys = keys
        self._sealing = Sealing()
        self._reading = Reading(self._sealing)
        self._db: WriteConnection | None = None
        self._warm: FileIO | None = None
        self._writing: Writing | None = None
        self._pruning: Pruning | None = None
        self._keys: KeyWriting | None = None
        self._keys_of: KeysOf | None = None
        self._operations: Operations | None = None
        self._operation_reading = OperationReading(self._sealing)
        self._windows: dict[tuple[ChannelName, DestinationName], int] = {}
        self._damaged: deque[tuple[DeliveryId, str]] = deque()

    # -- open and close -------------------------------------------------------------------------

    def open(self) -> None:
        """As Store.open. The file and its folder are made for their owner only."""
        if self._db is not None:
            raise StoreError(f"{self.path} is open already")
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreError(f"Python's SQLite is {sqlite3.sqlite_version}; the store needs 3.33 or later")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise StoreError(f"the folder of {self.path} cannot be made: {exc.strerror}") from exc
        if not self._allow_network:
            refuse_network_file_system(self.path.parent)
        self._lock.acquire()
        db: WriteConnection | None = None
        try:
            schema.refuse_newer(self.path, schema.load_migrations()[-1].number)
            look(self.path, self._site_keys)
            self._make_private()
            self._warm = health.read_through(self.path, self._full_check_bytes)
            db = WriteConnection(
                self.path, busy_timeout_s=self._busy_timeout_s, sealing=self._sealing, connect=self._connect
            )
            self._prepare(db)
        except BaseException as exc:
            self._let_go(db)
            if isinstance(exc, OSError):
                raise StoreError(f"{self.path} cannot be read: {exc.strerror}") from exc
            if isinstance(exc, faults.ERRORS):
                if faults.primary_code(exc) in (
                    sqlite3.SQLITE_CORRUPT,
                    sqlite3.SQLITE_NOTADB,
                    sqlite3.SQLITE_ERROR,
                    None,
                ):
                    raise health.damaged(self.path, faults.name_of(exc)) from exc
                raise StoreError(f"{self.path} cannot be opened ({faults.name_of(exc)})") from exc
            raise
        self._db = db

    def _make_private(self) -> None:
        """Messages are nobody else's to read; the log and its index take the file's mode."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return
        except OSError as exc:
            raise StoreError(f"{self.path} cannot be opened: {exc.strerror}") from exc

    def _prepare(self, db: WriteConnection) -> None:
        db.set_up()
        db.recover()
        health.check(db.connection, self.path, self._full_check_bytes)
        schema.migrate(db.connection, self.path, schema.load_migrations())
        health.repair_queue(db.connection, self.path, self._full_check_bytes)
        unlock_writer(db, self._site_keys, self._clock.now_us())
        keys = self._keys = KeyWriting(db)
        if self._keys_of is not None:
            keys.read_by(self._keys_of)
        writing = Writing(db, self._clock, keys)
        writing.load()
        writing.start_run()
        sync_folder(self.path.parent)
        db.settle()
        self._writing = writing
        self._pruning = Pruning(db, self._reading, keys)
        self._operations = Operations(db, writing, self._clock)
        self._windows.clear()
        self._damaged.clear()

    def close(self, *, clean: bool = True) -> None:
        """As Store.close; after a commit whose outcome is open, the stop is not a clean one."""
        if self._db is None:
            return
        db, self._db = self._db, None
        try:
            if self._writing is not None and clean and not db.is_broken:
                give_back(db)
                self._writing.end_run()
        finally:
            self._writing = None
            self._sealing.lock()
            self._let_go(db)

    def _let_go(self, db: WriteConnection | None) -> None:
        if db is not None:
            db.close()
        if self._warm is not None:
            self._warm.close()
            self._warm = None
        self._lock.release()

    def queries(self) -> SqliteQueries:
        """A reader of the same file."""
        return SqliteQueries(
            self.path, on_damage=lambda id_, note: self._damaged.append((id_, note)), keys=self._site_keys
        )

    # -- writing --------------------------------------------------------------------------------

    def commit(self, batch: Batch) -> Committed:
        """As Store.commit."""
        damaged = list(self._damaged)
        if self._sealing.is_on and self._sealing.left < LOW:
            count_ahead(self._open_db(), self._site_keys, self._clock.now_us())
        committed = self._open_writing().commit(batch, damaged)
        for _ in damaged:
            self._damaged.popleft()
        if damaged:
            # A window that is read again finds the same one again before it is held.
            self._on_damage(len({id_ for id_, _ in damaged}))
        return committed

    def lane_window(
        self, channel: ChannelName, destination: DestinationName, window: int, order_by: str = ""
    ) -> DeliveryId:
        """As Store.lane_window: the first number of a run replaces that of the run before."""
        most = max(window, self._windows.get((channel, destination), 0))
        first = self._open_writing().set_window(channel, destination, most, order_by)
        self._windows[channel, destination] = most
        return first

    def channel_version(self, channel: ChannelName, files: Mapping[str, bytes]) -> VersionId:
        """As Store.channel_version: content-addressed, so the same files have the same id at any time."""
        hashes = {path: blake2b(content, digest_size=32).digest() for path, content in files.items()}
        whole = blake2b(digest_size=32)
        for path in sorted(files):
            whole.update(b"%d:%s" % (len(path.encode()), path.encode()) + hashes[path])
        return self._open_writing().channel_version(channel, whole.digest(), hashes, files)

    def move_deliveries(self, ids: Sequence[DeliveryId], to: DeliveryState, note: str) -> int:
        """As Store.move_deliveries."""
        return self._open_writing().move_deliveries(ids, to, note)

    def add_deliveries(self, seq: MessageSeq, destinations: Sequence[DestinationName] | None) -> Sequence[Delivery]:
        """As Store.add_deliveries."""
        return self._open_writing().add_deliveries(seq, destinations)

    def redirect_deliveries(self, orders: Sequence[tuple[DeliveryId, DraftDelivery]], note: str) -> Sequence[Delivery]:
        """As Store.redirect_deliveries."""
        return self._open_writing().redirect_deliveries(orders, note)

    # -- what people do -------------------------------------------------------------------------

    def operate(self, change: Change) -> Changed:
        """As OperationStore.operate."""
        db = self._open_db()
        if self._sealing.is_on and self._sealing.left < LOW:
            count_ahead(db, self._site_keys, self._clock.now_us())
        assert self._operations is not None
        return self._operations.operate(change)

    def progress(self, key: str) -> Progress | None:
        """As OperationStore.progress."""
        return self._read(lambda db: self._operation_reading.progress(db, key))

    def pauses(self) -> Sequence[Pause]:
        """As OperationStore.pauses."""
        return self._read(self._operation_reading.pauses)

    # -- scanners -------------------------------------------------------------------------------

    def perform(self, order: PerformedOrder, tell: Teller | None = None) -> MppsReply:
        """As Store.perform."""
        db, writing = self._open_db(), self._open_writing()
        if self._sealing.is_on and self._sealing.left < LOW:
            count_ahead(db, self._site_keys, self._clock.now_us())
        return writing.within(
            lambda draft: perform(order, SqlitePerformed(db.execute, order.worklist, draft, db.sealing), tell)
        )

    def age_worklists(self, aged: Aged) -> int:
        """As Store.age_worklists."""
        return self._read(lambda _: age_worklists(self._open_db(), aged))

    def hand_over(self, order: HandedOver) -> None:
        """As Store.hand_over."""
        db = self._open_db()
        if self._sealing.is_on and self._sealing.left < LOW:
            count_ahead(db, self._site_keys, self._clock.now_us())
        with db.transaction():
            hand_over(db.execute, order, db.sealing)

    # -- forgetting -----------------------------------------------------------------------------

    def prune(self, order: Prune) -> Pruned:
        """As Store.prune."""
        writing, pruning = self._open_writing(), self._open_pruning()
        return self._read(lambda _: writing.prune(pruning, order))

    def note_time(self, now_us: int) -> None:
        """As Store.note_time."""
        writing = self._open_writing()
        self._read(lambda _: writing.note_time(now_us))

    def last_pruned_us(self) -> int:
        """As Store.last_pruned_us."""
        writing = self._open_writing()
        return self._read(lambda _: writing.last_pruned_us())

    def used_bytes(self) -> int:
        """As Store.used_bytes."""
        return self._open_pruning().used_bytes()

    def give_back(self, most_bytes: int, *, empty_log: bool = True) -> bool:
        """As Store.give_back."""
        if self._open_pruning().give_back(most_bytes):
            return True
        if empty_log:
            self._open_pruning().empty_log()
        return False

    # -- keys -----------------------------------------------------------------------------------

    def read_keys_by(self, keys_of: KeysOf) -> None:
        """As KeyStore.read_keys_by; may be said before the store is open."""
        self._keys_of = keys_of
        if self._keys is not None:
            self._keys.read_by(keys_of)

    def keep_key_block(self, block: KeyBlock) -> bool:
        """As KeyStore.keep_key_block."""
        self._open_db()
        assert self._keys is not None
        return self._keys.keep_block(block)

    def fill_in_keys(self, keys: Sequence[tuple[MessageSeq, Sequence[tuple[str, str]]]], unread: MessageSeq) -> None:
        """As KeyStore.fill_in_keys."""
        self._open_db()
        assert self._keys is not None
        self._keys.fill_in(keys, unread)

    # -- answers and numbers --------------------------------------------------------------------

    def amend_acks(self, updates: Sequence[AckUpdate]) -> Sequence[AckUpdate]:
        """As Store.amend_acks."""
        return self._open_writing().amend_acks(updates)

    def last_sequences(self, channel: ChannelName) -> Mapping[str, int]:
        """As Store.last_sequences."""
        return self._open_writing().last_sequences(channel)

    # -- reading --------------------------------------------------------------------------------

    def known(self, channel: ChannelName, sender: str, control_id: str, since_us: int) -> Sequence[Known]:
        """As Store.known."""
        return self._read(lambda db: self._reading.known(db, channel, sender, control_id, since_us))

    def received_since(self, since_us: int) -> int:
        """As Store.received_since."""
        return self._read(lambda db: self._reading.received_since(db, since_us))

    def recent_ids(self, since_us: int, limit: int) -> tuple[Sequence[tuple[ChannelName, str, str]], bool]:
        """As Store.recent_ids."""
        return self._read(lambda db: self._reading.recent_ids(db, since_us, limit))

    def queued(
        self,
        channel: ChannelName,
        destination: DestinationName,
        after: DeliveryId,
        limit: int,
        most_bytes: int | None = None,
    ) -> Sequence[Delivery]:
        """As Store.queued."""
        good, bad = self._read(lambda db: self._reading.queued(db, channel, destination, after, limit, most_bytes))
        if bad:
            self._open_writing().quarantine(bad)
            self._on_damage(len(bad))
        return good

    def unprocessed(self, channel: ChannelName, after: MessageSeq, limit: int) -> Sequence[StoredMessage]:
        """As Store.unprocessed."""
        return self._unfinished("unprocessed", channel, after, limit)

    def waiting(self, channel: ChannelName, after: MessageSeq, limit: int) -> Sequence[StoredMessage]:
        """As Store.waiting."""
        return self._unfinished("waiting", channel, after, limit)

    def _unfinished(
        self, which: Literal["unprocessed", "waiting"], channel: ChannelName, after: MessageSeq, limit: int
    ) -> Sequence[StoredMessage]:
        found: list[StoredMessage] = []
        while len(found) < limit:
            page = self._read(lambda db: self._reading.unfinished(db, which, channel, after, limit - len(found)))  # noqa: B023
            if not page:
                break
            after = page[-1].seq
            damaged = [message for message in page if message.raw is None]
            found += [message for message in page if message.raw is not None]
            if damaged:
                held = [Reprocessed(m.seq, m.channel, m.version, "held", with_damage(m.findings)) for m in damaged]
                self._open_writing().commit(Batch(reprocessed=held))
                self._on_damage(len(held))
        return found

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        db = self._open_db()
        try:
            return query(db.connection)
        except faults.ERRORS as exc:
            raise faults.on_reading(exc) from exc

    # -- checkpoints ----------------------------------------------------------------------------

    def wants_checkpoint(self, idle: bool = False) -> bool:
        """As Store.wants_checkpoint; costs two small reads."""
        db = self._open_db()
        return not db.is_broken and db.wal_holds(IDLE_CHECKPOINT_PAGES if idle else CHECKPOINT_PAGES)

    def checkpoint(self) -> None:
        """As Store.checkpoint: PASSIVE, so it waits for nobody; what a reader still needs is left for another time."""
        self._open_db().checkpoint("PASSIVE")

    def check_place(self) -> None:
        """Raise StoreGone if the store's files are not those that were opened (reliability.md D8). From any thread."""
        if self._db is not None:
            self._db.check_place()

    def _open_db(self) -> WriteConnection:
        if self._db is None:
            raise StoreError(f"{self.path} is not open")
        self._db.check()
        return self._db

    def _open_pruning(self) -> Pruning:
        self._open_db()
        assert self._pruning is not None
        return self._pruning

    def _open_writing(self) -> Writing:
        self._open_db()
        assert self._writing is not None
        return self._writing
