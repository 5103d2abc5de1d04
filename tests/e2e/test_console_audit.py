"""The audit, users and tokens in a browser."""

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.console_rig import Browse, Console


@pytest.mark.parametrize(
    ("name", "path"),
    [("audit", "/audit"), ("users", "/users"), ("user", "/users/operator")],
)
def test_pages_look_right(browse: "Browse", name: str, path: str):
    from tests.e2e.console_rig import check_looks

    check_looks(browse, name, path)


def test_the_audit_is_narrowed_and_exported(console: "Console", browse: "Browse"):
    page = browse("admin", "/audit")
    page.get_by_label("Action").fill("user-add")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url("**/audit?*action=user-add*")
    rows = page.locator("table.audit tbody tr")
    assert rows.count() >= 5
    assert set(rows.locator("td:nth-child(4)").all_inner_texts()) == {"user-add"}
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert download.value.suggested_filename == "audit.csv"
    page.get_by_role("button", name="Show what was asked for").click()
    page.get_by_role("columnheader", name="Asked for").wait_for()
    assert [row.action for row in console.audit()][-2:] == ["export", "read"]


def test_whether_the_record_is_whole_is_looked_at(browse: "Browse"):
    from tests.e2e.console_rig import check_here

    page = browse("admin", "/audit")
    page.get_by_role("link", name="Look whether it is whole").click()
    assert "The record is whole" in page.get_by_role("status").inner_text()
    check_here(page, "audit-verify")


def test_a_user_is_added_changed_and_disabled(console: "Console", browse: "Browse"):
    page = browse("admin", "/users")
    form = page.locator("form[action='/users']")
    form.get_by_label("Name").fill("nina")
    form.get_by_label("Channel 1").fill("adt")
    form.get_by_label("Role 1").select_option("operator")
    form.get_by_role("button", name="Add").click()
    password = page.locator(".secret code").inner_text()
    page.get_by_role("link", name="Done").click()
    assert password not in page.content()
    page.get_by_role("link", name="nina", exact=True).click()
    page.get_by_role("button", name="Disable nina").click()
    row = page.get_by_role("row", name=re.compile("^nina"))
    assert "disabled" in row.inner_text()
    with console.store() as queries:
        user = queries.user("nina")
        assert user is not None and user.is_disabled and dict(user.grants) == {"adt": "operator"}
    about_nina = [row.action for row in console.audit() if row.ids.startswith("user nina")]
    assert about_nina == ["user-add", "user-disable"]


def test_a_token_is_made_and_revoked(console: "Console", browse: "Browse"):
    page = browse("admin", "/users")
    form = page.locator("form[action='/tokens']")
    form.get_by_label("Name").fill("monitoring")
    form.get_by_label("Role 1").select_option("viewer")
    form.get_by_role("button", name="Make it").click()
    assert page.locator(".secret code").inner_text().startswith("segmill_")
    page.get_by_role("link", name="Done").click()
    page.get_by_role("button", name="Revoke monitoring").click()
    assert "opens nothing any more" in page.get_by_role("status").inner_text()
    with console.store() as queries:
        assert [one.is_revoked for one in queries.tokens() if one.name == "monitoring"] == [True]
