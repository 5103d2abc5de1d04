"""`segmill tables`: the work list of missing codes, a row that is added, and what then goes on."""

import pytest

from engine.testing import messages


def wards(folder):
    return folder / "channels" / "adt" / "tables" / "wards.csv"


@pytest.fixture
def waiting(running):
    """Two messages wait for NEW7, one for NEW8, and one went through."""
    sent = (("H1", "NEW7"), ("H2", "3W"), ("H3", "NEW8"), ("H4", "NEW7"))
    running.send("adt", *(messages.adt(control_id=name, ward=ward) for name, ward in sent))
    running.settled()
    return running


def test_the_work_list_is_by_table_and_code_the_most_frequent_first(segmill, waiting):
    said = segmill("tables", "misses", "--site", waiting.folder)
    assert said.code == 1
    rows = [line.split() for line in said.out.splitlines()[1:]]
    assert rows == [
        ["adt/tables/wards.csv", '"NEW7"', "2", "1,", "4"],
        ["adt/tables/wards.csv", '"NEW8"', "1", "3"],
    ]
    assert "2 codes are missing, 3 messages wait" in said.err


def test_that_somebody_looked_is_on_record(segmill, waiting):
    found = segmill("tables", "misses", "--json", "--site", waiting.folder).lines
    assert [(one["key"], one["messages"]) for one in found] == [("NEW7", [1, 4]), ("NEW8", [3])]
    (row,) = segmill("audit", "--action", "read", "--json", "--site", waiting.folder).lines
    assert row["ids"] == "messages 1,3-4"


def test_that_somebody_counted_or_compared_stored_values_is_on_record(segmill, waiting):
    site = ("--site", waiting.folder)
    assert segmill("stats", "--channel", "adt", "PID-8", *site).code == 0
    assert segmill("compare", "--stored", "adt/ris", "adt/archive", *site).code == 0
    rows = segmill("audit", "--action", "read", "--json", *site).lines
    assert {row["ids"] for row in rows if "messages" in row["ids"]} == {"messages 2"}
    assert len(rows) == 2


def test_a_row_that_is_added_releases_what_waited_for_it_after_a_reload(segmill, waiting):
    site = ("--site", waiting.folder)
    assert segmill("tables", "add", "adt/tables/wards.csv", "NEW7", "W07", *site).code == 0
    early = segmill("tables", "release", "--yes", *site)
    assert early.code == 75 and "segmill reload" in early.err
    assert segmill("reload", waiting.folder).code == 0
    said = segmill("tables", "release", "--plan", "--json", *site)
    assert said.json["messages"] == 2
    said = segmill("tables", "release", "adt/tables/wards.csv", "--yes", *site)
    assert said.code == 0, said.err
    left = segmill("tables", "misses", "--json", *site).lines
    assert [one["key"] for one in left] == ["NEW8"]
    states = {one["control_id"]: one["state"] for one in segmill("messages", "--json", *site).lines}
    assert states == {"H1": "processed", "H2": "processed", "H3": "held", "H4": "processed"}


def test_nothing_is_released_while_another_code_of_it_is_missing(segmill, waiting):
    site = ("--site", waiting.folder)
    said = segmill("tables", "release", "--yes", *site)
    assert said.code == 0 and "3 messages wait for other codes" in said.err
    assert segmill("tables", "release", "adt/tables/nothing.csv", *site).code == 2


def test_a_row_is_written_behind_the_last_one_and_read_back(segmill, site):
    before = wards(site).read_text()
    said = segmill("tables", "add", "adt/tables/wards.csv", 'A,"1', " x", "--json", "--site", site)
    assert said.code == 0
    after = wards(site).read_text()
    assert after.startswith(before)
    assert after.splitlines()[said.json["line"] - 1].startswith('"A,""1"," x"')
    assert segmill("check", site).code == 0


def test_a_file_without_a_last_line_end_or_with_those_of_windows_stays_as_it_was_written(segmill, site):
    wards(site).write_bytes(b"from,to\r\nA,1")
    assert segmill("tables", "add", "adt/tables/wards.csv", "B", "2", "--site", site).code == 0
    assert wards(site).read_bytes() == b"from,to\r\nA,1\r\nB,2\r\n"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["adt/tables/wards.csv", "3W", "X"], 2, "has that key already, in line"),
        (["adt/tables/wards.csv", "NEW"], 2, "a key and a value are needed"),
        (["adt/tables/wards.csv", "N", "1", "2", "3", "4", "5"], 2, "columns"),
        (["adt/tables/wards.csv", "N\n", "1"], 2, "one line"),
        (["adt/tables/ward.csv", "N", "1"], 2, "there is"),
        (["adt/../../../etc/passwd", "N", "1"], 2, ""),
        (["adt", "N", "1"], 2, "no table of a channel"),
        (["nowhere/tables/wards.csv", "N", "1"], 2, "no table of a channel"),
    ],
)
def test_what_cannot_be_added_is_told_and_the_file_stays(segmill, site, words, code, told):
    before = wards(site).read_bytes()
    said = segmill("tables", "add", *words, "--site", site)
    assert said.code == code and told in said.err
    assert wards(site).read_bytes() == before


def test_a_table_that_is_a_link_stays_one(segmill, site):
    shared = site / "shared.csv"
    wards(site).rename(shared)
    wards(site).symlink_to(shared)
    assert segmill("tables", "add", "adt/tables/wards.csv", "NEW7", "W07", "--site", site).code == 0
    assert wards(site).is_symlink() and shared.read_text().endswith("NEW7,W07,\n")


def test_a_table_with_mistakes_is_not_written_to(segmill, site):
    wards(site).write_text("from,to\nA,1\nA,2\n")
    said = segmill("tables", "add", "adt/tables/wards.csv", "B", "2", "--site", site)
    assert said.code == 78 and "E153" in said.err
    assert wards(site).read_text() == "from,to\nA,1\nA,2\n"


def test_a_table_that_cannot_be_written_stays_and_leaves_nothing_beside_it(segmill, site, monkeypatch):
    from pathlib import Path

    def full(self, *_):
        raise OSError(28, "No space left on device")

    before = wards(site).read_bytes()
    monkeypatch.setattr(Path, "replace", full)
    assert segmill("tables", "add", "adt/tables/wards.csv", "B", "2", "--site", site).code == 73
    assert wards(site).read_bytes() == before
    assert [path.name for path in wards(site).parent.iterdir() if path.name.startswith(".")] == []


def test_why_the_cause_of_a_held_message_cannot_be_found_is_told(segmill, waiting, monkeypatch):
    from engine.cli import table_misses
    from engine.cli.own_code import OwnCodeEnded

    given = []

    def ends(work, deadline_s):
        given.append(deadline_s)
        raise OwnCodeEnded("E220", "the channel's own code took longer than 7 s")

    monkeypatch.setattr("engine.cli.own_code.guarded", ends)
    monkeypatch.setattr(table_misses.Versions, "of", lambda self, stored: _Unreadable())
    with (waiting.folder / "segmill.yaml").open("a") as file:
        file.write("\nworkers: {deadline: 7s}\n")
    said = segmill("tables", "misses", "--site", waiting.folder)
    assert said.code == 0
    assert "3 held messages could not be looked up (1, 3, 4): the channel's own code took longer than 7 s" in said.err
    assert given == [7.0, 7.0, 7.0]


class _Unreadable:
    """A channel that is asked for no more than what a message is read with."""

    fallback_charset = "cp1252"
