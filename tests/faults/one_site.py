"""One site with one receiver, engines from a nursery, senders, and the kill rig's questions at the end.

What rigs of the disk share: the site's data may be anywhere, the engine goes on or is started anew, and everything
that was acknowledged must have arrived, once, in order, or marked.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.kill_rig import CHANNEL, Rig
from tests.faults.nursery import EngineProcess, Nursery
from tests.faults.senders import Senders


class OneSite(Rig):
    """A context manager; `engine` is the one that runs now."""

    channel = CHANNEL
    settings = "admin: off\n"

    def __init__(
        self,
        folder: Path,
        *,
        settings: str = "limits: {free_disk: 0, low_disk: 0}\n",
        data: Path | None = None,
        preload: Path | None = None,
        senders: int = 3,
        padding: int = 0,
    ) -> None:
        super().__init__(folder, seed=0)
        folder.mkdir(parents=True, exist_ok=True)
        self.data = data or folder / "data"
        self.settings = f"admin: off\ndata: {self.data}\nstore: sqlite:{self.data}/segmill.db\n{settings}"
        self.nursery = Nursery(folder.parent / f"{folder.name}.log", preload=preload)
        self.load = Senders(self.port, senders, padding=padding)
        self.engine: EngineProcess | None = None

    @property
    def receiver(self) -> Any:
        return self.receivers["receiver"]

    async def __aenter__(self) -> "OneSite":
        self.write_site()
        for receiver in self.receivers.values():
            await receiver.start()
        await self.nursery.__aenter__()
        return self

    async def __aexit__(self, *words: object) -> None:
        try:
            await self.load.stop()
        finally:
            await self.nursery.__aexit__(*words)
            for receiver in self.receivers.values():
                receiver.stop()

    async def start(self, **order: Any) -> EngineProcess:
        """An engine, and senders that send from then on."""
        self.engine = await self.nursery.start(self.folder, **order)
        if not self.load.is_running:
            self.load.start()
        return self.engine

    async def until(self, condition: Callable[[], bool], within_s: float = 60.0) -> None:
        """Wait for it; an engine that ends meanwhile, or a sender with a defect, is an error."""
        assert self.engine is not None
        engine = self.engine
        async with asyncio.timeout(within_s):
            await self.load.until_true(lambda: condition() or engine.returncode is not None)
        assert condition(), f"the engine ended with {engine.returncode}: {engine.errors()}"

    async def more(self, count: int, within_s: float = 60.0) -> None:
        """Until so many more were acknowledged."""
        wanted = len(self.load.acknowledged) + count
        await self.until(lambda: len(self.load.acknowledged) >= wanted, within_s)

    async def until_arrived(self) -> None:
        """Send no more, and wait until everything that was acknowledged is there."""
        await self.load.stop()
        wanted = set(self.load.acknowledged)
        await self.until(lambda: wanted <= set(self.receiver.accepted))

    async def end_well(self, kills: int = 0) -> None:
        """Everything arrives, the engine stops in order, and the rig's questions are answered well."""
        await self.until_arrived()
        assert self.engine is not None
        self.engine.terminate()
        assert await self.engine.wait() == 0, f"it ended with {self.engine.returncode}: {self.engine.errors()}"
        self.judge(kills)

    def judge(self, kills: int = 0) -> None:
        """As the kill rig, with so many crashes."""
        self.verdict.acknowledged = set(self.load.acknowledged)
        self.verdict.cycles = kills
        self.judge_store(self.data / "segmill.db")
        self.verdict.assert_promise_kept()
