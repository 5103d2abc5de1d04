"""The site's hand-offs beside the engine's loop: each follows its worklist in the store, and fails alone (ADR 0024)."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from engine.adapters.errors import ConfigError, TlsFilesError
from engine.adapters.metrics import PrometheusMeter
from engine.adapters.waiting import WaitingTaker, tell_waiting
from engine.config.hand_offs import HandOffOptions
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
    """All of them, over reloads."""

    def __init__(
        self,
        site: Path,
        queries: StoreQueries,
        committer: Committer,
        clock: Clock,
        meter: PrometheusMeter,
        tasks: Tasks,
        pace: Pace | None = None,
    ) -> None:
        self._site = site
        self._queries = queries
        self._committer = committer
        self._clock = clock
        self._meter = meter
        self._tasks = tasks
        self._pace = pace
        self._running: dict[str, tuple[HandOff, asyncio.Task[None]]] = {}
        meter.tls.sources.append(self._unready)

    @property
    def status(self) -> Sequence[HandOffStatus]:
        """How they stand."""
        return [one.status for one, _ in self._running.values()]

    async def start(self, options: Mapping[str, HandOffOptions]) -> None:
        """Set all of them up, and let them run; one may wait for its TLS files. Raises EngineFailed, StoreError."""
        (await self.prepare(options, frozenset(options), may_wait=True)).carry_out()
        with self._queries.hand_offs() as view:
            known = view.known()
        for name, count in known.items():
            if name not in options:
                _tell_what_stays(name, count)

    async def prepare(
        self, options: Mapping[str, HandOffOptions], others: frozenset[str], *, may_wait: bool = False
    ) -> "NextHandOffs":
        """What a reload makes of them; `others`: those that come, go or are others. Raises EngineFailed, also for TLS
        files that cannot be used unless it `may_wait` for them (ADR 58).
        """
        following = NextHandOffs(self, others)
        for name in sorted(others & options.keys()):
            try:
                taker = await asyncio.to_thread(self._taker, name, options[name], may_wait)
            except ConfigError as error:
                await following.give_up()
                raise EngineFailed(f"hand-off {name}: {error}", CONFIGURATION) from error
            following.made[name] = HandOff(
                name,
                options[name].worklist,
                taker,
                self._queries,
                self._committer,
                self._clock,
                self._meter.hand_off(name),
                self._pace,
            )
        return following

    def _taker(self, name: str, options: HandOffOptions, may_wait: bool) -> Taker:
        make = partial(taker_of, name, options, self._site)
        try:
            return make()
        except TlsFilesError as error:
            if not may_wait:
                raise
            tell_waiting(f"hand-off {name}", str(error))
            return WaitingTaker("orthanc" if options.orthanc is not None else "dcm4chee", make, str(error))

    def _unready(self) -> dict[str, str]:
        """Those that wait for their TLS files."""
        running = [one for one, _ in list(self._running.values())]
        return {f"hand_offs/{one.name}": why for one in running if (why := one.why_unready)}

    def take_up(self, following: "NextHandOffs") -> None:
        """Let those run, each behind the end of the one that it takes the place of."""
        for name in following.others:
            old, before = self._running.pop(name, (None, None))
            if before is not None:
                before.cancel()
            if old is not None and name not in following.made:
                _tell_what_stays(name, old.status.handed)
            if (made := following.made.get(name)) is not None:
                self._running[name] = made, self._tasks.spawn(_run(made, before), f"hand-off {name}")
            else:
                self._meter.hand_offs.pop(name, None)
        self._running = dict(sorted(self._running.items()))


@dataclass(slots=True, frozen=True)
class NextHandOffs:
    """What a reload makes of them: `carry_out`, or `give_up`."""

    hand_offs: HandOffs
    others: frozenset[str]
    made: dict[str, HandOff] = field(default_factory=dict)

    def carry_out(self) -> None:
        """Hand over by them from now on."""
        self.hand_offs.take_up(self)

    async def give_up(self) -> None:
        """Let go of what was made; what runs was not touched."""
        for one in self.made.values():
            await one.close()


async def _run(one: HandOff, before: asyncio.Task[None] | None) -> None:
    """Two never write to one place."""
    try:
        if before is not None:
            await asyncio.wait({before})
    except asyncio.CancelledError:
        await one.close()
        raise
    await one.run()


def _tell_what_stays(name: str, count: int) -> None:
    """What was handed over by a hand-off that the files do not name any more stays where it is, and is said."""
    if count:
        log.warning(
            "%d steps were handed over by hand-off %s, which the site's files no longer have; they stay there",
            count,
            name,
        )
