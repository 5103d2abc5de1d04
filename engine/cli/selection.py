"""Which stored messages a command is about: numbers, or a search. `messages`, `replay` and `release` share it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.command import misuse
from engine.cli.progress import counted
from engine.model.ids import ChannelName, MessageSeq
from engine.model.states import DELIVERY_STATES, MESSAGE_STATES, DeliveryState, MessageState

if TYPE_CHECKING:
    from engine.config.expression import Condition
    from engine.ports.store import StoredMessage, StoreQueries

STATES: Final = tuple(dict.fromkeys((*MESSAGE_STATES, *DELIVERY_STATES)))
MAX_RANGE: Final = 1_000_000


@dataclass(slots=True, frozen=True)
class Search:
    """What --where, --channel, --state, --since, --until and --control-id say; all of them must hold."""

    where: "Condition | None" = None
    channel: str | None = None
    states: tuple[str, ...] = ()
    since_us: int = 0
    until_us: int | None = None
    control_id: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing, and so means every message."""
        return self == Search()


def search_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a search; the command gets them as the keyword arguments of `make_search`."""
    for option in reversed(
        (
            click.option("--where", metavar="EXPR", help="""An expression, such as 'PID-3.1 == "4711"'."""),
            click.option("--channel", metavar="NAME", help="Of this channel."),
            click.option(
                "--state",
                "states",
                type=click.Choice(STATES),
                multiple=True,
                help="In this state, or with a delivery in it; may be repeated.",
            ),
            click.option("--since", metavar="TIME", help="Received since: 2h, 7d, or 2026-11-22T08:00."),
            click.option("--until", metavar="TIME", help="Received before: 1h, or 2026-11-22T12:00."),
            click.option("--control-id", metavar="ID", help="With this control id (MSH-10)."),
        )
    ):
        function = option(function)
    return function


def make_search(
    *,
    where: str | None,
    channel: str | None,
    states: tuple[str, ...],
    since: str | None,
    until: str | None,
    control_id: str | None,
    now: datetime,
) -> Search:
    """The search that the options ask for. Raises a misuse that points at what is wrong."""
    return Search(
        where=None if where is None else condition(where),
        channel=channel,
        states=states,
        since_us=0 if since is None else moment_us(since, now),
        until_us=None if until is None else moment_us(until, now),
        control_id=control_id,
    )


def condition(text: str) -> "Condition":
    """The compiled expression. Raises a misuse with a caret under the place."""
    from engine.config.expression import ExpressionError, compile_condition

    try:
        return compile_condition(text)
    except ExpressionError as exc:
        hint = f"\n{exc.hint}" if exc.hint else ""
        raise misuse(f"--where: {exc.message}\n  {text}\n  {' ' * exc.column}^{hint}") from None


def moment_us(text: str, now: datetime) -> int:
    """A time in the past: a duration before `now`, or RFC 3339 (local time where no zone is given)."""
    from engine.config.finding import BadValue
    from engine.config.units import parse_duration

    try:
        return int((now.timestamp() - parse_duration(text)) * 1_000_000)
    except BadValue:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise misuse(f"'{text}' is no time: write 30m, 2h or 7d, or 2026-11-22T08:00") from None
    return int((moment if moment.tzinfo else moment.astimezone()).timestamp() * 1_000_000)


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def parse_seqs(texts: Sequence[str]) -> list[MessageSeq]:
    """Numbers and ranges (`17`, `20-25`) in the order given, each once. Raises a misuse."""
    found: dict[MessageSeq, None] = {}
    for text in texts:
        first, dash, last = text.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise misuse(f"'{text}' is no message number: write 17, or 20-25 for a range")
        start, end = int(first), int(last or first)
        if not 0 < start <= end < start + MAX_RANGE:
            raise misuse(f"'{text}' is no range of message numbers")
        found.update(dict.fromkeys(map(MessageSeq, range(start, end + 1))))
    return list(found)


def matching(
    queries: "StoreQueries", search: Search, *, newest_first: bool = True, bodies: bool = False
) -> Iterator["StoredMessage"]:
    """The messages that a search finds, in order of receipt or the other way round, lazily."""
    of_messages = tuple(s for s in search.states if s in MESSAGE_STATES)
    of_deliveries = tuple(s for s in search.states if s in DELIVERY_STATES)

    def ask(states: Sequence[MessageState], delivery_states: Sequence[DeliveryState]) -> Iterator["StoredMessage"]:
        return queries.messages(
            channel=None if search.channel is None else ChannelName(search.channel),
            states=states,
            delivery_states=delivery_states,
            control_id=search.control_id,
            since_us=search.since_us,
            until_us=search.until_us,
            newest_first=newest_first,
            bodies=bodies or search.where is not None,
        )

    if of_messages and of_deliveries:
        # `held` is a state of both: a message is meant that is held, or that has a delivery that is.
        streams = (ask(of_messages, ()), ask((), of_deliveries))
        found = _without_repeats(merge(*streams, key=lambda m: m.seq, reverse=newest_first))
    else:
        found = ask(of_messages, of_deliveries)
    return found if search.where is None else (m for m in found if _holds(search.where, m))


def _without_repeats(messages: Iterator["StoredMessage"]) -> Iterator["StoredMessage"]:
    last = None
    for message in messages:
        if message.seq != last:
            yield message
        last = message.seq


def _holds(where: "Condition", stored: "StoredMessage") -> bool:
    from engine.hl7.errors import UnreadableMessage
    from engine.hl7.message import Message

    if stored.raw is None:
        return False
    try:
        return where(Message.parse(stored.raw))
    except UnreadableMessage:
        return False


def chosen(
    queries: "StoreQueries", seqs: Sequence[MessageSeq], search: Search, limit: int | None
) -> list["StoredMessage"]:
    """The messages that numbers or a search name, oldest first. Raises a misuse for a number that is not stored."""
    if not seqs:
        return list(counted(islice(matching(queries, search, newest_first=False), limit), "messages found"))
    found = []
    for seq in seqs:
        message = queries.message(seq)
        if message is None:
            raise misuse(f"there is no message {seq}")
        found.append(message)
    return found
