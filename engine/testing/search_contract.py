"""What every store keeps of keys and searches, as tests: subclass `SearchContract`, give it a `bench`."""

from collections.abc import Sequence
from typing import Any

import pytest

from engine.hl7.search_keys import DEFAULT_KEYS, KeyReader
from engine.model.envelope import Batch, Delivery
from engine.model.ids import ChannelName, MessageSeq
from engine.ports.search import Find, Found, SearchCancelled
from engine.ports.store import Prune, Store, StoreQueries
from engine.testing.store_contract import ADT, EPR, HOUR_US, LAB, RIS, T0, StoreBench, intake, result

READER = KeyReader(DEFAULT_KEYS)


def keys_of(channel: ChannelName, raw: bytes) -> Sequence[tuple[str, str]]:
    """By the default keys, whatever the channel."""
    return READER.read(raw)


def message(mrn: str, *orders: str, name: str = "MEIER") -> bytes:
    """A message of a patient, with placer numbers."""
    segments = [f"PID|1||{mrn}||{name}^ANNA", *(f"OBR|{n}|{order}" for n, order in enumerate(orders, 1))]
    return ("MSH|^~\\&|HIS|MAIN\r" + "\r".join(segments) + "\r").encode()


def seqs_of(found: Found) -> list[int]:
    """In the order of the answer."""
    return [one.seq for one in found.messages]


def everything(queries: StoreQueries, wanted: Find, **given: Any) -> list[int]:
    """All pages of an answer."""
    found: list[int] = []
    before: MessageSeq | None = None
    for _ in range(1000):
        page = queries.find(wanted, before=before, **given)
        found += seqs_of(page)
        if page.before is None:
            return found
        assert before is None or page.before < before, "a cursor goes on"
        before = page.before
    raise AssertionError("no end of pages")


def put_in_order(store: Store) -> None:
    """What the engine does behind the traffic: all there is to do about keys."""
    queries = store.queries()
    try:
        for _ in range(1000):
            work = queries.key_work()
            if not work.blocks and not work.unread:
                return
            for number in work.blocks:
                assert store.keep_key_block(queries.draft_keys(number))
            if work.unread:
                old = queries.bodies_without_keys(work.unread, 10)
                left = MessageSeq(old[-1][0] - 1 if old else 0)
                store.fill_in_keys([(seq, keys_of(channel, raw)) for seq, channel, raw in old], left)
        raise AssertionError("no end of work")
    finally:
        queries.close()


class SearchContract:
    """Every promise of `engine.ports.search`, one test each."""

    @pytest.fixture
    def bench(self) -> StoreBench:
        """Override: the store under test."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, bench: StoreBench) -> Store:
        """The store, which reads keys."""
        bench.store.read_keys_by(keys_of)
        return bench.store

    @pytest.fixture
    def queries(self, store: Store) -> Any:
        """A reader of it."""
        queries = store.queries()
        yield queries
        queries.close()

    def test_a_message_is_found_by_its_keys_as_soon_as_it_is_stored(self, store: Store, queries: StoreQueries) -> None:
        store.commit(Batch([intake(raw=message("4711", "P1", "P2")), intake(raw=message("4712", "P2"))]))
        assert seqs_of(queries.find(Find(keys=(("mrn", "4711"),)))) == [1]
        assert seqs_of(queries.find(Find(keys=(("placer", "p2"),)))) == [2, 1]
        assert seqs_of(queries.find(Find(keys=(("placer", "p2"), ("mrn", "4712"))))) == [2]
        assert seqs_of(queries.find(Find(keys=(("placer", "4711"),)))) == [], "a key is looked up under its name"
        assert seqs_of(queries.find(Find(keys=(("mrn", "471"),)))) == [], "a key is a whole value"

    def test_whichever_key_has_it(self, store: Store, queries: StoreQueries) -> None:
        rows = [intake(raw=message("1", "9")), intake(raw=message("9")), intake(control_id="9"), intake(control_id="8")]
        store.commit(Batch(rows))
        wanted = Find(any_of=(("mrn", "9"), ("placer", "9")), or_control_id="9")
        assert seqs_of(queries.find(wanted)) == [3, 2, 1]
        assert seqs_of(queries.find(Find(any_of=wanted.any_of, or_control_id="x"))) == [2, 1]
        assert everything(queries, wanted, limit=1) == [3, 2, 1]

    def test_a_restart_and_putting_in_order_change_no_answer(self, bench: StoreBench, store: Store) -> None:
        for _ in range(3):
            store.commit(Batch([intake(raw=message(f"{n % 7}", f"P{n}")) for n in range(10)]))
        wanted = Find(keys=(("mrn", "3"),))
        before = everything(store.queries(), wanted)
        assert before == [24, 14, 4]
        store = bench.restart(clean=False)
        store.read_keys_by(keys_of)
        assert everything(store.queries(), wanted) == before
        put_in_order(store)
        assert everything(store.queries(), wanted) == before

    def test_every_filter_holds(self, store: Store, queries: StoreQueries) -> None:
        rows = [
            intake(EPR, raw=message("1", name="Muster"), channel=LAB, message_type="ORU^R01", received_at_us=T0),
            intake(RIS, raw=message("1"), channel=ADT, state="held", received_at_us=T0 + HOUR_US),
            intake(raw=message("2"), channel=ADT, sender="KIS|NORD", received_at_us=T0 + 2 * HOUR_US),
            intake(raw=message("1"), channel=LAB, message_type="ORU", control_id="X", received_at_us=T0 + 3 * HOUR_US),
        ]
        made: list[list[Delivery]] = store.commit(Batch(rows)).deliveries
        store.commit(Batch(results=[result(made[0][0], "held")]))
        cases: list[tuple[Find, list[int]]] = [
            (Find(), [4, 3, 2, 1]),
            (Find(channel=LAB), [4, 1]),
            (Find(channel=ChannelName("none")), []),
            (Find(channels=(LAB, ADT)), [4, 3, 2, 1]),
            (Find(channels=(ADT, ChannelName("none"))), [3, 2]),
            (Find(channels=(ADT,), channel=LAB), []),
            (Find(channels=()), []),
            (Find(channels=(LAB,), keys=(("mrn", "1"),)), [4, 1]),
            (Find(channels=(ADT,), texts=((b"anna",),)), [3, 2]),
            (Find(states=("held",)), [2]),
            (Find(delivery_states=("held",)), [1]),
            (Find(states=("held",), delivery_states=("held",)), [2, 1]),
            (Find(states=("processed",), delivery_states=("queued",)), [4, 3, 2, 1]),
            (Find(message_type="ORU"), [4, 1]),
            (Find(message_type="ORU^R01"), [1]),
            (Find(message_type="OR"), []),
            (Find(sender="kis"), [3]),
            (Find(sender="Nord"), [3]),
            (Find(sender="kis|nord"), [3]),
            (Find(sender="is"), []),
            (Find(control_id="X"), [4]),
            (Find(since_us=T0 + HOUR_US), [4, 3, 2]),
            (Find(until_us=T0 + HOUR_US), [2, 1]),
            (Find(texts=((b"muster",),)), [1]),
            (Find(texts=((b"nobody", b"anna"),)), [4, 3, 2, 1]),
            (Find(texts=((b"anna",), (b"muster",))), [1]),
            (Find(keys=(("mrn", "1"),), channel=LAB), [4, 1]),
            (Find(keys=(("mrn", "1"),), texts=((b"muster",),)), [1]),
            (Find(keys=(("mrn", "1"),), control_id="X"), [4]),
            (Find(control_id="X", channel=ADT), []),
        ]
        for wanted, seqs in cases:
            assert seqs_of(queries.find(wanted)) == seqs, wanted
            for limit, span in ((1, 1), (1, 100), (100, 1), (2, 2)):
                assert everything(queries, wanted, limit=limit, span=span) == seqs, (wanted, limit, span)

    def test_pages_go_on_where_the_last_one_ended_whatever_comes_between(
        self, store: Store, queries: StoreQueries
    ) -> None:
        store.commit(Batch([intake(raw=message("1")) for _ in range(10)]))
        page = queries.find(Find(keys=(("mrn", "1"),)), limit=4)
        assert seqs_of(page) == [10, 9, 8, 7]
        store.commit(Batch([intake(raw=message("1")) for _ in range(5)]))
        page = queries.find(Find(keys=(("mrn", "1"),)), before=page.before, limit=4)
        assert seqs_of(page) == [6, 5, 4, 3]
        page = queries.find(Find(keys=(("mrn", "1"),)), before=page.before, limit=4)
        assert (seqs_of(page), page.before) == ([2, 1], None)

    def test_a_search_can_end_before_what_was_seen(self, store: Store, queries: StoreQueries) -> None:
        store.commit(Batch([intake(raw=message(str(n % 2)), state="held") for n in range(10)]))
        for wanted, seqs in (
            (Find(), [7, 6, 5, 4]),
            (Find(keys=(("mrn", "1"),)), [6, 4]),
            (Find(states=("held",)), [7, 6, 5, 4]),
            (Find(texts=((b"anna",),)), [7, 6, 5, 4]),
        ):
            low, high = MessageSeq(3), MessageSeq(8)
            assert seqs_of(queries.find(wanted, before=high, after=low)) == seqs, wanted
            first = queries.find(wanted, before=high, after=low, limit=1)
            assert seqs_of(first) == seqs[:1]
            assert first.before is not None
            rest = queries.find(wanted, before=first.before, after=low)
            assert (seqs_of(rest), rest.before, rest.left) == (seqs[1:], None, 0)
        assert seqs_of(queries.find(Find(), after=MessageSeq(10))) == []

    def test_a_piece_says_how_much_it_looked_at_and_how_much_is_left(self, store: Store, queries: StoreQueries) -> None:
        store.commit(Batch([intake(raw=message(str(n))) for n in range(100)]))
        piece = queries.find(Find(texts=((b"nobody",),)), span=30)
        assert (piece.looked_at, piece.left) == (30, 70)
        assert piece.before is not None
        piece = queries.find(Find(texts=((b"nobody",),)), before=piece.before, span=100)
        assert (piece.looked_at, piece.left, piece.before) == (70, 0, None)

    def test_bytes_come_where_they_are_asked_for(self, store: Store, queries: StoreQueries) -> None:
        store.commit(Batch([intake(raw=message("1"))]))
        wanted = Find(keys=(("mrn", "1"),))
        assert queries.find(wanted).messages[0].raw is None
        assert queries.find(wanted, bodies=True).messages[0].raw == message("1")

    def test_without_its_bytes_a_message_is_found_by_keys_still_and_not_by_text(
        self, store: Store, queries: StoreQueries
    ) -> None:
        store.commit(Batch([intake(raw=message("1")), intake(raw=message("2"))]))
        now_us = T0 + 1000 * HOUR_US
        assert store.prune(Prune(None, now_us, 0, MessageSeq(0), 100, now_us)).bodies == 2
        assert seqs_of(queries.find(Find(keys=(("mrn", "1"),)))) == [1]
        assert seqs_of(queries.find(Find(texts=((b"meier",),)))) == []

    def test_keys_go_with_their_message(self, store: Store, queries: StoreQueries) -> None:
        store.commit(Batch([intake(raw=message("1")), intake(raw=message("1"), state="held")]))
        now_us = T0 + 1000 * HOUR_US
        assert store.prune(Prune(None, 0, now_us, MessageSeq(0), 100, now_us)).messages == 1
        assert seqs_of(queries.find(Find(keys=(("mrn", "1"),)))) == [2]

    def test_what_was_stored_without_keys_is_found_once_they_were_filled_in(self, bench: StoreBench) -> None:
        store = bench.store
        store.commit(Batch([intake(raw=message("1")), intake(raw=message("2"))]))
        queries = store.queries()
        assert seqs_of(queries.find(Find(keys=(("mrn", "1"),)))) == []
        old = queries.bodies_without_keys(MessageSeq(2), 10)
        assert [(seq, channel, raw) for seq, channel, raw in old] == [(2, LAB, message("2")), (1, LAB, message("1"))]
        store.fill_in_keys([(seq, keys_of(channel, raw)) for seq, channel, raw in old], MessageSeq(0))
        assert seqs_of(queries.find(Find(keys=(("mrn", "1"),)))) == [1]
        assert queries.unread_keys() == 0
        queries.close()

    def test_a_search_that_nobody_waits_for_ends(self, store: Store, queries: StoreQueries) -> None:
        for _ in range(20):
            store.commit(Batch([intake(raw=message("1") + b"OBX|x" * 500) for _ in range(50)]))
        with pytest.raises(SearchCancelled):
            queries.find(Find(texts=((b"nobody",),)), is_cancelled=lambda: True)
        assert everything(queries, Find(texts=((b"nobody",),)), is_cancelled=lambda: False) == []
        assert len(everything(queries, Find(), limit=100)) == 1000, "the connection is as good as before"
