"""Fixtures of the runtime's tests."""

from collections.abc import AsyncIterator

import pytest

from engine.runtime.committer import Committer
from tests.runtime.parts import Answers, CountingMeter, SetClock, WatchedStore


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def meter() -> CountingMeter:
    return CountingMeter()


@pytest.fixture
def store(clock: SetClock) -> WatchedStore:
    store = WatchedStore(clock)
    store.open()
    return store


@pytest.fixture
def fatal() -> list[BaseException]:
    """What the committer gave up for."""
    return []


@pytest.fixture
async def committer(
    store: WatchedStore, clock: SetClock, meter: CountingMeter, fatal: list[BaseException]
) -> AsyncIterator[Committer]:
    committer = Committer(store, clock, meter, fatal.append)
    yield committer
    committer.close()


@pytest.fixture
def answers(committer: Committer) -> Answers:
    return Answers(committer)
