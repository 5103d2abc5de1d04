"""Messages: one search box, pages both ways by a message's number, and their export; no value stands in a list."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints
from starlette.responses import Response, StreamingResponse

from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.models import Cursor, Name, time_of
from engine.adapters.api.saved_searches import may_share, searches_seen
from engine.adapters.console.csv_lines import csv_line
from engine.adapters.console.rendering import page, see_other
from engine.adapters.console.searching import Asked, Row, asked_in_address, fetch, granted, note, pointed, row_of, typed
from engine.adapters.search_pages import older_page
from engine.config.search import MOST_CHARS, SearchError, from_address
from engine.model.ids import MessageSeq
from engine.ports.store import StoreQueries

CHIPS: Final = (("10m", "10 min"), ("1h", "1 h"), ("24h", "24 h"), ("7d", "7 d"), ("", "any time"))
COLUMNS: Final = {
    "received": "Received",
    "channel": "Channel",
    "type": "Type",
    "control": "Control id",
    "sender": "Sender",
    "state": "State",
    "deliveries": "Deliveries",
    "ack": "Answer",
    "finding": "First finding",
    "peer": "Came from",
    "version": "Version",
}
SHOWN: Final = ("received", "channel", "type", "control", "sender", "state", "deliveries", "ack", "finding")
EXPORT_SLICE: Final = 200
MOST_EXPORTED: Final = 100_000
TURN_S: Final = 0.5

Column = Literal[
    "received", "channel", "type", "control", "sender", "state", "deliveries", "ack", "finding", "peer", "version"
]
Short = Annotated[str, StringConstraints(max_length=40)]
Word = Annotated[str, StringConstraints(max_length=200)]
SearchId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{12}$")]


class Searched(ApiModel):
    """A search as an address has it: nothing of it is a value of a message. `search`: one that is, by its word."""

    channel: Name | None = None
    state: list[Short] = Field(default=[], max_length=20)
    since: Short | None = None
    until: Short | None = None
    type: Short | None = None
    sender: Word | None = None
    control: Word | None = None
    search: SearchId | None = None

    def given(self) -> dict[str, list[str]]:
        """By the names of terms."""
        others = {"search", "before", "after", "columns", "format", "name", "shared"}
        said = self.model_dump(exclude=others, exclude_defaults=True)
        return {name: value if isinstance(value, list) else [value] for name, value in said.items() if value}


class ListQuery(Searched):
    before: Cursor | None = None
    after: Cursor | None = None
    columns: list[Column] = Field(default=[], max_length=len(COLUMNS))


class SearchForm(ApiModel):
    """What was typed. `since`: of a chip."""

    q: Annotated[str, StringConstraints(max_length=MOST_CHARS)] = ""
    since: Short | None = None
    columns: list[Column] = Field(default=[], max_length=len(COLUMNS))


class ExportQuery(Searched):
    format: Literal["csv", "ndjson"] = "csv"


PAGE: Final = 50


async def messages(call: Call) -> Response:
    """The list. A search for values is on record before it is done."""
    asked_for = call.the_query(ListQuery)
    try:
        asked = asked_in_address(call, asked_for.given(), asked_for.search)
    except SearchError as error:
        return await unread(call, from_address(asked_for.given()), error)
    channels = granted(call, asked)
    if asked.has_values:
        await note(call, asked)
    before, after = _seq(asked_for.before), _seq(asked_for.after)
    listed, rows = await call.search(fetch, call.api.queries, asked, channels, before, after, PAGE)
    if after is not None and not rows and listed.newer is None:
        return see_other(call, asked.link(columns=asked_for.columns))
    columns = [name for name in COLUMNS if name in (asked_for.columns or SHOWN)]
    return page(
        call,
        "messages.html",
        title="Messages",
        asked=asked,
        error=None,
        q=asked.text,
        since=_since(asked_for, asked),
        chips=CHIPS,
        listed=listed,
        rows=rows,
        columns=[(name, COLUMNS[name]) for name in columns],
        chosen=asked_for.columns,
        every_column=COLUMNS,
        shown_columns=columns,
        older=None if listed.older is None else asked.link(before=listed.older, columns=asked_for.columns),
        newer=None if listed.newer is None else asked.link(after=listed.newer, columns=asked_for.columns),
        newest=asked.link(columns=asked_for.columns) if before is not None or after is not None else None,
        saved=await searches_seen(call),
        may_share=may_share(call) and not asked.has_values,
        may_operate=call.who.may_somewhere("operate"),
    )


def _since(asked_for: Searched, asked: Asked) -> str | None:
    """Which chip is pressed."""
    if asked_for.since is not None:
        return asked_for.since
    if asked.search.since_us or asked.search.until_us is not None:
        found = [value for value, _ in CHIPS if value and f"since:{value}" in asked.text.split()]
        return found[0] if found else None
    return ""


async def unread(call: Call, text: str, error: SearchError) -> Response:
    """The form again, with what cannot be read marked in it; nothing was looked for."""
    return page(
        call,
        "messages.html",
        title="Messages",
        status=422,
        asked=None,
        error=pointed(text, error),
        q=text,
        since=None,
        chips=CHIPS,
        listed=None,
        rows=[],
        columns=[],
        chosen=[],
        every_column=COLUMNS,
        shown_columns=SHOWN,
        older=None,
        newer=None,
        newest=None,
        saved=await searches_seen(call),
        may_share=False,
        may_operate=False,
    )


async def search(call: Call) -> Response:
    """What was typed goes into an address without its values, and that is where the list is."""
    form = call.the_body(SearchForm)
    try:
        asked = typed(call, form.q, form.since)
    except SearchError as error:
        return await unread(call, form.q, error)
    return see_other(call, asked.link(columns=form.columns))


def _seq(cursor: str | None) -> MessageSeq | None:
    return None if cursor is None else MessageSeq(int(cursor))


# -- export -----------------------------------------------------------------------------------------------


async def export(call: Call) -> Response:
    """The list as a file, newest first, a message a line, without a value of any; on record before it begins."""
    asked_for = call.the_query(ExportQuery)
    asked = asked_in_address(call, asked_for.given(), asked_for.search)
    channels = granted(call, asked)
    await note(call, asked, "export")
    is_csv = asked_for.format == "csv"

    async def lines() -> AsyncIterator[bytes]:
        if is_csv:
            yield csv_line(CSV_HEAD)
        left, before = MOST_EXPORTED, None
        while left:
            rows, before = await call.search(_slice, call.api.queries, asked, channels, before, min(EXPORT_SLICE, left))
            left -= len(rows)
            if rows:
                yield b"".join(csv_line(_cells(row)) if is_csv else ndjson_line(row) for row in rows)
            if before is None:
                return

    media = "text/csv; charset=utf-8" if is_csv else "application/x-ndjson"
    headers = {"content-disposition": f'attachment; filename="messages.{asked_for.format}"'}
    return StreamingResponse(lines(), media_type=media, headers=headers)


def _slice(
    queries: StoreQueries, asked: Asked, channels: Sequence[str] | None, before: MessageSeq | None, limit: int
) -> tuple[list[Row], MessageSeq | None]:
    """The next rows; few or none where the time of one turn is over, so that others have theirs."""
    end = time.monotonic() + TURN_S
    found = older_page(queries, asked.search, asked.names, channels, before, limit, lambda: time.monotonic() > end)
    return [row_of(queries, message) for message in found.messages], found.older


CSV_HEAD: Final = (
    "message",
    "received_at",
    "channel",
    "version",
    "type",
    "control_id",
    "sender",
    "peer",
    "state",
    "ack_code",
    "deliveries",
    "findings",
)


def _cells(row: Row) -> tuple[str, ...]:
    one = row.message
    return (
        str(one.seq),
        time_of(one.received_at_us),
        one.channel,
        str(one.version),
        one.message_type,
        one.control_id,
        one.sender,
        one.peer,
        one.state,
        one.ack_code,
        ", ".join(f"{number} {state}" for state, number in row.counts.items()),
        "; ".join(f"{finding.code} {finding.text}" for finding in row.findings[:20]),
    )


def ndjson_line(row: Row) -> bytes:
    """As the API's export has it, with the deliveries counted."""
    one = row.message
    made: dict[str, Any] = {
        "seq": one.seq,
        "channel": one.channel,
        "version": one.version,
        "received_at": time_of(one.received_at_us),
        "sender": one.sender,
        "peer": one.peer,
        "message_type": one.message_type,
        "control_id": one.control_id,
        "state": one.state,
        "ack_code": one.ack_code,
        "deliveries": dict(row.counts),
        "findings": [
            {"code": f.code, "severity": f.severity, "text": f.text, "location": f.location, "step": f.step}
            for f in row.findings
        ],
    }
    return json.dumps(made, separators=(",", ":")).encode() + b"\n"


PAGES: Final = (
    Page(
        "GET",
        "/messages",
        "see",
        "channel",
        "The stored messages, and what a search finds of them",
        messages,
        "messages",
        query=ListQuery,
        record="search",
        nav="Messages",
    ),
    Page("POST", "/messages", "see", "channel", "Search the stored messages", search, "messages", body=SearchForm),
    Page(
        "GET",
        "/messages/export",
        "see",
        "channel",
        "The list as CSV or NDJSON",
        export,
        "messages",
        query=ExportQuery,
        record="export",
        media="text/csv",
        timeout_s=30.0,
    ),
)
