"""Channels, plan and reload, try it, audit and users: each page with every role (reliability.md SEC2).

The expectation stands here in full, as in test_route_table: a page that is added and not named here fails.
"""

from collections.abc import Iterator

import pytest

from engine.adapters.console import audit, channels, reload, try_case, try_it, users
from engine.model.access import ROLES, SITE
from tests.adapters.api.rig import Running
from tests.adapters.console.people import Person, engine_of, person

PAGES = (*channels.PAGES, *reload.PAGES, *try_it.PAGES, *try_case.PAGES, *audit.PAGES, *users.PAGES)
NAMES = {page.name: page for page in PAGES}
EXPECTED = {
    "GET /channels": "viewer of a channel",
    "GET /channels/{channel}": "viewer of a channel",
    "POST /channels/{channel}/cases": "analyst of a channel",
    "GET /try": "analyst of a channel",
    "GET /try/{channel}": "analyst of a channel",
    "POST /try/{channel}": "analyst of a channel",
    "POST /try/{channel}/message": "analyst of a channel",
    "POST /try/{channel}/case": "analyst of a channel",
    "POST /try/{channel}/save": "analyst of a channel",
    "GET /reload": "analyst of the site",
    "POST /reload": "analyst of the site",
    "GET /audit": "admin of the site",
    "POST /audit": "admin of the site",
    "GET /audit/verify": "admin of the site",
    "POST /audit/export": "admin of the site",
    "GET /users": "admin of the site",
    "GET /users/{user}": "admin of the site",
    "POST /users": "admin of the site",
    "POST /users/{user}/password": "admin of the site",
    "POST /users/{user}/grants": "admin of the site",
    "POST /users/{user}/disable": "admin of the site",
    "POST /users/{user}/enable": "admin of the site",
    "POST /users/{user}/sessions": "admin of the site",
    "POST /tokens": "admin of the site",
    "POST /tokens/{token}/revoke": "admin of the site",
}
HOLDERS = [(role, where) for role in ROLES for where in (SITE, "adt", "results")]
UNRECORDED = {
    "POST /channels/{channel}/cases",  # runs in a process apart, and touches nothing
    "POST /try/{channel}",
    "POST /try/{channel}/case",
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with engine_of(tmp_path_factory.mktemp("roles") / "site") as made:
        yield made


@pytest.fixture(scope="module")
def holders(engine: Running) -> dict[tuple[str, str], Person]:
    return {
        (role, where): person(engine, f"{role}-{'site' if where == SITE else where}", {where: role})
        for role, where in HOLDERS
    }


def test_every_page_is_in_the_table_of_this_test():
    assert NAMES.keys() == EXPECTED.keys()


def test_every_change_is_on_record_but_what_touches_nothing():
    assert {page.name for page in PAGES if not page.is_safe and not page.record} == UNRECORDED


@pytest.mark.parametrize("name", list(EXPECTED))
def test_a_page_and_every_role(holders, name):
    page = NAMES[name]
    path = page.path.format(channel="adt", user="nobody", token="nobody")
    least, _, scope = EXPECTED[name].partition(" of ")
    names_adt = "{channel}" in page.path
    for (role, where), who in holders.items():
        may = ROLES.index(role) >= ROLES.index(least)
        may &= where == SITE if scope == "the site" else where != "results" or not names_adt
        shown = who.get(path) if page.is_safe else who.post(path)
        refused = shown.status == 403 or (names_adt and shown.status == 404)
        assert refused != may, (name, role, where, shown.status)
        assert shown.status != 500


def test_no_form_is_taken_without_the_token_of_its_session(engine, holders):
    who = holders["admin", SITE]
    stranger = Person(engine, type(who.signed)(who.signed.cookie, "another"))
    before = engine.actions()
    for page in PAGES:
        if not page.is_safe:
            shown = stranger.post(page.path.format(channel="adt", user="nobody", token="nobody"))
            assert shown.status == 403 and "E473" in shown.text, page.name
    assert engine.actions() == before
