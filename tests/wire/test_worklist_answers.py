"""What dcmtk's findscu is answered: the rules of dicom.md section 2 that are about more than which items are found."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from engine.ports.worklist import Shelved
from tests.wire.worklist_rules import AE, MODALITY, STEP, SYNTAXES, answered, item, write_part_10
from tests.wire.worklist_server import Server, dumped

pytestmark = pytest.mark.skipif(shutil.which("findscu") is None, reason="dcmtk's findscu is not installed")

NAMES = {
    1: "Müller^Jürgen",
    2: "Дуброва^Анна",
    3: "YAMADA^TARO=山田^太郎=やまだ^たろう",
    4: "王^小明",
    5: "김^희중",
    6: "ΔΗΜΟΥ^ΕΛΕΝΗ",
    7: "Łoś^Żaneta",
}
UTF_8 = "ISO_IR 192"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server([item(number, name) for number, name in NAMES.items()])
    yield made
    made.scp.stop()
    assert made.shelf.open_readers == 0


def ask(server: Server, query: Dataset, folder: Path, *options: str) -> str:
    write_part_10(query, folder / "query.dcm")
    command = ["findscu", "-v", "-W", *options, "-aet", "CT1", "-aec", "SEGMILL", "127.0.0.1", str(server.scp.port)]
    run = subprocess.run([*command, str(folder / "query.dcm")], capture_output=True, timeout=60, check=False)
    return (run.stdout + run.stderr).decode("utf-8", "replace")


def keys(**values: object) -> Dataset:
    query = Dataset()
    query.AccessionNumber = ""
    for keyword, value in values.items():
        setattr(query, keyword, value)
    return query


# Rule 12: keys are what the request's own character set makes of their bytes.
@pytest.mark.parametrize(
    ("charset", "key", "raw", "expected"),
    [
        ("ISO_IR 100", "müller*", b"m\xfcller*", [1]),
        ("ISO_IR 101", "Łoś^*", b"\xa3o\xb6^*", [7]),
        ("ISO_IR 144", "дуброва*", "дуброва*".encode("iso8859_5"), [2]),
        ("ISO_IR 126", "ΔΗΜΟΥ*", "ΔΗΜΟΥ*".encode("iso8859_7"), [6]),
        (["", "ISO 2022 IR 87"], "=山田*", b"=\x1b$B;3ED\x1b(B*", [3]),
        (["", "ISO 2022 IR 149"], "김*", b"\x1b$)C\xb1\xe8*", [5]),
        ("GB18030", "王*", "王*".encode("gb18030"), [4]),
        ("GB18030", "Müller*", "Müller*".encode("gb18030"), [1]),
        (UTF_8, "дуброва^анна", "дуброва^анна".encode(), [2]),
    ],
    ids=str,
)
def test_keys_are_read_in_the_requests_own_character_set(
    server: Server, tmp_path: Path, charset: str | list[str], key: str, raw: bytes, expected: list[int]
) -> None:
    query = keys(SpecificCharacterSet=charset, PatientName=key)
    text = ask(server, query, tmp_path)
    assert raw in (tmp_path / "query.dcm").read_bytes(), "what is sent is in that character set"
    assert answered(text) == expected
    # It says nothing of the answer (PS3.4 C.2.2.2), which is in Unicode for who has no `charset:`.
    assert "(0008,0005) CS [ISO_IR 192]" in text.partition("Find Response")[2]


# Rule 16.
def test_an_empty_sequence_asks_for_all_of_it_and_one_with_an_item_for_what_it_names(
    server: Server, tmp_path: Path
) -> None:
    server.find("PatientID=90003", "ScheduledProcedureStepSequence", folder=tmp_path)
    (file,) = tmp_path.glob("*.dcm")
    whole = dcmread(file).ScheduledProcedureStepSequence[0]
    wanted = {"Modality", "ScheduledStationAETitle", "ScheduledProtocolCodeSequence", "ScheduledProcedureStepStatus"}
    assert wanted <= {element.keyword for element in whole}
    assert whole.ScheduledProtocolCodeSequence[0].CodeMeaning == "Head"
    file.unlink()
    server.find("PatientID=90003", f"{STEP}.ScheduledProtocolCodeSequence[0].CodeValue", folder=tmp_path)
    (file,) = tmp_path.glob("*.dcm")
    answer = dcmread(file)
    assert {element.keyword for element in answer} == {
        "SpecificCharacterSet",
        "PatientID",
        "ScheduledProcedureStepSequence",
        "StudyInstanceUID",  # always: consoles drop items without one
    }
    (step,) = answer.ScheduledProcedureStepSequence
    assert [element.keyword for element in step] == ["ScheduledProtocolCodeSequence"]
    assert [element.keyword for element in step.ScheduledProtocolCodeSequence[0]] == ["CodeValue"]


@pytest.mark.parametrize("name", SYNTAXES)
def test_answers_are_the_same_in_every_transfer_syntax(tmp_path: Path, name: str) -> None:
    server = Server([item(3, NAMES[3])], syntaxes=(SYNTAXES[name],))
    try:
        asked = ("PatientName", "PatientSex", "PatientID=90003", "ScheduledProcedureStepSequence")
        said = server.find(*asked, syntax=["-d"], folder=tmp_path)
    finally:
        server.scp.stop()
    assert f"Accepted Transfer Syntax: ={name}" in said, "or the same one would be tried three times"
    (file,) = tmp_path.glob("*.dcm")
    text = dumped(file)
    for line in (
        "(0010,0010) PN [YAMADA^TARO=山田^太郎=やまだ^たろう]",
        "(0010,0040) CS (no value available)",
        "(0008,0060) CS [CT]",
        "(0040,0020) CS [SCHEDULED]",
        "(0008,0104) LO [Head]",
    ):
        assert line in text


def test_of_what_a_scanner_offers_explicit_little_endian_is_taken(server: Server) -> None:
    for offered in ("-x=", "-xe", "-xb"):
        text = server.find("PatientID=90003", syntax=[offered, "-d"])
        assert "Accepted Transfer Syntax: =LittleEndianExplicit" in text
    assert "Accepted Transfer Syntax: =LittleEndianImplicit" in server.find("PatientID=90003", syntax=["-xi", "-d"])


# Rule 17.
def test_no_match_is_one_success_without_an_identifier(server: Server) -> None:
    text = server.find("PatientID=NOBODY")
    assert "Find Response:" not in text
    assert "Received Final Find Response (Success)" in text


# Rule 21.
def test_private_keys_and_the_level_of_a_query_are_no_keys(server: Server, tmp_path: Path) -> None:
    query = keys(QueryRetrieveLevel="PATIENT")
    block = query.private_block(0x0009, "ACME 1.0", create=True)
    block.add_new(0x01, "LO", "x")
    assert len(answered(ask(server, query, tmp_path))) == len(NAMES)
    assert len(answered(ask(server, query, tmp_path, "-xe"))) == len(NAMES)


class CancelledMeanwhile(Shelved):
    """An item that is not written before the server has heard the cancel: so the order of things is given."""

    __slots__ = ("heard",)

    def __getattribute__(self, name: str) -> object:
        if name == "encoded":
            object.__getattribute__(self, "heard")()
        return super().__getattribute__(name)


# Rule 18.
def test_a_cancel_ends_the_answers_with_fe00() -> None:
    server = Server([item(number) for number in range(1, 201)])
    deadline = time.monotonic() + 60

    def heard() -> None:
        assert server.scp._server is not None
        waited = False
        while not waited and time.monotonic() < deadline:
            waited = any(association.dimse.cancel_req for association in server.scp._server.active_associations)

    late = server.shelf.shelved[100]
    stand_in = CancelledMeanwhile(late.item, late.encoded)
    object.__setattr__(stand_in, "heard", heard)
    server.shelf.shelved[100] = stand_in
    try:
        text = server.find("AccessionNumber", syntax=["--cancel", "3"])
    finally:
        server.scp.stop()
    assert "Received Final Find Response (Cancel" in text
    (record,) = server.log.records
    assert record.status == 0xFE00
    assert 3 <= record.answers <= 101, "not one more after the cancel was heard"


# Rule 19.
@pytest.mark.parametrize(
    "key", [f"{STEP}.ScheduledProcedureStepStartDate=20261301", f"{STEP}.ScheduledProcedureStepStartTime=2500"]
)
def test_a_key_that_is_no_value_is_refused_and_never_taken_for_one_that_all_match(server: Server, key: str) -> None:
    text = server.find(key, "AccessionNumber")
    assert "(Error: DataSetDoesNotMatchSOPClass)" in text
    assert answered(text) == []


# Rule 23.
def test_scanners_of_different_titles_are_answered_and_every_called_title_is_ours(server: Server) -> None:
    for calling in ("CT1", "MR1", "NEW SCANNER"):
        assert answered(server.find(f"{MODALITY}=CT", f"{AE}=CT1", "AccessionNumber", calling=calling)) == list(NAMES)
    echo = ["echoscu", "-v", "-aet", "X", "-aec", "ANYTHING", "127.0.0.1", str(server.scp.port)]
    assert subprocess.run(echo, capture_output=True, timeout=30, check=False).returncode == 0


# Rule 24.
def test_answers_come_by_start_then_by_accession_number() -> None:
    items = [
        item(4, date="20261016", time="080000"),
        item(3, date="20261015", time="090000"),
        item(2, date="20261015", time="0830"),
        item(1, date="20261015", time="090000"),
    ]
    server = Server(items)
    try:
        assert server.numbers() == [2, 1, 3, 4]
    finally:
        server.scp.stop()
