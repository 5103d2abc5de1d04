"""How quick the disk is, learned from commits, and what follows of it: where the next one runs, and how long it waits.

On the loop's own thread while the disk is fast (a hand-over to a thread costs more than a commit then), on a writer
thread when it is slow, so that a slow disk never freezes the loop. And a commit that several senders are on their way
to waits for a share of the time it takes (reliability.md section 0, row 6).
"""

TO_THREAD_S = 0.003
"""Commits that take longer than this on average move to the writer thread, and one of SLOW_ONCE_S does at once."""
SLOW_ONCE_S = 0.025
TO_LOOP_S = 0.002
"""When the quickest of the last `LOOK_BACK` commits on the thread was this quick, the disk is fast again. The
quickest, because the hand-over and the loop's own work lengthen all the others."""
LOOK_BACK = 64

LINGER_SHARE = 0.15
LINGER_MOST_S = 0.001


class Pace:
    """What the last commits took. `in_thread`: where the next one is to run."""

    __slots__ = ("_average_s", "_quickest_s", "_since_look", "in_thread")

    def __init__(self) -> None:
        self.in_thread = False
        self._average_s = TO_LOOP_S / 2
        self._quickest_s = SLOW_ONCE_S
        self._since_look = 0

    @property
    def linger_s(self) -> float:
        """How long a commit waits for senders that are on their way."""
        return min(LINGER_MOST_S, LINGER_SHARE * self._average_s)

    @property
    def average_s(self) -> float:
        """What a commit took of late."""
        return self._average_s

    def learn(self, took_s: float) -> None:
        """Keep the average, and choose where the next commit runs."""
        self._average_s += (took_s - self._average_s) * 0.1
        if not self.in_thread:
            if self._average_s > TO_THREAD_S or took_s > SLOW_ONCE_S:
                self._to_thread(took_s)
            return
        self._quickest_s = min(self._quickest_s, took_s)
        self._since_look += 1
        if self._since_look >= LOOK_BACK:
            if self._quickest_s < TO_LOOP_S:
                self.in_thread = False
                self._average_s = self._quickest_s
            self._quickest_s, self._since_look = SLOW_ONCE_S, 0

    def held(self, took_s: float) -> None:
        """So long the loop's thread did something else for the store: a slow disk may have no commit to show it."""
        if not self.in_thread and took_s > SLOW_ONCE_S:
            self._to_thread(took_s)

    def _to_thread(self, took_s: float) -> None:
        self.in_thread = True
        self._quickest_s, self._since_look = took_s, 0
