"""The audit by the API, and what each recorded address leaves in it."""

import pytest

from engine.adapters.api.routes import ENTRIES
from engine.model.access import SITE
from tests.adapters.api.rig import GOOD_PASSWORD


@pytest.fixture(scope="module")
def admin(shared):
    return shared.token("admin", {SITE: "admin"})


def test_the_record_goes_page_by_page_and_is_whole(shared, admin):
    seen = []
    path = "/audit?limit=1"
    while path:
        reply = shared.ask("GET", path, headers=admin).json
        seen += [record["id"] for record in reply["records"]]
        path = f"/audit?limit=1&cursor={reply['next']}" if reply["next"] else ""
    assert seen == list(range(1, len(shared.actions()) + 1))
    told = shared.ask("GET", "/audit/verify", headers=admin).json
    assert (told["whole"], told["records"], told["broken_at"], told["unanchored"]) == (True, len(seen), None, None)


def test_what_was_asked_for_is_shown_to_who_asks_for_it_on_record(shared, admin):
    secret = "MUELLER-4711"
    shared.ask("POST", "/searches", {"where": f'PID-3.1 == "{secret}"'}, admin)
    plain = shared.ask("GET", "/audit?limit=1000", headers=admin)
    assert secret.encode() not in plain.raw and all(one["scope"] is None for one in plain.json["records"])
    before = len(shared.actions())
    told = shared.ask("GET", "/audit?limit=1000&values=true", headers=admin).json["records"]
    assert secret in told[before - 1]["scope"]
    assert [(row.action, row.ids) for row in shared.queries.audit(before, 10)] == [("read", "the audit")]


def test_users_and_tokens_by_the_api_are_on_record_and_show_no_secret(shared, admin):
    before = len(shared.actions())
    made = shared.ask("POST", "/users", {"name": "carla", "grants": {"adt": "viewer"}}, admin).json
    again = shared.ask("POST", "/users/carla/password", headers=admin).json
    assert made["password"] != again["password"] and made["name"] == "carla"
    assert shared.ask("PUT", "/users/carla/grants", {"grants": {}}, admin).status == 200
    assert shared.ask("POST", "/users/carla/disable", headers=admin).status == 200
    assert shared.ask("POST", "/users/carla/enable", headers=admin).status == 200
    token = shared.ask("POST", "/tokens", {"name": "job", "grants": {"adt": "viewer"}, "days": 1}, admin).json["token"]
    assert shared.ask("DELETE", "/tokens/job", headers=admin).status == 200
    assert shared.ask("GET", "/session", headers={"authorization": f"Bearer {token}"}).status == 401
    listed = shared.ask("GET", "/users", headers=admin).raw + shared.ask("GET", "/tokens", headers=admin).raw
    for secret in (made["password"], again["password"], token, "argon2"):
        assert secret.encode() not in listed
    rows = shared.queries.audit(before, 100)
    assert [row.action for row in rows] == [
        "user-add",
        "user-passwd",
        "user-grant",
        "user-disable",
        "user-enable",
        "token-add",
        "token-revoke",
    ]
    assert {row.actor for row in rows} == {"token admin from 127.0.0.1"}
    assert shared.ask("POST", "/users", {"name": "carla", "grants": {}}, admin).status == 409
    assert shared.ask("POST", "/users/nobody/password", headers=admin).status == 404


def test_every_change_but_a_plan_is_on_record():
    unrecorded = {entry.name for entry in ENTRIES if not entry.is_safe and not entry.record}
    assert unrecorded == {"POST /api/v1/plans"}


def test_who_is_signed_in_may_look_while_nothing_can_be_written(running):
    from engine.ports.store import StoreFull

    signed = running.user("anna", {SITE: "viewer"})

    async def full(*asked: object, **more: object) -> None:
        raise StoreFull("no room")

    running.engine.control.put_on_record = full
    running.access._seen_every_us = 0
    assert running.ask("GET", "/channels", headers=signed.reads).status == 200
    refused = running.ask("POST", "/session", {"name": "anna", "password": GOOD_PASSWORD})
    assert (refused.status, refused.code) == (503, "E486"), "who cannot be put on record does not come in"
