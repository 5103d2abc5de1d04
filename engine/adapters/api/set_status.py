"""A step of a worklist gets another status by hand, from the one that the asker saw, or nothing is done."""

import asyncio

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.entries import Call
from engine.adapters.api.on_orders import key_of
from engine.adapters.api.problems import not_there
from engine.adapters.api.worklist_models import StatusBody, StatusSet, StepPath
from engine.ports.control import Order
from engine.ports.operations import StepMove
from engine.worklist.item import Item, ItemKey


async def set_status(call: Call) -> StatusSet:
    place = call.the_path(StepPath)
    return await set_status_of(call, place.worklist, ItemKey(place.study, place.step), call.the_body(StatusBody))


async def set_status_of(call: Call, worklist: str, key: ItemKey, body: StatusBody) -> StatusSet:
    """Raises Problem, and OrderRefused where the step is not as it was planned, or may not be moved so, as by force
    without a reason."""
    if await item_of(call, worklist, key) is None:
        raise not_there()
    move = StepMove(worklist, key.study_uid, key.step_id, body.planned, body.revision, body.to, body.force)
    scope = f"{key.study_uid} {key.step_id} {body.to}{' --force' if body.force else ''} --name {worklist}"[:4000]
    order = Order("set-status", call.by(body.reason, scope, key_of(call, body.key)), step=move)
    report = await call.api.calls.ask(call.api.control.operate(order), ACTION_TIMEOUT_S)
    return StatusSet(
        steps=report.steps, deliveries=report.deliveries, made=list(report.made), done_before=report.done_before
    )


async def item_of(call: Call, worklist: str, key: ItemKey) -> Item | None:
    """The step as it stands."""

    def read() -> Item | None:
        with call.api.queries.worklist(worklist) as view:
            return view.item(key)

    return await asyncio.to_thread(read)
