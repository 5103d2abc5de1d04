"""New answers of stored messages are recorded together: how many calls that takes, and what each is told of it."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest

from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import AckUpdate, Batch
from engine.model.ids import MessageSeq
from engine.ports.store import CommitUnknown, StoreBusy, StoreFull
from engine.runtime import amendments as module
from engine.runtime.amendments import Amendments, Stored, amended
from engine.runtime.recorded_answers import TRIES
from engine.testing.store_contract import intake


def update(number: int) -> AckUpdate:
    return AckUpdate(MessageSeq(number), "AA", b"MSA|AA|%d" % number)


class Room:
    """A store that takes so many answers at a time, and some of them never."""

    def __init__(self, most: int = 10**6, never: Sequence[int] = (), error: type[Exception] = StoreFull) -> None:
        self.most = most
        self.never = never
        self.error = error
        self.asked: list[int] = []
        self.kept: list[int] = []

    def amend_acks(self, updates: Sequence[AckUpdate]) -> Sequence[AckUpdate]:
        self.asked.append(len(updates))
        if len(updates) > self.most:
            raise self.error("no room")
        if any(one.seq in self.never for one in updates):
            raise ValueError("not to be encoded")
        self.kept += [one.seq for one in updates]
        return list(updates)


class Turns:
    """Committer.call, whose calls end when the test says so."""

    def __init__(self, store: Room) -> None:
        self.store = store
        self.begun: list[tuple[object, asyncio.Future[list[Stored]]]] = []

    def call(self, work: module.Work) -> "asyncio.Future[list[Stored]]":
        ended: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
        self.begun.append((work, ended))
        return ended

    async def end(self) -> None:
        work, ended = self.begun.pop(0)
        try:
            ended.set_result(work(self.store))
        except Exception as error:
            ended.set_exception(error)
        await asyncio.sleep(0)


async def test_all_that_come_while_one_is_on_its_way_are_one_call() -> None:
    turns, told = Turns(Room()), []
    amendments = Amendments(turns.call)
    for number in range(1000):
        amendments.record(update(number), told.append)
    assert len(turns.begun) == 1
    await turns.end()
    assert told == [update(0)]
    while turns.begun:
        await turns.end()
    assert turns.store.asked == [1, *[32] * 31, 7]
    assert told == [update(number) for number in range(1000)]
    amendments.record(update(7), told.append)
    await turns.end()
    assert told[-1] == update(7)


async def test_one_that_cannot_be_told_keeps_no_other_one_from_its_answer(caplog) -> None:
    turns, told = Turns(Room()), []
    amendments = Amendments(turns.call)

    def gone(_stored: Stored) -> None:
        raise RuntimeError("its connection is in no state for that")

    for number, hears in enumerate((told.append, gone, told.append)):
        amendments.record(update(number), hears)
    await turns.end()
    await turns.end()
    assert told == [update(0), update(2)]
    assert "resend of message 1 was not answered" in caplog.text


@pytest.mark.parametrize("error", [StoreFull("no room"), CommitUnknown("the store is gone"), StoreBusy("another")])
async def test_each_is_told_of_what_kept_all_of_them_from_the_record(error) -> None:
    turns, told = Turns(Room()), []
    amendments = Amendments(turns.call)
    for number in range(3):
        amendments.record(update(number), told.append)
    for _ in range(2):
        turns.begun.pop(0)[1].set_exception(error)
        await asyncio.sleep(0)
    assert told == [error] * 3


async def test_where_the_engine_ends_nothing_is_told() -> None:
    turns, told = Turns(Room()), []
    amendments = Amendments(turns.call)
    amendments.record(update(1), told.append)
    turns.begun.pop(0)[1].cancel()
    await asyncio.sleep(0)
    assert told == []


@pytest.mark.parametrize(("count", "room", "kept"), [(100, 25, 25), (100, 24, 12), (7, 1, 1), (1, 0, 0), (9, 0, 0)])
def test_as_many_are_recorded_as_there_is_room_for_in_few_tries(count, room, kept) -> None:
    store = Room(room)
    results = amended(store, [update(number) for number in range(count)])
    assert store.kept == list(range(kept))
    assert results[:kept] == [update(number) for number in range(kept)]
    assert [type(result) for result in results[kept:]] == [StoreFull] * (count - kept)
    assert len(store.asked) <= count.bit_length()


@pytest.mark.parametrize("long", [(0,), (3, 4), (0, 1, 2)])
def test_what_is_too_long_for_the_room_there_is_stands_before_nothing_that_is_not(tmp_path, long) -> None:
    made: list[sqlite3.Connection] = []

    def connect(*given: Any, **more: Any) -> sqlite3.Connection:
        made.append(sqlite3.connect(*given, **more))
        return made[-1]

    store = SqliteStore(tmp_path / "store.db", connect=connect)
    with closing(store):
        store.open()
        seqs = store.commit(Batch([intake(ack_code="", ack=b"") for _ in range(8)])).seqs
        for connection in made:
            connection.execute("PRAGMA max_page_count = 1")  # no more than it has by now
        left = [AckUpdate(seq, "AA", b"MSA|AA|1" if at not in long else b"x" * 60_000) for at, seq in enumerate(seqs)]
        too_long = [left[at] for at in long]
        for _ in range(TRIES):
            results = amended(store, left)
            assert left == too_long or not all(isinstance(result, StoreFull) for result in results)
            left = [one for one, result in zip(left, results, strict=True) if isinstance(result, StoreFull)]
        assert left == too_long


def test_a_busy_store_is_not_asked_for_less() -> None:
    """Each try waits for the other process; half as much would wait as long."""
    store = Room(0, error=StoreBusy)
    results = amended(store, [update(number) for number in range(64)])
    assert [type(result) for result in results] == [StoreBusy] * 64
    assert store.asked == [64]


@pytest.mark.parametrize("never", [(0,), (63,), (5, 40), tuple(range(64))])
def test_one_that_cannot_be_kept_is_alone_with_that(never) -> None:
    store = Room(never=never)
    results = amended(store, [update(number) for number in range(64)])
    assert store.kept == [number for number in range(64) if number not in never]
    assert [number for number, result in enumerate(results) if isinstance(result, ValueError)] == list(never)
    assert [result for result in results if isinstance(result, AckUpdate)] == [update(n) for n in store.kept]


def test_a_store_that_is_gone_is_asked_nothing_more() -> None:
    store = Room(0, error=CommitUnknown)
    with pytest.raises(CommitUnknown):
        amended(store, [update(1), update(2)])
    assert store.asked == [2]


async def test_what_two_are_owed_is_owed_until_both_are_told() -> None:
    """The second of them may be told later than the first, as it asked later."""
    amendments, one = Amendments(Turns(Room()).call), update(1)
    amendments.owe(one)
    amendments.owe(one)
    amendments.settled(one)
    assert amendments.owed(one.seq) is one
    amendments.settled(one)
    amendments.settled(one)  # a no is settled, too, and was never owed
    assert amendments.owed(one.seq) is None
