"""How a run of all tests is shared out among its workers (`make test`, `make soak`: `--dist loadscope`).

A file goes to a worker as a whole, so that what its tests share is made once. Where one test is long, each is given out
by itself.

The list has two ends. At its beginning are tests that wait much of their time, for engines, disks and browsers; at its
end those that only compute. Most workers take from the beginning, every third from the end, so that what the waiting
leaves of the machine is used all the time. At both ends the longest come first, and where the workers meet the files
are short: at last no worker is alone with a long one.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

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
    "tests/e2e/",
    "tests/phi/",
    "tests/runtime/test_worker.py",
    "tests/contracts/test_sinks.py",
    "tests/wire/test_torture.py",
    "tests/wire/test_yaml_language_server.py",
    "tests/cli/test_stored.py",
    "tests/cli/test_backup.py",
    "tests/runtime/test_operations.py",
    "tests/cli/test_queue.py",
    "tests/runtime/test_changed_order.py",
    "tests/adapters/api/test_openapi.py",
    "tests/adapters/api/test_sign_in_oidc.py",
    "tests/adapters/console/test_message.py",
    "tests/adapters/stores/test_resealing.py",
    "tests/adapters/console/test_queue_and_held_pages.py",
    "tests/runtime/test_intake.py",
    "tests/adapters/console/test_code_tables.py",
    "tests/adapters/stores/test_statements.py",
    "tests/runtime/test_answers.py",
    "tests/runtime/test_worklists.py",
    "tests/wire/",
    "tests/security/",
    "tests/contracts/",
    "tests/cli/",
    "tests/runtime/",
    "tests/adapters/",
)
"""Beginnings of ids, or names of tests; those named first go first."""

LAST = (
    "tests/simulation/",
    "tests/hl7/convert/",
    "tests/hl7/validate/",
    "tests/config/expression/",
    "tests/hl7/",
    "tests/config/",
    "tests/pipeline/",
    "tests/docs/",
    "tests/mllp/",
    "tests/worklist/",
    "tests/model/",
    "tests/test_layout.py",
)
"""What computes; those named first stand last, where every third worker begins."""

FROM_THE_END = 3
"""Every third worker."""


def rank(nodeid: str) -> int:
    """Where a test stands in the list: one of `FIRST`, between these and `LAST`, or one of those."""
    for number, name in enumerate(FIRST):
        if nodeid.startswith(name) or f"::{name}" in nodeid:
            return number
    for number, name in enumerate(LAST):
        if nodeid.startswith(name):
            return len(FIRST) + len(LAST) - number
    return len(FIRST)


def takes_from_the_end(worker: str) -> bool:
    """Whether the worker of this name does: gw2, gw5 and so on; one that takes the place of another has a new name."""
    return int(worker.removeprefix("gw")) % FROM_THE_END == FROM_THE_END - 1


TOGETHER = ("tests/e2e/test_console_",)
"""What goes to one worker as a whole: these share an engine with 10,000 messages."""


def unit(nodeid: str) -> str:
    """What is given out together with it."""
    for beginning in TOGETHER:
        if nodeid.startswith(beginning):
            return beginning
    return nodeid if nodeid.startswith(ALONE) else nodeid.partition("::")[0]


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The tests as the list has them; of two that are alike, the one that was first stays so."""
    return sorted(items, key=lambda item: rank(item.nodeid))


class ByFile(LoadScopeScheduling):
    """Gives out units in the order of their first tests, from both ends."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)

    def _assign_work_unit(self, node: "WorkerController") -> None:
        """What is taken stands at the beginning of the queue, where the rest of the scheduler takes it."""
        if takes_from_the_end(node.gateway.id):
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)
