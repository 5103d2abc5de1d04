"""Runs a site as `segmill run` does, changed: `python -m tests.faults.changed_engine SITE [WORD...]`.

Some words make time short (`soon-forgetting`), others break a promise on purpose, for the rigs to find. `counted` says
how many rows were read before the ports were open. Nothing of this is in the engine: it is wrapped from outside.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import app
from engine.adapters import admin, mllp_connection
from engine.adapters.sinks import mllp
from engine.adapters.stores.reading import Reading
from engine.mllp.exchange import Broken
from engine.model.outcome import Delivered
from engine.ports import clock, judged_clock
from engine.runtime import connection, listener, queue_window, retention, room


def soon_forgetting() -> None:
    """Retention looks every 50 ms and not after half a minute."""
    retention.FIRST_PASS_S = 0.05
    retention.PASS_EVERY_S = 0.05


def trusts_any_clock() -> None:
    """Mutant: whatever the clock says, what is old by it is forgotten."""
    judged_clock.JudgedClock.look = lambda self: self._clock.now_us()  # type: ignore[method-assign]
    judged_clock.JudgedClock.agrees = lambda self, read_us=0: True  # type: ignore[method-assign]


def waits_by_the_wall_clock() -> None:
    """Mutant: there is but one clock."""
    clock.SystemClock.monotonic = lambda self: time.time()  # type: ignore[method-assign]


def done_when_sent() -> None:
    """Mutant: what was sent is delivered, whatever its receiver says or does not say."""
    outcome_of = mllp.MllpSink._outcome

    def hasty(self: Any, end: Any, connection: Any) -> Any:
        return Delivered() if isinstance(end, Broken) else outcome_of(self, end, connection)

    mllp.MllpSink._outcome = hasty  # type: ignore[method-assign]


def reads_all() -> None:
    """Mutant: a lane takes everything that waits into memory (Mirth #3089)."""
    for bound in ("MOST_IN_MEMORY", "MOST_BYTES_IN_MEMORY", "LOAD_LIMIT", "LOAD_BYTES"):
        setattr(queue_window, bound, 10**12)
    is_full = queue_window.FifoWindow._is_full
    queue_window.FifoWindow._is_full = lambda self: False if self._behind else is_full(self)  # type: ignore[method-assign]


def roomless() -> None:
    """Mutant: nobody asks what all ports together hold."""
    room.Room.look = lambda self: None  # type: ignore[method-assign]


def patient_admin() -> None:
    """Mutant: the admin port takes as many clients as come, and waits for what they have to say."""
    admin.MAX_CONNECTIONS = 10**6  # type: ignore[misc]
    admin.HEAD_TIMEOUT_S = 10.0**6  # type: ignore[misc]


def deaf() -> None:
    """Mutant: TCP is asked nothing, as a stock socket."""

    def nothing(*_: object) -> None:
        return None

    connection.keep_alive = mllp_connection.keep_alive = nothing
    mllp_connection.bound_unheard = nothing
    connection.outstanding = lambda plain: (False, 0.0)


def no_reserve() -> None:
    """Mutant: every descriptor may go to connections."""

    def reserve(self: Any, occupant: Any) -> bool:
        self._coming.add(occupant)
        return True

    room.Room.reserve = reserve  # type: ignore[method-assign]


def counted() -> None:
    """Say, when the last port is open, how many rows of queues and how many known ids were read till then."""
    seen = {"queued": 0, "recent": 0}
    queued, recent, start = Reading.queued, Reading.recent_ids, listener.Listener.start

    def counting_queued(self: Any, *args: Any) -> Any:
        found = queued(self, *args)
        seen["queued"] += len(found[0])
        return found

    def counting_recent(self: Any, *args: Any) -> Any:
        found = recent(self, *args)
        seen["recent"] += len(found[0])
        return found

    async def telling(self: Any, *args: Any, **options: Any) -> Any:
        address = await start(self, *args, **options)
        print(f"read before listening: {seen['queued']} queued, {seen['recent']} known", file=sys.stderr, flush=True)
        return address

    Reading.queued = counting_queued  # type: ignore[method-assign]
    Reading.recent_ids = counting_recent  # type: ignore[method-assign]
    listener.Listener.start = telling  # type: ignore[method-assign]


CHANGES: dict[str, Callable[[], None]] = {
    "soon-forgetting": soon_forgetting,
    "trusts-any-clock": trusts_any_clock,
    "waits-by-the-wall-clock": waits_by_the_wall_clock,
    "done-when-sent": done_when_sent,
    "reads-all": reads_all,
    "roomless": roomless,
    "patient-admin": patient_admin,
    "deaf": deaf,
    "no-reserve": no_reserve,
    "counted": counted,
}


def main() -> None:
    site, *words = sys.argv[1:]
    for word in words:
        CHANGES[word]()
    raise SystemExit(asyncio.run(app.run_site(Path(site))))


if __name__ == "__main__":
    main()
