"""`segmill release`: what a person had to look at goes on, or is given up."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.actions import Plan, report
from engine.cli.command import json_option, misuse, subcommand
from engine.cli.output import count
from engine.cli.selection import Search, chosen, make_search, matching, parse_seqs, search_options, utc_now
from engine.cli.sites import data_option, site_option, whereabouts
from engine.model.ids import ChannelName

if TYPE_CHECKING:
    from engine.ports.store import StoredMessage, StoreQueries


@subcommand(
    "release",
    "segmill release 2",
    "segmill release --channel results --all --yes",
    "segmill release 3 --discard 'sent by mistake, HIS was told' --yes",
)
@click.argument("seqs", nargs=-1, metavar="[SEQ]...")
@search_options
@click.option("--all", "everything", is_flag=True, help="Everything that is held and that the search finds.")
@click.option("--discard", metavar="REASON", help="Give it up instead; the reason is kept with it.")
@click.option("--plan", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask, with --all or --discard.")
@site_option
@data_option
@json_option("the plan or the outcome")
def command(
    seqs: tuple[str, ...],
    everything: bool,
    discard: str | None,
    plan: bool,
    yes: bool,
    site: Path | None,
    data: Path | None,
    as_json: bool,
    **search: Any,
) -> int:
    """Let held messages and deliveries go on.

    A held message goes through its channel as the engine has read it: correct the channel or its table, segmill
    reload, then release. A held or failed delivery is queued again, and a destination that stands
    still tries again. Name messages by number (20-25 is a range), or say --all, with a search or without.
    """
    from engine.cli.engine_access import RunningEngine
    from engine.cli.stores import open_queries

    wanted = make_search(**search, now=utc_now())
    numbers = parse_seqs(seqs)
    if bool(numbers) == everything or (numbers and not wanted.is_empty):
        raise misuse("name messages by number, or say --all (with --where, --channel, --since ... if you like)")
    place = whereabouts(site, data)
    engine = RunningEngine(place.data)
    status = engine.status()
    with open_queries(place.store) as queries:
        if everything:
            found = chosen(queries, (), replace(wanted, states=wanted.states or ("held",)), None)
            if not wanted.states:
                found = _with_stopped(queries, found, wanted, status["channels"])
        else:
            found = chosen(queries, numbers, wanted, None)
        planned = _plan(queries, found, discard)
    if plan or not found:
        planned.show(as_json=as_json)
        return 0
    if everything or discard is not None:
        planned.confirm(yes=yes, as_json=as_json)
    found_seqs = [message.seq for message in found]
    if discard is not None:
        return report(engine.act("discard", found_seqs, reason=discard), "given up", as_json=as_json)
    return report(engine.act("release", found_seqs), "released", as_json=as_json)


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


def _plan(queries: "StoreQueries", messages: Sequence["StoredMessage"], discard: str | None) -> Plan:
    verb = "Release" if discard is None else "Give up"
    plan = Plan(
        "release" if discard is None else "discard",
        f"{verb} {count(len(messages), 'message')}?",
        "what",
        len(messages),
    )
    for message in messages:
        if message.state == "held":
            plan.counted[message.channel, "held messages"] += 1
            continue
        waiting = [d for d in queries.deliveries(message.seq) if d.state in ("held", "failed", "queued")]
        for delivery in waiting:
            plan.counted[message.channel, f"{delivery.state} deliveries to {delivery.destination}"] += 1
        if not waiting:
            plan.counted[message.channel, "messages with nothing to release"] += 1
    return plan
