"""A small client: is there a DICOM server, and what does its worklist have (C-ECHO and C-FIND, PS3.4 annexes A and K).

The connection is made here, not by pynetdicom, which says of one that fails only that it failed: a person who looks for
the reason must hear whether the name is unknown, the port closed, the certificate not believed, or the AE title not
known. Nothing of an identifier goes into any log.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ModalityWorklistInformationFind,
    Verification,
)
from pynetdicom.transport import AddressInformation

from engine.adapters.dicom.quiet import silence
from engine.adapters.dicom.sockets import ClosedSocket
from engine.adapters.dicom.timers import steady_timers

silence()

SYNTAXES: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
PENDING: Final = (0xFF00, 0xFF01)
SUCCESS: Final = 0x0000
CANCELLED: Final = 0xFE00

Asked = TypeVar("Asked")
Kind = Literal["unreachable", "rejected", "not_allowed", "busy", "aborted", "no_service", "failed"]

_REJECTIONS: Final[Mapping[tuple[int, int], tuple[str, Kind]]] = {
    (1, 1): ("it gives no reason", "rejected"),
    (1, 2): ("it does not know the DICOM application context", "rejected"),
    (1, 3): ("it does not know our AE title", "not_allowed"),
    (1, 7): ("it is not called by this AE title", "not_allowed"),
    (2, 1): ("it gives no reason", "rejected"),
    (2, 2): ("it does not speak this version of the protocol", "rejected"),
    (3, 1): ("it has too much to do just now", "busy"),
    (3, 2): ("it has as many associations as it takes", "busy"),
}
"""By source and diagnostic (PS3.8 table 9-21)."""
_ABORTS: Final[Mapping[int, str]] = {
    0: "without a reason",
    1: "as it does not know what we sent",
    2: "as it did not expect what we sent",
    4: "as it does not know a parameter of ours",
    5: "as it did not expect a parameter of ours",
    6: "as a parameter of ours has a value that it does not take",
}
"""By reason, where the provider aborts (PS3.8 table 9-26)."""
_WE_ABORT, _CLOSED, _GARBLED = "Evt15", "Evt17", "Evt19"
_STATUSES: Final[Mapping[int, str]] = {
    0x0122: "it does not have this service",
    0x0124: "it does not allow us to",
    0x0211: "it does not know this operation",
    0xA700: "it is out of resources, or there are more answers than it gives",
    0xA900: "our keys are none of this service",
    0xFE00: "cancelled",
}


class DicomFailure(Exception):
    """Why nothing came of it, in a sentence for people."""

    def __init__(self, kind: Kind, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence


@dataclass(slots=True, frozen=True)
class Peer:
    """A server. `timeout_s`: for the connection, the association, each answer. `server_name`: in its certificate."""

    host: str
    port: int
    called: str
    calling: str
    timeout_s: float = 10.0
    tls: ssl.SSLContext | None = None
    server_name: str = ""

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(slots=True, frozen=True)
class Echoed:
    """An answer to C-ECHO. `implementation`: what the server calls itself."""

    status: int
    seconds: float
    implementation: str


def echo(peer: Peer) -> Echoed:
    """C-ECHO. Raises DicomFailure."""
    with _Session(peer, Verification) as session:
        started = time.monotonic()
        reply = session.asked(session.association.send_c_echo)
        status = session.status(reply)
        return Echoed(status, time.monotonic() - started, session.implementation)


class Finding:
    """A C-FIND on the modality worklist, while it is under way: iterate over the answers, then see how it ended."""

    def __init__(self, peer: Peer, keys: Dataset, most: int = 0) -> None:
        """`most`: after so many answers it is cancelled; 0 for never."""
        self._peer = peer
        self._keys = keys
        self._most = most
        self.status = SUCCESS
        self.unmatched = False
        """Whether the server said that it matched not by every key (0xFF01)."""
        self.unreadable = 0
        """Answers that could not be read."""
        self.implementation = ""

    def __iter__(self) -> Iterator[Dataset]:
        """The answers as they come. Raises DicomFailure."""
        count = 0
        with _Session(self._peer, ModalityWorklistInformationFind) as session:
            self.implementation = session.implementation
            ask, cancel = session.association.send_c_find, session.association.send_c_cancel
            replies = session.asked(lambda: ask(self._keys, ModalityWorklistInformationFind))
            for reply, identifier in replies:
                self.status = session.status(reply)
                if self.status not in PENDING:
                    continue
                self.unmatched |= self.status == 0xFF01
                if self._most and count >= self._most:
                    continue  # sent before the server saw our cancel
                if identifier is None:
                    self.unreadable += 1
                    continue
                count += 1
                yield identifier
                if count == self._most:
                    session.asked(lambda: cancel(1, query_model=ModalityWorklistInformationFind))

    @property
    def failure(self) -> str:
        """What went wrong with the query itself; '' where it came to its end, or to ours."""
        return "" if self.status in (SUCCESS, CANCELLED) else in_words(self.status)


def in_words(status: int) -> str:
    """A DIMSE status for people (PS3.7 annex C, PS3.4 table K.4-1)."""
    if status in _STATUSES:
        return _STATUSES[status]
    return "it cannot do it" if 0xC000 <= status <= 0xCFFF else "it says nothing more"


class _Session:
    """One association, released at the end."""

    def __init__(self, peer: Peer, service: str) -> None:
        self._peer = peer
        self._abort: A_ABORT_RQ | None = None
        self._rejection: A_ASSOCIATE_RJ | None = None
        self._is_without_service = False
        """Whether it lets us in, and does nothing for us."""
        self._end = ""
        """The event of the state machine (PS3.8 table 9-10) by which it ended: ours, the server's, or the network's."""
        connection, address = _connected(peer)
        try:
            self.association = self._associate(connection, address, service)
        except BaseException:
            connection.close()
            raise

    def _associate(self, connection: socket.socket, address: tuple[str, int], service: str) -> Association:
        peer = self._peer
        ae = _ConnectedAE(peer.calling, connection)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = peer.timeout_s
        ae.add_requested_context(service, list(SYNTAXES))
        host, port = address
        handlers: Any = [(evt.EVT_PDU_RECV, self._received), (evt.EVT_FSM_TRANSITION, self._moved)]
        association = ae.associate(host, port, ae_title=peer.called, evt_handlers=handlers)
        if not association.is_established:
            raise self._refused(association)
        return association

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.association.is_established:
            if error is None:
                self.association.release()
            else:
                self.association.abort()
        self.association.kill()

    @property
    def implementation(self) -> str:
        """Implementation Version Name, else its UID."""
        acceptor = self.association.acceptor
        return str(acceptor.implementation_version_name or acceptor.implementation_class_uid or "").strip()

    def asked(self, ask: Callable[[], Asked]) -> Asked:
        """What a request comes to; raises DicomFailure where there is no association any more."""
        try:
            return ask()
        except RuntimeError:
            if self.association.is_established:
                raise
            raise self._broken_off() from None

    def status(self, reply: Dataset) -> int:
        """The status of a reply; raises DicomFailure where none came."""
        if "Status" in reply:
            return int(reply.Status)
        raise self._broken_off()

    # -- what pynetdicom sees -------------------------------------------------------------------

    def _received(self, event: Any) -> None:
        if isinstance(event.pdu, A_ABORT_RQ):
            self._abort = event.pdu
        elif isinstance(event.pdu, A_ASSOCIATE_RJ):
            self._rejection = event.pdu
        elif isinstance(event.pdu, A_ASSOCIATE_AC):
            self._is_without_service = all(context.result for context in event.pdu.presentation_context)

    def _moved(self, event: Any) -> None:
        if not self._end and event.fsm_event in (_WE_ABORT, _CLOSED, _GARBLED):
            self._end = event.fsm_event

    # -- what went wrong ------------------------------------------------------------------------

    def _refused(self, association: Association) -> DicomFailure:
        # Not what the association says of itself: where the server answers and closes before pynetdicom's other thread
        # has looked whether there is a connection, that one takes it for one that was never made.
        peer, rejection = self._peer, self._rejection
        if rejection is not None:
            source, diagnostic = int(rejection.source or 0), int(rejection.reason_diagnostic or 0)
            words, kind = _REJECTIONS.get(
                (source, diagnostic), ("it gives no reason that the standard has", "rejected")
            )
            again = " for now" if rejection.result == 2 else ""
            code = f"{rejection.result}/{source}/{diagnostic}"
            named = f"{peer.called} at {peer.place}"
            return DicomFailure(kind, f"{named} refuses {peer.calling}{again}: {words} ({code})")
        if self._is_without_service:
            return DicomFailure("no_service", f"{peer.called} at {peer.place} does not offer this service")
        return self._broken_off()

    def _broken_off(self) -> DicomFailure:
        place = self._peer.place
        if self._abort is not None:
            is_provider = self._abort.source == 2
            why = _ABORTS.get(int(self._abort.reason_diagnostic or 0), "") if is_provider else "by its own choice"
            return DicomFailure("aborted", f"{place} broke the association off, {why or 'without a reason'}")
        if self._end == _GARBLED:
            return DicomFailure("aborted", f"what {place} answers is not DICOM")
        if self._end == _CLOSED:
            hint = "; does it want a certificate of ours?" if self._peer.tls is not None else ""
            return DicomFailure("aborted", f"{place} closed the connection without an answer{hint}")
        return DicomFailure("unreachable", f"{place} did not answer within {self._peer.timeout_s:g} s")


class _ConnectedSocket(ClosedSocket):
    """Has its connection before pynetdicom asks for it."""

    def connect(self, primitive: Any) -> None:
        assert self.socket is not None, "it was given one"
        self.assoc.requestor.address_info = AddressInformation.from_tuple(self.socket.getsockname())
        self._is_connected = True
        primitive.result = "Evt2"
        self.provider_queue.put(primitive)
        self._ready.set()


class _ConnectedAE(AE):
    """Associates over a connection that is there."""

    def __init__(self, title: str, connection: socket.socket) -> None:
        super().__init__(title)
        self._connection = connection

    def _create_socket(self, assoc: Association, address: Any, tls_args: Any) -> ClosedSocket:
        steady_timers(assoc)
        made = _ConnectedSocket(assoc, address=address)
        assert made.socket is not None, "it was just made"
        made.socket.close()
        made.socket = self._connection
        return made


def _connected(peer: Peer) -> tuple[socket.socket, tuple[str, int]]:
    """A connection, with its TLS handshake made, and where it goes. Raises DicomFailure."""
    try:
        connection = socket.create_connection((peer.host, peer.port), peer.timeout_s)
        host, port = connection.getpeername()[:2]
    except socket.gaierror:
        raise DicomFailure("unreachable", f"no host is named {peer.host}") from None
    except TimeoutError:
        raise DicomFailure("unreachable", f"{peer.place} cannot be reached within {peer.timeout_s:g} s") from None
    except OSError as error:
        raise DicomFailure("unreachable", f"{peer.place} cannot be reached: {_reason(error)}") from None
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if peer.tls is not None:
            connection = peer.tls.wrap_socket(connection, server_hostname=peer.server_name or peer.host)
    except ssl.SSLCertVerificationError as error:
        connection.close()
        sentence = f"the certificate of {peer.place} is not believed: {error.verify_message}"
        raise DicomFailure("unreachable", sentence) from None
    except TimeoutError:
        connection.close()
        raise DicomFailure("unreachable", f"{peer.place} makes no TLS handshake within {peer.timeout_s:g} s") from None
    except OSError as error:
        connection.close()
        why = error.reason if isinstance(error, ssl.SSLError) and error.reason else _reason(error)
        raise DicomFailure("unreachable", f"no TLS with {peer.place}: {why}") from None
    connection.settimeout(None)
    return connection, (host, port)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
