"""Keys are put in order behind the traffic, and old stores are read for them."""

import asyncio

import pytest

from engine.adapters.stores.keys import BLOCK
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch
from engine.model.ids import MessageSeq
from engine.ports.search import Find, KeyBlock, KeyWork
from engine.ports.store import StoreBusy
from engine.runtime import key_index as module
from engine.runtime.committer import Committer
from engine.runtime.key_index import KeyIndex
from engine.testing.search_contract import everything, keys_of, message
from engine.testing.store_contract import LAB, intake
from tests.runtime.parts import CountingMeter, SetClock, owned_tasks, until


@pytest.fixture(autouse=True)
def without_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_REST_S", 0.0)
    monkeypatch.setattr(module, "REST", 0)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(module, "RETRY_S", 0.01)


async def test_blocks_are_made_and_old_messages_read_while_the_engine_runs(tmp_path) -> None:
    store = SqliteStore(tmp_path / "segmill.db")
    store.open()
    for at in range(0, BLOCK + 100, 512):
        store.commit(Batch([intake(raw=message(str(at + n))) for n in range(512)]))
    queries = store.queries()
    with store._open_db().transaction():
        store._open_db().execute("UPDATE key_setup SET unread = ?", (BLOCK + 50,))  # as of an old store
    clock = SetClock()
    committer = Committer(store, clock, CountingMeter(), pytest.fail)
    index = KeyIndex(queries, committer, keys_of, clock)
    async with owned_tasks() as (tasks, failures):
        tasks.spawn(index.run(), "index keys")
        await until(lambda: queries.key_work() == KeyWork([], MessageSeq(0)))
        assert failures == []
    for n in (0, 77, BLOCK + 49):
        assert everything(queries, Find(keys=(("mrn", str(n)),))) == [n + 1]
    assert everything(queries, Find(keys=(("mrn", str(BLOCK + 60)),))) == [], "those behind are never read again"
    await asyncio.to_thread(committer.close)
    queries.close()
    store.close()


class Busy:
    """A store that is locked by another process for the first two times."""

    def __init__(self) -> None:
        self.refused = 0
        self.kept: list[int] = []

    def keep_key_block(self, block: KeyBlock) -> bool:
        if self.refused < 2:
            self.refused += 1
            raise StoreBusy
        self.kept.append(block.number)
        return True

    def key_work(self) -> KeyWork:
        return KeyWork([] if self.kept else [3], MessageSeq(0))

    def draft_keys(self, number: int) -> KeyBlock:
        return KeyBlock(number, 0, {})


class Direct:
    """A committer that does what it is asked at once."""

    def __init__(self, store: Busy) -> None:
        self._store = store

    async def call(self, work):
        return work(self._store)


async def test_a_store_that_is_busy_is_asked_again() -> None:
    store = Busy()
    index = KeyIndex(store, Direct(store), keys_of, SetClock())  # type: ignore[arg-type]
    async with owned_tasks() as (tasks, failures):
        tasks.spawn(index.run(), "index keys")
        await until(lambda: store.kept == [3])
        assert failures == []
    assert store.refused == 2


async def test_another_declaration_counts_for_what_is_read_from_then_on() -> None:
    asked: list[str] = []
    store = Busy()
    index = KeyIndex(store, Direct(store), keys_of, SetClock())  # type: ignore[arg-type]
    index.change(lambda channel, raw: asked.append(channel) or ())
    store.bodies_without_keys = lambda upto, limit: [(MessageSeq(1), LAB, b"")]  # type: ignore[attr-defined]
    store.fill_in_keys = lambda keys, unread: store.kept.append(unread)  # type: ignore[attr-defined]
    await index._fill(MessageSeq(1))
    assert asked == [LAB]
    assert store.kept == [0]
