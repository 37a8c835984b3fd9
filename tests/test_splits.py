"""Splits for given flows: symmetric cases have known answers, limits always hold."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_response import TOWN, build_batch, build_crossing

from traffic.flows import build_approach_flows, find_section, name_lane_flow
from traffic.model import SafePlan
from traffic.optimization.greens import build_green_runs, get_green_s
from traffic.optimization.splits import (
    PROTECTED_SATURATION,
    find_longest_green_s,
    optimize_splits,
    stream_delay_s,
)
from traffic.optimization.streams import PLANNED_SATURATION, Stream, add_diversion, build_streams

CROSSING = build_crossing("x", {"east": ("a", "b"), "north": ("c", "d")}, "north")
PLAN = SafePlan((("A", 30), ("B", 60)), 7)


def streams(east_vph: float, north_vph: float) -> tuple[Stream, ...]:
    return (Stream("e", "east", east_vph, 1800), Stream("n", "north", north_vph, 1800))


def test_a_green_run_is_its_slots_less_the_intergreen_before_it() -> None:
    runs = build_green_runs(CROSSING, PLAN)
    assert [(r.phase, r.start_s, r.green_s) for r in runs] == [("east", 0, 25), ("north", 30, 55)]
    wrapped = build_green_runs(CROSSING, SafePlan((("A", 20), ("B", 60), ("A", 10))))
    east = next(run for run in wrapped if run.phase == "east")
    assert (east.slots, east.start_s, east.length_s) == ((2, 0), 80, 30)
    assert get_green_s(wrapped) == {"east": 25, "north": 55}
    endless = build_green_runs(CROSSING, SafePlan((("A", 40),)))[0]
    assert endless.endless
    assert endless.green_s == 40


@pytest.mark.parametrize("flow_vph", [200.0, 400.0, 600.0])
def test_equal_flows_share_the_cycle_equally(flow_vph: float) -> None:
    found = optimize_splits(CROSSING, PLAN, streams(flow_vph, flow_vph))
    assert found.plan.slots == (("A", 45), ("B", 45))
    assert (found.plan.cycle_s, found.plan.offset_s) == (90, 7)
    assert found.status == "optimal"
    assert found.after_s < found.before_s


def test_what_many_gain_is_not_taken_from_few() -> None:
    # 1,500 of 1,800 veh/h on one street would take all; the other, at 300 veh/h, keeps the green
    # at which its degree of saturation is the protected one.
    needs_s = 90 * (300 / 1800) / PROTECTED_SATURATION
    found = optimize_splits(CROSSING, PLAN, streams(1500, 300))
    kept_s = get_green_s(build_green_runs(CROSSING, found.plan))["north"]
    assert needs_s <= kept_s < needs_s + 1
    longest_s = find_longest_green_s(CROSSING, PLAN, streams(1500, 300), "east")
    # The cycle less two intergreens of 5 s and that green.
    assert longest_s == pytest.approx(90 - 2 * 5 - needs_s)


def test_a_stream_beyond_help_keeps_what_the_plan_gives_it() -> None:
    before = get_green_s(build_green_runs(CROSSING, PLAN))
    found = optimize_splits(CROSSING, PLAN, streams(1700, 1700))
    after = get_green_s(build_green_runs(CROSSING, found.plan))
    assert after == before


def test_swapped_flows_give_swapped_slots() -> None:
    one = optimize_splits(CROSSING, PLAN, streams(900, 400)).plan
    other = optimize_splits(CROSSING, PLAN, streams(400, 900)).plan
    assert one.slots[0][1] == pytest.approx(other.slots[1][1], abs=1)
    assert one.slots[0][1] > 50


def test_a_plan_that_is_best_stays() -> None:
    even = SafePlan((("A", 45), ("B", 45)))
    found = optimize_splits(CROSSING, even, streams(600, 600))
    assert found.plan == even
    assert optimize_splits(CROSSING, PLAN, streams(0, 0)).status == "no flow"


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 2500), st.floats(0, 2500))
def test_limits_hold_and_delay_never_grows(east_vph: float, north_vph: float) -> None:
    found = optimize_splits(CROSSING, PLAN, streams(east_vph, north_vph))
    assert found.after_s <= found.before_s
    assert found.plan.cycle_s == pytest.approx(90)
    for run in build_green_runs(CROSSING, found.plan):
        assert 5 <= run.green_s <= 90


@settings(deadline=None)
@given(st.floats(1, 2500), st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_delay_is_convex_and_its_slope_is_right(flow: float, one: float, other: float) -> None:
    stream = Stream("e", "east", flow, 1800)
    low, middle, high = (stream_delay_s(stream, 90, u)[0] for u in (one, (one + other) / 2, other))
    assert middle <= (low + high) / 2 + 1e-6
    step = 1e-6
    numeric = stream_delay_s(stream, 90, one + step)[0] - stream_delay_s(stream, 90, one - step)[0]
    assert stream_delay_s(stream, 90, one)[1] == pytest.approx(numeric / (2 * step), rel=1e-3)


def test_without_flow_the_delay_is_that_of_the_red() -> None:
    # Webster: C (1 - u)^2 / 2 for vanishing flow.
    assert stream_delay_s(Stream("e", "east", 1e-9, 1800), 90, 1 / 3)[0] == pytest.approx(20)


def test_unmeasured_streams_carry_what_the_plan_was_made_for() -> None:
    flows = {s.phase: s for s in build_streams(TOWN, "J1", {"s1_in": 500.0})}
    assert flows["cross"].flow_vph == pytest.approx(500)
    assert flows["hill"].flow_vph == pytest.approx(PLANNED_SATURATION * 1800 * 25 / 90)


def test_a_phase_is_counted_in_the_lanes_that_it_has_for_itself() -> None:
    entry = replace(
        TOWN.approaches["s1_in"],
        lanes=3,
        phases=("cross", "turn"),
        phase_lanes={"cross": (0, 1), "turn": (1, 2)},
    )
    # Lane 1 serves both: half of it counts for each.
    assert (entry.count_lanes("cross"), entry.count_lanes("turn")) == (1.5, 1.5)
    assert replace(entry, phase_lanes={}).count_lanes("turn") == 1.5
    own = replace(TOWN.approaches["h1_in"], phase_lanes={"hill": (0,)})
    town = replace(TOWN, approaches={**TOWN.approaches, "h1_in": own})
    flows = build_approach_flows(town)
    flows.update(build_batch(30, h1_stop=240))
    assert flows.flow_vph[name_lane_flow("h1_in", 0)] == pytest.approx(240)
    told = {"h1_in": 500.0, name_lane_flow("h1_in", 0): 240.0}
    streams = {s.phase: s.flow_vph for s in build_streams(town, "J1", told)}
    assert streams["hill"] == pytest.approx(240)


def test_phases_that_share_lanes_get_what_the_others_leave_of_the_count() -> None:
    entry = replace(
        TOWN.approaches["s1_in"],
        lanes=3,
        phases=("cross", "hill"),
        phase_lanes={"cross": (0, 1), "hill": (2,)},
    )
    town = replace(TOWN, approaches={**TOWN.approaches, "s1_in": entry})
    told = {
        "s1_in": 900.0,
        **{name_lane_flow("s1_in", i): v for i, v in enumerate((100, 100, 700))},
    }
    flows = {s.phase: s.flow_vph for s in build_streams(town, "J1", told) if s.approach == "s1_in"}
    assert flows == {"cross": 200, "hill": 700}
    del told[name_lane_flow("s1_in", 0)]  # a dead loop: the rest of the count is theirs
    flows = {s.phase: s.flow_vph for s in build_streams(town, "J1", told) if s.approach == "s1_in"}
    assert flows == {"cross": pytest.approx(200), "hill": 700}


def test_a_crowded_lane_counts_for_its_phase() -> None:
    entry = replace(TOWN.approaches["h1_in"], lanes=2, phase_lanes={"hill": (0, 1)})
    town = replace(TOWN, approaches={**TOWN.approaches, "h1_in": entry})
    told = {name_lane_flow("h1_in", 0): 450.0, name_lane_flow("h1_in", 1): 90.0}
    (hill,) = (s for s in build_streams(town, "J1", told) if s.phase == "hill")
    assert (hill.flow_vph, hill.saturation_vph) == (540, 3600)
    assert hill.flow_ratio == pytest.approx(450 / 1800)
    # Those who join take the emptier lane, until both are alike.
    assert replace(hill, flow_vph=540 + 300).flow_ratio == pytest.approx(450 / 1800)
    assert replace(hill, flow_vph=540 + 720).flow_ratio == pytest.approx(1260 / 3600)


def test_a_diversion_joins_the_streams_on_its_way() -> None:
    before = build_streams(TOWN, "J1", {"h1_in": 100.0, "s1_in": 500.0})
    after = add_diversion(TOWN, "J1", before, ("m0", "h1", "h2", "m2"), 250)
    assert {s.phase: s.flow_vph for s in after} == pytest.approx({"hill": 350, "cross": 500})


def test_flows_are_smoothed_and_a_dead_loop_changes_nothing() -> None:
    flows = build_approach_flows(TOWN)
    assert all(math.isnan(v) for v in flows.flow_vph.values())
    flows.update(build_batch(30))
    assert flows.flow_vph["h1_in"] == pytest.approx(300)
    flows.update(build_batch(60, h1_stop=600))
    assert 300 < flows.flow_vph["h1_in"] < 350
    kept = flows.flow_vph["h1_in"]
    batch = build_batch(90, h1_stop=0)
    flows.update(replace(batch, quality=np.ones(len(batch.detectors), dtype=np.int8)))
    assert flows.flow_vph["h1_in"] == kept


def test_a_link_is_counted_at_its_fullest_section() -> None:
    assert find_section(TOWN, "m0") == {"m0_0", "m0_1", "m0_2"}
    assert find_section(TOWN, "k1") == frozenset()
