"""The figures against closed forms: steady traffic, a known jam, a known drop, known intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from traffic.performance import (
    Breakdown,
    Contour,
    Trips,
    build_contour,
    find_breakdown,
    find_capacity_drop,
    find_sustained,
    jam_km_h,
    mean_interval,
    mean_speed_mps,
    time_spent_by_purpose_s,
)


def make_trips() -> Trips:
    """One arrived after waiting, one still driving, one that never came in."""
    return Trips(
        ("local", "tunnel", "local"),
        np.array([6000.0, 3000.0, 0.0]),
        np.array([500.0, 300.0, 0.0]),
        np.array([100.0, 0.0, 900.0]),
        np.array([True, True, False]),
        np.array([True, False, False]),
    )


def test_network_speed_is_distance_over_time_with_the_wait_to_depart() -> None:
    assert mean_speed_mps(make_trips()) == pytest.approx(9000.0 / 1800.0)


def test_time_spent_counts_those_who_never_departed() -> None:
    assert time_spent_by_purpose_s(make_trips()) == {"local": 1500.0, "tunnel": 300.0}


def test_no_vehicles_have_no_speed() -> None:
    empty, none = np.empty(0), np.empty(0, dtype=np.bool_)
    assert mean_speed_mps(Trips((), empty, empty, empty, none, none)) is None
    assert time_spent_by_purpose_s(Trips((), empty, empty, empty, none, none)) == {}


def test_trips_name_every_array_of_the_wrong_length() -> None:
    with pytest.raises(ValueError, match=r"length_m(.|\n)*arrived"):
        Trips(("a",), np.zeros(2), np.zeros(1), np.zeros(1), np.ones(1, bool), np.ones(3, bool))


def drive(speed_mps: float, headway_s: float, *, length_m: float, end_s: float) -> Contour:
    """Identical vehicles at one speed and headway, sampled every 10 s."""
    samples = [
        (t, (t - start) * speed_mps)
        for start in np.arange(-length_m / speed_mps, end_s, headway_s)
        for t in np.arange(0.0, end_s, 10.0)
        if 0 <= (t - start) * speed_mps < length_m
    ]
    time_s, x_m = (np.array(column) for column in zip(*samples, strict=True))
    return build_contour(
        time_s,
        x_m,
        np.full(len(time_s), speed_mps),
        sample_s=10.0,
        begin_s=0.0,
        end_s=end_s,
        length_m=length_m,
    )


@pytest.mark.parametrize(("speed_mps", "headway_s"), [(20.0, 2.0), (5.0, 3.0), (2.0, 2.5)])
def test_steady_traffic_keeps_flow_as_density_times_speed(
    speed_mps: float, headway_s: float
) -> None:
    """Edie: q = 1 / headway, k = q / v, v everywhere."""
    contour = drive(speed_mps, headway_s, length_m=1000.0, end_s=600.0)
    assert np.allclose(contour.speed_mps, speed_mps)
    assert contour.flow_vph.mean() == pytest.approx(3600 / headway_s, rel=0.02)
    assert contour.density_vpkm.mean() == pytest.approx(1000 / headway_s / speed_mps, rel=0.02)
    assert np.allclose(contour.flow_vph, contour.density_vpkm * speed_mps * 3.6)


def make_contour(speed_mps: np.ndarray, density_vpkm: np.ndarray | None = None) -> Contour:
    rows, columns = speed_mps.shape
    density = np.full(speed_mps.shape, 20.0) if density_vpkm is None else density_vpkm
    return Contour(
        60.0 * np.arange(rows + 1),
        100.0 * np.arange(columns + 1),
        speed_mps,
        np.nan_to_num(density * speed_mps * 3.6),
        density,
    )


def test_a_jam_of_half_a_kilometre_for_twelve_minutes_is_a_tenth_of_a_km_h() -> None:
    speed = np.full((60, 30), 20.0)
    speed[10:22, 5:10] = 8.0
    speed[0, 0] = np.nan  # nobody there is no jam
    assert jam_km_h(make_contour(speed)) == pytest.approx(0.5 * 12 / 60)


def test_thirty_km_per_h_itself_is_not_jammed() -> None:
    assert jam_km_h(make_contour(np.full((1, 1), 30 / 3.6))) == 0.0
    assert jam_km_h(make_contour(np.full((1, 1), 29.9 / 3.6))) == pytest.approx(0.1 / 60)


def test_speed_over_several_cells_is_weighted_by_time_spent_not_averaged() -> None:
    """10 veh/km at 20 m/s and 40 veh/km at 5 m/s: (10*20 + 40*5) / 50 = 8 m/s."""
    contour = make_contour(np.array([[20.0, 5.0]]), np.array([[10.0, 40.0]]))
    assert contour.column_speed_mps(0.0, 200.0)[0] == pytest.approx(8.0)
    with pytest.raises(ValueError, match="no whole cell"):
        contour.column_speed_mps(10.0, 90.0)


def test_contour_lists_all_that_cannot_be() -> None:
    none = np.empty(0)
    with pytest.raises(ValueError, match=r"cell_m(.|\n)*cell_s 5(.|\n)*holds no cell"):
        build_contour(
            none, none, none,
            sample_s=10.0, begin_s=0.0, end_s=3.0, length_m=500.0, cell_m=0.0, cell_s=5.0,
        )  # fmt: skip


EDGES = 60.0 * np.arange(61)


def test_onset_is_the_first_minute_of_five_slow_ones_and_a_short_dip_is_none() -> None:
    speed = np.full(60, 20.0)
    speed[5:9] = 5.0  # four minutes only
    speed[20:40] = 5.0
    speed[30] = 15.0  # one free minute is no recovery
    assert find_breakdown(speed, EDGES) == Breakdown(20 * 60.0, 40 * 60.0)
    speed[39] = np.nan  # a minute without vehicles ends a jam
    assert find_breakdown(speed, EDGES) == Breakdown(20 * 60.0, 39 * 60.0)


def test_free_minutes_between_waves_are_no_recovery() -> None:
    speed = np.full(60, 20.0)
    for wave in range(10, 40, 13):
        speed[wave : wave + 8] = 2.0  # then 5 minutes free
    assert find_breakdown(speed, EDGES) == Breakdown(600.0, 44 * 60.0)
    until = 50  # the data end 6 minutes after the last wave, then 3
    assert find_breakdown(speed[:until], EDGES[: until + 1]) == Breakdown(600.0, 44 * 60.0)
    assert find_breakdown(speed[:47], EDGES[:48]) == Breakdown(600.0, None)


def test_a_dip_that_passes_is_no_breakdown() -> None:
    speed = np.full(60, 20.0)
    speed[5:11] = 10.0  # 6 min; the mean over 15 min from its start is 16 m/s, above 12.5
    assert find_breakdown(speed, EDGES) is None
    speed[18:40] = 8.0  # before the return has lasted, but the dip is no part of it
    assert find_breakdown(speed, EDGES) == Breakdown(18 * 60.0, 40 * 60.0)


def test_a_queue_that_stays_has_no_recovery_and_free_flow_no_onset() -> None:
    speed = np.full(60, 20.0)
    assert find_breakdown(speed, EDGES) is None
    speed[30:] = 5.0
    assert find_breakdown(speed, EDGES) == Breakdown(1800.0, None)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 6))
def test_a_sustained_run_is_found_as_a_plain_search_finds_it(
    is_so: list[bool], minutes: int
) -> None:
    starts = (i for i in range(len(is_so)) if all([*is_so, *[False] * 9][i : i + minutes]))
    expected = next((60.0 * i for i in starts), None)
    edges = 60.0 * np.arange(len(is_so) + 1)
    found = find_sustained(np.array(is_so), edges, 60.0 * minutes)
    assert (found[0] if len(found) else None) == expected


def test_capacity_drop_leaves_out_the_first_minutes_of_the_queue_and_the_recovery() -> None:
    flow = np.full(60, 3500.0)
    flow[:10] = 1000.0  # earlier than ten minutes before onset
    flow[20:25] = 2000.0  # while the queue forms
    flow[25:40] = 3150.0
    flow[40:] = 900.0  # recovered
    drop = find_capacity_drop(flow, EDGES, Breakdown(1200.0, 2400.0))
    assert drop is not None
    assert (drop.before_vph, drop.discharge_vph) == (3500.0, 3150.0)
    assert drop.share == pytest.approx(0.10)


@pytest.mark.parametrize("breakdown", [Breakdown(300.0, None), Breakdown(1200.0, 1440.0)])
def test_no_capacity_drop_without_data_before_or_without_a_lasting_queue(
    breakdown: Breakdown,
) -> None:
    assert find_capacity_drop(np.full(60, 3500.0), EDGES, breakdown) is None


def test_interval_of_a_textbook_sample() -> None:
    """1..5: mean 3, s = sqrt(2.5), t(0.975, 4) = 2.7764, half = 2.7764 * sqrt(2.5 / 5)."""
    interval = mean_interval([1, 2, 3, 4, 5])
    assert interval is not None
    assert interval.mean == 3.0
    assert interval.high == pytest.approx(3 + 2.7764451 * 0.5**0.5)
    assert interval.low == pytest.approx(3 - 2.7764451 * 0.5**0.5)
    half = interval.relative_to(10.0)
    assert (half.mean, half.low) == pytest.approx((0.3, interval.low / 10))


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    one = mean_interval([7.0])
    assert one is not None
    assert (one.n, one.mean, one.low, one.high) == (1, 7.0, None, None)
    assert mean_interval([]) is None


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12, unique=True))
def test_the_interval_holds_zero_just_when_the_t_test_does_not_reject_it(
    values: list[float],
) -> None:
    interval = mean_interval(values)
    assert interval is not None
    assert interval.low is not None
    assert interval.high is not None
    p = float(ttest_1samp(values, 0.0).pvalue)
    if abs(p - 0.05) > 1e-6 and np.std(values) > 1e-6:
        assert (interval.low <= 0 <= interval.high) == (p > 0.05)
