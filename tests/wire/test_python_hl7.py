"""python-hl7's own asyncio MLLP client and server talk to our receiving peer and to our MLLP sink."""

import asyncio
from pathlib import Path

import hl7
import pytest
from hl7.mllp import open_hl7_connection, start_hl7_server

from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender
from engine.adapters.sinks.mllp import MllpSink, MllpSinkSettings
from engine.model.envelope import Delivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.outcome import Delivered, Refused, Unanswered
from engine.ports.clock import SystemClock
from engine.testing.peers import ReceivingPeer

ENCODING = "utf-8"


class ForeignServer:
    """python-hl7's server as its documentation shows it, answering with its own `create_ack`."""

    def __init__(self, code: str = "AA") -> None:
        self.code = code
        self.received: list[str] = []
        self.server: asyncio.Server | None = None
        self._serving = 0
        self._idle = asyncio.Event()

    async def _serve(self, reader, writer) -> None:
        self._serving += 1
        self._idle.clear()
        try:
            while True:
                message = await reader.readmessage()
                self.received.append(str(message))
                writer.writemessage(message.create_ack(self.code))
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass  # the client has closed
        finally:
            writer.close()
            await writer.wait_closed()
            self._serving -= 1
            if not self._serving:
                self._idle.set()

    async def __aenter__(self) -> "ForeignServer":
        self.server = await start_hl7_server(self._serve, "127.0.0.1", 0, encoding=ENCODING, limit=1 << 24)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.server is not None
        self.server.close()
        await self.server.wait_closed()
        await asyncio.wait_for(self._idle.wait(), 10)

    @property
    def port(self) -> int:
        assert self.server is not None
        return self.server.sockets[0].getsockname()[1]


@pytest.fixture
def delivery(adt):
    def make(control_id: str, body: bytes | None = None) -> Delivery:
        raw = adt(control_id=control_id) if body is None else body
        return Delivery(DeliveryId(1), MessageSeq(1), ChannelName("adt"), DestinationName("out"), raw, 0)

    return make


def sink_to(port: int) -> MllpSink:
    settings = MllpSinkSettings(host="127.0.0.1", port=port, ack_timeout=10.0)
    return MllpSink.open(settings, folder=Path("."), lane="adt/out", clock=SystemClock())


async def test_our_sink_delivers_to_its_server_and_reads_its_acks(delivery):
    async with ForeignServer() as server:
        sink = sink_to(server.port)
        sent = [delivery(f"W{n}") for n in range(50)]
        for message in sent:
            (outcome,) = await sink.send([message])
            assert isinstance(outcome, Delivered)
        await sink.close()
        assert server.received == [message.body.decode() for message in sent]


async def test_a_large_message_with_umlauts_reaches_its_server_whole(delivery, oru):
    body = oru(control_id="BIG") + "NTE|1||M\u00fcller {}\r".format("\u00fc" * 200_000).encode()
    async with ForeignServer() as server:
        sink = sink_to(server.port)
        (outcome,) = await sink.send([delivery("BIG", body)])
        assert isinstance(outcome, Delivered)
        await sink.close()
        assert server.received == [body.decode()]


@pytest.mark.parametrize("code", ["AE", "AR"])
async def test_its_refusals_are_refusals(code, delivery):
    async with ForeignServer(code) as server:
        sink = sink_to(server.port)
        (outcome,) = await sink.send([delivery("W1")])
        assert isinstance(outcome, Refused) and outcome.ack_code == code
        await sink.close()


async def test_a_server_that_fails_on_a_message_leaves_it_unanswered(delivery):
    # python-hl7 cannot build an ACK for an MSH-9 of one component: its handler dies and it closes.
    async with ForeignServer() as server:
        failures: list[dict] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        sink = sink_to(server.port)
        body = b"MSH|^~\\&|A|B|C|D|20260101||ACK|X1|P|2.5.1\r"
        (outcome,) = await sink.send([delivery("X1", body)])
        assert isinstance(outcome, Unanswered)
        await sink.close()
    assert len(failures) == 1


async def test_our_sender_sends_to_its_server(adt):
    async with ForeignServer() as server:
        report = await Sender(
            Target("127.0.0.1", server.port), [adt(control_id=f"L{n}") for n in range(200)], connections=4
        ).run()
        assert report.accepted == 200 and report.is_clean
        assert len(server.received) == 200


async def test_its_client_sends_to_our_peer_and_reads_our_acks(adt):
    async with ReceivingPeer("AA", "AE") as peer:
        reader, writer = await open_hl7_connection(*peer.address, encoding=ENCODING)
        for number, code in enumerate(["AA", "AE"]):
            raw = adt(control_id=f"P{number}")
            writer.writemessage(hl7.parse(raw.decode()))
            await writer.drain()
            answer = await asyncio.wait_for(reader.readmessage(), 10)
            assert str(answer.segment("MSA")[1]) == code
            assert str(answer.segment("MSA")[2]) == f"P{number}"
            assert peer.received[number] == raw
        writer.close()
        await writer.wait_closed()


async def test_blocks_that_it_would_merge_are_two_messages_here(adt):
    # VT m1 FS VT m2 FS CR: python-hl7's own server takes this for one message and answers AA (hl7.md item 5).
    one, two = adt(control_id="M1"), adt(control_id="M2")
    async with ReceivingPeer("AA") as peer:
        reader, writer = await open_hl7_connection(*peer.address, encoding=ENCODING)
        writer.write(b"\x0b" + one + b"\x1c\x0b" + two + b"\x1c\r")
        await writer.drain()
        answers = [await asyncio.wait_for(reader.readmessage(), 10) for _ in range(2)]
        assert [str(answer.segment("MSA")[2]) for answer in answers] == ["M1", "M2"]
        assert peer.received == [one, two]
        writer.close()
        await writer.wait_closed()
