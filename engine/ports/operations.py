"""What people do to stored messages and queues: each change with its record, in one transaction."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from engine.model.audit import AuditRow
from engine.model.envelope import DraftDelivery, Intake, Reprocessed
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import DeliveryState
from engine.ports.worklist import Teller
from engine.worklist.item import Status

MOST_LEFT: Final = 1000
"""How many of those left alone a report names; the rest is a number."""

Act = Literal["retry", "hold", "release", "skip", "redirect"]

ACT_FROM: Final[dict[Act, frozenset[DeliveryState]]] = {
    "retry": frozenset({"queued"}),
    "hold": frozenset({"queued"}),
    "release": frozenset({"held", "failed"}),
    "skip": frozenset({"queued", "held"}),
    "redirect": frozenset({"queued", "held", "failed"}),
}
"""What a person may do to a delivery in which state. A queued one is its lane's: the lane must stand still, and have
let go of it, before it is moved (`runtime.operations`)."""

ACT_TO: Final[dict[Act, DeliveryState]] = {
    "retry": "queued",
    "hold": "held",
    "release": "queued",
    "skip": "failed",
    "redirect": "redirected",
}

INTAKE: Final = DestinationName("")
"""In the place of a destination: the channel's intake."""


@dataclass(slots=True, frozen=True)
class By:
    """Who asks for something, and how it is put on record.

    `key` identifies one run of one command: what was done under it once is not done again. '': each call is its own.
    """

    actor: str = "the engine"
    reason: str = ""
    scope: str = ""
    key: str = ""


ENGINE: Final = By()


@dataclass(slots=True, frozen=True)
class ActionReport:
    """What an action did: how many messages and deliveries it moved, and what it left alone with the reason.

    `left` names at most MOST_LEFT; `more_left` counts the others. `made`: the messages that are new by it. `steps`:
    of a worklist, that have another status.
    """

    messages: int = 0
    deliveries: int = 0
    left: tuple[tuple[MessageSeq, str], ...] = ()
    more_left: int = 0
    made: tuple[MessageSeq, ...] = ()
    steps: int = 0
    done_before: bool = field(default=False, compare=False)
    """All of it was done under this key at another time, and nothing now."""

    def plus(self, other: "ActionReport") -> "ActionReport":
        """Both together."""
        left = self.left + other.left
        return ActionReport(
            self.messages + other.messages,
            self.deliveries + other.deliveries,
            left[:MOST_LEFT],
            self.more_left + other.more_left + max(0, len(left) - MOST_LEFT),
            self.made + other.made,
            self.steps + other.steps,
        )

    def dump(self) -> str:
        """As JSON, for the store."""
        return json.dumps([self.messages, self.deliveries, self.left, self.more_left, self.made, self.steps])

    @staticmethod
    def load(text: str) -> "ActionReport":
        """The inverse of `dump`."""
        # Reports that were stored before there were worklists end with `made`.
        messages, deliveries, left, more_left, made, *steps = json.loads(text)
        found = tuple((MessageSeq(seq), why) for seq, why in left)
        return ActionReport(messages, deliveries, found, more_left, tuple(map(MessageSeq, made)), *steps)


NOTHING_DONE: Final = ActionReport()


@dataclass(slots=True, frozen=True)
class Progress:
    """How far the run with `key` has come: `done` of its members were dealt with, in their order.

    `digest` covers what was asked for, so that a key is not taken for another thing.
    """

    key: str
    action: str
    digest: bytes
    done: int = 0
    is_finished: bool = False
    report: ActionReport = NOTHING_DONE


@dataclass(slots=True, frozen=True)
class Pause:
    """A destination that a person has stopped, or (INTAKE) the intake of a channel."""

    channel: ChannelName
    destination: DestinationName
    at_us: int = 0
    actor: str = ""
    reason: str = ""


@dataclass(slots=True, frozen=True)
class StepMove:
    """A worklist step that a person gives another status. `planned` and `revision`: as it was when that was planned.

    `force`: also where no scanner and no order could, as from COMPLETED back to SCHEDULED.
    """

    worklist: str
    study_uid: str
    step_id: str
    planned: Status
    revision: int
    to: Status
    force: bool = False

    @property
    def name(self) -> str:
        """As people name it, for the record."""
        return f"step {self.worklist}/{self.study_uid}/{self.step_id}"


@dataclass(slots=True, frozen=True)
class Resend:
    """The same bytes again. `destinations` None: everywhere the message was delivered to.

    `keys`: key and urgency by the destination's order as it is now; where none is given, those it was stored with.
    """

    seq: MessageSeq
    destinations: Sequence[DestinationName] | None
    keys: Mapping[DestinationName, tuple[str, bool]] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Change:
    """One transaction of an operation: what is done, and its record.

    `moves` are deliveries with the state that they had when it was planned; one in another state is left alone. `act`
    says what is done to them, `to` where they are redirected. `note` stands with them. `progress` is how the run
    stands when all of this is done, but for its report, to which this change's is added. A change that touches nothing
    is put on record only where `is_always_recorded`.
    """

    by: By
    action: str
    act: Act | None = None
    moves: Sequence[tuple[DeliveryId, DeliveryState]] = ()
    note: str = ""
    to: DestinationName | None = None
    takes_over: Mapping[DeliveryId, DraftDelivery] = field(default_factory=dict)
    """What the other destination gets instead of each that is redirected; the same bytes where none is given."""
    resends: Sequence[Resend] = ()
    reprocessed: Sequence[Reprocessed] = ()
    edited: Intake | None = None
    pauses: Sequence[Pause] = ()
    resumes: Sequence[Pause] = ()
    step: StepMove | None = None
    """Refused (StepChanged) where the step is not as it was planned, or may not be moved so."""
    tell: Teller | None = None
    """Makes the message that says so of a step that moves; stored in the same transaction."""
    lanes: Sequence[str] = ()
    """The destinations and intakes that it is about, as people name them."""
    read: Sequence[MessageSeq] = ()
    progress: Progress | None = None
    report: ActionReport = NOTHING_DONE
    """What is known before: members that were left alone, lanes that are told to go on."""
    is_always_recorded: bool = False


@dataclass(slots=True, frozen=True)
class Changed:
    """What a change did. `report` is this change's own. `touched` are deliveries that moved, with their lanes; `grown`
    are lanes that have new deliveries, which they read from the store."""

    report: ActionReport
    touched: Sequence[tuple[DeliveryId, MessageSeq, ChannelName, DestinationName]] = ()
    grown: Sequence[tuple[ChannelName, DestinationName]] = ()


@dataclass(slots=True, frozen=True)
class AuditHead:
    """The newest row's id and hash; 0 and START before the first."""

    last: int
    hash: bytes


@dataclass(slots=True, frozen=True)
class Links:
    """`origin`: the message that this one was edited from. `edited`: those that were made of this one."""

    origin: MessageSeq | None
    edited: Sequence[MessageSeq]


class StepChanged(Exception):
    """A step was not moved, and nothing was done. `is_temporary`: the same may be done after another look at it."""

    def __init__(self, sentence: str, *, is_temporary: bool) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.is_temporary = is_temporary


class OperationStore(Protocol):
    """The writer's side."""

    def operate(self, change: Change) -> Changed:
        """Do all of `change` and put it on record, in one transaction, or nothing of it.

        A row of the audit is written with it: what cannot be recorded is not done. Members whose state has changed
        are left alone, with the reason. Raises as `Store.commit` does, and StepChanged.
        """
        ...

    def progress(self, key: str) -> Progress | None:
        """How far the run with this key came; None if nothing of it is stored."""
        ...

    def pauses(self) -> Sequence[Pause]:
        """What is paused."""
        ...


class OperationQueries(Protocol):
    """The reader's side."""

    def delivery_states(
        self, ids: Sequence[DeliveryId]
    ) -> "dict[DeliveryId, tuple[DeliveryState, MessageSeq, ChannelName, DestinationName]]": ...

    def audit(self, after: int = 0, limit: int = 1000) -> Sequence[AuditRow]:
        """Rows with a larger id, oldest first."""
        ...

    def audit_head(self) -> AuditHead: ...

    def paused(self) -> Sequence[Pause]: ...

    def links(self, seq: MessageSeq) -> Links: ...

    def last_version(self, channel: ChannelName) -> VersionId | None:
        """The newest recorded state of a channel's files."""
        ...
