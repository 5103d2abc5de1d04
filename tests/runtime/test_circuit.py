"""A destination's circuit: closed, open, half-open with one probe at a time, by a clock that only a test moves."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable
from engine.runtime.circuit import Circuit
from engine.runtime.policy import Policy, backoff

UP: list[Outcome] = [Delivered(), Refused("AE"), Refused("AR", "207")]
DOWN, SILENT, UNSENDABLE = Unreachable("nobody there"), Unanswered("nothing came"), Unsendable("a VT in it")
POLICY = Policy(first_s=1.0, most_s=60.0, jitter=0.0)


def made(patience: int = 1) -> Circuit:
    return Circuit(lambda failures: backoff(POLICY, failures, 0.0), patience)


def tried(circuit: Circuit, outcome: Outcome, now_s: float) -> None:
    assert circuit.wait_s(now_s) == 0
    circuit.leaving()
    circuit.ended(outcome, now_s)


def test_one_probe_at_a_time_and_each_waits_longer():
    circuit, now_s, waits = made(), 100.0, []
    tried(circuit, DOWN, now_s)
    for _ in range(9):
        wait_s = circuit.wait_s(now_s)
        assert wait_s is not None
        assert circuit.state == "open"
        waits.append(wait_s)
        now_s += wait_s
        circuit.leaving()
        assert circuit.state == "half-open"
        assert circuit.wait_s(now_s) is None, "until that one has ended, nobody else"
        circuit.ended(DOWN, now_s)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert circuit.down_s(now_s) == sum(waits)
    assert circuit.failures == 10


@pytest.mark.parametrize("answer", UP, ids=str)
def test_any_answer_closes_it(answer):
    circuit = made()
    tried(circuit, DOWN, 0.0)
    tried(circuit, answer, 1.0)
    assert (circuit.state, circuit.is_down, circuit.wait_s(1.0), circuit.down_s(1.0)) == ("closed", False, 0, 0.0)
    tried(circuit, DOWN, 2.0)
    assert circuit.wait_s(2.0) == 1.0, "and the next time it begins anew"


def test_a_probe_that_says_nothing_of_the_receiver_leaves_it_open_for_the_next():
    circuit = made()
    tried(circuit, DOWN, 0.0)
    tried(circuit, UNSENDABLE, 1.0)
    assert circuit.state == "open"
    assert circuit.wait_s(1.0) == 0
    circuit.leaving()
    circuit.cut_off()
    assert circuit.state == "open"
    assert circuit.wait_s(1.0) == 0


def test_a_message_alone_that_is_not_answered_does_not_stop_the_others():
    circuit = made(patience=2)
    circuit.leaving()
    circuit.leaving()
    circuit.ended(SILENT, 0.0)
    assert not circuit.is_down
    assert circuit.wait_s(0.0) is None, "in doubt, one at a time"
    circuit.ended(Delivered(), 0.0)
    assert circuit.wait_s(0.0) == 0
    circuit.leaving()
    circuit.leaving()
    circuit.ended(SILENT, 5.0)
    circuit.ended(SILENT, 5.0)
    assert circuit.is_down
    assert circuit.wait_s(5.0) == 1.0


def test_in_one_lane_a_silence_is_enough():
    circuit = made()
    tried(circuit, SILENT, 0.0)
    assert circuit.is_down
    assert circuit.wait_s(0.0) == 1.0


def test_a_persons_word_tries_at_once_and_does_not_make_it_up():
    circuit = made()
    for _ in range(5):
        circuit.leaving()
        circuit.ended(DOWN, 0.0)
    circuit.retry_now()
    assert circuit.wait_s(0.0) == 0
    assert circuit.is_down
    tried(circuit, DOWN, 0.0)
    assert circuit.wait_s(0.0) == 32.0, "it fails on where it was"


class Flapping(RuleBasedStateMachine):
    """Any number of connections, any outcomes, any pauses: never two probes, and no failure makes it try faster."""

    circuit_class = Circuit

    def __init__(self) -> None:
        super().__init__()
        self.circuit = self.circuit_class(lambda failures: backoff(POLICY, failures, 0.0), 2)
        self.now_s = 0.0
        self.under_way = 0
        self.last_failed_s: float | None = None

    @rule(seconds=st.floats(0, 90))
    def pause(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: self.circuit.wait_s(self.now_s) == 0)
    @rule()
    def leave(self) -> None:
        if self.circuit.is_down:
            assert self.under_way == 0, "one probe at a time"
            assert self.last_failed_s is not None
            assert self.now_s - self.last_failed_s >= 1.0 - 1e-9, "and not sooner than the shortest wait"
        self.circuit.leaving()
        self.under_way += 1

    @precondition(lambda self: self.under_way > 0)
    @rule(outcome=st.sampled_from([*UP, DOWN, SILENT, UNSENDABLE]))
    def end(self, outcome: Outcome) -> None:
        self.under_way -= 1
        was_down = self.circuit.is_down
        self.circuit.ended(outcome, self.now_s)
        if outcome in UP:
            assert not self.circuit.is_down
        elif outcome is DOWN:
            assert self.circuit.is_down
        elif outcome is UNSENDABLE:
            assert self.circuit.is_down == was_down
        if outcome in (DOWN, SILENT) and self.circuit.is_down:
            self.last_failed_s = self.now_s

    @precondition(lambda self: self.under_way > 0)
    @rule()
    def cut_off(self) -> None:
        self.under_way -= 1
        self.circuit.cut_off()

    @invariant()
    def what_it_says_fits_together(self) -> None:
        wait_s = self.circuit.wait_s(self.now_s)
        assert wait_s is None or 0 <= wait_s <= POLICY.most_s
        assert (self.circuit.state == "closed") == (not self.circuit.is_down)
        if wait_s is None:
            assert self.under_way, "somebody waits for an end that comes"


CASES = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_however_a_destination_flaps_it_is_tried_by_one_and_not_too_often():
    run_state_machine_as_test(Flapping, settings=CASES)


class Eager(Circuit):
    """A mutant: a probe does not keep the others back."""

    def wait_s(self, now_s: float) -> float | None:
        return max(0.0, self._not_before_s - now_s)


class Hasty(Circuit):
    """A mutant: a failure while others are under way shortens the wait."""

    def _fail(self, now_s: float) -> None:
        super()._fail(now_s)
        self._not_before_s = now_s


@pytest.mark.parametrize("mutant", [Eager, Hasty])
def test_the_machine_finds_a_circuit_that_is_wrong(mutant):
    machine = type("Mutated", (Flapping,), {"circuit_class": mutant})
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=settings(CASES, print_blob=False))
