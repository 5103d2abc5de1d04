"""The page before a page: each page is found again on the way back, wherever it began."""

import pytest

from engine.adapters.console.paging import page_before


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 6, 7, 10])
def test_on_the_way_back_one_comes_by_the_same_pages(rows):
    cursors, size = list(range(1, rows + 1)), 3
    starts = [0] + [cursors[at - 1] for at in range(size, rows, size)]
    for number, cursor in enumerate(starts):
        before = page_before(cursors, cursor, size, 0)
        assert before == (starts[number - 1] if number else None)


def test_a_page_that_begins_anywhere_has_the_rows_above_it_before_it():
    assert page_before([1, 2, 3, 4, 5, 6, 7], 5, 3, 0) == 2
    assert page_before([1, 2, 3, 4, 5, 6, 7], 2, 3, 0) == 0
    assert page_before([], 0, 3, "") is None
