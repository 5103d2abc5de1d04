"""What `segmill doctor` looks at. Everything is read, nothing changed; what is wrong comes with what to do.

Each check gives findings of its own topic, and a check that finds nothing gives a sentence of what is well: somebody
who looks wants to see that it was looked at.
"""

import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.cli.output import count
from engine.config.finding import ConfigFinding

if TYPE_CHECKING:
    from pydantic import BaseModel

    from engine.config.site import LoadedSite
    from engine.ports.store_file import StoreFile

CERTIFICATE_DAYS: Final = 30
LARGE_LOG_BYTES: Final = 512 * 1024 * 1024
QUICK_CHECK_BYTES: Final = 1024 * 1024 * 1024
AHEAD_S: Final = 120
"""A message that was received later than now, by more than that, came while the clock was another."""
RELEASED: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""No clock that is right says less."""
TIMESYNC: Final = Path("/run/systemd/timesync")


@dataclass(slots=True, frozen=True)
class Finding:
    """One thing that is not well. `place`: the file or address it is about, where there is one."""

    code: str
    message: str
    advice: str
    place: str = ""

    @property
    def is_error(self) -> bool:
        """Whether the engine cannot do its work by it, or soon cannot."""
        return self.code.startswith("E")


@dataclass(slots=True)
class Topic:
    """One check: what is well, or what is not."""

    name: str
    well: str = ""
    findings: list[Finding] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class Surroundings:
    """What is looked at. `status`: what the running engine says of itself, None where none runs; `not_ready`: why it
    takes nothing, '' where it does."""

    folder: Path
    loaded: "LoadedSite"
    data: Path
    store: Path | None
    now: datetime
    status: dict[str, Any] | None = None
    not_ready: str = ""
    is_deep: bool = False


def examine(around: Surroundings) -> list[Topic]:
    """Every check, in the order that somebody would look."""
    from engine.cli.examining_encryption import examine_encryption

    checks: Sequence[tuple[str, Callable[[Surroundings, Topic], None]]] = (
        ("versions", _versions),
        ("site", _site),
        ("engine", _engine),
        ("store", _store),
        ("encryption", examine_encryption),
        ("disk", _disk),
        ("surroundings", _reached),
        ("certificates", _certificates),
        ("clock", _clock),
        ("open files", _open_files),
        ("permissions", _permissions),
    )
    topics = []
    for name, check in checks:
        topic = Topic(name)
        check(around, topic)
        topics.append(topic)
    return topics


def _versions(around: Surroundings, topic: Topic) -> None:
    from engine import __version__
    from engine.adapters.stores.sqlite import OLDEST_SQLITE

    python = ".".join(map(str, sys.version_info[:3]))
    topic.well = f"Segmill {__version__}, Python {python}, SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE[:2]))
        message = f"Python's SQLite is {sqlite3.sqlite_version}; the store needs {oldest} or later"
        topic.findings.append(Finding("E499", message, "Use a newer Python, or one of a newer system."))


def _site(around: Surroundings, topic: Topic) -> None:
    topic.well = f"{count(len(around.loaded.channels), 'channel')} can run"
    topic.findings += map(_of_config, around.loaded.findings)


def _of_config(found: ConfigFinding) -> Finding:
    place = f"{found.file}:{found.line}:{found.column}" if found.line else found.file
    return Finding(found.code, found.message, found.hint or f"segmill explain {found.code}", place)


def _engine(around: Surroundings, topic: Topic) -> None:
    if around.status is None:
        topic.well = "none runs on this site"
        return
    topic.well = "it runs" if around.not_ready else "it runs, and takes messages"
    if around.not_ready:
        advice = "What it says is what to mend: room on the disk, a start or stop that is under way, its log."
        topic.findings.append(Finding("E494", f"it runs and is not ready: {around.not_ready}", advice))


def _store(around: Surroundings, topic: Topic) -> None:
    store = around.store
    if store is None:
        topic.well = "in memory: nothing is kept"
        return
    if not store.exists():
        topic.well = "there is none yet"
        return
    from engine.ports.store_file import StoreUnread

    size = store.stat().st_size
    log = store.with_name(f"{store.name}-wal")
    log_size = log.stat().st_size if log.exists() else 0
    try:
        if not _can_be_read(store, topic):
            return
        how = "integrity_check" if around.is_deep else "quick_check"
        if around.is_deep or size <= QUICK_CHECK_BYTES:
            _file(store).check(whole=around.is_deep)
        else:
            how = "not read through, as it is large: --deep does"
        schema = _file(store).identity().schema
        topic.well = f"{size / 1e6:,.1f} MB and {log_size / 1e6:,.1f} MB of log, schema {schema}, {how}"
    except StoreUnread as exc:
        if exc.is_locked:
            message = "it is locked by another process for longer than 5 s"
            advice = "See who has it open (lsof): no tool but the engine may write to it."
        else:
            message = f"it cannot be read as it should ({exc.kind})"
            advice = (
                "Keep a copy of it with its -wal file; put back a backup, or save what can be read: sqlite3 .recover"
            )
        topic.findings.append(Finding("E491", message, advice, str(store)))
    if log_size > LARGE_LOG_BYTES:
        message = f"its write-ahead log has {log_size / 1e6:,.0f} MB"
        advice = "A reader holds it: a backup or search that does not end, or another tool that has the store open."
        topic.findings.append(Finding("W493", message, advice, str(log)))


def _can_be_read(store: Path, topic: Topic) -> bool:
    """Whether it is a store that this engine can read."""
    found = _file(store).identity()
    schema, latest = found.schema, found.latest
    if not found.is_ours:
        advice = "See 'store' and 'data' in segmill.yaml."
        topic.findings.append(Finding("E491", "it is no store of Segmill", advice, str(store)))
        return False
    if schema > latest:
        message = f"it is of a newer Segmill (schema {schema}; this one knows {latest})"
        topic.findings.append(Finding("E499", message, "Run that version.", str(store)))
        return False
    if schema < latest:
        message = f"it is of an earlier Segmill (schema {schema} of {latest})"
        advice = "The next start brings it up, and keeps a copy beside it: see that there is room for one."
        topic.findings.append(Finding("W499", message, advice, str(store)))
    return True


def _file(store: Path) -> "StoreFile":
    from engine.adapters.stores.store_file import SqliteStoreFile

    return SqliteStoreFile(store)


def _disk(around: Surroundings, topic: Topic) -> None:
    settings = around.loaded.site
    if around.store is None or settings is None:
        topic.well = "nothing is stored"
        return
    folder = around.store.parent
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    topic.well = f"{usage.free / 1e9:,.1f} of {usage.total / 1e9:,.1f} GB free for the store"
    limits = settings.limits
    if usage.free < limits.free_disk:
        message = f"{usage.free:,} bytes are free; with less than {limits.free_disk:,} messages are refused"
        topic.findings.append(Finding("E492", message, _ROOM, str(folder)))
    elif usage.free < limits.low_disk:
        message = f"{usage.free:,} bytes are free, less than low_disk ({limits.low_disk:,})"
        topic.findings.append(Finding("W492", message, _ROOM, str(folder)))
    inodes = os.statvfs(folder)
    if inodes.f_files and inodes.f_favail < 1000:
        message = f"{inodes.f_favail} more files can be made on the store's disk"
        topic.findings.append(Finding("W492", message, "Remove what is many and small.", str(folder)))


_ROOM: Final = "Make room, or set retention; what was deleted is given back to the disk in slices."


def _reached(around: Surroundings, topic: Topic) -> None:
    from engine.cli.environment import environment_findings

    topic.well = "folders take files, receivers answer, ports are " + ("open" if around.status is not None else "free")
    topic.findings += map(_of_config, environment_findings(around.loaded, around.folder))


def _certificates(around: Surroundings, topic: Topic) -> None:
    from engine.adapters.errors import ConfigError
    from engine.adapters.tls import validity_of
    from engine.cli.lists import NEXT_LIST, list_trouble

    soonest: int | None = None
    for file, what in sorted(_certificate_files(around)):
        try:
            days = min((ends - around.now).days for _, ends in validity_of(file))
        except ConfigError as exc:
            topic.findings.append(Finding("E495", str(exc), "Put the right file there.", what))
            continue
        soonest = days if soonest is None else min(soonest, days)
        if days < 0:
            message = f"a certificate in {file} ended {-days} days ago"
            topic.findings.append(Finding("E495", message, "Renew it; then segmill reload takes it up.", what))
        elif days < CERTIFICATE_DAYS:
            message = f"a certificate in {file} ends in {days} days"
            topic.findings.append(Finding("W495", message, "Renew it; then segmill reload takes it up.", what))
    if soonest is None:
        topic.well = "none is named"
    else:
        topic.well = f"the first ends in {soonest} days" if soonest >= 0 else f"the first ended {-soonest} days ago"
    for file, what in sorted(_files_under(around, ("client_crl",))):
        try:
            code, message = list_trouble(file, around.now)
        except ConfigError as exc:
            code, message = "E495", str(exc)
        if code:
            topic.findings.append(Finding(code, message, NEXT_LIST, what))


def _certificate_files(around: Surroundings) -> set[tuple[Path, str]]:
    """Every file with certificates that the site names, and where it is named."""
    return _files_under(around, CERTIFICATE_KEYS)


def _files_under(around: Surroundings, keys: tuple[str, ...]) -> set[tuple[Path, str]]:
    """Every file that stands under one of these keys, and where."""
    found: set[tuple[Path, str]] = set()
    for channel in around.loaded.channels:
        found |= _named_in(channel.file.listen.options, channel.folder, channel.shown, keys)
        for destination in channel.file.destinations.values():
            found |= _named_in(destination.options, channel.folder, channel.shown, keys)
        back = channel.file.ack.connect_back
        if back is not None:
            found |= _named_in(back.options, channel.folder, channel.shown, keys)
    site = around.loaded.site
    if site is not None:
        for options in (site.dicom, site.console, site.audit, site.traces, *site.hand_offs.values()):
            found |= _named_in(options, around.folder, "segmill.yaml", keys)
    return found


CERTIFICATE_KEYS: Final = ("certificate", "client_ca", "ca")


def _named_in(model: object, folder: Path, shown: str, keys: tuple[str, ...]) -> set[tuple[Path, str]]:
    return {(folder / path, shown) for key, path in _files_in(model) if key in keys}


def _files_in(model: object) -> Iterator[tuple[str, str]]:
    """The files that a model names, with the key that names each, however deep it stands."""
    from pydantic import BaseModel

    from engine.config.types import FileText

    if isinstance(model, BaseModel):
        for key, value in _values(model):
            if isinstance(value, FileText):
                yield key, str(value)
            else:
                yield from _files_in(value)
    elif isinstance(model, dict):
        for value in model.values():
            yield from _files_in(value)
    elif isinstance(model, tuple | list):
        for value in model:
            yield from _files_in(value)


def _values(model: "BaseModel") -> Iterator[tuple[str, object]]:
    for name in type(model).model_fields:
        yield name, getattr(model, name)


def _span(seconds: float) -> str:
    """In what a person counts such a span by."""
    days = int(seconds // 86_400)
    return f"{days:,} days" if days >= 2 else f"{int(seconds // 60):,} minutes"


def _clock(around: Surroundings, topic: Topic) -> None:
    topic.well = f"{around.now:%Y-%m-%d %H:%M:%S} UTC"
    advice = "Set it right (chronyc tracking, timedatectl); retention waits until somebody confirms it."
    if around.now < RELEASED:
        topic.findings.append(Finding("E496", f"it says {around.now:%Y-%m-%d}, which is long past", advice))
    if TIMESYNC.is_dir() and not (TIMESYNC / "synchronized").exists():
        message = "the system has not been synchronised with a time server since it started"
        topic.findings.append(Finding("W496", message, "See timedatectl timesync-status."))
    newest_us = _newest_us(around.store)
    ahead = newest_us / 1e6 - around.now.timestamp()
    if ahead > AHEAD_S:
        message = f"the newest message was received {_span(ahead)} from now: the clock went back, or was ahead"
        topic.findings.append(Finding("W496", message, advice))


def _newest_us(store: Path | None) -> int:
    """When the newest message was received; 0 where that cannot be found out, which the store's check says."""
    if store is None or not store.exists():
        return 0
    from engine.ports.store_file import StoreUnread

    try:
        return _file(store).newest_us()
    except StoreUnread:
        return 0


def _open_files(around: Surroundings, topic: Topic) -> None:
    from engine.wiring import connections_possible

    possible = connections_possible()
    topic.well = f"enough for {possible:,} connections"
    settings = around.loaded.site
    if settings is None or settings.limits.connections <= possible:
        return
    message = f"the limit of open files leaves room for {possible:,} connections of {settings.limits.connections:,}"
    advice = "LimitNOFILE= in the unit of systemd, or ulimit -n; or set limits: {connections: ...} to what is meant."
    topic.findings.append(Finding("W497", message, advice))


def _permissions(around: Surroundings, topic: Topic) -> None:
    topic.well = "the store and the keys are for their owner only"
    if hasattr(os, "geteuid") and os.geteuid() == 0 and around.status is None:
        message = "this runs as root; an engine that is started so has rights that it does not need"
        topic.findings.append(Finding("W498", message, "Run it as a user of its own: see the unit in deploy/systemd."))
    confidential = [around.store, around.store.with_name(f"{around.store.name}-wal")] if around.store else []
    for path in (*confidential, *sorted(_key_files(around))):
        if path is None or not path.exists():
            continue
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO) and not _is_within_private(path):
            message = f"others than its owner may read or write it (mode {stat.S_IMODE(mode):04o})"
            topic.findings.append(Finding("W498", message, f"chmod go= {path}", str(path)))


def _key_files(around: Surroundings) -> set[Path]:
    found: set[Path] = set()
    models: list[tuple[object, Path]] = []
    for channel in around.loaded.channels:
        models.append((channel.file.listen.options, channel.folder))
        models += [(one.options, channel.folder) for one in channel.file.destinations.values()]
    if around.loaded.site is not None:
        site = around.loaded.site
        models += [(one, around.folder) for one in (site.dicom, site.audit, site.traces)]
        models += [(one, around.folder) for one in around.loaded.site.hand_offs.values()]
    for model, folder in models:
        found |= {folder / path for key, path in _files_in(model) if key == "key"}
    return found


def _is_within_private(path: Path) -> bool:
    """Whether a folder above it lets nobody else in."""
    return any(not folder.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for folder in path.resolve().parents)
