"""A destination's circuit: while it is down, one send at a time tries it, and the others wait for what comes of that.

States and moves::

    closed     --cannot be reached-->                     open
    closed     --sent and not answered, `patience` times in a row, and no answer between--> open
    open       --its time has come, or a person's word--> half-open: one send leaves, the probe
    half-open  --any answer of the receiver-->            closed
    half-open  --no answer-->                             open, for longer (backoff_s of the failures in a row)
    half-open  --the probe never left, or was cut off-->  open, and the next may try at once

One circuit for all connections of a destination: a dead peer is its failure, not that of the key whose message met
it, and not to be found out by each of them (reliability.md S1, S2, S10). A message that was sent and not answered may
be at fault itself; so where several go at a time, one of them alone does not make the destination down, but while
that is in doubt one goes at a time. A refusal is an answer: the receiver is there.
"""

from collections.abc import Callable
from typing import Literal

from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable
from engine.runtime.gate import Gate

State = Literal["closed", "open", "half-open"]


class Circuit(Gate):
    """The gate of one destination. `backoff_s`: how long to wait after so many failures in a row, from 1."""

    def __init__(self, backoff_s: Callable[[int], float], patience: int = 1) -> None:
        self._backoff_s = backoff_s
        self._patience = patience
        self._not_before_s = 0.0
        self._under_way = 0
        self._unanswered = 0
        self._since_s: float | None = None
        self.failures = 0
        """Attempts in a row that no receiver answered, while it is down."""

    @property
    def state(self) -> State:
        """Where it stands."""
        if self._since_s is None:
            return "closed"
        return "half-open" if self._under_way else "open"

    @property
    def is_down(self) -> bool:
        return self._since_s is not None

    @property
    def why(self) -> str:
        return ""

    def down_s(self, now_s: float) -> float:
        """For how long it has been down; 0 while it is not."""
        return 0.0 if self._since_s is None else max(0.0, now_s - self._since_s)

    def wait_s(self, now_s: float) -> float | None:
        if self._since_s is None and not self._unanswered:
            return 0
        if self._under_way:
            return None
        return max(0.0, self._not_before_s - now_s)

    def leaving(self) -> None:
        self._under_way += 1

    def ended(self, outcome: Outcome, now_s: float) -> None:
        self._under_way -= 1
        match outcome:
            case Delivered() | Refused():
                self.failures = self._unanswered = 0
                self._since_s = None
                self._not_before_s = 0.0
            case Unreachable():
                self._fail(now_s)
            case Unanswered():
                self._unanswered += 1
                if self.is_down or self._unanswered >= self._patience:
                    self._fail(now_s)
            case Unsendable():
                pass  # it never left, and says nothing of the receiver

    def _fail(self, now_s: float) -> None:
        if self._since_s is None:
            self._since_s = now_s
        self.failures += 1
        # Several may have been under way when it went down: the longest wait counts.
        self._not_before_s = max(self._not_before_s, now_s + self._backoff_s(self.failures))

    def cut_off(self) -> None:
        self._under_way -= 1

    def retry_now(self) -> None:
        self._not_before_s = 0.0
