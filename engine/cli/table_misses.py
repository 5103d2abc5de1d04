"""Which codes the held messages wait for: found by running each of them again, without any effect."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from engine.cli.own_code import DEADLINE_S
from engine.cli.progress import counted
from engine.cli.replaying import Versions
from engine.model.finding import load_findings
from engine.model.ids import ChannelName

if TYPE_CHECKING:
    from engine.config.table import Table
    from engine.ports.store import StoredMessage, StoreQueries

NO_ROW: Final = "E214"
WAY_BACK: Final = " (back)"
"""What `engine.config.table` writes behind the name of a table that is looked up from value to key."""


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

    def answered(self, tables: Mapping[tuple[str, str], "Table"]) -> list[int]:
        """The messages for all of whose codes there is a row now, of the time at which they came."""
        looked_into = {(one.channel, one.table) for one in self.of}
        turned = {(channel, name): _table(tables, channel, name) for channel, name in looked_into}
        return [
            seq
            for seq, missed in sorted(self.waits_for.items())
            if missed and all(_has(turned[one.channel, one.table], one.key, self.came[seq]) for one in missed)
        ]


def file_of(table: str) -> str:
    """The file of a table that may have been looked up on the way back."""
    return table.removesuffix(WAY_BACK)


def _table(tables: Mapping[tuple[str, str], "Table"], channel: str, name: str) -> "Table | None":
    table = tables.get((channel, file_of(name)))
    return table.back()[0] if table is not None and name.endswith(WAY_BACK) else table


def _has(table: "Table | None", key: str, time: datetime) -> bool:
    return table is not None and table.lookup_at(key, time) is not None


def misses(queries: "StoreQueries", channel: str | None = None, *, deadline_s: float = DEADLINE_S) -> Misses:
    """What is held for the lack of a row. `deadline_s`: what one message may take in the site's own code."""
    from engine.ports.clock import from_us

    found = Misses()
    versions = Versions(queries, {}, "received")
    for stored in counted(_held(queries, channel), "held messages"):
        try:
            missed = _missed(stored, versions, deadline_s)
        except _Unread as reason:
            found.unread.setdefault(str(reason), []).append(stored.seq)
        else:
            found.note(stored.seq, from_us(stored.received_at_us), missed)
    return found


class _Unread(Exception):
    """The cause could not be found; the text says why, with nothing of the message."""


def _held(queries: "StoreQueries", channel: str | None) -> Iterator["StoredMessage"]:
    of = None if channel is None else ChannelName(channel)
    for stored in queries.messages(channel=of, states=("held",), newest_first=False, bodies=True):
        if any(finding.code == NO_ROW for finding in load_findings(stored.findings)):
            yield stored


def _missed(stored: "StoredMessage", versions: Versions, deadline_s: float) -> list[Missed]:
    from engine.cli.exits import Failure
    from engine.cli.own_code import OwnCodeEnded, guarded
    from engine.hl7.errors import UnreadableMessage
    from engine.hl7.message import Message
    from engine.ports.clock import from_us

    if stored.raw is None:
        raise _Unread("its bytes are no longer kept")
    try:
        channel = versions.of(stored)
        message = Message.parse(stored.raw, fallback=channel.fallback_charset)
        trace = guarded(lambda: channel.trace(message, from_us(stored.received_at_us)), deadline_s)
    except Failure as failure:
        raise _Unread(failure.sentence) from None
    except UnreadableMessage:
        raise _Unread("it cannot be read here") from None
    except OwnCodeEnded as ended:
        raise _Unread(str(ended)) from None
    missed = [
        Missed(str(stored.channel), lookup.table, lookup.key)
        for step in trace.steps
        if step.outcome == "held"
        for lookup in step.lookups
        if lookup.row is None
    ]
    if not missed:
        raise _Unread("run again, it is not held for the lack of a row")
    return missed
