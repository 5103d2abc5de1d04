"""Answers that go out as bytes are those that pynetdicom would have sent, in PDUs that the other side has room for."""

import queue
import struct
from collections import deque
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.association import Association as PynetdicomAssociation
from pynetdicom.dimse_messages import C_FIND_RSP
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from engine.adapters.dicom.answers import Answers, SendingProvider, Written, sends_written

SOP_CLASS = "1.2.840.10008.5.1.4.31"


class Association:
    """What is put on its queue is what goes out."""

    def __init__(self, most: int) -> None:
        self.is_established = True
        self.dimse = SimpleNamespace(maximum_pdu_size=most)
        self.dul = SimpleNamespace(to_provider_queue=queue.Queue())

    @property
    def writes(self) -> list[bytes]:
        return [written.take() for written in self.dul.to_provider_queue.queue]

    @property
    def sent(self) -> list[tuple[int, bytes]]:
        """PDVs with their presentation contexts."""
        found, data = [], b"".join(self.writes)
        while data:
            kind, size = struct.unpack_from(">BxI", data)
            assert kind == 4
            pdu = P_DATA_TF()
            pdu.decode(data[: 6 + size])
            found += [
                (one.presentation_context_id, one.presentation_data_value) for one in pdu.presentation_data_value_items
            ]
            data = data[6 + size :]
        return found


def event(association: Association) -> Any:
    request = SimpleNamespace(AffectedSOPClassUID=SOP_CLASS, MessageID=7)
    return SimpleNamespace(assoc=association, context=SimpleNamespace(context_id=3), request=request)


@pytest.mark.parametrize("status", [0xFF00, 0xFF01])
@pytest.mark.parametrize("most", [0, 16384, 1024, 150])
def test_the_bytes_are_pynetdicoms_own(status: int, most: int) -> None:
    identifier = bytes(range(256)) * 5
    association = Association(most)
    Answers(event(association), status).send(identifier)
    reply = C_FIND()
    reply.AffectedSOPClassUID = SOP_CLASS
    reply.MessageIDBeingRespondedTo = 7
    reply.Status = status
    reply.Identifier = BytesIO(identifier)
    message = C_FIND_RSP()
    message.primitive_to_message(reply)
    parts = list(message.encode_msg(3, most))
    assert b"".join(association.writes) == b"".join(P_DATA_TF(part).encode() for part in parts)
    theirs = [tuple(pdv) for part in parts for pdv in part.presentation_data_value_list]
    assert association.sent == theirs
    assert all(not most or len(data) + 5 <= most for _, data in theirs), "with length and context in front of it"


def test_what_waits_goes_together_and_nothing_waits_for_it() -> None:
    association = Association(16384)
    answers = Answers(event(association), 0xFF00)
    for number in range(5):
        answers.send(bytes((number,)) * 10)
        assert association.dul.to_provider_queue.qsize() == 1
    (first,) = association.writes  # they are taken by that
    for number in range(5, 8):
        answers.send(bytes((number,)) * 10)
    assert association.dul.to_provider_queue.qsize() == 2, "what was taken is not added to"
    assert association.writes[0] == first
    identifiers = [data[1:] for _, data in association.sent if data[0] == 2]
    assert identifiers == [bytes((number,)) * 10 for number in range(8)], "each once, in order"


def test_a_write_has_an_end() -> None:
    association = Association(0)
    answers = Answers(event(association), 0xFF00)
    for _ in range(4):
        answers.send(b"1" * 7000)
    assert [len(write) for write in association.writes] == [2 * 7106] * 2


def test_nobody_is_waited_for_who_has_gone() -> None:
    """A queue that nobody empties stands for one who does not read."""
    association = Association(0)
    answers = Answers(event(association), 0xFF00)
    for _ in range(4):
        answers.send(b"1" * 20_000)
    assert association.dul.to_provider_queue.qsize() == 4, "more may not wait"
    association.is_established = False
    answers.send(b"1" * 20_000)
    assert not answers.is_heard


class Line:
    """A socket of an association. `says`: after how many writes the other side has said something."""

    def __init__(self, provider: SendingProvider, says: int = 99, fails: bool = False) -> None:
        self.sent: list[bytes] = []
        self._provider = provider
        self._says = says
        self._fails = fails

    @property
    def ready(self) -> bool:
        return len(self.sent) == self._says

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        if self._fails:
            self._provider.event_queue.put("Evt17")


def provider(**line: Any) -> tuple[SendingProvider, Line]:
    association: Any = PynetdicomAssociation(AE(), "acceptor")
    sends_written(association)
    made = association.dul
    made.socket = Line(made, **line)
    made.state_machine.current_state = "Sta6"
    for number in range(3):
        made.to_provider_queue.put(Written(bytes((number,))))
    made.to_provider_queue.put(P_DATA())
    return made, made.socket


def test_what_is_ready_is_written_in_order_before_what_comes_after_it() -> None:
    made, line = provider()
    assert made._process_recv_primitive()
    assert line.sent == [b"\0", b"\1", b"\2"]
    assert made.event_queue.get_nowait() == "Evt9", "the last answer goes by the state machine"


def test_what_the_other_side_says_is_read_before_more_is_written() -> None:
    made, line = provider(says=1)
    assert not made._process_recv_primitive()
    assert line.sent == [b"\0"]
    assert made.event_queue.empty()


def test_after_a_write_that_failed_nothing_is_written() -> None:
    made, line = provider(fails=True)
    assert not made._process_recv_primitive()
    assert line.sent == [b"\0"]
    assert made.event_queue.get_nowait() == "Evt17"


def test_nothing_is_written_to_who_has_aborted() -> None:
    made, line = provider()
    made.state_machine.current_state = "Sta13"
    made._process_recv_primitive()
    assert line.sent == []


def test_an_answer_that_comes_behind_a_look_that_found_none_waits_for_the_next_look() -> None:
    """pynetdicom looks for itself, takes what it does not know for a defect, and aborts the association."""

    class Late(deque[object]):
        """Empty when it is asked whether it is, and not in the next moment."""

        is_asked = False

        def __bool__(self) -> bool:
            was_asked, self.is_asked = self.is_asked, True
            if not was_asked:
                self.append(Written(b"late"))
            return was_asked and len(self) > 0

    made, line = provider()
    made.to_provider_queue.queue = Late()
    assert not made._process_recv_primitive()
    assert line.sent == []
    made._process_recv_primitive()
    assert line.sent == [b"late"]
    assert made.event_queue.empty()


def test_who_reads_slowly_is_not_silent() -> None:
    made, _ = provider()
    restarts: list[int] = []
    made._idle_timer = SimpleNamespace(restart=lambda: restarts.append(len(made.socket.sent)))
    made._process_recv_primitive()
    assert restarts == [1, 2, 3]
