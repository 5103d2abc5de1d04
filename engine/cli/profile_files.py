"""What the commands of `segmill profile` share: messages from files or a channel's store, profiles, written files."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.command import misuse
from engine.cli.completing import channel_names
from engine.cli.exits import CONFIGURATION, Failure
from engine.cli.output import say
from engine.cli.progress import Progress
from engine.cli.sites import data_option, site_option, whereabouts

if TYPE_CHECKING:
    from engine.config.profile_load import LoadedProfile
    from engine.hl7.message import Message


def traffic_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where messages come from beside files."""
    for option in reversed(
        (
            click.option(
                "--channel", metavar="NAME", shell_complete=channel_names, help="The stored messages of this channel."
            ),
            click.option("--since", metavar="TIME", help="Of them those received since: 30d, or 2026-11-22."),
            site_option,
            data_option,
        )
    ):
        function = option(function)
    return function


def traffic(
    files: tuple[str, ...], channel: str | None, since: str | None, site: Path | None, data: Path | None
) -> Iterator["Message"]:
    """The messages of files and folders, or those that a channel's store has; what cannot be read is told and skipped.

    Of stored messages those that were rejected do not count: their sender was told to keep them.
    """
    if bool(files) == (channel is not None):
        raise misuse("give files with messages, or --channel, and not both")
    if since is not None and channel is None:
        raise misuse("--since is about the stored messages of a --channel")
    source = _stored(channel, since, site, data) if channel is not None else _of_files(files)
    skipped = done = 0
    from engine.hl7.errors import UnreadableMessage
    from engine.hl7.message import Message

    with Progress("messages") as progress:
        for raw in source:
            progress.step()
            try:
                message = Message.parse(raw)
            except UnreadableMessage:
                skipped += 1
                continue
            done += 1
            yield message
    if not done:
        raise misuse(f"there is no message in {', '.join(files) or 'the store'} that can be read as HL7")
    if skipped:
        say(f"{skipped} cannot be read as HL7 and were left out")


def _of_files(files: tuple[str, ...]) -> Iterator[bytes]:
    from engine.cli.message_files import read_messages

    yield from (message.raw for message in read_messages(files, lenient=True))


def _stored(channel: str, since: str | None, site: Path | None, data: Path | None) -> Iterator[bytes]:
    from engine.cli.selection import Search, matching, moment_us, utc_now
    from engine.cli.stores import open_queries

    search = Search(channel=channel, since_us=0 if since is None else moment_us(since, utc_now()))
    found = False
    place = whereabouts(site, data)
    with open_queries(place.store, place.keys) as queries:
        for stored in matching(queries, search, newest_first=False, bodies=True):
            if stored.raw is not None and stored.state != "rejected":
                found = True
                yield stored.raw
    if not found:
        raise misuse(f"no message of channel {channel} is stored" + (f" since {since}" if since else ""))


def read_profile(path: Path) -> "LoadedProfile":
    """The profile, or Failure 78 with everything that is wrong shown."""
    from engine.cli.findings import show
    from engine.config.profile_load import AnyFiles, load_profile

    loaded, findings = load_profile(path.name, AnyFiles(path.parent))
    if findings:
        show(findings, path.parent)
    if loaded is None:
        raise Failure(CONFIGURATION, f"the profile {path} has errors")
    return loaded


def write(text: str, out: Path | None, *, force: bool) -> None:
    """To standard output, or into a file that is not there yet."""
    if out is None:
        click.echo(text, nl=False)
        return
    if out.exists() and not force:
        raise misuse(f"{out} is there already, perhaps with changes of somebody; --force overwrites it")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    say(f"wrote {out}")


out_option = click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write into this file instead of the terminal."
)
force_option = click.option("--force", is_flag=True, help="Overwrite the file that -o names.")
