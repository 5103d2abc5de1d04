"""Pages of a search, both ways, whatever they are for: each message once, in order, and none left out."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.adapters.search_pages import Listed, newer_page, older_page
from engine.adapters.stores.memory import MemoryStore
from engine.config.search import Search, parse_search
from engine.hl7.search_keys import DEFAULT_KEYS
from engine.model.envelope import Batch
from engine.model.ids import MessageSeq
from engine.testing.search_contract import keys_of, message
from engine.testing.store_contract import ADT, LAB, intake

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
NAMES = tuple(DEFAULT_KEYS)
COUNT = 700


def never() -> bool:
    return False


def read(text: str) -> Search:
    return parse_search(text, NAMES, NOW)


@pytest.fixture(scope="module")
def queries() -> Any:
    """700 messages: every third of the channel ADT, every seventh of patient 7."""
    store = MemoryStore()
    store.open()
    store.read_keys_by(keys_of)
    rows = [
        intake(raw=message("7" if n % 7 == 0 else "8"), channel=ADT if n % 3 == 0 else LAB) for n in range(1, COUNT + 1)
    ]
    store.commit(Batch(rows))
    return store.queries()


def seqs(page: Listed) -> list[int]:
    return [one.seq for one in page.messages]


SEARCHES: list[tuple[str, tuple[str, ...] | None, Callable[[int], bool]]] = [
    ("", None, lambda n: True),
    ("mrn:7", None, lambda n: n % 7 == 0),
    ("text:anna channel:adt", None, lambda n: n % 3 == 0),
    ("PID-3.1=7", None, lambda n: n % 7 == 0),
    ("PID-3.1!=7", None, lambda n: n % 7 != 0),
    ("", ("adt",), lambda n: n % 3 == 0),
    ("mrn:7", ("adt",), lambda n: n % 21 == 0),
    ("", (), lambda n: False),
]


@pytest.mark.parametrize(("text", "channels", "holds"), SEARCHES)
@pytest.mark.parametrize("limit", [7, 100])
def test_down_and_up_again_is_the_same_pages(queries, text, channels, holds, limit):
    expected = [n for n in range(COUNT, 0, -1) if holds(n)]
    down: list[int] = []
    before: MessageSeq | None = None
    page = Listed((), None, None)
    for _ in range(COUNT + 2):
        page = older_page(queries, read(text), NAMES, channels, before, limit, never)
        down += seqs(page)
        before = page.older
        if before is None:
            break
    assert down == expected
    up = seqs(page)
    after = page.newer
    while after is not None:
        page = newer_page(queries, read(text), NAMES, channels, after, limit, never)
        up = [*seqs(page), *up]
        after = page.newer
    assert up == expected


def test_the_page_before_joins_on_to_the_one_that_was_seen(queries):
    first = older_page(queries, Search(), NAMES, None, None, 10, never)
    second = older_page(queries, Search(), NAMES, None, first.older, 10, never)
    assert second.newer is not None
    back = newer_page(queries, Search(), NAMES, None, second.newer, 10, never)
    assert seqs(back) == seqs(first)
    assert back.newer is None, "there is nothing newer"
    assert first.newer is None
    again = older_page(queries, Search(), NAMES, None, back.older, 10, never)
    assert seqs(again) == seqs(second)


def test_a_page_whose_time_is_over_says_where_to_go_on(queries):
    search = read("text:nobody")
    page = newer_page(queries, search, NAMES, None, MessageSeq(0), 10, lambda: True)
    assert (seqs(page), page.newer, page.is_cut, page.looked_at) == ([], 200, True, 200)
    assert page.left == COUNT - 200
    page = newer_page(queries, search, NAMES, None, MessageSeq(200), 10, never)
    assert (seqs(page), page.newer, page.is_cut) == ([], None, False)
