"""`segmill tables misses`: the work list."""

from pathlib import Path

import click

from engine.cli.command import json_option, member
from engine.cli.exits import FINDINGS
from engine.cli.output import columns, count, emit, printable, say
from engine.cli.reading import note_reading
from engine.cli.sites import data_option, site_option, whereabouts
from engine.cli.tables import MISSES, SUBCOMMANDS

SHOWN = 5


@member(SUBCOMMANDS["misses"], "misses", *MISSES)
@click.option("--channel", metavar="NAME", help="Of this channel.")
@site_option
@data_option
@json_option("one object a code")
def command(channel: str | None, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Show the codes for which messages are held, by table, the most frequent first.

    Codes are values of messages, so that you look is put on record. Ends with 1 if there are any.
    """
    from engine.cli.own_code import deadline_here
    from engine.cli.site_channels import find_or_none
    from engine.cli.stores import open_queries
    from engine.cli.table_misses import misses

    place = whereabouts(site, data)
    with open_queries(place.store, place.keys) as queries:
        found = misses(queries, channel, deadline_s=deadline_here(find_or_none(site or Path())))
    if found.of:
        note_reading(place, sorted({seq for seqs in found.of.values() for seq in seqs}), "tables misses")
    rows = found.ordered
    for missed, seqs in rows if as_json else ():
        emit({"channel": missed.channel, "table": missed.table, "key": missed.key, "messages": seqs})
    if rows and not as_json:
        shown = [
            (
                f"{missed.channel}/{missed.table}",
                f'"{printable(missed.key)}"',
                f"{len(seqs):,}",
                ", ".join(map(str, seqs[:SHOWN])) + (", ..." if len(seqs) > SHOWN else ""),
            )
            for missed, seqs in rows
        ]
        click.echo(columns(("table", "code", "messages", "which"), shown, right=("messages",)))
    for reason, unread in found.unread.items():
        which = ", ".join(map(str, unread[:SHOWN])) + (", ..." if len(unread) > SHOWN else "")
        say(f"{count(len(unread), 'held message')} could not be looked up ({which}): {reason}")
    waiting = len(found.waits_for)
    say(f"{count(len(rows), 'code is', 'codes are')} missing, {count(waiting, 'message waits', 'messages wait')}")
    if rows:
        say("Add a row with `segmill tables add`, then segmill reload, then segmill tables release.")
    return FINDINGS if rows else 0
