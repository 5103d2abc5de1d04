"""Power cuts, replayed from a disk's log (reliability.md D1, R2, appendix A).

A disk keeps what was flushed; of what was written since, it keeps anything: nothing, all, some writes and not others,
and of one write some sectors and not others. `States` makes disks of a log, cut at a moment; each is mounted, so that
the file system recovers first, and then looked at.
"""

import os
import random
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.faults.disks import repair_ext4, run, unmount

SECTOR = 512
CHUNK = 64 * 1024
Kept = Literal["none", "all", "some", "torn"]
KEPT: tuple[Kept, ...] = ("none", "all", "some", "torn")


@dataclass(slots=True, frozen=True)
class Operation:
    """One record: `end` is the log's length with it. `at` is where a write's bytes stand in the log."""

    kind: str
    offset: int
    length: int
    at: int
    end: int


def read_log(log: bytes | memoryview) -> list[Operation]:
    """All records that are whole."""
    found: list[Operation] = []
    here = 0
    while here < len(log):
        kind = chr(log[here])
        if kind == "F":
            here += 1
            found.append(Operation("F", 0, 0, here, here))
            continue
        if here + 13 > len(log):
            break
        offset, length = struct.unpack_from("<QI", log, here + 1)
        at = here + 13
        here = at + length if kind == "W" else at
        if here > len(log):
            break
        found.append(Operation(kind, offset, length, at, here))
    return found


@dataclass(slots=True, frozen=True)
class Cut:
    """A power cut: the log's length at that moment, and what was kept of the unflushed writes."""

    position: int
    kept: Kept
    seed: int


class States:
    """The disks that a log can leave behind. `start`: the first position at which power may be cut."""

    def __init__(self, log: Path, size: int, work: Path) -> None:
        self._log = memoryview(log.read_bytes())
        self._operations = read_log(self._log)
        self._size = size
        self._image = work / f"{log.parent.name}-{os.getpid()}.img"
        self._folder = work / f"{log.parent.name}-{os.getpid()}.cut"
        self._disk = bytearray(size)
        self._written: set[int] = set()
        self._applied = 0
        self.repaired = 0

    def cuts(self, count: int, seed: int, start: int = 0) -> list[Cut]:
        """`count` random cuts from `start` on, in the order of time, each way of keeping as often as the others."""
        chance = random.Random(seed)
        ends = [operation.end for operation in self._operations if operation.end >= start]
        made = [Cut(chance.choice(ends), KEPT[n % len(KEPT)], chance.getrandbits(32)) for n in range(count)]
        return sorted(made, key=lambda cut: cut.position)

    def each(self, cuts: list[Cut], look: Callable[[Cut, Path], None]) -> None:
        """Make, mount and look at each; `cuts` in the order of time."""
        self._folder.mkdir(exist_ok=True)
        try:
            for cut in cuts:
                with self._mounted(cut):
                    look(cut, self._folder)
        finally:
            self._folder.rmdir()
            self._image.unlink(missing_ok=True)

    @contextmanager
    def _mounted(self, cut: Cut) -> Iterator[None]:
        self._make(cut)
        try:
            run("mount", "-o", "loop,noatime", self._image, self._folder)
        except OSError:
            # A cut can go through the superblock, which is two sectors: the kernel then refuses the disk, and a machine
            # that starts up repairs it first.
            self.repaired += 1
            repair_ext4(self._image)
            run("mount", "-o", "loop,noatime", self._image, self._folder)
        try:
            yield
        finally:
            unmount(self._folder)

    def _make(self, cut: Cut) -> None:
        """The image: all that was flushed, and of the rest what the cut keeps."""
        until = next((n for n, done in enumerate(self._operations) if done.end > cut.position), len(self._operations))
        flushed = next((n + 1 for n in range(until - 1, -1, -1) if self._operations[n].kind == "F"), 0)
        for operation in self._operations[self._applied : flushed]:
            self._apply_to_disk(operation)
        self._applied = max(self._applied, flushed)
        self._image.unlink(missing_ok=True)
        file = os.open(self._image, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.ftruncate(file, self._size)
            for chunk in sorted(self._written):
                os.pwrite(file, memoryview(self._disk)[chunk * CHUNK : (chunk + 1) * CHUNK], chunk * CHUNK)
            chance = random.Random(cut.seed)
            for operation in self._operations[flushed:until]:
                for offset, content in self._kept(operation, cut.kept, chance):
                    os.pwrite(file, content, offset)
        finally:
            os.close(file)

    def _apply_to_disk(self, operation: Operation) -> None:
        if operation.kind == "F":
            return
        end = operation.offset + operation.length
        self._disk[operation.offset : end] = self._content(operation)
        self._written.update(range(operation.offset // CHUNK, (end + CHUNK - 1) // CHUNK))

    def _content(self, operation: Operation) -> bytes | memoryview:
        if operation.kind == "W":
            return self._log[operation.at : operation.at + operation.length]
        return bytes(operation.length)

    def _kept(
        self, operation: Operation, kept: Kept, chance: random.Random
    ) -> Iterator[tuple[int, bytes | memoryview]]:
        """What of an unflushed write reached the disk."""
        if operation.kind == "F" or kept == "none":
            return
        content = self._content(operation)
        if kept == "all" or (kept == "some" and chance.random() < 0.5):
            yield operation.offset, content
        elif kept == "torn" and chance.random() < 0.7:
            # Half of them whole, half of them some of their sectors.
            if chance.random() < 0.5:
                yield operation.offset, content
                return
            for at in range(0, operation.length, SECTOR):
                if chance.random() < 0.5:
                    yield operation.offset + at, content[at : at + SECTOR]
