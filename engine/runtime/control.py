"""What people and tools ask of the running engine, carried out on its loop (ports.control)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from engine.model.ids import ChannelName, DestinationName, MessageSeq
from engine.ports.access import AccessEdit
from engine.ports.clock import Clock
from engine.ports.control import ActionReport, By, ChannelStatus, FeedStatus, LaneStatus, Order, RetentionReport
from engine.ports.hand_off import HandOffStatus
from engine.ports.operations import ENGINE, INTAKE, Change, Pause
from engine.ports.reload import Reloading, ReloadReport
from engine.ports.store import LaneDepth, StoreError, StoreQueries
from engine.ports.worklist import QueryRecord
from engine.runtime.channels import RunningChannel
from engine.runtime.committer import Committer
from engine.runtime.operations import Operator
from engine.runtime.retention import Retention

MOST_BLOCKED_SHOWN = 20
NOT_YET = ReloadReport("busy", "the engine is starting", exit_code=75)


class Listening(Protocol):
    """Where a channel's senders connect."""

    @property
    def address(self) -> str: ...

    @property
    def connection_count(self) -> int: ...


class EngineControl:
    """Status and actions over the channels that run."""

    def __init__(
        self,
        channels: Mapping[ChannelName, RunningChannel],
        committer: Committer,
        queries: StoreQueries,
        clock: Clock,
    ) -> None:
        self._channels = channels
        self.listening: Mapping[ChannelName, Listening] = {}
        self._queries = queries
        self._committer = committer
        self.operator = Operator(channels, committer, queries, clock)
        self.queries_asked: Callable[[], Sequence[QueryRecord]] = tuple
        self.feeds_now: Callable[[], Sequence[FeedStatus]] = tuple
        self.hand_offs_now: Callable[[], Sequence[HandOffStatus]] = tuple
        """What scanners asked for; nothing where the site has no port for them."""
        self.keeping: Retention | None = None
        self.reloading: Reloading | None = None
        self.leaving: Mapping[ChannelName, RunningChannel] = {}
        """Channels that the files no longer have, while they owe something; they listen nowhere."""
        self.failed_lanes: Mapping[str, str] = {}
        """Lanes whose task died, and what becomes of them. Intake is open all the same; what comes for them waits."""
        self.not_ready = "the engine is starting"
        """Why intake is closed; '' while it is open."""
        self.recorded: Callable[[], None] = lambda: None
        """Called after a row was written to the audit."""
        self.operator.recorded = lambda: self.recorded()
        self.console_failure: Callable[[], str] = lambda: ""
        """Why the console cannot be reached; that is no reason to take no messages."""

    async def ready(self) -> tuple[bool, str]:
        """Ready all the same while something is paused: that is a person's will, and nothing a restart would mend."""
        if self.not_ready:
            return False, self.not_ready
        told: list[str] = []
        if self.failed_lanes:
            told.append("; ".join(f"{name} failed and {what}" for name, what in self.failed_lanes.items()))
        if pauses := self.operator.pauses:
            places = (f"{p.channel}/{p.destination}" if p.destination else f"{p.channel} (intake)" for p in pauses)
            told.append(f"paused: {', '.join(places)}")
        if failure := self.console_failure():
            told.append(f"nobody reaches the console: {failure}")
        return True, "; ".join(told)

    async def plan(self) -> ReloadReport:
        return await self.reloading.plan() if self.reloading is not None else NOT_YET

    async def reload(self) -> ReloadReport:
        return await self.reloading.reload() if self.reloading is not None else NOT_YET

    def _blocked_by(
        self, depths: Sequence[LaneDepth]
    ) -> dict[tuple[ChannelName, DestinationName], tuple[MessageSeq, ...]]:
        """The messages that hold up a key each, of the lanes that have keys: the first few."""
        found: dict[tuple[ChannelName, DestinationName], tuple[MessageSeq, ...]] = {}
        for depth in depths:
            channel = self._channels.get(depth.channel)
            lane = None if channel is None else channel.lanes.get(depth.destination)
            if lane is not None and lane.settings.is_keyed and depth.blocked:
                rows = self._queries.queued_waiting(depth.channel, depth.destination, 0, MOST_BLOCKED_SHOWN)
                found[depth.channel, depth.destination] = tuple(row.seq for row in rows)
        return found

    async def status(self) -> Sequence[ChannelStatus]:
        found = await asyncio.to_thread(self._queries.depths)  # a queue of a million takes a while to count
        depths = {(d.channel, d.destination): d for d in found}
        blocked_by = await asyncio.to_thread(self._blocked_by, found)
        feeds = self.feeds_now()
        rows: list[ChannelStatus] = []
        for name, channel in {**self._channels, **self.leaving}.items():
            port = self.listening.get(name)
            lanes: list[LaneStatus] = []
            for destination, lane in (channel.lanes | channel.leaving).items():
                depth = depths.get((name, destination))
                lanes.append(
                    LaneStatus(
                        name,
                        destination,
                        lane.state,
                        depth.queued if depth else 0,
                        depth.held if depth else 0,
                        depth.oldest_us if depth else 0,
                        lane.attempts,
                        lane.last_note,
                        lane.head,
                        self._paused_by(name, destination),
                        depth.blocked if depth and lane.settings.is_keyed else 0,
                        blocked_by.get((name, destination), ()),
                    )
                )
            rows.append(
                ChannelStatus(
                    name,
                    port.address if port is not None else "",
                    port.connection_count if port is not None else 0,
                    channel.received,
                    dict(channel.outcomes),
                    tuple(lanes),
                    channel.senders.status(),
                    channel.version,
                    self._paused_by(name, INTAKE),
                    tuple(feed for feed in feeds if feed.channel == name),
                )
            )
        return rows

    async def retention(self, *, confirm: bool) -> RetentionReport:
        if self.keeping is None:
            return RetentionReport(False, "", 0, 0, 0)
        if confirm:
            self.keeping.confirm()
        return self.keeping.status()

    async def asked(self) -> Sequence[QueryRecord]:
        return self.queries_asked()

    async def hand_offs(self) -> Sequence[HandOffStatus]:
        return self.hand_offs_now()

    async def operate(self, order: Order) -> ActionReport:
        return await self.operator.operate(order)

    async def paused(self) -> Sequence[Pause]:
        return self.operator.pauses

    async def put_on_record(
        self,
        by: By,
        action: str,
        *,
        about: Sequence[str] = (),
        messages: Sequence[MessageSeq] = (),
        edits: Sequence[AccessEdit] = (),
        is_silent: bool = False,
    ) -> None:
        recorded = not is_silent
        change = Change(by, action, lanes=about, read=messages, access=edits, is_always_recorded=recorded)
        try:
            await self._committer.call(lambda store: store.operate(change))
        except ValueError as error:
            raise StoreError(str(error)) from error
        self.recorded()

    async def release(self, seqs: Sequence[MessageSeq], by: By = ENGINE) -> ActionReport:
        return await self.operator.operate(Order("release", by, messages=seqs))

    async def reprocess(self, seqs: Sequence[MessageSeq], by: By = ENGINE) -> ActionReport:
        return await self.operator.operate(Order("reprocess", by, messages=seqs))

    async def resend(
        self, seqs: Sequence[MessageSeq], destinations: Sequence[DestinationName] | None, by: By = ENGINE
    ) -> ActionReport:
        return await self.operator.operate(Order("resend", by, messages=seqs, destinations=destinations))

    async def discard(self, seqs: Sequence[MessageSeq], reason: str, by: By = ENGINE) -> ActionReport:
        return await self.operator.operate(Order("discard", replace(by, reason=reason), messages=seqs))

    def _paused_by(self, channel: ChannelName, destination: DestinationName) -> str:
        pause = self.operator.pause_of(channel, destination)
        if pause is None:
            return ""
        return f"{pause.actor}: {pause.reason}" if pause.reason else pause.actor
