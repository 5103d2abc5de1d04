"""The engine's end of a worker: a process of its own for each channel that has code of the site among its steps.

The site's code can loop, die, or eat memory, and the engine goes on (reliability.md 0.11, E2, P8). A message has
a deadline; past it, or when the process dies, the process is ended, a new one started and the message tried
once more; then it is held. One message is with the process at a time, so their order is kept.

The engine's loop never waits for the process: every read and write is awaited, and what comes back is looked at
before it is believed, as the site's code can write into the answer of its process.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.config.isolate import Isolate
from engine.config.site import LoadedChannel
from engine.model.envelope import DraftDelivery
from engine.model.finding import Finding
from engine.model.ids import DestinationName
from engine.pipeline.run import Result
from engine.pipeline.steps.python import PythonOptions
from engine.ports.meter import ChannelMeter
from engine.runtime.deadline import Deadline, OwnStep, Spent, Whereabouts, cpu_of
from engine.runtime.pipes import read_whole, write_whole
from engine.runtime.worker_child import LENGTHS, MOST_TEXT_BYTES, head

log = logging.getLogger("segmill.worker")

ATTEMPTS = 2
START_TRIES = 3
START_PAUSES_S = (0.1, 0.5)
"""Where the system cannot start a process just now, it is asked again after so long."""
STATES = frozenset(("processed", "filtered", "held", "rejected"))
END_S = 5.0
LAST_WORDS_S = 0.5
"""A process that closed its pipe has this long to end by itself."""
PIPE_BYTES = 65_536
"""What is read of a process ahead of who wants it, as asyncio has it."""
NO_ANSWER = "the channel's own code wrote into the answer of its process"
_BOOT = """\
import gc, json, sys
gc.disable()  # a tenth of the start
sys.path[:] = json.loads(sys.argv[1])
from engine.runtime.worker_child import main
gc.enable()
main()
"""


@dataclass(slots=True, frozen=True)
class WorkerLimits:
    """What one message may take. `memory_bytes` come on top of what the process needs by itself.

    `deadline_s` is processor time, `timeout_s` time by the clock. `output_bytes`: its deliveries together. `start_s`:
    how long a process may take until it is ready, by the clock.
    """

    deadline_s: float = 2.0
    timeout_s: float = 10.0
    memory_bytes: int = 256 * 1024 * 1024
    output_bytes: int = 64 * 1000 * 1000
    start_s: float = 30.0

    def but(self, own: Isolate | None) -> "WorkerLimits":
        """These, but for what a channel says itself."""
        if own is None:
            return self
        return replace(
            self,
            deadline_s=own.deadline or self.deadline_s,
            timeout_s=own.timeout or self.timeout_s,
            memory_bytes=own.memory or self.memory_bytes,
            output_bytes=own.output or self.output_bytes,
        )


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

    def __init__(
        self, loaded: LoadedChannel, limits: WorkerLimits | None = None, meter: ChannelMeter | None = None
    ) -> None:
        self._loaded = loaded
        self._limits = limits or WorkerLimits()
        self._meter = meter
        self._deadline = Deadline(self._limits.deadline_s, self._limits.timeout_s, _own_steps(loaded))
        self._turn = asyncio.Lock()
        self._child: _Child | None = None
        self._spare: _Child | None = None
        self._keeps_spare = False
        self._whereabouts: Whereabouts | None = None
        self.starts = 0
        """How many processes were started."""
        self.problem = ""
        """Why the last process did not start; '' while it does."""

    @property
    def pid(self) -> int | None:
        """The process at hand."""
        return None if self._child is None or self._child.is_dead else self._child.process.pid

    @property
    def is_busy(self) -> bool:
        """Whether a message is with the process, or waits for it to start."""
        return self._turn.locked()

    async def start(self) -> None:
        """Have the process ready. Raises WorkerFailed where the site's code does not load."""
        async with self._turn:
            await self._ready()

    async def run(self, raw: bytes, now: datetime) -> Result:
        """The channel's result for one message. Never raises but for cancellation: what fails is held."""
        about = {"now_us": round(now.timestamp() * 1_000_000)}
        async with self._turn:
            lost = _Lost("E221", "")
            for _ in range(ATTEMPTS):
                try:
                    child = await self._ready()
                    return await self._ask(child, about, raw)
                except WorkerFailed as failure:
                    return _held("E222", str(failure))
                except _Lost as again:
                    lost = again
                    self._keeps_spare = True
                    self._count("late" if again.code == "E220" else "ended")
                    log.warning("channel %s: %s; its process was ended", self._loaded.name, again.reason)
            await self._prepare()
            return _held(lost.code, f"{lost.reason}, {ATTEMPTS} times")

    async def close(self) -> None:
        """End the process."""
        async with self._turn:
            await self._end()
            spare, self._spare = self._spare, None
            await self._end_of(spare)
            if self._whereabouts is not None:
                self._whereabouts.close()
                self._whereabouts = None

    async def _ready(self) -> asyncio.subprocess.Process:
        if self._child is not None and self._child.is_dead:
            # It died while nobody asked anything of it (the kernel's OOM killer): no message is to blame.
            self._count("ended")
            await self._end()
        for tries_left in reversed(range(START_TRIES)):
            if self._child is None:
                self._child = await self._next()
            if self._child.is_ready:
                break
            try:
                await self._greet(self._child)
            except _Lost as lost:
                self.problem = f"the channel's process does not start: {lost.reason}"
                self._count("not-started")
                if not tries_left:
                    raise WorkerFailed(self.problem) from lost
        assert self._child is not None, "the last try raises"
        return self._child.process

    async def _next(self) -> "_Child":
        """The one that was kept ready, or one that begins to make itself ready."""
        spare, self._spare = self._spare, None
        if spare is not None and not spare.is_dead:
            return spare
        await self._end_of(spare)
        return await self._launch()

    async def _launch(self) -> "_Child":
        """Start a process and give it the channel; it makes itself ready while nobody waits. Raises WorkerFailed."""
        for pause_s in (*START_PAUSES_S, None):
            try:
                child = await self._spawn()
                break
            except OSError as error:
                self.problem = f"the channel's process does not start: {error.strerror}"
                self._count("not-started")
                if pause_s is None:
                    raise WorkerFailed(self.problem) from error
            await asyncio.sleep(pause_s)
        self.starts += 1
        self._count("started")
        stdin = child.process.stdin
        assert stdin is not None, "asked for as a pipe"
        about, contents = self._first_frame()
        stdin.write(head(about, contents))
        for content in contents:
            stdin.write(content)
        return child

    async def _greet(self, child: "_Child") -> None:
        """The process says that it is ready. Raises WorkerFailed where it will never be, _Lost where it died."""
        start_s = self._limits.start_s
        about, _ = await self._exchange(child.process, (), Deadline(start_s, start_s))
        if not isinstance(about, dict) or not isinstance(about.get("problem"), str):
            await self._end()
            raise _Lost("E221", NO_ANSWER)
        self.problem = about["problem"]
        if self.problem:
            self._count("not-started")
            await self._end()
            raise WorkerFailed(self.problem)
        child.is_ready = True

    async def _prepare(self) -> None:
        """A message has cost its process: the next one need not wait for a start.

        Where that was more than memory it kept, one more is kept ready from then on: it may well happen again.
        """
        try:
            if self._child is None:
                self._child = await self._next()
            if self._keeps_spare and self._spare is None:
                self._spare = await self._launch()
        except WorkerFailed as failure:  # the next message asks again, and is told
            log.warning("channel %s: %s", self._loaded.name, failure)

    def _count(self, event: str) -> None:
        if self._meter is not None:
            self._meter.worker(event)

    async def _spawn(self) -> "_Child":
        """Raises OSError."""
        folder = self._loaded.folder
        if self._whereabouts is None:
            self._whereabouts = Whereabouts()
        place = self._whereabouts.fd
        loop = asyncio.get_running_loop()
        # What `create_subprocess_exec` does, but that gives no hold of what has to be closed in the end.
        transport, protocol = await loop.subprocess_exec(
            lambda: asyncio.subprocess.SubprocessStreamProtocol(limit=PIPE_BYTES, loop=loop),
            sys.executable,
            "-P",
            "-c",
            _BOOT,
            search_path(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0"},  # the same message comes to the same end in every process
            cwd=folder if folder.is_dir() else None,
            pass_fds=(place,),
            start_new_session=True,
        )
        return _Child(transport, asyncio.subprocess.Process(transport, protocol, loop))

    def _first_frame(self) -> tuple[dict[str, Any], list[bytes]]:
        loaded, limits = self._loaded, self._limits
        assert self._whereabouts is not None, "made before the first process"
        about = {
            "channel": loaded.name,
            "files": [(name, len(content)) for name, content in loaded.files.items()],
            "sinks": sorted({destination.sink for destination in loaded.file.destinations.values()}),
            "substituted": _handed_over(loaded),
            "memory_bytes": limits.memory_bytes,
            "output_bytes": limits.output_bytes,
            "deadline_s": self._deadline.most_cpu_s,
            "start_s": limits.start_s,
            "whereabouts": self._whereabouts.fd,
        }
        return about, list(loaded.files.values())

    async def _ask(self, child: asyncio.subprocess.Process, about_job: dict[str, Any], raw: bytes) -> Result:
        about, bodies = await self._exchange(child, (head(about_job, (raw,)), raw), self._deadline)
        try:
            result = _result(about, bodies, self._loaded)
            is_last = bool(about["last"])
        except (KeyError, TypeError, ValueError):
            await self._end()
            raise _Lost("E221", NO_ANSWER) from None
        if is_last:
            await self._end()
            await self._prepare()
        return result

    async def _exchange(
        self, child: asyncio.subprocess.Process, sent: Sequence[bytes], deadline: Deadline
    ) -> tuple[Any, list[bytes]]:
        """What is to be sent there, and one frame back with its bodies. On any other end the process is gone."""
        assert child.stdin is not None and child.stdout is not None, "both were asked for as pipes"
        watched = _Watched(child, deadline, self._whereabouts)
        try:
            async with asyncio.timeout(None) as limit:
                watched.begin(limit)
                for part in sent:
                    await write_whole(child.stdin, part)
                await child.stdin.drain()
                text_bytes, content_bytes = LENGTHS.unpack(await child.stdout.readexactly(LENGTHS.size))
                if text_bytes > MOST_TEXT_BYTES or content_bytes > self._limits.output_bytes:
                    raise ValueError("more than the process was allowed to say")
                about = json.loads(await child.stdout.readexactly(text_bytes))
                lengths = _lengths(about, content_bytes)
                return about, [await read_whole(child.stdout, length) for length in lengths]
        except (ValueError, RecursionError):
            await self._end()
            raise _Lost("E221", NO_ANSWER) from None
        except TimeoutError:
            await self._end()
            raise _Lost("E220", watched.reason) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            await _ended_within(child, LAST_WORDS_S)  # so that it can be said how it ended
            await self._end()
            raise _Lost("E221", f"the channel's own code ended its process{self._how(child)}") from None
        except BaseException:
            await self._end()
            raise
        finally:
            watched.end()

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
        await self._end_of(child)

    async def _end_of(self, child: "_Child | None") -> None:
        if child is None:
            return
        process = child.process
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if process.stdin is not None:
            process.stdin.close()
        if not await _ended_within(process, END_S):
            log.error("channel %s: a process that was killed did not end in %g s", self._loaded.name, END_S)
        # Where it had written more than was read of it, nobody would see the end of that pipe and close this side.
        child.transport.close()


@dataclass(slots=True)
class _Child:
    """One process. `is_ready`: it has said so, and waits for messages."""

    transport: asyncio.SubprocessTransport
    process: asyncio.subprocess.Process
    is_ready: bool = False

    @property
    def is_dead(self) -> bool:
        stdout = self.process.stdout
        return self.process.returncode is not None or (stdout is not None and stdout.at_eof())


async def _ended_within(child: asyncio.subprocess.Process, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await child.wait()
    except TimeoutError:
        return False
    return True


def search_path() -> str:
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


def _lengths(about: Any, content_bytes: int) -> list[int]:
    """Of the bodies of a frame. Raises ValueError where they are not what the frame holds."""
    lengths = about.get("bodies", []) if isinstance(about, dict) else []
    if not isinstance(lengths, list) or any(type(length) is not int or length < 0 for length in lengths):
        raise ValueError("the bodies are not described")
    if sum(lengths) != content_bytes:
        raise ValueError("the bodies are not as they are described")
    return lengths


def _result(about: Any, bodies: Sequence[bytes], loaded: LoadedChannel) -> Result:
    """What the process says of a message. Raises KeyError, TypeError or ValueError for what it could not say itself."""
    deliveries = [
        DraftDelivery(DestinationName(name), bodies[place] if 0 <= place < len(bodies) else None, key, urgent)
        for name, place, key, urgent in about["deliveries"]
    ]
    if about["state"] not in STATES or any(d.destination not in loaded.file.destinations for d in deliveries):
        raise ValueError("no result of this channel")
    if deliveries and about["state"] != "processed":
        raise ValueError("a message that stopped goes nowhere")
    return Result(about["state"], deliveries, tuple(_finding(row) for row in about["findings"]))


def _finding(row: dict[str, str]) -> Finding:
    if row["severity"] not in ("error", "warning", "information") or any(type(v) is not str for v in row.values()):
        raise ValueError("no finding")
    return Finding(**row)  # type: ignore[arg-type]  # the severity is one of the three


def _own_steps(loaded: LoadedChannel) -> list[OwnStep]:
    """The channel's python steps in order, as `pipeline.own_code` counts them."""
    found = []
    for number, entry in enumerate(loaded.file.steps, 1):
        if isinstance(entry.options, PythonOptions):
            found.append(OwnStep(f"step {number} ({entry.options.function})", entry.options.deadline))
    return found


class _Watched:
    """Looks at a process from time to time, and ends the wait for it when its message took too much."""

    def __init__(self, child: asyncio.subprocess.Process, deadline: Deadline, whereabouts: Whereabouts | None) -> None:
        self._pid = child.pid
        self._deadline = deadline
        self._whereabouts = whereabouts
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._cpu_began = cpu_of(child.pid)
        self._timer: asyncio.TimerHandle | None = None
        self.reason = ""

    def begin(self, limit: asyncio.Timeout) -> None:
        self._timer = self._loop.call_later(self._deadline.first_look_s, self._look, limit)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, limit: asyncio.Timeout) -> None:
        spent = self._spent()
        self.reason = self._deadline.exceeded(spent)
        if self.reason:
            limit.reschedule(self._loop.time())
        else:
            self._timer = self._loop.call_later(self._deadline.look_again_s(spent), self._look, limit)

    def _spent(self) -> Spent:
        wall_s = self._loop.time() - self._began
        now_s = cpu_of(self._pid)
        step, step_began_s = self._whereabouts.read() if self._whereabouts is not None else (0, 0.0)
        if now_s is None or self._cpu_began is None:
            return Spent(wall_s, wall_s, step)  # no such clock here: by the clock on the wall, then
        return Spent(now_s - self._cpu_began, wall_s, step, now_s - step_began_s)


def _held(code: str, text: str) -> Result:
    return Result("held", [], (Finding(code, "error", text),))
