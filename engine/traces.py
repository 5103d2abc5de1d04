"""Traces of messages' journeys: wired where the site asks for them (ADR 52)."""

import socket
from pathlib import Path

from engine.adapters.errors import ConfigError
from engine.adapters.metrics import PrometheusMeter
from engine.adapters.waiting import tell_waiting
from engine.config.settings import SiteSettings
from engine.exit_codes import CONFIGURATION
from engine.failures import EngineFailed
from engine.ports.clock import Clock
from engine.runtime.committer import Committer


def start_tracing(
    settings: SiteSettings, folder: Path, clock: Clock, meter: PrometheusMeter, committer: Committer
) -> None:
    """Tell a collector from now on, until the committer is closed; nothing where the site names none.

    `folder`: the site's. Raises EngineFailed for settings that cannot be used.
    """
    if settings.traces is None:
        return
    from engine.adapters.tracing import OtlpTracing  # OpenTelemetry is loaded only where it is asked for

    store = settings.store if settings.store_kind == "memory" else str((folder / settings.store_path).resolve())
    # Not the full name: to find that waits for name servers, and without one the same engine would have another.
    instance = f"{socket.gethostname()}:{store}"
    try:
        tracing = OtlpTracing(settings.traces, folder, settings.environment, instance, clock, meter.traces())
    except ConfigError as error:
        raise EngineFailed(f"the collector of traces: {error}", CONFIGURATION) from error
    if why := tracing.why_unready():
        tell_waiting("traces", why)

    def unready() -> dict[str, str]:
        return {"traces": found} if (found := tracing.why_unready()) else {}

    meter.tls.sources.append(unready)
    tracing.start()
    committer.tracing = tracing
