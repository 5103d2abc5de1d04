"""What people do, when the disk fails in the middle: all of it with its record, or nothing; and how it is found."""

import sqlite3

import pytest

from engine.model.audit import broken_at
from engine.model.envelope import Batch
from engine.model.ids import MessageSeq
from engine.ports.operations import By, Change, Pause, Progress, Resend
from engine.ports.store import CommitUnknown, StoreFull
from engine.testing.store_contract import EPR, FIRST, LAB, RIS, intake
from tests.adapters.stores.test_sqlite_faults import reopened
from tests.adapters.stores.test_statements import plan

ANNA = By("anna", "because", "17", "run")
STATEMENTS = [
    "BEGIN",
    "UPDATE delivery",
    "INSERT INTO delivery",
    "INSERT INTO delivery_more",
    "INSERT INTO pause",
    "INSERT INTO audit",
    "INSERT INTO audit_head",
    "INSERT INTO operation",
    "COMMIT",
]


def order() -> Change:
    """Everything at once: a redirect, a resend, a pause, and how far the run is."""
    return Change(
        ANNA,
        "redirect",
        "redirect",
        [(1, "queued")],  # type: ignore[list-item]  # ids
        "redirected by anna",
        RIS,
        resends=[Resend(MessageSeq(2), None)],
        pauses=[Pause(LAB, EPR, 0, "anna", "")],
        progress=Progress("run", "redirect", b"digest", 1, is_finished=True),
    )


def told(store) -> tuple[object, ...]:
    """All that an order may touch."""
    queries = store.queries()
    found = (
        [(d.id, d.state) for seq in (1, 2) for d in queries.deliveries(MessageSeq(seq))],
        [(row.id, row.action, row.ids) for row in queries.audit()],
        [(p.channel, p.destination) for p in queries.paused()],
        store.progress("run"),
        broken_at(queries.audit(), queries.audit_head().last, queries.audit_head().hash),
    )
    queries.close()
    return found


@pytest.mark.parametrize("statement", STATEMENTS)
def test_no_room_at_any_statement_keeps_nothing_of_an_order(statement, open_store, tmp_path):
    store, connection = open_store()
    store.commit(Batch([intake(EPR), intake(EPR)]))
    before = told(store)
    connection.failure = (statement, sqlite3.SQLITE_FULL, False)
    with pytest.raises(StoreFull):
        store.operate(order())
    assert told(store) == before
    assert store.operate(order()).report.deliveries == 2
    done = told(store)
    after = reopened(store, tmp_path)
    after.open()
    assert told(after) == done
    assert done[0] == [(1, "redirected"), (3, "queued"), (2, "queued"), (4, "queued")]
    assert done[1] == [(1, "redirect", "messages 2; deliveries 1")]
    assert done[4] is None
    assert [d.id for d in after.queued(LAB, RIS, FIRST, 10)] == [3]
    after.close()


@pytest.mark.parametrize("carried_out", [True, False])
def test_an_order_whose_commit_failed_is_done_with_its_record_or_not_at_all(carried_out, open_store, tmp_path):
    store, connection = open_store()
    store.commit(Batch([intake(EPR), intake(EPR)]))
    before = told(store)
    connection.failure = ("COMMIT", sqlite3.SQLITE_IOERR_FSYNC, carried_out)
    with pytest.raises(CommitUnknown):
        store.operate(order())
    with pytest.raises(CommitUnknown):
        store.operate(order())
    after = reopened(store, tmp_path)
    after.open()
    found = told(after)
    assert (found == before) is not carried_out
    progress = after.progress("run")
    assert (progress is not None and progress.is_finished) is carried_out, "whoever asks again under the key learns it"
    after.close()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("deliveries_to_move", "SEARCH d USING INTEGER PRIMARY KEY"),
        ("act_on_delivery", "SEARCH delivery USING INTEGER PRIMARY KEY"),
        ("try_at_once", "SEARCH delivery USING INTEGER PRIMARY KEY"),
        ("states_of_deliveries", "SEARCH d USING INTEGER PRIMARY KEY"),
        ("message_states", "SEARCH message USING INTEGER PRIMARY KEY"),
        ("audit", "SEARCH audit USING INTEGER PRIMARY KEY (rowid>?)"),
        ("progress", "SEARCH operation USING PRIMARY KEY (run=?)"),
        ("edited", "SEARCH link USING COVERING INDEX link_by_origin (origin=?)"),
        ("origin", "SEARCH link USING INTEGER PRIMARY KEY"),
    ],
)
def test_an_order_for_many_looks_each_up_and_walks_nothing(name, wanted, open_store):
    _, connection = open_store()
    assert wanted in plan(connection, "operations.sql", name)


def test_the_database_itself_changes_and_deletes_no_record(open_store):
    store, _ = open_store()
    store.operate(Change(ANNA, "read", read=[MessageSeq(1)]))
    with sqlite3.connect(store.path) as other:
        for sql in ("UPDATE audit SET actor = 'bert'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                other.execute(sql)
    other.close()
