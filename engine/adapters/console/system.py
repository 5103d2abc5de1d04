"""The engine and its machine: version, store and disk, how long messages are kept, ports, certificates, plug-ins."""

import asyncio
import platform
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Final, Literal

from starlette.responses import Response

from engine import __version__
from engine.adapters.admin_app import READY_TIMEOUT_S
from engine.adapters.api.entries import Call, Page
from engine.adapters.console.overview import attention, seen
from engine.adapters.console.rendering import page
from engine.adapters.tls_status import RevocationList
from engine.config.console import ConsoleOptions
from engine.config.dicom import DicomOptions
from engine.config.listen import ListenOptions, ListenTls, is_loopback
from engine.config.settings import AdminPort, SiteSettings
from engine.config.site import LoadedSite
from engine.model.store_key import OLD_KEY_S
from engine.pipeline.registry import BUILT_IN
from engine.ports.store import StoreQueries

SECOND: Final = 1_000_000
DAY_S: Final = 86_400.0
LEAST_COVERED_S: Final = 3600.0
"""From less than this nothing is foretold."""
LONG_S: Final = 20 * 365 * DAY_S

Look = Literal["ok", "warn", "bad", "quiet"]


@dataclass(slots=True, frozen=True)
class Forecast:
    """By what came so far. `full_in_s`: None where the disk lasts, or nothing can be said."""

    bytes_a_day: float
    full_in_s: float | None


@dataclass(slots=True, frozen=True)
class Certificate:
    place: str
    days: float
    ends_us: int
    look: Look


@dataclass(slots=True, frozen=True)
class Port:
    """`guard`: how it is guarded, in words."""

    name: str
    address: str
    guard: str
    look: Look


@dataclass(slots=True, frozen=True)
class Kinds:
    """Steps, sinks, sources or stores of one package. `origin`: the package, with its version."""

    kind: str
    names: tuple[str, ...]
    origin: str
    is_ours: bool


async def system(call: Call) -> Response:
    api = call.api
    loaded = api.site()
    settings = loaded.site
    assert settings is not None, "an engine runs with a valid site"
    is_ready, told = await api.calls.ask(api.control.ready(), READY_TIMEOUT_S)
    retention = await api.calls.ask(api.control.retention(confirm=False), READY_TIMEOUT_S)
    channels = await seen(call)
    counts, oldest_us = await asyncio.to_thread(_of_store, api.queries)
    keys = await asyncio.to_thread(api.queries.keys_in_use)
    now_us = api.clock.now_us()
    store_bytes, free_bytes = api.meter.store_bytes, api.meter.disk_free_bytes
    context: dict[str, Any] = {
        "is_ready": is_ready,
        "told": told,
        "started_us": api.started_us,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "folder": str(api.folder),
        "store": settings.store,
        "store_bytes": store_bytes,
        "free_bytes": free_bytes,
        "low_bytes": settings.limits.low_disk,
        "least_bytes": settings.limits.free_disk,
        "keys": keys,
        "old_key_us": now_us - OLD_KEY_S * SECOND,
        "counts": counts,
        "oldest_us": oldest_us,
        "kept": settings.retention,
        "retention": retention,
        "lag_s": lag_s(settings, oldest_us, now_us),
        "forecast": forecast(store_bytes, free_bytes, settings.limits.free_disk, oldest_us, now_us),
        "certificates": certificates(api.meter.certificate_ends, now_us, api.meter.tls.lists),
        "ports": ports(loaded, {str(one.channel): one.listening for one in channels}),
        "plug_ins": await asyncio.to_thread(plug_ins),
        "metrics": _metrics(settings),
        "things": [one for one in await attention(api, call.who, channels) if one.to.startswith("/system")],
    }
    return page(call, "system.html", title="System", **context)


def _of_store(queries: StoreQueries) -> tuple[dict[str, int], int]:
    """How many messages are in each state, and when the oldest that is known was received; 0: there is none."""
    states: dict[str, int] = {}
    for (_, state), number in queries.counts().items():
        states[state] = states.get(state, 0) + number
    oldest = next(iter(queries.messages(newest_first=False)), None)
    return states, oldest.received_at_us if oldest is not None else 0


def forecast(
    store_bytes: int | None, free_bytes: int | None, least_bytes: int, oldest_us: int, now_us: int
) -> Forecast | None:
    """How the store grows, by what came since the oldest message that it has; None where that says too little.

    What is forgotten gives its room back, so this is how much comes, and what it comes to if nothing is forgotten.
    """
    covered_s = (now_us - oldest_us) / SECOND
    if store_bytes is None or free_bytes is None or not oldest_us or covered_s < LEAST_COVERED_S:
        return None
    a_day = store_bytes / covered_s * DAY_S
    full_in_s = max(0, free_bytes - least_bytes) / a_day * DAY_S if a_day > 0 else None
    return Forecast(a_day, full_in_s if full_in_s is not None and full_in_s < LONG_S else None)


def lag_s(settings: SiteSettings, oldest_us: int, now_us: int) -> float:
    """By how much the oldest message is older than the site lets messages grow; 0.0 where it is not.

    What is held or queued is never forgotten, so an old one of these is no lag of retention's.
    """
    kept = settings.retention.messages
    if kept is None or not oldest_us:
        return 0.0
    return max(0.0, (now_us - oldest_us) / SECOND - kept)


def certificates(
    ends: Mapping[str, float], now_us: int, lists: Mapping[str, RevocationList] | None = None
) -> list[Certificate]:
    """Those that end first come first, also of lists of revoked ones; the bounds are the alert's."""
    found = []
    for place, revoked in (lists or {}).items():
        left_s = revoked.ends_s - now_us / SECOND
        look: Look = "bad" if left_s <= 0 else "warn" if revoked.ends_soon(now_us / SECOND) else "ok"
        place = f"{place}: list of revoked certificates"
        found.append(Certificate(place, left_s / DAY_S, int(revoked.ends_s * SECOND), look))
    for place, end_s in ends.items():
        days = (end_s - now_us / SECOND) / DAY_S
        look = "bad" if days < 3 else "warn" if days < 21 else "ok"
        found.append(Certificate(place, days, int(end_s * SECOND), look))
    return sorted(found, key=lambda one: one.ends_us)


def ports(loaded: LoadedSite, listening: Mapping[str, str]) -> list[Port]:
    """Where others reach the engine. One that other machines reach in plain text is marked (reliability.md 4.3)."""
    found = []
    for channel in loaded.channels:
        name = str(channel.name)
        if name in listening:
            found.append(_port(name, listening[name], channel.file.listen.options))
    settings = loaded.site
    assert settings is not None
    if settings.dicom is not None:
        found.append(_guarded("dicom", settings.dicom))
    if settings.console is not None:
        found.append(_guarded("console", settings.console))
    if settings.admin is not None:
        found.append(_guarded("metrics", settings.admin))
    return found


def _port(name: str, address: str, options: ListenOptions) -> Port:
    """Of a channel, whose source may be a plug-in's: by what every source says of itself."""
    if options.plain_text:
        who = "from anybody" if options.admits_anybody else "from the addresses it allows"
        return Port(name, address, f"plain text to other machines, {who}", "bad" if options.admits_anybody else "warn")
    tls = getattr(options, "tls", None)
    if tls is not None:
        return _encrypted(name, address, tls)
    is_port = getattr(options, "port", None) is not None
    return Port(name, address, "this machine alone" if is_port else "no port", "ok")


def _guarded(name: str, options: DicomOptions | ConsoleOptions | AdminPort) -> Port:
    """Of the site's own."""
    address = f"{options.host}:{options.port}" if options.port else f"{options.host}, a free port"
    tls = None if isinstance(options, AdminPort) else options.tls
    if tls is not None:
        return _encrypted(name, address, tls)
    if is_loopback(options.host):
        return Port(name, address, "this machine alone", "ok")
    return Port(name, address, "plain text to other machines", "warn")


def _encrypted(name: str, address: str, tls: ListenTls) -> Port:
    return Port(name, address, "TLS, asks for a certificate" if tls.client_ca else "TLS", "ok")


def plug_ins() -> list[Kinds]:
    """Steps, sinks, sources and stores: those of others first, as they are what differs between sites."""
    found: dict[tuple[str, str, bool], set[str]] = {}
    for group, built_in in (*BUILT_IN.items(), ("engine.stores", {})):
        kind = group.removeprefix("engine.")
        for name in built_in:
            found.setdefault((kind, f"segmill {__version__}", True), set()).add(name)
        for point in entry_points(group=group):
            is_ours = point.value.startswith("engine.")
            other = f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value
            origin = f"segmill {__version__}" if is_ours else other
            found.setdefault((kind, origin, is_ours), set()).add(point.name)
    kinds = (Kinds(kind, tuple(sorted(names)), origin, is_ours) for (kind, origin, is_ours), names in found.items())
    return sorted(kinds, key=lambda one: (one.is_ours, one.kind, one.origin))


def _metrics(settings: SiteSettings) -> str:
    """Where they are; '' where they are off or on a port that is not known beforehand."""
    admin = settings.admin
    if admin is None or not admin.port:
        return ""
    host = f"[{admin.host}]" if ":" in admin.host else admin.host
    return f"http://{host}:{admin.port}/metrics"


PAGES: Final = (Page("GET", "/system", "see", "site", "The engine and its machine", system, "system", nav="System"),)
