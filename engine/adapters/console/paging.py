"""The page before a page. A list goes on by the cursor of the last row that was shown, and so stays what it was however
the list changes; the page before is found from where the page starts, without a trail of cursors in the address."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def page_before(cursors: Sequence[T], start: int, limit: int, first: T) -> T | None:
    """The cursor of the page before the one that starts at index `start` of all rows; `first`: that of the first page.

    `cursors`: of each row of the list, in its order. None: there is no page before.
    """
    if start <= 0 or not cursors:
        return None
    return first if start <= limit else cursors[min(start, len(cursors)) - limit - 1]
