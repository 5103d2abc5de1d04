"""The chain of what people did: whatever is changed or taken away is noticed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.audit import START, AuditRow, broken_at, chained, ids_text, ranges


def chain(count: int) -> list[AuditRow]:
    rows: list[AuditRow] = []
    for number in range(1, count + 1):
        row = AuditRow(number, number * 10, "anna", "skip", "", "", "{}", f"deliveries {number}", "k")
        rows.append(replace(row, hash=chained(rows[-1].hash if rows else START, row)))
    return rows


def verdict(rows: list[AuditRow], whole: list[AuditRow]) -> int | None:
    head = whole[-1] if whole else None
    return broken_at(rows, head.id if head else 0, head.hash if head else START)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_a_whole_chain_is_whole(count):
    assert verdict(chain(count), chain(count)) is None


@pytest.mark.parametrize("taken", [1, 4, 7])
def test_a_row_that_is_taken_away_is_noticed(taken):
    rows = chain(7)
    assert verdict([row for row in rows if row.id != taken], rows) == taken


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "bert"},
        {"reason": "another"},
        {"scope": "x"},
        {"at_us": 1},
        {"action": "read"},
        {"counts": "{1}"},
        {"ids": "deliveries 4-5"},
        {"key": "j"},
        {"hash": bytes(32)},
    ],
)
def test_a_row_that_is_changed_is_noticed(change):
    rows = chain(7)
    changed = [replace(row, **change) if row.id == 4 else row for row in rows]
    assert verdict(changed, rows) in (4, 5)


def test_a_row_that_is_put_in_is_noticed():
    rows = chain(3)
    more = replace(rows[-1], id=4, hash=b"")
    assert verdict([*rows, replace(more, hash=chained(rows[-1].hash, more))], rows) is not None


def test_a_chain_made_anew_from_a_changed_row_on_does_not_end_as_the_head_says():
    rows = chain(5)
    other = [replace(row, actor="bert") if row.id == 2 else row for row in rows]
    made: list[AuditRow] = []
    for row in other:
        made.append(replace(row, hash=chained(made[-1].hash if made else START, replace(row, hash=b""))))
    assert verdict(made, rows) is not None


@given(st.lists(st.integers(1, 60)))
def test_ranges_say_the_same_numbers(numbers):
    said: set[int] = set()
    for part in filter(None, ranges(numbers).split(",")):
        first, _, last = part.partition("-")
        said.update(range(int(first), int(last or first) + 1))
    assert said == set(numbers)


def test_what_was_touched_is_said_in_words():
    assert ids_text([3, 1, 2], [9]) == "messages 1-3; deliveries 9"
    assert ids_text([], [], ["adt/ris", "the intake of adt"]) == "adt/ris, the intake of adt"
    assert ids_text([], []) == ""
