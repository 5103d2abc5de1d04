"""`segmill store rotate`: another key for an encrypted store."""

from pathlib import Path

import click

from engine.cli.command import json_option, member
from engine.cli.output import count, emit, say
from engine.cli.sites import data_option, site_option
from engine.cli.store import ROTATE, SUBCOMMANDS
from engine.cli.storing import Rows, now_us, place_of, told_failures, who


@member(SUBCOMMANDS["rotate"], "rotate", *ROTATE)
@click.option("--data-key", "is_data", is_flag=True, help="A new data key, and all of the store sealed anew with it.")
@site_option
@data_option
@json_option("what was changed")
def command(is_data: bool, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Change the key of an encrypted store.

    With the engine stopped. Name the new key as 'key' and the old one as 'previous' in segmill.yaml; then this takes
    milliseconds, as only the store's own keys are wrapped anew, and the engine's start does the same. Afterwards take
    'previous' away: the old key opens the store no longer, but every copy and backup from before.

    --data-key: whoever had the old key and a copy of the store has the store's own keys as well. So everything is
    sealed with a new one, in slices that go on where they were interrupted, and the old one is gone.
    """
    from engine.adapters.stores.resealing import convert, rewrap

    place = place_of(site, data)
    progress = Rows()
    values = 0
    try:
        with told_failures():
            wrapped = rewrap(place.store, place.keys, actor=who(), now_us=now_us())
            if is_data:
                done = convert(
                    place.store, place.keys, "reseal", actor=who(), now_us=now_us(), on_progress=progress.tell
                )
                values = done.values
    finally:
        progress.clear()
    key_id = place.keys.current.id if place.keys.current is not None else ""
    if as_json:
        emit({"store": str(place.store), "key": key_id, "wrapped": wrapped, "resealed": values})
        return 0
    if wrapped:
        say(f"{count(wrapped, 'key')} of the store are wrapped with {key_id} now. Take 'previous' out of segmill.yaml.")
    else:
        say(f"the store's own keys are wrapped with {key_id} already")
    if is_data:
        say(f"{count(values, 'value')} are sealed with a new data key, and the old one is gone")
    return 0
