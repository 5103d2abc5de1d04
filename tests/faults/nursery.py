"""Engines that start in a tenth of a second: one process imports everything, and forks an engine for each order.

What is forked is the whole engine; nothing of it runs before the fork. So hundreds of deaths and starts fit into a
short test, and each of them is a process of its own that dies as a process dies.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.forked import shared

SCRIPT = Path(__file__).with_name("engine_under_test.py")
REPOSITORY = SCRIPT.parents[2]


class EngineProcess:
    """One engine. `returncode` as of asyncio's processes: negative where a signal ended it."""

    def __init__(self, pid: int, log: Path, ended: "asyncio.Future[int]") -> None:
        self.pid = pid
        self._log = log
        self._ended = ended

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def kill(self) -> None:
        """SIGKILL, wherever it is."""
        self.signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM: an orderly stop."""
        self.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        if not self._ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def errors(self) -> str:
        """What all engines of this nursery have logged so far, its end."""
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""


class Nursery:
    """Where engines come from, one at a time. `preload`: a library for the whole of it (LD_PRELOAD)."""

    def __init__(self, log: Path, preload: Path | None = None) -> None:
        self.log = log
        self._preload = preload
        self._process: asyncio.subprocess.Process | None = None
        self._engine: EngineProcess | None = None
        self._reading: asyncio.Task[None] | None = None
        self._is_starting = False

    async def __aenter__(self) -> "Nursery":
        env, python = dict(os.environ), shared().python
        if self._preload is not None:
            env["LD_PRELOAD"], python = str(self._preload), [sys.executable]
        self._process = await asyncio.create_subprocess_exec(
            *python,
            "-m",
            "tests.faults.engine_under_test",
            "--serve",
            cwd=REPOSITORY,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=env,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            if self._is_starting:
                self._process.kill()  # with an engine whose pid we were not told
            if self._engine is not None and self._engine.returncode is None:
                self._engine.kill()
                await self._engine.wait()
            if self._reading is not None:
                await self._reading
            # To the end of its pipes as well: else they are open when the loop closes.
            await self._process.communicate(b"")
        except asyncio.CancelledError:
            self._process.kill()  # a test that is cut off waits for nobody
            raise

    async def start(self, site: Path, **order: Any) -> EngineProcess:
        """An engine for `site`; for what else can be asked see `engine_under_test.run`. The one before has ended."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        assert self._engine is None or self._engine.returncode is not None, "an engine still runs"
        if self._reading is not None:
            await self._reading
        self._is_starting = True
        self._process.stdin.write(json.dumps({"site": str(site), "log": str(self.log), **order}).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        assert line, "the nursery has ended"
        self._is_starting = False
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._engine = EngineProcess(int(line), self.log, ended)
        self._reading = asyncio.get_running_loop().create_task(self._read_end(ended))
        return self._engine

    async def _read_end(self, ended: "asyncio.Future[int]") -> None:
        assert self._process is not None and self._process.stdout is not None
        line = await self._process.stdout.readline()
        ended.set_result(int(line) if line else -signal.SIGKILL)
