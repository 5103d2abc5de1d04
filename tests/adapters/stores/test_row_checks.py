"""What stands in a row beside the bytes has a checksum (reliability.md D7, R18)."""

import logging
import sqlite3
from contextlib import closing

import pytest

from engine.adapters.stores.row_checks import ROW_DAMAGED_NOTE
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import AckUpdate, Batch, DeliveryResult
from engine.model.finding import Finding
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.testing.store_contract import intake

CHANNEL, RIS = ChannelName("adt"), DestinationName("ris")


@pytest.fixture
def path(tmp_path):
    """A store that holds one message, delivered, with an answer."""
    path = tmp_path / "segmill.db"
    with opened(path) as store:
        assert store.commit(Batch([intake(RIS, channel=CHANNEL, control_id="C1")])).seqs == [1]
        said = DeliveryResult(DeliveryId(1), "delivered", 1, 1_700_000_000_000_000, 0, "AA", "a note", b"MSA|AA|C1")
        store.commit(Batch([], results=[said]))
    return path


def opened(path):
    store = SqliteStore(path)
    store.open()
    return closing(store)


def findings_and_notes(path) -> tuple[str, list[str]]:
    with closing(SqliteStore(path).queries()) as queries:
        message = queries.message(MessageSeq(1))
        assert message is not None
        return message.findings, [d.note for d in queries.deliveries(MessageSeq(1))]


def change(path, table: str, column: str, value: object) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE {table} SET {column} = ?", (value,))
        db.commit()


MESSAGE_COLUMNS = {
    "receive_id": b"another",
    "version": 99,
    "received_at_us": 1,
    "sender": "OTHER|FACILITY",
    "peer": "192.0.2.9:1",
    "message_type": "ADT^A99",
    "control_id": "C2",
    "body_hash": b"x" * 16,
    "state": 2,
    "ack_code": "AE",
    "findings": '[{"code": "E299"}]',
    "ack": b"MSA|AE|C1",
}
DELIVERY_COLUMNS = {
    "state": 3,
    "attempts": 2,
    "next_at_us": 5,
    "done_at_us": 5,
    "code": "AE",
    "note": "another note",
    "answer": b"MSA|AA|C2",
    "maybe_sent": 1,
    "urgent": 1,
}


@pytest.mark.parametrize("column", MESSAGE_COLUMNS)
def test_a_changed_column_of_a_message_is_shown_with_it(path, column):
    assert ROW_DAMAGED_NOTE not in findings_and_notes(path)[0]
    change(path, "message", column, MESSAGE_COLUMNS[column])
    findings, notes = findings_and_notes(path)
    assert ("E250" in findings, ROW_DAMAGED_NOTE in findings) == (True, True)
    assert notes == ["a note"]


@pytest.mark.parametrize("column", DELIVERY_COLUMNS)
def test_a_changed_column_of_a_delivery_is_shown_with_it(path, column):
    assert findings_and_notes(path)[1] == ["a note"]
    change(path, "delivery", column, DELIVERY_COLUMNS[column])
    assert findings_and_notes(path)[1] == [ROW_DAMAGED_NOTE]


@pytest.mark.parametrize("value", [b"\xff\xfe", "no JSON", 7])
def test_findings_that_are_none_any_more_can_still_be_shown(path, value):
    change(path, "message", "findings", "")
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE message SET findings = CAST(? AS TEXT)", (value,))
        db.commit()
    assert ROW_DAMAGED_NOTE in findings_and_notes(path)[0]


def test_a_state_that_there_is_not_can_still_be_shown(path):
    change(path, "message", "state", 99)
    change(path, "delivery", "state", "what")
    assert ROW_DAMAGED_NOTE in findings_and_notes(path)[0]
    assert findings_and_notes(path)[1] == [ROW_DAMAGED_NOTE]


def test_of_a_row_that_an_older_segmill_wrote_nothing_is_claimed(path):
    change(path, "message", "row_crc", None)
    change(path, "message", "peer", "192.0.2.9:1")
    change(path, "delivery", "row_crc", None)
    change(path, "delivery", "code", "AE")
    assert findings_and_notes(path) == ("", ["a note"])


@pytest.mark.parametrize("damage", ["not what it was", b"\xff"])
def test_what_was_damaged_stays_so_when_the_row_is_written_again(path, damage):
    """Also where the text is no UTF-8 any more, which must not end the writer."""
    change(path, "message", "ack_code", "AE")  # what may be amended
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE message SET findings = CAST(? AS TEXT)", (damage,))
        db.commit()
    with opened(path) as store:
        store.amend_acks([AckUpdate(MessageSeq(1), "AA", b"MSA|AA|C1")])
        assert store.commit(Batch([intake(RIS, channel=CHANNEL, control_id="C2")])).seqs == [2]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT ack_code FROM message WHERE seq = 1").fetchone() == ("AA",)
    assert ROW_DAMAGED_NOTE in findings_and_notes(path)[0]


def test_what_is_added_to_a_row_without_a_checksum_leaves_it_so(path):
    change(path, "message", "row_crc", None)
    change(path, "message", "ack_code", "AE")
    with opened(path) as store:
        store.amend_acks([AckUpdate(MessageSeq(1), "AA", b"", (Finding("E232", "warning", "again"),))])
    findings, _ = findings_and_notes(path)
    assert ("E232" in findings, "E250" in findings) == (True, False)


def test_a_resend_is_not_answered_from_a_damaged_row(path, caplog):
    sent = intake(RIS, channel=CHANNEL, control_id="C1")
    with opened(path) as store:
        assert len(store.known(CHANNEL, sent.sender, "C1", 0)) == 1
    change(path, "message", "ack", b"MSA|AR|C1")
    with opened(path) as store, caplog.at_level(logging.ERROR, "segmill.store"):
        assert store.known(CHANNEL, sent.sender, "C1", 0) == []
    assert "E250 message 1" in caplog.text
