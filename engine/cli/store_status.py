"""`segmill store status`: whether the store is encrypted, with which keys, and since when."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import click

from engine.cli.command import json_option, member
from engine.cli.output import count, emit, local_time, say
from engine.cli.sites import data_option, site_option
from engine.cli.store import STATUS, SUBCOMMANDS
from engine.cli.storing import now_us, place_of, told_failures
from engine.model.store_key import OLD_KEY_S

DAY_US: Final = 86_400_000_000


@member(SUBCOMMANDS["status"], "status", *STATUS)
@click.option("--count", "is_counted", is_flag=True, help="Count the values of each data key, which reads the store.")
@site_option
@data_option
@json_option("the store's keys, by their ids,")
def command(is_counted: bool, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Show whether the store is encrypted, and with which keys.

    Also while its engine runs. Keys are shown by their ids: for how many days the site's key closes the store, and its
    data key is in use. Of each of the store's own keys: since when there is one, since when the site's key wraps it,
    and at most how many values it has sealed.
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
    in_use = sealed.in_use
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
        times: dict[str, int] = {}
        if in_use is not None:
            times = {
                "key_since_us": in_use.site_us,
                "data_key_since_us": in_use.data_us,
                "data_key": in_use.data_number,
            }
        told = {"store": str(place.store), "state": sealed.state, "key": sealed.key_id, "site": configured}
        emit({**told, **times, "keys": keys})
        return 0
    for name, id_ in configured.items():
        say(f"configured as {name}: {id_}")
    if sealed.state == "plain":
        click.echo("not encrypted")
        return 0
    click.echo(f"encrypted with the key {sealed.key_id}")
    if command_ := COMMANDS.get(sealed.state):
        say(f"half way: {command_} was not finished; run it again")
    if in_use is not None:
        click.echo(f"the site's key closes it {_for_days(in_use.site_us)}")
        click.echo(f"data key {in_use.data_number} is in use {_for_days(in_use.data_us)}")
    for row in sealed.keys:
        what = f"data key {row.number}" if row.number else "token key"
        closed = f"of {local_time(row.created_us)}, wrapped {local_time(row.wrapped_us)} with {row.key_id}"
        values = f"; at most {row.used:,} values" if row.number else ""
        exact = f", {counted.get(row.number, 0):,} now" if is_counted and row.number else ""
        click.echo(f"{what}: {closed}{values}{exact}")
    return 0


def _for_days(since_us: int) -> str:
    age_us = max(0, now_us() - since_us)
    is_old = age_us > OLD_KEY_S * 1_000_000
    return f"for {count(age_us // DAY_US, 'day')}{', more than a year: segmill docs encryption' if is_old else ''}"
