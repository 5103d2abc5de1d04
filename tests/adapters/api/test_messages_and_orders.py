"""Messages, orders, tables and worklists by the API, and what is on record of each."""

import base64
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.adapters import giving_way
from engine.adapters.api import finding, on_orders
from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender
from engine.model.access import SITE
from engine.testing import messages
from tests.adapters.api.rig import Running, site

PATIENT = "MUELLER4711"


def send(running: Running, channel: str, *raws: bytes) -> None:
    report = running.do(Sender(Target(*running.engine.addresses[channel]), raws).run())
    assert report.codes == {"AA": len(raws)}


def adt(control_id: str, ward: str = "WARD1") -> bytes:
    raw = messages.adt(control_id=control_id)
    lines = [line for line in raw.split(b"\r") if line and not line.startswith((b"PV1", b"PID"))]
    lines += [f"PID|1||{PATIENT}^^^HIS^MR||{PATIENT}^ANNA".encode(), f"PV1|1|I|{ward}".encode()]
    return b"\r".join(lines) + b"\r"


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Running]:
    """5 messages of adt that went out, 2 that are held for a ward; 1 of results."""
    started = Running(site(tmp_path / "site"))
    send(started, "adt", *(adt(f"A{n}") for n in range(5)), adt("H1", "NEW7"), adt("H2", "NEW7"))
    send(started, "results", adt("R1"))
    started.settled()
    yield started
    started.stop()


@pytest.fixture
def analyst(filled):
    return filled.token("analyst", {SITE: "analyst"})


@pytest.fixture
def viewer(filled):
    return filled.token("viewer", {SITE: "viewer"})


def rows(running: Running, action: str) -> list:
    return [row for row in running.queries.audit(0, 10_000) if row.action == action]


# -- lists --------------------------------------------------------------------------------------


def test_a_list_goes_page_by_page_each_once_and_holds_no_value(filled, viewer):
    seen: list[int] = []
    path = "/messages?limit=3"
    while True:
        reply = filled.ask("GET", path, headers=viewer)
        assert reply.status == 200 and PATIENT.encode() not in reply.raw
        seen += [one["seq"] for one in reply.json["messages"]]
        if reply.json["next"] is None:
            break
        path = f"/messages?limit=3&cursor={reply.json['next']}"
    assert seen == [8, 7, 6, 5, 4, 3, 2, 1]
    held = filled.ask("GET", "/messages?state=held&channel=adt", headers=viewer).json["messages"]
    assert [(one["seq"], one["control_id"], one["findings"][0]["code"]) for one in held] == [
        (7, "H2", "E214"),
        (6, "H1", "E214"),
    ]
    assert rows(filled, "search") == [], "a list without values is not on record"


def test_what_is_of_another_channel_is_not_there(filled):
    only = filled.token("only-results", {"results": "operator"})
    assert [one["seq"] for one in filled.ask("GET", "/messages", headers=only).json["messages"]] == [8]
    assert filled.ask("GET", "/messages?channel=adt", headers=only).json["messages"] == []
    for path in ("/messages/1", "/messages/1/body", "/lanes/adt/out/queue", "/tables/misses?channel=adt"):
        assert filled.ask("GET", path, headers=only).status == 404, path
    assert filled.ask("GET", "/messages/8/body", headers=only).status == 200
    lines = filled.ask("GET", "/messages.ndjson?bodies=true", headers=only).raw.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [8]
    for what in ({"seqs": [1]}, {"seqs": [8, 1]}, {"search": {"channel": "adt"}}):
        reply = filled.ask("POST", "/plans", {"action": "resend", "what": what}, only)
        assert reply.status == 404 or reply.json["messages"] == 0, what


def test_an_expression_needs_the_right_to_read_and_is_on_record_with_its_words(filled, viewer, analyst):
    asked = {"where": f'PID-3.1 == "{PATIENT}"'}
    for path in ("/searches", "/exports"):
        assert filled.ask("POST", path, asked, viewer).status == 403
    mixed = filled.token("mixed", {SITE: "viewer", "results": "operator"})
    assert [one["seq"] for one in filled.ask("POST", "/searches", asked, mixed).json["messages"]] == [8]
    assert len(filled.ask("POST", "/searches", asked, analyst).json["messages"]) == 8
    assert [(row.actor, row.scope) for row in rows(filled, "search")] == [
        (f"token {name} from 127.0.0.1", f'where="PID-3.1 == \\"{PATIENT}\\""') for name in ("mixed", "analyst")
    ]


def test_no_expression_stands_in_an_address(filled, analyst):
    for path in ("/messages", "/messages.ndjson"):
        refused = filled.ask("GET", f"{path}?where=PID-3.1%20%3D%3D%20%22{PATIENT}%22", headers=analyst)
        assert (refused.status, refused.code) == (422, "E476") and PATIENT.encode() not in refused.raw


def test_a_search_has_a_bound_and_says_where_to_go_on(filled, analyst, monkeypatch):
    monkeypatch.setattr(finding, "MOST_LOOKED_AT", 3)
    asked = {"where": 'MSH-10 == "A0"'}
    first = filled.ask("POST", "/searches", asked, analyst).json
    assert (first["messages"], first["next"], first["looked_at"]) == ([], "6", 3)
    second = filled.ask("POST", "/searches", asked | {"cursor": "6"}, analyst).json
    third = filled.ask("POST", "/searches", asked | {"cursor": second["next"]}, analyst).json
    assert [one["seq"] for one in third["messages"]] == [1]


def test_who_looks_at_values_gives_way_to_the_engine(filled, analyst, monkeypatch):
    naps = []
    monkeypatch.setattr(giving_way, "AT_A_STRETCH", 3)
    monkeypatch.setattr(giving_way, "time", SimpleNamespace(sleep=naps.append))
    found = filled.ask("POST", "/searches", {"where": 'MSH-10 == "none"'}, analyst).json
    assert found["looked_at"] == 8 and naps == [giving_way.GIVE_WAY_S] * 3
    filled.ask("GET", "/messages", headers=analyst)
    assert len(naps) == 3, "a list looks at no values"


def test_an_export_has_a_line_for_each_and_bytes_are_a_reading_of_each(filled, viewer, analyst):
    reply = filled.ask("GET", "/messages.ndjson?channel=adt", headers=viewer)
    assert reply.headers["content-type"].startswith("application/x-ndjson")
    assert reply.headers["content-disposition"].startswith("attachment")
    assert len(reply.raw.splitlines()) == 7 and PATIENT.encode() not in reply.raw
    assert filled.ask("GET", "/messages.ndjson?bodies=true", headers=viewer).status == 403
    reply = filled.ask("GET", "/messages.ndjson?bodies=true&limit=2", headers=analyst)
    raws = [base64.b64decode(json.loads(line)["raw"]) for line in reply.raw.splitlines()]
    assert [PATIENT.encode() in raw for raw in raws] == [True, True]
    found = filled.ask("POST", "/exports", {"where": 'MSH-10 == "A1"'}, analyst).raw.splitlines()
    assert [json.loads(line)["control_id"] for line in found] == ["A1"]
    assert [row.ids for row in rows(filled, "export")] == ["", "messages 7-8", ""]


def test_an_export_that_finds_nothing_looks_in_turns(filled, monkeypatch):
    """Else who asks and goes away keeps a thread until the store's last message, and the engine from its end."""
    from engine.adapters.api import on_messages

    stored = filled.queries.message(1)
    ticks = itertools.count()
    monkeypatch.setattr(on_messages, "time", SimpleNamespace(monotonic=lambda: next(ticks) * 0.1))
    rows = itertools.repeat(stored)
    assert on_messages._slice(rows, finding.condition('MSH-10 == "none"'), 10) == ([], False)
    assert next(ticks) <= 8
    assert on_messages._slice(rows, None, 2) == ([stored, stored], False)
    assert on_messages._slice(iter([stored]), None, 2) == ([stored], True)


def test_bytes_are_on_record_before_they_are_given_or_are_not_given(filled, viewer, analyst):
    assert filled.ask("GET", "/messages/1/body", headers=viewer).status == 403
    reply = filled.ask("GET", "/messages/1/body", headers=analyst)
    assert PATIENT.encode() in base64.b64decode(reply.json["raw"])
    assert [one["destination"] for one in reply.json["deliveries"]] == ["out", "other"]
    assert [(row.actor, row.ids) for row in rows(filled, "read")] == [("token analyst from 127.0.0.1", "messages 1")]

    async def fails(*asked: object, **more: object) -> None:
        from engine.ports.store import StoreFull

        raise StoreFull("no room")

    filled.engine.control.put_on_record = fails  # type: ignore[method-assign]
    reply = filled.ask("GET", "/messages/1/body", headers=analyst)
    assert (reply.status, reply.code) == (503, "E486") and PATIENT.encode() not in reply.raw


def test_one_message_without_its_values(filled, viewer):
    reply = filled.ask("GET", "/messages/1", headers=viewer)
    assert PATIENT.encode() not in reply.raw
    assert [(one["destination"], one["state"]) for one in reply.json["deliveries"]] == [
        ("out", "delivered"),
        ("other", "delivered"),
    ]
    for seq in ("99", "0", "-1", "x", "9" * 30):
        assert filled.ask("GET", f"/messages/{seq}", headers=viewer).status == 404


# -- orders -------------------------------------------------------------------------------------


def ordered(running: Running, headers: dict[str, str], planned: dict, **more: object) -> object:
    reply = running.ask("POST", "/plans", planned, headers)
    assert reply.status == 200, reply.raw
    return running.ask("POST", "/orders", planned | {"plan": reply.json["plan"]} | more, headers)


def test_a_missing_code_is_found_added_taken_up_and_what_waited_is_released(filled, analyst):
    found = filled.ask("GET", "/tables/misses", headers=analyst).json
    assert found["misses"] == [{"channel": "adt", "table": "tables/wards.csv", "key": "NEW7", "messages": [6, 7]}]
    assert (found["unread"], found["is_cut"]) == ({}, False)
    row = {"table": "tables/wards.csv", "cells": ["NEW7", "W07"], "reason": "new ward"}
    assert filled.ask("POST", "/channels/adt/rows", row, analyst).json == {
        "file": "channels/adt/tables/wards.csv",
        "line": 3,
    }
    assert filled.ask("POST", "/channels/adt/rows", row, analyst).status == 409, "the key is there"
    assert filled.ask("GET", "/reload", headers=analyst).json["channels"][0]["channel"] == "adt"
    assert filled.ask("POST", "/reload", {"reason": "new ward"}, analyst).json["outcome"] == "taken"
    done = ordered(filled, analyst, {"action": "release", "what": {"seqs": [6, 7]}}, reason="new ward")
    assert (done.status, done.json["messages"], done.json["left"]) == (200, 2, [])
    assert filled.ask("GET", "/tables/misses", headers=analyst).json["misses"] == []
    assert [row.action for row in filled.queries.audit(0, 100)][-7:] == [
        "token-add", "read", "table-row", "table-row", "reload", "release", "read",
    ]  # fmt: skip
    (released,) = rows(filled, "release")
    assert (released.actor, released.reason, released.ids) == (
        "token analyst from 127.0.0.1",
        "new ward",
        "messages 6-7",
    ) or released.ids.startswith("messages 6-7")


def test_what_was_planned_is_done_or_nothing(filled, analyst):
    held = {"action": "discard", "what": {"search": {"state": ["held"]}}}
    plan = filled.ask("POST", "/plans", held, analyst).json
    assert (plan["messages"], plan["first"]) == (2, [6, 7])
    send(filled, "adt", adt("H3", "NEW7"))
    stale = filled.ask("POST", "/orders", held | {"plan": plan["plan"], "reason": "sent twice"}, analyst)
    assert (stale.status, stale.code) == (409, "E479")
    wrong = filled.ask("POST", "/orders", held | {"plan": "0" * 64, "reason": "sent twice"}, analyst)
    assert (wrong.status, wrong.code) == (409, "E479")
    no_reason = ordered(filled, analyst, held)
    assert (no_reason.status, no_reason.code) == (422, "E476")
    assert rows(filled, "discard") == []
    done = ordered(filled, analyst, held, reason="sent twice")
    assert done.json["messages"] == 3
    assert len(rows(filled, "discard")) == 1


def test_a_plan_of_one_thing_is_not_the_plan_of_another(filled, analyst):
    plan = filled.ask("POST", "/plans", {"action": "resend", "what": {"seqs": [1]}}, analyst).json["plan"]
    for other in (
        {"action": "reprocess", "what": {"seqs": [1]}},
        {"action": "resend", "what": {"seqs": [2]}},
        {"action": "resend", "what": {"seqs": [1]}, "to": "out"},
    ):
        assert filled.ask("POST", "/orders", other | {"plan": plan}, analyst).status == 409


def test_under_one_key_it_is_done_once(filled, analyst):
    resend = {"action": "resend", "what": {"seqs": [1, 2]}}
    plan = filled.ask("POST", "/plans", resend, analyst).json["plan"]
    order = resend | {"plan": plan, "key": "ticket-17"}
    first, second = (filled.ask("POST", "/orders", order, analyst).json for _ in range(2))
    assert (first["deliveries"], first["done_before"]) == (4, False)
    assert second == first | {"done_before": True}
    assert len(filled.queries.deliveries(1)) == 4
    other = {"action": "resend", "what": {"seqs": [3]}}
    reply = ordered(filled, analyst, other, key="ticket-17")
    assert (reply.status, reply.code) == (409, "E485")
    somebody = filled.token("somebody", {SITE: "operator"})
    assert ordered(filled, somebody, other, key="ticket-17").json["done_before"] is False


def test_queued_ones_are_held_skipped_and_redirected_while_a_destination_is_paused(filled, analyst):
    for act in ("pause", "resume", "pause"):
        assert filled.ask("POST", f"/lanes/adt/out/{act}", {"reason": "move"}, analyst).status == 200
    send(filled, "adt", *(adt(f"Q{n}") for n in range(3)))
    queue = filled.ask("GET", "/lanes/adt/out/queue?limit=2", headers=analyst).json
    rest = filled.ask("GET", f"/lanes/adt/out/queue?cursor={queue['next']}", headers=analyst).json
    assert [one["seq"] for one in queue["deliveries"] + rest["deliveries"]] == [9, 10, 11]
    lane = next(
        one for one in filled.ask("GET", "/lanes", headers=analyst).json["lanes"] if one["destination"] == "out"
    )
    assert (lane["state"], lane["queued"], lane["paused_by"]) == ("paused", 3, "token analyst from 127.0.0.1: move")
    first, second, third = (one["delivery"] for one in queue["deliveries"] + rest["deliveries"])
    for action, id_, more in (("hold", first, {}), ("skip", second, {}), ("redirect", third, {"to": "other"})):
        planned = {"action": action, "what": {"deliveries": [id_]}, **more}
        done = ordered(filled, analyst, planned, reason="move")
        assert (done.status, done.json["deliveries"]) == (200, 1), done.raw
    found = filled.queries.delivery_states([first, second, third])
    assert [found[id_][0] for id_ in (first, second, third)] == ["held", "failed", "redirected"]
    assert filled.ask("POST", "/channels/adt/pause", {"reason": "x"}, analyst).status == 200
    assert filled.ask("GET", "/channels/adt", headers=analyst).json["intake_paused_by"]
    assert filled.ask("POST", "/channels/adt/resume", {}, analyst).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"action": "hold", "what": {}}, 422),
        ({"action": "redirect", "what": {"seqs": [1]}}, 422),
        ({"action": "hold", "what": {"seqs": [1]}, "to": "out"}, 422),
        ({"action": "discard", "what": {"deliveries": [1]}}, 422),
        ({"action": "edit", "what": {"seqs": [1]}}, 422),
        ({"action": "hold", "what": {"seqs": [99]}}, 404),
        ({"action": "hold", "what": {"deliveries": [99]}}, 404),
        ({"action": "hold", "what": {"search": {"where": "PID-3 =="}}}, 422),
        ({"action": "hold", "what": {"search": {"since": "yesterday"}}}, 422),
        ({"action": "hold", "what": {"search": {"since": "2026-01-01T00:00:00"}}}, 422),
        ({"action": "hold", "what": {"seqs": [2**70]}}, 422),
        ({"action": "hold", "what": {"seqs": ["1"]}}, 422),
        ({"action": "hold", "what": {"seqs": [1], "search": {"channel": "../x"}}}, 422),
    ],
)
def test_what_cannot_be_planned(shared, body, status):
    headers = _operator(shared)
    assert shared.ask("POST", "/plans", body, headers).status == status


def _operator(shared):
    if not hasattr(shared, "operator"):
        shared.operator = shared.token("planner", {SITE: "operator"})
    return shared.operator


def test_a_plan_has_a_bound(filled, analyst, monkeypatch):
    monkeypatch.setattr(on_orders, "MOST_MEMBERS", 3)
    reply = filled.ask("POST", "/plans", {"action": "resend", "what": {"search": {"channel": "adt"}}}, analyst)
    assert (reply.status, reply.code) == (413, "E477")


def test_a_destination_that_is_not_there(filled, analyst):
    reply = filled.ask("POST", "/lanes/adt/none/pause", {}, analyst)
    assert (reply.status, reply.code) == (409, "E485")
    planned = {"action": "redirect", "what": {"destination": "out", "search": {"channel": "adt"}}, "to": "none"}
    assert ordered(filled, analyst, planned).json["deliveries"] == 0, "nothing waits"


# -- worklists ----------------------------------------------------------------------------------


def test_a_worklist_that_nobody_feeds_is_empty(filled, viewer, analyst):
    assert filled.ask("GET", "/worklists/main/steps", headers=viewer).json == {"steps": []}
    assert filled.ask("GET", "/worklists/main/steps/1.2.3/S1", headers=analyst).status == 404
    assert filled.ask("GET", "/worklists/main/steps?status=GONE", headers=viewer).status == 422
