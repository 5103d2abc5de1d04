"""The page of security goals names tests that are there, and each goal of the requirements."""

import ast
import re
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "engine" / "docs" / "security-goals.md"
GOALS = {f"SEC{number}" for number in range(1, 13)}


def rows() -> list[tuple[str, ...]]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines if line.startswith("| ")]
    return [row for row in found if row[0] != "goal"]


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_row_is_whole_and_names_tests_that_are_there() -> None:
    for row in rows():
        assert len(row) == 3, row
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[2])
        assert named and re.sub(r"`[^`]*`", "", row[2]).strip() == "", row[0]
        for path, name in named:
            assert name in functions_of(path), f"{row[0]}: {path} has no {name}"


def test_every_goal_has_a_row() -> None:
    assert {row[0] for row in rows()} == GOALS


def test_every_test_of_a_goal_is_in_a_row() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for path in sorted((REPOSITORY / "tests" / "security").glob("test_*.py")):
        assert f"tests/security/{path.name}::" in page, path.name
