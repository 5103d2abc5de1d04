"""Every address of the API with every role: who may, and who may not (reliability.md SEC2).

The expectation stands here in full and not in terms of the engine's own table: an address that is added there and not
here fails, and so does one whose permission is changed by mistake.
"""

from itertools import pairwise

import pytest

from engine.adapters.api.guard import Application, Places
from engine.adapters.api.routes import ENTRIES
from engine.model.access import ALLOWS, PERMISSIONS, ROLES, SITE, Principal

ANYBODY, SIGNED_IN = "anybody", "signed in"
EXPECTED = {
    "GET /health": ANYBODY,
    "GET /ready": ANYBODY,
    "POST /session": ANYBODY,
    "GET /version": SIGNED_IN,
    "GET /openapi.json": SIGNED_IN,
    "GET /session": SIGNED_IN,
    "DELETE /session": SIGNED_IN,
    "PUT /session/password": SIGNED_IN,
    "GET /session/second-factor": SIGNED_IN,
    "POST /session/second-factor": SIGNED_IN,
    "PUT /session/second-factor": SIGNED_IN,
    "POST /session/second-factor/off": SIGNED_IN,
    "GET /channels": "viewer of a channel",
    "GET /channels/{channel}": "viewer of a channel",
    "GET /lanes": "viewer of a channel",
    "GET /lanes/{channel}/{destination}/queue": "viewer of a channel",
    "GET /messages": "viewer of a channel",
    "GET /messages.ndjson": "viewer of a channel",
    "GET /messages/{seq}": "viewer of a channel",
    "GET /saved-searches": "viewer of a channel",
    "POST /saved-searches": "viewer of a channel",
    "GET /saved-searches/{search}": "viewer of a channel",
    "PUT /saved-searches/{search}": "viewer of a channel",
    "DELETE /saved-searches/{search}": "viewer of a channel",
    "POST /searches": "viewer of a channel",
    "POST /exports": "viewer of a channel",
    "GET /messages/{seq}/body": "operator of a channel",
    "GET /tables/misses": "operator of a channel",
    "POST /channels/{channel}/pause": "operator of a channel",
    "POST /channels/{channel}/resume": "operator of a channel",
    "POST /lanes/{channel}/{destination}/pause": "operator of a channel",
    "POST /lanes/{channel}/{destination}/resume": "operator of a channel",
    "POST /lanes/{channel}/{destination}/retry": "operator of a channel",
    "POST /messages/{seq}/edits": "operator of a channel",
    "POST /messages/{seq}/edits/plan": "operator of a channel",
    "POST /plans": "operator of a channel",
    "POST /orders": "operator of a channel",
    "POST /channels/{channel}/rows": "analyst of a channel",
    "GET /worklists/{worklist}/steps": "viewer of the site",
    "GET /worklists/{worklist}/steps/{study}/{step}": "operator of the site",
    "POST /worklists/{worklist}/steps/{study}/{step}/status": "operator of the site",
    "GET /scanner-queries": "viewer of the site",
    "GET /scanner-queries/values": "operator of the site",
    "GET /reload": "analyst of the site",
    "POST /reload": "analyst of the site",
    "GET /users": "admin of the site",
    "POST /users": "admin of the site",
    "POST /users/{user}/password": "admin of the site",
    "PUT /users/{user}/grants": "admin of the site",
    "POST /users/{user}/disable": "admin of the site",
    "POST /users/{user}/enable": "admin of the site",
    "DELETE /users/{user}/sessions": "admin of the site",
    "GET /tokens": "admin of the site",
    "POST /tokens": "admin of the site",
    "DELETE /tokens/{token}": "admin of the site",
    "GET /support-bundle": "admin of the site",
    "POST /support-bundle": "admin of the site",
    "GET /support-bundle/file": "admin of the site",
    "GET /audit": "admin of the site",
    "GET /audit/verify": "admin of the site",
}
NAMES = {f"{entry.method} {entry.path.removeprefix('/api/v1')}": entry for entry in ENTRIES}
HOLDERS = [(role, where) for role in ROLES for where in (SITE, "adt", "results")]


def placed(path: str) -> str:
    """With the channel adt; what else is named is not there, so that nothing is done to it."""
    given = {"channel": "adt", "destination": "out", "seq": "1", "worklist": "main", "study": "1.2", "step": "S1"}
    return path.format(**given, user="nobody", token="nobody", search="0" * 12)


def may(expected: str, role: str, where: str, names_adt: bool) -> bool:
    """Whether somebody with this role there may."""
    if expected in (ANYBODY, SIGNED_IN):
        return True
    least, _, scope = expected.partition(" of ")
    if ROLES.index(role) < ROLES.index(least):  # type: ignore[arg-type]
        return False
    if scope == "the site":
        return where == SITE
    return where != "results" or not names_adt


@pytest.fixture(scope="module")
def holders(shared):
    """The headers of a program with each role at each place."""
    made = {}
    for role, where in HOLDERS:
        name = f"{role}-{'site' if where == SITE else where}"
        made[role, where] = shared.token(name, {where: role})
    return made


def test_every_address_is_in_the_table_of_this_test_and_none_is_twice():
    assert list(EXPECTED.keys() ^ NAMES.keys()) == []
    assert len(NAMES) == len(ENTRIES)


@pytest.mark.parametrize("name", list(EXPECTED))
def test_an_address_and_every_role(shared, holders, name):
    entry = NAMES[name]
    path = placed(entry.path.removeprefix("/api/v1"))
    body = {} if entry.body is not None else None
    # One that names a channel is refused for another channel as one that is not there.
    names_adt = "{channel}" in entry.path
    for (role, where), headers in holders.items():
        reply = shared.ask(entry.method, path, body, headers)
        refused = reply.status in (401, 403) or (names_adt and reply.status == 404)
        assert refused != may(EXPECTED[name], role, where, names_adt), (name, role, where, reply.status, reply.raw)
        assert reply.status != 500, reply.raw


@pytest.mark.parametrize("name", [name for name, who in EXPECTED.items() if who is not ANYBODY])
def test_an_address_and_nobody(shared, name):
    entry = NAMES[name]
    path = placed(entry.path.removeprefix("/api/v1"))
    for headers in (
        {},
        {"cookie": "segmill=none"},
        {"authorization": "Bearer segmill_none"},
        {"authorization": "Basic YWRtaW46YWRtaW4="},
        {"authorization": ""},
        {"cookie": "segmill="},
        {"x-forwarded-user": "admin", "x-remote-user": "admin", "x-original-url": "/api/v1/health"},
    ):
        reply = shared.ask(entry.method, path, b"{this is not read", headers)
        assert (reply.status, reply.code) == (401, "E471"), (headers, reply.raw)


@pytest.mark.parametrize("name", [name for name, who in EXPECTED.items() if " of " in who])
def test_an_address_and_who_was_granted_nothing_or_must_change_the_password(shared, name):
    entry = NAMES[name]
    path = placed(entry.path.removeprefix("/api/v1"))
    body = {} if entry.body is not None else None
    nothing, changing = _sessions(shared)
    assert shared.ask(entry.method, path, body, nothing.changes).status == 403
    refused = shared.ask(entry.method, path, body, changing.changes)
    assert (refused.status, refused.code) == (403, "E475")


def _sessions(shared):
    if not hasattr(shared, "sessions"):
        nothing = shared.user("nothing", {})
        shared.token("dummy", {SITE: "viewer"})
        from tests.adapters.api.rig import by

        one_time = shared.do(shared.access.add_user(by("the test"), "changing", {SITE: "admin"}))
        shared.sessions = (nothing, shared.sign_in("changing", one_time))
    return shared.sessions


def test_what_no_entry_names_is_not_served(shared, holders):
    admin = holders["admin", SITE]
    for path in ("", "/", "/users/", "/Users", "/v2", "/../users", "/.git/config", "/static/x.js", "/messages/1/raw"):
        assert shared.ask("GET", path, headers=admin).status == 404, path
    for method in ("PATCH", "OPTIONS", "TRACE", "HEAD", "PROPFIND"):
        assert shared.ask(method, "/users", headers=admin).status in (404, 405), method


def test_what_is_listed_is_of_ones_own_channels(shared, holders):
    viewer = holders["viewer", "results"]
    assert [one["channel"] for one in shared.ask("GET", "/channels", headers=viewer).json["channels"]] == ["results"]
    assert {one["channel"] for one in shared.ask("GET", "/lanes", headers=viewer).json["lanes"]} == {"results"}


def test_roles_hold_each_other_and_deny_by_default():
    held = [ALLOWS[role] for role in ROLES]
    assert all(less < more for less, more in pairwise(held)), "each role has more than the one before"
    nobody = Principal("nobody")
    assert not any(nobody.may(permission, channel) for permission in PERMISSIONS for channel in (SITE, "adt"))
    somebody = Principal("somebody", {"adt": "admin"}, must_change=True)
    assert not any(somebody.may(permission, "adt") for permission in PERMISSIONS)
    assert Principal("anna", {"adt": "operator", SITE: "viewer"}).channels("operate") == {"adt"}
    assert Principal("anna", {"adt": "operator", SITE: "viewer"}).channels("see") is None


def test_the_application_is_made_of_the_table_alone():
    assert len(
        Application(ENTRIES, type("Api", (), {"is_secure": False})(), Places("", None, is_tls=False))._routes
    ) == len(ENTRIES)
