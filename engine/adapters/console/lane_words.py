"""A destination as people read it: what it does now, in words, and what stands at the head of its queue."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from engine.adapters.console.paging import page_before
from engine.adapters.search_pages import newer_page
from engine.config.search import Search
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.ports.control import LaneStatus
from engine.ports.store import LaneDepth, QueuedRow, StoredDelivery, StoredMessage, StoreQueries

Look = Literal["ok", "warn", "bad", "quiet"]
MOST_BEHIND: Final = 1000
"""So many behind a key that is held up are counted; more are `1000+`."""
CLOSED: Final = "closed"
"""What a destination outside of its hours says of itself begins so (`runtime.gate`)."""


@dataclass(slots=True, frozen=True)
class LaneRow:
    """One destination. `state`: one or two words; `words`: the whole sentence; `until_us`: when it goes on, 0 unknown.

    `error`: what the last attempt of its head came to.
    """

    channel: str
    destination: str
    state: str
    look: Look
    words: str
    until_us: int
    queued: int
    held: int
    oldest_us: int
    head: int | None
    attempts: int
    error: str
    blocked: int
    is_paused: bool

    @property
    def needs_a_person(self) -> bool:
        return self.look == "bad" or self.is_paused or bool(self.held)


def lane_row(lane: LaneStatus, head: StoredDelivery | None, now_us: int) -> LaneRow:
    """`head`: the delivery that goes next, where it is still queued."""
    until_us = head.next_at_us if head is not None and head.next_at_us > now_us else 0
    state, look, words = _state(lane, until_us)
    return LaneRow(
        channel=str(lane.channel),
        destination=str(lane.destination),
        state=state,
        look=look,
        words=words,
        until_us=until_us if state in ("waits to retry", "receiver down") else 0,
        queued=lane.queued,
        held=lane.held,
        oldest_us=lane.oldest_us,
        head=None if lane.head is None else int(lane.head),
        attempts=lane.attempts,
        error=head.note if head is not None and head.note else lane.last_note,
        blocked=lane.blocked,
        is_paused=bool(lane.paused_by),
    )


def _state(lane: LaneStatus, until_us: int) -> tuple[str, Look, str]:
    if lane.state == "failed":
        return "failed", "bad", "it failed by a defect of the engine, which starts it again by itself"
    if lane.state == "paused" or lane.paused_by:
        sends = " (what it was sending comes to its end)" if lane.state == "sending" else ""
        return "paused", "warn", f"paused by {lane.paused_by or 'somebody'}{sends}"
    if lane.state == "stopped":
        return "stopped", "bad", f"it stands still at message {lane.head} until a person retries, skips or releases it"
    if lane.last_note.startswith(CLOSED) and lane.state != "sending":
        return "outside its hours", "quiet", lane.last_note
    if lane.state == "down":
        return "receiver down", "bad", "the receiver cannot be reached, and is tried again by itself"
    if lane.state == "waiting" and lane.queued:
        return ("waits to retry", "warn", "the last attempt failed, and it is tried again") if lane.attempts else (
            "delivering", "ok", "it waits for its rate or its next turn",
        )  # fmt: skip
    if lane.blocked:
        return "delivering", "warn", "it delivers, but for the keys that are held up"
    if lane.state == "sending" or lane.queued:
        return "delivering", "ok", "it delivers"
    if lane.held:
        return "nothing queued", "warn", "what is held waits for a person"
    return "nothing waits", "quiet", ""


def lane_rows(queries: StoreQueries, lanes: Sequence[LaneStatus], now_us: int) -> list[LaneRow]:
    """What needs a person first, then by what waits."""
    rows = [lane_row(lane, head_of(queries, lane), now_us) for lane in lanes]
    return sorted(
        rows,
        key=lambda row: (not row.needs_a_person, row.look == "quiet", -row.queued, row.channel, row.destination),
    )


def left_lane(depth: LaneDepth) -> LaneRow:
    """What waits for a destination that does not run: it is gone from the files."""
    words = "its channel's files have no such destination any more: redirect, hold or skip what waits"
    return LaneRow(
        channel=str(depth.channel),
        destination=str(depth.destination),
        state="not in the files",
        look="bad",
        words=words,
        until_us=0,
        queued=depth.queued,
        held=depth.held,
        oldest_us=depth.oldest_us,
        head=None,
        attempts=0,
        error="",
        blocked=0,
        is_paused=False,
    )


def head_of(queries: StoreQueries, lane: LaneStatus) -> StoredDelivery | None:
    """The delivery that goes next, with what became of its last attempt."""
    if lane.head is None:
        return None
    return _delivery(queries, lane.head, lane.destination)


def _delivery(
    queries: StoreQueries, seq: MessageSeq, destination: DestinationName, id_: DeliveryId | None = None
) -> StoredDelivery | None:
    found = (one for one in queries.deliveries(seq) if one.destination == destination and one.state == "queued")
    return next((one for one in found if id_ in (None, one.id)), None)


@dataclass(slots=True, frozen=True)
class BlockedKey:
    """One key of `order_by` that is held up. The key itself is a value of messages and is not here.

    `behind`: how many more of the key wait, at most MOST_BEHIND.
    """

    delivery: int
    seq: int
    attempts: int
    next_at_us: int
    error: str
    behind: int

    @property
    def behind_words(self) -> str:
        return f"{self.behind:,}" + ("+" if self.behind >= MOST_BEHIND else "")


def blocked_keys(
    queries: StoreQueries, channel: ChannelName, destination: DestinationName, limit: int
) -> list[BlockedKey]:
    """Those of a lane with keys whose first delivery waits for its next attempt, by the time it waits for."""
    found = []
    for row in queries.queued_waiting(channel, destination, 0, limit):
        if row.key is None:
            continue
        behind = len(queries.queued_of_key(channel, destination, row.key, row.id, MOST_BEHIND))
        one = _delivery(queries, row.seq, destination, row.id)
        error = one.note if one is not None else ""
        found.append(BlockedKey(int(row.id), int(row.seq), row.attempts, row.next_at_us, error, behind))
    return found


QUEUED: Final = "queued"
QueueState = Literal["queued", "held", "failed"]
MOST_LOOKED_AT: Final = 5_000
"""Messages that are looked at for one page of what is held or was given up."""


@dataclass(slots=True, frozen=True)
class QueueItem:
    """A delivery that waits, without a word of its message's values. `waits_behind`: another of its key goes first."""

    delivery: int
    seq: int
    received_us: int
    message_type: str
    control_id: str
    attempts: int
    next_at_us: int
    urgent: bool
    has_key: bool
    waits_behind: bool
    maybe_sent: bool
    code: str
    note: str

    @property
    def why(self) -> str:
        """Why it is held, or was given up."""
        told = [self.note] if self.code in self.note else [self.code, self.note]
        return ": ".join(part for part in told if part) or "no reason is recorded"


@dataclass(slots=True, frozen=True)
class QueuePage:
    """`after`: the cursor of what follows; None at the end. `before`: that of the page before, 0 the first; None where
    this is the first."""

    items: list[QueueItem]
    after: int | None
    before: int | None


def queue_page(
    queries: StoreQueries,
    channel: ChannelName,
    destination: DestinationName,
    state: QueueState,
    cursor: int,
    limit: int,
) -> QueuePage:
    """Queued ones in the order they leave in, others the newest first. `cursor` 0: from the start."""
    if state == QUEUED:
        rows = list(queries.queued_rows(channel, destination, DeliveryId(cursor), limit + 1))
        items = [_queued(queries, row, destination) for row in rows[:limit]]
        after = int(rows[limit - 1].id) if rows[limit:] else None
        passed = queries.queued_before(channel, destination, DeliveryId(cursor), limit + 1) if cursor else ()
        ids = [int(id_) for id_ in reversed(passed)]
        return QueuePage([one for one in items if one is not None], after, page_before(ids, len(ids), limit, 0))
    found: list[QueueItem] = []
    newer = _newer_cursor(queries, channel, destination, state, cursor, limit) if cursor else None
    before = MessageSeq(cursor) if cursor else None
    stored_messages = queries.messages(channel=channel, delivery_states=(state,), before=before)
    for looked_at, stored in enumerate(stored_messages, 1):
        found += [
            _item(stored, one)
            for one in queries.deliveries(stored.seq)
            if one.destination == destination and one.state == state
        ]
        if len(found) >= limit or looked_at >= MOST_LOOKED_AT:
            return QueuePage(found, int(stored.seq), newer)
    return QueuePage(found, None, newer)


def _newer_cursor(
    queries: StoreQueries,
    channel: ChannelName,
    destination: DestinationName,
    state: QueueState,
    cursor: int,
    limit: int,
) -> int | None:
    """Of the page that ends just above: found from there upwards, so it costs what that page costs."""
    wanted = Search(channel=channel, delivery_states=(state,))
    after, count, looked_at = cursor - 1, 0, 0
    newest: int | None = None
    while True:
        listed = newer_page(queries, wanted, (), None, MessageSeq(after), limit, lambda: False)
        for stored in reversed(listed.messages):
            looked_at += 1
            mine = sum(one.destination == destination and one.state == state for one in queries.deliveries(stored.seq))
            count += mine
            newest = int(stored.seq) if mine else newest
            if count >= limit or looked_at >= MOST_LOOKED_AT:
                return None if newest is None else newest + 1
        if listed.newer is None:
            # All that is newer is one page: the first.
            return None if newest is None else 0
        after = int(listed.newer)


def _queued(queries: StoreQueries, row: QueuedRow, destination: DestinationName) -> QueueItem | None:
    stored = queries.message(row.seq)
    one = _delivery(queries, row.seq, destination, row.id)
    if stored is None or one is None:
        return None  # it has left meanwhile
    return _item(stored, one, waits_behind=row.first is not None and row.first != row.id)


def _item(stored: StoredMessage, one: StoredDelivery, *, waits_behind: bool = False) -> QueueItem:
    return QueueItem(
        delivery=int(one.id),
        seq=int(stored.seq),
        received_us=stored.received_at_us,
        message_type=stored.message_type,
        control_id=stored.control_id,
        attempts=one.attempts,
        next_at_us=one.next_at_us,
        urgent=one.urgent,
        has_key=bool(one.key),
        waits_behind=waits_behind,
        maybe_sent=one.maybe_sent,
        code=one.code,
        note=one.note,
    )
