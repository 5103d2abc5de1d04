"""Reading a MemoryStore: the same lists as from SQLite, by looking at every row."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from engine.adapters.stores.memory_access import MemoryAccessReading
from engine.adapters.stores.memory_hand_offs import MemoryHandOffs
from engine.adapters.stores.memory_rows import MemoryRows, Row
from engine.adapters.stores.memory_search import MemoryKeyQueries
from engine.adapters.stores.memory_worklist import MemoryWorklistReading, counts_of, without_station
from engine.model.audit import START, AuditRow
from engine.model.envelope import Delivery, Known
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import DeliveryState, MessageState
from engine.model.store_key import KeysInUse
from engine.ports.hand_off import HandOffView
from engine.ports.operations import AuditHead, Links, Pause
from engine.ports.store import Arrived, LaneDepth, QueuedRow, StoredAttempt, StoredDelivery, StoredMessage
from engine.ports.worklist import WorklistView
from engine.worklist.item import Status


class MemoryQueries(MemoryAccessReading, MemoryKeyQueries):
    """StoreQueries on a MemoryStore."""

    def __init__(
        self,
        rows: MemoryRows,
        known: Callable[[ChannelName, str, str, int], Sequence[Known]],
        queued: Callable[..., Sequence[Delivery]],
    ) -> None:
        self._rows = rows
        self._known = known
        self._queued = queued

    def known(self, channel: ChannelName, sender: str, control_id: str, since_us: int) -> Sequence[Known]:
        """As Store.known."""
        return self._known(channel, sender, control_id, since_us)

    def queued(
        self,
        channel: ChannelName,
        destination: DestinationName,
        after: DeliveryId,
        limit: int,
        most_bytes: int | None = None,
    ) -> Sequence[Delivery]:
        """As Store.queued."""
        return self._queued(channel, destination, after, limit, most_bytes)

    def queued_rows(
        self, channel: ChannelName, destination: DestinationName, after: DeliveryId, limit: int
    ) -> Sequence[QueuedRow]:
        """As StoreQueries.queued_rows."""
        with self._rows.lock:
            return [row for row in self._rows.queued_rows(channel, destination) if row.id > after][:limit]

    def queued_before(
        self, channel: ChannelName, destination: DestinationName, upto: DeliveryId, limit: int
    ) -> Sequence[DeliveryId]:
        """As StoreQueries.queued_before."""
        with self._rows.lock:
            rows = self._rows.queued_rows(channel, destination)
            return [row.id for row in reversed(rows) if row.id <= upto][:limit]

    def queued_of_key(
        self, channel: ChannelName, destination: DestinationName, key: str, after: DeliveryId, limit: int
    ) -> Sequence[QueuedRow]:
        """As StoreQueries.queued_of_key."""
        with self._rows.lock:
            rows = self._rows.queued_rows(channel, destination)
            return [row for row in rows if row.key == key and row.id > after][:limit]

    def queued_urgent(
        self, channel: ChannelName, destination: DestinationName, after: DeliveryId, limit: int
    ) -> Sequence[QueuedRow]:
        """As StoreQueries.queued_urgent."""
        with self._rows.lock:
            rows = self._rows.queued_rows(channel, destination)
            return [row for row in rows if row.urgent and row.id > after][:limit]

    def queued_waiting(
        self, channel: ChannelName, destination: DestinationName, after_us: int, limit: int
    ) -> Sequence[QueuedRow]:
        """As StoreQueries.queued_waiting."""
        with self._rows.lock:
            rows = self._rows.queued_rows(channel, destination)
            waiting = [row for row in rows if row.next_at_us > max(0, after_us)]
            return sorted(waiting, key=lambda row: (row.next_at_us, row.id))[:limit]

    def queued_delivery(self, id_: DeliveryId) -> Delivery | None:
        """As StoreQueries.queued_delivery."""
        with self._rows.lock:
            row = self._rows.deliveries.get(id_)
            return self._rows.delivery(row) if row is not None else None

    def worklist(self, name: str) -> AbstractContextManager[WorklistView]:
        """As WorklistQueries.worklist."""
        return self._worklist(name)

    @contextmanager
    def _worklist(self, name: str) -> Iterator[WorklistView]:
        with self._rows.lock:
            yield MemoryWorklistReading(self._rows.worklists, name)

    @contextmanager
    def hand_offs(self) -> Iterator[HandOffView]:
        """As HandOffQueries.hand_offs."""
        with self._rows.lock:
            yield MemoryHandOffs(self._rows)

    def worklist_counts(self) -> Mapping[tuple[str, Status], int]:
        """As WorklistQueries.worklist_counts."""
        with self._rows.lock:
            return counts_of(self._rows.worklists)

    def worklist_without_station(self) -> Mapping[str, int]:
        """As WorklistQueries.worklist_without_station."""
        with self._rows.lock:
            return without_station(self._rows.worklists)

    def message(self, seq: MessageSeq) -> StoredMessage | None:
        """One message with its bytes."""
        with self._rows.lock:
            row = self._rows.messages.get(seq)
            return None if row is None else row.shown

    def deliveries(self, seq: MessageSeq, bodies: bool = False) -> Sequence[StoredDelivery]:
        """Its deliveries, oldest first."""
        with self._rows.lock:
            rows = [self._rows.deliveries[id_] for id_ in self._rows.of_message.get(seq, ())]
            return [self._rows.shown(row, bodies) for row in rows]

    def attempts(self, seq: MessageSeq) -> Sequence[StoredAttempt]:
        """As StoreQueries.attempts."""
        with self._rows.lock:
            rows = [self._rows.deliveries[id_] for id_ in self._rows.of_message.get(seq, ())]
            return [attempt for row in rows for attempt in row.attempts]

    def messages(
        self,
        *,
        channel: ChannelName | None = None,
        states: Sequence[MessageState] = (),
        delivery_states: Sequence[DeliveryState] = (),
        control_id: str | None = None,
        since_us: int = 0,
        until_us: int | None = None,
        before: MessageSeq | None = None,
        newest_first: bool = True,
        bodies: bool = False,
    ) -> Iterator[StoredMessage]:
        """Matching messages, lazily."""

        def matches(row: Row) -> bool:
            stored = row.stored
            return (
                (channel is None or stored.channel == channel)
                and (not states or stored.state in states)
                and (control_id is None or stored.control_id == control_id)
                and stored.received_at_us >= since_us
                and (until_us is None or stored.received_at_us <= until_us)
                and (before is None or stored.seq < before)
                and (not delivery_states or any(d.state in delivery_states for d in self.deliveries(stored.seq)))
            )

        with self._rows.lock:
            seqs = sorted(self._rows.messages, reverse=newest_first)
        for seq in seqs:
            with self._rows.lock:
                row = self._rows.messages[seq]
                found = row.shown if matches(row) else None
            if found is not None:
                yield found if bodies else replace(found, raw=None, findings=row.stored.findings)

    def depths(self) -> Sequence[LaneDepth]:
        """Every lane that was ever used, by name."""
        with self._rows.lock:
            depths = []
            for channel, destination in sorted(self._rows.lanes):
                queue = self._rows.queue(channel, destination)
                held = sum(
                    row.stored.state == "held"
                    and (row.stored.channel, row.stored.destination) == (channel, destination)
                    for row in self._rows.deliveries.values()
                )
                oldest_us = queue[0].received_at_us if queue else 0
                blocked = sum(row.stored.next_at_us > 0 for row in queue)
                depths.append(LaneDepth(channel, destination, len(queue), held, oldest_us, blocked))
            return depths

    def lanes(self) -> Sequence[tuple[ChannelName, DestinationName]]:
        """As StoreQueries.lanes."""
        with self._rows.lock:
            return sorted(self._rows.lanes)

    def counts(self) -> Mapping[tuple[ChannelName, MessageState], int]:
        """How many messages are in each state, by channel."""
        with self._rows.lock:
            return Counter((row.stored.channel, row.stored.state) for row in self._rows.messages.values())

    def seq_before(self, at_us: int) -> MessageSeq:
        """As StoreQueries.seq_before."""
        with self._rows.lock:
            before = (row.stored.seq for row in self._rows.messages.values() if row.stored.received_at_us < at_us)
            return max(before, default=MessageSeq(0))

    def arrivals(self, after: MessageSeq, span: int) -> tuple[Sequence[Arrived], MessageSeq, bool]:
        """As StoreQueries.arrivals."""
        counted: dict[tuple[ChannelName, str, str, int], tuple[int, int]] = {}
        with self._rows.lock:
            newest = max(self._rows.messages, default=MessageSeq(0))
            upto = min(after + span, newest)
            for seq, row in self._rows.messages.items():
                if after < seq <= upto:
                    one = row.stored
                    key = (one.channel, one.sender, one.message_type, one.received_at_us // 1_800_000_000)
                    count, last = counted.get(key, (0, 0))
                    counted[key] = (count + 1, max(last, one.received_at_us))
        found = [Arrived(*key, *values) for key, values in counted.items()]
        return found, MessageSeq(max(after, upto)), upto < newest

    def version_files(self, version: VersionId) -> Mapping[str, bytes] | None:
        """The files of one recorded state of a channel, by path."""
        versions = self._rows.versions
        return dict(versions[version - 1][1]) if 0 < version <= len(versions) else None

    def keys_in_use(self) -> KeysInUse | None:
        """Memory is not encrypted."""
        return None

    def delivery_states(
        self, ids: Sequence[DeliveryId]
    ) -> dict[DeliveryId, tuple[DeliveryState, MessageSeq, ChannelName, DestinationName]]:
        """As OperationQueries.delivery_states."""
        with self._rows.lock:
            found = [self._rows.deliveries[id_].stored for id_ in ids if id_ in self._rows.deliveries]
            return {d.id: (d.state, d.seq, d.channel, d.destination) for d in found}

    def audit(self, after: int = 0, limit: int = 1000) -> Sequence[AuditRow]:
        """As OperationQueries.audit."""
        with self._rows.lock:
            return [row for row in self._rows.audit if row.id > after][:limit]

    def audit_head(self) -> AuditHead:
        """As OperationQueries.audit_head."""
        with self._rows.lock:
            audit = self._rows.audit
            return AuditHead(audit[-1].id, audit[-1].hash) if audit else AuditHead(0, START)

    def paused(self) -> Sequence[Pause]:
        """As OperationQueries.paused."""
        with self._rows.lock:
            return [self._rows.pauses[key] for key in sorted(self._rows.pauses)]

    def links(self, seq: MessageSeq) -> Links:
        """As OperationQueries.links."""
        with self._rows.lock:
            origins = self._rows.origins
            return Links(origins.get(seq), [made for made, origin in origins.items() if origin == seq])

    def last_version(self, channel: ChannelName) -> VersionId | None:
        """As OperationQueries.last_version."""
        found = [n for n, (of, _) in enumerate(self._rows.versions, 1) if of == channel]
        return VersionId(found[-1]) if found else None

    def close(self) -> None:
        """Nothing is held."""
