"""`check --env`: whether what the files name is there on this machine, now.

The third pass after syntax and meaning (ux.md 2.1): ports can be opened, receivers answer, folders take files.
Nothing is sent to a receiver but a connection that is closed again.
"""

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from engine.cli.lists import NEXT_LIST, list_trouble
from engine.cli.words import why
from engine.config.finding import ConfigFinding, Position, at

if TYPE_CHECKING:
    from engine.adapters.sinks.mllp import MllpSinkSettings
    from engine.config.audit import SyslogOptions
    from engine.config.dicom import DicomOptions
    from engine.config.hand_offs import HandOffOptions
    from engine.config.settings import SiteSettings
    from engine.config.site import LoadedChannel, LoadedSite

ANSWER_WITHIN_S: Final = 5.0


def environment_findings(loaded: "LoadedSite", folder: Path) -> list[ConfigFinding]:
    """What of a site's surroundings is missing or in the way."""
    from engine.adapters.control_socket import SOCKET_NAME, is_answered

    findings: list[ConfigFinding] = []
    is_running = False
    if loaded.site is not None:
        data = folder / loaded.site.data
        if why := _not_writable(data):
            findings.append(ConfigFinding("E161", "segmill.yaml", 0, 0, 0, f"the data folder {data} {why}"))
        if loaded.site.store_kind == "sqlite":
            store = (folder / loaded.site.store_path).parent
            if store != data and (why := _not_writable(store)):
                findings.append(ConfigFinding("E161", "segmill.yaml", 0, 0, 0, f"the store's folder {store} {why}"))
        is_running = is_answered(data / SOCKET_NAME)
        admin = loaded.site.admin
        if admin is not None and not is_running and (why := _cannot_listen(admin.host, admin.port)):
            hint = "another engine? choose another port, or admin: off"
            message = f"the admin address {admin.host}:{admin.port} {why}"
            findings.append(ConfigFinding("E160", "segmill.yaml", 0, 0, 0, message, hint))
        console = loaded.site.console
        if console is not None and not is_running and (why := _cannot_listen(console.host, console.port)):
            message = f"the console's address {console.host}:{console.port} {why}"
            findings.append(ConfigFinding("E160", "segmill.yaml", 0, 0, 0, message, "another port: console: {port: N}"))
        if loaded.site.audit is not None and loaded.site.audit.syslog is not None:
            findings += asyncio.run(_of_audit(loaded.site.audit.syslog, folder))
        if loaded.site.dicom is not None:
            findings += _of_dicom(loaded.site.dicom, folder, is_running)
    for channel in loaded.channels:
        # An engine that runs on this site holds its own ports.
        if not is_running:
            findings += _of_listener(channel)
        findings += _of_list(channel)
        findings += _of_destinations(channel)
    findings += asyncio.run(_of_receivers(loaded.channels))
    findings += asyncio.run(_of_other_sinks(loaded.channels))
    if loaded.site is not None:
        findings += asyncio.run(_of_hand_offs(loaded.site.hand_offs, folder))
        findings += asyncio.run(_of_others(loaded.site))
    return findings


async def _of_hand_offs(hand_offs: "Mapping[str, HandOffOptions]", folder: Path) -> list[ConfigFinding]:
    """Folders that take files, APIs that can be connected to."""
    from engine.adapters.errors import ConfigError
    from engine.hand_offs import taker_of

    findings: list[ConfigFinding] = []
    for name, options in hand_offs.items():
        if options.folder is not None:
            path = folder / options.folder.path
            if why := _not_writable(path):
                findings.append(ConfigFinding("E161", "segmill.yaml", 0, 0, 0, f"hand-off {name}: {path} {why}"))
            continue
        try:
            taker = taker_of(name, options, folder)
        except ConfigError as exc:
            findings.append(ConfigFinding("E163", "segmill.yaml", 0, 0, 0, f"hand-off {name}: {exc}"))
            continue
        await taker.close()
        assert options.rest is not None, "it is no folder"
        if told := await _cannot_connect(*options.rest.server):
            message = f"hand-off {name}: {told}"
            hint = "steps for it would wait until it answers"
            findings.append(ConfigFinding("W160", "segmill.yaml", 0, 0, 0, message, hint))
    return findings


async def _of_others(site: "SiteSettings") -> list[ConfigFinding]:
    """The collector of traces and the identity provider, as far as a connection."""
    asked: list[tuple[str, str, str, str]] = []
    if site.traces is not None:
        hint = "traces would be lost until it answers; messages are not touched by that"
        asked.append((site.traces.url, "W566", "the collector of traces", hint))
    if site.console is not None and site.console.oidc is not None:
        hint = "nobody could sign in by it; local users can"
        asked.append((site.console.oidc.issuer, "W573", "the identity provider", hint))
    findings = []
    for url, code, what, hint in asked:
        parts = urlsplit(url)
        if told := await _cannot_connect(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)):
            findings.append(ConfigFinding(code, "segmill.yaml", 0, 0, 0, f"{what}: {told}", hint))
    return findings


async def _of_audit(syslog: "SyslogOptions", folder: Path) -> list[ConfigFinding]:
    """The repository of the audit: connected to, TLS and all, and told nothing."""
    from engine.adapters.errors import ConfigError
    from engine.adapters.syslog import repository_of, tls_context
    from engine.ports.audit_export import RepositoryDown

    try:
        tls_context(syslog, folder)
    except ConfigError as exc:
        return [ConfigFinding("E162", "segmill.yaml", 0, 0, 0, f"audit: {exc}")]
    limit = min(syslog.timeout, ANSWER_WITHIN_S)
    repository = repository_of(syslog.model_copy(update={"timeout": limit}), folder)
    try:
        await repository.open()
    except RepositoryDown as exc:
        hint = "the record would wait in the store until it answers"
        return [ConfigFinding("W563", "segmill.yaml", 0, 0, 0, f"the audit's repository: {exc}", hint)]
    await repository.close()
    return []


def _of_dicom(dicom: "DicomOptions", folder: Path, is_running: bool) -> Iterator[ConfigFinding]:
    """The port for scanners, and its TLS files."""
    from engine.adapters.errors import ConfigError
    from engine.adapters.tls import listen_context

    if not is_running and (why := _cannot_listen(dicom.host, dicom.port)):
        message = f"the DICOM port {dicom.host}:{dicom.port} {why}"
        yield ConfigFinding("E160", "segmill.yaml", 0, 0, 0, message, "which process has it: ss -ltnp")
    if dicom.tls is not None:
        try:
            listen_context(dicom.tls, folder)
        except ConfigError as exc:
            yield ConfigFinding("E162", "segmill.yaml", 0, 0, 0, f"dicom: {exc}")
            return
        if dicom.tls.client_crl is not None:
            code, message = list_trouble(folder / dicom.tls.client_crl, datetime.now(UTC))
            if code:
                yield ConfigFinding(code, "segmill.yaml", 0, 0, 0, f"dicom: {message}", NEXT_LIST)


def _of_listener(channel: "LoadedChannel") -> Iterator[ConfigFinding]:
    from engine.adapters.errors import ConfigError
    from engine.wiring import listener_settings

    mllp = channel.file.listen.mllp
    if mllp is None:
        yield from _of_source(channel)
        return
    if why := _cannot_listen(mllp.host, mllp.port):
        place = _place(channel, "listen", "mllp", "port")
        yield at(place, "E160", f"{mllp.host}:{mllp.port} {why}", "which process has it: ss -ltnp")
    try:
        listener_settings(mllp, channel.folder, channel.name)
    except ConfigError as exc:
        yield at(_place(channel, "listen", "mllp", "tls"), "E162", str(exc))


def _of_source(channel: "LoadedChannel") -> Iterator[ConfigFinding]:
    """A source beside MLLP: its folder, or its address and TLS files, by the names that such settings have."""
    listen = channel.file.listen
    options = listen.options
    if (folder := getattr(options, "folder", None)) is not None:
        inbox = channel.folder.parent.parent / str(folder)
        if why_not := _not_writable(inbox):
            place = _place(channel, "listen", listen.source, "folder")
            yield at(place, "E161", f"the folder {inbox} {why_not}", "as the user that runs the engine")
    host, port = getattr(options, "host", None), getattr(options, "port", None)
    if isinstance(host, str) and isinstance(port, int) and (why_not := _cannot_listen(host, port)):
        place = _place(channel, "listen", listen.source, "port")
        yield at(place, "E160", f"{host}:{port} {why_not}", "which process has it: ss -ltnp")
    yield from _of_tls(channel)


def _of_tls(channel: "LoadedChannel") -> Iterator[ConfigFinding]:
    from engine.adapters.errors import ConfigError
    from engine.adapters.tls import listen_context
    from engine.config.listen import ListenTls

    tls = getattr(channel.file.listen.options, "tls", None)
    if isinstance(tls, ListenTls):
        try:
            listen_context(tls, channel.folder)
        except ConfigError as exc:
            yield at(_place(channel, "listen", channel.file.listen.source, "tls"), "E162", str(exc))


def _of_list(channel: "LoadedChannel") -> Iterator[ConfigFinding]:
    """A list of revoked certificates that has run out, or is about to."""
    from engine.adapters.errors import ConfigError
    from engine.config.listen import ListenTls

    tls = getattr(channel.file.listen.options, "tls", None)
    if isinstance(tls, ListenTls) and tls.client_crl is not None:
        place = _place(channel, "listen", channel.file.listen.source, "tls", "client_crl")
        try:
            code, message = list_trouble(channel.folder / tls.client_crl, datetime.now(UTC))
        except ConfigError as exc:
            code, message = "E162", str(exc)
        if code:
            yield at(place, code, message, NEXT_LIST)


def _of_destinations(channel: "LoadedChannel") -> Iterator[ConfigFinding]:
    from engine.adapters.sinks.file import FileSinkSettings

    for name, destination in channel.file.destinations.items():
        if isinstance(destination.options, FileSinkSettings):
            folder = channel.folder.parent.parent / destination.options.folder
            if why := _not_writable(folder):
                place = _place(channel, "destinations", name, "file", "folder")
                yield at(place, "E161", f"the folder {folder} {why}", "as the user that runs the engine")


async def _of_receivers(channels: list["LoadedChannel"]) -> list[ConfigFinding]:
    """Every MLLP destination, and where acknowledgements go, all at the same time."""
    from engine.adapters.sinks.mllp import MllpSinkSettings

    tried = [
        _of_receiver(channel, ("destinations", name, "mllp"), destination.options)
        for channel in channels
        for name, destination in channel.file.destinations.items()
        if isinstance(destination.options, MllpSinkSettings)
    ]
    for channel in channels:
        back = channel.file.ack.connect_back
        if back is not None and isinstance(back.options, MllpSinkSettings):
            tried.append(_of_receiver(channel, ("ack", "connect_back"), back.options))
    return [finding for finding in await asyncio.gather(*tried) if finding is not None]


async def _of_other_sinks(channels: list["LoadedChannel"]) -> list[ConfigFinding]:
    """Every other destination is set up as the engine would, and where it has a server, that is knocked at."""
    from engine.adapters.errors import ConfigError
    from engine.adapters.sinks.mllp import MllpSinkSettings
    from engine.pipeline.registry import load_kinds
    from engine.ports.clock import SystemClock

    kinds = load_kinds().sinks
    findings: list[ConfigFinding] = []
    for channel in channels:
        for name, destination in channel.file.destinations.items():
            if isinstance(destination.options, MllpSinkSettings):
                continue
            kind = kinds[destination.sink]
            if getattr(kind, "needs_store", False):
                continue  # it writes into the engine's own store
            place = _place(channel, "destinations", name, destination.sink)
            try:
                sink = kind.open(  # type: ignore[attr-defined]  # the sinks' own side of the kind
                    destination.options, folder=channel.folder, lane=f"{channel.name}/{name}", clock=SystemClock()
                )
            except ConfigError as exc:
                findings.append(at(place, "E163", str(exc)))
                continue
            await sink.close()
            if told := await _cannot_reach(destination.options):
                findings.append(at(place, "W160", told, "messages for it would wait until it answers"))
    return findings


async def _cannot_reach(options: object) -> str:
    """Why a destination's server cannot be connected to; '' if it can, or has none that is known."""
    from engine.adapters.sinks.email import EmailSinkSettings
    from engine.adapters.sinks.http import HttpSinkSettings

    if isinstance(options, EmailSinkSettings):
        host, port = options.host, options.server_port
    elif isinstance(options, HttpSinkSettings):
        host, port = options.server
    else:
        return ""
    return await _cannot_connect(host, port)


async def _cannot_connect(host: str, port: int) -> str:
    """Why there is no connection; '' if there is one."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"{host}:{port} does not answer"
    except OSError as exc:
        return f"{host}:{port} cannot be connected to: {why(exc).lower()}"
    writer.close()
    return ""


async def _of_receiver(
    channel: "LoadedChannel", where: tuple[str, ...], settings: "MllpSinkSettings"
) -> ConfigFinding | None:
    from engine.adapters.errors import ConfigError
    from engine.adapters.mllp_connection import ConnectFailed, Target, connect

    tls = settings.tls
    try:
        context = tls.context(channel.folder) if tls is not None else None
    except ConfigError as exc:
        return at(_place(channel, *where, "tls"), "E162", str(exc))
    target = Target(
        settings.host,
        settings.port,
        tls=context,
        server_name=tls.server_name if tls is not None else None,
        connect_timeout_s=min(settings.connect_timeout, ANSWER_WITHIN_S),
    )
    try:
        connection = await connect(target)
    except ConnectFailed as exc:
        place = _place(channel, *where, "host")
        return at(place, "W160", str(exc), "messages for it would wait until it answers")
    connection.close()
    await connection.closed(1.0)
    return None


def _place(channel: "LoadedChannel", *path: str) -> Position:
    """Where a key stands, or the nearest one above it that does."""
    for length in range(len(path), 0, -1):
        if found := channel.positions.get(path[:length]):
            return found
    return Position(channel.shown, 1, 1)


def _cannot_listen(host: str, port: int) -> str:
    """Why an address cannot be listened on; '' if it can."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as exc:
        return f"cannot be listened on: {why(exc).lower()}"
    return ""


def _not_writable(folder: Path) -> str:
    """Why files cannot be made in a folder, which may not be there yet; '' if they can."""
    there = folder
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        return f"cannot be made: {there} is a file"
    if not os.access(there, os.W_OK | os.X_OK):
        return "cannot be written to" if there == folder else f"cannot be made: {there} cannot be written to"
    return ""
