"""`segmill tokens list`: the API tokens."""

from pathlib import Path

import click

from engine.cli.command import json_option, member
from engine.cli.granting import grants_text
from engine.cli.output import columns, emit, local_time, printable, say, utc_time
from engine.cli.selection import utc_now
from engine.cli.sites import data_option, site_option, whereabouts
from engine.cli.tokens import LIST, SUBCOMMANDS


@member(SUBCOMMANDS["list"], "list", *LIST)
@site_option
@data_option
@json_option("one object a token")
def command(site: Path | None, data: Path | None, as_json: bool) -> int:
    """Show the API tokens, and what each may do.

    Also without an engine that runs, and also those that have ended; never the token itself.
    """
    from engine.cli.stores import open_queries

    place = whereabouts(site, data)
    with open_queries(place.store, place.keys) as queries:
        found = queries.tokens()
    for token in found if as_json else ():
        emit(
            {
                "name": token.name,
                "grants": dict(token.grants),
                "created_at": utc_time(token.created_us),
                "created_by": token.created_by,
                "until": utc_time(token.until_us),
                "revoked": token.is_revoked,
            }
        )
    if not found:
        say("No tokens.")
        return 0
    if as_json:
        return 0
    now_us = int(utc_now().timestamp() * 1_000_000)
    rows = [
        (
            token.name,
            grants_text(token.grants),
            "revoked" if token.is_revoked else "ended" if token.until_us <= now_us else "",
            local_time(token.until_us),
            printable(token.created_by),
        )
        for token in found
    ]
    click.echo(columns(("name", "may", "state", "until", "made by"), rows))
    return 0
