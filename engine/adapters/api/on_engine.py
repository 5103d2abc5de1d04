"""The engine as it stands: whether it is alive, its channels, destinations and queues, and its site's files."""

import asyncio
from dataclasses import asdict
from typing import Literal

from starlette.responses import JSONResponse, Response

from engine import __version__
from engine.adapters.admin_app import (
    ACTION_TIMEOUT_S,
    READY_TIMEOUT_S,
    RELOAD_TIMEOUT_S,
    STATUS_TIMEOUT_S,
    EngineSilent,
)
from engine.adapters.api.entries import Call
from engine.adapters.api.models import (
    Channel,
    ChannelPath,
    Channels,
    Done,
    Health,
    Lane,
    LanePath,
    Lanes,
    PageQuery,
    Queue,
    QueuedItem,
    Ready,
    ReasonBody,
    Reload,
    Sender,
    Version,
    time_of,
)
from engine.adapters.api.problems import Problem, not_there
from engine.model.ids import ChannelName, DeliveryId, DestinationName
from engine.ports.control import ChannelStatus, LaneStatus, Order
from engine.ports.operations import INTAKE
from engine.ports.reload import ReloadReport


async def health(call: Call) -> Health:
    """Whether the engine's loop turns."""
    if not call.api.calls.is_alive():
        raise Problem(503, "E480", "the engine's loop does not answer")
    return Health()


async def ready(call: Call) -> Response:
    """Whether intake is open; why not is told to those who are signed in."""
    try:
        is_ready, _ = await call.api.calls.ask(call.api.control.ready(), READY_TIMEOUT_S)
    except EngineSilent:
        is_ready = False
    return JSONResponse(Ready(ready=is_ready).model_dump(), 200 if is_ready else 503)


async def version(call: Call) -> Version:
    is_ready, reason = await call.api.calls.ask(call.api.control.ready(), READY_TIMEOUT_S)
    # The reason names channels and destinations.
    shown = reason if call.who.may("see") else ""
    return Version(name="segmill", version=__version__, environment=call.api.environment, ready=is_ready, reason=shown)


async def _seen(call: Call) -> list[ChannelStatus]:
    """Those that the one who asks may see."""
    found = await call.api.calls.ask(call.api.control.status(), STATUS_TIMEOUT_S)
    return [one for one in found if call.who.may("see", one.channel)]


async def channels(call: Call) -> Channels:
    return Channels(channels=[_channel(one) for one in await _seen(call)])


async def channel(call: Call) -> Channel:
    name = call.the_path(ChannelPath).channel
    for one in await _seen(call):
        if one.channel == name:
            return _channel(one)
    raise not_there()


async def lanes(call: Call) -> Lanes:
    return Lanes(lanes=[_lane(lane) for one in await _seen(call) for lane in one.lanes])


def _channel(one: ChannelStatus) -> Channel:
    return Channel(
        channel=one.channel,
        listening=one.listening,
        connections=one.connections,
        received=one.received,
        outcomes=one.outcomes,
        version=one.version,
        intake_paused_by=one.intake_paused_by,
        lanes=[_lane(lane) for lane in one.lanes],
        senders=[Sender(sender=sender.sender, charsets=sender.charsets) for sender in one.senders],
    )


def _lane(lane: LaneStatus) -> Lane:
    return Lane(
        channel=lane.channel,
        destination=lane.destination,
        state=lane.state,
        queued=lane.queued,
        held=lane.held,
        oldest_at=time_of(lane.oldest_us),
        attempts=lane.attempts,
        last_note=lane.last_note,
        head=lane.head,
        paused_by=lane.paused_by,
        blocked=lane.blocked,
        blocked_by=list(lane.blocked_by),
    )


async def queue(call: Call) -> Queue:
    """What is queued for a destination, in order, without a word of the messages."""
    place, asked = call.the_path(LanePath), call.the_query(PageQuery)
    rows = await asyncio.to_thread(
        call.api.queries.queued_rows,
        ChannelName(place.channel),
        DestinationName(place.destination),
        DeliveryId(int(asked.cursor or 0)),
        asked.limit,
    )
    shown = [
        QueuedItem(
            delivery=row.id, seq=row.seq, urgent=row.urgent, attempts=row.attempts, next_at=time_of(row.next_at_us)
        )
        for row in rows
    ]
    return Queue(deliveries=shown, next=str(rows[-1].id) if len(rows) == asked.limit else None)


LaneAct = Literal["pause", "resume", "retry"]


async def _on_lane(call: Call, action: LaneAct, channel_: str, destination: DestinationName) -> Done:
    return await on_lane(call, action, channel_, destination, call.the_body(ReasonBody).reason)


async def on_lane(call: Call, action: LaneAct, channel_: str, destination: DestinationName, reason: str) -> Done:
    """A destination, or a channel's intake, stands still, goes on, or tries again."""
    order = Order(action, call.by(reason), lanes=[(ChannelName(channel_), destination)])
    await call.api.calls.ask(call.api.control.operate(order), ACTION_TIMEOUT_S)
    return Done()


async def pause(call: Call) -> Done:
    place = call.the_path(LanePath)
    return await _on_lane(call, "pause", place.channel, DestinationName(place.destination))


async def resume(call: Call) -> Done:
    place = call.the_path(LanePath)
    return await _on_lane(call, "resume", place.channel, DestinationName(place.destination))


async def retry(call: Call) -> Done:
    place = call.the_path(LanePath)
    return await _on_lane(call, "retry", place.channel, DestinationName(place.destination))


async def pause_intake(call: Call) -> Done:
    return await _on_lane(call, "pause", call.the_path(ChannelPath).channel, INTAKE)


async def resume_intake(call: Call) -> Done:
    return await _on_lane(call, "resume", call.the_path(ChannelPath).channel, INTAKE)


async def plan(call: Call) -> Reload:
    return _reload(await reload_plan(call))


async def reload_plan(call: Call) -> ReloadReport:
    return await call.api.calls.ask(call.api.control.plan(), RELOAD_TIMEOUT_S)


async def reload(call: Call) -> Reload:
    return _reload(await reload_now(call, call.the_body(ReasonBody).reason))


async def reload_now(call: Call, reason: str) -> ReloadReport:
    """On record before it is done, as a crash may fall between the two."""
    await call.api.calls.ask(call.api.control.put_on_record(call.by(reason), "reload"), ACTION_TIMEOUT_S)
    return await call.api.calls.ask(call.api.control.reload(), RELOAD_TIMEOUT_S)


def _reload(report: ReloadReport) -> Reload:
    return Reload.model_validate(
        {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(report).items()}
    )
