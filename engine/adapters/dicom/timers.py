"""pynetdicom's timers of an association, by a clock that nobody sets.

Its own go by the wall clock: one that is set forward by more than their time ends every association that is open, with
an A-ABORT, and one that is set back keeps a silent one (reliability.md R13).
"""

import time
from typing import Any

from pynetdicom.timer import Timer


class SteadyTimer(Timer):
    """As pynetdicom's, by the monotonic clock."""

    @property
    def remaining(self) -> float:
        if self.timeout is None:
            return 1
        if self._start_time is None:
            return self.timeout
        end = time.monotonic() if self._end_time is None else self._end_time
        return self.timeout - (end - self._start_time)

    def start(self) -> None:
        self._start_time, self._end_time = time.monotonic(), None

    def stop(self) -> None:
        self._end_time = time.monotonic()


def steady_timers(association: Any) -> None:
    """Before it begins: how long it waits, and is silent, goes by the monotonic clock."""
    for timer in (association.dul.artim_timer, association.dul._idle_timer):
        timer.__class__ = SteadyTimer


def was_busy(association: Any) -> None:
    """What it was asked has taken its time, and is done: from now on it is silent, if it is."""
    association.dul._idle_timer.restart()
