"""Who is told of worklist steps: the setting, and its checks across the site."""

import pytest

from engine.config.finding import ConfigFinding
from engine.config.site import load_site
from engine.pipeline.registry import load_kinds
from engine.testing.sites import make_site

ORDERS = """\
listen: {mllp: {port: 2575, host: 127.0.0.1}}
accept: ['ORM^O01']
routes: [{to: modalities}, {to: ris}, {to: self}]
destinations:
  modalities: {worklist: {station: [{when: {Modality: CT}, ae: [CT1]}]}}
  ris: {mllp: {host: ris.local, port: 6661}}
  self: {mllp: {host: localhost, port: 2575}}
"""
BROKEN = "listen: {mllp: {port: 2576}}\naccept: ['ADT^*']\nroutes: [{to: nobody}]\ndestinations: {x: {file: {}}}\n"


def found(folder, status: str, more: str = "") -> list[ConfigFinding]:
    site = make_site(folder / "site", {"orders": ORDERS, "broken": BROKEN}, f"dicom:\n  {more}status: {status}\n")
    return [one for one in load_site(site, load_kinds(), {}).findings if one.file == "segmill.yaml"]


@pytest.mark.parametrize(
    ("status", "code", "column", "length", "words"),
    [
        ("{to: orders/rsi}", "E448", 23, 3, "channel orders has no destination 'rsi'"),
        ("{to: ordres/ris}", "E448", 16, 6, "no channel is named 'ordres'"),
        ("{to: orders/modalities}", "E449", 23, 10, "is a worklist"),
        ("{to: orders/self}", "E449", 23, 4, "feeds the worklist that it is about"),
        ("{to: ris}", "E107", 16, 3, "'ris' is no destination"),
        ("{to: a/b/c}", "E107", 16, 5, "'a/b/c' is no destination"),
        ("{to: orders/ris, tell: [IP, IP]}", "E107", None, None, "names one twice"),
        ("{to: orders/ris, tell: []}", "E106", None, None, ""),
        ("{to: orders/ris, tell: [XX]}", "E105", None, None, ""),
        ("{to: orders/ris, message: ORU^R01}", "E105", None, None, ""),
        ("{message: OMG^O19}", "E103", None, None, "to"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(
    tmp_path, status: str, code: str, column: int | None, length: int | None, words: str
) -> None:
    (finding,) = found(tmp_path, status)
    assert finding.code == code, finding
    assert words in finding.message
    if column is not None:
        assert (finding.line, finding.column, finding.length) == (2, column, length)


def test_a_name_that_is_nearly_right_is_offered(tmp_path) -> None:
    (finding,) = found(tmp_path, "{to: orders/rsi}")
    assert "ris" in finding.hint
    (finding,) = found(tmp_path, "{to: ordres/ris}")
    assert "orders" in finding.hint


@pytest.mark.parametrize(
    "status", ["{to: orders/ris}", "{to: orders/ris, message: OMI^O23, tell: [IP, CM, DC, CA, SC]}"]
)
def test_a_destination_that_is_there_will_do(tmp_path, status: str) -> None:
    assert found(tmp_path, status) == []


def test_of_a_channel_with_errors_nothing_more_is_said(tmp_path) -> None:
    assert found(tmp_path, "{to: broken/nobody}") == []


def test_a_destination_that_is_told_alone_needs_no_route(tmp_path) -> None:
    """W141 is for destinations that nothing goes to."""
    alone = ORDERS.replace(", {to: ris}, {to: self}", "")
    for status, needless in (("{to: orders/ris}", ["self"]), ("{to: orders/self, tell: [CM]}", ["ris"])):
        site = make_site(tmp_path / needless[0], {"orders": alone}, f"dicom: {{worklist: other, status: {status}}}\n")
        findings = [one for one in load_site(site, load_kinds(), {}).findings if one.code == "W141"]
        assert [one.message for one in findings] == [f"no route goes to '{name}'" for name in needless]


def test_a_channel_that_feeds_another_worklist_brings_nothing_back(tmp_path) -> None:
    # Nor is it said that nobody feeds the worklist that scanners ask for: the broken channel may.
    assert found(tmp_path, "{to: orders/self}", "worklist: other\n  ") == []
