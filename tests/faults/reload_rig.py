"""Reloads under load: 32 senders, good and bad changes of files in any order, and the questions of R14 at the end.

Five channels: one that never changes; one whose steps and table change, and whose port others come to and leave; one
whose destination changes; one whose port changes; one whose destination is exchanged for another of another name.
"""

import asyncio
import contextlib
import random
import signal
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.adapters.control_client import ControlClient
from engine.adapters.control_socket import is_answered
from tests.faults.nursery import EngineProcess, Nursery
from tests.faults.receivers import END, Receiver
from tests.ports import free_port

SENDERS = {"steady": 8, "steps": 8, "lane": 6, "listen": 6, "leave": 4}
STAY = ("steady", "steps", "lane", "leave")
"""Channels whose connections no change of ours may close."""
PAUSE_S = 0.02
MOST_WAITING = 300
"""Acknowledged and not delivered: past that senders wait, so that a busy machine has no hour of deliveries to do."""


def frame(sender: int, number: int) -> bytes:
    control_id = f"S{sender}N{number}"
    return (
        f"\x0bMSH|^~\\&|APP{sender}|HOSP|X|Y|20260102030405||ADT^A01^ADT_A01|{control_id}|P|2.5.1\r"
        f"EVN|A01|20260102030405\rPID|1||{number}^^^HOSP^MR||Testperson^Anna\rPV1|1|I\r\x1c\r"
    ).encode()


@dataclass
class Outcome:
    """What the rig saw. Each list is empty where the promise was kept."""

    reloads: int = 0
    rejected: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    """Connections of ports that did not change, which were closed."""
    half: list[str] = field(default_factory=list)
    """Bad files that were taken, in part or as a whole, and good ones that were not."""
    mixed: list[str] = field(default_factory=list)
    """Messages that went through older files than one before them, or are recorded by a version they did not see."""

    def assert_promise_kept(self) -> None:
        for name in ("lost", "twice", "out_of_order", "dropped", "half", "mixed"):
            assert not getattr(self, name), f"{name}: {getattr(self, name)[:5]} ({self})"
        assert self.acknowledged > 10 * self.reloads, str(self)

    def __str__(self) -> str:
        return ", ".join(
            f"{len(value) if isinstance(value, list) else value} {name}" for name, value in vars(self).items()
        )


class Remembering(Receiver):
    """Remembers MSH-5 with what it accepted, together with others; may be slow."""

    def __init__(self, arrived: list[tuple[str, str]], takes_s: float = 0.0) -> None:
        super().__init__()
        self._arrived = arrived
        self._takes_s = takes_s

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                fields = (await reader.readuntil(END)).split(b"|", 10)
                await asyncio.sleep(self._takes_s)
                control_id = fields[9].decode()
                self._arrived.append((control_id, fields[4].decode()))
                writer.write(f"\x0bMSH|^~\\&|R|H|S|H|20260102||ACK|R|P|2.5.1\rMSA|AA|{control_id}\r\x1c\r".encode())
                await writer.drain()
        writer.close()


class ReloadRig:
    """A context manager: an engine, its senders, its receivers."""

    def __init__(self, folder: Path, *, seed: int, mutant: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.outcome = Outcome()
        self.chance = random.Random(seed)
        self._mutant = mutant
        self._ports = {name: free_port() for name in SENDERS}
        self._arrived: list[tuple[str, str]] = []
        self._receivers = [Remembering(self._arrived), Remembering(self._arrived), Remembering(self._arrived, 0.004)]
        self._acknowledged: list[str] = []
        self._opened: Counter[str] = Counter()
        self._channel_of: dict[int, str] = {}
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []
        self._nursery = Nursery(folder.parent / "engine.log")
        self._client = ControlClient(folder / "data", timeout_s=60)
        self._engine: EngineProcess | None = None
        self._number = 0
        self._files: dict[str, str] = {}
        self._now = {"steps": 0, "table": 0, "receiver": 0, "retry": 0, "listen": 0, "guest": 0, "leave": 0}

    async def __aenter__(self) -> "ReloadRig":
        for receiver in self._receivers:
            await receiver.start()
        (self.folder / "segmill.yaml").write_text("admin: off\n")
        self._write(self._wanted())
        await self._nursery.__aenter__()
        self._engine = await self._nursery.start(self.folder, mutant=self._mutant)
        sender = 0
        for channel, count in SENDERS.items():
            for _ in range(count):
                self._channel_of[sender] = channel
                self._tasks.append(asyncio.get_running_loop().create_task(self._send(sender, channel)))
                sender += 1
        await self.until(lambda: is_answered(self.folder / "data" / "control.sock"))  # it opens last
        return self

    async def __aexit__(self, *words: object) -> None:
        self._over = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._nursery.__aexit__(*words)
        for receiver in self._receivers:
            receiver.stop()

    # -- senders --------------------------------------------------------------------------------

    async def _send(self, sender: int, channel: str) -> None:
        number = 0
        while not self._over:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._ports[channel])
                self._opened[f"{channel} S{sender}"] += 1
                try:
                    while not self._over:
                        writer.write(frame(sender, number))
                        async with asyncio.timeout(20):
                            answer = await reader.readuntil(END)
                        assert f"MSA|AA|S{sender}N{number}\r".encode() in answer, f"not an AA to it: {answer!r}"
                        self._acknowledged.append(f"S{sender}N{number}")
                        number += 1
                        await asyncio.sleep(PAUSE_S)
                        while len(self._acknowledged) - len(self._arrived) > MOST_WAITING and not self._over:
                            await asyncio.sleep(PAUSE_S)
                finally:
                    writer.close()
            await asyncio.sleep(0.005)

    async def until(self, condition: Callable[[], bool], within_s: float = 60.0) -> None:
        engine = self._engine
        assert engine is not None
        async with asyncio.timeout(within_s):
            while not condition():
                assert engine.returncode is None, f"the engine ended with {engine.returncode}: {engine.errors()}"
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.002)

    async def more(self, count: int) -> None:
        wanted = len(self._acknowledged) + count
        await self.until(lambda: len(self._acknowledged) >= wanted)

    # -- files ----------------------------------------------------------------------------------

    def _wanted(self) -> dict[str, str]:
        now, ports = self._now, self._ports
        first, second, slow = (receiver.port for receiver in self._receivers)

        def channel(
            name: str, *, steps: str = "", to: str = "out", port: int = first, more: str = "", listen: str = ""
        ) -> str:
            return (
                f"listen: {{mllp: {{port: {ports[name]}{listen}}}}}\naccept: [ADT^*]\nack: {{mode: original}}\n{steps}"
                f"routes: [{{to: {to}}}]\ndestinations:\n  {to}:\n"
                f"    mllp: {{host: 127.0.0.1, port: {port}, ack_timeout: 10s}}\n"
                f"    retry: {{first: 20ms, most: 50ms{more}}}\n"
            )

        files = {
            "steady/channel.yaml": channel("steady"),
            "steps/channel.yaml": channel(
                "steps",
                steps=f"steps:\n  - set: {{MSH-5: V{now['steps']}}}\n  - map: {{MSH-6: t.csv, otherwise: keep}}\n",
            ),
            "steps/t.csv": f"from,to\nY,T{now['table']}\n",
            "lane/channel.yaml": channel(
                "lane", port=(first, second)[now["receiver"] % 2], more=f", jitter: {now['retry'] % 90 + 1}%"
            ),
            "listen/channel.yaml": channel("listen", listen=f", idle_timeout: {now['listen'] + 60}s"),
            "leave/channel.yaml": channel("leave", to=f"d{now['leave']}", port=slow),
        }
        if now["guest"] % 2:
            port = f"listen: {{mllp: {{port: {ports['steps']}}}}}\n"
            files["guest/channel.yaml"] = f"{port}accept: [ORM^*]\n"
        return files

    def _write(self, files: dict[str, str]) -> None:
        for path in self._files.keys() - files.keys():
            (self.folder / "channels" / path).unlink()
        for path, text in files.items():
            if self._files.get(path) != text:
                target = self.folder / "channels" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
        self._files = dict(files)

    # -- reloads --------------------------------------------------------------------------------

    async def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        ask = self._client.get if body is None else lambda where: self._client.post(where, body)
        return await asyncio.to_thread(ask, path)

    async def good(self, *what: str) -> None:
        """Change that much, and reload."""
        for one in what:
            self._now[one] += 1
        self._write(self._wanted())
        assert self._engine is not None
        if self.chance.random() < 0.25:
            self._engine.signal(signal.SIGHUP)
            async with asyncio.timeout(30):
                while (await self._ask("/v1/plan"))["channels"]:
                    await asyncio.sleep(0.01)
        else:
            report = await self._ask("/v1/reload", {})
            if report["outcome"] != "taken" or report["exit_code"] != 0:
                self.outcome.half.append(f"{what}: {report['sentence']}")
        self.outcome.reloads += 1

    async def bad(self, kind: int) -> None:
        """A bad file, and beside it a good one that must not be taken either; then back to what runs."""
        before = dict(self._files)
        files = dict(before)
        files["steps/channel.yaml"] = before["steps/channel.yaml"].replace("MSH-5: V", "MSH-5: BAD")
        steady = before["steady/channel.yaml"]
        files["lane/channel.yaml"], expected = {
            0: (before["lane/channel.yaml"].replace("routes:", "steps: [{mapp: {MSH-5: t.csv}}]\nroutes:"), 78),
            1: (before["lane/channel.yaml"].replace("routes: [", "routes: [["), 78),
            2: (before["lane/channel.yaml"].replace("routes:", "steps: [{map: {MSH-5: gone.csv}}]\nroutes:"), 78),
            3: (steady.replace(f"port: {self._ports['steady']}", f"port: {self._receivers[0].port}"), 69),
            4: ("", 78),
        }[kind]
        self._write(files)
        report = await self._ask("/v1/reload", {})
        if report["outcome"] != "rejected" or report["exit_code"] != expected:
            self.outcome.half.append(f"bad {kind} was {report['outcome']}: {report['sentence']}")
        if expected == 78 and not all(error["file"] and error["line"] for error in report["errors"]):
            self.outcome.half.append(f"bad {kind} names no place")
        self._write(before)
        planned = await self._ask("/v1/plan")
        if planned["channels"]:
            self.outcome.half.append(f"bad {kind} left something behind: {planned['channels']}")
        self.outcome.reloads += 1
        self.outcome.rejected += 1

    async def some(self, count: int) -> None:
        """So many, a third of them bad, with messages in between."""
        kinds = list(self._now)
        for number in range(count):
            await self.more(self.chance.randint(1, 40))
            if number % 3 == 1:
                await self.bad(number // 3 % 5)
            else:
                # Each kind in its turn, and sometimes others beside it.
                await self.good(*{kinds[number % len(kinds)], *self.chance.sample(kinds, self.chance.randint(0, 2))})

    # -- the end --------------------------------------------------------------------------------

    async def end(self, arrives_within_s: float = 20.0) -> Outcome:
        """Everything arrives, one soon after the other; the engine stops in order, and the questions are asked."""
        self._over = True
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)
        wanted = set(self._acknowledged)
        with contextlib.suppress(TimeoutError):
            while not wanted <= {control_id for control_id, _ in self._arrived}:
                so_far = len(self._arrived)
                await self.until(lambda: len(self._arrived) > so_far, arrives_within_s)  # noqa: B023
        assert self._engine is not None
        self._engine.terminate()
        assert await self._engine.wait() == 0, self._engine.errors()
        self._judge(wanted)
        return self.outcome

    def _judge(self, wanted: set[str]) -> None:
        outcome = self.outcome
        outcome.acknowledged = len(wanted)
        counts = Counter(control_id for control_id, _ in self._arrived)
        outcome.lost = sorted(wanted - counts.keys())
        outcome.twice = sorted(control_id for control_id, count in counts.items() if count > 1)
        last: dict[str, int] = defaultdict(lambda: -1)
        version: dict[str, int] = defaultdict(lambda: -1)
        for control_id, marker in self._arrived:
            sender, _, number = control_id[1:].partition("N")
            channel = self._channel_of[int(sender)]
            # Two destinations of different names are two lanes: what waits for the one is passed by the other's.
            if channel != "leave" and int(number) < last[sender]:
                outcome.out_of_order.append(control_id)
            last[sender] = max(last[sender], int(number))
            if channel == "steps":
                if not marker.startswith("V") or int(marker[1:]) < version[sender]:
                    outcome.mixed.append(f"{control_id} by {marker}")
                else:
                    version[sender] = int(marker[1:])
        outcome.dropped = [name for name, count in self._opened.items() if name.split()[0] in STAY and count > 1]
        outcome.mixed += self._recorded_by_others()

    def _recorded_by_others(self) -> list[str]:
        """Messages of `steps` whose recorded version is not the one that wrote their MSH-5."""
        markers = dict(self._arrived)
        store = sqlite3.connect(f"file:{self.folder / 'data' / 'segmill.db'}?mode=ro", uri=True)
        try:
            texts = {
                version: content.decode()
                for version, content in store.execute(
                    "SELECT v.version, f.bytes FROM channel_version_file v JOIN file f ON f.id = v.file"
                    " WHERE v.path = 'channel.yaml'"
                )
            }
            rows = store.execute(
                "SELECT m.control_id, m.version FROM message m JOIN channel c ON c.id = m.channel"
                " WHERE c.name = 'steps'"
            ).fetchall()
        finally:
            store.close()
        return [
            f"{control_id} recorded by another version"
            for control_id, version in rows
            if control_id in markers and f"MSH-5: {markers[control_id]}}}" not in texts[version]
        ]
