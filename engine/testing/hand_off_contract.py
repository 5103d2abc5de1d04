"""What every store keeps of hand-offs, and what everyone who takes steps over keeps, as tests.

class TestHandOffsOfMyStore(HandOffContract):
    @pytest.fixture
    def bench(self, tmp_path): ...  # a StoreBench

class TestMyTaker(TakerContract):
    @pytest.fixture
    async def bench(self, tmp_path): ...  # a TakerBench
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

import pytest

from engine.adapters.dicom.encode import encode
from engine.model.envelope import Batch
from engine.model.outcome import Effects
from engine.ports.hand_off import (
    Gone,
    Handed,
    HandedOver,
    Kept,
    NotTaken,
    Taker,
    TakerDown,
    TakerOutcome,
    WaitingStep,
)
from engine.ports.store import Store, StoreQueries
from engine.ports.worklist import Aged, Shelved
from engine.testing.store_contract import EPR, T0, StoreBench, intake, result
from engine.testing.worklist_contract import MAIN, item
from engine.worklist.attributes import SPS
from engine.worklist.changes import Change, Drop, Put
from engine.worklist.item import Attributes, EntityId, Item, ItemKey

WLM: Final = "wlm"


class HandOffContract:
    """Every promise of `engine.ports.hand_off` that a store makes, one test each."""

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

    def do(self, store: Store, queries: StoreQueries, *changes: Change, at_us: int = T0 + 1) -> None:
        """A delivery that changes the worklist."""
        with queries.worklist(MAIN) as view:
            seen = view.epoch
        ((delivery,),) = store.commit(Batch([intake(EPR)])).deliveries
        made = result(delivery)
        made.at_us = at_us
        made.effects = Effects(MAIN, changes, seen, "lab/epr")
        store.commit(Batch(results=[made]))
        assert not made.is_stale

    def now(self, queries: StoreQueries, key: ItemKey) -> Item:
        with queries.worklist(MAIN) as view:
            found = view.item(key)
        assert found is not None
        return found

    def waiting(self, queries: StoreQueries, hand_off: str = WLM, most: int = 99) -> Sequence[WaitingStep]:
        with queries.hand_offs() as view:
            return view.waiting(hand_off, MAIN, most)

    def hand(self, store: Store, queries: StoreQueries, hand_off: str = WLM, token: str = "") -> None:
        """Hand over all that waits, as somebody does who keeps what is to be seen alone."""
        found = self.waiting(queries, hand_off)
        kept = [Handed(step.key, step.mark, token=token) for step in found if step.is_shown]
        gone = [step.key for step in found if not step.is_shown]
        store.hand_over(HandedOver(hand_off, T0, kept, gone))

    def test_what_was_never_handed_over_waits_in_order_of_its_start(self, store: Store, queries: StoreQueries) -> None:
        assert self.waiting(queries) == []
        self.do(store, queries, Put(item(2), None, "created"), Put(item(1), None, "created"))
        found = self.waiting(queries)
        assert [step.key for step in found] == [item(1).key, item(2).key]
        assert all(step.is_shown and step.had is None for step in found)
        first = found[0].shelved
        assert first is not None and first.item == item(1) and first.encoded == encode(item(1)).dump()

    def test_what_was_handed_over_waits_no_more_until_it_changes(self, store: Store, queries: StoreQueries) -> None:
        self.do(store, queries, Put(item(1), None, "created"))
        self.hand(store, queries, token="t1")  # noqa: S106 - to know it again by
        assert self.waiting(queries) == []
        with queries.hand_offs() as view:
            (handed,) = view.handed(WLM)
            assert view.known() == {WLM: 1}
        assert (handed.key, handed.is_shown, handed.token) == (item(1).key, True, "t1")
        before = self.now(queries, item(1).key)
        self.do(store, queries, Put(replace(before, status="ARRIVED"), before, "arrived"))
        (step,) = self.waiting(queries)
        assert step.had == handed and step.mark != handed.mark
        assert step.shelved is not None and step.shelved.item.status == "ARRIVED"

    @pytest.mark.parametrize("how", ["ended", "held"])
    def test_what_scanners_are_not_to_see_any_more_waits_to_be_taken_away(
        self, store: Store, queries: StoreQueries, how: str
    ) -> None:
        self.do(store, queries, Put(item(1), None, "created"))
        self.hand(store, queries)
        before = self.now(queries, item(1).key)
        now = replace(before, status="CANCELED") if how == "ended" else replace(before, is_held=True)
        self.do(store, queries, Put(now, before, how))
        (step,) = self.waiting(queries)
        assert step.shelved is not None and not step.is_shown
        self.hand(store, queries)
        assert self.waiting(queries) == []
        with queries.hand_offs() as view:
            assert view.handed(WLM) == []

    def test_what_was_never_seen_is_not_to_be_taken_away(self, store: Store, queries: StoreQueries) -> None:
        self.do(store, queries, Put(item(1, "COMPLETED"), None, "created"))
        assert self.waiting(queries) == []

    def test_what_is_kept_as_ended_waits_again_when_it_moves_on_or_is_forgotten(
        self, store: Store, queries: StoreQueries
    ) -> None:
        self.do(store, queries, Put(item(1), None, "created"))
        self.hand(store, queries)
        before = self.now(queries, item(1).key)
        self.do(store, queries, Put(replace(before, status="STARTED"), before, "started"))
        (step,) = self.waiting(queries)
        ended = Handed(step.key, step.mark, is_shown=False)
        store.hand_over(HandedOver(WLM, T0, [ended]))
        assert self.waiting(queries) == []
        before = self.now(queries, item(1).key)
        self.do(store, queries, Put(replace(before, status="COMPLETED"), before, "completed"))
        (step,) = self.waiting(queries)
        assert step.had == ended and step.shelved is not None and step.shelved.item.status == "COMPLETED"
        store.hand_over(HandedOver(WLM, T0, [Handed(step.key, step.mark, is_shown=False)]))
        assert store.age_worklists(Aged(T0 + 10**9, "", 10)) == 1
        (step,) = self.waiting(queries)
        assert step.shelved is None and step.had is not None and not step.had.is_shown

    def test_a_step_that_is_gone_waits_to_be_taken_away(self, store: Store, queries: StoreQueries) -> None:
        self.do(store, queries, Put(item(1), None, "created"), Put(item(2), None, "created"))
        self.hand(store, queries)
        self.do(store, queries, Drop(self.now(queries, item(1).key), "dropped"))
        (step,) = self.waiting(queries)
        assert step.key == item(1).key and step.shelved is None and not step.is_shown
        self.hand(store, queries)
        assert self.waiting(queries) == []

    def test_a_step_that_went_and_came_again_waits_as_it_is_now(self, store: Store, queries: StoreQueries) -> None:
        self.do(store, queries, Put(item(1), None, "created"))
        self.hand(store, queries)
        self.do(store, queries, Drop(self.now(queries, item(1).key), "dropped"), at_us=T0 + 2)
        self.do(store, queries, Put(item(1), None, "created"), at_us=T0 + 3)
        (step,) = self.waiting(queries)
        assert step.is_shown and step.had is not None

    def test_hand_offs_do_not_know_of_each_other(self, store: Store, queries: StoreQueries) -> None:
        self.do(store, queries, Put(item(1), None, "created"))
        self.hand(store, queries)
        assert [step.key for step in self.waiting(queries, "orthanc")] == [item(1).key]
        self.hand(store, queries, "orthanc")
        store.hand_over(HandedOver("orthanc", T0, gone=[item(1).key]))
        assert self.waiting(queries) == []
        assert len(self.waiting(queries, "orthanc")) == 1

    def test_another_worklist_takes_all_of_the_first_away(self, store: Store, queries: StoreQueries) -> None:
        self.do(store, queries, Put(item(1), None, "created"))
        self.hand(store, queries)
        with queries.hand_offs() as view:
            (step,) = view.waiting(WLM, "other", 9)
            assert step.shelved is None and view.epoch("other") == 0 and view.epoch(MAIN) == 1

    def test_no_more_are_given_than_were_asked_for_and_all_are_counted(
        self, store: Store, queries: StoreQueries
    ) -> None:
        self.do(store, queries, *(Put(item(number), None, "created") for number in (1, 2, 3)), at_us=T0 + 7)
        self.hand(store, queries)
        self.do(store, queries, Drop(self.now(queries, item(1).key), "dropped"), at_us=T0 + 8)
        self.do(store, queries, *(Put(item(number), None, "created") for number in (4, 5, 6)), at_us=T0 + 9)
        assert [step.key for step in self.waiting(queries, most=2)] == [item(n).key for n in (1, 4, 5)]
        with queries.hand_offs() as view:
            assert view.backlog(WLM, MAIN) == (4, T0 + 9)
        self.hand(store, queries)
        with queries.hand_offs() as view:
            assert view.backlog(WLM, MAIN) == (0, 0)

    def test_what_was_handed_over_is_known_after_a_start(self, bench: StoreBench, queries: StoreQueries) -> None:
        self.do(bench.store, queries, Put(item(1), None, "created"))
        self.hand(bench.store, queries, token="t")  # noqa: S106 - to know it again by
        bench.restart(clean=False)
        again = bench.store.queries()
        try:
            with again.hand_offs() as view:
                assert [(one.key, one.token) for one in view.handed(WLM)] == [(item(1).key, "t")]
                assert view.waiting(WLM, MAIN, 9) == []
        finally:
            again.close()


class TakerBench(Protocol):
    """Somebody who takes steps over, and a look at what is there."""

    def taker(self) -> Taker:
        """Another one, of the same name, onto the same place: as after a start."""
        ...

    async def there(self) -> Mapping[tuple[str, str], str]:
        """What scanners would see: patients' names by study and step."""
        ...

    async def lose(self) -> None:
        """All that is there is gone, by nobody's word."""
        ...

    async def add_foreign(self) -> None:
        """Something is there that is somebody else's."""
        ...

    async def has_foreign(self) -> bool: ...

    async def down(self) -> None:
        """It cannot be reached, or takes nothing."""
        ...

    async def up(self) -> None: ...

    keeps_off: bool
    """Whether what was lost there stays off, by its settings or because nobody can tell."""


NAMES: Final = ("Muster^Anna", "MÜLLER^Eva", "YAMADA^TARO=山田^太郎=やまだ^たろう")
HOSTILE: Final = ("../../x", "a/b", "%2e%2e%2f", "x?y=1#z", "a b", "ÄÖ;ü", "-rf", "CON", ".wl", "a:b@c")


def step_of(
    number: int, name: str = NAMES[0], *, step_id: str = "", station: str = "CT1", had: Handed | None = None
) -> WaitingStep:
    """A step that is to be handed over."""
    one = item(number)
    inner: Attributes = {
        **one.step,
        "ScheduledProcedureStepID": (step_id or one.key.step_id,),
        "ScheduledStationAETitle": (station,) if station else (),
    }
    patient = EntityId(f"90000{number}", "HIS")
    attributes: Attributes = {
        **one.attributes,
        "PatientName": (name,),
        "PatientID": (patient.id,),
        "IssuerOfPatientID": (patient.issuer,),
        "RequestedProcedureID": ("R1",),
        SPS: (inner,),
    }
    key = ItemKey(one.key.study_uid, step_id or one.key.step_id)
    made = replace(one, key=key, patient=patient, attributes=attributes)
    return WaitingStep(key, f"m{number}{name}", Shelved(made, encode(made).dump()), had)


def without(step: WaitingStep, had: Handed | None = None) -> WaitingStep:
    """The same, gone."""
    return WaitingStep(step.key, "", None, had or Handed(step.key, step.mark))


def with_status(step: WaitingStep, status: str, had: Handed | None = None) -> WaitingStep:
    """The same, moved on."""
    assert step.shelved is not None
    moved = replace(step.shelved.item, status=status)  # type: ignore[arg-type]
    return replace(step, mark=f"{step.mark}{status}", shelved=Shelved(moved, step.shelved.encoded), had=had or step.had)


async def handed_over(taker: Taker, *steps: WaitingStep) -> list[Handed]:
    """Hand all over, which must go well; what the store would keep of it."""
    taken = await taker.take(steps)
    assert taken.down == "" and len(taken.outcomes) == len(steps), taken
    return [_record(step, outcome) for step, outcome in zip(steps, taken.outcomes, strict=True)]


def _record(step: WaitingStep, outcome: TakerOutcome) -> Handed:
    assert not isinstance(outcome, NotTaken), outcome
    if isinstance(outcome, Gone):
        return Handed(step.key, "")
    return Handed(step.key, step.mark, outcome.is_shown, outcome.token)


class TakerContract:
    """Every promise of `engine.ports.hand_off.Taker`, one test each."""

    @pytest.fixture
    async def bench(self) -> TakerBench:
        """Override: who takes steps over."""
        raise NotImplementedError

    @pytest.fixture
    async def taker(self, bench: TakerBench) -> AsyncIterator[Taker]:
        made = bench.taker()
        await made.look([])
        yield made
        await made.close()

    def name(self, step: WaitingStep) -> tuple[str, str]:
        return step.key.study_uid, step.key.step_id

    async def test_a_step_that_was_taken_is_there_as_it_is(self, bench: TakerBench, taker: Taker) -> None:
        steps = [step_of(number, name) for number, name in enumerate(NAMES, 1)]
        handed = await handed_over(taker, *steps)
        assert all(one.is_shown for one in handed)
        assert await bench.there() == {self.name(step): name for step, name in zip(steps, NAMES, strict=True)}

    async def test_to_hand_it_over_again_does_no_harm(self, bench: TakerBench, taker: Taker) -> None:
        step = step_of(1)
        first = await handed_over(taker, step)
        assert await handed_over(taker, step) == first
        assert await bench.there() == {self.name(step): NAMES[0]}

    async def test_a_step_that_changed_takes_the_place_of_what_was_there(self, bench: TakerBench, taker: Taker) -> None:
        (had,) = await handed_over(taker, step_of(1))
        await handed_over(taker, step_of(1, NAMES[1], had=had))
        assert await bench.there() == {self.name(step_of(1)): NAMES[1]}

    async def test_what_is_gone_is_taken_away_and_nothing_else(self, bench: TakerBench, taker: Taker) -> None:
        one, other = step_of(1), step_of(2)
        await handed_over(taker, one, other)
        taken = await taker.take([without(one)])
        assert taken.outcomes == [Gone()]
        assert await bench.there() == {self.name(other): NAMES[0]}
        assert (await taker.take([without(one)])).outcomes == [Gone()], "it may have been done before a crash"

    @pytest.mark.parametrize("status", ["STARTED", "COMPLETED", "DISCONTINUED", "CANCELED"])
    async def test_what_scanners_are_not_to_see_any_more_is_not_seen(
        self, bench: TakerBench, taker: Taker, status: str
    ) -> None:
        step = step_of(1)
        (had,) = await handed_over(taker, step)
        taken = await taker.take([with_status(step, status, had)])
        assert taken.outcomes[0] in (Gone(), Kept(is_shown=False))
        assert await bench.there() == {}

    async def test_a_step_that_is_held_is_not_seen_and_comes_again(self, bench: TakerBench, taker: Taker) -> None:
        step = step_of(1)
        (had,) = await handed_over(taker, step)
        assert step.shelved is not None
        held = Shelved(replace(step.shelved.item, is_held=True), step.shelved.encoded)
        assert (await taker.take([replace(step, mark="held", shelved=held, had=had)])).outcomes == [Gone()]
        assert await bench.there() == {}
        await handed_over(taker, step)
        assert await bench.there() == {self.name(step): NAMES[0]}

    async def test_numbers_that_mean_something_to_others_lead_nowhere_else(
        self, bench: TakerBench, taker: Taker
    ) -> None:
        await bench.add_foreign()
        steps = [step_of(number, step_id=step_id) for number, step_id in enumerate(HOSTILE, 1)]
        await handed_over(taker, *steps)
        assert await bench.there() == {self.name(step): NAMES[0] for step in steps}
        for step in steps:
            await handed_over(taker, without(step))
        assert await bench.there() == {}
        assert await bench.has_foreign()

    async def test_what_is_somebody_elses_is_left(self, bench: TakerBench, taker: Taker) -> None:
        await bench.add_foreign()
        await handed_over(taker, step_of(1))
        await handed_over(taker, without(step_of(1)))
        await taker.look([])
        assert await bench.has_foreign()

    async def test_nothing_is_handed_over_while_it_is_down_and_all_is_when_it_is_back(
        self, bench: TakerBench, taker: Taker
    ) -> None:
        (had,) = await handed_over(taker, step_of(1))
        await bench.down()
        taken = await taker.take([step_of(2), step_of(3)])
        assert taken.down and not taken.outcomes
        assert "Muster" not in taken.down and "S2" not in taken.down
        with pytest.raises(TakerDown) as told:
            await taker.look([had])
        assert str(told.value)
        await bench.up()
        assert (await taker.look([had])).lost == []
        await handed_over(taker, step_of(2), step_of(3))
        assert len(await bench.there()) == 3

    async def test_a_new_start_finds_all_as_it_was(self, bench: TakerBench, taker: Taker) -> None:
        handed = await handed_over(taker, step_of(1), step_of(2))
        await taker.close()
        again = bench.taker()
        found = await again.look(handed)
        await again.close()
        assert (found.lost, found.left, found.removed) == ([], [], 0)

    async def test_what_was_lost_there_is_told(self, bench: TakerBench, taker: Taker) -> None:
        (had,) = await handed_over(taker, step_of(1))
        await bench.lose()
        found = await taker.look([had])
        if bench.keeps_off:
            assert found.lost == []
            assert not any(one.is_shown for one in found.left)
        else:
            assert found.lost == [had.key]
