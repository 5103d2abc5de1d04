"""`segmill release`: what a person had to look at goes on, or is given up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.actions import Plan
from engine.cli.command import json_option, misuse, subcommand
from engine.cli.output import count, say
from engine.cli.progress import counted
from engine.cli.queueing import (
    confirm,
    destination_option,
    new_key,
    order_options,
    report,
    scope_words,
    spans,
    unchanged,
    wanted_of,
)
from engine.cli.selection import Search, chosen, make_search, matching, parse_seqs, search_options, utc_now
from engine.cli.sites import data_option, site_option, whereabouts
from engine.model.ids import ChannelName

if TYPE_CHECKING:
    from engine.model.states import DeliveryState
    from engine.ports.store import StoredMessage, StoreQueries


@subcommand(
    "release",
    "segmill release 2",
    "segmill release --channel results --all --yes",
    "segmill release 3 --discard 'sent by mistake, HIS was told' --yes",
)
@click.argument("seqs", nargs=-1, metavar="[SEQ|CHANNEL/DESTINATION]...")
@search_options
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="All that is held and that the search finds; with --state failed, what was given up instead.",
)
@click.option("--discard", metavar="REASON", help="Give it up instead; the reason is kept with it.")
@destination_option
@order_options
@site_option
@data_option
@json_option("the plan or the outcome")
def command(
    seqs: tuple[str, ...],
    everything: bool,
    discard: str | None,
    destination: str | None,
    reason: str,
    key: str | None,
    plan: bool,
    yes: bool,
    site: Path | None,
    data: Path | None,
    as_json: bool,
    **search: Any,
) -> int:
    """Let held messages and deliveries go on.

    A held message goes through its channel as the engine has read it: correct the channel or its table, segmill
    reload, then release. A held delivery is queued again, and a destination that stands still tries again.
    Name messages by number (20-25 is a range), all of a destination as CHANNEL/DESTINATION, or say --all, with a search
    or without. What a person or a policy gave up (failed) is queued again only by its number or with --state failed.
    """
    from engine.cli.engine_access import RunningEngine
    from engine.cli.stores import open_queries

    wanted = make_search(**search, now=utc_now())
    scope = scope_words((*seqs, "--all") if everything else seqs, destination, (), search)
    if any("/" in word for word in seqs):
        if len(seqs) > 1:
            raise misuse("name messages by number, or one CHANNEL/DESTINATION, not both")
        meant = wanted_of(seqs, wanted, destination)
        wanted, destination, seqs, everything = meant.search, meant.destination, (), True
    numbers = parse_seqs(seqs)
    if bool(numbers) == everything or (numbers and not wanted.is_empty):
        raise misuse(
            "name messages by number, or CHANNEL/DESTINATION, or say --all (with --where, --channel ... if you like)"
        )
    if discard is not None and destination is not None:
        raise misuse("to give up what waits for one destination: segmill queue skip --destination NAME")
    place = whereabouts(site, data)
    engine = RunningEngine(place.data)
    status = engine.status()

    with open_queries(place.store, place.keys) as queries:
        if destination is not None:
            from engine.cli.queueing import Wanted, carry_out

            if everything and not wanted.states:
                # What somebody gave up, or a policy did, goes on by its number or by --state failed: not with "all".
                given_up = _given_up(queries, wanted, destination)
                wanted = replace(wanted, states=("held",))
                if not as_json:
                    _say_left(given_up)
            meant = Wanted(tuple(numbers), wanted, destination)
            options = {"reason": reason, "key": key, "plan": plan, "yes": yes}
            return carry_out(
                engine, queries, meant, "release", verb="Release", done="released", scope=scope, options=options,
                as_json=as_json, asks=everything,
            )  # fmt: skip

        def select() -> list["StoredMessage"]:
            if not everything:
                return chosen(queries, numbers, wanted, None)
            found = chosen(queries, (), replace(wanted, states=wanted.states or ("held",)), None)
            return found if wanted.states else _with_stopped(queries, found, wanted, status["channels"])

        found = select()
        only = _states_of(wanted, everything=everything, discards=discard is not None)
        left = _given_up(queries, wanted) if everything and discard is None and "failed" not in only else Counter()
        stands = {} if everything or discard is not None else _stands_at(status["channels"])
        planned = _plan(queries, found, only, discard, stands)
        if plan or not found:
            _show(planned, left, as_json=as_json)
            return 0
        if (everything or discard is not None) and not yes:
            if not as_json:
                _show(planned, left, as_json=False)
            confirm(planned.question, yes=False)
            unchanged([(m.seq, m.state) for m in found], [(m.seq, m.state) for m in select()])
    run = new_key(key)
    action = "release" if discard is None else "discard"
    members = spans([message.seq for message in found])
    of_states = {} if discard is not None or not everything else {"only": only}
    done = engine.order(action, messages=members, key=run, reason=discard or reason, scope=scope, **of_states)
    if yes and not as_json:
        _say_left(left)
    return report(done, "released" if discard is None else "given up", run, as_json=as_json)


def _with_stopped(
    queries: "StoreQueries", found: list["StoredMessage"], wanted: Search, channels: Sequence[Any]
) -> list["StoredMessage"]:
    """`found` and the message at the head of each lane that stands still: only its release starts the lane again."""
    by_seq = {message.seq: message for message in found}
    for channel in channels:
        name = ChannelName(channel["channel"])
        if wanted.channel not in (None, name):
            continue
        stopped = {lane["destination"] for lane in channel["lanes"] if lane["state"] == "stopped"}
        for message in matching(queries, replace(wanted, channel=name, states=("queued",)), newest_first=False):
            if not stopped:
                break
            heads = {d.destination for d in queries.deliveries(message.seq) if d.state == "queued"} & stopped
            if heads:
                by_seq[message.seq] = message
                stopped -= heads
    return [by_seq[seq] for seq in sorted(by_seq)]


def _stands_at(channels: Sequence[Any]) -> dict[int, list[str]]:
    """The destinations that stand still, by the message at which they do."""
    found: dict[int, list[str]] = {}
    for channel in channels:
        for lane in channel["lanes"]:
            if lane["state"] == "stopped" and lane["head"] is not None:
                found.setdefault(lane["head"], []).append(lane["destination"])
    return found


def _states_of(wanted: Search, *, everything: bool, discards: bool) -> list["DeliveryState"]:
    """In which states deliveries are meant; what was given up only where it was named."""
    if discards:
        return ["held"]
    named: list[DeliveryState] = [state for state in ("held", "failed") if state in wanted.states]
    return named or (["held"] if everything else ["held", "failed"])


def _given_up(queries: "StoreQueries", wanted: Search, destination: str | None = None) -> Counter[tuple[str, str]]:
    """Failed deliveries among what the search finds, by channel and destination."""
    found: Counter[tuple[str, str]] = Counter()
    matches = matching(queries, replace(wanted, states=("failed",)), newest_first=False)
    for message in counted(matches, "messages found"):
        failed = (
            d for d in queries.deliveries(message.seq) if d.state == "failed" and destination in (None, d.destination)
        )
        found.update((str(message.channel), str(d.destination)) for d in failed)
    return found


def _show(plan: Plan, left: Counter[tuple[str, str]], *, as_json: bool) -> None:
    rows = sorted(left.items())
    plan.show(
        as_json=as_json,
        left=[{"channel": name, "destination": to, "state": "failed", "count": number} for (name, to), number in rows],
    )
    if not as_json:
        _say_left(left)


def _say_left(left: Counter[tuple[str, str]]) -> None:
    """What was given up stays so, unless it is named."""
    for (channel, destination), number in sorted(left.items()):
        what = count(number, "failed delivery", "failed deliveries")
        say(f"left alone: {what} to {channel}/{destination}, given up before; by number or with --state failed")


def _plan(
    queries: "StoreQueries",
    messages: Sequence["StoredMessage"],
    only: Sequence["DeliveryState"],
    discard: str | None,
    stands: Mapping[int, Sequence[str]],
) -> Plan:
    """`stands`: by message, the destinations that stand still for it and go on with it, though it is held itself."""
    verb = "Release" if discard is None else "Give up"
    plan = Plan(
        "release" if discard is None else "discard",
        f"{verb} {count(len(messages), 'message')}?",
        "what",
        len(messages),
        first=[message.seq for message in messages[:5]],
    )
    for message in messages:
        if message.state == "held":
            plan.counted[message.channel, "held messages"] += 1
            for destination in stands.get(message.seq, ()):
                plan.counted[message.channel, f"queued deliveries to {destination}"] += 1
            continue
        found = queries.deliveries(message.seq)
        # Where none is set aside, it is the head of a lane that stands still.
        waiting = [d for d in found if d.state in only] or [d for d in found if d.state == "queued" and not discard]
        for delivery in waiting:
            plan.counted[message.channel, f"{delivery.state} deliveries to {delivery.destination}"] += 1
        if not waiting:
            plan.counted[message.channel, "messages with nothing to release"] += 1
    return plan
