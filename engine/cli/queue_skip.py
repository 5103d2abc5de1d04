"""`segmill queue skip`: deliveries are given up with a reason, which is kept."""

from pathlib import Path
from typing import Any

import click

from engine.cli.command import json_option, member, misuse
from engine.cli.queue import SKIP, SUBCOMMANDS
from engine.cli.queueing import carry_out, destination_option, order_options, scope_words, wanted_of
from engine.cli.selection import make_search, search_options, utc_now
from engine.cli.sites import data_option, site_option, whereabouts


@member(SUBCOMMANDS["skip"], "skip", *SKIP)
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
    """Give deliveries up, with a reason.

    Queued and held ones become failed and are not sent; the reason stays with them and in the audit. They can still be
    released. Name messages by number, a destination as CHANNEL/DESTINATION, or search.
    """
    from engine.cli.engine_access import RunningEngine
    from engine.cli.stores import open_queries

    if not reason.strip():
        raise misuse("say why: --reason TEXT; it is kept with what is given up")
    wanted = wanted_of(words, make_search(**search, now=utc_now()), destination, deliveries)
    place = whereabouts(site, data)
    with open_queries(place.store) as queries:
        return carry_out(
            RunningEngine(place.data),
            queries,
            wanted,
            "skip",
            verb="Give up",
            done="given up",
            scope=scope_words(words, destination, deliveries, search),
            options={"reason": reason, "key": key, "plan": plan, "yes": yes},
            as_json=as_json,
            asks=True,
        )
