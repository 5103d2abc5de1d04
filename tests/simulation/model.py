"""What must be true, in plain lists: what was sent, what became durable, what was tried, what arrived.

The model believes four witnesses, none of them the engine's own memory: the disk says what became durable and when,
senders say what they sent and were answered, receivers say what they got and took, and a tap before each sink says
what its lane tried and in what order. A breach is a sentence in `breaches`; a history with one has failed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from engine.model.envelope import AckUpdate, Batch, Committed, Delivery, DeliveryResult, DraftDelivery, Parts
from engine.model.ids import DeliveryId, VersionId
from engine.model.outcome import Delivered, Outcome, Unreachable
from engine.model.states import FINISHED, DeliveryState, MessageState
from engine.ports.operations import ACT_FROM, ACT_TO, Change, Changed
from engine.ports.reload import ReloadReport
from engine.runtime.answers import SWEEP_S
from tests.simulation.disk import Read
from tests.simulation.editions import Editions
from tests.simulation.hours import is_open
from tests.simulation.loop import Loop
from tests.simulation.records import Item, Lane, Made, Owed, Row, key_of
from tests.simulation.sites import ANSWER_MS, SHORT_JOIN_S, Site, Target, names, plans

RECEIVED, REJECTED = Made("received", []), Made("rejected", [])
KEPT_US = 900_000
"""What is younger is never forgotten."""


class Model:
    """Hears all witnesses, and says what cannot be."""

    def __init__(self, site: Site, loop: Loop) -> None:
        self.site = site
        self.loop = loop
        self.items: dict[bytes, Item] = {}
        self.rows: dict[Item, list[Row]] = {}
        self.by_seq: dict[int, Row] = {}
        self.owed: dict[DeliveryId, Owed] = {}
        self.by_body: dict[tuple[str, bytes], list[Owed]] = {}
        self.editions = Editions(site, self.breach, lambda: loop.now_us)
        self.known: dict[tuple[tuple[str, bytes], ...], Site] = {}
        """Editions by their files."""
        keyed = {target.name for plan in plans(site.number) for target in plan.targets if target.lanes}
        self.lanes = {name: Lane(name, name in keyed, ports) for name, ports in names(site.number).items()}
        self.takes: dict[str, list[tuple[bytes, int, int]]] = {}
        """What came in on each connection, by its address, when by the wall's clock, and when it was its turn, on the
        loop's: of a block of several, the later ones wait for those before them."""
        self._took: dict[tuple[str, int, bytes], tuple[int, int, int]] = {}
        """Of each: when it came and when it was its turn, on the loop's clock, and its place on its connection."""
        self._blocks: dict[str, int] = {}
        """When the last block of each connection was taken, on the loop's clock: its messages may be taken later."""
        self.breaches: list[str] = []
        self.paused: set[str] = set()
        """Destinations that a person has paused, durably; '' is the intake."""
        self.prunes = False
        self.may_find_no_room = False
        self._just_delivered: list[Owed] = []
        """Durably; the engine does not know it yet."""
        self.may_not_amend = False
        """Whether the store may have no room for another answer than it has."""
        self.first_ahead_us = 0
        self.jumped_us = 0
        """When the wall clock jumped last."""
        self.first_jump_us = 0
        """When it jumped first; 0: it has not."""
        self._knows_clock: bool | None = None
        """Whether the store heard of a right clock before a wrong one; None: it has not heard of any."""
        self.jumps = ""
        """How far the wall clock jumps: not at all, so little that it is believed (small), or by years (big)."""
        self.wall_ahead_us = 0
        self.counts: Counter[str] = Counter()
        self._got = 0
        self.is_ending = False
        """Whether the engine was told to stop, or has lost its store: its connections may end."""
        self._worked_by = self._failed_by = self.editions
        """The files by which what is durable now was worked out; those of the last run whose store failed, as then."""

    def breach(self, text: str) -> None:
        self.loop.note("BREACH %s", text)
        self.breaches.append(text)

    @property
    def is_whole(self) -> bool:
        return not self.breaches

    # -- the engine's runs ----------------------------------------------------------------------

    def run_ended(self) -> None:
        """The process is gone. What it had not recorded must be marked when it goes out again."""
        for lane in self.lanes.values():
            lane.tried.clear()
            lane.ended.clear()
            lane.fresh.clear()
            lane.in_hand.clear()
            lane.calls.clear()
            lane.sure.clear()
            lane.is_paused = lane.name in self.paused
        self.editions.ended()
        self.is_ending = False
        for owed in self.owed.values():
            if owed.state == "queued" and not owed.is_sure:
                owed.must_be_marked = True

    def take_block(self, peer: str, wall_us: int) -> None:
        """A whole block came in over this connection, and it is its turn."""
        if wall_us != self.loop.now_us + self.wall_ahead_us:
            self.breach(f"a block of {peer} is taken, and the time said is another")
        self._blocks[peer] = self.loop.now_us

    def take(self, peer: str, payload: bytes, wall_us: int) -> None:
        """A message of it, or all of it, is taken; `wall_us`: when the block was."""
        takes = self.takes.setdefault(peer, [])
        self._took[peer, wall_us, payload] = self._blocks[peer], self.loop.now_us, len(takes)
        takes.append((payload, wall_us, self.loop.now_us))

    def recording(self, result: DeliveryResult) -> None:
        """A lane asks for this to be made durable: an end is one from now on."""
        owed = self.owed.get(result.delivery_id)
        if owed is not None and result.state not in ("queued", "delivered"):
            self.lanes[owed.to].ended[owed.id] = False

    def learned(self, seq: int) -> None:
        """The engine has heard that this message is durable."""
        if (row := self.by_seq.get(seq)) is not None:
            row.learned_us = self.loop.now_us

    def reloaded(self, report: ReloadReport) -> None:
        """A reload has ended."""
        self.loop.note("-- a reload is %s: %s", report.outcome, report.sentence)
        self.editions.reloaded(report)

    def versioned(self, version: VersionId, files: Mapping[str, bytes]) -> None:
        """The store has a version of the channel's files."""
        edition = self.known.get(tuple(sorted(files.items())))
        if edition is None:
            self.breach(f"version {version} is of files that nobody wrote")
            return
        self.editions.recorded(version, edition)

    def failing(self) -> None:
        """The outcome of a commit is unknown: the engine will say nothing more to anybody."""
        self.is_ending = True
        self._failed_by = self.editions.as_now()

    def hung_up(self, sender: str, since: int) -> None:
        """The engine, whose process goes on, has ended a connection, made when a port had been changed so often."""
        if not self.is_ending and since == self.editions.port_changes and not self.editions.may_change_port:
            self.breach(f"the connection of {sender} is closed, and nothing of its port has changed")

    # -- what is durable ------------------------------------------------------------------------

    def committed(self, batch: Batch, committed: Committed, *, by_this_run: bool = True) -> None:
        self._worked_by = self.editions if by_this_run else self._failed_by
        for intake, seq, deliveries in zip(batch.intakes, committed.seqs, committed.deliveries, strict=True):
            if seq in self.by_seq:
                continue
            item = self.items.get(intake.raw)
            if item is None:
                self.breach(f"message {seq} is stored, and nobody sent it")
                continue
            came_us, taken_us, place = self._took.get((intake.peer, intake.received_at_us, intake.raw), (0, 0, 0))
            row = Row(
                seq,
                item,
                intake.peer,
                intake.received_at_us,
                intake.state,
                intake.ack,
                intake.ack_code,
                came_us,
                taken_us,
                place,
                self.loop.now_us,
            )
            self.by_seq[seq] = row
            self.loop.note(
                "disk: %s is message %d, %s, deliveries %s", item.control_id, seq, row.state, _ids(deliveries)
            )
            if intake.parts is not None:
                last = self.by_seq[intake.parts.seqs[-1]]
                row.place, row.came_us = last.place, last.came_us  # it came when its last fragment did
            if row.state != "rejected":
                self._check_window(row)
                self._check_order(row)
                if row.received_at_us in item.refused_at:
                    self.breach(f"{item.control_id} was refused, and is stored")
                self.rows.setdefault(item, []).append(row)
            edition = self._edition(row, intake.version, row.came_us)
            made = item.by(edition)
            if made.state == "processed" and edition.waits_for in dict(made.bodies):
                row.waits_for = edition.waits_for
            if item.whole is not None and row.state == "rejected":
                made = REJECTED
                if self._is_expected(item, row.taken_us):
                    self.breach(f"{item.control_id} is rejected, and the one before it is stored")
            if intake.parts is not None:
                self._join(row, intake.parts)
            elif item.parts:
                self.breach(f"{item.control_id} is stored as a whole, and its fragments are left")
            if made.state != "rejected" and edition.when_stored:
                made = RECEIVED
            elif made.state != "rejected":
                self._check_turn(row)
            self._check_result(row, made, intake.state, intake.deliveries)
            self._owe(row, deliveries)
        for again, deliveries in zip(batch.reprocessed, committed.released, strict=True):
            row = self.by_seq[again.seq]
            if row.state == "received":
                self._check_turn(row)
            row.state = again.state
            self.loop.note("disk: message %d is %s, deliveries %s", row.seq, row.state, _ids(deliveries))
            if again.state != "discarded":
                edition = self._edition(row, again.version, row.durable_us)
                self._check_result(row, row.item.by(edition), again.state, again.deliveries)
            self._owe(row, deliveries)
        for result in batch.results:
            owed = self.owed[result.delivery_id]
            lane = self.lanes[owed.to]
            self.loop.note("disk: delivery %d to %s is %s (%s)", owed.id, owed.to, result.state, result.code)
            if result.state == "delivered":
                lane.recorded[owed.body] += 1
                if lane.recorded[owed.body] > lane.took[owed.body]:
                    self.breach(f"delivery {owed.id} is recorded as delivered, and {owed.to} has not taken it")
            if result.ack_code and (row := self.by_seq[owed.seq]).code != "AA":
                row.code, row.ack = result.ack_code, result.ack
                if row.waits_for and owed.to != row.waits_for:
                    row.has_others_yes = row.code == "AA"
                    is_asked = self._asked_by(row, lambda files: files.waits_for == owed.to)  # noqa: B023 - used at once
                    if owed.to not in row.processed_for and not is_asked:
                        self.breach(f"message {row.seq} waits for {row.waits_for}, and {owed.to} has answered it")
            elif result.ack_code == "AA" and owed.to == row.waits_for and result.state == "delivered":
                row.own_words.add(result.ack)
            if result.state == "redirected":
                assert result.redirect is not None, "one takes over"
                if not self._may_redirect(owed.to, str(result.redirect.destination)):
                    self.breach(f"delivery {owed.id} is redirected to {result.redirect.destination}")
            self._is_now(owed, result.state)
            if result.attempts >= owed.attempt:
                owed.is_sure = True
            elif owed.id in lane.in_hand and result.attempts == owed.attempt - 1:
                lane.sure[owed.id] = True  # should nothing of the attempt in hand leave
            if result.state != "queued":
                lane.ended.pop(owed.id, None)

        for delivery in committed.redirected:
            self.loop.note("disk: delivery %d to %s takes over", delivery.id, delivery.destination)
            if delivery.body not in self._bodies(delivery.seq):
                self.breach(f"delivery {delivery.id} takes over with other bytes")
            if delivery.id not in self.owed:
                to = str(delivery.destination)
                self._owe_one(self.by_seq[delivery.seq], delivery.id, to, delivery.body)
        self._worked_by = self.editions

    def _join(self, row: Row, parts: Parts) -> None:
        """A message was made of fragments, which move with it."""
        pieces = [self.by_seq[seq] for seq in parts.seqs]
        self.loop.note("disk: message %d is joined from %s", row.seq, ", ".join(str(seq) for seq in parts.seqs))
        self.counts["joined"] += 1
        if [piece.item for piece in pieces] != row.item.parts:
            self.breach(f"message {row.seq} is joined from other fragments than it was sent in")
        for piece in pieces:
            if piece.state != "waiting":
                self.breach(f"fragment {piece.seq} is joined, and is {piece.state}")
            piece.state = parts.state
            piece.given_up_us = self.loop.now_us if row.item.is_partial else 0
        if row.item.is_partial:
            self.counts["given up"] += 1
            waited_us = self.loop.now_us - pieces[-1].durable_us
            is_late = self.site.gives_up and waited_us >= SHORT_JOIN_S * 1_000_000
            if not is_late and not self._begins_anew(pieces[0]):
                self.breach(f"message {row.seq} in fragments is given up after {waited_us} us")
        if parts.ack is not None:
            pieces[-1].code, pieces[-1].ack = parts.ack_code, parts.ack

    def _begins_anew(self, first: Row) -> bool:
        """Whether its sender has begun again with this first fragment, so late that it is no resend any more."""
        later = (row for row in self.rows.get(first.item, ()) if row.seq > first.seq and row.state == "waiting")
        return any(row.received_at_us - first.received_at_us > self.site.window_us for row in later)

    def _is_expected(self, item: Item, taken_us: int) -> bool:
        """Whether the fragment before this one waited on stable storage when this one came, and waits for it now."""
        rows = self.rows.get(item.before, ()) if item.before is not None else ()
        return any(row.state == "waiting" and row.durable_us < taken_us for row in rows)

    def _check_window(self, row: Row) -> None:
        window_us = self.site.window_us
        for before in self.rows.get(row.item, ()):
            if before.given_up_us or before.item.is_partial:
                continue  # all of it may come again
            if self.jumped_us > before.came_us:
                continue  # nobody knows how long ago that was
            if window_us and 0 <= row.received_at_us - before.received_at_us <= window_us:
                self.breach(
                    f"{row.item.control_id} is message {before.seq} and again {row.seq}, "
                    f"{row.received_at_us - before.received_at_us} us later: within the window"
                )

    def _check_order(self, row: Row) -> None:
        """Messages of one connection that are ours are stored in the order they came.

        A message in fragments that found no room is stored later, and nothing waits for it.
        """
        if row.item.is_partial:
            return  # it is given up at a moment of its own
        for other in self.by_seq.values():
            if (
                other is not row
                and other.state != "rejected"
                and other.peer == row.peer
                and other.seq < row.seq
                and other.place > row.place
                and not (self.may_find_no_room and row.item.parts)
            ):
                self.breach(f"message {row.seq} came before message {other.seq} on its connection")

    def _check_turn(self, row: Row) -> None:
        """What was answered when it was stored is processed in the order of receipt."""
        for seq, other in self.by_seq.items():
            if seq < row.seq and other.state == "received":
                self.breach(f"message {row.seq} is processed before message {seq}")
                return

    def _edition(self, row: Row, version: VersionId, since_us: int) -> Site:
        """The files that a message went through, by its record. They must be those that were in force."""
        edition = self.editions.of(version)
        if edition is None:
            self.breach(f"message {row.seq} went through files that nobody wrote")
            return self.site
        if not self._worked_by.may_have_been(edition, since_us):
            self.breach(f"message {row.seq} went through edition {edition.edition}, which was not in force")
        return edition

    def _check_result(
        self, row: Row, made: Made, state: MessageState, deliveries: Sequence[DraftDelivery | Delivery]
    ) -> None:
        if state != made.state:
            self.breach(f"message {row.seq} is {state}, not {made.state}")
        found = [(str(d.destination), d.body if d.body is not None else row.item.payload) for d in deliveries]
        if found != made.bodies:
            self.breach(f"message {row.seq} goes to {_named(found)}, not {_named(made.bodies)}")

    def _bodies(self, seq: int) -> set[bytes]:
        """All that was ever accepted to be sent for a message."""
        return {owed.body for owed in self.owed.values() if owed.seq == seq}

    def _may_redirect(self, name: str, to: str) -> bool:
        ran = self._worked_by.ran.values()
        return any(name in edition.targets and to in edition.targets[name].redirects_to for edition in ran)

    def _owe(self, row: Row, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if delivery.id in self.owed:
                continue
            self._owe_one(row, delivery.id, str(delivery.destination), delivery.body)

    def _owe_one(self, row: Row, id_: DeliveryId, to: str, body: bytes) -> Owed:
        owed = self.owed[id_] = Owed(id_, row.seq, to, body)
        self.by_body.setdefault((to, body), []).append(owed)
        self.lanes[to].queued[id_] = owed
        return owed

    def returned(self) -> None:
        """The engine knows what was durable until now."""
        for owed in self._just_delivered:
            if owed.state == "delivered":
                owed.delivered_us = self.loop.now_us
        self._just_delivered.clear()

    def _is_now(self, owed: Owed, state: DeliveryState) -> None:
        owed.state = state
        owed.has_ended_badly = owed.has_ended_badly or state not in ("queued", "delivered")
        lane = self.lanes[owed.to]
        owed.delivered_us = 0
        if state == "delivered":
            self._just_delivered.append(owed)
        if state == "queued":
            lane.queued[owed.id] = owed
        else:
            lane.queued.pop(owed.id, None)
            owed.was_aside = owed.was_aside or state != "delivered"

    def operated(self, change: Change, changed: Changed, read: Read) -> None:
        """A person has done something, and it is durable."""
        for pause in change.pauses:
            self.loop.note("disk: %s is paused", pause.destination or "the intake")
            self.paused.add(str(pause.destination))
        for pause in change.resumes:
            self.loop.note("disk: %s is resumed", pause.destination or "the intake")
            self.paused.discard(str(pause.destination))
            if pause.destination in self.lanes:
                self.lanes[pause.destination].is_paused = False  # there may be no lane of it that could hear that
        touched = {seq for _, seq, _, _ in changed.touched}
        again = {item.seq: item for item in change.reprocessed}
        before = {seq: self._bodies(seq) for seq in (*touched, *(resend.seq for resend in change.resends))}
        for seq in sorted(touched | set(again) | {resend.seq for resend in change.resends}):
            found, row = read(seq), self.by_seq.get(seq)
            if row is None:
                self.breach(f"a person has done something to message {seq}, which nobody sent")
                continue
            if found is None:
                if not self.prunes:
                    self.breach(f"message {seq} is gone")
                continue
            row.state, deliveries = found
            expected = None
            if seq in again and again[seq].state != "discarded":
                edition = self._edition(row, again[seq].version, 0)
                expected = row.item.by(edition)
                if edition.waits_for:  # where a redirect brings it there, it is the same as where a route does
                    row.processed_for.add(edition.waits_for)
            if expected is not None and row.state not in (expected.state, "discarded"):
                self.breach(f"message {seq} is {row.state} after a person's word, not {expected.state}")
            made: list[tuple[str, bytes]] = []
            for stored in deliveries:
                owed = self.owed.get(stored.id)
                if owed is None:
                    assert stored.body is not None, "it was made a moment ago"
                    owed = self._owe_one(row, stored.id, str(stored.destination), stored.body)
                    owed.was_aside = True
                    self.lanes[owed.to].fresh.add(owed.id)
                    made.append((owed.to, owed.body))
                    self.loop.note("disk: a person queues delivery %d of message %d to %s", owed.id, seq, owed.to)
                elif owed.state != stored.state:
                    self._moved(change, owed, stored.state)
            if expected is not None and row.state == "processed" and made != expected.bodies:
                self.breach(f"message {seq} goes to {_named(made)} again, not {_named(expected.bodies)}")
            if expected is None and any(body not in before.get(seq, ()) for _, body in made):
                self.breach(f"message {seq} leaves as something else than it is")

    def _moved(self, change: Change, owed: Owed, to: DeliveryState) -> None:
        self.loop.note("disk: a person makes delivery %d to %s %s", owed.id, owed.to, to)
        act = change.act
        if act is None or to != ACT_TO[act] or owed.state not in ACT_FROM[act]:
            self.breach(f"delivery {owed.id} goes from {owed.state} to {to} by {change.action}")
        lane = self.lanes[owed.to]
        if owed.id in lane.in_hand or owed.id in lane.ended:
            self.breach(f"delivery {owed.id} is moved to {to} while {owed.to} has it in hand")
        self._is_now(owed, to)
        owed.was_aside = True
        if to == "queued":
            lane.fresh.add(owed.id)
            lane.tried.discard(owed.id)

    def told(self, to: str, *, is_over: bool) -> None:
        """The lane knows that its queue changed. `is_over`: it begins nothing any more."""
        if is_over and not self.is_ending:
            self.breach(f"the lane of {to} that was is told of a change, and not the one that has taken its place")
        self.lanes[to].fresh.clear()

    def amended(self, updates: Sequence[AckUpdate]) -> None:
        """Answers are in the store in place of others."""
        for update in updates:
            row = self.by_seq[update.seq]
            if row.code == "AA":
                continue
            row.code, row.ack = update.ack_code, update.ack
            if row.code == "AA" and row.waits_for and "delivered" not in self._ends(row):
                row.has_others_yes, row.resends_yes_us = True, self.loop.now_us
                if not self._asked_by(row, lambda files: files.waits_for != row.waits_for):  # noqa: B023 - used at once
                    self.breach(f"message {row.seq} waits for {row.waits_for}, and is acknowledged without it")

    def noted(self) -> None:
        """The store has heard what time it is."""
        if self._knows_clock is None:
            self._knows_clock = not self.first_jump_us

    def pruned(self, is_forgotten: Callable[[int], bool]) -> None:
        """Something was forgotten. What is not a second old is not, though the clock says that it is years old.

        But for what came while the clock was wrong: by its own time it may be years old.
        """
        self.noted()
        if self.jumps == "small" or not self._knows_clock:
            return
        for row in self.by_seq.values():
            age_us = self.loop.now_us - row.came_us
            was_right = row.received_at_us - row.came_us == self.first_ahead_us
            if was_right and age_us < KEPT_US and is_forgotten(row.seq):
                self.breach(f"message {row.seq} is forgotten after {age_us} us")

    # -- senders --------------------------------------------------------------------------------

    def answered(self, peer: str, at: int, item: Item, code: str, control_id: str, ack: bytes) -> None:
        """The n-th answer on a connection, to the n-th block that its sender put there."""
        self.loop.note("answer: %s to %s", code, item.control_id)
        self.counts[code] += 1
        if item.kind != "junk" and control_id != item.control_id:
            self.breach(f"an answer to {control_id} came where one to {item.control_id} was due")
            return
        takes = self.takes.get(peer, [])
        if at >= len(takes) or takes[at][0] != item.payload:
            self.breach(f"an answer to {item.control_id} came before it was taken")
            return
        _, took_us, on_loop_us = takes[at]
        if code == "AA":
            item.yes += 1
            self._check_yes(item, took_us, on_loop_us, ack)
            return
        item.no += 1
        if item.kind != "good":
            return
        if item.whole is not None and b"207" not in ack:
            if item.before is None or self._is_expected(item, on_loop_us):
                self.breach(f"{item.control_id} is refused as if it went on with nothing")
            return
        if item.whole is not None and item is item.whole.parts[-1]:
            return  # it may be stored, and its message have no room: it is told a yes when that is stored
        stored = self._covering(item, took_us, on_loop_us)
        if not self.site.window_us:
            stored = [row for row in stored if row.taken_us == on_loop_us]  # a resend is a message of its own
        if stored and stored[-1].waits_for:
            self._check_late_no(stored[-1], on_loop_us, ack)
            return
        item.refused_at.add(took_us)
        if any(row.received_at_us == took_us for row in self.rows.get(item, ())):
            self.breach(f"{item.control_id} is refused, and stored")
        if b"207" not in ack:
            self.breach(f"{item.control_id} is refused without a reason")

    def put_away(self, name: str, items: Sequence[Item], *, is_done: bool) -> None:
        """A file with these has come to its end."""
        for item in items:
            is_ours = any(row.state != "rejected" for row in self.rows.get(item, ()))
            if is_done and not is_ours:
                self.breach(f"{name} is done, and {item.control_id} is not on stable storage")
            item.yes += is_ours
            item.no += not is_ours
        self.counts["files failed"] += not is_done
        if not is_done and all(item.kind == "good" for item in items):
            self.breach(f"{name} has failed, and all of it could be taken")

    def _covering(self, item: Item, took_us: int, on_loop_us: int) -> list[Row]:
        """The messages in the store that what came then is a resend of, or is itself."""
        # What is sent again while the first is on its way to the disk has its answer with that one, and a fragment that
        # waits is known for as long as it does.
        since_us = took_us - self.site.window_us
        return [
            row
            for row in self.rows.get(item, ())
            if row.taken_us <= on_loop_us
            and (since_us <= row.received_at_us or on_loop_us <= row.learned_us or row.state in ("waiting", "joined"))
        ]

    def _check_yes(self, item: Item, took_us: int, on_loop_us: int, ack: bytes) -> None:
        if item.kind != "good":
            self.breach(f"{item.control_id} is accepted, and nobody could")
            return
        rows = self.rows.get(item, [])
        covering = self._covering(item, took_us, on_loop_us)
        if not rows:
            self.breach(f"{item.control_id} is acknowledged and not on stable storage")
            return
        if not covering:
            self.breach(
                f"{item.control_id}, sent again {took_us - rows[-1].received_at_us} us after it was taken, "
                "is not processed again: past the window"
            )
            return
        row = covering[-1]
        if item.before is None and 0 < row.given_up_us < on_loop_us:
            self.breach(f"{item.control_id} is acknowledged as a part of what was given up")
        if item.whole is not None and item is item.whole.parts[-1] and row.state == "waiting":
            self.breach(f"{item.control_id} is acknowledged, and the message that it ends is not stored")
        is_first, row.yes_us = not row.yes_us, row.yes_us or self.loop.now_us
        is_waited_for = bool(row.waits_for) and self._is_waited_for(row, on_loop_us)
        if is_waited_for and is_first and not row.has_others_yes:  # a yes, be it by other files, stays one
            ends = self._ends(row)
            if "delivered" not in ends:
                self.breach(f"{item.control_id} is acknowledged, and its delivery to {row.waits_for} is {ends}")
        if row.code != "AA":
            self.breach(f"{item.control_id} is acknowledged, and that is not on record")
        elif row.ack != ack and not (ack in row.own_words and self._came_before_resends(row, on_loop_us)):
            self.breach(f"{item.control_id}, sent again, has another answer than the stored one")

    def _came_before_resends(self, row: Row, on_loop_us: int) -> bool:
        """Whether this copy was to wait, and a later one had its yes by other files: each has what it was promised."""
        if not self.editions.started_us <= on_loop_us <= row.resends_yes_us:
            return False
        return any(files.waits_for for files in self.editions.in_force(on_loop_us))

    def _ends(self, row: Row) -> list[DeliveryState]:
        """What has become of the message at the destination that its sender waits for."""
        return [owed.state for owed in self.owed.values() if owed.seq == row.seq and owed.to == row.waits_for]

    def _asked_by(self, row: Row, is_asked: Callable[[Site], bool]) -> bool:
        """Whether its sender has sent it again in this run while files were in force of which this is true."""
        worked_by = self._worked_by
        since_us = max(row.taken_us + 1, worked_by.started_us)
        return any(
            payload == row.item.payload and came_us >= since_us and any(map(is_asked, worked_by.in_force(came_us)))
            for takes in self.takes.values()
            for payload, _, came_us in takes
        )

    def _is_waited_for(self, row: Row, since_us: int) -> bool:
        """Whether all files since then say that its sender waits for this destination."""
        if not 0 <= self.editions.started_us <= since_us:
            return False  # the answer came out of a run that was killed
        ran = [edition for edition in self.editions.ran.values() if self.editions.may_have_been(edition, since_us)]
        return all(edition.waits_for == row.waits_for for edition in ran)

    def _waits_with_another(self, row: Row, since_us: int) -> bool:
        """Whether an earlier copy may still have waited then, by files that named another: this one waits with it."""
        first_us = max(self.editions.started_us, since_us - ANSWER_MS * 1000 - int(SWEEP_S * 1_000_000))
        return any(
            payload == row.item.payload
            and first_us <= came_us < since_us
            and any(files.waits_for not in ("", row.waits_for) for files in self.editions.in_force(came_us))
            for takes in self.takes.values()
            for payload, _, came_us in takes
        )

    def _is_anybodys(self, since_us: int) -> bool:
        """Whether all files since then wait for no destination."""
        if not 0 <= self.editions.started_us <= since_us:
            return False
        ran = [edition for edition in self.editions.ran.values() if self.editions.may_have_been(edition, since_us)]
        return all(not edition.waits_for for edition in ran)

    def _check_late_no(self, row: Row, on_loop_us: int, ack: bytes) -> None:
        """A no to what is stored: whose answer it waits for has said so, or has said nothing for long enough."""
        name = row.item.control_id
        if self.jumped_us > row.came_us and b"destination" not in ack:
            return  # it may be forgotten, or out of the window, and count as a new one, refused for want of room
        if 0 < row.yes_us < on_loop_us or 0 < row.resends_yes_us < on_loop_us:
            self.breach(f"{name} is refused, and was acknowledged before")
        ends = [owed for owed in self.owed.values() if owed.seq == row.seq and owed.to == row.waits_for]
        if self.may_not_amend and b"cannot be recorded" in ack:
            return
        last = max(ends, key=lambda owed: owed.id, default=None)
        # Where the clock jumped, it may be another of the same bytes that is answered for.
        is_resend = self.jumped_us <= row.came_us and row.taken_us < on_loop_us
        if (
            is_resend
            and last is not None
            and 0 < last.delivered_us < on_loop_us
            and self._is_waited_for(row, on_loop_us)
            and not self._waits_with_another(row, on_loop_us)
        ):
            self.breach(f"{name} is refused, and {row.waits_for} had taken it before it came again")
        if is_resend and not any(owed.has_ended_badly for owed in ends) and self._is_anybodys(on_loop_us):
            self.breach(f"{name} is refused, and no destination is waited for")
        if not self._is_waited_for(row, row.came_us):
            return  # by other files it is another's answer
        # A no that had to wait its turn may be an older one.
        waited_us = self.loop.now_us - row.came_us
        if not any(owed.has_ended_badly for owed in ends) and waited_us < ANSWER_MS * 1000:
            states = [owed.state for owed in ends]
            self.breach(f"{name} is refused after {waited_us} us, and {row.waits_for} has not refused it: {states}")

    # -- lanes and receivers --------------------------------------------------------------------

    def sending(self, to: str, number: int, target: Target, batch: Sequence[Delivery]) -> None:
        """The lane of this number and these settings gives its sink these."""
        lane = self.lanes[to]
        self.loop.note("lane %s (%d) tries %s", to, number, _ids(batch))
        self.counts["tries"] += 1
        if not self.editions.may_send(target):
            self.breach(f"{to} sends by settings that are not in force")
        if len(lane.ended) >= target.window:
            count = len(lane.ended)
            self.breach(f"{to} sends on while {count} ends are not durable, and its window is {target.window}")
        if lane.is_paused:
            self.breach(f"{to} sends while it is paused")
        self.counts["tries within hours"] += bool(target.opens)
        if not is_open(target.opens, self.loop.now_us + self.wall_ahead_us):
            self.breach(f"{to} sends while it is closed")
        if any(count > 0 for other, count in lane.calls.items() if other != number):
            self.breach(f"{to} sends by new settings while an attempt by the old ones is under way")
        lane.calls[number] += 1
        if lane.calls[number] > max(1, target.lanes):
            self.breach(f"{lane.calls[number]} calls of sinks of {to} at a time")
        before: set[DeliveryId] = set()
        for delivery in batch:
            owed = self.owed.get(delivery.id)
            if owed is None or owed.to != to or owed.body != delivery.body:
                self.breach(f"{to} is sent what was not accepted for it (delivery {delivery.id})")
                continue
            if owed.state != "queued":
                self.breach(f"delivery {owed.id} is sent to {to}, and is {owed.state}")
            elif owed.id in lane.ended:
                self.breach(f"delivery {owed.id} is sent to {to} again, and had come to its end")
            elif owed.id in before:
                self.breach(f"delivery {owed.id} is sent to {to} twice in one go")
            if owed.must_be_marked and not delivery.maybe_sent:
                self.breach(f"delivery {owed.id} may have been sent to {to} before a crash, and is not marked")
            if owed.lane not in (0, number) and not owed.is_sure and not delivery.maybe_sent:
                self.breach(f"delivery {owed.id} is sent to {to} by other settings, and its last is not on record")
            owed.must_be_marked = False
            owed.lane = number
            lane.sure[owed.id] = owed.is_sure
            owed.is_sure = False
            owed.attempt = delivery.attempts + 1
            key = owed.key(target)
            if key in lane.in_hand.values():
                self.breach(f"two deliveries of key {key} are sent to {to} at a time")
            lane.in_hand[owed.id] = key
            for id_, is_delivered in lane.ended.items():
                if not is_delivered and id_ < owed.id and self.owed[id_].key(target) == key:
                    self.breach(f"delivery {owed.id} is sent to {to}, and that {id_} is set aside is not durable")
            if owed.id not in lane.tried:
                for id_, other in lane.queued.items():
                    if id_ >= owed.id or other.key(target) != key:
                        continue
                    if id_ not in before and id_ not in lane.ended and id_ not in lane.fresh:
                        self.breach(f"delivery {owed.id} to {to} overtakes {id_}")
                        break
            before.add(owed.id)
            lane.sends[owed.body] += 1
            if not target.lanes:
                lane.in_hand.clear()  # of one batch all are in hand
        lane.tried |= before
        lane.in_hand |= {d.id: self.owed[d.id].key(target) for d in batch if d.id in self.owed}

    def sent(self, to: str, number: int, batch: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
        """What the sink said of it."""
        lane = self.lanes[to]
        self.aborted(to, number, batch)
        if len(outcomes) != len(batch):
            return  # nothing of what it says can be believed
        for delivery, outcome in zip(batch, outcomes, strict=True):
            self.loop.note("lane %s: delivery %d %s", to, delivery.id, type(outcome).__name__)
            if isinstance(outcome, Unreachable):
                owed = self.owed[delivery.id]
                owed.is_sure, owed.attempt = lane.sure[owed.id], delivery.attempts  # nothing of it has left
            if isinstance(outcome, Delivered):
                lane.ended[delivery.id] = True
                if lane.took[delivery.body] < 1:
                    self.breach(f"delivery {delivery.id} counts as delivered to {to}, which has not taken it")

    def aborted(self, to: str, number: int, batch: Sequence[Delivery]) -> None:
        """The call of the sink has ended, was cut off, or raised."""
        lane = self.lanes[to]
        lane.calls -= Counter({number: 1})  # a killed one ends when its run has been forgotten
        for delivery in batch:
            lane.in_hand.pop(delivery.id, None)

    def got(self, to: str, body: bytes) -> None:
        """A receiver got this whole."""
        lane = self.lanes[to]
        owed = self.by_body.get((to, body))
        if owed is None:
            self.breach(f"{to} got what was not accepted")
            return
        self._got += 1
        lane.got[body] += 1
        if lane.got[body] > lane.sends[body]:
            self.breach(f"{to} got delivery {owed[-1].id} more often than it was sent")
        if not owed[0].first_got:
            owed[0].first_got = self._got

    def took(self, to: str, body: bytes) -> None:
        """A receiver has taken this for its own."""
        self.lanes[to].took[body] += 1
        self.counts["took"] += 1

    # -- the end --------------------------------------------------------------------------------

    def waits(self) -> list[str]:
        """What is not done yet, now that nothing stands in its way."""
        waiting = [
            f"delivery {id_} to {name}"
            for name, lane in self.lanes.items()
            if self.editions.is_there(name)
            for id_ in lane.queued
        ]
        waiting += [f"message {row.seq}" for row in self.by_seq.values() if row.state == "received"]
        waiting += [item.control_id for item in self.items.values() if item.sent and not item.is_settled]
        if self.site.gives_up:
            waiting += [f"fragment {row.seq}" for row in self.by_seq.values() if row.state == "waiting"]
        waiting += [
            f"the whole of {item.control_id}"
            for item in self.items.values()
            if item.parts
            and not item.is_partial
            and all(any(row.state == "waiting" for row in self.rows.get(p, ())) for p in item.parts)
        ]
        return waiting

    def orphans(self) -> int:
        """How many wait for what the files no longer have, since before this run."""
        return sum(len(lane.queued) for name, lane in self.lanes.items() if not self.editions.is_there(name))

    def finish(
        self, stored: Callable[[int], tuple[MessageState, list[tuple[DeliveryId, DeliveryState]]] | None]
    ) -> None:
        """Everything is at rest."""
        for item in self.items.values():
            rows = self.rows.get(item, [])
            is_of_its_own = item.whole is None and not any(row.waits_for for row in rows)
            if item.no and not item.yes and not item.unanswered and rows and is_of_its_own:
                self.breach(f"{item.control_id} was only ever refused, and is stored")
        for lane in self.lanes.values():
            if lane.ports:
                self._check_arrivals(lane)
        for row in self.by_seq.values():
            found = stored(row.seq)
            if found is None:
                if not self.prunes or row.state not in FINISHED or self._is_open(row):
                    self.breach(f"message {row.seq} is gone from the store")
                continue
            state, deliveries = found
            meant = [(owed.id, owed.state) for owed in self.owed.values() if owed.seq == row.seq]
            if state != row.state or sorted(deliveries) != sorted(meant):
                self.breach(f"message {row.seq} is {state} {deliveries} in the store, not {row.state} {meant}")

    def _is_open(self, row: Row) -> bool:
        return any(owed.seq == row.seq and owed.state in ("queued", "held") for owed in self.owed.values())

    def _check_arrivals(self, lane: Lane) -> None:
        """What no person and no refusal set aside came to its receiver in order."""
        last: dict[str, int] = {}
        for owed in sorted(self.owed.values(), key=lambda owed: owed.id):
            if owed.to != lane.name or owed.was_aside or not owed.first_got:
                continue
            key = key_of(owed.body) if lane.is_keyed else ""
            if owed.first_got < last.get(key, 0):
                self.breach(f"delivery {owed.id} came to {owed.to} before an earlier one")
            last[key] = owed.first_got


def _named(bodies: Sequence[tuple[str, bytes]]) -> str:
    """Where to, and by which steps and table: a message of ours is short, and not of a patient."""
    return ", ".join(f"{name} ({_mark(body)})" for name, body in bodies) or "nobody"


def _mark(body: bytes) -> str:
    fields = body.split(b"|")
    return b" ".join((fields[4], body.rpartition(b"|")[2].strip())).decode("latin-1")


def _ids(deliveries: Sequence[Delivery]) -> str:
    return " ".join(f"{d.id}:{d.destination}" + ("*" if d.maybe_sent else "") for d in deliveries) or "-"
