"""Many histories, one after the other or in several processes, and what came of them."""

import gc
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

from tests.simulation import block_mutants, folder_mutants, reload_mutants  # noqa: F401 - they register themselves
from tests.simulation.engines import simulated
from tests.simulation.focus import FOCUS, Focus
from tests.simulation.history import Outcome, run
from tests.simulation.mutants import MUTANTS
from tests.simulation.sites import SITES, site

COLLECT_EVERY = 50
CHUNK = 250


@dataclass(slots=True)
class Tally:
    """What came of a series."""

    histories: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    """Seed, and the first breach."""

    def add(self, outcome: Outcome) -> None:
        self.histories += 1
        self.steps += outcome.steps
        self.virtual_s += outcome.virtual_s
        self.counts += outcome.counts
        if outcome.breaches:
            self.failures.append((outcome.seed, outcome.breaches[0]))

    def join(self, other: "Tally") -> None:
        self.histories += other.histories
        self.steps += other.steps
        self.virtual_s += other.virtual_s
        self.cpu_s += other.cpu_s
        self.counts += other.counts
        self.failures += other.failures

    @property
    def a_minute(self) -> float:
        """Histories in a minute of one processor."""
        return self.histories / self.cpu_s * 60 if self.cpu_s else 0.0

    def figures(self) -> dict[str, int | float | str]:
        """For the ledger."""
        return {
            "histories": self.histories,
            "violations": len(self.failures),
            "messages": self.counts["AA"],
            "deliveries": self.counts["took"],
            "runs_of_the_engine": self.counts["runs"],
            "reloads": self.counts["reloads"],
            "killed": self.counts["killed"],
            "blocks_of_several": self.counts["blocks of several"],
            "joined_from_fragments": self.counts["joined"],
            "given_up_in_fragments": self.counts["given up"],
            "files": self.counts["files"],
            "tries_within_hours": self.counts["tries within hours"],
            "a_minute": round(self.a_minute),
        }


def series(
    seeds: Iterable[int], *, sqlite: bool = False, mutant: str = "", focus: Focus | None = None
) -> Iterator[Outcome]:
    """One history after the other."""
    was_on = gc.isenabled()
    gc.disable()  # what a history leaves behind is collected between them, and not at a moment of its own
    try:
        with simulated(), MUTANTS[mutant]() if mutant else nullcontext():
            for number, seed in enumerate(seeds):
                yield run(seed, sqlite=sqlite, focus=focus)
                if number % COLLECT_EVERY == 0:
                    gc.collect()
    finally:
        if was_on:
            gc.enable()


def tally(seeds: range, *, sqlite: bool = False) -> Tally:
    """A series, counted."""
    found = Tally()
    started = time.process_time()
    for outcome in series(seeds, sqlite=sqlite):
        found.add(outcome)
    found.cpu_s = time.process_time() - started
    return found


def campaign(
    seeds: range, processes: int, *, sqlite: bool = False, told: Callable[[Tally], None] = lambda _: None
) -> Tally:
    """Many, shared out among processes; `told` hears how it stands now and then."""
    whole = Tally()
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    if processes <= 1:
        for chunk in chunks:
            whole.join(tally(chunk, sqlite=sqlite))
            told(whole)
        return whole
    with multiprocessing.get_context("spawn").Pool(processes, initializer=_start) as pool:
        for part in pool.imap_unordered(_Counting(sqlite), chunks):
            whole.join(part)
            told(whole)
    whole.failures.sort()
    return whole


class _Counting:
    """`tally` of a chunk, for a pool."""

    def __init__(self, sqlite: bool) -> None:
        self._sqlite = sqlite

    def __call__(self, chunk: range) -> Tally:
        return tally(chunk, sqlite=self._sqlite)


def _start() -> None:
    """Sites are read once, before the first history."""
    for number in range(SITES):
        site(number)


def first_found(mutant: str, first: int, most: int) -> tuple[int, str] | None:
    """The first seed from `first` on that finds a mutant, and what it says; None after `most` histories.

    A rare one is looked for in histories that are narrowed to what it needs.
    """
    for outcome in series(range(first, first + most), mutant=mutant, focus=FOCUS.get(mutant)):
        if outcome.breaches:
            return outcome.seed, outcome.breaches[0]
    return None
