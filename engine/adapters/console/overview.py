"""The first page: what needs a person, then every channel with its numbers."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from markupsafe import Markup
from pydantic import StringConstraints
from starlette.responses import Response

from engine.adapters.admin_app import READY_TIMEOUT_S, STATUS_TIMEOUT_S
from engine.adapters.api.entries import Api, ApiModel, Call, Page
from engine.adapters.console.attention import Site, Thing, things
from engine.adapters.console.drawing import sparkline
from engine.adapters.console.numbers import NOTHING, Numbers, numbers_by_channel
from engine.adapters.console.rendering import page, part
from engine.model.access import Principal
from engine.ports.control import ChannelStatus


class FilterQuery(ApiModel):
    q: Annotated[str, StringConstraints(max_length=100)] = ""


@dataclass(slots=True, frozen=True)
class Row:
    """One channel. `state`: in a word, with `look`; `why`: where it is not simply running."""

    name: str
    description: str
    listening: str
    state: str
    look: str
    numbers: Numbers
    cells: Mapping[str, str]
    spark: Markup


async def overview(call: Call) -> Response:
    wanted = call.the_query(FilterQuery).q.strip().casefold()
    channels = await seen(call)
    numbers = numbers_by_channel(call.api)
    descriptions = {str(one.name): one.file.description for one in call.api.site().channels}
    rows = [
        row_of(call.api, one, descriptions.get(one.channel, ""), numbers.get(one.channel, NOTHING))
        for one in sorted(channels, key=lambda one: one.channel)
        if wanted in f"{one.channel} {descriptions.get(one.channel, '')}".casefold()
    ]
    context: dict[str, Any] = {
        "rows": rows,
        "of": len(channels),
        "q": call.the_query(FilterQuery).q,
        "things": await attention(call.api, call.who, channels),
        "started_us": call.api.started_us,
    }
    return page(call, "overview.html", title="Overview", **context)


async def attention_html(api: Api, who: Principal) -> str:
    """The list alone, for a page that is open when something changes."""
    return part(api, who, "_attention.html", things=await attention(api, who, await seen_by(api, who)))


async def seen(call: Call) -> Sequence[ChannelStatus]:
    """Those that the one who asks may see."""
    return await seen_by(call.api, call.who)


async def seen_by(api: Api, who: Principal) -> Sequence[ChannelStatus]:
    found = await api.calls.ask(api.control.status(), STATUS_TIMEOUT_S)
    return [one for one in found if who.may("see", one.channel)]


async def attention(api: Api, who: Principal, channels: Sequence[ChannelStatus]) -> list[Thing]:
    """What needs a person, of all that `who` may see."""
    control = api.control
    is_ready, why_not = await api.calls.ask(control.ready(), READY_TIMEOUT_S)
    retention = await api.calls.ask(control.retention(confirm=False), READY_TIMEOUT_S)
    settings = api.site().site
    site = Site(
        not_ready="" if is_ready else why_not,
        certificates=api.meter.certificate_ends,
        lists=api.meter.tls.lists,
        waiting=await asyncio.to_thread(api.meter.tls.waiting),
        free_bytes=api.meter.disk_free_bytes,
        low_bytes=settings.limits.low_disk if settings is not None else 0,
        least_bytes=settings.limits.free_disk if settings is not None else 0,
        retention=retention,
        damaged=api.meter.damaged_entries,
    )
    return things(who, channels, api.pulse.held(), site, api.clock.now_us())


def row_of(api: Api, one: ChannelStatus, description: str, numbers: Numbers) -> Row:
    state, look = state_of(one)
    return Row(
        str(one.channel),
        description,
        one.listening,
        state,
        look,
        numbers,
        numbers.cells(api.clock.now_us()),
        sparkline(api.pulse.received(one.channel)),
    )


def state_of(one: ChannelStatus) -> tuple[str, str]:
    """In a word, and how it looks: the worst of its intake and its destinations."""
    states = {lane.state for lane in one.lanes}
    if one.intake_paused_by:
        return "paused", "warn"
    if not one.listening:
        return "leaving", "warn"
    if "failed" in states:
        return "failed", "bad"
    if states & {"down", "stopped"}:
        return ("stopped" if "stopped" in states else "receiver down"), "bad"
    if any(lane.paused_by for lane in one.lanes):
        return "destination paused", "warn"
    return "running", "ok"


PAGES: Final = (
    Page(
        "GET",
        "/",
        "self",
        "site",
        "What needs a person, and every channel",
        overview,
        "overview",
        query=FilterQuery,
        nav="Overview",
    ),
)
