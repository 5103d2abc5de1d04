"""`segmill backup`: a copy of the store and the site's files, while the engine runs."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.command import json_option, misuse, subcommand
from engine.cli.exits import CANNOT_WRITE, STORE_FAILED, UNREACHABLE, Failure
from engine.cli.output import count, emit, local_time, say
from engine.cli.progress import Copied
from engine.cli.sites import data_option, find_site, read_site, site_option, whereabouts

if TYPE_CHECKING:
    from engine.config.site import LoadedSite
    from engine.config.substitute import Origin


@subcommand(
    "backup", "segmill backup backups", "segmill backup before-upgrade", "segmill backup --check backups/monday"
)
@click.argument("to", type=click.Path(path_type=Path))
@click.option(
    "--check", is_flag=True, help="Make nothing: read the backup in this folder from end to end, and judge it."
)
@site_option
@data_option
@json_option("what was backed up, or checked,")
def command(to: Path, check: bool, site: Path | None, data: Path | None, as_json: bool) -> int:
    """Copy the store and the site's files into a folder, while the engine runs.

    TO is made. A folder that is there already gets a folder of its own for each backup, named by the time, so that a
    timer can name the same TO every night. The copy is of one moment, is checked from end to end, and either whole or
    not there. It holds patient data and the site's keys, and is readable by its owner only. Not in it: what the site
    takes from the environment, whose names are told; and the key of an encrypted store, which stays encrypted in it.
    """
    from engine import __version__
    from engine.adapters.backup import BackupError, Manifest, check_backup, make_backup, store_key_of
    from engine.adapters.control_socket import SOCKET_NAME, is_answered

    def told(manifest: Manifest, where: Path, what: str) -> int:
        facts = manifest.store
        key = store_key_of(where)
        if as_json:
            emit(
                {
                    "backup": str(where),
                    "made_at": manifest.made_at,
                    "messages": facts.messages,
                    "last_seq": facts.last_seq,
                    "size_bytes": facts.size_bytes,
                    "queued": facts.queued,
                    "held": facts.held,
                    "key": key,
                    "files": len(manifest.files) - 1,
                    "variables": list(manifest.variables),
                }
            )
            return 0
        newest = f", the last received {local_time(facts.last_received_us)}" if facts.messages else ""
        click.echo(str(where))
        say(f"{what}: {count(facts.messages, 'message')}{newest}")
        say(f"waiting in it: {facts.queued} queued and {facts.held} held deliveries")
        say(f"{count(len(manifest.files) - 1, 'file')} of the site; {facts.size_bytes / 1e6:,.1f} MB")
        if key:
            say(f"not in it: the key {key}, without which nobody reads its store")
        if manifest.variables:
            say(f"not in it, from the environment: {', '.join(manifest.variables)}")
        return 0

    if check:
        if site is not None or data is not None:
            raise misuse("--check is about the backup alone")
        try:
            return told(check_backup(to), to, "whole")
        except BackupError as exc:
            raise Failure(STORE_FAILED, str(exc), "Do not rely on it: make another.") from None
    folder = find_site(site)
    place = whereabouts(folder, data)
    if not place.store.is_file():
        raise Failure(
            UNREACHABLE, f"there is no store at {place.store}", "No engine has run here yet: segmill run SITE"
        )
    loaded = read_site(folder)
    now = datetime.now(UTC)
    environment = loaded.site.environment if loaded.site is not None else ""
    target = to / f"segmill-{environment + '-' if environment else ''}{now:%Y%m%dT%H%M%SZ}" if to.is_dir() else to
    progress = Copied()
    try:
        manifest = make_backup(
            folder,
            place.store,
            target,
            leave_out=[place.data, *place.store.parent.glob(f"{place.store.name}*"), *_keys(loaded, folder)],
            at=now,
            version=__version__,
            environment=environment,
            variables=variables_of(loaded.origins),
            is_running=is_answered(place.data / SOCKET_NAME),
            keep_free=loaded.site.limits.free_disk if loaded.site is not None else 0,
            on_progress=progress.tell,
        )
    except BackupError as exc:
        hint = "Name a folder on another disk, or make room." if exc.is_full else ""
        raise Failure(CANNOT_WRITE, str(exc), hint) from None
    finally:
        progress.clear()
    return told(manifest, target, "backed up")


def _keys(loaded: "LoadedSite", folder: Path) -> list[Path]:
    """The files that hold the store's key: with it beside the copy, the copy might as well be plain."""
    from engine.config.encryption import files_with_keys

    encryption = loaded.site.encryption if loaded.site is not None else None
    return [] if encryption is None else files_with_keys(encryption, loaded.origins, folder)


def variables_of(origins: "Sequence[Origin]") -> list[str]:
    """The names that `${NAME}` references ask the environment for."""
    names = (re.match(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-|\})", origin.reference) for origin in origins)
    return sorted({found[1] for found in names if found is not None})
