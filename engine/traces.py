"""Traces of messages' journeys: wired where the site asks for them (ADR 52)."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING

from engine.adapters.errors import ConfigError
from engine.adapters.metrics import PrometheusMeter
from engine.config.settings import SiteSettings
from engine.exit_codes import CONFIGURATION
from engine.failures import EngineFailed
from engine.ports.clock import Clock
from engine.runtime.committer import Committer

if TYPE_CHECKING:
    from engine.adapters.tracing import OtlpTracing


class Traces:
    """Of one engine: nothing where the site names no collector, and OpenTelemetry is not loaded then."""

    def __init__(
        self, settings: SiteSettings, folder: Path, clock: Clock, meter: PrometheusMeter, committer: Committer
    ) -> None:
        """`folder`: the site's. Raises EngineFailed for files that cannot be used."""
        self._tracing: OtlpTracing | None = None
        if settings.traces is None:
            return
        from engine.adapters import tracing as otlp

        store = settings.store if settings.store_kind == "memory" else str((folder / settings.store_path).resolve())
        instance = f"{socket.getfqdn()}:{store}"
        try:
            tracing = otlp.OtlpTracing(settings.traces, folder, settings.environment, instance, clock, meter.traces())
        except ConfigError as error:
            raise EngineFailed(f"the collector of traces: {error}", CONFIGURATION) from error
        tracing.start()
        self._tracing = committer.tracing = tracing

    def stop(self) -> None:
        """Send what is left, for a moment. From any thread."""
        if self._tracing is not None:
            self._tracing.stop()
