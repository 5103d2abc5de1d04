"""Each page of what waits, of tables and of the worklist, with every role: who may, and who may not (SEC2)."""

from itertools import product

import pytest

from engine.adapters.console.pages import PAGES
from engine.model.access import ROLES, SITE
from tests.adapters.api.rig import Running, site
from tests.adapters.console.visitor import Visitor

EXPECTED = {
    "GET /queues": "viewer of a channel",
    "GET /queues/{channel}/{destination}": "viewer of a channel",
    "POST /queues/{channel}/{destination}/lane": "operator of a channel",
    "POST /queues/{channel}/{destination}/plan": "operator of a channel",
    "POST /queues/{channel}/{destination}/order": "operator of a channel",
    "GET /held": "viewer of a channel",
    "GET /held/{channel}/{group}": "viewer of a channel",
    "POST /held/{channel}/{group}/codes": "operator of a channel",
    "POST /held/{channel}/{group}/row": "analyst of a channel",
    "POST /held/{channel}/{group}/plan": "operator of a channel",
    "POST /held/{channel}/{group}/order": "operator of a channel",
    "GET /tables": "viewer of a channel",
    "GET /tables/{channel}": "viewer of a channel",
    "POST /tables/{channel}/search": "viewer of a channel",
    "POST /tables/{channel}/codes": "operator of a channel",
    "POST /tables/{channel}/row": "analyst of a channel",
    "GET /take-up/{channel}": "operator of a channel",
    "POST /take-up/{channel}": "operator of a channel",
    "GET /worklist": "viewer of the site",
    "GET /worklist/asked": "viewer of the site",
    "POST /worklist/asked": "operator of the site",
    "GET /worklist/{worklist}/step": "viewer of the site",
    "POST /worklist/{worklist}/step/values": "operator of the site",
    "POST /worklist/{worklist}/step/plan": "operator of the site",
    "POST /worklist/{worklist}/step/status": "operator of the site",
    "GET /worklist/{worklist}/ask": "operator of the site",
    "POST /worklist/{worklist}/ask": "operator of the site",
}
OWN = ("queues", "held", "tables", "worklist")
NAMES = {entry.name: entry for entry in PAGES if entry.tag in OWN}
GIVEN = {"channel": "adt", "destination": "out", "group": "0" * 16, "worklist": "main"}
QUERIES = {
    "GET /tables/{channel}": "?table=tables/wards.csv",
    "GET /worklist/{worklist}/step": "?study=1.2.3&step=S1",
}
HOLDERS = [*product(ROLES, (SITE, "adt", "results"))]


def may(expected: str, role: str, where: str, names_adt: bool) -> bool:
    least, _, scope = expected.partition(" of ")
    if ROLES.index(role) < ROLES.index(least):  # type: ignore[arg-type]
        return False
    return where == SITE if scope == "the site" else where != "results" or not names_adt


@pytest.fixture(scope="module")
def visitors(tmp_path_factory):
    running = Running(site(tmp_path_factory.mktemp("roles") / "site"))
    made = {}
    for role, where in HOLDERS:
        name = f"{role}-{'site' if where == SITE else where}"
        made[role, where] = Visitor(running, running.user(name, {where: role}))
    yield made
    running.stop()


def test_every_page_is_in_the_table_of_this_test():
    assert NAMES.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", list(EXPECTED))
def test_a_page_and_every_role(visitors, name):
    entry = NAMES[name]
    path = entry.path.format(**GIVEN) + QUERIES.get(name, "")
    names_adt = "{channel}" in entry.path
    for (role, where), visitor in visitors.items():
        shown = visitor.open(path) if entry.method == "GET" else visitor.forged(path)
        # A group or step that is not there is so for those who may look; a channel of others is as one that is not.
        refused = shown.status == 403 or (names_adt and where == "results" and shown.status == 404)
        assert refused != may(EXPECTED[name], role, where, names_adt), (name, role, where, shown.status)
