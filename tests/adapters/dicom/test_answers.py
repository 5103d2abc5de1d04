"""Answers that go out as bytes are those that pynetdicom would have sent, in PDUs that the other side has room for."""

import queue
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom.dimse_messages import C_FIND_RSP
from pynetdicom.dimse_primitives import C_FIND

from engine.adapters.dicom.answers import Answers

SOP_CLASS = "1.2.840.10008.5.1.4.31"


class Association:
    """What is put on its queue is what goes out."""

    def __init__(self, most: int) -> None:
        self.is_established = True
        self.dimse = SimpleNamespace(maximum_pdu_size=most)
        self.dul = SimpleNamespace(to_provider_queue=queue.Queue(), send_pdu=self.send)

    def send(self, primitive: Any) -> None:
        self.dul.to_provider_queue.put(primitive)

    @property
    def sent(self) -> list[tuple[int, bytes]]:
        primitives = list(self.dul.to_provider_queue.queue)
        return [tuple(pdv) for primitive in primitives for pdv in primitive.presentation_data_value_list]


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
    theirs = [tuple(pdv) for part in message.encode_msg(3, most) for pdv in part.presentation_data_value_list]
    assert association.sent == theirs
    assert all(not most or len(data) + 5 <= most for _, data in theirs), "with length and context in front of it"


def test_nobody_is_waited_for_who_has_gone() -> None:
    """A queue that nobody empties stands for one who does not read."""
    association = Association(0)
    answers = Answers(event(association), 0xFF00)
    for _ in range(129):
        answers.send(b"12")
    assert association.dul.to_provider_queue.qsize() == 258, "more than may wait"
    association.is_established = False
    answers.send(b"12")
    assert not answers.is_heard
