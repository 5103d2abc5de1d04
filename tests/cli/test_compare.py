"""`segmill compare`: files, folders, and what destinations got."""

import json

import pytest


@pytest.fixture
def heaps(tmp_path, adt):
    """Two folders: A is the same, B differs in the name, C is only left, D only right."""
    for side, names in (("left", "ABC"), ("right", "ABD")):
        folder = tmp_path / side
        folder.mkdir()
        for name in names:
            raw = adt(control_id=name)
            if (side, name) == ("right", "B"):
                raw = raw.replace(b"^Anna", b"^Bert")
            (folder / f"{name}.hl7").write_bytes(raw)
    return tmp_path / "left", tmp_path / "right"


def test_folders_are_paired_by_control_id_and_what_differs_is_told(segmill, heaps):
    said = segmill("compare", *heaps)
    assert said.code == 1
    lines = said.out.splitlines()
    assert lines[0].startswith("B  ")
    assert lines[1] == '  PID-5.2  "Anna" -> "Bert"'
    assert any(line.split() == ["PID-5.2", "1", '"Anna"', "->", '"Bert"', "(B)"] for line in lines)
    assert "only on the left: C" in lines and "only on the right: D" in lines
    assert "paired by MSH-10: 1 the same, 1 different, 1 only on the left, 1 only on the right" in said.err


def test_the_same_is_good(segmill, heaps):
    said = segmill("compare", heaps[0], heaps[0])
    assert said.code == 0
    assert said.out == ""
    assert "3 the same, 0 different" in said.err


def test_a_place_may_differ(segmill, heaps):
    said = segmill("compare", *heaps, "--ignore", "PID-5", "--json")
    summary = json.loads(said.out.splitlines()[-1])
    assert (summary["same"], summary["differing"], summary["places"]) == (2, 0, [])
    assert segmill("compare", *heaps, "--ignore", "PID5").code == 2


def test_two_files_of_one_message_each_are_a_pair_whatever_their_ids(segmill, heaps):
    said = segmill("compare", heaps[0] / "A.hl7", heaps[1] / "B.hl7")
    assert said.code == 1
    assert '  MSH-10  "A" -> "B"' in said.out and "they differ" in said.err
    assert segmill("compare", heaps[0] / "A.hl7", heaps[1] / "A.hl7").code == 0


def test_pairs_are_shown_up_to_a_limit_and_counted_all_the_same(segmill, heaps):
    said = segmill("compare", *heaps, "--summary")
    assert "B  " not in said.out.splitlines()[0] and "PID-5.2" in said.out
    pairs = [json.loads(line) for line in segmill("compare", *heaps, "--json").out.splitlines()]
    assert [pair.get("key") for pair in pairs] == ["B", "C", "D", None]
    assert pairs[0]["changes"] == [{"path": "PID-5.2", "before": "Anna", "after": "Bert"}]
    limited = [json.loads(line) for line in segmill("compare", *heaps, "--json", "--limit", "0").out.splitlines()]
    assert len(limited) == 1 and limited[0]["differing"] == 1


def test_another_place_can_pair_them(segmill, heaps):
    said = segmill("compare", *heaps, "--by", "PID-3", "--ignore", "MSH-10", "--summary")
    assert "paired by PID-3: 2 the same, 1 different" in said.err


def test_what_is_no_message_or_not_there_is_misuse(segmill, heaps, tmp_path):
    (tmp_path / "x.hl7").write_text("PID|1")
    assert "x.hl7" in segmill("compare", heaps[0], tmp_path / "x.hl7").err
    assert segmill("compare", heaps[0], tmp_path / "nowhere").code == 2
    assert segmill("compare", *heaps, "--since", "1h").code == 2
    assert segmill("compare", *heaps, "--by", "PID-").code == 2


def test_a_terminal_is_not_moved_by_what_stands_in_a_message(segmill, heaps):
    path = heaps[1] / "B.hl7"
    path.write_bytes(path.read_bytes().replace(b"Bert", b"\x1b[2J"))
    assert "\x1b" not in segmill("compare", *heaps).out


class TestStored:
    def test_what_two_destinations_got(self, segmill, module_site, adt):
        module_site.send("adt", adt(control_id="CMP1"), adt(control_id="CMP2"))
        module_site.settled()
        said = segmill("compare", "--stored", "adt/ris", "adt/archive", "--site", module_site.folder)
        assert said.code in (0, 1)
        assert "paired by MSH-10: " in said.err
        assert segmill("compare", "--stored", "adt/ris", "adt/ris", "--site", module_site.folder).code == 0

    def test_a_name_that_is_none_is_answered_with_those_that_are(self, segmill, module_site, adt):
        module_site.send("adt", adt(control_id="CMP3"))
        module_site.settled()
        said = segmill("compare", "--stored", "adt/rsi", "adt/ris", "--site", module_site.folder)
        assert said.code == 2 and "adt/ris" in said.err
        assert segmill("compare", "--stored", "adt", "adt/ris", "--site", module_site.folder).code == 2


def test_the_name_of_a_segment_cannot_act_upon_the_terminal(segmill, tmp_path, adt):
    for side in ("left", "right"):
        (tmp_path / side).write_bytes(adt() + f"\x1b[2|{side}\r".encode())
    said = segmill("compare", tmp_path / "left", tmp_path / "right")
    assert said.code == 1 and "\\x1b[2-1" in said.out and "\x1b" not in said.out
    said = segmill("stats", tmp_path / "left")
    assert "\\x1b[2-1" in said.out and "\x1b" not in said.out


def test_programs_are_told_how_many_pairs_are_left_out(segmill, heaps):
    said = segmill("compare", *heaps, "--json", "--limit", "0")
    summary = said.lines[-1]
    assert len(said.lines) == 1 and summary["shown"] == 0 < summary["differing"]
    assert "0 of 3 pairs that differ or lack a side" in said.err
    said = segmill("compare", *heaps, "--json")
    assert said.lines[-1]["shown"] == 3 == len(said.lines) - 1 and "--limit" not in said.err
