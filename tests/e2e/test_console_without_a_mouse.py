"""With the keyboard alone: each control is reached, is seen where the focus is, and what was done is read out.

The last of these files, as it adds a row and sends messages of its own.
"""

from typing import TYPE_CHECKING

from engine.model.ids import MessageSeq
from engine.testing.messages import adt

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.e2e.console_rig import Browse, Console

MOST_TABS = 120
NAME = """() => {
    const here = document.activeElement;
    const labels = [...(here.labels ?? [])].map((label) => label.innerText);
    return [here.getAttribute("aria-label") ?? "", ...labels, here.innerText ?? ""].filter(Boolean)[0] ?? "";
}"""
IS_SEEN = """() => {
    const here = document.activeElement;
    const box = here.getBoundingClientRect();
    const outlined = [here, here.closest(".editor")].filter(Boolean).some((one) => {
        const look = getComputedStyle(one);
        return (look.outlineStyle !== "none" && parseFloat(look.outlineWidth) > 0) || look.boxShadow !== "none";
    });
    return outlined && box.bottom > 0 && box.top < innerHeight;
}"""


def tab_to(page: "Page", name: str) -> int:
    """Press Tab until the focus is on what is called so; how often that took."""
    for pressed in range(1, MOST_TABS + 1):
        page.keyboard.press("Tab")
        if str(page.evaluate(NAME)).strip().startswith(name):
            assert page.evaluate(IS_SEEN), f"the focus on {name} does not show"
            return pressed
    raise AssertionError(f"{name} is not reached by Tab")


def press_and_come_to(page: "Page", path: str) -> None:
    with page.expect_navigation(url=lambda url: path in url):
        page.keyboard.press("Enter")
    page.wait_for_load_state("load")


def said(page: "Page") -> str:
    """What was done, where the focus is: so that it is read out."""
    page.locator("[data-told]:focus").wait_for()
    return page.locator("[data-told]").inner_text()


def test_a_held_message_is_mended_and_released(console: "Console", browse: "Browse"):
    report = console.send("adt", adt(ward="KEYS1", control_id="KEYS1"))
    assert report.is_clean
    page = browse("analyst", "/held")
    tab_to(page, "E214: no row in tables/wards.csv")
    press_and_come_to(page, "/held/adt/")
    tab_to(page, "Show the codes")
    press_and_come_to(page, "/codes")
    assert "KEYS1" in page.locator("tbody[data-rows]").first.inner_text()
    # The way on begins where the codes are, not at the top of the page.
    assert tab_to(page, "becomes") <= 4
    page.keyboard.type("K01")
    tab_to(page, "Add the row for KEYS1")
    press_and_come_to(page, "/take-up/adt")
    assert "The row is in channels/adt/tables/wards.csv" in said(page)
    tab_to(page, "Reload and release 1 message")
    press_and_come_to(page, "/held")
    assert "1 message released." in said(page)
    with console.store() as queries:
        found = next(one for one in queries.messages() if one.control_id == "KEYS1")
        assert found.state == "processed"


def test_a_message_is_found_opened_and_resent(console: "Console", browse: "Browse"):
    page = browse("operator", "/messages?channel=adt&state=processed")
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.hasAttribute('data-search')")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    seq = int(str(page.evaluate(NAME)))
    assert page.evaluate(IS_SEEN)
    press_and_come_to(page, f"/messages/{seq}")
    with console.store() as queries:
        before = len(queries.deliveries(MessageSeq(seq)))
    tab_to(page, "Resend")
    press_and_come_to(page, "/messages/plan")
    tab_to(page, "Resend 1 message")
    press_and_come_to(page, f"/messages/{seq}")
    assert "resent" in said(page).lower() or "resend" in said(page).lower()
    with console.store() as queries:
        assert len(queries.deliveries(MessageSeq(seq))) > before


def test_the_focus_shows_on_all_that_tab_reaches(browse: "Browse"):
    for path in ("/", "/messages", "/queues", "/try/adt"):
        page = browse("analyst", path)
        for number in range(25):
            page.keyboard.press("Escape")
            page.keyboard.press("Tab")
            if page.evaluate("() => document.activeElement === document.body"):
                break
            assert page.evaluate(IS_SEEN), (path, number, page.evaluate("() => document.activeElement.outerHTML")[:200])
