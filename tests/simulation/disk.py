"""What outlives the engine: a store with a crash model, and a disk that is slow, full, busy, or says nothing at all.

A `Disk` is there for the whole history; each run of the engine gets a `TappedStore` on it. Every change that has
become durable is told to the model at the moment it does, which may be long before the engine hears of it, and
though the engine may be killed in between.

An unknown outcome is one of three: not kept, kept, or kept and not to be seen before the next start (after a failed
sync SQLite showed nothing of the rows, and they were there after a restart: reliability.md section 0, row 4).
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol

from engine.adapters.stores.memory import MemoryStore
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import AckUpdate, Batch, Committed
from engine.model.ids import ChannelName, MessageSeq, VersionId
from engine.model.states import MessageState
from engine.ports.clock import Clock
from engine.ports.operations import Change, Changed
from engine.ports.store import (
    CommitUnknown,
    Prune,
    Pruned,
    Store,
    StoreBusy,
    StoredDelivery,
    StoreFull,
    StoreQueries,
)
from tests.simulation.loop import OWNER, Killed, Loop, Process


@dataclass(slots=True)
class Faults:
    """How the disk behaves: how long a commit takes, and how likely what goes wrong."""

    commit_us: int = 800
    stall: float = 0.0
    full: float = 0.0
    busy: float = 0.0
    unknown: float = 0.0
    killed: float = 0.0
    """That the process is killed while it commits on the loop."""
    unamended: float = 0.0
    """That there is no room for another answer, where there is room for all else."""


Read = Callable[[MessageSeq], tuple[MessageState, list[StoredDelivery]] | None]
"""A stored message's state and its deliveries with their bytes."""


class Witness(Protocol):
    """Who is told of what is durable."""

    def committed(self, batch: Batch, committed: Committed, *, by_this_run: bool = True) -> None: ...

    def operated(self, change: Change, changed: Changed, read: Read) -> None: ...

    def returned(self) -> None: ...

    def failing(self) -> None: ...

    def amended(self, updates: Sequence[AckUpdate]) -> None: ...

    def pruned(self, is_forgotten: Callable[[int], bool]) -> None: ...

    def noted(self) -> None: ...

    def versioned(self, version: VersionId, files: Mapping[str, bytes]) -> None: ...


class Disk:
    """The memory store, kept from one run of the engine to the next."""

    def __init__(self, loop: Loop, rng: Random, clock: Clock, faults: Faults, witness: Witness) -> None:
        self.loop = loop
        self.rng = rng
        self.clock = clock
        self.faults = faults
        self.witness = witness
        self.later: list[Batch] = []
        self.in_job = False
        self.open_store: TappedStore | None = None
        self._store: Store = self._make()

    def _make(self) -> Store:
        return MemoryStore(clock=self.clock)

    def store(self) -> "TappedStore":
        """For the next run."""
        self.open_store = TappedStore(self, self._store)
        return self.open_store

    def opened(self, store: Store) -> None:
        """What a failed commit kept after all is seen from now on."""
        later, self.later = self.later, []
        for batch in later:
            self.witness.committed(batch, store.commit(batch), by_this_run=False)

    def died(self) -> None:
        """The process with the store is gone, whatever it was doing."""
        if self.open_store is not None:
            self.open_store.is_gone = True
            self.open_store = None
        if isinstance(self._store, MemoryStore) and self._store._is_open:
            self._store.crash()

    def remove(self) -> None:
        """The history is over."""


class SqliteDisk(Disk):
    """The store in a file. A dead process leaves what it had written, and its locks go: that is a copy of its files.

    A commit that was under way leaves a piece of what it would have appended to the write-ahead log.
    """

    def __init__(self, folder: Path, loop: Loop, rng: Random, clock: Clock, faults: Faults, witness: Witness) -> None:
        self._folder = folder
        self._run = 0
        super().__init__(loop, rng, clock, faults, witness)

    def _make(self) -> Store:
        path = self._folder / str(self._run)
        path.mkdir(parents=True, exist_ok=True)
        return SqliteStore(path / "segmill.db", clock=self.clock, allow_network=True)

    def died(self) -> None:
        was_open = self.open_store is not None and not self.open_store.was_closed
        super().died()
        before = self._folder / str(self._run)
        self._run += 1
        after = self._folder / str(self._run)
        after.mkdir()
        for name in ("segmill.db", "segmill.db-wal"):
            if (before / name).exists():
                shutil.copy(before / name, after / name)
        store, self._store = self._store, self._make()
        if was_open:
            store.close(clean=False)
        shutil.rmtree(before)

    def torn(self, batch: Batch) -> None:
        """The process died inside this commit: a piece of it is in the log, and counts for nothing without its end.

        Where the log began anew with it, it is there as a whole.
        """
        log = self._folder / str(self._run) / "segmill.db-wal"
        before = log.read_bytes() if log.exists() else b""
        committed = self._store.commit(batch)
        after = log.read_bytes()
        if len(after) > len(before) and after.startswith(before):
            with log.open("r+b") as file:
                file.truncate(len(before) + self.rng.randrange(len(after) - len(before)))
        else:
            self.witness.committed(batch, committed)

    def remove(self) -> None:
        if self.open_store is not None and not self.open_store.was_closed:
            self._store.close(clean=False)
        shutil.rmtree(self._folder, ignore_errors=True)


TOUCH_NO_DISK = ("queries", "close", "check_place", "read_keys_by")
"""What a store whose disk failed does as before."""


class TappedStore:
    """The store as one run of the engine sees it: all of the real one, with the disk's faults."""

    def __init__(self, disk: Disk, inner: Store) -> None:
        self._disk = disk
        self._inner = inner
        self._broken = ""
        self._queries: StoreQueries | None = None
        self.is_gone = False
        self.was_closed = False

    def __getattr__(self, name: str) -> Any:
        if self.is_gone:
            raise Killed
        if self._broken and name not in TOUCH_NO_DISK:
            raise CommitUnknown(self._broken)
        return getattr(self._inner, name)

    def open(self) -> None:
        self._inner.open()
        self._disk.opened(self._inner)

    def close(self, *, clean: bool = True) -> None:
        if not self.is_gone:
            if self._queries is not None:
                self._queries.close()
            self._inner.close(clean=clean)
            self.was_closed = True

    def commit(self, batch: Batch) -> Committed:
        disk = self._disk
        faults = disk.faults
        draw = disk.rng.random
        if self.is_gone:
            raise Killed
        if self._broken:
            raise CommitUnknown(self._broken)
        if not disk.in_job:
            disk.loop.advance(commit_us(faults, draw))
            if faults.killed and draw() < faults.killed:
                self._killed_within(batch)
        self._fail()
        if faults.unknown and draw() < faults.unknown:
            self._unknown(batch)
        committed = self._inner.commit(batch)
        disk.witness.committed(batch, committed)
        if not disk.in_job:
            disk.witness.returned()
        return committed

    def _killed_within(self, batch: Batch) -> None:
        """kill -9 inside the commit: all of it is there, or none."""
        disk = self._disk
        if disk.rng.random() < 0.5:
            disk.witness.committed(batch, self._inner.commit(batch))
        elif isinstance(disk, SqliteDisk):
            disk.torn(batch)
        self.is_gone = True
        disk.loop.kill_here(OWNER.get())
        raise Killed

    def _fail(self) -> None:
        faults = self._disk.faults
        draw = self._disk.rng.random
        if faults.full and draw() < faults.full:
            self._disk.loop.note("disk: full")
            raise StoreFull("no room")
        if faults.busy and draw() < faults.busy:
            self._disk.loop.note("disk: busy")
            raise StoreBusy("locked")

    def _unknown(self, batch: Batch) -> None:
        disk = self._disk
        drawn = disk.rng.random()
        self._broken = "the disk failed"
        disk.witness.failing()
        if drawn < 0.3:
            disk.witness.committed(batch, self._inner.commit(batch))
        elif drawn < 0.6:
            disk.later.append(batch)
        disk.loop.note("disk: a commit of unknown outcome")
        raise CommitUnknown(self._broken)

    def operate(self, change: Change) -> Changed:
        self._check()
        self._fail()
        changed: Changed = self._inner.operate(change)
        self._disk.witness.operated(change, changed, self._read)
        return changed

    def _read(self, seq: MessageSeq) -> tuple[MessageState, list[StoredDelivery]] | None:
        """A message and its deliveries as they are now."""
        if self._queries is None:
            self._queries = self._inner.queries()
        message = self._queries.message(seq)
        return None if message is None else (message.state, list(self._queries.deliveries(seq, bodies=True)))

    def channel_version(self, channel: ChannelName, files: Mapping[str, bytes]) -> VersionId:
        self._check()
        version: VersionId = self._inner.channel_version(channel, files)
        self._disk.witness.versioned(version, files)
        return version

    def amend_acks(self, updates: Sequence[AckUpdate]) -> Sequence[AckUpdate]:
        self._check()
        self._fail()
        if (unamended := self._disk.faults.unamended) and self._disk.rng.random() < unamended:
            self._disk.loop.note("disk: no room for an answer")
            raise StoreFull("no room")
        stored: Sequence[AckUpdate] = self._inner.amend_acks(updates)
        self._disk.witness.amended(updates)
        return stored

    def prune(self, order: Prune) -> Pruned:
        self._check()
        self._fail()
        pruned = self._inner.prune(order)
        if pruned.bodies or pruned.messages:
            self._disk.witness.pruned(self._is_forgotten)
        return pruned

    def note_time(self, now_us: int) -> None:
        self._check()
        self._fail()
        self._inner.note_time(now_us)
        self._disk.witness.noted()

    def _is_forgotten(self, seq: int) -> bool:
        if self._queries is None:
            self._queries = self._inner.queries()
        message = self._queries.message(MessageSeq(seq))
        return message is None or message.raw is None

    def _check(self) -> None:
        if self.is_gone:
            raise Killed
        if self._broken:
            raise CommitUnknown(self._broken)


def commit_us(faults: Faults, draw: Callable[[], float]) -> int:
    """How long a commit takes: now and then fifty times as long."""
    return 1 + int(faults.commit_us * (50 if faults.stall and draw() < faults.stall else 1) * (0.5 + draw()))


class Executor:
    """The committer's thread: one job at a time, which does what it does all at once, at some moment of its run."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._loop = disk.loop
        self._queue: list[Job] = []
        self._process: Process = OWNER.get()

    def submit(self, work: Callable[..., Any], *args: Any) -> "Job":
        job = Job(work, args)
        self._queue.append(job)
        if len(self._queue) == 1:
            self._start()
        return job

    def _start(self) -> None:
        disk, loop = self._disk, self._loop
        takes = commit_us(disk.faults, disk.rng.random)
        job = self._queue[0]
        job.started_us = loop.now_us
        at = loop.now_us + int(takes * disk.rng.random())
        loop.at(at, loop.world, self._run, job)
        loop.at(loop.now_us + takes, loop.world, self._end, job)

    def _run(self, job: "Job") -> None:
        if job.has_run or self._process.is_dead:
            return
        job.has_run = True
        disk = self._disk
        disk.in_job = True
        disk.clock.job_started_us = job.started_us  # type: ignore[attr-defined]
        try:
            job.value = job.work(*job.args)
        except Exception as error:
            job.error = error
        finally:
            disk.in_job = False
            disk.clock.job_started_us = 0  # type: ignore[attr-defined]

    def _end(self, job: "Job") -> None:
        if job.is_done or self._process.is_dead:
            return
        self._run(job)
        job.is_done = True
        self._disk.witness.returned()
        self._queue.pop(0)
        for callback in job.callbacks:
            self._process.context.copy().run(callback, job)
        if self._queue:
            self._start()

    def shutdown(self, wait: bool = True) -> None:
        while self._queue:
            self._end(self._queue[0])


class Job:
    """As much of concurrent.futures.Future as the committer uses."""

    __slots__ = ("args", "callbacks", "error", "has_run", "is_done", "started_us", "value", "work")

    def __init__(self, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.work = work
        self.args = args
        self.callbacks: list[Callable[[Job], None]] = []
        self.error: Exception | None = None
        self.value: Any = None
        self.has_run = self.is_done = False
        self.started_us = 0

    def add_done_callback(self, callback: Callable[["Job"], None]) -> None:
        if self.is_done:
            callback(self)
        else:
            self.callbacks.append(callback)

    def exception(self) -> Exception | None:
        return self.error

    def result(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value
