"""The client: what it is answered, and in which words it says why it is not."""

import logging
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification

from engine.adapters.dicom import scu
from engine.adapters.dicom.query_keys import BadQueryKey, identifier
from engine.adapters.dicom.scp import Modality
from engine.adapters.dicom.scu import DicomFailure, Finding, Peer, echo
from engine.adapters.tls import client_context, server_context
from tests.adapters.dicom.servers import Certificates, item, serving, talking
from tests.ports import free_port

ITEMS = [item(1), item(2, "MÜLLER^Eva", "MR1", "MR"), item(3, "YAMADA^TARO=山田^太郎=やまだ^たろう")]


def failure(peer: Peer) -> tuple[str, str]:
    with pytest.raises(DicomFailure) as found:
        echo(peer)
    return found.value.kind, found.value.sentence


def find(peer: Peer, *words: str, most: int = 0) -> list[str]:
    return [str(answer.AccessionNumber) for answer in Finding(peer, identifier(words), most)]


# -- answers -------------------------------------------------------------------------------------


def test_an_echo_is_answered() -> None:
    with serving() as server:
        answer = echo(server.peer())
    assert answer.status == 0
    assert answer.implementation


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ((), ["A1", "A2", "A3"]),
        (("PatientID=90001",), ["A1"]),
        (("(0010,0020)=90002",), ["A2"]),
        (("00100020=90002",), ["A2"]),
        (("ScheduledProcedureStepSequence.Modality=MR",), ["A2"]),
        (("ScheduledProcedureStepSequence[0].Modality=MR",), ["A2"]),
        (("(0040,0100).(0008,0060)=MR",), ["A2"]),
        (("Modality=MR",), ["A2"]),
        (("ScheduledStationAETitle=CT1", "Modality=CT"), ["A1", "A3"]),
        (("PatientName=müller*",), ["A2"]),
        (("PatientName=山田*",), ["A3"]),
        (("ScheduledProcedureStepStartDate=20260101-20260102",), ["A1", "A2", "A3"]),
        (("ScheduledProcedureStepStartDate=20260103-",), []),
        (("PatientComments",), ["A1", "A2", "A3"]),
    ],
)
def test_keys_are_names_or_tags(keys: tuple[str, ...], expected: list[str]) -> None:
    with serving(ITEMS) as server:
        assert find(server.peer(), *keys) == expected


def test_answers_have_what_was_asked_for_in_their_own_character_set() -> None:
    with serving(ITEMS, callers={"OLD": Modality(charset="ISO_IR 100")}) as server:
        (answer,) = Finding(server.peer("OLD"), identifier(["PatientID=90002", "PatientComments"]))
    assert str(answer.PatientName) == "MÜLLER^Eva"
    assert answer.SpecificCharacterSet == "ISO_IR 100"
    assert answer.ScheduledProcedureStepSequence[0].Modality == "MR"
    assert "PatientComments" in answer


def test_a_key_that_the_server_does_not_match_by_is_said() -> None:
    with serving(ITEMS) as server:
        finding = Finding(server.peer(), identifier(["PatientComments=x"]))
        assert len(list(finding)) == 3
    assert finding.unmatched


def test_after_enough_answers_it_is_cancelled_and_the_server_stops() -> None:
    with serving([item(number) for number in range(1, 9)]) as server:
        server.wait_for_cancel_at(5)
        finding = Finding(server.peer(), identifier([]), 3)
        assert len(list(finding)) == 3
        assert (finding.status, finding.failure) == (0xFE00, "")
        (record,) = server.log.records
        # The cancel goes out with the third; what was made until it came is sent.
        assert record.status == 0xFE00
        assert 3 <= record.answers <= 5


def test_a_query_that_the_server_refuses_says_so() -> None:
    with serving(ITEMS) as server:
        finding = Finding(server.peer(), identifier(["ScheduledProcedureStepStartDate=2026-01-02"]))
        assert list(finding) == []
        assert finding.status == 0xA900
        assert "keys" in finding.failure


def test_more_answers_than_the_server_gives_are_said() -> None:
    with serving(ITEMS, most_answers=2) as server:
        finding = Finding(server.peer(), identifier([]))
        assert len(list(finding)) == 2
        assert "out of resources" in finding.failure


def test_a_query_that_is_left_half_way_is_aborted() -> None:
    with serving([item(number) for number in range(1, 50)]) as server:
        finding = iter(Finding(server.peer(), identifier([])))
        next(finding)
        finding.close()  # type: ignore[attr-defined]
        assert find(server.peer(), "PatientID=90007") == ["A7"], "the server goes on"


# -- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calling", "called", "told"),
    [("XX", "SEGMILL", "(1/1/3)"), ("CT1", "OTHER", "(1/1/7)"), ("FULL", "SEGMILL", "(2/3/2)")],
)
def test_a_refusal_that_is_here_before_anybody_looks_is_told_as_such(
    calling: str, called: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SeenLate(threading.Event):
        """That there is a connection; who waits for it comes when it is closed again."""

        closed = threading.Event()

        def wait(self, timeout: float | None = None) -> bool:
            return super().wait(timeout) and self.closed.wait()

    class Socket(scu._ConnectedSocket):
        def __init__(self, *values: Any, **more: Any) -> None:
            super().__init__(*values, **more)
            self._ready = SeenLate()

        def close(self) -> None:
            super().close()
            SeenLate.closed.set()

    monkeypatch.setattr(scu, "_ConnectedSocket", Socket)
    callers = {"CT1": Modality(), "FULL": Modality(most_associations=0)}
    with serving(called=("SEGMILL",), callers=callers, others=None) as server:
        _, sentence = failure(server.peer(calling, called))
    assert sentence.endswith(told)


def test_a_closed_port_is_refused() -> None:
    kind, sentence = failure(Peer("127.0.0.1", free_port(), "SEGMILL", "CT1"))
    assert (kind, "Connection refused" in sentence) == ("unreachable", True)


def test_a_name_that_is_none() -> None:
    kind, sentence = failure(Peer("no-such-host.invalid", 104, "SEGMILL", "CT1"))
    assert (kind, sentence) == ("unreachable", "no host is named no-such-host.invalid")


def test_a_place_without_a_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_way(*args: object) -> socket.socket:
        raise OSError(113, "No route to host")

    monkeypatch.setattr(socket, "create_connection", no_way)
    kind, sentence = failure(Peer("10.0.0.1", 104, "SEGMILL", "CT1"))
    assert (kind, sentence) == ("unreachable", "10.0.0.1:104 cannot be reached: No route to host")


def test_a_host_that_says_nothing_to_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*args: object) -> socket.socket:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent)
    assert failure(Peer("10.0.0.1", 104, "SEGMILL", "CT1")) == (
        "unreachable",
        "10.0.0.1:104 cannot be reached within 10 s",
    )


@pytest.mark.parametrize(
    ("settings", "called", "kind", "words"),
    [
        (
            {"callers": {"MR1": Modality()}, "others": None},
            "SEGMILL",
            "not_allowed",
            "does not know our AE title (1/1/3)",
        ),
        ({"called": ("OTHER",)}, "SEGMILL", "not_allowed", "is not called by this AE title (1/1/7)"),
        (
            {"callers": {"CT1": Modality(most_associations=0)}},
            "SEGMILL",
            "busy",
            "as many associations as it takes (2/3/2)",
        ),
    ],
)
def test_a_rejection_is_told_with_its_reason(settings: dict[str, object], called: str, kind: str, words: str) -> None:
    with serving(**settings) as server:
        told = failure(server.peer(called=called))
    assert told[0] == kind
    assert words in told[1]


def test_a_server_without_the_service_is_said_so() -> None:
    ae = AE("STORE")
    ae.add_supported_context(Verification)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        peer = Peer("127.0.0.1", server.server_address[1], "STORE", "CT1", 20)
        assert echo(peer).status == 0
        with pytest.raises(DicomFailure) as found:
            list(Finding(peer, identifier([])))
        assert (found.value.kind, "does not offer this service" in found.value.sentence) == ("no_service", True)
    finally:
        server.shutdown()


@pytest.mark.parametrize("ask", [echo, lambda peer: list(Finding(peer, identifier([])))], ids=["echo", "find"])
def test_a_server_that_lets_us_in_and_leaves_at_once_is_told_as_such(
    ask: Callable[[Peer], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = threading.Event()
    session = scu._Session.asked

    def late(self: scu._Session, call: Callable[[], object]) -> object:
        while self.association.is_established:
            gone.wait(0.01)
        return session(self, call)

    monkeypatch.setattr(scu._Session, "asked", late)
    ae = AE("BRIEF")
    ae.add_supported_context(Verification)
    ae.add_supported_context(ModalityWorklistInformationFind)
    handlers: Any = [(evt.EVT_ESTABLISHED, lambda event: event.assoc.abort())]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        with pytest.raises(DicomFailure) as found:
            ask(Peer("127.0.0.1", server.server_address[1], "BRIEF", "CT1", 20))
        assert found.value.kind == "aborted"
    finally:
        server.shutdown()


def test_a_server_that_aborts_is_told_apart_from_one_that_is_silent() -> None:
    def abort(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(struct.pack(">BBIBBBB", 7, 0, 4, 0, 0, 2, 2))
        connection.recv(1)

    with talking(abort) as port:
        kind, sentence = failure(Peer("127.0.0.1", port, "SEGMILL", "CT1", 20))
    assert (kind, "broke the association off, as it did not expect what we sent" in sentence) == ("aborted", True)


def test_a_server_that_closes_the_connection() -> None:
    with talking(lambda connection: connection.recv(4096) and None) as port:
        kind, sentence = failure(Peer("127.0.0.1", port, "SEGMILL", "CT1", 20))
    assert (kind, "closed the connection without an answer" in sentence) == ("aborted", True)


def test_a_server_that_speaks_something_else() -> None:
    def http(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.recv(1)

    with talking(http) as port:
        kind, sentence = failure(Peer("127.0.0.1", port, "SEGMILL", "CT1", 20))
    assert (kind, sentence.endswith("is not DICOM")) == ("aborted", True)


def test_a_server_that_never_answers() -> None:
    def silent(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    with talking(silent) as port:
        kind, sentence = failure(Peer("127.0.0.1", port, "SEGMILL", "CT1", 0.3))
    assert (kind, sentence) == ("unreachable", f"127.0.0.1:{port} did not answer within 0.3 s")


def test_a_server_that_stops_half_way_through_its_answers() -> None:
    def answer(event: evt.Event):  # type: ignore[no-untyped-def]
        yield 0xFF00, identifier(["PatientID=1"])
        event.assoc.abort()
        yield 0x0000, None

    ae = AE("HALF")
    ae.add_supported_context(ModalityWorklistInformationFind)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, answer)])
    try:
        with pytest.raises(DicomFailure) as found:
            list(Finding(Peer("127.0.0.1", server.server_address[1], "HALF", "CT1", 20), identifier([])))
        assert found.value.kind == "aborted"
    finally:
        server.shutdown()


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def test_tls_by_the_servers_name(certificates: Certificates) -> None:
    certificate, key = certificates.server
    with serving(ITEMS, tls=server_context(certificate=certificate, key=key)) as server:
        trusted = client_context(ca=certificates.ca)
        assert find(server.peer(tls=trusted, server_name="localhost"), "PatientID=90001") == ["A1"]
        kind, sentence = failure(server.peer(tls=trusted))
        assert (kind, "is not believed" in sentence and "127.0.0.1" in sentence) == ("unreachable", True)
        kind, sentence = failure(server.peer(tls=client_context(), server_name="localhost"))
        assert (kind, "is not believed" in sentence) == ("unreachable", True)
        assert echo(server.peer(tls=client_context(verify=False))).status == 0


def test_tls_to_a_plain_port_and_the_other_way_about(certificates: Certificates) -> None:
    certificate, key = certificates.server
    with serving() as plain:
        kind, sentence = failure(plain.peer(tls=client_context(verify=False)))
        assert (kind, sentence.startswith("no TLS with 127.0.0.1:")) == ("unreachable", True), sentence
    with serving(tls=server_context(certificate=certificate, key=key)) as server:
        kind, sentence = failure(server.peer())
        assert kind == "aborted", sentence


def test_nothing_of_patients_is_in_any_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("pynetdicom").setLevel(logging.DEBUG)
    try:
        with serving(ITEMS) as server:
            assert find(server.peer(), "PatientID=90001", "PatientName=Muster*") == ["A1"]
    finally:
        logging.getLogger("pynetdicom").setLevel(logging.NOTSET)
    assert "pynetdicom" in {record.name.partition(".")[0] for record in caplog.records}
    for marker in ("Muster", "90001", "A1 "):
        assert marker not in caplog.text


# -- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["PatentID=1"], "names no attribute"),
        (["PatientID=1", "(0010,0020)=2"], "given twice"),
        (["PatientID.Modality=CT"], "no sequence"),
        (["ScheduledProcedureStepSequence=CT"], "is a sequence"),
        (["PregnancyStatus=B6"], "is a number"),
        (["(7FE0,0010)=1"], "holds bytes"),
        (["=1"], "names no attribute"),
    ],
)
def test_a_key_that_is_none_is_said(words: list[str], why: str) -> None:
    with pytest.raises(BadQueryKey, match=why):
        identifier(words)


def test_an_identifier_is_what_is_asked_for() -> None:
    made = identifier(["PatientID=1", "PregnancyStatus=4", "RequestedProcedureCodeSequence"], ())
    assert [element.keyword for element in made] == ["PatientID", "PregnancyStatus", "RequestedProcedureCodeSequence"]
    assert made.PregnancyStatus == 4
    made = identifier(["PatientName=Müller"], ())
    assert made.SpecificCharacterSet == "ISO_IR 192"


def test_the_same_key_at_two_levels_is_two_keys(tmp_path: Path) -> None:
    made = identifier(["ScheduledProcedureStepSequence.Modality=CT", "RequestedProcedureCodeSequence.CodeValue=X"], ())
    assert made.ScheduledProcedureStepSequence[0].Modality == "CT"
    assert made.RequestedProcedureCodeSequence[0].CodeValue == "X"
