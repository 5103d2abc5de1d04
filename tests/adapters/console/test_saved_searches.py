"""Searches by a name: own and for all, without a value in an address, a list or another's hands."""

import re
from collections.abc import Iterator

import pytest

from engine.adapters.console.pages import PAGES
from engine.model.access import ROLES, SITE
from engine.ports.operations import By
from tests.adapters.api.rig import Running, site
from tests.adapters.console.visitor import Visitor

PATIENT = "900001"
WITH_VALUE = f"PID-3.1={PATIENT} channel:adt"
PLAIN = "channel:results state:held"
HINT = "<code>channel:results</code>"
SAVED = r"/messages/searches/([A-Za-z0-9_-]{12})"


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Running]:
    started = Running(site(tmp_path_factory.mktemp("searches") / "site"))
    yield started
    started.stop()


@pytest.fixture
def visit(running):
    """Somebody new, so that no test sees another's searches."""

    def made(role: str, where: str = SITE) -> Visitor:
        number = len(running.queries.users())
        return Visitor(running, running.user(f"{role}{number}", {where: role}))

    return made


def save(visitor: Visitor, q: str, name: str, *more: tuple[str, str]):
    found = visitor.send(visitor.open("/messages"), "/messages", ("q", q))
    assert found.status == 200
    return visitor.send(found, "/messages/searches", ("name", name), *more)


def id_of(shown, name: str) -> str:
    """Of the chip with this name."""
    return re.search(rf'href="{SAVED}"[^>]*><bdi>{re.escape(name)}<', shown.text)[1]


def recorded(running, action: str) -> list:
    return [row for row in running.queries.audit(0, 100_000) if row.action == action]


def test_a_search_is_saved_found_as_a_chip_opened_renamed_and_dropped(running, visit):
    viewer = visit("viewer")
    saved = save(viewer, PLAIN, "Held results")
    assert "Saved as Held results." in saved.words
    path = f"/messages/searches/{id_of(saved, 'Held results')}"
    opened = viewer.open(path)
    assert (opened.status, opened.location) == (303, "/messages?channel=results&state=held")
    renamed = viewer.send(viewer.open("/messages/searches"), f"{path}/name", ("name", "What waits"))
    assert "It is What waits now, for you." in renamed.words and PLAIN in renamed.words
    gone = viewer.send(renamed, f"{path}/drop")
    assert "What waits is dropped." in gone.words and viewer.open(path).status == 404
    for action in ("search-save", "search-change", "search-drop"):
        row = recorded(running, action)[-1]
        assert row.ids == f"search {path.rpartition('/')[2]}" and PLAIN in row.scope
        assert row.actor.startswith("viewer")


def test_one_with_a_value_is_its_owners_and_its_words_stand_in_no_list_and_no_address(running, visit):
    operator = visit("operator")
    saved = save(operator, WITH_VALUE, "The patient of ticket 7")
    id_ = id_of(saved, "The patient of ticket 7")
    listed = operator.open("/messages/searches")
    assert "looks at values" in listed.words and PATIENT not in listed.text
    assert PATIENT not in operator.open("/messages").text
    opened = operator.open(f"/messages/searches/{id_}")
    assert re.fullmatch(r"/messages\?search=[A-Za-z0-9_-]{12}", opened.location)
    before = len(recorded(running, "search"))
    assert PATIENT in operator.open(opened.location).text
    assert recorded(running, "search")[before].scope == WITH_VALUE, "on record each time it is done"
    other = visit("admin")
    assert other.open(f"/messages/searches/{id_}").status == 404
    assert other.forged(f"/messages/searches/{id_}/drop").status == 404
    assert "ticket 7" not in other.open("/messages/searches").text


def test_one_for_all_is_an_analysts_and_has_no_values(running, visit):
    analyst, viewer = visit("analyst"), visit("viewer")
    shared = save(analyst, PLAIN, "For the ward", ("shared", "true"))
    id_ = id_of(shared, "For the ward")
    assert "For the ward" in viewer.open("/messages").words
    assert viewer.open(f"/messages/searches/{id_}").location == "/messages?channel=results&state=held"
    assert viewer.forged(f"/messages/searches/{id_}/drop").status == 403
    assert viewer.forged(f"/messages/searches/{id_}/name", ("name", "Mine")).status == 403
    assert viewer.forged("/messages/searches", ("channel", "adt"), ("name", "x"), ("shared", "true")).status == 403
    another = visit("analyst")
    kept = another.send(another.open("/messages/searches"), f"{id_}/name", ("name", "For wards"), ("shared", "true"))
    assert "It is For wards now, for all." in kept.words
    assert another.forged(f"/messages/searches/{id_}/name", ("name", "Mine")).status == 403, "it stays its owner's"
    found = analyst.send(analyst.open("/messages"), "/messages", ("q", WITH_VALUE))
    assert "for all" not in found.text.partition("Save this search")[2].partition("</form>")[0]
    refused = analyst.send(found, "/messages/searches", ("name", "A patient"), ("shared", "true"))
    assert refused.status == 409 and "E588" in refused.text and PATIENT not in refused.text
    own = save(analyst, WITH_VALUE, "A patient of mine")
    path = f"/messages/searches/{id_of(own, 'A patient of mine')}/name"
    forced = analyst.forged(path, ("name", "x"), ("shared", "true"))
    assert forced.status == 409 and "E588" in forced.text


def test_one_for_all_is_not_told_to_who_may_not_see_its_channel(running, visit):
    """What there is beyond one's own is nobody's business, and it would find nothing."""
    analyst, viewer, all_seeing = visit("analyst"), visit("viewer", "adt"), visit("viewer")
    id_ = id_of(save(analyst, "channel:results state:queued", "Of results", ("shared", "true")), "Of results")
    save(analyst, "channel:adt state:queued", "Of adt", ("shared", "true"))
    save(analyst, "state:queued", "Of any", ("shared", "true"))
    for path in ("/messages", "/messages/searches"):
        assert "Of results" in all_seeing.open(path).words
        shown = viewer.open(path)
        assert "Of adt" in shown.words and "Of any" in shown.words
        assert "Of results" not in shown.words and "channel:results" not in shown.text.replace(HINT, "")
    assert viewer.open(f"/messages/searches/{id_}").status == 404
    program = running.token("adt-only", {"adt": "viewer"})
    assert "results" not in str(running.ask("GET", "/saved-searches", headers=program).json)
    assert running.ask("GET", f"/saved-searches/{id_}", headers=program).status == 404


def test_what_cannot_be_read_is_not_saved_and_is_shown_as_on_the_list(running, visit, caplog):
    viewer = visit("viewer")
    viewer.open("/messages")
    refused = viewer.forged("/messages/searches", ("since", "yesterdayish"), ("name", "x"))
    listed = viewer.open("/messages?since=yesterdayish")
    assert refused.status == listed.status and "is no time" in refused.words
    assert "failed with" not in caplog.text
    assert (
        "No search is saved." in viewer.open("/messages/searches").words
        or "yesterdayish" not in viewer.open("/messages/searches").text
    )


def test_a_name_is_good_once_and_not_empty_and_harmless(visit):
    viewer = visit("viewer")
    hostile = "<script>alert(1)</script>"
    save(viewer, PLAIN, hostile)
    page = viewer.open("/messages")
    assert hostile not in page.text and hostile in page.words
    again = save(viewer, "state:queued", hostile)
    assert "Nothing was saved: there is a search of that name already." in again.words
    save(viewer, "state:queued", "other")
    path = f"/messages/searches/{id_of(viewer.open('/messages'), 'other')}/name"
    refused = viewer.forged(path, ("name", hostile))
    assert refused.status == 409 and "there is a search of that name already" in refused.words
    assert viewer.forged("/messages/searches", ("name", "nothing")).status == 422
    for name in ("", "   ", "a\u202eb", "x" * 61):
        assert viewer.forged("/messages/searches", ("state", "held"), ("name", name)).status == 422


def test_who_may_read_no_more_opens_no_search_for_values(running):
    signed = running.user("moved", {SITE: "operator"})
    mover = Visitor(running, signed)
    id_ = id_of(save(mover, WITH_VALUE, "before"), "before")
    running.do(running.access.set_grants(By("the test"), "moved", {SITE: "viewer"}))
    shown = mover.open(f"/messages/searches/{id_}")
    assert shown.status == 403 and PATIENT not in shown.text
    assert PATIENT not in mover.open("/messages/searches").text


def test_a_viewer_who_may_not_read_saves_no_search_for_values(running):
    """By the API: the page of such a search cannot be opened in the first place."""
    viewer = running.token("dashboards", {SITE: "viewer"})
    body = {"name": "x", "text": WITH_VALUE}
    refused = running.ask("POST", "/saved-searches", body, viewer)
    assert refused.status == 403 and PATIENT.encode() not in refused.raw


def test_the_api_saves_shows_changes_and_drops(running):
    program = running.token("searcher", {SITE: "analyst"})
    saved = running.ask("POST", "/saved-searches", {"name": "plain", "text": PLAIN, "shared": True}, program)
    assert saved.status == 200 and saved.json["owner"] == "token searcher" and saved.json["text"] == PLAIN
    own = running.ask("POST", "/saved-searches", {"name": "own", "text": WITH_VALUE}, program).json
    assert own["text"] is None and own["has_values"]
    searches = running.ask("GET", "/saved-searches", headers=program).json["searches"]
    listed = {one["name"]: one["text"] for one in searches}
    assert (listed["plain"], listed["own"]) == (PLAIN, None)
    before = len(recorded(running, "read"))
    assert running.ask("GET", f"/saved-searches/{own['id']}", headers=program).json["text"] == WITH_VALUE
    assert [row.ids for row in recorded(running, "read")[before:]] == [f"search {own['id']}"]
    path = f"/saved-searches/{own['id']}"
    assert running.ask("PUT", path, {"name": "plain"}, program).code == "E485"
    assert running.ask("PUT", path, {"name": "x", "shared": True}, program).code == "E588"
    assert running.ask("PUT", path, {"name": "mine"}, program).status == 200
    other = running.token("another", {SITE: "admin"})
    for method, more in (("GET", None), ("PUT", {"name": "y"}), ("DELETE", None)):
        assert running.ask(method, path, more, other).status == 404
    assert running.ask("DELETE", path, headers=program).status == 200
    assert running.ask("GET", path, headers=program).status == 404
    unread = running.ask("POST", "/saved-searches", {"name": "z", "text": f'PID-3.1="{PATIENT}'}, program)
    assert unread.code == "E476"
    assert PATIENT.encode() not in unread.raw


EXPECTED = {
    "GET /messages/searches",
    "POST /messages/searches",
    "GET /messages/searches/{search}",
    "POST /messages/searches/{search}/name",
    "POST /messages/searches/{search}/drop",
}


def test_whoever_sees_a_channel_has_searches_and_nobody_else(running, visit):
    entries = {entry.name: entry for entry in PAGES if entry.tag == "searches"}
    assert entries.keys() == EXPECTED
    nobody = Visitor(running, running.user("nothing", {}))
    people = [visit(role, "adt") for role in ROLES]
    for entry in entries.values():
        path = entry.path.format(search="0" * 12)
        for person, is_let_in in ((nobody, False), *((one, True) for one in people)):
            shown = person.open(path) if entry.method == "GET" else person.forged(path)
            assert (shown.status != 403) == is_let_in, (entry.name, shown.status)
