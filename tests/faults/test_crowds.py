"""Idle, dawdling and abusive connections by the thousand beside an honest sender: it is answered, and the engine's
memory is bounded (reliability.md R7, R8, C1, C5).

That framing costs work by the byte and not by its square is counted in tests/mllp/test_framing.py."""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from pathlib import Path
from types import TracebackType

import pytest
import trustme

from engine.adapters.tls import client_context
from tests.faults.ledger import Ledger, needs
from tests.faults.outside import MIB, Outside, can_open, outside

CHANNEL = """\
listen:
  mllp: {{port: {port}, host: 127.0.0.1, frame_timeout: 30m, max_connections: 20000}}
accept: [ADT^*]
ack: {{mode: original}}
routes: [{{to: receiver}}]
destinations:
  receiver:
    mllp: {{host: 127.0.0.1, port: {receiver}}}
"""
MUTUAL = CHANNEL.replace(
    "max_connections: 20000", "max_connections: 20000, tls: {{certificate: own.pem, key: own.key, client_ca: ca.pem}}"
)
LIMITS = "limits: {free_disk: 0, connections: 20000}\n"
HALF = b"\x0bMSH|^~\\&|HALF|HOSP|X|Y|20260102030405||ADT^A01|H|P|2.5.1\r" + b"PID|1||" + b"9" * 900
PLAIN_MIB_PER_10K = 120
HALVES_MIB_PER_10K = 250
MUTUAL_MIB_PER_10K = 600
"""What all may hold with ten thousand connections of a kind, the engine itself included (R7)."""


class Crowd:
    """Plain connections, all of them open until the end."""

    def __init__(self, site: Outside) -> None:
        self.site = site
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go()

    def go(self) -> None:
        for plain in self.sockets:
            plain.close()
        self.sockets.clear()

    async def come(self, count: int) -> None:
        """So many more, a few hundred at a time, until the engine has them all."""
        there = await self.site.connections()
        for at in range(0, count, 400):
            for _ in range(min(400, count - at)):
                plain = socket.socket()
                plain.setblocking(False)
                plain.connect_ex(("127.0.0.1", self.site.port))
                self.sockets.append(plain)
            await self.site.until_connections(there + min(count, at + 400))

    def say(self, data: bytes) -> None:
        for plain in self.sockets:
            plain.send(data)


async def idle_and_half(folder: Path, count: int, what: str, ledger: Ledger) -> None:
    needs("R7", can_open(count + 1000), f"this process may not open {count + 1000:,} descriptors")
    async with outside(folder, CHANNEL, LIMITS) as site:
        await site.run(script="tests.faults.changed_engine")
        await site.honest(50, "BEFORE")
        start = site.memory()
        with Crowd(site) as crowd:
            over = asyncio.Event()
            honest = asyncio.get_running_loop().create_task(site.honest(until=over))
            await site.until_connections(1)
            await crowd.come(count)
            idle = site.memory()
            crowd.say(HALF)
            await _read(crowd)
            halves = site.memory()
            over.set()
            answered = await honest
            assert await site.connections() == count, "nobody was turned away"
        await site.until_connections(0)
        await site.honest(20, "AFTER")
        assert not {"refused_limit", "crowded", "midframe"} & {k for k, n in site.events().items() if n}
        await site.end()
    ledger.write(
        "R7",
        what,
        connections=count,
        MiB_at_start=round(start / MIB, 1),
        MiB_idle=round(idle / MIB, 1),
        MiB_with_half_frames=round(halves / MIB, 1),
        bytes_each_idle=max(0, idle - start) // count,
        bytes_each_half=max(0, halves - start) // count,
        honest_answered=answered,
    )
    assert answered > 0
    assert idle < PLAIN_MIB_PER_10K * MIB and halves < HALVES_MIB_PER_10K * MIB
    assert (idle - start) // count < (PLAIN_MIB_PER_10K * MIB - start) // 10_000
    assert (halves - start) // count < (HALVES_MIB_PER_10K * MIB - start) // 10_000


async def _read(crowd: Crowd) -> None:
    """Until the engine's side of the network has everything that these have sent, and its loop has turned since."""
    async with asyncio.timeout(120):
        for plain in crowd.sockets:
            while struct.unpack("i", fcntl.ioctl(plain, termios.TIOCOUTQ, b"\0\0\0\0"))[0]:
                await asyncio.sleep(0.05)
    await crowd.site.status()


@pytest.mark.timeout(120)
async def test_R7_two_thousand_idle_and_half_said_connections_leave_an_honest_sender_its_answers(
    tmp_path: Path, ledger: Ledger
) -> None:
    await idle_and_half(tmp_path, 2000, "idle connections, then a half frame from each", ledger)


@pytest.mark.fault
@pytest.mark.timeout(900)
async def test_R7_ten_thousand_idle_and_half_said_connections(tmp_path: Path, ledger: Ledger) -> None:
    await idle_and_half(tmp_path, 10_000, "idle connections, then a half frame from each, long", ledger)


async def mutual(folder: Path, count: int, what: str, ledger: Ledger) -> None:
    needs("R7", can_open(count + 1000), f"this process may not open {count + 1000:,} descriptors")
    authority = trustme.CA()
    own, known = authority.issue_cert("127.0.0.1"), authority.issue_cert("sender.example")
    files = {
        "own.pem": b"".join(part.bytes() for part in own.cert_chain_pems),
        "own.key": own.private_key_pem.bytes(),
        "ca.pem": authority.cert_pem.bytes(),
    }
    (folder / "known.pem").write_bytes(known.private_key_and_cert_chain_pem.bytes())
    (folder / "ca.pem").write_bytes(files["ca.pem"])
    context = client_context(ca=folder / "ca.pem", certificate=folder / "known.pem")
    async with Outside(folder / "site", MUTUAL) as site:
        site.write_site(LIMITS, files)
        await site.run(script="tests.faults.changed_engine")
        loop = asyncio.get_running_loop()

        async def one() -> asyncio.Transport:
            transport, _ = await loop.create_connection(
                asyncio.Protocol, "127.0.0.1", site.port, ssl=context, server_hostname="127.0.0.1"
            )
            return transport

        transports = [await one() for _ in range(20)]
        start = site.memory()
        for at in range(0, count, 50):
            transports += await asyncio.gather(*(one() for _ in range(min(50, count - at))))
        await site.until_connections(count + 20)
        each = (site.memory() - start) // count
        for transport in transports:
            transport.abort()
        await site.end()
    ledger.write("R7", what, connections=count, MiB=round(start / MIB + each * count / MIB, 1), bytes_each=each)
    assert each < (MUTUAL_MIB_PER_10K * MIB - start) // 10_000


@pytest.mark.timeout(120)
async def test_R7_an_idle_connection_with_mutual_tls_holds_little(tmp_path: Path, ledger: Ledger) -> None:
    await mutual(tmp_path, 300, "idle connections with mutual TLS", ledger)


@pytest.mark.fault
@pytest.mark.timeout(900)
async def test_R7_three_thousand_idle_connections_with_mutual_tls(tmp_path: Path, ledger: Ledger) -> None:
    await mutual(tmp_path, 3000, "idle connections with mutual TLS, long", ledger)


# -- abuse of frames ------------------------------------------------------------------------------

BOUNDED = CHANNEL.replace("max_connections: 20000", "max_connections: 20000, max_message: {most}")
SLACK = 8 * MIB
"""What the interpreter itself takes to and fro."""


async def endless(site: Outside, size: int, over: asyncio.Event | None = None) -> None:
    """A block that begins and never ends, of `size` bytes; until it is cut off, or `over`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    with contextlib.suppress(OSError):
        writer.write(HALF)
        for _ in range(size // 65536):
            writer.write(b"x" * 65536)
            await asyncio.wait_for(writer.drain(), 60)
        if over is None:
            await asyncio.wait_for(reader.read(), 60)
        else:
            await asyncio.wait_for(over.wait(), 60)
    writer.close()


@pytest.mark.timeout(120)
async def test_R8_a_block_without_end_holds_no_more_than_twice_the_limit(tmp_path: Path, ledger: Ledger) -> None:
    limit = 16 * MIB
    async with outside(tmp_path, BOUNDED.replace("{most}", "16MiB"), LIMITS) as site:
        await site.run(script="tests.faults.changed_engine")
        await site.honest(50, "BEFORE")
        start = site.memory()
        site.forget_peak()
        await endless(site, 4 * limit)
        grown = site.memory("VmHWM") - start
        await site.until_connections(0)
        await site.honest(20, "AFTER")
        assert site.events()["oversize"]
        await site.end()
    ledger.write("R8", "one block of 64 MiB where 16 are allowed", MiB_more_at_most=round(grown / MIB, 1), allowed=32)
    assert grown < 2 * limit + SLACK


ROOM = 24 * MIB


async def filling(folder: Path, *words: str) -> dict[str, int]:
    """A hundred halves of blocks could hold 90 MiB; the room of all ports is 24. An honest sender comes meanwhile."""
    settings = "limits: {free_disk: 0, connections: 20000, intake_memory: 24MiB}\n"
    async with outside(folder, BOUNDED.replace("{most}", "1MiB"), settings) as site:
        await site.run(*words, script="tests.faults.changed_engine")
        over = asyncio.Event()
        abuse = [asyncio.get_running_loop().create_task(endless(site, MIB - 128 * 1024, over)) for _ in range(100)]
        start = site.memory()
        site.forget_peak()
        await site.honest(100)
        async with asyncio.timeout(60):
            while not site.events()["crowded"] and site.memory() < start + 80 * MIB:
                await asyncio.sleep(0.1)
        await site.honest(50, "BESIDE")
        grown = site.memory("VmHWM") - start
        over.set()
        await asyncio.gather(*abuse)
        events = site.events()
        await site.end()
    return {"grown": grown, "crowded_out": events["crowded"], "honest_answered": 150}


@pytest.mark.timeout(120)
async def test_R8_many_blocks_without_end_hold_no_more_than_all_ports_may(tmp_path: Path, ledger: Ledger) -> None:
    seen = await filling(tmp_path)
    grown = seen.pop("grown")
    ledger.write("R8", "100 blocks without end, 1 MiB each", MiB_more_at_most=round(grown / MIB, 1), room=24, **seen)
    assert grown < 2 * ROOM + SLACK
    assert seen["crowded_out"]


@pytest.mark.timeout(120)
async def test_R8_the_rig_finds_an_engine_whose_ports_have_no_bound_together(tmp_path: Path) -> None:
    seen = await filling(tmp_path, "roomless")
    assert seen["grown"] > 2 * ROOM + SLACK and not seen["crowded_out"]
