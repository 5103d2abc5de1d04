"""Every source that ships keeps the contract of its port."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import httpx2
import pytest

from engine.adapters.sources.file import FileSource, FileSourceSettings
from engine.adapters.sources.http import HttpSource, HttpSourceSettings
from engine.testing.source_contract import Running, ScriptedInlet, SourceContract, Told


class FileBench:
    """A folder; a sender writes a file under a temporary name and renames it, one file a payload."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.inbox = site / "in"
        self.inlet = ScriptedInlet()
        self._running: Running | None = None
        self._names: list[str] = []

    async def start(self, inlet: ScriptedInlet) -> None:
        self.inlet = inlet
        settings = FileSourceSettings.model_validate({"folder": "in", "every": "50ms", "stable": "0"})
        self._running = Running(FileSource, settings, inlet, self.site)
        await self._running.start()

    async def stop(self) -> None:
        assert self._running is not None
        await self._running.stop()

    async def kill(self) -> None:
        if self._running is not None:
            await self._running.kill()
            # The dead process's lock goes with it at once; here its thread has to let go of it first.
            await asyncio.to_thread(self._running.source._thread.shutdown)

    async def bring(self, *payloads: bytes) -> None:
        self.inbox.mkdir(exist_ok=True)
        for payload in payloads:
            name = f"{len(self._names):04}.hl7"
            self._names.append(name)
            (self.inbox / f"{name}.tmp").write_bytes(payload)
        for name in self._names[-len(payloads) :]:  # all at once: their order is that of their names
            (self.inbox / f"{name}.tmp").rename(self.inbox / name)

    def told(self, number: int) -> Told:
        name = self._names[number]
        if (self.inbox / "done" / name).exists():
            return "kept"
        return "rejected" if (self.inbox / "failed" / name).exists() else "nothing"

    async def again(self) -> None:
        """The file is still there."""


class TestFileSource(SourceContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[FileBench]:
        bench = FileBench(tmp_path)
        yield bench
        await bench.kill()


class HttpBench:
    """A client of one connection after the other, which tries again what it was not told anything of."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.inlet = ScriptedInlet()
        self.running: Running | None = None
        self._client = httpx2.AsyncClient(timeout=10)
        self._sent: list[bytes] = []
        self._statuses: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, inlet: ScriptedInlet) -> None:
        self.inlet = inlet
        settings = HttpSourceSettings.model_validate({"port": 0, "path": "/adt"})
        self.running = Running(HttpSource, settings, inlet, self.site)
        await self.running.start()
        self.url = f"http://{self.running.source.address}/adt"

    async def stop(self) -> None:
        assert self.running is not None
        await self.running.stop()

    async def kill(self) -> None:
        if self.running is not None:
            await self.running.kill()

    async def bring(self, *payloads: bytes) -> None:
        first = len(self._sent)
        self._sent += payloads
        self._spawn(range(first, len(self._sent)))

    def _spawn(self, numbers: Iterable[int]) -> None:
        task = asyncio.get_running_loop().create_task(self._post(numbers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            try:
                answer = await self._client.post(
                    self.url, content=self._sent[number], headers={"Content-Type": "application/hl7-v2; charset=utf-8"}
                )
            except httpx2.HTTPError:
                continue
            self._statuses[number] = answer.status_code

    def told(self, number: int) -> Told:
        status = self._statuses.get(number)
        if status is None:
            return "nothing"
        return "kept" if status == 200 else "later" if status == 503 else "rejected"

    async def again(self) -> None:
        while self._tasks:
            await asyncio.sleep(0.01)
        self._spawn([n for n in range(len(self._sent)) if self.told(n) in ("nothing", "later")])

    async def close(self) -> None:
        await self.kill()
        while self._tasks:
            await asyncio.sleep(0.01)
        await self._client.aclose()


class TestHttpSource(SourceContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[HttpBench]:
        bench = HttpBench(tmp_path)
        yield bench
        await bench.close()
