"""What people do, in a store in memory: the same rules and the same record as in SQLite."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from engine.adapters.stores.codes import DAMAGED_NOTE
from engine.adapters.stores.memory_rows import DeliveryRow, LaneKey, MemoryRows, Row
from engine.adapters.stores.memory_worklist import MemoryPerformed, MemorySteps
from engine.adapters.stores.operations import CHANGED, NEVER_DELIVERED, NOT_THERE, Tally, move_step, refusal
from engine.adapters.stores.performed import perform
from engine.model.audit import START, chained
from engine.model.envelope import Batch, Committed, Delivery, DraftDelivery, Intake
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.states import MESSAGE_MOVES
from engine.ports.operations import ACT_TO, Change, Changed, Resend
from engine.ports.worklist import MppsReply, PerformedOrder, Teller

AddDelivery = Callable[[Row, ChannelName, DestinationName, bytes | None, str | None, bool], DeliveryRow]


class MemoryOperations:
    """Carries changes out on the rows, whose lock the caller holds."""

    def __init__(
        self,
        rows: MemoryRows,
        commit: Callable[[Batch], Committed],
        add: AddDelivery,
        redirect: Callable[[DeliveryId, DraftDelivery], object],
        keep_last_attempt: Callable[[DeliveryRow], None],
    ) -> None:
        self._rows = rows
        self._commit = commit
        self._add = add
        self._redirect = redirect
        self._keep_last_attempt = keep_last_attempt

    def operate(self, change: Change, now_us: int) -> Changed:
        """As OperationStore.operate. What may raise comes first, so that nothing has to be undone."""
        by = change.by
        for text in (by.actor, by.reason, by.scope, by.key, change.note):
            text.encode("utf-8")  # as SQLite would
        tally = Tally(change.report)
        self._edit(change, tally)
        if change.step is not None:
            rows = self._rows
            steps = MemorySteps(rows.worklists, change.step.worklist, rows.order_received, self._add_one)
            move_step(change, change.step, steps, tally, now_us)
        self._reprocess(change, tally)
        self._move(change, tally, now_us)
        for resend in change.resends:
            self._resend(resend, tally)
        for pause in change.pauses:
            self._rows.pauses.setdefault((pause.channel, pause.destination), replace(pause, at_us=now_us))
        for pause in change.resumes:
            self._rows.pauses.pop((pause.channel, pause.destination), None)
        tally.also += change.read
        if change.is_always_recorded or not tally.is_empty:
            audit = self._rows.audit
            row = tally.row(change, len(audit) + 1, now_us)
            audit.append(replace(row, hash=chained(audit[-1].hash if audit else START, row)))
        if (progress := change.progress) is not None:
            told = progress.report.plus(tally.report())
            self._rows.progress[progress.key] = replace(progress, report=told)
        return tally.changed()

    def perform(self, order: PerformedOrder, tell: Teller | None) -> MppsReply:
        """As Store.perform."""
        rows = self._rows
        steps = MemoryPerformed(rows.worklists, order.worklist, rows.order_received, self._add_one)
        return perform(order, steps, tell)

    def _edit(self, change: Change, tally: Tally) -> None:
        if change.edited is None:
            return
        committed = self._commit(Batch([change.edited]))
        tally.made += committed.seqs
        self._grow(tally, committed.deliveries[0])

    def _add_one(self, intake: Intake) -> tuple[MessageSeq, Sequence[Delivery]]:
        committed = self._commit(Batch([intake]))
        return committed.seqs[0], committed.deliveries[0]

    def _grow(self, tally: Tally, deliveries: Sequence[Delivery]) -> None:
        tally.deliveries += len(deliveries)
        tally.grown |= dict.fromkeys((d.channel, d.destination) for d in deliveries)

    def _reprocess(self, change: Change, tally: Tally) -> None:
        for item in change.reprocessed:
            row = self._rows.messages.get(item.seq)
            if row is None:
                tally.leave(item.seq, NOT_THERE)
            elif item.state not in MESSAGE_MOVES[row.stored.state]:
                tally.leave(item.seq, CHANGED)
            else:
                before = row.stored.state
                (deliveries,) = self._commit(Batch(reprocessed=[item])).released
                if before == item.state == "held":
                    tally.also.append(item.seq)
                    continue
                tally.messages.append(item.seq)
                self._grow(tally, deliveries)

    def _move(self, change: Change, tally: Tally, now_us: int) -> None:
        for id_, planned in change.moves:
            row = self._rows.deliveries.get(id_)
            if row is None or change.act is None:
                continue
            stored = row.stored
            has_body = self._rows.body(row) is not None
            if why := refusal(change, planned, stored.state, has_body):
                tally.leave(stored.seq, f"{why} (to {stored.destination})")
                continue
            to = ACT_TO[change.act]
            if to == "redirected" and change.to is not None:
                if stored.destination == change.to:
                    tally.leave(stored.seq, f"it goes to {stored.destination} already")
                    continue
                self._redirect(id_, change.takes_over.get(id_) or DraftDelivery(change.to, None))
                tally.grown[stored.channel, change.to] = None
            if change.act == "retry":
                row.stored = replace(stored, next_at_us=0)
            else:
                at_us = 0 if to == "queued" else now_us
                self._keep_last_attempt(row)
                if to == "queued":
                    self._rows.mark_overtaken(row)
                is_marked = stored.maybe_sent or (stored.state == "queued" and self._rows.in_doubt(stored))
                row.stored = replace(
                    stored,
                    state=to,
                    next_at_us=0,
                    done_at_us=at_us,
                    code="",
                    note=change.note,
                    answer=b"",
                    maybe_sent=is_marked,
                )
                if to == "queued":
                    row.stored = replace(row.stored, since_us=0)
                    row.counted_from = 0
            tally.touched.append((id_, stored.seq, stored.channel, stored.destination))
        tally.deliveries += len(tally.touched)

    def _resend(self, resend: Resend, tally: Tally) -> None:
        seq, destinations = resend.seq, resend.destinations
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
        if not wanted:
            tally.leave(seq, NEVER_DELIVERED)
            return
        for (_, destination), row in wanted.items():
            if self._rows.body(row) is None:
                tally.leave(seq, f"it cannot be sent to {destination} again: {DAMAGED_NOTE}")
                return
        for lane, row in wanted.items():
            key, urgent = resend.keys.get(lane[1], (row.stored.key, row.stored.urgent))
            self._add(self._rows.messages[seq], *lane, row.stored.body, key, urgent)
            tally.grown[lane] = None
        tally.messages.append(seq)
        tally.deliveries += len(wanted)
