"""What is done to stored messages: released, processed again, sent again, given up. One slice of them at a time.

A slice says what is to be changed in the store, all in one transaction; until then nothing has been done.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from engine.model.envelope import Reprocessed
from engine.model.finding import Finding, dump_findings, load_findings
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import DeliveryState
from engine.pipeline.answer import APP_ACK
from engine.ports.clock import from_us
from engine.ports.control import ActionReport, Order, OrderRefused
from engine.ports.operations import ACT_FROM, Act, Change, Progress, Resend
from engine.ports.store import StoredMessage, StoreQueries
from engine.runtime.channels import RunningChannel, kept
from engine.runtime.lane import Lane
from engine.runtime.past import NoSuchVersion, PastChannels, Runs

NO_SUCH: Final = "there is no such message"

Pasts = dict[tuple[ChannelName, VersionId], Runs | str]
"""Channels as they were, or why they cannot be had; whoever has them closes them."""


class MessageSlice:
    """What is to be done to one slice of messages."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.reprocessed: list[Reprocessed] = []
        self.resends: list[Resend] = []
        self.moves: list[tuple[DeliveryId, DeliveryState]] = []
        self.lanes: dict[Lane, None] = {}
        self.heads: list[Lane] = []
        self.seqs_of_heads: list[MessageSeq] = []
        self._left: list[tuple[MessageSeq, str]] = []

    def leave(self, seq: MessageSeq, why: str) -> None:
        self._left.append((seq, why))

    def change(self, progress: Progress | None) -> Change:
        order = self.order
        act: Act | None = None
        note = ""
        if order.action == "release":
            act, note = "release", "released"
        elif order.action == "discard":
            act, note = "skip", f"discarded: {order.by.reason}"
        return Change(
            order.by,
            order.action,
            act,
            self.moves,
            note,
            resends=self.resends,
            reprocessed=self.reprocessed,
            read=self.seqs_of_heads,
            progress=progress,
            report=ActionReport(deliveries=len(self.heads), left=tuple(self._left)),
        )


class MessageOrders:
    """Finds out what an order comes to for each message."""

    def __init__(
        self, channels: Mapping[ChannelName, RunningChannel], queries: StoreQueries, past: PastChannels | None
    ) -> None:
        self._channels = channels
        self._queries = queries
        self.past = past

    async def gather(self, order: Order, seqs: Sequence[MessageSeq], pasts: Pasts) -> MessageSlice:
        """What is to be done to each of `seqs`; between two of them the loop turns."""
        work = MessageSlice(order)
        for seq in seqs:
            message = await asyncio.to_thread(self._queries.message, seq)
            if message is None:
                work.leave(seq, NO_SUCH)
                continue
            match work.order.action:
                case "release":
                    if message.state == "held":
                        await self._run_again(message, work, pasts)
                        # It may be held since a second run alone, and a delivery of the first be what a lane stands at.
                        if _released_from(work.order) == ACT_FROM["release"]:
                            self._let_lanes_go_on(message, work)
                    else:
                        await self._release(message, work)
                case "reprocess":
                    if message.state not in ("processed", "filtered", "held"):
                        work.leave(seq, f"a {message.state} message is not processed again")
                    else:
                        await self._run_again(message, work, pasts)
                case "resend":
                    await self._resend(message, work)
                case "discard":
                    await self._discard(message, work)
                case _:
                    raise OrderRefused(f"{work.order.action} is not for messages", is_temporary=False)
        return work

    async def _run_again(
        self,
        message: StoredMessage,
        work: MessageSlice,
        pasts: Pasts,
    ) -> None:
        """Through the channel as it is now, or was; what comes out is queued behind what waits."""
        channel = self._channels.get(message.channel)
        if channel is None:
            work.leave(message.seq, f"its channel {message.channel} does not run")
            return
        if message.raw is None:
            work.leave(message.seq, "its bytes are no longer kept")
            return
        as_of = work.order.as_of
        version = message.version if as_of == "received" else channel.version if as_of is None else as_of
        received_at = from_us(message.received_at_us)
        if as_of is None:
            with channel.turn() as version:
                result = await channel.process(message.raw, received_at)
        else:
            runs = await self._as_of(message.channel, version, pasts)
            if isinstance(runs, str):
                work.leave(message.seq, runs)
                return
            result = await runs.run(message.raw, received_at)
            result = replace(
                result, deliveries=[channel.compiled.keyed_now(draft, message.raw) for draft in result.deliveries]
            )
        result = kept(result)
        if foreign := [d.destination for d in result.deliveries if d.destination not in channel.lanes]:
            work.leave(message.seq, f"that version sends to {foreign[0]}, which the channel no longer has")
            return
        # That its sender was told of a time-out is no finding of a run, and decides what it is told next.
        told = [finding for finding in load_findings(message.findings) if finding.code == "E238"]
        findings = dump_findings((*told, *result.findings))
        item = Reprocessed(message.seq, channel.name, version, result.state, findings, result.deliveries)
        work.reprocessed.append(item)
        if result.state == "held":
            why = "; ".join(f"{f.code} {f.text}" for f in result.findings) or "no reason was given"
            work.leave(message.seq, f"it is held again: {why}")

    async def _as_of(self, channel: ChannelName, version: VersionId, pasts: Pasts) -> Runs | str:
        """The channel as it was, or why it cannot be had."""
        if (channel, version) not in pasts:
            if self.past is None:
                pasts[channel, version] = "this engine keeps no versions"
            else:
                try:
                    pasts[channel, version] = await self.past.get(channel, version)
                except NoSuchVersion as error:
                    pasts[channel, version] = str(error)
        return pasts[channel, version]

    async def _release(self, message: StoredMessage, work: MessageSlice) -> None:
        found = await asyncio.to_thread(self._queries.deliveries, message.seq, bodies=True)
        states = _released_from(work.order)
        waiting = [d for d in found if d.state in states]
        channel = self._channels.get(message.channel)
        if gone := [d.destination for d in waiting if channel is None or channel.lane(d.destination) is None]:
            work.leave(message.seq, no_lane(message.channel, gone[0], channel))
            waiting = [d for d in waiting if d.destination not in gone]
        if any(d.body is None for d in waiting):
            work.leave(message.seq, "its bytes are no longer kept, or not what they were")
        elif waiting:
            work.moves += [(d.id, d.state) for d in waiting]
            if channel is not None:
                lanes = (channel.lane(d.destination) for d in waiting)
                work.lanes |= {lane: None for lane in lanes if lane is not None}
        elif not self._let_lanes_go_on(message, work) and not gone:
            meant = " or ".join(sorted(states, reverse=True))
            work.leave(message.seq, f"it is {message.state}, and none of its deliveries is {meant}")

    def _let_lanes_go_on(self, message: StoredMessage, work: MessageSlice) -> bool:
        """Have the lanes that stand still for this message try it again; whether there are any."""
        channel = self._channels.get(message.channel)
        stopped = _stopped_at(channel, message.seq) if channel is not None else []
        if stopped:
            work.heads += stopped
            work.seqs_of_heads.append(message.seq)
        return bool(stopped)

    async def _resend(self, message: StoredMessage, work: MessageSlice) -> None:
        channel = self._channels.get(message.channel)
        destinations = work.order.destinations
        if channel is None:
            work.leave(message.seq, f"its channel {message.channel} does not run")
        elif unknown := [d for d in destinations or () if d not in channel.lanes]:
            work.leave(message.seq, f"channel {channel.name} has no destination {', '.join(unknown)}")
        elif destinations:
            await self._resend_to(message, channel, destinations, work)
        else:
            await self._resend_everywhere(message, channel, work)

    async def _resend_everywhere(self, message: StoredMessage, channel: RunningChannel, work: MessageSlice) -> None:
        """Where it was delivered to, as far as the channel still has that; what went on to another goes there alone."""
        found = await asyncio.to_thread(self._queries.deliveries, message.seq)
        last = {d.destination: d.state for d in found}
        wanted = [name for name, state in last.items() if state != "redirected" and name != APP_ACK]
        there = [name for name in wanted if name in channel.lanes]
        if gone := [name for name in wanted if name not in channel.lanes]:
            work.leave(message.seq, no_lane(message.channel, gone[0], channel))
        if there or not gone:
            await self._resend_to(message, channel, there, work)

    async def _resend_to(
        self, message: StoredMessage, channel: RunningChannel, to: Sequence[DestinationName], work: MessageSlice
    ) -> None:
        """The bytes as they are; their key by the order as it is now, which need not be that of the time."""
        keys: dict[DestinationName, tuple[str, bool]] = {}
        if any(channel.lanes[name].settings.is_keyed for name in to):
            found = await asyncio.to_thread(self._queries.deliveries, message.seq, bodies=True)
            bodies = {d.destination: d.body for d in found if d.destination in to and d.body is not None}
            made = {name: channel.compiled.key_now(body, name) for name, body in bodies.items()}
            keys = {name: key for name, key in made.items() if key is not None}
        work.resends.append(Resend(message.seq, to, keys))

    async def _discard(self, message: StoredMessage, work: MessageSlice) -> None:
        note = Finding("I240", "information", f"discarded: {work.order.by.reason}")
        if message.state == "held":
            findings = dump_findings((*load_findings(message.findings), note))
            work.reprocessed.append(Reprocessed(message.seq, message.channel, message.version, "discarded", findings))
            return
        found = await asyncio.to_thread(self._queries.deliveries, message.seq)
        if waiting := [d for d in found if d.state == "held"]:
            work.moves += [(d.id, d.state) for d in waiting]
        else:
            work.leave(message.seq, f"it is {message.state}, and none of its deliveries is held")


def no_lane(name: ChannelName, destination: DestinationName, channel: RunningChannel | None) -> str:
    """Why nothing can be queued there: nobody would send it."""
    return f"its channel {name} does not run" if channel is None else f"channel {name} has no destination {destination}"


def _released_from(order: Order) -> frozenset[DeliveryState]:
    """The states in which deliveries are meant: all that can be released, or what the person named of them."""
    return ACT_FROM["release"].intersection(order.only or ACT_FROM["release"])


def _stopped_at(channel: RunningChannel, seq: MessageSeq) -> list[Lane]:
    """Lanes that stand still for this message: a release lets them try again."""
    return [lane for lane in (channel.lanes | channel.leaving).values() if lane.is_stopped and lane.head == seq]
