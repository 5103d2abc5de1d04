"""`segmill queue hold`: queued deliveries are set aside, and what is behind them goes on."""

from pathlib import Path
from typing import Any

import click

from engine.cli.command import json_option, member
from engine.cli.queue import HOLD, SUBCOMMANDS
from engine.cli.queueing import carry_out, destination_option, order_options, scope_words, wanted_of
from engine.cli.selection import make_search, search_options, utc_now
from engine.cli.sites import data_option, site_option, whereabouts


@member(SUBCOMMANDS["hold"], "hold", *HOLD)
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
    """Set queued deliveries aside.

    They step out of their queue, what is behind them goes on, and they wait for: segmill queue release. One that is
    being sent at this moment is waited for first: delivered, it is no longer what was meant, and nothing is done. Name
    messages by number, a destination as CHANNEL/DESTINATION, or search.
    """
    from engine.cli.engine_access import RunningEngine
    from engine.cli.stores import open_queries

    wanted = wanted_of(words, make_search(**search, now=utc_now()), destination, deliveries)
    place = whereabouts(site, data)
    with open_queries(place.store) as queries:
        return carry_out(
            RunningEngine(place.data),
            queries,
            wanted,
            "hold",
            verb="Hold",
            done="held",
            scope=scope_words(words, destination, deliveries, search),
            options={"reason": reason, "key": key, "plan": plan, "yes": yes},
            as_json=as_json,
            asks=not wanted.is_by_number,
        )
