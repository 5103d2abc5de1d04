"""The kill rig: senders that resend until acknowledged, an engine that dies and is started again, receivers that
remember everything, and the questions asked of what they remember (reliability.md P1 to P6, R1)."""

import asyncio
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.engine_under_test import MOST_PASSES, STAGES
from tests.faults.nursery import EngineProcess, Nursery
from tests.faults.receivers import END, Hanging, Receiver, Refusing
from tests.ports import free_port

WINDOW = 1
"""Deliveries that may be in flight unrecorded: the default of a destination."""

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
    mllp: {{host: 127.0.0.1, port: {receiver}, ack_timeout: 5m}}
    retry: {{first: 20ms, most: 50ms}}
"""

FAN_OUT = """\
description: Kill rig, three receivers and a folder
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
accept: [ADT^*]
ack: {{mode: original}}
steps:
  - set: {{MSH-5: RECEIVER}}
routes:
  - to: healthy
  - to: refusing
  - to: hanging
  - to: folder
destinations:
  healthy:
    mllp: {{host: 127.0.0.1, port: {healthy}, ack_timeout: 5m}}
    retry: {{first: 20ms, most: 50ms}}
  refusing:
    mllp: {{host: 127.0.0.1, port: {refusing}, ack_timeout: 5m}}
    retry: {{first: 10ms, most: 20ms}}
  hanging:
    mllp: {{host: 127.0.0.1, port: {hanging}, ack_timeout: 500ms}}
    retry: {{first: 20ms, most: 50ms}}
  folder:
    file: {{folder: out, name: "{{MSH-10}}.hl7"}}
"""


def frame(sender: int, number: int) -> bytes:
    control_id = f"S{sender}N{number}"
    return (
        f"\x0bMSH|^~\\&|APP{sender}|HOSP|X|Y|20260102030405||ADT^A01^ADT_A01|{control_id}|P|2.5.1\r"
        f"EVN|A01|20260102030405\rPID|1||{number}^^^HOSP^MR||Testperson^Anna\rPV1|1|I\r\x1c\r"
    ).encode()


@dataclass
class Seen:
    """What became of the acknowledged messages at one destination. `unmarked`: came twice, and not marked so."""

    lost: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    duplicates: Counter[str] = field(default_factory=Counter)
    unmarked: list[str] = field(default_factory=list)
    accepted: int = 0
    held: int = 0
    torn: int = 0

    def __str__(self) -> str:
        return (
            f"{self.accepted} accepted, {self.held} held, {len(self.lost)} lost, {len(self.out_of_order)} out of order,"
            f" {sum(self.duplicates.values())} duplicates ({len(self.unmarked)} unmarked), {self.torn} torn"
        )


@dataclass
class Verdict:
    """What the rig saw, by destination."""

    cycles: int = 0
    acknowledged: set[str] = field(default_factory=set)
    at: dict[str, Seen] = field(default_factory=dict)
    stored_twice: list[str] = field(default_factory=list)
    integrity: str = "ok"
    died_at: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        each = "; ".join(f"{name}: {seen}" for name, seen in self.at.items())
        return (
            f"{self.cycles} kills, {len(self.acknowledged)} acknowledged, {len(self.stored_twice)} stored twice, "
            f"integrity {self.integrity}; {each}"
        )

    @property
    def lost(self) -> list[str]:
        return [item for seen in self.at.values() for item in seen.lost]

    @property
    def out_of_order(self) -> list[str]:
        return [item for seen in self.at.values() for item in seen.out_of_order]

    @property
    def unmarked(self) -> list[str]:
        return [item for seen in self.at.values() for item in seen.unmarked]

    def assert_promise_kept(self) -> None:
        """Nothing lost, nothing out of order, nothing torn; one duplicate a kill and destination, and that marked."""
        assert not self.lost, str(self)
        assert not self.out_of_order, str(self)
        assert not any(seen.torn for seen in self.at.values()), str(self)
        assert not self.stored_twice, str(self)
        assert not self.unmarked, str(self)
        for seen in self.at.values():
            assert sum(seen.duplicates.values()) <= self.cycles * WINDOW, str(self)
        assert self.integrity == "ok", str(self)
        assert len(self.acknowledged) > self.cycles, str(self)

    def figures(self) -> dict[str, int]:
        """For the ledger."""
        return {
            "kills": self.cycles,
            "acknowledged": len(self.acknowledged),
            "deliveries": sum(seen.accepted for seen in self.at.values()),
            "lost": len(self.lost),
            "out_of_order": len(self.out_of_order),
            "torn": sum(seen.torn for seen in self.at.values()),
            "stored_twice": len(self.stored_twice),
            "delivered_twice": sum(sum(seen.duplicates.values()) for seen in self.at.values()),
            "of_these_unmarked": len(self.unmarked),
        }


class Rig:
    """One site, eight senders, one receiver, and as many engines as it takes."""

    channel = CHANNEL
    settings = "admin: off\n"
    labelled = 0.5
    """How many of the deaths are at a stage and not at any moment."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        senders: int = 8,
        mutant: str | None = None,
        stages: Sequence[str] = STAGES,
    ) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.senders = senders
        self.mutant = mutant
        self.stages = stages
        self.port = free_port()
        self.receivers = self.make_receivers()
        self.verdict = Verdict()
        self.nursery = Nursery(folder.parent / f"{folder.name}.log")
        self._stop = False
        self._go = asyncio.Event()
        self._go.set()
        self._resting = 0
        """Senders that wait for `_go`, each with an answer to all it sent."""

    def make_receivers(self) -> dict[str, Receiver]:
        return {"receiver": Receiver()}

    def write_site(self) -> None:
        channel = self.folder / "channels" / "rig"
        channel.mkdir(parents=True)
        ports = {name: receiver.port for name, receiver in self.receivers.items()}
        (channel / "channel.yaml").write_text(self.channel.format(port=self.port, **ports))
        (self.folder / "segmill.yaml").write_text(self.settings)

    # -- a sender -------------------------------------------------------------------------------

    def payload(self, sender: int, number: int) -> bytes:
        """What goes between VT and FS."""
        return frame(sender, number)[1:-2]

    async def _send(self, sender: int) -> None:
        number = 0
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while not self._stop:
            await self._turn()
            try:
                if reader is None or writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(b"\x0b" + self.payload(sender, number) + END)
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

    async def _turn(self) -> None:
        self._resting += 1
        await self._go.wait()
        self._resting -= 1

    # -- the engine -----------------------------------------------------------------------------

    async def _start(self, death: str | None) -> EngineProcess:
        return await self.nursery.start(self.folder, death=death, mutant=self.mutant, forget=True)

    async def _is_up(self, process: EngineProcess) -> bool:
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
        """One life, to its end at a label or at a random moment."""
        stage = "any moment"
        if self.random.random() < self.labelled:
            stage = self.random.choice(self.stages)
            process = await self._start(f"{stage}:{self.random.randint(1, MOST_PASSES[stage])}")
            if not await self._dies(process):
                stage = "any moment"
        else:
            process = await self._start(None)
            if await self._is_up(process):
                await asyncio.sleep(self.random.random() * 0.15)
        process.kill()
        if await process.wait() != -9:
            raise AssertionError(f"the engine ended by itself ({process.returncode}): {process.errors()}")
        self.verdict.cycles += 1
        self.verdict.died_at[stage] += 1

    async def _dies(self, process: EngineProcess) -> bool:
        """Whether it comes to its stage; a machine that is busy with other things gets more time for its messages."""
        began, before = time.monotonic(), len(self.verdict.acknowledged)
        while process.returncode is None:
            tried_s = time.monotonic() - began
            if tried_s > 30 or (tried_s > 3 and len(self.verdict.acknowledged) >= before + 100):
                return False
            await asyncio.sleep(0.005)
        return True

    async def run(self, cycles: int) -> Verdict:
        """Kill the engine `cycles` times, let the last one finish its work, and judge."""
        self.write_site()
        for receiver in self.receivers.values():
            await receiver.start()
        async with self.nursery:
            tasks = [asyncio.get_running_loop().create_task(self._send(n)) for n in range(self.senders)]
            try:
                for _ in range(cycles):
                    await self._cycle()
                process = await self._start(None)
                await self._is_up(process)
                await self._more(process, 20)
                for _ in range(5):
                    if not await self._wakes(process):
                        break
            finally:
                self._stop = True
                self._go.set()
                await asyncio.gather(*tasks)
            await self._drained()
            process.terminate()
            if await asyncio.wait_for(process.wait(), 60) != 0:
                raise AssertionError(f"the last engine did not end well ({process.returncode}): {process.errors()}")
        for receiver in self.receivers.values():
            receiver.stop()
        self._judge()
        return self.verdict

    async def _more(self, process: EngineProcess, each: int) -> None:
        """Until so many more are acknowledged, on average of a sender."""
        wanted = len(self.verdict.acknowledged) + each * self.senders
        while process.returncode is None and len(self.verdict.acknowledged) < wanted:
            await asyncio.sleep(0.01)

    async def _wakes(self, process: EngineProcess) -> bool:
        """Lanes fall asleep, and must be woken: whether all that was there could be delivered before the next came."""
        self._go.clear()
        while process.returncode is None and self._resting < self.senders:
            await asyncio.sleep(0.01)
        await self._drained(2, settled=True)
        asleep = self._nothing_waits()
        self._go.set()
        await self._more(process, 1)
        return asleep

    async def _drained(self, patience_s: float = 10, *, settled: bool = False) -> None:
        """Until everything acknowledged was accepted or refused (and, `settled`, is on record as such), or nothing more
        can come by what the store says, or comes for so long."""
        still = 0
        before = -1
        while still < patience_s * 10:
            if (self._all_arrived() and not settled) or self._nothing_waits():
                return
            now = sum(len(receiver.accepted) + len(receiver.refused) for receiver in self.receivers.values())
            still = still + 1 if now == before else 0
            before = now
            await asyncio.sleep(0.1)

    def _nothing_waits(self) -> bool:
        store = sqlite3.connect(f"file:{self.folder}/data/segmill.db?mode=ro", uri=True)
        try:
            queued = store.execute("SELECT count(*) FROM delivery WHERE state = 0").fetchone()[0]
            unprocessed = store.execute("SELECT count(*) FROM message WHERE state IN (0, 6)").fetchone()[0]
            return not queued and not unprocessed
        finally:
            store.close()

    def _all_arrived(self) -> bool:
        return all(self.verdict.acknowledged <= {*r.accepted, *r.refused} for r in self.receivers.values())

    # -- the questions --------------------------------------------------------------------------

    def _judge(self) -> None:
        self.judge_store(self.folder / "data" / "segmill.db")

    def judge_store(self, path: Path) -> None:
        """Compare what was acknowledged with what arrived, and what came twice with the store's marks."""
        store = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            for name, receiver in self.receivers.items():
                self.verdict.at[name] = self._judge_one(store, name, receiver)
            again = store.execute(
                "SELECT control_id FROM message WHERE state <> 7 GROUP BY control_id HAVING count(*) > 1"
            )
            self.verdict.stored_twice = [row[0] for row in again]
            self.verdict.integrity = store.execute("PRAGMA integrity_check(1)").fetchone()[0]
        finally:
            store.close()

    def _judge_one(self, store: sqlite3.Connection, name: str, receiver: Receiver) -> Seen:
        rows = store.execute(
            "SELECT m.control_id, max(d.maybe_sent) OR max(d.attempts) > 1, max(d.state = 2) FROM message m"
            " JOIN delivery d ON d.seq = m.seq JOIN lane l ON l.id = d.lane WHERE l.destination = ?"
            " GROUP BY m.control_id",
            (name,),
        ).fetchall()
        marked = {control_id for control_id, is_marked, _ in rows if is_marked}
        held = {control_id for control_id, _, is_held in rows if is_held}
        seen = Seen(accepted=len(receiver.accepted), held=len(held), torn=receiver.torn)
        # Held is an end only where the receiver did say no.
        seen.lost = sorted(self.verdict.acknowledged - set(receiver.accepted) - (held & receiver.refused))
        seen.duplicates = Counter({k: n - 1 for k, n in Counter(receiver.accepted).items() if n > 1})
        seen.unmarked = [control_id for control_id in seen.duplicates if control_id not in marked]
        newest: dict[str, int] = {}
        met: set[str] = set()
        for control_id in receiver.accepted:
            sender, _, number = control_id[1:].partition("N")
            if control_id not in met and int(number) < newest.get(sender, -1):
                seen.out_of_order.append(control_id)
            newest[sender] = max(newest.get(sender, -1), int(number))
            met.add(control_id)
        return seen


class FanOutRig(Rig):
    """Three receivers, of which one refuses and one hangs, and a folder; the store loses old bytes meanwhile."""

    channel = FAN_OUT
    settings = "admin: off\nretention: {size: 300KB}\n"

    def make_receivers(self) -> dict[str, Receiver]:
        return {"healthy": Receiver(), "refusing": Refusing(), "hanging": Hanging()}

    def _files(self) -> dict[str, bytes]:
        folder = self.folder / "out"
        return {path.stem: path.read_bytes() for path in folder.glob("*.hl7")} if folder.is_dir() else {}

    def _all_arrived(self) -> bool:
        return super()._all_arrived() and self.verdict.acknowledged <= set(self._files())

    def _judge(self) -> None:
        super()._judge()
        files = self._files()
        seen = Seen(accepted=len(files))
        seen.lost = sorted(self.verdict.acknowledged - set(files))
        for control_id, content in files.items():
            sender, _, number = control_id[1:].partition("N")
            whole = number.isdigit() and content == frame(int(sender), int(number))[1:-2].replace(
                b"|X|Y|", b"|RECEIVER|Y|", 1
            )
            seen.torn += not whole
        self.verdict.at["folder"] = seen


async def many_rigs(folder: Path, *, seed: int, cycles: int, lives: int, at_once: int = 2) -> Verdict:
    """`cycles` kills spread over `lives` stores, two of them at a time: one verdict, with every figure added up."""
    turns = asyncio.Semaphore(at_once)

    async def one(number: int) -> Verdict:
        async with turns:
            site = folder / f"site-{number}"
            site.mkdir()
            return await FanOutRig(site, seed=seed + number).run(cycles // lives)

    whole = Verdict()
    for number, verdict in enumerate(await asyncio.gather(*(one(number) for number in range(lives)))):
        verdict.assert_promise_kept()
        whole.cycles += verdict.cycles
        whole.acknowledged |= {f"{number}/{control_id}" for control_id in verdict.acknowledged}
        whole.at |= {f"{number}/{name}": seen for name, seen in verdict.at.items()}
        whole.died_at += verdict.died_at
    return whole
