"""The worklist server: C-ECHO, C-FIND on the modality worklist, and MPPS, on one port (dicom.md sections 2 and 4.4).

pynetdicom with threads of its own, beside the engine's loop: a query reads through its own read-only connection and
cannot hold up a message. What is set here that pynetdicom has otherwise, each for a reason that was measured: no delay
on sockets (40 ms an answer, and cancels that are never seen), a backlog of 128, a first byte before an association has
a slot and a thread (twelve health checks locked everybody out for 30 s), TLS handshakes in the connection's own thread,
no identifiers in any log.
"""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from socketserver import BaseServer
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode as encode_dataset
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationFind,
    Verification,
)
from pynetdicom.transport import ThreadedAssociationServer

from engine.adapters.dicom.answers import Answers, sends_written
from engine.adapters.dicom.charsets import UNICODE, charset_of
from engine.adapters.dicom.encode import Encoded, dataset_of, joined, wanted_of
from engine.adapters.dicom.kept import Kept, form_of
from engine.adapters.dicom.keys import Identifier, identifier_of
from engine.adapters.dicom.quiet import silence
from engine.adapters.dicom.sockets import closes_its_socket
from engine.adapters.dicom.timers import steady_timers, was_busy
from engine.ports.worklist import (
    MppsReply,
    PerformedSteps,
    QueryLog,
    QueryRecord,
    Shelved,
    WorklistReader,
    WorklistShelf,
)
from engine.worklist.asking import ask
from engine.worklist.item import Attributes, Item
from engine.worklist.matching import BadKey, Query, answer, compile_query

log = logging.getLogger("segmill.dicom")

silence()

PENDING, PENDING_UNMATCHED, SUCCESS, CANCELLED = 0xFF00, 0xFF01, 0x0000, 0xFE00
OUT_OF_RESOURCES, BAD_IDENTIFIER, UNABLE = 0xA700, 0xA900, 0xC001
SYNTAXES: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
"""Best first: of what a scanner offers, the server takes one. Big Endian is not stored, but made for each answer."""


@dataclass(slots=True, frozen=True)
class Modality:
    """How one calling AE title is treated. `charset`: a term of `charsets.TERMS`. `most_associations`: at one
    time. `folds_accents`: whether names match without regard to accents."""

    charset: str = UNICODE
    own_items_only: bool = False
    most_associations: int = 10
    folds_accents: bool = False


@dataclass(slots=True, frozen=True)
class ScpSettings:
    """A worklist server. Times in seconds.

    `called`: AE titles that it answers to, () any. `callers`: AE titles that may call with how they are treated;
    `others`: how an AE title that is not listed is treated, None refuses it.
    """

    host: str
    port: int
    ae_title: str = "SEGMILL"
    called: tuple[str, ...] = ()
    callers: Mapping[str, Modality] = field(default_factory=dict)
    others: Modality | None = field(default_factory=Modality)
    most_associations: int = 100
    most_answers: int = 1000
    hello_s: float = 5.0
    acse_s: float = 5.0
    network_s: float = 30.0
    dimse_s: float = 30.0
    tls: ssl.SSLContext | None = None
    logs_patients: bool = False
    syntaxes: tuple[UID, ...] = SYNTAXES


_STATION, _START_DATE = "ScheduledStationAETitle", "ScheduledProcedureStepStartDate"
_NOTHING_BUT_ITS_OWN: Final = Modality(own_items_only=True)


def _contexts(settings: ScpSettings, *, has_mpps: bool) -> list[PresentationContext]:
    offered = [Verification, ModalityWorklistInformationFind, *([ModalityPerformedProcedureStep] if has_mpps else [])]
    return [build_context(sop_class, list(settings.syntaxes)) for sop_class in offered]


class _Server(ThreadedAssociationServer):
    """Takes a connection only once it has said something, and makes its handshake in its own thread."""

    request_queue_size = 128
    daemon_threads = True
    hello_s = 5.0

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        assert self.socket is not None, "the server is bound"
        return self.socket.accept()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request.settimeout(self.hello_s)
            if self.ssl_context:
                request = self.ssl_context.wrap_socket(request, server_side=True)
            elif request.recv(1, socket.MSG_PEEK) != b"\x01":
                # No A-ASSOCIATE-RQ: a health check, a scan, HL7 on the wrong port.
                self.shutdown_request(request)
                return
        except (OSError, ValueError):
            self.shutdown_request(request)
            return
        request.settimeout(self.ae.network_timeout)
        super().process_request_thread(request, client_address)

    def shutdown(self) -> None:
        # pynetdicom's own takes it off a list that only its start_server fills.
        BaseServer.shutdown(self)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.exception("a DICOM connection failed")


class WorklistScp:
    """One server. `start` binds and returns; `stop` ends its associations."""

    def __init__(
        self,
        settings: ScpSettings,
        shelf: WorklistShelf,
        queries: QueryLog,
        performed: PerformedSteps | None = None,
        *,
        now_us: Callable[[], int],
    ) -> None:
        self.settings = settings
        self._shelf = shelf
        self._log = queries
        self._performed = performed
        self._now_us = now_us
        self._server: _Server | None = None
        self._retired: _Server | None = None
        self._thread: threading.Thread | None = None
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._kept = Kept()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None, "it was started"
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Bind and serve. Raises OSError where the port cannot be had."""
        self.bind()
        self.serve()

    def bind(self) -> None:
        """Take the port; who connects waits for `serve`. Raises OSError."""
        settings = self.settings
        handlers: Any = [
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_N_CREATE, self._create),
            (evt.EVT_N_SET, self._set),
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ESTABLISHED, self._established),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]
        server = AE(ae_title=settings.ae_title).make_server(
            (settings.host, settings.port),
            evt_handlers=handlers,
            contexts=_contexts(settings, has_mpps=self._performed is not None),
            server_class=_Server,
        )
        assert isinstance(server, _Server)
        self._server = server
        self._set_up(server)

    def serve(self) -> None:
        """Answer from now on."""
        server = self._server
        assert server is not None, "it is bound"
        self._thread = threading.Thread(target=partial(server.serve_forever, 0.1), name="segmill-dicom", daemon=True)
        self._thread.start()

    def change(self, settings: ScpSettings, shelf: WorklistShelf, performed: PerformedSteps | None) -> None:
        """Serve by other settings from now on, on the port that it has. What is open stays so.

        A query is answered by the settings of its moment; limits in time, TLS and what may be asked for at all stay
        what they were when its association began.
        """
        self.settings, self._shelf, self._performed = settings, shelf, performed
        if self._server is not None:
            self._set_up(self._server)

    def _set_up(self, server: _Server) -> None:
        settings, ae = self.settings, server.ae
        ae.ae_title = server.ae_title = settings.ae_title
        ae.maximum_associations = settings.most_associations
        ae.acse_timeout = settings.acse_s
        ae.network_timeout = settings.network_s
        ae.dimse_timeout = settings.dimse_s
        server.hello_s = settings.hello_s
        server.ssl_context = settings.tls
        server.contexts = _contexts(settings, has_mpps=self._performed is not None)

    def stop(self, finish_s: float = 0.0) -> None:
        """Stop listening and end what is open: within a second or two, or when it ends by itself within `finish_s`.

        A second call, from another thread, ends what the first one waits for.
        """
        with self._lock:
            server, self._server = self._server, None
        if server is not None and self._thread is None:
            server.server_close()  # it never served: there is no loop to end
        elif server is not None:
            server.shutdown()
            self._retired = server
            deadline = time.monotonic() + finish_s
            for association in server.active_associations:
                association.join(max(0.0, deadline - time.monotonic()))
        if self._retired is not None:
            for association in self._retired.active_associations:
                association.abort()
        if server is not None and self._thread is not None:
            self._thread.join(5)

    # -- who may call ---------------------------------------------------------------------------

    def _caller(self, title: str) -> Modality | None:
        return self.settings.callers.get(title, self.settings.others)

    def _caller_of(self, event: Any, title: str) -> Modality:
        """How who asks is answered: one that may call no more keeps what it was let in with, as long as it is there."""
        return self._caller(title) or getattr(event.assoc, "segmill_caller", None) or _NOTHING_BUT_ITS_OWN

    def _opened(self, event: Any) -> None:
        sends_written(event.assoc)
        closes_its_socket(event.assoc)
        steady_timers(event.assoc)

    def _requested(self, event: Any) -> None:
        """Before pynetdicom answers a request for an association: refuse it with the reason that the standard has."""
        request = event.assoc.requestor.primitive
        calling, called = _title(request.calling_ae_title), _title(request.called_ae_title)
        settings = self.settings
        caller = self._caller(calling)
        why, source, diagnostic = "", 0x01, 0x01
        if settings.called and called not in settings.called:
            why, diagnostic = "called AE title not recognised", 0x07
        elif caller is None:
            why, diagnostic = "calling AE title not recognised", 0x03
        else:
            with self._lock:
                if self._counts.get(calling, 0) >= caller.most_associations:
                    why, source, diagnostic = "too many associations of this AE title", 0x03, 0x02
        if why:
            self._log.refused(calling, called, _peer(event), why)
            event.assoc.acse.send_reject(0x02 if source == 0x03 else 0x01, source, diagnostic)
            event.assoc._kill = True
            event.assoc.kill()

    def _established(self, event: Any) -> None:
        title = _title(event.assoc.requestor.ae_title)
        event.assoc.segmill_counted = title
        event.assoc.segmill_caller = self._caller(title)
        with self._lock:
            self._counts[title] = self._counts.get(title, 0) + 1

    def _closed(self, event: Any) -> None:
        title = getattr(event.assoc, "segmill_counted", None)
        if title is None:
            return
        event.assoc.segmill_counted = None
        with self._lock:
            left = self._counts.get(title, 1) - 1
            if left > 0:
                self._counts[title] = left
            else:
                self._counts.pop(title, None)

    # -- C-FIND ---------------------------------------------------------------------------------

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        started = time.monotonic()
        told = _Told(self, event, started)
        try:
            identifier = identifier_of(event.identifier)
            told.keys = identifier.keys
            query = compile_query(identifier.keys, folds_accents=self._caller_of(event, told.calling).folds_accents)
        except BadKey as error:
            told.end(BAD_IDENTIFIER, bad=error.keyword)
            yield BAD_IDENTIFIER, None
            return
        except Exception as error:  # noqa: BLE001 - bytes from outside; pydicom raises whatever comes up
            log.warning("an identifier from %s cannot be read: %s", told.calling, type(error).__name__)
            told.end(BAD_IDENTIFIER)
            yield BAD_IDENTIFIER, None
            return
        reader = self._shelf.reader()
        try:
            yield from self._answers(event, query, identifier, reader, told)
        except GeneratorExit:
            raise
        except Exception as error:  # noqa: BLE001 - the edge of a query: it is answered, and the server goes on
            log.error("a query of %s failed: %s", told.calling, type(error).__name__)
            told.end(UNABLE)
            yield UNABLE, None
        finally:
            reader.close()
            was_busy(event.assoc)

    def _answers(
        self, event: Any, query: Query, identifier: Identifier, reader: WorklistReader, told: "_Told"
    ) -> Iterator[tuple[int, Dataset | None]]:
        caller = self._caller_of(event, told.calling)
        asked = ask(reader.candidates, query, only_of=told.calling if caller.own_items_only else None)
        told.without, told.unmatched = dict(asked.without), query.unmatched
        write = self._writer(event, caller, query, identifier, told)
        answers = Answers(event, PENDING_UNMATCHED if query.has_unmatched else PENDING)
        for shelved in asked.kept[: self.settings.most_answers]:
            if event.is_cancelled or not answers.is_heard:
                told.end(CANCELLED)
                yield CANCELLED, None
                return
            written = write(shelved)
            if written is not None:
                told.answers += 1
                answers.send(written)
        is_cut = len(asked.kept) > self.settings.most_answers or asked.is_full
        told.end(OUT_OF_RESOURCES if is_cut else SUCCESS, is_cut=is_cut)
        yield (OUT_OF_RESOURCES if is_cut else SUCCESS), None

    def _writer(
        self, event: Any, caller: Modality, query: Query, identifier: Identifier, told: "_Told"
    ) -> Callable[[Shelved], bytes | None]:
        """Makes an answer of an item: joined from its stored elements where they can be sent as they are."""
        syntax = UID(event.context.transfer_syntax)
        is_implicit = bool(syntax.is_implicit_VR)

        wanted = wanted_of(identifier.keys)

        def ready(shelved: Shelved) -> tuple[bytes, bool]:
            encoded = Encoded.load(shelved.encoded, is_implicit=is_implicit, wanted=wanted)
            made = joined(encoded, identifier.keys, shelved.item, identifier.extras, is_implicit=is_implicit)
            return made, False

        charset = charset_of(caller.charset)

        def anew(shelved: Shelved) -> tuple[bytes, bool] | None:
            dataset, rewritten = dataset_of(answer(query, shelved.item), charset)
            for tag, vr in identifier.extras.items():
                if tag not in dataset:
                    dataset.add_new(tag, vr, [] if vr == "SQ" else None)
            made = encode_dataset(dataset, is_implicit, bool(syntax.is_little_endian))
            return (made, bool(rewritten)) if made else None

        make = ready if caller.charset == UNICODE and syntax != ExplicitVRBigEndian else anew
        form = (str(syntax), caller.charset, form_of(identifier))

        def write(shelved: Shelved) -> bytes | None:
            made = self._kept.written(form, shelved, partial(make, shelved))
            if made is None:
                return None
            told.rewritten += made[1]
            return made[0]

        return self._careful(write)

    def _careful(self, write: Callable[[Shelved], bytes | None]) -> Callable[[Shelved], bytes | None]:
        """One item that cannot be written is left out, and does not end the others' answer."""

        def written(shelved: Shelved) -> bytes | None:
            try:
                made = write(shelved)
            except Exception:  # noqa: BLE001 - whatever pydicom raises
                made = None
            if made is None:
                self._unreadable(shelved.item)
            return made

        return written

    def _unreadable(self, item: Item) -> None:
        self._log.left_out(1, f"it cannot be written as DICOM, study {item.key.study_uid}")

    # -- MPPS -----------------------------------------------------------------------------------

    def _create(self, event: Any) -> tuple[int, Dataset | None]:
        return self._perform(event, str(event.request.AffectedSOPInstanceUID or ""), "attribute_list", is_new=True)

    def _set(self, event: Any) -> tuple[int, Dataset | None]:
        return self._perform(event, str(event.request.RequestedSOPInstanceUID or ""), "modification_list", is_new=False)

    def _perform(self, event: Any, uid: str, attribute: str, *, is_new: bool) -> tuple[int, Dataset | None]:
        assert self._performed is not None, "the context is offered only with somewhere to keep it"
        calling = _title(event.assoc.requestor.ae_title)
        try:
            dataset = getattr(event, attribute)
            attributes = _flat(dataset)
        except Exception as error:  # noqa: BLE001 - bytes from outside
            log.warning("a performed step from %s cannot be read: %s", calling, type(error).__name__)
            return 0x0110, None
        keep = self._performed.created if is_new else self._performed.changed
        try:
            reply = keep(uid, attributes, _peer(event), calling)
        except Exception as error:  # noqa: BLE001 - not kept, so not said to be
            log.error("a performed step from %s could not be kept: %s", calling, type(error).__name__)
            reply = MppsReply(0x0110)
        return reply.status, dataset if reply.status == 0 and is_new else (Dataset() if reply.status == 0 else None)


class _Told:
    """What the query log is told of one C-FIND."""

    def __init__(self, scp: WorklistScp, event: Any, started: float) -> None:
        self._scp = scp
        self._started = started
        self._at_us = scp._now_us()
        self.calling = _title(event.assoc.requestor.ae_title)
        self._called = _title(event.assoc.requestor.primitive.called_ae_title)
        self._peer = _peer(event)
        self.keys: Attributes = {}
        self.answers = 0
        self.without: dict[str, int] = {}
        self.unmatched: tuple[str, ...] = ()
        self.rewritten = 0

    def end(self, status: int, *, is_cut: bool = False, bad: str = "") -> None:
        """The query has ended."""
        record = QueryRecord(
            self._at_us,
            self.calling,
            self._called,
            self._peer,
            self.keys,
            self.answers,
            self.without,
            (bad,) if bad else self.unmatched,
            status,
            time.monotonic() - self._started,
            is_cut,
            self.rewritten,
        )
        self._scp._log.queried(record)


def _title(value: object) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return text.strip(" \0")


def _peer(event: Any) -> str:
    return str(event.assoc.requestor.address or "")


def _flat(dataset: Dataset) -> Attributes:
    """A performed step's attributes by keyword, sequences as they nest; private tags and binaries left out."""
    made: dict[str, tuple[str, ...] | tuple[Attributes, ...]] = {}
    for element in dataset:
        if not element.keyword:
            continue
        if element.VR == "SQ":
            made[element.keyword] = tuple(_flat(item) for item in element.value or ())
        elif element.value is None or isinstance(element.value, bytes):
            made[element.keyword] = ()
        elif isinstance(element.value, str) or not hasattr(element.value, "__iter__"):
            made[element.keyword] = (str(element.value),) if str(element.value) else ()
        elif element.VR == "PN":
            made[element.keyword] = (str(element.value),)
        else:
            made[element.keyword] = tuple(str(value) for value in element.value)
    return made
