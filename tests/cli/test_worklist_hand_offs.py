"""`segmill worklist hand-offs`: how those stand who get the steps of worklists."""

import pytest

from engine.testing.sites import make_site
from tests.cli.conftest import RunningSite
from tests.cli.test_worklist import CHANNEL, order
from tests.faults.test_operation_kills import until

SITE = """\
admin: off
hand_offs:
  wlm: {folder: {path: worklist, titles: [SEGMILL]}}
  orthanc: {orthanc: {url: 'http://127.0.0.1:1'}}
"""


@pytest.fixture(scope="module")
def handing(tmp_path_factory):
    """A folder that is written, and an Orthanc that is not there."""
    started = RunningSite(make_site(tmp_path_factory.mktemp("hand-offs"), {"orders": CHANNEL}, SITE))
    started.send("orders", order(1), order(2))
    until(lambda: len(list((started.folder / "worklist" / "SEGMILL").glob("*.wl"))) == 2)
    yield started
    started.stop()


def test_each_is_shown_with_its_state_and_one_that_is_down_ends_with_1(segmill, handing):
    def said():
        return segmill("worklist", "hand-offs", "--json", "--site", handing.folder).lines

    until(lambda: [(one["name"], one["waiting"]) for one in said()] == [("orthanc", 2), ("wlm", 0)])
    orthanc, wlm = said()
    assert (wlm["kind"], wlm["state"], wlm["handed"], wlm["refused"], wlm["why"]) == ("folder", "up", 2, 0, "")
    assert (orthanc["kind"], orthanc["state"], orthanc["handed"]) == ("orthanc", "down", 0)
    assert orthanc["why"].startswith("no connection") and orthanc["oldest_us"] > 0 and orthanc["since"]
    shown = segmill("worklist", "hand-offs", "--site", handing.folder)
    assert shown.code == 1
    title, *rows = shown.out.splitlines()
    assert title.split()[:4] == ["hand-off", "to", "worklist", "state"]
    assert "no connection" in rows[0] and "up" in rows[1]


def test_no_engine_is_told(segmill, tmp_path):
    site = make_site(tmp_path / "site", {"orders": CHANNEL}, SITE)
    said = segmill("worklist", "hand-offs", "--site", site)
    assert said.code == 69
