"""What people and tools may ask of a running engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import DeliveryState
from engine.ports.access import AccessEdit
from engine.ports.hand_off import HandOffStatus
from engine.ports.operations import ENGINE, ActionReport, By, Pause, StepMove
from engine.ports.reload import ReloadReport
from engine.ports.worklist import QueryRecord

__all__ = [
    "ActionReport",
    "By",
    "ChannelStatus",
    "Control",
    "FeedStatus",
    "LaneStatus",
    "Order",
    "OrderRefused",
    "RetentionReport",
    "SenderStatus",
]


@dataclass(slots=True, frozen=True)
class LaneStatus:
    """One lane now. `state`: idle, sending, waiting (for its time), stopped (for a person), down (no peer), paused,
    failed (a defect of ours: it is started again by itself, a few times).

    `head`: the message that is to go next, as far as it is in memory. `paused_by`: who paused it, and why.
    `blocked`: how many keys of `order_by` are held up by a delivery that waits for its next attempt, and
    `blocked_by` the messages of the first of them, by the time they wait for.
    """

    channel: ChannelName
    destination: DestinationName
    state: str
    queued: int
    held: int
    oldest_us: int
    attempts: int
    last_note: str
    head: MessageSeq | None = None
    paused_by: str = ""
    blocked: int = 0
    blocked_by: tuple[MessageSeq, ...] = ()


@dataclass(slots=True, frozen=True)
class SenderStatus:
    """One sender of a channel (`APP|FACILITY`, or `(others)`): how its messages beyond ASCII were read, by evidence."""

    sender: str
    charsets: dict[str, int]


@dataclass(slots=True, frozen=True)
class FeedStatus:
    """What one sender sends of one kind (MSH-9.1^MSH-9.2), and what is usual.

    `newest_us`: when the last one came. `usual`: messages in an hour like this one, None while that is not learned.
    `missed`: how many would usually have come since the last one.
    """

    channel: ChannelName
    sender: str
    kind: str
    newest_us: int
    usual: float | None
    missed: float
    is_silent: bool


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
    version: int = 0
    """The recorded state of its files that it runs with (VersionId)."""
    intake_paused_by: str = ""
    """Who paused its intake, and why; '' while it takes messages."""
    feeds: tuple[FeedStatus, ...] = ()
    """Of its senders, silent ones first."""


Action = Literal[
    "pause",
    "resume",
    "retry",
    "hold",
    "release",
    "skip",
    "redirect",
    "resend",
    "reprocess",
    "discard",
    "edit",
    "read",
    "set-status",
]


class OrderRefused(Exception):
    """Nothing was done, for a reason that the sentence tells. `is_temporary`: the same may pass another time."""

    def __init__(self, sentence: str, *, is_temporary: bool) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.is_temporary = is_temporary


@dataclass(slots=True, frozen=True)
class Order:
    """What somebody wants done, as it was planned.

    Its members are `deliveries`, each with the state that it had in the plan, or `messages`, or `lanes` (a
    destination, or INTAKE for a channel's intake). `destinations`: where a resend goes; None: where it went. `to`:
    where deliveries are redirected. `as_of`: with which version of its channel a message is processed again; None: as
    it is now; "received": as it was when each was received. `raw`: an edited message. `step`: of set-status. `only`: a
    release of messages queues their deliveries in these states alone; none named: each that a release is for.
    """

    action: Action
    by: By = ENGINE
    deliveries: Sequence[tuple[DeliveryId, DeliveryState]] = ()
    messages: Sequence[MessageSeq] = ()
    lanes: Sequence[tuple[ChannelName, DestinationName]] = ()
    destinations: Sequence[DestinationName] | None = None
    to: DestinationName | None = None
    as_of: VersionId | Literal["received"] | None = None
    raw: bytes = b""
    step: StepMove | None = None
    only: Sequence[DeliveryState] = ()


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
        """Whether intake is open, and the sentence that says why not; if it is, what a person has paused."""
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

    async def asked(self) -> Sequence[QueryRecord]:
        """What scanners asked the worklist for last, oldest first, as far as it is kept."""
        ...

    async def hand_offs(self) -> Sequence[HandOffStatus]:
        """How those stand who get the steps of worklists."""
        ...

    async def operate(self, order: Order) -> ActionReport:
        """Carry out what was planned, in slices, each durable with its record.

        The same key again answers with the first report, or goes on where a run that was cut off had come to. Raises
        OrderRefused, with nothing done, where a member has changed since the plan.
        """
        ...

    async def paused(self) -> Sequence[Pause]:
        """What a person has paused."""
        ...

    async def put_on_record(
        self,
        by: By,
        action: str,
        *,
        about: Sequence[str] = (),
        messages: Sequence[MessageSeq] = (),
        edits: Sequence[AccessEdit] = (),
        is_silent: bool = False,
    ) -> None:
        """Have it on record that somebody did this, with the `edits` of users and sessions, in one transaction.

        `about`: what was done something to, in words (`user anna`). `is_silent`: the edits alone, without a record, as
        of a session that was used again. Raises AccessRefused, with nothing done, and StoreError.
        """
        ...

    async def release(self, seqs: Sequence[MessageSeq], by: By = ENGINE) -> ActionReport:
        """Held messages go through their channel as it is now; held and failed deliveries are queued again."""
        ...

    async def resend(
        self, seqs: Sequence[MessageSeq], destinations: Sequence[DestinationName] | None, by: By = ENGINE
    ) -> ActionReport:
        """The same bytes again, as new deliveries."""
        ...

    async def reprocess(self, seqs: Sequence[MessageSeq], by: By = ENGINE) -> ActionReport:
        """Processed, filtered and held messages go through their channel as it is now."""
        ...

    async def discard(self, seqs: Sequence[MessageSeq], reason: str, by: By = ENGINE) -> ActionReport:
        """Held messages and held deliveries are given up."""
        ...
