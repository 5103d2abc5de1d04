"""A folder that messages come through in files, and who puts them there; the inbox is the engine's own, on real files.

What has become of a file is believed when it is moved: what is in `done` must be on stable storage, all of it, and what
is in `failed` must hold something that nobody could take. A killed engine lets go of its lock, as the kernel has it do.
"""

import asyncio
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from engine.adapters.sources.inbox import Inbox, Rules
from tests.simulation.loop import Loop, Process
from tests.simulation.model import Model
from tests.simulation.records import Item

EVERY_MS, STABLE_MS = 50, 100
"""How often the engine looks, and how long a file must stay as it is: its writer is never silent for so long."""
SLICE_US = 60_000
LOOK_S = 0.1


class Folder:
    """One history's. Made when it is first asked for."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._place: Path | None = None
        self._inboxes: list[Inbox] = []
        self.written: dict[str, list[Item]] = {}
        """What is in each file, by its name."""
        self.ends: dict[str, bool] = {}
        """Whether it is done, else it has failed."""

    @property
    def root(self) -> Path:
        if self._place is None:
            place = "/dev/shm" if Path("/dev/shm").is_dir() else None
            self._place = Path(tempfile.mkdtemp(prefix="segmill-simulation-", dir=place))
        return self._place / "in"

    def opened(self, inbox: Inbox) -> None:
        self._inboxes.append(inbox)

    def killed(self) -> None:
        """The process is gone, and its locks with it."""
        for inbox in self._inboxes:
            inbox.close()
        self._inboxes.clear()

    def ended(self, name: str, *, is_done: bool) -> None:
        """A file has been moved to where it stays."""
        self._model.loop.note("file %s %s", name, "is done" if is_done else "has failed")
        self._model.counts["files"] += 1
        items = self.written.get(name)
        if items is None or name in self.ends:
            self._model.breach(f"{name} is put away {'again' if items is not None else 'and nobody wrote it'}")
            return
        self.ends[name] = is_done
        self._model.put_away(name, items, is_done=is_done)

    def waits(self) -> list[str]:
        return [name for name in self.written if name not in self.ends]

    def remove(self) -> None:
        self.killed()
        if self._place is not None:
            shutil.rmtree(self._place)


class SimulatedInbox(Inbox):
    """Of the history that runs now."""

    def __init__(self, root: Path, owner: str, rules: Rules) -> None:
        self._folder: Folder = asyncio.get_running_loop().folder  # type: ignore[attr-defined]
        super().__init__(self._folder.root, "in-simulation", rules)
        self._folder.opened(self)

    def done(self, name: str, *, delete: bool) -> None:
        super().done(name, delete=delete)
        self._folder.ended(name, is_done=True)

    def failed(self, name: str, findings: str) -> bool:
        found = super().failed(name, findings)
        self._folder.ended(name, is_done=False)
        return found


class AtOnce:
    """The source's thread, of which the loop plays the rest."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """As that of a real one."""

    def submit(self, work: Callable[[], object]) -> None:
        work()

    def shutdown(self, wait: bool = True) -> None:
        """Nothing runs on it."""


class Writer:
    """Puts its messages into files, and those that nobody could take once more."""

    def __init__(
        self, name: str, loop: Loop, folder: Folder, model: Model, rng: Random, items: Sequence[Item], pause_us: int
    ) -> None:
        self.name = name
        self.process = Process(name)
        self.is_done = False
        self.is_calm = False
        self._loop = loop
        self._folder = folder
        self._model = model
        self._rng = rng
        self._items = deque(items)
        self._pause_us = pause_us
        self._count = 0
        self._open: dict[str, list[Item]] = {}

    def start(self) -> None:
        self._loop.spawn(self.process, self._run(), self.name)

    async def _run(self) -> None:
        while self._items or self._open:
            if self._items and len(self._open) < 4:
                await self._write()
                await asyncio.sleep(self._rng.random() * self._pause_us / 1e6)
            else:
                await asyncio.sleep(LOOK_S)
            self._hear()
        self.is_done = True
        self._loop.note("%s is done", self.name)

    async def _write(self) -> None:
        """A file, in one go, or in two with a pause between them."""
        most = self._rng.choice((1, 2, 6))
        items = [self._items.popleft()]
        while self._items and len(items) < most and "junk" not in (items[0].kind, self._items[0].kind):
            items.append(self._items.popleft())
        content = b"".join(item.payload for item in items)
        if self._rng.random() < 0.5 and items[0].kind != "junk":
            content = b"BHS|^~\\&|%s\r%bBTS|%d\r" % (self.name.encode(), content, len(items))
            if self._rng.random() < 0.5:
                content = b"FHS|^~\\&|%s\r%bFTS|1\r" % (self.name.encode(), content)
        self._count += 1
        name = f"{self._count:05}-{self.name}.hl7"
        self._loop.note("%s writes %s: %s", self.name, name, ", ".join(item.control_id for item in items))
        for item in items:
            item.sent += 1
        self._folder.written[name] = self._open[name] = items
        self._folder.root.mkdir(exist_ok=True)
        path = self._folder.root / name
        cut = self._rng.randrange(1, len(content)) if self._rng.random() < 0.5 else 0
        if cut:
            path.write_bytes(content[:cut])
            await asyncio.sleep(self._rng.random() * SLICE_US / 1e6)
            with path.open("ab") as file:
                file.write(content[cut:])
        else:
            path.write_bytes(content)

    def _hear(self) -> None:
        for name in [name for name in self._open if name in self._folder.ends]:
            for item in self._open.pop(name):
                if item.is_settled:
                    continue
                self._items.append(item)
