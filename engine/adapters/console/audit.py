"""The audit: who saw, searched, changed, resent and released what, and signed in, from where; and whether it is whole.

Looking at it is not on record, or it would grow by being read; but for what was asked for, which may quote a patient's
number, and for an export.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from itertools import islice
from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from pydantic import StringConstraints
from starlette.responses import Response, StreamingResponse

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.models import time_of
from engine.adapters.api.on_users import DAY_S
from engine.adapters.audit_check import check_audit, newest_anchored
from engine.adapters.console.audit_rows import Wanted, backwards, newer_cursor, page_of, told_counts
from engine.adapters.console.csv_lines import csv_line
from engine.adapters.console.rendering import page
from engine.model.audit import AuditRow

PAGE: Final = 100
MOST_EXPORTED: Final = 100_000
SLICE: Final = 500
SECOND: Final = 1_000_000
SINCE: Final[Mapping[str, float]] = {"": 0, "1h": 3600, "24h": DAY_S, "7d": 7 * DAY_S, "30d": 30 * DAY_S}
COLUMNS: Final = ("id", "at", "actor", "action", "reason", "counts", "ids", "key", "hash")

Who = Annotated[str, StringConstraints(max_length=200)]
Word = Annotated[str, StringConstraints(max_length=40, pattern=r"^[a-z-]*$")]
Seq = Annotated[str, StringConstraints(pattern=r"^\s*[0-9]{0,18}\s*$")]
Since = Literal["", "1h", "24h", "7d", "30d"]


class AuditFilter(ApiModel):
    """What narrows the list. `message`: its number."""

    who: Who = ""
    action: Word = ""
    since: Since = ""
    message: Seq = ""


class AuditPageQuery(AuditFilter):
    before: Seq = ""


class ExportForm(AuditFilter):
    form: Literal["ndjson", "csv"]
    values: Annotated[str, StringConstraints(max_length=3)] = ""


def _wanted(call: Call, asked: AuditFilter) -> Wanted:
    ago_s = SINCE[asked.since]
    since_us = call.api.clock.now_us() - int(ago_s * SECOND) if ago_s else 0
    return Wanted(asked.who.strip(), asked.action, since_us, int(asked.message.strip() or 0))


def _link(asked: AuditFilter, **more: str) -> str:
    said = {name: value for name, value in {**asked.model_dump(), **more}.items() if value}
    return "/audit" + (f"?{urlencode(said)}" if said else "")


async def show(call: Call) -> Response:
    """Without what was asked for."""
    return await _shown(call, call.the_query(AuditPageQuery), values=False)


async def show_values(call: Call) -> Response:
    """With it; that it is looked at is on record first."""
    record = call.api.control.put_on_record(call.by(), "read", about=["the audit"])
    await call.api.calls.ask(record, ACTION_TIMEOUT_S)
    return await _shown(call, call.the_body(AuditPageQuery), values=True)


async def _shown(call: Call, asked: AuditPageQuery, *, values: bool) -> Response:
    queries, anchor = call.api.queries, call.api.anchor
    before = int(asked.before.strip()) if asked.before.strip() else None
    found = await call.search(page_of, queries, _wanted(call, asked), before, PAGE)
    head = await asyncio.to_thread(queries.audit_head)
    newer = await call.search(newer_cursor, queries, _wanted(call, asked), before, PAGE) if before is not None else None
    anchored = await asyncio.to_thread(newest_anchored, anchor) if anchor is not None else None
    return page(
        call,
        "audit.html",
        title="Audit",
        asked=asked,
        rows=[(row, told_counts(row), _link_of(row)) for row in found.rows],
        looked_at=found.looked_at,
        values=values,
        head=head,
        anchor=anchor.name if anchor is not None else "",
        anchored=anchored[0] if anchored is not None else 0,
        sinces=[(key, _link(asked, since=key, before="")) for key in SINCE],
        older=_link(asked, before=str(found.older)) if found.older is not None else "",
        newer=_link(asked, before=str(newer)) if newer is not None else "",
        newest=_link(asked, before="") if before is not None else "",
    )


def _link_of(row: AuditRow) -> str:
    """To what the record is about, where that is one message or one user."""
    if (message := re.fullmatch(r"messages ([0-9]{1,18})", row.ids)) is not None:
        return f"/messages/{message[1]}"
    if (user := re.fullmatch(r"user ([a-z0-9][a-z0-9._@-]{0,63})", row.ids)) is not None:
        return f"/users/{user[1]}"
    return ""


async def verify(call: Call) -> Response:
    """Reads all of the record, and the anchor."""
    verdict = await call.search(check_audit, call.api.queries, call.api.anchor)
    return page(
        call,
        "audit_verify.html",
        title="Is the record whole?",
        help="console#audit",
        verdict=verdict,
        has_anchor=call.api.anchor is not None,
    )


async def export(call: Call) -> Response:
    """On record before the first line is sent; newest first."""
    asked = call.the_body(ExportForm)
    wanted = _wanted(call, asked)
    said = " ".join(f"{name}={value}" for name, value in asked.model_dump().items() if value)
    record = call.api.control.put_on_record(call.by(scope=f"audit {said}"), "export", about=["the audit"])
    await call.api.calls.ask(record, ACTION_TIMEOUT_S)
    queries = call.api.queries
    head = await asyncio.to_thread(queries.audit_head)
    rows = islice(filter(wanted.holds, backwards(queries, head.last + 1)), MOST_EXPORTED)
    to_line = _csv if asked.form == "csv" else _ndjson

    async def lines() -> AsyncIterator[bytes]:
        if asked.form == "csv":
            yield csv_line([*COLUMNS, *(["scope"] if asked.values else [])])
        while part := await call.search(lambda: list(islice(rows, SLICE))):
            yield b"".join(to_line(row, with_values=bool(asked.values)) for row in part)

    media = "text/csv; charset=utf-8" if asked.form == "csv" else "application/x-ndjson"
    headers = {"content-disposition": f'attachment; filename="audit.{asked.form}"'}
    return StreamingResponse(lines(), media_type=media, headers=headers)


def _record(row: AuditRow, *, with_values: bool) -> dict[str, object]:
    told: dict[str, object] = {
        "id": row.id,
        "at": time_of(row.at_us),
        "actor": row.actor,
        "action": row.action,
        "reason": row.reason,
        "counts": json.loads(row.counts or "{}"),
        "ids": row.ids,
        "key": row.key,
        "hash": row.hash.hex(),
    }
    return told | ({"scope": row.scope} if with_values else {})


def _ndjson(row: AuditRow, *, with_values: bool) -> bytes:
    return json.dumps(_record(row, with_values=with_values), separators=(",", ":")).encode() + b"\n"


def _csv(row: AuditRow, *, with_values: bool) -> bytes:
    told = _record(row, with_values=with_values) | {"counts": told_counts(row)}
    return csv_line([str(value) for value in told.values()])


PAGES: Final = (
    Page(
        "GET",
        "/audit",
        "administer",
        "site",
        "What people did, newest first",
        show,
        "audit",
        query=AuditPageQuery,
        nav="Audit",
    ),
    Page(
        "POST",
        "/audit",
        "administer",
        "site",
        "The same with what was asked for",
        show_values,
        "audit",
        body=AuditPageQuery,
        record="read",
    ),
    Page(
        "GET",
        "/audit/verify",
        "administer",
        "site",
        "Whether the record is whole",
        verify,
        "audit",
        timeout_s=75.0,
    ),
    Page(
        "POST",
        "/audit/export",
        "administer",
        "site",
        "The record as a file",
        export,
        "audit",
        body=ExportForm,
        record="export",
        media="application/x-ndjson",
    ),
)
