"""Histories of whole engines, drawn from numbers: whatever happens in them, what is promised holds (issue 4 point 10).

Each history is a site, senders, receivers, a disk and several runs of the engine, on a loop without a clock
(`loop`). What must hold is in `model`; that the histories would find it is shown by `mutants`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger
from tests.simulation.campaign import campaign, first_found, series, tally
from tests.simulation.engines import simulated
from tests.simulation.focus import FOCUS
from tests.simulation.history import run
from tests.simulation.mutants import FOUND_AT, MUTANTS

REPOSITORY = Path(__file__).parents[2]

SHORT = 240
SQLITE_SHORT = 12
NARROWED = 24
LONG = 100_000
SQLITE_LONG = 2_000
NARROWED_LONG = 500
MOST = 400
"""In so many histories each mutant is found, wherever they begin; a rare one in those that are narrowed to it."""
NEAR = 40
ONE_OF_EACH = sorted({narrowed: name for name, narrowed in FOCUS.items()}.values())
"""Of each way to narrow histories, a mutant's name."""


def trace_of(seed: int) -> str:
    with simulated():
        return "\n".join(run(seed, trace=True).trace)


@pytest.mark.timeout(600)
class TestHistories:
    def test_whatever_happens_what_is_promised_holds(self, ledger: Ledger) -> None:
        found = tally(range(SHORT))
        ledger.write("SIM", "simulated histories", **found.figures())
        assert found.failures == []
        assert found.counts["killed"] > SHORT / 10
        assert found.counts["took"] > SHORT * 5
        assert found.counts["reloads"] > SHORT / 10
        assert found.counts["tries within hours"] > SHORT
        assert found.counts["blocks of several"] > SHORT / 10
        assert found.counts["joined"] > SHORT / 10
        assert found.counts["given up"] > 0
        assert found.counts["files"] > SHORT / 10

    @pytest.mark.parametrize("name", ONE_OF_EACH)
    def test_so_it_does_in_histories_that_are_narrowed_to_what_a_rare_fault_needs(self, name: str) -> None:
        assert [one.breaches for one in series(range(NARROWED), focus=FOCUS[name]) if one.breaches] == []

    def test_the_store_in_sqlite_keeps_it_as_well(self, ledger: Ledger) -> None:
        found = tally(range(SQLITE_SHORT), sqlite=True)
        ledger.write("SIM", "simulated histories, SQLite", **found.figures())
        assert found.failures == []

    def test_a_history_is_the_same_each_time_and_everywhere(self) -> None:
        """Also in a process that orders its sets otherwise, and has other things in memory."""
        script = (
            "from tests.simulation.test_simulation import trace_of\n"
            "import sys\n"
            "for seed in (48, 114): sys.stdout.write(trace_of(seed))\n"
        )
        there = []
        for hash_seed in ("1", "2"):
            environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
            made = subprocess.run(
                [sys.executable, "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, check=True
            )
            there.append(made.stdout.decode())
        here = trace_of(48) + trace_of(114)
        assert len(here) > 5_000
        assert there == [here, here]

    def test_a_seed_is_replayed_from_the_command_line(self) -> None:
        made = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "5", "--trace"],
            cwd=REPOSITORY,
            capture_output=True,
            check=True,
        )
        assert trace_of(5) in made.stdout.decode()


@pytest.mark.timeout(600)
class TestMutants:
    @pytest.mark.parametrize("name", list(MUTANTS))
    def test_a_mutant_is_found(self, name: str, ledger: Ledger) -> None:
        """Near the seed that is known to find it; where histories have changed since, anywhere."""
        found = first_found(name, FOUND_AT.get(name, 0), NEAR) or first_found(name, 0, MOST)
        assert found is not None, f"not found in {MOST} histories"
        ledger.write("SIM", f"mutant: {name}", found_at_seed=found[0])


@pytest.mark.fault
@pytest.mark.timeout(7200)
class TestLong:
    def test_a_hundred_thousand_histories(self, ledger: Ledger) -> None:
        processes = min(2, os.cpu_count() or 1)
        found = campaign(range(LONG), processes)
        ledger.write("SIM", "simulated histories, long form", **found.figures())
        assert found.failures == []

    def test_thousands_in_sqlite(self, ledger: Ledger) -> None:
        found = campaign(range(SQLITE_LONG), min(2, os.cpu_count() or 1), sqlite=True)
        ledger.write("SIM", "simulated histories, SQLite, long form", **found.figures())
        assert found.failures == []

    @pytest.mark.parametrize("name", ONE_OF_EACH)
    def test_hundreds_of_each_narrowed_kind(self, name: str) -> None:
        assert [one.seed for one in series(range(NARROWED_LONG), focus=FOCUS[name]) if one.breaches] == []
