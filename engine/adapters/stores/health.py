"""What is looked at before a store is used: is the file whole?

`PRAGMA quick_check` reads the whole file, so it is done while that is fast: a cold store of 256 MB takes
1 to 2 seconds on a disk that reads 300 MB a second, when it is first read from end to end (in the order
that quick_check wants its pages, the same disk gives 40). A bigger one is looked through by its small
tables only, those that steer (names, versions, counters), so that a store of a million messages starts
within two seconds.
What is not looked at here is checked where it is used: pages when they are read
(`cell_size_check`), the write-ahead log by its own checksums, bodies by theirs before they are sent.
"""

import logging
import sqlite3
from io import FileIO
from pathlib import Path

from engine.adapters.stores import faults
from engine.adapters.stores.statements import load_statements
from engine.ports.store import StoreError

log = logging.getLogger("segmill.store")

FULL_CHECK_BYTES = 256 * 1024 * 1024

READ_BYTES = 1024 * 1024

STEERING_TABLES = ("meta", "channel", "lane", "tally", "hour", "channel_version", "channel_version_file")


def read_through(path: Path, full_check_bytes: int) -> FileIO | None:
    """Read a file that is to be checked in full from end to end, so that its pages are in memory.

    The file comes back open: closing it would free every lock that this process has on it (POSIX locks), so it
    is closed after the connection.
    """
    if path.stat().st_size > full_check_bytes:
        return None
    file = FileIO(path)
    buffer = bytearray(READ_BYTES)
    while file.readinto(buffer):
        pass
    return file


def check(connection: sqlite3.Connection, path: Path, full_check_bytes: int = FULL_CHECK_BYTES) -> None:
    """Raise StoreError with a sentence when damage is found."""
    try:
        if path.stat().st_size <= full_check_bytes:
            answers = connection.execute("PRAGMA quick_check(1)").fetchall()
        else:
            answers = [connection.execute(f"PRAGMA quick_check('{table}')").fetchone() for table in STEERING_TABLES]
    except faults.ERRORS as exc:
        raise damaged(path, faults.name_of(exc)) from exc
    if any(answer[0] != "ok" for answer in answers):
        raise damaged(path, "quick_check found errors")


def repair_queue(connection: sqlite3.Connection, path: Path, full_check_bytes: int = FULL_CHECK_BYTES) -> bool:
    """Compare the index of what is queued with the rows, and build it anew when they differ; whether it was.

    quick_check does not compare them, and a delivery that this index lost would wait unseen for ever.
    StoreError when it cannot be built. To be called once the schema is this engine's.
    """
    if path.stat().st_size > full_check_bytes:
        return False
    sql = load_statements("health.sql")
    try:
        broken: list[str] = []
        rows = connection.execute(sql["queued_rows"]).fetchone()
        if rows[:3] != connection.execute(sql["queued_index"]).fetchone():
            broken += ["rebuild_queued_index"]
        if rows[3:] != connection.execute(sql["keyed_index"]).fetchone():
            broken += ["rebuild_key_index", "rebuild_waiting_index", "rebuild_urgent_index"]
        for statement in broken:
            connection.execute(sql[statement])
    except faults.ERRORS as exc:
        raise damaged(path, faults.name_of(exc)) from exc
    if not broken:
        return False
    log.error("%s: the index of what is queued did not agree with the rows and was built anew; check the disk", path)
    return True


def damaged(path: Path, what: str) -> StoreError:
    """The sentence for a store that must not be used as it is."""
    return StoreError(
        f"{path} is damaged ({what}). Keep a copy of it with its -wal file, then put back a backup, "
        "or save what can be read with sqlite3's .recover."
    )
