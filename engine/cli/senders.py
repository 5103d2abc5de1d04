"""`segmill senders`: who writes in which character set, and is that what MSH-18 says."""

from pathlib import Path
from typing import Any, Final

import click

from engine.cli.command import json_option, subcommand
from engine.cli.output import columns, emit, printable, say
from engine.cli.sites import data_option, site_option, whereabouts

EVIDENCE: Final = {
    "declared": "as declared",
    "broken": "some bytes wrong",
    "utf-8": "UTF-8, not declared",
    "windows-1252": "Windows, not 8859/1",
    "fallback": "fallback taken",
}
"""How a message's character set was known, in the words of the table's head."""


@subcommand("senders", "segmill senders", "segmill senders --channel adt")
@click.option("--channel", metavar="NAME", help="Only senders of this channel.")
@site_option
@data_option
@json_option("one object a sender")
def command(channel: str | None, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Show in which character sets the senders write.

    Of the engine that runs, since its start: for each channel and sender (MSH-3, MSH-4), how many messages beyond plain
    ASCII were read as MSH-18 declares, and how many were not. The first 200 senders of a channel are counted by name.
    """
    from engine.cli.engine_access import RunningEngine

    status = RunningEngine(whereabouts(site, data).data).status()
    found: list[dict[str, Any]] = [
        {"channel": one["channel"], "sender": row["sender"], "charsets": row["charsets"]}
        for one in status["channels"]
        if channel in (None, one["channel"])
        for row in one["senders"]
    ]
    if as_json:
        for record in found:
            emit(record)
        return 0
    if not found:
        say("no message beyond plain ASCII came in since the engine started")
        return 0
    rows = [
        [one["channel"], printable(one["sender"]), *(str(one["charsets"].get(name, "")) for name in EVIDENCE)]
        for one in found
    ]
    click.echo(columns(["channel", "sender", *EVIDENCE.values()], rows, right=list(EVIDENCE.values())))
    return 0
