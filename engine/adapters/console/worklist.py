"""Worklist: the steps that scanners ask for, one step with its history and its status, and a query tried out."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from pydantic import StringConstraints
from starlette.responses import Response

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.models import LINE, Name, Revision, RunKey, Sentence
from engine.adapters.api.problems import not_there, not_understood
from engine.adapters.api.set_status import set_status_of
from engine.adapters.api.worklist_models import StatusBody, WorklistPath
from engine.adapters.console.rendering import page, see_other, site_zone
from engine.adapters.console.shown import moment
from engine.adapters.console.worklist_steps import (
    ASKED_KEYS,
    KINDS,
    Answered,
    StepsPage,
    Wanted,
    answered,
    moves_of,
    source_of,
    step_row,
    steps_page,
    told_of,
    worklists,
)
from engine.config.dicom import DicomOptions
from engine.model.ids import MessageSeq
from engine.ports.control import OrderRefused
from engine.ports.worklist import HistoryRow
from engine.worklist.item import STATUSES, Item, ItemKey, Status
from engine.worklist.masking import lines_of
from engine.worklist.matching import BadKey

LONG_S: Final = 75.0
PAGE: Final = 100
MOST_SHOWN: Final = 50
"""Answers to a query that are shown in full."""

Day = Annotated[str, StringConstraints(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2}|any|)$")]
Title = Annotated[str, StringConstraints(max_length=16, pattern=LINE)]
Study = Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$")]
StepId = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=LINE)]
KeyText = Annotated[str, StringConstraints(max_length=200, pattern=LINE)]


class StepsQuery(ApiModel):
    """`day`: today where none is said; `any`. `status`: those that scanners see where none is said; `all`."""

    name: Name | None = None
    day: Day = ""
    station: Title = ""
    modality: Title = ""
    status: Annotated[str, StringConstraints(pattern=rf"^(all|{'|'.join(STATUSES)}|)$")] = ""
    after: Annotated[str, StringConstraints(max_length=200, pattern=LINE)] = ""


class StepQuery(ApiModel):
    study: Study
    step: StepId


class StatusForm(StepQuery):
    to: Status
    force: bool = False


class ConfirmForm(StatusForm):
    planned: Status
    revision: Revision
    key: RunKey
    reason: Sentence = ""


class AskForm(ApiModel):
    """`calling`: as which scanner. Keys by their keywords; a value may be a patient's. `values`: show what they are."""

    calling: Title = ""
    values: bool = False
    PatientName: KeyText = ""
    PatientID: KeyText = ""
    AccessionNumber: KeyText = ""
    RequestedProcedureID: KeyText = ""
    StudyInstanceUID: KeyText = ""
    ScheduledProcedureStepStartDate: KeyText = ""
    ScheduledProcedureStepStartTime: KeyText = ""
    Modality: KeyText = ""
    ScheduledStationAETitle: KeyText = ""
    ScheduledProcedureStepID: KeyText = ""
    ScheduledProcedureStepStatus: KeyText = ""

    @property
    def keys(self) -> dict[str, str]:
        """Those with a value."""
        return {name: value for name, _, _ in ASKED_KEYS if (value := str(getattr(self, name)).strip())}


def _dicom(call: Call) -> DicomOptions | None:
    settings = call.api.site().site
    return settings.dicom if settings is not None else None


async def steps(call: Call) -> Response:
    """Of one day, by their start."""
    asked = call.the_query(StepsQuery)
    today = moment(call.api.clock.now_us(), site_zone(call.api)).date()
    day = asked.day or today.isoformat()
    try:
        at = None if day == "any" else date.fromisoformat(day)
    except ValueError:
        raise not_understood("day: it is none") from None
    wanted = Wanted(f"{at:%Y%m%d}" if at is not None else "", asked.station, asked.modality, asked.status)

    def read() -> tuple[list[str], str, StepsPage]:
        names = worklists(call.api.queries, _dicom(call))
        name = asked.name or names[0]
        with call.api.queries.worklist(name) as view:
            return names, name, steps_page(view, wanted, asked.after, PAGE)

    names, name, found = await call.search(read)
    kept = {"name": name, "day": day, "station": asked.station, "modality": asked.modality, "status": asked.status}

    def link(**change: str) -> str:
        return f"/worklist?{urlencode({key: value for key, value in (kept | change).items() if value})}"

    return page(
        call,
        "worklist.html",
        title="Worklist",
        names=names,
        name=name,
        found=found,
        asked=asked,
        day=day,
        is_today=day == today.isoformat(),
        before=None if at is None else link(day=str(at - timedelta(days=1))),
        after=None if at is None else link(day=str(at + timedelta(days=1))),
        size=PAGE,
        more=link(after=found.after) if found.after else "",
        previous=link(after=found.before) if found.before is not None else "",
        first=link() if asked.after else "",
        statuses=STATUSES,
        kinds=KINDS,
        scanners=sorted(_scanners(call, found)),
        may_ask=call.who.may("read"),
    )


def _scanners(call: Call, found: StepsPage) -> set[str]:
    dicom = _dicom(call)
    return {*found.stations, *(dicom.modalities if dicom is not None else ())}


@dataclass(slots=True, frozen=True)
class Found:
    """A step, its history, and whether the message it is from may be seen."""

    item: Item
    history: list[HistoryRow]
    source: int | None
    sees_source: bool


async def _found(call: Call, asked: StepQuery) -> Found:
    name, key = call.the_path(WorklistPath).worklist, ItemKey(asked.study, asked.step)
    queries = call.api.queries

    def read() -> Found:
        with queries.worklist(name) as view:
            item, history = view.item(key), list(view.history(key))
        if item is None:
            raise not_there()
        source = source_of(history)
        stored = queries.message(MessageSeq(source)) if source is not None else None
        return Found(item, history, source, stored is not None and call.who.may("see", stored.channel))

    return await asyncio.to_thread(read)


async def step(call: Call) -> Response:
    return _show_step(call, await _found(call, call.the_query(StepQuery)), values=False)


async def show_values(call: Call) -> Response:
    """The same with the patient's data, which is on record before it is given."""
    found = await _found(call, call.the_body(StepQuery))
    await _note_reading(call, [found.item.key], "")
    return _show_step(call, found, values=True)


async def _note_reading(call: Call, keys: Sequence[ItemKey], scope: str) -> None:
    worklist = call.the_path(WorklistPath).worklist
    about = [f"step {worklist}/{key.study_uid}/{key.step_id}" for key in keys]
    record = call.api.control.put_on_record(call.by(scope=scope), "read", about=about)
    await call.api.calls.ask(record, ACTION_TIMEOUT_S)


def _show_step(call: Call, found: Found, *, values: bool) -> Response:
    item, moves = found.item, moves_of(found.item)
    return page(
        call,
        "worklist_step.html",
        title=f"Step {item.key.step_id}",
        help="console#worklist",
        worklist=call.the_path(WorklistPath).worklist,
        item=item,
        row=step_row(item, found.source),
        lines=list(lines_of(item.attributes)),
        originals=sorted(item.originals.items()),
        history=list(reversed(found.history)),
        values=values,
        moves=moves,
        others=[status for status in STATUSES if status != item.status and status not in moves],
        may_read=call.who.may("read"),
        may_operate=call.who.may("operate"),
        sees_source=found.sees_source,
    )


async def plan_status(call: Call) -> Response:
    """What it would become, and who is told; nothing is touched."""
    form = call.the_body(StatusForm)
    return _show_plan(call, form, (await _found(call, form)).item, wrong="")


def _show_plan(call: Call, form: StatusForm, item: Item, *, wrong: str) -> Response:
    worklist = call.the_path(WorklistPath).worklist
    return page(
        call,
        "worklist_status.html",
        title=f"Step {item.key.step_id}: {form.to}",
        status=409 if wrong else 200,
        help="console#worklist",
        worklist=worklist,
        item=item,
        row=step_row(item, None),
        form=form,
        told=told_of(_dicom(call), worklist, form.to),
        is_same=item.status == form.to,
        needs_force=form.to not in moves_of(item),
        key=secrets.token_hex(8),
        wrong=wrong,
        leave=_step_path(worklist, item.key),
    )


def _step_path(worklist: str, key: ItemKey) -> str:
    return f"/worklist/{worklist}/step?{urlencode({'study': key.study_uid, 'step': key.step_id})}"


async def set_status(call: Call) -> Response:
    """From what was seen, or nothing."""
    form, worklist = call.the_body(ConfirmForm), call.the_path(WorklistPath).worklist
    key = ItemKey(form.study, form.step)
    body = StatusBody(
        to=form.to,
        planned=form.planned,
        revision=form.revision,
        force=form.force,
        reason=form.reason,
        key=form.key,
    )
    try:
        done = await set_status_of(call, worklist, key, body)
    except OrderRefused as refused:
        again = StatusForm(study=form.study, step=form.step, to=form.to, force=form.force)
        return _show_plan(call, again, (await _found(call, form)).item, wrong=refused.sentence)
    said = f"The step is {form.to} now." if done.steps else "Nothing was done."
    if done.made:
        said += f" It is told by message {', '.join(map(str, done.made))}."
    return see_other(call, _step_path(worklist, key), said)


async def ask_form(call: Call) -> Response:
    return await _show_ask(call, AskForm(), None, "")


async def ask(call: Call) -> Response:
    """On record before it is done: keys quote values, and so may answers."""
    form, worklist = call.the_body(AskForm), call.the_path(WorklistPath).worklist
    said = " ".join(f"{name}={value}" for name, value in form.keys.items())
    scope = f"worklist query {said}{f' --calling {form.calling}' if form.calling else ''} --name {worklist}"[:4000]
    await call.api.calls.ask(call.api.control.put_on_record(call.by(scope=scope), "search"), ACTION_TIMEOUT_S)

    def read() -> Answered:
        with call.api.queries.worklist(worklist) as view:
            return answered(view, form.keys, form.calling, _dicom(call), MOST_SHOWN)

    try:
        found = await call.search(read)
    except BadKey as error:
        wrong = f"A scanner would be answered A900: {error.keyword} is no value of its kind."
        return await _show_ask(call, form, None, wrong)
    if form.values:
        await _note_reading(call, found.keys, scope)
    return await _show_ask(call, form, found, "")


async def _show_ask(call: Call, form: AskForm, found: Answered | None, wrong: str) -> Response:
    dicom = _dicom(call)
    context: dict[str, Any] = {"found": found, "wrong": wrong, "form": form}
    return page(
        call,
        "worklist_ask.html",
        title="What would a scanner get?",
        status=422 if wrong else 200,
        help="console#worklist",
        worklist=call.the_path(WorklistPath).worklist,
        keys=ASKED_KEYS,
        given=form.keys,
        scanners=sorted(dicom.modalities) if dicom is not None else [],
        statuses=STATUSES,
        **context,
    )


AT: Final = "/worklist/{worklist}"
PAGES: Final = (
    Page(
        "GET",
        "/worklist",
        "see",
        "site",
        "The steps of a worklist",
        steps,
        "worklist",
        query=StepsQuery,
        nav="Worklist",
    ),
    Page("GET", AT + "/step", "see", "site", "One step", step, "worklist", path_model=WorklistPath, query=StepQuery),
    Page(
        "POST",
        AT + "/step/values",
        "read",
        "site",
        "One step, with the patient's data",
        show_values,
        "worklist",
        path_model=WorklistPath,
        body=StepQuery,
        record="read",
    ),
    Page(
        "POST",
        AT + "/step/plan",
        "operate",
        "site",
        "Plan another status",
        plan_status,
        "worklist",
        path_model=WorklistPath,
        body=StatusForm,
    ),
    Page(
        "POST",
        AT + "/step/status",
        "operate",
        "site",
        "Give a step another status",
        set_status,
        "worklist",
        path_model=WorklistPath,
        body=ConfirmForm,
        record="set-status",
        timeout_s=LONG_S,
    ),
    Page(
        "GET",
        AT + "/ask",
        "read",
        "site",
        "Try a scanner's query",
        ask_form,
        "worklist",
        path_model=WorklistPath,
    ),
    Page(
        "POST",
        AT + "/ask",
        "read",
        "site",
        "What a scanner would get",
        ask,
        "worklist",
        path_model=WorklistPath,
        body=AskForm,
        record="read search",
    ),
)
