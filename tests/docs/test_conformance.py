"""The table of conformance is whole, and each test that it names is there."""

import ast
import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.testing.torture.judge import MEANINGS
from engine.testing.torture.rows import ROWS
from engine.testing.torture.senders import SENDER_ROWS

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "engine" / "docs" / "hl7-conformance.md"
ITEMS = 76
STATES = {"done", "option", "partly"}


class Item(NamedTuple):
    number: int
    asked: str
    does: str
    state: str
    tests: tuple[str, ...]
    rows: tuple[str, ...]


def read() -> list[Item]:
    items = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not re.match(r"\| \d+ \|", line):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        assert len(cells) == 5, line
        number, asked, does, state, shown = cells
        names = [name.strip() for name in shown.rstrip("| ").split(",")]
        for name in names:
            assert re.fullmatch(r"row [a-z0-9.*-]+|`tests/[\w/]+\.py::test_\w+`", name), f"item {number}: {name}"
        tests = tuple(name.strip("`") for name in names if name.startswith("`"))
        items.append(
            Item(int(number), asked, does, state, tests, tuple(n.removeprefix("row ") for n in names if n[0] == "r"))
        )
    return items


TABLE = read()


@cache
def functions_of(path: str) -> frozenset[str]:
    """The tests of a file, in classes too."""
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_item_is_there_once_and_in_order():
    assert [item.number for item in TABLE] == list(range(1, ITEMS + 1))


@pytest.mark.parametrize("item", TABLE, ids=lambda item: str(item.number))
def test_an_item_says_what_it_is_what_is_done_and_what_shows_it(item: Item):
    assert item.asked and item.does
    assert item.state in STATES
    assert item.tests or item.rows, "something shows it"
    for test in item.tests:
        path, _, name = test.partition("::")
        assert (REPOSITORY / path).is_file(), test
        assert name in functions_of(path), test
    for pattern in item.rows:
        named = [row for row in ROWS if fnmatchcase(row.name, pattern)]
        assert named, f"no row {pattern}"
        assert any(item.number in row.items for row in named), f"no row {pattern} is about item {item.number}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_of_the_torture_table_shows_an_item(row):
    assert set(row.items) <= set(range(1, ITEMS + 1))
    assert any(
        item.number in row.items and any(fnmatchcase(row.name, pattern) for pattern in item.rows) for item in TABLE
    ), "the table names it with one of its items"


def test_the_page_knows_every_verdict():
    text = PAGE.read_text(encoding="utf-8")
    told = {word for cells in re.findall(r"^\| ([a-z, ]+) \|", text, re.M) for word in cells.split(", ")}
    assert set(MEANINGS) <= told
    assert f"in {len(SENDER_ROWS)} ways" in text
