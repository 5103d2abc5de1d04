"""Codes that messages wait for, as people see them once they have asked: values of messages, with how many wait."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.adapters.api.missed import Looked, look, look_at
from engine.pipeline.misses import Missed, file_of
from engine.ports.store import StoreQueries

FIRST: Final = 5


@dataclass(slots=True, frozen=True)
class CodeShown:
    """A code without a row. `first`: the first messages that wait for it; `last_us`: when the last one came."""

    channel: str
    table: str
    key: str
    messages: int
    first: list[int]
    last_us: int

    @property
    def file(self) -> str:
        return file_of(self.table)

    @property
    def is_typed(self) -> bool:
        """Whether all of it shows, so that a row for it can be added here and be seen for what it is."""
        return self.key.isprintable()

    @property
    def is_way_back(self) -> bool:
        """It was looked up from value to key: what is missing is a row with it as its value."""
        return self.file != self.table


@dataclass(slots=True, frozen=True)
class CodesShown:
    """`unread`: why the codes of some could not be found, with how many those are. `seqs`: whose values these are."""

    codes: list[CodeShown]
    unread: dict[str, int]
    is_cut: bool
    seqs: list[int]


def codes_of(queries: StoreQueries, seqs: Sequence[int]) -> CodesShown:
    """Of these messages."""
    return _shown(look_at(queries, seqs))


def codes_of_table(queries: StoreQueries, channel: str, table: str) -> CodesShown:
    """Of the messages that a channel holds for the lack of a row in one table, looked up either way."""
    return _shown(look(queries, (channel,)), table)


def _shown(looked: Looked, table: str | None = None) -> CodesShown:
    wanted = [(one, seqs) for one, seqs in looked.misses.ordered if table in (None, file_of(one.table))]
    codes = [_code(looked, one, seqs) for one, seqs in wanted]
    seqs = sorted({seq for _, some in wanted for seq in some})
    unread = {why: len(some) for why, some in looked.misses.unread.items()}
    return CodesShown(codes, unread, looked.is_cut, seqs)


def _code(looked: Looked, one: Missed, seqs: Sequence[int]) -> CodeShown:
    last = max(looked.misses.came[seq] for seq in seqs)
    return CodeShown(one.channel, one.table, one.key, len(seqs), list(seqs[:FIRST]), int(last.timestamp() * 1_000_000))
