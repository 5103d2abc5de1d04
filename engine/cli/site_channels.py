"""Finds and compiles the channels a command is about; `try` and `test` run them in this process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from engine.cli.command import misuse
from engine.cli.exits import CONFIGURATION, Failure
from engine.cli.findings import show
from engine.cli.sites import CHANNEL_FILE, CHANNELS, find_site, read_site

if TYPE_CHECKING:
    from engine.config.site import LoadedChannel, LoadedSite
    from engine.pipeline.compile import CompiledChannel

Made = TypeVar("Made")


def split_site(words: Sequence[str], site: Path | None) -> tuple[Path, list[str]]:
    """The site's folder and the names of channels among `words`, whose first may be a site's folder.

    A folder of a channel is a name too.
    """
    names = list(words)
    if site is None and names and _is_folder_of_site(Path(names[0])):
        site = Path(names.pop(0))
    if site is None and names and (Path(names[0]) / CHANNEL_FILE).is_file():
        site = Path(names[0])
    folder = find_site(site)
    return folder, [Path(name).name if (Path(name) / CHANNEL_FILE).is_file() else name for name in names]


def _is_folder_of_site(path: Path) -> bool:
    """A site and not one of its channels: `adt` in the folder `channels` is a channel."""
    return path.is_dir() and path.resolve() == find_or_none(path)


def find_or_none(path: Path) -> Path | None:
    """The site around `path`, if there is one."""
    import click

    try:
        return find_site(path)
    except click.UsageError:
        return None


def loaded_channels(folder: Path, names: Sequence[str]) -> tuple["LoadedSite", list["LoadedChannel"]]:
    """The named channels of a site, or all of them.

    Raises Failure 78, with what is wrong shown, where one of them has errors: others do not matter.
    """
    site = read_site(folder)
    there = {channel.name: channel for channel in site.channels}
    known = sorted(path.parent.name for path in (folder / CHANNELS).glob(f"*/{CHANNEL_FILE}"))
    for name in names:
        if name not in known:
            raise misuse(f"no channel '{name}' in {folder}; there is {', '.join(known) or 'none'}")
    wanted = list(names) or known
    broken = [name for name in wanted if name not in there]
    if broken:
        places = tuple(f"{CHANNELS}/{name}/" for name in broken)
        show([f for f in site.findings if f.is_error and f.file.startswith(places)], folder)
        raise Failure(CONFIGURATION, f"channel {', '.join(broken)} has errors")
    return site, [channel for channel in site.channels if channel.name in wanted]


def compiled(channel: "LoadedChannel", folder: Path) -> "CompiledChannel":
    """The channel ready to run here, with the Python of its own: the person at the terminal asked for it.

    Raises Failure 78, with what is wrong shown, where that Python does not load. `folder` is the site's.
    """
    from engine.pipeline.compile import compile_channel
    from engine.pipeline.registry import load_steps

    return built(channel, folder, lambda: compile_channel(channel, load_steps(), runs_own_code=True))


def built(channel: "LoadedChannel", folder: Path, make: Callable[[], Made]) -> Made:
    """What `make` makes of the channel, whose Python it executes. Raises Failure 78 as `compiled` does."""
    from engine.cli.own_code import OwnCodeEnded, does_not_load, guarded
    from engine.pipeline.compile import ChannelError

    try:
        return guarded(make)
    except ChannelError as exc:
        show([exc.finding], folder)
    except OwnCodeEnded as exc:
        show([does_not_load(channel.shown, exc)], folder)
    raise Failure(CONFIGURATION, f"channel {channel.name} has errors")
