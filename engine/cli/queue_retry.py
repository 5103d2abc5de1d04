"""`segmill queue retry`: what waits for its time is tried now."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.command import json_option, member
from engine.cli.output import emit, printable, say
from engine.cli.queue import RETRY, SUBCOMMANDS
from engine.cli.queueing import (
    carry_out,
    destination_option,
    new_key,
    order_options,
    require_lane,
    scope_words,
    wanted_of,
)
from engine.cli.selection import Search, make_search, search_options, utc_now
from engine.cli.sites import data_option, site_option, whereabouts

if TYPE_CHECKING:
    from engine.cli.engine_access import RunningEngine


@member(SUBCOMMANDS["retry"], "retry", *RETRY)
@click.argument("words", nargs=-1, metavar="[SEQ|CHANNEL/DESTINATION]...")
@click.option("--delivery", "deliveries", type=click.IntRange(1), multiple=True, metavar="ID", help="This delivery.")
@search_options
@destination_option
@order_options
@site_option
@data_option
@json_option("the plan or the outcome")
def command(
    words: tuple[str, ...],
    deliveries: tuple[int, ...],
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
    """Try again now what waits for its time.

    A destination ends its wait, be it for a receiver that is down or for a person, and tries what is first in its
    queue. What was named by number or found by a search is tried as soon as it is first there, without a wait.
    """
    from engine.cli.engine_access import RunningEngine
    from engine.cli.stores import open_queries

    wanted = wanted_of(words, make_search(**search, now=utc_now()), destination, deliveries)
    place = whereabouts(site, data)
    engine = RunningEngine(place.data)
    scope = scope_words(words, destination, deliveries, search)
    whole = not wanted.is_by_number and wanted.search == Search(channel=wanted.search.channel)
    if whole and not plan and wanted.search.channel is not None and wanted.destination is not None:
        run = new_key(key)
        return _whole(engine, wanted.search.channel, wanted.destination, run, reason, scope, as_json=as_json)
    with open_queries(place.store) as queries:
        return carry_out(
            engine,
            queries,
            wanted,
            "retry",
            verb="Try again",
            done="to be tried at once",
            scope=scope,
            options={"reason": reason, "key": key, "plan": plan, "yes": yes},
            as_json=as_json,
            asks=False,
        )


def _whole(
    engine: "RunningEngine", channel: str, destination: str, run: str, reason: str, scope: str, *, as_json: bool
) -> int:
    """Have a destination end its wait, and say what it stood there for: not all of that ends by this."""
    channels = engine.status()["channels"]
    require_lane(channels, channel, destination)
    (lane,) = (
        lane
        for one in channels
        if one["channel"] == channel
        for lane in one["lanes"]
        if lane["destination"] == destination
    )
    engine.order("retry", lanes=[[channel, destination]], key=run, reason=reason, scope=scope)
    name = f"{channel}/{destination}"
    if as_json:
        emit({"action": "retry", "lanes": [name], "was": lane["state"], "queued": lane["queued"], "key": run})
    elif lane["state"] == "paused":
        say(f"{name} is paused: nothing is tried until segmill queue resume {name}")
    elif not lane["queued"]:
        say(f"nothing waits for {name}")
    else:
        why = f": {printable(lane['last_note'])}" if lane["last_note"] else ""
        say(f"{name} tries again (it was {lane['state']}{why})")
    return 0
