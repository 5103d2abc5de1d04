"""A write-ahead log that was damaged is told from one whose end was being written (reliability.md D7)."""

import shutil
import sqlite3

import pytest

from engine.adapters.stores.sqlite import SqliteStore
from engine.adapters.stores.wal import FRAME_HEADER_BYTES, HEADER_BYTES, damage_behind
from engine.model.envelope import Batch
from engine.testing.store_contract import EPR, intake

FRAME = FRAME_HEADER_BYTES + 4096


@pytest.fixture
def log(open_store, tmp_path):
    """The log of a store that was killed after thirty commits, and how many frames are in it."""
    store, _ = open_store()
    for _ in range(30):
        store.commit(Batch([intake(EPR)]))
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("store.db", "store.db-wal"):
        shutil.copy(store.path.with_name(name), killed / name)
    frames = ((killed / "store.db-wal").stat().st_size - HEADER_BYTES) // FRAME
    assert frames > 60
    return killed / "store.db-wal", frames


def recovered(log):
    """How many frames SQLite takes."""
    db = sqlite3.connect(log.with_name("store.db"), isolation_level=None)
    try:
        return db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
    finally:
        db.execute("PRAGMA query_only = 1")
        db.close()


def turn(log, at):
    content = bytearray(log.read_bytes())
    content[at] ^= 4
    log.write_bytes(content)


def test_a_whole_log_is_whole(log):
    path, frames = log
    assert damage_behind(path, frames) == ""
    assert damage_behind(path.with_name("no-such-log"), 0) == ""


@pytest.mark.parametrize("cut", [1, FRAME_HEADER_BYTES, FRAME - 1, FRAME, 2 * FRAME, 3 * FRAME + 17])
def test_a_log_whose_end_was_being_written_is_no_damage(log, cut):
    path, frames = log
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    assert damage_behind(path, max(0, frames - 1 - (cut + FRAME - 1) // FRAME)) == ""


@pytest.mark.parametrize("place", [0, 4, 9, 17, 23, 24, 1000, FRAME - 1])
@pytest.mark.parametrize("frame", [0, 1, 20, -1])
def test_a_turned_bit_in_any_frame_is_found(log, frame, place):
    path, frames = log
    number = frame % frames
    turn(path, HEADER_BYTES + number * FRAME + place)
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    taken = recovered(path)
    assert taken <= number
    if number == frames - 1 and 8 <= place < 16:
        # The salt of the very last frame: it looks like a frame of an earlier round of the log.
        assert damage_behind(copy, taken) == ""
    else:
        assert f"frame {number + 1} of {frames} is damaged" in damage_behind(copy, taken)


@pytest.mark.parametrize("place", [0, 3, 11, 17, 24, 31])
def test_a_turned_bit_in_the_header_is_found(log, place):
    path, _ = log
    turn(path, place)
    assert "its header is damaged" in damage_behind(path, 0)


def test_an_engine_says_so_when_it_starts_and_goes_on(log, caplog):
    path, _ = log
    turn(path, HEADER_BYTES + 40 * FRAME + 100)
    store = SqliteStore(path.with_name("store.db"))
    store.open()
    store.close()
    assert "was not read to its end: frame 41" in caplog.text


def test_frames_of_an_earlier_round_are_no_damage(open_store, tmp_path, caplog):
    """The log started again from its beginning; what is behind the new frames is of the round before."""
    store, _ = open_store()
    for _ in range(30):
        store.commit(Batch([intake(EPR)]))
    store.checkpoint()
    store.commit(Batch([intake(EPR)]))
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("store.db", "store.db-wal"):
        shutil.copy(store.path.with_name(name), killed / name)
    again = SqliteStore(killed / "store.db")
    again.open()
    again.close()
    assert "was not read to its end" not in caplog.text
