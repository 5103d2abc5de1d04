"""The audit as a page: newest first, narrowed, exported, and whether it is whole."""

import csv
import io
import json
from collections.abc import Iterator

import pytest

from engine.adapters.console import audit_rows
from engine.adapters.console.audit_rows import WINDOW, Wanted, failed_sign_ins, names_message, newer_cursor, page_of
from engine.adapters.stores.memory import MemoryStore
from engine.model.access import SITE
from engine.ports.operations import By, Change
from tests.adapters.api.rig import Running
from tests.adapters.console.people import Person, engine_of, person
from tests.runtime.parts import SetClock

DAY_US = 86_400 * 1_000_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with engine_of(tmp_path_factory.mktemp("audit") / "site") as made:
        yield made


@pytest.fixture(scope="module")
def admin(engine: Running) -> Person:
    return person(engine, "head", {SITE: "admin"})


def recorded(count: int, clock: SetClock | None = None) -> MemoryStore:
    store = MemoryStore(clock=clock or SetClock())
    store.open()
    for number in range(1, count + 1):
        by = By(f"{'anna' if number % 2 else 'ben'} from 10.0.0.{number % 5}", f"reason {number}", "PID-3.1 = 4711")
        store.operate(Change(by, "read" if number % 3 else "resend", read=[number], is_always_recorded=True))
    return store


def test_pages_go_backwards_through_all_records_once():
    store = recorded(2 * WINDOW + 7)
    queries = store.queries()
    seen, before, pages = [], None, 0
    while True:
        found = page_of(queries, Wanted(), before, 100)
        seen += [row.id for row in found.rows]
        pages += 1
        if found.older is None:
            break
        before = found.older
    assert seen == list(range(2 * WINDOW + 7, 0, -1)) and pages == 11


def test_pages_of_the_record_go_both_ways():
    queries = recorded(1234).queries()
    first = page_of(queries, Wanted(), None, 100)
    second = page_of(queries, Wanted(), first.older, 100)
    third = page_of(queries, Wanted(), second.older, 100)
    assert newer_cursor(queries, Wanted(), second.older, 100) == first.older
    assert page_of(queries, Wanted(), newer_cursor(queries, Wanted(), first.older, 100), 100).rows == first.rows
    assert third.rows[0].id == second.rows[-1].id - 1
    assert newer_cursor(queries, Wanted(), 1235, 100) is None, "there is nothing newer"


def test_newer_records_that_do_not_fit_are_passed_over():
    queries = recorded(1234).queries()
    wanted = Wanted(who="nobody")
    assert newer_cursor(queries, wanted, 5, 100) is None


def test_the_way_back_looks_at_no_more_records_than_a_page_does(monkeypatch):
    monkeypatch.setattr(audit_rows, "MOST_LOOKED_AT", 700)
    queries = recorded(5 * WINDOW).queries()
    asked: list[int] = []
    plain = queries.audit
    monkeypatch.setattr(queries, "audit", lambda after, limit: asked.append(after) or plain(after, limit))
    found = newer_cursor(queries, Wanted(who="nobody"), 5, 100)
    assert len(asked) == 2, "there may be any number of them"
    assert found == 705, "and the page there says how many were looked at"


def test_a_list_is_narrowed_by_who_what_and_message():
    queries = recorded(60).queries()
    assert {row.actor.split()[0] for row in page_of(queries, Wanted(who="ANNA"), None, 100).rows} == {"anna"}
    assert [row.id for row in page_of(queries, Wanted(who="10.0.0.4", action="resend"), None, 3).rows] == [54, 39, 24]
    assert [row.id for row in page_of(queries, Wanted(message=17), None, 100).rows] == [17]
    assert page_of(queries, Wanted(message=61), None, 100).rows == []


def test_a_list_since_a_moment_looks_at_few_records_before_it():
    clock = SetClock()
    store = recorded(300, clock)
    since_us = clock.now_us() + DAY_US
    clock.wall_ahead_s = 2 * 86_400
    store.operate(Change(By("carla"), "pause", lanes=["adt/ris"], is_always_recorded=True))
    found = page_of(store.queries(), Wanted(since_us=since_us), None, 100)
    assert [row.actor for row in found.rows] == ["carla"]


@pytest.mark.parametrize(
    ("ids", "seq", "names"),
    [
        ("messages 1-5,9; deliveries 12", 3, True),
        ("messages 1-5,9; deliveries 12", 9, True),
        ("messages 1-5,9; deliveries 12", 12, False),
        ("deliveries 3", 3, False),
        ("user messages 3", 3, False),
        ("", 1, False),
    ],
)
def test_a_record_names_a_message(ids, seq, names):
    assert names_message(ids, seq) is names


def test_failed_sign_ins_are_counted_with_those_that_a_record_stands_for():
    store = MemoryStore(clock=SetClock())
    store.open()
    for about, scope in (("user anna", ""), ("no user of ours", "4 more failures before this one"), ("user anna", "")):
        by = By("somebody from 10.0.0.9", scope=scope)
        store.operate(Change(by, "sign-in-failed", lanes=[about], is_always_recorded=True))
    assert failed_sign_ins(store.queries(), 0) == ({"anna": 2}, 5)


def test_the_page_has_no_values_before_somebody_asks_on_record(engine, admin):
    engine.do(
        engine.access.add_user(By("=cmd|' /C calc'!A0", "<script>alert(1)</script>", "PID-3.1 = 4711"), "zoe", {})
    )
    shown = admin.get("/audit?action=user-add")
    assert "zoe" in shown.words and "4711" not in shown.text and "<script>alert" not in shown.text
    before = len(engine.actions())
    shown = admin.post("/audit", {"action": "user-add"})
    assert "4711" in shown.words
    row = engine.queries.audit(before, 1)[0]
    assert (row.action, row.ids, row.actor) == ("read", "the audit", "head from 127.0.0.1")


def test_an_export_is_on_record_and_runs_nothing_in_a_spreadsheet(engine, admin):
    before = len(engine.actions())
    sent = admin.post("/audit/export", {"form": "csv", "action": "user-add"})
    assert sent.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(sent.text)))
    cells = [cell for row in rows for cell in row.values()]
    assert any(cell.startswith("'=cmd|") for cell in cells) and not any(cell.startswith("=") for cell in cells)
    assert "4711" not in sent.text
    assert engine.queries.audit(before, 1)[0].action == "export"
    sent = admin.post("/audit/export", {"form": "ndjson", "action": "user-add", "values": "on"})
    lines = [json.loads(line) for line in sent.text.splitlines()]
    assert any(line["scope"] == "PID-3.1 = 4711" for line in lines)
    assert all(line["action"] == "user-add" and len(line["hash"]) == 64 for line in lines)


def test_whether_the_record_is_whole_is_told(admin):
    assert "The record is whole" in admin.get("/audit/verify").words
    assert "audit.anchor" in admin.get("/audit").words


def test_it_is_for_admins_of_the_site(engine):
    for name, grants in (("an-analyst", {SITE: "analyst"}), ("adt-admin", {"adt": "admin"})):
        one = person(engine, name, grants)
        assert one.get("/audit").status == one.get("/audit/verify").status == one.get("/users").status == 403
        assert one.post("/audit/export", {"form": "csv"}).status == 403
