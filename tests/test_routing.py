"""Paths are the quickest, keep to turns and closures; what is allotted fits what is spare."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_response import TOWN, build_state

from traffic.diversion import Option, SpareCapacity, allocate, queue_delay_s
from traffic.model import Link, ModelError, Network, SafePlan
from traffic.optimization.splits import PROTECTED_SATURATION
from traffic.routing import LinkGraph, TurnCosts

GRAPH = LinkGraph(TOWN)
TUNNEL = frozenset({"tunnel"})
HILL = ("m0", "h1", "h2", "m2")
VALLEY = ("m0", "k1", "m2")


def test_the_quickest_path_is_found_and_timed_from_the_end_of_its_first_link() -> None:
    path = GRAPH.find_path("m0", "m2", {})
    assert path is not None
    assert path.links == ("m0", "m1", "tunnel", "m2")
    assert path.time_s == pytest.approx(1000 / 22 + 1000 / 20 + 500 / 22)
    assert GRAPH.find_path("m0", "m0", {}) is not None


def test_a_signal_costs_its_mean_wait_less_what_the_link_time_holds() -> None:
    # Hill: green 25 of 90 s, red 65: 65^2 / (2 x 90) = 23.5 s for arrivals at random.
    driving_s = 500 / 14 + 1500 / 14 + 500 / 22
    assert GRAPH.path_time_s(HILL, {}) == pytest.approx(driving_s + 65**2 / 180)
    queued = {"h1": 500 / 14 + 20}
    assert GRAPH.path_time_s(HILL, queued) == pytest.approx(driving_s + 65**2 / 180)
    jammed = {"h1": 500 / 14 + 100}
    assert GRAPH.path_time_s(HILL, jammed) == pytest.approx(driving_s + 100)


def test_times_that_are_missing_or_too_good_are_free_flow() -> None:
    path = GRAPH.find_path("m0", "m2", {"m1": math.nan, "tunnel": 1.0})
    assert path == GRAPH.find_path("m0", "m2", {})


def test_a_jam_or_a_closure_sends_the_path_round() -> None:
    assert GRAPH.find_path("m0", "m2", {"tunnel": 900.0}).links == HILL  # type: ignore[union-attr]
    assert GRAPH.find_path("m0", "m2", {}, TUNNEL).links == HILL  # type: ignore[union-attr]
    assert GRAPH.find_path("s1", "m2", {}) is None
    with pytest.raises(KeyError, match="no link 'lost'"):
        GRAPH.find_path("m0", "lost", {})
    with pytest.raises(KeyError, match="no turn from 's1' to 'm2'"):
        GRAPH.path_time_s(("s1", "m2"), {})


def test_alternatives_differ_and_come_quickest_first() -> None:
    ways = GRAPH.alternatives("m0", "m2", {}, TUNNEL)
    assert [way.links for way in ways] == [HILL, VALLEY]
    assert [way.time_s for way in ways] == [GRAPH.path_time_s(w.links, {}) for w in ways]
    assert GRAPH.alternatives("m0", "m2", {}, frozenset({"tunnel", "h2", "k1"})) == ()


def test_turns_without_a_signal_cost_what_their_angle_says() -> None:
    ends = {"in": (-100, 0), "right": (0, -100), "left": (0, 100), "back": (-100, 0)}
    ends["on"] = (100, 0)
    links = {
        name: Link(
            name, "a", "b", 100, 1, 10, (((x, y), (0, 0)) if name == "in" else ((0, 0), (x, y)))
        )
        for name, (x, y) in ends.items()
    }
    turns = frozenset(("in", name) for name in ends if name != "in")
    graph = LinkGraph(Network("x", links, turns, {}, {}, {}, {}), TurnCosts(3, 8, 60))
    times = {name: graph.path_time_s(("in", name), {}) - 10 for name in ends if name != "in"}
    assert times == pytest.approx({"on": 0, "right": 3, "left": 8, "back": 60})
    with pytest.raises(ModelError, match="left_s -1"):
        TurnCosts(left_s=-1)


def test_the_smallest_penalty_goes_first_and_the_rest_follows() -> None:
    options = [Option(0, 200, ("far",)), Option(0, 60, ("near",)), Option(1, 100, ("near",))]
    spare = {"near": 300.0, "far": 500.0}
    assert allocate(250, options, [400, 400], spare) == pytest.approx((0, 250, 0))
    assert allocate(600, options, [250, 400], spare) == pytest.approx((0, 250, 50))
    assert allocate(600, options, [400, 400], spare) == pytest.approx((100, 300, 0))
    assert allocate(-5, options, [400, 400], spare) == (0, 0, 0)


@given(
    st.floats(0, 4000),
    st.lists(
        st.tuples(
            st.integers(0, 2), st.floats(0, 400), st.sets(st.sampled_from("abcd"), min_size=1)
        ),
        max_size=8,
    ),
    st.lists(st.floats(0, 800), min_size=3, max_size=3),
    st.lists(st.floats(-50, 900), min_size=4, max_size=4),
)
def test_no_road_gets_more_than_its_spare_capacity(
    required: float,
    ways: list[tuple[int, float, set[str]]],
    potential: list[float],
    room: list[float],
) -> None:
    options = [Option(point, penalty, tuple(sorted(uses))) for point, penalty, uses in ways]
    spare = dict(zip("abcd", room, strict=True))
    flows = allocate(required, options, potential, spare)
    assert sum(flows) <= required + 1e-6
    assert all(flow >= 0 for flow in flows)
    for use, value in spare.items():
        load = sum(f for f, o in zip(flows, options, strict=True) if use in o.uses)
        assert load <= max(value, 0) + 1e-6
    for point, value in enumerate(potential):
        given_up = sum(f for f, o in zip(flows, options, strict=True) if o.point == point)
        assert given_up <= value + 1e-6


def test_a_vertical_queue_delays_by_its_length_over_the_discharge() -> None:
    leads = (300.0, 600.0, 900.0)
    # 600 veh/h over capacity for 300 s: 50 vehicles; then, discharging less, 900 veh/h over for
    # another 300 s: 125 vehicles, 125 / 3000 h = 150 s.
    assert queue_delay_s((3900,) * 3, leads, 3300, 3000, 300) == pytest.approx(60)
    assert queue_delay_s((3900,) * 3, leads, 3300, 3000, 600) == pytest.approx(150)
    assert queue_delay_s((3000,) * 3, leads, 3300, 3000, 900) == 0
    assert queue_delay_s((3900, 0, 0), leads, 3300, 3000, 900) == 0  # gone again
    assert queue_delay_s((math.nan,) * 3, leads, 3300, 3000, 900) == 0


def test_spare_capacity_is_what_flow_leaves_of_the_share_that_may_be_used() -> None:
    capacity = SpareCapacity(TOWN, ["h2", "k1", "h1>h2"], 0.9, 0.5)
    state = build_state(0, flow_vph={"h2": 400.0})
    spare = capacity.find(state, {"h1_in": 100.0}, {}, {})
    assert spare == pytest.approx(
        {
            "h2": 0.9 * 1800 - 400,
            "k1": 0.9 * 1800 - 0.5 * 1800,  # nothing measures it
            "h1>h2": 0.9 * 1800 * 25 / 90 - 100,
        }
    )
    longer = {"J1": SafePlan((("A", 50), ("B", 40)), 10)}
    assert capacity.find(state, {"h1_in": 100.0}, longer, {})["h1>h2"] == pytest.approx(
        0.9 * 1800 * 45 / 90 - 100
    )
    # Retimed, the hill can have the cycle less two intergreens of 5 s and what 500 veh/h across
    # need at the protected degree of saturation.
    told = {"h1_in": 100.0, "s1_in": 500.0}
    retimed = capacity.find(state, told, {}, {}, frozenset({"J1"}))["h1>h2"]
    green_s = 90 - 2 * 5 - 90 * (500 / 1800) / PROTECTED_SATURATION
    assert retimed == pytest.approx(0.9 * 1800 * green_s / 90 - 100)


def test_the_diverted_do_not_crowd_themselves_out() -> None:
    capacity = SpareCapacity(TOWN, ["h2"], 0.9, 0.5)
    own = {"h2": 300.0}
    before = build_state(0, flow_vph={"h2": 400.0})
    capacity.note(before, {}, {}, 30)
    room = 0.9 * 1800 - 400
    # While they are under way and once they have arrived, the room for them is the same.
    for flow in (400.0, 550.0, 700.0):
        state = build_state(60, flow_vph={"h2": flow})
        capacity.note(state, {}, own, 30)
        assert capacity.find(state, {}, {}, own)["h2"] == pytest.approx(room, abs=10)
    grown = build_state(90, flow_vph={"h2": 800.0})
    for _ in range(60):
        capacity.note(grown, {}, own, 30)
    # After 30 min of time constant 5 min all but e^-6 of the growth is known.
    assert capacity.find(grown, {}, {}, own)["h2"] == pytest.approx(room - 100, abs=1)
    # Nobody more is sent: those under way still come, and are not taken for usual traffic.
    capacity.note(build_state(120, flow_vph={"h2": 800.0}), {}, {}, 30)
    assert capacity.find(grown, {}, {}, {})["h2"] == pytest.approx(room - 100, abs=5)
    capacity.forget()
    assert capacity.find(before, {}, {}, {})["h2"] == pytest.approx(room)
