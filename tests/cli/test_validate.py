"""`segmill validate`: what it says of messages, in which form, and what it never says."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from engine.cli.message_files import FileMessage
from engine.cli.validation_report import MOST_SENTENCES, Report, Told
from engine.hl7.convert import convert
from engine.hl7.message import Message

PROFILE = """\
description: What the lab asks
standard: observe
fields:
  PID-8:
    usage: R
    mode: reject
    owner: lab desk
  PID-5.1:
    length: 1..5
    mode: warn
"""


@pytest.fixture
def folder(tmp_path, adt):
    """Three files: a good message, one with two mistakes, and a batch of which one cannot be read."""
    place = tmp_path / "in"
    place.mkdir()
    good = adt(control_id="G1").replace(b"^^Testville^^00000", b"")
    (place / "a.hl7").write_bytes(good)
    (place / "b.hl7").write_bytes(good.replace(b"|19700101|", b"|SECRET|").replace(b"|ADT00001|", b"||"))
    (place / "c.hl7").write_bytes(good + b"MSH|^~\\&|SECRETAPP\rPID|1\r")
    return place


@pytest.fixture
def profile(tmp_path):
    path = tmp_path / "lab.yaml"
    path.write_text(PROFILE)
    return path


def rules(said) -> dict[tuple[str, str], dict]:
    return {(rule["rule"], rule["level"]): rule for rule in said["rules"]}


def test_findings_are_grouped_by_rule_with_places(segmill, folder):
    said = segmill("validate", folder)
    assert said.code == 1
    assert "error  datatype.TS (HL7 102)  1 in 1 message\n" in said.out
    assert "  PID-7" in said.out and f"    {folder}/b.hl7, PID-7" in said.out
    assert f"{folder}/c.hl7 message 2" in said.out
    assert "held against the standard (2.5.1)" in said.out
    assert "4 messages in 3 files" in said.out


def test_a_place_is_a_path_and_bytes(segmill, folder):
    said = segmill("validate", folder / "b.hl7", "--json").json
    (place,) = rules(said)["datatype.TS", "error"]["places"]
    (example,) = place["examples"]
    raw = (folder / "b.hl7").read_bytes()
    assert example["location"].startswith("PID-7")
    assert raw[example["start"] : example["end"]] == b"SECRET"
    assert "value" not in example


@pytest.mark.parametrize("form", ["text", "json", "junit", "html"])
def test_values_are_shown_only_when_they_are_asked_for(segmill, folder, form):
    quiet = segmill("validate", folder, "--format", form)
    assert "SECRET" not in quiet.out + quiet.err
    loud = segmill("validate", folder, "--format", form, "--show-values")
    assert ("SECRET" in loud.out) is (form != "junit")


def test_a_clean_message_ends_well(segmill, tmp_path, adt, profile):
    (tmp_path / "a.hl7").write_bytes(adt(family="Short"))
    said = segmill("validate", tmp_path / "a.hl7", "--profile", profile, "--json")
    assert said.code == 0
    assert said.json["findings"]["error"] == 0
    assert said.json["profile"] == str(profile)


def test_a_profile_says_what_is_an_error_and_whom_to_ask(segmill, tmp_path, adt, profile):
    (tmp_path / "a.hl7").write_bytes(adt(sex="", family="Toolong"))
    said = segmill("validate", tmp_path / "a.hl7", "--profile", profile)
    assert said.code == 1
    assert "error  PID-8.usage" in said.out and "(ask: lab desk)" in said.out
    assert "warning  PID-5.1.length" in said.out


def test_a_profile_with_mistakes_is_shown_with_its_place(segmill, folder, tmp_path):
    (tmp_path / "bad.yaml").write_text("fields:\n  PID-8: {usage: Q}\n")
    said = segmill("validate", folder, "--profile", tmp_path / "bad.yaml")
    assert said.code == 78
    assert "bad.yaml:2" in said.err


def test_a_message_of_a_sender_without_a_profile_is_told(segmill, tmp_path, adt):
    (tmp_path / "p.yaml").write_text("for: {sender: LAB}\nfields:\n  PID-8: {usage: R}\n")
    (tmp_path / "a.hl7").write_bytes(adt(sex=""))
    said = segmill("validate", tmp_path / "a.hl7", "--profile", tmp_path / "p.yaml")
    assert said.code == 0, said.out + said.err
    assert "warning  no profile" in said.out


def test_what_cannot_be_read_is_an_error_and_the_rest_is_looked_at(segmill, folder, adt):
    (folder / "d.hl7").write_bytes(b"no message at all")
    (folder / "e.hl7").write_bytes(b"")
    (folder / "f.hl7").write_bytes(b"BHS|^~\\&|A\rBTS|0\r")
    found = rules(segmill("validate", folder, "--json").json)
    texts = {place["text"] for place in found["unreadable", "error"]["places"]}
    assert {"there is no MSH segment", "the file is empty"} <= texts
    assert found["batch.empty", "information"]["count"] == 1
    assert found["datatype.TS", "error"]["count"] == 1


def test_json_xml_and_standard_input_are_read(segmill, tmp_path, adt, monkeypatch):
    message = Message.parse(adt(sex="F").replace(b"|19700101|", b"|XX|"))
    (tmp_path / "a.json").write_bytes(convert(message, "json"))
    (tmp_path / "a.xml").write_bytes(convert(message, "xml"))
    for name in ("a.json", "a.xml"):
        said = segmill("validate", tmp_path / name, "--json")
        assert ("datatype.TS", "error") in rules(said.json)
    (tmp_path / "a.xml").write_bytes(b"<!DOCTYPE a><a/>")
    said = segmill("validate", tmp_path / "a.xml")
    assert said.code == 1 and "a document type declaration is not read" in said.out


def test_an_empty_folder_is_a_misuse(segmill, tmp_path):
    said = segmill("validate", tmp_path)
    assert said.code == 2
    assert "there is no message" in said.err


def test_a_file_that_is_not_there_is_a_misuse(segmill, tmp_path):
    assert segmill("validate", tmp_path / "no.hl7").code == 2


def test_the_form_is_that_of_the_file(segmill, folder, tmp_path):
    for name, start in (("r.html", "<!doctype html>"), ("r.xml", "<?xml"), ("r.json", "{"), ("r.txt", "error")):
        said = segmill("validate", folder, "-o", tmp_path / "out" / name)
        assert (said.code, said.out) == (1, "")
        assert f"wrote {tmp_path / 'out' / name}" in said.err
        assert (tmp_path / "out" / name).read_text().startswith(start)
    assert segmill("validate", folder, "--json", "--format", "html").code == 2


def test_the_same_messages_give_the_same_report(segmill, folder):
    for form in ("text", "json", "junit", "html"):
        assert segmill("validate", folder, "--format", form).out == segmill("validate", folder, "--format", form).out


# -- forms ------------------------------------------------------------------------------------------


def test_junit_has_a_test_case_for_each_message(segmill, folder):
    root = ET.fromstring(segmill("validate", folder, "--format", "junit").out.encode())
    assert root.tag == "testsuites"
    cases = list(root.iter("testcase"))
    assert [case.get("name") for case in cases] == ["message", "message", "message 1", "message 2"]
    failed = [case for case in cases if case.find("failure") is not None]
    assert (root.get("tests"), root.get("failures")) == (str(len(cases)), str(len(failed)))
    assert cases[1] in failed and "datatype.TS" in (cases[1].findtext("failure") or "")


class Page(HTMLParser):
    """What a browser would load or run, the ids, the links, and whether elements close in order."""

    VOID = ("meta", "br", "wbr", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "action", "style") or name.startswith("on"):
                self.loads.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(value)
            if name == "href":
                self.links.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_one_page_that_loads_and_runs_nothing(segmill, folder):
    text = segmill("validate", folder, "--format", "html").out
    page = Page(text)
    assert page.open == [] and page.loads == []
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert "url(" not in text and "@import" not in text and "http:" not in text and "https:" not in text
    assert "default-src 'none'" in text
    assert {link.removeprefix("#") for link in page.links} == set(page.ids) and page.ids
    assert "prefers-color-scheme: dark" in text


def test_nothing_from_a_file_becomes_markup(segmill, tmp_path, adt):
    evil = "<script>alert(1)</script>\"'&\x1b[31m"
    place = tmp_path / "<b>&'x'"
    place.mkdir()
    raw = adt().replace(b"|19700101|", f"|{evil}|".encode()).replace(b"2.5.1", b"2.5.1<i>")
    (place / '"><img src=x>.hl7').write_bytes(raw)
    profile = tmp_path / "p.yaml"
    profile.write_text('fields:\n  PID-8:\n    values: [X]\n    message: "<u>no</u>"\n    owner: "<s>me</s>"\n')
    for more in ((), ("--profile", profile)):
        said = segmill("validate", place, "--format", "html", "--show-values", *more)
        page = Page(said.out)
        assert page.open == [] and page.loads == []
        assert not page.tags & {"script", "img", "b", "i", "u", "s"}
        assert "\x1b" not in said.out
        junit = segmill("validate", place, "--format", "junit", *more).out
        ET.fromstring(junit.encode())


# -- many -------------------------------------------------------------------------------------------


def test_what_is_kept_does_not_grow_with_messages():
    report = Report("standard", 3)
    for number in range(2000):
        told = [Told("length", "warning", "104", f"sentence {number}", "PID-5", 1, 2)]
        report.add(FileMessage(f"f{number % 7}", number + 1, 2000, b""), told, {"table.0001": 2}, None)
    (length,) = [rule for rule in report.ordered() if rule.rule == "length"]
    assert (length.count, len(length.sentences), length.left_out) == (2000, MOST_SENTENCES, 2000 - MOST_SENTENCES)
    (table,) = [rule for rule in report.ordered() if rule.rule == "table.0001"]
    assert (table.count, table.left_out) == (4000, 4000)
    assert len(report.by_file) == 7


MEASURE = """
import resource, sys
from engine.cli.main import run
code = run(["validate", sys.argv[1], "--format", sys.argv[2], "-q", "-o", sys.argv[3]])
print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("form", ["text", "junit"])
def test_a_folder_of_thousands_is_looked_at_in_the_memory_of_a_few(tmp_path, adt, form):
    def peak_kb(count: int) -> int:
        place = tmp_path / f"{form}{count}"
        place.mkdir()
        for number in range(count):
            (place / f"{number:05}.hl7").write_bytes(adt(control_id=f"N{number}").replace(b"19700101", b"X"))
        words = [sys.executable, "-c", MEASURE, str(place), form, str(tmp_path / f"{form}{count}.out")]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
        code, peak = done.stdout.split()
        assert code == "1"
        return int(peak)

    assert peak_kb(3000) < peak_kb(100) + 8_000


def test_the_example_report_of_json_is_json(segmill, folder):
    data = json.loads(segmill("validate", folder, "--format", "json").out)
    assert set(data) >= {"schema", "profile", "messages", "files", "rules", "findings", "messages_by_worst"}
