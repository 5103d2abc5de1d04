"""The sink and the source that the documentation shows keep the contract, as they stand there."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest

from engine.adapters.outgoing import control_id_of
from engine.hl7.errors import UnreadableMessage
from engine.ports.clock import SystemClock
from engine.ports.sink import Sink
from engine.testing.markdown import blocks
from engine.testing.sink_contract import SinkContract
from engine.testing.source_contract import Running, ScriptedInlet, SourceContract, Told

PAGE = Path(__file__).parent.parent.parent / "engine" / "docs" / "sources-and-sinks.md"


def shown(name: str) -> ModuleType:
    """The block of the page that defines this class, as a module."""
    (text,) = [block.text for block in blocks(PAGE) if block.language == "python" and f"class {name}" in block.text]
    module = ModuleType(name)
    exec(compile(text, str(PAGE), "exec"), module.__dict__)
    return module


class SpoolBench:
    def __init__(self, site: Path) -> None:
        self.site = site
        self.folder = site / "spool"
        self.folder.mkdir()

    def open(self) -> Sink:
        kind = shown("SpoolSink").SpoolSink
        settings = kind.model.model_validate({"folder": "spool"})
        return kind.open(settings, folder=self.site / "channels" / "adt", lane="adt/out", clock=SystemClock())

    def times(self, control_id: str) -> int:
        path = self.folder / "spool.bin"
        raw, found = path.read_bytes() if path.exists() else b"", 0
        while raw:
            end = 4 + int.from_bytes(raw[:4])
            try:
                found += control_id_of(raw[4:end]) == control_id.encode()
            except UnreadableMessage:
                pass
            raw = raw[end:]
        return found

    async def down(self) -> None:
        self.folder.rename(self.site / "away")

    async def up(self) -> None:
        (self.site / "away").rename(self.folder)

    async def refusing(self) -> bool:
        return False


class TestTheShownSink(SinkContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[SpoolBench]:
        yield SpoolBench(tmp_path)


class OutboxBench:
    def __init__(self, site: Path) -> None:
        self.site = site
        self.inlet = ScriptedInlet()
        self.kind = shown("OutboxSource").OutboxSource
        self.running: Running | None = None
        self._do("CREATE TABLE outbox (id INTEGER PRIMARY KEY, raw BLOB, told TEXT)")

    def _do(self, statement: str, *values: object) -> list[tuple[str | None]]:
        db = sqlite3.connect(self.site / "outbox.db")
        rows = db.execute(statement, values).fetchall()
        db.commit()
        db.close()
        return rows

    async def start(self, inlet: ScriptedInlet) -> None:
        self.inlet = inlet
        settings = self.kind.model.model_validate({"file": "outbox.db"})
        self.running = Running(self.kind, settings, inlet, self.site)
        await self.running.start()

    async def stop(self) -> None:
        assert self.running is not None
        await self.running.stop()

    async def kill(self) -> None:
        if self.running is not None:
            await self.running.kill()

    async def bring(self, *payloads: bytes) -> None:
        for payload in payloads:
            self._do("INSERT INTO outbox (raw) VALUES (?)", payload)

    def told(self, number: int) -> Told:
        ((told,),) = self._do("SELECT told FROM outbox WHERE id = ?", number + 1)
        return told or "nothing"  # type: ignore[return-value]

    async def again(self) -> None:
        """The row is still there."""


class TestTheShownSource(SourceContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[OutboxBench]:
        bench = OutboxBench(tmp_path)
        yield bench
        await bench.kill()
