"""Searches leave processor and interpreter to the messages: on a thread of low priority, or with rests."""

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.adapters import giving_way
from engine.adapters.search import search_page
from engine.adapters.search_pages import newer_page, older_page
from engine.adapters.stores import finding
from engine.adapters.stores.queries import SqliteQueries
from engine.config.search import Search, parse_search
from engine.model.ids import MessageSeq
from engine.model.store_key import NO_KEYS, StoreKeys
from engine.ports.clock import from_us
from engine.ports.search import Find
from tests.adapters.stores.sealed_store import MARKER, ONE, made

TEXT = (MARKER.lower(),)


class Where:
    """On which threads something is asked, with their priority."""

    def __init__(self) -> None:
        self.threads: set[str] = set()
        self.nice: set[int] = set()

    def __call__(self) -> bool:
        self.threads.add(threading.current_thread().name)
        if sys.platform == "linux":
            self.nice.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return False


@pytest.fixture
def where(monkeypatch: pytest.MonkeyPatch) -> Where:
    monkeypatch.setattr(finding, "STEPS", 10)
    return Where()


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(giving_way, "time", SimpleNamespace(sleep=found.append))
    return found


def queries_of(folder: Path, keys: StoreKeys = NO_KEYS, messages: int = 12) -> Iterator[SqliteQueries]:
    queries = SqliteQueries(made(folder / "segmill.db", keys, messages), keys=keys)
    yield queries
    queries.close()


@pytest.fixture
def queries(tmp_path: Path) -> Iterator[SqliteQueries]:
    yield from queries_of(tmp_path)


@pytest.fixture
def many(tmp_path: Path) -> Iterator[SqliteQueries]:
    yield from queries_of(tmp_path, messages=40)


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[SqliteQueries]:
    yield from queries_of(tmp_path, ONE)


def searched(text: str) -> Search:
    return parse_search(text, (), from_us(1_700_000_000_000_000))


def test_a_text_is_looked_for_on_a_thread_of_low_priority(queries, where):
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) if sys.platform == "linux" else 0
    assert queries.find(Find(texts=(TEXT,)), is_cancelled=where).messages
    assert all(name.startswith("segmill-aside") for name in where.threads) and where.threads
    assert where.nice <= {max(before, giving_way.NICE)}
    if sys.platform == "linux":
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before, "who asked is what it was"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_who_is_nicer_already_stays_so():
    """Only root may go back, and an engine may have been started by `nice -n 15`."""

    def nicer() -> int:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
        giving_way.be_nice()
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(nicer).result() == 15


def test_what_an_index_leads_to_is_not_put_aside(queries, where):
    assert queries.find(Find(control_id="C1"), is_cancelled=where).messages
    assert where.threads == {threading.current_thread().name}


def test_who_opens_sealed_bytes_has_the_priority_of_who_asked(sealed, where):
    """It holds the interpreter's lock much of the time: without the processor it would keep it from the engine."""
    assert sealed.find(Find(texts=(TEXT,)), is_cancelled=where).messages
    assert where.threads == {threading.current_thread().name}


@pytest.mark.parametrize("way", ["page", "older", "newer"])
def test_who_takes_messages_apart_rests_every_few(many, naps, way):
    search = searched("PID-3.1!=NOBODY")
    if way == "page":
        looked = search_page(many, search, (), limit=100).looked_at
    elif way == "older":
        looked = older_page(many, search, (), None, None, 100, lambda: False).looked_at
    else:
        looked = newer_page(many, search, (), None, MessageSeq(0), 100, lambda: False).looked_at
    assert looked >= 40
    assert naps == [giving_way.GIVE_WAY_S] * -(-looked // giving_way.AT_A_STRETCH)


def test_other_searches_do_not_rest(many, naps):
    assert search_page(many, Search(), (), limit=100).messages
    assert naps == []
