"""Pages of a search, both ways: older than a message, or newer, each bounded in work; a cursor is a message's number.

What is older is looked through from the cursor down. What is newer is looked through in windows that grow, from the
cursor up, so that the page that joins on to the one that was seen costs no more than the one before it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from engine.adapters.giving_way import giving_way
from engine.adapters.search import Page, find_of, holds, search_page
from engine.config.search import Search
from engine.model.ids import ChannelName, MessageSeq
from engine.ports.search import SPAN, Find
from engine.ports.store import StoredMessage, StoreQueries

FIRST_WINDOW: Final = 200
PIECE: Final = 1000
MOST_PARSED: Final = 4000
"""So many messages one window takes apart, where places in them are asked for."""
FAR: Final = 1 << 62

IsOver = Callable[[], bool]
"""Whether the time for one page is over; asked between two pieces of work."""


@dataclass(slots=True, frozen=True)
class Listed:
    """A page, newest first. `older`: the cursor (`before`) of what follows; `newer`: that (`after`) of what comes
    before it; None: there is nothing.

    `looked_at` and `left` as of a piece; `is_cut`: the time was over before the page was full. `unread` as of Page.
    """

    messages: Sequence[StoredMessage]
    older: MessageSeq | None
    newer: MessageSeq | None
    looked_at: int = 0
    left: int = 0
    is_cut: bool = False
    unread: int = 0


def older_page(
    queries: StoreQueries,
    search: Search,
    names: Iterable[str],
    channels: Sequence[str] | None,
    before: MessageSeq | None,
    limit: int,
    is_over: IsOver,
    *,
    bodies: bool = False,
    span: int = SPAN,
) -> Listed:
    """The newest `limit` that are older than `before`; without it the newest of all. `channels`: of these; None: any.

    `span`: between two questions whether it is over, so many are looked at.
    """
    found: list[StoredMessage] = []
    looked_at, at = 0, before
    while True:
        page: Page = search_page(
            queries,
            search,
            names,
            channels=channels,
            before=at,
            limit=limit - len(found),
            most=1,
            span=span,
            bodies=bodies,
        )
        found += page.messages
        looked_at += page.looked_at
        at = page.before
        if at is None or len(found) >= limit or is_over():
            is_cut = at is not None and len(found) < limit
            newer = None if before is None else MessageSeq(before - 1)
            return Listed(found, at, newer, looked_at, page.left, is_cut, page.unread)


def newer_page(
    queries: StoreQueries,
    search: Search,
    names: Iterable[str],
    channels: Sequence[str] | None,
    after: MessageSeq,
    limit: int,
    is_over: IsOver,
) -> Listed:
    """The oldest `limit` that are newer than `after`."""
    wanted = find_of(search, names, channels)
    newest = queries.seq_before(FAR)
    low, width, looked_at = int(after), FIRST_WINDOW, 0
    found: list[StoredMessage] = []  # oldest first
    while low < newest and len(found) < limit:
        high = min(low + width, newest)
        window, looked = _window(queries, search, wanted, low, high)
        found += reversed(window)
        looked_at += looked
        low, width = high, min(width * 2, MOST_PARSED if search.paths else SPAN)
        if is_over():
            break
    shown = found[:limit]
    if len(found) > limit:
        low = shown[-1].seq
    newer = MessageSeq(low) if low < newest else None
    is_cut = newer is not None and len(shown) < limit
    shown.reverse()
    return Listed(shown, MessageSeq(after + 1), newer, looked_at, newest - low if is_cut else 0, is_cut)


def _window(
    queries: StoreQueries, search: Search, wanted: Find, low: int, high: int
) -> tuple[list[StoredMessage], int]:
    """All that match with low < seq <= high, newest first, and how many were looked at."""
    found: list[StoredMessage] = []
    looked_at, before = 0, MessageSeq(high + 1)
    while True:
        piece = queries.find(wanted, before=before, after=MessageSeq(low), limit=PIECE, bodies=bool(search.paths))
        looked_at += piece.looked_at
        taken = giving_way(piece.messages) if search.paths else piece.messages
        found += [_light(message) for message in taken if holds(search.paths, message)]
        if piece.before is None:
            return found, looked_at
        before = piece.before


def _light(message: StoredMessage) -> StoredMessage:
    return message if message.raw is None else replace(message, raw=None)


def newer_of_keys(queries: StoreQueries, wanted: Find, after: MessageSeq, is_over: IsOver) -> MessageSeq | None:
    """The oldest message newer than `after` that keys lead to; None where none is, or the time is over."""
    newest = queries.seq_before(FAR)
    low, width = int(after), FIRST_WINDOW
    while low < newest:
        high = min(low + width, newest)
        found, _ = _window(queries, Search(), wanted, low, high)
        if found:
            return found[-1].seq
        low, width = high, width * 4
        if is_over():
            return None
    return None


def of_channels(wanted: Find, channels: Sequence[str] | None) -> Find:
    """The same, of these channels alone; None: of any."""
    return wanted if channels is None else replace(wanted, channels=tuple(map(ChannelName, channels)))
