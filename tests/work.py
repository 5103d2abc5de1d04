"""How much work something is, counted and not timed: the same on every machine, however busy it is.

Python's work is counted in calls. What C code does behind one call (a search, a split, a pattern) cannot be counted
so; a test of that takes an input so large that work which grows with its square would not end within pytest's time-out
by orders of magnitude, and asserts the outcome.
"""

import sys
from collections.abc import Callable
from types import FrameType


def calls_of(work: Callable[[], object]) -> int:
    """How many functions, Python's and C's, are called while `work` runs, in this thread."""
    count = 0

    def counted(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
