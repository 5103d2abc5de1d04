"""A worklist query as raw bytes on a socket: a scanner that costs next to nothing, so that the server is what is seen.

Each association is connect, A-ASSOCIATE, one C-FIND in Implicit VR Little Endian, all answers, A-RELEASE, close.
"""

import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

_FIND: Final = b"1.2.840.10008.5.1.4.31"
_IMPLICIT: Final = b"1.2.840.10008.1.2"
_CONTEXT_NAME: Final = b"1.2.840.10008.3.1.1.1"
_CLASS_UID: Final = b"1.2.826.0.1.99.1"
_PENDING: Final = frozenset({0xFF00, 0xFF01})


class Rejected(Exception):
    """The association was refused, or cut off."""


@dataclass(slots=True, frozen=True)
class Asked:
    """One association's end: answers, the last status, and how long it all took, from connect to close."""

    answers: int
    status: int
    seconds: float
    first_s: float


class Scanner:
    """Puts one query, again and again, each time on an association of its own."""

    def __init__(self, port: int, query: Dataset, calling: str = "CT1", called: str = "SEGMILL") -> None:
        self._port = port
        self._request = _associate(calling, called)
        self._query = _pdv(_command(), is_command=True) + _pdv(_implicit(query), is_command=False)

    def ask(self, timeout_s: float = 60.0) -> Asked:
        """Raises Rejected, OSError."""
        started = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self._port), timeout=timeout_s) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(self._request)
            stream = connection.makefile("rb")
            kind, _ = _read(stream)
            if kind != 0x02:
                raise Rejected(f"PDU {kind:#04x}")
            connection.sendall(self._query)
            answers, status, first_s = 0, 0xFF00, 0.0
            while status in _PENDING:
                kind, data = _read(stream)
                if kind != 0x04:
                    raise Rejected(f"PDU {kind:#04x}")
                for found in _statuses(data):
                    status = found
                    answers += found in _PENDING
                    first_s = first_s or time.perf_counter() - started
            connection.sendall(_RELEASE)
            _read(stream)
        return Asked(answers, status, time.perf_counter() - started, first_s)


def query(*, station: str = "", modality: str = "", dates: str = "", name: str = "") -> Dataset:
    """A console's query: its keys, and 16 attributes that it wants to know."""
    made = Dataset()
    for keyword in ("AccessionNumber", "ReferringPhysicianName", "PatientID", "PatientBirthDate", "PatientSex"):
        setattr(made, keyword, "")
    for keyword in ("StudyInstanceUID", "RequestedProcedureID", "RequestedProcedureDescription", "AdmissionID"):
        setattr(made, keyword, "")
    made.PatientName = name
    step = Dataset()
    step.ScheduledStationAETitle, step.Modality = station, modality
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = dates, ""
    step.ScheduledProcedureStepDescription = step.ScheduledProcedureStepID = ""
    made.ScheduledProcedureStepSequence = [step]
    return made


def _implicit(dataset: Dataset) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = True, True
    write_dataset(out, dataset)
    return out.getvalue()


def _command() -> bytes:
    """C-FIND-RQ (PS3.7 section 9.3.2.1): a command set in Implicit VR Little Endian."""
    uid = _FIND + b"\0" * (len(_FIND) % 2)
    elements = [
        (0x0002, uid),
        (0x0100, struct.pack("<H", 0x0020)),
        (0x0110, struct.pack("<H", 1)),
        (0x0700, struct.pack("<H", 0)),
        (0x0800, struct.pack("<H", 1)),
    ]
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _pdv(data: bytes, *, is_command: bool) -> bytes:
    """One P-DATA-TF PDU with all of it, on presentation context 1."""
    body = struct.pack(">IBB", len(data) + 2, 1, 0x03 if is_command else 0x02) + data
    return struct.pack(">BBI", 0x04, 0, len(body)) + body


def _associate(calling: str, called: str) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 section 9.3.2) with one presentation context."""
    context = struct.pack(">BBBB", 1, 0, 0, 0) + _item(0x30, _FIND) + _item(0x40, _IMPLICIT)
    user = _item(0x51, struct.pack(">I", 16384)) + _item(0x52, _CLASS_UID)
    items = _item(0x10, _CONTEXT_NAME) + _item(0x20, context) + _item(0x50, user)
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    body = struct.pack(">HH", 1, 0) + titles + bytes(32) + items
    return struct.pack(">BBI", 0x01, 0, len(body)) + body


def _item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(data)) + data


_RELEASE: Final = struct.pack(">BBII", 0x05, 0, 4, 0)


def _read(stream: "socket.SocketIO | object") -> tuple[int, bytes]:
    head = stream.read(6)  # type: ignore[attr-defined]
    if len(head) < 6:
        raise Rejected("closed")
    kind, _, size = struct.unpack(">BBI", head)
    return kind, stream.read(size)  # type: ignore[attr-defined]


def _statuses(data: bytes) -> Sequence[int]:
    """Of the C-FIND-RSP commands in a P-DATA-TF."""
    found, at = [], 0
    while at + 6 <= len(data):
        size, _, flags = struct.unpack_from(">IBB", data, at)
        if flags & 1:
            mark = data.find(b"\0\0\0\x09\x02\0\0\0", at + 6, at + 4 + size)
            if mark >= 0:
                found.append(struct.unpack_from("<H", data, mark + 8)[0])
        at += 4 + size
    return found
