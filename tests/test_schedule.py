"""How a run is shared out: the longest first, and what is named as such is there."""

from pathlib import Path
from types import SimpleNamespace

from tests import schedule

REPOSITORY = Path(__file__).parents[1]


def test_what_goes_first_is_there() -> None:
    """A name that nothing has any more would leave a long test for the end."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py"))
    for name in (*schedule.FIRST, *schedule.ALONE, *schedule.TOGETHER):
        path, _, test = name.partition("::")
        assert (REPOSITORY / path).exists() or f"def {path}" in sources or list(REPOSITORY.glob(f"{path}*.py")), name
        assert f"def {test}" in sources, name


def test_a_test_is_given_out_with_its_file_but_a_long_one_alone() -> None:
    assert schedule.unit("tests/hl7/test_path.py::TestPaths::test_one[a::b]") == "tests/hl7/test_path.py"
    alone = "tests/faults/test_kills.py::test_R1"
    assert schedule.unit(alone) == alone
    pages = {schedule.unit(f"tests/e2e/test_console_{page}.py::test_it") for page in ("queues", "messages")}
    assert len(pages) == 1, "they share an engine"


def test_the_longest_go_first_and_the_others_stay_in_order() -> None:
    names = [
        "tests/hl7/test_b.py::test_z",
        "tests/hl7/test_a.py::test_y",
        "tests/cli/test_c.py::test_x",
        "tests/faults/test_kills.py::test_R1",
        "tests/wire/test_d.py::test_R10_nothing_is_lost_in_50_000_deliveries",
    ]
    items = [SimpleNamespace(nodeid=name) for name in names]
    assert [item.nodeid for item in schedule.longest_first(items)] == [
        names[4],
        names[3],
        names[2],
        names[0],
        names[1],
    ]
