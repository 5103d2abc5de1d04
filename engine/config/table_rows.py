"""When a row of a code table holds, and which way: the columns `valid_from`, `valid_to` and `direction`.

```text
from,to,valid_from,valid_to,direction
3W,W03,,2026-06-30,              until the end of that day, UTC
3W,W13,2026-07-01,,              from then on
OLD3,W03,,,there                 not on the way back: there, W03 is 3W
*,W99,,,                         the default row: for every key that has none ("*" in quotes is that very key)
```

A message is looked up by the time of its receipt, so that a message that is run again comes to the same end.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

FROM: Final = "valid_from"
TO: Final = "valid_to"
DIRECTION: Final = "direction"
DIRECTIONS: Final = ("both", "there", "back")
ANY: Final = "*"

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)


class Row(NamedTuple):
    """One row. `line` is where it stands in the file, from 1; `others` are the cells behind the value.

    It holds from `since` on and before `until`; None is for ever.
    """

    value: str
    line: int
    others: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    @property
    def begins(self) -> datetime:
        return self.since or _BEGINNING

    @property
    def ends(self) -> datetime:
        return self.until or _END

    def holds_at(self, time: datetime) -> bool:
        return self.begins <= time < self.ends

    def meets(self, other: "Row") -> bool:
        """Whether there is a moment at which both hold."""
        return self.begins < other.ends and other.begins < self.ends


class Entry(NamedTuple):
    """A row as it is written, with both of its sides. `any_*` where that side is an unquoted `*`."""

    key: str
    column: int
    any_key: bool
    any_value: bool
    direction: str
    row: Row


def moment(text: str, *, is_end: bool) -> datetime | None:
    """`2026-07-01` (UTC; as an end, all of that day) or `2026-07-01T06:00+02:00`; None for ''. Raises ValueError."""
    if not text:
        return None
    if _DAY.fullmatch(text):
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        try:
            return day + timedelta(days=1) if is_end else day
        except OverflowError:
            return None  # the last day that there is
    made = datetime.fromisoformat(text)
    if made.tzinfo is None:
        raise ValueError("a time without its distance from UTC")
    return made.astimezone(UTC)


def overlap(rows: Sequence[Row]) -> tuple[Row, Row] | None:
    """The first two of one key that hold at one moment, the later in the file second."""
    ordered = sorted(rows, key=lambda row: row.begins)
    for one, other in pairwise(ordered):
        if one.meets(other):
            return (one, other) if one.line < other.line else (other, one)
    return None


def gaps(rows: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Rows of one key, none of which overlap, with a time between them at which none holds."""
    ordered = sorted(rows, key=lambda row: row.begins)
    return [(one, other) for one, other in pairwise(ordered) if one.ends < other.begins]
