"""What a lane asks before each send: may one leave now, or is the destination itself in trouble?

A connection that fails is the destination's failure, not that of the key whose delivery met it. Without a gate
every key of a dead peer would fail by itself, each with its own wait. So while a destination is down, one send at a
time tries it (a probe), and the others wait for what comes of that.
"""

from typing import Protocol

from engine.config.hours import Timetable
from engine.model.outcome import Outcome
from engine.ports.clock import Clock, from_us


class Gate(Protocol):
    """Asked before a send and told of its end. One lane's, on its loop."""

    @property
    def is_down(self) -> bool:
        """Whether the destination is taken to be out of reach."""
        ...

    @property
    def why(self) -> str:
        """Why nothing may leave now, for people; '' where the last attempt's note says it, or nothing is to be said."""
        ...

    def wait_s(self, now_s: float) -> float | None:
        """0: a send may leave now. Seconds: not before. None: not before a send that is under way has ended."""
        ...

    def leaving(self) -> None:
        """A send leaves now. Each is followed by one `ended` or one `cut_off`."""
        ...

    def ended(self, outcome: Outcome, now_s: float) -> None:
        """What the send came to; of a batch, what its last delivery came to."""
        ...

    def cut_off(self) -> None:
        """The send ended without an outcome: the engine stops."""
        ...

    def retry_now(self) -> None:
        """A person asks to try at once."""
        ...


LOOK_AGAIN_S = 60.0
"""A closed destination is looked at so often, whatever was worked out before: the wall clock may be set meanwhile."""


class Hours(Gate):
    """Lets nothing leave while the destination is closed, and asks `inner` while it is open.

    Wall time, looked at before each send and at least once a minute (reliability.md R13). What is under way when it
    closes ends as it would have.
    """

    def __init__(self, table: Timetable, inner: Gate, clock: Clock) -> None:
        self._table = table
        self._inner = inner
        self._clock = clock
        self._closed_us = (0, 0)
        """Looked at when, and closed at least until when."""

    @property
    def is_down(self) -> bool:
        return self._inner.is_down

    @property
    def why(self) -> str:
        now = from_us(self._clock.now_us())
        if self._table.is_open(now):
            return self._inner.why
        opens = self._table.opens_next(now)
        if opens is None:
            return "closed, and not to open within two weeks"
        return f"closed until {self._table.shown(opens)}"

    def wait_s(self, now_s: float) -> float | None:
        now_us = self._clock.now_us()
        looked_us, until_us = self._closed_us
        if not looked_us <= now_us < until_us:
            now = from_us(now_us)
            opens = self._table.opens_next(now)
            if opens == now:
                return self._inner.wait_s(now_s)
            left_s = LOOK_AGAIN_S if opens is None else min(LOOK_AGAIN_S, (opens - now).total_seconds())
            self._closed_us = (now_us, now_us + int(left_s * 1_000_000))
            return max(0.001, left_s)
        return max(0.001, (until_us - now_us) / 1_000_000)

    def leaving(self) -> None:
        self._inner.leaving()

    def ended(self, outcome: Outcome, now_s: float) -> None:
        self._inner.ended(outcome, now_s)

    def cut_off(self) -> None:
        self._inner.cut_off()

    def retry_now(self) -> None:
        self._inner.retry_now()
