"""`segmill replay`: send stored messages again, or process them again. Two words for two things."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.actions import Plan, report
from engine.cli.command import json_option, misuse, subcommand
from engine.cli.output import count
from engine.cli.selection import chosen, make_search, parse_seqs, search_options, utc_now
from engine.cli.sites import data_option, site_option, whereabouts

if TYPE_CHECKING:
    from engine.ports.store import StoredMessage, StoreQueries


@subcommand(
    "replay",
    "segmill replay 1 --yes",
    "segmill replay --channel adt --since 2h --to archive --plan",
    "segmill replay --state filtered --reprocess --yes",
)
@click.argument("seqs", nargs=-1, metavar="[SEQ]...")
@search_options
@click.option("--to", "destinations", multiple=True, metavar="DEST", help="Only to this destination; may be repeated.")
@click.option("--reprocess", is_flag=True, help="Through the channel as it is now, instead of the same bytes again.")
@click.option("--limit", type=click.IntRange(1), help="At most so many, the oldest.")
@click.option("--plan", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@site_option
@data_option
@json_option("the plan or the outcome")
def command(
    seqs: tuple[str, ...],
    destinations: tuple[str, ...],
    reprocess: bool,
    limit: int | None,
    plan: bool,
    yes: bool,
    site: Path | None,
    data: Path | None,
    as_json: bool,
    **search: Any,
) -> int:
    """Send stored messages again, or process them again.

    Sends the same bytes again to where they were sent before, as new deliveries with the same control id. With
    --reprocess, takes the received message through its channel as it is now. Name messages by number (20-25 is a
    range) or search for them; shows what it will do, and asks.
    """
    from engine.cli.engine_access import RunningEngine
    from engine.cli.stores import open_queries

    wanted = make_search(**search, now=utc_now())
    numbers = parse_seqs(seqs)
    if bool(numbers) != wanted.is_empty:
        raise misuse("name messages by number, or search for them: --where, --channel, --state, --since ...")
    if reprocess and destinations:
        raise misuse("--to is for sending again; --reprocess goes where the channel's routes say")
    place = whereabouts(site, data)
    with open_queries(place.store) as queries:
        found = chosen(queries, numbers, wanted, limit)
        planned = _plan_reprocess(found) if reprocess else _plan_resend(queries, found, destinations)
    if plan or not found:
        planned.show(as_json=as_json)
        return 0
    engine = RunningEngine(place.data)
    engine.status()
    planned.confirm(yes=yes, as_json=as_json)
    found_seqs = [message.seq for message in found]
    if reprocess:
        return report(engine.act("reprocess", found_seqs), "processed again", as_json=as_json)
    done = engine.act("resend", found_seqs, destinations=list(destinations) or None)
    return report(done, "queued to be sent again", as_json=as_json)


def _plan_resend(queries: "StoreQueries", messages: Sequence["StoredMessage"], destinations: Sequence[str]) -> Plan:
    plan = Plan("resend", f"Send {count(len(messages), 'message')} again?", "destination", len(messages))
    for message in messages:
        before = dict.fromkeys(delivery.destination for delivery in queries.deliveries(message.seq))
        for destination in destinations or before or ("(was never sent)",):
            plan.counted[message.channel, destination] += 1
    return plan


def _plan_reprocess(messages: Sequence["StoredMessage"]) -> Plan:
    plan = Plan("reprocess", f"Process {count(len(messages), 'message')} again?", "state", len(messages))
    plan.counted.update((message.channel, message.state) for message in messages)
    return plan
