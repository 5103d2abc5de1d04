"""The engine's end of the bench: a few processes of low priority in which texts that people are editing are tried.

The engine stays unharmed whatever is typed (reliability.md 0.11, E2, P8): each job has bounds of processor time, time
and memory, past which its process is killed, and the next job gets another one. Processes are kept warm, so that an
answer comes while somebody is typing. One that runs code of a site's channel is for that code alone: what it leaves
behind cannot look at what others try.

Nothing here runs on an event loop: each job has a thread of its own, and there are as many as processes.
"""

import asyncio
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from engine.ports.bench import BenchBusy, CaseTried, Source, Stepped, Tried
from engine.runtime.deadline import cpu_of
from engine.runtime.worker import search_path
from engine.runtime.worker_child import LENGTHS, MOST_TEXT_BYTES, head

MOST_PROCESSES: Final = 2
MOST_WAITING: Final = 12
END_S: Final = 5.0
LAST_WORDS_S: Final = 0.5
LOOK_S: Final = 0.05
PIECE: Final = 64 * 1024
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from engine.runtime.bench_child import main; main()"
)

Model = TypeVar("Model", bound=BaseModel)


@dataclass(slots=True, frozen=True)
class BenchLimits:
    """Of one job. `cpu_s`: processor time; `timeout_s`, `start_s`: by the clock. `memory_bytes` come on top of what
    the process needs by itself."""

    cpu_s: float = 2.0
    timeout_s: float = 10.0
    start_s: float = 30.0
    memory_bytes: int = 256 * 1024 * 1024
    answer_bytes: int = 2 * 1024 * 1024


class _Ended(Exception):
    """The process is gone; the text says why, without values of messages."""


class ProcessBench:
    """Tries texts, as `engine.ports.bench` has it."""

    def __init__(self, limits: BenchLimits | None = None) -> None:
        self._limits = limits or BenchLimits()
        self._threads = ThreadPoolExecutor(MOST_PROCESSES, "bench")
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()
        self._jobs = 0
        self._is_closed = False
        self.starts = 0
        """How many processes were started."""

    # -- what is asked --------------------------------------------------------------------------

    async def tried(self, source: Source, text: bytes, sample: bytes, now: datetime) -> Tried:
        """As Bench.tried."""
        about = {"job": "try", "now_us": round(now.timestamp() * 1_000_000)}
        return await self._ask(source, about, (text, sample), Tried)

    async def stepped(self, source: Source, text: bytes, raw: bytes, received_at: datetime) -> Stepped:
        """As Bench.stepped."""
        about = {"job": "steps", "now_us": round(received_at.timestamp() * 1_000_000)}
        return await self._ask(source, about, (text, raw), Stepped)

    async def cased(self, source: Source, text: bytes, files: Mapping[str, bytes]) -> CaseTried:
        """As Bench.cased."""
        return await self._ask(source, {"job": "case", "case": list(files)}, (text, *files.values()), CaseTried)

    async def case_of(self, source: Source, text: bytes, sample: bytes, key: bytes) -> CaseTried:
        """As Bench.case_of."""
        return await self._ask(source, {"job": "new"}, (text, sample, key), CaseTried)

    def warm(self, source: Source) -> None:
        """As Bench.warm. Does nothing where all are at work: then there will be one soon."""
        with self._lock:
            if self._is_closed or self._jobs >= MOST_PROCESSES or any(one.key == _key(source) for one in self._idle):
                return
            self._jobs += 1
        self._threads.submit(self._warm, _key(source))

    def close(self) -> None:
        """As Bench.close. Jobs under way end with their processes."""
        with self._lock:
            self._is_closed = True
            every = list(self._all)
        for child in every:
            child.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in every:
            self._end(child)

    # -- on a thread of the bench ---------------------------------------------------------------

    async def _ask(self, source: Source, about: dict[str, Any], parts: Sequence[bytes], model: type[Model]) -> Model:
        with self._lock:
            if self._is_closed or self._jobs >= MOST_WAITING:
                raise BenchBusy
            self._jobs += 1
        job = self._threads.submit(self._work, source, about, parts, model)
        job.add_done_callback(self._done)
        return await asyncio.wrap_future(job)

    def _done(self, _: object) -> None:
        with self._lock:
            self._jobs -= 1

    def _warm(self, key: str) -> None:
        try:
            self._put_back(self._take(key))
        except _Ended:
            pass  # who comes to try starts one himself, and is told
        finally:
            self._done(None)

    def _work(self, source: Source, about: dict[str, Any], parts: Sequence[bytes], model: type[Model]) -> Model:
        try:
            child = self._take(_key(source))
        except _Ended as ended:
            return model(ended=str(ended))
        digest = _digest(source.files)
        files = () if child.has == digest else tuple(source.files.items())
        contents = (*parts, *(content for _, content in files))
        asked = {
            **about,
            "channel": source.channel,
            "known": dict(source.known),
            "files": None if child.has == digest else [name for name, _ in files],
            "parts": [len(part) for part in contents],
        }
        try:
            said, answer = child.exchange(asked, contents, self._limits.cpu_s, self._limits.timeout_s)
            made = model.model_validate_json(answer, strict=True)
        except ValidationError:
            # Code of the site wrote into the pipe: nothing of it is believed, and nothing of the process kept.
            self._end(child)
            return model(ended="the channel's own code wrote into the answer of its process")
        except _Ended as ended:
            self._end(child)
            return model(ended=str(ended))
        child.has = digest
        if said.get("last"):
            self._end(child)
        else:
            self._put_back(child)
        return made

    def _take(self, key: str) -> "_Child":
        """One that is ready. Raises _Ended."""
        while True:
            with self._lock:
                if self._is_closed:
                    raise _Ended("the engine is stopping")
                mine = next((one for one in self._idle if one.key == key), None)
                # All others are at work: a place is free for each thread once those that idle have gone.
                gone = mine or (self._idle[0] if len(self._all) >= MOST_PROCESSES and self._idle else None)
                if gone is not None:
                    self._idle.remove(gone)
            if mine is None:
                if gone is not None:
                    self._end(gone)
                return self._start(key)
            if not mine.is_dead:
                return mine
            self._end(mine)

    def _start(self, key: str) -> "_Child":
        try:
            child = _Child(key, self._limits.answer_bytes)
        except OSError as error:
            raise _Ended(f"its process does not start: {error.strerror}") from error
        with self._lock:
            self._all.add(child)
            self.starts += 1
            is_closed = self._is_closed
        if is_closed:
            self._end(child)
            raise _Ended("the engine is stopping")
        limits = {"memory_bytes": self._limits.memory_bytes, "cpu_s": self._limits.cpu_s}
        try:
            child.exchange(limits, (), self._limits.start_s, self._limits.start_s)
        except _Ended:
            self._end(child)
            raise
        return child

    def _put_back(self, child: "_Child") -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(child)
                return
        self._end(child)

    def _end(self, child: "_Child") -> None:
        child.kill()
        child.close()
        with self._lock:
            self._all.discard(child)


class _Child:
    """One process, asked by one thread at a time. `has`: the digest of the files that it holds."""

    def __init__(self, key: str, answer_bytes: int) -> None:
        """Raises OSError."""
        self.key = key
        self.has = b""
        self._answer_bytes = answer_bytes
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter, with our own module
            (sys.executable, "-P", "-c", _BOOT, search_path()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0"},
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None and self._process.stdout is not None, "asked for as pipes"
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_dead(self) -> bool:
        return self._process.poll() is not None

    def exchange(
        self, about: Mapping[str, Any], contents: Sequence[bytes], cpu_s: float, timeout_s: float
    ) -> tuple[dict[str, Any], bytes]:
        """One frame there and one back. Raises _Ended, and then the process is of no more use."""
        # What code of the site wrote into the pipe is no answer to this, and does not pass for the next one.
        mark = secrets.token_hex(16)
        wanted = memoryview(b"".join((head({**about, "mark": mark}, contents), *contents)))
        received = bytearray()
        began_s, cpu_began_s = time.monotonic(), cpu_of(self.pid) or 0.0
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        poll.register(self._stdin, select.POLLOUT)
        while (size := self._size(received)) is None or len(received) < size:
            for number, _ in poll.poll(LOOK_S * 1000):
                if number == self._stdin.fileno():
                    wanted = wanted[self._write(wanted) :]
                    if not wanted:
                        poll.unregister(self._stdin)
                elif not self._read(received):
                    raise _Ended(f"the process that tried it ended{self._how()}")
            used_s = (cpu_of(self.pid) or 0.0) - cpu_began_s
            if used_s >= cpu_s:
                raise _Ended(f"it took more than {cpu_s:g} s of processor time")
            if time.monotonic() - began_s >= timeout_s:
                raise _Ended(f"it took longer than {timeout_s:g} s")
        text_bytes, _ = LENGTHS.unpack_from(received)
        try:
            said = json.loads(received[LENGTHS.size : LENGTHS.size + text_bytes])
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict) or said.get("mark") != mark or len(received) != size:
            raise _Ended("the channel's own code wrote into the answer of its process")
        return said, bytes(received[LENGTHS.size + text_bytes :])

    def _size(self, received: bytearray) -> int | None:
        """Of the whole frame, once it is known."""
        if len(received) < LENGTHS.size:
            return None
        text_bytes, content_bytes = LENGTHS.unpack_from(received)
        if text_bytes > MOST_TEXT_BYTES or content_bytes > self._answer_bytes:
            raise _Ended("more came of it than can be shown")
        return LENGTHS.size + int(text_bytes) + int(content_bytes)

    def _write(self, wanted: memoryview) -> int:
        try:
            return os.write(self._stdin.fileno(), wanted[:PIECE])
        except BlockingIOError:
            return 0
        except OSError:
            raise _Ended(f"the process that tried it ended{self._how()}") from None

    def _read(self, received: bytearray) -> bool:
        try:
            piece = os.read(self._stdout.fileno(), PIECE)
        except BlockingIOError:
            return True
        received += piece
        return bool(piece)

    def _how(self) -> str:
        try:
            code = self._process.wait(LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            return ""
        return f" with exit code {code}" if code >= 0 else f" by signal {-code}"

    def kill(self) -> None:
        """From any thread; who waits for an answer sees that it ended."""
        if self._process.poll() is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def close(self) -> None:
        """After `kill`: the process is waited for, its pipes are closed."""
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:  # in the kernel's hands: it ends when what it waits for does
            pass
        for pipe in (self._stdin, self._stdout):
            if not pipe.closed:
                pipe.close()


def _key(source: Source) -> str:
    """Whose process it is: that of this channel's Python of this version: what it leaves behind is not for another."""
    if not source.has_own_code:
        return ""
    own = {path: content for path, content in source.files.items() if path.endswith(".py")}
    return f"{source.channel} {_digest(own).hex()}"


def _digest(files: Mapping[str, bytes]) -> bytes:
    digest = blake2b(digest_size=16)
    for name, content in sorted(files.items()):
        told = name.encode()
        digest.update(LENGTHS.pack(len(told), len(content)) + told + content)
    return digest.digest()
