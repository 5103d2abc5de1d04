"""`segmill store encrypt`: a plain store becomes an encrypted one."""

from pathlib import Path

import click

from engine.cli.command import json_option, member
from engine.cli.output import count, emit, say
from engine.cli.sites import data_option, site_option
from engine.cli.store import ENCRYPT, SUBCOMMANDS
from engine.cli.storing import Rows, now_us, place_of, told_failures, who


@member(SUBCOMMANDS["encrypt"], "encrypt", *ENCRYPT)
@site_option
@data_option
@json_option("what was encrypted")
def command(site: Path | None, data: Path | None, as_json: bool) -> int:
    """Encrypt a store that is plain.

    With the engine stopped, and the key named in segmill.yaml. It goes on from where it was if it is interrupted, and
    nothing else opens the store until it is through. At the end every value is opened once, and the file has no plain
    byte any more; blocks of the disk, copies and backups from before still do. Takes one and a half times the room of
    the store on its disk.
    """
    from engine.adapters.stores.resealing import convert

    place = place_of(site, data)
    progress = Rows()
    try:
        with told_failures():
            done = convert(place.store, place.keys, "encrypt", actor=who(), now_us=now_us(), on_progress=progress.tell)
    finally:
        progress.clear()
    if as_json:
        emit(
            {
                "store": str(place.store),
                "key": done.key_id,
                "values": done.values,
                "was_done": done.was_done,
                "plain_copies": [str(copy) for copy in done.copies],
            }
        )
        return 0
    if done.was_done:
        say(f"{place.store} is encrypted already, with the key {done.key_id}")
        return 0
    click.echo(str(place.store))
    say(f"encrypted with the key {done.key_id}: {count(done.values, 'value')} in {count(done.rows, 'row')}")
    for copy in done.copies:
        say(f"{copy} is of before, and plain: remove it once it is not needed")
    say("Backups from before are plain as well. Keep a copy of the key where the backups are not.")
    return 0
