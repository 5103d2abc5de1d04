"""dcmtk's findscu and echoscu against the worklist server: every rule, in three transfer syntaxes (dicom.md 2)."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from engine.adapters.dicom.scp import Modality
from tests.wire.worklist_rules import RULES, STEP, SYNTAXES, Found, Rule, item, put
from tests.wire.worklist_server import Server, dumped

pytestmark = pytest.mark.skipif(shutil.which("findscu") is None, reason="dcmtk's findscu is not installed")


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    made = Server()
    yield made
    made.scp.stop()
    assert made.shelf.open_readers == 0


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    shared.log.records.clear()
    kept = list(shared.shelf.shelved)
    yield shared
    shared.shelf.shelved[:] = kept


@pytest.fixture(scope="module", params=SYNTAXES.values(), ids=SYNTAXES)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Rule, Found]]:
    """What all rules come to in one transfer syntax, which is all that the server has; asked for once."""
    server = Server(syntaxes=(request.param,))
    yield put(server.scp.port, tmp_path_factory.mktemp("queries"))
    server.scp.stop()


class TestRules:
    @pytest.mark.parametrize("rule", RULES, ids=str)
    def test_what_a_query_finds(self, found: dict[Rule, Found], rule: Rule) -> None:
        assert found[rule] == rule.found

    def test_unmatched_keys_are_answered_with_ff01(self, server: Server) -> None:
        text = server.find("PatientComments=zzz")
        assert text.count("(Pending: WarningUnsupportedOptionalKeys)") == 5
        assert server.log.records[-1].unmatched == ("(0010,4000)",)
        assert "WarningUnsupportedOptionalKeys" not in server.find("PatientComments", f"{STEP}.Modality=CT")

    def test_a_malformed_date_is_refused_and_answers_nobody(self, server: Server) -> None:
        text = server.find(f"{STEP}.ScheduledProcedureStepStartDate=2026-10-15", "AccessionNumber")
        assert server.log.records[-1].status == 0xA900
        assert "[A1" not in text.split("Request")[-1]

    def test_answers_are_what_was_asked_for(self, server: Server, tmp_path: Path) -> None:
        server.find("PatientName=YAMADA*", f"{STEP}.Modality", "PatientComments", folder=tmp_path)
        (answer,) = tmp_path.glob("*.dcm")
        dump = dumped(answer)
        assert "(0008,0005) CS [ISO_IR 192]" in dump
        assert "(0010,0010) PN [YAMADA^TARO=山田^太郎=やまだ^たろう]" in dump
        assert "(0020,000d) UI [1.2.3]" in dump
        assert "(0010,4000) LT (no value available)" in dump
        assert "(0008,0060) CS [CT]" in dump
        assert "(0040,0001)" not in dump

    def test_the_log_says_what_each_key_took_away(self, server: Server) -> None:
        server.find(f"{STEP}.Modality=MR", f"{STEP}.ScheduledStationAETitle=CT1")
        (record,) = server.log.records
        assert (record.answers, record.without) == (0, {"Modality": 2, "ScheduledStationAETitle": 1})
        assert (record.calling, record.called) == ("CT1", "SEGMILL")


class TestCallers:
    def test_echo(self, server: Server) -> None:
        run = subprocess.run(
            ["echoscu", "-v", "127.0.0.1", str(server.scp.port)], capture_output=True, timeout=30, check=False
        )
        assert run.returncode == 0

    def test_an_unknown_caller_is_refused_with_the_reason(self) -> None:
        server = Server(callers={"CT1": Modality()}, others=None)
        try:
            assert "Calling AE Title Not Recognized" in server.find("AccessionNumber", calling="XX")
            assert server.log.refusals == [("XX", "SEGMILL", "calling AE title not recognised")]
            assert server.numbers() == [1, 6, 2, 3, 4]
        finally:
            server.scp.stop()

    def test_a_wrong_called_title_is_refused_with_the_reason(self) -> None:
        server = Server(called=("OTHER",))
        try:
            assert "Called AE Title Not Recognized" in server.find("AccessionNumber")
        finally:
            server.scp.stop()

    def test_a_modality_may_see_its_own_items_only(self) -> None:
        server = Server(callers={"CT1": Modality(own_items_only=True)})
        try:
            assert server.numbers() == [1, 3]
            assert server.numbers(f"{STEP}.ScheduledStationAETitle=MR1") == []
        finally:
            server.scp.stop()

    @pytest.mark.parametrize(
        ("charset", "name"),
        [
            ("ISO_IR 100", "MÜLLER^Eva"),
            ("ISO_IR 6", "MULLER^Eva"),
            ("GB18030", "MÜLLER^Eva"),
            ("ISO_IR 192", "MÜLLER^Eva"),
        ],
    )
    def test_each_modality_is_answered_in_its_character_set(self, charset: str, name: str, tmp_path: Path) -> None:
        server = Server(callers={"CT1": Modality(charset=charset)})
        try:
            server.find("PatientID=90002", "PatientName", folder=tmp_path)
        finally:
            server.scp.stop()
        (answer,) = tmp_path.glob("*.dcm")
        dump = dumped(answer)
        assert f"PN [{name}]" in dump
        # Converted to Unicode, dcmdump names the set that it converts to.
        assert dcmread(answer).get("SpecificCharacterSet") == (None if charset == "ISO_IR 6" else charset)

    def test_answers_have_an_end(self) -> None:
        server = Server([item(n) for n in range(1, 8)], most_answers=3)
        try:
            assert len(server.numbers()) == 3
            assert (server.log.records[-1].status, server.log.records[-1].is_cut) == (0xA700, True)
        finally:
            server.scp.stop()


class TestHostility:
    def test_health_checks_lock_nobody_out(self, server: Server) -> None:
        for _ in range(200):
            socket.create_connection(("127.0.0.1", server.scp.port)).close()
        assert server.numbers() == [1, 6, 2, 3, 4]

    def test_what_is_no_dicom_has_no_association(self, server: Server) -> None:
        with socket.create_connection(("127.0.0.1", server.scp.port), timeout=10) as other:
            other.sendall(b"\x0bMSH|^~\\&|HIS\x1c\r")
            assert other.recv(10) == b""
        assert server.numbers() == [1, 6, 2, 3, 4]

    def test_one_bad_item_does_not_end_the_answer(self, server: Server) -> None:
        bad = server.shelf.shelved[1]
        server.shelf.shelved[1] = type(bad)(bad.item, bad.encoded[:-40])
        assert server.numbers() == [1, 6, 3, 4]
