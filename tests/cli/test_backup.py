"""`segmill backup` and `restore`: what is in a backup, what is done of it, and what is never done."""

import json
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from engine.adapters.stores.sqlite import SqliteStore
from engine.cli.main import run
from engine.testing import messages
from tests.cli.conftest import RunningSite, Segmill


def stored(path: Path) -> dict[int, tuple[str, bytes | None]]:
    """Every message of a store: control id and bytes, by seq."""
    queries = SqliteStore(path).queries()
    try:
        return {m.seq: (m.control_id, m.raw) for m in queries.messages(bodies=True)}
    finally:
        queries.close()


@pytest.fixture
def busy(running: RunningSite) -> RunningSite:
    running.send("adt", *(messages.adt(control_id=f"A{n}", mrn=str(n)) for n in range(20)))
    return running


@pytest.fixture
def backup(segmill: Segmill, busy: RunningSite, tmp_path: Path) -> Path:
    said = segmill("backup", "--site", busy.folder, tmp_path / "backup")
    assert said.code == 0, said.err
    return tmp_path / "backup"


def test_a_backup_of_a_running_engine_is_whole_and_says_what_is_in_it(segmill, busy, tmp_path) -> None:
    said = segmill("backup", "--site", busy.folder, tmp_path / "backup", "--json")
    assert said.code == 0
    assert said.json["messages"] == 20
    assert said.json["last_seq"] == 20
    assert segmill("backup", "--check", tmp_path / "backup").code == 0
    kept = {path.relative_to(tmp_path / "backup").as_posix() for path in (tmp_path / "backup").rglob("*")}
    assert {"backup.json", "segmill.db", "site/segmill.yaml", "site/channels/adt/channel.yaml"} <= kept
    assert not any("site/data" in name or name.endswith((".lock", "-wal", "-shm", ".sock")) for name in kept)
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "backup").rglob("*") if path.is_file())
    assert "SEGMILL_RIS_PORT" in said.json["variables"]
    assert stored(tmp_path / "backup" / "segmill.db") == stored(busy.folder / "data" / "segmill.db")


def test_a_folder_that_is_there_gets_a_backup_of_its_own_each_time(segmill, busy, tmp_path) -> None:
    (tmp_path / "nightly").mkdir()
    said = segmill("backup", "--site", busy.folder, tmp_path / "nightly")
    (made,) = (tmp_path / "nightly").iterdir()
    assert made.name.startswith("segmill-test-20")
    assert said.out.strip() == str(made)


def test_a_site_and_its_store_come_back_and_run(segmill, busy, backup, tmp_path, run_site_with) -> None:
    before = stored(busy.folder / "data" / "segmill.db")
    said = segmill("restore", backup, tmp_path / "back")
    assert said.code == 0, said.err
    assert "ask them to send it again" in said.err
    assert stored(tmp_path / "back" / "data" / "segmill.db") == before
    for path in (busy.folder / "channels").rglob("*"):
        if path.is_file():
            assert (tmp_path / "back" / path.relative_to(busy.folder)).read_bytes() == path.read_bytes()
    (record,) = segmill("audit", "--site", tmp_path / "back", "--json").lines
    assert (record["action"], record["counts"]["messages"]) == ("restore", 20)
    assert segmill("audit", "--site", tmp_path / "back", "--verify").code == 0
    again = run_site_with(tmp_path / "back")
    again.send("adt", messages.adt(control_id="NEW", mrn="1"))
    after = stored(tmp_path / "back" / "data" / "segmill.db")
    (new,) = after.keys() - before.keys()
    assert new > max(before) + 900_000, "numbers that were given since the backup are not given again"
    assert segmill("messages", "--site", tmp_path / "back", "mrn=1", "--json").lines[0]["control_id"] == "NEW"


def test_what_was_queued_goes_out_again_and_is_marked(segmill, site, run_site_with, tmp_path) -> None:
    engine = run_site_with(site, "AR")
    engine.send_only("adt", messages.adt(control_id="Q1"))
    assert segmill("backup", "--site", site, tmp_path / "backup").code == 0
    engine.stop()
    assert segmill("restore", tmp_path / "backup", tmp_path / "back").code == 0
    with closing(sqlite3.connect(tmp_path / "back" / "data" / "segmill.db")) as db:
        marks = db.execute("SELECT state, maybe_sent FROM delivery WHERE state = 0").fetchall()
    assert marks
    assert set(marks) == {(0, 1)}
    queries = SqliteStore(tmp_path / "back" / "data" / "segmill.db").queries()
    assert all("checksum" not in delivery.note for delivery in queries.deliveries(1)), "its checksum followed"
    queries.close()


def test_of_a_site_whose_store_is_gone_the_store_alone_is_put_back(segmill, busy, backup) -> None:
    before = stored(busy.folder / "data" / "segmill.db")
    busy.stop()
    shutil.rmtree(busy.folder / "data")
    (busy.folder / "channels" / "adt" / "notes.txt").write_text("changed since")
    said = segmill("restore", backup, busy.folder, "--json")
    assert said.code == 0, said.err
    assert (said.json["files"], said.json["differing_files"]) == (0, 1)
    assert stored(busy.folder / "data" / "segmill.db") == before
    assert (busy.folder / "channels" / "adt" / "notes.txt").exists()


def test_an_anchor_of_what_people_did_since_is_to_be_moved_aside_and_kept(segmill, busy, backup) -> None:
    assert segmill("queue", "pause", "adt/ris", "--site", busy.folder).code == 0
    busy.stop()
    data = busy.folder / "data"
    for path in data.glob("segmill.db*"):
        path.unlink()
    said = segmill("restore", backup, busy.folder)
    assert said.code == 0, said.err
    assert f"move {data / 'audit.anchor'} aside and keep it" in said.err
    assert segmill("audit", "verify", "--site", busy.folder).code == 1
    (data / "audit.anchor").rename(data / "audit.anchor.of-monday")
    assert segmill("audit", "verify", "--site", busy.folder).code == 0


@pytest.mark.parametrize("name", ["segmill.db", "segmill.db-wal", "segmill.db-shm"])
def test_nothing_is_overwritten(segmill, busy, backup, name) -> None:
    busy.stop()
    data = busy.folder / "data"
    for path in data.glob("segmill.db*"):
        path.unlink()
    (data / name).write_bytes(b"somebody's")
    said = segmill("restore", backup, busy.folder)
    assert said.code == 1
    assert "nothing is overwritten" in said.err
    assert (data / name).read_bytes() == b"somebody's"
    assert {path.name for path in data.glob("segmill.db*")} - {"segmill.db.lock"} == {name}


def test_a_running_engine_is_left_alone_also_where_its_store_was_moved_away(segmill, busy, backup) -> None:
    assert segmill("restore", backup, busy.folder).code == 1
    data = busy.folder / "data"
    for name in ("segmill.db", "segmill.db-wal", "segmill.db-shm"):
        (data / name).unlink(missing_ok=True)
    said = segmill("restore", backup, busy.folder)
    assert said.code == 75
    assert not (data / "segmill.db").exists()


def test_a_folder_with_something_in_it_is_no_place_for_a_site(segmill, backup, tmp_path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    said = segmill("restore", backup, tmp_path / "there")
    assert said.code == 1
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["segmill.db", "site/channels/adt/channel.yaml", "backup.json"])
def test_a_backup_with_a_turned_bit_is_not_put_back(segmill, backup, tmp_path, name) -> None:
    content = bytearray((backup / name).read_bytes())
    content[len(content) // 2] ^= 1
    (backup / name).write_bytes(content)
    for words in (("backup", "--check", backup), ("restore", backup, tmp_path / "back")):
        said = segmill(*words)
        assert said.code == 74, name
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("name", ["site/../../out.txt", "/etc/x", "site//x", "other/x", "site", "site/..\\x"])
def test_a_backup_names_no_file_outside_of_it(segmill, backup, tmp_path, name) -> None:
    said = json.loads((backup / "backup.json").read_text())
    said["files"][name] = "0" * 64
    (backup / "backup.json").write_text(json.dumps(said))
    assert segmill("restore", backup, tmp_path / "back").code == 74
    assert not (tmp_path / "back").exists()


def test_no_backup_is_made_over_another_nor_without_room(segmill, busy, backup) -> None:
    assert segmill("backup", "--site", busy.folder, backup / "segmill.db").code == 73
    settings = busy.folder / "segmill.yaml"
    settings.write_text(settings.read_text() + "limits: {free_disk: 900000GB}\n")
    said = segmill("backup", "--site", busy.folder, backup.parent / "another")
    assert said.code == 73
    assert "have to stay free" in said.err
    assert {path.name for path in backup.parent.iterdir() if "another" in path.name} == set()


def test_backups_under_load_are_each_of_one_moment(segmill, busy, tmp_path) -> None:
    """Whatever was acknowledged before one began is in it, and nothing of what came later, without a gap between."""
    sent = []
    over = threading.Event()

    def load() -> None:
        n = 0
        while not over.is_set():
            busy.send_only("adt", *(messages.adt(control_id=f"L{n + i}", mrn=str(n + i)) for i in range(20)))
            n += 20
            sent.append(n)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for number in range(3):
            while len(sent) < 2 * number + 2:
                assert thread.is_alive()
                over.wait(0.01)
            acknowledged = 20 + sent[-1]
            assert run(["backup", "-q", "--site", str(busy.folder), str(tmp_path / f"b{number}")]) == 0
            found = stored(tmp_path / f"b{number}" / "segmill.db")
            assert sorted(found) == list(range(1, len(found) + 1))
            assert len(found) >= acknowledged
    finally:
        over.set()
        thread.join()
    everything = stored(busy.folder / "data" / "segmill.db")
    for number in range(3):
        found = stored(tmp_path / f"b{number}" / "segmill.db")
        assert found == {seq: everything[seq] for seq in found}
        assert segmill("restore", tmp_path / f"b{number}", tmp_path / f"r{number}").code == 0


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_link_to_a_file_is_backed_up_as_what_it_leads_to_and_one_to_a_folder_is_not(segmill, busy, tmp_path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file.txt").write_text("shared")
    (busy.folder / "shared.txt").symlink_to(tmp_path / "outside" / "file.txt")
    (busy.folder / "shared").symlink_to(tmp_path / "outside")
    assert segmill("backup", "--site", busy.folder, tmp_path / "backup").code == 0
    assert (tmp_path / "backup" / "site" / "shared.txt").read_text() == "shared"
    assert not (tmp_path / "backup" / "site" / "shared").exists()
