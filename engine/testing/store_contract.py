"""What every store keeps, as tests: subclass `StoreContract`, give it a `bench`, and run it with pytest.

class TestMyStore(StoreContract):
    @pytest.fixture
    def bench(self, tmp_path): ...  # a StoreBench
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Protocol

import pytest

from engine.model.envelope import (
    AckUpdate,
    Batch,
    Committed,
    Delivery,
    DeliveryResult,
    DraftDelivery,
    Intake,
    Parts,
    Piece,
    Reprocessed,
)
from engine.model.finding import Finding, dump_findings, load_findings
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq, VersionId
from engine.model.states import (
    DELIVERY_STATES,
    FINISHED,
    MESSAGE_MOVES,
    MESSAGE_STATES,
    DeliveryState,
    IllegalMove,
    MessageState,
)
from engine.ports.operations import By, Change
from engine.ports.store import (
    Arrived,
    LaneDepth,
    Prune,
    Pruned,
    Store,
    StoredAttempt,
    StoreError,
    StoreInUse,
    StoreQueries,
)

LAB = ChannelName("lab")
ADT = ChannelName("adt")
EPR = DestinationName("epr")
RIS = DestinationName("ris")
SPARE = DestinationName("spare")
T0 = 1_700_000_000_000_000
HOUR_US = 3_600_000_000
FIRST = DeliveryId(0)


class StoreBench(Protocol):
    """One store under test, through stops and crashes."""

    store: Store
    """Open."""

    def restart(self, *, clean: bool) -> Store:
        """Stop the engine (not clean: as kill -9 does) and open what it left; also the new `store`."""
        ...

    def second(self) -> Store:
        """Another engine's store on the same data, not open."""
        ...

    def damage(self, seq: MessageSeq) -> None:
        """Turn a bit of a message's stored bytes, behind the store's back."""
        ...


_numbers = count(1)


def intake(
    *to: DestinationName,
    channel: ChannelName = LAB,
    bodies: Sequence[bytes | None] = (),
    **given: Any,
) -> Intake:
    """An intake with deliveries to `to`; `bodies` are theirs, None for the message's own."""
    number = next(_numbers)
    given.setdefault("receive_id", number.to_bytes(16, "big"))
    given.setdefault("received_at_us", T0 + number)
    given.setdefault("control_id", f"C{number}")
    given.setdefault("raw", b"MSH|^~\\&|HIS|MAIN\rPID|||%d\r" % number)
    given.setdefault("state", "processed")
    drafts = [DraftDelivery(name, bodies[at] if bodies else None) for at, name in enumerate(to)]
    fixed = {"version": VersionId(1), "sender": "HIS|MAIN", "peer": "10.1.2.3:4567", "message_type": "ADT^A01"}
    return Intake(**{**fixed, "body_hash": b"0123456789abcdef", "channel": channel, "deliveries": drafts, **given})


def result(delivery: Delivery | DeliveryId, state: DeliveryState = "delivered", **given: Any) -> DeliveryResult:
    """An attempt's end."""
    id_ = delivery.id if isinstance(delivery, Delivery) else delivery
    if state == "redirected":
        given.setdefault("redirect", DraftDelivery(SPARE, None))
    return DeliveryResult(id_, state, **{"attempts": 1, "at_us": T0 + 1, **given})


def seqs_of(queries: StoreQueries, **filters: Any) -> list[int]:
    """The seqs of a list of messages, in its order."""
    return [message.seq for message in queries.messages(**filters)]


class StoreContract:
    """Every promise of `engine.ports.store`, one test each."""

    @pytest.fixture
    def bench(self) -> StoreBench:
        """Override: the store under test."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, bench: StoreBench) -> Store:
        return bench.store

    @pytest.fixture
    def queries(self, bench: StoreBench) -> Iterator[StoreQueries]:
        found = bench.store.queries()
        yield found
        found.close()

    # -- what is committed is there -------------------------------------------------------------

    def test_messages_are_numbered_from_one_in_the_order_of_receipt_over_all_channels(self, store: Store) -> None:
        first = store.commit(Batch([intake(), intake(channel=ADT)]))
        second = store.commit(Batch([intake()]))
        assert first.seqs + second.seqs == [1, 2, 3]

    def test_what_was_committed_can_be_read_back_in_full(self, store: Store, queries: StoreQueries) -> None:
        given = intake(
            EPR, RIS, EPR, bodies=(None, b"changed", b"other"), ack_code="AA", ack=b"MSA|AA\r", findings="[]"
        )
        committed = store.commit(Batch([given]))
        stored = queries.message(committed.seqs[0])
        assert stored is not None
        assert (stored.raw, stored.ack, stored.ack_code) == (given.raw, b"MSA|AA\r", "AA")
        assert (stored.channel, stored.version, stored.received_at_us) == (LAB, 1, given.received_at_us)
        assert (stored.sender, stored.peer) == ("HIS|MAIN", "10.1.2.3:4567")
        assert (stored.message_type, stored.control_id, stored.state) == ("ADT^A01", given.control_id, "processed")
        rows = queries.deliveries(stored.seq, bodies=True)
        assert [(row.destination, row.body, row.state) for row in rows] == [
            (EPR, given.raw, "queued"),
            (RIS, b"changed", "queued"),
            (EPR, b"other", "queued"),
        ]
        assert [row.id for row in rows] == [delivery.id for delivery in committed.deliveries[0]]

    def test_a_commit_gives_the_lanes_what_a_later_look_gives(self, store: Store) -> None:
        shared = b"shared by both"
        committed = store.commit(Batch([intake(EPR, RIS, bodies=(shared, shared)), intake(), intake(EPR)]))
        assert [len(made) for made in committed.deliveries] == [2, 0, 1]
        to_epr = [d for made in committed.deliveries for d in made if d.destination == EPR]
        assert list(store.queued(LAB, EPR, FIRST, 10)) == to_epr

    def test_metadata_alone_come_without_bytes(self, store: Store, queries: StoreQueries) -> None:
        store.commit(Batch([intake(EPR, bodies=(b"changed",))]))
        assert [message.raw for message in queries.messages()] == [None]
        assert [message.raw is not None for message in queries.messages(bodies=True)] == [True]
        assert [row.body for row in queries.deliveries(MessageSeq(1))] == [None]

    def test_what_is_not_there_is_not_found(self, store: Store, queries: StoreQueries) -> None:
        assert queries.message(MessageSeq(1)) is None
        assert list(queries.deliveries(MessageSeq(1))) == []
        assert queries.version_files(VersionId(1)) is None
        assert list(queries.messages(channel=ADT)) == []
        assert store.known(ADT, "HIS|MAIN", "C1", 0) == []
        assert list(store.queued(ADT, EPR, FIRST, 10)) == []

    def test_an_empty_body_stays_an_empty_body(self, store: Store, queries: StoreQueries) -> None:
        store.commit(Batch([intake(EPR, bodies=(b"",), raw=b"")]))
        stored = queries.message(MessageSeq(1))
        assert stored is not None
        assert stored.raw == b""
        assert [delivery.body for delivery in store.queued(LAB, EPR, FIRST, 10)] == [b""]

    def test_a_big_message_comes_back_as_it_went(self, store: Store, queries: StoreQueries) -> None:
        raw = bytes(range(256)) * 20_000
        store.commit(Batch([intake(EPR, raw=raw)]))
        stored = queries.message(MessageSeq(1))
        assert stored is not None
        assert stored.raw == raw

    def test_many_messages_in_one_commit_keep_their_order_and_their_bytes(
        self, store: Store, queries: StoreQueries
    ) -> None:
        given = [intake(EPR, RIS, bodies=(None, b"%d" % n)) for n in range(101)]
        committed = store.commit(Batch(given))
        assert committed.seqs == list(range(1, 102))
        assert [m.raw for m in queries.messages(newest_first=False, bodies=True)] == [i.raw for i in given]
        assert [d.body for d in store.queued(LAB, RIS, FIRST, 200)] == [b"%d" % n for n in range(101)]

    # -- large bodies, piece by piece -----------------------------------------------------------

    def test_a_piece_that_does_not_follow_is_refused_and_takes_nothing_along(
        self, store: Store, queries: StoreQueries
    ) -> None:
        body = bytes(range(256)) * 4
        store.commit(Batch(pieces=[Piece(body, 0, 100)]))
        for wrong in (Piece(body, 0, 100), Piece(body, 200, 300), Piece(body, 100, 100), Piece(body, 100, 1025)):
            with pytest.raises(ValueError, match="does not follow"):
                store.commit(Batch([intake()], pieces=[wrong]))
        assert seqs_of(queries) == []
        store.commit(Batch(pieces=[Piece(body, 100, 1024)]))
        (seq,) = store.commit(Batch([intake(raw=body)])).seqs
        found = queries.message(seq)
        assert found is not None and found.raw == body

    @pytest.mark.parametrize("there", [100, 1024])
    def test_a_body_that_was_refused_begins_again_with_the_commit_that_forgets_its_pieces(
        self, store: Store, queries: StoreQueries, there: int
    ) -> None:
        body = bytes(range(256)) * 4
        other = body[::-1]
        store.commit(Batch(pieces=[Piece(body, 0, there), Piece(other, 0, 512)]))
        store.commit(Batch(pieces=[Piece(body, 0, 200)], unwanted=[body]))
        store.commit(Batch(pieces=[Piece(body, 200, 1024), Piece(other, 512, 1024)]))
        (seq,) = store.commit(Batch([intake(EPR, raw=body, bodies=(other,))])).seqs
        found = queries.message(seq)
        assert found is not None and found.raw == body
        assert [d.body for d in store.queued(LAB, EPR, FIRST, 10)] == [other]

    # -- what came when -------------------------------------------------------------------------

    def test_arrivals_are_counted_by_sender_kind_and_half_hour_from_a_message_on(
        self, store: Store, queries: StoreQueries
    ) -> None:
        half = HOUR_US // 2
        begin = T0 - T0 % half
        came = [
            intake(received_at_us=begin + 1),
            intake(received_at_us=begin + half - 1),
            intake(received_at_us=begin + half),
            intake(received_at_us=begin + half + 5, sender="LIS|MAIN"),
            intake(received_at_us=begin + half + 6, channel=ADT, message_type="ADT^A08^ADT_A01"),
        ]
        store.commit(Batch(came))
        rows, upto, is_more = queries.arrivals(MessageSeq(0), 100)
        slot = begin // half
        assert sorted(rows, key=lambda row: row.newest_us) == [
            Arrived(LAB, "HIS|MAIN", "ADT^A01", slot, 2, begin + half - 1),
            Arrived(LAB, "HIS|MAIN", "ADT^A01", slot + 1, 1, begin + half),
            Arrived(LAB, "LIS|MAIN", "ADT^A01", slot + 1, 1, begin + half + 5),
            Arrived(ADT, "HIS|MAIN", "ADT^A08^ADT_A01", slot + 1, 1, begin + half + 6),
        ]
        assert (upto, is_more) == (5, False)
        rows, upto, is_more = queries.arrivals(MessageSeq(1), 2)
        assert (sum(row.messages for row in rows), upto, is_more) == (2, 3, True)
        assert queries.arrivals(MessageSeq(5), 100) == ([], 5, False)

    def test_the_last_message_before_a_time_is_found_also_where_some_were_forgotten(
        self, store: Store, queries: StoreQueries
    ) -> None:
        assert queries.seq_before(T0 * 2) == 0
        store.commit(Batch([intake(received_at_us=T0 + hour * HOUR_US) for hour in range(9)]))
        assert [queries.seq_before(T0 + hour * HOUR_US) for hour in (0, 1, 4, 9)] == [0, 1, 4, 9]
        store.prune(Prune(None, 0, T0 + 3 * HOUR_US, MessageSeq(0), 100, T0 + 1000 * HOUR_US))
        assert seqs_of(queries, newest_first=False) == [4, 5, 6, 7, 8, 9]
        assert queries.seq_before(T0 + 5 * HOUR_US) == 5
        assert queries.arrivals(queries.seq_before(T0), 100)[1] == 9

    # -- the same intake again ------------------------------------------------------------------

    def test_an_intake_committed_again_is_not_stored_again(self, store: Store, queries: StoreQueries) -> None:
        given = [intake(EPR, RIS), intake(EPR)]
        first = store.commit(Batch(given))
        store.commit(Batch(results=[result(first.deliveries[0][1])]))
        again = store.commit(Batch([*given, intake(EPR)]))
        assert again.seqs == [1, 2, 3]
        assert again.deliveries[:2] == [first.deliveries[0][:1], first.deliveries[1]], "what still waits, and no more"
        assert seqs_of(queries) == [3, 2, 1]
        assert len(store.queued(LAB, EPR, FIRST, 10)) == 3

    def test_an_intake_twice_in_one_batch_is_stored_once(self, store: Store, queries: StoreQueries) -> None:
        given = intake(EPR)
        committed = store.commit(Batch([given, given]))
        assert committed.seqs == [1, 1]
        assert committed.deliveries[0] == committed.deliveries[1]
        assert seqs_of(queries) == [1]

    def test_an_intake_committed_again_after_a_crash_is_not_stored_again(self, bench: StoreBench) -> None:
        given = intake(EPR)
        before = bench.store.commit(Batch([given]))
        store = bench.restart(clean=False)
        after = store.commit(Batch([given]))
        assert after.seqs == before.seqs
        assert [d.id for d in after.deliveries[0]] == [d.id for d in before.deliveries[0]]

    # -- all or nothing -------------------------------------------------------------------------

    def test_an_illegal_move_takes_the_whole_batch_back(self, store: Store, queries: StoreQueries) -> None:
        committed = store.commit(Batch([intake(EPR), intake(EPR)]))
        (first,), (second,) = committed.deliveries
        store.commit(Batch(results=[result(first)]))
        counts, depths = queries.counts(), queries.depths()
        with pytest.raises(IllegalMove):
            store.commit(Batch([intake(RIS, channel=ADT)], results=[result(second), result(first)]))
        assert seqs_of(queries) == [2, 1]
        assert list(store.queued(LAB, EPR, FIRST, 10)) == [second]
        assert (queries.counts(), queries.depths()) == (counts, depths)
        again = store.commit(Batch([intake(RIS, channel=ADT)], results=[result(second)]))
        assert again.seqs == [3], "a number that was not kept is not used up"
        assert [d.id for d in again.deliveries[0]] == [3]

    def test_a_result_for_a_delivery_that_is_not_there_is_refused(self, store: Store, queries: StoreQueries) -> None:
        with pytest.raises(IllegalMove):
            store.commit(Batch([intake(EPR)], results=[result(DeliveryId(1))]))
        with pytest.raises(IllegalMove):
            store.commit(Batch([intake(EPR)], results=[result(DeliveryId(77))]))
        assert seqs_of(queries) == []

    def test_a_value_that_cannot_be_kept_is_refused_and_the_rest_can_be_tried_again(
        self, store: Store, queries: StoreQueries
    ) -> None:
        good, bad = intake(EPR), intake(EPR, sender="\udce9|MAIN")
        with pytest.raises(ValueError, match=r"hold|encode"):
            store.commit(Batch([good, bad]))
        assert store.commit(Batch([good])).seqs == [1]
        assert seqs_of(queries) == [1]

    # -- moves ----------------------------------------------------------------------------------

    @pytest.mark.parametrize("state", DELIVERY_STATES)
    def test_an_attempt_ends_in_any_state(self, state: DeliveryState, store: Store, queries: StoreQueries) -> None:
        ((delivery,),) = store.commit(Batch([intake(EPR)])).deliveries
        ended = result(
            delivery, state, attempts=2, at_us=T0 + 5, next_at_us=T0 + 9, code="AE", note="busy", answer=b"MSA"
        )
        store.commit(Batch(results=[ended]))
        row = queries.deliveries(MessageSeq(1))[0]
        assert (row.state, row.attempts, row.next_at_us) == (state, 2, T0 + 9)
        assert (row.code, row.note, row.answer) == ("AE", "busy", b"MSA")
        assert row.done_at_us == (0 if state == "queued" else T0 + 5)
        assert [d.attempts for d in store.queued(LAB, EPR, FIRST, 9)] == ([2] if state == "queued" else [])

    @pytest.mark.parametrize("before", [state for state in DELIVERY_STATES if state != "queued"])
    @pytest.mark.parametrize("after", DELIVERY_STATES)
    def test_an_attempt_can_only_end_for_what_is_queued(
        self, before: DeliveryState, after: DeliveryState, store: Store, queries: StoreQueries
    ) -> None:
        ((delivery,),) = store.commit(Batch([intake(EPR)])).deliveries
        store.commit(Batch(results=[result(delivery, before)]))
        with pytest.raises(IllegalMove):
            store.commit(Batch(results=[result(delivery, after)]))
        taken_over = ["queued"] if before == "redirected" else []
        assert [row.state for row in queries.deliveries(MessageSeq(1))] == [before, *taken_over]

    def test_two_attempts_of_one_delivery_may_end_in_one_commit(self, store: Store, queries: StoreQueries) -> None:
        ((first,), (second,)) = store.commit(Batch([intake(EPR), intake(EPR)])).deliveries
        ends = [result(first, "queued"), result(second, "held"), result(first, "delivered", attempts=2)]
        store.commit(Batch(results=ends))
        assert [row.attempts for row in queries.deliveries(MessageSeq(1)) if row.state == "delivered"] == [2]
        with pytest.raises(IllegalMove):
            store.commit(Batch([intake(EPR)], results=[result(first, "queued")]))

    @pytest.mark.parametrize("before", MESSAGE_STATES)
    @pytest.mark.parametrize("after", MESSAGE_STATES)
    def test_a_message_moves_as_the_table_says(
        self, before: MessageState, after: MessageState, store: Store, queries: StoreQueries
    ) -> None:
        (seq,) = store.commit(Batch([intake(state=before)])).seqs
        moved = Batch(reprocessed=[Reprocessed(seq, LAB, VersionId(2), after, "[1]")])
        if after in MESSAGE_MOVES[before]:
            store.commit(moved)
            assert [(m.state, m.version, m.findings) for m in queries.messages()] == [(after, 2, "[1]")]
            assert dict(queries.counts()) == {(LAB, after): 1}
        else:
            with pytest.raises(IllegalMove):
                store.commit(moved)
            assert [(m.state, m.version, m.findings) for m in queries.messages()] == [(before, 1, "")]
            assert dict(queries.counts()) == {(LAB, before): 1}

    def test_a_released_message_gets_deliveries_of_its_own_bytes_or_others(self, store: Store) -> None:
        (seq,) = store.commit(Batch([given := intake(state="held")])).seqs
        drafts = [DraftDelivery(EPR, None), DraftDelivery(RIS, b"changed")]
        committed = store.commit(Batch([intake(EPR)], [Reprocessed(seq, LAB, VersionId(2), "processed", "", drafts)]))
        ((own, changed),) = committed.released
        assert (own.body, own.seq, own.received_at_us) == (given.raw, seq, given.received_at_us)
        assert changed.body == b"changed"
        assert own.id > committed.deliveries[0][0].id
        assert list(store.queued(LAB, RIS, FIRST, 10)) == [changed]

    def test_two_moves_of_one_message_in_one_commit_are_judged_one_after_the_other(
        self, store: Store, queries: StoreQueries
    ) -> None:
        (seq,) = store.commit(Batch([intake(state="held")])).seqs
        moves = [Reprocessed(seq, LAB, VersionId(2), state) for state in ("processed", "discarded")]
        with pytest.raises(IllegalMove):
            store.commit(Batch(reprocessed=moves))
        moves[1].state = "filtered"
        store.commit(Batch(reprocessed=moves))
        assert dict(queries.counts()) == {(LAB, "filtered"): 1}

    def test_a_message_that_is_not_there_cannot_be_moved(self, store: Store) -> None:
        with pytest.raises(IllegalMove):
            store.commit(Batch(reprocessed=[Reprocessed(MessageSeq(5), LAB, VersionId(1), "processed")]))

    def test_a_person_releases_and_gives_up_deliveries(self, store: Store, queries: StoreQueries) -> None:
        ((held,), (failed,), (other,)) = store.commit(Batch([intake(EPR) for _ in range(3)])).deliveries
        store.commit(Batch(results=[result(held, "held"), result(failed, "failed"), result(other, "held")]))
        assert store.move_deliveries([held.id, failed.id, held.id], "queued", "released") == 2
        assert [d.id for d in store.queued(LAB, EPR, FIRST, 10)] == [held.id, failed.id]
        assert store.move_deliveries([held.id, failed.id], "queued", "again") == 0
        assert store.move_deliveries([other.id], "failed", "given up by anna") == 1
        rows = [queries.deliveries(MessageSeq(seq))[0] for seq in (1, 2, 3)]
        assert [row.state for row in rows] == ["queued", "queued", "failed"]
        assert rows[2].note == "given up by anna"
        assert rows[2].done_at_us > 0
        assert rows[0].done_at_us == 0

    @pytest.mark.parametrize(
        ("before", "to"),
        [
            ("queued", "failed"),
            ("delivered", "queued"),
            ("delivered", "failed"),
            ("held", "held"),
            ("held", "delivered"),
        ],
    )
    def test_a_person_moves_nothing_when_one_may_not_move(
        self, before: DeliveryState, to: DeliveryState, store: Store, queries: StoreQueries
    ) -> None:
        ((movable,), (fixed,)) = store.commit(Batch([intake(EPR), intake(EPR)])).deliveries
        store.commit(Batch(results=[result(movable, "held"), *([] if before == "queued" else [result(fixed, before)])]))
        with pytest.raises(IllegalMove):
            store.move_deliveries([movable.id, fixed.id], to, "")
        with pytest.raises(IllegalMove):
            store.move_deliveries([movable.id, DeliveryId(99)], to, "")
        assert queries.deliveries(MessageSeq(1))[0].state == "held"
        assert queries.deliveries(MessageSeq(2))[0].state == before

    # -- resend ---------------------------------------------------------------------------------

    def test_a_resend_is_a_new_delivery_of_the_same_bytes(self, store: Store, queries: StoreQueries) -> None:
        made = store.commit(Batch([given := intake(EPR, RIS, bodies=(None, b"changed"))])).deliveries[0]
        store.commit(Batch(results=[result(d) for d in made]))
        again = store.add_deliveries(MessageSeq(1), None)
        assert [(d.destination, d.body) for d in again] == [(EPR, given.raw), (RIS, b"changed")]
        assert min(d.id for d in again) > max(d.id for d in made)
        assert list(store.queued(LAB, EPR, FIRST, 10)) == [d for d in again if d.destination == EPR]
        assert [row.state for row in queries.deliveries(MessageSeq(1))] == [
            "delivered",
            "delivered",
            "queued",
            "queued",
        ]

    def test_a_resend_goes_to_the_destinations_named_and_never_to_one_it_did_not_have(self, store: Store) -> None:
        store.commit(Batch([intake(EPR, RIS)]))
        assert [d.destination for d in store.add_deliveries(MessageSeq(1), [RIS, DestinationName("new")])] == [RIS]
        assert list(store.add_deliveries(MessageSeq(9), None)) == []

    def test_a_resend_takes_the_bytes_of_the_last_delivery(self, store: Store) -> None:
        (seq,) = store.commit(Batch([intake(EPR, bodies=(b"old",))])).seqs
        store.commit(
            Batch(reprocessed=[Reprocessed(seq, LAB, VersionId(2), "processed", "", [DraftDelivery(EPR, b"new")])])
        )
        assert [d.body for d in store.add_deliveries(seq, None)] == [b"new"]

    # -- lanes ----------------------------------------------------------------------------------

    # -- to another destination -----------------------------------------------------------------

    @pytest.mark.parametrize("body", [None, b"written anew"])
    def test_a_redirect_ends_one_delivery_and_queues_the_other_in_one_commit(
        self, body: bytes | None, bench: StoreBench
    ) -> None:
        (made, _) = bench.store.commit(Batch([intake(EPR, bodies=(b"as epr reads it",)), intake(EPR)])).deliveries
        ended = result(made[0], "redirected", code="AR", note="no", answer=b"MSA", redirect=DraftDelivery(RIS, body))
        committed = bench.store.commit(Batch([intake(RIS)], results=[ended]))
        (other,) = committed.redirected
        assert other.id > committed.deliveries[0][0].id, "a lane takes what it is given in the order of the ids"
        assert (other.seq, other.channel, other.destination) == (made[0].seq, LAB, RIS)
        assert (other.body, other.redirects) == (body or b"as epr reads it", 1)
        store = bench.restart(clean=True)
        assert [d.id for d in store.queued(LAB, EPR, FIRST, 10)] == [2]
        assert store.queued(LAB, RIS, FIRST, 10)[-1] == other
        queries = store.queries()
        before, after = queries.deliveries(made[0].seq, bodies=True)
        assert (before.state, before.code, before.answer, before.done_at_us) == ("redirected", "AR", b"MSA", T0 + 1)
        assert (after.state, after.origin, after.body) == ("queued", before.id, other.body)
        queries.close()

    def test_a_redirect_that_fails_leaves_both_as_they_were(self, store: Store, queries: StoreQueries) -> None:
        (made,) = store.commit(Batch([intake(EPR)])).deliveries
        good = result(made[0], "redirected")
        for batch in (Batch(results=[good, result(made[0])]), Batch(results=[good, good])):
            with pytest.raises(IllegalMove):
                store.commit(batch)
            (row,) = queries.deliveries(made[0].seq)
            assert row.state == "queued"
            assert store.queued(LAB, SPARE, FIRST, 10) == []

    def test_never_both_and_never_neither(self, store: Store, queries: StoreQueries) -> None:
        (made,) = store.commit(Batch([intake(EPR)])).deliveries
        for state, to in (("redirected", None), ("delivered", RIS), ("held", RIS), ("queued", RIS)):
            redirect = None if to is None else DraftDelivery(to, None)
            with pytest.raises(IllegalMove):
                store.commit(Batch(results=[DeliveryResult(made[0].id, state, 1, T0, redirect=redirect)]))  # type: ignore[arg-type]
        assert [row.state for row in queries.deliveries(made[0].seq)] == ["queued"]

    def test_how_often_a_message_went_on_is_counted_over_a_crash(self, bench: StoreBench) -> None:
        (made,) = bench.store.commit(Batch([intake(EPR)])).deliveries
        (second,) = bench.store.commit(Batch(results=[result(made[0], "redirected")])).redirected
        store = bench.restart(clean=False)
        (waiting,) = store.queued(LAB, SPARE, FIRST, 10)
        assert (waiting.id, waiting.redirects, waiting.maybe_sent) == (second.id, 1, True)
        to = DraftDelivery(RIS, None)
        (third,) = store.commit(Batch(results=[result(waiting, "redirected", redirect=to)])).redirected
        assert third.redirects == 2

    def test_damaged_bytes_are_held_where_they_were_to_go(self, bench: StoreBench) -> None:
        (made,) = bench.store.commit(Batch([intake(EPR)])).deliveries
        bench.damage(made[0].seq)
        store = bench.restart(clean=True)
        committed = store.commit(Batch(results=[result(made[0], "redirected")]))
        assert committed.redirected == []
        queries = store.queries()
        assert [row.state for row in queries.deliveries(made[0].seq)] == ["redirected", "held"]
        queries.close()

    def test_a_person_redirects_what_no_lane_has_in_hand(self, store: Store, queries: StoreQueries) -> None:
        made = [d for (d,) in store.commit(Batch([intake(EPR) for _ in range(4)])).deliveries]
        held = result(made[0], "held", code="AE 204", note="no", answer=b"MSA|AE")
        store.commit(Batch(results=[held, result(made[1], "failed"), result(made[2])]))
        to = DraftDelivery(RIS, None)
        for id_ in (made[2].id, made[3].id, DeliveryId(99)):
            with pytest.raises(IllegalMove):
                store.redirect_deliveries([(made[0].id, to), (id_, to)], "by anna")
        assert store.queued(LAB, RIS, FIRST, 10) == [], "all or none"
        added = store.redirect_deliveries([(made[0].id, to), (made[1].id, DraftDelivery(SPARE, b"x"))], "by anna")
        assert [(d.seq, d.destination, d.redirects) for d in added] == [(1, RIS, 1), (2, SPARE, 1)]
        assert [d.body for d in added] == [made[0].body, b"x"]
        before, after = queries.deliveries(MessageSeq(1))
        assert (before.state, before.note, before.code) == ("redirected", "by anna", "")
        assert (after.origin, after.state) == (before.id, "queued")
        assert queries.attempts(MessageSeq(1)) == [StoredAttempt(made[0].id, 1, T0 + 1, "AE 204", "no", b"MSA|AE")]
        assert store.redirect_deliveries([(made[0].id, to)], "again") == [], "asked twice, done once"
        assert seqs_of(queries, delivery_states=["redirected"]) == [2, 1]

    def test_a_redirected_delivery_is_finished_and_forgotten_with_its_message(
        self, store: Store, queries: StoreQueries
    ) -> None:
        (made,) = store.commit(Batch([intake(EPR)])).deliveries
        retried = result(made[0], "queued", code="AR", answer=b"MSA", since_us=T0 + 1)
        (other,) = store.commit(Batch(results=[retried, result(made[0], "redirected", attempts=2)])).redirected
        order = Prune(None, T0 + HOUR_US, 0, MessageSeq(0), 100, T0 + 1000 * HOUR_US)
        assert store.prune(order).bodies == 0, "the other one waits"
        store.commit(Batch(results=[result(other)]))
        assert store.prune(order).bodies == 1
        assert [attempt.answer for attempt in queries.attempts(made[0].seq)] == [b""]
        assert store.prune(Prune(None, 0, T0 + HOUR_US, MessageSeq(0), 100, T0 + 1000 * HOUR_US)).messages == 1
        assert queries.attempts(made[0].seq) == []

    def test_a_resend_to_all_leaves_out_where_it_did_not_go(self, store: Store) -> None:
        (made,) = store.commit(Batch([intake(EPR, RIS)])).deliveries
        store.commit(Batch(results=[result(made[0], "redirected"), result(made[1])]))
        assert [d.destination for d in store.add_deliveries(made[0].seq, None)] == [RIS, SPARE]
        assert [d.destination for d in store.add_deliveries(made[0].seq, [EPR])] == [EPR]

    # -- attempts -------------------------------------------------------------------------------

    def test_a_delivery_that_arrives_at_once_has_its_answer_and_no_further_attempt(
        self, store: Store, queries: StoreQueries
    ) -> None:
        (made,) = store.commit(Batch([intake(EPR)])).deliveries
        store.commit(Batch(results=[result(made[0], code="delivered", answer=b"MSA|AA|C1")]))
        assert [row.answer for row in queries.deliveries(made[0].seq)] == [b"MSA|AA|C1"]
        assert queries.attempts(made[0].seq) == []

    def test_every_attempt_keeps_its_answer(self, bench: StoreBench) -> None:
        (made,) = bench.store.commit(Batch([intake(EPR)])).deliveries
        ends = [
            result(made[0], "queued", attempts=n, at_us=T0 + n, code="AR", note=f"n{n}", answer=b"MSA|AR|%d" % n)
            for n in (1, 2)
        ]
        bench.store.commit(Batch(results=ends[:1]))
        bench.store.commit(Batch(results=[ends[1], result(made[0], attempts=3, answer=b"MSA|AA")]))
        queries = bench.restart(clean=False).queries()
        assert queries.attempts(made[0].seq) == [
            StoredAttempt(made[0].id, 1, T0 + 1, "AR", "n1", b"MSA|AR|1"),
            StoredAttempt(made[0].id, 2, T0 + 2, "AR", "n2", b"MSA|AR|2"),
        ]
        assert [(row.attempts, row.answer) for row in queries.deliveries(made[0].seq)] == [(3, b"MSA|AA")]
        queries.close()

    def test_a_receiver_that_cannot_be_reached_for_a_week_leaves_few_rows(
        self, store: Store, queries: StoreQueries
    ) -> None:
        (made,) = store.commit(Batch([intake(EPR)])).deliveries
        codes = [*["unreachable"] * 50, "AR", *["unreachable"] * 50]
        for number, code in enumerate(codes, 1):
            store.commit(Batch(results=[result(made[0], "queued", attempts=number, code=code)]))
        assert [(a.number, a.code) for a in queries.attempts(made[0].seq)] == [
            (1, "unreachable"),
            (51, "AR"),
            (52, "unreachable"),
        ]

    def test_of_many_attempts_the_first_and_the_last_are_kept(self, store: Store, queries: StoreQueries) -> None:
        (made,) = store.commit(Batch([intake(EPR)])).deliveries
        for number in range(1, 101):
            store.commit(Batch(results=[result(made[0], "queued", attempts=number, code="AR")]))
        kept = [attempt.number for attempt in queries.attempts(made[0].seq)]
        assert kept == [1, 2, 3, 4, 5, *range(86, 101)]

    def test_since_when_a_delivery_is_tried_outlives_a_crash_and_a_release_begins_anew(self, bench: StoreBench) -> None:
        (made,) = bench.store.commit(Batch([intake(EPR)])).deliveries
        first = result(made[0], "queued", attempts=1, at_us=T0 + 5, code="AR", since_us=T0 + 5)
        second = result(made[0], "queued", attempts=2, at_us=T0 + 9, code="AR")
        bench.store.commit(Batch(results=[first, second]))
        store = bench.restart(clean=False)
        (waiting,) = store.queued(LAB, EPR, FIRST, 10)
        assert (waiting.attempts, waiting.since_us, waiting.counted_from) == (2, T0 + 5, 0)
        store.commit(Batch(results=[result(made[0], "held", attempts=3, at_us=T0 + 10, code="AR")]))
        store.move_deliveries([made[0].id], "queued", "released")
        (waiting,) = store.queued(LAB, EPR, FIRST, 10)
        assert (waiting.attempts, waiting.since_us, waiting.counted_from) == (3, 0, 0)
        store.commit(Batch(results=[result(made[0], "queued", attempts=4, at_us=T0 + 20, since_us=T0 + 20)]))
        (waiting,) = store.queued(LAB, EPR, FIRST, 10)
        assert (waiting.attempts, waiting.since_us, waiting.counted_from) == (4, T0 + 20, 3)
        queries = store.queries()
        assert [attempt.number for attempt in queries.attempts(made[0].seq)] == [1, 2, 3, 4]
        queries.close()

    # -- lanes ----------------------------------------------------------------------------------

    def test_a_lane_reads_its_queue_in_order_and_in_slices(self, store: Store) -> None:
        store.commit(Batch([intake(EPR, RIS) for _ in range(5)] + [intake(EPR, channel=ADT)]))
        first = store.queued(LAB, EPR, FIRST, 2)
        rest = store.queued(LAB, EPR, first[-1].id, 10)
        assert [d.seq for d in first] == [1, 2]
        assert [d.seq for d in rest] == [3, 4, 5]
        assert list(store.queued(LAB, EPR, rest[-1].id, 10)) == []

    def test_a_lane_that_bounds_its_bytes_gets_at_least_one_and_then_the_rest(self, store: Store) -> None:
        store.commit(Batch([intake(EPR, raw=b"x" * 100) for _ in range(5)]))
        taken, after = [], FIRST
        while slice_ := store.queued(LAB, EPR, after, 10, most_bytes=150):
            after = slice_[-1].id
            taken.append(len(slice_))
        assert taken == [2, 2, 1]
        assert len(store.queued(LAB, EPR, FIRST, 10, most_bytes=1)) == 1

    def test_a_reader_reads_a_lane_as_the_store_does(self, store: Store, queries: StoreQueries) -> None:
        store.commit(Batch([intake(EPR) for _ in range(3)]))
        assert queries.queued(LAB, EPR, FIRST, 10) == store.queued(LAB, EPR, FIRST, 10)

    def test_depths_tell_what_waits_and_since_when(self, store: Store, queries: StoreQueries) -> None:
        given = [intake(EPR, RIS) for _ in range(4)]
        made = store.commit(Batch(given)).deliveries
        ends = [result(made[0][0]), result(made[1][0], "held"), result(made[2][0], "failed")]
        ends += [result(row[1]) for row in made]
        store.commit(Batch(results=ends))
        assert list(queries.depths()) == [
            LaneDepth(LAB, EPR, queued=1, held=1, oldest_us=given[3].received_at_us),
            LaneDepth(LAB, RIS, queued=0, held=0, oldest_us=0),
        ]
        assert list(queries.lanes()) == [(LAB, EPR), (LAB, RIS)]

    # -- stops ----------------------------------------------------------------------------------

    @pytest.mark.parametrize("clean", [True, False])
    def test_everything_committed_is_there_after_a_stop(self, clean: bool, bench: StoreBench) -> None:
        given = [intake(EPR) for _ in range(3)]
        made = bench.store.commit(Batch(given)).deliveries
        bench.store.commit(Batch(results=[result(made[0][0])]))
        version = bench.store.channel_version(LAB, {"channel.yaml": b"x"})
        store = bench.restart(clean=clean)
        queries = store.queries()
        assert [m.raw for m in queries.messages(newest_first=False, bodies=True)] == [i.raw for i in given]
        assert [d.id for d in store.queued(LAB, EPR, FIRST, 10)] == [2, 3]
        assert store.channel_version(LAB, {"channel.yaml": b"x"}) == version
        assert dict(queries.counts()) == {(LAB, "processed"): 3}
        after = store.commit(Batch([intake(EPR)]))
        assert (after.seqs, after.deliveries[0][0].id) == ([4], 4)
        queries.close()

    def test_after_a_clean_stop_nothing_is_suspected_of_having_been_sent(self, bench: StoreBench) -> None:
        bench.store.lane_window(LAB, EPR, 2)
        bench.store.commit(Batch([intake(EPR) for _ in range(4)]))
        store = bench.restart(clean=True)
        assert [d.maybe_sent for d in store.queued(LAB, EPR, FIRST, 10)] == [False] * 4

    def test_after_a_crash_the_first_of_each_lane_may_have_been_sent(self, bench: StoreBench) -> None:
        """P5: at most `window` of a lane go twice, and those are marked."""
        bench.store.lane_window(LAB, EPR, 2)
        made = bench.store.commit(Batch([intake(EPR, RIS) for _ in range(5)])).deliveries
        bench.store.commit(Batch(results=[result(made[0][0])]))
        store = bench.restart(clean=False)
        assert [d.maybe_sent for d in store.queued(LAB, EPR, FIRST, 10)] == [True, True, False, False]
        assert [d.maybe_sent for d in store.queued(LAB, RIS, FIRST, 10)] == [True, False, False, False, False]
        queries = store.queries()
        assert [row.maybe_sent for row in queries.deliveries(MessageSeq(2))] == [True, False]
        queries.close()

    @pytest.mark.parametrize("how", ["moved", "operated"])
    def test_what_a_release_overtakes_may_have_been_under_way_at_a_crash(self, how: str, bench: StoreBench) -> None:
        """The released one is then the first of its lane, and the one that its lane had in hand is not."""
        bench.store.lane_window(LAB, EPR, 1)
        ((held,), *_) = bench.store.commit(Batch([intake(EPR) for _ in range(4)])).deliveries
        bench.store.commit(Batch(results=[result(held, "held")]))
        if how == "moved":
            bench.store.move_deliveries([held.id], "queued", "released")
        else:
            bench.store.operate(Change(By("anna"), "release", "release", [(held.id, "held")]))
        store = bench.restart(clean=False)
        assert [d.maybe_sent for d in store.queued(LAB, EPR, FIRST, 10)] == [True, True, False, False]

    def test_after_a_crash_the_window_that_counts_is_that_of_the_run_that_crashed(self, bench: StoreBench) -> None:
        bench.store.lane_window(LAB, EPR, 9)
        store = bench.restart(clean=True)
        store.lane_window(LAB, EPR, 1)
        store.lane_window(LAB, EPR, 3)
        store.lane_window(LAB, EPR, 2)  # what was sent under 3 may still be on its way
        store.commit(Batch([intake(EPR) for _ in range(5)]))
        store = bench.restart(clean=False)
        store.lane_window(LAB, EPR, 1)
        assert [d.maybe_sent for d in store.queued(LAB, EPR, FIRST, 10)] == [True] * 3 + [False] * 2

    def test_a_second_engine_is_refused_while_the_first_runs(self, bench: StoreBench) -> None:
        second = bench.second()
        with pytest.raises(StoreInUse):
            second.open()
        assert bench.store.commit(Batch([intake()])).seqs == [1]

    def test_a_store_that_is_not_open_does_nothing(self, bench: StoreBench) -> None:
        bench.store.close()
        bench.store.close()
        with pytest.raises(StoreError):
            bench.store.commit(Batch([intake()]))
        with pytest.raises(StoreError):
            bench.store.move_deliveries([], "queued", "")

    # -- damage ---------------------------------------------------------------------------------

    def test_damaged_bytes_are_never_sent_and_the_others_are(self, bench: StoreBench) -> None:
        """D7: the delivery is set aside with a note, and the lane goes on."""
        bench.store.commit(Batch([intake(EPR), intake(EPR, RIS, bodies=(None, b"changed")), intake(EPR)]))
        bench.damage(MessageSeq(2))
        store = bench.restart(clean=True)
        assert [d.seq for d in store.queued(LAB, EPR, FIRST, 2)] == [1, 3]
        assert [d.body for d in store.queued(LAB, RIS, FIRST, 2)] == [b"changed"]
        queries = store.queries()
        row = queries.deliveries(MessageSeq(2))[0]
        assert (row.state, bool(row.note)) == ("held", True)
        assert [(d.queued, d.held) for d in queries.depths()] == [(2, 1), (1, 0)]
        queries.close()

    def test_a_reader_that_meets_damaged_bytes_leaves_them_out_and_the_next_commit_sets_them_aside(
        self, bench: StoreBench
    ) -> None:
        bench.store.commit(Batch([intake(EPR), intake(EPR)]))
        bench.damage(MessageSeq(1))
        store = bench.restart(clean=True)
        queries = store.queries()
        assert [d.seq for d in queries.queued(LAB, EPR, FIRST, 10)] == [2]
        store.commit(Batch([intake()]))
        assert queries.deliveries(MessageSeq(1))[0].state == "held"
        queries.close()

    def test_damaged_bytes_are_never_shown_as_the_message(self, bench: StoreBench) -> None:
        bench.store.commit(Batch([intake(EPR)]))
        bench.damage(MessageSeq(1))
        store = bench.restart(clean=True)
        queries = store.queries()
        for stored in (queries.message(MessageSeq(1)), next(queries.messages(bodies=True))):
            assert stored is not None
            assert stored.raw is None
            assert "checksum" in load_findings(stored.findings)[-1].text
        (row,) = queries.deliveries(MessageSeq(1), bodies=True)
        assert row.body is None
        assert "checksum" in row.note
        queries.close()

    def test_a_message_whose_bytes_are_damaged_before_its_first_run_is_held(self, bench: StoreBench) -> None:
        bench.store.commit(Batch([intake(state="received") for _ in range(3)]))
        bench.damage(MessageSeq(2))
        store = bench.restart(clean=False)
        assert [m.seq for m in store.unprocessed(LAB, MessageSeq(0), 2)] == [1, 3]
        queries = store.queries()
        stored = queries.message(MessageSeq(2))
        assert stored is not None
        assert stored.state == "held"
        assert dict(queries.counts()) == {(LAB, "received"): 2, (LAB, "held"): 1}
        queries.close()

    def test_damaged_bytes_cannot_be_sent_again_nor_released(self, bench: StoreBench) -> None:
        bench.store.commit(Batch([intake(EPR), intake(state="held")]))
        bench.damage(MessageSeq(1))
        bench.damage(MessageSeq(2))
        store = bench.restart(clean=True)
        with pytest.raises(StoreError):
            store.add_deliveries(MessageSeq(1), None)
        released = Reprocessed(MessageSeq(2), LAB, VersionId(1), "processed", "", [DraftDelivery(EPR, None)])
        assert store.commit(Batch(reprocessed=[released])).released == [[]]
        queries = store.queries()
        assert [row.state for row in queries.deliveries(MessageSeq(2))] == ["held"]
        queries.close()

    # -- what came before -----------------------------------------------------------------------

    def test_a_stop_that_could_not_record_everything_is_marked_as_a_kill(self, bench: StoreBench) -> None:
        bench.store.lane_window(LAB, EPR, 1)
        bench.store.commit(Batch([intake(EPR), intake(EPR)]))
        bench.store.close(clean=False)
        store = bench.restart(clean=False)
        assert [d.maybe_sent for d in store.queued(LAB, EPR, FIRST, 10)] == [True, False]

    def test_a_resend_is_known_by_channel_sender_and_control_id(self, store: Store, queries: StoreQueries) -> None:
        same: dict[str, Any] = {"control_id": "A1", "sender": "HIS|MAIN"}
        store.commit(
            Batch(
                [
                    intake(**same, body_hash=b"1" * 16, ack_code="AA", ack=b"ack1", received_at_us=T0),
                    intake(**same, body_hash=b"2" * 16, ack_code="AE", ack=b"ack2", received_at_us=T0 + 10),
                    intake(**{**same, "sender": "LIS|MAIN"}),
                    intake(**same, channel=ADT),
                    intake(**{**same, "control_id": "A2"}),
                ]
            )
        )
        found = store.known(LAB, "HIS|MAIN", "A1", 0)
        assert [(k.seq, k.body_hash, k.received_at_us, k.ack_code, k.ack) for k in found] == [
            (2, b"2" * 16, T0 + 10, "AE", b"ack2"),
            (1, b"1" * 16, T0, "AA", b"ack1"),
        ]
        assert [k.seq for k in store.known(LAB, "HIS|MAIN", "A1", T0 + 1)] == [2]
        assert queries.known(LAB, "HIS|MAIN", "A1", T0 + 1) == store.known(LAB, "HIS|MAIN", "A1", T0 + 1)

    def test_a_rejected_message_is_not_known_but_for_one_that_was_accepted_when_stored(self, store: Store) -> None:
        same: dict[str, Any] = {"control_id": "A1", "state": "rejected"}
        given = [intake(**same, ack_code=code) for code in ("AR", "AE", "CR", "CE", "", "AA", "CA")]
        store.commit(Batch([*given, intake(control_id="A1", state="held", ack_code="AE")]))
        assert [(k.seq, k.ack_code) for k in store.known(LAB, "HIS|MAIN", "A1", 0)] == [(8, "AE"), (7, "CA"), (6, "AA")]

    def test_a_sender_that_never_changes_its_control_id_costs_no_more_than_another(self, store: Store) -> None:
        store.commit(Batch([intake(control_id="1") for _ in range(50)]))
        assert [k.seq for k in store.known(LAB, "HIS|MAIN", "1", 0)] == list(range(50, 34, -1))

    def test_recent_ids_say_whether_they_are_all(self, store: Store) -> None:
        store.commit(Batch([intake(control_id=f"A{n}", received_at_us=T0 + n) for n in range(4)]))
        assert store.recent_ids(T0 + 1, 3) == ([(LAB, "HIS|MAIN", f"A{n}") for n in (3, 2, 1)], True)
        assert store.recent_ids(T0, 3) == ([(LAB, "HIS|MAIN", f"A{n}") for n in (3, 2, 1)], False)
        assert store.recent_ids(T0 + 100 * HOUR_US, 3) == ([], True)

    def test_how_many_were_received_since_is_never_told_too_low(self, store: Store) -> None:
        assert store.received_since(0) == 0
        store.commit(Batch([intake(control_id=f"A{n}", received_at_us=T0 + n * HOUR_US) for n in range(4)]))
        assert store.received_since(0) == store.received_since(T0) == 4
        assert 2 <= store.received_since(T0 + 2 * HOUR_US) <= 4
        assert store.received_since(T0 + 100 * HOUR_US) == 0
        store.commit(Batch([intake(control_id="B", received_at_us=T0)]))  # the clock was set back
        assert store.received_since(T0 + 3 * HOUR_US) >= 1

    def test_unprocessed_messages_come_in_order_with_their_bytes(self, store: Store) -> None:
        given = [intake(state="received") for _ in range(4)]
        store.commit(Batch([*given, intake(), intake(state="received", channel=ADT)]))
        store.commit(Batch(reprocessed=[Reprocessed(MessageSeq(2), LAB, VersionId(1), "filtered")]))
        found = store.unprocessed(LAB, MessageSeq(0), 2)
        assert [(m.seq, m.raw) for m in found] == [(1, given[0].raw), (3, given[2].raw)]
        assert [m.seq for m in store.unprocessed(LAB, MessageSeq(3), 2)] == [4]

    # -- fragments ------------------------------------------------------------------------------

    def test_fragments_wait_in_order_with_their_bytes_and_over_a_crash(self, bench: StoreBench) -> None:
        given = [intake(state="waiting") for _ in range(4)]
        bench.store.commit(Batch([*given, intake(), intake(state="waiting", channel=ADT)]))
        store = bench.restart(clean=False)
        found = store.waiting(LAB, MessageSeq(0), 3)
        assert [(m.seq, m.raw, m.control_id) for m in found] == [
            (seq, given[seq - 1].raw, given[seq - 1].control_id) for seq in (1, 2, 3)
        ]
        assert [m.seq for m in store.waiting(LAB, MessageSeq(3), 3)] == [4]
        assert not store.unprocessed(LAB, MessageSeq(0), 3)

    def test_fragments_move_on_with_the_message_that_is_made_of_them(self, store: Store, queries: StoreQueries) -> None:
        store.commit(Batch([intake(state="waiting", ack_code="CA", ack=b"a%d" % n) for n in range(3)]))
        seqs = [MessageSeq(n) for n in (1, 2, 3)]
        whole = intake(EPR, parts=Parts(seqs, ack_code="AA", ack=b"all"))
        committed = store.commit(Batch([whole]))
        assert [(m.state, m.ack_code, m.ack) for m in map(queries.message, seqs) if m] == [
            ("joined", "CA", b"a0"),
            ("joined", "CA", b"a1"),
            ("joined", "AA", b"all"),
        ]
        assert [d.body for d in committed.deliveries[0]] == [whole.raw]
        assert dict(queries.counts()) == {(LAB, "joined"): 3, (LAB, "processed"): 1} | {
            key: 0 for key in queries.counts() if key[1] == "waiting"
        }
        assert not store.waiting(LAB, MessageSeq(0), 10)
        again = store.commit(Batch([whole]))
        assert again.seqs == committed.seqs

    def test_fragments_of_a_rejected_message_are_rejected_with_it_and_keep_their_answers(
        self, store: Store, queries: StoreQueries
    ) -> None:
        store.commit(Batch([intake(state="waiting", ack_code="CA", ack=b"a")]))
        store.commit(Batch([intake(state="rejected", parts=Parts([MessageSeq(1)], "rejected"))]))
        assert [(m.state, m.ack) for m in queries.messages(newest_first=False)] == [
            ("rejected", b"a"),
            ("rejected", b""),
        ]

    @pytest.mark.parametrize("before", [state for state in MESSAGE_STATES if state != "waiting"])
    def test_only_what_waits_can_become_a_part_and_nothing_is_kept_otherwise(
        self, before: MessageState, store: Store, queries: StoreQueries
    ) -> None:
        store.commit(Batch([intake(state="waiting"), intake(state=before)]))
        for parts in (Parts([MessageSeq(1), MessageSeq(2)]), Parts([MessageSeq(1), MessageSeq(9)])):
            with pytest.raises(IllegalMove):
                store.commit(Batch([intake(EPR), intake(EPR, parts=parts)]))
        assert [m.state for m in queries.messages(newest_first=False)] == ["waiting", before]
        assert not store.queued(LAB, EPR, FIRST, 10)

    def test_a_fragment_whose_bytes_are_damaged_is_held(self, bench: StoreBench) -> None:
        bench.store.commit(Batch([intake(state="waiting") for _ in range(2)]))
        bench.damage(MessageSeq(1))
        store = bench.restart(clean=True)
        assert [m.seq for m in store.waiting(LAB, MessageSeq(0), 10)] == [2]
        queries = store.queries()
        assert [m.state for m in queries.messages(newest_first=False)] == ["held", "waiting"]
        queries.close()

    def test_what_is_known_of_a_message_says_its_state(self, store: Store, queries: StoreQueries) -> None:
        store.commit(Batch([intake(control_id="A1", state=state) for state in ("waiting", "held", "processed")]))
        for side in (store, queries):
            assert [k.state for k in side.known(LAB, "HIS|MAIN", "A1", 0)] == ["processed", "held", "waiting"]

    def test_the_same_files_are_the_same_version_and_can_be_had_back(self, store: Store, queries: StoreQueries) -> None:
        files = {"channel.yaml": b"a", "tables/x.csv": b"b"}
        first = store.channel_version(LAB, files)
        second = store.channel_version(LAB, {**files, "tables/x.csv": b"c"})
        moved = store.channel_version(LAB, {"channel.yaml": b"b", "tables/x.csv": b"a"})
        assert len({first, second, moved, store.channel_version(ADT, files)}) == 4
        assert store.channel_version(LAB, dict(reversed(files.items()))) == first
        assert queries.version_files(first) == files
        assert queries.version_files(second) == {**files, "tables/x.csv": b"c"}

    # -- answers that come later ----------------------------------------------------------------

    def test_a_destinations_answer_and_what_the_sender_is_told_by_it_are_one_transaction(
        self, store: Store, queries: StoreQueries
    ) -> None:
        ((first,), (second,)) = store.commit(
            Batch([intake(EPR, control_id="A1", ack_code="CA"), intake(EPR)])
        ).deliveries
        told = result(first, ack_code="AA", ack=b"MSA|CA\x1c\r\x0bMSA|AA\r")
        with pytest.raises(IllegalMove):
            store.commit(Batch(results=[told, result(second), result(second)]))
        assert [k.ack_code for k in store.known(LAB, "HIS|MAIN", "A1", 0)] == ["CA"]
        store.commit(Batch(results=[result(second), told]))
        (known,) = queries.known(LAB, "HIS|MAIN", "A1", 0)
        assert (known.ack_code, known.ack) == ("AA", told.ack)
        other = queries.message(second.seq)
        assert other is not None
        assert (other.ack_code, other.ack) == ("", b"")

    def test_an_answer_that_was_positive_is_never_replaced(self, store: Store, queries: StoreQueries) -> None:
        ((first,),) = store.commit(Batch([intake(EPR, ack_code="AE", ack=b"no")])).deliveries
        store.commit(Batch(results=[result(first, "queued", ack_code="AA", ack=b"yes")]))
        store.commit(Batch(results=[result(first, "held", attempts=2, ack_code="AE", ack=b"no again")]))
        late, missing = AckUpdate(first.seq, "AE", b"too late"), AckUpdate(MessageSeq(77), "AE", b"nobody's")
        assert store.amend_acks([late, missing]) == [AckUpdate(first.seq, "AA", b"yes"), missing]
        assert store.amend_acks([AckUpdate(first.seq, "AA", b"another")]) == [AckUpdate(first.seq, "AA", b"yes")]
        stored = queries.message(first.seq)
        assert stored is not None
        assert (stored.ack_code, stored.ack) == ("AA", b"yes")

    def test_answers_to_one_message_at_a_time_are_amended_one_after_the_other(
        self, store: Store, queries: StoreQueries
    ) -> None:
        (seq, other) = store.commit(Batch([intake(), intake()])).seqs
        told = [(seq, "AE", b"no"), (other, "AA", b"another's"), (seq, "AA", b"yes"), (seq, "AA", b"late")]
        told += [(seq, "AE", b"too late")]
        stored = store.amend_acks([AckUpdate(*one) for one in told])
        assert [(one.seq, one.ack_code, one.ack) for one in stored] == [*told[:3], told[2], told[2]]
        kept = queries.message(seq)
        assert kept is not None
        assert (kept.ack_code, kept.ack) == ("AA", b"yes")

    def test_answers_are_amended_with_what_was_found(self, bench: StoreBench) -> None:
        before, late = Finding("W202", "warning", "no route"), Finding("E238", "error", "no answer in time")
        (seq, other) = bench.store.commit(Batch([intake(findings=dump_findings([before])), intake()])).seqs
        updates = [AckUpdate(seq, "AE", b"no", [late]), AckUpdate(MessageSeq(77), "AE", b"", [late])]
        assert [told.ack for told in bench.store.amend_acks(updates)] == [b"no", b""]
        queries = bench.restart(clean=False).queries()
        stored, untouched = queries.message(seq), queries.message(other)
        queries.close()
        assert stored is not None
        assert untouched is not None
        assert (stored.ack_code, stored.ack) == ("AE", b"no")
        assert load_findings(stored.findings) == (before, late)
        assert (untouched.ack_code, untouched.findings) == ("", "")

    def test_sequence_numbers_are_kept_with_the_message_that_has_them(self, bench: StoreBench) -> None:
        store = bench.store
        numbered = [intake(sequence=1), intake(sender="B|", sequence=7), intake(sequence=2), intake()]
        store.commit(Batch(numbered))
        with pytest.raises(ValueError, match=r"hold|encode"):
            store.commit(Batch([intake(sequence=3), intake(sender="\udce9|")]))
        store.commit(Batch([intake(channel=ADT, sequence=9), intake(sender="B|", sequence=-1)]))
        assert dict(store.last_sequences(LAB)) == {"HIS|MAIN": 2}
        store = bench.restart(clean=False)
        assert dict(store.last_sequences(LAB)) == {"HIS|MAIN": 2}
        assert dict(store.last_sequences(ADT)) == {"HIS|MAIN": 9}
        assert dict(store.last_sequences(ChannelName("other"))) == {}

    # -- lists ----------------------------------------------------------------------------------

    @pytest.fixture
    def listed(self, store: Store) -> Committed:
        """Five hundred and some messages: three of interest among many that are not."""
        rows = [intake(EPR, received_at_us=T0 + n * HOUR_US // 100) for n in range(520)]
        rows[3].state, rows[200].state, rows[510].state = "held", "rejected", "held"
        rows[7].channel, rows[300].channel = ADT, ADT
        rows[8].control_id = rows[301].control_id = "SAME"
        committed = store.commit(Batch(rows))
        ends = [result(made[0]) for made in committed.deliveries]
        ends[20].state, ends[21].state, ends[400].state = "held", "failed", "held"
        del ends[50]
        store.commit(Batch(results=ends))
        return committed

    @pytest.mark.parametrize(
        ("filters", "seqs"),
        [
            ({"states": ["held"]}, [4, 511]),
            ({"states": ["held", "rejected"]}, [4, 201, 511]),
            ({"states": ["held", "processed"], "control_id": "SAME"}, [9, 302]),
            ({"states": ["filtered"]}, []),
            ({"channel": ADT}, [8, 301]),
            ({"channel": ADT, "states": ["held"]}, []),
            ({"control_id": "SAME"}, [9, 302]),
            ({"control_id": "SAME", "before": 302}, [9]),
            ({"delivery_states": ["held"]}, [21, 401]),
            ({"delivery_states": ["held", "failed"]}, [21, 22, 401]),
            ({"delivery_states": ["queued"]}, [51]),
            ({"delivery_states": ["queued", "failed"], "before": 51}, [22]),
            ({"delivery_states": ["delivered"], "channel": ADT}, [8, 301]),
            ({"since_us": T0 + 5 * HOUR_US + 1, "until_us": T0 + 5 * HOUR_US + HOUR_US // 50}, [502, 503]),
            ({"since_us": T0 + 3 * HOUR_US, "states": ["held"]}, [511]),
            ({"until_us": T0, "since_us": T0}, [1]),
            ({"until_us": T0 - 1}, []),
            ({"since_us": T0 + 900 * HOUR_US}, []),
            ({"before": 3}, [1, 2]),
            ({}, list(range(1, 521))),
        ],
        ids=repr,
    )
    def test_a_list_holds_what_matches_in_either_order(
        self, filters: dict[str, Any], seqs: list[int], listed: Committed, queries: StoreQueries
    ) -> None:
        assert seqs_of(queries, **filters, newest_first=False) == seqs
        assert seqs_of(queries, **filters) == seqs[::-1]

    def test_a_list_is_exact_when_the_clock_jumped(self, store: Store, queries: StoreQueries) -> None:
        """E3: order is the order of receipt, whatever the clock said."""
        for hours in (0, 1, 400, 2, 3, -50, 4):
            store.commit(Batch([intake(received_at_us=T0 + hours * HOUR_US, control_id="A")]))
        assert seqs_of(queries, since_us=T0 + 2 * HOUR_US) == [7, 5, 4, 3]
        assert seqs_of(queries, until_us=T0 + HOUR_US) == [6, 2, 1]
        assert [k.seq for k in store.known(LAB, "HIS|MAIN", "A", T0 + 3 * HOUR_US)] == [7, 5, 3]

    def test_a_list_may_be_left_and_the_store_written_meanwhile(self, store: Store, queries: StoreQueries) -> None:
        store.commit(Batch([intake() for _ in range(600)]))
        some = queries.messages()
        assert next(some).seq == 600
        store.commit(Batch([intake()]))
        assert [m.seq for m in some] == list(range(599, 0, -1))

    def test_counts_follow_every_move(self, store: Store, queries: StoreQueries) -> None:
        store.commit(Batch([intake(state="held"), intake(state="held"), intake(channel=ADT)]))
        assert dict(queries.counts()) == {(LAB, "held"): 2, (ADT, "processed"): 1}
        store.commit(Batch([intake()], [Reprocessed(MessageSeq(1), LAB, VersionId(1), "discarded")]))
        assert dict(queries.counts()) == {
            (LAB, "held"): 1,
            (LAB, "discarded"): 1,
            (LAB, "processed"): 1,
            (ADT, "processed"): 1,
        }

    # -- forgetting -----------------------------------------------------------------------------

    @pytest.fixture
    def aged(self, store: Store) -> Committed:
        """Ten messages, an hour apart: 1 to 8 of LAB to EPR with bytes of their own, 9 and 10 of ADT without any."""
        rows = [
            intake(EPR, bodies=[b"sent %d" % n], received_at_us=T0 + n * HOUR_US, ack=b"MSA|AA|1") for n in range(1, 9)
        ]
        rows += [intake(channel=ADT, state="filtered", received_at_us=T0 + n * HOUR_US) for n in (9, 10)]
        rows[2].state = "held"
        rows[2].deliveries = []
        committed = store.commit(Batch(rows))
        ends = [result(made[0], answer=b"MSA|AA|1") for made in committed.deliveries if made]
        ends[3].state, ends[4].state = "held", "failed"  # of messages 5 and 6
        del ends[2]  # message 4 waits
        store.commit(Batch(results=ends))
        return committed

    def _forget(self, store: Store, bodies_h: float, messages_h: float, channel: ChannelName | None = LAB) -> Pruned:
        def at_us(hours: float) -> int:
            return 0 if not hours else T0 + int(hours * HOUR_US)

        return store.prune(Prune(channel, at_us(bodies_h), at_us(messages_h), MessageSeq(0), 100, T0 + 1000 * HOUR_US))

    def test_old_bytes_go_and_what_is_known_of_the_message_stays(
        self, aged: Committed, store: Store, queries: StoreQueries
    ) -> None:
        pruned = self._forget(store, 2.5, 0)
        assert (pruned.bodies, pruned.messages, pruned.after) == (2, 0, None)
        for seq in (MessageSeq(1), MessageSeq(2)):
            message = queries.message(seq)
            assert message is not None and message.raw is None and message.state == "processed" and message.ack
            assert load_findings(message.findings) == (), "gone is not damaged"
            (delivery,) = queries.deliveries(seq, bodies=True)
            assert (delivery.state, delivery.body, delivery.answer) == ("delivered", None, b"")
        assert (third := queries.message(MessageSeq(7))) is not None and third.raw is not None
        assert self._forget(store, 2.5, 0) == Pruned(0, 0, None)

    def test_what_waits_or_is_held_stays_however_old_it_is(
        self, aged: Committed, store: Store, queries: StoreQueries
    ) -> None:
        pruned = self._forget(store, 0, 1000)
        assert (pruned.bodies, pruned.messages) == (0, 5)
        assert seqs_of(queries, newest_first=False) == [3, 4, 5, 9, 10]
        assert all((m := queries.message(MessageSeq(seq))) is not None and m.raw for seq in (3, 4, 5))
        assert [d.seq for d in store.queued(LAB, EPR, FIRST, 10)] == [4]

    def test_every_finished_state_is_forgotten_and_no_other(self, store: Store, queries: StoreQueries) -> None:
        rows = [intake(received_at_us=T0, state=state) for state in MESSAGE_STATES]
        store.commit(Batch(rows))
        self._forget(store, 0, 1000)
        assert {m.state for m in queries.messages()} == set(MESSAGE_STATES) - FINISHED

    def test_a_message_that_is_given_up_goes_as_any_other(
        self, aged: Committed, store: Store, queries: StoreQueries
    ) -> None:
        self._forget(store, 0, 6.5)
        assert queries.message(MessageSeq(6)) is None and queries.deliveries(MessageSeq(6)) == []

    def test_counts_follow_what_was_forgotten(self, aged: Committed, store: Store, queries: StoreQueries) -> None:
        self._forget(store, 0, 1000, None)
        assert {key: n for key, n in queries.counts().items() if n} == {(LAB, "held"): 1, (LAB, "processed"): 2}

    def test_only_the_named_channel_forgets(self, aged: Committed, store: Store, queries: StoreQueries) -> None:
        assert self._forget(store, 0, 1000, ADT).messages == 2
        assert seqs_of(queries, channel=LAB, newest_first=False) == list(range(1, 9))

    def test_it_goes_on_behind_the_last_slice(self, aged: Committed, store: Store, queries: StoreQueries) -> None:
        after: MessageSeq | None = MessageSeq(0)
        slices = 0
        while after is not None:
            slices += 1
            after = store.prune(Prune(LAB, 0, T0 + 1000 * HOUR_US, after, 3, T0 + 1000 * HOUR_US)).after
        assert slices == 4
        assert seqs_of(queries, newest_first=False) == [3, 4, 5, 9, 10]

    def test_no_more_bytes_go_at_once_than_may(self, store: Store, queries: StoreQueries) -> None:
        """What has more alone is told of, and what is before it goes first."""
        store.commit(
            Batch([intake(raw=b"MSH|" + b"x" * size, received_at_us=T0) for size in (3000, 3000, 3000, 30_000, 3000)])
        )
        order = Prune(LAB, T0 + HOUR_US, 0, MessageSeq(0), 100, T0 + 1000 * HOUR_US, most_bytes=8000)
        found = [store.prune(order)]
        while (after := found[-1].after) is not None:
            found.append(store.prune(replace(order, after=after, most_bytes=None if found[-1].is_large else 8000)))
            if found[-2].is_large:
                break
        assert [(one.bodies, one.after, one.is_large) for one in found] == [
            (2, 2, False),
            (1, 3, False),
            (0, 3, True),
            (2, None, False),
        ]
        assert all((m := queries.message(MessageSeq(seq))) is not None and m.raw is None for seq in range(1, 6))

    def test_no_id_is_given_again_after_everything_was_forgotten(self, bench: StoreBench) -> None:
        store = bench.store
        committed = store.commit(Batch([intake(EPR, received_at_us=T0)]))
        store.commit(Batch(results=[result(committed.deliveries[0][0])]))
        store.prune(Prune(None, 0, T0 + 1000 * HOUR_US, MessageSeq(0), 100, T0 + 1000 * HOUR_US))
        again = bench.restart(clean=False).commit(Batch([intake(EPR)]))
        assert again.seqs == [2] and again.deliveries[0][0].id > committed.deliveries[0][0].id

    def test_a_resend_of_what_lost_its_bytes_still_gets_its_answer(self, aged: Committed, store: Store) -> None:
        asked = intake(control_id="AGAIN", received_at_us=T0, ack=b"MSA|AA|AGAIN")
        store.commit(Batch([asked]))
        self._forget(store, 1000, 0)
        (known,) = store.known(LAB, asked.sender, "AGAIN", 0)
        assert known.ack == b"MSA|AA|AGAIN"

    def test_a_resend_to_a_destination_is_refused_when_its_bytes_are_gone(self, aged: Committed, store: Store) -> None:
        self._forget(store, 1000, 0)
        with pytest.raises(StoreError):
            store.add_deliveries(MessageSeq(1), None)

    def test_what_came_after_a_young_message_is_young_whatever_its_own_time_says(
        self, store: Store, queries: StoreQueries
    ) -> None:
        """The clock was behind when the third and fourth came: order is the order of receipt."""
        hours = [0, 100, -1000, 20, 101]
        store.commit(Batch([intake(received_at_us=T0 + hour * HOUR_US, state="filtered") for hour in hours]))
        order = Prune(LAB, T0 + 99 * HOUR_US, T0 + 50 * HOUR_US, MessageSeq(0), 100, T0 + 102 * HOUR_US)
        assert store.prune(order) == Pruned(0, 1, None)
        order = Prune(LAB, T0 + 101 * HOUR_US, T0 + 50 * HOUR_US, MessageSeq(0), 100, T0 + 102 * HOUR_US)
        assert store.prune(order) == Pruned(3, 0, None), "too young to go whole, old enough to lose their bytes"
        assert [m.raw is None for m in queries.messages(newest_first=False, bodies=True)] == [True, True, True, False]

    def test_a_clock_that_was_set_back_a_little_makes_no_message_old(self, store: Store) -> None:
        """What came before it was set back is ahead of it, and tells the age of the second all the same."""
        store.commit(Batch([intake(received_at_us=T0 + h * HOUR_US, state="filtered") for h in (100, -1000)]))
        order = Prune(LAB, 0, T0 + 50 * HOUR_US, MessageSeq(0), 100, T0 + 80 * HOUR_US)
        assert store.prune(order) == Pruned(0, 0, None)

    def test_a_time_of_receipt_that_is_yet_to_come_makes_nothing_young(self, store: Store) -> None:
        """The clock was ahead when the first came."""
        store.commit(Batch([intake(received_at_us=T0 + h * HOUR_US, state="filtered") for h in (5000, 0, 1)]))
        order = Prune(LAB, 0, T0 + 50 * HOUR_US, MessageSeq(0), 100, T0 + 100 * HOUR_US)
        assert store.prune(order) == Pruned(0, 2, None)

    def test_what_was_young_is_so_after_a_restart_and_when_its_witness_is_gone(self, bench: StoreBench) -> None:
        hours = [100, -1000]
        bench.store.commit(
            Batch(
                [
                    intake(received_at_us=T0 + hour * HOUR_US, state="filtered", channel=channel)
                    for hour, channel in zip(hours, (ADT, LAB), strict=True)
                ]
            )
        )
        now_us = T0 + 103 * HOUR_US
        assert bench.store.prune(Prune(ADT, 0, T0 + 102 * HOUR_US, MessageSeq(0), 100, now_us)).messages == 1
        store = bench.restart(clean=False)
        assert store.prune(Prune(LAB, 0, T0 + 50 * HOUR_US, MessageSeq(0), 100, now_us)).messages == 0
        assert store.prune(Prune(LAB, 0, T0 + 100 * HOUR_US, MessageSeq(0), 100, now_us)).messages == 1

    def test_when_it_last_forgot_is_remembered(self, bench: StoreBench) -> None:
        assert bench.store.last_pruned_us() == 0
        bench.store.commit(Batch([intake(received_at_us=T0 + 5)]))
        assert bench.restart(clean=True).last_pruned_us() == T0 + 5, "the newest message tells, before the first"
        bench.store.note_time(T0 + 7)
        assert bench.restart(clean=False).last_pruned_us() == T0 + 7, "or what was noted"
        bench.store.prune(Prune(None, 0, 1, MessageSeq(0), 100, T0 + 1000 * HOUR_US))
        at_us = bench.store.last_pruned_us()
        assert at_us > 0 and bench.restart(clean=True).last_pruned_us() == at_us
        assert at_us == T0 + 1000 * HOUR_US, "the time that was gone by, whatever the clock says meanwhile"

    def test_what_is_forgotten_is_no_longer_counted_as_used(self, store: Store) -> None:
        store.commit(Batch([intake(raw=b"MSH|" + b"x" * 100_000, received_at_us=T0) for _ in range(10)]))
        before = store.used_bytes()
        store.prune(Prune(None, T0 + 1000 * HOUR_US, 0, MessageSeq(0), 100, T0 + 1000 * HOUR_US))
        assert store.used_bytes() <= before - 900_000
        while store.give_back(1_000_000):
            pass

    # -- checkpoints ----------------------------------------------------------------------------

    def test_a_checkpoint_is_wanted_after_much_was_written_and_changes_nothing(
        self, store: Store, queries: StoreQueries
    ) -> None:
        assert not store.wants_checkpoint()
        commits = 0
        while not store.wants_checkpoint(idle=True):
            store.commit(Batch([intake(EPR) for _ in range(8)]))
            commits += 1
            assert commits < 1000
        before = [(m.seq, m.raw) for m in queries.messages(bodies=True)]
        store.checkpoint()
        assert not store.wants_checkpoint(idle=True)
        assert [(m.seq, m.raw) for m in queries.messages(bodies=True)] == before
        store.commit(Batch([intake(EPR)]))
        assert len(seqs_of(queries)) == len(before) + 1

    # -- lanes with keys ------------------------------------------------------------------------

    @staticmethod
    def keyed(*deliveries: tuple[str | None, bool], **given: Any) -> Intake:
        """An intake with deliveries to EPR, of (key, urgent) each."""
        made = intake(**given)
        made.deliveries = [DraftDelivery(EPR, None, key, urgent) for key, urgent in deliveries]
        return made

    def test_a_delivery_keeps_its_key_and_its_urgency(self, store: Store, queries: StoreQueries) -> None:
        committed = store.commit(Batch([self.keyed(("P1", False), ("P2", True), (None, False), ("", False))]))
        kept = [("P1", False), ("P2", True), (None, False), ("", False)]
        assert [(d.key, d.urgent) for d in committed.deliveries[0]] == kept
        assert [(d.key, d.urgent) for d in store.queued(LAB, EPR, FIRST, 9)] == kept
        assert [(d.key, d.urgent) for d in queries.deliveries(MessageSeq(1))] == kept
        assert [(r.key, r.urgent) for r in queries.queued_rows(LAB, EPR, FIRST, 9)] == kept
        assert [queries.queued_delivery(d.id) for d in committed.deliveries[0]] == list(committed.deliveries[0])

    def test_a_repeated_intake_and_a_resend_have_the_key_of_the_first(self, store: Store) -> None:
        given = self.keyed(("P1", True))
        store.commit(Batch([given]))
        (again,) = store.commit(Batch([given])).deliveries[0]
        (resent,) = store.add_deliveries(MessageSeq(1), None)
        assert [(d.id, d.key, d.urgent) for d in (again, resent)] == [(1, "P1", True), (2, "P1", True)]

    def test_what_waits_is_read_in_order_by_key_by_urgency_and_by_time(
        self, store: Store, queries: StoreQueries
    ) -> None:
        keys = [("A", False), ("B", False), ("A", True), ("B", False), ("C", True)]
        made = [store.commit(Batch([self.keyed(key)])).deliveries[0][0] for key in keys]
        store.commit(Batch([intake(RIS), intake(EPR, channel=ADT)]))
        waits = {made[0].id: T0 + 50, made[1].id: T0 + 20}
        store.commit(Batch(results=[result(id_, "queued", next_at_us=at) for id_, at in waits.items()]))
        rows = queries.queued_rows(LAB, EPR, FIRST, 9)
        assert [(r.id, r.seq, r.first) for r in rows] == [(1, 1, 1), (2, 2, 2), (3, 3, 1), (4, 4, 2), (5, 5, 5)]
        assert [(r.attempts, r.next_at_us) for r in rows[:3]] == [(1, T0 + 50), (1, T0 + 20), (0, 0)]
        assert [r.id for r in queries.queued_rows(LAB, EPR, made[1].id, 2)] == [3, 4]
        assert queries.queued_before(LAB, EPR, made[3].id, 9) == [4, 3, 2, 1]
        assert queries.queued_before(LAB, EPR, made[3].id, 2) == [4, 3]
        assert queries.queued_before(LAB, EPR, FIRST, 9) == []
        assert [r.id for r in queries.queued_of_key(LAB, EPR, "A", FIRST, 9)] == [1, 3]
        assert [r.id for r in queries.queued_of_key(LAB, EPR, "A", made[0].id, 9)] == [3]
        assert [r.id for r in queries.queued_of_key(LAB, EPR, "B", FIRST, 1)] == [2]
        assert queries.queued_of_key(LAB, EPR, "D", FIRST, 9) == []
        assert [r.id for r in queries.queued_urgent(LAB, EPR, FIRST, 9)] == [3, 5]
        assert [r.id for r in queries.queued_urgent(LAB, EPR, made[2].id, 9)] == [5]
        assert [r.id for r in queries.queued_waiting(LAB, EPR, 0, 9)] == [2, 1]
        assert [r.id for r in queries.queued_waiting(LAB, EPR, T0 + 20, 9)] == [1]
        assert [d.blocked for d in queries.depths() if (d.channel, d.destination) == (LAB, EPR)] == [2]
        store.commit(Batch(results=[result(made[0])]))
        assert [(r.id, r.first) for r in queries.queued_of_key(LAB, EPR, "A", FIRST, 9)] == [(3, 3)]
        assert queries.queued_delivery(made[0].id) is None

    def test_an_order_holds_from_the_first_delivery_after_it_was_set(self, bench: StoreBench) -> None:
        store = bench.store
        assert store.lane_window(LAB, EPR, 1) == 0
        store.commit(Batch([self.keyed(("A", False), ("B", False))]))
        assert store.lane_window(LAB, EPR, 1, "PID-3.1") == 3
        store.commit(Batch([self.keyed(("A", False))]))
        assert store.lane_window(LAB, EPR, 2, "PID-3.1") == 3
        store = bench.restart(clean=True)
        assert store.lane_window(LAB, EPR, 1, "PID-3.1") == 3
        assert store.lane_window(LAB, EPR, 1, "PID-18") == 4
        assert store.lane_window(LAB, EPR, 1) == 4

    def test_in_a_lane_with_keys_what_has_none_has_the_empty_one(self, bench: StoreBench) -> None:
        store = bench.store
        store.commit(Batch([intake(EPR)]))
        store.lane_window(LAB, EPR, 1, "PID-3.1")
        made = store.commit(Batch([intake(EPR)])).deliveries[0]
        resent = store.add_deliveries(MessageSeq(1), None)
        assert [d.key for d in (*made, *resent)] == ["", ""]
        store = bench.restart(clean=True)
        store.commit(Batch([intake(EPR)]))
        assert [d.key for d in store.queued(LAB, EPR, FIRST, 9)] == [None, "", "", ""]
        store.lane_window(LAB, EPR, 1)
        assert store.commit(Batch([intake(EPR)])).deliveries[0][0].key is None

    def test_after_a_crash_all_that_waits_in_a_lane_with_keys_may_have_been_sent(self, bench: StoreBench) -> None:
        """Nobody can tell which key was under way; what came since, and what was through, is not suspected."""
        store = bench.store
        store.lane_window(LAB, EPR, 3, "PID-3.1")
        made = store.commit(Batch([self.keyed(("A", False)) for _ in range(4)])).deliveries
        store.commit(Batch(results=[result(made[0][0], at_us=T0 + 1)]))
        store = bench.restart(clean=False)
        store.lane_window(LAB, EPR, 3, "PID-3.1")
        store.commit(Batch([self.keyed(("A", False))]))
        assert [d.maybe_sent for d in store.queued(LAB, EPR, FIRST, 9)] == [True, True, True, False]
        queries = store.queries()
        assert [queries.deliveries(MessageSeq(seq))[0].maybe_sent for seq in range(1, 6)] == [
            False,
            True,
            True,
            True,
            False,
        ]
        suspected = queries.queued_delivery(made[1][0].id)
        assert suspected is not None and suspected.maybe_sent
        queries.close()
        store.commit(Batch(results=[result(made[1][0], maybe_sent=True)]))
        store = bench.restart(clean=True)
        assert [d.maybe_sent for d in store.queued(LAB, EPR, FIRST, 9)] == [True, True, False]
        store = bench.restart(clean=False)
        queries = store.queries()
        assert [queries.deliveries(MessageSeq(seq))[0].maybe_sent for seq in (1, 2, 3)] == [False, True, True]
        queries.close()
