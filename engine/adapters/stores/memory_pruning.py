"""Forgetting in a store in memory."""

from collections.abc import Sequence
from dataclasses import replace

from engine.adapters.stores.draft import HOUR_US
from engine.adapters.stores.memory_rows import MemoryRows, Row
from engine.model.ids import MessageSeq
from engine.model.states import FINISHED
from engine.ports.store import WRONG_AHEAD_US, Prune, Pruned


def pruned_rows(rows: MemoryRows, order: Prune) -> Pruned:
    """As Store.prune; the caller holds the lock."""
    before = max(order.bodies_before_us, order.messages_before_us)
    keep_from, keep_whole_from = _young(rows, order, before), _young(rows, order, order.messages_before_us)
    end = min(max(rows.messages, default=MessageSeq(0)), keep_from - 1)
    upto = min(order.after + order.span, end)
    meant = [
        (seq, row)
        for seq, row in rows.messages.items()
        if order.after < seq <= upto
        and row.stored.received_at_us < before
        and order.channel in (None, row.stored.channel)
        and _is_finished(rows, row)
    ]
    if order.most_bytes is not None:
        few = _few(rows, meant, order.most_bytes)
        if meant and not few:
            return Pruned(0, 0, MessageSeq(meant[0][0] - 1), is_large=True)
        if few < len(meant):
            meant = meant[:few]
            upto = meant[-1][0]
    bodies = messages = 0
    for seq, row in meant:
        ids = rows.of_message.get(seq, [])
        if row.stored.received_at_us < order.messages_before_us and seq < keep_whole_from:
            del rows.messages[seq]
            rows.of_message.pop(seq, None)
            rows.origins.pop(seq, None)
            for id_ in ids:
                del rows.deliveries[id_]
            messages += 1
        elif row.stored.raw is not None:
            row.stored = replace(row.stored, raw=None)
            for delivery in (rows.deliveries[id_] for id_ in ids):
                delivery.stored = replace(delivery.stored, body=None, answer=b"")
                delivery.attempts = [replace(attempt, answer=b"") for attempt in delivery.attempts]
            bodies += 1
    return Pruned(bodies, messages, None if upto >= end else MessageSeq(upto))


def _few(rows: MemoryRows, meant: Sequence[tuple[MessageSeq, Row]], most_bytes: int) -> int:
    """So many of them have no more bytes together."""
    size = 0
    for count, (seq, row) in enumerate(meant):
        stored = [row.stored.raw, *(rows.deliveries[id_].stored.body for id_ in rows.of_message.get(seq, ()))]
        size += sum(len(body) for body in stored if body is not None)
        if size > most_bytes:
            return count
    return len(meant)


def _young(rows: MemoryRows, order: Prune, before: int) -> int:
    """From this seq on, every message came after one that was received later than `before`."""
    hours = range(before // HOUR_US + 1, (order.now_us + WRONG_AHEAD_US) // HOUR_US + 1)
    return min((seq for seq, hour in rows.hours if hour in hours), default=1 << 62)


def _is_finished(rows: MemoryRows, row: Row) -> bool:
    deliveries = (rows.deliveries[id_] for id_ in rows.of_message.get(row.stored.seq, ()))
    return row.stored.state in FINISHED and not any(d.stored.state in ("queued", "held") for d in deliveries)
