"""A store does what plain lists would do, through any sequence of commits, moves, resends, stops and crashes."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from engine.adapters.stores.memory import MemoryStore
from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch, DraftDelivery, Reprocessed
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import DELIVERY_STATES, MESSAGE_MOVES, MESSAGE_STATES, IllegalMove
from engine.testing.store_contract import FIRST, SPARE, intake, result

CHANNELS = [ChannelName("adt"), ChannelName("lab")]
DESTINATIONS = [DestinationName("epr"), DestinationName("ris"), DestinationName("pacs")]
LANES = [(channel, destination) for channel in CHANNELS for destination in [*DESTINATIONS, SPARE]]

drafts = st.lists(
    st.builds(
        DraftDelivery,
        st.sampled_from(DESTINATIONS),
        st.sampled_from([None, b"", b"one", b"two" * 2000]),
        st.sampled_from([None, "", "A", "B"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=3,
)
intakes = st.builds(
    lambda channel, state, made: replace(intake(channel=channel, state=state), deliveries=made),
    st.sampled_from(CHANNELS),
    st.sampled_from(MESSAGE_STATES),
    drafts,
)
places = st.integers(0, 1 << 30)


class Lists:
    """What should be in the store: messages and deliveries, in the order they were made."""

    def __init__(self):
        self.messages = []  # [channel, state, raw]
        self.deliveries = []  # [seq, channel, destination, body, state, maybe_sent, key, urgent]
        self.orders = {}
        self.doubts = {}
        self.by_receive_id = {}
        self.windows = {}
        self.lanes = set()

    def deliver(self, seq, channel, made):
        ids = []
        for draft in made:
            body = self.messages[seq - 1][2] if draft.body is None else draft.body
            lane = (channel, draft.destination)
            key = "" if draft.key is None and self.orders.get(lane) else draft.key
            self.deliveries.append([seq, channel, draft.destination, body, "queued", False, key, draft.urgent])
            self.lanes.add(lane)
            ids.append(len(self.deliveries))
        return ids

    def overtaken(self, at):
        """One goes to the front: what may be under way now is marked, as after a kill it is not among the first."""
        lane = (self.deliveries[at][1], self.deliveries[at][2])
        behind = [id_ for id_, *_ in self.queue(lane) if id_ > at + 1]
        for id_ in behind[: self.windows.get(lane, 1)]:
            self.deliveries[id_ - 1][5] = True

    def queue(self, lane):
        return [
            (id_, row[0], row[3], row[5] or id_ <= self.doubts.get(lane, 0), row[6], row[7])
            for id_, row in enumerate(self.deliveries, 1)
            if (row[1], row[2]) == lane and row[4] == "queued"
        ]


class StoreMachine(RuleBasedStateMachine):
    """Rules act on the store and on the lists; what they and every reader give is compared."""

    taken = Bundle("taken")

    @initialize(target=taken, given=st.lists(intakes, min_size=3, max_size=6))
    def start(self, given):
        self.lists = Lists()
        self.new_windows = {}
        self.make()
        self.queries = self.store.queries()
        return self.commit_new(given)

    def pick(self, rows, place):
        return place % len(rows) if rows else None

    @rule(target=taken, given=st.lists(intakes, max_size=4))
    def commit(self, given):
        return self.commit_new(given)

    def commit_new(self, given):
        committed = self.store.commit(Batch(given))
        for one, seq, made in zip(given, committed.seqs, committed.deliveries, strict=True):
            self.lists.messages.append([one.channel, one.state, one.raw])
            self.lists.by_receive_id[one.receive_id] = seq
            assert seq == len(self.lists.messages)
            assert [d.id for d in made] == self.lists.deliver(seq, one.channel, one.deliveries)
        return multiple(*given)

    @rule(again=taken)
    def commit_again(self, again):
        seq = self.lists.by_receive_id[again.receive_id]
        committed = self.store.commit(Batch([again]))
        assert committed.seqs == [seq]
        waiting = [id_ for id_, row in enumerate(self.lists.deliveries, 1) if row[0] == seq and row[4] == "queued"]
        assert [d.id for d in committed.deliveries[0]] == waiting

    @rule(
        ends=st.lists(st.tuples(places, st.sampled_from(DELIVERY_STATES)), min_size=1, max_size=5),
        new=st.booleans(),
        of_any=st.booleans(),
    )
    def record(self, ends, new, of_any):
        rows = self.lists.deliveries
        candidates = [at for at, row in enumerate(rows) if of_any or row[4] == "queued"]
        if not candidates:
            return
        ends = [(candidates[place % len(candidates)], state) for place, state in ends]
        states = [row[4] for row in rows]
        legal = True
        for at, state in ends:
            legal = legal and states[at] == "queued"
            states[at] = state
        extra = [intake(channel=CHANNELS[0], raw=b"extra")] if new else []
        batch = Batch(extra, results=[result(DeliveryId(at + 1), state) for at, state in ends])
        if not legal:
            with pytest.raises(IllegalMove):
                self.store.commit(batch)
            return
        committed = self.store.commit(batch)
        for row, state in zip(self.lists.deliveries, states, strict=True):
            row[4] = state
        if new:
            self.lists.messages.append([CHANNELS[0], "processed", b"extra"])
        self.took_over(committed.redirected, [at for at, state in ends if state == "redirected"])

    def took_over(self, made, ended):
        expected = []
        for at in ended:
            seq, channel, _, body, *_ = self.lists.deliveries[at]
            expected += self.lists.deliver(seq, channel, [DraftDelivery(SPARE, body)])
        assert [d.id for d in made] == expected

    @rule(chosen=st.lists(places, max_size=3))
    def redirect(self, chosen):
        rows = self.lists.deliveries
        chosen = list(dict.fromkeys(place % len(rows) for place in chosen)) if rows else []
        orders = [(DeliveryId(at + 1), DraftDelivery(SPARE, None)) for at in chosen]
        if any(rows[at][4] not in ("held", "failed", "redirected") for at in chosen):
            with pytest.raises(IllegalMove):
                self.store.redirect_deliveries(orders, "note")
            return
        ended = [at for at in chosen if rows[at][4] != "redirected"]
        self.took_over(self.store.redirect_deliveries(orders, "note"), ended)
        for at in ended:
            rows[at][4] = "redirected"

    @rule(place=places, state=st.sampled_from(MESSAGE_STATES), made=drafts)
    def reprocess(self, place, state, made):
        if not self.lists.messages:
            return
        at = self.pick(self.lists.messages, place)
        channel, before, _ = self.lists.messages[at]
        batch = Batch(reprocessed=[Reprocessed(MessageSeq(at + 1), channel, VersionId(1), state, "", made)])
        if state not in MESSAGE_MOVES[before]:
            with pytest.raises(IllegalMove):
                self.store.commit(batch)
            return
        (released,) = self.store.commit(batch).released
        self.lists.messages[at][1] = state
        assert [d.id for d in released] == self.lists.deliver(at + 1, channel, made)

    @rule(chosen=st.lists(places, max_size=4), to=st.sampled_from(DELIVERY_STATES))
    def move(self, chosen, to):
        rows = self.lists.deliveries
        chosen = {place % len(rows) for place in chosen} if rows else set()
        ids = [DeliveryId(at + 1) for at in chosen]
        allowed = {"queued": {"queued", "held", "failed"}, "failed": {"failed", "held"}}.get(to)
        if allowed is None or any(rows[at][4] not in allowed for at in chosen):
            with pytest.raises(IllegalMove):
                self.store.move_deliveries(ids, to, "note")
            return
        assert self.store.move_deliveries(ids, to, "note") == sum(rows[at][4] != to for at in chosen)
        for at in chosen:
            if to == "queued" and rows[at][4] != to:
                self.lists.overtaken(at)
            rows[at][4] = to

    @rule(place=places, to=st.none() | st.lists(st.sampled_from(DESTINATIONS), max_size=2))
    def resend(self, place, to):
        if not self.lists.messages:
            return
        seq = self.pick(self.lists.messages, place) + 1
        last = {}
        for row in self.lists.deliveries:
            if row[0] == seq:
                last.pop((row[1], row[2]), None)
                last[row[1], row[2]] = row
        made = []
        for (channel, destination), row in last.items():
            if row[4] != "redirected" if to is None else destination in to:
                made += self.lists.deliver(seq, channel, [DraftDelivery(destination, row[3], row[6], row[7])])
        assert [d.id for d in self.store.add_deliveries(MessageSeq(seq), to)] == made

    @rule(lane=st.sampled_from(LANES), window=st.integers(1, 4), order_by=st.sampled_from(["", "PID-3.1"]))
    def set_window(self, lane, window, order_by):
        first = self.store.lane_window(*lane, window, order_by)
        if order_by != self.lists.orders.get(lane, ""):
            assert first == len(self.lists.deliveries) + 1
        self.lists.orders[lane] = order_by
        self.new_windows[lane] = max(window, self.new_windows.get(lane, 0))
        self.lists.windows[lane] = self.new_windows[lane]
        self.lists.lanes.add(lane)

    @rule()
    def checkpoint(self):
        self.store.checkpoint()

    @rule(clean=st.booleans())
    def restart(self, clean):
        self.queries.close()
        self.reopen(clean)
        self.queries = self.store.queries()
        self.new_windows = {}
        if not clean:
            for lane in self.lists.lanes:
                if self.lists.orders.get(lane):
                    self.lists.doubts[lane] = len(self.lists.deliveries)
                    continue
                for id_, *_ in self.lists.queue(lane)[: self.lists.windows.get(lane, 1)]:
                    self.lists.deliveries[id_ - 1][5] = True

    @invariant()
    def lanes_hold_what_waits(self):
        for lane in LANES:
            queued = self.store.queued(*lane, FIRST, 1000)
            expected = self.lists.queue(lane)
            assert [(d.id, d.seq, d.body, d.maybe_sent, d.key, d.urgent) for d in queued] == expected
            first = {}
            for id_, *_, key, _ in expected:
                first.setdefault(key, id_)
            rows = self.queries.queued_rows(*lane, FIRST, 1000)
            assert [(r.id, r.first) for r in rows] == [
                (id_, first[key] if key is not None else None) for id_, *_, key, _ in expected
            ]
            for key in {"", "A", "B"}:
                of_key = [id_ for id_, *_, own, _ in expected if own == key]
                assert [r.id for r in self.queries.queued_of_key(*lane, key, FIRST, 1000)] == of_key
            urgent = [id_ for id_, *_, is_urgent in expected if is_urgent]
            assert [r.id for r in self.queries.queued_urgent(*lane, FIRST, 1000)] == urgent

    @invariant()
    def readers_see_the_same(self):
        seen = [(m.channel, m.state, m.raw) for m in self.queries.messages(newest_first=False, bodies=True)]
        assert seen == [tuple(row) for row in self.lists.messages]
        counts = {}
        for channel, state, _ in self.lists.messages:
            counts[channel, state] = counts.get((channel, state), 0) + 1
        assert dict(self.queries.counts()) == counts
        for depth in self.queries.depths():
            lane = (depth.channel, depth.destination)
            assert depth.queued == len(self.lists.queue(lane))
            assert depth.held == sum((r[1], r[2], r[4]) == (*lane, "held") for r in self.lists.deliveries)

    def teardown(self):
        if hasattr(self, "queries"):
            self.queries.close()
            self.finish()


class SqliteMachine(StoreMachine):
    """A crash is what lies on the disk at that moment: the file and its log, copied."""

    def make(self):
        self.folder = Path(tempfile.mkdtemp(prefix="segmill-store-"))
        self.store = SqliteStore(self.folder / "0" / "store.db")
        self.store.open()

    def reopen(self, clean):
        if clean:
            self.store.close()
        before = self.store.path.parent
        after = self.folder / str(int(before.name) + 1)
        shutil.copytree(before, after, ignore=shutil.ignore_patterns("*.lock", "*-shm"))
        self.store.close()
        self.store = SqliteStore(after / "store.db")
        self.store.open()

    def finish(self):
        self.store.close()
        shutil.rmtree(self.folder)


class MemoryMachine(StoreMachine):
    """The fake that other tests trust does the same."""

    def make(self):
        self.store = MemoryStore()
        self.store.open()

    def reopen(self, clean):
        if clean:
            self.store.close()
        else:
            self.store.crash()
        self.store.open()

    def finish(self):
        self.store.close()


@pytest.mark.parametrize(("machine", "examples"), [(SqliteMachine, 25), (MemoryMachine, 60)])
def test_a_store_does_what_plain_lists_do(machine, examples):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
