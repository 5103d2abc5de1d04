"""Held: what waits for a person, grouped by its cause, with what the cause means and what lets the group go on."""

from bisect import bisect_right
from typing import Annotated, Any, Final, Literal

from pydantic import StringConstraints
from starlette.responses import Response

from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.models import Cursor, Name, PlanBody, RunKey, Search, Sentence, What
from engine.adapters.api.on_tables import add_row_to, note_misses
from engine.adapters.api.problems import Problem, not_there
from engine.adapters.console.code_tables import TableOf, table_of
from engine.adapters.console.codes_shown import codes_of
from engine.adapters.console.held_groups import Group, Held, held
from engine.adapters.console.lookups import Cell, GroupId, TableName, channels_seen, loaded_seen
from engine.adapters.console.paging import page_before
from engine.adapters.console.planning import VERBS, carried_out, planned
from engine.adapters.console.rendering import page, see_other
from engine.model.ids import MessageSeq
from engine.pipeline.misses import file_of
from engine.ports.store import StoredMessage

LONG_S: Final = 75.0
PAGE: Final = 50
MOST_AT_ONCE: Final = 10_000
"""Members of one plan: a larger group goes in several."""

GroupAct = Literal["release", "reprocess", "skip", "discard"]


class GroupPath(ApiModel):
    channel: Name
    group: GroupId


class GroupQuery(ApiModel):
    cursor: Cursor | None = None


class PlanForm(ApiModel):
    action: GroupAct


class OrderForm(PlanForm):
    plan: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    key: RunKey
    reason: Sentence = ""


class RowForm(ApiModel):
    """A row for a code that was missed."""

    table: TableName
    key: Cell
    value: Cell
    reason: Sentence = ""


async def held_page(call: Call) -> Response:
    """The largest group first."""
    found = await call.search(held, call.api.queries, channels_seen(call))
    return page(call, "held.html", title="Held", found=found)


def acts_of(group: Group) -> tuple[GroupAct, ...]:
    """What can be done to all of it, the usual first."""
    return ("release", "discard") if group.cause.kind == "message" else ("release", "reprocess", "skip")


async def _group(call: Call) -> Group:
    """Raises Problem where it is gone, as when all of it was released."""
    place = call.the_path(GroupPath)
    found: Held = await call.search(held, call.api.queries, (place.channel,))
    group = found.find(place.group)
    if group is None:
        raise not_there("nothing is held for this cause any more")
    return group


async def group_page(call: Call) -> Response:
    return await _show(call, await _group(call), int(call.the_query(GroupQuery).cursor or 0))


async def _show(call: Call, group: Group, cursor: int, **revealed: Any) -> Response:
    """`revealed`: the codes, where they were asked for and that is on record."""
    cursors = [one[0] for one in group.members]
    start = bisect_right(cursors, cursor)
    members = group.members[start:]
    queries = call.api.queries

    def read() -> list[StoredMessage]:
        found = (queries.message(MessageSeq(seq)) for _, seq in members[:PAGE])
        return [one for one in found if one is not None]

    cause, who = group.cause, call.who
    context: dict[str, Any] = {"codes": None, "table": _table(call, group)} | revealed
    return page(
        call,
        "held_group.html",
        title=f"{group.size:,} × {cause.title}",
        help="console#held",
        group=group,
        cause=cause,
        path=f"/held/{cause.channel}/{cause.id}",
        messages=await call.search(read),
        after=members[PAGE - 1][0] if members[PAGE:] else None,
        before=page_before(cursors, start, PAGE, 0),
        cursor=cursor,
        size=PAGE,
        acts=[(act, VERBS[act][0]) for act in acts_of(group)],
        most=MOST_AT_ONCE,
        may_operate=who.may("operate", cause.channel),
        may_read=who.may("read", cause.channel),
        may_engineer=who.may("engineer", cause.channel),
        **context,
    )


def _table(call: Call, group: Group) -> TableOf | None:
    """The table whose row is missing, where its channel runs."""
    channel = next((one for one in loaded_seen(call) if one.name == group.cause.channel), None)
    if channel is None or not group.cause.table:
        return None
    found = table_of(call.api.folder, channel, file_of(group.cause.table))
    return found.table if found is not None else None


async def codes(call: Call) -> Response:
    """The same page with the codes: values of messages, and so on record before they are given."""
    group = await _group(call)
    looked = await call.search(codes_of, call.api.queries, [seq for _, seq in group.members[:MOST_AT_ONCE]])
    await note_misses(call, looked.seqs)
    return await _show(call, group, 0, codes=looked)


async def row(call: Call) -> Response:
    """Write it into the site's file, and show what that releases."""
    place, form = call.the_path(GroupPath), call.the_body(RowForm)
    try:
        added = await add_row_to(call, place.channel, file_of(form.table), [form.key, form.value], form.reason)
    except Problem as problem:
        if problem.status != 409:
            raise
        return see_other(call, f"/held/{place.channel}/{place.group}", _sentence(problem.detail), "bad")
    said = f"The row is in {added.file}, line {added.line}. The engine runs without it until a reload."
    return see_other(call, f"/take-up/{place.channel}", said)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}: the file is as it was."


def _plan_body(group: Group, action: GroupAct) -> PlanBody:
    members = group.members[:MOST_AT_ONCE]
    if group.cause.kind == "message":
        seqs = [seq for _, seq in members]
        return PlanBody(action=action, what=What(seqs=seqs, search=Search(state=["held"])))
    if action == "reprocess":
        return PlanBody(action=action, what=What(seqs=list(dict.fromkeys(seq for _, seq in members))))
    what = What(
        deliveries=[id_ for id_, _ in members], destination=group.cause.destination, search=Search(state=["held"])
    )
    return PlanBody(action=action, what=what)


async def plan(call: Call) -> Response:
    """What would be done to the group; nothing is touched."""
    return await _show_plan(call, await _group(call), call.the_body(PlanForm).action)


async def _show_plan(call: Call, group: Group, action: GroupAct, *, has_changed: bool = False) -> Response:
    if action not in acts_of(group):
        raise not_there()
    made = await planned(call, _plan_body(group, action))
    path = f"/held/{group.cause.channel}/{group.cause.id}"
    return page(
        call,
        "plan.html",
        title=f"{made.verb}: {group.cause.title}",
        help="console#plans",
        made=made,
        fields=[("action", action)],
        to=f"{path}/order",
        leave=path,
        target="",
        has_changed=has_changed,
    )


async def order(call: Call) -> Response:
    """As it was planned, or the plan again where it would come out otherwise by now."""
    form = call.the_body(OrderForm)
    place = call.the_path(GroupPath)
    if call.api.runs.of(call.who.name, form.key, form.plan) is not None:
        return see_other(call, "/held", "It is done, or under way: once.")  # the second click on one button
    group = await _group(call)
    if form.action not in acts_of(group):
        raise not_there()
    said = await carried_out(call, _plan_body(group, form.action), form.plan, form.reason, form.key)
    if said is None:
        return await _show_plan(call, group, form.action, has_changed=True)
    left = await call.search(held, call.api.queries, (place.channel,))
    to = "/held" if left.find(place.group) is None else f"/held/{place.channel}/{place.group}"
    return see_other(call, to, said)


AT: Final = "/held/{channel}/{group}"
PAGES: Final = (
    Page("GET", "/held", "see", "channel", "What is held, by cause", held_page, "held", nav="Held"),
    Page(
        "GET",
        AT,
        "see",
        "channel",
        "What is held for one cause",
        group_page,
        "held",
        path_model=GroupPath,
        query=GroupQuery,
    ),
    Page(
        "POST",
        AT + "/codes",
        "read",
        "channel",
        "The codes that a group waits for",
        codes,
        "held",
        path_model=GroupPath,
        record="read",
    ),
    Page(
        "POST",
        AT + "/row",
        "engineer",
        "channel",
        "Add a row to the table that lacks it",
        row,
        "held",
        path_model=GroupPath,
        body=RowForm,
        record="table-row",
    ),
    Page(
        "POST",
        AT + "/plan",
        "operate",
        "channel",
        "Plan what is done to a group",
        plan,
        "held",
        path_model=GroupPath,
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
        "held",
        path_model=GroupPath,
        body=OrderForm,
        record="release reprocess skip discard",
        timeout_s=2 * LONG_S,
    ),
)
