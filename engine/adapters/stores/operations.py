"""What people do to messages and queues, in SQLite: one transaction a change, and its record in the same one.

A delivery is moved only from the state that it had when the change was planned, and only where the tables allow
it; another one is left alone, and said. The audit is a chain of hashes (`engine.model.audit`).
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from engine.adapters.stores.access import AccessWriting
from engine.adapters.stores.codes import DELIVERY_CODES, DELIVERY_OF, MESSAGE_OF
from engine.adapters.stores.connection import WriteConnection
from engine.adapters.stores.draft import Draft
from engine.adapters.stores.moved_steps import SqliteSteps, StepRows, moved_by_hand, refusal_of, tell_of
from engine.adapters.stores.reading import fault_of
from engine.adapters.stores.recording import append, audit_row, newest, operation_statements
from engine.adapters.stores.sealing import Sealing
from engine.adapters.stores.statements import RowStatement, load_statements
from engine.adapters.stores.writing import Writing
from engine.model.audit import AuditRow, ids_text
from engine.model.envelope import DraftDelivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import DELIVERY_MOVES, MESSAGE_MOVES, DeliveryState
from engine.ports.clock import Clock
from engine.ports.operations import (
    ACT_FROM,
    ACT_TO,
    MOST_LEFT,
    ActionReport,
    AuditHead,
    Change,
    Changed,
    Links,
    Pause,
    Progress,
    Resend,
    StepChanged,
    StepMove,
)
from engine.worklist.item import ItemKey

NOT_THERE = "it is not in the store"
CHANGED = "somebody else changed it just now"
NEVER_DELIVERED = "it was never delivered there"


class Tally:
    """Gathers what one change does."""

    def __init__(self, before: ActionReport) -> None:
        self._before = before
        self.messages: list[MessageSeq] = []
        self.touched: list[tuple[DeliveryId, MessageSeq, ChannelName, DestinationName]] = []
        self.deliveries = 0
        self.left: list[tuple[MessageSeq, str]] = list(before.left)
        self.more_left = before.more_left
        self.made: list[MessageSeq] = []
        self.grown: dict[tuple[ChannelName, DestinationName], None] = {}
        self.steps = 0
        self.also: list[MessageSeq] = []
        """Messages that were looked at, which is all that was done to them."""

    def leave(self, seq: MessageSeq, why: str) -> None:
        if len(self.left) < MOST_LEFT:
            self.left.append((seq, why))
        else:
            self.more_left += 1

    def report(self) -> ActionReport:
        before = self._before
        return ActionReport(
            before.messages + len(self.messages),
            before.deliveries + self.deliveries,
            tuple(self.left),
            self.more_left,
            tuple(self.made),
            self.steps,
        )

    def changed(self) -> Changed:
        return Changed(self.report(), tuple(self.touched), tuple(self.grown))

    @property
    def is_empty(self) -> bool:
        return not (self.messages or self.touched or self.made or self.deliveries or self.also or self.steps)

    def row(self, change: Change, id_: int, at_us: int) -> AuditRow:
        """The record of it, without its hash."""
        counts = {"messages": len(self.messages), "deliveries": self.deliveries}
        if self.steps:
            counts = {"steps": self.steps, **counts}
        if left := len(self.left) + self.more_left:
            counts["left"] = left
        by = change.by
        ids = ids_text((*self.messages, *self.made, *self.also), [id_ for id_, *_ in self.touched], change.lanes)
        told = json.dumps(counts, separators=(",", ":"))
        return AuditRow(id_, at_us, by.actor, change.action, by.reason, by.scope, told, ids, by.key)


def refusal(change: Change, planned: DeliveryState, now: DeliveryState, has_body: bool) -> str:
    """Why a delivery that is `now` in this state is left alone by the change; '' if it may be done."""
    assert change.act is not None, "a change with moves says what is done to them"
    to = ACT_TO[change.act]
    if now != planned:
        return f"its delivery is {now} now"
    if now not in ACT_FROM[change.act] or to not in DELIVERY_MOVES[now]:
        return f"its delivery is {now}"
    if to in ("queued", "redirected") and not has_body:
        return "its bytes are no longer kept"
    return ""


def move_step(change: Change, move: StepMove, rows: StepRows, tally: Tally, now_us: int) -> None:
    """Give a worklist's step another status. Raises StepChanged, before anything is written."""
    item = rows.item(ItemKey(move.study_uid, move.step_id))
    if why := refusal_of(move, item):
        raise StepChanged(why, is_temporary=item is not None and item.revision != move.revision)
    assert item is not None, "it would have been refused"
    if item.status == move.to:
        return
    changes = [moved_by_hand(item, move, change.by.reason)]
    made, lanes = tell_of(move.worklist, changes, now_us, rows, change.tell)
    tally.made += made
    tally.grown |= dict.fromkeys(lanes)
    tally.deliveries += len(lanes)
    rows.move(changes, now_us, change.by.actor)
    tally.steps = 1


class Operations:
    """The statements of `sql/operations.sql` that write. Used by the thread that writes."""

    def __init__(self, db: WriteConnection, writing: Writing, clock: Clock) -> None:
        self._db = db
        self._writing = writing
        self._clock = clock
        self._access = AccessWriting(db.execute, db.sealing)
        self._run = operation_statements(db.execute, db.sealing)
        self._sql = load_statements("operations.sql")
        self._rows = {name: RowStatement(sql) for name, sql in self._sql.items() if RowStatement.takes(sql)}

    def operate(self, change: Change) -> Changed:
        """As OperationStore.operate."""
        now_us = self._clock.now_us()

        def work(draft: Draft) -> Changed:
            tally = Tally(change.report)
            if change.reprocessed:
                self._reprocess(change, draft, tally)
            if change.moves:
                self._move(change, draft, tally, now_us)
            for resend in change.resends:
                self._resend(resend, draft, tally)
            if change.edited is not None:
                seq, deliveries = draft.add_intake(change.edited)
                tally.made.append(seq)
                tally.deliveries += len(deliveries)
                tally.grown |= dict.fromkeys((d.channel, d.destination) for d in deliveries)
            if change.step is not None:
                steps = SqliteSteps(self._db.execute, change.step.worklist, draft, self._db.sealing)
                move_step(change, change.step, steps, tally, now_us)
            self._pause(change, now_us)
            self._access.apply(change.access, now_us)
            tally.also += change.read
            if change.is_always_recorded or not tally.is_empty:
                self._record(tally, change, now_us)
            if change.progress is not None:
                self._note(change.progress, tally.report(), now_us)
            return tally.changed()

        return self._writing.within(work)

    def _reprocess(self, change: Change, draft: Draft, tally: Tally) -> None:
        wanted = list(dict.fromkeys(item.seq for item in change.reprocessed))
        states = {seq: MESSAGE_OF[state] for seq, state in self._fetch("message_states", wanted)}
        good = []
        for item in change.reprocessed:
            before = states.get(item.seq)
            if before is None:
                tally.leave(item.seq, NOT_THERE)
            elif item.state not in MESSAGE_MOVES[before]:
                tally.leave(item.seq, CHANGED)
            else:
                good.append(item)
        for item, deliveries in zip(good, self._writing.reprocess(good, draft), strict=True):
            if item.state == "held" and states[item.seq] == "held":
                tally.also.append(item.seq)  # the caller says why it is held again
                continue
            tally.messages.append(item.seq)
            tally.deliveries += len(deliveries)
            tally.grown |= dict.fromkeys((d.channel, d.destination) for d in deliveries)

    def _move(self, change: Change, draft: Draft, tally: Tally, now_us: int) -> None:
        assert change.act is not None, "a change with moves says what is done to them"
        to = ACT_TO[change.act]
        rows = {row[0]: row for row in self._fetch("deliveries_to_move", [id_ for id_, _ in change.moves])}
        moved: list[object] = []
        for id_, planned in change.moves:
            row = rows.get(id_)
            if row is None:
                continue  # retention took it: it was finished
            (_, seq, state, kept, destination, channel) = row
            if why := refusal(change, planned, DELIVERY_OF[state], kept is not None):
                tally.leave(seq, f"{why} (to {destination})")
                continue
            if to == "redirected":
                assert change.to is not None, "a redirect says where to"
                if destination == change.to:
                    tally.leave(seq, f"it goes to {destination} already")
                    continue
                takes_over = change.takes_over.get(id_) or DraftDelivery(change.to, None)
                self._writing.redirect(id_, "redirected", takes_over, draft)
                tally.grown[channel, change.to] = None
            self._writing.before_move(id_, to)
            moved += (id_, DELIVERY_CODES[to], 0 if to == "queued" else now_us, change.note)
            tally.touched.append((id_, seq, channel, destination))
        if change.act == "retry":
            self._rows["try_at_once"].run(self._db.execute, [id_ for id_, *_ in tally.touched])
        else:
            self._rows["act_on_delivery"].run(self._db.execute, moved)
        tally.deliveries += len(tally.touched)

    def _resend(self, resend: Resend, draft: Draft, tally: Tally) -> None:
        seq, destinations = resend.seq, resend.destinations
        wanted = [
            row
            for row in self._writing.last_deliveries(seq)
            if (row[1] in destinations if destinations is not None else DELIVERY_OF[row[6]] != "redirected")
        ]
        if not wanted:
            tally.leave(seq, NEVER_DELIVERED)
            return
        for lane, destination, _, crc, _, _, _, body, *_ in wanted:
            if fault := fault_of(body, lane, crc):
                tally.leave(seq, f"it cannot be sent to {destination} again: {fault}")
                return
        for lane, destination, body_id, crc, channel, _, _, _, key, urgent in wanted:
            key, urgent = resend.keys.get(destination, (key, urgent))
            draft.add_resend(seq, lane, body_id, crc, key, bool(urgent))
            tally.grown[channel, destination] = None
        tally.messages.append(seq)
        tally.deliveries += len(wanted)

    def _pause(self, change: Change, now_us: int) -> None:
        for pause in change.pauses:
            told = (pause.channel, pause.destination, now_us, pause.actor, pause.reason)
            self._run("set_pause", told)
        for pause in change.resumes:
            self._db.execute(self._sql["delete_pause"], (pause.channel, pause.destination))

    def _record(self, tally: Tally, change: Change, now_us: int) -> None:
        last, _ = newest(self._run)
        append(self._run, tally.row(change, last + 1, now_us))

    def _note(self, progress: Progress, report: ActionReport, now_us: int) -> None:
        told = progress.report.plus(report).dump()
        values = (progress.key, now_us, progress.action, progress.digest, progress.done, progress.is_finished, told)
        self._run("set_progress", values)

    def _fetch(self, name: str, values: Sequence[object]) -> list[Any]:
        return self._rows[name].fetch(self._db.execute, values)


class OperationReading:
    """The statements of `sql/operations.sql` that read, on whichever connection."""

    def __init__(self, sealing: Sealing | None = None) -> None:
        self._sealing = sealing or Sealing()
        self._sql = load_statements("operations.sql")
        self._states = RowStatement(self._sql["states_of_deliveries"])

    def progress(self, db: sqlite3.Connection, key: str) -> Progress | None:
        """As OperationStore.progress."""
        row = operation_statements(db.execute, self._sealing)("progress", (key,)).fetchone()
        if row is None:
            return None
        action, digest, done, finished, report = row
        return Progress(key, action, digest, done, bool(finished), ActionReport.load(report))

    def pauses(self, db: sqlite3.Connection) -> list[Pause]:
        """As OperationStore.pauses."""
        return [Pause(*row) for row in operation_statements(db.execute, self._sealing)("pauses")]

    def states(
        self, db: sqlite3.Connection, ids: Iterable[DeliveryId]
    ) -> dict[DeliveryId, tuple[DeliveryState, MessageSeq, ChannelName, DestinationName]]:
        """As OperationQueries.delivery_states."""
        rows = self._states.fetch(db.execute, list(dict.fromkeys(ids)))
        return {id_: (DELIVERY_OF[state], seq, channel, to) for id_, state, seq, channel, to in rows}

    def audit(self, db: sqlite3.Connection, after: int, limit: int) -> list[AuditRow]:
        """As OperationQueries.audit."""
        run = operation_statements(db.execute, self._sealing)
        return [audit_row(row) for row in run("audit", {"after": after, "limit": limit})]

    def head(self, db: sqlite3.Connection) -> AuditHead:
        """As OperationQueries.audit_head."""
        return AuditHead(*newest(operation_statements(db.execute, self._sealing)))

    def links(self, db: sqlite3.Connection, seq: MessageSeq) -> Links:
        """As OperationQueries.links."""
        origin = db.execute(self._sql["origin"], (seq,)).fetchone()
        edited = [row[0] for row in db.execute(self._sql["edited"], (seq,))]
        return Links(None if origin is None else origin[0], edited)

    def last_version(self, db: sqlite3.Connection, channel: ChannelName) -> VersionId | None:
        """As OperationQueries.last_version."""
        (found,) = db.execute(self._sql["last_version"], (channel,)).fetchone()
        return None if found is None else VersionId(found)
