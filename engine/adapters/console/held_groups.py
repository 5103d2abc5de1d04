"""What is held, grouped by its cause: one mistake holds two hundred messages, and one hand lets all of them go.

A group has a code and places, never a value of a message. Its id is made of those, so that its address stays the same
and says nothing.
"""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal

from engine.config.codes import CODES
from engine.model.finding import Finding, load_findings
from engine.model.ids import ChannelName
from engine.pipeline.misses import NO_ROW
from engine.ports.store import StoredMessage, StoreQueries

Kind = Literal["message", "delivery"]
MOST_HELD: Final = 100_000
MOST_SECONDS: Final = 5.0
_INDEX: Final = re.compile(r"\[[0-9]+\]")
_TABLE: Final = re.compile(r"no row in (?P<table>\S+) matches ")
ANSWERS: Final = {
    "AE": "the receiver says that something in the message is wrong (application error)",
    "CE": "the receiver says that something in the message is wrong (commit error)",
    "AR": "the receiver does not take such messages, or could not just then (application reject)",
    "CR": "the receiver does not take such messages, or could not just then (commit reject)",
}


@dataclass(slots=True, frozen=True)
class Cause:
    """Why something is held. `kind`: a message as a whole, or its delivery to one destination.

    `code`: of a finding, or of a receiver's answer, or ''. `place`: the HL7 path, without which repetition. `table`: of
    a missing row, as the channel writes it.
    """

    kind: Kind
    channel: str
    destination: str
    code: str
    text: str
    place: str
    step: str
    table: str

    @property
    def id(self) -> str:
        parts = (self.kind, self.channel, self.destination, self.code, self.text, self.place, self.step)
        return sha256("\0".join(parts).encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """`E214: no row in tables/wards.csv for PV1-3.1`."""
        if self.table:
            return f"{self.code}: no row in {self.table} for {self.place}"
        if self.kind == "delivery" and self.text:
            return self.text
        told = [part for part in (self.code, self.text) if part]
        return ": ".join(told) or "no cause is recorded"

    @property
    def explanation(self) -> str:
        """What the code means; '' where it has no story."""
        if self.kind == "message" and self.code in CODES:
            return CODES[self.code].explanation
        return ANSWERS.get(self.code.partition(" ")[0], "")

    @property
    def what_to_do(self) -> str:
        if self.kind == "message" and self.code in CODES:
            return CODES[self.code].what_to_do
        return (
            "Find out with the receiver's people what they refuse. Release sends the same bytes again; reprocess "
            "makes them anew, by the channel as it is now; skip gives this delivery up."
        )

    @property
    def who_can(self) -> str:
        """Who can let it go on, and why they."""
        if self.table:
            return (
                f"An analyst of {self.channel} adds the row, an analyst of the site reloads, and an operator of "
                f"{self.channel} releases what waited: released before, it would be held again."
            )
        if self.kind == "message":
            return (
                f"An operator of {self.channel} can release it once its cause is mended; it then goes through the "
                "channel as it is now, and is held again where nothing has changed."
            )
        return f"An operator of {self.channel} can release it: the receiver has not taken it, and nobody else will."


@dataclass(slots=True)
class Group:
    """`members`: seqs of messages, or ids of deliveries with their seqs, in order of receipt."""

    cause: Cause
    members: list[tuple[int, int]] = field(default_factory=list)
    first_us: int = 0
    last_us: int = 0

    def add(self, member: int, seq: int, at_us: int) -> None:
        self.members.append((member, seq))
        self.first_us = min(self.first_us or at_us, at_us)
        self.last_us = max(self.last_us, at_us)

    @property
    def size(self) -> int:
        return len(self.members)


@dataclass(slots=True, frozen=True)
class Held:
    """`is_cut`: there is more than could be looked at within one request; the oldest were."""

    groups: list[Group]
    is_cut: bool

    @property
    def total(self) -> int:
        return sum(group.size for group in self.groups)

    def find(self, id_: str) -> Group | None:
        return next((group for group in self.groups if group.cause.id == id_), None)


def held(queries: StoreQueries, channels: Sequence[str] | None, *, most_s: float = MOST_SECONDS) -> Held:
    """All that is held in these channels (None: in any), the largest group first."""
    groups: dict[Cause, Group] = {}
    end, is_cut = time.monotonic() + most_s, False
    for looked_at, (cause, member, seq, at_us) in enumerate(_held(queries, channels), 1):
        if looked_at > MOST_HELD or (looked_at % 256 == 0 and time.monotonic() > end):
            is_cut = True
            break
        groups.setdefault(cause, Group(cause)).add(member, seq, at_us)
    ordered = sorted(groups.values(), key=lambda group: (-group.size, group.cause.channel, group.cause.title))
    return Held(ordered, is_cut)


def _held(queries: StoreQueries, channels: Sequence[str] | None) -> Iterator[tuple[Cause, int, int, int]]:
    for name in (None,) if channels is None else channels:
        of = None if name is None else ChannelName(name)
        for stored in queries.messages(channel=of, states=("held",), newest_first=False):
            yield cause_of(stored), int(stored.seq), int(stored.seq), stored.received_at_us
        for stored in queries.messages(channel=of, delivery_states=("held",), newest_first=False):
            for one in queries.deliveries(stored.seq):
                if one.state == "held":
                    destination = str(one.destination)
                    cause = Cause("delivery", str(one.channel), destination, one.code, one.note, "", "", "")
                    yield cause, int(one.id), int(stored.seq), stored.received_at_us


def cause_of(stored: StoredMessage) -> Cause:
    """Of a held message: the error that it was held for, which is the last."""
    found = [one for one in load_findings(stored.findings) if one.severity == "error"]
    # A step that misses several rows names each; the first says where to begin.
    last = found[-1] if found else None
    if last is not None and last.code == NO_ROW:
        last = next(one for one in found if one.code == NO_ROW and one.step == last.step)
    if last is None:
        return Cause("message", str(stored.channel), "", "", "", "", "", "")
    return Cause(
        "message", str(stored.channel), "", last.code, _text(last), _place(last.location), last.step, _table(last)
    )


def _place(location: str) -> str:
    return _INDEX.sub("", location)


def _text(finding: Finding) -> str:
    return finding.text.replace(finding.location, _place(finding.location)) if finding.location else finding.text


def _table(finding: Finding) -> str:
    found = _TABLE.match(finding.text) if finding.code == NO_ROW else None
    return found["table"] if found is not None else ""
