"""Histories of engines that feed worklists: whatever is killed, no order is lost, no step is doubled, and what has
ended stays ended (issue 5; dicom.md 1.3, 1.8, 1.9).
"""

import pytest

from tests.faults.ledger import Ledger
from tests.simulation.worklist_reference import Reference, Said
from tests.simulation.worklists import MUTANTS, figures, tally

SHORT = 120
SQLITE_SHORT = 8
LONG = 20_000
SQLITE_LONG = 500
MOST = 400
"""In so many histories each mutant is found, wherever they begin."""


@pytest.mark.timeout(600)
class TestWorklists:
    def test_they_are_what_is_durable_makes_of_them(self, ledger: Ledger) -> None:
        found = tally(range(SHORT))
        ledger.write("SIM", "simulated histories of worklists", **figures(found))
        assert found.failures == []
        for what in ("killed", "reloads", "stale", "held", "performed"):
            assert found.counts[what] > SHORT / 10, what
        assert found.counts["delivered"] > SHORT * 10
        assert found.counts["steps on worklists"] > SHORT * 5

    def test_in_sqlite_as_well(self, ledger: Ledger) -> None:
        found = tally(range(SQLITE_SHORT), sqlite=True)
        ledger.write("SIM", "simulated histories of worklists, SQLite", **figures(found))
        assert found.failures == []
        assert found.counts["killed"] > 0

    @pytest.mark.parametrize("mutant", MUTANTS)
    def test_an_engine_with_a_fault_is_found(self, mutant: str) -> None:
        # One history in ten finds the rarest, and another one after each change of the engine.
        assert tally(range(MOST), mutant=mutant).failures, mutant


@pytest.mark.fault
@pytest.mark.timeout(14_400)
class TestManyWorklists:
    def test_they_are_what_is_durable_makes_of_them(self, ledger: Ledger) -> None:
        found = tally(range(1_000_000, 1_000_000 + LONG))
        ledger.write("SIM", "simulated histories of worklists", **figures(found))
        assert found.failures == []

    def test_in_sqlite_as_well(self, ledger: Ledger) -> None:
        found = tally(range(1_000_000, 1_000_000 + SQLITE_LONG), sqlite=True)
        ledger.write("SIM", "simulated histories of worklists, SQLite", **figures(found))
        assert found.failures == []

    @pytest.mark.parametrize("mutant", MUTANTS)
    def test_an_engine_with_a_fault_is_found_wherever_one_begins(self, mutant: str) -> None:
        assert tally(range(5000, 5000 + MOST), mutant=mutant).failures, mutant


class TestReference:
    """The model's own words, by hand."""

    def test_a_cancel_that_comes_first_keeps_the_order_off(self) -> None:
        worklist = Reference()
        assert worklist.hear(Said("cancel", "1", "P", study="1.2", placer="A"))
        assert worklist.hear(Said("new", "2", "P", "N", "1.2", "A", ("S1",), "CT"))
        assert worklist.steps == {}

    def test_what_has_ended_stays_ended_and_an_older_message_changes_nothing(self) -> None:
        worklist = Reference()
        worklist.hear(Said("new", "2", "P", "N", "1.2", "A", ("S1",), "CT"))
        worklist.hear(Said("cancel", "1", "P", study="1.2", placer="A"))
        assert worklist.steps["1.2", "S1"].status == "SCHEDULED"
        worklist.hear(Said("complete", "3", "P", study="1.2", placer="A"))
        worklist.hear(Said("change", "4", "P", "N", "1.2", "A", ("S1",), "MR"))
        assert (worklist.steps["1.2", "S1"].status, worklist.steps["1.2", "S1"].description) == ("COMPLETED", "CT")

    def test_a_merge_takes_the_steps_along_and_another_patient_is_refused(self) -> None:
        worklist = Reference()
        worklist.hear(Said("new", "1", "P", "N", "1.2", "A", ("S1", "S2"), "CT"))
        assert not worklist.hear(Said("start", "2", "Q", placer="A"))
        assert worklist.hear(Said("merge", "3", "Q", "M", prior="P"))
        assert {step.patient for step in worklist.steps.values()} == {"Q"}
        assert worklist.hear(Said("start", "4", "P", placer="A"))
        assert not worklist.hear(Said("merge", "5", "P", "M", prior="Q"))
