"""The gates' regulator settles where theory says; shares keep their bounds and their sum."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_response import TOWN, build_batch, build_state

from traffic.model import ModelError
from traffic.optimization.gating import (
    Alinea,
    Gate,
    GateKeeper,
    GatingSettings,
    distribute,
    is_broken,
)

SETTINGS = GatingSettings()


@pytest.mark.parametrize("other_vph", [2000.0, 2600.0])
def test_the_regulator_settles_on_the_set_point_of_a_linear_plant(other_vph: float) -> None:
    # Plant o(k) = (q + q_other) / v with v = 20,000 veh/h per unit of occupancy. A fixed point
    # needs o = o_set, so q = v o_set - q_other; the error shrinks by the larger root of
    # z^2 - (1 - (K_R + K_P) / v) z - K_P / v, both inside the unit circle.
    slope = 20_000.0
    roots = np.roots(
        [
            1,
            -(1 - (SETTINGS.gain_r_vph + SETTINGS.gain_p_vph) / slope),
            -SETTINGS.gain_p_vph / slope,
        ]
    )
    assert (np.abs(roots) < 1).all()
    regulator = Alinea(SETTINGS, 1500, 0, 3000)
    for _ in range(80):
        regulator.update((regulator.flow_vph + other_vph) / slope)
    assert regulator.flow_vph == pytest.approx(slope * SETTINGS.set_occupancy - other_vph, abs=1.0)


def test_one_step_is_the_formula() -> None:
    regulator = Alinea(SETTINGS, 1000, 0, 3000)
    first = regulator.update(0.20)
    k_r, k_p = SETTINGS.gain_r_vph, SETTINGS.gain_p_vph
    assert first == pytest.approx(1000 + k_r * (0.15 - 0.20))
    assert regulator.update(0.22) == pytest.approx(first + k_r * (0.15 - 0.22) - k_p * 0.02)
    assert regulator.update(float("nan")) == regulator.flow_vph


def test_nothing_winds_up_beyond_the_bounds() -> None:
    regulator = Alinea(SETTINGS, 500, 200, 900)
    for _ in range(50):
        regulator.update(0.6)
    assert regulator.flow_vph == 200
    regulator.update(0.6)
    # One step of relief moves it at once, however long it stood at the bound.
    assert regulator.update(0.10) > 200


def test_the_permitted_flow_follows_a_demand_that_has_gone() -> None:
    regulator = Alinea(SETTINGS, 1500, 0, 3000)
    assert regulator.update(0.15, passed_vph=400) == pytest.approx(1.25 * 400 + 100)


@given(
    st.lists(st.tuples(st.floats(0, 900), st.floats(0, 300), st.floats(0, 900)), min_size=1),
    st.floats(0, 5000),
)
def test_shares_keep_their_bounds_and_their_sum(
    gates: list[tuple[float, float, float]], total_vph: float
) -> None:
    demand, least, room = (np.array(column) for column in zip(*gates, strict=True))
    most = least + room
    shares = distribute(total_vph, demand, least, most)
    assert (shares >= least - 1e-6).all()
    assert (shares <= most + 1e-6).all()
    wanted = min(max(total_vph, least.sum()), most.sum())
    assert shares.sum() == pytest.approx(wanted, abs=1e-3)


def test_without_bounds_in_the_way_shares_are_in_proportion_to_demand() -> None:
    shares = distribute(600, np.array([100.0, 300.0]), np.zeros(2), np.full(2, 1000.0))
    assert shares == pytest.approx([150, 450])


def test_the_flow_becomes_seconds_of_green() -> None:
    keeper = GateKeeper(TOWN, TOWN.bottlenecks["tunnel"], [Gate("g1_in")], SETTINGS)
    batch = build_batch(30, SETTINGS.set_occupancy)
    caps = keeper.update(batch, build_state(30), {"g1_in": 500.0})
    # g = q C / s = 500 x 90 / 1800.
    assert caps["J2"]["ramp"] == pytest.approx(25, abs=0.01)


def test_blind_loops_leave_the_gates_as_they_are() -> None:
    keeper = GateKeeper(TOWN, TOWN.bottlenecks["tunnel"], [Gate("g1_in")], SETTINGS)
    first = keeper.update(build_batch(30, 0.15), build_state(30), {"g1_in": 500.0})
    dark = replace(build_batch(90, 0.9), quality=np.ones(len(TOWN.detectors), dtype=np.int8))
    assert keeper.update(dark, build_state(90), {"g1_in": 500.0}) == first


def test_a_queue_on_the_tail_loop_opens_the_gate() -> None:
    keeper = GateKeeper(TOWN, TOWN.bottlenecks["tunnel"], [Gate("g1_in")], SETTINGS)
    batch = build_batch(30, 0.4)
    occupancy = batch.occupancy.copy()
    occupancy[batch.detectors.index("g1_tail")] = 0.8
    assert keeper.update(batch, build_state(30), {"g1_in": 300.0})
    standing = replace(batch, end_s=60, occupancy=occupancy)
    assert keeper.update(standing, build_state(60), {"g1_in": 300.0}) == {}


def test_a_breakdown_is_told_by_the_bottlenecks_loops() -> None:
    batch = build_batch(30)
    slow = replace(batch, speed_mps=np.full(len(batch.detectors), 8.0))
    assert not is_broken(TOWN, TOWN.bottlenecks["tunnel"], batch, 0.6)
    assert is_broken(TOWN, TOWN.bottlenecks["tunnel"], slow, 0.6)
    blind = replace(batch, speed_mps=np.full(len(batch.detectors), np.nan))
    assert not is_broken(TOWN, TOWN.bottlenecks["tunnel"], blind, 0.6)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ModelError) as error:
        GatingSettings(set_occupancy=2, release_cycles=1, clear_share=0.95)
    for part in ("set_occupancy 2", "release_cycles 1", "clear_share 0.95"):
        assert part in str(error.value)
    gates = [Gate("nowhere"), Gate("g1_in", ("side",))]
    with pytest.raises(ModelError) as error:
        GateKeeper(TOWN, TOWN.bottlenecks["tunnel"], gates, SETTINGS)
    assert "nowhere is no approach" in str(error.value)
    assert "approach g1_in has no phase side" in str(error.value)


def test_a_covered_loop_that_nobody_passes_shows_a_breakdown() -> None:
    batch = build_batch(0)
    watched = np.array([d.startswith("m1") for d in batch.detectors])
    tunnel = TOWN.bottlenecks["tunnel"]
    still = replace(
        batch,
        occupancy=np.where(watched, 1.0, batch.occupancy),
        speed_mps=np.where(watched, np.nan, batch.speed_mps),
    )
    assert is_broken(TOWN, tunnel, still, 0.6)
    empty = replace(still, occupancy=np.where(watched, 0.0, batch.occupancy))
    assert not is_broken(TOWN, tunnel, empty, 0.6)
