"""Thousands of scanners come and go: nobody is refused, and threads, descriptors and memory are back to the start."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from engine.adapters.stores.queries import MOST_IDLE
from tests.bench.bench_worklist import together
from tests.bench.worklist_sites import Engine, make_worklist_site, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

POOL = min(32, (os.cpu_count() or 1) + 4)
"""Threads that the engine's loop makes for files and the like when it first needs them, and keeps; no association's."""
READERS = 2 * MOST_IDLE
"""Descriptors of the connections to the store that are kept for the next reader: the file and its log."""
GROWTH_MB = 8.0
"""What memory may differ by: arenas of the allocator are not given back one by one."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    site = make_worklist_site(tmp_path_factory.mktemp("worklist") / "site", 1000)
    with serving(site) as made:
        together(made.port, 8, 10, 10)  # what is made at the first use is there from now on
        yield made


def comes_back(value: Callable[[], int], most: int) -> bool:
    """Within a minute, or not."""
    deadline = time.monotonic() + 60
    pause = threading.Event()
    while value() > most:
        if time.monotonic() > deadline:
            return False
        pause.wait(0.05)
    return True


def test_threads_and_descriptors_are_given_back(engine: Engine) -> None:
    threads, descriptors = engine.threads, engine.descriptors
    crowd = together(engine.port, 8, 10, 20)
    assert (len(crowd.asked), crowd.failures) == (160, [])
    assert comes_back(lambda: engine.threads, threads + POOL), f"{threads} -> {engine.threads} threads"
    most = descriptors + READERS
    assert comes_back(lambda: engine.descriptors, most), f"{descriptors} -> {engine.descriptors} descriptors"


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_two_thousand_associations_leave_nothing_behind(engine: Engine) -> None:
    together(engine.port, 16, 100, 10)
    threads, descriptors, resident = engine.threads, engine.descriptors, engine.resident_mb
    crowd = together(engine.port, 8, 10, 250)
    assert (len(crowd.asked), crowd.failures) == (2000, [])
    assert comes_back(lambda: engine.threads, threads + POOL), f"{threads} -> {engine.threads} threads"
    assert comes_back(lambda: engine.descriptors, descriptors + READERS)
    assert engine.resident_mb < resident + GROWTH_MB, f"{resident:.1f} -> {engine.resident_mb:.1f} MB"
