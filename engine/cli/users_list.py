"""`segmill users list`: the users."""

from pathlib import Path

import click

from engine.cli.command import json_option, member
from engine.cli.granting import grants_text
from engine.cli.output import columns, emit, local_time, say, utc_time
from engine.cli.sites import data_option, site_option, whereabouts
from engine.cli.users import LIST, SUBCOMMANDS


@member(SUBCOMMANDS["list"], "list", *LIST)
@site_option
@data_option
@json_option("one object a user")
def command(site: Path | None, data: Path | None, as_json: bool) -> int:
    """Show the users, and what each may do.

    Also without an engine that runs.
    """
    from engine.cli.stores import open_queries

    place = whereabouts(site, data)
    with open_queries(place.store, place.keys) as queries:
        found = [(user, len(queries.sessions(user.name))) for user in queries.users()]
    for user, sessions in found if as_json else ():
        emit(
            {
                "name": user.name,
                "grants": dict(user.grants),
                "must_change": user.must_change,
                "disabled": user.is_disabled,
                "created_at": utc_time(user.created_us),
                "sessions": sessions,
            }
        )
    if not found:
        say("No users. The first start with console: in segmill.yaml makes one, and shows its password.")
        return 0
    if as_json:
        return 0
    rows = [
        (
            user.name,
            grants_text(user.grants),
            "disabled" if user.is_disabled else "to change the password" if user.must_change else "",
            str(sessions),
            local_time(user.created_us),
        )
        for user, sessions in found
    ]
    click.echo(columns(("name", "may", "state", "sessions", "since"), rows, right=("sessions",)))
    return 0
