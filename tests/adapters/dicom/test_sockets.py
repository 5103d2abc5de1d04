"""A socket of an association is closed, whatever became of the other side."""

import queue
import socket
import struct
from types import SimpleNamespace

import pytest

from engine.adapters.dicom.sockets import ClosedSocket


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
