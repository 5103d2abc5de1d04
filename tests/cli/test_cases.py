"""`segmill test`: a site's cases, and what differs."""

import json
import xml.etree.ElementTree as ET

import pytest


def case(site, name="admit"):
    return site / "channels" / "adt" / "cases" / name


@pytest.fixture
def failing(site):
    """The admission must go to another receiving application than it does."""
    path = case(site) / "out.ris.hl7"
    path.write_bytes(path.read_bytes().replace(b"|RIS|", b"|PACS|"))
    return site


def test_the_shipped_cases_are_good(segmill, site):
    said = segmill("test", site)
    assert said.code == 0
    assert "all good" in said.err
    assert [line.split()[0] for line in said.out.splitlines()] == ["adt", "orders", "results", "scanners"]


def test_a_case_that_differs_names_the_field_and_both_values(segmill, failing):
    said = segmill("test", failing)
    assert said.code == 1
    assert 'out.ris.hl7 message 1 MSH-5: expected "PACS", got "RIS"' in said.out
    assert "1 failed" in said.err


def test_one_channel_can_be_tested_alone(segmill, failing, monkeypatch):
    assert segmill("test", failing, "orders").code == 0
    monkeypatch.chdir(failing)
    assert segmill("test", "orders", "results").code == 0
    assert segmill("test", "adt").code == 1
    assert segmill("test", "channels/adt").code == 1
    monkeypatch.chdir(failing / "channels")
    assert segmill("test", "adt").code == 1
    assert segmill("test", "orders").code == 0


def test_a_channel_that_is_not_there_is_answered_with_those_that_are(segmill, site):
    said = segmill("test", site, "admissions")
    assert said.code == 2
    assert "adt, orders, results" in said.err


def test_update_makes_the_case_say_what_came_out(segmill, failing):
    before = (case(failing) / "in.hl7").read_bytes()
    said = segmill("test", failing, "adt", "--update")
    assert said.code == 0
    assert "admit: out.ris.hl7" in said.out
    assert (case(failing) / "in.hl7").read_bytes() == before
    assert segmill("test", failing).code == 0


def test_a_new_case_is_a_message_and_update(segmill, site):
    new = case(site, "new")
    new.mkdir()
    (new / "in.hl7").write_bytes((case(site) / "in.hl7").read_bytes().replace(b"|ADT", b"|ADT", 1))
    assert segmill("test", site, "adt").code == 1
    assert segmill("test", site, "adt", "--update").code == 0
    assert {"ack.hl7", "out.ris.hl7"} <= {path.name for path in new.iterdir()}
    assert segmill("test", site, "adt").code == 0


def test_what_must_not_come_any_more_is_removed_by_update(segmill, site):
    (case(site) / "out.pacs.hl7").write_text("MSH|^~\\&|A\n")
    assert segmill("test", site, "adt").code == 1
    assert segmill("test", site, "adt", "--update").code == 0
    assert not (case(site) / "out.pacs.hl7").exists()


def test_a_case_without_a_message_fails_and_update_does_not_hide_it(segmill, site):
    case(site, "empty").mkdir()
    assert segmill("test", site, "adt", "--update").code == 1


def test_json_is_one_object_a_case(segmill, failing):
    found = {(c["channel"], c["case"]): c for c in segmill("test", failing, "--json").lines}
    admit = found["adt", "admit"]
    assert admit["good"] is False
    assert admit["differences"][0]["path"] == "MSH-5"
    assert sum(not c["good"] for c in found.values()) == 1


def test_ci_gets_a_report_it_can_read(segmill, failing, tmp_path):
    from xml.etree import ElementTree

    report = tmp_path / "reports" / "junit.xml"
    assert segmill("test", failing, "--junit", report).code == 1
    suites = {suite.get("name"): suite for suite in ElementTree.parse(report).getroot()}
    assert suites["adt"].get("failures") == "1"
    assert 'expected "PACS"' in suites["adt"].findtext("testcase[@name='admit']/failure")
    assert suites["orders"].get("failures") == "0"


def test_a_channel_with_errors_shows_them_and_does_not_stop_the_others(segmill, site):
    path = site / "channels" / "adt" / "channel.yaml"
    path.write_text(path.read_text().replace("filter:", "filtre:"))
    said = segmill("test", site)
    assert said.code == 78
    assert "E102" in said.err
    assert segmill("test", site, "orders").code == 0


def test_a_site_without_cases_is_not_called_good(segmill, make_site):
    folder = make_site({"all": "listen: {mllp: {port: 0}}\n"})
    said = segmill("test", folder)
    assert said.code == 1
    assert "none was found" in said.err


def test_a_message_longer_than_the_port_takes_is_refused_in_a_case_too(segmill, make_site):
    folder = make_site({"all": "listen: {mllp: {port: 0, max_message: 1KiB}}\n"})
    path = folder / "channels" / "all" / "cases" / "long"
    path.mkdir(parents=True)
    (path / "in.hl7").write_bytes(b"MSH|^~\\&|HIS|N|||20260102||ADT^A01|A1|P|2.5.1\rPID|||1||" + b"x" * 2000 + b"\r")
    assert segmill("test", folder, "--update").code == 0
    assert (path / "findings.txt").read_text() == "E230\n"
    assert "MSA|AE|A1" in (path / "ack.hl7").read_text()
    assert segmill("test", folder).code == 0


def test_the_site_can_be_named_as_for_the_other_commands(segmill, site):
    assert segmill("test", "--site", site, "adt").code == 0


def test_coverage_names_what_no_case_reaches_and_a_case_closes_the_gap(segmill, site):
    said = segmill("test", site, "orders", "--coverage")
    assert said.code == 0
    assert "reached: steps 13 of 13, conditions both ways 9 of 10" in said.out
    assert 'MSH-11.1 == "P" is never false' in said.out
    before = site / "channels" / "orders" / "cases" / "new-order" / "in.hl7"
    training = site / "channels" / "orders" / "cases" / "training"
    training.mkdir()
    (training / "in.hl7").write_bytes(before.read_bytes().replace(b"|P|2", b"|T|2", 1))
    (training / "expect.yaml").write_text("state: filtered\n")
    said = segmill("test", site, "orders", "--coverage")
    assert said.code == 0
    assert "conditions both ways 10 of 10" in said.out and "MSH-11.1" not in said.out


def test_too_little_coverage_fails_the_run(segmill, site):
    assert segmill("test", site, "orders", "--min", "90").code == 0
    said = segmill("test", site, "orders", "--min", "97", "--min-rows", "60")
    assert said.code == 1
    assert "too little  96% of steps, conditions and routes, 97% are asked for" in said.out
    assert "too little  36% of table rows, 60% are asked for" in said.out
    assert segmill("test", site, "orders", "--min", "101").code == 2


def test_coverage_as_json_is_one_object_a_channel(segmill, site):
    said = segmill("test", site, "orders", "--coverage", "--json")
    records = [json.loads(line) for line in said.out.splitlines()]
    told = next(record for record in records if "coverage" in record)
    assert told["channel"] == "orders" and told["percent"] == 96.0 and told["enough"] is True
    assert told["coverage"]["rows"] == {"reached": 7, "of": 19, "percent": 36.8}
    assert {gap["kind"] for gap in told["gaps"]} == {"conditions", "rows"}


def test_a_table_in_a_case_takes_the_place_of_the_channels(segmill, site):
    new = case(site, "another-ward")
    (new / "tables").mkdir(parents=True)
    (new / "in.hl7").write_bytes((case(site, "held-for-an-unknown-ward") / "in.hl7").read_bytes())
    (new / "tables" / "wards.csv").write_text("from,to\nANY,1\n")
    (new / "expect.yaml").write_text("state: held\nfindings: [E214 PV1-3.1]\n")
    assert segmill("test", site, "adt").code == 0
    ward = (new / "in.hl7").read_text().partition("PV1|")[2].split("|")[2].partition("^")[0]
    (new / "tables" / "wards.csv").write_text(f"from,to\n{ward},77\n")
    (new / "expect.yaml").write_text('state: processed\nout.ris: {PV1-3.1: "77"}\n')
    assert segmill("test", site, "adt").code == 0
    assert segmill("test", site, "adt", "--coverage").code == 0


def test_a_file_of_a_case_that_the_channel_does_not_have_is_told(segmill, site):
    new = case(site, "admit") / "tables"
    new.mkdir()
    (new / "ward.csv").write_text("from,to\nA,1\n")
    said = segmill("test", site, "adt")
    assert said.code == 1
    assert "tables/ward.csv: expected a file that the channel has (did you mean 'tables/wards.csv'?)" in said.out
    (new / "ward.csv").rename(new / "wards.csv")
    (new / "wards.csv").write_text("from,to\nA\n")
    said = segmill("test", site, "adt")
    assert "tables/wards.csv line 2: expected a file that can be used, got 1 cell where the header names 2" in said.out


def test_python_in_a_case_takes_the_place_of_the_channels_and_chance_is_the_same_each_time(segmill, site):
    channel = site / "channels" / "adt"
    text = (channel / "channel.yaml").read_text()
    (channel / "channel.yaml").write_text(text.replace("steps:\n", "steps:\n  - python: steps.py:dice\n", 1))
    dice = "import random\ndef dice(message, context):\n    message.set('ZDI-1', str(random.random()))\n"
    (channel / "steps.py").write_text(dice)
    assert segmill("test", site, "adt", "--update").code == 0
    assert segmill("test", site, "adt").code == 0
    mock = "def dice(message, context):\n    message.set('ZDI-1', 'six')\n"
    (case(site) / "steps.py").write_text(mock)
    (case(site) / "expect.yaml").write_text("out.ris: {ZDI-1: six}\n")
    for path in case(site).glob("out.*"):
        path.unlink()
    assert segmill("test", site, "adt").code == 0


def test_update_does_not_make_good_what_expect_yaml_asks_for(segmill, failing):
    (case(failing) / "expect.yaml").write_text("out.ris: {MSH-5: PACS}\n")
    said = segmill("test", failing, "adt", "--update")
    assert said.code == 1
    assert 'expect.yaml:1 out.ris MSH-5: expected "PACS", got "RIS"' in said.out


def test_the_name_of_a_cases_folder_cannot_act_upon_the_terminal_or_break_the_report(segmill, failing, tmp_path):
    case(failing).rename(case(failing, "ad\x1b[31mmit"))
    said = segmill("test", failing, "adt", "--verbose", "--junit", tmp_path / "r.xml")
    assert said.code == 1 and "ad\\x1b[31mmit" in said.out and "\x1b" not in said.out
    ET.parse(tmp_path / "r.xml")


def test_a_route_that_only_another_route_covers_does_not_count_for_the_minimum(segmill, site):
    path = site / "channels" / "adt" / "channel.yaml"
    path.write_text(
        path.read_text().replace("  - to: archive\n", '  - to: archive\n  - to: ris\n    when: PV1-2 == "Q"\n')
    )
    said = segmill("test", site, "adt", "--min", "100")
    assert said.code == 1
    assert 'route to ris when PV1-2 == "Q"' in said.out
