"""Large bodies are committed piece by piece: small messages pass them, their order and their answers are as ever."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.adapters.stores.sqlite import SqliteStore
from engine.model.envelope import Batch, Committed, DeliveryResult, DraftDelivery, Intake, Reprocessed
from engine.model.ids import ChannelName, DeliveryId, MessageSeq, VersionId
from engine.ports.store import CommitUnknown, StoreFull
from engine.runtime import pieces as module
from engine.runtime.committer import Committer
from tests.runtime.parts import EPR, LAB, received, slow_disk, turns

ADT = ChannelName("adt")
LARGE, PIECE = 1000, 300


@pytest.fixture(autouse=True)
def _small_sizes(monkeypatch) -> None:
    monkeypatch.setattr("engine.runtime.committer.LARGE_BYTES", LARGE)
    monkeypatch.setattr(module, "LARGE_BYTES", LARGE)
    monkeypatch.setattr(module, "PIECE_BYTES", PIECE)


async def until_turn(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds, and go on in the very turn of the loop in which it does: a turn is a commit."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never held")


def large(size: int = 2000) -> Intake:
    return received(EPR, raw=b"x" * size)


def changed(intake: Intake, body: bytes) -> Intake:
    intake.deliveries = [DraftDelivery(EPR, body)]
    return intake


class TestPieces:
    async def test_no_commit_takes_more_than_a_piece_and_the_message_comes_behind_its_last(
        self, committer, store, answers
    ) -> None:
        answers.put("large", changed(large(), b"y" * 1300))
        await until_turn(lambda: answers.said)
        pieces = [(piece.body[:1], piece.start, piece.end) for batch in store.batches for piece in batch.pieces]
        assert all(len(batch.pieces) <= 1 for batch in store.batches)
        raw = [(b"x", at, min(at + PIECE, 2000)) for at in range(0, 2000, PIECE)]
        assert pieces == [*raw, *((b"y", at, min(at + PIECE, 1300)) for at in range(0, 1300, PIECE))]
        assert [len(batch.intakes) for batch in store.batches] == [0] * len(pieces) + [1]
        assert answers.said == [("large", "stored")]

    async def test_a_body_that_is_sent_as_it_came_goes_once(self, committer, store, answers) -> None:
        raw = b"x" * 2000
        answers.put("large", changed(received(EPR, raw=raw), raw))
        await until_turn(lambda: answers.said)
        assert sum(len(batch.pieces) for batch in store.batches) == 7

    async def test_small_messages_pass_a_large_one(self, committer, store, answers) -> None:
        answers.put("large", large())
        said_before: list[int] = []
        for number in range(5):
            answers.put(f"small {number}", received(channel=ADT))
            await until_turn(lambda n=number: len(answers.said) > n)
            said_before.append(len(answers.said))
        assert [name for name, _ in answers.said] == [f"small {n}" for n in range(5)]
        await until_turn(lambda: len(answers.said) == 6)
        assert answers.said[-1] == ("large", "stored")

    async def test_a_small_message_waits_for_one_piece_and_not_for_the_rest(self, committer, store, answers) -> None:
        answers.put("large", large(size=300_000))
        await until_turn(lambda: len(store.batches) == 3)
        before = len(store.batches)
        answers.put("small", received(channel=ADT))
        await until_turn(lambda: answers.said)
        assert answers.said == [("small", "stored")] and len(store.batches) - before <= 2

    async def test_what_comes_behind_it_in_the_same_order_waits_for_it(self, committer, store, answers) -> None:
        for name, intake in (
            ("a", received()),
            ("large", large()),
            ("b", received()),
            ("larger", large(size=3000)),
            ("c", received()),
        ):
            answers.put(name, intake)
        answers.put("other", received(channel=ADT))
        await until_turn(lambda: len(answers.said) == 6)
        assert [name for name, _ in answers.said if name != "other"] == ["a", "large", "b", "larger", "c"]
        assert answers.said.index(("other", "stored")) <= 1
        assert committer.waiting_bytes == 0

    async def test_an_order_of_its_own_is_only_its_own(self, committer, store) -> None:
        said: list[str] = []
        for name, intake, order in (("large", large(), "one"), ("behind", received(), "one"), ("x", received(), "two")):
            committer.put(intake, lambda *_, name=name: said.append(name), pytest.fail, order)
        await until_turn(lambda: len(said) == 3)
        assert said == ["x", "large", "behind"]

    async def test_what_is_made_of_several_connections_waits_for_all_of_its_channel(self, committer, store) -> None:
        said: list[str] = []
        for name, intake, order in (
            ("one", large(), "1"),
            ("two", large(), "2"),
            ("other channel", received(channel=ADT), None),
            ("joined", received(), None),
            ("joined large", large(), None),
            ("other connection", received(), "3"),
        ):
            committer.put(intake, lambda *_, name=name: said.append(name), pytest.fail, order)
        await until_turn(lambda: len(said) == 6)
        assert said == ["other channel", "other connection", "one", "two", "joined", "joined large"]

    async def test_what_waits_is_counted_until_it_is_stored(self, committer, store, answers) -> None:
        await slow_disk(committer, store)
        with store.commits_held():
            answers.put("large", large())
            answers.put("behind", received(raw=b"z" * 10))
            await turns()
            assert committer.waiting_bytes == 2010
        await until_turn(lambda: len(answers.said) == 2)
        assert committer.waiting_bytes == 0

    async def test_results_ride_with_the_pieces(self, committer, store, answers) -> None:
        answers.put("first", received(EPR))
        await until_turn(lambda: answers.said)
        store.batches.clear()
        recorded: list[int] = []
        answers.put("large", large())
        committer.record(DeliveryResult(DeliveryId(1), "delivered", 1, 1), lambda: recorded.append(1), urgent=False)
        await until_turn(lambda: recorded)
        assert len(store.batches) == 1 and store.batches[0].pieces and store.batches[0].results

    async def test_the_result_of_a_stored_message_goes_in_pieces_too(self, committer, store, answers) -> None:
        held = received()
        held.state = "held"
        answers.put("held", held)
        await until_turn(lambda: answers.said)
        store.batches.clear()
        drafts = [DraftDelivery(EPR, b"y" * 2000)]
        made = await committer.reprocess(Reprocessed(MessageSeq(1), LAB, VersionId(1), "processed", "", drafts))
        assert [delivery.body for delivery in made] == [b"y" * 2000]
        assert [len(batch.pieces) for batch in store.batches] == [1] * 7 + [0]


class TestRefusals:
    async def test_a_full_store_refuses_it_and_its_pieces_are_forgotten(self, committer, store, answers) -> None:
        intake = large()
        answers.put("large", intake)
        answers.put("behind", received())
        await until_turn(lambda: len(store.batches) == 3)
        store.fail_next(StoreFull("full"))
        await until_turn(lambda: len(answers.said) == 2)
        assert answers.said == [("large", "StoreFull"), ("behind", "stored")]
        assert [body is intake.raw for batch in store.batches for body in batch.unwanted] == [True]
        assert committer.waiting_bytes == 0

    async def test_refused_with_its_first_piece_nothing_of_it_is_held(self, committer, store, answers) -> None:
        for number in range(3):
            store.fail_next(StoreFull("full"))
            answers.put(f"{number}", large())
            await until_turn(lambda n=number: len(answers.said) > n)
        answers.put("small", received())
        await until_turn(lambda: len(answers.said) == 4)
        assert answers.said == [*((f"{n}", "StoreFull") for n in range(3)), ("small", "stored")]
        assert [list(batch.unwanted) for batch in store.batches] == [[]] * 4

    @pytest.mark.parametrize("pieces", [1, 3, 7])
    async def test_the_result_of_a_stored_message_is_put_again_until_it_is_taken(
        self, committer, store, answers, pieces
    ) -> None:
        """Nothing behind it may overtake it, so whoever has it puts the very same again (`RunningChannel`)."""
        held = received()
        held.state = "held"
        answers.put("held", held)
        await until_turn(lambda: answers.said)
        drafts = [DraftDelivery(EPR, b"y" * 2000)]
        item = Reprocessed(MessageSeq(1), LAB, VersionId(1), "processed", "", drafts)
        store.batches.clear()
        refused = committer.reprocess(item)
        await until_turn(lambda: len(store.batches) == pieces)
        store.fail_next(StoreFull("full"))
        with pytest.raises(StoreFull):
            await refused
        made = await committer.reprocess(item)
        assert [delivery.body for delivery in made] == [b"y" * 2000]

    async def test_a_store_that_stays_full_is_not_asked_again_and_again(self, committer, store, answers) -> None:
        answers.put("large", large())
        await until_turn(lambda: len(store.batches) == 3)
        store.fail_next(StoreFull("full"))
        await until_turn(lambda: answers.said)
        before = len(store.batches)
        await turns(50)
        assert len(store.batches) == before, "what is unwanted waits for something to ride with"
        await committer.drained()

    async def test_refused_behind_its_last_piece_it_is_forgotten_as_well(self, committer, store, answers) -> None:
        intake = large()
        answers.put("large", intake)
        await until_turn(lambda: len(store.batches) == 7)
        store.fail_next(StoreFull("full"))
        await until_turn(lambda: answers.said)
        assert answers.said == [("large", "StoreFull")]
        answers.put("next", received())
        await until_turn(lambda: len(answers.said) == 2)
        assert [body is intake.raw for body in store.batches[-1].unwanted] == [True]

    async def test_deliveries_are_recorded_though_a_piece_is_refused(self, committer, store, answers) -> None:
        answers.put("first", received(EPR))
        await until_turn(lambda: answers.said)
        store.fail_next(StoreFull("full"))
        recorded: list[int] = []
        answers.put("large", large())
        committer.record(DeliveryResult(DeliveryId(1), "delivered", 1, 1), lambda: recorded.append(1), urgent=True)
        await until_turn(lambda: recorded)
        assert answers.said[-1] == ("large", "StoreFull")

    async def test_an_impossible_neighbour_does_not_take_it_along(self, committer, store, answers) -> None:
        answers.put("large", large())
        committer.record(DeliveryResult(DeliveryId(99), "delivered", 1, 1), None, urgent=True)
        await until_turn(lambda: answers.said)
        assert answers.said == [("large", "stored")]

    async def test_after_an_unknown_outcome_nothing_is_said_of_it(self, committer, store, answers, fatal) -> None:
        answers.put("large", large())
        answers.put("behind", received())
        await until_turn(lambda: len(store.batches) == 3)
        store.fail_next(CommitUnknown("gone"))
        await until_turn(lambda: fatal)
        await turns(50)
        assert answers.said == []

    async def test_one_refusal_that_fails_does_not_hold_up_what_is_behind_it(self, committer, store, answers) -> None:
        def defect(_: Exception) -> None:
            raise KeyError("a defect")

        committer.put(large(), pytest.fail, defect)
        answers.put("behind", received())
        await until_turn(lambda: len(store.batches) == 2)
        store.fail_next(StoreFull("full"))
        await until_turn(lambda: answers.said)
        assert answers.said == [("behind", "stored")]


class TestWaits:
    async def test_settled_waits_for_what_goes_in_pieces(self, committer, store, answers) -> None:
        answers.put("large", large())
        answers.put("behind", received())
        await committer.settled()
        assert [name for name, _ in answers.said] == ["large", "behind"]

    async def test_settled_does_not_wait_for_what_comes_behind(self, committer, store, answers) -> None:
        answers.put("large", large())
        async with asyncio.TaskGroup() as group:
            group.create_task(committer.settled())
            await turns(1)
            answers.put("later", large(size=300_000))
        assert answers.said == [("large", "stored")]

    async def test_drained_waits_for_it(self, committer, store, answers) -> None:
        answers.put("large", large())
        await committer.drained()
        assert answers.said == [("large", "stored")]


class FullAtTimes(SqliteStore):
    """The store in a file, without room for the `full_at`-th commit from now."""

    full_at = 0

    def commit(self, batch: Batch) -> Committed:
        self.full_at -= 1
        if self.full_at == 0:
            raise StoreFull("full")
        return super().commit(batch)


@pytest.mark.parametrize("full_at", [1, 2, 4, 8])
async def test_what_waits_for_room_is_taken_when_there_is_some_though_nothing_else_comes(
    tmp_path: Path, clock, meter, full_at: int
) -> None:
    """A message that was acknowledged when stored: whoever has its result puts the very same again, and again."""
    store = FullAtTimes(tmp_path / "store.db", clock=clock)
    store.open()
    committer = Committer(store, clock, meter, pytest.fail)
    seqs: list[MessageSeq] = []
    held = received()
    held.state = "held"
    try:
        committer.put(held, lambda seq, _: seqs.append(seq), pytest.fail)
        await committer.drained()
        item = Reprocessed(seqs[0], LAB, VersionId(1), "processed", "", [DraftDelivery(EPR, b"y" * 2000)])
        store.full_at = full_at
        with pytest.raises(StoreFull):
            await committer.reprocess(item)
        made = await committer.reprocess(item)
        assert [delivery.body for delivery in store.queued(LAB, EPR, DeliveryId(0), 9)] == [b"y" * 2000]
        assert [delivery.body for delivery in made] == [b"y" * 2000]
    finally:
        committer.close()
        store.close()
