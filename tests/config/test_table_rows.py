"""Code tables with dates, a default row and two directions."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.table import Table, UndatedLookup

DATED = """\
from,to,valid_from,valid_to,remark
3W,W03,,2026-06-30,the old house
3W,W13,2026-07-01,,the new one
ER,E1,2026-01-01T06:00+02:00,2026-02-01T06:00+02:00,
*,W99,,2026-12-31,
"""


def load(text):
    return Table.load(text, "t.csv")


def found(text):
    return [(line, column, code) for line, column, code, _ in load(text)[1]]


def at(*parts, zone=UTC):
    return datetime(*parts, tzinfo=zone)


@pytest.mark.parametrize(
    ("key", "time", "value"),
    [
        ("3W", at(1999, 1, 1), "W03"),
        ("3W", at(2026, 6, 30, 23, 59, 59, 999999), "W03"),
        ("3W", at(2026, 7, 1), "W13"),
        ("3W", at(2026, 7, 1, 1, zone=timezone(timedelta(hours=2))), "W03"),
        ("ER", at(2026, 1, 1, 3, 59), "W99"),
        ("ER", at(2026, 1, 1, 4), "E1"),
        ("ER", at(2026, 2, 1, 4), "W99"),
        ("ER", at(2027, 1, 1), None),
        ("new", at(2026, 12, 31, 23), "W99"),
        ("*", at(2026, 1, 1), "W99"),
    ],
)
def test_the_row_that_holds_at_a_time_answers(key, time, value):
    table, findings = load(DATED)
    assert findings == []
    row = table.lookup_at(key, time)
    assert (row.value if row else None) == value


def test_a_table_with_dates_is_not_asked_without_a_time():
    table, _ = load(DATED)
    assert (table.is_dated, table.size, sorted(table.lines)) == (True, 4, [2, 3, 4, 5])
    with pytest.raises(UndatedLookup):
        table.lookup("3W")


def test_a_table_without_dates_is_asked_as_ever():
    table, _ = load("from,to\nA,1\n")
    assert not table.is_dated
    assert table.lookup == table._rows.get, "nothing stands between a step and the dictionary"
    assert table.lookup_at("A", at(2026, 1, 1)).value == "1"
    assert (table.lookup("B"), table.lookup_at("B", at(2026, 1, 1))) == (None, None)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("A,1,,2026-06-30\nA,2,2026-06-30,", [(3, 1, "E167")]),
        ("A,1,2026-06-30,\nA,2,,", [(3, 1, "E167")]),
        ("A,1,,\nA,2,2026-06-30,2026-07-01\nA,3,2027-01-01,", [(3, 1, "E167")]),
        ("A,1,,2026-06-29\nA,2,2026-07-01,", [(3, 1, "W167")]),
        ("A,2,2026-07-01,\nA,1,,2026-06-29", [(2, 1, "W167")]),
        ("A,1,,2026-06-30\nA,2,2026-07-01,", []),
        ("A,1,2026-07-02,2026-07-01", [(2, 16, "E166")]),
        ("A,1,2026-07-02,2026-07-02", []),
        ("A,1,01.07.2026,", [(2, 5, "E166")]),
        ("A,1,2026-02-30,", [(2, 5, "E166")]),
        ("A,1,,2026-07-01T06:00", [(2, 6, "E166")]),
        ("A,1,,9999-12-31", []),
    ],
)
def test_what_an_author_is_told_of_dates(rows, expected):
    assert found(f"from,to,valid_from,valid_to\n{rows}\n") == expected


def test_one_column_of_dates_will_do():
    table, findings = load("from,to,valid_to\nA,1,2026-06-30\n")
    assert findings == []
    assert table.lookup_at("A", at(2026, 7, 1)) is None


def test_the_default_row_answers_for_what_has_no_row():
    table, findings = load("from,to\nA,1\n*,9\n")
    assert findings == []
    assert (table.lookup("A").value, table.lookup("B").value, table.lookup("B").line) == ("1", "9", 3)
    assert (table.has("A"), table.has("B"), table.has("*")) == (True, False, False)


def test_a_star_in_quotes_is_a_key_like_any_other():
    table, _ = load('from,to\nA,1\n"*",9\n')
    assert (table.lookup("*").value, table.lookup("B"), table.has("*")) == ("9", None, True)


def test_there_is_one_default_row():
    assert found("from,to\n*,1\n*,2\n") == [(3, 1, "E153")]


DIRECTED = """\
from,to,direction
3W,W03,
OLD3,W03,there
X,W77,back
UNK,*,back
*,W99,
"""


def test_each_way_has_its_own_rows():
    table, findings = load(DIRECTED)
    back, ambiguous = table.back()
    assert (findings, ambiguous) == ([], [])
    assert [table.lookup(key).value for key in ("3W", "OLD3", "X")] == ["W03", "W03", "W99"]
    assert [back.lookup(key).value for key in ("W03", "W77", "W99", "else")] == ["3W", "X", "UNK", "UNK"]
    assert (back.lookup("W03").line, back.name) == (2, "t.csv (back)")


def test_the_way_back_without_a_column_for_it():
    back, ambiguous = load("from,to\nA,1\nB,2\nC,\nD,\n*,9\n")[0].back()
    assert ambiguous == []
    assert [back.lookup(key) and back.lookup(key).value for key in ("1", "2", "9", "")] == ["A", "B", None, None]


def test_two_keys_of_one_value_make_the_way_back_ambiguous():
    table, findings = load("from,to\nA,1\nB,2\nC,1\n")
    assert findings == [], "it is no mistake where nobody goes that way"
    assert [(line, code) for line, _, code, _ in table.back()[1]] == [(4, "E168")]


def test_the_way_back_may_change_with_time():
    table, _ = load("from,to,valid_from,valid_to\nA,1,,2026-06-30\nB,1,2026-07-01,\n")
    back, ambiguous = table.back()
    assert ambiguous == []
    assert [back.lookup_at("1", at(2026, month, 1)).value for month in (6, 7)] == ["A", "B"]
    together, _ = load("from,to,valid_from,valid_to\nA,1,,2026-07-01\nB,1,2026-07-01,\n")
    assert [code for *_, code, _ in together.back()[1]] == ["E168"]


def test_a_direction_that_is_none():
    assert found("from,to,direction\nA,1,forth\n") == [(2, 5, "E166")]


days = st.integers(1, 60)


@given(rows=st.lists(st.tuples(st.sampled_from("AB"), days, days), max_size=6), key=st.sampled_from("AB"), day=days)
def test_without_a_finding_at_most_one_row_holds_and_it_answers(rows, key, day):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    shown = [(key, *((start + timedelta(days=number)).date().isoformat() for number in span)) for key, *span in rows]
    text = "from,to,valid_from,valid_to\n" + "".join(f"{k},{n},{a},{b}\n" for n, (k, a, b) in enumerate(shown))
    table, findings = load(text)
    holding = [n for n, (k, a, b) in enumerate(rows) if k == key and a <= day <= b]
    if any(code.startswith("E") for *_, code, _ in findings):
        assert any(a > b for _, a, b in rows) or len(rows) > 1
        return
    assert len(holding) <= 1
    row = table.lookup_at(key, start + timedelta(days=day, hours=5)) if rows else None
    assert (row and row.value) == (str(holding[0]) if holding else None)
