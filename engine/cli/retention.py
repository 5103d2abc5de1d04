"""`segmill retention`: how forgetting stands, and a person's word that the clock is right."""

from datetime import UTC, datetime
from pathlib import Path

import click

from engine.cli.command import json_option, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.output import count, emit, say
from engine.cli.sites import data_option, site_option, whereabouts


@subcommand("retention", "segmill retention", "segmill retention --confirm")
@click.option("--confirm", is_flag=True, help="The clock is right: go on forgetting after it jumped.")
@site_option
@data_option
@json_option("how it stands")
def command(confirm: bool, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Show what the running engine has forgotten, and whether it goes on.

    What is old enough by `retention:` in segmill.yaml and in the channels goes by itself. After the clock jumped by
    more than a day, nothing goes until somebody says --confirm, or the clock has gone on for a day without another
    jump: a wrong date must not empty the store. Exits with 1 while forgetting is paused.
    """
    from engine.cli.engine_access import RunningEngine

    found = RunningEngine(whereabouts(site, data).data).retention(confirm=confirm)
    if as_json:
        emit({key: value for key, value in found.items() if key != "schema"})
    elif not found["is_on"]:
        say("Nothing is forgotten: neither segmill.yaml nor a channel says retention.")
    else:
        last = found["last_pass_us"]
        when = datetime.fromtimestamp(last / 1e6, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S") if last else "never"
        say(f"last looked: {when}")
        say(f"since the start: the bytes of {count(found['bodies'], 'message')}, and {found['messages']} whole")
        if found["paused"]:
            say(f"paused: {found['paused']}. If the clock is right: segmill retention --confirm")
    return FINDINGS if found["paused"] else 0
