"""Users and tokens as pages: a secret is shown this once, and a site keeps an admin."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from engine.adapters.api.problems import Problem
from engine.model.access import SITE
from engine.ports.operations import By
from tests.adapters.api.rig import GOOD_PASSWORD, Parts, Running
from tests.adapters.console.people import Person, engine_of, person


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with engine_of(tmp_path_factory.mktemp("users") / "site") as made:
        yield made


@pytest.fixture(scope="module")
def admin(engine: Running) -> Person:
    return person(engine, "head", {SITE: "admin"})


def secret_of(text: str) -> str:
    found = re.search(r'class="plan secret".*?<code>([^<]+)</code>', text, re.DOTALL)
    assert found is not None
    return found[1]


def test_a_user_is_added_and_the_password_is_shown_this_once(engine, admin):
    sent = [("name", "anna"), ("channel", "adt"), ("role", "operator"), ("channel", "*"), ("role", "viewer")]
    sent += [("channel", ""), ("role", "")]
    shown = admin.post("/users", sent)
    password = secret_of(shown.text)
    assert shown.status == 200 and shown.headers["cache-control"] == "no-store"
    assert password not in admin.get("/users").text and password not in admin.get("/users/anna").text
    user = engine.queries.user("anna")
    assert dict(user.grants) == {"adt": "operator", "*": "viewer"} and user.must_change
    assert engine.sign_in("anna", password).csrf
    row = next(row for row in engine.queries.audit(0, 100_000) if row.action == "user-add" and "anna" in row.ids)
    assert row.actor == "head from 127.0.0.1" and password not in str(row)
    again = admin.post("/users", sent)
    assert again.status == 409 and "there is a user of that name" in again.words


def test_what_a_user_may_is_set_and_taken(engine, admin):
    signed = engine.user("ben", {SITE: "viewer"})
    done = admin.post("/users/ben/grants", [("channel", "results"), ("role", "analyst")])
    assert (done.status, done.location) == (303, "/users/ben")
    assert dict(engine.queries.user("ben").grants) == {"results": "analyst"}
    for bad in (
        [("channel", "adt"), ("role", "emperor")],
        [("channel", "adt"), ("role", "viewer"), ("channel", "adt"), ("role", "admin")],
        [("channel", "adt")],
    ):
        assert admin.post("/users/ben/grants", bad).status == 422
    assert "127.0.0.1" in admin.get("/users/ben").words
    assert admin.post("/users/ben/sessions").status == 303
    assert engine.ask("GET", "/session", headers=signed.reads).status == 401
    assert admin.post("/users/ben/disable").status == 303
    assert "disabled" in admin.get("/users/ben").words
    assert admin.post("/users/ben/enable").status == 303
    shown = admin.post("/users/ben/password")
    assert secret_of(shown.text)
    done = [row.action for row in engine.queries.audit(0, 100_000) if row.ids.startswith("user ben")]
    wanted = ["user-grant", "sessions-end", "user-disable", "user-enable", "user-passwd"]
    assert [action for action in done if action in wanted] == wanted
    assert admin.post("/users/nobody/sessions").status == 404 and admin.get("/users/nobody").status == 404


def test_a_token_is_shown_this_once_and_revoked(engine, admin):
    shown = admin.post("/tokens", [("name", "monitoring"), ("days", "30"), ("channel", "*"), ("role", "viewer")])
    token = secret_of(shown.text)
    assert engine.ask("GET", "/channels", headers={"authorization": f"Bearer {token}"}).status == 200
    assert token not in admin.get("/users").text
    assert admin.post("/tokens/monitoring/revoke").status == 303
    assert engine.ask("GET", "/channels", headers={"authorization": f"Bearer {token}"}).status == 401
    assert admin.post("/tokens", [("name", "empty"), ("channel", ""), ("role", "")]).status == 422


def test_the_last_admin_cannot_be_taken_away(engine, admin):
    admins = [u.name for u in engine.queries.users() if u.grants.get(SITE) == "admin" and not u.is_disabled]
    for name in admins:
        if name != "head":
            assert admin.post(f"/users/{name}/disable").status == 303
    refused = admin.post("/users/head/disable")
    assert refused.status == 409 and "last admin" in refused.words
    assert admin.post("/users/head/grants", [("channel", "*"), ("role", "analyst")]).status == 409
    assert admin.get("/users").status == 200


async def test_two_admins_who_disable_each_other_leave_one(parts: Parts):
    for name in ("anna", "ben"):
        await parts.user(name, {SITE: "admin"})
    asked = (
        parts.access.set_disabled(By("anna"), "ben", True),
        parts.access.set_disabled(By("ben"), "anna", True),
    )
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["NoneType", "Problem"]
    refused = next(one for one in found if isinstance(one, Problem))
    assert (refused.status, refused.code) == (409, "E485") and "last admin" in refused.detail
    assert sum(not user.is_disabled for user in parts.queries.users()) == 1


@pytest.fixture
def parts() -> Iterator[Parts]:
    made = Parts()
    yield made
    made.close()


def test_failed_attempts_stand_beside_the_user(engine, admin):
    engine.user("carla", {SITE: "viewer"})
    engine.ask("POST", "/session", {"name": "carla", "password": "not this one"})
    assert re.search(r"carla.*?action=sign-in-failed", admin.get("/users").text, re.DOTALL)
    assert engine.sign_in("carla", GOOD_PASSWORD)
