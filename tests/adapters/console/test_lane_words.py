"""What a destination does now, in words; and what waits for it, page by page."""

from dataclasses import replace

import pytest

from engine.adapters.console.lane_words import blocked_keys, lane_row, lane_rows, left_lane, queue_page
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.ports.control import LaneStatus
from engine.ports.search import Found
from engine.ports.store import LaneDepth, QueuedRow, StoredDelivery, StoredMessage

LAB, EPR = ChannelName("lab"), DestinationName("epr")
LANE = LaneStatus(LAB, EPR, "idle", queued=0, held=0, oldest_us=0, attempts=0, last_note="")


def delivery(id_: int, seq: int, state: str = "queued", **more) -> StoredDelivery:
    plain = StoredDelivery(DeliveryId(id_), MessageSeq(seq), LAB, EPR, state, 0, 0, 0, "", "", False, None)
    return replace(plain, **more)


def message(seq: int) -> StoredMessage:
    return StoredMessage(MessageSeq(seq), LAB, 1, seq, "A|B", "", "ORU^R01", f"C{seq}", "processed", "AA", "", None)


class Store:
    """Some deliveries, as a store has them."""

    def __init__(self, *deliveries: StoredDelivery) -> None:
        self.all = deliveries
        self.asked: list[int] = []

    def message(self, seq):
        return message(seq)

    def deliveries(self, seq):
        return [one for one in self.all if one.seq == seq]

    def messages(self, *, channel, delivery_states, before):
        seqs = sorted({one.seq for one in self.all if one.state in delivery_states}, reverse=True)
        for seq in seqs:
            if before is None or seq < before:
                self.asked.append(seq)
                yield message(seq)

    def queued_rows(self, channel, destination, after, limit):
        rows = [one for one in self.all if one.state == "queued" and one.id > after][:limit]
        firsts = {}
        for one in self.all:
            firsts.setdefault(one.key, one.id)
        return [
            QueuedRow(
                one.id, one.seq, one.key, one.urgent, one.attempts, one.next_at_us, firsts[one.key] if one.key else None
            )
            for one in rows
        ]

    def queued_before(self, channel, destination, upto, limit):
        return [one.id for one in reversed(self.all) if one.state == "queued" and one.id <= upto][:limit]

    def seq_before(self, at_us):
        return MessageSeq(max(one.seq for one in self.all))

    def find(self, wanted, *, before, after, limit, bodies):
        seqs = {one.seq for one in self.all if one.state in wanted.delivery_states and after < one.seq < before}
        assert len(seqs) <= limit and wanted.channel == LAB
        return Found([message(seq) for seq in sorted(seqs, reverse=True)], None, len(seqs), 0)

    def queued_waiting(self, channel, destination, after_us, limit):
        rows = self.queued_rows(channel, destination, DeliveryId(0), 1000)
        return sorted((row for row in rows if row.next_at_us > after_us), key=lambda row: row.next_at_us)[:limit]

    def queued_of_key(self, channel, destination, key, after, limit):
        return [row for row in self.queued_rows(channel, destination, after, 1000) if row.key == key][:limit]


@pytest.mark.parametrize(
    ("lane", "state", "look", "words"),
    [
        ({}, "nothing waits", "quiet", ""),
        ({"held": 2}, "nothing queued", "warn", "waits for a person"),
        ({"state": "sending", "queued": 3}, "delivering", "ok", "it delivers"),
        ({"state": "idle", "queued": 3}, "delivering", "ok", "it delivers"),
        ({"state": "waiting", "queued": 3, "attempts": 2}, "waits to retry", "warn", "failed"),
        ({"state": "waiting", "queued": 3}, "delivering", "ok", "rate"),
        ({"state": "waiting", "queued": 3, "last_note": "closed until Mon 07:00"}, "outside its hours", "quiet", "Mon"),
        ({"state": "stopped", "queued": 1, "head": 7}, "stopped", "bad", "message 7"),
        ({"state": "down", "queued": 1}, "receiver down", "bad", "cannot be reached"),
        ({"state": "failed"}, "failed", "bad", "defect"),
        ({"state": "paused", "paused_by": "anna: new router"}, "paused", "warn", "paused by anna: new router"),
        ({"state": "sending", "paused_by": "anna"}, "paused", "warn", "comes to its end"),
        ({"state": "sending", "queued": 2, "blocked": 1}, "delivering", "warn", "keys"),
    ],
)
def test_a_state_is_told_in_words(lane, state, look, words):
    row = lane_row(replace(LANE, **lane), None, 0)
    assert (row.state, row.look) == (state, look)
    assert words in row.words


def test_a_retry_is_told_with_its_time_and_the_error_is_that_of_the_head():
    head = delivery(1, 9, attempts=2, next_at_us=50, note="refused connection")
    row = lane_row(
        replace(LANE, state="waiting", queued=1, attempts=2, head=MessageSeq(9), last_note="older"), head, 10
    )
    assert (row.until_us, row.error, row.head) == (50, "refused connection", 9)
    assert lane_row(replace(LANE, state="waiting", queued=1, attempts=2), head, 60).until_us == 0, "it is past"


def test_what_needs_a_person_comes_first():
    lanes = [
        LANE,
        replace(LANE, destination=DestinationName("busy"), state="sending", queued=50),
        replace(LANE, destination=DestinationName("held"), held=1),
        replace(LANE, destination=DestinationName("down"), state="down", queued=2),
    ]
    rows = lane_rows(Store(), lanes, 0)
    assert [row.destination for row in rows] == ["down", "held", "busy", "epr"]
    gone = left_lane(LaneDepth(LAB, EPR, queued=2, held=0, oldest_us=5))
    assert gone.needs_a_person and gone.state == "not in the files"


def test_queued_deliveries_are_paged_by_a_cursor_in_their_order():
    store = Store(*(delivery(n, n + 100) for n in range(1, 8)))
    first = queue_page(store, LAB, EPR, "queued", 0, 3)
    assert ([one.delivery for one in first.items], first.after) == ([1, 2, 3], 3)
    second = queue_page(store, LAB, EPR, "queued", 3, 3)
    assert ([one.delivery for one in second.items], second.after) == ([4, 5, 6], 6)
    last = queue_page(store, LAB, EPR, "queued", 6, 3)
    assert ([one.delivery for one in last.items], last.after) == ([7], None)
    assert (first.before, second.before, last.before) == (None, 0, 3)
    assert queue_page(store, LAB, EPR, "queued", 5, 3).before == 2, "wherever a page begins"


def test_the_page_before_is_there_though_what_was_on_it_has_left():
    store = Store(*(delivery(n, n + 100) for n in range(5, 8)))
    assert queue_page(store, LAB, EPR, "queued", 4, 3).before is None
    assert queue_page(store, LAB, EPR, "queued", 7, 3).before == 0


def test_held_deliveries_are_paged_the_newest_first_and_no_message_is_looked_at_twice():
    store = Store(*(delivery(n, n, "held") for n in range(1, 6)), delivery(9, 9))
    first = queue_page(store, LAB, EPR, "held", 0, 2)
    assert [one.seq for one in first.items] == [5, 4]
    second = queue_page(store, LAB, EPR, "held", first.after, 2)
    assert [one.seq for one in second.items] == [3, 2]
    last = queue_page(store, LAB, EPR, "held", second.after, 2)
    assert [one.seq for one in last.items] == [1]
    assert store.asked == [5, 4, 3, 2, 1]
    assert first.before is None
    for page, shown in ((last, [3, 2]), (second, [5, 4])):
        assert [one.seq for one in queue_page(store, LAB, EPR, "held", page.before, 2).items] == shown


def test_what_came_meanwhile_is_on_a_page_of_its_own_on_the_way_back():
    store = Store(*(delivery(n, n, "held") for n in (1, 2, 3, 6, 7, 8)))
    before = queue_page(store, LAB, EPR, "held", 3, 2).before
    assert [one.seq for one in queue_page(store, LAB, EPR, "held", before, 2).items] == [6, 3]
    assert queue_page(store, LAB, EPR, "held", before, 2).before == 9


def test_a_key_that_is_held_up_is_told_by_its_message_and_never_by_its_value():
    store = Store(
        delivery(1, 11, key="900001", next_at_us=99, attempts=3, note="no answer"),
        delivery(2, 12, key="900001"),
        delivery(3, 13, key="900002"),
        delivery(4, 14, key="900001"),
    )
    (key,) = blocked_keys(store, LAB, EPR, 10)
    assert (key.seq, key.behind, key.attempts, key.error) == (11, 2, 3, "no answer")
    assert "900001" not in repr(key)
    items = queue_page(store, LAB, EPR, "queued", 0, 10).items
    assert [one.waits_behind for one in items] == [False, True, False, True]
    assert "900001" not in repr(items)
