"""What waits in an old store is found when its site starts on a new one."""

import sqlite3
from contextlib import closing

import pytest

from engine.adapters.stores.left_behind import LeftBehind, left_behind
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch, DeliveryResult
from engine.model.ids import ChannelName, DeliveryId, DestinationName
from engine.testing.store_contract import intake

RIS = DestinationName("ris")


def made(path, count: int = 2, *, delivered: bool = False):
    """A store with `count` messages, whose engine has ended."""
    store = SqliteStore(path)
    store.open()
    store.commit(Batch([intake(RIS, channel=ChannelName("adt"), control_id=f"C{n}") for n in range(count)]))
    if delivered:
        ends = [DeliveryResult(DeliveryId(n + 1), "delivered", 1, 1, 0, "AA", "", b"") for n in range(count)]
        store.commit(Batch([], results=ends))
    store.close()
    return path


@pytest.mark.parametrize("place", ["data/segmill.db", "segmill.db", "old/store.db"])
def test_an_old_store_of_the_site_is_found_with_what_waits_in_it(tmp_path, place):
    old = made(tmp_path / place)
    assert left_behind(tmp_path, tmp_path / "new" / "segmill.db") == [LeftBehind(old, 2, 0, 0)]


def test_one_beside_a_new_store_outside_of_the_site_is_found(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    old = made(tmp_path / "var" / "old" / "segmill.db")
    (found,) = left_behind(site, tmp_path / "var" / "new" / "segmill.db")
    assert str(found) == f"{old} (2 queued deliveries)"


def test_what_has_nothing_left_is_in_use_or_is_no_store_is_not_told(tmp_path):
    made(tmp_path / "done" / "segmill.db", delivered=True)
    copy = made(tmp_path / "copy" / "segmill.db")
    copy.with_name("segmill.db.lock").unlink()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.db").write_text("no database")
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("CREATE TABLE delivery (state)")
    running = SqliteStore(made(tmp_path / "running" / "segmill.db"))
    running.open()
    try:
        assert left_behind(tmp_path, tmp_path / "new" / "segmill.db") == []
    finally:
        running.close()


def test_what_it_looks_at_is_not_changed(tmp_path):
    old = made(tmp_path / "data" / "segmill.db")
    before = old.read_bytes()
    left_behind(tmp_path, tmp_path / "new" / "segmill.db")
    assert old.read_bytes() == before


def test_the_new_store_itself_is_not_told(tmp_path):
    store = made(tmp_path / "data" / "segmill.db")
    assert left_behind(tmp_path, store) == []
