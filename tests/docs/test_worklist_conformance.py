"""The worklist's table of rules is whole, and each test that it names is there."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.wire.worklist_rules import RULES

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "engine" / "docs" / "worklist-conformance.md"
STATES = {"done", "option", "partly"}
SECTIONS = {
    **{f"1.{section}": letters for section, letters in zip(range(1, 10), "dfhbgccgf", strict=True)},
    "2": 27,
    "3": 5,
    "4": 9,
}
"""What each section has: rows by letter up to that one, or by number."""


class Row(NamedTuple):
    id: str
    asked: str
    does: str
    state: str
    tests: tuple[str, ...]


def read() -> list[Row]:
    rows = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not re.match(r"\| \d\.\d", line):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        assert len(cells) == 5, line
        names = [name.strip() for name in cells[4].split(",")]
        for name in names:
            assert re.fullmatch(r"`(tests|engine/testing)/[\w/]+\.py::test_\w+`", name), name
        rows.append(Row(*cells[:4], tuple(name.strip("`") for name in names)))
    return rows


TABLE = read()


@cache
def functions_of(path: str) -> frozenset[str]:
    """The tests of a file, in classes too."""
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def expected() -> list[str]:
    ids: list[str] = []
    for section, last in SECTIONS.items():
        if isinstance(last, int):
            ids += [f"{section}.{number}" for number in range(1, last + 1)]
        else:
            ids += [f"{section}{chr(letter)}" for letter in range(ord("a"), ord(last) + 1)]
    return ids


def test_every_rule_is_there_once_and_in_order():
    assert [row.id for row in TABLE] == expected()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id)
def test_a_rule_says_what_it_is_what_is_done_and_what_shows_it(row: Row):
    assert row.asked and row.does
    assert row.state in STATES
    for test in row.tests:
        path, _, name = test.partition("::")
        assert (REPOSITORY / path).is_file(), test
        assert name in functions_of(path), test


def test_what_is_asked_on_the_wire_is_in_the_table():
    """Each numbered query of the wire tests belongs to a rule, and that rule names the test that asks it."""
    for number in {rule.number for rule in RULES}:
        (row,) = [row for row in TABLE if row.id == f"2.{number}"]
        assert "tests/wire/test_worklist_dcmtk.py::test_what_a_query_finds" in row.tests
