"""Stored messages: lists without values; values one by one, each reading on record before they are given."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.entries import Call
from engine.adapters.api.finding import Wanted, holds, matching, page, wanted_of
from engine.adapters.api.models import (
    AttemptShown,
    BodyShown,
    DeliveryBody,
    DeliveryShown,
    ExportBody,
    ExportQuery,
    FindingShown,
    Messages,
    MessageShown,
    MessagesQuery,
    MessageWhole,
    Search,
    SearchBody,
    SeqPath,
    time_of,
)
from engine.adapters.api.problems import not_allowed, not_there
from engine.config.expression import Condition
from engine.model.finding import load_findings
from engine.model.ids import MessageSeq
from engine.ports.store import StoredAttempt, StoredDelivery, StoredMessage

NDJSON: Final = "application/x-ndjson"
EXPORT_SLICE: Final = 100
TURN_S: Final = 0.5
"""So long an export looks before others have their turn."""


def scope_of(search: Search) -> str:
    """What was asked for, in words; for the record alone, as an expression may quote a value."""
    said = search.model_dump(include=set(Search.model_fields), exclude_defaults=True)
    return " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in said.items())[:4000]


def wanted_by(call: Call, search: Search) -> Wanted:
    """The search within what is granted: an expression looks at values, and needs the right to read them."""
    allowed = call.who.channels("read" if search.where is not None else "see")
    if search.where is not None and allowed is not None and not allowed:
        raise not_allowed("an expression looks at values")
    return wanted_of(search, allowed)


async def note_search(call: Call, search: Search, action: str = "search") -> None:
    """On record before it is done, where it looks at values."""
    by = call.by(scope=scope_of(search))
    await call.api.calls.ask(call.api.control.put_on_record(by, action), ACTION_TIMEOUT_S)


async def messages(call: Call) -> Messages:
    return await _messages(call, SearchBody(**call.the_query(MessagesQuery).model_dump()))


async def search(call: Call) -> Messages:
    """The same, with an expression; in a body, as an address is kept by browsers and proxies."""
    return await _messages(call, call.the_body(SearchBody))


async def _messages(call: Call, asked: SearchBody) -> Messages:
    wanted = wanted_by(call, asked)
    if asked.where is not None:
        await note_search(call, asked)
    before = None if asked.cursor is None else MessageSeq(int(asked.cursor))
    found = await call.search(page, call.api.queries, wanted, before, asked.limit)
    return Messages(
        messages=[MessageShown(**_shown(stored)) for stored in found.found],
        next=None if found.after is None else str(found.after),
        looked_at=found.looked_at,
    )


def _shown(stored: StoredMessage) -> dict[str, Any]:
    return {
        "seq": stored.seq,
        "channel": stored.channel,
        "version": stored.version,
        "received_at": time_of(stored.received_at_us),
        "sender": stored.sender,
        "peer": stored.peer,
        "message_type": stored.message_type,
        "control_id": stored.control_id,
        "state": stored.state,
        "ack_code": stored.ack_code,
        "findings": [
            FindingShown(code=one.code, severity=one.severity, text=one.text, location=one.location, step=one.step)
            for one in load_findings(stored.findings)
        ],
    }


async def export(call: Call) -> Response:
    """Newest first, a message a line."""
    return await _export(call, ExportBody(**call.the_query(ExportQuery).model_dump()))


async def export_search(call: Call) -> Response:
    """The same, with an expression."""
    return await _export(call, call.the_body(ExportBody))


async def _export(call: Call, asked: ExportBody) -> Response:
    """A slice is on record before it is sent, where it holds bytes."""
    wanted = wanted_by(call, asked)
    if asked.bodies:
        readable = call.who.channels("read")
        if readable is not None and not readable:
            raise not_allowed()
        wanted = wanted_of(asked, readable)
    if asked.where is not None or asked.bodies:
        await note_search(call, asked, "export")
    rows = matching(call.api.queries, wanted, bodies=asked.bodies)

    async def lines() -> AsyncIterator[bytes]:
        left, is_end = asked.limit, False
        while left and not is_end:
            part, is_end = await call.search(_slice, rows, wanted.where, min(EXPORT_SLICE, left))
            left -= len(part)
            if part and asked.bodies:
                await note_reading(call, [stored.seq for stored in part], "export")
            if part:
                yield b"".join(_line(stored, bodies=asked.bodies) for stored in part)

    headers = {"content-disposition": 'attachment; filename="messages.ndjson"'}
    return StreamingResponse(lines(), media_type=NDJSON, headers=headers)


def _slice(rows: Iterator[StoredMessage], where: Condition | None, most: int) -> tuple[list[StoredMessage], bool]:
    """The next of those that are wanted, and whether there are no more. Few or none where the time of one turn is over:
    who has gone away, or the engine's end, is seen between two turns."""
    found: list[StoredMessage] = []
    end = time.monotonic() + TURN_S
    for stored in rows:
        if holds(where, stored):
            found.append(stored)
        if len(found) == most or time.monotonic() > end:
            return found, False
    return found, True


def _line(stored: StoredMessage, *, bodies: bool) -> bytes:
    row = MessageShown(**_shown(stored)).model_dump(mode="json")
    if bodies:
        row["raw"] = _base64(stored.raw)
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


async def note_reading(call: Call, seqs: list[MessageSeq], action: str = "read") -> None:
    """On record, and durable, before the bytes are given."""
    asked = call.api.control.put_on_record(call.by(), action, messages=seqs)
    await call.api.calls.ask(asked, ACTION_TIMEOUT_S)


async def stored_of(call: Call) -> StoredMessage:
    """The message, if the one who asks may know that it is there."""
    seq = MessageSeq(call.the_path(SeqPath).seq)
    stored = await asyncio.to_thread(call.api.queries.message, seq)
    if stored is None or not call.who.may("see", stored.channel):
        raise not_there()
    return stored


async def message(call: Call) -> MessageWhole:
    stored = await stored_of(call)
    queries = call.api.queries
    deliveries, attempts, links = await asyncio.to_thread(
        lambda: (queries.deliveries(stored.seq), queries.attempts(stored.seq), queries.links(stored.seq))
    )
    return MessageWhole(
        **_shown(stored),
        deliveries=[_delivery(one, [a for a in attempts if a.delivery_id == one.id]) for one in deliveries],
        origin=links.origin,
        edited=list(links.edited),
    )


def _delivery(one: StoredDelivery, attempts: list[StoredAttempt]) -> DeliveryShown:
    return DeliveryShown(
        id=one.id,
        destination=one.destination,
        state=one.state,
        attempts=one.attempts,
        next_at=time_of(one.next_at_us),
        done_at=time_of(one.done_at_us),
        code=one.code,
        note=one.note,
        maybe_sent=one.maybe_sent,
        urgent=one.urgent,
        took_over_from=one.origin,
        earlier_attempts=[
            AttemptShown(number=a.number, at=time_of(a.at_us), code=a.code, note=a.note) for a in attempts
        ],
    )


async def body(call: Call) -> BodyShown:
    """The bytes. It is on record, and durable, before they are given."""
    stored = await stored_of(call)
    call.require("read", stored.channel)
    deliveries = await asyncio.to_thread(call.api.queries.deliveries, stored.seq, True)
    await note_reading(call, [stored.seq])
    return BodyShown(
        seq=stored.seq,
        raw=_base64(stored.raw),
        ack=_base64(stored.ack) or "",
        deliveries=[
            DeliveryBody(
                id=one.id, destination=one.destination, body=_base64(one.body), answer=_base64(one.answer) or ""
            )
            for one in deliveries
        ],
    )


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode("ascii")
