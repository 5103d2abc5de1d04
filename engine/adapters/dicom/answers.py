"""Pending answers of a C-FIND, straight to the association as bytes.

pynetdicom takes a dataset for each, makes a message of it, and encodes that, its command set as a dataset too: two
thirds of the time of a long answer. What differs from answer to answer is the identifier alone, and that is bytes
already (`encode.joined`). The last answer, which has a status and no identifier, goes pynetdicom's own way.
"""

import struct
import threading
from collections.abc import Iterator
from typing import Any, Final

from pynetdicom.pdu_primitives import P_DATA

_UL: Final = struct.Struct("<HHI")
_DATA, _COMMAND, _LAST = 0x00, 0x01, 0x02
"""Message control header (PS3.8 annex E.2)."""
_HEADERS: Final = 6
"""Of a PDV in its PDU: length, presentation context, message control header."""
_MOST_WAITING: Final = 256
"""PDUs that may wait to be sent: all of an answer would be in memory, and sent before a cancel is read."""
_PAUSE_S: Final = 0.001
_WITH_IDENTIFIER: Final = 0x0001


class Answers:
    """Of one query. `event`: of EVT_C_FIND."""

    def __init__(self, event: Any, status: int) -> None:
        self._association = event.assoc
        self._context: int = event.context.context_id
        self._pause = threading.Event()
        self._most: int = event.assoc.dimse.maximum_pdu_size or 0
        self._command = _command(str(event.request.AffectedSOPClassUID), event.request.MessageID, status)

    @property
    def is_heard(self) -> bool:
        """Whether there is anybody to answer."""
        return bool(self._association.is_established)

    def send(self, identifier: bytes) -> None:
        """One pending answer. Waits where the other side is slow: for room, or until there is nobody to answer."""
        waiting = self._association.dul.to_provider_queue
        if waiting.qsize() > _MOST_WAITING:
            while waiting.qsize() > _MOST_WAITING // 2 and self.is_heard:
                self._pause.wait(_PAUSE_S)
        for kind, data in ((_COMMAND, self._command), (_DATA, identifier)):
            for part in self._parts(kind, data):
                primitive = P_DATA()
                primitive.presentation_data_value_list.append((self._context, part))
                self._association.dul.send_pdu(primitive)

    def _parts(self, kind: int, data: bytes) -> Iterator[bytes]:
        """With their message control headers, each in the room that the other side has (0: any)."""
        most = self._most - _HEADERS if self._most > _HEADERS else len(data)
        ends = range(most, len(data), most) if len(data) > most else range(0)
        at = 0
        for end in ends:
            yield bytes((kind,)) + data[at:end]
            at = end
        yield bytes((kind | _LAST,)) + data[at:]


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
