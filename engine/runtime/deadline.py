"""How long one message may be with a worker: by processor time first, so that a busy machine holds nobody's message.

A process that loops uses processor time, and is ended when its message has used its share (reliability.md E2). One
that waits or was stopped uses none, and is ended by the clock. A step with a deadline of its own has that, and the
message has so much more. What the child says of the step at hand stands in a file in memory that both have open.
"""

import os
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

_PLACE = struct.Struct("=qd")
SOONEST_S = 0.005


@dataclass(slots=True, frozen=True)
class OwnStep:
    """A python step of the channel: how people call it, and its own deadline."""

    shown: str
    deadline_s: float | None = None


@dataclass(slots=True, frozen=True)
class Spent:
    """What one message has taken so far. `step` counts python steps from 1, 0 while none is at hand."""

    cpu_s: float
    wall_s: float
    step: int = 0
    step_cpu_s: float = 0.0


class Deadline:
    """The bounds of one channel's messages."""

    def __init__(self, cpu_s: float, wall_s: float, steps: Sequence[OwnStep] = ()) -> None:
        more_s = sum(step.deadline_s for step in steps if step.deadline_s is not None)
        self._steps = steps
        self._common_s = cpu_s
        self._cpu_s = cpu_s + more_s
        self._wall_s = wall_s + more_s
        self.first_look_s = min(cpu_s, wall_s, *(step.deadline_s for step in steps if step.deadline_s is not None))

    @property
    def most_cpu_s(self) -> float:
        """What no message may go beyond, whatever its steps."""
        return self._cpu_s

    def exceeded(self, spent: Spent) -> str:
        """What was too much, as the end of a sentence; '' while nothing is."""
        step = self._step(spent)
        who = step.shown if step is not None else "the channel's own code"
        if step is not None and step.deadline_s is not None and spent.step_cpu_s >= step.deadline_s:
            return f"{who} took more than {step.deadline_s:g} s of processor time"
        if spent.cpu_s >= self._cpu_s:
            return f"{who} took more than {self._cpu_s:g} s of processor time"
        if spent.wall_s >= self._wall_s:
            return f"{who} took longer than {self._wall_s:g} s"
        return ""

    def look_again_s(self, spent: Spent) -> float:
        """The soonest that anything can be exceeded, for one thread on one processor."""
        step = self._step(spent)
        left = [self._cpu_s - spent.cpu_s, self._wall_s - spent.wall_s]
        if step is not None and step.deadline_s is not None:
            left.append(step.deadline_s - spent.step_cpu_s)
        else:
            left.append(self.first_look_s)  # a step with a deadline of its own may begin meanwhile
        return max(SOONEST_S, min(left))

    def _step(self, spent: Spent) -> OwnStep | None:
        return self._steps[spent.step - 1] if 0 < spent.step <= len(self._steps) else None


class Whereabouts:
    """The file in memory where the child writes which step it is at; the engine reads it when it has reason to."""

    def __init__(self) -> None:
        self.fd = _memory_file()
        os.pwrite(self.fd, _PLACE.pack(0, 0.0), 0)

    def read(self) -> tuple[int, float]:
        """The step, and the processor time of the process when it began."""
        written = os.pread(self.fd, _PLACE.size, 0)
        if len(written) < _PLACE.size:  # own code may have found the file, too
            return 0, 0.0
        step, began_s = _PLACE.unpack(written)
        return int(step), float(began_s)

    def close(self) -> None:
        os.close(self.fd)


def write_whereabouts(fd: int, step: int) -> None:
    """The child's side: `step` begins now; 0, it has ended."""
    os.pwrite(fd, _PLACE.pack(step, time.process_time()), 0)


def cpu_of(pid: int) -> float | None:
    """Processor time that a process of ours has used, in seconds; None where this system does not say, or it is gone.

    Linux: the clock of another process (clock_getcpuclockid(3), kernel/time/posix-cpu-timers.c).
    """
    if sys.platform != "linux":
        return None
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return None


def _memory_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("segmill-worker")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
