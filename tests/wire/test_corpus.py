"""Public sample messages of many vendors, through a tolerant pass-through channel, over real sockets.

The samples are not part of this project. SEGMILL_CORPUS names a folder of `*.hl7` files, each what one block holds.
"""

import asyncio
import logging
import os
from pathlib import Path

import pytest

from engine.app import Engine, load
from engine.hl7.batch import split_batch
from engine.hl7.charset import encoded
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.testing.peers import ReceivingPeer

CORPUS = Path(os.environ.get("SEGMILL_CORPUS", ""))
VT, END = b"\x0b", b"\x1c\r"

pytestmark = pytest.mark.skipif(
    not os.environ.get("SEGMILL_CORPUS") or not CORPUS.is_dir(), reason="SEGMILL_CORPUS names no folder of samples"
)

CHANNEL = """
    description: Everything, as it came
    listen:
      mllp: {{port: 0}}
    accept: ["*"]
    ack: {{mode: original}}
    duplicates: off
    routes:
      - to: receiver
    destinations:
      receiver:
        mllp: {{host: 127.0.0.1, port: {port}}}
        window: 64
"""


def samples() -> list[tuple[str, bytes]]:
    """Each file as one block's payload. Some were captured with MLLP's own bytes, which no payload can hold."""
    return [(path.name, without_frame(path.read_bytes())) for path in sorted(CORPUS.glob("*.hl7"))]


def without_frame(raw: bytes) -> bytes:
    return raw.partition(b"\x1c")[0].replace(VT, b"")


def is_well_formed(raw: bytes) -> bool:
    """What HL7 asks of the bytes themselves: MSH first, CR after every segment, a control id, one message."""
    if not raw.startswith(b"MSH|^~\\&") or not raw.endswith(b"\r") or b"\n" in raw or b"\rMSH" in raw:
        return False
    msh = raw.partition(b"\r")[0].split(b"|")
    return len(msh) > 11 and bool(msh[9])


async def exchange(address: tuple[str, int], payload: bytes) -> bytes:
    """Everything the engine answers to one block before it would wait for another."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(VT + payload + END)
        writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


def is_owed_nothing(raw: bytes) -> bool:
    """An acknowledgement: it is taken and delivered, and never acknowledged itself (hl7.md item 13)."""
    try:
        message = Message.parse(raw)
    except UnreadableMessage:
        return False
    return (message.get("MSH-9.1") or "").startswith("ACK")


async def test_every_sample_is_answered_and_every_good_one_delivered_byte_for_byte(
    make_site, caplog: pytest.LogCaptureFixture
) -> None:
    async with ReceivingPeer() as receiver:
        site = make_site({"all": CHANNEL.format(port=receiver.address[1])}, "admin: off\nstore: 'memory:'\n")
        engine = Engine(load(site, {}))
        with caplog.at_level(logging.DEBUG, logger="segmill"):
            await engine.start()
            try:
                taken: list[tuple[str, bytes]] = []
                for name, payload in samples():
                    answer = await exchange(engine.addresses["all"], payload)
                    parts = split_batch(payload)
                    owed = [part for part in parts if not is_owed_nothing(part)]
                    # One without a control id is kept as rejected; the others go their way in silence.
                    silent = [part for part in parts if is_owed_nothing(part) and Message.parse(part).get("MSH-10")]
                    taken += [(name, part) for part in silent]
                    codes = [line[4:6] for line in answer.replace(VT, b"\r").split(b"\r") if line[:3] == b"MSA"]
                    assert len(codes) == len(owed), f"{name}: {len(codes)} answers to {len(owed)} messages"
                    assert answer.endswith(END) or not owed, f"{name}: the answer is not a whole block"
                    for part, code in zip(owed, codes, strict=True):
                        if code == b"AA":
                            taken.append((name, part))
                        else:
                            assert not is_well_formed(part), f"{name}: a well-formed message was refused with {code!r}"
                await receiver.until_received(len(taken))
            finally:
                await engine.stop()
    assert len(taken) > 200
    for (name, part), delivered in zip(taken, receiver.received, strict=True):
        assert delivered.count(b"\rMSH") == 0, f"{name}: two messages were delivered as one"
        if is_well_formed(part):
            assert delivered == part, f"{name}: not byte for byte"
        else:
            assert delivered == Message.parse(part).to_bytes(), name
    assert [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []


async def test_samples_sent_without_waiting_are_answered_in_order_and_none_is_merged(make_site) -> None:
    async with ReceivingPeer() as receiver:
        site = make_site({"all": CHANNEL.format(port=receiver.address[1])}, "admin: off\nstore: 'memory:'\n")
        engine = Engine(load(site, {}))
        await engine.start()
        try:
            sent = [
                (name, payload)
                for name, payload in samples()
                if split_batch(payload) == [payload] and b"\x1c" not in payload and not is_owed_nothing(payload)
            ]
            stream = b"".join(VT + payload + END for _, payload in sent)
            answers = (await exchange_stream(engine.addresses["all"], stream)).split(END)[:-1]
            assert len(answers) == len(sent)
            for (name, payload), answer in zip(sent, answers, strict=True):
                try:
                    message = Message.parse(payload)
                except UnreadableMessage:
                    continue
                fields = message.fields(0)
                control_id = fields[10] if len(fields) > 10 and fields[0] == "MSH" else ""
                msa = next(line for line in answer.split(b"\r") if line.startswith(b"MSA"))
                separator = msa[3:4]
                assert msa.split(separator)[2] == encoded(control_id, message.codec, "surrogateescape"), name
        finally:
            await engine.stop()


async def exchange_stream(address: tuple[str, int], stream: bytes) -> bytes:
    """All answers to a stream of blocks, cut by the network as it likes."""
    reader, writer = await asyncio.open_connection(*address)

    async def send() -> None:
        for at in range(0, len(stream), 1400):
            writer.write(stream[at : at + 1400])
            await writer.drain()
        writer.write_eof()

    try:
        async with asyncio.timeout(30):
            _, answers = await asyncio.gather(send(), reader.read())
            return answers
    finally:
        writer.close()
