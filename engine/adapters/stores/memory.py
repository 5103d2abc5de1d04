"""A store in plain dicts: for tests and trials. What it holds is gone when the process ends.

It keeps the same contract as the store in SQLite (`engine.testing.store_contract`), and can be made to
wait (`commits_held`), to fail (`fail_next`), to lose its engine (`crash`) and to rot (`damage`).
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from zlib import crc32

from engine.adapters.stores.codes import (
    DAMAGED_NOTE,
    KNOWN_LIMIT,
)
from engine.adapters.stores.draft import HOUR_US
from engine.adapters.stores.effects import changes_of, without_stale
from engine.adapters.stores.memory_moves import MemoryMoves
from engine.adapters.stores.memory_operations import MemoryOperations
from engine.adapters.stores.memory_pieces import MemoryPieces
from engine.adapters.stores.memory_pruning import pruned_rows
from engine.adapters.stores.memory_queries import MemoryQueries
from engine.adapters.stores.memory_rows import DeliveryRow, LaneKey, MemoryRows, Row, check_storable
from engine.adapters.stores.memory_scanners import MemoryScannerStore
from engine.adapters.stores.memory_search import MemoryKeyStore
from engine.adapters.stores.reading import with_damage
from engine.model.envelope import (
    AckUpdate,
    Batch,
    Committed,
    Delivery,
    DeliveryResult,
    DraftDelivery,
    Intake,
    Known,
    Reprocessed,
)
from engine.model.finding import dump_findings, load_findings
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.outcome import Effects
from engine.model.states import DeliveryState, IllegalMove, MessageState, check_delivery_move, check_message_move
from engine.ports.clock import Clock, SystemClock
from engine.ports.operations import Change, Changed, Pause, Progress
from engine.ports.store import (
    CommitUnknown,
    Prune,
    Pruned,
    StoredMessage,
    StoreError,
    StoreInUse,
)


class MemoryStore(MemoryScannerStore, MemoryKeyStore):
    """Store in memory, usable from any thread."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._rows = MemoryRows()
        self._may_commit = threading.Event()
        self._may_commit.set()
        self._failures: list[tuple[BaseException, bool]] = []
        self._is_open = False
        self._was_clean = True
        self._broken = ""
        self._receive_ids: dict[bytes, MessageSeq] = {}
        self._new_windows: dict[LaneKey, int] = {}
        self._pieces = MemoryPieces()
        self._since_checkpoint = 0
        self._last_seq = 0
        self._last_delivery = 0
        self._pruned_at_us = 0
        self._operations = MemoryOperations(
            self._rows, self._commit, self._add_delivery, self._redirect, DeliveryRow.keep_last_attempt
        )
        self._moves = MemoryMoves(self._rows, self._add_delivery, self._redirect)

    # -- for tests ------------------------------------------------------------------------------

    @contextmanager
    def commits_held(self) -> Iterator[None]:
        """No commit ends while this is open: it waits, as on a disk that takes long."""
        self._may_commit.clear()
        try:
            yield
        finally:
            self._may_commit.set()

    def fail_next(self, error: BaseException, *, kept: bool = False) -> None:
        """The next commit raises `error`. `kept`: the batch is stored all the same."""
        self._failures.append((error, kept))

    def crash(self) -> None:
        """The engine is gone without a word, as after kill -9; what was committed is here for the next `open`."""
        with self._rows.lock:
            self._is_open = False
            self._was_clean = False

    def damage(self, seq: MessageSeq) -> None:
        """Turn one bit of a message's stored bytes, which its deliveries without a body of their own share."""
        with self._rows.lock:
            row = self._rows.messages[seq]
            assert row.stored.raw is not None
            row.stored = replace(row.stored, raw=bytes([row.stored.raw[0] ^ 1]) + row.stored.raw[1:])

    # -- open and close -------------------------------------------------------------------------

    def open(self) -> None:
        """As Store.open."""
        with self._rows.lock:
            if self._is_open:
                raise StoreInUse("this store is in use by another engine")
            self._is_open = True
            self._broken = ""
            self._new_windows.clear()
            self._pieces.clear()
            if not self._was_clean:
                for (channel, destination), window in self._rows.lanes.items():
                    if self._rows.orders.get((channel, destination), ("", 0))[0]:
                        self._rows.doubts[channel, destination] = (self._last_delivery, self._clock.now_us())
                        continue
                    for row in self._rows.queue(channel, destination)[:window]:
                        row.stored = replace(row.stored, maybe_sent=True)
            self._was_clean = False

    def close(self, *, clean: bool = True) -> None:
        """As Store.close."""
        with self._rows.lock:
            if self._is_open:
                self._is_open = False
                self._was_clean = clean and not self._broken

    def queries(self) -> MemoryQueries:
        """A reader of this store."""
        return MemoryQueries(self._rows, self.known, self.queued)

    def lane_window(
        self, channel: ChannelName, destination: DestinationName, window: int, order_by: str = ""
    ) -> DeliveryId:
        """As Store.lane_window."""
        with self._opened():
            key = (channel, destination)
            self._rows.lanes[key] = self._new_windows[key] = max(window, self._new_windows.get(key, 0))
            before, first = self._rows.orders.get(key, ("", DeliveryId(0)))
            if before != order_by:
                first = DeliveryId(self._last_delivery + 1)
            self._rows.orders[key] = (order_by, first)
            return first

    def channel_version(self, channel: ChannelName, files: Mapping[str, bytes]) -> VersionId:
        """As Store.channel_version."""
        with self._opened():
            version = (channel, dict(files))
            if version not in self._rows.versions:
                self._rows.versions.append(version)
            return VersionId(self._rows.versions.index(version) + 1)

    # -- writing --------------------------------------------------------------------------------

    def commit(self, batch: Batch) -> Committed:
        """As Store.commit."""
        self._may_commit.wait()
        with self._opened():
            if not self._failures:
                return self._commit(batch)
            error, kept = self._failures.pop(0)
            if kept:
                self._commit(batch)
            if isinstance(error, CommitUnknown):
                self._broken = str(error)
            raise error

    def _commit(self, batch: Batch) -> Committed:
        """Everything is checked before anything is changed, so that nothing has to be undone."""
        for intake in batch.intakes:
            check_storable(intake)
        moves = self._checked_moves(batch.reprocessed)
        self._check_parts(batch)
        self._check_results(batch.results)
        ahead = self._pieces.checked(batch)
        committed = Committed([], [], [])
        for intake in batch.intakes:
            seq = self._receive_ids.get(intake.receive_id)
            if seq is None:
                self._last_seq += 1
                seq = MessageSeq(self._last_seq)
                committed.deliveries.append(self._add_intake(seq, intake))
                self._move_parts(intake)
            else:
                waiting = [self._rows.deliveries[id_] for id_ in self._rows.of_message.get(seq, ())]
                committed.deliveries.append([d for row in waiting if (d := self._rows.delivery(row)) is not None])
            committed.seqs.append(seq)
        for item, message in moves:
            row = self._rows.messages[item.seq]
            row.stored = replace(row.stored, version=item.version, state=item.state, findings=item.findings)
            committed.released.append(self._add_deliveries(message, item.channel, item.deliveries))
        for result in without_stale(batch.results, self._apply):
            self._record(result)
            if result.redirect is not None:
                committed.redirected += self._redirect(result.delivery_id, result.redirect)
        self._pieces.adopt(ahead)
        self._since_checkpoint += len(batch.intakes)
        return committed

    def _apply(self, effects: Effects, result: DeliveryResult) -> None:
        seq = self._rows.deliveries[result.delivery_id].stored.seq
        self._rows.worklists.apply(
            effects.worklist,
            changes_of(effects),
            at_us=result.at_us,
            seq=seq,
            who=effects.who,
            seen=effects.seen,
            then=effects.then,
        )

    def _add_intake(self, seq: MessageSeq, intake: Intake) -> list[Delivery]:
        stored = StoredMessage(
            seq,
            intake.channel,
            intake.version,
            intake.received_at_us,
            intake.sender,
            intake.peer,
            intake.message_type,
            intake.control_id,
            intake.state,
            intake.ack_code,
            intake.findings,
            intake.raw,
            intake.ack,
        )
        row = self._rows.messages[seq] = Row(
            stored, intake.body_hash, crc32(intake.raw), self._keys(intake.channel, intake.raw)
        )
        self._receive_ids[intake.receive_id] = seq
        hour = intake.received_at_us // HOUR_US
        if not self._rows.hours or self._rows.hours[-1][1] != hour:
            self._rows.hours.append((seq, hour))
        if intake.sequence is not None:
            self._rows.sequences[intake.channel, intake.sender] = intake.sequence
        if intake.origin is not None:
            self._rows.origins[seq] = intake.origin
        return self._add_deliveries(row, intake.channel, intake.deliveries)

    def _check_parts(self, batch: Batch) -> None:
        states: dict[MessageSeq, MessageState] = {item.seq: item.state for item in batch.reprocessed}
        seen = set(self._receive_ids)
        for intake in batch.intakes if any(intake.parts is not None for intake in batch.intakes) else ():
            if intake.parts is None or intake.receive_id in seen:
                continue
            seen.add(intake.receive_id)
            for seq in intake.parts.seqs:
                row = self._rows.messages.get(seq)
                if row is None:
                    raise IllegalMove(f"message {seq} is not in the store")
                check_message_move(states.get(seq, row.stored.state), intake.parts.state)
                states[seq] = intake.parts.state

    def _move_parts(self, intake: Intake) -> None:
        """The fragments that a message was joined from move with it."""
        parts = intake.parts
        if parts is None or not parts.seqs:
            return
        for seq in parts.seqs:
            row = self._rows.messages[seq]
            row.stored = replace(row.stored, state=parts.state)
        if parts.ack is not None:
            last = self._rows.messages[parts.seqs[-1]]
            last.stored = replace(last.stored, ack_code=parts.ack_code, ack=parts.ack)

    def _add_deliveries(self, row: Row, channel: ChannelName, drafts: Sequence[DraftDelivery]) -> list[Delivery]:
        made = []
        for draft in drafts:
            added = self._add_delivery(row, channel, draft.destination, draft.body, draft.key, draft.urgent)
            if (delivery := self._rows.delivery(added)) is not None:
                made.append(delivery)
            else:
                added.stored = replace(added.stored, state="held", note=DAMAGED_NOTE)
        return made

    def _add_delivery(
        self,
        row: Row,
        channel: ChannelName,
        destination: DestinationName,
        body: bytes | None,
        key: str | None,
        urgent: bool,
    ) -> DeliveryRow:
        self._last_delivery += 1
        return self._rows.add_delivery(DeliveryId(self._last_delivery), row, (channel, destination), body, key, urgent)

    def _checked_moves(self, items: Sequence[Reprocessed]) -> list[tuple[Reprocessed, Row]]:
        states: dict[MessageSeq, MessageState] = {}
        moves = []
        for item in items:
            row = self._rows.messages.get(item.seq)
            if row is None:
                raise IllegalMove(f"message {item.seq} is not in the store")
            check_message_move(states.get(item.seq, row.stored.state), item.state)
            states[item.seq] = item.state
            moves.append((item, row))
        return moves

    def _check_results(self, results: Sequence[DeliveryResult]) -> None:
        states: dict[DeliveryId, DeliveryState] = {}
        for result in results:
            if result.delivery_id not in self._rows.deliveries:
                raise IllegalMove(f"delivery {result.delivery_id} is not in the store")
            before = states.get(result.delivery_id, self._rows.deliveries[result.delivery_id].stored.state)
            if before != "queued":
                raise IllegalMove(f"delivery {result.delivery_id} is {before}: it cannot become {result.state}")
            check_delivery_move(before, result.state)
            if (result.redirect is not None) != (result.state == "redirected"):
                raise IllegalMove(f"delivery {result.delivery_id} cannot be {result.state}: one takes over, or none")
            states[result.delivery_id] = result.state

    def _record(self, result: DeliveryResult) -> None:
        row = self._rows.deliveries[result.delivery_id]
        since_us = result.since_us if result.state == "queued" else 0
        if result.state == "queued":
            row.keep_attempt(result)
        if since_us:
            row.counted_from = result.attempts - 1
        row.stored = replace(
            row.stored,
            since_us=since_us or row.stored.since_us,
            state=result.state,
            attempts=result.attempts,
            next_at_us=result.next_at_us,
            done_at_us=0 if result.state == "queued" else result.at_us,
            code=result.code,
            note=result.note,
            answer=result.answer,
            maybe_sent=row.stored.maybe_sent or (result.maybe_sent and result.state != "queued"),
        )
        if result.ack_code:
            self._amend(AckUpdate(row.stored.seq, result.ack_code, result.ack))

    def _redirect(self, id_: DeliveryId, to: DraftDelivery) -> list[Delivery]:
        before = self._rows.deliveries[id_]
        message = self._rows.messages[before.stored.seq]
        body = before.stored.body if to.body is None else to.body
        added = self._add_delivery(message, before.stored.channel, to.destination, body, to.key, to.urgent)
        added.stored = replace(added.stored, origin=id_)
        added.redirects = before.redirects + 1
        if (delivery := self._rows.delivery(added)) is not None:
            return [delivery]
        added.stored = replace(added.stored, state="held", note=DAMAGED_NOTE)
        return []

    def redirect_deliveries(self, orders: Sequence[tuple[DeliveryId, DraftDelivery]], note: str) -> Sequence[Delivery]:
        """As Store.redirect_deliveries."""
        with self._opened():
            return self._moves.redirect(orders, note, self._clock.now_us())

    def amend_acks(self, updates: Sequence[AckUpdate]) -> Sequence[AckUpdate]:
        """As Store.amend_acks."""
        with self._opened():
            return [self._amend(update) if update.seq in self._rows.messages else update for update in updates]

    def _amend(self, update: AckUpdate) -> AckUpdate:
        row = self._rows.messages[update.seq]
        if row.stored.ack_code != "AA":
            row.stored = replace(row.stored, ack_code=update.ack_code, ack=update.ack)
        if update.findings:
            findings = dump_findings((*load_findings(row.stored.findings), *update.findings))
            row.stored = replace(row.stored, findings=findings)
        return AckUpdate(update.seq, row.stored.ack_code, row.stored.ack)

    def last_sequences(self, channel: ChannelName) -> Mapping[str, int]:
        """As Store.last_sequences."""
        with self._opened():
            rows = self._rows.sequences.items()
            return {sender: last for (of, sender), last in rows if of == channel and last >= 0}

    def move_deliveries(self, ids: Sequence[DeliveryId], to: DeliveryState, note: str) -> int:
        """As Store.move_deliveries."""
        with self._opened():
            return self._moves.move(ids, to, note, self._clock.now_us())

    def add_deliveries(self, seq: MessageSeq, destinations: Sequence[DestinationName] | None) -> Sequence[Delivery]:
        """As Store.add_deliveries."""
        with self._opened():
            return self._moves.add(seq, destinations)

    # -- what people do -------------------------------------------------------------------------

    def operate(self, change: Change) -> Changed:
        """As OperationStore.operate; fails as a commit does."""
        self._may_commit.wait()
        with self._opened():
            if not self._failures:
                return self._operations.operate(change, self._clock.now_us())
            error, kept = self._failures.pop(0)
            if kept:
                self._operations.operate(change, self._clock.now_us())
            if isinstance(error, CommitUnknown):
                self._broken = str(error)
            raise error

    def progress(self, key: str) -> Progress | None:
        """As OperationStore.progress."""
        with self._opened():
            return self._rows.progress.get(key)

    def pauses(self) -> Sequence[Pause]:
        """As OperationStore.pauses."""
        with self._opened():
            return [self._rows.pauses[key] for key in sorted(self._rows.pauses)]

    # -- forgetting -----------------------------------------------------------------------------

    def prune(self, order: Prune) -> Pruned:
        """As Store.prune."""
        with self._opened():
            pruned = pruned_rows(self._rows, order)
            self._pruned_at_us = order.now_us
            return pruned

    def note_time(self, now_us: int) -> None:
        """As Store.note_time."""
        with self._opened():
            self._pruned_at_us = now_us

    def last_pruned_us(self) -> int:
        """As Store.last_pruned_us."""
        with self._opened():
            newest = next(reversed(self._rows.messages.values()), None)
            return self._pruned_at_us or (newest.stored.received_at_us if newest is not None else 0)

    def used_bytes(self) -> int:
        """As Store.used_bytes: of the messages' own bytes."""
        with self._opened():
            return sum(len(row.stored.raw) for row in self._rows.messages.values() if row.stored.raw is not None)

    def give_back(self, most_bytes: int, *, empty_log: bool = True) -> bool:
        """As Store.give_back; Python has taken it back already."""
        return False

    # -- reading --------------------------------------------------------------------------------

    def known(self, channel: ChannelName, sender: str, control_id: str, since_us: int) -> Sequence[Known]:
        """As Store.known."""
        with self._rows.lock:
            wanted = (channel, sender, control_id)
            found = [
                Known(
                    row.stored.seq,
                    row.body_hash,
                    row.stored.received_at_us,
                    row.stored.ack_code,
                    row.stored.ack,
                    row.stored.state,
                )
                for row in self._rows.messages.values()
                if (row.stored.channel, row.stored.sender, row.stored.control_id) == wanted
                and row.stored.received_at_us >= since_us
                and (row.stored.state != "rejected" or row.stored.ack_code in ("AA", "CA"))
            ]
            return found[::-1][:KNOWN_LIMIT]

    def received_since(self, since_us: int) -> int:
        """As Store.received_since."""
        with self._rows.lock:
            return sum(row.stored.received_at_us >= since_us for row in self._rows.messages.values())

    def recent_ids(self, since_us: int, limit: int) -> tuple[Sequence[tuple[ChannelName, str, str]], bool]:
        """As Store.recent_ids."""
        with self._rows.lock:
            found = [
                (row.stored.channel, row.stored.sender, row.stored.control_id)
                for row in reversed(self._rows.messages.values())
                if row.stored.received_at_us >= since_us
            ]
            return found[:limit], len(found) <= limit

    def queued(
        self,
        channel: ChannelName,
        destination: DestinationName,
        after: DeliveryId,
        limit: int,
        most_bytes: int | None = None,
    ) -> Sequence[Delivery]:
        """As Store.queued."""
        with self._rows.lock:
            found: list[Delivery] = []
            size = 0
            for row in self._rows.queue(channel, destination):
                if row.stored.id <= after:
                    continue
                delivery = self._rows.delivery(row)
                if delivery is None:
                    row.stored = replace(
                        row.stored, state="held", done_at_us=self._clock.now_us(), code="", note=DAMAGED_NOTE
                    )
                    continue
                found.append(delivery)
                size += len(delivery.body)
                if len(found) >= limit or (most_bytes is not None and size >= most_bytes):
                    break
            return found

    def unprocessed(self, channel: ChannelName, after: MessageSeq, limit: int) -> Sequence[StoredMessage]:
        """As Store.unprocessed."""
        return self._unfinished("received", channel, after, limit)

    def waiting(self, channel: ChannelName, after: MessageSeq, limit: int) -> Sequence[StoredMessage]:
        """As Store.waiting."""
        return self._unfinished("waiting", channel, after, limit)

    def _unfinished(
        self, state: MessageState, channel: ChannelName, after: MessageSeq, limit: int
    ) -> Sequence[StoredMessage]:
        with self._opened():
            found: list[StoredMessage] = []
            for row in self._rows.messages.values():
                stored = row.stored
                if len(found) == limit:
                    break
                if stored.channel != channel or stored.seq <= after or stored.state != state:
                    continue
                if row.raw is None:
                    row.stored = replace(stored, state="held", findings=with_damage(stored.findings))
                else:
                    found.append(stored)
            return found

    # -- checkpoints ----------------------------------------------------------------------------

    def wants_checkpoint(self, idle: bool = False) -> bool:
        """As Store.wants_checkpoint; there is nothing to move, but callers can be seen to ask."""
        return self._since_checkpoint >= (10 if idle else 100)

    def checkpoint(self) -> None:
        """As Store.checkpoint."""
        self._since_checkpoint = 0

    @contextmanager
    def _opened(self) -> Iterator[None]:
        with self._rows.lock:
            if self._broken:
                raise CommitUnknown(self._broken)
            if not self._is_open:
                raise StoreError("the store is not open")
            yield
