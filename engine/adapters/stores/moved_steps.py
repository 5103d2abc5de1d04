"""Steps whose status a scanner or a person changes: what is told of it is stored with the move, or neither is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Protocol
from zlib import crc32

from engine.adapters.stores.draft import Draft
from engine.adapters.stores.effects import encoded
from engine.adapters.stores.sealing import Sealing
from engine.adapters.stores.worklist import Execute, WorklistReading, WorklistRows, statements
from engine.model.envelope import Intake
from engine.model.ids import ChannelName, DestinationName, MessageSeq
from engine.ports.operations import StepMove
from engine.ports.worklist import Moved, Teller
from engine.worklist.changes import Change, Put
from engine.worklist.item import STATUS_MOVES, TERMINAL, Item, ItemKey
from engine.worklist.status import OrderReceived

NO_STEP: Final = "there is no such step any more"

Lane = tuple[ChannelName, DestinationName]


class StepRows(Protocol):
    """One worklist, and where messages are stored."""

    def item(self, key: ItemKey) -> Item | None: ...

    def order_of(self, key: ItemKey) -> OrderReceived | None:
        """The last order message that made or changed the step."""
        ...

    def add(self, intake: Intake) -> tuple[MessageSeq, Sequence[Lane]]:
        """Store a message; its number, and the lanes of its deliveries. What may raise does so before that."""
        ...

    def move(self, changes: Sequence[Change], at_us: int, who: str) -> None: ...


def tell_of(
    worklist: str, changes: Sequence[Change], at_us: int, rows: StepRows, tell: Teller | None
) -> tuple[list[MessageSeq], list[Lane]]:
    """Store what is to be told of each item that moves; the messages, and the lanes that have more to deliver."""
    made: list[MessageSeq] = []
    lanes: dict[Lane, None] = {}
    for change in changes if tell is not None else ():
        if not isinstance(change, Put) or change.before is None or change.before.status == change.item.status:
            continue
        assert tell is not None
        moved = Moved(worklist, change.item, change.before.status, at_us, rows.order_of(change.item.key))
        intake = tell(moved)
        if intake is not None:
            seq, grown = rows.add(intake)
            made.append(seq)
            lanes |= dict.fromkeys(grown)
    return made, list(lanes)


def refusal_of(move: StepMove, item: Item | None) -> str:
    """Why a person's move of a step is not made; '' if it may be."""
    if item is None:
        return NO_STEP
    if item.status == move.to:
        return ""
    if item.status != move.planned or item.revision != move.revision:
        return f"the step was changed meanwhile: it is {item.status} now"
    if move.to in STATUS_MOVES[item.status]:
        return ""
    if not move.force:
        return f"a step that is {item.status} stays so" if item.status in TERMINAL else f"{item.status} is behind it"
    return ""


def moved_by_hand(item: Item, move: StepMove, reason: str) -> Put:
    """The item as the person wants it."""
    what = f"{move.to.lower()} by hand{', by force' if move.to not in STATUS_MOVES[item.status] else ''}"
    return Put(replace(item, status=move.to), item, f"{what}: {reason}" if reason else what)


class SqliteSteps:
    """StepRows on a connection with an open transaction; what is stored is drafted."""

    def __init__(self, execute: Execute, worklist: str, draft: Draft, sealing: Sealing | None = None) -> None:
        self._run = statements(execute, sealing)
        self._worklist = worklist
        self._reading = WorklistReading(execute, worklist, sealing)
        self._rows = WorklistRows(execute, encoded, sealing)
        self._draft = draft

    def item(self, key: ItemKey) -> Item | None:
        return self._reading.item(key)

    def order_of(self, key: ItemKey) -> OrderReceived | None:
        row: Any = self._run("order_of_step", (self._worklist, key.study_uid, key.step_id)).fetchone()
        if row is None:
            return None
        kind, raw, crc = row
        return OrderReceived(kind, raw if raw is not None and crc32(raw) == crc else None)

    def add(self, intake: Intake) -> tuple[MessageSeq, Sequence[Lane]]:
        seq, deliveries = self._draft.add_intake(intake)
        return seq, [(delivery.channel, delivery.destination) for delivery in deliveries]

    def move(self, changes: Sequence[Change], at_us: int, who: str) -> None:
        if changes:
            self._rows.apply(self._worklist, changes, at_us=at_us, seq=0, who=who)
