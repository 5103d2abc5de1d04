"""`segmill queue pause`: a destination, or a channel's intake, stands still until somebody lets it go on."""

from pathlib import Path

import click

from engine.cli.command import json_option, member
from engine.cli.pausing import pause_or_resume
from engine.cli.queue import PAUSE, SUBCOMMANDS
from engine.cli.sites import data_option, site_option


@member(SUBCOMMANDS["pause"], "pause", *PAUSE)
@click.argument("places", nargs=-1, required=True, metavar="CHANNEL[/DESTINATION]...")
@click.option("--intake", is_flag=True, help="What comes in to the channel, not what goes out.")
@click.option("--reason", metavar="TEXT", default="", help="Why; it is put on record, and shown where it waits.")
@click.option("--key", metavar="KEY", help="The key of this run.")
@site_option
@data_option
@json_option("what was paused")
def command(
    places: tuple[str, ...],
    intake: bool,
    reason: str,
    key: str | None,
    site: Path | None,
    data: Path | None,
    as_json: bool,
) -> int:
    """Let a destination, or a channel's intake, stand still.

    A paused destination starts no attempt; what comes for it waits, in order. A channel alone means all its
    destinations. With --intake its senders are told AR or CE and keep their messages, while deliveries go on. It lasts
    over restarts, until: segmill queue resume.
    """
    return pause_or_resume("pause", places, intake, reason, key, site, data, as_json=as_json)
