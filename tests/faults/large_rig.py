"""The kill rig with senders of large messages beside small ones: bodies that are stored piece by piece (ADR 30)."""

import asyncio
import contextlib
import sqlite3
from hashlib import blake2b
from pathlib import Path

from tests.faults.kill_rig import CHANNEL, Rig, frame
from tests.faults.nursery import EngineProcess
from tests.faults.one_site import OneSite
from tests.faults.receivers import END, Receiver, control_id_of
from tests.faults.senders import Senders

LARGE = 1_200_000
"""Five pieces as it came, and five as it is sent."""
READ = 4 * LARGE


def is_large(sender: int) -> bool:
    return sender % 3 == 0


def message(sender: int, number: int) -> bytes:
    """What goes between VT and FS."""
    return large_message(sender, number) if is_large(sender) else frame(sender, number)[1:-2]


def large_message(sender: int, number: int) -> bytes:
    """No two have the same bytes at the same place of a piece."""
    small = frame(sender, number)[1:-2]
    unit = blake2b(small, digest_size=32).hexdigest().encode()
    return small + b"OBX|1|ED|PDF||" + unit * (LARGE // len(unit)) + b"\r"


def as_sent(control_id: str) -> bytes:
    """What the receiver is to get, by its control id."""
    sender, _, number = control_id[1:].partition("N")
    return message(int(sender), int(number)).replace(b"|X|Y|", b"|RECEIVER|Y|", 1)


class LargeReceiver(Receiver):
    """Takes blocks of any length."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=READ)


class ComparingReceiver(LargeReceiver):
    """Says AA to everything; `torn` counts what is not the very bytes."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                block = await reader.readuntil(END)
                control_id = control_id_of(block)
                self.torn += block != b"\x0b" + as_sent(control_id) + END
                self.accepted.append(control_id)
                writer.write(f"\x0bMSH|^~\\&|R|H|S|H|20260102||ACK|R|P|2.5.1\rMSA|AA|{control_id}\r\x1c\r".encode())
                await writer.drain()
        writer.close()


def pieces_in(path: Path) -> tuple[int, int]:
    """How many pieces a store has, and how many of them belong to no body."""
    store = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        if not store.execute("SELECT count(*) FROM sqlite_master WHERE name = 'body_piece'").fetchone()[0]:
            return 0, 0  # killed before it had tables
        counts = "SELECT count(*), count(*) FILTER (WHERE body NOT IN (SELECT id FROM body)) FROM body_piece"
        pieces, orphans = store.execute(counts).fetchone()
        return pieces, orphans
    finally:
        store.close()


class LargeRig(Rig):
    """Every third sender sends large messages. Counts the kills that left pieces of something behind.

    `pieces`: the most that there were between two engines, as retention forgets them with their bodies; `orphans`:
    those without a body when the last engine has ended.
    """

    channel = CHANNEL
    settings = "admin: off\nretention: {size: 20MB}\n"
    left_behind = 0
    pieces = 0
    orphans = 0

    def make_receivers(self) -> dict[str, Receiver]:
        return {"receiver": ComparingReceiver()}

    def payload(self, sender: int, number: int) -> bytes:
        return message(sender, number)

    async def _start(self, death: str | None) -> EngineProcess:
        self.left_behind += self._look() > 0
        return await super()._start(death)

    def _look(self) -> int:
        path = self.folder / "data" / "segmill.db"
        pieces, orphans = pieces_in(path) if path.exists() else (0, 0)
        self.pieces = max(self.pieces, pieces - orphans)
        return orphans

    def _judge(self) -> None:
        super()._judge()
        self.orphans = self._look()


class LargeSenders(Senders):
    """Senders of the same messages, which wait for each answer."""

    def payload(self, sender: int, number: int) -> bytes:
        return message(sender, number)


class LargeSite(OneSite):
    """One site with such senders and a receiver that compares."""

    def __init__(self, folder: Path, *, channel: str = CHANNEL, preload: Path | None = None, senders: int = 2) -> None:
        self.channel = channel
        super().__init__(folder, preload=preload)
        self.load = LargeSenders(self.port, senders)

    def make_receivers(self) -> dict[str, Receiver]:
        return {"receiver": ComparingReceiver()}

    def pieces(self) -> tuple[int, int]:
        """How many pieces there are, and how many of them without a body."""
        return pieces_in(self.data / "segmill.db")
