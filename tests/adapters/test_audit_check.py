"""The record of what people did against who can write to the store's file (reliability.md SEC10)."""

import json
import shutil
import sqlite3
import tracemalloc
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.adapters.audit_check import Anchor, check_audit, newest_anchored, read_anchor
from engine.adapters.stores.queries import SqliteQueries
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.audit import START, AuditRow, chained
from engine.ports.operations import By, Change

COUNT = 12


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with twelve records, and its anchor."""
    folder = tmp_path_factory.mktemp("template")
    store = SqliteStore(folder / "segmill.db")
    store.open()
    queries = store.queries()
    anchor = Anchor(queries, folder / "audit.anchor")
    assert anchor.start() is None
    for n in range(COUNT):
        store.operate(Change(By(f"user{n}", f"reason {n}"), "skip", lanes=["adt/ris"], is_always_recorded=True))
        if n % 5 == 0:
            anchor.follow()
    anchor.follow()
    queries.close()
    store.close()
    return folder


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


def verdict(place: Path, known=None, with_anchor: bool = True):
    queries = SqliteQueries(place / "segmill.db")
    try:
        return check_audit(queries, place / "audit.anchor" if with_anchor else None, known)
    finally:
        queries.close()


def attack(place: Path, *statements: str) -> None:
    """As somebody who can write to the file, and takes the triggers out of the way."""
    with closing(sqlite3.connect(place / "segmill.db")) as db:
        db.executescript("DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_forgotten;")
        for statement in statements:
            db.execute(statement)
        db.commit()


def rows_of(place: Path) -> list[AuditRow]:
    queries = SqliteQueries(place / "segmill.db")
    try:
        return list(queries.audit(0, 1000))
    finally:
        queries.close()


def rebuild(place: Path, rows: list[AuditRow]) -> None:
    """The whole chain anew, with its head: every hash is right."""
    with closing(sqlite3.connect(place / "segmill.db")) as db:
        db.executescript("DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_forgotten; DELETE FROM audit;")
        previous = START
        for number, row in enumerate(rows, 1):
            row = replace(row, id=number)
            previous = chained(previous, row)
            told = (row.id, row.at_us, row.actor, row.action, row.reason, row.scope, row.counts, row.ids, row.key)
            db.execute("INSERT INTO audit VALUES (?,?,?,?,?,?,?,?,?,?)", (*told, previous))
        db.execute("UPDATE audit_head SET last = ?, hash = ?", (len(rows), previous))
        db.commit()


def test_a_record_that_nobody_touched_is_whole_and_all_of_it_is_anchored(place):
    found = verdict(place)
    assert found.is_whole and (found.records, found.anchored) == (COUNT, COUNT)
    assert found.hash == rows_of(place)[-1].hash


@pytest.mark.parametrize("column", ["at_us", "actor", "action", "reason", "scope", "counts", "ids", "run", "hash"])
@pytest.mark.parametrize("number", [1, 7, COUNT])
def test_no_field_of_any_record_can_be_changed(place, column, number):
    value = {"at_us": "at_us + 1", "hash": "zeroblob(32)"}.get(column, f"{column} || 'x'")
    attack(place, f"UPDATE audit SET {column} = {value} WHERE id = {number}")
    assert verdict(place, with_anchor=False).broken_at == number


@pytest.mark.parametrize(
    ("statements", "place_of_break"),
    [
        (["DELETE FROM audit WHERE id = 1"], 1),
        (["DELETE FROM audit WHERE id = 7"], 7),
        (["DELETE FROM audit WHERE id = 12"], 12),
        (["DELETE FROM audit WHERE id > 6"], 7),
        (["DELETE FROM audit"], 1),
        (["DELETE FROM audit", "DELETE FROM audit_head"], None),
        (["DELETE FROM audit WHERE id > 6", "UPDATE audit_head SET last = 6"], 6),
        (
            [
                "UPDATE audit SET id = 99 WHERE id = 7",
                "UPDATE audit SET id = 7 WHERE id = 8",
                "UPDATE audit SET id = 8 WHERE id = 99",
            ],
            7,
        ),
        (["UPDATE audit SET id = id + 1000 WHERE id = 12"], 12),
        (
            [
                "INSERT INTO audit SELECT 13, at_us, actor, action, reason, scope, counts, ids, run, hash "
                "FROM audit WHERE id = 12"
            ],
            13,
        ),
        (["UPDATE audit_head SET hash = zeroblob(32)"], 12),
        (["UPDATE audit_head SET last = 13"], 13),
    ],
)
def test_records_cannot_be_taken_away_put_in_or_moved(place, statements, place_of_break):
    attack(place, *statements)
    assert verdict(place, with_anchor=False).broken_at == place_of_break
    assert not verdict(place).is_whole, "what the chain cannot tell, the anchor does"


@pytest.mark.parametrize("kept", [0, 1, 6, COUNT - 1])
def test_a_chain_that_was_cut_and_made_anew_is_told_by_the_anchor(place, kept):
    rebuild(place, rows_of(place)[:kept])
    assert verdict(place, with_anchor=False).is_whole, "by itself it looks whole: that is what the anchor is for"
    found = verdict(place)
    assert (found.broken_at, found.unanchored) == (None, kept + 1)


@pytest.mark.parametrize("number", [1, 7, COUNT])
def test_a_chain_that_was_made_anew_with_another_record_is_told_by_the_anchor(place, number):
    rows = rows_of(place)
    rows[number - 1] = replace(rows[number - 1], actor="somebody else")
    rebuild(place, rows)
    assert verdict(place, with_anchor=False).is_whole
    assert verdict(place).unanchored == number


def test_without_its_anchor_a_hash_that_was_kept_elsewhere_tells(place):
    noted = rows_of(place)[8]
    rebuild(place, rows_of(place)[:6])
    (place / "audit.anchor").unlink()
    assert verdict(place).is_whole
    assert verdict(place, {9: noted.hash}).unanchored == 9


def test_a_line_of_the_anchor_cannot_be_undone_by_a_later_one(place):
    original = rows_of(place)[:6]
    forged = [*original[:3], replace(original[3], actor="somebody else"), *original[4:]]
    rebuild(place, forged)
    with (place / "audit.anchor").open("a") as anchor:
        for row in rows_of(place):
            anchor.write(f"{row.id} {row.hash.hex()} 2026-01-01T00:00:00Z\n")
    assert verdict(place).unanchored == 4


def test_a_line_that_was_cut_short_is_left_out_and_the_next_stands_for_itself(place):
    path = place / "audit.anchor"
    path.write_bytes(path.read_bytes()[:-70])
    store = SqliteStore(place / "segmill.db")
    store.open()
    queries = store.queries()
    anchor = Anchor(queries, path)
    assert anchor.start() is None
    assert anchor.follow() == 1, "the row whose line was lost"
    queries.close()
    store.close()
    assert read_anchor(path).keys() == set(range(1, COUNT + 1))
    assert verdict(place).is_whole


def test_a_store_from_a_backup_is_told_at_the_start_and_goes_on(place, tmp_path_factory):
    old = tmp_path_factory.mktemp("old")
    shutil.copytree(place, old, dirs_exist_ok=True)
    rebuild(place, rows_of(place)[:6])
    store = SqliteStore(place / "segmill.db")
    store.open()
    queries = store.queries()
    anchor = Anchor(queries, place / "audit.anchor")
    assert anchor.start() == COUNT
    store.operate(Change(By("anna"), "skip", is_always_recorded=True))
    assert anchor.follow() == 1
    queries.close()
    store.close()
    assert verdict(place).unanchored == 7


def test_a_long_anchor_is_no_memory_of_the_start(place):
    path = place / "audit.anchor"
    last = max(read_anchor(path))
    text = path.read_text()
    path.write_text(text * 2000 + "7" * 5_000_000 + "\n" + f"{last} {'0' * 64} later\n")
    tracemalloc.start()
    newest = newest_anchored(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert newest == (last, read_anchor(path)[last]), "the first line of a number counts"
    assert most < 200_000


def test_nothing_of_what_people_asked_for_is_in_the_anchor(place):
    text = (place / "audit.anchor").read_text()
    assert "reason" not in text and "user" not in text
    assert (place / "audit.anchor").stat().st_mode & 0o077 == 0


def test_the_command_says_what_is_wrong_and_where(place, capsys):
    from engine.cli.main import run

    def say(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = run(["audit", "verify", "--data", str(place), *words])
        return code, capsys.readouterr().out

    code, out = say()
    newest = out.rpartition(" ")[2].strip()
    assert code == 0 and f"{COUNT} records, whole, {COUNT} of them as in audit.anchor" in out
    assert say("--hash", newest)[0] == 0
    rebuild(place, rows_of(place)[:6])
    code, out = say("--json")
    assert (code, json.loads(out)["unanchored"]) == (1, 7)
    assert "E484 number 7" in say()[1]
    (place / "audit.anchor").unlink()
    assert say()[0] == 0 and say("--hash", newest)[0] == 1
    assert run(["audit", "--hash", newest, "--data", str(place)]) == 2
    assert run(["audit", "verify", "--hash", "x", "--data", str(place)]) == 2
