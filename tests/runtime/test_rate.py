"""How much may leave in a time: never more over any stretch, and all of it where there is enough to send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runtime.rate import BURST_S, Rate


def test_what_was_not_used_is_kept_for_a_tenth_of_a_second():
    rate = Rate(50)
    left = 0
    while rate.wait_s(100.0) == 0:
        rate.take(1, 100.0)
        left += 1
    assert left == 50 * BURST_S + 1
    assert rate.wait_s(100.0) == pytest.approx(1 / 50)
    assert rate.wait_s(100.0 + 1 / 50) == pytest.approx(0)


def test_a_slow_rate_is_even():
    rate = Rate(10 / 60)
    rate.take(1, 0.0)
    assert rate.wait_s(0.0) == pytest.approx(6.0, abs=BURST_S)
    assert rate.wait_s(6.0) == 0


def test_a_call_of_many_leaves_whole_and_is_paid_for_afterwards():
    rate = Rate(10)
    rate.take(100, 0.0)
    assert rate.wait_s(0.0) == pytest.approx(10.0, abs=BURST_S)


@given(
    st.floats(0.01, 2000),
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 20)), min_size=1, max_size=60),
)
def test_over_no_stretch_leaves_more_than_the_rate_says(per_s, asks):
    rate = Rate(per_s)
    now = 0.0
    left: list[tuple[float, int]] = []
    for pause, count in asks:
        now += pause
        now += rate.wait_s(now)
        rate.take(count, now)
        left.append((now, count))
    for first in range(len(left)):
        for last in range(first, len(left)):
            stretch = left[last][0] - left[first][0]
            took = sum(count for _, count in left[first:last])  # the last call's worth is beyond the rate
            assert took <= per_s * (stretch + BURST_S) * (1 + 1e-9) + 1e-6


def test_what_there_is_leaves_as_fast_as_the_rate_says():
    rate = Rate(20)
    now = 0.0
    for _ in range(400):
        now += rate.wait_s(now)
        rate.take(1, now)
    assert now == pytest.approx(400 / 20, abs=0.2)


def test_a_rate_of_nothing_is_a_mistake():
    with pytest.raises(ValueError, match="more than nothing"):
        Rate(0)
