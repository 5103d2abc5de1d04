"""What scanners asked, as a page and by the API: masked, or shown on record, and only what the site keeps."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from engine.adapters.dicom.queries import Queries
from engine.model.access import SITE
from engine.ports.worklist import QueryRecord
from engine.testing.sites import make_site
from tests.adapters.api.rig import Running
from tests.adapters.console.visitor import Visitor
from tests.cli.test_worklist import CHANNEL

SETTINGS = """
admin: off
environment: test
console: {port: 0}
dicom: {host: 127.0.0.1, port: 0, modalities: {MR1: {}}, query_log: {patients: true}}
"""
STEP = {"ScheduledProcedureStepStartDate": ("20260102",), "Modality": ("CT",)}
METER = SimpleNamespace(queried=lambda *given: None)


def record(calling: str, at_us: int, answers: int, *, status: int = 0, **more: object) -> QueryRecord:
    keys = {
        "PatientID": ("900001",),
        "PatientName": (),
        "ScheduledProcedureStepSequence": (STEP,),
        "AccessionNumber": ("ACC-7",),
    }
    return QueryRecord(at_us, calling, "SEGMILL", "10.1.2.3", keys, answers, status=status, **more)  # type: ignore[arg-type]


RECORDS = (
    record("CT1", 1_700_000_000_000_000, 3),
    record("MR1", 1_700_000_001_000_000, 0, without={"PatientID": 2, "Modality": 0}),
    record("<b>X", 1_700_000_002_000_000, 0, status=0xA900, unmatched=("PatientBirthDate",)),
)


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Running]:
    started = Running(make_site(tmp_path_factory.mktemp("asked") / "site", {"orders": CHANNEL}, SETTINGS))
    kept = Queries(METER, keep=10, keeps_patients=True)  # type: ignore[arg-type]  # the rest is of other events
    for one in RECORDS:
        kept.queried(one)
    started.engine.control.queries_asked = lambda: kept.newest
    yield started
    started.stop()


@pytest.fixture(scope="module")
def operator(running) -> Visitor:
    return Visitor(running, running.user("operator", {SITE: "operator"}))


@pytest.fixture(scope="module")
def viewer(running) -> Visitor:
    return Visitor(running, running.user("viewer", {SITE: "viewer"}))


def readings(running) -> list[str]:
    return [row.ids for row in running.queries.audit(0, 10_000) if row.action == "read"]


def test_who_asked_for_what_and_got_what_is_listed_newest_first_and_masked(viewer):
    shown = viewer.open("/worklist/asked")
    assert shown.words.index("<b>X") < shown.words.index("MR1 10.1.2.3") < shown.words.index("CT1 10.1.2.3")
    assert "<b>X" not in shown.text
    assert "ScheduledProcedureStepStartDate 20260102" in shown.words and "Modality CT" in shown.words
    assert "2 without PatientID" in shown.words and "0 without Modality" not in shown.words
    assert "not understood A900" in shown.words and "PatientBirthDate is no value of its kind" in shown.words
    assert "nothing found" in shown.words
    assert "900001" not in shown.text and "ACC-7" not in shown.text and shown.text.count("•••••") == 6
    assert "/worklist/asked" in viewer.open("/worklist").text


def test_it_is_narrowed_to_a_scanner_and_to_what_went_wrong(viewer):
    assert "CT1 10.1.2.3" not in viewer.open("/worklist/asked?calling=MR1").words
    assert "1 of 1; 3 are kept" in viewer.open("/worklist/asked?calling=MR1").words
    nothing = viewer.open("/worklist/asked?got=nothing").words
    assert "2 of 2" in nothing and "CT1 10.1.2.3" not in nothing
    assert "1 of 1" in viewer.open("/worklist/asked?got=refused").words
    assert "No query is so." in viewer.open("/worklist/asked?calling=NOBODY").words
    assert viewer.open("/worklist/asked?got=more").status == 422


def test_values_are_shown_to_who_may_read_and_that_is_on_record(operator, viewer, running):
    assert "Show the values" not in viewer.open("/worklist/asked").words
    assert viewer.forged("/worklist/asked").status == 403
    before = len(readings(running))
    assert "Show the values" in operator.open("/worklist/asked?calling=CT1").words
    shown = operator.forged("/worklist/asked", ("calling", "CT1"))
    assert "900001" in shown.text and "ACC-7" in shown.text and "MR1 10.1.2.3" not in shown.words
    assert readings(running)[before:] == ["what scanners asked"]
    assert "900001" not in operator.open("/worklist/asked").text, "the next page is masked again"


def test_where_the_site_keeps_no_patients_there_is_nothing_to_show(operator, running):
    kept = Queries(METER, keep=10, keeps_patients=False)  # type: ignore[arg-type]
    kept.queried(RECORDS[0])
    before, running.engine.control.queries_asked = running.engine.control.queries_asked, lambda: kept.newest
    try:
        shown = operator.forged("/worklist/asked")
        assert shown.status == 200 and "900001" not in shown.text and "***" not in shown.text
        assert shown.text.count("•••••") == 2
    finally:
        running.engine.control.queries_asked = before


def test_the_api_tells_the_same(running):
    program = running.token("program", {SITE: "operator"})
    told = running.ask("GET", "/scanner-queries?limit=2", headers=program).json
    assert [one["calling"] for one in told["queries"]] == ["<b>X", "MR1"] and told["kept"] == 3
    first, second = told["queries"]
    assert (first["status"], first["outcome"]) == ("A900", "bad_identifier")
    assert second["without"] == {"PatientID": 2}
    masked = {"keyword": "PatientID", "value": "***", "is_masked": True}
    assert masked in second["keys"]
    assert {"keyword": "Modality", "value": "CT", "is_masked": False} in second["keys"]
    before = len(readings(running))
    whole = running.ask("GET", "/scanner-queries/values?calling=CT1", headers=program).json["queries"]
    assert {"keyword": "PatientID", "value": "900001", "is_masked": False} in whole[0]["keys"] and len(whole) == 1
    assert readings(running)[before:] == ["what scanners asked"]
