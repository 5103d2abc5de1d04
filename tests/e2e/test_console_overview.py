"""Overview, map, system and documentation in a browser, with 10,000 messages in the store."""

from typing import TYPE_CHECKING

import pytest

from engine.testing.messages import adt
from tests.e2e.console_engine import ADMISSIONS, MISSES, STEPS, TOTAL

if TYPE_CHECKING:
    from tests.e2e.console_rig import Browse, Console


def number(text: str) -> int:
    return int(text.replace("\u202f", ""))


def test_the_overview_tells_what_needs_a_person_first_and_then_the_channels(console: "Console", browse: "Browse"):
    page = browse("viewer", "/")
    things = page.locator(".attention li")
    assert "orders/ris cannot be reached" in things.first.inner_text()
    assert any("results are held" in text for text in things.all_inner_texts())
    rows = {row.locator("th a").inner_text(): row for row in page.locator("table.overview tbody tr").all()}
    assert list(rows) == ["adt", "orders", "results"]
    received = {name: number(row.locator("[data-live$=' received']").inner_text()) for name, row in rows.items()}
    assert received["adt"] >= ADMISSIONS and sum(received.values()) >= TOTAL
    assert number(rows["orders"].locator("[data-live$=' queued']").inner_text()) <= STEPS
    assert "receiver down" in rows["orders"].inner_text()
    assert rows["adt"].locator("svg.spark").get_attribute("aria-label").endswith("a minute")
    with console.store() as queries:
        held = sum(count for (_, state), count in queries.counts().items() if state == "held")
    assert held >= sum(MISSES.values()) - 1
    things.first.get_by_role("link", name="how").click()
    page.wait_for_url("**/docs/alerts#segmilldestinationdown")


def test_counters_count_while_one_looks(console: "Console", browse: "Browse"):
    page = browse("viewer", "/")
    place = page.locator('[data-live="adt received"]')
    before = number(place.inner_text())
    assert console.send("adt", adt(control_id=f"LIVE{before}")).accepted == 1
    more = f"({before} + 1).toString()"
    page.wait_for_function(
        f"() => document.querySelector('[data-live=\"adt received\"]').textContent.replace(/\\u202f/g, '') === {more}"
    )


def test_what_needs_a_person_is_told_while_one_looks(console: "Console", browse: "Browse"):
    page = browse("operator", "/")
    page.get_by_text("orders/modalities is paused").wait_for(state="detached")
    session = browse("operator", "/password")  # where the page's token is; the API takes it as well
    token = session.locator("input[name=csrf]").first.get_attribute("value")

    def lane(action: str) -> None:
        answer = session.request.post(
            f"/api/v1/lanes/orders/modalities/{action}",
            data={"reason": "a test"},
            headers={"x-csrf-token": str(token), "origin": console.url},
        )
        assert answer.status == 200, answer.text()

    lane("pause")
    page.get_by_text("orders/modalities is paused by operator").wait_for()
    lane("resume")
    page.get_by_text("orders/modalities is paused").wait_for(state="detached")


def test_a_page_for_which_no_stream_is_left_shows_its_numbers_all_the_same(browse: "Browse"):
    pages = [browse("analyst", "/") for _ in range(5)]
    assert all(page.locator("table.overview tbody tr").count() == 3 for page in pages)


def test_who_may_see_one_channel_sees_no_other_anywhere(browse: "Browse"):
    page = browse("adt-viewer", "/")
    for path in ("/", "/map", "/map?uses=6661"):
        page.goto(path)
        text = page.locator("body").inner_text()
        assert "orders" not in text and "results" not in text, path
    assert page.get_by_role("link", name="System").count() == 0
    browse.allow(403)
    page.goto("/system")
    assert "E472" in page.locator("main").inner_text()


def test_the_map_is_filtered_and_leads_from_a_line_to_its_queue(browse: "Browse"):
    page = browse("viewer", "/map")
    assert page.locator("svg.map .way").count() >= 9  # and those of senders that other tests invent
    page.get_by_label("Show what has this").fill("orders")
    page.get_by_role("button", name="Filter").click()
    page.get_by_text("1 of 3 channels").wait_for()
    way = page.locator("svg.map a.way.bad")
    assert "receiver down" in (way.get_attribute("aria-label") or "")
    assert (way.get_attribute("href") or "") == "/queues/orders/ris"
    assert page.locator("tbody tr", has_text="receiver down").count() == 1


def test_what_uses_a_table_is_found_with_its_line(browse: "Browse"):
    page = browse("viewer", "/map")
    page.get_by_label("What uses this").fill("wards.csv")
    page.get_by_role("button", name="Find").click()
    link = page.get_by_role("link", name="channels/adt/channel.yaml:")
    link.wait_for()
    assert "/channels/adt#L" in (link.get_attribute("href") or "")
    page.get_by_label("What uses this").fill("no-such-thing")
    page.get_by_role("button", name="Find").click()
    page.get_by_text("Nothing here uses no-such-thing").wait_for()


def test_the_system_page_tells_of_store_ports_and_kinds(console: "Console", browse: "Browse"):
    page = browse("viewer", "/system")
    text = page.locator("main").inner_text()
    assert "takes messages" in text and str(console.folder) in text
    assert "this machine alone" in text and "no certificate" in text


@pytest.mark.parametrize(
    ("name", "path", "user"),
    [
        ("overview", "/", "admin"),
        ("map", "/map", "viewer"),
        ("system", "/system", "viewer"),
        ("docs", "/docs", "viewer"),
        ("doc", "/docs/code-tables", "viewer"),
        ("code", "/docs/codes/E214", "viewer"),
    ],
)
def test_looks(browse: "Browse", name: str, path: str, user: str):
    from tests.e2e.console_rig import check_looks

    check_looks(browse, name, path, user)
