"""What the model keeps of messages, deliveries and destinations."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.model.ids import DeliveryId
from engine.model.states import DeliveryState, MessageState
from tests.simulation.sites import Site, Target

PATIENCE = 12
"""So many times a sender is told no before it lets go of a message: a destination may never take it."""


@dataclass(slots=True, frozen=True)
class Made:
    """What a message comes to: its state, and what leaves for it, in order."""

    state: MessageState
    bodies: list[tuple[str, bytes]]


@dataclass(slots=True, eq=False)
class Item:
    """One message as its sender has it. `kind`: good, foreign (no channel's), or junk (no message at all)."""

    kind: str
    control_id: str
    payload: bytes
    make: Callable[[Site], "Made"]
    """What the channel makes of it by one edition of its files."""
    gives_up: bool = False
    """Its sender takes a no for an answer."""
    sent: int = 0
    yes: int = 0
    no: int = 0
    unanswered: int = 0
    refused_at: set[int] = field(default_factory=set)
    """When those came in that were answered with a no, as what is good can only be when it is not stored."""
    parts: "list[Item]" = field(default_factory=list)
    """The fragments that it is sent in; it is never sent as a whole then."""
    whole: "Item | None" = None
    """Of a fragment: its message."""
    is_partial: bool = False
    """What is made of some of the fragments of a message, when the others do not come."""
    _made: dict[int, "Made"] = field(default_factory=dict)

    def by(self, edition: Site) -> "Made":
        found = self._made.get(edition.edition)
        if found is None:
            found = self._made[edition.edition] = self.make(edition)
        return found

    @property
    def before(self) -> "Item | None":
        """Of a fragment: the one before it, if it is not the first."""
        at = self.whole.parts.index(self) if self.whole is not None else 0
        return self.whole.parts[at - 1] if self.whole is not None and at else None

    @property
    def is_settled(self) -> bool:
        return self.yes > 0 or (self.no > 0 and (self.kind != "good" or self.gives_up)) or self.no >= PATIENCE


@dataclass(slots=True, eq=False)
class Row:
    """A message that is durable."""

    seq: int
    item: Item
    peer: str
    received_at_us: int
    state: MessageState
    ack: bytes
    code: str
    came_us: int
    """On the loop's clock, as those below."""
    taken_us: int
    """When it was its turn: later than it came, where others came in the same block."""
    place: int
    """Among all that came on its connection."""
    durable_us: int
    waits_for: str = ""
    """The destination whose answer is its sender's."""
    processed_for: set[str] = field(default_factory=set)
    """Those of the files that a person has had it processed again by."""
    yes_us: int = 0
    """When its sender was told yes, on the loop's clock; 0: it was not."""
    has_others_yes: bool = False
    """By files that were in force when its sender asked again, it has a yes that is not of that destination."""
    resends_yes_us: int = 0
    """Since when the yes of a resend is on record and not that destination's, on the loop's clock; 0: there is none."""
    own_words: set[bytes] = field(default_factory=set)
    """What that destination has said since, as it is on record that the message is delivered there."""
    given_up_us: int = 0
    """Of a fragment: since when it is given up, as the rest did not come in time; all of it may come again. 0: not."""
    learned_us: int = 0
    """When the engine heard that it is durable; 0: it has not."""


@dataclass(slots=True, eq=False)
class Owed:
    """A delivery that is durable. `is_sure`: no attempt at it lacks its record."""

    id: DeliveryId
    seq: int
    to: str
    body: bytes
    state: DeliveryState = "queued"
    is_sure: bool = True
    attempt: int = 0
    must_be_marked: bool = False
    was_aside: bool = False
    has_ended_badly: bool = False
    """It was refused or set aside, whatever became of it then."""
    first_got: int = 0
    delivered_us: int = 0
    """When the engine knew it to be on record that it is delivered, on the loop's clock; 0: it is not."""
    lane: int = 0
    """The number of the lane that tried it last."""

    def key(self, target: Target) -> str:
        """What order is kept within."""
        return key_of(self.body) if target.lanes else ""


@dataclass(slots=True)
class Lane:
    """One destination in all runs of the engine, whatever lanes it has in them."""

    name: str
    is_keyed: bool
    """By some of its settings."""
    ports: frozenset[int]
    queued: dict[DeliveryId, Owed] = field(default_factory=dict)
    sends: Counter[bytes] = field(default_factory=Counter)
    got: Counter[bytes] = field(default_factory=Counter)
    took: Counter[bytes] = field(default_factory=Counter)
    recorded: Counter[bytes] = field(default_factory=Counter)
    # Of this run of the engine:
    tried: set[DeliveryId] = field(default_factory=set)
    ended: dict[DeliveryId, bool] = field(default_factory=dict)
    """Ends that the sink reported or a policy made, which are not durable yet; True: delivered."""
    fresh: set[DeliveryId] = field(default_factory=set)
    """Durably queued by a person's word, and the lane has not been told."""
    in_hand: dict[DeliveryId, str] = field(default_factory=dict)
    """With its key."""
    calls: Counter[int] = field(default_factory=Counter)
    """How many calls of sinks are under way, by the number of the lane."""
    sure: dict[DeliveryId, bool] = field(default_factory=dict)
    is_paused: bool = False


def key_of(body: bytes) -> str:
    """PID-3 of a message of ours."""
    return body.partition(b"\rPID|1||")[2].partition(b"|")[0].decode()
