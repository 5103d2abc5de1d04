"""Signing in and out in a browser, and what every page has: banner, theme, keys, a way back."""

import base64
import time
from typing import TYPE_CHECKING

from engine.model.totp import code_at, step_of
from tests.e2e.console_engine import PASSWORD

if TYPE_CHECKING:
    from tests.e2e.console_rig import Browse, Console


def test_who_is_not_signed_in_signs_in_comes_to_what_was_asked_for_and_signs_out(console: "Console", browse: "Browse"):
    page = browse(None, "/password")
    assert page.url.endswith("/sign-in?next=/password")
    assert page.get_by_role("note", name="Environment").inner_text().strip().lower() == "test"
    browse.allow(401)
    page.get_by_label("User").fill("operator")
    page.get_by_label("Password").fill("not this one")
    page.get_by_role("button", name="Sign in").click()
    assert "wrong" in page.get_by_role("alert").inner_text()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/password")
    page.locator("details.menu summary").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.goto("/password")
    assert "/sign-in" in page.url
    actions = [row.action for row in console.audit() if row.action.startswith("sign-") and "operator" in str(row)]
    assert actions[-2:] == ["sign-in", "sign-out"]


def test_the_password_is_changed_on_its_page_and_the_audit_has_it(console: "Console", browse: "Browse"):
    page = browse("adt-viewer", "/password")
    browse.allow(422)
    page.get_by_label("Password until now").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill(PASSWORD + "!")
    page.get_by_label("New password again").fill("something else altogether")
    page.get_by_role("button", name="Set it").click()
    assert "twice alike" in page.get_by_role("alert").inner_text()
    for label, text in (
        ("Password until now", PASSWORD),
        ("New password", PASSWORD + "!"),
        ("New password again", PASSWORD + "!"),
    ):
        page.get_by_label(label, exact=True).fill(text)
    page.get_by_role("button", name="Set it").click()
    page.get_by_role("status").filter(has_text="Your password was changed").wait_for()
    assert "password" in [row.action for row in console.audit() if row.actor.startswith("adt-viewer ")]


def test_one_time_codes_are_set_up_asked_for_and_taken_off(console: "Console", browse: "Browse"):
    from tests.e2e.console_rig import check_here

    page = browse("viewer", "/")
    browse.allow(401)
    page.locator("details.menu summary").click()
    page.get_by_role("link", name="One-time codes").click()
    page.get_by_label("Password").fill(PASSWORD)
    check_here(page, "one-time-codes-off-light")
    page.get_by_role("button", name="Go on").click()
    text = page.locator("#secret").inner_text().replace(" ", "")
    secret = base64.b32decode(text + "=" * (-len(text) % 8))
    assert f"secret={text}" in page.locator("#uri").inner_text()
    check_here(page, "one-time-codes-secret-light")
    page.get_by_label("Code that the app shows now").fill(code_at(secret, step_of(time.time())))
    page.get_by_role("button", name="Set up").click()
    codes = page.get_by_role("list", name="Recovery codes").get_by_role("listitem").all_inner_texts()
    assert len(set(codes)) == 10
    check_here(page, "one-time-codes-recovery-light")
    page.get_by_role("link", name="I have kept them").click()
    page.get_by_text("Recovery codes left: 10").wait_for()
    check_here(page, "one-time-codes-on-light")

    again = browse(None, "/sign-in")
    code = again.get_by_label("Code that the app shows now")
    assert not code.is_visible()
    again.get_by_label("User").fill("viewer")
    again.get_by_label("Password").fill(PASSWORD)
    again.get_by_role("button", name="Sign in").click()
    assert "with the code" in again.get_by_role("alert").inner_text()
    assert code.is_visible(), "the password was right, and a code is asked for"
    check_here(again, "sign-in-with-a-code-light")
    again.get_by_label("Password").fill(PASSWORD)
    code.fill(codes[0])
    again.get_by_role("button", name="Sign in").click()
    again.get_by_role("heading", name="Overview").wait_for()

    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("recovery code").fill(codes[1])
    page.get_by_role("button", name="Turn off").click()
    page.get_by_role("status").filter(has_text="no one-time code any more").wait_for()
    done = [row.action for row in console.audit() if row.actor.startswith("viewer ") and "second" in row.action]
    assert done == ["second-factor-begin", "second-factor-on", "second-factor-off"]


def test_the_theme_is_changed_by_its_button_and_stays(browse: "Browse"):
    page = browse("viewer", "/map?q=adt")
    ground = "() => getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme: auto").click()
    page.locator('html[data-theme="dark"]').wait_for()
    assert page.url.endswith("/map?q=adt"), "it leads back to where it was"
    assert page.evaluate(ground) != light
    page.goto("/")
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_keys_lead_about_and_are_shown(browse: "Browse"):
    page = browse("viewer", "/")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    dialog.wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    page.keyboard.press("g")
    page.keyboard.press("p")
    page.wait_for_url("**/map")
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.name") == "q"
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator("[data-rows] > tr.here").count() == 1
    assert page.evaluate("() => document.activeElement.closest('tr').classList.contains('here')")
    page.keyboard.press("Tab")
    page.goto("/worklist")
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.name") == "day"
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "skip"


def test_all_of_it_works_without_scripts(browse: "Browse"):
    page = browse("viewer", "/", scripts=False)
    assert page.locator("table.overview tbody tr").count() == 3
    page.locator("details.menu summary").click()
    page.get_by_role("link", name="Documentation").click()
    page.get_by_label("Search the documentation").fill("order_by lanes")
    page.get_by_role("button", name="Search").click()
    page.locator(".hits a").first.click()
    assert page.url.split("#")[0].endswith(tuple("abcdefghijklmnopqrstuvwxyz"))
    assert page.locator("article h1").count() == 1


def test_sign_in_password_and_refusals_look_right(browse: "Browse"):
    from tests.e2e.console_rig import check_looks, findings_of_axe, shoot

    check_looks(browse, "password", "/password")
    check_looks(browse, "one-time-codes", "/one-time-codes")
    page = browse(None, "/sign-in")
    assert findings_of_axe(page) == []
    shoot(page, "sign-in-light")
    browse.allow(404)
    page.goto("/no-such-page")
    assert findings_of_axe(page) == []
    shoot(page, "refused-light")
    page.get_by_role("link", name="To the overview").click()
    page.wait_for_url("**/sign-in")
