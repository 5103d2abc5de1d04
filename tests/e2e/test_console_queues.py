"""Queues, held, tables and worklist in a browser: each action by a click, then seen in the store and in the audit."""

import re
from typing import TYPE_CHECKING

import pytest

from engine.model.ids import DestinationName, MessageSeq

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.e2e.console_rig import Browse, Console


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("queues", "/queues"),
        ("queue", "/queues/orders/ris"),
        ("queue-held", "/queues/results/portal?show=held"),
        ("held", "/held"),
        ("tables", "/tables"),
        ("table", "/tables/results?table=tables/codes.csv"),
        ("take-up", "/take-up/results"),
        ("worklist", "/worklist?status=all"),
        ("worklist-ask", "/worklist/main/ask"),
    ],
)
def test_looks(browse: "Browse", name: str, path: str):
    from tests.e2e.console_rig import check_looks

    check_looks(browse, name, path)


def check_axe(page: "Page") -> None:
    """Of a page that only a click leads to."""
    from tests.e2e.console_rig import findings_of_axe, overflow_of

    assert findings_of_axe(page) == []
    assert overflow_of(page) <= 0


def state_of(console: "Console", seq: int, destination: str) -> list[str]:
    with console.store() as queries:
        found = queries.deliveries(MessageSeq(seq))
        return [one.state for one in found if one.destination == DestinationName(destination)]


def test_a_queue_is_paused_two_are_held_and_released_and_it_goes_on(console: "Console", browse: "Browse"):
    page = browse("operator", "/queues")
    page.get_by_role("link", name="Pause orders/ris").click()
    page.wait_for_url("**/queues/orders/ris#pause")
    page.get_by_label("Reason").fill("The RIS moves house")
    page.get_by_role("button", name="Pause").click()
    assert "orders/ris is paused" in page.get_by_role("status").inner_text()
    boxes = page.get_by_role("checkbox")
    boxes.nth(3).check()
    boxes.nth(4).check()
    seqs = [int(page.locator("tbody[data-rows] th a").nth(row).inner_text()) for row in (3, 4)]
    page.get_by_role("button", name="Hold …").click()
    assert page.get_by_role("heading", name="Hold 2 deliveries of 2 messages?").is_visible()
    check_axe(page)
    assert [state_of(console, seq, "ris") for seq in seqs] == [["queued"], ["queued"]]
    page.get_by_label("Reason").fill("Asked for by radiology")
    page.get_by_role("button", name="Hold 2 deliveries").click()
    assert "2 deliveries held." in page.get_by_role("status").inner_text()
    assert [state_of(console, seq, "ris") for seq in seqs] == [["held"], ["held"]]
    page.get_by_role("link", name="Held 2", exact=True).click()
    page.get_by_label("all that is held").check()
    page.get_by_role("button", name="Release …").click()
    page.get_by_role("button", name="Release 2 deliveries").click()
    assert "2 deliveries released." in page.get_by_role("status").inner_text()
    assert [state_of(console, seq, "ris") for seq in seqs] == [["queued"], ["queued"]]
    page.get_by_role("button", name="Resume").click()
    assert "orders/ris goes on" in page.get_by_role("status").inner_text()
    done = [(row.action, row.reason) for row in console.audit() if row.actor.startswith("operator ")]
    assert done[-4:] == [
        ("pause", "The RIS moves house"),
        ("hold", "Asked for by radiology"),
        ("release", ""),
        ("resume", ""),
    ]


def test_a_missing_row_is_added_and_what_waited_for_it_goes_on(console: "Console", browse: "Browse"):
    page = browse("analyst", "/held")
    page.get_by_role("link", name="no row in tables/codes.csv").click()
    assert "XYZ" not in page.content()
    page.get_by_role("button", name="Show the codes").click()
    row = page.get_by_role("row").filter(has_text="XYZ")
    waiting = [int(one) for one in row.locator("td").nth(2).inner_text().split(", ")]
    assert len(waiting) == 2
    check_axe(page)
    row.get_by_label("becomes").fill("N0099-9")
    row.get_by_label("reason").fill("New analyser")
    row.get_by_role("button").click()
    page.wait_for_url("**/take-up/results")
    assert "line 16" in page.get_by_role("status").inner_text()
    page.get_by_label("Reason").fill("New analyser")
    page.get_by_role("button", name="Reload and release 2 messages").click()
    page.wait_for_url("**/held")
    assert "2 messages released." in page.get_by_role("status").inner_text()
    with console.store() as queries:
        found = [queries.message(MessageSeq(seq)) for seq in waiting]
    assert [one.state for one in found if one is not None] == ["processed", "processed"]
    assert (console.folder / "channels/results/tables/codes.csv").read_text().endswith("\nXYZ,N0099-9,\n")
    done = [row.action for row in console.audit() if row.actor.startswith("analyst ")]
    assert [one for one in done if one in ("read", "table-row", "reload", "release")][-4:] == [
        "read",
        "table-row",
        "reload",
        "release",
    ]


def test_a_table_is_searched_without_scripts_and_no_word_of_it_is_in_an_address(browse: "Browse"):
    page = browse("operator", "/tables", scripts=False)
    page.get_by_role("link", name="results/tables/codes.csv").click()
    page.get_by_label("Find in any column").fill("sodium")
    page.get_by_role("button", name="Find").click()
    assert page.get_by_text("1 row of").is_visible()
    assert "sodium" not in page.url.lower() and "search=" in page.url
    assert page.get_by_role("row").filter(has_text="Sodium").count() == 1


def test_who_may_not_read_sees_a_table_without_its_rows(browse: "Browse"):
    page = browse("viewer", "/tables/results?table=tables/codes.csv")
    assert page.get_by_text("The rows of a table are for those who may read").is_visible()
    assert "Sodium" not in page.content()
    for name in ("Find", "Show the codes", "Add"):
        assert page.get_by_role("button", name=name, exact=True).count() == 0
    check_axe(page)


def test_a_step_gets_a_status_by_hand_and_its_patient_is_masked_until_asked_for(console: "Console", browse: "Browse"):
    page = browse("operator", "/worklist?day=any&modality=CT")
    page.locator("tbody[data-rows] th a").last.click()
    step = re.sub("^Step ", "", page.get_by_role("heading", level=1).inner_text())
    name = page.get_by_role("row").filter(has_text="(0010,0010)").locator(".value")
    assert name.inner_text() == "•••••"
    page.get_by_role("button", name="Show the patient's data").click()
    assert "^" in name.inner_text()
    check_axe(page)
    page.get_by_label("Give it the status").select_option("ARRIVED")
    page.get_by_role("button", name="Set …").click()
    check_axe(page)
    page.get_by_label("Reason").fill("At the desk")
    page.get_by_role("button", name="Make it ARRIVED").click()
    assert "The step is ARRIVED now." in page.get_by_role("status").inner_text()
    assert name.inner_text() == "•••••", "a page later it is masked again"
    rows = [row for row in console.audit() if row.actor.startswith("operator ")][-2:]
    assert [(row.action, row.reason) for row in rows] == [("read", ""), ("set-status", "At the desk")]
    assert all(step in row.ids for row in rows)


def test_a_query_is_tried_and_its_answers_are_opened(console: "Console", browse: "Browse"):
    page = browse("operator", "/worklist/main/ask")
    page.get_by_label("Patient's name").fill("samp*")
    page.get_by_label("Modality").fill("CT")
    page.get_by_role("button", name="Ask").click()
    number = int(page.get_by_role("heading", name="answers").inner_text().split()[0])
    assert page.locator("section tbody[data-rows] tr").count() == min(number, 50) > 0
    assert "Sampleton" not in page.content() and "Without Modality" in page.content().replace("<code>", "").replace(
        "</code>", ""
    )
    page.locator("section details summary").first.click()
    assert page.get_by_text("(0040,0100)").first.is_visible()
    check_axe(page)
    (row,) = [row for row in console.audit() if row.action == "search" and "samp*" in (row.scope or "")]
    assert row.actor.startswith("operator ")
