"""A sealed store at work: what is damaged in it is held and never sent, keys are counted, a plain one pays nothing."""

from contextlib import closing

import pytest

from engine.adapters.stores import sealing as sealing_module
from engine.adapters.stores import starting
from engine.adapters.stores.row_checks import ROW_DAMAGED_NOTE
from engine.adapters.stores.sealing import RESERVED, Sealing
from engine.adapters.stores.sqlite import SqliteStore
from engine.adapters.stores.unlocking import sealed_at
from engine.model.envelope import Batch
from engine.model.ids import MessageSeq
from engine.model.store_key import NO_KEYS
from engine.ports.search import Find
from engine.testing.store_contract import intake
from tests.adapters.stores.sealed_store import CHANNEL, ONE, PACS, RIS, change, fill, hits, made, one, opened


@pytest.fixture
def path(tmp_path):
    return made(tmp_path / "store" / "segmill.db", ONE)


def test_a_new_store_is_sealed_from_its_first_row(path, tmp_path):
    assert hits(path.parent) == []
    plain = made(tmp_path / "plain" / "segmill.db")
    assert hits(plain.parent) == ["segmill.db"]

    def without_numbers(path, keys):
        """All but what differs from run to run: when it was received."""
        with closing(SqliteStore(path, keys=keys).queries()) as queries:
            return [
                (
                    m.raw,
                    m.ack,
                    m.control_id,
                    m.findings,
                    [(d.key, d.answer, d.body) for d in queries.deliveries(m.seq, True)],
                )
                for m in queries.messages(bodies=True)
            ]

    assert without_numbers(path, ONE) == without_numbers(plain, NO_KEYS)


def test_nothing_of_it_is_in_the_log_while_it_is_open(tmp_path):
    path = tmp_path / "store" / "segmill.db"
    with opened(path, ONE) as store:
        fill(store)
        assert path.with_name("segmill.db-wal").stat().st_size > 0
        assert hits(path.parent) == []


FLIPS = (
    "UPDATE {table} SET {column} = CAST(substr({column}, 1, 20) || iif(substr({column}, 21, 1) = x'ff', x'00', x'ff')"
    " || substr({column}, 22) AS BLOB) WHERE {where}"
)


def test_a_turned_bit_in_a_body_holds_its_delivery_and_no_other(path):
    change(path, FLIPS.format(table="body", column="bytes", where="id = (SELECT body FROM message WHERE seq = 3)"))
    with opened(path, ONE) as store:
        queued = store.queued(CHANNEL, RIS, 0, 100)
        held = [d for d in store.queries().deliveries(MessageSeq(3)) if d.state == "held"]
        assert all(d.seq != 3 for d in queued)
        message = store.queries().message(MessageSeq(3))
        assert message is not None and message.raw is None and "E250" in message.findings
        others = [store.queries().message(MessageSeq(n)) for n in (1, 2, 4)]
        assert all(other is not None and other.raw for other in others)
    assert {d.destination for d in held} <= {RIS}


def test_a_body_of_another_row_does_not_open_in_this_one(path):
    change(path, "UPDATE body SET bytes = (SELECT bytes FROM body WHERE id = 1) WHERE id = 3")
    change(path, "UPDATE message SET crc = (SELECT crc FROM message WHERE seq = 1) WHERE body = 3")
    with closing(SqliteStore(path, keys=ONE).queries()) as queries:
        found = [m for m in queries.messages(bodies=True) if m.raw is None]
        assert len(found) == 1 and "E250" in found[0].findings


def test_no_checksum_can_be_made_to_fit_what_does_not_open(path):
    change(path, "UPDATE body SET bytes = x'00' WHERE id = (SELECT body FROM message WHERE seq = 1)")
    change(path, "UPDATE message SET crc = 0 WHERE seq = 1")
    with closing(SqliteStore(path, keys=ONE).queries()) as queries:
        message = queries.message(MessageSeq(1))
    assert message is not None and message.raw is None


def test_a_piece_that_does_not_open_makes_the_whole_damaged(path):
    change(path, FLIPS.format(table="body_piece", column="bytes", where="number = 1"))
    with closing(SqliteStore(path, keys=ONE).queries()) as queries:
        (message,) = list(queries.messages(control_id="LARGE", bodies=True))
    assert message.raw is None and "E250" in message.findings


@pytest.mark.parametrize("column", ["ack", "body_hash"])
def test_a_turned_bit_in_the_answer_or_hash_makes_a_resend_new(path, column):
    change(path, FLIPS.format(table="message", column=column, where="seq = 2"))
    change(path, "UPDATE message SET row_crc = NULL WHERE seq = 2")
    with opened(path, ONE) as store:
        assert store.known(CHANNEL, "HIS|MAIN", "C1", 0) == []
        assert len(store.known(CHANNEL, "HIS|MAIN", "C2", 0)) == 1
        message = store.queries().message(MessageSeq(2))
        assert message is not None
        assert ("E250" in message.findings) == (column == "ack")


def test_a_key_that_does_not_open_holds_its_delivery_alone(path):
    with opened(path, ONE) as store:
        (first, *others) = store.queued(CHANNEL, RIS, 0, 100)
    change(path, FLIPS.format(table="delivery", column="key", where=f"id = {first.id}"))
    with opened(path, ONE) as store, closing(store.queries()) as queries:
        rows = queries.queued_rows(CHANNEL, RIS, 0, 100)
        assert len({rows[0].key, *(row.key for row in rows[1:])}) == 1 + len({d.key for d in others})
        assert queries.queued_delivery(first.id) is None
        store.commit(Batch([]))
        assert [d.id for d in store.queued(CHANNEL, RIS, 0, 100)] == [d.id for d in others]
        assert [d.state for d in queries.deliveries(first.seq) if d.id == first.id] == ["held"]


def test_an_answer_that_does_not_open_is_shown_as_damage(path):
    change(path, FLIPS.format(table="delivery", column="answer", where="id = 3"))
    change(path, FLIPS.format(table="attempt", column="answer", where="delivery = 3"))
    change(path, "UPDATE delivery SET row_crc = NULL WHERE id = 3")
    with closing(SqliteStore(path, keys=ONE).queries()) as queries:
        shown = queries.deliveries(MessageSeq(2))[0]
        assert (shown.note, shown.answer) == (ROW_DAMAGED_NOTE, b"")
        assert {(a.note, a.answer) for a in queries.attempts(MessageSeq(2))} == {(ROW_DAMAGED_NOTE, b"")}


def test_keys_are_looked_up_by_equality_and_not_readable(path):
    with closing(SqliteStore(path, keys=ONE).queries()) as queries:
        keys = {row.key for row in queries.queued_rows(CHANNEL, RIS, 0, 100) if row.key}
        for key in keys:
            assert {row.key for row in queries.queued_of_key(CHANNEL, RIS, key, 0, 100)} == {key}
    assert keys and one(path, "SELECT count(*) FROM delivery WHERE typeof(key) = 'text' AND key <> ''") == 0


def test_text_is_found_in_what_is_sealed_a_small_piece_at_a_time(path):
    with closing(SqliteStore(path, keys=ONE).queries()) as queries:
        found = queries.find(Find(texts=[[b"huebner-4711-7"]]), span=20_000)
        assert [m.seq for m in found.messages] == [8]


# -- data keys -----------------------------------------------------------------------------------------


def test_values_are_counted_ahead_and_a_clean_stop_gives_back_what_was_not_used(tmp_path):
    path = tmp_path / "segmill.db"
    with opened(path, ONE) as store:
        assert sealed_at(path).keys[-1].used == RESERVED
        fill(store)
    used = sealed_at(path).keys[-1].used
    sealed = sum(
        one(path, f"SELECT count(*) FROM {table} WHERE length({column}) > 0")
        for table, column in (
            ("body", "bytes"),
            ("body_piece", "bytes"),
            ("message", "ack"),
            ("message", "body_hash"),
            ("delivery", "answer"),
            ("attempt", "answer"),
            ("key_setup", "secret"),
        )
    )
    assert sealed <= used <= 2 * sealed


def test_after_enough_values_a_new_data_key_takes_over_within_a_run(tmp_path, monkeypatch):
    path = tmp_path / "segmill.db"
    monkeypatch.setattr(starting, "RENEW_AT", 3 * RESERVED)
    monkeypatch.setattr("engine.adapters.stores.sqlite.LOW", RESERVED - 10)
    with opened(path, ONE) as store, closing(store.queries()) as reader:
        fill(store, 3)
        assert reader.message(MessageSeq(1)) is not None
        fill(store, 12)
        newest = sealed_at(path).keys[-1].number
        assert newest >= 2
        assert all(m.raw is not None for m in reader.messages(bodies=True))
        assert "new data key" in {row.action for row in reader.audit()}
    with opened(path, ONE) as store:
        assert all(m.raw is not None for m in store.queries().messages(bodies=True))


def test_a_kill_leaves_the_count_higher_and_never_lower(tmp_path):
    path = tmp_path / "segmill.db"
    store = SqliteStore(path, keys=ONE)
    store.open()
    fill(store)
    store.close(clean=False)
    assert sealed_at(path).keys[-1].used == RESERVED
    with opened(path, ONE):
        assert sealed_at(path).keys[-1].used == 2 * RESERVED


# -- what a plain store pays -----------------------------------------------------------------------------


def test_a_plain_store_makes_not_one_call_for_it(tmp_path, monkeypatch):
    def never(*given, **more):
        raise AssertionError("a plain store was sealed or opened")

    for name in ("seal", "seal_text", "open", "open_text", "token", "untoken"):
        monkeypatch.setattr(Sealing, name, never)
    monkeypatch.setattr(sealing_module.os, "urandom", never)
    for name in ("sealed_answer", "sealed_ack", "count_ahead"):
        for module in ("writing", "sqlite"):
            monkeypatch.setattr(f"engine.adapters.stores.{module}.{name}", never, raising=False)
    with opened(tmp_path / "segmill.db") as store:
        made = store.commit(Batch([intake(RIS, PACS, channel=CHANNEL, control_id="C1")])).deliveries[0]
        from engine.testing.store_contract import result

        store.commit(Batch([], results=[result(d, code="AA", answer=b"MSA") for d in made]))
        assert store.known(CHANNEL, "HIS|MAIN", "C1", 0)
