"""pynetdicom's socket of an association: closed also where the other side has gone, and read whatever its number."""

import select
import ssl
from typing import Any

from pynetdicom.transport import AssociationSocket


class ClosedSocket(AssociationSocket):
    """pynetdicom's own leaves a socket open that cannot be shut down any more, as the other side has reset it; and it
    asks `select`, which knows no descriptor from 1,024 on, and takes that for the end of the connection: beside a
    thousand connections of others no scanner would be answered."""

    @property
    def ready(self) -> bool:
        connection = self.socket
        if connection is None or not self._is_connected:
            return False
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True
        poll = select.poll()
        try:
            poll.register(connection, select.POLLIN)
            found = poll.poll(0)
        except (OSError, ValueError):
            self.event_queue.put("Evt17")  # the transport connection is closed (PS3.8 section 9.2)
            return False
        if any(what & select.POLLNVAL for _, what in found):
            self.event_queue.put("Evt17")
            return False
        return bool(found)

    def _shutdown_socket(self) -> None:
        connection = self.socket
        super()._shutdown_socket()
        if connection is not None:
            connection.close()


def closes_its_socket(association: Any) -> None:
    """Of an association that a server has just accepted the connection of."""
    association.dul.socket.__class__ = ClosedSocket
