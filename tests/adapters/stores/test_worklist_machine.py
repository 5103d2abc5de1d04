"""Worklists in SQLite and in memory, side by side, and decided in batches and one by one: the same comes of all.

Each event goes through the sink as a lane gives it: a batch is decided on, its ends are recorded in one commit or two,
and what was decided too late is given again. Between a decision and its record a scanner may write.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.adapters.sinks.worklist import WorklistSink
from engine.adapters.stores.memory import MemoryStore
from engine.adapters.stores.sqlite import SqliteStore
from engine.config.worklist import WorklistOptions
from engine.model.envelope import Batch, Delivery, DeliveryResult
from engine.model.ids import DeliveryId
from engine.model.outcome import Delivered, Outcome
from engine.ports.clock import SystemClock
from engine.ports.store import Store, StoreQueries
from engine.ports.worklist import Aged, PerformedOrder
from engine.testing.store_contract import EPR, LAB, T0, intake
from engine.worklist.attributes import SPS
from engine.worklist.event import Event, Order, OrderEvent, Pair, PatientEvent
from engine.worklist.item import Attributes, EntityId, ItemKey, OrderKeys
from engine.worklist.json_form import dump_event
from engine.worklist.matching import compile_query, find
from tests.worklist.shelf import order, patient, step

MAIN = "main"
PEOPLE = [EntityId(f"90000{n}", "HIS") for n in range(4)]
STUDIES = [f"1.2.{n}" for n in range(2)]
STEPS = ["S0", "S1"]
TIMES = [f"2026010112000{n}.000000" for n in range(4)]
CONTROLS = [("NW", "SC"), ("XO", "SC"), ("CA", "CA"), ("SC", "CM"), ("SC", "IP"), ("HD", "HD"), ("RL", ""), ("DC", "")]


def _order(
    control: tuple[str, str], named: Sequence[tuple[int, int, str]], who: EntityId, at: str, names_steps: bool
) -> OrderEvent:
    steps = tuple(
        step(STEPS[nth], STUDIES[study], accession=f"A{study}", placer=f"P{study}", description=text)
        for study, nth, text in named
    )
    return order(*control, *steps, at=at, who=patient(who), names_steps=names_steps)


_named = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 1), st.sampled_from(["CT head", "CT neck"])),
    min_size=1,
    max_size=2,
    unique_by=lambda one: one[:2],
)
_orders = st.builds(
    _order,
    st.sampled_from([*CONTROLS, *[("NW", "SC")] * 6, ("ZZ", "")]),
    _named,
    st.sampled_from([*[PEOPLE[0]] * 5, PEOPLE[1]]),
    st.sampled_from(TIMES),
    st.booleans(),
)
_cancels = st.builds(
    lambda kind, study, at: OrderEvent(
        patient(PEOPLE[0]), (Order("CA", "CA", _keys(kind, study), (), False, at, "ORC^1", EntityId("")),)
    ),
    st.sampled_from(["placer", "accession", "both"]),
    st.integers(0, 1),
    st.sampled_from(TIMES),
)
_pairs: Callable[[str], st.SearchStrategy[Event]] = lambda action: st.builds(  # noqa: E731
    lambda two, name, at: PatientEvent(action, (Pair(patient(two[0], name), two[1], "1"),), at),  # type: ignore[arg-type]
    st.permutations(PEOPLE),
    st.sampled_from(["Muster^Anna", "Muster^Eva"]),
    st.sampled_from(TIMES),
)
_events = (
    _orders | _orders | _orders | _cancels | _pairs("update") | _pairs("merge") | _pairs("rename") | _pairs("arrive")
)


def _keys(kind: str, study: int) -> OrderKeys:
    placer = EntityId(f"P{study}", "HIS") if kind != "accession" else EntityId("")
    accession = EntityId(f"A{study}") if kind != "placer" else EntityId("")
    return OrderKeys("", placer, EntityId(""), accession)


@dataclass
class Side:
    """One store, and how many deliveries its lane gives the sink at once."""

    store: Store
    most: int

    def __post_init__(self) -> None:
        self.queries: StoreQueries = self.store.queries()
        self.told: dict[int, str] = {}

    def take(self, events: Sequence[Event], cut: int, between: PerformedOrder | None) -> None:
        """As a lane does, until none waits; `cut`: where the ends of a batch go into another commit."""
        bodies = [dump_event(event) for event in events]
        self.store.commit(Batch([intake(EPR, bodies=[body], received_at_us=T0) for body in bodies]))
        asyncio.run(self._deliver(cut, between))

    async def _deliver(self, cut: int, between: PerformedOrder | None) -> None:
        sink = WorklistSink.open(
            WorklistOptions(),
            folder=Path(),
            lane="lab/epr",
            clock=SystemClock(),
            store=self.queries,
            turns={},
        )
        while waiting := self.store.queued(LAB, EPR, DeliveryId(0), self.most):
            outcomes = await sink.send(waiting)
            if between is not None:
                self.store.perform(between)
            results = [_result(delivery, outcome) for delivery, outcome in zip(waiting, outcomes, strict=True)]
            for part in (results[:cut], results[cut:]):
                if part:
                    self.store.commit(Batch(results=part))
            sink.recorded()
            done = [(one, outcome) for one, outcome in zip(results, outcomes, strict=True) if not one.is_stale]
            assert done or between is not None, "each round brings an end, unless a scanner came between"
            between = None
            for one, outcome in done:
                self.told[one.delivery_id] = type(outcome).__name__ + outcome.note
        await sink.close()

    def shown(self) -> object:
        """All that can be read of it."""
        with self.queries.worklist(MAIN) as view:
            items = [view.item(ItemKey(study, one)) for study in STUDIES for one in STEPS]
            return {
                "items": [(item, dict(item.attributes), view.history(item.key)) for item in items if item is not None],
                "numbers": [
                    sorted(item.key for item in found)
                    for number in range(len(STUDIES))
                    for found in (
                        view.by_study(STUDIES[number]),
                        view.by_placer(f"P{number}"),
                        view.by_accession(f"A{number}"),
                    )
                ],
                "patients": [
                    (view.survivor(who), view.demographics(who), sorted(item.key for item in view.by_patient(who)))
                    for who in PEOPLE
                ],
                "tombstones": [
                    view.tombstone(_keys(kind, number), one)
                    for kind in ("placer", "accession")
                    for number in range(len(STUDIES))
                    for one in STEPS
                ],
                "counts": dict(self.queries.worklist_counts()),
            }

    def found(self, asked: Attributes) -> list[ItemKey]:
        query = compile_query(asked)
        with self.queries.worklist(MAIN) as view:
            candidates = [one.item for one in view.candidates(query, 99)]
        return sorted(item.key for item in find(query, candidates).items)


def _result(delivery: Delivery, outcome: Outcome) -> DeliveryResult:
    made = DeliveryResult(delivery.id, "delivered" if isinstance(outcome, Delivered) else "held", 1, T0 + delivery.id)
    made.effects = outcome.effects if isinstance(outcome, Delivered) else None
    return made


class Worklists(RuleBasedStateMachine):
    """SQLite and memory, each in batches and one by one: four that must be one."""

    @initialize()
    def begin(self) -> None:
        self.count = 0
        self.folder = Path(tempfile.mkdtemp(prefix="segmill-worklists-"))
        self.sides: dict[str, Side] = {}
        for most in (1, 5):
            sqlite, memory = SqliteStore(self.folder / f"{most}" / "store.db"), MemoryStore()
            sqlite.path.parent.mkdir()
            for name, store in (("sqlite", sqlite), ("memory", memory)):
                store.open()
                self.sides[f"{name} {most}"] = Side(store, most)

    @rule(events=st.lists(_events, min_size=1, max_size=5), cut=st.integers(0, 4))
    def messages(self, events: list[Event], cut: int) -> None:
        for side in self.sides.values():
            side.take(events, cut, None)

    @rule(
        events=st.lists(_events, max_size=4),
        study=st.sampled_from(STUDIES),
        nth=st.sampled_from(STEPS),
        cut=st.integers(0, 4),
    )
    def messages_while_a_scanner_begins(self, events: list[Event], study: str, nth: str, cut: int) -> None:
        """What was decided before the scanner came is decided anew: as if the scanner had come first."""
        self.count += 1
        # This one always changes something, so that nothing of the batch stands on what was before the scanner.
        name, at = f"Muster^Anna{self.count}", f"202601011300{self.count:02}.000000"
        always = PatientEvent("update", (Pair(patient(PEOPLE[0], name), EntityId(""), "1"),), at)
        scanner = _performed(f"8.{self.count}", "IN PROGRESS", study, nth, is_new=True)
        for side in self.sides.values():
            if side.most > 1:
                side.take([always, *events], cut, scanner)
            else:
                side.store.perform(scanner)
                side.take([always, *events], cut, None)

    @rule(
        uid=st.sampled_from(["9.1", "9.2"]),
        status=st.sampled_from(["IN PROGRESS", "COMPLETED", "DISCONTINUED"]),
        study=st.sampled_from(STUDIES),
        nth=st.sampled_from(STEPS),
        is_new=st.booleans(),
    )
    def performed_step(self, uid: str, status: str, study: str, nth: str, is_new: bool) -> None:
        asked = _performed(uid, status, study, nth, is_new=is_new)
        assert len({side.store.perform(asked).status for side in self.sides.values()}) == 1

    @rule(ended=st.sampled_from([0, T0 + 3, T0 + 30]), before=st.sampled_from(["", "20260103"]), most=st.integers(1, 9))
    def age(self, ended: int, before: str, most: int) -> None:
        aged = Aged(ended, before, 99)
        assert len({side.store.age_worklists(aged) for side in self.sides.values()}) == 1

    @rule(
        asked=st.sampled_from(
            [
                {},
                {"PatientID": ("900000",)},
                {"PatientName": ("muster*",)},
                {"AccessionNumber": ("A1",)},
                {"StudyInstanceUID": ("1.2.0",)},
                {SPS: ({"ScheduledProcedureStepStatus": ("STARTED",)},)},
                {SPS: ({"Modality": ("CT",)},)},
            ]
        )
    )
    def query(self, asked: Attributes) -> None:
        found = {name: side.found(asked) for name, side in self.sides.items()}
        assert len(set(map(tuple, found.values()))) == 1, found

    @rule()
    def restart(self) -> None:
        for name, side in self.sides.items():
            if isinstance(side.store, SqliteStore):
                side.queries.close()
                side.store.close()
                again = SqliteStore(side.store.path)
                again.open()
                told, self.sides[name] = side.told, Side(again, side.most)
                self.sides[name].told = told

    @invariant()
    def all_show_the_same(self) -> None:
        if not hasattr(self, "sides"):
            return
        first, *others = self.sides.values()
        shown = first.shown()
        for other in others:
            assert other.shown() == shown
            assert other.told == first.told

    def teardown(self) -> None:
        for side in getattr(self, "sides", {}).values():
            side.queries.close()
            side.store.close()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


def _performed(uid: str, status: str, study: str, nth: str, *, is_new: bool) -> PerformedOrder:
    attributes: Attributes = {"PerformedProcedureStepStatus": (status,)}
    if is_new:
        named: Attributes = {"StudyInstanceUID": (study,), "ScheduledProcedureStepID": (nth,)}
        attributes = {**attributes, "ScheduledStepAttributesSequence": (named,)}
    return PerformedOrder(MAIN, uid, attributes, "CT1", T0 + 5, is_new)


TestWorklists = Worklists.TestCase
TestWorklists.settings = settings(
    max_examples=20, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)
