"""What the server is set to beside the matching: who may call, bounds, TLS, sockets, logs (dicom.md 4.4)."""

import logging
import os
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, timer
from pynetdicom.association import Association
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification

from engine.adapters.dicom import timers
from engine.adapters.dicom.queries import Queries
from engine.adapters.dicom.query_keys import identifier
from engine.adapters.dicom.scp import Modality
from engine.adapters.dicom.scu import DicomFailure, Finding, Peer, echo
from engine.adapters.dicom.server import SiteServer, StoreShelf, queries_of, settings_of
from engine.adapters.stores.memory import MemoryStore
from engine.adapters.tls import client_context, server_context
from engine.config.dicom import DicomOptions
from engine.ports.store import StoreQueries
from engine.ports.worklist import Shelved
from engine.worklist.matching import Query, compile_query
from tests.adapters.dicom.servers import Certificates, Server, item, serving
from tests.adapters.dicom.shelf import Performed
from tests.faults.outside import can_open

ITEMS = [item(1), item(2, "Müller^Eva", "MR1", "MR"), item(3, "Ötzi^Ida")]


def numbers(peer: Peer, *words: str) -> list[str]:
    return [str(answer.AccessionNumber) for answer in Finding(peer, identifier(words))]


def refusal(peer: Peer) -> str:
    with pytest.raises(DicomFailure) as found:
        echo(peer)
    return found.value.sentence


def until(condition: Callable[[], object], what: str) -> None:
    pause = threading.Event()
    for _ in range(30_000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError(f"never {what}")


@contextmanager
def associated(server: Server, calling: str = "CT1", *, finds: bool = False) -> Iterator[Association]:
    """An association that is open, and says nothing."""
    ae = AE(calling)
    ae.add_requested_context(Verification)
    if finds:
        ae.add_requested_context(ModalityWorklistInformationFind)
    association = ae.associate("127.0.0.1", server.scp.port, ae_title="SEGMILL")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def open_now(server: Server) -> int:
    assert server.scp._server is not None
    return len(server.scp._server.active_associations)


# -- who may call --------------------------------------------------------------------------------


def test_those_that_are_listed_may_call_and_others_as_the_site_says() -> None:
    with serving(ITEMS, callers={"CT1": Modality()}, others=None) as server:
        assert len(numbers(server.peer("CT1"))) == 3
        assert "(1/1/3)" in refusal(server.peer("CT2"))
        assert server.log.refusals == [("CT2", "SEGMILL", "calling AE title not recognised")]
    with serving(ITEMS, callers={"CT1": Modality()}, others=Modality()) as server:
        assert len(numbers(server.peer("CT2"))) == 3


def test_one_of_several_called_titles_will_do() -> None:
    with serving(ITEMS, called=("SEGMILL", "OLD_RIS")) as server:
        for called in ("SEGMILL", "OLD_RIS"):
            assert len(numbers(server.peer(called=called))) == 3
        assert "(1/1/7)" in refusal(server.peer(called="OTHER"))
    with serving(ITEMS) as server:
        assert len(numbers(server.peer(called="ANYTHING"))) == 3, "without a list any is taken"


def test_own_items_only_hides_what_is_of_others_whatever_is_asked() -> None:
    with serving(ITEMS, callers={"CT1": Modality(own_items_only=True)}) as server:
        assert numbers(server.peer("CT1")) == ["A1", "A3"]
        assert numbers(server.peer("CT1"), "ScheduledStationAETitle=MR1") == []
        assert numbers(server.peer("CT1"), "PatientID=90002") == []
        assert numbers(server.peer("MR1")) == ["A1", "A2", "A3"], "who is not set so sees all"
        assert server.log.records[0].without == {}


def test_accents_do_not_count_for_a_scanner_that_is_set_so() -> None:
    with serving(ITEMS, callers={"CT1": Modality(folds_accents=True)}, others=Modality()) as server:
        assert numbers(server.peer("CT1"), "PatientName=muller") == ["A2"]
        assert numbers(server.peer("MR1"), "PatientName=muller") == []
        assert numbers(server.peer("MR1"), "PatientName=müller") == ["A2"]


def test_accents_are_set_for_the_port_and_otherwise_for_a_scanner(tmp_path: Path) -> None:
    modalities = {"CT1": {}, "MR1": {"accents": "exact"}, "US1": {"accents": "fold"}}
    for said, folds in (({"accents": "fold"}, (True, False, True, True)), ({}, (False, False, True, False))):
        options = DicomOptions.model_validate({**said, "modalities": modalities})
        settings = settings_of(options, tmp_path)
        assert settings.others is not None
        callers = [*(settings.callers[title] for title in modalities), settings.others]
        assert tuple(caller.folds_accents for caller in callers) == folds


def test_each_caller_is_answered_in_its_character_set() -> None:
    sets = {"OLD": "ISO_IR 100", "ASCII": "ISO_IR 6", "NEW": "ISO_IR 192"}
    with serving(ITEMS, callers={title: Modality(charset=name) for title, name in sets.items()}) as server:
        found = {}
        for title in sets:
            (answer,) = Finding(server.peer(title), identifier(["PatientID=90002"]))
            found[title] = (answer.get("SpecificCharacterSet"), answer["PatientName"].value.original_string)
    assert found == {
        "OLD": ("ISO_IR 100", "Müller^Eva".encode("latin-1")),
        "ASCII": (None, b"Muller^Eva"),
        "NEW": ("ISO_IR 192", "Müller^Eva".encode()),
    }


# -- bounds --------------------------------------------------------------------------------------


def test_one_scanner_cannot_take_the_associations_of_others() -> None:
    with serving(ITEMS, callers={"CT1": Modality(most_associations=2)}) as server, ExitStack() as held:
        for _ in range(2):
            assert held.enter_context(associated(server, "CT1")).is_established
        until(lambda: server.scp._counts.get("CT1") == 2, "counted")
        assert "(2/3/2)" in refusal(server.peer("CT1"))
        assert server.log.refusals[-1] == ("CT1", "SEGMILL", "too many associations of this AE title")
        assert len(numbers(server.peer("MR1"))) == 3
        held.close()
        until(lambda: not server.scp._counts.get("CT1"), "let go of")
        assert len(numbers(server.peer("CT1"))) == 3


def test_all_together_have_a_bound() -> None:
    with serving(ITEMS, most_associations=3) as server, ExitStack() as held:
        for title in ("CT1", "CT2", "CT3"):
            assert held.enter_context(associated(server, title)).is_established
        assert "(2/3/2)" in refusal(server.peer("CT4"))
        held.close()
        until(lambda: not open_now(server), "let go of")
        assert len(numbers(server.peer("CT4"))) == 3


def test_an_association_that_says_nothing_is_ended() -> None:
    with serving(ITEMS, network_s=0.3) as server, associated(server) as silent:
        until(lambda: silent.is_aborted, "ended")
        until(lambda: not open_now(server), "let go of")


def test_a_connection_that_says_nothing_has_no_association_and_is_closed() -> None:
    with serving(ITEMS, hello_s=0.3) as server:
        with socket.create_connection(("127.0.0.1", server.scp.port), timeout=30) as silent:
            assert silent.recv(1) == b"", "the server hangs up"
        assert open_now(server) == 0


def test_silent_connections_hold_nobody_up() -> None:
    with serving(ITEMS, hello_s=60.0, most_associations=5) as server, ExitStack() as held:
        for _ in range(50):
            held.enter_context(socket.create_connection(("127.0.0.1", server.scp.port), timeout=30))
        assert len(numbers(server.peer())) == 3


def test_answers_have_a_bound() -> None:
    with serving([item(number) for number in range(1, 8)], most_answers=3) as server:
        finding = Finding(server.peer(), identifier([]))
        assert len(list(finding)) == 3
        assert finding.status == 0xA700
        assert server.log.records[-1].is_cut
        assert numbers(server.peer(), "PatientID=90007") == ["A7"]


def test_the_settings_reach_the_server(tmp_path: Path) -> None:
    options = DicomOptions.model_validate(
        {
            "host": "127.0.0.1",
            "port": 0,
            "called": ["SEGMILL"],
            "others": "refuse",
            "modalities": {"CT1": {"own_items_only": True, "charset": "ISO_IR 100", "associations": 4}},
            "limits": {"associations": 7, "answers": 9, "hello": "2s", "network": "40s"},
        }
    )
    store = MemoryStore()
    store.open()
    queries = store.queries()
    scp = _site_server(options, tmp_path, queries).scp
    settings = scp.settings
    assert (settings.called, settings.others) == (("SEGMILL",), None)
    assert settings.callers == {"CT1": Modality("ISO_IR 100", True, 4)}
    assert (settings.most_associations, settings.most_answers) == (7, 9)
    assert (settings.hello_s, settings.network_s, settings.dimse_s) == (2.0, 40.0, 40.0)
    queries.close()
    store.close()


def test_what_the_store_has_damaged_is_counted_and_the_rest_is_answered() -> None:
    class Meter:
        missing = 0

        def queried(self, outcome: str, answers: int, seconds: float, rewritten: int) -> None: ...

        def refused_association(self) -> None: ...

        def left_out(self, count: int) -> None:
            self.missing += count

    class View:
        damaged = 2

        def candidates(self, query: Query, most: int) -> list[Shelved]:
            return [Shelved(item(1), b"")]

    class Stored:
        @contextmanager
        def worklist(self, name: str) -> Iterator[View]:
            yield View()

    meter = Meter()
    shelf = StoreShelf(Stored(), "main", Queries(meter, keep=1, keeps_patients=False))  # type: ignore[arg-type]
    assert len(shelf.candidates(compile_query({}), 9)) == 1
    assert meter.missing == 2


class Meter:
    def queried(self, outcome: str, answers: int, seconds: float, rewritten: int) -> None: ...

    def refused_association(self) -> None: ...

    def left_out(self, count: int) -> None: ...


def _site_server(options: DicomOptions, folder: Path, queries: StoreQueries) -> SiteServer:
    return SiteServer(options, folder, queries, Performed(), queries_of(options, Meter()), lambda: 0)


# -- sockets -------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO of a listener says its backlog on Linux only")
def test_the_backlog_is_128() -> None:
    with serving() as server:
        assert server.scp._server is not None and server.scp._server.socket is not None
        info = server.scp._server.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    # tcpi_sacked: of a socket that listens, the most connections that wait to be accepted.
    (backlog,) = struct.unpack_from("I", info, 28)
    assert backlog == 128


def test_answers_are_not_held_back_for_more() -> None:
    with serving() as server, associated(server):
        assert server.scp._server is not None
        (association,) = server.scp._server.active_associations
        wrapped = association.dul.socket
        assert wrapped is not None and wrapped.socket is not None
        assert wrapped.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_both_little_endians_are_taken(syntax: str) -> None:
    with serving(ITEMS) as server:
        ae = AE("CT1")
        ae.add_requested_context(ModalityWorklistInformationFind, syntax)
        association = ae.associate("127.0.0.1", server.scp.port, ae_title="SEGMILL")
        found = [answer for _, answer in association.send_c_find(identifier([]), ModalityWorklistInformationFind)]
        association.release()
    assert [answer.AccessionNumber for answer in found if answer is not None] == ["A1", "A2", "A3"]


def test_deflated_is_not_offered() -> None:
    """No scanner asks for it alone, and none of the peers of a worklist offers it (dicom.md section 2, rule 23)."""
    with serving(ITEMS) as server:
        ae = AE("CT1")
        ae.add_requested_context(ModalityWorklistInformationFind, DeflatedExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", server.scp.port, ae_title="SEGMILL")
        assert not association.is_established


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def mutual(certificates: Certificates) -> ssl.SSLContext:
    certificate, key = certificates.server
    return server_context(certificate=certificate, key=key, client_ca=certificates.ca)


def test_a_scanner_shows_its_certificate_where_the_site_asks_for_it(
    certificates: Certificates, mutual: ssl.SSLContext, tmp_path: Path
) -> None:
    certificate, key = certificates.client
    ours = client_context(ca=certificates.ca, certificate=certificate, key=key)
    stranger = Certificates(tmp_path)
    theirs = client_context(ca=certificates.ca, certificate=stranger.client[0], key=stranger.client[1])
    with serving(ITEMS, tls=mutual) as server:
        assert len(numbers(server.peer(tls=ours, server_name="localhost"))) == 3
        for context in (client_context(ca=certificates.ca), theirs):
            refusal(server.peer(tls=context, server_name="localhost"))
        assert len(server.log.records) == 1
        until(lambda: not open_now(server), "let go of")


def test_a_silent_client_holds_up_no_handshake(certificates: Certificates) -> None:
    certificate, key = certificates.server
    with serving(ITEMS, tls=server_context(certificate=certificate, key=key), hello_s=60.0) as server:
        trusted = client_context(ca=certificates.ca)
        with ExitStack() as held:
            for _ in range(5):
                held.enter_context(socket.create_connection(("127.0.0.1", server.scp.port), timeout=30))
            assert len(numbers(server.peer(tls=trusted, server_name="localhost"))) == 3


def test_a_site_sets_tls_by_files(certificates: Certificates, tmp_path: Path) -> None:
    for name, source in (("own.crt", certificates.server[0]), ("own.key", certificates.server[1])):
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / "ca.crt").write_bytes(certificates.ca.read_bytes())
    tls = {"certificate": "own.crt", "key": "own.key", "client_ca": "ca.crt"}
    options = DicomOptions.model_validate({"host": "127.0.0.1", "port": 0, "tls": tls})
    store = MemoryStore()
    store.open()
    queries = store.queries()
    scp = _site_server(options, tmp_path, queries).scp
    scp.start()
    try:
        certificate, key = certificates.client
        context = client_context(ca=certificates.ca, certificate=certificate, key=key)
        assert echo(Peer("127.0.0.1", scp.port, "SEGMILL", "CT1", 20, context, "localhost")).status == 0
        refusal(Peer("127.0.0.1", scp.port, "SEGMILL", "CT1", 20, client_context(ca=certificates.ca), "localhost"))
    finally:
        scp.stop()
        queries.close()
        store.close()


# -- what is told --------------------------------------------------------------------------------


def test_the_query_log_says_which_key_took_what_away() -> None:
    fourteen = [item(number) for number in range(1, 15)]
    with serving(fourteen) as server:
        assert numbers(server.peer(), "Modality=MR", "ScheduledStationAETitle=CT1") == []
        (record,) = server.log.records
        assert (record.answers, record.without) == (0, {"Modality": 14, "ScheduledStationAETitle": 0})


@pytest.mark.parametrize("words", [("PatientName=Muster*",), ("PatientID=90001",), ("PatientBirthDate=19800x03",)])
def test_odd_values_are_quoted_nowhere(
    words: tuple[str, ...], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    """pydicom warns of values that are none of their kind, and says them."""
    caplog.set_level(logging.DEBUG)
    with serving(ITEMS) as server:
        list(Finding(server.peer(), identifier([*words, "OtherPatientIDs=" + "9" * 80])))
    said = caplog.text + "".join(str(one.message) for one in recwarn)
    for marker in ("Muster", "90001", "19800x03", "9" * 70):
        assert marker not in said


# -- beside others ---------------------------------------------------------------------------------


def test_a_scanner_is_answered_beside_more_descriptors_than_select_knows() -> None:
    least = 1100 + len(os.listdir("/proc/self/fd"))
    if not can_open(least):
        pytest.skip(f"this process may not have {least} descriptors")
    with ExitStack() as undo:
        for _ in range(1024):
            undo.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        with serving(ITEMS) as server:
            assert numbers(server.peer()) == ["A1", "A2", "A3"]


# -- clocks ----------------------------------------------------------------------------------------


def test_a_wall_clock_that_is_set_ends_no_association(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(ITEMS) as server, associated(server) as association:
        association.network_timeout = None  # the other side's own timer is pynetdicom's
        assert server.scp._server is not None
        (ours,) = server.scp._server.active_associations
        looks: list[bool] = []
        look = ours.dul.idle_timer_expired

        def noted() -> bool:
            looks.append(look())
            return looks[-1]

        monkeypatch.setattr(ours.dul, "idle_timer_expired", noted)
        hour_later = time.time() + 3600
        monkeypatch.setattr(timer, "time", SimpleNamespace(time=lambda: hour_later))
        looks.clear()
        until(lambda: len(looks) > 3, "looked at the timer")
        assert not any(looks)
        assert association.send_c_echo().Status == 0


def test_a_query_that_takes_longer_than_silence_may_does_not_end_the_association(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, looks = [1000.0], []
    monkeypatch.setattr(timers, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with serving(ITEMS) as server, associated(server, finds=True) as association:
        assert server.scp._server is not None
        (ours,) = server.scp._server.active_associations
        look = ours.dul.idle_timer_expired

        reader = server.shelf.reader

        def slow_reader() -> Any:
            now[0] += 3600
            monkeypatch.setattr(ours.dul, "idle_timer_expired", lambda: looks.append(look()) or looks[-1])
            return reader()

        monkeypatch.setattr(server.shelf, "reader", slow_reader)
        found = list(association.send_c_find(identifier(["PatientID=nobody"]), ModalityWorklistInformationFind))
        assert [status.Status for status, _ in found] == [0]
        until(lambda: len(looks) > 3, "looked at the timer")
        assert not any(looks)
        assert association.send_c_echo().Status == 0
