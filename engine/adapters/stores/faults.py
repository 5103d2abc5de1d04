"""What an error of SQLite lets us conclude (reliability.md section 0, row 4; D2, D3, D6).

Certainly nothing was kept, and the connection is good for another try:

- SQLITE_FULL at any statement, COMMIT included. The log is written frame by frame and its last frame
  alone makes the transaction; FULL comes from a write for which there was no room, so that frame is not
  whole, and recovery ignores what has no whole last frame. (A failing fsync is never FULL but IOERR.)
- SQLITE_IOERR_WRITE where the disk then takes nothing else either, for want of quota or because it became
  read-only (asked by `place.refusal_of_writes`): as FULL;
- SQLITE_BUSY and SQLITE_LOCKED before COMMIT: another process held the lock for the whole time-out.
- SQLITE_TOOBIG and errors of Python's binding: a value that no store can hold.

Anything else leaves it open, above all SQLITE_IOERR: after a failed fsync the rows were invisible, and
there again after a restart. So the connection refuses everything afterwards, and the process is to end.
"""

import sqlite3
from functools import partial

from engine.ports.store import CommitUnknown, StoreBusy, StoreError, StoreFull

ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What a call of SQLite may raise; the second where its own message names something damaged."""

read_text = partial(str, encoding="utf-8", errors="replace")
"""For `text_factory`: one turned bit in a name must not make the row unreadable, nor be quoted in an exception."""


def primary_code(error: Exception) -> int | None:
    """SQLite's result code without its extension; None for an error of Python's module itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def name_of(error: Exception) -> str:
    """SQLite's name for the error: SQLITE_IOERR_FSYNC."""
    return str(getattr(error, "sqlite_errorname", type(error).__name__))


def not_kept(error: Exception, *, committing: bool) -> StoreError | ValueError | None:
    """What to raise when the error proves that nothing was kept; None when it does not."""
    code = primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"the disk or the store has no room left ({name_of(error)})")
    if committing:
        return None
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"another process has the store locked ({name_of(error)})")
    if code == sqlite3.SQLITE_TOOBIG or (
        code is None and isinstance(error, (sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.InterfaceError))
    ):
        return ValueError(f"a value that the store cannot hold ({name_of(error)})")
    return None


def is_failed_write(error: Exception) -> bool:
    """Whether a write failed for any reason but a full disk: SQLite calls a used-up quota so, too."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_WRITE


def unknown(error: Exception) -> CommitUnknown:
    """The sentence for the log when the process has to end."""
    return CommitUnknown(
        f"the store failed with {name_of(error)}: whether its last transaction is on disk is known only after a restart"
    )


def on_reading(error: Exception) -> StoreError:
    """What a failed query raises."""
    if primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"another process has the store locked ({name_of(error)})")
    return StoreError(f"the store cannot be read ({name_of(error)})")
