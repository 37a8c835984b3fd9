"""Closed forms of signal timing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic.timing import TimingError, uniform_delay_s, webster_cycle_s, webster_splits_s


def test_webster_cycle_is_the_closed_form() -> None:
    # C = (1.5 L + 5) / (1 - Y) = (1.5 * 10 + 5) / (1 - 0.6) = 50
    assert webster_cycle_s([0.35, 0.25], 10) == pytest.approx(50)


def test_saturated_flows_take_the_longest_cycle() -> None:
    assert webster_cycle_s([0.6, 0.5], 10, max_cycle_s=110) == 110


def test_splits_follow_flow_ratios() -> None:
    # 50 s less 10 s lost, shared 35 : 25
    np.testing.assert_allclose(
        webster_splits_s([0.35, 0.25], 50, 10, [5, 5]), [40 * 35 / 60, 40 * 25 / 60]
    )


@given(
    st.lists(
        st.tuples(st.floats(0, 1.5), st.floats(3, 15)),
        min_size=1,
        max_size=6,
    ),
    st.floats(0, 60),
)
def test_splits_fill_the_cycle_and_keep_the_minimum(
    stages: list[tuple[float, float]], spare_s: float
) -> None:
    ratios, floors = zip(*stages, strict=True)
    cycle_s = sum(floors) + 12 + spare_s
    splits = webster_splits_s(ratios, cycle_s, 12, floors)
    assert splits.sum() == pytest.approx(cycle_s - 12)
    assert (splits >= np.array(floors) - 1e-6).all()


def test_uniform_delay_of_half_green() -> None:
    # red r then discharge: area of the queue triangle, r^2 / (2 C (1 - y)); C=60 r=30 y=0.25
    assert uniform_delay_s(60, 0.5, 0.5) == pytest.approx(30**2 / (2 * 60 * (1 - 0.25)))


def test_every_bad_input_is_named_at_once() -> None:
    with pytest.raises(TimingError) as error:
        webster_splits_s([0.3, -1.0], 20, 12, [5, 5, 5])
    for part in ("flow_ratios[1] = -1.0", "3 stages", "leaves 8"):
        assert part in str(error.value)
