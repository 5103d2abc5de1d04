"""The kill rig: senders that resend until acknowledged, an engine that dies and is started again, a receiver that
remembers everything, and the four questions asked of what it remembers (reliability.md P1 to P5, R1)."""

import asyncio
import contextlib
import random
import socket
import sqlite3
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.engine_under_test import STAGES

SCRIPT = Path(__file__).with_name("engine_under_test.py")
END = b"\x1c\r"

CHANNEL = """\
description: Kill rig
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
accept: [ADT^*]
ack: {{mode: original}}
steps:
  - set: {{MSH-5: RECEIVER}}
routes:
  - to: receiver
destinations:
  receiver:
    mllp: {{host: 127.0.0.1, port: {receiver}, ack_timeout: 2s}}
    retry: {{first: 20ms, most: 50ms}}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def frame(sender: int, number: int) -> bytes:
    control_id = f"S{sender}N{number}"
    return (
        f"\x0bMSH|^~\\&|APP{sender}|HOSP|X|Y|20260102030405||ADT^A01^ADT_A01|{control_id}|P|2.5.1\r"
        f"EVN|A01|20260102030405\rPID|1||{number}^^^HOSP^MR||Testperson^Anna\rPV1|1|I\r\x1c\r"
    ).encode()


@dataclass
class Verdict:
    """What the rig saw. `lost`: acknowledged and never delivered. `unmarked`: delivered twice and not marked so."""

    cycles: int = 0
    acknowledged: set[str] = field(default_factory=set)
    delivered: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    duplicates: Counter[str] = field(default_factory=Counter)
    unmarked: list[str] = field(default_factory=list)
    stored_twice: list[str] = field(default_factory=list)
    torn: int = 0

    def __str__(self) -> str:
        return (
            f"{self.cycles} kills, {len(self.acknowledged)} acknowledged, {len(self.lost)} lost, "
            f"{len(self.out_of_order)} out of order, {sum(self.duplicates.values())} duplicates "
            f"({len(self.unmarked)} unmarked), {len(self.stored_twice)} stored twice, {self.torn} torn"
        )


class Rig:
    """One site, eight senders, one receiver, and as many engines as it takes."""

    channel = CHANNEL

    def __init__(self, folder: Path, *, seed: int, senders: int = 8, mutant: str | None = None) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.senders = senders
        self.mutant = mutant
        self.port = free_port()
        self.receiver_port = free_port()
        self.verdict = Verdict()
        self._stop = False
        self._process: asyncio.subprocess.Process | None = None

    def write_site(self) -> None:
        channel = self.folder / "channels" / "rig"
        channel.mkdir(parents=True)
        (channel / "channel.yaml").write_text(self.channel.format(port=self.port, receiver=self.receiver_port))
        (self.folder / "segmill.yaml").write_text("admin: off\n")

    # -- the receiver ---------------------------------------------------------------------------

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                block = await reader.readuntil(END)
                if block.count(b"\x0b") != 1 or b"PV1|1|I" not in block:
                    self.verdict.torn += 1
                control_id = block.split(b"|", 10)[9].decode()
                self.verdict.delivered.append(control_id)
                writer.write(f"\x0bMSH|^~\\&|R|H|S|H|20260102||ACK|R|P|2.5.1\rMSA|AA|{control_id}\r\x1c\r".encode())
                await writer.drain()
        writer.close()

    # -- a sender -------------------------------------------------------------------------------

    async def _send(self, sender: int) -> None:
        number = 0
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while not self._stop:
            try:
                if reader is None or writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(frame(sender, number))
                answer = await asyncio.wait_for(reader.readuntil(END), 10)
                if f"MSA|AA|S{sender}N{number}\r".encode() not in answer:
                    raise AssertionError(f"an answer that is none: {answer!r}")
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                if writer is not None:
                    writer.close()
                reader = writer = None
                await asyncio.sleep(0.01)
                continue
            self.verdict.acknowledged.add(f"S{sender}N{number}")
            number += 1
        if writer is not None:
            writer.close()

    # -- the engine -----------------------------------------------------------------------------

    async def _start(self, death: str | None) -> asyncio.subprocess.Process:
        words = [str(SCRIPT), str(self.folder), *([death] if death else [])]
        if self.mutant:
            words += ["--mutant", self.mutant]
        return await asyncio.create_subprocess_exec(
            sys.executable, *words, cwd=SCRIPT.parents[2], stderr=asyncio.subprocess.PIPE
        )

    async def _is_up(self, process: asyncio.subprocess.Process) -> bool:
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return True
        return False

    async def _cycle(self) -> None:
        """One life: half of them end at a label, half at a random moment."""
        if self.random.random() < 0.5:
            stage = self.random.choice(STAGES)
            most = {"start": 1, "before-checkpoint": 1, "after-checkpoint": 1}.get(stage, 120)
            process = await self._start(f"{stage}:{self.random.randint(1, most)}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 3)
        else:
            process = await self._start(None)
            if await self._is_up(process):
                await asyncio.sleep(self.random.random() * 0.15)
        if process.returncode is None:
            process.kill()
        _, errors = await process.communicate()
        if process.returncode != -9:
            raise AssertionError(f"the engine ended by itself ({process.returncode}): {errors.decode()[-2000:]}")
        self.verdict.cycles += 1

    async def run(self, cycles: int) -> Verdict:
        """Kill the engine `cycles` times, let the last one finish its work, and judge."""
        self.write_site()
        receiver = await asyncio.start_server(self._receive, "127.0.0.1", self.receiver_port)
        tasks = [asyncio.get_running_loop().create_task(self._send(n)) for n in range(self.senders)]
        for _ in range(cycles):
            await self._cycle()
        process = await self._start(None)
        await self._is_up(process)
        await asyncio.sleep(0.5)
        self._stop = True
        await asyncio.gather(*tasks)
        await self._drained()
        process.terminate()
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        if process.returncode != 0:
            raise AssertionError(f"the last engine did not end well ({process.returncode}): {errors.decode()[-2000:]}")
        receiver.close()
        self._judge()
        return self.verdict

    async def _drained(self) -> None:
        """Until everything acknowledged was delivered, or nothing more comes for two seconds."""
        still = 0
        before = -1
        while still < 20:
            if self.verdict.acknowledged <= set(self.verdict.delivered):
                return
            still = still + 1 if len(self.verdict.delivered) == before else 0
            before = len(self.verdict.delivered)
            await asyncio.sleep(0.1)

    # -- the questions --------------------------------------------------------------------------

    def _judge(self) -> None:
        verdict = self.verdict
        verdict.lost = sorted(verdict.acknowledged - set(verdict.delivered))
        verdict.duplicates = Counter({k: n - 1 for k, n in Counter(verdict.delivered).items() if n > 1})
        newest: dict[str, int] = {}
        seen: set[str] = set()
        for control_id in verdict.delivered:
            sender, _, number = control_id[1:].partition("N")
            if control_id not in seen and int(number) < newest.get(sender, -1):
                verdict.out_of_order.append(control_id)
            newest[sender] = max(newest.get(sender, -1), int(number))
            seen.add(control_id)
        store = sqlite3.connect(f"file:{self.folder / 'data' / 'segmill.db'}?mode=ro", uri=True)
        try:
            rows = store.execute(
                "SELECT m.control_id, max(d.maybe_sent), max(d.attempts) FROM message m"
                " JOIN delivery d ON d.seq = m.seq GROUP BY m.control_id"
            ).fetchall()
            marks = {row[0]: bool(row[1]) or row[2] > 1 for row in rows}
            verdict.unmarked = [k for k in verdict.duplicates if not marks.get(k)]
            verdict.stored_twice = [
                row[0]
                for row in store.execute(
                    "SELECT control_id FROM message WHERE state <> 7 GROUP BY control_id HAVING count(*) > 1"
                )
            ]
        finally:
            store.close()
