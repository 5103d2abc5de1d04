"""Which waiting deliveries a command is about, what it would do to them, and how it has the engine do that.

The plan is made of the store beside the engine, and names every delivery with the state that it has. The engine does
that and no more: where one of them has changed meanwhile, it does nothing and says so.
"""

import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.command import misuse
from engine.cli.exits import FINDINGS, TRY_AGAIN, Failure
from engine.cli.output import columns, count, emit, local_time, say, utc_time
from engine.cli.progress import counted
from engine.cli.selection import Search, matching, parse_seqs
from engine.model.ids import MessageSeq
from engine.model.states import DELIVERY_STATES

if TYPE_CHECKING:
    from engine.cli.engine_access import Done, RunningEngine
    from engine.ports.operations import Act
    from engine.ports.store import StoredDelivery, StoredMessage, StoreQueries

FIRST: Final = 5
"""So many of those that a plan is about are named."""


def order_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every order can be given: why, and the key of its run."""
    for option in reversed(
        (
            click.option("--reason", metavar="TEXT", default="", help="Why; it is put on record."),
            click.option(
                "--key",
                metavar="KEY",
                help="The key of this run: what was done under it once is not done again. Else a new one.",
            ),
            click.option("--plan", is_flag=True, help="Only show what would be done."),
            click.option("--yes", is_flag=True, help="Do not ask."),
        )
    ):
        function = option(function)
    return function


def destination_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--destination`."""
    option = click.option("--destination", metavar="NAME", help="Of this destination.")
    return option(function)


@dataclass(slots=True, frozen=True)
class Wanted:
    """What the words of a command name: messages by number, a destination as CHANNEL/NAME, and a search."""

    seqs: tuple[MessageSeq, ...]
    search: Search
    destination: str | None
    deliveries: tuple[int, ...] = ()

    @property
    def is_everything(self) -> bool:
        return not self.seqs and not self.deliveries and self.search.is_empty and self.destination is None

    @property
    def is_by_number(self) -> bool:
        """Whether each member was named by its number, which needs no second look."""
        return bool(self.seqs or self.deliveries)


def wanted_of(words: Sequence[str], search: Search, destination: str | None, deliveries: Sequence[int] = ()) -> Wanted:
    """Raises a misuse where the words say nothing, or two things at once."""
    places = [word for word in words if "/" in word]
    seqs = tuple(parse_seqs([word for word in words if "/" not in word]))
    if len(places) > 1 or (places and (destination is not None or search.channel is not None)):
        raise misuse("name one destination: CHANNEL/DESTINATION, or --channel and --destination")
    if places:
        channel, _, destination = places[0].partition("/")
        if not channel or not destination:
            raise misuse(f"'{places[0]}' is no destination: write CHANNEL/DESTINATION")
        search = replace(search, channel=channel)
    found = Wanted(seqs, search, destination, tuple(deliveries))
    if found.is_everything:
        raise misuse(
            "say which: numbers of messages, CHANNEL/DESTINATION, or a search: --where, --channel, --state ..."
        )
    if found.is_by_number and search != Search(channel=search.channel):
        raise misuse("name messages by number, or search for them, not both")
    return found


@dataclass(slots=True, frozen=True)
class Member:
    """A delivery that a plan is about."""

    message: "StoredMessage"
    delivery: "StoredDelivery"


class DeliveryPlan:
    """What would be done to which deliveries."""

    def __init__(self, action: str, members: Sequence[Member]) -> None:
        self.action = action
        self.members = members

    @property
    def ids(self) -> list[tuple[int, str]]:
        return [(member.delivery.id, member.delivery.state) for member in self.members]

    @property
    def messages(self) -> int:
        return len({member.message.seq for member in self.members})

    def show(self, *, as_json: bool) -> None:
        """To standard output as JSON, else to people: counts, and the first few."""
        counted = Counter((m.delivery.channel, m.delivery.destination, m.delivery.state) for m in self.members)
        first = self.members[:FIRST]
        if as_json:
            emit(
                {
                    "action": self.action,
                    "messages": self.messages,
                    "deliveries": len(self.members),
                    "plan": [
                        {"channel": channel, "destination": destination, "state": state, "count": number}
                        for (channel, destination, state), number in sorted(counted.items())
                    ],
                    "first": [
                        {
                            "seq": m.message.seq,
                            "delivery": m.delivery.id,
                            "destination": m.delivery.destination,
                            "state": m.delivery.state,
                            "received_at": utc_time(m.message.received_at_us),
                        }
                        for m in first
                    ],
                }
            )
            return
        if not self.members:
            return
        rows = [(*place, str(number)) for place, number in sorted(counted.items())]
        say(columns(("channel", "destination", "state", "count"), rows, right=("count",)))
        for m in first:
            received = local_time(m.message.received_at_us)
            say(f"  message {m.message.seq} to {m.delivery.destination}, received {received}")
        if len(self.members) > FIRST:
            say(f"  and {count(len(self.members) - FIRST, 'other')}")


def plan(queries: "StoreQueries", wanted: Wanted, action: str, act: "Act") -> DeliveryPlan:
    """Every delivery that is meant and that `act` can be done to, in the order in which they were queued."""
    return DeliveryPlan(action, sorted(_members(queries, wanted, act), key=lambda m: m.delivery.id))


def _members(queries: "StoreQueries", wanted: Wanted, act: "Act") -> Iterator[Member]:
    from engine.ports.operations import ACT_FROM

    possible = ACT_FROM[act]
    named = tuple(state for state in wanted.search.states if state in DELIVERY_STATES)
    states = tuple(sorted(possible.intersection(named) if named else possible))
    if named and not states:
        can = " or ".join(sorted(possible))
        raise misuse(f"this is for deliveries that are {can}")
    for message in _messages(queries, wanted, states):
        for delivery in queries.deliveries(message.seq):
            if delivery.state not in states or wanted.destination not in (None, delivery.destination):
                continue
            if wanted.deliveries and delivery.id not in wanted.deliveries:
                continue
            yield Member(message, delivery)


def _messages(queries: "StoreQueries", wanted: Wanted, states: tuple[str, ...]) -> Iterator["StoredMessage"]:
    if wanted.deliveries:
        from engine.model.ids import DeliveryId

        found = queries.delivery_states([DeliveryId(id_) for id_ in wanted.deliveries])
        for id_ in wanted.deliveries:
            if DeliveryId(id_) not in found:
                raise misuse(f"there is no delivery {id_}")
        seqs = tuple(dict.fromkeys(seq for _, seq, _, _ in found.values()))
    else:
        seqs = wanted.seqs
    if not seqs:
        of_messages = tuple(state for state in wanted.search.states if state not in DELIVERY_STATES)
        search = replace(wanted.search, states=of_messages or states)
        yield from counted(matching(queries, search, newest_first=False), "messages found")
        return
    for seq in seqs:
        message = queries.message(seq)
        if message is None:
            raise misuse(f"there is no message {seq}")
        if wanted.search.channel in (None, message.channel):
            yield message


def require_known(engine: "RunningEngine", wanted: Wanted, planned: DeliveryPlan, to: str | None) -> None:
    """Raises a misuse for a name that is no channel's or destination's, as far as there is an engine to ask.

    What is gone from the files may still have deliveries: so a plan that found some is right to name it.
    """
    try:
        channels = engine.status()["channels"]
    except Failure:
        return
    named = (wanted.search.channel, wanted.destination)
    if not planned.members and any(named):
        require_lane(channels, *named)
    if to is not None:
        for channel in sorted({str(m.delivery.channel) for m in planned.members}):
            require_lane(channels, channel, to)


def require_lane(channels: Sequence[dict[str, Any]], channel: str | None, destination: str | None) -> None:
    """Raises a misuse with what there is, where the engine has no such channel, or no such destination in it."""
    names = [one["channel"] for one in channels]
    if channel is not None and channel not in names:
        raise misuse(f"no channel '{channel}' runs; there is {', '.join(names)}")
    lanes = [
        (one["channel"], lane["destination"])
        for one in channels
        if channel in (None, one["channel"])
        for lane in one["lanes"]
    ]
    if destination is not None and destination not in {name for _, name in lanes}:
        place = destination if channel is None else f"{channel}/{destination}"
        there = ", ".join(sorted({f"{one}/{name}" if channel is None else name for one, name in lanes}))
        raise misuse(f"there is no destination {place}; there is {there}")


def _say_why_none(queries: "StoreQueries", wanted: Wanted, act: "Act") -> None:
    """What this could be done to, and what became of those that were named."""
    from engine.ports.operations import ACT_FROM

    say(f"No delivery is meant by this: it is for those that are {' or '.join(sorted(ACT_FROM[act]))}.")
    for seq in wanted.seqs[:FIRST]:
        message = queries.message(seq)
        if message is None:
            continue
        if message.state == "held":
            say(f"  message {seq} itself is held: segmill release {seq}, or segmill release {seq} --discard REASON")
            continue
        told = [f"{d.state} (to {d.destination})" for d in queries.deliveries(seq)] or ["no deliveries"]
        say(f"  message {seq}: {', '.join(told)}")


def _tell_stopped(engine: "RunningEngine", wanted: Wanted) -> None:
    """Where a destination stands still for a person, its message is queued, not held: what starts it again."""
    try:
        channels = engine.status()["channels"]
    except Failure:
        return
    for lane in (lane for one in channels for lane in one["lanes"] if lane["state"] == "stopped"):
        if wanted.destination in (None, lane["destination"]) and wanted.search.channel in (None, lane["channel"]):
            name = f"{lane['channel']}/{lane['destination']}"
            say(f"  {name} stands still at message {lane['head']}: segmill queue retry {name} tries that again")


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless `yes`. With nobody at a terminal to ask, raises a misuse."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise misuse("nobody is here to ask: say --yes to do it, or --plan to see only what it would do")
    click.confirm(question, abort=True, err=True)


def unchanged(before: Sequence[object], now: Sequence[object]) -> None:
    """What was planned is what is there. Raises Failure 75 with how it has changed."""
    if list(before) == list(now):
        return
    more, fewer = len(set(now) - set(before)), len(set(before) - set(now))
    raise Failure(
        TRY_AGAIN,
        f"since the plan {more} came to it and {fewer} left it: nothing was done",
        "Plan again. Where messages keep flowing, pause the destination first, or bound the search with --until.",
    )


def scope_words(
    words: Sequence[str], destination: str | None, deliveries: Sequence[int], search: dict[str, Any]
) -> str:
    """What was asked for, as it was typed; for the record alone, as an expression may quote a value."""
    parts = list(words)
    parts += [f"--destination {destination}"] if destination is not None else []
    parts += [f"--delivery {id_}" for id_ in deliveries]
    for name, given in search.items():
        for value in given if isinstance(given, tuple) else (given,) if given is not None else ():
            parts.append(f"--{ {'states': 'state', 'control_id': 'control-id'}.get(name, name) } {value}")
    return " ".join(parts)[:4000]


def new_key(given: str | None) -> str:
    """The key of this run."""
    return given or uuid.uuid4().hex


def spans(numbers: Sequence[int]) -> list[int | list[int]]:
    """Numbers as the control port takes them: those that follow one another as first and last. Order is kept."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [first if first == last else [first, last] for first, last in found]


def by_state(members: Sequence[tuple[int, str]]) -> dict[str, list[int | list[int]]]:
    """Deliveries as the control port takes them."""
    found: dict[str, list[int]] = {}
    for id_, state in members:
        found.setdefault(state, []).append(id_)
    return {state: spans(ids) for state, ids in found.items()}


def carry_out(
    engine: "RunningEngine",
    queries: "StoreQueries",
    wanted: Wanted,
    act: "Act",
    *,
    verb: str,
    done: str,
    scope: str,
    options: dict[str, Any],
    as_json: bool,
    asks: bool = True,
    **more: Any,
) -> int:
    """Plan, ask, look again, and have it done. `options` are those of `order_options`; `scope` the command's words."""
    planned = plan(queries, wanted, act, act)
    if more.get("to") is not None or not planned.members:
        require_known(engine, wanted, planned, more.get("to"))
    if options["plan"] or not planned.members:
        planned.show(as_json=as_json)
        if not planned.members and not as_json:
            _say_why_none(queries, wanted, act)
            if act == "release":
                _tell_stopped(engine, wanted)
        return 0
    engine.status()
    if asks and not options["yes"]:
        if not as_json:
            planned.show(as_json=False)
        confirm(f"{verb} {count(len(planned.members), 'delivery', 'deliveries')}?", yes=False)
        unchanged(planned.ids, plan(queries, wanted, act, act).ids)
    key = new_key(options["key"])
    told = engine.order(act, deliveries=by_state(planned.ids), key=key, reason=options["reason"], scope=scope, **more)
    return report(told, done, key, as_json=as_json)


def report(done: "Done", words: str, key: str, *, as_json: bool) -> int:
    """Say what was done and what was left alone; the exit code is 1 if something was left."""
    if as_json:
        left = [{"seq": seq, "reason": reason} for seq, reason in done.left]
        emit(
            {
                "messages": done.messages,
                "deliveries": done.deliveries,
                "left": left,
                "more_left": done.more_left,
                "made": done.made,
                "key": key,
                "done_before": done.done_before,
            }
        )
    else:
        parts = [count(done.messages, "message")] if done.messages or not done.deliveries else []
        parts += [count(done.deliveries, "delivery", "deliveries")] if done.deliveries or not done.messages else []
        if done.done_before:
            say(f"Nothing was done now: under the key '{key}' this was done before. What was reported then:")
        is_nothing = not (done.messages or done.deliveries or done.made)
        say("nothing was done" if is_nothing else f"{words}: {', '.join(parts)}")
        for seq in done.made:
            say(f"it is message {seq} now")
        for seq, reason in done.left:
            say(f"left alone: message {seq}, {reason}")
        if done.more_left:
            say(f"left alone: {done.more_left} more")
        if any("held again" in reason for _, reason in done.left):
            say("After a change of a channel or table: segmill reload, then release again.")
    return FINDINGS if done.left else 0
