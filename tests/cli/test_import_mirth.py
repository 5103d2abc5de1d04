"""`segmill import-mirth`: an export becomes channels that are checked and tested, and nothing is overwritten."""

from pathlib import Path

import pytest

from engine.cli.exits import CANNOT_WRITE, FINDINGS, MISUSE
from engine.hl7.message import Message


@pytest.fixture
def feed(repository: Path) -> Path:
    return repository / "samples" / "mirth" / "adt_feed.xml"


@pytest.fixture
def backup(repository: Path) -> Path:
    return repository / "samples" / "mirth" / "server_backup.xml"


def test_an_imported_channel_is_checked_and_tested_at_once(segmill, feed, tmp_path):
    site = tmp_path / "imported"
    said = segmill("import-mirth", feed, "--into", site)
    assert said.code == 0, said.err
    assert "can run; its sample is processed" in said.err
    assert segmill("check", site).code == 0
    tested = segmill("test", site)
    assert tested.code == 0
    assert "adt-feed  1 case" in tested.out


def test_the_sample_goes_the_whole_way_through_what_was_imported(segmill, feed, tmp_path):
    segmill("import-mirth", feed, "--into", tmp_path / "s")
    case = tmp_path / "s" / "channels" / "adt-feed" / "cases" / "sample"
    assert sorted(path.name for path in case.iterdir()) == [
        "ack.hl7",
        "in.hl7",
        "out.archive.hl7",
        "out.to-ris.hl7",
        "out.ward-board.hl7",
    ]
    came, left = (Message.parse((case / name).read_bytes()) for name in ("in.hl7", "out.to-ris.hl7"))
    assert (came.get("MSH-9.1"), came.get("PV1-2.1")) == ("ADT", "I")
    assert left.get("MSH-5") == "RIS"
    assert left.get("PID-2.1") == came.get("PID-3.1").replace("-", "")
    assert came.get("PV1-18")
    assert not left.get("PV1-18")


def test_what_is_left_to_do_is_told_with_its_line(segmill, feed, tmp_path):
    said = segmill("import-mirth", feed, "--into", tmp_path / "s")
    lines = feed.read_text().split("\n")
    (told,) = [line for line in said.out.split("\n") if 'step 7 "ward of the bed": not carried' in line]
    number = int(told.split("line ")[1].split()[0])
    assert "JavaScriptStep" in lines[number - 1]
    assert "3 to do, 0 fill in" in said.err


def test_a_server_backup_becomes_its_channels_and_what_to_fill_in_is_told(segmill, backup, tmp_path, monkeypatch):
    site = tmp_path / "s"
    said = segmill("import-mirth", backup, "--into", site)
    assert said.code == 0
    assert "BILLING_DATABASE_PASSWORD" in said.out
    assert "1 error before it can run" in said.err
    monkeypatch.setenv("BILLING_DATABASE_PASSWORD", "x")
    assert segmill("check", site).code == 0
    assert segmill("test", site, "--update").code == 0
    assert segmill("test", site).code == 0


def test_the_whole_report_is_there_as_json(segmill, backup, tmp_path):
    report = segmill("import-mirth", backup, "--into", tmp_path / "s", "--json").json
    assert report["written"] is True
    by_name = {channel["name"]: channel for channel in report["channels"]}
    assert by_name["orders"] == {"name": "orders", "mirth": "Orders", "errors": 0, "sample": "processed"} | {
        "findings": by_name["orders"]["findings"]
    }
    assert by_name["billing"]["errors"] == 1
    assert [finding["code"] for finding in by_name["billing"]["findings"]] == ["E120"]
    assert {item["fate"] for item in report["items"]} == {"carried", "differs", "todo", "fill-in"}
    assert all(item["line"] > 0 and item["place"] for item in report["items"])


def test_a_dry_run_tells_the_same_and_writes_nothing(segmill, feed, tmp_path):
    planned = segmill("import-mirth", feed, "--into", tmp_path / "s", "--dry-run")
    assert planned.code == 0
    assert not (tmp_path / "s").exists()
    assert planned.out == segmill("import-mirth", feed, "--into", tmp_path / "s").out


def test_only_the_channels_that_are_wanted_are_imported(segmill, backup, tmp_path):
    said = segmill("import-mirth", backup, "--into", tmp_path / "s", "--channel", "Nightly export")
    assert said.code == 0
    assert [path.name for path in (tmp_path / "s" / "channels").iterdir()] == ["nightly-export"]
    wrong = segmill("import-mirth", backup, "--into", tmp_path / "s", "--channel", "Nightly")
    assert wrong.code == MISUSE
    assert "there is Billing, Device readings" in wrong.err


def test_nothing_is_overwritten(segmill, feed, tmp_path):
    site = tmp_path / "s"
    assert segmill("import-mirth", feed, "--into", site).code == 0
    file = site / "channels" / "adt-feed" / "channel.yaml"
    file.write_text("mine\n")
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    said = segmill("import-mirth", feed, "--into", site)
    assert said.code == CANNOT_WRITE
    assert "there already" in said.err
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before


def test_a_site_that_is_there_gets_the_channel_and_keeps_its_settings(segmill, feed, site):
    settings = (site / "segmill.yaml").read_text()
    assert segmill("import-mirth", feed, "--into", site).code == 0
    assert (site / "segmill.yaml").read_text() == settings
    assert segmill("check", site).code == 0


@pytest.mark.parametrize(
    "raw",
    [
        b'<!DOCTYPE channel [<!ENTITY a SYSTEM "file:///etc/passwd">]><channel>&a;</channel>',
        b"<channel><sourceConnector>",
        b"\x00\x01\x02",
        b'<?xml version="1.0" encoding="UTF-7"?><channel/>',
    ],
)
def test_a_file_that_is_no_export_is_refused_and_nothing_is_written(segmill, tmp_path, raw):
    file = tmp_path / "x.xml"
    file.write_bytes(raw)
    said = segmill("import-mirth", file, "--into", tmp_path / "s")
    assert said.code == FINDINGS
    assert str(file) in said.err
    assert "Nothing was written" in said.err
    assert not (tmp_path / "s").exists()


def test_an_export_without_a_channel_of_hl7_ends_with_findings(segmill, backup, tmp_path):
    said = segmill("import-mirth", backup, "--into", tmp_path / "s", "--channel", "Device readings")
    assert said.code == FINDINGS
    assert "its messages are JSON" in said.out
    assert not (tmp_path / "s").exists()


def test_what_a_user_of_mirth_types_first_finds_the_command(segmill):
    assert "import-mirth" in segmill("mirth").err
