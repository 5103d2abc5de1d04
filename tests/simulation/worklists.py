"""Histories of engines that feed worklists: orders, cancels, merges, scanners, while engines are killed and reloaded.

As `history`, with other sites, other messages and another model; the destinations are the engine's own, and write to
the simulated disk. `python -m tests.simulation.worklists --first N --count N` runs many, with `--sqlite` on files.
"""

import argparse
import asyncio
import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from engine.adapters.stores.memory import MemoryStore
from engine.adapters.stores.memory_worklist import MemoryWorklistReading, MemoryWorklists
from engine.pipeline.registry import load_kinds
from engine.ports.store import StoreError
from engine.ports.worklist import MppsReply, PerformedOrder
from engine.worklist import orders
from engine.worklist.changes import Drop, Put
from engine.worklist.item import STATUS_MOVES, Attributes
from engine.worklist.overlay import Overlay
from tests.simulation.campaign import CHUNK, COLLECT_EVERY, Tally
from tests.simulation.disk import Disk, SqliteDisk, TappedStore
from tests.simulation.engines import SimulatedEngine, simulated
from tests.simulation.folders import Folder
from tests.simulation.history import EACH_US, History, Outcome, draw_swarm
from tests.simulation.loop import OWNER, START_US, Clock, Loop, Process
from tests.simulation.network import Network
from tests.simulation.peers import Sender
from tests.simulation.records import Item
from tests.simulation.sites import BAD, FULL, Site
from tests.simulation.worklist_model import WorklistModel
from tests.simulation.worklist_sites import Script, worklist_site

SCANS_US = 5_000_000
"""Until when scanners begin and end steps."""


class ScannedStore(TappedStore):
    """A store in which scanners keep their performed steps, before the model's eyes."""

    def perform(self, order: PerformedOrder, *rest: Any) -> MppsReply:
        self._check()
        self._fail()
        reply: MppsReply = self._inner.perform(order, *rest)
        model: Any = self._disk.witness
        model.performed(order, reply)
        return reply


def _store(self: Disk) -> TappedStore:
    """As Disk.store, with scanners; and the model sees what it has."""
    self.open_store = ScannedStore(self, self._store)
    model: Any = self.witness

    @contextmanager
    def view(name: str) -> Iterator[Any]:
        queries = self._store.queries()
        try:
            with queries.worklist(name) as found:
                yield found
        finally:
            queries.close()

    model.view = view
    return self.open_store


class WorklistDisk(Disk):
    store = _store


class WorklistSqliteDisk(SqliteDisk):
    store = _store


class WorklistHistory(History):
    """Runs one, and says what it came to."""

    model: WorklistModel  # type: ignore[assignment]

    def __init__(self, seed: int, *, trace: bool = False, sqlite: Path | None = None) -> None:
        self.seed = seed
        self.rng = Random(f"worklists {seed}")
        drawn = draw_swarm(self.rng)
        # What people do by hand, and clocks that jump, are other histories' matter.
        self.swarm = swarm = replace(drawn, controls=0, downs=0, prunes=False, jumps="", in_memory=1000)
        for habits in swarm.habits:
            habits.halves /= 2
        number = swarm.site
        self.site = worklist_site(number % 2, 0)
        self.editions = [self.site]
        if swarm.reloads:
            self.editions += [worklist_site(number % 2, edition) for edition in (1, 2, 3, FULL, BAD)]
            swarm.editions = [1, 2, 3, FULL]
        self.on_disk: Site = self.site
        self.targets = []
        self.loop = Loop(Random(self.rng.random()), most_tick_us=swarm.most_tick_us, trace=[] if trace else None)
        self.clock = Clock(self.loop, Random(self.rng.random()))
        self.model = WorklistModel(self.site, self.loop)
        self.network = Network(self.loop, Random(self.rng.random()), swarm.weather)
        disk_rng = Random(self.rng.random())
        model: Any = self.model
        self.folder = Folder(model)
        if sqlite is None:
            self.disk = WorklistDisk(self.loop, disk_rng, self.clock, swarm.faults, model)
        else:
            self.disk = WorklistSqliteDisk(sqlite, self.loop, disk_rng, self.clock, swarm.faults, model)
        self.loop.disk, self.loop.model = self.disk, self.model  # type: ignore[attr-defined]
        self.loop.on_killed = self._killed
        self.engine: SimulatedEngine | None = None
        self.process: Process | None = None
        self.stop_asked = asyncio.Event()
        self.is_well = False
        self.is_over = False
        self.each_us = EACH_US
        self.runs = 0
        self._groups = {}
        self._kinds = load_kinds()
        self._receivers = []
        self._scripts: list[Script] = []
        self._senders = self._make_senders()

    def _make_senders(self) -> list[Sender]:
        made = []
        for at, habits in enumerate(self.swarm.habits, 1):
            rng = Random(self.rng.random())
            script = Script(at, rng)
            self._scripts.append(script)
            items: list[Item] = []
            for _ in range(max(1, self.swarm.messages // self.swarm.senders)):
                item, said = script.next()
                items.append(item)
                self.model.items[item.payload], self.model.said[item.payload] = item, said
            model: Any = self.model
            made.append(Sender(f"S{at}", self.loop, self.network, model, rng, items, habits))
        return made

    def _plan(self) -> None:
        super()._plan()
        rng = self.rng
        for number in range(rng.choice((0, 0, 2, 6, 12))):
            key = rng.choice(self._scripts).step()
            if key is None or key in self.model.scans.values():
                continue
            uid = f"1.2.826.0.1.98.{number}"
            self.model.scans[uid] = key
            begins_us = START_US + int(rng.random() ** 2 * SCANS_US)
            ends = rng.choice(("COMPLETED", "DISCONTINUED"))
            self.loop.at(begins_us, self.loop.world, self._scan, uid, "IN PROGRESS")
            self.loop.at(begins_us + int(rng.random() * SCANS_US), self.loop.world, self._scan, uid, ends)

    def _control(self, draw: object = None) -> None:
        """Nobody does anything by hand to these deliveries: the reference knows nothing of it."""

    def _scan(self, uid: str, status: str) -> None:
        """A scanner says so, where the engine is there to hear it."""
        engine, process = self.engine, self.process
        if engine is not None and process is not None and getattr(engine, "_committer", None) is not None:
            self.loop.spawn(process, self._perform(engine, uid, status), "scanner")

    async def _perform(self, engine: SimulatedEngine, uid: str, status: str) -> None:
        process = OWNER.get()
        study, step = self.model.scans[uid]
        attributes: Attributes = {"PerformedProcedureStepStatus": (status,)}
        if status == "IN PROGRESS":
            named: Attributes = {"StudyInstanceUID": (study,), "ScheduledProcedureStepID": (step,)}
            attributes = {**attributes, "ScheduledStepAttributesSequence": (named,)}
        order = PerformedOrder("main", uid, attributes, "CT1", self.clock.now_us(), status == "IN PROGRESS")
        committer: Any = engine._committer
        try:
            await committer.call(lambda store: store.perform(order, None))
        except StoreError as error:
            self.loop.note("-- not kept: %s", error)
        except Exception as error:
            if not process.is_dead:
                self.model.breach(f"a performed step raised {type(error).__name__}: {error}")

    def _compare(self) -> None:
        store = self.disk.store()
        store.open()
        queries = store.queries()
        self.model.finish(queries.worklist_counts())
        queries.close()
        store.close()


def run(seed: int, *, trace: bool = False, sqlite: bool = False) -> Outcome:
    """One history. Within `simulated()`."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        if not sqlite:
            return WorklistHistory(seed, trace=trace).run()
        place = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with tempfile.TemporaryDirectory(prefix="segmill-simulation-", dir=place) as folder:
            return WorklistHistory(seed, trace=trace, sqlite=Path(folder)).run()
    finally:
        if was_on:
            gc.enable()


def tally(seeds: range, *, sqlite: bool = False, mutant: str = "") -> Tally:
    """A series, counted; with a mutant until it is found."""
    found = Tally()
    with simulated(), MUTANTS[mutant]() if mutant else nullcontext():
        for number, seed in enumerate(seeds):
            found.add(run(seed, sqlite=sqlite))
            if found.failures and mutant:
                break
            if number % COLLECT_EVERY == 0:
                gc.collect()
    return found


def figures(found: Tally) -> dict[str, int | float | str]:
    """For the ledger."""
    return {
        "histories": found.histories,
        "violations": len(found.failures),
        "messages": found.counts["AA"],
        "decided": found.counts["delivered"],
        "refused": found.counts["held"],
        "decided_too_late": found.counts["stale"],
        "performed": found.counts["performed"],
        "runs_of_the_engine": found.counts["runs"],
        "reloads": found.counts["reloads"],
        "killed": found.counts["killed"],
    }


# -- engines with a fault built in ------------------------------------------------------------------

MUTANTS: dict[str, Callable[[], Any]] = {}


def _mutant(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def registered(make: Callable[[], Any]) -> Callable[[], Any]:
        MUTANTS[name] = make
        return make

    return registered


@_mutant("what is written between a decision and its record is not seen")
def _unseen() -> Any:
    right = MemoryWorklists.apply

    def apply(self: MemoryWorklists, worklist: str, changes: Any, *, seen: int | None = None, **options: Any) -> Any:
        there = self.lists[worklist].items if worklist in self.lists else {}
        forced = []
        for change in changes:
            if isinstance(change, Put | Drop) and (stored := there.get(change.item.key)) is not None:
                item = replace(change.item, revision=stored.item.revision)
                change = Put(item, stored.item, change.what) if isinstance(change, Put) else Drop(item, change.what)
            forced.append(change)
        return right(self, worklist, forced, seen=None, **options)

    return patch.object(MemoryWorklists, "apply", apply)


@_mutant("changes are written with the next record")
def _late() -> Any:
    right, waiting = MemoryStore._apply, []

    def apply(self: MemoryStore, effects: Any, result: Any) -> None:
        for one in waiting:
            right(self, *one)
        waiting[:] = [(replace(effects, seen=None), result)]

    return patch.object(MemoryStore, "_apply", apply)


@_mutant("a decision does not see those before it in its batch")
def _blind() -> Any:
    return patch.object(Overlay, "apply", lambda self, changes: None)


@_mutant("what has ended may be begun again")
def _reopened() -> Any:
    moves = {**STATUS_MOVES, "CANCELED": frozenset({"STARTED", "COMPLETED"})}
    return patch.object(orders, "STATUS_MOVES", moves)


@_mutant("a cancel that came first is forgotten")
def _unburied() -> Any:
    def bury(self: Any, *_: Any) -> None:
        """Nothing is remembered."""

    return patch.object(orders._Orders, "_bury", bury)


@_mutant("a late order does not follow a merge")
def _unmerged() -> Any:
    return patch.object(MemoryWorklistReading, "merged_into", lambda self, patient: None)


@_mutant("an older message counts")
def _older() -> Any:
    return patch.object(orders._Orders, "_is_older", lambda self, order, item: False)


@_mutant("an order of another patient is taken")
def _wrong_patient() -> Any:
    return patch.object(orders._Orders, "_check_patient", lambda self, item, order: None)


def main() -> int:
    """Run many; 1 where one fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--trace", type=int)
    options = parser.parse_args()
    if options.trace is not None:
        with simulated():
            print("\n".join(run(options.trace, trace=True, sqlite=options.sqlite).trace))
        return 0
    found = Tally()
    end = options.first + options.count
    for at in range(options.first, end, CHUNK):
        found.join(tally(range(at, min(at + CHUNK, end)), sqlite=options.sqlite))
        print(figures(found), flush=True)
    for seed, sentence in found.failures[:20]:
        print(f"{seed}: {sentence}")
    return 1 if found.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
