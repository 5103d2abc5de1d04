"""Code tables as they stand in the files, beside what the engine runs with."""

import pytest

from engine.adapters.console.code_tables import (
    files_of,
    rows_page,
    table_of,
    tables_of,
    tables_on_disk,
    uses_of_table,
)
from engine.config.site import load_site
from engine.pipeline.registry import load_kinds
from engine.testing.sites import make_site

CHANNEL = """
listen: {mllp: {port: 0}}
accept: ["*"]
steps:
  - map: {PV1-3.1: tables/wards.csv, otherwise: hold}
routes: [{to: out}]
destinations:
  out: {file: {folder: out, name: "{MSH-10}.hl7"}}
"""
WARDS = "from,to\n# west\nW1,1\n\nW2,2\n"


@pytest.fixture
def site(tmp_path):

    return make_site(tmp_path / "site", {"adt": {"channel.yaml": CHANNEL, "tables/wards.csv": WARDS}}, "admin: off\n")


@pytest.fixture
def channel(site):
    loaded = load_site(site, load_kinds(), {})
    assert loaded.is_valid, loaded.findings
    return loaded.channels[0]


def test_a_table_is_told_as_it_runs_as_changed_as_gone_and_as_not_used(site, channel):
    (one,) = tables_of(site, channel)
    assert (one.name, one.state, one.rows, one.columns) == ("tables/wards.csv", "as running", 2, ("from", "to"))
    assert one.takes_rows
    wards = site / "channels/adt/tables/wards.csv"
    wards.write_text(WARDS + "W3,3\n")
    (site / "channels/adt/tables/more.csv").write_text("a,b\n")
    (site / "channels/adt/cases/x").mkdir(parents=True)
    (site / "channels/adt/cases/x/rows.csv").write_text("a,b\n")
    assert [(t.name, t.state, t.rows) for t in tables_of(site, channel)] == [
        ("tables/more.csv", "not used", 0),
        ("tables/wards.csv", "changed", 3),
    ]
    wards.unlink()
    gone = table_of(site, channel, "tables/wards.csv")
    assert (gone.table.state, gone.table.takes_rows, gone.table.rows) == ("gone", False, 2)


def test_rows_that_the_engine_does_not_have_yet_are_new(site, channel):
    (site / "channels/adt/tables/wards.csv").write_text(WARDS + "W3,3\n")
    found = rows_page(table_of(site, channel, "tables/wards.csv"), 0, 10)
    assert [(row.line, row.key, row.value, row.is_new) for row in found.rows] == [
        (3, "W1", "1", False),
        (5, "W2", "2", False),
        (6, "W3", "3", True),
    ]


def test_fifty_thousand_rows_are_paged_by_line_and_searched(site, channel):
    lines = "".join(f"C{n:05},Value {n}\n" for n in range(50_000))
    (site / "channels/adt/tables/wards.csv").write_text("from,to\n" + lines)
    file = table_of(site, channel, "tables/wards.csv")
    first = rows_page(file, 0, 200)
    assert (len(first.rows), first.total, first.after, first.matched) == (200, 50_000, 201, None)
    second = rows_page(file, first.after, 200)
    assert second.rows[0].key == "C00200"
    found = rows_page(file, 0, 200, "vALUE 4999")
    assert (found.matched, found.rows[0].key, found.after) == (11, "C04999", None)
    assert rows_page(file, 50_000, 200).after is None


def test_dates_directions_and_the_default_row_are_told(site, channel):
    text = 'from,to,remark,valid_from,valid_to,direction\nA,1,one,2026-01-01,,there\n*,9,,,,there\n"*",8,,,,both\n'
    (site / "channels/adt/tables/wards.csv").write_text(text)
    file = table_of(site, channel, "tables/wards.csv")
    assert file.table.is_dated and file.table.has_direction and not file.table.takes_rows
    found = rows_page(file, 0, 10)
    assert found.others == ("remark",)
    first, default, star = found.rows
    assert (first.others, first.since, first.until, first.direction) == (("one",), "2026-01-01", "", "there")
    assert (default.is_default, star.is_default) == (True, False)


def test_what_is_wrong_with_a_table_is_told_with_its_line(site, channel):
    (site / "channels/adt/tables/wards.csv").write_text("from,to\nA,1\nA,2\n")
    (finding,) = rows_page(table_of(site, channel, "tables/wards.csv"), 0, 10).findings
    assert (finding[0], finding[2]) == (3, "E153")
    assert tables_on_disk(site, [("adt", "tables/wards.csv")]) == {}


def test_a_link_out_of_the_site_is_none_and_one_within_it_takes_no_rows_here(site, channel, tmp_path):
    outside = tmp_path / "outside.csv"
    outside.write_text("a,b\n")
    (site / "channels/adt/tables/outside.csv").symlink_to(outside)
    (site / "shared.csv").write_text("a,b\n")
    (site / "channels/adt/tables/shared.csv").symlink_to(site / "shared.csv")
    assert sorted(files_of(site, "adt")) == ["tables/shared.csv", "tables/wards.csv"]
    shared = table_of(site, channel, "tables/shared.csv")
    assert shared.table.is_shared and not shared.table.takes_rows


def test_which_steps_use_it_is_told_with_their_line(channel):
    uses = uses_of_table(channel, "tables/wards.csv")
    assert [(use.where, use.line) for use in uses] == [("steps 1", 5)]
    assert uses_of_table(channel, "tables/none.csv") == []


def test_the_rows_on_disk_answer_also_on_the_way_back(site):
    found = tables_on_disk(site, [("adt", "tables/wards.csv (back)"), ("adt", "tables/none.csv")])
    assert found["adt", "tables/wards.csv"].lookup("W1").value == "1"
    assert list(found) == [("adt", "tables/wards.csv")]
