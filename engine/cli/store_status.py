"""`segmill store status`: whether the store is encrypted, and with which keys."""

import sqlite3
from contextlib import closing
from pathlib import Path

import click

from engine.cli.command import json_option, member
from engine.cli.output import emit, local_time, say
from engine.cli.sites import data_option, site_option
from engine.cli.store import STATUS, SUBCOMMANDS
from engine.cli.storing import place_of, told_failures


@member(SUBCOMMANDS["status"], "status", *STATUS)
@click.option("--count", "is_counted", is_flag=True, help="Count the values of each data key, which reads the store.")
@site_option
@data_option
@json_option("the store's keys, by their ids,")
def command(is_counted: bool, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Show whether the store is encrypted, and with which keys.

    Also while its engine runs. Keys are shown by their ids. Of each of the store's own keys: since when there is one,
    since when the site's key wraps it, and at most how many values it has sealed.
    """
    from engine.adapters.stores.resealing import values_by_key
    from engine.adapters.stores.unlocking import COMMANDS, read_at

    place = place_of(site, data)
    with told_failures():
        sealed = read_at(place.store)
        counted: dict[int, int] = {}
        if is_counted and sealed.state != "plain":
            with closing(sqlite3.connect(f"{place.store.absolute().as_uri()}?mode=ro", uri=True)) as db:
                counted = values_by_key(db)
    configured = {
        name: key.id
        for name, key in (("key", place.keys.current), ("previous", place.keys.previous))
        if key is not None
    }
    if as_json:
        keys = [
            {
                "number": row.number,
                "kind": "data" if row.number else "tokens",
                "wrapped_with": row.key_id,
                "created_us": row.created_us,
                "wrapped_us": row.wrapped_us,
                "most_values": row.used,
                **({"values": counted.get(row.number, 0)} if is_counted else {}),
            }
            for row in sealed.keys
        ]
        emit({"store": str(place.store), "state": sealed.state, "key": sealed.key_id, "site": configured, "keys": keys})
        return 0
    for name, id_ in configured.items():
        say(f"configured as {name}: {id_}")
    if sealed.state == "plain":
        click.echo("not encrypted")
        return 0
    click.echo(f"encrypted with the key {sealed.key_id}")
    if command_ := COMMANDS.get(sealed.state):
        say(f"half way: {command_} was not finished; run it again")
    for row in sealed.keys:
        what = f"data key {row.number}" if row.number else "token key"
        since = f"of {local_time(row.created_us)}, wrapped {local_time(row.wrapped_us)} with {row.key_id}"
        values = f"; at most {row.used:,} values" if row.number else ""
        exact = f", {counted.get(row.number, 0):,} now" if is_counted and row.number else ""
        click.echo(f"{what}: {since}{values}{exact}")
    return 0
