"""`segmill worklist`: what is on it, what happened, and what a scanner would find."""

import logging
import shutil
import subprocess

import pytest

from engine.testing.sites import make_site
from engine.worklist.shorten import hash16
from tests.cli.conftest import RunningSite

CHANNEL = """\
listen: {mllp: {port: 0}}
accept: ['ORM^O01']
routes: [{to: modalities}]
destinations:
  modalities:
    worklist: {station: [{when: {Modality: CT}, ae: [CT1]}]}
"""
SITE = "admin: off\ndicom: {host: 127.0.0.1, port: 0, modalities: {MR1: {own_items_only: true}}}\n"
STUDY = "1.2.826.0.1.99.1"


def order(number: int, control: str = "NW", modality: str = "CT", at: str = "20260101120000") -> bytes:
    segments = [
        f"MSH|^~\\&|HIS|NORTH|SEGMILL|RAD|{at}||ORM^O01|{control}{number}|P|2.3.1",
        "PID|1||900001^^^HIS^MR||Muster^Anna||19800203|F",
        f"ORC|{control}|P{number}^HIS|F{number}^RIS||||^^^20260102103000",
        f"OBR|1|P{number}^HIS|F{number}^RIS|CTH^CT head^L||||||||||||||A{number}|R{number}|S{number}||||{modality}",
        f"ZDS|1.2.826.0.1.99.{number}",
    ]
    return ("\r".join(segments) + "\r").encode()


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A worklist with a CT, an MR without a station, and a CT that was cancelled; its engine runs."""
    started = RunningSite(make_site(tmp_path_factory.mktemp("worklist"), {"orders": CHANNEL}, SITE))
    cancel = order(3, "CA", at="20260101130000")
    started.send("orders", order(1), order(2, modality="MR"), order(3), cancel)
    yield started
    started.stop()


def test_a_list_shows_what_scanners_see_and_masks_patients(segmill, scanned):
    said = segmill("worklist", "list", "--site", scanned.folder)
    assert said.code == 0
    title, *rows = said.out.splitlines()
    assert title.split() == ["start", "status", "modality", "stations", "patient", "name", "accession", "study", "step"]
    assert len(rows) == 2
    assert "2026-01-02 10:30" in rows[0] and "CT1" in rows[0] and "(none)" in rows[1]
    assert "900001" not in said.out and "Muster" not in said.out and "******" in said.out


def test_values_are_shown_where_they_are_asked_for_and_that_is_on_record(segmill, scanned):
    said = segmill("worklist", "list", "--show-values", "--site", scanned.folder)
    assert "900001" in said.out and "Muster^Anna" in said.out
    line = segmill("audit", "--json", "--show-values", "--site", scanned.folder).lines[0]
    assert (line["action"], line["scope"]) == ("read", "worklist list --show-values")


def test_what_has_ended_is_shown_by_its_status(segmill, scanned):
    lines = segmill("worklist", "list", "--status", "CANCELED", "--json", "--site", scanned.folder).lines
    assert [(line["step"], line["status"]) for line in lines] == [("S3", "CANCELED")]
    everything = segmill("worklist", "list", "--all", "--json", "--site", scanned.folder).lines
    assert [line["step"] for line in everything] == ["S1", "S2", "S3"]
    assert all("dicom" not in line for line in everything)


def test_one_step_is_shown_with_its_attributes(segmill, scanned):
    said = segmill("worklist", "show", STUDY, "S1", "--site", scanned.folder)
    assert said.code == 0
    assert said.out.startswith("SCHEDULED, study UID from zds, changed 0 times\n")
    assert "RequestedProcedureDescription: CT head" in said.out
    assert "  ScheduledStationAETitle: CT1" in said.out
    assert "PatientName: ******^****" in said.out
    told = segmill("worklist", "show", STUDY, "S1", "--json", "--show-values", "--site", scanned.folder).json
    assert told["dicom"]["00100020"]["Value"] == ["900001"]


def test_a_history_names_the_messages(segmill, scanned):
    lines = segmill("worklist", "history", "1.2.826.0.1.99.3", "S3", "--json", "--site", scanned.folder).lines
    assert [(line["what"], line["status"], line["message"], line["who"]) for line in lines] == [
        ("created", "SCHEDULED", 3, "orders/modalities"),
        ("canceled", "CANCELED", 4, "orders/modalities"),
    ]
    assert "canceled" in segmill("worklist", "history", "1.2.826.0.1.99.3", "S3", "--site", scanned.folder).out


@pytest.mark.parametrize("what", ["show", "history"])
def test_a_step_that_is_not_there_is_said_so(segmill, scanned, what):
    said = segmill("worklist", what, STUDY, "S9", "--site", scanned.folder)
    assert said.code == 1
    assert "segmill worklist list" in said.err


def test_a_query_says_which_key_takes_what_away(segmill, scanned):
    said = segmill("worklist", "query", "Modality=MR", "ScheduledStationAETitle=CT1", "--site", scanned.folder)
    assert said.code == 1
    assert "0 answers" in said.err
    assert "1 without Modality" in said.err and "1 without ScheduledStationAETitle" in said.err
    told = segmill("worklist", "query", "Modality=CT", "--json", "--site", scanned.folder).json
    assert (told["answers"], [step["step"] for step in told["steps"]]) == (1, ["S1"])
    assert told["without"] == {"Modality": 2}


def test_a_query_as_a_scanner_that_sees_its_own_only(segmill, scanned):
    said = segmill("worklist", "query", "--calling", "MR1", "--site", scanned.folder)
    assert (said.code, "own_items_only" in said.err) == (1, True)
    assert segmill("worklist", "query", "--calling", "CT9", "--site", scanned.folder).code == 0


@pytest.mark.parametrize("key", ["Modalty=CT", "ScheduledProcedureStepStartDate=2026-01-02x"])
def test_a_key_that_is_none_is_misuse(segmill, scanned, key):
    assert segmill("worklist", "query", key, "--site", scanned.folder).code == 2


def find(scanned, *keys: str) -> None:
    words = ["findscu", "-W", "-aet", "CT1", "-aec", "SEGMILL", "-k", "PatientName"]
    words += [part for key in keys for part in ("-k", key)]
    subprocess.run([*words, "127.0.0.1", str(scanned.engine.dicom_port)], check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("findscu") is None, reason="dcmtk's findscu is not installed")
def test_what_scanners_asked_is_shown_without_patients(segmill, scanned, caplog):
    caplog.set_level(logging.INFO, "segmill.dicom")
    find(scanned, "ScheduledProcedureStepSequence[0].Modality=MR", "PatientID=900001")
    find(scanned, "PatientID=900007")
    lines = segmill("worklist", "asked", "--json", "--calling", "CT1", "--site", scanned.folder).lines
    first, second = lines[-2:]
    assert (first["answers"], first["status"], first["keys"]["Modality"]) == (1, 0, "MR")
    assert second["answers"] == 0
    assert second["without"] == {"PatientID": 2}
    said = segmill("worklist", "asked", "--site", scanned.folder)
    assert "2 without PatientID" in said.out
    for told in (said.out, str(lines), caplog.text):
        assert "90000" not in told
    assert segmill("worklist", "asked", "--calling", "NOBODY", "--json", "--site", scanned.folder).lines == []


def test_a_step_is_found_by_its_id_as_it_was_ordered(segmill, tmp_path):
    """dicom.md 1.6: scanners have the short one, the ordering system's people the long one."""
    ways = ", ".join(f"{one}: {{hash16: true}}" for one in ("AccessionNumber", "ScheduledProcedureStepID"))
    channel = CHANNEL.replace("worklist: {station", f"worklist: {{too_long: {{{ways}}}, station")
    running = RunningSite(make_site(tmp_path / "site", {"orders": channel}, SITE))
    try:
        long = "STEP-OF-ORDER-000001"
        running.send(
            "orders", order(1).replace(b"|A1|", b"|ACCESSION-000000001|").replace(b"|S1|", f"|{long}|".encode())
        )
        (listed,) = segmill("worklist", "list", "--json", "--site", running.folder).lines
        assert listed["step"] == hash16(long)
        for step in (long, hash16(long)):
            said = segmill("worklist", "show", STUDY, step, "--show-values", "--site", running.folder)
            assert said.code == 0
            assert f"ScheduledProcedureStepID: {hash16(long)}" in said.out
            assert f"AccessionNumber: {hash16('ACCESSION-000000001')}" in said.out
            assert "AccessionNumber as ordered: ACCESSION-000000001" in said.out
            assert f"ScheduledProcedureStepID as ordered: {long}" in said.out
            assert "created" in segmill("worklist", "history", STUDY, step, "--site", running.folder).out
        masked = segmill("worklist", "show", STUDY, long, "--site", running.folder).out
        assert "ACCESSION-000000001" not in masked and long not in masked
        told = segmill("worklist", "show", STUDY, long, "--json", "--show-values", "--site", running.folder).json
        assert told["ordered"] == {"AccessionNumber": "ACCESSION-000000001", "ScheduledProcedureStepID": long}
        said = segmill("worklist", "set-status", STUDY, long, "STARTED", "--yes", "--site", running.folder)
        assert said.code == 0
        again = segmill("worklist", "list", "--status", "STARTED", "--json", "--site", running.folder).lines
        assert [line["step"] for line in again] == [hash16(long)]
    finally:
        running.stop()
