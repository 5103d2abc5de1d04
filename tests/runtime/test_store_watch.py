"""An engine that has nothing to commit finds out, too, that its store was taken away (reliability.md D8)."""

import asyncio

import pytest

from engine.adapters.stores.memory import MemoryStore
from engine.ports.store import StoreGone
from engine.runtime import store_watch
from engine.runtime.store_watch import watch_store


class Placed:
    """A store that is gone at the third look."""

    def __init__(self) -> None:
        self.looks = 0

    def check_place(self) -> None:
        self.looks += 1
        if self.looks == 3:
            raise StoreGone("taken away")


async def test_it_looks_until_the_store_is_gone_and_tells_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_watch, "LOOK_S", 0.0)
    store = Placed()
    told: list[BaseException] = []
    async with asyncio.timeout(20):
        await watch_store(store, told.append)
    assert store.looks == 3
    assert [str(error) for error in told] == ["taken away"]


async def test_a_store_in_memory_has_no_place_to_be_taken_from() -> None:
    await watch_store(MemoryStore(), lambda error: pytest.fail("it is not gone"))
