"""An edited message by the API: planned, sent once as a new message, linked, and on record; or refused with a place."""

import base64
from collections.abc import Iterator

import pytest

from engine.adapters.api.on_edits import MOST_RAW
from engine.model.access import SITE
from tests.adapters.api.rig import Running, site
from tests.adapters.api.test_messages_and_orders import PATIENT, adt, rows, send


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Message 1 went out, 2 is held for its ward."""
    started = Running(site(tmp_path_factory.mktemp("edits") / "site"))
    send(started, "adt", adt("A1"), adt("H1", "NEW7"))
    started.settled()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def operator(filled: Running) -> dict[str, str]:
    return filled.token("operator", {SITE: "operator"})


def as_text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def raw_of(running: Running, seq: int) -> bytes:
    raw: bytes = running.queries.message(seq).raw
    return raw


def test_an_edit_shows_what_is_different_and_is_sent_as_a_new_message_once(filled: Running, operator: dict[str, str]):
    before = raw_of(filled, 1)
    body = {"raw": as_text(before.replace(b"ANNA", b"ANNE"))}
    readings = len(rows(filled, "read"))
    planned = filled.ask("POST", "/messages/1/edits/plan", body, operator)
    assert planned.status == 200, planned.raw
    assert planned.json["changes"] == [{"path": "PID-5.2", "before": "ANNA", "after": "ANNE"}]
    assert len(rows(filled, "read")) == readings + 1, "it is a reading"
    order = body | {"plan": planned.json["plan"], "reason": "a typing error", "key": "ticket-1"}
    sent = filled.ask("POST", "/messages/1/edits", order, operator)
    assert sent.status == 200, sent.raw
    (made,) = sent.json["made"]
    again = filled.ask("POST", "/messages/1/edits", order, operator)
    assert (again.json["made"], again.json["done_before"]) == ([made], True)
    new = filled.queries.message(made)
    assert b"ANNE" in new.raw and new.control_id != "A1"
    assert new.raw == before.replace(b"ANNA", b"ANNE").replace(b"|A1|", f"|{new.control_id}|".encode())
    assert list(filled.queries.links(1).edited) == [made]
    assert filled.queries.links(made).origin == 1
    (row,) = rows(filled, "edit")
    assert (row.reason, row.actor.partition(" from ")[0]) == ("a typing error", "token operator")
    assert "ANN" not in row.scope


def test_its_control_id_is_kept_where_that_is_asked_for(filled: Running, operator: dict[str, str]):
    body = {"raw": as_text(raw_of(filled, 1).replace(b"ANNA", b"ANNI")), "keep_id": True}
    plan = filled.ask("POST", "/messages/1/edits/plan", body, operator).json["plan"]
    (made,) = filled.ask("POST", "/messages/1/edits", body | {"plan": plan}, operator).json["made"]
    assert filled.queries.message(made).control_id == "A1"


def test_what_was_not_planned_is_not_sent(filled: Running, operator: dict[str, str]):
    raw = raw_of(filled, 1)
    body = {"raw": as_text(raw.replace(b"ANNA", b"BETH"))}
    plan = filled.ask("POST", "/messages/1/edits/plan", body, operator).json["plan"]
    messages = filled.queries.seq_before(1 << 62)
    for other in (
        {"raw": as_text(raw.replace(b"ANNA", b"CORA")), "plan": plan},
        body | {"plan": plan, "keep_id": True},
        body | {"plan": "0" * 64},
    ):
        reply = filled.ask("POST", "/messages/1/edits", other, operator)
        assert (reply.status, reply.code) == (409, "E479")
    reply = filled.ask("POST", "/messages/2/edits", body | {"plan": plan}, operator)
    assert (reply.status, reply.code) == (409, "E479")
    assert filled.queries.seq_before(1 << 62) == messages


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 422, "E511"),
        (b"PID|1", 422, "E511"),
        (None, 422, "E511"),
        (b"MSH|^~\\&|" + b"x" * MOST_RAW, 413, "E477"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_not_repeated(
    filled: Running, operator: dict[str, str], raw: bytes | None, status: int, code: str
):
    body = {"raw": as_text(raw_of(filled, 1) if raw is None else raw)}
    reply = filled.ask("POST", "/messages/1/edits/plan", body, operator)
    assert (reply.status, reply.code) == (status, code)
    assert filled.ask("POST", "/messages/1/edits/plan", {"raw": "a"}, operator).code == "E476"


def test_what_its_channel_does_not_take_is_left_alone_with_the_reason(filled: Running, operator: dict[str, str]):
    body = {"raw": as_text(raw_of(filled, 1).replace(b"|A1|", b"||")), "keep_id": True}
    plan = filled.ask("POST", "/messages/1/edits/plan", body, operator).json["plan"]
    report = filled.ask("POST", "/messages/1/edits", body | {"plan": plan}, operator).json
    assert report["made"] == [] and report["left"][0]["seq"] == 1
    assert PATIENT not in report["left"][0]["reason"]


def test_it_takes_the_right_to_read_and_to_operate_of_its_channel(filled: Running):
    body = {"raw": as_text(b"MSH|^~\\&|A")}
    for grants, status in (({"results": "operator"}, 404), ({"adt": "viewer", "results": "operator"}, 403)):
        who = filled.token(f"of-{status}", grants)  # type: ignore[arg-type]
        assert filled.ask("POST", "/messages/1/edits/plan", body, who).status == status
        assert filled.ask("POST", "/messages/1/edits", body | {"plan": "0" * 64}, who).status == status


def test_a_message_is_resent_to_the_destinations_that_are_named(filled: Running, operator: dict[str, str]):
    body = {"action": "resend", "what": {"seqs": [1]}, "destinations": ["other"]}
    plan = filled.ask("POST", "/plans", body, operator).json["plan"]
    assert filled.ask("POST", "/orders", body | {"plan": plan, "destinations": ["out"]}, operator).code == "E479"
    report = filled.ask("POST", "/orders", body | {"plan": plan}, operator).json
    assert report["deliveries"] == 1
    filled.settled()
    assert [one.destination for one in filled.queries.deliveries(1)].count("other") == 2
    for wrong in ({"to": "out"}, {"action": "release"}, {"as_of": 1}):
        assert filled.ask("POST", "/plans", body | wrong, operator).code == "E476"


def test_a_message_is_processed_again_as_it_was(filled: Running, operator: dict[str, str]):
    body = {"action": "reprocess", "what": {"seqs": [1]}, "as_of": "received"}
    plan = filled.ask("POST", "/plans", body, operator).json["plan"]
    assert filled.ask("POST", "/orders", body | {"plan": plan, "as_of": None}, operator).code == "E479"
    assert filled.ask("POST", "/orders", body | {"plan": plan}, operator).json["messages"] == 1
    filled.settled()
