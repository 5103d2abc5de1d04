"""kill -9 in every move of the published tables (reliability.md R21): before it or after it, and nothing between."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from engine.adapters.stores.codes import DELIVERY_CODES, MESSAGE_CODES
from engine.adapters.stores.sqlite import SqliteStore
from tests.faults.ledger import Ledger
from tests.faults.nursery import Nursery
from tests.faults.transitions import DELIVERY, RECIPES, SEQ, Move, carry_out, prepare, published

Rows = dict[str, list[tuple[object, ...]]]

COLUMNS = {
    "message": "seq, state, ack_code, findings, body",
    "delivery": "id, seq, lane, state, attempts, next_at_us, code, note",
    "tally": "channel, state, messages",
    "body": "id",
    "attempt": "delivery, number, code",
    "delivery_more": "delivery, origin, redirects",
}


def rows_of(path: Path) -> Rows:
    """Everything that a move may change, and proof that the rest is whole."""
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = {
            table: db.execute(f"SELECT {columns} FROM {table} ORDER BY {columns}").fetchall()
            for table, columns in COLUMNS.items()
        }
        found["tally"] = [row for row in found["tally"] if row[2]]
        counted = db.execute("SELECT channel, state, count(*) FROM message GROUP BY 1, 2 ORDER BY 1, 2").fetchall()
        assert found["tally"] == counted, "the counts are not those of the rows"
    finally:
        db.close()
    return found


def state_of(rows: Rows, move: Move) -> str:
    kind = move[0]
    codes = MESSAGE_CODES if kind == "message" else DELIVERY_CODES
    wanted = SEQ if kind == "message" else DELIVERY
    column = 1 if kind == "message" else 3
    (code,) = [row[column] for row in rows[kind] if row[0] == wanted]
    return next(name for name, number in codes.items() if number == code)


def test_R21_every_published_move_has_a_crash_test() -> None:
    """A move that was added to engine.model.states needs a recipe in tests/faults/transitions.py."""
    assert set(RECIPES) == published()


async def kill_in(
    folder: Path, nursery: Nursery, move: Move, points: int, mutant: str | None = None
) -> tuple[int, int]:
    """How many times the process died in the move, and how often it was found done afterwards."""
    first = folder / "first" / "store.db"
    store = SqliteStore(first)
    store.open()
    prepare(store, move)
    store.close()
    before = rows_of(first)
    assert state_of(before, move) == move[1]
    done = folder / "done" / "store.db"
    shutil.copytree(first.parent, done.parent)
    store = SqliteStore(done)
    store.open()
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    assert store._db is not None
    store._db.connection.set_progress_handler(count, 1)
    carry_out(store, move)
    store._db.connection.set_progress_handler(None, 0)
    store.close()
    after = rows_of(done)
    assert state_of(after, move) == move[2]
    deaths = [max(1, steps * n // points) for n in range(1, points + 1)]
    died = found_done = 0
    for number, at in enumerate([*deaths, 0]):
        place = folder / f"death-{number}" / "store.db"
        shutil.copytree(first.parent, place.parent)
        engine = await nursery.start(place, move=list(move), die_in_move=at, mutant=mutant)
        assert await engine.wait() == -9, engine.errors()
        died += 1
        again = SqliteStore(place)
        again.open()
        again.close()
        found = rows_of(place)
        assert found in (before, after), f"{move}: neither before nor after, died at {at} of {steps}"
        if at == 0:
            assert found == after, f"{move}: it was done, and is not after the crash"
        found_done += found == after
        if found == before:
            again.open()
            carry_out(again, move)
            again.close()
            assert rows_of(place) == after, f"{move}: it cannot be done again"
    shutil.rmtree(folder)
    return died, found_done


async def kill_in_all(folder: Path, points: int) -> dict[str, int]:
    died = done = 0
    async with Nursery(folder / "log") as nursery:
        for number, move in enumerate(sorted(RECIPES)):
            place = folder / f"move-{number}"
            place.mkdir()
            here = await kill_in(place, nursery, move, points)
            died, done = died + here[0], done + here[1]
    return {"moves": len(RECIPES), "deaths": died, "found_done": done, "found_undone": died - done}


async def test_R21_a_crash_in_any_move_leaves_it_done_or_not_begun(tmp_path: Path, ledger: Ledger) -> None:
    figures = await kill_in_all(tmp_path, 3)
    ledger.write("R21", "kill -9 in every move", **figures)
    assert figures["found_undone"] and figures["found_done"]


@pytest.mark.fault
@pytest.mark.timeout(900)
async def test_R21_crashes_all_along_any_move(tmp_path: Path, ledger: Ledger) -> None:
    ledger.write("R21", "kill -9 in every move, long", **await kill_in_all(tmp_path, 40))


async def test_R1m_crashes_in_a_move_catch_a_store_without_transactions(tmp_path: Path, ledger: Ledger) -> None:
    async with Nursery(tmp_path / "log") as nursery:
        with pytest.raises(AssertionError, match=r"neither before nor after|the counts are not those"):
            await kill_in(tmp_path, nursery, ("message", "held", "processed"), 6, mutant="no-transaction")
    ledger.write("R1m", "mutant no-transaction", caught=1)
