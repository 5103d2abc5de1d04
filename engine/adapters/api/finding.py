"""Which stored messages a request is about: a search with bounds on the work of one request.

An expression looks into each message, so a request looks at so many, or so long, and says where to go on: nobody's
search holds a thread, and none is without an end.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from typing import Final

from engine.adapters.api.models import Search
from engine.adapters.api.problems import not_understood
from engine.adapters.giving_way import giving_way
from engine.config.expression import Condition, ExpressionError, compile_condition
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.model.ids import ChannelName, MessageSeq
from engine.model.states import DELIVERY_STATES, MESSAGE_STATES, DeliveryState, MessageState
from engine.ports.store import StoredMessage, StoreQueries

MOST_LOOKED_AT: Final = 5_000
MOST_SECONDS: Final = 3.0


@dataclass(slots=True, frozen=True)
class Wanted:
    """A search, read. `channels` None: any."""

    channels: tuple[str, ...] | None
    states: tuple[MessageState, ...]
    delivery_states: tuple[DeliveryState, ...]
    since_us: int
    until_us: int | None
    control_id: str | None
    where: Condition | None

    @property
    def is_everything(self) -> bool:
        narrowed = (self.states, self.delivery_states, self.since_us, self.until_us, self.control_id, self.where)
        return not any(narrowed)


def wanted_of(search: Search, allowed: frozenset[str] | None) -> Wanted:
    """`allowed`: the channels of the one who asks; None: all. Raises Problem for a time or expression that is none."""
    channels = None if allowed is None else tuple(sorted(allowed))
    if search.channel is not None:
        channels = (search.channel,) if allowed is None or search.channel in allowed else ()
    return Wanted(
        channels,
        tuple(state for state in MESSAGE_STATES if state in search.state),
        tuple(state for state in DELIVERY_STATES if state in search.state),
        0 if search.since is None else moment_us(search.since, "since"),
        None if search.until is None else moment_us(search.until, "until"),
        search.control_id,
        None if search.where is None else condition(search.where),
    )


def moment_us(text: str, name: str) -> int:
    """RFC 3339, with a zone."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return max(0, int(moment.timestamp() * 1_000_000))
    except (ValueError, OverflowError):
        raise not_understood(f"{name}: it is no time with its zone, such as 2026-11-22T08:00:00Z") from None


def condition(text: str) -> Condition:
    """Compiled. The refusal says where and what, and not what was written: it may quote a patient's number."""
    try:
        return compile_condition(text)
    except ExpressionError as error:
        raise not_understood(f"where: column {error.column + 1}: it is no expression") from None


def matching(
    queries: StoreQueries,
    wanted: Wanted,
    *,
    before: MessageSeq | None = None,
    newest_first: bool = True,
    bodies: bool = False,
) -> Iterator[StoredMessage]:
    """What the search finds, but for its expression, in order of receipt or the other way about, lazily."""

    def ask(
        channel: str | None, states: Sequence[MessageState], of: Sequence[DeliveryState]
    ) -> Iterator[StoredMessage]:
        return queries.messages(
            channel=None if channel is None else ChannelName(channel),
            states=states,
            delivery_states=of,
            control_id=wanted.control_id,
            since_us=wanted.since_us,
            until_us=wanted.until_us,
            before=before,
            newest_first=newest_first,
            bodies=bodies or wanted.where is not None,
        )

    streams: list[Iterator[StoredMessage]] = []
    for channel in (None,) if wanted.channels is None else wanted.channels:
        if wanted.states and wanted.delivery_states:
            # `held` is a state of both: a message is meant that is held, or that has a delivery that is.
            streams += [ask(channel, wanted.states, ()), ask(channel, (), wanted.delivery_states)]
        else:
            streams.append(ask(channel, wanted.states, wanted.delivery_states))
    if len(streams) == 1:
        found = streams[0]
    else:
        found = _without_repeats(merge(*streams, key=lambda message: message.seq, reverse=newest_first))
    return found if wanted.where is None else giving_way(found)


def _without_repeats(messages: Iterator[StoredMessage]) -> Iterator[StoredMessage]:
    last = None
    for message in messages:
        if message.seq != last:
            yield message
        last = message.seq


def holds(where: Condition | None, stored: StoredMessage) -> bool:
    """Whether the expression is true of it; of one that cannot be read, no expression is."""
    if where is None:
        return True
    if stored.raw is None:
        return False
    try:
        return where(Message.parse(stored.raw))
    except UnreadableMessage:
        return False


@dataclass(slots=True, frozen=True)
class Page:
    """`after`: where to go on; None: there is no more."""

    found: list[StoredMessage]
    after: MessageSeq | None
    looked_at: int


def page(queries: StoreQueries, wanted: Wanted, before: MessageSeq | None, limit: int) -> Page:
    """The newest `limit` before `before`, or fewer where the work has its bound."""
    found: list[StoredMessage] = []
    looked_at = 0
    end = time.monotonic() + MOST_SECONDS
    for stored in matching(queries, wanted, before=before):
        looked_at += 1
        if holds(wanted.where, stored):
            found.append(stored)
        if len(found) == limit or looked_at >= MOST_LOOKED_AT or time.monotonic() > end:
            return Page(found, stored.seq, looked_at)
    return Page(found, None, looked_at)
