"""Every source that ships keeps the contract of its port."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.adapters.sources.file import FileSource, FileSourceSettings
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
