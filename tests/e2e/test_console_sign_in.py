"""Signing in and out in a browser, and what every page has: banner, theme, keys, a way back."""

from typing import TYPE_CHECKING

import pytest

from tests.e2e.console_engine import PASSWORD

if TYPE_CHECKING:
    from tests.e2e.console_rig import Browse, Console

pytestmark = pytest.mark.xdist_group("console")


def test_who_is_not_signed_in_signs_in_and_comes_to_what_was_asked_for(console: "Console", browse: "Browse"):
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
    page.get_by_text("operator", exact=True).click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.goto("/password")
    assert "/sign-in" in page.url
    assert [row.action for row in console.audit()][-3:] == ["sign-in-failed", "sign-in", "sign-out"]
