"""`segmill test`: a site's cases, and what differs."""

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
