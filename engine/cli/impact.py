"""`segmill impact`: what of a site uses a field, a table, a host, a port or a destination, and where."""

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import FINDINGS
from engine.cli.output import columns, count, emit, printable, say
from engine.cli.site_channels import loaded_channels
from engine.cli.sites import find_site, site_option

if TYPE_CHECKING:
    from engine.config.site import LoadedChannel
    from engine.config.uses import Use

_AS_FIELD: Final = re.compile(r"[A-Z][A-Z0-9]{2}-[0-9].*")
_FIELD: Final = re.compile(r"[A-Z][A-Z0-9]{2}(\[.+\])?(-[0-9].*)?")


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
    from engine.config.uses import uses_of

    folder = find_site(site)
    _, channels = loaded_channels(folder, [])
    every = [(channel, use) for channel in channels for use in (*uses_of(channel), *_of_xml(channel))]
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
        say(f"nothing here uses {said}{_meant(things)}")
        return FINDINGS
    say(f"{count(len(rows), 'use')} of {said} in {count(len(users), 'channel')}: {', '.join(sorted(users))}")
    return 0


def _of_xml(channel: "LoadedChannel") -> "Iterator[Use]":
    """What conformance profiles in XML say, that stand in the channel's folder: nothing reads them but people."""
    from engine.config.profile_xml import ProfileXmlError
    from engine.config.uses_xml import uses_in_xml

    for path in sorted(channel.folder.rglob("*.xml")):
        name = path.relative_to(channel.folder).as_posix()
        if name.startswith("cases/") or not path.is_file():
            continue
        shown = f"{channel.shown.rpartition('/')[0]}/{name}"
        try:
            yield from uses_in_xml(path.read_bytes(), name, shown)
        except ProfileXmlError as error:
            say(f"{shown} is left out: {printable(str(error))}")
        except OSError as error:
            say(f"{shown} is left out: {error.strerror}")


def _meant(things: tuple[str, ...]) -> str:
    """A hint, where a thing is a field but for its capitals: standard names of segments have them."""
    written = [thing.upper() for thing in things if not _FIELD.fullmatch(thing) and _AS_FIELD.fullmatch(thing.upper())]
    return f"; did you mean {', '.join(written)}?" if written else ""


def _matcher(thing: str) -> Callable[["Use"], bool]:
    from engine.config.uses import is_of_field, is_of_name
    from engine.hl7.errors import PathError
    from engine.hl7.path import compile_path

    if not _FIELD.fullmatch(thing):
        return lambda use: is_of_name(use, thing)
    try:
        path = compile_path(thing)
    except PathError as error:
        raise misuse(f"{thing}: {error}") from None
    if "-" in thing:
        return lambda use: is_of_field(use, path)
    # Three capitals may be a message code, too.
    return lambda use: is_of_field(use, path) or is_of_name(use, thing)
