"""Saved searches, what scanners asked, support bundles, the way back in lists, and forms for password managers."""

import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.e2e.console_rig import Browse, Console


@pytest.mark.parametrize(
    ("name", "path", "user"),
    [
        ("scanners-asked", "/worklist/asked", "admin"),
        ("support", "/system/support", "admin"),
        ("saved-searches-none", "/messages/searches", "viewer"),
        ("password", "/password", "viewer"),
        ("queue-second-page", "/queues/orders/ris", "operator"),
    ],
)
def test_looks(browse: "Browse", name: str, path: str, user: str):
    from tests.e2e.console_rig import check_looks

    check_looks(browse, name, path, user)


def save(page: "Page", q: str, name: str, *, shared: bool = False) -> None:
    page.goto("/messages")
    page.get_by_label("Search", exact=True).fill(q)
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("Save this search").click()
    form = page.locator("form[action='/messages/searches']")
    form.get_by_label("Name").fill(name)
    if shared:
        form.get_by_label("for all").check()
    form.get_by_role("button", name="Save").click()
    assert f"Saved as {name}." in page.get_by_role("status").first.inner_text()


def actions(console: "Console", user: str) -> list[tuple[str, str]]:
    return [(row.action, row.scope) for row in console.audit() if row.actor.startswith(f"{user} ")]


def test_a_search_is_saved_opened_by_its_chip_renamed_and_dropped(console: "Console", browse: "Browse"):
    from tests.e2e.console_rig import check_here, check_looks

    page = browse("analyst", "/messages")
    save(page, "channel:results state:held", "Held results", shared=True)
    save(page, "OBX-8=HH channel:results", "Alarming results")
    chips = page.get_by_role("list", name="Saved searches")
    assert chips.get_by_role("listitem").all_inner_texts() == ["Alarming results", "Held results", "Change these"]
    check_here(page, "messages-saved")
    check_looks(browse, "saved-searches", "/messages/searches", "analyst")
    chips.get_by_role("link", name="Alarming results").click()
    page.wait_for_url("**/messages?search=*")
    assert "HH" not in page.url and page.get_by_label("Search", exact=True).input_value() == "OBX-8=HH channel:results"
    chips.get_by_role("link", name="Held results").click()
    page.wait_for_url("**/messages?channel=results&state=held")
    # Others have what is for all, and nothing else.
    other = browse("viewer", "/messages")
    assert other.get_by_role("list", name="Saved searches").get_by_role("listitem").all_inner_texts() == [
        "Held results",
        "Change these",
    ]
    chips.get_by_role("link", name="Change these").click()
    row = page.get_by_role("row").filter(has_text="Alarming results")
    assert "OBX-8" not in row.inner_text()
    row.locator("summary").click()
    row.get_by_label("Name").fill("Alarms")
    check_here(page, "saved-searches-change")
    row.get_by_role("button", name="Save").click()
    assert "It is Alarms now, for you." in page.get_by_role("status").first.inner_text()
    for name in ("Alarms", "Held results"):
        row = page.get_by_role("row").filter(has_text=name)
        row.locator("summary").click()
        row.get_by_role("button", name=f"Drop {name}").click()
        assert f"{name} is dropped." in page.get_by_role("status").first.inner_text()
    assert page.get_by_text("No search is saved.").is_visible()
    with console.store() as queries:
        assert queries.saved_searches("analyst") == []
    done = [one for one in actions(console, "analyst") if one[0].startswith("search")]
    assert [action for action, _ in done] == [
        "search-save",
        "search",
        "search-save",
        "search",
        "search",
        "search-change",
        "search-drop",
        "search-drop",
    ]
    assert done[2][1] == "Alarming results: OBX-8=HH channel:results"


def test_what_scanners_asked_is_narrowed_to_those_that_got_nothing(browse: "Browse"):
    page = browse("viewer", "/worklist")
    page.get_by_role("link", name="What scanners asked").click()
    rows = page.locator("tbody[data-rows] tr")
    assert rows.count() == 4 and "900001" not in page.content()
    page.get_by_label("That got").select_option("nothing")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**got=nothing")
    assert rows.count() == 2 and "41 without PatientID" in rows.filter(has_text="MR2").inner_text()
    assert "<b>XR3</b>" in rows.filter(has_text="not understood").inner_text()


def test_a_support_bundle_is_made_and_downloaded(console: "Console", browse: "Browse", tmp_path: "Path"):
    from tests.e2e.console_rig import check_here, check_looks

    page = browse("admin", "/system")
    page.get_by_role("link", name="Support bundle").click()
    page.get_by_role("button", name="Make a support bundle").click()
    button = page.get_by_role("button", name="Download")
    button.wait_for()  # the page looks by itself
    check_here(page, "support-made")
    check_looks(browse, "support-ready", "/system/support")
    with page.expect_download() as waiting:
        button.click()
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    with zipfile.ZipFile(file) as bundle:
        names = bundle.namelist()
        text = b"".join(bundle.read(name) for name in names)
    assert "segmill-support/doctor.json" in names and b"Testperson" not in text and b"900001" not in text
    done = [(row.action, row.ids) for row in console.audit() if row.actor.startswith("admin ")]
    assert done[-2:] == [("support-bundle", "a support bundle"), ("export", "a support bundle")]


def test_without_scripts_one_looks_again(browse: "Browse"):
    page = browse("admin", "/system/support", scripts=False)
    page.get_by_role("button", name="Make a").click()
    again, download = page.get_by_role("link", name="Look again"), page.get_by_role("button", name="Download")
    # The page that answers a click may not be here yet: then there is neither of them.
    while not download.is_visible():
        again.or_(download).first.wait_for()
        if again.count():
            again.click()
    assert not again.count()


def test_lists_go_back_page_by_page(browse: "Browse"):
    from tests.e2e.console_rig import check_here

    page = browse("operator", "/queues/orders/ris")
    numbers = page.locator("tbody[data-rows] th a")
    first = numbers.all_inner_texts()
    pager = page.get_by_role("navigation", name="Pages of the list")
    assert pager.get_by_role("link", name="Previous 50").count() == 0
    pager.get_by_role("link", name="Next 50").click()
    second = numbers.all_inner_texts()
    pager.get_by_role("link", name="Next 50").click()
    assert not set(numbers.all_inner_texts()) & {*first, *second}
    check_here(page, "queue-third-page")
    pager.get_by_role("link", name="Previous 50").click()
    assert numbers.all_inner_texts() == second
    pager.get_by_role("link", name="Previous 50").click()
    assert numbers.all_inner_texts() == first


def test_password_managers_find_the_user_of_a_password(browse: "Browse"):
    for path in ("/password", "/one-time-codes"):
        page = browse("viewer", path)
        user = page.locator("form input[autocomplete='username']")
        assert user.input_value() == "viewer" and user.get_attribute("type") == "text"
        assert user.get_attribute("name") is None, "it is not sent"
        page.get_by_label("Password", exact=False).first.focus()
        page.keyboard.press("Shift+Tab")
        assert page.evaluate("() => document.activeElement.autocomplete") != "username", "keys pass it by"
    kinds = browse("viewer", "/password").locator("form input[type='password']")
    assert [one.get_attribute("autocomplete") for one in kinds.all()] == [
        "current-password",
        "new-password",
        "new-password",
    ]


def test_on_paper_a_list_fits_and_nothing_is_to_be_pressed_but_each_field_has_its_path(browse: "Browse"):
    from tests.e2e.console_rig import overflow_of

    page = browse("admin", "/messages")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 760, "height": 1000})  # A4 with its margins, and a little less
    for path in ("/messages", "/messages?state=held", "/queues", "/queues/orders/ris", "/held", "/audit", "/system"):
        page.goto(path)
        assert overflow_of(page) <= 0, path
        assert page.locator("button:visible, a.button:visible, td input:visible").count() == 0, path
    page.goto("/messages/9001")
    assert page.get_by_text("MSH-10", exact=True).first.is_visible()
