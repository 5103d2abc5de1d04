"""What is moved, redirected or sent again beside the lanes, in the store in plain dicts; under its lock."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from engine.adapters.stores.codes import DAMAGED_NOTE, PERSONAL_MOVES, REDIRECTED_FROM
from engine.adapters.stores.memory_rows import DeliveryRow, LaneKey, MemoryRows, Row
from engine.model.envelope import Delivery, DraftDelivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.states import DeliveryState, IllegalMove
from engine.ports.store import StoreError


class MemoryMoves:
    """Checks all of a call before it changes anything, so that nothing has to be undone."""

    def __init__(
        self,
        rows: MemoryRows,
        add: Callable[[Row, ChannelName, DestinationName, bytes | None, str | None, bool], DeliveryRow],
        redirect: Callable[[DeliveryId, DraftDelivery], list[Delivery]],
    ) -> None:
        self._rows = rows
        self._add = add
        self._redirect_one = redirect

    def redirect(
        self, orders: Sequence[tuple[DeliveryId, DraftDelivery]], note: str, now_us: int
    ) -> Sequence[Delivery]:
        """As Store.redirect_deliveries."""
        going = []
        for id_, to in dict(orders).items():
            row = self._rows.deliveries.get(id_)
            if row is None:
                raise IllegalMove(f"delivery {id_} is not in the store")
            if row.stored.state == "redirected":
                continue
            if row.stored.state not in REDIRECTED_FROM:
                raise IllegalMove(f"delivery {id_} is {row.stored.state}: nobody but its lane can redirect it")
            going.append((row, to))
        added: list[Delivery] = []
        for row, to in going:
            added += self._redirect_one(row.stored.id, to)
            row.keep_last_attempt()
            row.stored = replace(
                row.stored, state="redirected", next_at_us=0, done_at_us=now_us, code="", note=note, answer=b""
            )
        return added

    def move(self, ids: Sequence[DeliveryId], to: DeliveryState, note: str, now_us: int) -> int:
        """As Store.move_deliveries."""
        if to not in PERSONAL_MOVES:
            raise IllegalMove(f"nobody but a lane can make a delivery {to}")
        moving = []
        for id_ in dict.fromkeys(ids):
            row = self._rows.deliveries.get(id_)
            if row is None:
                raise IllegalMove(f"delivery {id_} is not in the store")
            if row.stored.state == to:
                continue
            if row.stored.state not in PERSONAL_MOVES[to]:
                raise IllegalMove(f"delivery {id_} is {row.stored.state}: nobody but its lane can make it {to}")
            moving.append(row)
        at_us = 0 if to == "queued" else now_us
        for row in moving:
            row.keep_last_attempt()
            if to == "queued":
                self._rows.mark_overtaken(row)
            row.stored = replace(row.stored, state=to, next_at_us=0, done_at_us=at_us, code="", note=note, answer=b"")
            if to == "queued":
                row.stored = replace(row.stored, since_us=0)
                row.counted_from = 0
        return len(moving)

    def add(self, seq: MessageSeq, destinations: Sequence[DestinationName] | None) -> Sequence[Delivery]:
        """As Store.add_deliveries."""
        last: dict[LaneKey, DeliveryRow] = {}
        for id_ in self._rows.of_message.get(seq, ()):
            row = self._rows.deliveries[id_]
            last.pop((row.stored.channel, row.stored.destination), None)
            last[row.stored.channel, row.stored.destination] = row
        wanted = {
            key: row
            for key, row in last.items()
            if (row.stored.state != "redirected" if destinations is None else key[1] in destinations)
        }
        for (_, destination), row in wanted.items():
            if self._rows.body(row) is None:
                raise StoreError(f"message {seq} cannot be sent to {destination} again: {DAMAGED_NOTE}")
        message = self._rows.messages.get(seq)
        added = [
            self._add(message, *lane, row.stored.body, row.stored.key, row.stored.urgent)
            for lane, row in wanted.items()
            if message is not None
        ]
        return [delivery for row in added if (delivery := self._rows.delivery(row)) is not None]
