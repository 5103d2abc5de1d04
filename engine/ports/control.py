"""What people and tools may ask of a running engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.model.ids import ChannelName, DestinationName, MessageSeq
from engine.ports.reload import ReloadReport


@dataclass(slots=True, frozen=True)
class LaneStatus:
    """One lane now. `state`: idle, sending, waiting (for its time), stopped (for a person), down (no peer)."""

    channel: ChannelName
    destination: DestinationName
    state: str
    queued: int
    held: int
    oldest_us: int
    attempts: int
    last_note: str


@dataclass(slots=True, frozen=True)
class SenderStatus:
    """One sender of a channel (`APP|FACILITY`, or `(others)`): how its messages beyond ASCII were read, by evidence."""

    sender: str
    charsets: dict[str, int]


@dataclass(slots=True, frozen=True)
class ChannelStatus:
    """One channel now: where it listens, what came in since the start, its lanes, and its senders' character sets."""

    channel: ChannelName
    listening: str
    connections: int
    received: int
    outcomes: dict[str, int]
    lanes: tuple[LaneStatus, ...]
    senders: tuple[SenderStatus, ...] = ()


@dataclass(slots=True, frozen=True)
class ActionReport:
    """What an action did: how many messages and deliveries it moved, and what it left alone with the reason."""

    messages: int
    deliveries: int
    left: tuple[tuple[MessageSeq, str], ...] = ()


@dataclass(slots=True, frozen=True)
class RetentionReport:
    """How retention stands. `paused`: why nothing is forgotten now, or ''. Counts are since the engine started."""

    is_on: bool
    paused: str
    bodies: int
    messages: int
    last_pass_us: int


class Control(Protocol):
    """Runs on the engine's loop; every change is durable when it returns."""

    async def status(self) -> Sequence[ChannelStatus]: ...

    async def ready(self) -> tuple[bool, str]:
        """Whether intake is open, and the sentence that says why not."""
        ...

    async def plan(self) -> ReloadReport:
        """What a reload would do now; nothing is touched."""
        ...

    async def reload(self) -> ReloadReport:
        """Take up what the site's files say, all of it or nothing."""
        ...

    async def retention(self, *, confirm: bool) -> RetentionReport:
        """How it stands; `confirm`: the clock is right, go on."""
        ...

    async def release(self, seqs: Sequence[MessageSeq]) -> ActionReport:
        """Held messages go through their channel as it is now; held and failed deliveries are queued again."""
        ...

    async def resend(self, seqs: Sequence[MessageSeq], destinations: Sequence[DestinationName] | None) -> ActionReport:
        """The same bytes again, as new deliveries."""
        ...

    async def reprocess(self, seqs: Sequence[MessageSeq]) -> ActionReport:
        """Processed, filtered and held messages go through their channel as it is now."""
        ...

    async def discard(self, seqs: Sequence[MessageSeq], reason: str) -> ActionReport:
        """Held messages and held deliveries are given up."""
        ...
