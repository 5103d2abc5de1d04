"""Sending with MLLP Release 2: committed, refused, silent and old receivers, over real sockets."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from engine.adapters.mllp_release2 import Release2Connection
from engine.adapters.sinks.mllp import MllpSink, MllpSinkSettings
from engine.mllp.framing import Block, BlockDecoder, CommitByte, encode
from engine.model.envelope import Delivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.outcome import Delivered, Refused, Unanswered
from engine.ports.clock import SystemClock

ACK = b"\x0b\x06\x1c\r"
NAK = b"\x0b\x15\x1c\r"


class Receiver:
    """Answers the n-th block with the n-th entry of `script`: bytes, with `{id}` for MSH-10, or None for nothing."""

    def __init__(self, *script: bytes | None) -> None:
        self.script = list(script)
        self.blocks: list[bytes] = []
        self.commits: list[bool] = []
        self.links = 0
        self.ended_links = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = BlockDecoder()
        self.links += 1
        try:
            while data := await reader.read(65536):
                for item in decoder.feed(data):
                    if isinstance(item, CommitByte):
                        self.commits.append(item.positive)
                    elif isinstance(item, Block):
                        self.blocks.append(item.payload)
                        step = self.script.pop(0) if self.script else None
                        if step is not None:
                            control_id = item.payload.split(b"|")[9]
                            writer.write(step.replace(b"{id}", control_id))
        finally:
            self.ended_links += 1
            writer.close()


def said(code: str) -> bytes:
    return encode(b"MSH|^~\\&|R|N|H|N|2026||ACK|9|P|2.5.1\rMSA|%s|{id}\r" % code.encode())


@asynccontextmanager
async def sending(receiver: Receiver, **settings):
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    given = {"release": 2, "commit_timeout": 60.0, "ack_timeout": 60.0, **settings}
    model = MllpSinkSettings(host="127.0.0.1", port=port, **given)
    sink = MllpSink.open(model, folder=Path("."), lane="adt/out", clock=SystemClock())
    try:
        yield sink
    finally:
        await sink.close()
        server.close()


@pytest.fixture
def delivery(adt):
    def make(control_id: str = "C1", **given) -> Delivery:
        body = adt(control_id=control_id, **given)
        return Delivery(DeliveryId(1), MessageSeq(1), ChannelName("adt"), DestinationName("out"), body, 0)

    return make


def until_committed(refusal: bytes | None) -> dict[str, float]:
    """A short time where silence is the script, and none that matters where something is said."""
    return {} if refusal == NAK else {"commit_timeout": 0.15}


@pytest.fixture
def answered_at(monkeypatch) -> Callable[[int], None]:
    """`answered_at(3)`: the third writing of a block is the one that is answered, and it has a minute for that."""
    again = Release2Connection._again

    def patient_at(number: int) -> None:
        def patient(self: Release2Connection) -> None:
            if self._tries == number - 1:
                self._target = replace(self._target, commit_timeout_s=60.0)
            again(self)

        monkeypatch.setattr(Release2Connection, "_again", patient)

    return patient_at


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def test_a_block_is_committed_then_answered_and_the_answer_committed(delivery) -> None:
    receiver = Receiver(ACK + said("AA"), ACK + said("AE"), ACK + said("CA"))
    async with sending(receiver) as sink:
        outcomes = await sink.send([delivery("C1"), delivery("C2"), delivery("C3")])
        assert [type(outcome) for outcome in outcomes] == [Delivered, Refused, Delivered]
        await until(lambda: receiver.commits == [True, True, True])
        assert len(receiver.blocks) == 3 and receiver.links == 1


@pytest.mark.parametrize("refusal", [NAK, None, b""], ids=["nak", "silence", "nothing"])
async def test_a_block_that_is_not_committed_is_written_again_as_it_is(delivery, answered_at, refusal) -> None:
    receiver = Receiver(refusal, refusal, ACK + said("AA"))
    answered_at(3)
    async with sending(receiver, **until_committed(refusal)) as sink:
        (outcome,) = await sink.send([delivery()])
        assert isinstance(outcome, Delivered)
        assert len(receiver.blocks) == 3 and len(set(receiver.blocks)) == 1 and receiver.links == 1


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("refusal", [NAK, None], ids=["nak", "silence"])
async def test_after_so_many_times_the_attempt_is_over_and_the_connection_with_it(delivery, refusal, retries) -> None:
    receiver = Receiver(*[refusal] * (retries + 1), ACK + said("AA"))
    async with sending(receiver, commit_retries=retries, **until_committed(refusal)) as sink:
        (outcome,) = await sink.send([delivery()])
        assert isinstance(outcome, Unanswered) and "did not commit" in outcome.note
        assert not sink.is_connected
        await until(lambda: receiver.ended_links == 1)
        assert len(receiver.blocks) == retries + 1
        sink._target = replace(sink._target, commit_timeout_s=60.0)
        (outcome,) = await sink.send([delivery()])
        assert isinstance(outcome, Delivered) and receiver.links == 2


async def test_a_committed_message_that_is_never_answered_counts_as_unanswered(delivery) -> None:
    receiver = Receiver(ACK)
    async with sending(receiver, ack_timeout=0.3) as sink:
        (outcome,) = await sink.send([delivery()])
        assert isinstance(outcome, Unanswered) and "no answer within" in outcome.note
        assert len(receiver.blocks) == 1


async def test_an_answer_may_take_longer_than_a_commit(delivery, monkeypatch) -> None:
    tick = Release2Connection._tick

    def not_before_the_commit(self: Release2Connection) -> None:
        if self._block:
            self._timer = self._loop.call_later(0.01, self._tick)
        else:
            tick(self)

    monkeypatch.setattr(Release2Connection, "_tick", not_before_the_commit)
    receiver = Receiver(ACK)
    async with sending(receiver, commit_timeout=0.15) as sink:
        sent = asyncio.get_running_loop().create_task(sink.send([delivery("C1")]))
        await until(lambda: receiver.blocks and not sink._connection._block)
        await asyncio.sleep(0.3)
        assert not sent.done() and len(receiver.blocks) == 1
        sent.cancel()
        await asyncio.wait([sent])


async def test_a_receiver_of_release_1_answers_and_that_is_enough(delivery) -> None:
    receiver = Receiver(said("AA"), said("AA"))
    async with sending(receiver) as sink:
        outcomes = await sink.send([delivery("C1"), delivery("C2")])
        assert [type(outcome) for outcome in outcomes] == [Delivered, Delivered]
        assert len(receiver.blocks) == 2


@pytest.mark.parametrize("script", [(ACK,), (NAK, ACK), (None, ACK)])
async def test_a_message_that_asks_for_no_answer_is_done_when_it_is_committed(delivery, answered_at, script) -> None:
    receiver = Receiver(*script)
    answered_at(len(script))
    async with sending(receiver, answer="as-asked", **until_committed(NAK if None not in script else None)) as sink:
        (outcome,) = await sink.send([delivery(accept_ack="NE", application_ack="NE")])
        assert isinstance(outcome, Delivered) and len(receiver.blocks) == len(script)


async def test_a_message_that_asks_for_no_answer_and_is_not_committed_is_not_delivered(delivery) -> None:
    receiver = Receiver(NAK, NAK, NAK)
    async with sending(receiver, answer="as-asked") as sink:
        (outcome,) = await sink.send([delivery(accept_ack="NE", application_ack="NE")])
        assert isinstance(outcome, Unanswered)


async def test_with_the_application_waited_for_both_answers_are_committed(delivery) -> None:
    receiver = Receiver(ACK + said("CA") + said("AE"))
    async with sending(receiver) as sink:
        sink.await_application()
        (outcome,) = await sink.send([delivery(accept_ack="AL", application_ack="AL")])
        assert isinstance(outcome, Refused) and outcome.ack_code == "AE"
        await until(lambda: receiver.commits == [True, True])


async def test_a_large_block_is_written_again_whole(delivery) -> None:
    big = delivery()
    big.body += b"OBX|1|TX|^^^||" + b"Z" * 3_000_000 + b"\r"
    receiver = Receiver(NAK, ACK + said("AA"))
    async with sending(receiver) as sink:
        (outcome,) = await sink.send([big])
        assert isinstance(outcome, Delivered)
        assert [len(block) for block in receiver.blocks] == [len(big.body)] * 2


@pytest.mark.parametrize("commit", [ACK, NAK], ids=["positive", "negative"])
@pytest.mark.parametrize("conditions", [("AL", "AL"), ("NE", "NE")], ids=["answered", "posted"])
async def test_a_commit_before_the_end_of_the_block_is_not_of_this_block(delivery, commit, conditions) -> None:
    """A yes cannot mean it, and what is written again in the middle of it would be one block with it."""
    big = delivery(accept_ack=conditions[0], application_ack=conditions[1])
    big.body += b"OBX|1|TX|^^^||" + b"Z" * 30_000_000 + b"\r"
    received = bytearray()
    ended = asyncio.Event()

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            received.extend(await reader.read(1000))
            writer.write(commit)
            await asyncio.sleep(0.2)
            while data := await reader.read(1 << 20):
                received.extend(data)
                if received.endswith(b"\x1c\r"):
                    writer.write(ACK + said("AA").replace(b"{id}", b"C1"))
        except ConnectionError:
            pass  # it was hung up on, as it should be
        finally:
            writer.close()
            ended.set()

    server = await asyncio.start_server(hasty, "127.0.0.1", 0)
    model = MllpSinkSettings(
        host="127.0.0.1", port=server.sockets[0].getsockname()[1], release=2, answer="as-asked", commit_retries=1
    )
    sink = MllpSink.open(model, folder=Path("."), lane="adt/out", clock=SystemClock())
    try:
        (outcome,) = await asyncio.wait_for(sink.send([big]), 8)
        assert isinstance(outcome, Unanswered)
        await asyncio.wait_for(ended.wait(), 5)
        assert received.count(b"\x0b") == 1
    finally:
        await sink.close()
        server.close()
