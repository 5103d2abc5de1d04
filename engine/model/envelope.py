"""What goes into the store in one transaction, and what comes out of it for the lanes.

These are made once per message on the way from socket to ACK, so they are plain slotted records.
Times are integers: microseconds since 1970-01-01 UTC (`*_us`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.model.finding import Finding
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.outcome import Effects
from engine.model.states import DeliveryState, MessageState


@dataclass(slots=True)
class DraftDelivery:
    """A delivery that is about to be committed. `body` None: the message's bytes as they were received.

    `key`: order is kept among the deliveries of one destination that have the same; None where the destination keeps
    one order over all. It may be a patient's number: never in a log, a metric or a finding. `urgent`: goes before
    those of other keys that are not.
    """

    destination: DestinationName
    body: bytes | None
    key: str | None = None
    urgent: bool = False


@dataclass(slots=True)
class Parts:
    """The stored fragments that a message was joined from. They move to `state` in its transaction.

    `ack` not None: the answer that the last of them has from then on, with `ack_code`.
    """

    seqs: Sequence[MessageSeq]
    state: MessageState = "joined"
    ack_code: str = ""
    ack: bytes | None = None


@dataclass(slots=True)
class Intake:
    """One received message and everything its transaction holds.

    `receive_id`: 16 random bytes, so that an insert can be repeated after an unknown outcome.
    `sender`: MSH-3 and MSH-4 as `APP|FACILITY`, cut and made printable. `peer`: address it came from.
    `message_type`: `ADT^A01`. `control_id`: MSH-10. `body_hash`: 16 bytes of BLAKE2b over `raw`.
    `raw`: the bytes as received, without the MLLP frame. `ack`: the answer's bytes, b'' where none is due.
    `findings`: JSON of `dump_findings`. `sequence`: MSH-13 that the sender's link stands at with this message, -1
    where it starts anew; None: the message says nothing of it. `origin`: the message that a person edited to make
    this one, which then was not received from anybody.
    """

    receive_id: bytes
    channel: ChannelName
    version: VersionId
    received_at_us: int
    sender: str
    peer: str
    message_type: str
    control_id: str
    body_hash: bytes
    raw: bytes
    state: MessageState
    ack_code: str = ""
    ack: bytes = b""
    findings: str = ""
    deliveries: Sequence[DraftDelivery] = ()
    parts: Parts | None = None
    sequence: int | None = None
    origin: MessageSeq | None = None


@dataclass(slots=True)
class Reprocessed:
    """A stored message that went through its channel now: a `received` one's first time, or a release.

    The message moves to `state`; `deliveries` are added in order.
    """

    seq: MessageSeq
    channel: ChannelName
    version: VersionId
    state: MessageState
    findings: str = ""
    deliveries: Sequence[DraftDelivery] = ()


@dataclass(slots=True)
class DeliveryResult:
    """One attempt's end, to be recorded. `next_at_us` 0: at once. `note` and `code` hold no field values.

    `ack_code` and `ack`: what the message's sender is told by it, where its answer waited for this delivery.
    They replace the stored answer, but for an AA: nobody is told no after a yes.
    `since_us`: this attempt is the first that counts against the limits of retries, and was made then; 0: it is not.
    `redirect`, with the state `redirected` and no other: the delivery that takes over, queued in the same
    transaction; its `body` None are the bytes of the one that it takes over from. `maybe_sent`: as the delivery has it.
    `effects`: written in the same transaction. Where they were decided on what is no longer so, nothing of this result
    is written, the delivery stays queued, and the commit sets `is_stale`.
    """

    delivery_id: DeliveryId
    state: DeliveryState
    attempts: int
    at_us: int
    next_at_us: int = 0
    code: str = ""
    note: str = ""
    answer: bytes = b""
    ack_code: str = ""
    ack: bytes = b""
    since_us: int = 0
    redirect: DraftDelivery | None = None
    maybe_sent: bool = False
    effects: Effects | None = None
    is_stale: bool = False


@dataclass(slots=True)
class AckUpdate:
    """What a sender was told after its message had been stored. `findings` are added to the message's."""

    seq: MessageSeq
    ack_code: str
    ack: bytes
    findings: Sequence[Finding] = ()


@dataclass(slots=True, frozen=True)
class Piece:
    """A part of a large body, made durable ahead of the message that it belongs to.

    Pieces of one body come in order and without gaps; once all have, a message or a delivery whose body is this very
    object is stored without writing it again.
    """

    body: bytes
    start: int
    end: int

    def __repr__(self) -> str:
        return f"Piece({self.start} to {self.end} of {len(self.body)} bytes)"  # never the bytes: it may reach a log


@dataclass(slots=True)
class Batch:
    """Everything one commit makes durable, or nothing of it.

    `unwanted`: bodies whose pieces are forgotten, as their message was refused; that need not be durable.
    """

    intakes: list[Intake] = field(default_factory=list)
    reprocessed: list[Reprocessed] = field(default_factory=list)
    results: list[DeliveryResult] = field(default_factory=list)
    pieces: Sequence[Piece] = ()
    unwanted: Sequence[bytes] = ()

    def __bool__(self) -> bool:
        return bool(self.intakes or self.reprocessed or self.results or self.pieces or self.unwanted)


@dataclass(slots=True)
class Delivery:
    """A queued delivery as its lane holds it.

    `attempts`: how many were recorded. `maybe_sent`: an earlier run of the engine may have sent it
    without recording the answer, so this attempt may be a duplicate at the receiver.
    `since_us`: the first attempt that counts against the limits of retries, 0 before it; `counted_from`: how many
    attempts came before that one. `redirects`: how often the message went on from one destination to the next
    until it came to this one. `not_before`: what `next_at_us` is on the monotonic clock, where this run of the engine
    has set it; 0.0 where an earlier one did.
    """

    id: DeliveryId
    seq: MessageSeq
    channel: ChannelName
    destination: DestinationName
    body: bytes
    received_at_us: int
    attempts: int = 0
    next_at_us: int = 0
    maybe_sent: bool = False
    since_us: int = 0
    counted_from: int = 0
    redirects: int = 0
    key: str | None = None
    urgent: bool = False
    not_before: float = field(default=0.0, compare=False)


@dataclass(slots=True)
class Committed:
    """What the store gave the members of a batch: sequence numbers of the intakes, in order, and new deliveries.

    `deliveries[i]` belong to `intakes[i]`; `released[i]` to `reprocessed[i]`; all in order. `redirected`: those that
    took over from others. Ids grow from the first of these lists to the last.
    """

    seqs: list[MessageSeq]
    deliveries: list[list[Delivery]]
    released: list[list[Delivery]]
    redirected: list[Delivery] = field(default_factory=list)


@dataclass(slots=True)
class Known:
    """A stored message that a new one may be a resend of."""

    seq: MessageSeq
    body_hash: bytes
    received_at_us: int
    ack_code: str
    ack: bytes
    state: MessageState = "processed"
