"""Pending answers of a C-FIND, straight to the socket as bytes, several at a time.

pynetdicom takes a dataset for each, makes a message of it, and encodes that, its command set as a dataset too: two
thirds of the time of a long answer. What differs from answer to answer is the identifier alone, and that is bytes
already (`encode.joined`). Its state machine then takes each PDU for itself, with events, a log line and a write: half
of what is left. So whole PDUs are put together here, and written by the association's own thread for the network
(`SendingProvider`), which alone may touch the socket: with TLS, reading and writing from two threads is not safe.
What goes over the wire is byte for byte pynetdicom's. The last answer, which has a status and no identifier, goes
pynetdicom's own way.
"""

import queue
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pynetdicom.dul import DULServiceProvider

_UL: Final = struct.Struct("<HHI")
_PDU: Final = struct.Struct(">BxIIBB")
"""P-DATA-TF with one PDV (PS3.8 9.3.5): type, length; the PDV's length, presentation context, control header."""
_P_DATA_TF: Final = 0x04
_DATA, _COMMAND, _LAST = 0x00, 0x01, 0x02
"""Message control header (PS3.8 annex E.2)."""
_HEADERS: Final = 6
"""Of a PDV in its PDU: length, presentation context, control header."""
_TOGETHER_BYTES: Final = 16384
"""As many answers as have so many bytes are one write."""
_MOST_WAITING: Final = 4
"""Writes that may wait: all of an answer would be in memory, and sent before a cancel is read."""
_PAUSE_S: Final = 0.001
_WITH_IDENTIFIER: Final = 0x0001
_ESTABLISHED: Final = "Sta6"
"""Of the state machine: an association on which data may be sent (PS3.8 section 9.2)."""


class Written:
    """PDUs as they go out, among the primitives of an association. More come to them until they are taken, so that
    nothing waits for others to go with, and what has to wait goes together."""

    __slots__ = ("_is_taken", "_lock", "_pdus")

    def __init__(self, pdus: bytes) -> None:
        self._pdus = bytearray(pdus)
        self._lock = threading.Lock()
        self._is_taken = False

    def add(self, pdus: bytes) -> bool:
        """Whether there was room for these too."""
        with self._lock:
            if self._is_taken or len(self._pdus) + len(pdus) > _TOGETHER_BYTES:
                return False
            self._pdus += pdus
            return True

    def take(self) -> bytes:
        """All that there is; no more comes."""
        with self._lock:
            self._is_taken = True
            return bytes(self._pdus)


class SendingProvider(DULServiceProvider):
    """pynetdicom's own, which takes `Written` as well."""

    def _process_recv_primitive(self) -> bool:
        """Writes what is ready; what the other side sends meanwhile is read first, as it may be a cancel."""
        waiting: Sequence[object] = self.to_provider_queue.queue  # a deque; this thread alone takes from it
        # Seen once: what comes behind a look that found nothing waits for the next, as pynetdicom's own takes it for a
        # defect and aborts the association.
        while waiting:
            written = waiting[0]
            if not isinstance(written, Written):
                return super()._process_recv_primitive()
            self.to_provider_queue.get_nowait()
            # Nobody is to hear what is left after an abort.
            if self.socket is None or self.state_machine.current_state != _ESTABLISHED:
                continue
            self.socket.send(written.take())
            self._idle_timer.restart()  # pynetdicom's own counts only what comes: who reads slowly would be cut off
            # A write that failed is an event, and the end of the association: it comes before all else.
            if not self.event_queue.empty() or self.socket.ready:
                return False
        return False


def sends_written(association: Any) -> None:
    """Before it begins: its thread for the network takes `Written`."""
    association.dul.__class__ = SendingProvider


class Answers:
    """Of one query. `event`: of EVT_C_FIND."""

    def __init__(self, event: Any, status: int) -> None:
        self._association = event.assoc
        self._context: int = event.context.context_id
        self._pause = threading.Event()
        self._most: int = event.assoc.dimse.maximum_pdu_size or 0
        command = _command(str(event.request.AffectedSOPClassUID), event.request.MessageID, status)
        self._command = b"".join(self._pdus(_COMMAND, command))
        self._last = Written(b"")
        self._last.take()

    @property
    def is_heard(self) -> bool:
        """Whether there is anybody to answer."""
        return bool(self._association.is_established)

    def send(self, identifier: bytes) -> None:
        """One pending answer. Waits where the other side is slow: for room, or until there is nobody to answer."""
        pdus = self._command + b"".join(self._pdus(_DATA, identifier))
        if self._last.add(pdus):
            return
        waiting: queue.Queue[object] = self._association.dul.to_provider_queue
        while waiting.qsize() >= _MOST_WAITING and self.is_heard:
            self._pause.wait(_PAUSE_S)
        self._last = Written(pdus)
        waiting.put(self._last)

    def _pdus(self, kind: int, data: bytes) -> Iterator[bytes]:
        """Each with what the other side has room for (0: any)."""
        most = self._most - _HEADERS if self._most > _HEADERS else len(data)
        at = 0
        while len(data) - at > most:
            yield self._pdu(kind, data[at : at + most])
            at += most
        yield self._pdu(kind | _LAST, data[at:])

    def _pdu(self, kind: int, part: bytes) -> bytes:
        return _PDU.pack(_P_DATA_TF, len(part) + _HEADERS, len(part) + 2, self._context, kind) + part


def _command(sop_class: str, message_id: int, status: int) -> bytes:
    """C-FIND-RSP (PS3.7 section 9.3.2.2), which is always in Implicit VR Little Endian."""
    uid = sop_class.encode()
    elements = (
        (0x0002, uid + b"\0" * (len(uid) % 2)),
        (0x0100, struct.pack("<H", 0x8020)),
        (0x0120, struct.pack("<H", message_id)),
        (0x0800, struct.pack("<H", _WITH_IDENTIFIER)),
        (0x0900, struct.pack("<H", status)),
    )
    body = b"".join(_UL.pack(0, element, len(value)) + value for element, value in elements)
    return _UL.pack(0, 0, 4) + struct.pack("<I", len(body)) + body
