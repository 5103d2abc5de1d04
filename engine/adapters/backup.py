"""A backup: a folder with the store, the site's files, and a list of both that says what they must be.

`backup.json` is written last and the folder gets its name at the end, so that a folder of that name is whole. What a
backup holds is as confidential as the store: messages, and the keys of certificates that stand in the site's folder.
Values of the environment are not in it; their names are.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from engine.adapters.stores.copying import (
    CopyFacts,
    NoRoom,
    OnProgress,
    RestoredBy,
    check_copy,
    copy_store,
    find_room,
    key_of,
    put_back,
)
from engine.adapters.stores.place import sync_folder
from engine.ports.store import StoreError

FORMAT: Final = 1
MANIFEST: Final = "backup.json"
STORE: Final = "segmill.db"
SITE: Final = "site"
LEFT_OUT: Final = frozenset({".git", "__pycache__", ".venv", ".segmill"})
MOST_MANIFEST_BYTES: Final = 64 * 1024 * 1024
PIECE: Final = 1024 * 1024


class BackupError(Exception):
    """A backup that cannot be made, is not whole, or cannot be put back. `is_full`: for want of room."""

    def __init__(self, sentence: str, *, is_full: bool = False) -> None:
        super().__init__(sentence)
        self.is_full = is_full


@dataclass(slots=True, frozen=True)
class Manifest:
    """What `backup.json` says. `files`: SHA-256 by path in the backup. `variables`: what the site takes from the
    environment. `is_running`: an engine was at work on the store."""

    made_at: str
    version: str
    environment: str
    store: CopyFacts
    files: Mapping[str, str]
    variables: Sequence[str] = ()
    is_running: bool = False
    format: int = field(default=FORMAT)


def make_backup(
    site: Path,
    store: Path,
    target: Path,
    *,
    leave_out: Sequence[Path],
    at: datetime,
    version: str,
    environment: str = "",
    variables: Sequence[str] = (),
    is_running: bool = False,
    keep_free: int = 0,
    on_progress: OnProgress | None = None,
) -> Manifest:
    """Make the folder `target`, which is not there. `leave_out`: files and folders of the site that are not its own,
    such as the store's. Raises BackupError, and leaves nothing then."""
    if target.exists():
        raise BackupError(f"{target} is there already")
    part = target.with_name(f".{target.name}.part")
    try:
        if part.exists():
            shutil.rmtree(part)  # of a backup that was killed
        part.mkdir(mode=0o700, parents=True)
        facts = copy_store(store, part / STORE, keep_free=keep_free, on_progress=on_progress)
        files = {STORE: digest_of(part / STORE)}
        for path in site_files(site, [*leave_out, part, target]):
            name = f"{SITE}/{path.relative_to(site).as_posix()}"
            find_room(part, path.stat().st_size, keep_free)
            files[name] = _copy(path, part / name)
        manifest = Manifest(at.isoformat(), version, environment, facts, files, list(variables), is_running)
        _write(part / MANIFEST, json.dumps(asdict(manifest), indent=1, sort_keys=True).encode())
        sync_tree(part)
        part.rename(target)
        sync_folder(target.parent)
        return manifest
    except BaseException as exc:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(exc, NoRoom):
            raise BackupError(str(exc), is_full=True) from exc
        if isinstance(exc, StoreError):
            raise BackupError(str(exc)) from exc
        if isinstance(exc, OSError):
            is_full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
            raise BackupError(f"{exc.filename or target} cannot be written: {exc.strerror}", is_full=is_full) from exc
        raise


def site_files(site: Path, leave_out: Sequence[Path]) -> Iterator[Path]:
    """The files of a site's folder, in order; links are followed to files and not to folders."""
    left_out = {path.resolve() for path in leave_out}
    for folder, folders, files in os.walk(site):
        here = Path(folder)
        folders[:] = sorted(
            name for name in folders if name not in LEFT_OUT and (here / name).resolve() not in left_out
        )
        for name in sorted(files):
            path = here / name
            if path.is_file() and path.resolve() not in left_out:
                yield path


def read_backup(folder: Path) -> Manifest:
    """What a backup says of itself. Raises BackupError."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > MOST_MANIFEST_BYTES:
            raise BackupError(f"{path} is no list of a backup")
        said: Any = json.loads(path.read_bytes())
        if said["format"] != FORMAT:
            raise BackupError(f"{folder} was made by a newer Segmill (format {said['format']})")
        files = {str(name): str(digest) for name, digest in said["files"].items()}
        manifest = Manifest(
            str(said["made_at"]),
            str(said["version"]),
            str(said["environment"]),
            CopyFacts(**said["store"]),
            files,
            [str(name) for name in said["variables"]],
            bool(said["is_running"]),
        )
    except FileNotFoundError:
        raise BackupError(f"{folder} is no backup: there is no {MANIFEST} in it") from None
    except OSError as exc:
        raise BackupError(f"{path} cannot be read: {exc.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BackupError(f"{path} is damaged") from None
    for name in manifest.files:
        parts = name.split("/")
        if name != STORE and (parts[0] != SITE or len(parts) < 2 or {"", ".", ".."} & set(parts) or "\\" in name):
            raise BackupError(f"{path} is damaged: it names a file that is not in a backup")
    if STORE not in manifest.files:
        raise BackupError(f"{path} is damaged: it names no store")
    return manifest


def check_backup(folder: Path) -> Manifest:
    """Read a backup from end to end. Raises BackupError unless every file of it is what it was."""
    manifest = read_backup(folder)
    for name, digest in manifest.files.items():
        path = folder / name
        try:
            is_same = digest_of(path) == digest
        except OSError as exc:
            raise BackupError(f"{path} of the backup cannot be read: {exc.strerror}") from None
        if not is_same:
            raise BackupError(f"{path} of the backup is damaged: it is not what was backed up")
    try:
        if check_copy(folder / STORE) != manifest.store:
            raise BackupError(f"{folder / STORE} is not the store that was backed up")
    except StoreError as exc:
        raise BackupError(str(exc)) from exc
    return manifest


def store_key_of(folder: Path) -> str:
    """The id of the key that the store of a backup is encrypted with, or nothing. Raises BackupError."""
    try:
        return key_of(folder / STORE)
    except StoreError as exc:
        raise BackupError(str(exc)) from exc


def put_site_back(folder: Path, manifest: Manifest, site: Path) -> int:
    """Write a backup's site files into `site`, which is not there or empty; how many there are. Raises BackupError."""
    if site.exists() and (not site.is_dir() or any(site.iterdir())):
        raise BackupError(f"{site} is there and not empty: nothing is overwritten")
    part = site.with_name(f".{site.name}.restoring")
    names = [name for name in manifest.files if name != STORE]
    try:
        if part.exists():
            shutil.rmtree(part)  # of a restore that was killed
        part.mkdir(mode=0o700, parents=True)
        for name in names:
            if _copy(folder / name, part / name.removeprefix(f"{SITE}/")) != manifest.files[name]:
                raise BackupError(f"{folder / name} of the backup is damaged: it is not what was backed up")
        sync_tree(part)
        if site.exists():
            site.rmdir()  # empty, or it stays as it is
        part.rename(site)
        sync_folder(site.parent)
    except BaseException as exc:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(exc, OSError):
            raise BackupError(f"{site} cannot be written: {exc.strerror}") from exc
        raise
    return len(names)


def put_store_back(folder: Path, store: Path, by: RestoredBy, *, on_progress: OnProgress | None = None) -> CopyFacts:
    """As `copying.put_back`, of a backup that was checked. Raises BackupError, and StoreInUse."""
    try:
        return put_back(folder / STORE, store, by, on_progress=on_progress)
    except NoRoom as exc:
        raise BackupError(str(exc), is_full=True) from exc


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _copy(source: Path, target: Path) -> str:
    """Copy a file for its owner only; the digest of what was written."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = sha256()
    mode = 0o700 if source.stat().st_mode & 0o100 else 0o600
    with (
        source.open("rb") as file,
        os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as made,
    ):
        while piece := file.read(PIECE):
            made.write(piece)
            digest.update(piece)
        made.flush()
        os.fsync(made.fileno())
    return digest.hexdigest()


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_tree(folder: Path) -> None:
    """Make the names in a folder and below it durable."""
    for place, _, _ in os.walk(folder, topdown=False):
        sync_folder(Path(place))
