"""Queues: every destination with what it does now, and one destination's queue with all that a person may do to it."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints
from starlette.responses import Response

from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.models import Cursor, LanePath, Name, Number, PlanBody, RunKey, Search, Sentence, What
from engine.adapters.api.on_engine import on_lane
from engine.adapters.api.problems import not_understood
from engine.adapters.console.lane_words import (
    LaneRow,
    QueueState,
    blocked_keys,
    lane_rows,
    left_lane,
    queue_page,
)
from engine.adapters.console.lookups import status_seen
from engine.adapters.console.planning import VERBS, carried_out, planned
from engine.adapters.console.rendering import page, see_other
from engine.model.ids import ChannelName, DestinationName
from engine.ports.control import LaneStatus
from engine.ports.store import StoreQueries

LONG_S: Final = 75.0
PAGE: Final = 50
MOST_KEYS: Final = 50

Show = Literal["all", "waiting", "attention"]
QueueAct = Literal["retry", "hold", "release", "skip", "redirect"]
POSSIBLE: Final[dict[QueueState, tuple[QueueAct, ...]]] = {
    "queued": ("retry", "hold", "redirect", "skip"),
    "held": ("release", "redirect", "skip"),
    "failed": ("release", "redirect"),
}
"""What can be done to deliveries in which state, the mildest first (`ports.operations.ACT_FROM`)."""
LANE_ACTS: Final = {
    "pause": "{} is paused. Nothing is sent until somebody resumes it.",
    "resume": "{} goes on.",
    "retry": "{} tries again now what waits for its time.",
}


class ListQuery(ApiModel):
    show: Show = "all"


class QueueQuery(ApiModel):
    show: QueueState = "queued"
    cursor: Cursor | None = None


class LaneForm(ApiModel):
    act: Literal["pause", "resume", "retry"]
    reason: Sentence = ""
    back: Literal["list", "queue"] = "queue"


class PlanForm(ApiModel):
    """`which`: the ticked ones, all in this state, or those for which `where` holds."""

    action: QueueAct
    show: QueueState = "queued"
    which: Literal["ticked", "all", "where"] = "ticked"
    deliveries: list[Number] = Field(default=[], max_length=10_000)
    where: Annotated[str, StringConstraints(max_length=2000)] = ""
    to: Name | Literal[""] = ""


class OrderForm(PlanForm):
    plan: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    key: RunKey
    reason: Sentence = ""


@dataclass(slots=True, frozen=True)
class Lane:
    """A destination that is asked for, with the others of its channel. `status` None: none of this name runs."""

    channel: ChannelName
    destination: DestinationName
    status: LaneStatus | None
    others: list[str]

    @property
    def path(self) -> str:
        return f"/queues/{self.channel}/{self.destination}"

    @property
    def name(self) -> str:
        return f"{self.channel}/{self.destination}"


async def queues(call: Call) -> Response:
    """What needs a person first."""
    show = call.the_query(ListQuery).show
    lanes = [lane for one in await status_seen(call) for lane in one.lanes]
    now_us, queries = call.api.clock.now_us(), call.api.queries
    running = {(lane.channel, lane.destination) for lane in lanes}

    def read() -> list[LaneRow]:
        depths = [one for one in queries.depths() if (one.channel, one.destination) not in running]
        left = [left_lane(one) for one in depths if (one.queued or one.held) and call.who.may("see", one.channel)]
        return left + lane_rows(queries, lanes, now_us)

    rows = await call.search(read)
    counts = {
        "all": len(rows),
        "waiting": sum(bool(row.queued or row.held) for row in rows),
        "attention": sum(row.needs_a_person for row in rows),
    }
    if show == "waiting":
        rows = [row for row in rows if row.queued or row.held]
    elif show == "attention":
        rows = [row for row in rows if row.needs_a_person]
    return page(call, "queues.html", title="Queues", rows=rows, show=show, counts=counts)


async def _lane(call: Call) -> Lane:
    place = call.the_path(LanePath)
    channel, destination = ChannelName(place.channel), DestinationName(place.destination)
    lanes = [lane for one in await status_seen(call) if one.channel == channel for lane in one.lanes]
    status = next((lane for lane in lanes if lane.destination == destination), None)
    others = [str(lane.destination) for lane in lanes if lane.destination != destination]
    return Lane(channel, destination, status, others)


async def queue(call: Call) -> Response:
    lane, asked = await _lane(call), call.the_query(QueueQuery)
    return await _queue(call, lane, asked.show, int(asked.cursor or 0))


async def _queue(call: Call, lane: Lane, show: QueueState, cursor: int) -> Response:
    queries, now_us = call.api.queries, call.api.clock.now_us()

    def read() -> dict[str, Any]:
        found = queue_page(queries, lane.channel, lane.destination, show, cursor, PAGE)
        keys = blocked_keys(queries, lane.channel, lane.destination, MOST_KEYS) if show == "queued" else []
        return {"found": found, "keys": keys, "row": _row(queries, lane, now_us)}

    context = await call.search(read)
    return page(
        call,
        "queue.html",
        title=lane.name,
        help="console#queues",
        lane=lane,
        show=show,
        cursor=cursor,
        size=PAGE,
        possible=[(act, VERBS[act][0]) for act in POSSIBLE[show] if act != "redirect" or lane.others],
        may_operate=call.who.may("operate", lane.channel),
        may_read=call.who.may("read", lane.channel),
        **context,
    )


def _row(queries: StoreQueries, lane: Lane, now_us: int) -> LaneRow | None:
    if lane.status is not None:
        return lane_rows(queries, [lane.status], now_us)[0]
    here = (lane.channel, lane.destination)
    return next((left_lane(one) for one in queries.depths() if (one.channel, one.destination) == here), None)


async def on_the_lane(call: Call) -> Response:
    """Pause, resume or retry the whole destination."""
    lane, form = await _lane(call), call.the_body(LaneForm)
    if form.act == "pause" and not form.reason.strip():
        raise not_understood("reason: say why it is paused; others will see it")
    await on_lane(call, form.act, str(lane.channel), lane.destination, form.reason)
    return see_other(call, "/queues" if form.back == "list" else lane.path, LANE_ACTS[form.act].format(lane.name))


def _plan_body(lane: Lane, form: PlanForm) -> PlanBody:
    """What the API would be asked for. Raises Problem."""
    if form.which == "ticked" and not form.deliveries:
        raise not_understood("tick the deliveries that are meant, or choose all of them")
    if form.which == "where" and not form.where.strip():
        raise not_understood('write the expression, such as PV1-2 == "E"')
    if form.action == "redirect" and not form.to:
        raise not_understood("choose where they are redirected to")
    search = Search(channel=str(lane.channel), state=[form.show], where=form.where if form.which == "where" else None)
    deliveries = form.deliveries if form.which == "ticked" else []
    what = What(deliveries=deliveries, destination=str(lane.destination), search=search)
    return PlanBody(action=form.action, what=what, to=form.to if form.action == "redirect" else None)


async def plan(call: Call) -> Response:
    """What would be done; nothing is touched."""
    lane, form = await _lane(call), call.the_body(PlanForm)
    return await _show_plan(call, lane, form)


async def _show_plan(call: Call, lane: Lane, form: PlanForm, *, has_changed: bool = False) -> Response:
    made = await planned(call, _plan_body(lane, form))
    fields = [("show", form.show), ("which", form.which), ("where", form.where), ("action", form.action)]
    fields += [
        ("to", form.to),
        *(("deliveries", str(id_)) for id_ in (form.deliveries if form.which == "ticked" else [])),
    ]
    return page(
        call,
        "plan.html",
        title=f"{made.verb}: {lane.name}",
        help="console#plans",
        made=made,
        fields=fields,
        to=f"{lane.path}/order",
        leave=f"{lane.path}?show={form.show}",
        target=form.to if form.action == "redirect" else "",
        has_changed=has_changed,
    )


async def order(call: Call) -> Response:
    """As it was planned, or the plan again where it would come out otherwise by now."""
    lane, form = await _lane(call), call.the_body(OrderForm)
    said = await carried_out(call, _plan_body(lane, form), form.plan, form.reason, form.key)
    if said is None:
        again = PlanForm(**form.model_dump(include=set(PlanForm.model_fields)))
        return await _show_plan(call, lane, again, has_changed=True)
    return see_other(call, f"{lane.path}?show={form.show}", said)


AT: Final = "/queues/{channel}/{destination}"
PAGES: Final = (
    Page(
        "GET",
        "/queues",
        "see",
        "channel",
        "Every destination and its queue",
        queues,
        "queues",
        query=ListQuery,
        nav="Queues",
    ),
    Page(
        "GET", AT, "see", "channel", "One destination's queue", queue, "queues", path_model=LanePath, query=QueueQuery
    ),
    Page(
        "POST",
        AT + "/lane",
        "operate",
        "channel",
        "Pause, resume or retry a destination",
        on_the_lane,
        "queues",
        path_model=LanePath,
        body=LaneForm,
        record="pause resume retry",
        timeout_s=LONG_S,
    ),
    Page(
        "POST",
        AT + "/plan",
        "operate",
        "channel",
        "Plan what is done to deliveries",
        plan,
        "queues",
        path_model=LanePath,
        body=PlanForm,
        timeout_s=LONG_S,
    ),
    Page(
        "POST",
        AT + "/order",
        "operate",
        "channel",
        "Do it as planned",
        order,
        "queues",
        path_model=LanePath,
        body=OrderForm,
        record="retry hold release skip redirect",
        timeout_s=2 * LONG_S,
    ),
)
