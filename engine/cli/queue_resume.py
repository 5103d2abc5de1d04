"""`segmill queue resume`: what was paused goes on."""

from pathlib import Path

import click

from engine.cli.command import json_option, member, misuse
from engine.cli.pausing import pause_or_resume
from engine.cli.queue import RESUME, SUBCOMMANDS
from engine.cli.sites import data_option, site_option


@member(SUBCOMMANDS["resume"], "resume", *RESUME)
@click.argument("places", nargs=-1, metavar="[CHANNEL[/DESTINATION]]...")
@click.option("--intake", is_flag=True, help="What comes in to the channel, not what goes out.")
@click.option("--all", "everything", is_flag=True, help="Everything that is paused.")
@click.option("--reason", metavar="TEXT", default="", help="Why; it is put on record.")
@click.option("--key", metavar="KEY", help="The key of this run.")
@site_option
@data_option
@json_option("what goes on")
def command(
    places: tuple[str, ...],
    intake: bool,
    everything: bool,
    reason: str,
    key: str | None,
    site: Path | None,
    data: Path | None,
    as_json: bool,
) -> int:
    """Let go on what was paused.

    A channel alone means all its destinations that are paused.
    """
    if bool(places) == everything:
        raise misuse("name what is paused, or say --all")
    return pause_or_resume("resume", places, intake, reason, key, site, data, as_json=as_json)
