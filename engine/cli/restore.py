"""`segmill restore`: a site, or its store, from a backup."""

import os
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import click

from engine.cli.command import json_option, subcommand
from engine.cli.exits import CANNOT_WRITE, CONFIGURATION, FINDINGS, STORE_FAILED, TRY_AGAIN, Failure
from engine.cli.output import count, emit, local_time, say
from engine.cli.progress import Copied
from engine.cli.sites import SITE_FILE, Whereabouts, data_option, is_site, read_site, whereabouts


@subcommand("restore", "segmill restore backups/monday restored-site")
@click.argument("backup", type=click.Path(path_type=Path))
@click.argument("to", type=click.Path(path_type=Path))
@data_option
@json_option("what was put back")
def command(backup: Path, to: Path, data: Path | None, as_json: bool) -> int:
    """Put a backup back: the site and its store, or the store alone.

    TO is a folder that is not there yet, or empty: then the site's files and its store are made in it. Or it is a site
    whose store is gone: then the store is put where its segmill.yaml says, and its files stay as they are. Nothing is
    ever overwritten, and an engine that runs is not touched: stop it, and move its store away first. The backup is
    checked from end to end before anything is made.

    What was received after the backup was made is not in it, though its senders were told AA: ask them to send it
    again. What was queued then may have been sent since; it goes out again, marked as perhaps a duplicate.
    """
    from engine.adapters.audit_check import ANCHOR
    from engine.adapters.backup import (
        BackupError,
        check_backup,
        put_site_back,
        put_store_back,
        site_files,
        store_key_of,
    )
    from engine.adapters.control_socket import user_name
    from engine.adapters.stores.copying import RestoredBy
    from engine.ports.store import StoreError, StoreInUse

    try:
        manifest = check_backup(backup)
        key = store_key_of(backup)
    except BackupError as exc:
        raise Failure(STORE_FAILED, str(exc), "Take another backup; nothing was changed.") from None
    progress = Copied()
    was_site = is_site(to)
    files = 0
    try:
        if not was_site:
            files = put_site_back(backup, manifest, to)
        place = _place(to, data, files, key)
        by = RestoredBy(user_name(os.geteuid()), time.time_ns() // 1000, f"backup of {manifest.made_at}")
        try:
            facts = put_store_back(backup, place.store, by, on_progress=progress.tell)
        finally:
            progress.clear()
    except BackupError as exc:
        raise Failure(CANNOT_WRITE if exc.is_full else FINDINGS, str(exc), _made(files, to)) from None
    except StoreInUse as exc:
        raise Failure(TRY_AGAIN, str(exc), "Stop that engine first.") from None
    except StoreError as exc:
        raise Failure(FINDINGS, str(exc), _made(files, to)) from None
    differing = 0
    if was_site:
        kept = {path.relative_to(to).as_posix() for path in site_files(to, [place.data, place.store])}
        differing = _differing(manifest.files, to, kept)
    if as_json:
        emit(
            {
                "store": str(place.store),
                "made_at": manifest.made_at,
                "messages": facts.messages,
                "last_seq": facts.last_seq,
                "queued": facts.queued,
                "held": facts.held,
                "key": key,
                "files": files,
                "differing_files": differing,
                "variables": list(manifest.variables),
            }
        )
        return 0
    made_at = datetime.fromisoformat(manifest.made_at).astimezone()
    say(f"{place.store}: {count(facts.messages, 'message')}, as of {made_at:%Y-%m-%d %H:%M:%S}")
    if facts.messages:
        say(f"The newest is {facts.last_seq}, received {local_time(facts.last_received_us)}.")
    say("What was received after that is not in it, though its senders were told AA: ask them to send it again.")
    if facts.queued:
        queued = count(facts.queued, "queued delivery goes", "queued deliveries go")
        say(f"{queued} out when an engine starts, marked as perhaps sent before.")
    if files:
        say(f"{count(files, 'file')} of the site are back in {to}.")
    if differing:
        say(f"The site's files were left as they are; {count(differing, 'file')} differ from those of the backup.")
    if (place.data / ANCHOR).exists():
        say(f"The audit went back with the store: move {place.data / ANCHOR} aside and keep it (segmill explain E484).")
    if key:
        configured = place.keys.by_id(key) is not None
        also = "" if configured else f", which {to / SITE_FILE} does not name: put it in its place before the start"
        say(f"The store is encrypted with the key {key}{also}.")
    if manifest.variables:
        say(f"From the environment, not in the backup: {', '.join(manifest.variables)}")
    say(f"Next: segmill check {to} --env, then segmill run {to}")
    return 0


def _place(to: Path, data: Path | None, files: int, key: str) -> Whereabouts:
    """Where the store goes. What hinders is mostly a key, or a value of the environment, that this machine has not."""
    try:
        return whereabouts(to, data)
    except Failure as exc:
        if exc.exit_code != CONFIGURATION:
            raise
        loaded = read_site(to)
        wrong = next((found for found in loaded.findings if found.is_error and found.file == SITE_FILE), None)
        reason = f"{to / SITE_FILE}:{wrong.line} {wrong.code} {wrong.message}" if wrong is not None else exc.sentence
        back = f"the site's files are back in {to}, its store is not: " if files else ""
        of_key = f" The store is encrypted with the key {key}: put that one in its place, no new one." if key else ""
        hint = f"Mend that, then the same command again: it puts the store back alone.{of_key}"
        raise Failure(CONFIGURATION, f"{back}{reason}", hint) from None


def _made(files: int, to: Path) -> str:
    return f"The site's files are back in {to}; put its store back with the same command." if files else ""


def _differing(files: Mapping[str, str], site: Path, kept: set[str]) -> int:
    """How many of the site's files are others than in the backup, on either side."""
    from engine.adapters.backup import SITE, digest_of

    backed_up = {name.removeprefix(f"{SITE}/"): digest for name, digest in files.items() if name.startswith(f"{SITE}/")}
    same = sum(name in kept and digest_of(site / name) == digest for name, digest in backed_up.items())
    return len(backed_up.keys() | kept) - same
