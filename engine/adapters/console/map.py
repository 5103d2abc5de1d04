"""The map: where messages come from, which channels take them, where they go; and what uses a host or a table."""

from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import quote

from pydantic import StringConstraints
from starlette.responses import Response

from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.console.map_drawing import draw
from engine.adapters.console.overview import seen
from engine.adapters.console.rendering import page
from engine.adapters.console.site_map import Where, filtered, map_of
from engine.config.graph import address_of, secrets_of, starred
from engine.config.impact import LeftOut, PathError, everything_used, matcher, meant
from engine.config.site import LoadedChannel, LoadedSite
from engine.config.worklist import WorklistOptions

MOST_USES: Final = 500


class MapQuery(ApiModel):
    q: Annotated[str, StringConstraints(max_length=100)] = ""
    uses: Annotated[str, StringConstraints(max_length=200)] = ""


@dataclass(slots=True, frozen=True)
class Used:
    """One use of the thing. `to`: its line in the channel's file, '' where it is another file's."""

    channel: str
    where: str
    text: str
    place: str
    to: str


async def site_map(call: Call) -> Response:
    """Drawn, and as a table. What somebody may not see is not there."""
    asked = call.the_query(MapQuery)
    channels = sorted(await seen(call), key=lambda one: one.channel)
    pulse = call.api.pulse
    whole = map_of(
        channels,
        places_of(call.api.site()),
        {str(one.channel): pulse.received_a_minute(one.channel) for one in channels},
        {
            (str(one.channel), str(lane.destination)): pulse.delivered_a_minute(one.channel, lane.destination)
            for one in channels
            for lane in one.lanes
        },
    )
    shown = filtered(whole, asked.q)
    used: list[Used] = []
    told = ""
    if thing := asked.uses.strip():
        mine = [one for one in call.api.site().channels if call.who.may("see", one.name)]
        used, told = await call.search(uses, mine, thing)
    context: dict[str, Any] = {
        "q": asked.q,
        "uses": asked.uses,
        "shown": shown,
        "names": {node.id: node for node in (*shown.senders, *shown.channels, *shown.receivers)},
        "of": len(whole.channels),
        "picture": draw(shown),
        "used": used,
        "told": told,
    }
    return page(call, "map.html", title="Map", help="console#the-map", **context)


def places_of(site: LoadedSite) -> dict[tuple[str, str], Where]:
    """Where each destination is, by what the files say; never with a secret in it."""
    found = {}
    for channel in site.channels:
        secrets = secrets_of(channel)
        for name, destination in channel.file.destinations.items():
            # A worklist is in the engine's own store: what it names is a table, and nowhere to go.
            is_own = isinstance(destination.options, WorklistOptions)
            address = "" if is_own else starred(address_of(destination.options), secrets)
            found[str(channel.name), str(name)] = Where(destination.sink, address)
    return found


def uses(channels: list[LoadedChannel], thing: str) -> tuple[list[Used], str]:
    """What of these channels uses it, and what is to be said of that."""
    try:
        matches = matcher(thing)
    except PathError as error:
        return [], f"{thing} is no field: {error}"
    found: list[Used] = []
    left_out = 0
    for channel in channels:
        for use in everything_used(channel):
            if isinstance(use, LeftOut):
                left_out += 1
            elif matches(use):
                is_own = use.file == channel.shown
                to = f"/channels/{quote(channel.name)}#L{use.line}" if is_own else f"/channels/{quote(channel.name)}"
                found.append(Used(str(channel.name), use.where, use.text, f"{use.file}:{use.line}:{use.column}", to))
    told = "" if found else f"Nothing here uses {thing}{meant([thing])}"
    if len(found) > MOST_USES:
        told = f"The first {MOST_USES} of {len(found)} uses"
    if left_out:
        told += f" ({left_out} files could not be read)"
    return found[:MOST_USES], told


PAGES: Final = (
    Page(
        "GET",
        "/map",
        "see",
        "channel",
        "Senders, channels and receivers, and what goes between them",
        site_map,
        "map",
        query=MapQuery,
        nav="Map",
    ),
)
