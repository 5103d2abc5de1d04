"""The engine's end of a worker: a process of its own for each channel that has code of the site among its steps.

The site's code can loop, die, or eat memory, and the engine goes on (reliability.md 0.11, E2). A message has
a deadline; past it, or when the process dies, the process is ended, a new one started and the message tried
once more; then it is held. One message is with the process at a time, so their order is kept.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.config.site import LoadedChannel
from engine.model.envelope import DraftDelivery
from engine.model.finding import Finding
from engine.model.ids import DestinationName
from engine.pipeline.run import Result
from engine.runtime.worker_child import LENGTHS, frame

log = logging.getLogger("segmill.worker")

ATTEMPTS = 2
MOST_ANSWER_BYTES = 512 * 1024 * 1024
END_S = 5.0
LAST_WORDS_S = 0.5
"""A process that closed its pipe has this long to end by itself."""
NO_ANSWER = "the channel's own code wrote into the answer of its process"
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from engine.runtime.worker_child import main; main()"


@dataclass(slots=True, frozen=True)
class WorkerLimits:
    """What one message may take. `memory_bytes` come on top of what the process needs by itself.

    `start_s`: how long a process may take until it is ready.
    """

    deadline_s: float = 2.0
    memory_bytes: int = 256 * 1024 * 1024
    start_s: float = 30.0


class WorkerFailed(Exception):
    """A process that cannot run the channel; the text says why, without values of messages."""


class _Lost(Exception):
    """The process did not answer; `reason` goes into the finding."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Worker:
    """Runs one channel's pipeline in a process of its own, which starts with the first message, or with `start`."""

    def __init__(self, loaded: LoadedChannel, limits: WorkerLimits | None = None) -> None:
        self._loaded = loaded
        self._limits = limits or WorkerLimits()
        self._turn = asyncio.Lock()
        self._child: asyncio.subprocess.Process | None = None
        self.starts = 0
        """How many processes were started."""

    async def start(self) -> None:
        """Have the process ready. Raises WorkerFailed where the site's code does not load."""
        async with self._turn:
            await self._ready()

    async def run(self, raw: bytes, now: datetime) -> Result:
        """The channel's result for one message. Never raises but for cancellation: what fails is held."""
        job = frame({"now_us": round(now.timestamp() * 1_000_000)}, (raw,))
        async with self._turn:
            lost = _Lost("E221", "")
            for _ in range(ATTEMPTS):
                try:
                    child = await self._ready()
                    return await self._ask(child, job)
                except WorkerFailed as failure:
                    return _held("E222", str(failure))
                except _Lost as again:
                    lost = again
                    log.warning("channel %s: %s; its process was ended", self._loaded.name, again.reason)
            return _held(lost.code, f"{lost.reason}, {ATTEMPTS} times")

    async def close(self) -> None:
        """End the process."""
        async with self._turn:
            await self._end()

    async def _ready(self) -> asyncio.subprocess.Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        await self._end()
        child = self._child = await self._spawn()
        self.starts += 1
        try:
            about, _ = await self._exchange(child, self._first_frame(), self._limits.start_s)
        except _Lost as lost:
            raise WorkerFailed(f"the channel's process does not start: {lost.reason}") from lost
        if about["problem"]:
            await self._end()
            raise WorkerFailed(about["problem"])
        return child

    async def _spawn(self) -> asyncio.subprocess.Process:
        folder = self._loaded.folder
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-c",
                _BOOT,
                _search_path(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={"PYTHONHASHSEED": "0"},  # the same message comes to the same end in every process
                cwd=folder if folder.is_dir() else None,
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerFailed(f"the channel's process does not start: {error.strerror}") from error

    def _first_frame(self) -> bytes:
        loaded, limits = self._loaded, self._limits
        about = {
            "channel": loaded.name,
            "files": [(name, len(content)) for name, content in loaded.files.items()],
            "sinks": sorted({destination.sink for destination in loaded.file.destinations.values()}),
            "substituted": _handed_over(loaded),
            "memory_bytes": limits.memory_bytes,
            "deadline_s": limits.deadline_s,
            "start_s": limits.start_s,
        }
        return frame(about, list(loaded.files.values()))

    async def _ask(self, child: asyncio.subprocess.Process, job: bytes) -> Result:
        about, content = await self._exchange(child, job, self._limits.deadline_s)
        try:
            result = _result(about, content)
            is_last = bool(about["last"])
        except (KeyError, TypeError, ValueError):
            await self._end()
            raise _Lost("E221", NO_ANSWER) from None
        if is_last:
            await self._end()
        return result

    async def _exchange(self, child: asyncio.subprocess.Process, sent: bytes, within_s: float) -> tuple[Any, bytes]:
        """One frame there and one back. On any other end the process is gone, and nothing of it is used again."""
        assert child.stdin is not None and child.stdout is not None, "both were asked for as pipes"
        try:
            async with asyncio.timeout(within_s):
                child.stdin.write(sent)
                await child.stdin.drain()
                text_bytes, content_bytes = LENGTHS.unpack(await child.stdout.readexactly(LENGTHS.size))
                if text_bytes + content_bytes > MOST_ANSWER_BYTES:
                    raise ValueError(f"more than {MOST_ANSWER_BYTES} bytes")
                text = await child.stdout.readexactly(text_bytes)
                return json.loads(text), await child.stdout.readexactly(content_bytes)
        except ValueError:
            await self._end()
            raise _Lost("E221", NO_ANSWER) from None
        except TimeoutError:
            await self._end()
            raise _Lost("E220", f"the channel's own code took longer than {within_s:g} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            await _ended_within(child, LAST_WORDS_S)  # so that it can be said how it ended
            await self._end()
            raise _Lost("E221", f"the channel's own code ended its process{self._how(child)}") from None
        except BaseException:
            await self._end()
            raise

    @staticmethod
    def _how(child: asyncio.subprocess.Process) -> str:
        """The exit code or signal, where it is known."""
        if child.returncode is None:
            return ""
        if child.returncode >= 0:
            return f" with exit code {child.returncode}"
        return f" by signal {-child.returncode}"

    async def _end(self) -> None:
        """The process and whatever it started are gone when this returns."""
        child, self._child = self._child, None
        if child is None:
            return
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if child.stdin is not None:
            child.stdin.close()
        if not await _ended_within(child, END_S):
            log.error("channel %s: a process that was killed did not end in %g s", self._loaded.name, END_S)


async def _ended_within(child: asyncio.subprocess.Process, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await child.wait()
    except TimeoutError:
        return False
    return True


def _search_path() -> str:
    """Where this process finds its modules, for one that starts in another folder."""
    return json.dumps([str(Path(entry).absolute()) for entry in sys.path])


def _handed_over(loaded: LoadedChannel) -> dict[str, str]:
    """What `${...}` stands for, without the secrets of ports and destinations: the site's code needs none of them."""
    sections = sorted(
        ((place.line, place.column), str(key[0])) for key, place in loaded.positions.items() if len(key) == 1
    )
    values = {origin.reference: origin.value or "" for origin in loaded.origins}
    for origin in loaded.origins:
        if origin.value is None:
            here = (origin.position.line, origin.position.column)
            section = next((name for place, name in reversed(sections) if place <= here), "")
            if section in ("steps", "routes", "from"):
                values[origin.reference] = loaded.substituted[origin.reference]
    return values


def _result(about: Any, content: bytes) -> Result:
    bodies: list[bytes] = []
    at = 0
    for length in about["bodies"]:
        bodies.append(content[at : at + length])
        at += length
    deliveries = [
        DraftDelivery(DestinationName(name), bodies[place] if place >= 0 else None, key, urgent)
        for name, place, key, urgent in about["deliveries"]
    ]
    return Result(about["state"], deliveries, tuple(Finding(**row) for row in about["findings"]))


def _held(code: str, text: str) -> Result:
    return Result("held", [], (Finding(code, "error", text),))
