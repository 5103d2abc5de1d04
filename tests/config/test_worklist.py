"""`worklist:` in a destination: every mistake at its line and column, and rules out of a table."""

from pathlib import Path

import pytest

from engine.config.site import load_site
from engine.config.table import Table
from engine.config.worklist import BadStations, WorklistOptions, station_rules
from engine.pipeline.registry import load_kinds
from engine.testing.sites import make_site
from engine.worklist.shorten import Shortening

CHANNEL = """\
listen: {mllp: {port: 2575}}
accept: ['ORM^O01']
routes: [{to: modalities}]
destinations:
  modalities:
    worklist:
      %s
"""


def load(tmp_path: Path, option: str, tables: dict[str, str] | None = None):
    files = {"channel.yaml": CHANNEL % option, **{f"tables/{name}": text for name, text in (tables or {}).items()}}
    return load_site(make_site(tmp_path, {"orders": files}), load_kinds(), {})


def options(tmp_path: Path, option: str, tables: dict[str, str] | None = None) -> WorklistOptions:
    site = load(tmp_path, option, tables)
    assert site.findings == []
    found = site.channels[0].file.destinations["modalities"].options
    assert isinstance(found, WorklistOptions)
    return found


@pytest.mark.parametrize(
    ("option", "column", "code", "words"),
    [
        ("map: {AccessionNo: [OBR-3]}", 13, "E105", "AccessionNumber"),
        ("map: {AccessionNumber: [OBR-3, OBR-x]}", 38, "E107", "OBR-x"),
        ("map: {PatientID: [PID-2]}", 13, "E107", "made from others"),
        ("map: {AccessionNumber: xpn(OBR-3)}", 30, "E107", "no name"),
        ("controls: {NEW: create}", 17, "E105", "order control"),
        ("controls: {NW: creat}", 17, "E105", "create"),
        ("modalities: {RAD: XRAY}", 19, "E105", "no modality"),
        ("priorities: {S: URGENT}", 19, "E105", "no priority"),
        ("study_uid: [ZDS, generate]", 19, "E131", "ZDS"),
        ("accession: [OBR]", 19, "E131", "OBR"),
        ("arrivals: [ORM]", 17, "E105", "no event"),
        ("station: [{when: {Modality: CT}}]", 17, "E103", "ae"),
        ("station: [{when: {'OBR-': CT}, ae: [CT1]}]", 25, "E131", "OBR-"),
        ("station: [{ae: ['A\\B']}]", 22, "E107", "no AE title"),
        ("without_station: maybe", 24, "E105", "warn"),
        ("zone: Europe/Atlantis", 13, "E105", "time zone"),
        ("too_long: {PatientID: {hash16: true}}", 18, "E105", "AccessionNumber"),
        ("too_long: {AccessionNumber: {strip_prefix: ['']}}", 50, "E107", "empty"),
        ("too_long: {AccessionNumber: {hash: true}}", 36, "E101", "hash16"),
        ("too_long: {AccessionNumber: {hash16: maybe}}", 44, "E105", "true"),
        ("too_long: {AccessionNumber: {map: tables/none.csv}}", 41, "E132", "none.csv"),
    ],
)
def test_a_mistake_is_told_at_its_place(tmp_path, option: str, column: int, code: str, words: str) -> None:
    findings = [finding for finding in load(tmp_path, option).findings if finding.is_error]
    assert [(finding.line, finding.code) for finding in findings] == [(7, code)], findings
    assert words in findings[0].message + findings[0].hint
    assert findings[0].column == column


@pytest.mark.parametrize(
    ("beside", "code"),
    [("window: 4", "E148"), ("format: json", "E107"), ("lanes: 2", "E148"), ("charset: 8859/1", "E107")],
)
def test_what_does_not_go_with_a_worklist_is_told(tmp_path, beside: str, code: str) -> None:
    text = CHANNEL % "name: main" + f"    {beside}\n" + ("    order_by: PID-3.1\n" if "lanes" in beside else "")
    site = load_site(make_site(tmp_path, {"orders": text}), load_kinds(), {})
    assert [finding.code for finding in site.findings if finding.is_error] == [code]


def test_the_defaults_are_the_standards(tmp_path) -> None:
    made = options(tmp_path, "name: main")
    assert made.derives_uid
    assert [source.paths for source in made.table.rows["StudyInstanceUID"]] == [("IPC-3",), ("ZDS-1.1",)]
    assert made.policy.demographics == "adt"


def test_a_uid_is_derived_only_where_that_is_said(tmp_path) -> None:
    assert not options(tmp_path, "study_uid: [ZDS-1]").derives_uid
    assert options(tmp_path, "study_uid: [ZDS-1, generate]").derives_uid


def test_a_table_has_rules_in_its_order(tmp_path) -> None:
    text = "Modality PV1-3.1,ae,name,location\nCT ER*,CT2,CT_ER,R12\nCT *,CT1\\CT2,CT,\n"
    made = options(tmp_path, "station: tables/stations.csv", {"stations.csv": text})
    table, findings = Table.load(text, "tables/stations.csv")
    assert findings == []
    first, second = made.stations({"tables/stations.csv": table})
    assert (first.when, first.ae, first.name, first.location) == (
        {"Modality": "CT", "PV1-3.1": "ER*"},
        ("CT2",),
        "CT_ER",
        "R12",
    )
    assert second.ae == ("CT1", "CT2")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("OBR-,ae\nCT,CT1\n", 1, "first column"),
        ("Modality,title\nCT,CT1\n", 1, "must be ae"),
        ("Modality,ae\nCT,CT1\nMR,A_TITLE_THAT_IS_LONG\n", 3, "no AE title"),
        ("Modality PV1-3.1,ae\nCT,CT1\n", 2, "1 patterns for 2 fields"),
        ("Modality,ae,name\nCT,CT1,A name of seventeen\n", 2, "more than 16"),
    ],
)
def test_a_table_that_has_no_rules_is_told_with_its_line(tmp_path, text: str, line: int, words: str) -> None:
    table, _ = Table.load(text, "t.csv")
    with pytest.raises(BadStations, match=words) as told:
        station_rules(table)
    assert told.value.line == line
    site = load(tmp_path, "station: tables/stations.csv", {"stations.csv": text})
    (finding,) = [finding for finding in site.findings if finding.is_error]
    assert (finding.file, finding.line, finding.code) == ("channels/orders/tables/stations.csv", line, "E107")


def test_the_dicom_port_is_checked(tmp_path) -> None:
    make_site(tmp_path, {"orders": CHANNEL % "name: main"})
    for text, code in (
        ("dicom: {ae_title: 'TOO_LONG_FOR_AN_AE_TITLE'}", "E107"),
        ("dicom: {modalities: {CT1: {charset: LATIN1}}}", "E105"),
        ("dicom: {modalities: {'A\\B': {}}}", "E107"),
        ("dicom: {others: deny}", "E105"),
        ("dicom: {prt: 11112}", "E101"),
    ):
        (tmp_path / "segmill.yaml").write_text(text + "\n")
        assert [finding.code for finding in load_site(tmp_path, load_kinds(), {}).findings] == [code], text
    (tmp_path / "segmill.yaml").write_text("dicom: {port: 104, modalities: {CT1: {charset: 'ISO_IR 100'}}}\n")
    site = load_site(tmp_path, load_kinds(), {})
    assert site.findings == []
    assert site.site is not None and site.site.dicom is not None
    assert site.site.dicom.modalities["CT1"].charset == "ISO_IR 100"


def test_identifiers_are_shortened_as_it_says(tmp_path) -> None:
    said = (
        "too_long: {AccessionNumber: {map: tables/a.csv, strip_prefix: RIS-, hash16: true}, RequestedProcedureID: {}}"
    )
    tables = {"a.csv": "ordered,dicom\nACCESSION-000000001,A1\nACCESSION-000000002,A2\n"}
    found = options(tmp_path, said, tables)
    table, _ = Table.load(tables["a.csv"], "tables/a.csv")
    listed = {"ACCESSION-000000001": "A1", "ACCESSION-000000002": "A2"}
    assert found.shortenings({"tables/a.csv": table}) == {
        "AccessionNumber": Shortening(listed, ("RIS-",), hash16=True),
        "RequestedProcedureID": Shortening(),
    }
    assert WorklistOptions().shortenings({}) == {}


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        ("X1,AAAAAAAAAAAAAAAAA\n", 2, "1 to 16"),
        ("X1,A1\nX2,A\\2\n", 3, "no backslash"),
        ("X1,A1\nX2,A2\nX3,A1\n", 4, "line 2"),
    ],
)
def test_a_table_of_identifiers_is_checked(tmp_path, rows: str, line: int, words: str) -> None:
    option = "too_long: {AccessionNumber: {map: tables/a.csv}}"
    (finding,) = load(tmp_path, option, {"a.csv": f"ordered,dicom\n{rows}"}).findings
    assert (finding.file, finding.line, finding.code) == ("channels/orders/tables/a.csv", line, "E107")
    assert words in finding.message
