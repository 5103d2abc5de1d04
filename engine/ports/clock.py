"""Time and randomness, as arguments."""

import os
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """`now_us` is the wall clock in microseconds since 1970 UTC; `monotonic` never jumps."""

    def now_us(self) -> int: ...

    def monotonic(self) -> float: ...

    def random_bytes(self, count: int) -> bytes: ...


class SystemClock:
    """The machine's own."""

    __slots__ = ()

    def now_us(self) -> int:
        return time.time_ns() // 1000

    monotonic = staticmethod(time.monotonic)
    """Itself, without a call of ours around it: the way of one message asks for it eight times."""

    def random_bytes(self, count: int) -> bytes:
        return os.urandom(count)


def from_us(us: int) -> datetime:
    """Microseconds since 1970 to an aware UTC datetime."""
    return datetime.fromtimestamp(us / 1_000_000, UTC)
