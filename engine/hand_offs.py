"""The site's hand-offs beside the engine's loop: each follows its worklist in the store, and fails alone (ADR 0024)."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from engine.adapters.errors import ConfigError
from engine.adapters.metrics import PrometheusMeter
from engine.config.hand_offs import HandOffOptions
from engine.config.settings import SiteSettings
from engine.exit_codes import CONFIGURATION
from engine.failures import EngineFailed
from engine.ports.clock import Clock
from engine.ports.hand_off import HandOffStatus, Taker
from engine.ports.store import StoreQueries
from engine.runtime.committer import Committer
from engine.runtime.hand_off import HandOff, Pace
from engine.runtime.tasks import Tasks

log = logging.getLogger("segmill.worklist")


def taker_of(name: str, options: HandOffOptions, site: Path) -> Taker:
    """Who takes the steps. Raises ConfigError for files that cannot be used."""
    # pydicom and the client for HTTP are loaded only where there is a hand-off.
    if options.folder is not None:
        from engine.adapters.hand_offs.folder import WlFolder

        return WlFolder(options.folder, site, name)
    if options.orthanc is not None:
        from engine.adapters.hand_offs.orthanc import OrthancWorklists

        return OrthancWorklists(options.orthanc, site, name)
    assert options.dcm4chee is not None, "the settings name one"
    from engine.adapters.hand_offs.dcm4chee import Dcm4cheeItems

    return Dcm4cheeItems(options.dcm4chee, site, name)


class HandOffs:
    """All of them."""

    def __init__(
        self,
        settings: SiteSettings,
        site: Path,
        queries: StoreQueries,
        committer: Committer,
        clock: Clock,
        meter: PrometheusMeter,
        tasks: Tasks,
        pace: Pace | None = None,
    ) -> None:
        self._settings = settings
        self._site = site
        self._queries = queries
        self._committer = committer
        self._clock = clock
        self._meter = meter
        self._tasks = tasks
        self._pace = pace
        self._running: list[HandOff] = []

    @property
    def status(self) -> Sequence[HandOffStatus]:
        """How they stand."""
        return [one.status for one in self._running]

    async def start(self) -> None:
        """Set all of them up, and let them run. Raises EngineFailed, StoreError."""
        await asyncio.to_thread(self._report_forgotten)
        for name, options in self._settings.hand_offs.items():
            try:
                taker = await asyncio.to_thread(taker_of, name, options, self._site)
            except ConfigError as error:
                raise EngineFailed(f"hand-off {name}: {error}", CONFIGURATION) from error
            meter = self._meter.hand_off(name)
            self._running.append(
                HandOff(
                    name,
                    options.worklist,
                    taker,
                    self._queries,
                    self._committer,
                    self._clock,
                    meter,
                    self._pace,
                )
            )
        for one in self._running:
            self._tasks.spawn(one.run(), f"hand-off {one.name}")

    def _report_forgotten(self) -> None:
        """What was handed over by a hand-off that the files do not name any more stays where it is, and is said."""
        with self._queries.hand_offs() as view:
            known = view.known()
        for name, count in known.items():
            if count and name not in self._settings.hand_offs:
                log.warning(
                    "%d steps were handed over by hand-off %s, which the site's files no longer have; they stay there",
                    count,
                    name,
                )
