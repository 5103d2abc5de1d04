"""Every sink that ships keeps the contract of its port."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest

from engine.adapters.outgoing import control_id_of
from engine.adapters.sinks.database import DatabaseSink, DatabaseSinkSettings
from engine.adapters.sinks.email import EmailSink, EmailSinkSettings
from engine.adapters.sinks.file import FileSink, FileSinkSettings
from engine.adapters.sinks.http import HttpSink, HttpSinkSettings
from engine.adapters.sinks.mllp import MllpSink, MllpSinkSettings
from engine.ports.clock import SystemClock
from engine.ports.sink import Sink
from engine.testing.peers import ReceivingPeer, parse_behaviour
from engine.testing.sink_contract import SinkContract
from engine.testing.smtp_peer import SmtpPeer
from tests.adapters.http_peer import HttpPeer
from tests.ports import free_port


class MllpBench:
    def __init__(self, peer: ReceivingPeer) -> None:
        self.peer = peer

    def open(self) -> Sink:
        host, port = self.peer.address
        settings = MllpSinkSettings.model_validate({"host": host, "port": port, "ack_timeout": "5s"})
        return MllpSink.open(settings, folder=Path(), lane="adt/out", clock=SystemClock())

    def times(self, control_id: str) -> int:
        return sum(control_id_of(body) == control_id.encode() for body in self.peer.received)

    async def down(self) -> None:
        self.address = self.peer.address
        await self.peer.stop()

    async def up(self) -> None:
        await self.peer.start(*self.address)

    async def refusing(self) -> bool:
        self.peer.script = [parse_behaviour("AE")]
        return True


class TestMllpSink(SinkContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[MllpBench]:
        peer = ReceivingPeer()
        await peer.start(port=free_port())
        yield MllpBench(peer)
        await peer.stop()


class FileBench:
    def __init__(self, site: Path) -> None:
        self.site = site
        self.out = site / "out"

    def open(self) -> Sink:
        settings = FileSinkSettings.model_validate({"folder": "out", "name": "{MSH-10}.hl7"})
        return FileSink.open(settings, folder=self.site / "channels" / "adt", lane="adt/out", clock=SystemClock())

    def times(self, control_id: str) -> int:
        return len([*self.out.glob(f"{control_id}.hl7"), *self.out.glob(f"{control_id}-*.hl7")])

    async def down(self) -> None:
        if self.out.exists():
            self.out.rename(self.site / "away")
        self.out.write_text("a file is in the way")

    async def up(self) -> None:
        self.out.unlink()
        if (self.site / "away").exists():
            (self.site / "away").rename(self.out)

    async def refusing(self) -> bool:
        return False


class TestFileSink(SinkContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[FileBench]:
        yield FileBench(tmp_path)
        shutil.rmtree(tmp_path, ignore_errors=True)


class DocumentsBench(FileBench):
    """The file sink with the documents of its messages beside them."""

    def open(self) -> Sink:
        settings = FileSinkSettings.model_validate({"folder": "out", "name": "{MSH-10}.hl7", "documents": {}})
        return FileSink.open(settings, folder=self.site / "channels" / "adt", lane="adt/out", clock=SystemClock())


class TestFileSinkWithDocuments(SinkContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[DocumentsBench]:
        yield DocumentsBench(tmp_path)
        shutil.rmtree(tmp_path, ignore_errors=True)

    async def test_a_long_message_is_delivered_whole(self, sink, bench):
        await super().test_a_long_message_is_delivered_whole(sink, bench)
        (document,) = bench.out.rglob("LONG-1.bin")
        assert document.read_bytes() == b"ABC" * 500_000


class HttpBench:
    def __init__(self, peer: HttpPeer) -> None:
        self.peer = peer

    def open(self) -> Sink:
        settings = HttpSinkSettings.model_validate({"url": self.peer.url, "ack_timeout": "5s"})
        return HttpSink.open(settings, folder=Path(), lane="adt/out", clock=SystemClock())

    def times(self, control_id: str) -> int:
        return sum(control_id_of(body) == control_id.encode() for body in self.peer.bodies)

    async def down(self) -> None:
        await self.peer.stop()

    async def up(self) -> None:
        await self.peer.start()

    async def refusing(self) -> bool:
        self.peer.code, self.peer.status = "AE", 500
        return True


class TestHttpSink(SinkContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[HttpBench]:
        peer = HttpPeer()
        peer._port = free_port()
        async with peer:
            yield HttpBench(peer)


class SqliteBench:
    def __init__(self, site: Path) -> None:
        self.site = site
        self.path = site / "lab.db"
        db = sqlite3.connect(self.path)
        db.execute("CREATE TABLE message (id TEXT, body BLOB, CHECK (id <> 'R1'))")
        db.commit()
        db.close()

    def open(self) -> Sink:
        sql = "INSERT INTO message VALUES (:id, :segmill_body)"
        given = {"url": "sqlite:lab.db", "sql": sql, "parameters": {"id": "=MSH-10"}}
        settings = DatabaseSinkSettings.model_validate(given)
        return DatabaseSink.open(settings, folder=self.site / "channels" / "adt", lane="adt/out", clock=SystemClock())

    def times(self, control_id: str) -> int:
        db = sqlite3.connect(self.path)
        ((count,),) = db.execute("SELECT count(*) FROM message WHERE id = ?", (control_id,))
        db.close()
        return int(count)

    async def down(self) -> None:
        self.path.rename(self.site / "away.db")

    async def up(self) -> None:
        (self.site / "away.db").rename(self.path)

    async def refusing(self) -> bool:
        return True


class TestDatabaseSink(SinkContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[SqliteBench]:
        yield SqliteBench(tmp_path)


class EmailBench:
    def __init__(self, peer: SmtpPeer) -> None:
        self.peer = peer

    def open(self) -> Sink:
        host, port = self.peer.address
        given = {"host": host, "port": port, "tls": "off", "from": "a@b.example", "to": "c@d.example", "timeout": "5s"}
        settings = EmailSinkSettings.model_validate({**given, "attach": "message"})
        return EmailSink.open(settings, folder=Path(), lane="adt/out", clock=SystemClock())

    def times(self, control_id: str) -> int:
        count = 0
        for mail in self.peer.mails:
            message = message_from_bytes(mail.content, policy=default)
            (part,) = [part for part in message.walk() if part.get_content_type() == "application/hl7-v2"]
            body = part.get_payload(decode=True)
            count += b"|%s|" % control_id.encode() in body[:300]
        return count

    async def down(self) -> None:
        await self.peer.stop()

    async def up(self) -> None:
        await self.peer.start()

    async def refusing(self) -> bool:
        self.peer.replies["END"] = "554 no"
        return True


class TestEmailSink(SinkContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[EmailBench]:
        peer = SmtpPeer()
        peer.address = ("127.0.0.1", free_port())
        async with peer:
            yield EmailBench(peer)
