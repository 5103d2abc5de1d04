"""Lines for spreadsheets: whatever stands in a cell is text."""

import csv
import io

import pytest

from engine.adapters.console.csv_lines import csv_line, inert


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\uff1d1",
        '=HYPERLINK("//evil")',
        "'=1",
        'a,b;c|d"e',
    ],
)
def test_no_cell_is_a_formula(cell: str):
    (row,) = csv.reader(io.StringIO(csv_line([cell, "x"]).decode()))
    assert row[1] == "x"
    assert not row[0].lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))
    if not cell.startswith(("'", "a")):
        assert row[0].startswith("'"), "it is there as text, with an apostrophe before it"


def test_what_is_no_formula_stays_as_it_is():
    assert [inert(cell) for cell in ("A1-B", "HIS|MAIN", "1 delivered", "")] == ["A1-B", "HIS|MAIN", "1 delivered", ""]


def test_control_characters_do_not_break_a_line():
    line = csv_line(["a\x00b\x1b[31m\u202ec", "x"])
    assert line == b'"a\\x00b\\x1b[31m\\u202ec","x"\r\n'


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_cell_that_would_be_a_formula_is_text(cell: str):
    shown = cell.replace("\t", "\\x09").replace("\r", "CR")
    assert inert(cell) == f"'{shown}" and inert(f"a{cell}") == f"a{shown}" and inert("") == ""


def test_a_cell_is_never_cut():
    (row,) = csv.reader(io.StringIO(csv_line(["=" + "seq 1, " * 5000]).decode()))
    assert row == ["'=" + "seq 1, " * 5000]
