"""Counters that count while one looks: server-sent events for the overview and the map.

What is told comes from counters alone (`numbers`), and only what has changed is sent. Where what needs a person may
have changed, the engine is asked once, and the list comes along.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from starlette.responses import Response

from engine.adapters.admin_app import EngineSilent
from engine.adapters.api.access import Signed
from engine.adapters.api.entries import Api, Call, Page
from engine.adapters.api.streams import EventStream
from engine.adapters.console.numbers import numbers_by_channel
from engine.adapters.console.overview import attention_html
from engine.adapters.console.rendering import desk_of
from engine.adapters.console.shown import number
from engine.model.access import Principal

EVERY_S: Final = 2.0
STILL_EVERY_S: Final = 6.0
"""So often it is asked whether the session goes on."""
Cells = Mapping[str, Mapping[str, str]]


async def live(call: Call) -> Response:
    """A stream; 204 where there are as many as may be, which a browser takes as the end."""
    assert call.signed is not None
    ended = call.api.streams.take(call.signed.hash)
    if ended is None:
        return Response(status_code=204)
    desk = desk_of(call)
    desk.ends.add(ended.set)

    def closed() -> None:
        desk.ends.discard(ended.set)
        call.api.streams.give_back(ended)

    return EventStream(_events(call.api, call.signed), ended, closed)


async def _events(api: Api, signed: Signed) -> AsyncIterator[bytes]:
    """What has changed, every two seconds; the first holds all. Ends where the session has."""
    told: dict[str, Any] = {}
    looked_s = time.monotonic()
    yield b"retry: 5000\n\n"
    while True:
        await api.pulse.look()
        now = telling(api, signed.principal)
        changed = difference(told, now)
        if told and "sign" in changed:
            yield await _attention(api, signed.principal)
        told = now
        # A comment where nothing did: who is gone is noticed, and a proxy does not take the stream for dead.
        yield b"data: " + json.dumps(changed, separators=(",", ":")).encode() + b"\n\n" if changed else b": \n\n"
        await asyncio.sleep(EVERY_S)
        if time.monotonic() - looked_s >= STILL_EVERY_S:
            looked_s = time.monotonic()
            still = await api.access.still(signed)
            if still is None:
                yield b"event: signed-out\ndata: {}\n\n"
                return
            signed = still


async def _attention(api: Api, who: Principal) -> bytes:
    """What needs a person by now; it comes by the stream, as who asked for it anew would be taken for somebody who does
    something, and never be signed out."""
    try:
        html = await attention_html(api, who)
    except (EngineSilent, TimeoutError):
        return b": \n\n"
    return b"event: attention\ndata: " + json.dumps(html).encode() + b"\n\n"


def telling(api: Api, who: Principal) -> dict[str, Any]:
    """By the names that elements have in `data-live`; `sign` changes when what needs a person may have."""
    now_us = api.clock.now_us()
    told: dict[str, Any] = {}
    held = 0
    sign: list[object] = [api.meter.is_ready()]
    for channel, numbers in sorted(numbers_by_channel(api).items()):
        if not who.may("see", channel):
            continue
        held += numbers.held
        told |= {f"{channel} {column}": text for column, text in numbers.cells(now_us).items()}
        own = api.meter.channels[channel]
        sign.append((numbers.held > 0, own.is_intake_paused, own.silent_feeds))
    for (channel, destination), lane in sorted(api.meter.lanes.items()):
        if who.may("see", channel):
            told[f"{channel}/{destination} queued"] = number(lane.queued)
            sign.append((lane.is_connected, lane.is_paused, lane.failures, lane.blocked > 0))
    told["held"] = number(held)
    told["sign"] = f"{hash(tuple(sign)) & 0xFFFFFFFF:08x}"
    return told


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What is new or another."""
    return {name: value for name, value in now.items() if before.get(name) != value}


PAGES: Final = (
    Page(
        "GET",
        "/live",
        "see",
        "channel",
        "Counters as they count",
        live,
        "overview",
        media="text/event-stream",
    ),
)
