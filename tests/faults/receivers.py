"""Receivers that remember what they accepted: one that is well, one that refuses, one that hangs."""

import asyncio
import contextlib

from tests.ports import free_port

END = b"\x1c\r"


def control_id_of(block: bytes) -> str:
    return block.split(b"|", 10)[9].decode()


class Receiver:
    """Says AA to everything. `accepted`: control ids in the order of their AA, each as often as it was said."""

    def __init__(self) -> None:
        self.port = free_port()
        self.accepted: list[str] = []
        self.refused: set[str] = set()
        self.torn = 0
        self._connections = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        connection = self._connections
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                block = await reader.readuntil(END)
                if block.count(b"\x0b") != 1 or b"PV1|1|I" not in block:
                    self.torn += 1
                control_id = control_id_of(block)
                code = self.code_for(control_id, connection)
                if code is None:
                    continue
                if code == "AA":
                    self.accepted.append(control_id)
                elif code == "AE":
                    self.refused.add(control_id)
                writer.write(f"\x0bMSH|^~\\&|R|H|S|H|20260102||ACK|R|P|2.5.1\rMSA|{code}|{control_id}\r\x1c\r".encode())
                await writer.drain()
        writer.close()

    def code_for(self, control_id: str, connection: int) -> str | None:
        """What to say; None: nothing."""
        return "AA"


def number_of(control_id: str) -> int:
    return int(control_id.partition("N")[2])


class Refusing(Receiver):
    """AE for some messages always, which are then held; AR for others once, which then come again."""

    def __init__(self) -> None:
        super().__init__()
        self._rejected: set[str] = set()

    def code_for(self, control_id: str, connection: int) -> str | None:
        number = number_of(control_id)
        if number % 7 == 3:
            return "AE"
        if number % 40 == 1 and control_id not in self._rejected:
            self._rejected.add(control_id)
            return "AR"
        return "AA"


class Hanging(Receiver):
    """Takes the first message of every third connection, and never answers on that connection."""

    def code_for(self, control_id: str, connection: int) -> str | None:
        return None if connection % 3 == 1 else "AA"
