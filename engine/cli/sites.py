"""Finds the site a command is about, and reads it as far as the command needs it."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from engine.cli.command import misuse
from engine.cli.exits import CONFIGURATION, MISUSE, Failure

if TYPE_CHECKING:
    from engine.config.site import LoadedSite
    from engine.model.store_key import StoreKeys

SITE_FILE: Final = "segmill.yaml"
CHANNELS: Final = "channels"
CHANNEL_FILE: Final = "channel.yaml"
STORE_FILE: Final = "segmill.db"
SITE_VARIABLE: Final = "SEGMILL_SITE"

site_argument = click.argument("site", required=False, type=click.Path(path_type=Path))
site_option = click.option(
    "--site", type=click.Path(path_type=Path), help=f"The site's folder; else the current one, else ${SITE_VARIABLE}."
)
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The engine's data folder; else as the site's segmill.yaml says.",
)


def is_site(folder: Path) -> bool:
    """A folder with segmill.yaml, or with a YAML file where a channel would have it."""
    return (folder / SITE_FILE).is_file() or any((folder / CHANNELS).glob("*/*.y*ml"))


def find_site(given: Path | None) -> Path:
    """The site's folder: as given, else the current folder or the nearest above it, else SEGMILL_SITE.

    A file or folder inside a site means that site. Raises a misuse that says where was looked.
    """
    if given is not None:
        found = _around(given)
        if found is None:
            raise misuse(f"{given} is no site: it has neither {SITE_FILE} nor {CHANNELS}/*/{CHANNEL_FILE}")
        return found
    if (found := _around(Path.cwd())) is not None:
        return found
    if named := os.environ.get(SITE_VARIABLE):
        if (found := _around(Path(named))) is not None:
            return found
        raise misuse(f"{SITE_VARIABLE} is {named}, which is no site")
    raise misuse(
        f"no site here: no {SITE_FILE} in this folder or above. Name the site's folder, set {SITE_VARIABLE}, "
        "or start one: segmill init my-site"
    )


def _around(place: Path) -> Path | None:
    resolved = place.resolve()
    start = resolved if resolved.is_dir() else resolved.parent
    if not resolved.exists():
        return None
    return next((folder for folder in (start, *start.parents) if is_site(folder)), None)


def read_site(folder: Path) -> "LoadedSite":
    """The site as it stands in its files, with all findings."""
    from engine.config.site import load_site
    from engine.pipeline.registry import RegistryError, load_kinds

    try:
        return load_site(folder, load_kinds(), os.environ)
    except RegistryError as exc:
        raise Failure(CONFIGURATION, str(exc), "Repair or remove that package.") from None


def require_site(folder: Path) -> "LoadedSite":
    """The site, or Failure 78 with the errors in it shown."""
    from engine.cli.findings import show

    loaded = read_site(folder)
    errors = [finding for finding in loaded.findings if finding.is_error]
    if errors:
        show(errors, folder)
        raise Failure(CONFIGURATION, f"the site in {folder} has errors", f"See them all: segmill check {folder}")
    return loaded


def _no_keys() -> "StoreKeys":
    from engine.model.store_key import NO_KEYS

    return NO_KEYS


@dataclass(slots=True, frozen=True)
class Whereabouts:
    """Where an engine keeps what it keeps. `store` is the database's file, `keys` what it is opened with.

    `searched_by`: the keys that its messages are looked up by; None where no site was read.
    """

    data: Path
    store: Path
    keys: "StoreKeys" = field(default_factory=_no_keys)
    searched_by: tuple[str, ...] | None = None


def whereabouts(site: Path | None, data: Path | None, *, needs_store: bool = True) -> Whereabouts:
    """Where the engine of a site keeps its store and control socket; errors in channel files do not matter here.

    `data` names the folder in so many words, as `segmill run --data` does. Not `needs_store`: one in memory will do.
    """
    if data is not None:
        return Whereabouts(data, data / STORE_FILE, _keys_beside(site))
    folder = find_site(site)
    loaded = read_site(folder)
    settings = loaded.site
    if settings is None:
        raise Failure(
            CONFIGURATION,
            f"{folder / SITE_FILE} has errors, so its data folder is not known",
            f"See them: segmill check {folder}. Or name the folder: --data DIR",
        )
    if settings.store_kind == "memory" and needs_store:
        raise Failure(MISUSE, f"{folder / SITE_FILE} keeps messages in memory only: nothing is stored to look at")
    keys = keys_of(loaded, folder)
    return Whereabouts(folder / settings.data, folder / settings.store_path, keys, loaded.keys.names)


KEY_CODES: Final = ("E580", "E581", "E582", "E583")


def keys_of(loaded: "LoadedSite", folder: Path) -> "StoreKeys":
    """What a site's store is opened with. Failure 78 where its key is none, or is not kept as it must be."""
    from engine.config.encryption import store_keys

    wrong = next((finding for finding in loaded.findings if finding.code in KEY_CODES), None)
    if wrong is not None:
        raise Failure(CONFIGURATION, f"{folder / SITE_FILE}: {wrong.code} {wrong.message}", wrong.hint)
    return store_keys(loaded.site.encryption if loaded.site is not None else None)


def _keys_beside(site: Path | None) -> "StoreKeys":
    """Of a store that is named by its folder: those of the site that is named, or that this folder is in."""
    found = _around(Path.cwd() if site is None else site)
    return _no_keys() if found is None else keys_of(read_site(found), found)
