"""A plain store is encrypted, decrypted, and gets new keys; whatever happens in between, nothing is lost (ADR 54)."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from engine.adapters.stores import resealing
from engine.adapters.stores.place import StoreLock
from engine.adapters.stores.resealing import Way, convert, rewrap, unopened, values_by_key
from engine.adapters.stores.row_checks import ROW_DAMAGED_NOTE
from engine.adapters.stores.sealing import Sealing
from engine.adapters.stores.sqlite import SqliteStore
from engine.adapters.stores.unlocking import sealed_at, unlock
from engine.model.audit import broken_at
from engine.model.ids import MessageSeq
from engine.model.store_key import NO_KEYS, KeysInUse, StoreKey, StoreKeys
from engine.ports.store import StoreError, StoreInUse, WrongKey
from tests.adapters.stores.sealed_store import ONE, OTHER, change, fill, hashes, hits, made, one, opened, told

NOW_US = 1_790_000_000_000_000


def go(path: Path, way: Way, keys: StoreKeys = ONE, **more) -> resealing.Converted:
    return convert(path, keys, way, actor="anna", now_us=NOW_US, **more)


def damaged(path: Path, keys: StoreKeys) -> list[tuple[str, str]]:
    sealing = Sealing()
    with closing(sqlite3.connect(path)) as db:
        unlock(db, path, keys, sealing)
        return list(unopened(db, sealing))


@pytest.fixture
def plain(tmp_path):
    return made(tmp_path / "store" / "segmill.db")


def test_an_encrypted_store_tells_the_same_and_shows_nothing(plain):
    before = told(plain)
    assert hits(plain.parent) == ["segmill.db"]
    done = go(plain, "encrypt")
    assert done.values > 60 and not done.damaged and not done.was_done
    assert hits(plain.parent) == []
    assert sealed_at(plain).state == "sealed" and damaged(plain, ONE) == []
    with opened(plain, ONE):
        assert told(plain, ONE) == before
    assert hits(plain.parent) == []


def test_no_row_counts_as_damaged_after_it(plain):
    go(plain, "encrypt")
    with closing(SqliteStore(plain, keys=ONE).queries()) as queries:
        for message in queries.messages(bodies=True):
            assert message.findings == "" and message.raw is not None
            assert all(d.note != ROW_DAMAGED_NOTE for d in queries.deliveries(message.seq))


def test_what_was_damaged_before_stays_damaged(plain):
    change(plain, "UPDATE message SET sender = 'OTHER' WHERE seq = 2")
    change(plain, "UPDATE delivery SET answer = x'00' WHERE id = 3")
    go(plain, "encrypt")
    for _ in range(2):
        with closing(SqliteStore(plain, keys=ONE).queries()) as queries:
            shown = queries.message(MessageSeq(2))
            assert shown is not None and "E250" in shown.findings
            assert queries.deliveries(MessageSeq(2))[0].note == ROW_DAMAGED_NOTE
        go(plain, "reseal")


def test_what_damage_made_another_type_of_is_sealed_all_the_same(plain):
    change(plain, "UPDATE message SET ack = 'HUEBNER-4711 as a text' WHERE seq = 2")
    go(plain, "encrypt")
    assert hits(plain.parent) == [] and damaged(plain, ONE) == []


def test_there_and_back_is_the_same_store(plain):
    before = told(plain)
    go(plain, "encrypt")
    go(plain, "decrypt")
    assert sealed_at(plain).state == "plain" and told(plain) == before
    assert one(plain, "SELECT count(*) FROM sealing_key") == 0
    with opened(plain) as store:
        fill(store)


def test_the_file_stays_as_it_was_set_up(plain):
    plain.chmod(0o640)
    go(plain, "encrypt")
    assert plain.stat().st_mode & 0o777 == 0o640
    with opened(plain, ONE):
        assert one(plain, "PRAGMA auto_vacuum") == 2 and one(plain, "PRAGMA page_size") == 4096
        assert one(plain, "PRAGMA application_id") == 0x5345474D


def test_search_by_key_finds_the_same(plain):
    from engine.ports.search import Find

    wanted = Find(keys=[("mrn", "HUEBNER-4711")])
    for keys, way in ((NO_KEYS, "encrypt"), (ONE, "reseal"), (ONE, "decrypt"), (NO_KEYS, None)):
        with closing(SqliteStore(plain, keys=keys).queries()) as queries:
            assert len(queries.find(wanted).messages) == 13
        if way:
            go(plain, way)


def test_what_is_done_already_is_said_and_changes_nothing(plain):
    go(plain, "encrypt")
    before = hashes(plain)
    assert go(plain, "encrypt").was_done and hashes(plain) == before


def test_it_is_on_record_and_the_chain_holds(plain):
    go(plain, "encrypt")
    go(plain, "reseal")
    rewrap(plain, StoreKeys(OTHER.current, ONE.current), actor="anna", now_us=NOW_US)
    with closing(SqliteStore(plain, keys=OTHER).queries()) as queries:
        rows, head = queries.audit(), queries.audit_head()
    assert [row.action for row in rows] == ["encrypt", "rotate data key", "rotate key"]
    assert all(row.actor == "anna" for row in rows) and broken_at(rows, head.last, head.hash) is None
    assert OTHER.current.id in rows[2].scope and ONE.current.id in rows[2].scope


# -- refusals ------------------------------------------------------------------------------------------


def test_a_plain_store_is_not_opened_by_a_site_with_a_key(plain):
    before = hashes(plain)
    with pytest.raises(WrongKey, match="segmill store encrypt"):
        SqliteStore(plain, keys=ONE).open()
    assert hashes(plain) == before


@pytest.mark.parametrize("keys", [NO_KEYS, OTHER, StoreKeys(OTHER.current, StoreKey(bytes(range(2, 34))))])
def test_a_wrong_key_opens_nothing_and_changes_nothing(plain, keys):
    go(plain, "encrypt")
    before = hashes(plain)

    def commands():
        yield lambda: SqliteStore(plain, keys=keys).open()
        yield lambda: SqliteStore(plain, keys=keys).queries().counts()
        yield lambda: go(plain, "reseal", keys)
        yield lambda: go(plain, "decrypt", keys)
        yield lambda: rewrap(plain, keys, actor="anna", now_us=NOW_US)

    for command in commands():
        with pytest.raises(WrongKey) as refused:
            command()
        assert hashes(plain) == before
        told = str(refused.value)
        if keys.current is not None:
            assert ONE.current.id in told and all(key.id in told for key in (keys.current, keys.previous) if key)


def test_without_the_package_it_is_said(plain, monkeypatch):
    go(plain, "encrypt")
    for module in ("starting", "resealing", "unlocking"):
        monkeypatch.setattr(f"engine.adapters.stores.{module}.is_installed", lambda: False)
    for command in (lambda: SqliteStore(plain, keys=ONE).open(), lambda: go(plain, "decrypt")):
        with pytest.raises(WrongKey, match=r"segmill\[encrypt\]"):
            command()
    with pytest.raises(WrongKey, match=r"segmill\[encrypt\]"):
        SqliteStore(plain.with_name("new.db"), keys=ONE).open()


def test_the_store_of_a_running_engine_is_left_alone(plain):
    lock = StoreLock(plain)
    lock.acquire()
    try:
        for command in (lambda: go(plain, "encrypt"), lambda: rewrap(plain, ONE, actor="a", now_us=1)):
            with pytest.raises(StoreInUse):
                command()
    finally:
        lock.release()


def test_a_reader_in_the_way_is_named_and_the_next_run_goes_on(plain):
    before = told(plain)
    with closing(sqlite3.connect(f"file:{plain}?mode=ro", uri=True, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM message").fetchone()
        with pytest.raises(StoreError, match="another process reads"):
            go(plain, "encrypt")
    go(plain, "encrypt")
    assert told(plain, ONE) == before and hits(plain.parent) == []


def test_without_room_nothing_is_begun(plain, monkeypatch):
    from engine.adapters.stores.copying import NoRoom

    before = hashes(plain)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("engine.adapters.stores.resealing.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(NoRoom, match="1,000 bytes free"):
        go(plain, "encrypt")
    assert hashes(plain) == before


# -- kills and full disks ------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from engine.adapters.stores import resealing, schema
from engine.model.store_key import StoreKey, StoreKeys
path, way, at = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
resealing.SLICE_ROWS = 5
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
slices = 0
def after_slice(done, total):
    global slices
    slices += 1
    if at.isdigit() and slices == int(at):
        die()
if at == "copied":
    resealing._Conversion._verify = die
if at == "copying":
    schema._check_copy = die
if at == "before-place":
    resealing._Conversion._put_in_place = die
if at == "in-place":
    resealing.sync_folder = die
if at == "in-slice":
    change = resealing._Conversion._change
    def dies(self, db, table, row, progress):
        if table.name == "delivery" and row["id"] == 9:
            die()
        change(self, db, table, row, progress)
    resealing._Conversion._change = dies
resealing.convert(path, StoreKeys(StoreKey(bytes(range(32)))), way, actor="anna", now_us=1, on_progress=after_slice)
"""


MOMENTS = ["1", "2", "4", "9", "in-slice", "copying", "copied", "before-place", "in-place"]


@pytest.mark.parametrize(
    ("way", "at"),
    [
        *(("encrypt", at) for at in MOMENTS),
        *((way, at) for way in ("reseal", "decrypt") for at in ("2", "in-slice", "copied", "in-place")),
    ],
)
def test_a_kill_at_any_moment_loses_nothing(plain, way, at):
    before = told(plain)
    if way != "encrypt":
        go(plain, "encrypt")
    killed = subprocess.run([sys.executable, "-c", KILLED, plain, way, at], timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL
    is_through = at == "in-place"
    if not is_through:
        for keys in (NO_KEYS, ONE):
            with pytest.raises(WrongKey, match=r"was not finished|encrypted with the key"):
                SqliteStore(plain, keys=keys).open()
        with pytest.raises(WrongKey):
            go(plain, "encrypt" if way == "decrypt" else "decrypt")
    done = go(plain, way)
    assert not done.damaged
    keys = NO_KEYS if way == "decrypt" else ONE
    assert told(plain, keys) == before
    assert (hits(plain.parent) == []) == (way != "decrypt")
    with opened(plain, keys) as store:
        fill(store)


def test_a_disk_that_fills_up_leaves_what_can_go_on(plain, monkeypatch):
    before = told(plain)
    monkeypatch.setattr(resealing, "SLICE_ROWS", 5)
    slices = 0

    def full_soon(*given, **settings):
        return sqlite3.connect(*given, **settings, factory=Full)

    class Full(sqlite3.Connection):
        def execute(self, sql, *values):
            nonlocal slices
            if sql == "COMMIT":
                slices += 1
                if slices == 6:
                    pages = super().execute("PRAGMA page_count").fetchone()[0]
                    super().execute(f"PRAGMA max_page_count = {pages}")
            return super().execute(sql, *values)

    with pytest.raises(StoreError, match="no room left"):
        go(plain, "encrypt", connect=full_soon)
    assert slices >= 6
    go(plain, "encrypt")
    assert told(plain, ONE) == before and hits(plain.parent) == []


def test_whoever_stops_it_goes_on_later(plain, monkeypatch):
    monkeypatch.setattr(resealing, "SLICE_ROWS", 5)
    before = told(plain)
    seen: list[tuple[int, int]] = []

    def stop(done, total):
        seen.append((done, total))
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(plain, "encrypt", on_progress=stop)
    done = go(plain, "encrypt", on_progress=lambda done, total: seen.append((done, total)))
    assert [rows for rows, _ in seen] == sorted(rows for rows, _ in seen)
    assert seen[-1][0] == seen[-1][1] == done.rows
    assert told(plain, ONE) == before


# -- new keys ------------------------------------------------------------------------------------------


def test_a_new_key_of_the_site_opens_and_the_old_one_does_not(plain):
    go(plain, "encrypt")
    before = told(plain, ONE)
    wrapped = [row.wrapped for row in sealed_at(plain).keys]
    switch = StoreKeys(OTHER.current, ONE.current)
    assert rewrap(plain, switch, actor="anna", now_us=NOW_US) == 2
    assert rewrap(plain, switch, actor="anna", now_us=NOW_US) == 0
    assert told(plain, OTHER) == before
    with pytest.raises(WrongKey):
        SqliteStore(plain, keys=ONE).open()
    left = [name for key in wrapped for name in hits(plain.parent, key)]
    assert left == []


def test_the_engine_changes_the_key_at_its_start(plain, caplog):
    go(plain, "encrypt")
    with opened(plain, StoreKeys(OTHER.current, ONE.current)) as store:
        fill(store)
    assert OTHER.current.id in caplog.text and ONE.current.id in caplog.text
    assert OTHER.current.line() not in caplog.text
    with opened(plain, OTHER):
        assert {row.key_id for row in sealed_at(plain).keys} == {OTHER.current.id}


def test_a_kill_while_keys_are_wrapped_leaves_one_that_opens_all(plain):
    go(plain, "encrypt")
    program = f"""
import os, signal
from pathlib import Path
from engine.adapters.stores import unlocking
from engine.adapters.stores.resealing import rewrap
from engine.model.store_key import StoreKey, StoreKeys
wrapped = unlocking.wrap
def once(key, store, number, secret):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return wrapped(key, store, number, secret)
unlocking.wrap = once
keys = StoreKeys(StoreKey(bytes(range(1, 33))), StoreKey(bytes(range(32))))
rewrap(Path({os.fspath(plain)!r}), keys, actor="anna", now_us=1)
"""
    killed = subprocess.run([sys.executable, "-c", program], timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL
    with opened(plain, ONE):
        pass
    assert rewrap(plain, StoreKeys(OTHER.current, ONE.current), actor="anna", now_us=NOW_US) == 2


def test_all_is_resealed_with_a_new_data_key_and_the_old_one_is_gone(plain):
    go(plain, "encrypt")
    before = told(plain, ONE)
    old = sealed_at(plain).keys[1]
    body = one(plain, "SELECT bytes FROM body WHERE id = 1")
    token = one(plain, "SELECT key FROM delivery WHERE id = 1")
    go(plain, "reseal")
    assert [row.number for row in sealed_at(plain).keys] == [0, 2]
    with closing(sqlite3.connect(plain)) as db:
        assert set(values_by_key(db)) == {2}
    assert told(plain, ONE) == before
    assert hits(plain.parent, old.wrapped) == [] and hits(plain.parent, body) == []
    assert one(plain, "SELECT key FROM delivery WHERE id = 1") == token
    with opened(plain, ONE) as store:
        fill(store, 2)
    with closing(sqlite3.connect(plain)) as db:
        assert set(values_by_key(db)) == {2}


def test_a_value_that_does_not_open_stays_as_it_is_and_is_counted(plain):
    go(plain, "encrypt")
    change(plain, "UPDATE body SET bytes = substr(bytes, 1, length(bytes) - 1) || x'00' WHERE id = 1")
    assert damaged(plain, ONE) == [("body", "bytes")]
    assert go(plain, "reseal").damaged == 1
    assert damaged(plain, ONE) == [("body", "bytes")]
    assert go(plain, "decrypt").damaged == 1
    with closing(SqliteStore(plain).queries()) as queries:
        message = queries.message(MessageSeq(1))
        assert message is not None and message.raw is None and "E250" in message.findings


def in_use(path: Path, keys: StoreKeys) -> KeysInUse | None:
    with closing(SqliteStore(path, keys=keys).queries()) as queries:
        return queries.keys_in_use()


def test_since_when_which_keys_are_in_use_is_known_and_begins_anew_with_each_change(plain):
    assert in_use(plain, NO_KEYS) is None, "a plain store has none"
    go(plain, "encrypt")
    one, other = ONE.current, OTHER.current
    assert one is not None and other is not None
    assert in_use(plain, ONE) == KeysInUse(one.id, NOW_US, 1, NOW_US)
    rewrap(plain, StoreKeys(other, one), actor="anna", now_us=NOW_US + 5)
    assert in_use(plain, OTHER) == KeysInUse(other.id, NOW_US + 5, 1, NOW_US), "the data key is the same"
    convert(plain, OTHER, "reseal", actor="anna", now_us=NOW_US + 9)
    assert in_use(plain, OTHER) == KeysInUse(other.id, NOW_US + 5, 2, NOW_US + 9), "the site's key is the same"
    convert(plain, OTHER, "decrypt", actor="anna", now_us=NOW_US + 10)
    assert in_use(plain, OTHER) is None
