"""Worklist servers under test, with items of one patient each, and certificates for them."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trustme

from engine.adapters.dicom.scp import ScpSettings, WorklistScp
from engine.adapters.dicom.scu import Peer
from engine.ports.worklist import Shelved
from engine.worklist.attributes import SPS
from engine.worklist.item import Attributes, EntityId, Item, ItemKey, OrderKeys
from tests.adapters.dicom.shelf import Log, MemoryShelf


def item(number: int, name: str = "Muster^Anna", ae: str = "CT1", modality: str = "CT") -> Item:
    """A step of its own patient."""
    step: Attributes = {
        "ScheduledStationAETitle": (ae,),
        "Modality": (modality,),
        "ScheduledProcedureStepStartDate": ("20260102",),
        "ScheduledProcedureStepStartTime": ("103000",),
        "ScheduledProcedureStepID": (f"S{number}",),
        "ScheduledProcedureStepDescription": ("CT head",),
    }
    attributes: Attributes = {
        "PatientName": (name,),
        "PatientID": (f"9000{number}",),
        "AccessionNumber": (f"A{number}",),
        "StudyInstanceUID": (f"1.2.{number}",),
        "RequestedProcedureDescription": ("CT of the head",),
        SPS: (step,),
    }
    keys = OrderKeys(f"1.2.{number}", accession=EntityId(f"A{number}"))
    key = ItemKey(f"1.2.{number}", f"S{number}")
    return Item(key, EntityId(f"9000{number}", "HIS"), keys, attributes, "20260102103000.000000", "zds")


class Server:
    """A worklist server at work."""

    def __init__(self, items: Sequence[Item] = (), **settings: object) -> None:
        self.shelf = MemoryShelf(items)
        self.log = Log()
        self.scp = WorklistScp(
            ScpSettings("127.0.0.1", 0, **settings),  # type: ignore[arg-type]
            self.shelf,
            self.log,
            now_us=lambda: 0,
        )
        self.scp.start()

    def peer(
        self,
        calling: str = "CT1",
        called: str = "SEGMILL",
        *,
        timeout_s: float = 20.0,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> Peer:
        return Peer("127.0.0.1", self.scp.port, called, calling, timeout_s, tls, server_name)

    def wait_for_cancel_at(self, number: int) -> None:
        """The server has that answer (from 1) ready only once a C-CANCEL has reached it."""
        shelved = self.shelf.shelved[number - 1]
        self.shelf.shelved[number - 1] = _Late(shelved, self)  # type: ignore[call-overload]


class _Late:
    """A step whose elements take until the query is cancelled."""

    def __init__(self, shelved: Shelved, server: Server) -> None:
        self.item = shelved.item
        self._encoded = shelved.encoded
        self._server = server

    @property
    def encoded(self) -> bytes:
        scp = self._server.scp._server
        assert scp is not None
        pause = threading.Event()
        for _ in range(30_000):
            if any(association.dimse.cancel_req for association in scp.active_associations):
                return self._encoded
            pause.wait(0.001)
        raise AssertionError("no C-CANCEL came")


@contextmanager
def serving(items: Sequence[Item] = (), **settings: object) -> Iterator[Server]:
    """A server, stopped at the end, whatever happens."""
    server = Server(items, **settings)
    try:
        yield server
    finally:
        server.scp.stop()


@contextmanager
def talking(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that does `talk` with each connection, and closes it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(20)
                try:
                    talk(connection)
                except OSError:
                    continue  # the client had heard enough

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)


class Certificates:
    """An authority with a server's and a client's certificate, in files."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        self.server = self._issue(folder, "server", "localhost")
        self.client = self._issue(folder, "client", "scanner.local")

    def _issue(self, folder: Path, name: str, host: str) -> tuple[Path, Path]:
        issued = self.authority.issue_cert(host)
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return certificate, key
