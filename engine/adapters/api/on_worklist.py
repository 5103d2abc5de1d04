"""Worklists: their steps without what a patient can be known by; one step with it, which is on record."""

import asyncio
from dataclasses import replace
from typing import Any, Final

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.entries import Call
from engine.adapters.api.models import time_of
from engine.adapters.api.problems import not_there
from engine.adapters.api.worklist_models import (
    HistoryShown,
    StepPath,
    Steps,
    StepShown,
    StepWhole,
    WorklistPath,
    WorklistQuery,
)
from engine.ports.worklist import HistoryRow
from engine.worklist.item import Item, ItemKey
from engine.worklist.json_form import to_dicom_json
from engine.worklist.matching import compile_query

MOST_STEPS: Final = 100_000
"""So many are looked at for a status."""


def _shown(item: Item) -> dict[str, Any]:
    return {
        "study": item.key.study_uid,
        "step": item.key.step_id,
        "status": item.status,
        "held": item.is_held,
        "revision": item.revision,
        "starts_at": item.starts_at,
        "modality": item.modality,
        "stations": list(item.stations),
    }


async def steps(call: Call) -> Steps:
    """By their start; without a status, those that scanners see."""
    name, asked = call.the_path(WorklistPath).worklist, call.the_query(WorklistQuery)

    def read() -> list[Item]:
        query = replace(compile_query({}), names_status=asked.status is not None)
        with call.api.queries.worklist(name) as view:
            most = asked.limit if asked.status is None else MOST_STEPS
            found = [one.item for one in view.candidates(query, most)]
        return [item for item in found if asked.status in (None, item.status)][: asked.limit]

    found = await call.search(read)
    return Steps(steps=[StepShown(**_shown(item)) for item in found])


async def step(call: Call) -> StepWhole:
    """With the patient's data."""
    place = call.the_path(StepPath)
    key = ItemKey(place.study, place.step)

    def read() -> "tuple[Item | None, list[HistoryRow]]":
        with call.api.queries.worklist(place.worklist) as view:
            return view.item(key), list(view.history(key))

    item, history = await asyncio.to_thread(read)
    if item is None:
        raise not_there()
    about = [f"step {place.worklist}/{place.study}/{place.step}"]
    record = call.api.control.put_on_record(call.by(), "read", about=about)
    await call.api.calls.ask(record, ACTION_TIMEOUT_S)
    return StepWhole(
        **_shown(item),
        dicom=to_dicom_json(item.attributes),
        history=[
            HistoryShown(at=time_of(row.at_us), seq=row.seq, who=row.who, what=row.what, status=row.status)
            for row in history
        ],
    )
