"""The one connection that writes and checkpoints (DESIGN decision 2, reliability.md section 0, rows 2 to 4).

SQLite before 3.51.3 corrupts a write-ahead log that two connections write and reset, so there is one
of this kind, and readers open the file read-only. It may be used from any thread, by one at a time.

Invariants:

- `transaction` leaves either everything committed and synced, or nothing and an exception that says so;
- after an error that leaves the outcome open, every further call raises CommitUnknown;
- nothing is called committed that went into files which are no longer the store (`settle`, then StoreGone).
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from engine.adapters.stores import faults, row_checks
from engine.adapters.stores.place import Place, refusal_of_writes
from engine.adapters.stores.sealing import Sealing
from engine.adapters.stores.wal import damage_behind
from engine.ports.store import CommitUnknown, StoreError, StoreFull, StoreGone

log = logging.getLogger("segmill.store")

PAGE_BYTES = 4096
FRAME_BYTES = 24 + PAGE_BYTES
WAL_HEADER_BYTES = 32

CACHE_KIB = 16 * 1024
BLOB_PIECE_BYTES = 256 * 1024
WAL_KEPT_BYTES = 64 * 1024 * 1024
"""A log that grew past this, behind a slow reader, is cut back once it starts again."""

BUSY_TIMEOUT_S = 5.0
RECOVERY_WAIT_MS = 500

Values = Sequence[object] | Mapping[str, object]


class WriteConnection:
    """Opens the file, sets it up for durable commits, and turns SQLite's errors into ours.

    `sealing`: of the store's values, off where they are plain. `connect` is there for tests that make it fail. Raises
    StoreError when the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        sealing: Sealing | None = None,
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
    ) -> None:
        self.path = path
        self.sealing = sealing or Sealing()
        self.busy_timeout_s = busy_timeout_s
        self._broken: str | None = None
        self._place: Place | None = None
        self._wal: FileIO | None = None
        self._salt = b""
        self._checkpointed = 0
        self._frames = 0
        try:
            self.connection = connect(
                path,
                timeout=busy_timeout_s,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
        except faults.ERRORS as exc:
            raise StoreError(f"{path} cannot be opened ({faults.name_of(exc)})") from exc
        self.connection.text_factory = faults.read_text
        row_checks.set_up(self.connection)
        self.execute = self.connection.execute

    def set_up(self) -> None:
        """Write-ahead log, a sync at every commit, checkpoints only when we say so."""
        run = self.connection.execute
        if run("PRAGMA page_count").fetchone()[0] == 0:
            # Both count in a file that is made now; in another the second would write, before anybody has looked at it.
            run(f"PRAGMA page_size = {PAGE_BYTES}")
            run("PRAGMA auto_vacuum = INCREMENTAL")  # free pages are given back on demand
        mode = run("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreError(f"{self.path}: the file system cannot carry a write-ahead log (journal mode {mode})")
        for setting in (
            "synchronous = FULL",
            "fullfsync = ON",  # macOS: fsync alone stops at the drive's cache
            "checkpoint_fullfsync = ON",
            "wal_autocheckpoint = 0",
            f"journal_size_limit = {WAL_KEPT_BYTES}",
            f"cache_size = -{CACHE_KIB}",
            "temp_store = MEMORY",
            "trusted_schema = OFF",
            "cell_size_check = ON",
        ):
            run(f"PRAGMA {setting}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE, the body, COMMIT with its sync; an exception from the body undoes everything."""
        self.check()
        run = self.execute
        try:
            run("BEGIN IMMEDIATE")
            yield
        except faults.ERRORS as exc:
            self._undo(exc)
            raise faults.not_kept(exc, committing=False) or self._refused(exc) or self._break(exc) from exc
        except (UnicodeEncodeError, OverflowError) as exc:
            self._undo(exc)
            raise ValueError(f"a value that the store cannot hold ({type(exc).__name__})") from exc
        except BaseException as exc:
            self._undo(exc)
            raise
        try:
            run("COMMIT")
        except faults.ERRORS as exc:
            proof = faults.not_kept(exc, committing=True) or self._refused(exc)
            if proof is None:
                raise self._break(exc) from exc
            self._undo(exc)
            raise proof from exc
        except BaseException:
            self._broken = "a commit was interrupted"
            raise
        self.check_place()

    def settle(self) -> None:
        """The files are complete: from now on they are to stay where they are."""
        self._place = Place(self.path)

    def check_place(self) -> None:
        """Raise StoreGone if the files were moved, replaced or deleted since (reliability.md D8)."""
        if self._place is not None and self._place.is_left():
            self._broken = f"{self.path} or its write-ahead log was moved, replaced or deleted under the engine"
            raise StoreGone(self._broken)

    def write_blob(self, table: str, column: str, row: int, content: bytes) -> None:
        """Fill a row's blob, which has as many bytes already; within a transaction."""
        view = memoryview(content)
        with self.connection.blobopen(table, column, row) as blob:
            for at in range(0, len(view), BLOB_PIECE_BYTES):
                blob.write(view[at : at + BLOB_PIECE_BYTES])

    def check(self) -> None:
        """Raise CommitUnknown if an earlier commit's outcome is open."""
        if self._broken is not None:
            raise CommitUnknown(self._broken)

    @property
    def is_broken(self) -> bool:
        """Whether a commit's outcome is open."""
        return self._broken is not None

    def _undo(self, cause: BaseException) -> None:
        """Roll back, and make sure of it."""
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except faults.ERRORS as exc:
            raise self._break(exc) from cause
        if self.connection.in_transaction:
            self._broken = "a transaction could not be rolled back"
            raise CommitUnknown(self._broken) from cause

    def _refused(self, error: Exception) -> StoreFull | None:
        """StoreFull where a write failed because of a quota or a read-only disk (reliability.md D4).

        Nothing was kept, as of a full disk: the frame that was not written makes the transaction void.
        """
        if not faults.is_failed_write(error):
            return None
        why = refusal_of_writes(self.path)
        return StoreFull(f"the store's disk takes nothing at present ({why})") if why else None

    def _break(self, error: Exception) -> CommitUnknown:
        sentence = faults.unknown(error)
        self._broken = str(sentence)
        return sentence

    # -- the write-ahead log --------------------------------------------------------------------

    def wal_holds(self, pages: int) -> bool:
        """Whether at least `pages` pages were committed that no checkpoint has moved yet.

        Two reads of 8 bytes: a frame of the log counts when it bears the salt of the log's header, which
        changes when the log starts again from its beginning. (SQLite never locks the log file itself, so
        that having it open here harms no lock.)
        """
        salt = self._read_salt(16)
        if salt != self._salt:
            self._salt = salt
            self._checkpointed = 0
        frame = WAL_HEADER_BYTES + (self._checkpointed + pages - 1) * FRAME_BYTES
        return len(salt) == 8 and self._read_salt(frame + 8) == salt

    def _read_salt(self, offset: int) -> bytes:
        if self._wal is None:
            try:
                self._wal = FileIO(f"{self.path}-wal")
            except FileNotFoundError:
                return b""
        self._wal.seek(offset)
        return self._wal.read(8)

    def checkpoint(self, mode: str) -> bool:
        """PRAGMA wal_checkpoint: whether all of the log could be moved. CommitUnknown when the disk fails."""
        self.check()
        try:
            busy, frames, moved = self.connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except faults.ERRORS as exc:
            if faults.primary_code(exc) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL):
                return False  # nothing is lost: it all stays in the log, and is moved another time
            if self._refused(exc) is not None:
                return False
            raise self._break(exc) from exc
        self._checkpointed = moved
        self._frames = max(frames, 0)
        self._salt = self._read_salt(16)
        return bool(not busy and frames == moved)

    def recover(self) -> None:
        """Move all of the log that an earlier process left into the file, synced, and empty it.

        A reader in the way is waited for shortly; what it still needs then stays in the log. A log that ends in
        damage is reported: what is behind it is gone, and SQLite says nothing of it (reliability.md D7).
        """
        self.connection.execute(f"PRAGMA busy_timeout = {RECOVERY_WAIT_MS}")
        self.checkpoint("PASSIVE")
        if damage := damage_behind(Path(f"{self.path}-wal"), self._frames):
            log.error(
                "%s-wal was not read to its end: %s. After a power failure this is what had not been written yet; "
                "else compare the newest messages with their senders, and check the disk",
                self.path,
                damage,
            )
        self.checkpoint("TRUNCATE")
        self.connection.execute(f"PRAGMA busy_timeout = {round(self.busy_timeout_s * 1000)}")

    def close(self) -> None:
        """Let go of the file; SQLite then moves what is left in the log. Never raises: there is nothing left to do."""
        if self._wal is not None:
            self._wal.close()
            self._wal = None
        try:
            self.connection.close()
        except faults.ERRORS:
            self._broken = self._broken or "the store could not be closed"
