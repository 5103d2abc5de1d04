"""What scanners asked: who asked the worklist for what, and what it got; masked, or shown on record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from starlette.responses import Response

from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.scanner_queries import Key, Title, gained, kept_queries, keys_of, note_reading, outcome_of
from engine.adapters.console.rendering import page
from engine.ports.worklist import QueryRecord

MOST_SHOWN: Final = 200
OUTCOMES: Final = {
    "success": ("answered", "ok"),
    "cancelled": ("cancelled by the scanner", "quiet"),
    "cut": ("cut off", "warn"),
    "bad_identifier": ("not understood", "bad"),
    "failed": ("failed", "bad"),
}

Got = Literal["", "nothing", "refused"]


class AskedQuery(ApiModel):
    """`got`: only those that got `nothing`, or were not answered as asked (`refused`)."""

    calling: Title = ""
    got: Got = ""


@dataclass(slots=True, frozen=True)
class QueryRow:
    """One query as it is listed."""

    record: QueryRecord
    keys: Sequence[Key]
    gained: dict[str, int]
    outcome: str
    kind: str


def rows_of(kept: Sequence[QueryRecord], asked: AskedQuery) -> list[QueryRow]:
    return [_row(one) for one in kept if asked.calling in ("", one.calling) and _got(one, asked.got)]


def _got(record: QueryRecord, got: Got) -> bool:
    if got == "nothing":
        return record.answers == 0
    return got == "" or outcome_of(record) not in ("success", "cancelled")


def _row(record: QueryRecord) -> QueryRow:
    outcome, kind = OUTCOMES[outcome_of(record)]
    if outcome == "answered" and record.answers == 0:
        outcome, kind = "nothing found", "warn"
    return QueryRow(record, tuple(keys_of(record.keys)), gained(record), outcome, kind)


async def show(call: Call) -> Response:
    return await _shown(call, call.the_query(AskedQuery), values=False)


async def show_values(call: Call) -> Response:
    """The same with what was asked for of patients; on record before it is given."""
    await note_reading(call)
    return await _shown(call, call.the_body(AskedQuery), values=True)


async def _shown(call: Call, asked: AskedQuery, *, values: bool) -> Response:
    settings = call.api.site().site
    dicom = settings.dicom if settings is not None else None
    kept = await kept_queries(call)
    rows = rows_of(kept, asked)
    return page(
        call,
        "scanner_queries.html",
        title="What scanners asked",
        help="console#what-scanners-asked",
        asked=asked,
        rows=rows[:MOST_SHOWN],
        matched=len(rows),
        kept=len(kept),
        scanners=sorted({one.calling for one in kept} | {*(dicom.modalities if dicom is not None else ())}),
        has_server=dicom is not None,
        keeps_patients=dicom is not None and dicom.query_log.patients,
        values=values,
        may_read=call.who.may("read"),
    )


PAGES: Final = (
    Page(
        "GET",
        "/worklist/asked",
        "see",
        "site",
        "What scanners asked for, and what they got",
        show,
        "worklist",
        query=AskedQuery,
    ),
    Page(
        "POST",
        "/worklist/asked",
        "read",
        "site",
        "The same with what was asked for of patients",
        show_values,
        "worklist",
        body=AskedQuery,
        record="read",
    ),
)
