"""pynetdicom's socket of an association, closed also where the other side has gone."""

from typing import Any

from pynetdicom.transport import AssociationSocket


class ClosedSocket(AssociationSocket):
    """pynetdicom's own leaves a socket open that cannot be shut down any more, as the other side has reset it."""

    def _shutdown_socket(self) -> None:
        connection = self.socket
        super()._shutdown_socket()
        if connection is not None:
            connection.close()


def closes_its_socket(association: Any) -> None:
    """Of an association that a server has just accepted the connection of."""
    association.dul.socket.__class__ = ClosedSocket
