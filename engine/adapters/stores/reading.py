"""Reading rows into records, on whichever connection: the writer's between two commits, or a reader's.

Bytes are compared with their checksum here and nowhere else: what does not match never leaves as the
message (reliability.md section 0, row 13; D7).
"""

import logging
import sqlite3
from dataclasses import replace
from typing import Literal
from zlib import crc32

from engine.adapters.stores.codes import (
    DAMAGED_NOTE,
    DELIVERY_OF,
    GONE_NOTE,
    KNOWN_LIMIT,
    MESSAGE_OF,
    delivery_crc,
)
from engine.adapters.stores.draft import HOUR_US
from engine.adapters.stores.keys import hashes_in
from engine.adapters.stores.row_checks import ROW_DAMAGED_NOTE, is_delivery_whole, is_message_whole
from engine.adapters.stores.sealed_rows import ACK, HASH, KEY, opened_answer, opened_key
from engine.adapters.stores.sealing import Sealing, Unopened
from engine.adapters.stores.statements import load_statements
from engine.model.envelope import Delivery, Known
from engine.model.finding import Finding, dump_findings, load_findings
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.ports.store import LaneDepth, QueuedRow, StoredAttempt, StoredDelivery, StoredMessage

DAMAGED_KEY = "\0damaged "
"""Before the id of a delivery whose key cannot be opened."""

QueuedRows = Literal["queued_rows", "queued_of_key", "queued_urgent", "queued_waiting"]

log = logging.getLogger("segmill.store")

DAMAGED = Finding("E250", "error", DAMAGED_NOTE)
ROW_DAMAGED = Finding("E250", "error", ROW_DAMAGED_NOTE)

PAGE_ROWS = 256


def with_damage(findings: str, damage: Finding = DAMAGED) -> str:
    """The findings of a message whose bytes, or whose row, do not match their checksum."""
    try:
        before = load_findings(findings)
    except (ValueError, TypeError):
        before = ()  # the damage is in them
    return findings if damage in before else dump_findings((*before, damage))


def fault_of(body: bytes | None, lane: int, crc: int) -> str:
    """'' when these are the bytes that the delivery was committed with, else the note that says what is wrong."""
    if body is None:
        return GONE_NOTE
    return "" if delivery_crc(body, lane) == crc else DAMAGED_NOTE


class Reading:
    """The statements of `sql/read.sql`, by what they give."""

    def __init__(self, sealing: Sealing | None = None) -> None:
        self._given = sealing
        self.sql = load_statements("read.sql")

    @property
    def _sealing(self) -> Sealing | None:
        """None of a plain store, and of one whose keys are not open yet."""
        return self._given if self._given is not None and self._given.is_on else None

    def lowest_seq(self, db: sqlite3.Connection, since_us: int) -> int:
        """No message received at `since_us` or later has a smaller seq."""
        lowest = db.execute(self.sql["lowest_seq_since"], (since_us // HOUR_US,)).fetchone()[0]
        return 1 << 62 if lowest is None else int(lowest)

    def highest_seq(self, db: sqlite3.Connection, until_us: int) -> int:
        """Every message received at `until_us` or earlier has a smaller seq."""
        after = db.execute(self.sql["seq_after_hour"], (until_us // HOUR_US,)).fetchone()[0]
        return 1 << 62 if after is None else int(after)

    def known(
        self, db: sqlite3.Connection, channel: ChannelName, sender: str, control_id: str, since_us: int
    ) -> list[Known]:
        """As Store.known."""
        rows = db.execute(
            self.sql["known"],
            {
                "channel": channel,
                "sender": sender,
                "control_id": control_id,
                "lowest": self.lowest_seq(db, since_us),
                "since_us": since_us,
                "limit": KNOWN_LIMIT,
            },
        )
        found = []
        sealing = self._sealing
        for *row, row_crc in rows:
            seq, _, _, at_us, _, _, _, _, digest, _, state, _, _, code, ack = row
            is_whole = is_message_whole(tuple(row), row_crc)
            if is_whole and sealing is not None:
                try:
                    digest, ack = sealing.open(HASH, seq, digest), sealing.open(ACK, seq, ack)
                except Unopened:
                    is_whole = False
            if is_whole:
                found.append(Known(seq, digest, at_us, code, ack, MESSAGE_OF[state]))
            else:
                # Neither its hash nor its answer can be trusted: what its sender sends again is processed as new.
                log.error("E250 message %s: %s; what is sent again with its control id is new", seq, ROW_DAMAGED_NOTE)
        return found

    def received_since(self, db: sqlite3.Connection, since_us: int) -> int:
        """As Store.received_since: by the numbers of the first and the last, as few are missing between them."""
        newest = db.execute(self.sql["newest_seq"]).fetchone()[0] or 0
        return max(0, int(newest) - self.lowest_seq(db, since_us) + 1)

    def recent_ids(
        self, db: sqlite3.Connection, since_us: int, limit: int
    ) -> tuple[list[tuple[ChannelName, str, str]], bool]:
        """As Store.recent_ids."""
        lowest = self.lowest_seq(db, since_us)
        rows = db.execute(self.sql["recent_ids"], {"lowest": lowest, "since_us": since_us, "limit": limit + 1})
        known: dict[str, str] = {}
        """Few senders send it all: 200,000 rows with a text each for channel and sender are 25 MB more."""
        found = [
            (ChannelName(known.setdefault(channel, channel)), known.setdefault(sender, sender), control_id)
            for channel, sender, control_id in rows
        ]
        return found[:limit], len(found) <= limit

    def queued(
        self,
        db: sqlite3.Connection,
        channel: ChannelName,
        destination: DestinationName,
        after: DeliveryId,
        limit: int,
        most_bytes: int | None,
    ) -> tuple[list[Delivery], list[tuple[DeliveryId, str]]]:
        """As Store.queued, and those left out with the reason."""
        good: list[Delivery] = []
        bad: list[tuple[DeliveryId, str]] = []
        sealing = self._sealing
        size = 0
        rows = db.execute(
            self.sql["queued"], {"channel": channel, "destination": destination, "after": after, "limit": -1}
        )
        for id_, seq, attempts, next_at_us, sent, crc, lane, received_at_us, body, key, urgent, *more in rows:
            fault = fault_of(body, lane, crc)
            if sealing is not None and not fault:
                key, is_opened = opened_key(sealing, key)
                fault = "" if is_opened else DAMAGED_NOTE
            if fault:
                bad.append((id_, fault))
                continue
            delivery = Delivery(id_, seq, channel, destination, body, received_at_us, attempts, next_at_us, bool(sent))
            delivery.key, delivery.urgent = key, bool(urgent)
            if more[0] is not None:
                delivery.since_us, delivery.counted_from, delivery.redirects = more
            good.append(delivery)
            size += len(body)
            if len(good) >= limit or (most_bytes is not None and size >= most_bytes):
                break
        rows.close()
        return good, bad

    def queued_rows(self, db: sqlite3.Connection, which: QueuedRows, **given: object) -> list[QueuedRow]:
        """Rows of a lane with keys, as StoreQueries has them."""
        sealing = self._sealing
        if sealing is not None and isinstance(key := given.get("key"), str):
            given = {**given, "key": sealing.token(KEY, key)}
        found = []
        for id_, seq, key, urgent, attempts, next_at_us, first in db.execute(self.sql[which], given):
            if sealing is not None:
                key, is_opened = opened_key(sealing, key)
                if not is_opened:  # a key of its own: it is held once it is its turn, and holds up no other until then
                    key = f"{DAMAGED_KEY}{id_}"
            found.append(QueuedRow(id_, seq, key, bool(urgent), attempts, next_at_us, first))
        return found

    def queued_delivery(self, db: sqlite3.Connection, id_: DeliveryId) -> tuple[Delivery | None, str]:
        """As StoreQueries.queued_delivery, and what is wrong with its bytes."""
        row = db.execute(self.sql["queued_delivery"], (id_,)).fetchone()
        if row is None:
            return None, ""
        (_, seq, attempts, next_at_us, sent, crc, lane, received_at_us, body, key, urgent, *rest) = row
        channel, destination, *more = rest
        key, is_opened = opened_key(self._sealing, key)
        if fault := fault_of(body, lane, crc) or ("" if is_opened else DAMAGED_NOTE):
            return None, fault
        found = Delivery(id_, seq, channel, destination, body, received_at_us, attempts, next_at_us, bool(sent))
        found.key, found.urgent = key, bool(urgent)
        if more[0] is not None:
            found.since_us, found.counted_from, found.redirects = more
        return found, ""

    def unfinished(
        self,
        db: sqlite3.Connection,
        which: Literal["unprocessed", "waiting"],
        channel: ChannelName,
        after: MessageSeq,
        limit: int,
    ) -> list[StoredMessage]:
        """Messages in state `received` or `waiting`, oldest first; `raw` None where the bytes are damaged or gone."""
        rows = db.execute(self.sql[which], {"channel": channel, "after": after, "limit": limit}).fetchall()
        found = [self.message(db, seq, bodies=True) for (seq,) in rows]
        return [message for message in found if message is not None]

    def message(self, db: sqlite3.Connection, seq: MessageSeq, *, bodies: bool) -> StoredMessage | None:
        """One message; its bytes verified, and left out with a finding when they are not what they were."""
        row = db.execute(self.sql["message" if bodies else "message_metadata"], (seq,)).fetchone()
        if row is None:
            return None
        (
            _,
            channel,
            version,
            received_at_us,
            sender,
            peer,
            kind,
            control_id,
            state,
            ack_code,
            findings,
            crc,
            ack,
            raw,
            receive_id,
            channel_id,
            body_hash,
            row_crc,
            keys,
        ) = row
        fixed = (seq, receive_id, channel_id, received_at_us, sender, peer, kind, control_id, body_hash, crc)
        if not is_message_whole((*fixed, state, version, findings, ack_code, ack), row_crc) or hashes_in(keys) is None:
            findings = with_damage(findings, ROW_DAMAGED)
        if self._sealing is not None:
            try:
                ack = self._sealing.open(ACK, seq, ack)
            except Unopened:
                ack, findings = b"", with_damage(findings, ROW_DAMAGED)
        stored = StoredMessage(
            seq, channel, VersionId(version), received_at_us, sender, peer, kind, control_id,
            MESSAGE_OF.get(state, "held"), ack_code, findings, raw, ack,
        )  # fmt: skip
        if raw is not None and crc32(raw) != crc:
            return replace(stored, raw=None, findings=with_damage(findings))
        return stored

    def deliveries(self, db: sqlite3.Connection, seq: MessageSeq, *, bodies: bool) -> list[StoredDelivery]:
        """All deliveries of one message, oldest first."""
        found = []
        sealing = self._sealing
        for row in db.execute(self.sql["deliveries"], {"seq": seq, "bodies": bodies}):
            (
                id_,
                _,
                channel,
                destination,
                state,
                attempts,
                next_at_us,
                done_at_us,
                code,
                note,
                maybe_sent,
                crc,
                lane,
                answer,
                body,
                key,
                urgent,
                since_us,
                origin,
                is_marked,
                row_crc,
                of,
            ) = row
            outcome = (id_, state, attempts, next_at_us, done_at_us, code, note, answer, of, is_marked, urgent)
            if of != seq or not is_delivery_whole(outcome, row_crc):
                note = ROW_DAMAGED_NOTE
            if body is not None and (fault := fault_of(body, lane, crc)):
                body, note = None, fault
            if sealing is not None:
                (answer, is_opened), (key, is_known) = opened_answer(sealing, id_, answer), opened_key(sealing, key)
                if not is_opened or not is_known:
                    note = ROW_DAMAGED_NOTE
            found.append(
                StoredDelivery(
                    id_,
                    seq,
                    channel,
                    destination,
                    DELIVERY_OF.get(state, "held"),
                    attempts,
                    next_at_us,
                    done_at_us,
                    code,
                    note,
                    bool(maybe_sent),
                    body,
                    answer,
                    since_us,
                    origin,
                    key,
                    bool(urgent),
                )
            )
        return found

    def attempts(self, db: sqlite3.Connection, seq: MessageSeq) -> list[StoredAttempt]:
        """As StoreQueries.attempts."""
        sealing = self._sealing
        found = []
        for delivery, number, at_us, code, note, answer in db.execute(self.sql["attempts"], (seq,)):
            answer, is_opened = opened_answer(sealing, delivery, answer)
            found.append(StoredAttempt(delivery, number, at_us, code, note if is_opened else ROW_DAMAGED_NOTE, answer))
        return found

    def depths(self, db: sqlite3.Connection) -> list[LaneDepth]:
        """Every lane that was ever used, by name; walks what waits, never what is done."""
        queued = {lane: (count, first) for lane, count, first in db.execute(self.sql["queued_depths"])}
        held = dict(db.execute(self.sql["held_depths"]).fetchall())
        waiting = dict(db.execute(self.sql["waiting_depths"]).fetchall())
        depths = []
        for lane, channel, destination in db.execute(self.sql["lane_names"]).fetchall():
            count, first = queued.get(lane, (0, None))
            oldest_us = 0
            if first is not None:
                oldest_us = db.execute(self.sql["received_at_of_delivery"], (first,)).fetchone()[0]
            blocked = waiting.get(lane, 0)
            depths.append(LaneDepth(channel, destination, count, held.get(lane, 0), oldest_us, blocked))
        return depths
