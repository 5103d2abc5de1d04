"""Which codes held messages wait for, and which of them go on when there are rows for those.

What a message waits for is seen by running it again, without any effect; here is what comes of that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from engine.config.table import BACK, Table
from engine.pipeline.trace import Trace

NO_ROW: Final = "E214"


@dataclass(slots=True, frozen=True, order=True)
class Missed:
    """A code that a table of a channel does not have. `key` is a value of a message."""

    channel: str
    table: str
    key: str


@dataclass(slots=True)
class Misses:
    """All of them with the messages that wait, in order; `unread` has why the causes of others could not be found."""

    of: dict[Missed, list[int]] = field(default_factory=dict)
    waits_for: dict[int, list[Missed]] = field(default_factory=dict)
    came: dict[int, datetime] = field(default_factory=dict)
    unread: dict[str, list[int]] = field(default_factory=dict)

    def note(self, seq: int, came: datetime, missed: Sequence[Missed]) -> None:
        """One held message, with the time of its receipt."""
        self.came[seq] = came
        self.waits_for[seq] = list(dict.fromkeys(missed))
        for one in self.waits_for[seq]:
            self.of.setdefault(one, []).append(seq)

    @property
    def ordered(self) -> list[tuple[Missed, list[int]]]:
        """By channel and table, the most frequent first."""
        return sorted(self.of.items(), key=lambda item: (item[0].channel, item[0].table, -len(item[1]), item[0].key))

    def answered(self, tables: Mapping[tuple[str, str], Table]) -> list[int]:
        """The messages for all of whose codes there is a row now, of the time at which they came."""
        looked_into = {(one.channel, one.table) for one in self.of}
        turned = {(channel, name): _table(tables, channel, name) for channel, name in looked_into}
        return [
            seq
            for seq, missed in sorted(self.waits_for.items())
            if missed and all(_has(turned[one.channel, one.table], one.key, self.came[seq]) for one in missed)
        ]


def missed_in(channel: str, trace: Trace) -> list[Missed]:
    """The codes for which a run held its message; none where it was held for something else, or not at all."""
    return [
        Missed(channel, lookup.table, lookup.key)
        for step in trace.steps
        if step.outcome == "held"
        for lookup in step.lookups
        if lookup.row is None
    ]


def file_of(table: str) -> str:
    """The file of a table that may have been looked up on the way back."""
    return table.removesuffix(BACK)


def _table(tables: Mapping[tuple[str, str], Table], channel: str, name: str) -> Table | None:
    table = tables.get((channel, file_of(name)))
    return table.back()[0] if table is not None and name.endswith(BACK) else table


def _has(table: Table | None, key: str, time: datetime) -> bool:
    return table is not None and table.lookup_at(key, time) is not None
