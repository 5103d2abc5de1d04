"""The table of faults names tests that are there, and every fault of the matrix that has a rig."""

import ast
import re
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "engine" / "docs" / "fault-tests.md"
STORAGE_AND_DEATH = {
    *(f"P{number}" for number in range(1, 7)),
    *(f"D{number}" for number in range(1, 11)),
    "R1", "R1m", "R2", "R3", "R4", "R18", "R20", "R21",
}  # fmt: skip
"""Of the section on storage."""
OTHERS = {f"R{number}" for number in (5, 6, 7, 8, 10, 11, 12, 13, 14, 19)}
"""Goals of the other sections, but for R9, which is the fuzzing."""


def rows() -> list[tuple[str, ...]]:
    """The cells of every row of every table."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines if line.startswith("| ")]
    return [row for row in found if row[0] != "row"]


def named(row: tuple[str, ...]) -> list[tuple[str, str]]:
    """The tests of a row, as (file, function)."""
    return [(path, name) for path, name in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[2])]


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_row_is_whole_and_names_tests_that_are_there() -> None:
    for row in rows():
        assert len(row) == 5, row
        assert all(re.fullmatch(r"[A-Z]\d+m?", name) for name in row[0].split()), row[0]
        assert named(row), f"{row[0]} names no test"
        assert re.sub(r"`[^`]*`", "", row[2]).strip() == "", f"{row[0]}: more than names of tests"
        for path, name in named(row):
            assert name in functions_of(path), f"{row[0]}: {path} has no {name}"


def test_every_fault_of_storage_and_process_death_has_a_row() -> None:
    assert {name for row in rows() for name in row[0].split()} >= STORAGE_AND_DEATH


def test_every_other_goal_that_has_a_rig_has_a_row() -> None:
    assert {name for row in rows() for name in row[0].split()} >= OTHERS


def test_every_test_that_is_named_for_a_goal_has_a_row() -> None:
    shown = {test for row in rows() for test in named(row)}
    for path in sorted((REPOSITORY / "tests" / "faults").glob("test_*.py")):
        where = f"tests/faults/{path.name}"
        for name in functions_of(where):
            if re.match(r"test_[RPD]\d+m?_", name):
                assert (where, name) in shown, f"{where}::{name} is in no row of {PAGE.name}"
