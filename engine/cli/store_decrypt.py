"""`segmill store decrypt`: an encrypted store becomes a plain one."""

from pathlib import Path

import click

from engine.cli.command import json_option, member, misuse
from engine.cli.output import count, emit, say
from engine.cli.sites import data_option, site_option
from engine.cli.store import DECRYPT, SUBCOMMANDS
from engine.cli.storing import Rows, now_us, place_of, told_failures, who


@member(SUBCOMMANDS["decrypt"], "decrypt", *DECRYPT)
@click.option("--yes", is_flag=True, help="Do it: patient data stands in the file in the clear from then on.")
@site_option
@data_option
@json_option("what was decrypted")
def command(yes: bool, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Make an encrypted store a plain one again.

    With the engine stopped, and its key still named in segmill.yaml; take 'encryption' away afterwards. Values that are
    damaged cannot be decrypted: they are counted, and empty then, or 'damaged value 7'.
    """
    from engine.adapters.stores.resealing import convert

    if not yes:
        raise misuse("patient data would stand in the file in the clear: say --yes")
    place = place_of(site, data)
    progress = Rows()
    try:
        with told_failures():
            done = convert(place.store, place.keys, "decrypt", actor=who(), now_us=now_us(), on_progress=progress.tell)
    finally:
        progress.clear()
    if as_json:
        told = {"store": str(place.store), "values": done.values, "damaged": done.damaged, "was_done": done.was_done}
        emit(told)
        return 0
    if done.was_done:
        say(f"{place.store} is not encrypted")
        return 0
    click.echo(str(place.store))
    say(f"decrypted: {count(done.values, 'value')}. Take 'encryption' out of segmill.yaml before the engine starts.")
    if done.damaged:
        say(f"{count(done.damaged, 'value')} could not be opened, and are lost (segmill explain W582)")
    return 0
