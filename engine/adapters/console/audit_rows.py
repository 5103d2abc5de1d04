"""The audit, newest first and narrowed: by who, what, since when, and which message.

Records are numbered without gaps: a page reads windows of them by number, backwards, and never counts from the start.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from engine.model.audit import AuditRow
from engine.ports.store import StoreQueries

WINDOW: Final = 500
MOST_LOOKED_AT: Final = 50_000
_MESSAGES = re.compile(r"(?:^|; )messages ([0-9,-]+)")


@dataclass(slots=True, frozen=True)
class Wanted:
    """What is looked for; '' and 0: anything. `who`: a part of the name or address, in any case."""

    who: str = ""
    action: str = ""
    since_us: int = 0
    message: int = 0

    def holds(self, row: AuditRow) -> bool:
        return (
            self.who.casefold() in row.actor.casefold()
            and self.action in ("", row.action)
            and row.at_us >= self.since_us
            and (not self.message or names_message(row.ids, self.message))
        )


@dataclass(slots=True, frozen=True)
class Found:
    """Newest first. `older`: the cursor for more; None: there is no more. `looked_at`: how many records that took."""

    rows: list[AuditRow]
    older: int | None
    looked_at: int


def forwards(queries: StoreQueries, after: int) -> Iterator[AuditRow]:
    """Records with a larger number, oldest first."""
    while rows := queries.audit(after, WINDOW):
        yield from rows
        after = rows[-1].id


def newer_cursor(queries: StoreQueries, wanted: Wanted, before: int, limit: int) -> int | None:
    """The cursor of the page that ends just above number `before`: its own `before`; None: nothing newer fits.

    It looks at no more than that page does, of which then nothing may fit.
    """
    fitting = 0
    last = None
    for looked_at, row in enumerate(forwards(queries, before - 1), 1):
        if wanted.holds(row):
            fitting, last = fitting + 1, row.id
        if fitting == limit:
            break
        if looked_at >= MOST_LOOKED_AT:
            return row.id + 1
    return None if last is None else last + 1


def names_message(ids: str, seq: int) -> bool:
    """Whether a record's ids (`messages 1-5,9; deliveries 12`) name a message."""
    found = _MESSAGES.search(ids)
    if found is None:
        return False
    for part in found[1].split(","):
        first, _, last = part.partition("-")
        if first and int(first) <= seq <= int(last or first):
            return True
    return False


def backwards(queries: StoreQueries, before: int) -> Iterator[AuditRow]:
    """Records with a smaller number, newest first."""
    while before > 1:
        after = max(0, before - 1 - WINDOW)
        rows = queries.audit(after, before - 1 - after)
        yield from reversed(rows)
        before = after + 1


def page_of(queries: StoreQueries, wanted: Wanted, before: int | None, limit: int) -> Found:
    """The newest `limit` before that number, or fewer where so many were looked at."""
    start = queries.audit_head().last + 1 if before is None else before
    rows: list[AuditRow] = []
    looked_at = 0
    for row in backwards(queries, start):
        if row.at_us < wanted.since_us:
            # The clock may have been set back since: a little more is looked at, not all of it.
            looked_at += WINDOW
        looked_at += 1
        if wanted.holds(row):
            rows.append(row)
        if len(rows) == limit or looked_at >= MOST_LOOKED_AT:
            return Found(rows, row.id if row.id > 1 else None, looked_at)
    return Found(rows, None, looked_at)


def failed_sign_ins(queries: StoreQueries, since_us: int) -> tuple[dict[str, int], int]:
    """How often since then the password of each user was wrong, and how often no user of ours was named.

    A record may stand for others that were left out, and says for how many.
    """
    by_user: dict[str, int] = {}
    unknown = looked_at = 0
    for row in backwards(queries, queries.audit_head().last + 1):
        looked_at += 1
        if row.at_us < since_us or looked_at > MOST_LOOKED_AT:
            break
        if row.action != "sign-in-failed":
            continue
        more = re.match(r"([0-9]{1,9}) more failures", row.scope)
        times = 1 + (int(more[1]) if more is not None else 0)
        if row.ids.startswith("user "):
            name = row.ids.removeprefix("user ")
            by_user[name] = by_user.get(name, 0) + times
        else:
            unknown += times
    return by_user, unknown


def told_counts(row: AuditRow) -> str:
    """`2 messages, 5 deliveries`."""
    counts: Mapping[str, int] = json.loads(row.counts) if row.counts else {}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)
