"""Backups and restores that are killed, and disks that end under them (reliability.md D10): what has its name is whole,
what was there stays as it was, and the next try succeeds."""

import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from engine.adapters.stores.copying import RestoredBy, check_copy, copy_store, put_back
from engine.adapters.stores.schema import load_migrations
from engine.adapters.stores.sqlite import SqliteStore
from engine.cli.main import run
from engine.model.envelope import Batch
from engine.testing.store_contract import EPR, intake
from tests.faults.disks import small_tmpfs
from tests.faults.test_migration_kills import MESSAGES, assert_whole, first_store
from tests.forked import shared

CHILD = """
import os, signal, sys
from engine.adapters import backup
from engine.adapters.stores import copying
from engine.cli.main import run

stage, at, *words = sys.argv[1:]
seen = 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def after(place, name):
    whole = getattr(place, name)
    def counted(*given, **more):
        global seen
        made = whole(*given, **more)
        seen += 1
        if seen == int(at):
            die()
        return made
    setattr(place, name, counted)

places = {
    "find_room": copying, "facts_of": copying, "_sync": copying, "_check": copying, "_mark": copying,
    "_copy_file": copying, "_copy": backup, "_write": backup, "sync_tree": backup, "sync_folder": backup,
    "put_store_back": backup,
}
after(places[stage], stage)
run(words)
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with a store of some 12 MB that no engine has open."""
    folder = tmp_path / "site"
    (folder / "channels" / "lab").mkdir(parents=True)
    (folder / "segmill.yaml").write_text("admin: off\nlimits: {free_disk: 0B}\n")
    (folder / "channels" / "lab" / "channel.yaml").write_text(
        "listen: {mllp: {port: 0}}\nroutes: [{to: epr}]\ndestinations: {epr: {file: {folder: out}}}\n"
    )
    store = SqliteStore(folder / "data" / "segmill.db")
    store.open()
    for _ in range(3):
        store.commit(Batch([intake(EPR, raw=b"MSH|^~\\&|" + bytes(100_000)) for _ in range(40)]))
    store.close()
    return folder


def messages_of(store: Path) -> int:
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(db.execute("SELECT count(*) FROM message").fetchone()[0])


def killed(stage: str, at: int, *words: object) -> bool:
    """Whether the command died at this place; else it came to its end first."""
    done = subprocess.run(
        [*shared().python, "-c", CHILD, stage, str(at), *map(str, words)], capture_output=True, timeout=120, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


@pytest.mark.parametrize(
    ("stage", "at"),
    [
        ("facts_of", 1), ("find_room", 1), ("_sync", 1), ("facts_of", 2), ("_check", 1),
        ("_copy", 1), ("_copy", 2), ("_write", 1), ("sync_tree", 1), ("sync_folder", 3),
    ],
)  # fmt: skip
def test_a_backup_that_is_killed_is_whole_or_has_not_its_name(site: Path, tmp_path: Path, stage: str, at: int) -> None:
    target = tmp_path / "backup"
    assert killed(stage, at, "backup", "--site", site, target)
    if target.exists():
        assert run(["backup", "--check", str(target)]) == 0
    else:
        assert run(["backup", "--site", str(site), str(target)]) == 0
        assert run(["backup", "--check", str(target)]) == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".backup")] == []
    assert messages_of(site / "data" / "segmill.db") == 120


@pytest.mark.parametrize(
    ("stage", "at"),
    [
        ("facts_of", 1), ("_copy", 1), ("sync_tree", 1), ("find_room", 1), ("_copy_file", 1), ("_mark", 1),
        ("put_store_back", 1),
    ],
)  # fmt: skip
def test_a_restore_that_is_killed_can_be_tried_again_and_overwrites_nothing(
    site: Path, tmp_path: Path, stage: str, at: int
) -> None:
    backup, back = tmp_path / "backup", tmp_path / "back"
    assert run(["backup", "--site", str(site), str(backup)]) == 0
    assert killed(stage, at, "restore", backup, back)
    store = back / "data" / "segmill.db"
    if not store.exists():
        assert run(["restore", str(backup), str(back)]) == 0
    assert messages_of(store) == 120
    assert sorted(path.name for path in store.parent.iterdir() if "restoring" in path.name) == []
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("SELECT DISTINCT maybe_sent FROM delivery WHERE state = 0").fetchall() == [(1,)]


def test_a_disk_that_ends_under_a_backup_leaves_nothing_of_it(site: Path, tmp_path: Path, monkeypatch) -> None:
    """What is asked for beforehand is hidden, so that the writes themselves run into the end."""
    with small_tmpfs("R4", tmp_path / "disk", "8m") as disk:
        assert run(["backup", "--site", str(site), str(disk / "backup")]) == 73
        assert list(disk.iterdir()) == []
        monkeypatch.setattr("engine.adapters.stores.copying.find_room", lambda *given: None)
        assert run(["backup", "--site", str(site), str(disk / "backup")]) == 73
        assert list(disk.iterdir()) == []
    assert messages_of(site / "data" / "segmill.db") == 120


def test_a_disk_that_ends_under_a_restore_leaves_no_store(site: Path, tmp_path: Path, monkeypatch) -> None:
    assert run(["backup", "--site", str(site), str(tmp_path / "backup")]) == 0
    with small_tmpfs("R4", tmp_path / "disk", "8m") as disk:
        monkeypatch.setattr("engine.adapters.stores.copying.find_room", lambda *given: None)
        assert run(["restore", str(tmp_path / "backup"), str(disk / "back")]) in (1, 73)
        left = [path.name for path in (disk / "back" / "data").iterdir()]
        assert left == ["segmill.db.lock"]


def test_a_backup_on_the_stores_own_disk_leaves_it_the_room_it_needs(site: Path, tmp_path: Path, monkeypatch) -> None:
    """It ends in the middle, as soon as the disk has less free than the site's limit."""
    from shutil import disk_usage

    free = disk_usage(tmp_path).free
    seen: list[int] = []

    def shrinking(folder: Path) -> object:
        seen.append(1)
        return disk_usage(folder)._replace(free=free if len(seen) < 3 else 1000)

    monkeypatch.setattr("engine.adapters.stores.copying.shutil.disk_usage", shrinking)
    (site / "segmill.yaml").write_text("admin: off\nlimits: {free_disk: 2MB}\n")
    assert run(["backup", "--site", str(site), str(tmp_path / "backup")]) == 73
    assert len(seen) >= 3
    assert not any("backup" in path.name for path in tmp_path.iterdir())


def test_a_copy_that_was_cut_short_is_no_copy(site: Path, tmp_path: Path) -> None:
    assert run(["backup", "--site", str(site), str(tmp_path / "backup")]) == 0
    copy = tmp_path / "backup" / "segmill.db"
    assert check_copy(copy).messages == 120
    copy.write_bytes(copy.read_bytes()[:-8192])
    with pytest.raises(Exception, match="damaged"):
        check_copy(copy)


def test_a_backup_from_before_an_upgrade_is_put_back_at_the_schema_of_now(tmp_path: Path) -> None:
    first_store(tmp_path / "first.db")
    copy = tmp_path / "copy.db"
    assert copy_store(tmp_path / "first.db", copy).schema == 1
    store = tmp_path / "back" / "segmill.db"
    assert put_back(copy, store, RestoredBy("somebody", 1_767_225_600_000_000, "a copy")).messages == MESSAGES
    assert sorted(path.name for path in store.parent.iterdir()) == ["segmill.db", "segmill.db.lock"]
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == len(load_migrations())
        assert db.execute("SELECT DISTINCT maybe_sent FROM delivery WHERE state = 0").fetchall() == [(1,)]
    assert_whole(store)
