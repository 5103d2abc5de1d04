"""An engine in a process of its own, watched from outside: its memory, its descriptors, its own words about itself."""

import asyncio
import contextlib
import re
import resource
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from engine.adapters.control_client import AskFailed, ControlClient, NotRunning
from engine.adapters.control_socket import SOCKET_NAME, connect
from tests.faults.load import END, Load, message

MIB = 1024 * 1024
REPOSITORY = Path(__file__).parents[2]


class Outside(Load):
    """`Load` with a channel file of the rig's own. `{port}` and `{receiver}` stand for the two ports."""

    def __init__(self, folder: Path, channel: str, *, senders: int = 4, size: int = 200) -> None:
        super().__init__(folder, senders=senders, size=size)
        self._channel = channel
        self.log = folder / "log"
        self.process: asyncio.subprocess.Process | None = None

    def write_site(self, settings: str = "", files: dict[str, bytes] | None = None) -> None:
        channel = self.folder / "channels" / "load"
        channel.mkdir(parents=True)
        text = self._channel.format(port=self.port, receiver=self.receiver.address[1])
        (channel / "channel.yaml").write_text(text)
        for name, content in (files or {}).items():
            (channel / name).write_bytes(content)
        place = f"data: {self._data}\nstore: sqlite:{self._data}/segmill.db\n"
        admin = "" if "admin:" in settings else "admin: off\n"
        limits = "" if "limits:" in settings else "limits: {free_disk: 0}\n"
        (self.folder / "segmill.yaml").write_text(f"{admin}{limits}{place}{settings}")

    async def run(
        self, *words: str, under: tuple[str, ...] = (), script: str = "tests.faults.failing_engine"
    ) -> asyncio.subprocess.Process:
        """Start it, and wait until it says so; `process` is it from then on, and `log` what it says.

        `under`: a command that becomes it. `script`: runs the site as `segmill run` does, changed by `words`.
        """
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *under, sys.executable, "-m", script, str(self.folder), *words,
                cwd=REPOSITORY, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._processes.append(self.process)
        async with asyncio.timeout(60):
            while " segmill: started: " not in self.said():
                assert self.process.returncode is None, self.said()[-2000:]
                await asyncio.sleep(0.01)
        return self.process

    def said(self) -> str:
        return self.log.read_text()

    async def finish(self) -> None:
        """The senders send no more; what they have sent is answered."""
        self._over = True
        await asyncio.gather(*self._tasks)

    async def end(self) -> None:
        """SIGTERM, and a good end."""
        assert self.process is not None
        assert await self.stop(self.process) == 0, self.said()[-2000:]

    def rows(self, sql: str) -> list[Any]:
        """What the store says."""
        store = sqlite3.connect(f"file:{self._data}/segmill.db?mode=ro", uri=True)
        try:
            return store.execute(sql).fetchall()
        finally:
            store.close()

    # -- what it looks like from outside ----------------------------------------------------------

    def memory(self, what: str = "VmRSS") -> int:
        """Bytes: VmRSS now, VmHWM the most so far."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{what}:\s+(\d+) kB", status, re.M)
        assert found is not None
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        """VmHWM begins anew from what is there now."""
        assert self.process is not None
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        assert self.process is not None
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    async def status(self) -> Any:
        """What `segmill status` would be told, of the one channel."""
        client = ControlClient(self._data)
        while True:
            with contextlib.suppress(AskFailed, NotRunning):
                answer = await asyncio.to_thread(client.get, "/v1/status")
                return answer["channels"][0]
            await asyncio.sleep(0.05)

    def metrics(self) -> dict[str, float]:
        """Every number of the metrics page, by its name with its labels; read over the control socket."""
        page = HTTPConnection("localhost")
        page.sock = connect(self._data / SOCKET_NAME, 30)
        try:
            page.request("GET", "/metrics")
            text = page.getresponse().read().decode()
        finally:
            page.close()
        pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def events(self) -> Counter[str]:
        """What happened to connections, by the event."""
        found: Counter[str] = Counter()
        for name, value in self.metrics().items():
            if name.startswith("segmill_connection_events_total{"):
                found[name.split('event="')[1].split('"')[0]] += int(value)
        return found

    async def queued(self) -> int:
        return sum(int(lane["queued"]) for lane in (await self.status())["lanes"])

    async def connections(self) -> int:
        return int((await self.status())["connections"])

    async def until_connections(self, count: int, within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s):
            while await self.connections() != count:
                await asyncio.sleep(0.2)

    async def honest(
        self, count: int = 0, name: str = "HONEST", *, until: asyncio.Event | None = None, address: str = "127.0.0.1"
    ) -> int:
        """A sender that waits for each answer: every one of them is AA, and its own. Ends after `count`, or `until`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        number = 0
        try:
            while number < count or (until is not None and not until.is_set()):
                control_id = f"{name}N{number}"
                writer.write(b"\x0b" + message(control_id, self.size) + END)
                answer = await asyncio.wait_for(reader.readuntil(END), 60)
                assert f"MSA|AA|{control_id}\r".encode() in answer, "an honest sender was not answered AA"
                number += 1
                if until is not None:
                    await asyncio.sleep(0.005)
        finally:
            writer.close()
        return number


@asynccontextmanager
async def outside(folder: Path, channel: str, settings: str = "", **options: Any) -> AsyncIterator[Outside]:
    """A site written and not yet running."""
    async with Outside(folder, channel, **options) as site:
        site.write_site(settings)
        yield site


def can_open(count: int) -> bool:
    """Whether this process may have so many descriptors; raises its own limit where that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        return False
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    return True
