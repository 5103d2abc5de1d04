"""Hand-offs in SQLite: the difference is found by indexes, whatever else the worklist holds."""

import sqlite3
from importlib.resources import files

import pytest

from engine.adapters.stores.statements import load_statements

SQL = load_statements("hand_off.sql")
ASKED = {"hand_off": "wlm", "worklist": 1, "most": 50}


@pytest.fixture
def db():
    made = sqlite3.connect(":memory:")
    for file in sorted(files("engine.adapters.stores").joinpath("sql", "migrations").iterdir(), key=lambda f: f.name):
        made.executescript(file.read_text())
    yield made
    made.close()


def plan(db: sqlite3.Connection, statement: str) -> list[str]:
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {SQL[statement]}", ASKED)]


@pytest.mark.parametrize("statement", ["shown_and_not_handed", "count_not_handed"])
def test_what_is_not_handed_over_is_looked_for_among_what_is_shown(db: sqlite3.Connection, statement: str) -> None:
    first, second = plan(db, statement)[:2]
    assert "worklist_item_shown" in first, "what has ended, which is most of it, is not read"
    assert second.startswith("SEARCH had USING PRIMARY KEY (hand_off=? AND study_uid=? AND step_id=?)")


@pytest.mark.parametrize("statement", ["handed_and_not_shown", "count_not_shown"])
def test_what_is_to_be_taken_away_is_looked_for_among_what_is_there(db: sqlite3.Connection, statement: str) -> None:
    first, second = plan(db, statement)
    assert first.startswith("SEARCH had USING PRIMARY KEY (hand_off=?)")
    assert "(worklist=? AND study_uid=? AND step_id=?)" in second
