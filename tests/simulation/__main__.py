"""`python -m tests.simulation`: many histories, or one of them again, step by step.

python -m tests.simulation --histories 100000 --processes 2
python -m tests.simulation --seed 4711 --trace
python -m tests.simulation --mutants
"""

import argparse
import sys
from contextlib import nullcontext

from tests.simulation.campaign import Tally, campaign, first_found, series
from tests.simulation.engines import simulated
from tests.simulation.focus import FOCUS
from tests.simulation.history import History, run
from tests.simulation.mutants import MUTANTS


def main() -> int:
    """The exit code: 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Simulated histories of the engine")
    parser.add_argument("--seed", type=int, help="this history alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: everything that happened in it")
    parser.add_argument("--histories", type=int, default=3000, help="how many (default 3000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--processes", type=int, default=1, help="how many at a time (default 1)")
    parser.add_argument("--sqlite", action="store_true", help="with the store in SQLite, in memory-backed files")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="with this fault built in")
    parser.add_argument("--mutants", action="store_true", help="the first seed that finds each mutant")
    parser.add_argument("--focus", choices=sorted(FOCUS), help="narrowed to what this fault needs, without the fault")
    asked = parser.parse_args()
    if asked.mutants:
        return _mutants(asked.first, asked.histories)
    if asked.seed is not None:
        return _one(asked)
    if asked.mutant:
        found = first_found(asked.mutant, asked.first, asked.histories)
        print(f"{asked.mutant}: " + (f"found at {found[0]}: {found[1]}" if found else "not found"))
        return 0 if found else 1
    if asked.focus:
        return _focused(asked)
    seeds = range(asked.first, asked.first + asked.histories)
    whole = campaign(seeds, asked.processes, sqlite=asked.sqlite, told=_progress)
    print(", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in whole.figures().items()))
    for seed, breach in whole.failures:
        print(f"seed {seed}: {breach}")
    return 1 if whole.failures else 0


def _one(asked: argparse.Namespace) -> int:
    focus = FOCUS.get(asked.focus or asked.mutant)
    with simulated(), MUTANTS[asked.mutant]() if asked.mutant else nullcontext():
        outcome = run(asked.seed, trace=asked.trace, sqlite=asked.sqlite, focus=focus)
    if asked.trace:
        history = History(asked.seed, focus=focus)
        print(history.swarm)
        print(history.site.text)
        print("\n".join(outcome.trace))
    print(f"seed {asked.seed}: {outcome.steps} steps, {outcome.virtual_s:.3f} s of its own time")
    for breach in outcome.breaches:
        print(f"BREACH {breach}")
    return 1 if outcome.breaches else 0


def _focused(asked: argparse.Namespace) -> int:
    broken = 0
    for outcome in series(range(asked.first, asked.first + asked.histories), focus=FOCUS[asked.focus]):
        if outcome.breaches:
            broken += 1
            print(f"seed {outcome.seed}: {outcome.breaches[0]}")
    print(f"histories {asked.histories:,}, violations {broken:,}")
    return 1 if broken else 0


def _mutants(first: int, most: int) -> int:
    missed = 0
    for name in MUTANTS:
        found = first_found(name, first, most)
        missed += found is None
        print(f"{name}: " + (f"{found[0]}: {found[1]}" if found else f"not found in {most} histories"), flush=True)
    return 1 if missed else 0


def _progress(whole: Tally) -> None:
    print(f"{whole.histories:,} histories, {len(whole.failures)} violations", file=sys.stderr)
    for seed, breach in whole.failures[-1:]:
        print(f"the last one: seed {seed}: {breach}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
