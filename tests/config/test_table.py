"""Code tables: what can be looked up, and what an author is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.codes import CODES
from engine.config.table import Table

WARDS = """\
# wards of the west wing
from,to,remark

W1,1100,surgery
"W,2","a ""new"" one",
w1,1101,  the old name
"""


def load(text):
    return Table.load(text, "tables/wards.csv")


def codes(text):
    return [(line, column, code) for line, column, code, _ in load(text)[1]]


def test_a_row_is_found_by_its_key_with_its_line_in_the_file():
    table, findings = load(WARDS)
    assert findings == []
    assert (table.size, table.columns, table.name) == (3, ("from", "to", "remark"), "tables/wards.csv")
    row = table.lookup("W1")
    assert (row.value, row.line, row.others) == ("1100", 4, ("surgery",))


def test_cells_in_quotes_may_hold_commas_and_quotes():
    table, _ = load(WARDS)
    assert table.lookup("W,2").value == 'a "new" one'


def test_case_and_blanks_of_a_key_count():
    table, _ = load(WARDS)
    assert table.lookup("w1").value == "1101"
    assert table.lookup("W1 ") is None
    assert table.lookup("") is None


def test_a_value_may_be_empty():
    table, findings = load("from,to\nA,\nB,x\n")
    assert findings == []
    assert table.lookup("A").value == ""


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_line_ending_will_do(ending):
    table, findings = load(ending.join(["from,to", "", "A,1", "B,2"]))
    assert findings == []
    assert table.lookup("B").line == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [(1, 1, "E151")]),
        ("# nothing\n\n", [(1, 1, "E151")]),
        ("from\nA\n", [(1, 1, "E151")]),
        ("from;to\nA;1\n", [(1, 1, "E151")]),
        ("from,to,\nA,1,x\n", [(1, 9, "E151")]),
        ("from,to,to\nA,1,x\n", [(1, 9, "E151")]),
        ("from,to\nA\n", [(2, 1, "E152")]),
        ("from,to\nA,1,2\n", [(2, 5, "E152")]),
        ("from,to\nA,1\nB,2\nA,3\n", [(4, 1, "E153")]),
        ("from,to\n,1\n", [(2, 1, "E154")]),
        ('from,to\n"",1\n', [(2, 1, "E154")]),
        ('from,to\n"A,1\nB,2\n', [(2, 1, "E155")]),
        ('from,to\n"A"x,1\n', [(2, 4, "E155")]),
        ('from,to\nA"x,1\n', [(2, 2, "E155")]),
        ("from,to\nA ,1\n", [(2, 1, "E156")]),
        ("from,to\nA, 1\n", [(2, 3, "E156")]),
        ("\ufefffrom,to\nA,1\n", [(1, 1, "W150")]),
        ("from,to\nA,\0\n", [(2, 1, "E150")]),
        ("W1,1100\nW2,1200\n", [(1, 1, "W157")]),
        ("M,F\nF,M\n", [(1, 1, "W157")]),
    ],
)
def test_a_mistake_is_found_at_its_place(text, expected):
    assert codes(text) == expected


def test_bytes_that_are_no_utf_8_are_found_line_by_line():
    table, findings = load("from,to\nA,Grün\nB,Blau\nC,für\n".encode("latin-1"))
    assert [(line, column, code) for line, column, code, _ in findings] == [(2, 5, "E150"), (4, 4, "E150")]
    assert table.lookup("B").value == "Blau"


def test_utf_16_is_named_as_the_likely_cause():
    _, findings = load("from,to\nA,1\n".encode("utf-16"))
    assert [finding[2] for finding in findings] == ["E150"]
    assert "UTF-16" in findings[0][3]


def test_of_two_equal_keys_the_first_counts():
    table, findings = load("from,to\nA,1\nA,2\n")
    assert table.lookup("A").value == "1"
    assert "line 2" in findings[0][3]


def test_one_mistake_does_not_hide_the_next():
    assert codes("from,to\n,1\nA\nB,1\nB,2\n") == [(2, 1, "E154"), (3, 1, "E152"), (5, 1, "E153")]


def test_blanks_in_quotes_are_meant():
    table, findings = load('from,to\n" A ",1\n')
    assert findings == []
    assert table.lookup(" A ").value == "1"


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=8)


@given(st.dictionaries(cells.filter(bool), cells, max_size=8))
def test_whatever_is_written_in_quotes_is_found_again(rows):
    def quoted(cell):
        return '"' + cell.replace('"', '""') + '"'

    table, findings = load("from,to\n" + "".join(f"{quoted(k)},{quoted(v)}\n" for k, v in rows.items()))
    assert findings == []
    assert {key: table.lookup(key).value for key in table.keys} == rows


@given(st.one_of(st.text(max_size=60), st.binary(max_size=60), st.text('a,"\n #\ufeff', max_size=40)))
def test_any_text_gives_a_table_and_findings_with_known_codes(text):
    table, findings = load(text)
    assert all(code in CODES and line >= 1 and column >= 1 for line, column, code, _ in findings)
    assert table.size >= 0
