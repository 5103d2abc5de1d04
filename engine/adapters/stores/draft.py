"""The rows of one transaction, and the ids they take.

There is one writer, so it gives the ids: a draft counts on from the store's numbers, and only a draft
that was committed becomes the store's numbers. One that failed is dropped, and nothing remembers it.
Rows are flat lists of values, column after column, as `RowStatement` takes them.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32

from engine.adapters.stores.codes import DAMAGED_NOTE, DELIVERY_CODES, MESSAGE_CODES, lane_salt
from engine.adapters.stores.row_checks import FRESH, message_crc, outcome_crc, told_crc, with_marks
from engine.adapters.stores.sealing import Sealing
from engine.model.envelope import Delivery, DraftDelivery, Intake, Piece
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq

HOUR_US = 3_600_000_000

Lane = tuple[int, int]
"""A lane's id and the salt of its deliveries' checksums."""


@dataclass(slots=True)
class Numbers:
    """The last id given of each kind, and the hour of the newest message (-1: none)."""

    seq: int = 0
    delivery: int = 0
    body: int = 0
    channel: int = 0
    lane: int = 0
    hour: int = -1


@dataclass(slots=True)
class Names:
    """What channels and lanes are called in rows; `keyed`: the ids of lanes whose deliveries all have a key."""

    channels: dict[ChannelName, int] = field(default_factory=dict)
    lanes: dict[tuple[ChannelName, DestinationName], Lane] = field(default_factory=dict)
    keyed: set[int] = field(default_factory=set)


@dataclass(slots=True, frozen=True)
class Ahead:
    """What of a large body is in the store already: `count` pieces, `size` bytes with the checksum `crc`."""

    body: bytes  # held, so that no other can be taken for it
    id: int
    count: int = 0
    size: int = 0
    crc: int = 0


class Draft:
    """Collects rows; what the store adopts after the commit: `numbers`, `new_names`, `receive_ids`, `ahead`, `spent`.

    `ahead` and `spent` are of bodies in pieces, by the identity of their bytes.
    """

    def __init__(
        self,
        numbers: Numbers,
        names: Names,
        keys: Callable[[ChannelName, bytes], bytes],
        ahead: Mapping[int, Ahead] | None = None,
        sealing: Sealing | None = None,
    ) -> None:
        """`keys`: what a message's row holds to look it up by, given its channel and bytes. `sealing`: of a sealed
        store."""
        self._keys = keys
        self._sealing = sealing
        self.numbers = replace(numbers)
        self.new_names = Names()
        self.receive_ids: dict[bytes, MessageSeq] = {}
        self.channels: list[object] = []
        self.lanes: list[object] = []
        self.messages: list[object] = []
        self.bodies: list[int | bytes] = []
        self.most_body_bytes = 0
        self.deliveries: list[object] = []
        self.hours: list[object] = []
        self.tally: Counter[tuple[int, int]] = Counter()
        self.sequences: dict[tuple[int, str], int] = {}
        self.links: list[object] = []
        self.pieces: list[tuple[int, int, memoryview | bytes]] = []
        self.unwanted: list[int] = []
        self.ahead: dict[int, Ahead] = {}
        self.spent: list[int] = []
        self._before: Mapping[int, Ahead] = ahead or {}
        self._names = names

    def channel(self, name: ChannelName) -> int:
        """The channel's id; a new one gets its row."""
        found = self._names.channels.get(name) or self.new_names.channels.get(name)
        if found is None:
            self.numbers.channel += 1
            found = self.new_names.channels[name] = self.numbers.channel
            self.channels += (found, name)
        return found

    def lane(self, channel: ChannelName, destination: DestinationName) -> Lane:
        """The lane; a new one gets its row."""
        key = (channel, destination)
        found = self._names.lanes.get(key) or self.new_names.lanes.get(key)
        if found is None:
            self.numbers.lane += 1
            found = self.new_names.lanes[key] = (self.numbers.lane, lane_salt(self.numbers.lane))
            self.lanes += (found[0], self.channel(channel), destination)
        return found

    def body(self, content: bytes) -> tuple[int, int]:
        """The id and the checksum of a body, which gets its row; an empty one where all its pieces are there."""
        if self._before and (ahead := self._unspent(content)) is not None and ahead.size == len(content):
            self.bodies += (ahead.id, b"")
            self.spent.append(id(content))
            return ahead.id, ahead.crc
        self.numbers.body += 1
        if self._sealing is None:
            self.bodies += (self.numbers.body, content)
        else:
            self.bodies += (self.numbers.body, self._sealing.seal("body.bytes", self.numbers.body, content))
        if len(content) > self.most_body_bytes:
            self.most_body_bytes = len(content)
        return self.numbers.body, crc32(content)

    def add_piece(self, piece: Piece) -> None:
        """The row of a piece. ValueError where it is not the next one of its body.

        A body whose pieces were forgotten begins again, also in the same transaction.
        """
        ahead = self.ahead.get(id(piece.body)) or self._unspent(piece.body)
        if ahead is None:
            self.numbers.body += 1
            ahead = Ahead(piece.body, self.numbers.body)
        if piece.start != ahead.size or not piece.start < piece.end <= len(piece.body):
            raise ValueError(f"{piece} does not follow the {ahead.size} bytes that are there")
        part = memoryview(piece.body)[piece.start : piece.end]
        sealing, row = self._sealing, (ahead.id, ahead.count)
        self.pieces.append((*row, part if sealing is None else sealing.seal("body_piece.bytes", row, part)))
        self.ahead[id(piece.body)] = Ahead(piece.body, ahead.id, ahead.count + 1, piece.end, crc32(part, ahead.crc))

    def forget(self, content: bytes) -> None:
        """The pieces of this body, if there are any, are not wanted any more."""
        ahead = self.ahead.pop(id(content), None) or self._unspent(content)
        if ahead is not None:
            self.unwanted.append(ahead.id)
            self.spent.append(id(content))

    def _unspent(self, content: bytes) -> Ahead | None:
        return None if id(content) in self.spent else self._before.get(id(content))

    def add_intake(self, intake: Intake) -> tuple[MessageSeq, list[Delivery]]:
        """The message's rows, its bodies and its deliveries."""
        numbers = self.numbers
        numbers.seq += 1
        seq = MessageSeq(numbers.seq)
        channel = self.channel(intake.channel)
        state = MESSAGE_CODES[intake.state]
        raw = intake.raw
        body, crc = self.body(raw)
        received_at_us = intake.received_at_us
        body_hash, ack = intake.body_hash, intake.ack
        if self._sealing is not None:
            body_hash = self._sealing.seal("message.body_hash", seq, body_hash)
            ack = self._sealing.seal("message.ack", seq, ack)
        self.messages += (
            seq,
            intake.receive_id,
            channel,
            intake.version,
            received_at_us,
            intake.sender,
            intake.peer,
            intake.message_type,
            intake.control_id,
            body_hash,
            state,
            intake.ack_code,
            intake.findings,
            body,
            crc,
            ack,
            message_crc(
                seq,
                intake.receive_id,
                channel,
                received_at_us,
                intake.sender,
                intake.peer,
                intake.message_type,
                intake.control_id,
                body_hash,
                crc,
            )
            + told_crc(state, intake.version, intake.findings, intake.ack_code, ack),
            self._keys(intake.channel, raw),
        )
        self.tally[channel, state] += 1
        if received_at_us // HOUR_US != numbers.hour:
            numbers.hour = received_at_us // HOUR_US
            self.hours += (seq, numbers.hour)
        self.receive_ids[intake.receive_id] = seq
        if intake.sequence is not None:
            self.sequences[channel, intake.sender] = intake.sequence
        if intake.origin is not None:
            self.links += (seq, intake.origin)
        if not intake.deliveries:
            return seq, []
        return seq, self.add_deliveries(seq, intake.channel, received_at_us, intake.deliveries, raw, crc)

    def add_deliveries(
        self,
        seq: MessageSeq,
        channel: ChannelName,
        received_at_us: int,
        drafts: Sequence[DraftDelivery],
        raw: bytes | None,
        raw_crc: int,
    ) -> list[Delivery]:
        """Rows of new deliveries; a body that several share (the same object) is stored once.

        `raw` None: the message's own bytes are damaged or gone. A delivery that needs them is held.
        """
        numbers = self.numbers
        keyed = self._names.keyed
        made: list[Delivery] = []
        shared: dict[int, tuple[int | None, int]] = {id(raw): (None, raw_crc)}
        for draft in drafts:
            body = raw if draft.body is None else draft.body
            lane, salt = self.lane(channel, draft.destination)
            numbers.delivery += 1
            if body is None:
                held = DELIVERY_CODES["held"]
                self.deliveries += (
                    numbers.delivery,
                    seq,
                    lane,
                    held,
                    None,
                    0,
                    DAMAGED_NOTE,
                    self._cell(draft.key),
                    draft.urgent,
                    with_marks(
                        outcome_crc(numbers.delivery, held, 0, 0, 0, "", DAMAGED_NOTE, b""), seq, 0, draft.urgent
                    ),
                )
                continue
            known = shared.get(id(body))
            if known is None:
                known = shared[id(body)] = self.body(body)
            key, urgent = draft.key, draft.urgent
            if key is None and keyed and lane in keyed:
                key = ""
            delivery_id = DeliveryId(numbers.delivery)
            cell = key if self._sealing is None else self._cell(key)
            row_crc = FRESH + delivery_id + seq + (urgent << 41)
            self.deliveries += (delivery_id, seq, lane, 0, known[0], known[1] ^ salt, "", cell, urgent, row_crc)
            made.append(
                Delivery(delivery_id, seq, channel, draft.destination, body, received_at_us, key=key, urgent=urgent)
            )
        return made

    def add_redirect(
        self,
        seq: MessageSeq,
        lane: Lane,
        takes_over: DraftDelivery,
        body_id: int | None,
        crc: int,
        *,
        damaged: bool,
    ) -> DeliveryId:
        """A row of a delivery that takes over from another: with its own body, or with the stored one of that other.

        `crc`: of the stored bytes. Where these are damaged, the new one is held.
        """
        numbers = self.numbers
        if takes_over.body is not None:
            (body_id, crc), damaged = self.body(takes_over.body), False
        numbers.delivery += 1
        state = DELIVERY_CODES["held" if damaged else "queued"]
        note = DAMAGED_NOTE if damaged else ""
        key, urgent = self.key_in(lane[0], takes_over.key), takes_over.urgent
        row_crc = with_marks(outcome_crc(numbers.delivery, state, 0, 0, 0, "", note, b""), seq, 0, urgent)
        cell, salted = self._cell(key), crc ^ lane[1]
        self.deliveries += (numbers.delivery, seq, lane[0], state, body_id, salted, note, cell, urgent, row_crc)
        return DeliveryId(numbers.delivery)

    def _cell(self, key: str | None) -> str | bytes | None:
        """A delivery's key as it stands in its row."""
        return key if self._sealing is None or key is None else self._sealing.token("delivery.key", key)

    def key_in(self, lane: int, key: str | None) -> str | None:
        """The key of a delivery in this lane: in one with keys, what has none has the empty one."""
        return "" if key is None and lane in self._names.keyed else key

    def add_resend(
        self, seq: MessageSeq, lane: int, body: int | None, crc: int, key: str | None, urgent: bool
    ) -> DeliveryId:
        """A row of a new delivery with the bytes, the key and the urgency of an earlier one of the same lane."""
        self.numbers.delivery += 1
        key = self.key_in(lane, key)
        id_, queued = self.numbers.delivery, DELIVERY_CODES["queued"]
        row_crc = FRESH + id_ + seq + (urgent << 41)
        self.deliveries += (id_, seq, lane, queued, body, crc, "", self._cell(key), urgent, row_crc)
        return DeliveryId(self.numbers.delivery)
