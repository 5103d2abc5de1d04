"""`segmill impact`: what of a site uses a field, a table, a host, a port or a destination, and where."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.output import columns, count, emit, printable, say
from engine.cli.site_channels import loaded_channels
from engine.cli.sites import find_site, site_option

if TYPE_CHECKING:
    from engine.config.site import LoadedChannel
    from engine.config.uses import Use


@subcommand(
    "impact",
    "segmill impact PID-3",
    "segmill impact wards.csv",
    "segmill impact 2575 ADT^A08",
)
@click.argument("things", nargs=-1, required=True, metavar="THING...")
@site_option
@json_option("one object a use")
def command(things: tuple[str, ...], site: Path | None, as_json: bool) -> int:
    """Show which channels use a thing, and where.

    THING is a field (PID-3 finds PID-3.1 too, and what holds the whole of PID), a code table or another file, a host,
    a port, a folder, a message type, or the name of a destination. Looked through are channel files, with what their
    ${...} stand for here, profiles and Python; also conformance profiles in XML that stand beside them, which no
    channel reads. Ends with 1 if nothing uses it.
    """
    from engine.config.impact import meant

    folder = find_site(site)
    _, channels = loaded_channels(folder, [])
    every = [(channel, use) for channel in channels for use in _used(channel)]
    rows, users = [], set()
    for thing in things:
        matches = _matcher(thing)
        for channel, use in every:
            if not matches(use):
                continue
            users.add(str(channel.name))
            if as_json:
                emit({"thing": thing, "channel": str(channel.name), **asdict(use)})
            place = f"{use.file}:{use.line}:{use.column}"
            rows.append((str(channel.name), use.where, use.text, place))
    if rows and not as_json:
        click.echo(columns(("channel", "part", "uses", "place"), rows))
    said = ", ".join(things)
    if not rows:
        say(f"nothing here uses {said}{meant(things)}")
        return FINDINGS
    say(f"{count(len(rows), 'use')} of {said} in {count(len(users), 'channel')}: {', '.join(sorted(users))}")
    return 0


def _used(channel: "LoadedChannel") -> "Iterator[Use]":
    from engine.config.impact import LeftOut, everything_used

    for use in everything_used(channel):
        if isinstance(use, LeftOut):
            say(f"{use.file} is left out: {printable(use.why)}")
        else:
            yield use


def _matcher(thing: str) -> Callable[["Use"], bool]:
    from engine.config.impact import PathError, matcher

    try:
        return matcher(thing)
    except PathError as error:
        raise misuse(f"{thing}: {error}") from None
