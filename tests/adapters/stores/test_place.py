"""Where a store may be, and who may open it (reliability.md D9, R20)."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.adapters.stores.place import (
    NETWORK_FILE_SYSTEMS,
    StoreLock,
    file_system_of,
    refusal_of_writes,
    refuse_network_file_system,
)
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch
from engine.ports.store import CommitUnknown, StoreError, StoreGone, StoreInUse
from engine.testing.store_contract import EPR, intake

MOUNTS = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 22 0:35 / /srv rw shared:1 - nfs4 server:/srv rw,vers=4.2
41 40 0:36 / /srv/local\040disk rw - xfs /dev/vdb rw
42 22 0:37 / /mnt rw - ext4 /dev/vdc rw
43 22 0:38 / /mnt rw - cifs //server/share rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/segmill", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/data", "nfs4"),
        ("/srvx/data", "ext4"),
        ("/srv/local disk/data", "xfs"),
        ("/mnt/data", "cifs"),
        ("/", "ext4"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount_the_last_one_on_top(path, kind):
    assert file_system_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("kind", sorted(NETWORK_FILE_SYSTEMS))
def test_a_network_file_system_is_refused_with_its_name(kind, tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 254:0 / / rw - {kind} server:/x rw\n")
    with pytest.raises(StoreError, match=kind.replace(".", r"\.")):
        refuse_network_file_system(tmp_path, mounts)


def test_where_nothing_tells_the_file_system_the_store_opens(tmp_path):
    refuse_network_file_system(tmp_path, tmp_path / "no-such-file")


def test_a_network_file_system_can_be_allowed(path, monkeypatch):
    monkeypatch.setattr("engine.adapters.stores.place.NETWORK_FILE_SYSTEMS", _Everything())
    with pytest.raises(StoreError, match="network file system"):
        SqliteStore(path).open()
    store = SqliteStore(path, allow_network=True)
    store.open()
    store.close()


class _Everything:
    def __contains__(self, kind):
        return True


def test_messages_are_nobody_elses_to_read(open_store, path):
    open_store()
    assert path.parent.stat().st_mode & 0o077 == 0
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name


HOLDER = """
import sys
from pathlib import Path
from engine.adapters.stores.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
store.open()
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_engine_is_told_whose_store_it_is_and_changes_nothing(path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as holder:
        assert holder.stdout.readline() == b"open\n"
        before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
        for _ in range(3):
            with pytest.raises(StoreInUse, match=f"store.db is in use .*process {holder.pid}"):
                SqliteStore(path).open()
        assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
        holder.kill()
        holder.wait()
    store = SqliteStore(path)
    store.open()  # the system freed the lock of the one that was killed
    store.close()


def test_the_lock_is_free_after_a_start_that_failed(path):
    path.parent.mkdir()
    path.write_bytes(b"no database, certainly" * 100)
    for _ in range(2):
        with pytest.raises(StoreError) as refused:
            SqliteStore(path).open()
        assert not isinstance(refused.value, StoreInUse)
    path.unlink()
    store = SqliteStore(path)
    store.open()
    store.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="folder of"):
        SqliteStore(tmp_path / "file" / "store.db").open()
    with pytest.raises(StoreError, match="cannot be opened"):
        StoreLock(tmp_path / "nowhere" / "store.db").acquire()


def test_the_owner_is_this_process_by_its_id(path):
    store = SqliteStore(path)
    store.open()
    assert int(path.with_name("store.db.lock").read_text()) == os.getpid()
    store.close()


@pytest.mark.parametrize(("number", "refuses"), [("ENOSPC", True), ("EDQUOT", True), ("EROFS", True), ("EIO", False)])
def test_a_disk_that_takes_nothing_is_told_from_one_that_fails(number, refuses, tmp_path, monkeypatch):
    def write(file, content):
        raise OSError(getattr(errno, number), "injected")

    monkeypatch.setattr(os, "write", write)
    assert bool(refusal_of_writes(tmp_path / "store.db")) is refuses
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_what_it_is_given_does_not_refuse(tmp_path):
    assert refusal_of_writes(tmp_path / "store.db") == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_names_cannot_be_synced_keeps_the_store_closed(path, monkeypatch):
    """SQLite would go on: the log's name could then be lost with the power, and all commits with it."""
    monkeypatch.setattr("engine.adapters.stores.sqlite.sync_folder", _fail)
    with pytest.raises(StoreError, match="Input/output error"):
        SqliteStore(path).open()
    monkeypatch.undo()
    store = SqliteStore(path)
    store.open()
    store.close()


def _fail(folder):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("name", ["store.db", "store.db-wal"])
def test_a_store_that_is_taken_away_says_nothing_positive_any_more(name, path):
    """D8: at the next commit, and when it is asked."""
    store = SqliteStore(path)
    store.open()
    store.commit(Batch([intake(EPR)]))
    store.check_place()
    kept = path.with_name("kept")
    path.with_name(name).rename(kept)
    with pytest.raises(StoreGone, match="moved, replaced or deleted"):
        store.commit(Batch([intake(EPR)]))
    with pytest.raises(StoreGone):
        store.check_place()
    with pytest.raises(CommitUnknown):
        store.commit(Batch([intake(EPR)]))
    kept.rename(path.with_name(name))
    store.close()
