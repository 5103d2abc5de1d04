"""What a press of Tab offers beside commands and options: names from the site's folder, files, codes.

Every place of a command whose words can be known is in `OFFERS`, by what it is called in the help, so that commands
need not ask for it one by one. Nothing is offered where the files cannot be read; nothing here raises.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem

from engine.cli.sites import CHANNEL_FILE, CHANNELS, find_site

Offer = Callable[[click.Context, str], Iterator[str | CompletionItem]]


def channel_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The channels of the site that the command line is about; none where there is no site."""
    return sorted(name for name in _channels(ctx) if name.startswith(incomplete))


class Offered(click.types.StringParamType):
    """A text that is completed."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = (CompletionItem(one) if isinstance(one, str) else one for one in self._offer(ctx, incomplete))
        return [item for item in found if item.type != "plain" or item.value.startswith(incomplete)]


def offer_words(parameter: click.Parameter) -> None:
    """Completes a place of a command that takes any text, if it is one of `OFFERS`."""
    if type(parameter.type) is not click.types.StringParamType:
        return
    name = parameter.opts[0] if isinstance(parameter, click.Option) else ""
    called = parameter.metavar or (parameter.name or "").upper()
    if (offer := OFFERS.get((name, called))) is not None:
        parameter.type = Offered(offer)


# -- what there is


def _site(ctx: click.Context) -> Path | None:
    given = ctx.params.get("site")
    try:
        return find_site(Path(given) if given is not None else None)
    except (click.UsageError, OSError):
        return None


def _folders(ctx: click.Context) -> list[Path]:
    site = _site(ctx)
    return sorted(path.parent for path in (site / CHANNELS).glob(f"*/{CHANNEL_FILE}")) if site is not None else []


def _channels(ctx: click.Context) -> list[str]:
    return [folder.name for folder in _folders(ctx)]


def _destinations(folder: Path) -> list[str]:
    import yaml

    try:
        # Only the keys: what stands behind them may need variables that this shell does not have.
        read = yaml.safe_load((folder / CHANNEL_FILE).read_bytes())
    except (OSError, ValueError, yaml.YAMLError):
        return []
    named = read.get("destinations") if isinstance(read, dict) else None
    return [str(name) for name in named] if isinstance(named, dict) else []


def _names(ctx: click.Context, incomplete: str) -> Iterator[str]:
    yield from _channels(ctx)


def _names_and_folders(ctx: click.Context, incomplete: str) -> Iterator[str | CompletionItem]:
    """The first may be the site; a shell that knows a folder of that name takes either."""
    yield from _channels(ctx)
    yield CompletionItem(incomplete, type="dir")


def _lanes(ctx: click.Context, incomplete: str) -> Iterator[str]:
    """`adt`, and its destinations once it is typed."""
    for folder in _folders(ctx):
        if incomplete.startswith(f"{folder.name}/"):
            yield from (f"{folder.name}/{name}" for name in _destinations(folder))
        else:
            yield f"{folder.name}/"


def _channels_and_lanes(ctx: click.Context, incomplete: str) -> Iterator[str]:
    yield from _channels(ctx)
    for folder in _folders(ctx):
        yield from (f"{folder.name}/{name}" for name in _destinations(folder))


def _of_channel(ctx: click.Context, incomplete: str) -> Iterator[str]:
    """Destinations of the channel that was named before; of all where none was."""
    folders = _folders(ctx)
    # Where the option that is completed has no value yet, the parser gave up, and left all words as they were.
    words = {Path(word).name for word in (str(ctx.params.get("channel") or ""), *ctx.args)}
    folders = [folder for folder in folders if folder.name in words] or folders
    yield from dict.fromkeys(name for folder in folders for name in _destinations(folder))


def _tables(ctx: click.Context, incomplete: str) -> Iterator[str]:
    for folder in _folders(ctx):
        for path in sorted(folder.rglob("*.csv")):
            if "cases" not in path.relative_to(folder).parts:
                yield f"{folder.name}/{path.relative_to(folder).as_posix()}"


def _files(ctx: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    yield CompletionItem(incomplete, type="file")


def _codes(ctx: click.Context, incomplete: str) -> Iterator[str]:
    from engine.config.codes import CODES

    # As it is typed: a shell keeps what does not begin with the word.
    yield from (code.lower() if incomplete[:1].islower() else code for code in sorted(CODES))


def _roles(ctx: click.Context, incomplete: str) -> Iterator[str]:
    from engine.model.access import ROLES

    of, equals, _ = incomplete.partition("=")
    yield from (f"{of}={role}" for role in ROLES) if equals else (*ROLES, *(f"{name}=" for name in _channels(ctx)))


def _answers(ctx: click.Context, incomplete: str) -> Iterator[str]:
    from engine.testing.peers import KINDS

    yield from KINDS


def _versions(ctx: click.Context, incomplete: str) -> Iterator[str]:
    from engine.hl7.dictionary import VERSIONS

    yield from VERSIONS


OFFERS: Final[dict[tuple[str, str], Offer]] = {
    ("", "CHANNEL"): _names,
    ("", "[CHANNEL]..."): _names,
    ("", "[SITE] [CHANNEL]..."): _names_and_folders,
    ("--channel", "NAME"): _names,
    ("", "CHANNEL[/DESTINATION]..."): _channels_and_lanes,
    ("", "[CHANNEL[/DESTINATION]]..."): _channels_and_lanes,
    ("", "[SEQ|CHANNEL/DESTINATION]..."): _lanes,
    ("--why", "DEST"): _of_channel,
    ("--to", "DEST"): _of_channel,
    ("--destination", "NAME"): _of_channel,
    ("", "CHANNEL/TABLE"): _tables,
    ("", "[CHANNEL/TABLE]"): _tables,
    ("", "FILE..."): _files,
    ("", "[FILE...]"): _files,
    ("", "FILE|FOLDER..."): _files,
    ("", "[FILE...] [PATH...]"): _files,
    ("", "[PROFILE|FILE...]"): _files,
    ("", "LEFT"): _files,
    ("", "RIGHT"): _files,
    ("--profile", "FILE"): _files,
    ("", "CODE"): _codes,
    ("", "[ROLE|CHANNEL=ROLE]..."): _roles,
    ("--ack", "HOW"): _answers,
    ("--hl7", "VERSION"): _versions,
}
"""By the option, or '' for an argument, and what the help calls its value."""
