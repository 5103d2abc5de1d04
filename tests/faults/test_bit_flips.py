"""One bit of a stopped store is turned (reliability.md D7, R18): nothing altered is ever sent, and it is reported."""

import os
import random
from pathlib import Path

import pytest

from tests.faults.bit_flips import Flips, Outcome, tally
from tests.faults.ledger import Ledger


def assert_nothing_altered(outcomes: list[Outcome]) -> None:
    assert not [outcome for outcome in outcomes if outcome.altered]
    assert max(outcome.quarantined for outcome in outcomes) <= 1, "one bit of a content page, one message"


def assert_nothing_silent(outcomes: list[Outcome]) -> None:
    """What reads differently is reported."""
    silent = [outcome for outcome in outcomes if not outcome.reports and (outcome.changed or outcome.vanished)]
    assert not silent


def test_R18_no_turned_bit_reaches_a_receiver(tmp_path: Path, ledger: Ledger) -> None:
    flips = Flips(tmp_path)
    chance = random.Random(18)
    outcomes = [flips.flip(chance) for _ in range(100)]
    ledger.write("R18", "one bit turned", **tally(outcomes))
    assert_nothing_altered(outcomes)
    assert_nothing_silent(outcomes)
    assert {outcome.file for outcome in outcomes if outcome.reports} == {"segmill.db", "segmill.db-wal"}


@pytest.mark.fault
@pytest.mark.timeout(1200)
def test_R18_no_turned_bit_of_1000_reaches_a_receiver(tmp_path: Path, ledger: Ledger) -> None:
    flips = Flips(tmp_path)
    chance = random.Random(int(os.environ.get("SEGMILL_SEED", "1000")))
    outcomes = [flips.flip(chance) for _ in range(1000)]
    ledger.write("R18", "one bit turned, long", **tally(outcomes))
    assert_nothing_altered(outcomes)
    assert_nothing_silent(outcomes)


def test_R1m_turned_bits_catch_a_store_that_does_not_look_at_checksums(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    flips = Flips(tmp_path)
    monkeypatch.setattr("engine.adapters.stores.reading.fault_of", lambda body, lane, crc: "")
    chance = random.Random(19)
    outcomes = [flips.flip(chance) for _ in range(24)]
    altered = sum(outcome.altered for outcome in outcomes)
    ledger.write("R1m", "mutant no checksums", flips=len(outcomes), altered_messages_delivered=altered)
    assert altered
