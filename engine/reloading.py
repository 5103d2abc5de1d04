"""Reload and plan: read the site's files anew, say what that changes, and have it done, or leave all as it is."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from engine.adapters.errors import ConfigError
from engine.assembly import Assembly, ports_of, source_place
from engine.config.changes import SiteChange, SiteState, compare, listen_change, needs_restart, read_state
from engine.config.finding import ConfigFinding
from engine.config.site import LoadedSite
from engine.exchange import Exchange
from engine.exit_codes import CONFIGURATION, TRY_AGAIN, UNREACHABLE
from engine.failures import EngineFailed
from engine.hand_offs import HandOffs
from engine.model.ids import ChannelName
from engine.planning import Facts, place_notes, planned, planned_report, report_of
from engine.ports.reload import FileError, ReloadReport
from engine.runtime.sources import shared_places
from engine.scanners import Scanners

log = logging.getLogger("segmill")

BUSY = ReloadReport("busy", "another reload is under way", exit_code=TRY_AGAIN)
STOPPING = ReloadReport("busy", "the engine is stopping", exit_code=TRY_AGAIN)


class Reloader:
    """One engine's reloads, one at a time. `read` gives the site as its files say now; `taken` is told of a new one."""

    def __init__(
        self,
        assembly: Assembly,
        scanners: Scanners,
        hand_offs: HandOffs,
        state: SiteState,
        read: Callable[[], LoadedSite],
        taken: Callable[[LoadedSite], None],
    ) -> None:
        self._assembly = assembly
        self._scanners = scanners
        self._hand_offs = hand_offs
        self._state = state
        self._started = state.settings
        """By which the store, the data folder and the admin port were opened, until the next start."""
        self._read = read
        self._taken = taken
        self._turn = asyncio.Lock()
        self.is_stopping = False

    async def plan(self) -> ReloadReport:
        """As Reloading.plan."""
        found = await asyncio.to_thread(self._look)
        if isinstance(found, ReloadReport):
            return found
        change = self._compare(found)
        facts = await self._facts(found)
        notes = place_notes(self._started, found.settings, facts)
        return planned_report(change, planned(change, self._state, found, facts), notes)

    async def reload(self, *, wait: bool = False) -> ReloadReport:
        """As Reloading.reload; `wait`: behind one that is under way, which may have read files too early."""
        if self._turn.locked() and not wait:
            return BUSY
        async with self._turn:
            exchange: list[Exchange] = []
            report = STOPPING if self.is_stopping else await self._reload(exchange)
        for done in exchange:
            report = replace(report, pending=tuple(await done.settle()))
        _tell(report)
        return report

    async def ended(self) -> None:
        """No further reload begins, and the one under way is over: a stop comes behind it."""
        self.is_stopping = True
        async with self._turn:
            return

    async def _reload(self, done: list[Exchange]) -> ReloadReport:
        found = await asyncio.to_thread(self._look)
        if isinstance(found, ReloadReport):
            return found
        change = self._compare(found)
        facts = await self._facts(found)
        notes = place_notes(self._started, found.settings, facts)
        if change.is_empty and not self._is_missing_any(found):
            report = report_of("unchanged", change, (), notes)
            if report.needs_restart:
                return report
            return replace(report, sentence="the files say what runs already")
        channels = planned(change, self._state, found, facts)
        changed = [one.name for one in change.channels]
        exchange = Exchange(self._assembly, self._scanners, self._hand_offs, self._state, found, changed)
        try:
            await exchange.prepare()
        except (EngineFailed, ConfigError) as failure:
            await exchange.give_up()
            code = failure.exit_code if isinstance(failure, EngineFailed) else CONFIGURATION
            return ReloadReport("rejected", f"{failure}; everything runs on as before", exit_code=code)
        except BaseException:
            await exchange.give_up()
            raise
        if self.is_stopping:
            await exchange.give_up()
            return STOPPING
        # A task of its own: whoever asked may go, and a defect half-way ends the engine, which is safe at any time.
        work = self._assembly.tasks.spawn(exchange.carry_out(), "reload")
        await asyncio.wait({work})
        if work.cancelled() or work.exception() is not None:
            return STOPPING
        done.append(exchange)
        self._state = found
        self._taken(found.site)
        report = report_of("taken", change, channels, notes)
        if exchange.failures:
            sentence = f"taken up, but: {'; '.join(exchange.failures)}. Correct that, then reload again"
            report = replace(report, sentence=sentence, exit_code=UNREACHABLE)
        return report

    def _compare(self, found: SiteState) -> SiteChange:
        """With what runs; what needs a restart is told at each reload, until there was one."""
        return replace(compare(self._state, found), not_live=needs_restart(self._started, found.settings))

    def _look(self) -> SiteState | ReloadReport:
        """The site as its files say now, or what is wrong with them."""
        site = self._read()
        errors = [finding for finding in site.findings if finding.is_error]
        if errors or not site.is_valid:
            sentence = (
                f"the site's files have {len(errors)} error{'s' * (len(errors) != 1)}; everything runs on as before"
            )
            return ReloadReport("rejected", sentence, errors=tuple(map(_error, errors)), exit_code=CONFIGURATION)
        return read_state(site)

    def _is_missing_any(self, found: SiteState) -> bool:
        """Whether something should listen that does not: an address was taken by others at the last reload."""
        channels = found.site.channels
        return not (
            ports_of(channels).keys() <= self._assembly.ports.keys()
            and {source_place(shared) for shared in shared_places(channels)} <= self._assembly.sources.keys()
        )

    async def _facts(self, found: SiteState) -> Facts:
        queries = self._assembly.queries
        depths = await asyncio.to_thread(queries.depths)
        return Facts(depths, queries.counts(), self._connections(found))

    def _connections(self, found: SiteState) -> dict[ChannelName, int]:
        """Open ones by channel, of ports that close or open anew."""
        closed: dict[ChannelName, int] = {}
        wanted = ports_of(found.site.channels)
        for place, port in self._assembly.ports.items():
            sharing = wanted.get(place)
            if sharing is None or listen_change(port.channels[0], sharing[0], same_files=True) != "none":
                closed |= dict.fromkeys((c.name for c in port.channels), port.listener.connection_count)
        return closed


def _error(finding: ConfigFinding) -> FileError:
    return FileError(
        finding.code, finding.file, finding.line, finding.column, finding.length, finding.message, finding.hint
    )


def _tell(report: ReloadReport) -> None:
    """In the log: what a person who sent a signal has to read."""
    if report.outcome in ("rejected", "busy"):
        log.error("reload: %s", report.sentence)
        for error in report.errors:
            hint = f" ({error.hint})" if error.hint else ""
            place = f"{error.file}:{error.line}:{error.column}" if error.line else error.file
            log.error("%s %s %s%s", place, error.code, error.message, hint)
        return
    log.log(logging.WARNING if report.exit_code else logging.INFO, "reload: %s", report.sentence)
    for channel in report.channels:
        what = f" ({', '.join(channel.what)})" if channel.what else ""
        notes = "".join(f"; {note}" for note in channel.notes)
        log.info("reload: channel %s %s%s%s", channel.channel, channel.change, what, notes)
    for note in report.notes:
        log.warning("reload: %s", note)
    for pending in report.pending:
        log.info("reload: still going on: %s", pending)
