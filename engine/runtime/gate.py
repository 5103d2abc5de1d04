"""What a lane asks before each send: may one leave now, or is the destination itself in trouble?

A connection that fails is the destination's failure, not that of the key whose delivery met it. Without a gate
every key of a dead peer would fail by itself, each with its own wait. So while a destination is down, one send at a
time tries it (a probe), and the others wait for what comes of that.
"""

from collections.abc import Callable
from typing import Protocol

from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable


class Gate(Protocol):
    """Asked before a send and told of its end. One lane's, on its loop."""

    @property
    def is_down(self) -> bool:
        """Whether the destination is taken to be out of reach."""
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


class OneProbe:
    """Closes when the peer cannot be reached, and then lets one send at a time through.

    After a connection that could not be made (Unreachable) the next try waits, longer each time (`backoff_s` of
    the number of failures in a row). A message that was sent and not answered (Unanswered) may be at fault itself:
    so the next try, with another key, is at once, and only when that fails as well does the destination count as
    down. Any answer of the receiver opens the gate.
    """

    def __init__(self, backoff_s: Callable[[int], float]) -> None:
        self._backoff_s = backoff_s
        self._failures = 0
        self._not_before = 0.0
        self._under_way = 0

    @property
    def is_down(self) -> bool:
        return self._not_before > 0

    def wait_s(self, now_s: float) -> float | None:
        if not self._failures:
            return 0
        if self._under_way:
            return None
        return max(0.0, self._not_before - now_s)

    def leaving(self) -> None:
        self._under_way += 1

    def ended(self, outcome: Outcome, now_s: float) -> None:
        self._under_way -= 1
        match outcome:
            case Delivered() | Refused():
                self._failures = 0
                self._not_before = 0.0
            case Unreachable():
                self._fail(now_s, self._failures + 1)
            case Unanswered():
                self._fail(now_s, self._failures)
            case Unsendable():
                pass  # it never left

    def _fail(self, now_s: float, failures: int) -> None:
        self._failures += 1
        if failures:
            self._not_before = max(self._not_before, now_s + self._backoff_s(failures))

    def cut_off(self) -> None:
        self._under_way -= 1

    def retry_now(self) -> None:
        if self._not_before:
            self._not_before = 1e-9  # in the past, and still down
