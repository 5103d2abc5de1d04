"""What people and tools ask of the running engine, carried out on its loop (ports.control)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

from engine.model.envelope import Delivery, Reprocessed
from engine.model.finding import Finding, dump_findings, load_findings
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.states import DeliveryState, IllegalMove
from engine.ports.clock import from_us
from engine.ports.control import ActionReport, ChannelStatus, LaneStatus, RetentionReport
from engine.ports.reload import Reloading, ReloadReport
from engine.ports.store import CommitUnknown, Store, StoreBusy, StoredMessage, StoreError, StoreFull, StoreQueries
from engine.runtime.channels import RunningChannel, kept
from engine.runtime.committer import Committer
from engine.runtime.lane import Lane
from engine.runtime.retention import Retention

T = TypeVar("T")

NOT_YET = ReloadReport("busy", "the engine is starting", exit_code=75)
NO_SUCH = "there is no such message"


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
    ) -> None:
        self._channels = channels
        self.listening: Mapping[ChannelName, Listening] = {}
        self._committer = committer
        self._queries = queries
        self.keeping: Retention | None = None
        self.reloading: Reloading | None = None
        self.not_ready = "the engine is starting"
        """Why intake is closed; '' while it is open."""

    async def ready(self) -> tuple[bool, str]:
        return not self.not_ready, self.not_ready

    async def plan(self) -> ReloadReport:
        return await self.reloading.plan() if self.reloading is not None else NOT_YET

    async def reload(self) -> ReloadReport:
        return await self.reloading.reload() if self.reloading is not None else NOT_YET

    async def status(self) -> Sequence[ChannelStatus]:
        found = await asyncio.to_thread(self._queries.depths)  # a queue of a million takes a while to count
        depths = {(d.channel, d.destination): d for d in found}
        rows: list[ChannelStatus] = []
        for name, channel in self._channels.items():
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
                )
            )
        return rows

    async def retention(self, *, confirm: bool) -> RetentionReport:
        if self.keeping is None:
            return RetentionReport(False, "", 0, 0, 0)
        if confirm:
            self.keeping.confirm()
        return self.keeping.status()

    async def release(self, seqs: Sequence[MessageSeq]) -> ActionReport:
        report = _Report()
        for seq in seqs:
            message = self._queries.message(seq)
            if message is None:
                report.leave(seq, NO_SUCH)
            elif message.state == "held":
                await self._run_again(message, report)
            else:
                await self._move_deliveries(message, ("held", "failed"), "queued", "released", report)
        return report.made()

    async def reprocess(self, seqs: Sequence[MessageSeq]) -> ActionReport:
        report = _Report()
        for seq in seqs:
            message = self._queries.message(seq)
            if message is None:
                report.leave(seq, NO_SUCH)
            elif message.state not in ("processed", "filtered", "held"):
                report.leave(seq, f"a {message.state} message is not processed again")
            else:
                await self._run_again(message, report)
        return report.made()

    async def resend(self, seqs: Sequence[MessageSeq], destinations: Sequence[DestinationName] | None) -> ActionReport:
        report = _Report()
        for seq in seqs:
            message = self._queries.message(seq)
            if message is None:
                report.leave(seq, NO_SUCH)
                continue
            channel = self._channels.get(message.channel)
            if channel is None:
                report.leave(seq, f"its channel {message.channel} does not run")
            elif unknown := [d for d in destinations or () if d not in channel.lanes]:
                report.leave(seq, f"channel {channel.name} has no destination {', '.join(unknown)}")
            else:
                work = partial(_add_deliveries, seq=seq, destinations=destinations or channel.all_but_app_acks)
                added = await _through(self._committer.call(work), channel.offer, seq, report)
                if added is None:
                    continue
                if added:
                    report.moved(1, len(added))
                else:
                    report.leave(seq, "it was never delivered there")
        return report.made()

    async def discard(self, seqs: Sequence[MessageSeq], reason: str) -> ActionReport:
        report = _Report()
        note = Finding("I240", "information", f"discarded: {reason}")
        for seq in seqs:
            message = self._queries.message(seq)
            if message is None:
                report.leave(seq, NO_SUCH)
            elif message.state == "held":
                findings = dump_findings((*load_findings(message.findings), note))
                item = Reprocessed(seq, message.channel, message.version, "discarded", findings)
                if await self._recorded(item, lambda _: None, report) is not None:
                    report.moved(1, 0)
            else:
                await self._move_deliveries(message, ("held",), "failed", note.text, report)
        return report.made()

    # -- parts of the above ---------------------------------------------------------------------

    async def _run_again(self, message: StoredMessage, report: "_Report") -> None:
        """Through the channel as it is now; what comes out is queued behind what waits."""
        channel = self._channels.get(message.channel)
        if channel is None:
            report.leave(message.seq, f"its channel {message.channel} does not run")
        elif message.raw is None:
            report.leave(message.seq, "its bytes are no longer kept")
        else:
            with channel.turn() as version:
                result = kept(await channel.process(message.raw, from_us(message.received_at_us)))
                item = channel.reprocessed(message.seq, result, version)
                deliveries = await self._recorded(item, channel.offer, report)
            if deliveries is None:
                return
            if result.state == "held":
                reasons = "; ".join(f"{f.code} {f.text}" for f in result.findings) or "no reason was given"
                report.leave(message.seq, f"it is held again: {reasons}")
            else:
                report.moved(1, len(deliveries))

    async def _recorded(
        self, item: Reprocessed, offer: Callable[[Sequence[Delivery]], None], report: "_Report"
    ) -> Sequence[Delivery] | None:
        return await _through(self._committer.reprocess(item), offer, item.seq, report)

    async def _move_deliveries(
        self,
        message: StoredMessage,
        of: tuple[DeliveryState, ...],
        to: DeliveryState,
        note: str,
        report: "_Report",
    ) -> None:
        found = [d for d in self._queries.deliveries(message.seq, bodies=to == "queued") if d.state in of]
        if to == "queued" and any(d.body is None for d in found):
            report.leave(message.seq, "its bytes are no longer kept, or not what they were")
            return
        channel = self._channels.get(message.channel)
        lanes = [] if channel is None else [lane for d in found if (lane := channel.lanes.get(d.destination))]
        if found:

            def reread(_: int) -> None:
                for lane in dict.fromkeys(lanes):
                    lane.reread()

            work = partial(_move, ids=[d.id for d in found], to=to, note=note)
            moved = await _through(self._committer.call(work), reread, message.seq, report)
            if moved is not None:
                report.moved(0, moved)
        elif channel is not None and to == "queued" and (stopped := self._stopped_at(channel, message.seq)):
            for lane in stopped:
                lane.retry_now()
            report.moved(0, len(stopped))
        else:
            report.leave(message.seq, f"it is {message.state}, and none of its deliveries is {' or '.join(of)}")

    def _stopped_at(self, channel: RunningChannel, seq: MessageSeq) -> list[Lane]:
        """Lanes that stand still with this message at their head: a release lets them try again."""
        return [lane for lane in channel.lanes.values() if lane.state == "stopped" and lane.head == seq]


class _Report:
    """Gathers what an action did."""

    def __init__(self) -> None:
        self._messages = 0
        self._deliveries = 0
        self._left: list[tuple[MessageSeq, str]] = []

    def moved(self, messages: int, deliveries: int) -> None:
        self._messages += messages
        self._deliveries += deliveries

    def leave(self, seq: MessageSeq, why: str) -> None:
        self._left.append((seq, why))

    def made(self) -> ActionReport:
        return ActionReport(self._messages, self._deliveries, tuple(self._left))


async def _through(
    future: "asyncio.Future[T]", then: Callable[[T], None], seq: MessageSeq, report: _Report
) -> T | None:
    """What the store answers, or None after saying in the report why it did not do it.

    `then` follows in the same turn of the loop, before anything else is committed, and though whoever asked
    may have gone: a lane that does not hear of a delivery would leave it behind.
    """

    def ended(done: "asyncio.Future[T]") -> None:
        if not done.cancelled() and done.exception() is None:
            then(done.result())

    future.add_done_callback(ended)
    try:
        return await asyncio.shield(future)
    except IllegalMove:
        report.leave(seq, "somebody else changed it just now")
    except (StoreFull, StoreBusy):
        report.leave(seq, "the store has no room for it now")
    except CommitUnknown:
        raise
    except StoreError as error:
        report.leave(seq, str(error))
    return None


def _add_deliveries(
    store: Store, *, seq: MessageSeq, destinations: Sequence[DestinationName] | None
) -> Sequence[Delivery]:
    return store.add_deliveries(seq, destinations)


def _move(store: Store, *, ids: Sequence[DeliveryId], to: DeliveryState, note: str) -> int:
    return store.move_deliveries(ids, to, note)
