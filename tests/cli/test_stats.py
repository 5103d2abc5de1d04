"""`segmill stats`: counts of files and of what a channel has stored."""

import json

import pytest


@pytest.fixture
def feed(tmp_path, adt):
    path = tmp_path / "feed.hl7"
    path.write_bytes(b"".join(adt(control_id=f"C{n}", sex="F" if n % 4 else "M") for n in range(8)))
    return path


def test_each_field_is_a_row_with_its_name(segmill, feed):
    said = segmill("stats", feed)
    assert said.code == 0
    (row,) = [line for line in said.out.splitlines() if line.startswith("PID-8 ")]
    assert "Administrative Sex" in row and "100%" in row and row.split()[-1] == "2"
    assert "8 messages: ADT^A01 8" in said.err


def test_a_place_shows_its_values_and_only_those_asked_for(segmill, feed):
    said = segmill("stats", feed, "PID-8")
    assert said.out.splitlines() == [
        "PID-8  in 8 of 8 messages (100%), 2 different",
        '  6   75.0%  "F"',
        '  2   25.0%  "M"',
    ]
    said = segmill("stats", feed, "MSH-10", "--top", "2")
    assert said.out.splitlines()[-1] == "  6   75.0%  others; --top shows more"


def test_without_a_place_no_value_is_shown(segmill, feed):
    said = segmill("stats", feed)
    assert "Testperson" not in said.out and "Testperson" not in segmill("stats", feed, "--json").out


def test_as_json(segmill, feed):
    rows = {row["field"]: row for row in map(json.loads, segmill("stats", feed, "--json").out.splitlines())}
    assert rows["PID-8"]["filled"] == 8 and rows["PID-8"]["different"] == 2
    place = segmill("stats", feed, "PID-8", "--json").json
    assert place["values"] == [{"value": "F", "count": 6}, {"value": "M", "count": 2}] and place["is_complete"]


def test_what_is_neither_file_nor_path_is_told(segmill, feed):
    assert "no path" in segmill("stats", feed, "PID8").err
    assert "whole segment" in segmill("stats", feed, "PID").err
    assert segmill("stats", feed.parent / "nowhere.hl7").code == 2
    assert segmill("stats").code == 2


def test_a_terminal_is_not_moved_by_a_value(segmill, tmp_path, adt):
    path = tmp_path / "x.hl7"
    path.write_bytes(adt(family="A\x1b[2J"))
    assert "\x1b[2J" not in segmill("stats", path, "PID-5.1").out


def test_what_a_channel_has_stored(segmill, module_site, adt):
    module_site.send("adt", adt(control_id="ST1"))
    module_site.settled()
    said = segmill("stats", "--channel", "adt", "MSH-10", "--site", module_site.folder)
    assert said.code == 0 and '"ST1"' in said.out
