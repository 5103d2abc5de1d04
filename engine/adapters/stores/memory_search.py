"""Keys and searches of a store in memory: the same answers as from SQLite, by looking at every row."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from engine.adapters.stores.finding import has_texts
from engine.adapters.stores.memory_rows import MemoryRows, Row
from engine.model.ids import ChannelName, MessageSeq
from engine.ports.search import SPAN, Find, Found, KeyBlock, KeysOf, KeyWork, SearchCancelled
from engine.ports.store import StoredMessage


class MemoryKeyStore:
    """The writer's side: nothing is put in order, as every search looks at every row."""

    _rows: MemoryRows
    _keys_of: KeysOf | None = None
    _opened: Callable[[], AbstractContextManager[None]]

    def read_keys_by(self, keys_of: KeysOf) -> None:
        """As KeyStore.read_keys_by."""
        self._keys_of = keys_of

    def keep_key_block(self, block: KeyBlock) -> bool:
        """As KeyStore.keep_key_block."""
        return True

    def fill_in_keys(self, keys: Sequence[tuple[MessageSeq, Sequence[tuple[str, str]]]], unread: MessageSeq) -> None:
        """As KeyStore.fill_in_keys."""
        with self._opened():
            for seq, values in keys:
                if (row := self._rows.messages.get(seq)) is not None:
                    row.keys = tuple(values)

    def _keys(self, channel: ChannelName, raw: bytes) -> tuple[tuple[str, str], ...]:
        return () if self._keys_of is None else tuple(self._keys_of(channel, raw))


class MemoryKeyQueries:
    """The reader's side."""

    _rows: MemoryRows

    def find(
        self,
        wanted: Find,
        *,
        before: MessageSeq | None = None,
        after: MessageSeq | None = None,
        limit: int = 50,
        span: int = SPAN,
        bodies: bool = False,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> Found:
        """As KeyQueries.find."""
        with self._rows.lock:
            seqs = sorted(
                (seq for seq in self._rows.messages if (after or 0) < seq and (before is None or seq < before)),
                reverse=True,
            )
            found: list[StoredMessage] = []
            for looked_at, seq in enumerate(seqs):
                if is_cancelled is not None and is_cancelled():
                    raise SearchCancelled
                if looked_at >= span or len(found) >= limit:
                    return Found(found, MessageSeq(seqs[looked_at - 1]), looked_at, len(seqs) - looked_at)
                row = self._rows.messages[seq]
                if self._matches(row, wanted):
                    shown = row.shown
                    found.append(shown if bodies else replace(shown, raw=None, findings=row.stored.findings))
            return Found(found, None, len(seqs), 0)

    def _matches(self, row: Row, wanted: Find) -> bool:
        stored, keys = row.stored, set(row.keys)
        if wanted.states or wanted.delivery_states:
            ids = self._rows.of_message.get(stored.seq, ())
            moved = any(self._rows.deliveries[id_].stored.state in wanted.delivery_states for id_ in ids)
            if stored.state not in wanted.states and not moved:
                return False
        is_number_asked = bool(wanted.any_of) or wanted.or_control_id is not None
        if is_number_asked and not keys.intersection(wanted.any_of) and stored.control_id != wanted.or_control_id:
            return False
        kind = wanted.message_type
        return (
            keys.issuperset(wanted.keys)
            and wanted.control_id in (None, stored.control_id)
            and wanted.channel in (None, stored.channel)
            and (wanted.channels is None or stored.channel in wanted.channels)
            and (kind is None or stored.message_type == kind or stored.message_type.startswith(f"{kind}^"))
            and (wanted.sender is None or f"|{wanted.sender.lower()}|" in f"|{stored.sender.lower()}|")
            and stored.received_at_us >= wanted.since_us
            and (wanted.until_us is None or stored.received_at_us <= wanted.until_us)
            and (not wanted.texts or (row.raw is not None and has_texts(row.raw, wanted.texts)))
        )

    def unread_keys(self) -> int:
        """As KeyQueries.unread_keys."""
        return 0

    def key_work(self) -> KeyWork:
        """As KeyQueries.key_work."""
        return KeyWork((), MessageSeq(0))

    def draft_keys(self, block: int) -> KeyBlock:
        """As KeyQueries.draft_keys."""
        return KeyBlock(block, 0, {})

    def bodies_without_keys(self, upto: MessageSeq, limit: int) -> Sequence[tuple[MessageSeq, ChannelName, bytes]]:
        """As KeyQueries.bodies_without_keys."""
        with self._rows.lock:
            seqs = sorted((seq for seq in self._rows.messages if seq <= upto), reverse=True)[:limit]
            return [(seq, self._rows.messages[seq].stored.channel, self._rows.messages[seq].raw or b"") for seq in seqs]
