"""How much may leave for a destination in a time: a token bucket on the monotonic clock.

Invariant: over any stretch of t seconds no more than `per_s` * (t + BURST_S) messages and one call's worth leave.
"""

BURST_S = 0.1
"""What was not used is kept for so long: a tenth of a second's worth may leave at once."""


class Rate:
    """At most `per_s` messages a second, all connections of a destination together, each attempt counted.

    A call of a batch sink leaves whole, as soon as one of its messages may, and what leaves after it waits for as
    long as all of them take.
    """

    def __init__(self, per_s: float) -> None:
        if per_s <= 0:
            raise ValueError("a rate is more than nothing")
        self.per_s = per_s
        self._paid_until = float("-inf")
        """The moment up to which what left is paid for by time that passed."""

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next may leave, 0: now."""
        return max(0.0, self._paid_until - now_s)

    def take(self, count: int, now_s: float) -> None:
        """So many leave now."""
        self._paid_until = max(self._paid_until, now_s - BURST_S) + count / self.per_s
