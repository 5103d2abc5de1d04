"""Peers that vanish without a word, as a machine does that loses its power: noticed within 15 s, in both directions
(reliability.md R11, S11)."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger
from tests.faults.load import END, message
from tests.faults.netns import Namespace, namespace
from tests.faults.outside import Outside

CHANNEL = """\
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
accept: [ADT^*]
ack: {{mode: original}}
routes: [{{to: receiver}}]
destinations:
  receiver:
    mllp: {{host: 127.0.0.1, port: {receiver}, ack_timeout: 5m}}
    retry: {{first: 20ms, most: 50ms}}
"""
WITHIN_S = 15.0
GIVEN_UP_S = 60.0
TICK_S = 0.25
"""Time is counted in turns of a loop beside it: a machine that stands still does not count."""


class Half:
    """An engine in the namespace; its two senders and its receiver are this process, with sockets made inside."""

    def __init__(self, site: Outside, net: Namespace) -> None:
        self.site = site
        self.net = net
        self.received = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.silent: list[asyncio.StreamWriter] = []
        self.receiver_port = 0
        self.speaker: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> "Half":
        listening = self.net.listen()
        self.server = await asyncio.start_server(self._receive, sock=listening)
        self.receiver_port = listening.getsockname()[1]
        self.site.receiver.address = ("127.0.0.1", self.receiver_port)
        self.site.write_site()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for writer in self.silent:
            writer.transport.abort()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.silent.append(writer)
        while True:
            try:
                block = await reader.readuntil(END)
            except (asyncio.IncompleteReadError, OSError):
                return
            self.received += 1
            if self.answers.is_set():
                told = block.split(b"|", 10)[9]
                writer.write(b"\x0bMSH|^~\\&|R|H|S|H|1||ACK|R|P|2.5.1\rMSA|AA|" + told + b"\r" + END)

    async def sender(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(sock=self.net.connect(self.site.port))
        self.silent.append(writer)
        return reader, writer

    async def say(self, control_id: str) -> None:
        assert self.speaker is not None
        self.speaker[1].write(b"\x0b" + message(control_id, 20) + END)

    def established(self) -> int:
        """The engine's connections to its receiver, as its kernel has them."""
        return len(self.net.run("ss", "-Htn", "state", "established", f"dport = :{self.receiver_port}").splitlines())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(GIVEN_UP_S):
            while not condition():
                await asyncio.sleep(0.2)


class Ticks:
    """How much time has gone by for those who were let run."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.count += 1


@pytest.mark.timeout(180)
async def test_R11_peers_that_vanish_are_noticed_within_15_seconds(tmp_path: Path, ledger: Ledger) -> None:
    """Six connections at once. One engine has two idle senders and an idle receiver; the other an idle sender, one to
    whom an ACK is on its way, and a receiver that owes an answer. Beside them an engine with stock sockets, which
    notices nothing: the rig can tell them apart."""
    with namespace("R11") as net:
        async with (
            Outside(tmp_path / "busy", CHANNEL) as busy,
            Outside(tmp_path / "idle", CHANNEL) as idle,
            Outside(tmp_path / "stock", CHANNEL) as stock,
            Half(busy, net) as with_work,
            Half(idle, net) as without,
            Half(stock, net) as deaf,
        ):
            everyone = (with_work, without, deaf)
            for half in everyone:
                words = ["deaf"] if half is deaf else []
                await half.site.run(*words, under=net.under, script="tests.faults.changed_engine")
                await half.sender()
                half.speaker = await half.sender()
                await half.say("S0N0")
                await half.speaker[0].readuntil(END)
                await half.until(lambda half=half: half.received == 1)
                while await half.site.queued():
                    await asyncio.sleep(0.05)
                assert await half.site.connections() == 2 and half.established() == 1
            for half in (with_work, deaf):
                half.answers.clear()
                await half.say("S0N1")
                await half.until(lambda half=half: half.received == 2)
            # What is sent to an engine that stands still, and answered when the network is gone, is an ACK on its way.
            for half in (with_work, deaf):
                half.site.process.send_signal(signal.SIGSTOP)
                await half.say("S0N2")
            net.cut(*(half.site.port for half in everyone), *(half.receiver_port for half in everyone))
            for half in (with_work, deaf):
                half.site.process.send_signal(signal.SIGCONT)
            ticks = Ticks()
            clock = asyncio.get_running_loop().create_task(ticks.run())
            noticed = await asyncio.gather(
                *(_alone(half, ticks) for half in (with_work, without)),
                *(_disconnected(half, ticks) for half in (with_work, without)),
            )
            clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await clock
            dropped = net.dropped()
            stock_senders, stock_receivers = await stock.connections(), deaf.established()
            vanished = [half.site.events()["vanished"] for half in (with_work, without)]
    ledger.write(
        "R11",
        "half-open peers, by iptables DROP",
        connections=6,
        noticed_after_seconds_at_most=max(noticed),
        packets_lost=dropped,
        stock_sockets_noticed=3 - stock_senders - stock_receivers,
    )
    assert max(noticed) <= WITHIN_S, noticed
    assert vanished == [2, 2]
    assert (stock_senders, stock_receivers) == (2, 1)


async def _alone(half: Half, ticks: Ticks) -> float:
    """Until both senders are known to be gone; in seconds."""
    await half.site.until_connections(0, GIVEN_UP_S)
    return ticks.count * TICK_S


async def _disconnected(half: Half, ticks: Ticks) -> float:
    """Until the receiver is known to be gone; in seconds."""
    await half.until(lambda: half.established() == 0)
    return ticks.count * TICK_S
