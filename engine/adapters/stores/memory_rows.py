"""The rows of a store in memory, and how they are read."""

import threading
from dataclasses import dataclass, field, replace
from zlib import crc32

from engine.adapters.stores.codes import DAMAGED_NOTE, FIRST_ATTEMPTS, LAST_ATTEMPTS
from engine.adapters.stores.memory_access import MemoryAccess
from engine.adapters.stores.memory_worklist import MemoryWorklists
from engine.adapters.stores.reading import with_damage
from engine.model.audit import AuditRow
from engine.model.envelope import Delivery, DeliveryResult, Intake
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.ports.hand_off import Handed
from engine.ports.operations import Pause, Progress
from engine.ports.store import QueuedRow, StoredAttempt, StoredDelivery, StoredMessage
from engine.worklist.item import ItemKey
from engine.worklist.status import OrderReceived

LaneKey = tuple[ChannelName, DestinationName]


@dataclass(slots=True)
class Row:
    """A message. `stored.raw` is what was kept; `crc` says whether it still is. `keys`: what it is looked up by."""

    stored: StoredMessage
    body_hash: bytes
    crc: int
    keys: tuple[tuple[str, str], ...] = ()

    @property
    def raw(self) -> bytes | None:
        raw = self.stored.raw
        return raw if raw is not None and crc32(raw) == self.crc else None

    @property
    def shown(self) -> StoredMessage:
        if self.raw is None and self.stored.raw is not None:
            return replace(self.stored, raw=None, findings=with_damage(self.stored.findings))
        return self.stored


@dataclass(slots=True)
class DeliveryRow:
    """A delivery. `stored.body` None: the bytes of its message."""

    stored: StoredDelivery
    received_at_us: int
    counted_from: int = 0
    redirects: int = 0
    attempts: list[StoredAttempt] = field(default_factory=list)

    def keep_attempt(self, result: DeliveryResult) -> None:
        """An attempt that did not end the delivery; `stored` still is the attempt before."""
        again = self.stored.attempts > 0 and result.code == self.stored.code == "unreachable"
        if not again:
            self._keep(result.attempts, result.at_us, result.code, result.note, result.answer)
        if result.attempts > FIRST_ATTEMPTS + LAST_ATTEMPTS:
            self.attempts = [
                attempt
                for at, attempt in enumerate(self.attempts)
                if attempt.number <= FIRST_ATTEMPTS or at >= len(self.attempts) - LAST_ATTEMPTS
            ]

    def keep_last_attempt(self) -> None:
        """Before a person's move: `stored` is to say what the person did. One that is queued has no time of an end."""
        stored = self.stored
        if stored.attempts and stored.code and stored.done_at_us:
            self._keep(stored.attempts, stored.done_at_us, stored.code, stored.note, stored.answer)

    def _keep(self, number: int, at_us: int, code: str, note: str, answer: bytes) -> None:
        if all(attempt.number != number for attempt in self.attempts):
            self.attempts.append(StoredAttempt(self.stored.id, number, at_us, code, note, answer))


@dataclass(slots=True)
class MemoryRows:
    """Everything that is kept. Whoever reads or writes it holds `lock`."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    messages: dict[MessageSeq, Row] = field(default_factory=dict)
    hours: list[tuple[MessageSeq, int]] = field(default_factory=list)
    """(first seq, hour) wherever a message's hour of receipt differs from that of the message before it."""
    deliveries: dict[DeliveryId, DeliveryRow] = field(default_factory=dict)
    of_message: dict[MessageSeq, list[DeliveryId]] = field(default_factory=dict)
    lanes: dict[LaneKey, int] = field(default_factory=dict)
    sequences: dict[tuple[ChannelName, str], int] = field(default_factory=dict)
    orders: dict[LaneKey, tuple[str, DeliveryId]] = field(default_factory=dict)
    """What a lane is ordered by, and the first delivery that was stored under it."""
    doubts: dict[LaneKey, tuple[int, int]] = field(default_factory=dict)
    """Of a lane with keys: what had an id up to this one, and was queued at this time, may have been sent."""
    versions: list[tuple[ChannelName, dict[str, bytes]]] = field(default_factory=list)
    pauses: dict[LaneKey, Pause] = field(default_factory=dict)
    audit: list[AuditRow] = field(default_factory=list)
    progress: dict[str, Progress] = field(default_factory=dict)
    access: MemoryAccess = field(default_factory=MemoryAccess)
    origins: dict[MessageSeq, MessageSeq] = field(default_factory=dict)
    worklists: MemoryWorklists = field(default_factory=MemoryWorklists)
    handed: dict[str, dict[ItemKey, Handed]] = field(default_factory=dict)

    def queue(self, channel: ChannelName, destination: DestinationName) -> list[DeliveryRow]:
        wanted = (channel, destination, "queued")
        rows = self.deliveries.values()
        return [row for row in rows if (row.stored.channel, row.stored.destination, row.stored.state) == wanted]

    def mark_overtaken(self, by: DeliveryRow) -> None:
        """Before one is queued again: what may be under way now is, after a kill, not among the first any more."""
        lane = (by.stored.channel, by.stored.destination)
        behind = [row for row in self.queue(*lane) if row.stored.id > by.stored.id]
        for row in behind[: self.lanes[lane]]:
            row.stored = replace(row.stored, maybe_sent=True)

    def in_doubt(self, stored: StoredDelivery) -> bool:
        """Of one that is queued: whether it was when a lane with keys was cut short."""
        return stored.id <= self.doubts.get((stored.channel, stored.destination), (0, 0))[0]

    def order_received(self, seq: MessageSeq) -> OrderReceived | None:
        """A message as an order that an item is from."""
        row = self.messages.get(seq)
        return OrderReceived(row.stored.message_type, row.raw) if row is not None else None

    def body(self, row: DeliveryRow) -> bytes | None:
        return self.messages[row.stored.seq].raw if row.stored.body is None else row.stored.body

    def delivery(self, row: DeliveryRow) -> Delivery | None:
        """The row as its lane wants it; None when it is not queued or its bytes are damaged."""
        stored = row.stored
        body = self.body(row)
        if stored.state != "queued" or body is None:
            return None
        return Delivery(
            stored.id,
            stored.seq,
            stored.channel,
            stored.destination,
            body,
            row.received_at_us,
            stored.attempts,
            stored.next_at_us,
            stored.maybe_sent or self.in_doubt(stored),
            stored.since_us,
            row.counted_from,
            row.redirects,
            stored.key,
            stored.urgent,
        )

    def add_delivery(
        self, id_: DeliveryId, row: Row, lane: LaneKey, body: bytes | None, key: str | None, urgent: bool
    ) -> DeliveryRow:
        seq = row.stored.seq
        self.lanes.setdefault(lane, 1)
        if key is None and self.orders.get(lane, ("", 0))[0]:
            key = ""  # in a lane with keys, what has none has the empty one
        stored = StoredDelivery(id_, seq, *lane, "queued", 0, 0, 0, "", "", False, body, key=key, urgent=urgent)
        self.deliveries[id_] = added = DeliveryRow(stored, row.stored.received_at_us)
        self.of_message.setdefault(seq, []).append(id_)
        return added

    def queued_rows(self, channel: ChannelName, destination: DestinationName) -> list[QueuedRow]:
        first: dict[str | None, DeliveryId] = {None: DeliveryId(0)}
        rows = []
        for row in self.queue(channel, destination):
            stored = row.stored
            head = first.setdefault(stored.key, stored.id) or None
            rows.append(
                QueuedRow(stored.id, stored.seq, stored.key, stored.urgent, stored.attempts, stored.next_at_us, head)
            )
        return rows

    def shown(self, row: DeliveryRow, bodies: bool) -> StoredDelivery:
        stored = row.stored
        upto, at_us = self.doubts.get((stored.channel, stored.destination), (0, 0))
        if stored.id <= upto and (not stored.done_at_us or stored.done_at_us >= at_us):
            stored = replace(stored, maybe_sent=True)
        if not bodies:
            return replace(stored, body=None)
        body = self.body(row)
        return replace(stored, body=body, note=stored.note if body is not None else DAMAGED_NOTE)


def check_storable(intake: Intake) -> None:
    """ValueError for text that SQLite could not hold, so that a test with this store finds it, too."""
    for text in (intake.sender, intake.peer, intake.message_type, intake.control_id, intake.findings):
        text.encode("utf-8")
