"""How a run of all tests is shared out among its workers (`make test`, `make soak`: `--dist loadscope`).

A file goes to a worker as a whole, so that what its tests share is made once. Where one test is long, each is given out
by itself. The longest go first, so that at the end no worker is alone with a long one. What is not named here is short.
"""

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

ALONE = (
    "tests/faults/",
    "tests/simulation/",
    "tests/e2e/",
    "tests/cli/test_examples.py",
    "tests/docs/test_examples.py",
)
"""Where each test goes by itself."""

FIRST = (
    # Of `make soak`: half an hour to a few minutes.
    "test_R10_nothing_is_lost_in_50_000",
    "test_R1_nothing_acknowledged_is_lost_in_2000_kills",
    "test_R2_no_power_cut_of_5000",
    "test_R3_a_fault_at_every_system_call",
    "test_workers_that_are_killed_and_stopped_for_longer",
    "test_R19_a_queue_of_600_000",
    "test_R1_no_large_message_is_lost_or_changed_in_150_kills",
    "test_R6_sigterm_under_load_200_times",
    "test_every_kind_of_poison_three_times",
    "test_two_hundred_orders_a_second",
    "test_R14_200_reloads",
    "test_R21_crashes_all_along",
    "test_R18_no_turned_bit_of_1000",
    "test_batches_and_fragments_in_100_kills",
    "test_every_address_keeps_to_the_document_long",
    # Of `make test`: half a minute, or files that are one together.
    "tests/e2e/test_console_",
    "tests/faults/",
    "tests/docs/test_examples.py::test_a_page_works_as_typed",
    "tests/simulation/",
    "tests/e2e/",
    "tests/runtime/test_worker.py",
    "tests/cli/test_stored.py",
    "tests/cli/test_queue.py",
    "tests/cli/test_backup.py",
    "tests/wire/",
    "tests/contracts/",
    "tests/hl7/convert/",
    "tests/cli/",
    "tests/runtime/",
    "tests/adapters/",
)
"""Beginnings of ids, or names of tests; those named first go first."""


def rank(nodeid: str) -> int:
    """Where a test stands in the queue: one of `FIRST`, or behind all of these."""
    for number, name in enumerate(FIRST):
        if nodeid.startswith(name) or f"::{name}" in nodeid:
            return number
    return len(FIRST)


TOGETHER = ("tests/e2e/test_console_",)
"""What goes to one worker as a whole: these share an engine with 10,000 messages."""


def unit(nodeid: str) -> str:
    """What is given out together with it."""
    for beginning in TOGETHER:
        if nodeid.startswith(beginning):
            return beginning
    return nodeid if nodeid.startswith(ALONE) else nodeid.partition("::")[0]


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The tests in the order in which they are given out; of two that are alike, the one that was first stays so."""
    return sorted(items, key=lambda item: rank(item.nodeid))


class ByFile(LoadScopeScheduling):
    """Gives out units in the order of their first tests."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)
