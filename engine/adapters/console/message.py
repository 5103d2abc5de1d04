"""Message: one message with its journey, its tree and bytes, what each destination got, and what can be done to it.

Without values first. They are shown to who may read, by a form: that they were read is on record before they are given.
"""

import asyncio
import time
from typing import Final, Literal

from starlette.responses import Response

from engine.adapters.admin_app import ACTION_TIMEOUT_S, READY_TIMEOUT_S, EngineSilent
from engine.adapters.api.entries import Call, Page
from engine.adapters.api.models import SeqPath
from engine.adapters.api.on_messages import note_reading, stored_of
from engine.adapters.api.problems import Problem
from engine.adapters.console.message_view import view
from engine.adapters.console.own_steps import own_steps
from engine.adapters.console.rendering import page, see_other
from engine.adapters.search_pages import newer_of_keys, of_channels
from engine.model.ids import MessageSeq
from engine.model.states import MessageState
from engine.ports.search import Find
from engine.ports.store import StoredMessage, StoreQueries

PATIENT: Final = "mrn"
"""The key that a patient's messages are found by."""
PATIENT_S: Final = 2.5
REPROCESSED: Final[frozenset[MessageState]] = frozenset({"processed", "filtered", "held"})


class WayPath(SeqPath):
    way: Literal["older", "newer"]


async def message(call: Call) -> Response:
    """Structure and journey, values masked."""
    return await _shown(call, await stored_of(call), show_values=False)


async def reveal(call: Call) -> Response:
    """The same with its values; the reading is durable before they are given."""
    stored = await stored_of(call)
    call.require("read", stored.channel)
    await note_reading(call, [stored.seq])
    return await _shown(call, stored, show_values=True)


async def _shown(call: Call, stored: StoredMessage, *, show_values: bool) -> Response:
    runs = any(one.name == stored.channel for one in call.api.site().channels)
    version = await _version_now(call, stored) if runs else None
    told = await own_steps(call, stored) if show_values else None
    made = await call.search(
        lambda: view(call.api.queries, call.api.versions, stored, show_values=show_values, told=told)
    )
    deliveries = {one.delivery.state for one in made.deliveries}
    who = call.who
    return page(
        call,
        "message.html",
        title=f"Message {stored.seq}, values shown" if show_values else f"Message {stored.seq}",
        view=made,
        m=stored,
        shows=show_values,
        runs=runs,
        is_other_version=version not in (None, stored.version),
        may_read=who.may("read", stored.channel),
        may_operate=who.may("operate", stored.channel),
        has_patient=PATIENT in call.api.site().keys.names,
        can={
            "resend": stored.state not in ("rejected", "received", "waiting", "joined"),
            "reprocess": stored.state in REPROCESSED and stored.raw is not None,
            "release": stored.state == "held" or bool(deliveries & {"held", "failed"}),
            "discard": stored.state == "held" or "held" in deliveries,
        },
    )


async def _version_now(call: Call, stored: StoredMessage) -> int | None:
    """With which version its channel runs. An engine that does not answer is no reason to show nothing of a message."""
    try:
        running = await call.api.calls.ask(call.api.control.status(), READY_TIMEOUT_S)
    except EngineSilent:
        return None
    return next((one.version for one in running if one.channel == stored.channel), None)


async def download(call: Call) -> Response:
    """The bytes as they came, as a file."""
    stored = await stored_of(call)
    call.require("read", stored.channel)
    if stored.raw is None:
        raise Problem(410, "E513", "its bytes are no longer kept")
    await note_reading(call, [stored.seq], "read")
    headers = {"content-disposition": f'attachment; filename="message-{stored.seq}.hl7"'}
    return Response(stored.raw, headers=headers, media_type="application/octet-stream")


async def of_patient(call: Call) -> Response:
    """To the next message of the same patient, by the keys that both have; the values stay here.

    It tells that two messages are of one patient, so it is a search for a value: by who may read, and on record.
    """
    asked = call.the_path(WayPath)
    stored = await stored_of(call)
    call.require("read", stored.channel)
    if stored.raw is None:
        raise Problem(410, "E513", "its bytes are no longer kept")
    by = call.by(scope=f"{asked.way} message of the patient of message {stored.seq}")
    await call.api.calls.ask(call.api.control.put_on_record(by, "search"), ACTION_TIMEOUT_S)
    keys = call.api.site().keys
    values = await asyncio.to_thread(
        lambda: [pair for pair in keys.of(stored.channel, stored.raw or b"") if pair[0] == PATIENT]
    )
    if not values:
        return see_other(call, f"/messages/{stored.seq}", "It has no number of a patient that is a key (mrn).", "warn")
    allowed = call.who.channels("read")
    wanted = of_channels(Find(any_of=tuple(values)), None if allowed is None else tuple(sorted(allowed)))
    found = await call.search(_neighbour, call.api.queries, wanted, stored.seq, asked.way)
    if found is None:
        return see_other(call, f"/messages/{stored.seq}", f"There is no {asked.way} message of this patient.", "warn")
    return see_other(call, f"/messages/{found}")


def _neighbour(queries: StoreQueries, wanted: Find, seq: MessageSeq, way: str) -> MessageSeq | None:
    end = time.monotonic() + PATIENT_S
    if way == "newer":
        return newer_of_keys(queries, wanted, seq, lambda: time.monotonic() > end)
    before: MessageSeq | None = seq
    while before is not None and time.monotonic() < end:
        piece = queries.find(wanted, before=before, limit=1)
        if piece.messages:
            return piece.messages[0].seq
        before = piece.before
    return None


PAGES: Final = (
    Page(
        "GET",
        "/messages/{seq}",
        "see",
        "channel",
        "One message, without its values",
        message,
        "messages",
        path_model=SeqPath,
    ),
    Page(
        "POST",
        "/messages/{seq}",
        "read",
        "channel",
        "One message with its values",
        reveal,
        "messages",
        path_model=SeqPath,
        record="read",
        timeout_s=60.0,
    ),
    Page(
        "POST",
        "/messages/{seq}/download",
        "read",
        "channel",
        "The bytes of one message, as a file",
        download,
        "messages",
        path_model=SeqPath,
        record="read",
        media="application/octet-stream",
    ),
    Page(
        "GET",
        "/messages/{seq}/patient/{way}",
        "read",
        "channel",
        "The next message of the same patient",
        of_patient,
        "messages",
        path_model=WayPath,
        record="search",
    ),
)
