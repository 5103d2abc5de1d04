"""What people do to messages and queues, carried out beside a running engine.

Rules:

- what was planned is what is done: each delivery is moved only from the state that it had in the plan, and where one
  has changed before anything was done, nothing is done;
- a queued delivery is its lane's: the lane starts no attempt and has let go of it before it is moved, and reads its
  queue again before it goes on, so that none is sent that was taken away, and none is sent twice;
- work is done in slices, each one transaction with its record in the audit and with how far the run has come, so that
  neither the loop nor the committer stands for a hundred thousand of them, and a crash leaves whole slices;
- under one key everything is done once: a run that was cut off goes on where it was, one that ended is only reported.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Final, TypeVar

from engine.model.audit import ranges
from engine.model.envelope import DraftDelivery
from engine.model.finding import load_findings
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.states import DeliveryState
from engine.pipeline.outputs import CannotRewrite
from engine.ports.clock import Clock
from engine.ports.control import ActionReport, Order, OrderRefused
from engine.ports.operations import (
    INTAKE,
    MOST_LEFT,
    Act,
    Change,
    Changed,
    Pause,
    Progress,
    StepChanged,
    StepMove,
)
from engine.ports.store import Store, StoreBusy, StoreError, StoreFull, StoreQueries
from engine.ports.worklist import Teller
from engine.runtime.channels import RunningChannel
from engine.runtime.committer import Committer
from engine.runtime.edited import Edited, Refusal, reasons
from engine.runtime.lane import Lane
from engine.runtime.message_orders import MessageOrders, MessageSlice, Pasts, no_lane
from engine.runtime.past import PastChannels
from engine.runtime.turnstile import Turnstile

T = TypeVar("T")

SLICE: Final = 500
"""Deliveries in one transaction: a few milliseconds on the writer's thread, and then others have their turn."""
SLICE_BYTES: Final = 16 << 20
MESSAGES_SLICE: Final = 100
LET_GO_S: Final = 45.0
"""How long an attempt at hand is waited for; most receivers have 30 s for their answer."""
NO_ROOM: Final = "the store has no room for it now"
NOTES: Final[dict[Act, str]] = {"hold": "held by", "release": "released by", "skip": "skipped by", "redirect": ""}


class Operator:
    """Carries out orders over the channels that run."""

    def __init__(
        self,
        channels: Mapping[ChannelName, RunningChannel],
        committer: Committer,
        queries: StoreQueries,
        clock: Clock,
        past: PastChannels | None = None,
    ) -> None:
        self._channels = channels
        self._committer = committer
        self._queries = queries
        self._edited = Edited(channels, queries, clock)
        self._messages = MessageOrders(channels, queries, past)
        self._running: dict[str, tuple[bytes, asyncio.Future[ActionReport]]] = {}
        self._pauses: dict[tuple[ChannelName, DestinationName], Pause] = {}
        self.lanes_stay = Turnstile()
        """Held while an order is carried out: its lanes are not exchanged by a reload meanwhile."""
        self.leaving: Mapping[ChannelName, RunningChannel] = {}
        """Channels that the files no longer have, while something waits in them."""
        self.tell: Teller | None = None
        """Makes what the ordering system is told of a step that is moved by hand."""
        self.recorded: Callable[[], None] = lambda: None
        """Called after each change, which may have written to the audit."""

    def keep_past(self, past: PastChannels) -> None:
        """Where channels as they were come from."""
        self._messages.past = past

    # -- pauses ---------------------------------------------------------------------------------

    @property
    def pauses(self) -> Sequence[Pause]:
        """What is paused, by name."""
        return [self._pauses[key] for key in sorted(self._pauses)]

    def load_pauses(self, pauses: Iterable[Pause]) -> None:
        """As the store has them, at the start."""
        self._pauses = {(pause.channel, pause.destination): pause for pause in pauses}

    def pause_of(self, channel: ChannelName, destination: DestinationName) -> Pause | None:
        """Who paused it; None while it is not."""
        return self._pauses.get((channel, destination))

    def apply_pauses(self, channel: RunningChannel) -> None:
        """To a channel that was opened: at the start, and after a reload."""
        channel.is_intake_paused = (channel.name, INTAKE) in self._pauses
        channel.meter.intake_paused(channel.is_intake_paused)
        for destination, lane in channel.lanes.items():
            if (channel.name, destination) in self._pauses:
                lane.pause()

    # -- orders ---------------------------------------------------------------------------------

    async def operate(self, order: Order) -> ActionReport:
        """As Control.operate."""
        digest = await asyncio.to_thread(_digest, order)
        key = order.by.key
        if not key:
            return await self._carry_out(order, digest)
        if (running := self._running.get(key)) is not None:
            if running[0] != digest:
                raise OrderRefused("this key is in use for something else", is_temporary=False)
            return await asyncio.shield(running[1])
        ended: asyncio.Future[ActionReport] = asyncio.get_running_loop().create_future()
        self._running[key] = (digest, ended)
        try:
            report = await self._carry_out(order, digest)
        except BaseException as error:
            ended.set_exception(error if isinstance(error, Exception) else OrderRefused("cut off", is_temporary=True))
            ended.exception()  # nobody else need have asked
            raise
        else:
            ended.set_result(report)
            return report
        finally:
            del self._running[key]

    async def _carry_out(self, order: Order, digest: bytes) -> ActionReport:
        progress: Progress | None = None
        if order.by.key:
            key = order.by.key
            progress = await self._committer.call(lambda store: store.progress(key))
            if progress is not None and progress.digest != digest:
                raise OrderRefused(
                    "this key was used for something else, or for other messages; nothing was done: take another --key",
                    is_temporary=False,
                )
            if progress is not None and progress.is_finished:
                return replace(progress.report, done_before=True)
            progress = progress or Progress(key, order.action, digest)
        async with self.lanes_stay.shared():
            if order.lanes:
                return await self._on_lanes(order, progress)
            if order.step is not None:
                return await self._set_status(order, order.step, progress)
            if order.action == "edit":
                return await self._edit(order, progress)
            if order.action == "read":
                return await self._read(order, progress)
            if order.deliveries:
                return await self._on_deliveries(order, progress)
            return await self._on_messages(order, progress)

    # -- destinations and intakes ---------------------------------------------------------------

    async def _on_lanes(self, order: Order, progress: Progress | None) -> ActionReport:
        """Pause, resume or try again: as a whole, or not at all."""
        places: list[tuple[RunningChannel | None, Lane | None]] = []
        for name, destination in order.lanes:
            channel = self._channels.get(name)
            lane = self._lane(name, destination)
            if channel is None if destination == INTAKE else lane is None:
                # What is gone from the files may still be paused, and then must be resumable.
                if order.action == "resume" and (name, destination) in self._pauses:
                    continue
                where = f"{name}/{destination}" if destination else name
                raise OrderRefused(f"there is no {where} in the engine that runs", is_temporary=False)
            places.append((channel, lane))
        by = order.by
        meant = [Pause(name, destination, 0, by.actor, by.reason) for name, destination in order.lanes]
        names = [_place(pause) for pause in meant]
        change = Change(
            replace(by, scope=by.scope or ", ".join(names)),
            order.action,
            lanes=names,
            pauses=meant if order.action == "pause" else (),
            resumes=meant if order.action == "resume" else (),
            progress=_finished(progress, 1),
            report=ActionReport(deliveries=len(meant)),
            is_always_recorded=True,
        )

        def then(_: Changed) -> None:
            for pause in meant:
                if order.action == "pause":
                    self._pauses.setdefault((pause.channel, pause.destination), pause)
                elif order.action == "resume":
                    self._pauses.pop((pause.channel, pause.destination), None)
            for channel, lane in places:
                self._tell(order.action, channel, lane)

        return (await self._change(change, then)).report

    @staticmethod
    def _tell(action: str, channel: RunningChannel | None, lane: Lane | None) -> None:
        if lane is not None:
            match action:
                case "pause":
                    lane.pause()
                case "resume":
                    lane.resume()
                case _:
                    lane.retry_now()
        elif channel is not None and action != "retry":
            channel.is_intake_paused = action == "pause"
            channel.meter.intake_paused(channel.is_intake_paused)

    # -- deliveries -----------------------------------------------------------------------------

    async def _on_deliveries(self, order: Order, progress: Progress | None) -> ActionReport:
        act = _act_of(order)
        members = order.deliveries
        places = await asyncio.to_thread(self._places, members)
        if order.to is not None:
            for channel in dict.fromkeys(channel for channel, _ in places.lanes):
                running = self._channels.get(channel)
                if running is None or order.to not in running.lanes:
                    raise OrderRefused(f"channel {channel} has no destination {order.to}", is_temporary=False)
        lanes = self._lanes_of(places)
        done = progress.done if progress is not None else 0
        with ExitStack() as still:
            if act in ("hold", "skip", "redirect"):
                await self._stand_still(still, lanes, {id_ for id_, state in members if state == "queued"})
            if not done:
                await self._check(members)
            report = progress.report if progress is not None else ActionReport()
            at = done
            while at < len(members):
                part = members[at : at + SLICE]
                left: list[tuple[MessageSeq, str]] = []
                takes_over: dict[DeliveryId, DraftDelivery] = {}
                if order.to is not None:
                    part, takes_over, left = await self._for_another(part, order.to, places)
                at += len(part)
                refused = {id_ for id_, _ in part if order.to is not None and id_ not in takes_over}
                if act == "release":
                    refused, left = self._without_lane(part, places)
                change = Change(
                    order.by,
                    order.action,
                    act,
                    [move for move in part if move[0] not in refused],
                    _note(order, act),
                    order.to,
                    takes_over,
                    progress=_on(progress, report, at, len(members)),
                    report=ActionReport(left=tuple(left)),
                )
                try:
                    changed = await self._change(change, partial(self._moved, act, lanes))
                except (StoreFull, StoreBusy):
                    seqs = [places.of[id_][0] for id_, _ in members[at - len(part) :] if id_ in places.of]
                    return report.plus(_all_left(seqs, NO_ROOM))
                report = report.plus(changed.report)
        return report

    def _without_lane(
        self, part: Sequence[tuple[DeliveryId, DeliveryState]], places: "_Places"
    ) -> tuple[set[DeliveryId], list[tuple[MessageSeq, str]]]:
        """Those that nobody would send if they were queued, and why."""
        left: dict[DeliveryId, tuple[MessageSeq, str]] = {}
        for id_, _ in part:
            if id_ in places.of:
                seq, name, destination = places.of[id_]
                if self._lane(name, destination) is None:
                    left[id_] = (seq, no_lane(name, destination, self._channels.get(name)))
        return set(left), list(left.values())

    async def _for_another(
        self,
        part: Sequence[tuple[DeliveryId, DeliveryState]],
        to: DestinationName,
        places: "_Places",
    ) -> tuple[
        Sequence[tuple[DeliveryId, DeliveryState]], dict[DeliveryId, DraftDelivery], list[tuple[MessageSeq, str]]
    ]:
        """What `to` gets instead of each: its own form, character set and key. As many of `part` as fit into memory."""
        found: dict[DeliveryId, DraftDelivery] = {}
        left: list[tuple[MessageSeq, str]] = []
        size = 0
        for number, (id_, _) in enumerate(part, 1):
            if id_ not in places.of:
                continue
            seq, name, destination = places.of[id_]
            rows = await asyncio.to_thread(self._queries.deliveries, seq, bodies=True)
            body = next((row.body for row in rows if row.id == id_), None)
            channel = self._channels.get(name)
            if body is None or channel is None:
                left.append((seq, "its bytes are no longer kept, or not what they were"))
                continue
            try:
                found[id_] = channel.compiled.for_another(body, destination, to)
            except CannotRewrite as error:
                left.append((seq, f"it cannot be made what {to} gets: {error.reason}"))
                continue
            size += len(body)
            if size > SLICE_BYTES:
                return part[:number], found, left
        return part, found, left

    def _places(self, members: Sequence[tuple[DeliveryId, DeliveryState]]) -> "_Places":
        """Whose and where to each is; to be called on another thread."""
        found = _Places()
        for at in range(0, len(members), SLICE):
            ids = [id_ for id_, _ in members[at : at + SLICE]]
            for id_, (_, seq, channel, destination) in self._queries.delivery_states(ids).items():
                found.of[id_] = (seq, channel, destination)
                found.lanes[channel, destination] = None
        return found

    def _lane(self, name: ChannelName, destination: DestinationName) -> Lane | None:
        """A lane that runs, also one that is leaving."""
        for channels in (self._channels, self.leaving):
            channel = channels.get(name)
            if channel is not None and (lane := channel.lane(destination)) is not None:
                return lane
        return None

    def _lanes_of(self, places: "_Places") -> dict[tuple[ChannelName, DestinationName], Lane]:
        found = {place: self._lane(*place) for place in places.lanes}
        return {place: lane for place, lane in found.items() if lane is not None}

    async def _stand_still(
        self, still: ExitStack, lanes: Mapping[tuple[ChannelName, DestinationName], Lane], ids: set[DeliveryId]
    ) -> None:
        """No attempt at `ids` is under way, or starts, until `still` ends, and every earlier one is on disk."""
        for lane in lanes.values():
            still.enter_context(lane.standing_still())
        try:
            async with asyncio.timeout(LET_GO_S):
                for lane in lanes.values():
                    await lane.let_go_of(ids)
                await asyncio.shield(self._committer.flushed())
        except TimeoutError:
            busy = ", ".join(lane.name for lane in lanes.values() if lane.state == "sending")
            why = f"an attempt is under way and does not end ({busy}): pause the destination, and try again"
            if not busy:
                why = "the end of an attempt cannot be recorded now: see whether the store has room, and try again"
            raise OrderRefused(why, is_temporary=True) from None

    async def _check(self, members: Sequence[tuple[DeliveryId, DeliveryState]]) -> None:
        """What was planned is what is there. Raises OrderRefused."""
        changed = await asyncio.to_thread(self._changed, members)
        if changed:
            count = sum(map(len, changed.values()))
            what = "; ".join(f"{state} now: {_cut(ranges(seqs))}" for state, seqs in changed.items())
            raise OrderRefused(
                f"{count} of {len(members)} have changed since the plan ({what}): nothing was done. Plan again; where "
                "messages keep flowing, pause the destination first",
                is_temporary=True,
            )

    def _changed(self, members: Sequence[tuple[DeliveryId, DeliveryState]]) -> dict[str, list[int]]:
        """Messages whose deliveries have left the state that they had, by the state they are in now."""
        changed: dict[str, list[int]] = {}
        for at in range(0, len(members), SLICE):
            part = members[at : at + SLICE]
            states = self._queries.delivery_states([id_ for id_, _ in part])
            for id_, planned in part:
                now = states.get(id_)
                if now is None:
                    changed.setdefault("gone", []).append(id_)
                elif now[0] != planned:
                    changed.setdefault(now[0], []).append(now[1])
        return changed

    def _moved(self, act: Act, lanes: Mapping[tuple[ChannelName, DestinationName], Lane], changed: Changed) -> None:
        """Lanes hear of it in the same turn of the loop, before anything else is committed."""
        self._grown(changed)
        moved: dict[tuple[ChannelName, DestinationName], set[MessageSeq]] = {}
        for _, seq, channel, destination in changed.touched:
            moved.setdefault((channel, destination), set()).add(seq)
        for place, seqs in moved.items():
            if (lane := lanes.get(place)) is not None:
                lane.reread(go_on=act in ("retry", "release") or lane.head in seqs)

    def _grown(self, changed: Changed) -> None:
        for name, destination in changed.grown:
            if (lane := self._lane(name, destination)) is not None:
                lane.reread(go_on=False)

    # -- messages -------------------------------------------------------------------------------

    async def _on_messages(self, order: Order, progress: Progress | None) -> ActionReport:
        members = order.messages
        done = progress.done if progress is not None else 0
        report = progress.report if progress is not None else ActionReport()
        pasts: Pasts = {}
        try:
            for at in range(done, len(members), MESSAGES_SLICE):
                part = members[at : at + MESSAGES_SLICE]
                work = await self._messages.gather(order, part, pasts)
                change = work.change(_on(progress, report, at + len(part), len(members)))
                try:
                    changed = await self._change(change, partial(self._after_messages, work))
                except (StoreFull, StoreBusy):
                    return report.plus(_all_left(members[at:], NO_ROOM))
                report = report.plus(changed.report)
        finally:
            for runs in pasts.values():
                if not isinstance(runs, str):
                    await runs.close()
        return report

    def _after_messages(self, work: MessageSlice, changed: Changed) -> None:
        self._grown(changed)
        if work.order.action == "release":
            for lane in work.lanes:
                lane.reread()
            for lane in dict.fromkeys(work.heads):
                lane.retry_now()

    # -- others ---------------------------------------------------------------------------------

    async def _edit(self, order: Order, progress: Progress | None) -> ActionReport:
        (origin,) = order.messages
        made = await self._edited.make(origin, order.raw, order.by)
        if isinstance(made, Refusal):
            return ActionReport(left=((origin, made.sentence),))
        change = Change(order.by, "edit", edited=made, progress=_finished(progress, 1), read=[origin])
        try:
            report = (await self._change(change, self._grown)).report
        except (StoreFull, StoreBusy):
            return _all_left([origin], NO_ROOM)
        if made.state == "held":
            why = reasons(load_findings(made.findings))
            return report.plus(ActionReport(left=((report.made[0], f"it is held: {why}"),)))
        return report

    async def _set_status(self, order: Order, step: StepMove, progress: Progress | None) -> ActionReport:
        """A step of a worklist gets another status by hand; what is told of it goes the way of all deliveries."""
        if step.force and not order.by.reason.strip():
            raise OrderRefused("what is done by force needs a reason", is_temporary=False)
        change = Change(
            order.by,
            order.action,
            step=step,
            tell=self.tell,
            lanes=[step.name],
            progress=_finished(progress, 1),
        )
        try:
            return (await self._change(change, self._grown)).report
        except StepChanged as error:
            raise OrderRefused(f"{error.sentence}; nothing was done", is_temporary=error.is_temporary) from None
        except (StoreFull, StoreBusy):
            raise OrderRefused(f"{NO_ROOM}; nothing was done", is_temporary=True) from None

    async def _read(self, order: Order, progress: Progress | None) -> ActionReport:
        """Somebody is about to look at values of messages."""
        change = Change(order.by, "read", read=order.messages, is_always_recorded=True, progress=_finished(progress, 1))
        await self._change(change, lambda _: None)
        return ActionReport(messages=len(order.messages))

    async def _change(self, change: Change, then: Callable[[Changed], None]) -> Changed:
        """Carry it out; `then` follows in the same turn of the loop, before anything else is committed.

        It follows although whoever asked may have gone: a lane that does not hear of a delivery would leave it behind.
        """
        future = self._committer.call(partial(_operate, change=change))

        def ended(done: "asyncio.Future[Changed]") -> None:
            if not done.cancelled() and done.exception() is None:
                then(done.result())
                self.recorded()

        future.add_done_callback(ended)
        try:
            return await asyncio.shield(future)
        except (StoreFull, StoreBusy):
            raise
        except ValueError as error:
            raise StoreError(str(error)) from error


class _Places:
    """Whose and where to deliveries are, and the lanes of all of them."""

    def __init__(self) -> None:
        self.of: dict[DeliveryId, tuple[MessageSeq, ChannelName, DestinationName]] = {}
        self.lanes: dict[tuple[ChannelName, DestinationName], None] = {}


def _operate(store: Store, *, change: Change) -> Changed:
    return store.operate(change)


def _act_of(order: Order) -> Act:
    match order.action:
        case "retry" | "hold" | "release" | "skip" | "redirect":
            return order.action
        case _:
            raise OrderRefused(f"{order.action} is not for deliveries", is_temporary=False)


def _note(order: Order, act: Act) -> str:
    """What stands with the delivery: who, and why; never a value of a message but what the person writes."""
    if act == "redirect":
        done = f"redirected to {order.to} by {order.by.actor}"
    else:
        done = f"{NOTES.get(act, 'tried again by')} {order.by.actor}"
    return f"{done}: {order.by.reason}" if order.by.reason else done


def _place(pause: Pause) -> str:
    return f"{pause.channel}/{pause.destination}" if pause.destination else f"the intake of {pause.channel}"


def _on(progress: Progress | None, report: ActionReport, done: int, of: int) -> Progress | None:
    return None if progress is None else replace(progress, done=done, is_finished=done >= of, report=report)


def _finished(progress: Progress | None, done: int) -> Progress | None:
    return None if progress is None else replace(progress, done=done, is_finished=True)


def _all_left(seqs: Sequence[MessageSeq], why: str) -> ActionReport:
    return ActionReport(left=tuple((seq, why) for seq in seqs[:MOST_LEFT]), more_left=max(0, len(seqs) - MOST_LEFT))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."


def _digest(order: Order) -> bytes:
    """What is asked for, whoever asks and whatever is said of it. In pieces, so that others have their turn."""
    told: list[object] = [
        order.action,
        [list(place) for place in order.lanes],
        None if order.destinations is None else list(order.destinations),
        order.to,
        order.as_of,
        len(order.deliveries),
        len(order.messages),
        *([list(order.only)] if order.only else ()),  # only then, so that runs begun by older versions go on
    ]
    if order.step is not None:
        # Whatever it was when that was planned: the same again under one key is the same.
        told.append([order.step.name, order.step.to, order.step.force])
    whole = blake2b(json.dumps(told).encode("ascii"), digest_size=16)
    for members in (order.deliveries, order.messages):
        for at in range(0, len(members), SLICE):
            whole.update(repr(members[at : at + SLICE]).encode("ascii", "backslashreplace"))
    whole.update(order.raw)
    return whole.digest()
