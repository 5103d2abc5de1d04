"""What scanners asked the worklist for, as far as it is kept, without what a patient is known by; with it on record."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import StringConstraints

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.entries import ApiModel, Call
from engine.adapters.api.models import LINE, Limit, time_of
from engine.adapters.dicom.queries import HIDDEN, STATUSES
from engine.ports.worklist import QueryRecord
from engine.worklist.item import Attributes
from engine.worklist.masking import PLAIN

FAILED: Final = "failed"

Title = Annotated[str, StringConstraints(max_length=16, pattern=LINE)]


class ScannerQueriesQuery(ApiModel):
    """`calling`: of one scanner."""

    calling: Title = ""
    limit: Limit = 100


class ScannerKey(ApiModel):
    """One key with a value; keys of the step stand beside the others."""

    keyword: str
    value: str
    is_masked: bool


class ScannerQuery(ApiModel):
    """`without`: how many answers there would have been without a key, where that is more. `unmatched`: keys that
    restricted nothing. `outcome`: how it ended, `status` as DICOM says it."""

    at: str
    calling: str
    called: str
    peer: str
    keys: list[ScannerKey]
    answers: int
    without: dict[str, int]
    unmatched: list[str]
    status: str
    outcome: str
    seconds: float


class ScannerQueries(ApiModel):
    """The newest first. `kept`: how many there are in all."""

    queries: list[ScannerQuery]
    kept: int


@dataclass(slots=True, frozen=True)
class Key:
    """One key that restricts. `is_plain`: nobody is known by it. `is_kept`: the site keeps what its value was."""

    keyword: str
    text: str
    is_plain: bool
    is_kept: bool

    def is_shown(self, *, with_values: bool) -> bool:
        """Else something of one length stands in its place."""
        return self.is_kept and (self.is_plain or with_values)


async def kept_queries(call: Call) -> list[QueryRecord]:
    """All that is kept, the newest first."""
    return list(reversed(await call.api.calls.ask(call.api.control.asked(), ACTION_TIMEOUT_S)))


async def note_reading(call: Call) -> None:
    """On record before the values are given."""
    record = call.api.control.put_on_record(call.by(), "read", about=["what scanners asked"])
    await call.api.calls.ask(record, ACTION_TIMEOUT_S)


def outcome_of(record: QueryRecord) -> str:
    """A word for how it ended."""
    return STATUSES.get(record.status, FAILED)


def keys_of(keys: Attributes) -> Iterator[Key]:
    """Those with a value."""
    for keyword, values in keys.items():
        text = "\\".join(value for value in values if isinstance(value, str))
        if text.strip("\\"):
            yield Key(keyword, text, keyword in PLAIN, text != HIDDEN)
        for value in values:
            if not isinstance(value, str):
                yield from keys_of(value)


def gained(record: QueryRecord) -> dict[str, int]:
    """What each key took away, where it took anything."""
    return {keyword: number for keyword, number in record.without.items() if number > record.answers}


async def queries(call: Call) -> ScannerQueries:
    """Without what a patient is known by."""
    return _told(await kept_queries(call), call.the_query(ScannerQueriesQuery), with_values=False)


async def queries_with_values(call: Call) -> ScannerQueries:
    """With it, where the site keeps it; that is on record first."""
    await note_reading(call)
    return _told(await kept_queries(call), call.the_query(ScannerQueriesQuery), with_values=True)


def _told(kept: Sequence[QueryRecord], asked: ScannerQueriesQuery, *, with_values: bool) -> ScannerQueries:
    found = [one for one in kept if asked.calling in ("", one.calling)][: asked.limit]
    return ScannerQueries(queries=[_query(one, with_values) for one in found], kept=len(kept))


def _query(record: QueryRecord, with_values: bool) -> ScannerQuery:
    keys = [
        ScannerKey(
            keyword=one.keyword,
            value=one.text if one.is_shown(with_values=with_values) else HIDDEN,
            is_masked=not one.is_shown(with_values=with_values),
        )
        for one in keys_of(record.keys)
    ]
    return ScannerQuery(
        at=time_of(record.at_us),
        calling=record.calling,
        called=record.called,
        peer=record.peer,
        keys=keys,
        answers=record.answers,
        without=gained(record),
        unmatched=list(record.unmatched),
        status=f"{record.status:04X}",
        outcome=outcome_of(record),
        seconds=round(record.seconds, 3),
    )
