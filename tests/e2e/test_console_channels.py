"""Channels, plan and reload in a browser."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.console_rig import Browse, Console


@pytest.fixture
def edited(console: "Console") -> Iterator[Callable[[], object]]:
    """adt says something else on disk; afterwards, and when this is called, it is as it was."""
    path = console.folder / "channels" / "adt" / "channel.yaml"
    before = path.read_text()
    path.write_text(before.replace("otherwise: default(U)", "otherwise: keep"))
    yield lambda: path.write_text(before)
    path.write_text(before)


@pytest.fixture
def broken(console: "Console") -> Iterator[None]:
    path = console.folder / "channels" / "adt" / "channel.yaml"
    before = path.read_text()
    path.write_text(before.replace("  - copy:", "  - copi:"))
    yield
    path.write_text(before)


@pytest.mark.parametrize(
    ("name", "path"),
    [("channels", "/channels"), ("channel", "/channels/adt"), ("channel-ways", "/channels/adt?view=ways")],
)
def test_pages_look_right(browse: "Browse", name: str, path: str):
    from tests.e2e.console_rig import check_looks

    check_looks(browse, name, path, "analyst")


def test_a_finding_stands_at_its_line_and_a_reload_is_refused(browse: "Browse", broken: None):
    from tests.e2e.console_rig import check_here

    page = browse("analyst", "/channels/adt")
    check_here(page, "channel-broken")
    finding = page.locator(".listing .finding")
    assert "E102" in finding.inner_text() and "did you mean 'copy'?" in finding.inner_text()
    line = page.locator(".listing .marked .at")
    line.click()
    assert page.url.endswith(f"#L{line.inner_text()}")
    page.get_by_role("link", name="Plan and reload").click()
    assert "Refused" in page.get_by_role("alert").inner_text()
    assert page.get_by_role("button", name="Reload").count() == 0
    check_here(page, "reload-refused")


def test_a_change_is_planned_and_taken_up(console: "Console", browse: "Browse", edited: Callable[[], object]):
    from tests.e2e.console_rig import check_here

    page = browse("analyst", "/channels")
    page.get_by_role("row", name="adt").get_by_role("link", name="changed").click()
    assert page.locator(".listing .new").count() == 1
    check_here(page, "channel-difference")
    page.get_by_role("link", name="Plan and reload").click()
    check_here(page, "reload")
    page.get_by_label("Reason").fill("ticket 4711")
    page.get_by_role("button", name="Reload").click()
    assert "Changed: 1 channel" in page.get_by_role("status").inner_text()
    row = [row for row in console.audit() if row.action == "reload"][-1]
    assert (row.actor.split()[0], row.reason) == ("analyst", "ticket 4711")
    edited()
    page.goto("/reload")
    page.get_by_label("Reason").fill("as it was")
    page.get_by_role("button", name="Reload").click()
    assert "Changed: 1 channel" in page.get_by_role("status").inner_text()


def test_cases_are_run(console: "Console", browse: "Browse"):
    from tests.e2e.console_rig import check_here

    case = console.folder / "channels" / "adt" / "cases" / "unknown-ward"
    case.mkdir(parents=True, exist_ok=True)
    (case / "in.hl7").write_text("MSH|^~\\&|HIS|N|S|N|20260101||ADT^A01|X1|P|2.5\nPID|1||1^^^N^MR||A^B\nPV1|1|I|NONE\n")
    page = browse("analyst", "/channels/adt?view=cases")
    page.get_by_role("button", name=re.compile("^Run all")).click()
    assert "failed" in page.get_by_role("status").inner_text()
    assert page.locator(".differences li").count() >= 1
    check_here(page, "channel-cases")
