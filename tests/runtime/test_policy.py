"""What follows an answer, by code and kind of failure: the whole matrix, the limits, and how long a retry waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.ids import DestinationName
from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable
from engine.runtime.policy import (
    CONTENT_CODES,
    MOST_REDIRECTS,
    Action,
    Done,
    Next,
    Policy,
    Redirect,
    Retry,
    Rules,
    SetAside,
    Stop,
    action_for,
    after,
    backoff,
)

SPARE = DestinationName("spare")
ACTIONS = {
    "hold": SetAside("held"),
    "skip": SetAside("failed"),
    "stop": Stop(),
    "retry": Retry(1.0),
    "redirect": Redirect(SPARE),
}
OUTCOMES: dict[str, Outcome] = {
    "delivered": Delivered(),
    **{code: Refused(code) for code in ("AE", "AR", "CE", "CR")},
    **{f"{ack} {err}": Refused(ack, err) for ack in ("AE", "AR", "CE", "CR") for err in ("102", "204", "206", "207")},
    "unanswered": Unanswered(""),
    "unreachable": Unreachable(""),
    "unsendable": Unsendable(""),
}

# What each outcome comes to without a word in the channel's file (reliability.md S1 to S4, hl7.md item 19).
DEFAULTS = """
delivered        done
AE               hold
AR               retry
CE               retry
CR               hold
AE 102           hold
AE 204           hold
AE 206           hold
AE 207           hold
AR 102           hold
AR 204           hold
AR 206           retry
AR 207           retry
CE 102           hold
CE 204           hold
CE 206           retry
CE 207           retry
CR 102           hold
CR 204           hold
CR 206           hold
CR 207           hold
unanswered       retry
unreachable      retry
unsendable       hold
"""

# {"204": skip, "207": stop, AE: redirect(spare), AR: skip, otherwise: hold} under on_refused;
# {"207": stop, CE: redirect(spare), otherwise: skip} under on_rejected.
BY_CODE = """
AE               redirect
AR               skip
CE               redirect
CR               hold
AE 102           redirect
AE 204           skip
AE 206           redirect
AE 207           stop
AR 102           skip
AR 204           skip
AR 206           skip
AR 207           stop
CE 102           hold
CE 204           skip
CE 206           redirect
CE 207           stop
CR 102           hold
CR 204           skip
CR 206           hold
CR 207           stop
"""


def rows(table: str) -> dict[str, str]:
    return dict(line.rsplit(maxsplit=1) for line in table.strip().splitlines())


def step(outcome: Outcome, policy: Policy, attempts: int = 1, age_s: float = 0.0, **more) -> Next:
    return after(outcome, policy, attempts, age_s, 0.0, **more)


def test_the_tables_are_whole():
    assert set(rows(DEFAULTS)) == set(OUTCOMES)
    assert set(rows(BY_CODE)) == {name for name, outcome in OUTCOMES.items() if isinstance(outcome, Refused)}


@pytest.mark.parametrize(("name", "comes_to"), rows(DEFAULTS).items())
def test_what_an_answer_comes_to_without_a_word_in_the_file(name, comes_to):
    assert step(OUTCOMES[name], Policy()) == {"done": Done(), **ACTIONS}[comes_to]


@pytest.mark.parametrize(("name", "comes_to"), rows(BY_CODE).items())
def test_an_err_code_goes_before_an_ack_code_and_that_before_all_others(name, comes_to):
    policy = Policy(
        on_refused=Rules(
            Action("hold"),
            {
                "AE": Action("redirect", to=SPARE),
                "204": Action("skip"),
                "207": Action("stop"),
                "AR": Action("skip"),
            },
        ),
        on_rejected=Rules(Action("skip"), {"CE": Action("redirect", to=SPARE), "207": Action("stop")}),
    )
    assert step(OUTCOMES[name], policy) == ACTIONS[comes_to]


@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize(
    ("key", "outcome"),
    [
        ("on_refused", Refused("AE")),
        ("on_rejected", Refused("AR")),
        ("on_unanswered", Unanswered("")),
        ("on_unreachable", Unreachable("")),
        ("on_unsendable", Unsendable("")),
    ],
)
def test_every_action_is_to_be_had_for_every_kind_of_failure_and_for_no_other(key, outcome, kind):
    policy = Policy(**{key: Action(kind, to=SPARE)})
    assert step(outcome, policy) == ACTIONS[kind]
    others = [o for o in OUTCOMES.values() if action_for(o, policy) != action_for(outcome, policy)]
    assert all(step(other, policy) == step(other, Policy()) for other in others)


@pytest.mark.parametrize("code", sorted(CONTENT_CODES))
def test_an_err_that_speaks_of_the_content_makes_a_retry_useless_whatever_the_ack_code(code):
    assert [step(Refused(ack, code), Policy()) for ack in ("AE", "AR", "CE", "CR")] == [SetAside("held")] * 4


class TestLimits:
    """When a retry ends, and in what."""

    @pytest.mark.parametrize("then", ["hold", "skip", "stop", "redirect"])
    def test_a_retry_ends_after_its_number_of_attempts_or_its_time(self, then):
        policy = Policy(
            on_refused=Action("retry", most_attempts=3, then=then, to=SPARE),
            on_rejected=Action("retry", most_age_s=60.0, then=then, to=SPARE),
        )
        by_count = [step(Refused("AE"), policy, n) for n in (1, 2, 3)]
        assert [type(s) for s in by_count[:2]] == [Retry, Retry]
        assert by_count[2] == ACTIONS[then]
        by_time = [step(Refused("AR"), policy, 9, age_s) for age_s in (0.0, 59.9, 60.0)]
        assert [type(s) for s in by_time[:2]] == [Retry, Retry]
        assert by_time[2] == ACTIONS[then]

    def test_a_rule_without_a_limit_has_the_destinations_and_one_with_a_limit_has_its_own_alone(self):
        policy = Policy(
            on_refused=Action("retry", most_age_s=99.0), on_rejected="retry", most_attempts=2, most_age_s=10.0
        )
        assert step(Refused("AR"), policy, 2) == step(Refused("AR"), policy, 1, 10.0) == SetAside("held")
        assert isinstance(step(Refused("AE"), policy, 50, 98.0), Retry)

    def test_a_message_does_not_go_round_for_ever(self):
        policy = Policy(on_refused=Action("redirect", to=SPARE))
        assert step(Refused("AE"), policy, redirects=MOST_REDIRECTS - 1) == Redirect(SPARE)
        assert step(Refused("AE"), policy, redirects=MOST_REDIRECTS) == SetAside("held")

    def test_a_limit_that_ends_in_a_redirect_counts_from_when_the_destination_went_down(self):
        """Else each message in turn would wait its own time, one behind the other."""
        policy = Policy(on_unreachable=Action("retry", most_age_s=900.0, then="redirect", to=SPARE))
        assert isinstance(step(Unreachable(""), policy, 1, 0.0, down_s=899.0), Retry)
        assert step(Unreachable(""), policy, 1, 0.0, down_s=900.0) == Redirect(SPARE)
        assert step(Unreachable(""), policy, 1, 900.0) == Redirect(SPARE), "nor does a restart begin anew"

    @pytest.mark.parametrize("then", ["hold", "skip", "stop"])
    def test_any_other_limit_is_each_messages_own(self, then):
        policy = Policy(on_unreachable=Action("retry", most_age_s=900.0, then=then))
        assert isinstance(step(Unreachable(""), policy, 1, 0.0, down_s=10_000.0, failures=99), Retry)
        assert step(Unreachable(""), policy, 1, 900.0) == ACTIONS[then]


waits = st.floats(0.01, 86400.0)


class TestBackOff:
    """reliability.md S1: exponential, capped, with jitter."""

    @given(
        first=waits, most=waits, attempts=st.integers(1, 10_000), jitter=st.floats(0, 1), drawn=st.floats(0, 0.99999)
    )
    def test_a_wait_is_never_longer_than_the_longest_nor_shortened_by_more_than_the_jitter(
        self, first, most, attempts, jitter, drawn
    ):
        policy = Policy(first_s=first, most_s=most, jitter=jitter)
        wait = backoff(policy, attempts, drawn)
        assert 0 <= wait <= most
        assert wait >= min(first, most) * (1 - jitter) * 0.999999

    @given(first=waits, most=waits, attempts=st.integers(1, 60))
    def test_without_jitter_it_doubles_until_it_is_the_longest(self, first, most, attempts):
        policy = Policy(first_s=first, most_s=most, jitter=0.0)
        before, later = backoff(policy, attempts, 0.5), backoff(policy, attempts + 1, 0.5)
        assert later == pytest.approx(min(most, 2 * before)) or (before == later == most) or attempts > 30

    @given(drawn=st.lists(st.floats(0, 0.99999), min_size=2, max_size=2, unique=True))
    def test_two_lanes_do_not_try_in_step(self, drawn):
        policy = Policy(jitter=0.2)
        assert backoff(policy, 9, drawn[0]) != backoff(policy, 9, drawn[1]) or abs(drawn[0] - drawn[1]) < 1e-9
