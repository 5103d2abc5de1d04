"""What is written, one transaction a method. A transaction is one sentence: "the messages, their deliveries, what was
sent meanwhile".

Every change of a state is checked against `engine.model.states`: the results of attempts by the
statement itself (it moves what is queued, and how many rows it moved is compared), the rest before it
is written. IllegalMove takes the whole transaction back.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from zlib import crc32

from engine.adapters.stores.codes import (
    DELIVERY_CODES,
    DELIVERY_OF,
    FIRST_ATTEMPTS,
    LAST_ATTEMPTS,
    MESSAGE_CODES,
    MESSAGE_OF,
    PERSONAL_MOVES,
    RECENT_RECEIVE_IDS,
    REDIRECTED_FROM,
    lane_salt,
)
from engine.adapters.stores.connection import WriteConnection
from engine.adapters.stores.draft import Ahead, Draft, Names, Numbers
from engine.adapters.stores.effects import SqliteEffects, without_stale
from engine.adapters.stores.keys import KeyWriting
from engine.adapters.stores.pruning import Pruning
from engine.adapters.stores.reading import fault_of
from engine.adapters.stores.row_checks import outcome_crc
from engine.adapters.stores.sealed_rows import opened_ack, sealed_ack, sealed_answer, with_opened_keys
from engine.adapters.stores.statements import RowStatement, load_statements
from engine.model.envelope import (
    AckUpdate,
    Batch,
    Committed,
    Delivery,
    DeliveryResult,
    DraftDelivery,
    Intake,
    Reprocessed,
)
from engine.model.finding import dump_findings, load_findings
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import DeliveryState, IllegalMove, check_delivery_move, check_message_move
from engine.ports.clock import Clock
from engine.ports.store import Prune, Pruned, StoreError

LARGE_BYTES = 1 << 20
T = TypeVar("T")


class NotQueued(Exception):
    """Some result is for a delivery that is not queued; which one is found out after the rollback."""


class Writing:
    """The statements of `sql/write.sql`, by what they make durable. Used by one thread at a time.

    Every method may raise what `WriteConnection.transaction` raises, and then has changed nothing, here
    or in the file.
    """

    def __init__(self, db: WriteConnection, clock: Clock, keys: KeyWriting) -> None:
        self._db = db
        self._sealing = db.sealing if db.sealing.is_on else None
        self._keys = keys
        self._clock = clock
        self._sql = load_statements("write.sql")
        self._rows = {name: RowStatement(sql) for name, sql in self._sql.items() if RowStatement.takes(sql)}
        self._effects = SqliteEffects(db)
        self._numbers = Numbers()
        self._names = Names()
        self._ahead: dict[int, Ahead] = {}
        # Two generations, so that forgetting the old ids costs nothing a message.
        self._recent: dict[bytes, MessageSeq] = {}
        self._less_recent: dict[bytes, MessageSeq] = {}

    # -- a run of the engine --------------------------------------------------------------------

    def load(self) -> None:
        """Take the numbers and names from the file, and the newest receive ids."""
        execute = self._db.execute
        self._numbers = Numbers(*execute(self._sql["last_ids"]).fetchone())
        hour = execute(self._sql["last_hour"]).fetchone()
        self._numbers.hour = -1 if hour is None else hour[0]
        channels = {name: id_ for id_, name in execute(self._sql["channels"])}
        lanes = {(channel, destination): id_ for id_, channel, destination, *_ in execute(self._sql["lanes"])}
        keyed = {id_ for id_, *_, order_by in execute(self._sql["lanes"]) if order_by}
        self._names = Names(channels, {key: (id_, lane_salt(id_)) for key, id_ in lanes.items()}, keyed)
        self._recent = dict(execute(self._sql["recent_receive_ids"], (RECENT_RECEIVE_IDS,)).fetchall())

    def start_run(self) -> None:
        """Note that an engine runs; if the last one never noted its end, mark what it may have sent unrecorded."""
        running = self._db.execute(self._sql["get_meta"], ("running",)).fetchone()
        with self._db.transaction():
            if running is not None and running[0]:
                doubt = {"upto": self._numbers.delivery, "at_us": self._clock.now_us()}
                for lane, _, _, window, order_by in self._db.execute(self._sql["lanes"]).fetchall():
                    if order_by:
                        self._db.execute(self._sql["doubt_lane"], {"lane": lane, **doubt})
                    else:
                        self._db.execute(self._sql["mark_maybe_sent"], {"lane": lane, "window": window})
            self._db.execute(self._sql["forget_pieces"])
            self._db.execute(self._sql["set_meta"], ("running", 1))

    def end_run(self) -> None:
        """Note that this run ended cleanly, and its last ids."""
        with self._db.transaction():
            self._note_ids(running=0)

    def set_window(self, channel: ChannelName, destination: DestinationName, window: int, order_by: str) -> DeliveryId:
        """As Store.lane_window, `window` being the largest number of this run."""
        draft = self._draft()
        lane = draft.lane(channel, destination)[0]
        with self._db.transaction():
            self._insert(draft)
            self._db.execute(self._sql["set_window"], {"lane": lane, "window": window})
            before, keyed_from = self._db.execute(self._sql["lane_order"], (lane,)).fetchone()
            if before != order_by:
                keyed_from = self._numbers.delivery + 1
                order = {"lane": lane, "order_by": order_by, "keyed_from": keyed_from}
                self._db.execute(self._sql["set_lane_order"], order)
        self._adopt(draft)
        (self._names.keyed.add if order_by else self._names.keyed.discard)(lane)
        return DeliveryId(keyed_from)

    def channel_version(
        self, channel: ChannelName, whole: bytes, hashes: Mapping[str, bytes], files: Mapping[str, bytes]
    ) -> VersionId:
        """The version of `channel` whose hash is `whole`; a new one is recorded with its files."""
        found = self._db.execute(self._sql["find_version"], (channel, whole)).fetchone()
        if found is not None:
            return VersionId(found[0])
        draft = self._draft()
        channel_id = draft.channel(channel)
        execute = self._db.execute
        with self._db.transaction():
            self._insert(draft)
            version = execute(self._sql["insert_version"], (channel_id, whole, self._clock.now_us())).lastrowid
            for path, digest in hashes.items():
                execute(self._sql["insert_file"], (digest, files[path]))
                execute(self._sql["insert_version_file"], (version, path, digest))
        self._adopt(draft)
        assert version is not None
        return VersionId(version)

    def _draft(self, ahead: Mapping[int, Ahead] | None = None) -> Draft:
        return Draft(self._numbers, self._names, self._keys.of, ahead, self._sealing)

    def within(self, work: Callable[[Draft], T]) -> T:
        """One transaction: what `work` does, and the rows it drafts."""
        draft = self._draft()
        with self._db.transaction():
            made = work(draft)
            self._insert(draft)
        self._adopt(draft)
        return made

    # -- the hot path ---------------------------------------------------------------------------

    def commit(self, batch: Batch, damaged: Sequence[tuple[DeliveryId, str]] = ()) -> Committed:
        """As Store.commit; `damaged` deliveries are set aside in the same transaction."""
        draft = self._draft(self._ahead)
        committed = Committed([], [], [])
        for body in batch.unwanted:
            draft.forget(body)
        for piece in batch.pieces:  # what was refused before may begin again with this very commit
            draft.add_piece(piece)
        repeated, joined = self._draft_intakes(batch.intakes, draft, committed)
        try:
            with self._db.transaction():
                if batch.reprocessed:
                    committed.released = self.reprocess(batch.reprocessed, draft)
                if batch.results:
                    committed.redirected = self._record(batch.results, draft)
                for at in joined:
                    self._move_parts(batch.intakes[at], draft)
                self._insert(draft)
                for at in repeated:
                    committed.deliveries[at] = self._still_queued(committed.seqs[at], batch.intakes[at].channel)
                for id_, note in damaged:
                    self._set_aside(id_, note)
        except NotQueued:
            raise self._illegal(batch.results) from None
        self._adopt(draft)
        return committed

    def _draft_intakes(
        self, intakes: Sequence[Intake], draft: Draft, committed: Committed
    ) -> tuple[list[int], list[int]]:
        """Rows for every intake that is new; which of them are not, and which of the new are joined from others."""
        repeated: list[int] = []
        joined: list[int] = []
        recent, less_recent = self._recent, self._less_recent
        for at, intake in enumerate(intakes):
            receive_id = intake.receive_id
            seq = recent.get(receive_id) or less_recent.get(receive_id) or draft.receive_ids.get(receive_id)
            deliveries: list[Delivery] = []
            if seq is None:
                seq, deliveries = draft.add_intake(intake)
                if intake.parts is not None:
                    joined.append(at)
            else:
                repeated.append(at)
                for body in (intake.raw, *(d.body for d in intake.deliveries if d.body is not None)):
                    draft.forget(body)
            committed.seqs.append(seq)
            committed.deliveries.append(deliveries)
        return repeated, joined

    def _insert(self, draft: Draft) -> None:
        execute = self._db.execute
        rows = self._rows
        if draft.channels:
            rows["insert_channel"].run(execute, draft.channels)
        if draft.lanes:
            rows["insert_lane"].run(execute, draft.lanes)
        if draft.messages:
            rows["insert_message"].run(execute, draft.messages)
        if draft.bodies:
            self._insert_bodies(draft)
        if draft.deliveries:
            rows["insert_delivery"].run(execute, draft.deliveries)
        if draft.hours:
            rows["insert_hour"].run(execute, draft.hours)
        if draft.tally:
            rows["add_to_tally"].run(execute, [part for (c, s), n in draft.tally.items() for part in (c, s, n)])
        if draft.sequences:
            rows["set_sequence"].run(execute, [part for (c, s), n in draft.sequences.items() for part in (c, s, n)])
        if draft.links:
            rows["insert_link"].run(execute, draft.links)
        for piece in draft.pieces:
            execute(self._sql["insert_piece"], piece)
        for body_id in draft.unwanted:
            execute(self._sql["delete_pieces"], (body_id,))

    def _insert_bodies(self, draft: Draft) -> None:
        """Large ones are written into their room piece by piece: bound to a statement, SQLite would copy them twice."""
        bodies = draft.bodies
        if draft.most_body_bytes >= LARGE_BYTES:
            small: list[int | bytes] = []
            for id_, body in zip(bodies[::2], bodies[1::2], strict=True):
                assert isinstance(id_, int) and isinstance(body, bytes), "they stand by turns"
                if len(body) < LARGE_BYTES:
                    small += (id_, body)
                else:
                    self._db.execute(self._sql["insert_room_for_body"], (id_, len(body)))
                    self._db.write_blob("body", "bytes", id_, body)
            bodies = small
        if bodies:
            self._rows["insert_body"].run(self._db.execute, bodies)

    def _adopt(self, draft: Draft) -> None:
        """It is on disk: its numbers and names are the store's now."""
        self._numbers = draft.numbers
        self._names.channels |= draft.new_names.channels
        self._names.lanes |= draft.new_names.lanes
        self._recent |= draft.receive_ids
        if draft.ahead or draft.spent:
            for content in draft.spent:
                self._ahead.pop(content, None)
            self._ahead |= draft.ahead
        if len(self._recent) > RECENT_RECEIVE_IDS:
            self._less_recent, self._recent = self._recent, {}

    def _still_queued(self, seq: MessageSeq, channel: ChannelName) -> list[Delivery]:
        """What of a repeated intake waits for its lanes."""
        found = []
        rows = self._db.execute(self._sql["queued_of_message"], (seq,)).fetchall()
        for row in with_opened_keys(self._sealing, rows, key=9, body=8):
            (id_, destination, attempts, next_at_us, sent, crc, lane, received_at_us, body, key, urgent, *more) = row
            if fault_of(body, lane, crc):
                continue
            delivery = Delivery(id_, seq, channel, destination, body, received_at_us, attempts, next_at_us, bool(sent))
            delivery.key, delivery.urgent = key, bool(urgent)
            if more[0] is not None:
                delivery.since_us, delivery.counted_from, delivery.redirects = more
            found.append(delivery)
        return found

    # -- moves ----------------------------------------------------------------------------------

    def _record(self, results: Sequence[DeliveryResult], draft: Draft) -> list[Delivery]:
        """Attempts' ends; two of one delivery are written one after the other. Gives those that take over."""
        redirected: list[Delivery] = []
        sealing = self._sealing
        results = without_stale(results, self._effects)
        rounds = [results] if results else []
        if len({result.delivery_id for result in results}) < len(results):
            rounds = in_rounds(results)
        for each in rounds:
            values: list[object] = []
            for r in each:
                if r.state == "queued":
                    self._keep_attempt(r)
                elif r.redirect is not None or r.state == "redirected":
                    redirected += self.redirect(r.delivery_id, r.state, r.redirect, draft)
                state, done_at_us = DELIVERY_CODES[r.state], 0 if r.state == "queued" else r.at_us
                answer = r.answer if sealing is None else sealed_answer(sealing, r.delivery_id, r.answer)
                row_crc = outcome_crc(
                    r.delivery_id, state, r.attempts, r.next_at_us, done_at_us, r.code, r.note, answer
                )
                values += (
                    r.delivery_id,
                    state,
                    r.attempts,
                    done_at_us,
                    r.next_at_us,
                    r.code,
                    r.note,
                    answer,
                    row_crc,
                )
            if self._rows["record_results"].run(self._db.execute, values) != len(each):
                raise NotQueued
            for r in each:
                if r.maybe_sent and r.state != "queued":
                    # In a lane with keys only what is queued is known to be so (`doubt_lane`): now the row has it.
                    self._db.execute(self._sql["mark_sent"], (r.delivery_id,))
                if r.ack_code:
                    told = {"delivery": r.delivery_id, "ack_code": r.ack_code, "ack": r.ack}
                    if sealing is not None:
                        (seq,) = self._db.execute(self._sql["message_of_delivery"], (r.delivery_id,)).fetchone()
                        told["ack"] = sealed_ack(sealing, seq, r.ack)
                    self._db.execute(self._sql["amend_ack_of_delivery"], told)
        return redirected

    def _keep_attempt(self, result: DeliveryResult) -> None:
        """An attempt that did not end its delivery; to be called before its result is written."""
        execute, sql = self._db.execute, self._sql
        if result.redirect is not None:
            raise IllegalMove(f"delivery {result.delivery_id} cannot stay queued and be redirected")
        number = result.attempts
        row = {"delivery": result.delivery_id, "number": number, "at_us": result.at_us, "code": result.code}
        answer = sealed_answer(self._sealing, result.delivery_id, result.answer)
        execute(sql["keep_attempt"], row | {"note": result.note, "answer": answer})
        if number > FIRST_ATTEMPTS + LAST_ATTEMPTS:
            bounds = {"first": FIRST_ATTEMPTS, "last": LAST_ATTEMPTS}
            execute(sql["thin_attempts"], {"delivery": result.delivery_id} | bounds)
        if result.since_us:
            since = {"delivery": result.delivery_id, "since_us": result.since_us, "counted_from": number - 1}
            execute(sql["count_from"], since)

    def redirect(self, id_: DeliveryId, state: DeliveryState, to: DraftDelivery | None, draft: Draft) -> list[Delivery]:
        """Queue the delivery that takes over from `id_`, in the transaction that says so of `id_`."""
        if to is None or state != "redirected":
            raise IllegalMove(f"delivery {id_} cannot be {state} {'without' if to is None else 'beside'} another")
        row = self._db.execute(self._sql["delivery_to_redirect"], (id_,)).fetchone()
        if row is None:
            raise IllegalMove(f"delivery {id_} is not in the store")
        (seq, lane, body_id, crc, channel, received_at_us, redirects, _, stored) = row
        damaged = to.body is None and bool(fault_of(stored, lane, crc))
        target = draft.lane(channel, to.destination)
        made = draft.add_redirect(seq, target, to, body_id, crc ^ lane_salt(lane), damaged=damaged)
        more = {"delivery": made, "origin": id_, "redirects": redirects + 1}
        self._db.execute(self._sql["insert_redirect"], more)
        if damaged:
            return []
        body = stored if to.body is None else to.body
        taken = Delivery(made, seq, channel, to.destination, body, received_at_us, redirects=redirects + 1)
        taken.key, taken.urgent = draft.key_in(target[0], to.key), to.urgent
        return [taken]

    def redirect_deliveries(self, orders: Sequence[tuple[DeliveryId, DraftDelivery]], note: str) -> list[Delivery]:
        """As Store.redirect_deliveries."""
        draft = self._draft()
        added: list[Delivery] = []
        at_us = self._clock.now_us()
        with self._db.transaction():
            for id_, to in dict(orders).items():
                before = self._delivery_states([id_]).get(id_)
                if before == "redirected":
                    continue
                if before is None:
                    raise IllegalMove(f"delivery {id_} is not in the store")
                if before not in REDIRECTED_FROM:
                    raise IllegalMove(f"delivery {id_} is {before}: nobody but its lane can make it redirected")
                check_delivery_move(before, "redirected")
                added += self.redirect(id_, "redirected", to, draft)
                self._db.execute(self._sql["keep_last_attempt"], {"id": id_})
                self._db.execute(self._sql["redirect_delivery"], {"id": id_, "at_us": at_us, "note": note})
            self._insert(draft)
        self._adopt(draft)
        return added

    def amend_acks(self, updates: Sequence[AckUpdate]) -> list[AckUpdate]:
        """As Store.amend_acks."""
        execute, sql = self._db.execute, self._sql
        stored = list(updates)
        with self._db.transaction():
            for at, update in enumerate(updates):
                ack = sealed_ack(self._sealing, update.seq, update.ack)
                told = {"seq": update.seq, "ack_code": update.ack_code, "ack": ack}
                is_amended = execute(sql["amend_ack"], told).rowcount > 0
                if not is_amended and (found := execute(sql["ack_of_message"], (update.seq,)).fetchone()):
                    stored[at] = AckUpdate(update.seq, found[0], opened_ack(self._sealing, update.seq, found[1]))
                if update.findings and (row := execute(sql["findings_of_message"], (update.seq,)).fetchone()):
                    findings = dump_findings((*load_findings(row[0]), *update.findings))
                    execute(sql["set_findings"], {"seq": update.seq, "findings": findings})
        return stored

    def last_sequences(self, channel: ChannelName) -> dict[str, int]:
        """As Store.last_sequences."""
        return dict(self._db.execute(self._sql["last_sequences"], (channel,)).fetchall())

    def _illegal(self, results: Sequence[DeliveryResult]) -> IllegalMove:
        """Which result it was. Only called when there is one, and nothing of the batch was kept."""
        states = self._delivery_states([result.delivery_id for result in results])
        for result in results:
            before = states.get(result.delivery_id)
            if before is None:
                return IllegalMove(f"delivery {result.delivery_id} is not in the store")
            if before != "queued":
                return IllegalMove(
                    f"delivery {result.delivery_id} is {before}: the end of an attempt cannot make it {result.state}"
                )
            states[result.delivery_id] = result.state
        return IllegalMove("a delivery changed its state between two statements")

    def reprocess(self, items: Sequence[Reprocessed], draft: Draft) -> list[list[Delivery]]:
        """Check and write the moves of messages, and draft their new deliveries."""
        wanted = list({item.seq for item in items})
        found = {row[0]: row for row in self._rows["messages_to_move"].fetch(self._db.execute, wanted)}
        states: dict[MessageSeq, int] = {seq: row[2] for seq, row in found.items()}
        moves: dict[MessageSeq, tuple[object, ...]] = {}
        released: list[list[Delivery]] = []
        for item in items:
            if item.seq not in found:
                raise IllegalMove(f"message {item.seq} is not in the store")
            (_, channel, _, received_at_us, body_id, crc) = found[item.seq]
            before, after = states[item.seq], MESSAGE_CODES[item.state]
            check_message_move(MESSAGE_OF[before], item.state)
            draft.tally[channel, before] -= 1
            draft.tally[channel, after] += 1
            states[item.seq] = after
            moves[item.seq] = (item.seq, after, item.version, item.findings)
            raw = self._verified(body_id, crc) if any(d.body is None for d in item.deliveries) else None
            released.append(draft.add_deliveries(item.seq, item.channel, received_at_us, item.deliveries, raw, crc))
        self._rows["move_messages"].run(self._db.execute, [part for move in moves.values() for part in move])
        return released

    def _move_parts(self, intake: Intake, draft: Draft) -> None:
        """The fragments that a message was joined from move with it."""
        parts = intake.parts
        if parts is None or not parts.seqs:
            return
        after = MESSAGE_CODES[parts.state]
        found = {row[0]: row for row in self._rows["messages_to_move"].fetch(self._db.execute, list(parts.seqs))}
        moves: list[object] = []
        for seq in parts.seqs:
            if seq not in found:
                raise IllegalMove(f"message {seq} is not in the store")
            channel, before = found[seq][1:3]
            check_message_move(MESSAGE_OF[before], parts.state)
            draft.tally[channel, before] -= 1
            draft.tally[channel, after] += 1
            moves += (seq, after)
        self._rows["move_parts"].run(self._db.execute, moves)
        if parts.ack is not None:
            ack = sealed_ack(self._sealing, parts.seqs[-1], parts.ack)
            last = {"seq": parts.seqs[-1], "ack_code": parts.ack_code, "ack": ack}
            self._db.execute(self._sql["answer_part"], last)

    def _verified(self, body_id: int | None, crc: int) -> bytes | None:
        row = self._db.execute(self._sql["body_bytes"], (body_id,)).fetchone()
        return row[0] if row is not None and crc32(row[0]) == crc else None

    def move_deliveries(self, ids: Sequence[DeliveryId], to: DeliveryState, note: str) -> int:
        """As Store.move_deliveries."""
        sources = PERSONAL_MOVES.get(to)
        if sources is None:
            raise IllegalMove(f"nobody but a lane can make a delivery {to}")
        moved = 0
        done_at_us = 0 if to == "queued" else self._clock.now_us()
        with self._db.transaction():
            states = self._delivery_states(ids)
            for id_ in dict.fromkeys(ids):
                before = states.get(id_)
                if before == to:
                    continue
                if before is None:
                    raise IllegalMove(f"delivery {id_} is not in the store")
                if before not in sources:
                    raise IllegalMove(f"delivery {id_} is {before}: nobody but its lane can make it {to}")
                check_delivery_move(before, to)
                self.before_move(id_, to)
                self._db.execute(
                    self._sql["move_delivery"],
                    {"id": id_, "state": DELIVERY_CODES[to], "at_us": done_at_us, "note": note},
                )
                moved += 1
        return moved

    def before_move(self, id_: DeliveryId, to: DeliveryState) -> None:
        """A person is about to move it: its last attempt is kept apart, and one that is queued is counted anew."""
        self._db.execute(self._sql["keep_last_attempt"], {"id": id_})
        self._db.execute(self._sql["keep_doubt"], {"id": id_})
        if to == "queued":
            self._db.execute(self._sql["count_anew"], {"id": id_})
            self._db.execute(self._sql["mark_overtaken"], {"id": id_})

    def last_deliveries(self, seq: MessageSeq) -> list[Any]:
        """The newest delivery of each lane of a message: (lane, destination, body id, crc, channel, received, state,
        bytes, key, urgent)."""
        rows = self._db.execute(self._sql["last_deliveries_of_message"], (seq,)).fetchall()
        return with_opened_keys(self._sealing, rows, key=8, body=7)

    def _delivery_states(self, ids: Sequence[DeliveryId]) -> dict[DeliveryId, DeliveryState]:
        rows = self._rows["delivery_states"].fetch(self._db.execute, list(dict.fromkeys(ids)))
        return {id_: DELIVERY_OF[state] for id_, state in rows}

    def add_deliveries(self, seq: MessageSeq, destinations: Sequence[DestinationName] | None) -> list[Delivery]:
        """As Store.add_deliveries: a resend refers to the body of the lane's last delivery of this message."""
        draft = self._draft()
        added: list[Delivery] = []
        with self._db.transaction():
            for row in self.last_deliveries(seq):
                (lane, destination, body_id, crc, channel, received_at_us, state, body, key, urgent) = row
                if destination not in destinations if destinations is not None else DELIVERY_OF[state] == "redirected":
                    continue
                if fault := fault_of(body, lane, crc):
                    raise StoreError(f"message {seq} cannot be sent to {destination} again: {fault}")
                key, urgent = draft.key_in(lane, key), bool(urgent)
                id_ = draft.add_resend(seq, lane, body_id, crc, key, urgent)
                added.append(Delivery(id_, seq, channel, destination, body, received_at_us, key=key, urgent=urgent))
            self._insert(draft)
        self._adopt(draft)
        return added

    def prune(self, pruning: Pruning, order: Prune) -> Pruned:
        """As Store.prune."""

        def also(went: Counter[tuple[int, int]]) -> None:
            less = {key: -count for key, count in went.items()}
            if less:
                values = [part for (channel, state), count in less.items() for part in (channel, state, count)]
                self._rows["add_to_tally"].run(self._db.execute, values)
            self._note_ids(pruned_at_us=order.now_us)

        return pruning.prune(order, MessageSeq(self._numbers.seq), also)

    def note_time(self, now_us: int) -> None:
        """As Store.note_time."""
        with self._db.transaction():
            self._db.execute(self._sql["set_meta"], ("pruned_at_us", now_us))

    def last_pruned_us(self) -> int:
        """As Store.last_pruned_us."""
        row = self._db.execute(self._sql["get_meta"], ("pruned_at_us",)).fetchone()
        row = row or self._db.execute(self._sql["newest_received"]).fetchone()
        return 0 if row is None else int(row[0])

    def _note_ids(self, **also: int) -> None:
        """The last ids, so that none is given twice when its row is gone; to be called in a transaction."""
        numbers = self._numbers
        for key, value in (
            ("last_seq", numbers.seq),
            ("last_delivery", numbers.delivery),
            ("last_body", numbers.body),
            *also.items(),
        ):
            self._db.execute(self._sql["set_meta"], (key, value))

    def quarantine(self, damaged: Sequence[tuple[DeliveryId, str]]) -> None:
        """Hold deliveries whose bytes are not what they were."""
        with self._db.transaction():
            for id_, note in damaged:
                self._set_aside(id_, note)

    def _set_aside(self, id_: DeliveryId, note: str) -> None:
        self._db.execute(self._sql["quarantine_delivery"], {"id": id_, "at_us": self._clock.now_us(), "note": note})


def in_rounds(results: Sequence[DeliveryResult]) -> list[Sequence[DeliveryResult]]:
    """The first result of each delivery, then the second of those that have one, and so on."""
    rounds: list[list[DeliveryResult]] = []
    seen: Counter[DeliveryId] = Counter()
    for result in results:
        nth = seen[result.delivery_id]
        seen[result.delivery_id] += 1
        if nth == len(rounds):
            rounds.append([])
        rounds[nth].append(result)
    return list(rounds)
