"""`segmill convert`, and other commands given JSON or XML."""

import json
from pathlib import Path

import pytest

from engine.cli.messages import decoded_lines, masked
from engine.hl7.convert import convert, hl7_of, split_bodies
from engine.hl7.message import Message, split_batch


@pytest.fixture
def folder(tmp_path, adt, oru):
    """A folder with a message, a batch of two one level down, and a file that is none."""
    place = tmp_path / "in"
    (place / "more").mkdir(parents=True)
    (place / "a.hl7").write_bytes(adt(control_id="A1"))
    (place / "more" / "b.hl7").write_bytes(oru(control_id="B1") + oru(control_id="B2"))
    (place / "notes.md").write_text("not a message")
    return place


@pytest.fixture
def stdin(monkeypatch):
    """`stdin(bytes)`: what the next command reads from standard input."""

    def give(content: bytes) -> None:
        class Buffer:
            @staticmethod
            def read() -> bytes:
                return content

        class Stdin:
            buffer = Buffer

        monkeypatch.setattr("sys.stdin", Stdin)

    return give


@pytest.mark.parametrize("form", ["json", "xml"])
def test_there_and_back_through_a_pipe(segmill, folder, stdin, form):
    there = segmill("convert", folder / "more" / "b.hl7", "--to", form)
    assert there.code == 0 and there.err == ""
    assert len(split_bodies(there.out.encode())) == 2
    stdin(there.out.encode())
    back = segmill("convert", "-", "--to", "hl7")
    assert back.out.encode() == (folder / "more" / "b.hl7").read_bytes()


def test_a_folder_becomes_a_folder(segmill, folder, tmp_path):
    out = tmp_path / "out"
    said = segmill("convert", folder, folder / "a.hl7", "--to", "json", "-o", out)
    assert (said.code, said.out) == (0, "")
    assert said.err == f"wrote 4 files into {out}\n"
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.*")}
    assert set(found) == {"a.json", "a-2.json", "more/b-1.json", "more/b-2.json"}
    assert hl7_of(found["a.json"]) == (folder / "a.hl7").read_bytes()
    assert hl7_of(found["more/b-2.json"]) == split_batch((folder / "more" / "b.hl7").read_bytes())[1]


def test_a_folder_of_json_and_xml_is_read_too(segmill, folder, tmp_path):
    segmill("convert", folder, "--to", "json", "-o", tmp_path / "j")
    segmill("convert", tmp_path / "j", "--to", "xml", "-o", tmp_path / "x")
    segmill("convert", tmp_path / "x", "--to", "hl7", "-o", tmp_path / "h")
    assert (tmp_path / "h" / "a.hl7").read_bytes() == (folder / "a.hl7").read_bytes()


def test_what_cannot_be_converted_is_named_and_does_not_stop_the_others(segmill, folder):
    (folder / "bad.json").write_text('{"segments": [{"segment": "MSH", "1": "|", "2": "^~\\\\&", "3": 7}]}')
    (folder / "bad.hl7").write_bytes(b"SECRET")
    (folder / "c.hl7").write_bytes((folder / "a.hl7").read_bytes() + b"SECRET^x\r")
    said = segmill("convert", folder, "--to", "xml")
    assert said.code == 1
    assert said.out.count("<?xml") == 3
    assert said.err.splitlines()[0] == f"{folder}/bad.hl7: there is no MSH segment"
    assert said.err.splitlines()[1].startswith(f"{folder}/bad.json: segments[0].3: a value is a text")
    assert "c.hl7: segment 5 has a name" in said.err
    assert "SECRET" not in said.err


def test_a_file_that_is_no_hl7_does_not_flood_the_terminal(segmill, tmp_path):
    (tmp_path / "junk.hl7").write_bytes(b"\x0bjunk\x1c\r" * 40)
    said = segmill("convert", tmp_path / "junk.hl7", "--to", "json")
    assert said.code == 1
    assert len(said.err.splitlines()) == 6
    assert said.err.splitlines()[-1] == f"{tmp_path}/junk.hl7: and 35 more that cannot be converted"


def test_as_json_it_tells_what_it_did(segmill, folder, tmp_path):
    (folder / "bad.hl7").write_bytes(b"x")
    good, bad, *_ = segmill("convert", folder, "--to", "xml", "--json").lines
    assert (good["message"], good["to"]) == (1, "xml") and good["body"].startswith("<?xml")
    assert bad["error"] == "there is no MSH segment"
    (first, *_) = segmill("convert", folder / "a.hl7", "--to", "xml", "-o", tmp_path / "o", "--json").lines
    assert Path(first["output"]) == tmp_path / "o" / "a.xml"


def test_names_are_for_people(segmill, folder):
    said = segmill("convert", folder / "a.hl7", "--to", "json", "--names")
    data = said.json
    assert data["segments"][2]["title"] == "Patient Identification"
    assert data["segments"][2]["5 Patient Name"]["1 Family Name"] == "Testperson"
    assert segmill("convert", folder / "a.hl7", "--to", "xml", "--names").code == 2


def test_nothing_to_convert_is_a_misuse(segmill, tmp_path):
    said = segmill("convert", tmp_path, "--to", "json")
    assert said.code == 2
    assert "there is no message" in said.err


def test_try_and_send_take_them_too(segmill, site, tmp_path, adt):
    message = Message.parse(adt(control_id="J1"))
    (tmp_path / "a.json").write_bytes(convert(message, "json"))
    (tmp_path / "a.xml").write_bytes(convert(message, "xml"))
    for name in ("a.json", "a.xml"):
        said = segmill("try", "adt", tmp_path / name, "--site", site, "--json")
        assert (said.json["control_id"], said.json["state"]) == ("J1", "processed")
    (tmp_path / "a.xml").write_bytes(b"<ADT_A01/>")
    said = segmill("try", "adt", tmp_path / "a.xml", "--site", site)
    assert said.code == 2
    assert "the first segment is not MSH" in said.err


def test_a_case_of_a_channel_with_json_is_written_and_holds(segmill, site):
    channel = site / "channels" / "adt" / "channel.yaml"
    channel.write_text(channel.read_text().replace("  archive:\n    file:", "  archive:\n    format: json\n    file:"))
    assert "format: json" in channel.read_text()
    assert segmill("test", site, "adt").code == 1
    assert segmill("test", site, "adt", "--update").code == 0
    case = site / "channels" / "adt" / "cases" / "admit"
    assert (case / "out.archive.json").exists() and not (case / "out.archive.hl7").exists()
    assert json.loads((case / "out.archive.json").read_bytes())["segments"][0]["segment"] == "MSH"
    assert segmill("test", site, "adt").code == 0


def test_a_stored_document_is_shown_line_by_line_and_masked_without_leave(adt):
    body = convert(Message.parse(adt(family="Secretname")), "json")
    lines = decoded_lines(body)
    assert lines[2].startswith('{"segment":"EVN"')
    assert "Secretname" in "".join(lines)
    assert not any(word in masked(line) for line in lines for word in ("Secretname", "segment", "900001"))
