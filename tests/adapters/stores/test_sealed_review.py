"""What was found in encryption at rest by reading it as somebody who wants it to fail (ADR 54)."""

import sqlite3
from contextlib import closing

import pytest

from engine.adapters.stores import resealing
from engine.adapters.stores.copying import copy_store
from engine.adapters.stores.queries import SqliteQueries
from engine.adapters.stores.resealing import rewrap
from engine.adapters.stores.sealing import TOKEN_KEY
from engine.adapters.stores.sqlite import SqliteStore
from engine.adapters.stores.unlocking import KeyChanges, KeyTable, sealed_at
from engine.model.audit import broken_at
from engine.model.ids import MessageSeq
from engine.model.store_key import StoreKeys
from engine.ports.store import StoreError, WrongKey
from tests.adapters.stores.sealed_store import ONE, OTHER, change, made, one, opened, told
from tests.adapters.stores.test_resealing import NOW_US, damaged, go

CHANGED = StoreKeys(OTHER.current, ONE.current)


@pytest.fixture
def plain(tmp_path):
    return made(tmp_path / "store" / "segmill.db")


class Stopped(Exception):
    """As a kill between two slices."""


def stop_at(rows):
    def tell(done, total):
        if done >= rows:
            raise Stopped

    return tell


@pytest.mark.parametrize("way", ["encrypt", "reseal"])
def test_a_table_that_is_converted_at_once_may_have_more_values_than_a_slice(plain, monkeypatch, way):
    with closing(sqlite3.connect(plain)) as db:
        for n in range(300):
            db.execute("INSERT INTO pause VALUES (?, 'ris', 1, 'anna', 'because')", (f"c{n}",))
        db.commit()
    if way == "reseal":
        go(plain, "encrypt")
    monkeypatch.setattr(resealing, "COUNTED_AHEAD", 200)
    go(plain, way)
    assert sealed_at(plain).state == "sealed" and damaged(plain, ONE) == []


@pytest.mark.parametrize("way", ["encrypt", "decrypt"])
def test_the_keys_are_not_wrapped_anew_while_a_store_is_between_two_states(plain, way):
    if way == "decrypt":
        go(plain, "encrypt")
    with pytest.raises(Stopped):
        go(plain, way, on_progress=stop_at(5))
    with pytest.raises(WrongKey, match=f"store {way}"):
        rewrap(plain, CHANGED, actor="anna", now_us=NOW_US)
    assert one(plain, "SELECT count(*) FROM sealing_key WHERE key_id = ?", OTHER.current.id) == 0
    go(plain, way)
    with closing(SqliteStore(plain, keys=ONE).queries()) as queries:
        rows, head = queries.audit(), queries.audit_head()
    assert broken_at(rows, head.last, head.hash) is None


def test_new_data_keys_that_were_begun_go_on_with_another_key_of_the_site(plain):
    go(plain, "encrypt")
    before = told(plain, ONE)
    with pytest.raises(Stopped):
        go(plain, "reseal", on_progress=stop_at(5))
    assert rewrap(plain, CHANGED, actor="anna", now_us=NOW_US) == 3
    go(plain, "reseal", OTHER)
    assert told(plain, OTHER) == before


def test_a_store_that_cannot_be_read_is_not_called_plain(plain):
    go(plain, "encrypt")
    plain.write_bytes(b"no store" * 1000)
    for way in ("encrypt", "decrypt"):
        with pytest.raises(StoreError):
            go(plain, way)


def test_damaged_tokens_are_in_the_way_of_no_decryption(plain):
    with closing(sqlite3.connect(plain)) as db:
        db.execute("INSERT INTO worklist (name, epoch) VALUES ('ct', 0)")
        for n in range(3):
            db.execute("INSERT INTO worklist_alias VALUES (1, ?, '', 'S', '', 1)", (f"P{n}",))
        db.commit()
    go(plain, "encrypt")
    change(
        plain,
        "UPDATE worklist_alias SET patient = randomblob(30)"
        " WHERE patient IN (SELECT patient FROM worklist_alias LIMIT 2)",
    )
    done = go(plain, "decrypt")
    assert done.damaged == 2 and sealed_at(plain).state == "plain"
    assert one(plain, "SELECT count(*) FROM worklist_alias WHERE patient LIKE 'P_'") == 1


def test_no_backup_is_made_that_could_not_be_put_back(plain, tmp_path):
    with pytest.raises(Stopped):
        go(plain, "encrypt", on_progress=stop_at(5))
    with pytest.raises(StoreError, match="store encrypt"):
        copy_store(plain, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_key_that_cannot_be_looked_up_just_now_is_no_damage(plain, monkeypatch):
    go(plain, "encrypt")
    with closing(SqliteQueries(plain, keys=ONE)) as queries:
        queries.message(MessageSeq(1))
        go(plain, "reseal")
        queries._idle.pop().close()  # the next one opens the file that is there now
        found = sqlite3.connect

        def connect(*args, **more):
            if "check_same_thread" not in more:
                raise sqlite3.OperationalError("unable to open database file")
            return found(*args, **more)

        with monkeypatch.context() as within:
            within.setattr(sqlite3, "connect", connect)
            with pytest.raises(StoreError):
                queries.message(MessageSeq(1))
        shown = queries.message(MessageSeq(1))
        assert shown is not None and shown.raw is not None and shown.findings == ""


def test_what_a_sealed_store_is_asked_for_is_sorted_in_memory_only(plain):
    go(plain, "encrypt")
    with closing(SqliteQueries(plain, keys=ONE)) as queries, queries._reader() as db:
        assert db.execute("PRAGMA temp_store").fetchone()[0] == 2


class Found(list):
    """Rows as a cursor gives them."""

    def fetchone(self):
        return self[0] if self else None


def test_a_reader_beside_the_first_start_sees_a_plain_store_or_a_sealed_one(tmp_path):
    path = tmp_path / "segmill.db"
    with opened(path):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as db:

        class Between:
            """Another process sets the store up between the first statement and the second."""

            is_set_up = False

            def execute(self, statement):
                found = Found(db.execute(statement))
                if not self.is_set_up:
                    self.is_set_up = True
                    KeyChanges(db.execute).set_up(ONE.current, NOW_US)
                return found

        sealed = KeyTable().read(Between())
    assert sealed.state == "sealed" and {row.number for row in sealed.keys} == {TOKEN_KEY, 1}


def test_a_row_of_the_record_that_does_not_open_is_shown_without_its_counts(capsys):
    from engine.adapters.api.on_users import _item
    from engine.adapters.console.audit import _record
    from engine.adapters.console.audit_rows import told_counts
    from engine.cli.audit import _as_json, _show
    from engine.model.audit import AuditRow

    row = AuditRow(1, NOW_US, "anna", "retry", "", "", "", "", "")
    assert _item(row, with_values=True).counts == {} == _record(row, with_values=True)["counts"]
    assert _as_json(row, show_values=True)["counts"] == {} and told_counts(row) == ""
    _show([row], show_values=True)
    assert "retry" in capsys.readouterr().out


def test_a_journal_that_a_killed_command_left_is_not_played_into_the_next_copy(plain):
    journal = plain.with_name("segmill.db.converted-journal")
    journal.write_bytes(b"left")
    seen = []
    back_up = resealing.schema.back_up

    def looked(db, copy):
        seen.append(journal.exists())
        back_up(db, copy)

    with pytest.MonkeyPatch.context() as within:
        within.setattr(resealing.schema, "back_up", looked)
        go(plain, "encrypt")
    assert seen == [False]
