"""How a run is shared out: from both ends, the longest first; and what is named as such is there."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests import schedule

REPOSITORY = Path(__file__).parents[1]


def test_what_is_named_is_there() -> None:
    """A name that nothing has any more would leave a long test for the end."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py"))
    for name in (*schedule.FIRST, *schedule.LAST, *schedule.ALONE, *schedule.TOGETHER):
        path, _, test = name.partition("::")
        assert (REPOSITORY / path).exists() or f"def {path}" in sources or list(REPOSITORY.glob(f"{path}*.py")), name
        assert f"def {test}" in sources, name


def test_a_test_is_given_out_with_its_file_but_a_long_one_alone() -> None:
    assert schedule.unit("tests/hl7/test_path.py::TestPaths::test_one[a::b]") == "tests/hl7/test_path.py"
    alone = "tests/faults/test_kills.py::test_R1"
    assert schedule.unit(alone) == alone
    pages = {schedule.unit(f"tests/e2e/test_console_{page}.py::test_it") for page in ("queues", "messages")}
    assert len(pages) == 1, "they share an engine"


def test_what_waits_stands_first_what_computes_last_and_the_others_between_in_order() -> None:
    names = [
        "tests/worklist/test_b.py::test_z",
        "tests/testing/test_b.py::test_z",
        "tests/hl7/convert/test_a.py::test_y",
        "tests/testing/test_a.py::test_y",
        "tests/cli/test_c.py::test_x",
        "tests/hl7/test_a.py::test_y",
        "tests/faults/test_kills.py::test_R1",
        "tests/wire/test_d.py::test_R10_nothing_is_lost_in_50_000_deliveries",
    ]
    items = cast(list[pytest.Item], [SimpleNamespace(nodeid=name) for name in names])
    assert [names.index(item.nodeid) for item in schedule.in_order(items)] == [7, 6, 4, 1, 3, 0, 5, 2]


class Worker:
    """What the scheduler sees of one: its name, and what it is told."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.given: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indexes: list[int]) -> None:
        self.given += indexes

    def shutdown(self) -> None:
        self.shutting_down = True


def test_every_third_worker_takes_from_the_end_and_each_test_goes_to_one() -> None:
    tests = [f"tests/testing/test_{number:02}.py::test_it" for number in range(20)]
    workers = [Worker(f"gw{number}") for number in range(4)]
    told = SimpleNamespace(option=SimpleNamespace(loadscopereorder=False), getvalue=lambda _: ["popen"] * len(workers))
    shared = schedule.ByFile(cast(pytest.Config, told))
    for worker in workers:
        shared.add_node(cast(Any, worker))
    for worker in workers:
        shared.add_node_collection(cast(Any, worker), tests)
    shared.schedule()
    assert [worker.given[0] for worker in workers] == [0, 1, 19, 2]
    done = [0] * len(workers)
    while not all(worker.shutting_down and done[at] == len(worker.given) for at, worker in enumerate(workers)):
        for at, worker in enumerate(workers):
            if done[at] < len(worker.given):
                done[at] += 1
                shared.mark_test_complete(cast(Any, worker), worker.given[done[at] - 1])
    assert sorted(index for worker in workers for index in worker.given) == list(range(len(tests)))
    assert workers[2].given == sorted(workers[2].given, reverse=True), "from the end on"
    assert workers[0].given == sorted(workers[0].given)
    assert max(workers[2].given) > max(workers[0].given + workers[1].given + workers[3].given)
