"""What is counted in the store beside what waits, for the metrics: worklists, and since when an encrypted store has its
keys. Off the loop, in the turn in which queues are counted.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from engine.adapters.metrics import PrometheusMeter
from engine.ports.store import LaneDepth, StoreQueries
from engine.scanners import WorklistCounts

KEYS_EVERY_S: Final = 60.0
"""The engine takes a new data key by itself, after 2^30 values."""


def counted(
    queries: StoreQueries, meter: PrometheusMeter, monotonic: Callable[[], float] = time.monotonic
) -> Callable[[], Sequence[LaneDepth]]:
    """How much waits in each lane, and beside it the rest, to `meter`. What it gives raises StoreError."""
    depths = WorklistCounts(queries, meter.dicom).with_depths
    again_at_s = float("-inf")

    def count() -> Sequence[LaneDepth]:
        nonlocal again_at_s
        if monotonic() >= again_at_s:
            keys = queries.keys_in_use()
            meter.store_keys = {"site": keys.site_us / 1e6, "data": keys.data_us / 1e6} if keys is not None else {}
            again_at_s = monotonic() + KEYS_EVERY_S
        return depths()

    return count
