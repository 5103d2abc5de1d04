"""Which codes the held messages wait for: found by running each of them again, without any effect."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from engine.cli.replaying import Versions
from engine.model.finding import load_findings
from engine.model.ids import ChannelName

if TYPE_CHECKING:
    from engine.config.table import Table
    from engine.ports.store import StoredMessage, StoreQueries

NO_ROW: Final = "E214"


@dataclass(slots=True, frozen=True, order=True)
class Missed:
    """A code that a table of a channel does not have. `key` is a value of a message."""

    channel: str
    table: str
    key: str


@dataclass(slots=True)
class Misses:
    """All of them with the messages that wait, in order; `unread` are messages whose cause could not be looked up."""

    of: dict[Missed, list[int]] = field(default_factory=dict)
    waits_for: dict[int, list[Missed]] = field(default_factory=dict)
    unread: list[int] = field(default_factory=list)

    def note(self, seq: int, missed: Sequence[Missed]) -> None:
        """One held message."""
        self.waits_for[seq] = list(dict.fromkeys(missed))
        for one in self.waits_for[seq]:
            self.of.setdefault(one, []).append(seq)

    def answered(self, tables: Mapping[tuple[str, str], "Table"]) -> list[int]:
        """The messages for all of whose codes there is a row now."""
        return [
            seq
            for seq, missed in sorted(self.waits_for.items())
            if missed and all(_has(tables.get((one.channel, one.table)), one.key) for one in missed)
        ]


def _has(table: "Table | None", key: str) -> bool:
    return table is not None and table.lookup(key) is not None


def misses(queries: "StoreQueries", channel: str | None = None) -> Misses:
    """What is held for the lack of a row."""
    found = Misses()
    versions = Versions(queries, {}, "received")
    for stored in _held(queries, channel):
        missed = list(_missed(stored, versions)) if stored.raw is not None else []
        if missed:
            found.note(stored.seq, missed)
        else:
            found.unread.append(stored.seq)
    return found


def _held(queries: "StoreQueries", channel: str | None) -> Iterator["StoredMessage"]:
    of = None if channel is None else ChannelName(channel)
    for stored in queries.messages(channel=of, states=("held",), newest_first=False, bodies=True):
        if any(finding.code == NO_ROW for finding in load_findings(stored.findings)):
            yield stored


def _missed(stored: "StoredMessage", versions: Versions) -> Iterator[Missed]:
    from engine.cli.exits import Failure
    from engine.cli.own_code import OwnCodeEnded, guarded
    from engine.hl7.errors import UnreadableMessage
    from engine.hl7.message import Message
    from engine.ports.clock import from_us

    assert stored.raw is not None, "asked for with its bytes"
    try:
        channel = versions.of(stored)
        message = Message.parse(stored.raw, fallback=channel.fallback_charset)
        trace = guarded(lambda: channel.trace(message, from_us(stored.received_at_us)))
    except (Failure, UnreadableMessage, OwnCodeEnded):
        return  # told as one whose cause could not be looked up
    for step in trace.steps:
        if step.outcome == "held":
            for lookup in step.lookups:
                if lookup.row is None:
                    yield Missed(str(stored.channel), lookup.table, lookup.key)
