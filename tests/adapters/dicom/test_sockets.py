"""A socket of an association is closed, whatever became of the other side."""

import os
import queue
import socket
import struct
from types import SimpleNamespace

import pytest

from engine.adapters.dicom.sockets import ClosedSocket
from tests.faults.outside import can_open


@pytest.mark.parametrize("is_reset", [False, True])
def test_it_is_closed_also_where_the_other_side_has_gone(is_reset: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = socket.create_connection(listener.getsockname())
        connection, _ = listener.accept()
    made = ClosedSocket(SimpleNamespace(dul=SimpleNamespace(event_queue=queue.Queue())), client_socket=connection)
    if is_reset:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close()
    if is_reset:
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    made.close()
    assert connection.fileno() == -1 and made.socket is None


def test_a_descriptor_of_any_number_is_looked_at() -> None:
    high = 2000
    if not can_open(high + 1):
        pytest.skip(f"this process may not have descriptor {high}")
    ours, other = socket.socketpair()
    try:
        os.dup2(ours.fileno(), high)
        connection = socket.socket(fileno=high)
        made = ClosedSocket(SimpleNamespace(dul=SimpleNamespace(event_queue=queue.Queue())), client_socket=connection)
        assert made.event_queue.get_nowait() == "Evt5"  # that it is there
        assert not made.ready
        other.send(b"x")
        assert made.ready and connection.recv(1) == b"x"
        assert not made.ready and made.event_queue.empty()
        other.close()
        assert made.ready and connection.recv(1) == b"", "its end is there to be read"
        connection.close()
        assert not made.ready and made.event_queue.get_nowait() == "Evt17"
    finally:
        ours.close()
        other.close()
