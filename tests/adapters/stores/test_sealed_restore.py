"""A backup of a sealed store is put back without its key; it is on record once somebody opens it with the key."""

from pathlib import Path

import pytest

from engine.adapters.stores.copying import RestoredBy, copy_store, put_back
from engine.adapters.stores.resealing import convert
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.audit import AuditRow, broken_at
from engine.model.ids import MessageSeq
from engine.model.store_key import StoreKey, StoreKeys
from engine.ports.control import By
from engine.ports.operations import Change

KEYS = StoreKeys(StoreKey(bytes(range(3, 35))))


@pytest.fixture
def restored(tmp_path: Path) -> Path:
    """A store with one record, put back from its copy."""
    store = SqliteStore(tmp_path / "first.db", keys=KEYS)
    store.open()
    store.operate(Change(By("anna", scope="PID-3.1 = 4711"), "read", read=[MessageSeq(1)]))
    store.close()
    copy_store(tmp_path / "first.db", tmp_path / "copy.db")
    put_back(tmp_path / "copy.db", tmp_path / "store.db", RestoredBy("berta", 7, "backup of yesterday"))
    return tmp_path / "store.db"


def record_of(path: Path) -> list[AuditRow]:
    """The whole record, which is a whole chain."""
    queries = SqliteStore(path, keys=KEYS).queries()
    try:
        rows, head = list(queries.audit()), queries.audit_head()
    finally:
        queries.close()
    assert broken_at(rows, head.last, head.hash) is None
    return rows


def test_the_next_start_puts_it_on_record_once(restored: Path) -> None:
    before = record_of(restored)
    for _ in range(2):
        store = SqliteStore(restored, keys=KEYS)
        store.open()
        store.close()
    rows = record_of(restored)
    assert rows[:-1] == before and [row.action for row in before] == ["read"]
    assert (rows[-1].action, rows[-1].actor, rows[-1].at_us) == ("restore", "berta", 7)
    assert rows[-1].scope == "backup of yesterday" and rows[-1].salt


@pytest.mark.parametrize("way", ["reseal", "decrypt"])
def test_a_conversion_that_comes_first_does_not_lose_it(restored: Path, way: str) -> None:
    before = [row.action for row in record_of(restored)]
    convert(restored, KEYS, way, actor="anna", now_us=8)  # type: ignore[arg-type]
    store = SqliteStore(restored, keys=KEYS if way == "reseal" else StoreKeys())
    queries = store.queries()
    try:
        assert [row.action for row in queries.audit()][: len(before) + 1] == [*before, "restore"]
        rows, head = list(queries.audit()), queries.audit_head()
        assert broken_at(rows, head.last, head.hash) is None
    finally:
        queries.close()
