"""Permissive greens, blocked lanes and shared counts, against figures worked out by hand."""

import math
from dataclasses import replace

import pytest

from traffic.flows import name_lane_flow
from traffic.model import (
    Approach,
    Detector,
    Intergreen,
    Junction,
    Link,
    Movement,
    Network,
    Phase,
    SafePlan,
    Stage,
)
from traffic.optimization.cycle import (
    Demand,
    Site,
    build_demands,
    grow_full,
    list_orders,
    optimize_plans,
    spread_ratios,
)
from traffic.optimization.permitted import (
    SNEAKERS_VEH,
    START_S,
    measure_service,
    permitted_saturation_vph,
)
from traffic.optimization.splits import measure_delay_s
from traffic.optimization.streams import LaneUse, Stream, build_streams

# Link -> x, y of the end away from the junction at 0, 0.
ENDS = {"w": (-300.0, 0.0), "e": (300.0, 0.0), "s": (0.0, -300.0)}
MOVES = {"east": ("w_in", "e_out"), "west": ("e_in", "w_out"), "left": ("e_in", "s_out")}
MOVES["side"] = ("s_in", "w_out")


def build_junction() -> Junction:
    """A T: `left` gives way to `east` in stage A, has its own green in B; C is the side street."""
    conflicts = {("left", "east"), ("side", "east"), ("side", "west"), ("side", "left")}
    both = {pair for a, b in conflicts for pair in ((a, b), (b, a))}
    return Junction(
        "x",
        tuple(
            Phase(name, (Movement(name, *links),), 5, math.inf, math.inf)
            for name, links in MOVES.items()
        ),
        (
            Stage("A", frozenset({"east", "west"}), frozenset({"left"})),
            Stage("B", frozenset({"west", "left"})),
            Stage("C", frozenset({"side"})),
        ),
        frozenset(frozenset(pair) for pair in conflicts),
        dict.fromkeys(both, Intergreen(3, 0)),
    )


T = build_junction()
PLAN = SafePlan((("A", 33), ("B", 13), ("C", 14)))


def build_network() -> Network:
    links = {}
    for arm, (x, y) in ENDS.items():
        away, here = (x, y), (x / 30, y / 30)
        links[f"{arm}_in"] = Link(f"{arm}_in", arm, "x", 290, 1, 14, (away, here))
        links[f"{arm}_out"] = Link(f"{arm}_out", "x", arm, 290, 1, 14, (here, away))
    approaches = {
        "w": Approach("w", "x", ("w_in",), ("east",), 1, 280, {"east": (0,)}),
        "e": Approach("e", "x", ("e_in",), ("left", "west"), 1, 280, {"west": (0,), "left": (0,)}),
        "s": Approach("s", "x", ("s_in",), ("side",), 1, 280, {"side": (0,)}),
    }
    loops: dict[str, Detector] = {}
    return Network("t", links, frozenset(MOVES.values()), {"x": T}, {"x": PLAN}, approaches, loops)


def test_gaps_let_through_what_the_manual_says() -> None:
    """v exp(-v tc) / (1 - exp(-v tf)), tc = 4.5 s, tf = 2.5 s: HCM 2010, equation 31-100."""
    assert permitted_saturation_vph(0) == pytest.approx(3600 / 2.5)
    assert permitted_saturation_vph(1e-6) == pytest.approx(3600 / 2.5)
    by_hand = 600 * math.exp(-0.75) / (1 - math.exp(-600 * 2.5 / 3600))
    assert permitted_saturation_vph(600) == pytest.approx(by_hand)
    assert by_hand == pytest.approx(831.7, abs=0.1)


def test_a_permissive_green_waits_for_the_opposing_queue() -> None:
    """East: 600 of 1,800 veh/h, red 60 - 30 = 30 s; its queue leaves for y r / (1 - y) = 15 s after
    3 s of intergreen. Of A's 33 s 15 are left, at the flow that gaps let through."""
    foe = Stream("w", "east", 600, 1800)
    left = Stream("e", "left", 100, 1800, opposed=(("w", "east", 1.0),))
    service = measure_service(T, PLAN, (foe, left))
    share = permitted_saturation_vph(600) / 1800 * (33 - 18) / 33
    assert service.rate[1] == pytest.approx([share, 1, 0])
    assert service.rate[0] == pytest.approx([1, 0, 0])
    # Its green runs on from A into B, which protects it: nobody sneaks at the end.
    assert service.lost_s[1] == pytest.approx(3 * share)
    without = SafePlan((("A", 33), ("C", 27)))
    lost_s = measure_service(T, without, (foe, left), START_S).lost_s[1]
    rate = measure_service(T, without, (foe, left)).rate[1, 0]
    assert lost_s == pytest.approx(rate * (3 + START_S) - SNEAKERS_VEH * 2)


def test_a_turn_on_red_lets_fewer_through_and_nobody_sneaks() -> None:
    """Each halts: gaps of 6.2 s (HCM 2010, chapter 19), 4.5 s between two, 3600 / 4.5 = 800 veh/h
    where nobody opposes it."""
    foe = Stream("w", "east", 600, 1800)
    left = Stream("e", "left", 100, 1800, opposed=(("w", "east", 1.0),))
    phases = tuple(replace(p, turns_on_red=p.id == "left") for p in T.phases)
    arrow = replace(T, phases=phases)
    plan = SafePlan((("A", 33), ("C", 27)))
    by_hand = 600 * math.exp(-6.2 / 6) / (1 - math.exp(-4.5 / 6))
    service = measure_service(arrow, plan, (foe, left))
    # East's green is 30 of 60 s, as above: its queue leaves A's first 18 s to nobody else.
    assert service.rate[1] == pytest.approx([by_hand / 1800 * (33 - 18) / 33, 0])
    assert service.lost_s[1] == pytest.approx(3 * service.rate[1, 0])
    alone = measure_service(arrow, plan, (replace(left, opposed=()),))
    assert alone.rate[0] == pytest.approx([800 / 1800, 0])


def test_a_lane_is_blocked_by_the_first_that_may_not_go() -> None:
    """One in four turns left: three leave before the first of them, on the mean."""
    use = LaneUse(1.0, (("left", 0.25), ("west", 0.75)))
    west = Stream("e", "west", 300, 1350, lanes=(use,))
    left = Stream("e", "left", 100, 450, lanes=(use,))
    only = replace(T, stages=(Stage("A", frozenset({"east", "west"})), *T.stages[1:]))
    rate = measure_service(only, PLAN, (west, left)).rate
    # A lets 30 s / 2 s = 15 vehicles go, of which the lane uses 3; in B both go.
    assert rate[0] == pytest.approx([3 / ((33 - 3) / 2), 1, 0])
    assert rate[1] == pytest.approx([0, 1, 0])


def test_who_counts_more_gets_more_and_who_has_a_green_of_its_own_waits_for_nobody() -> None:
    streams = (Stream("w", "east", 500, 1800), Stream("s", "side", 100, 1800))
    site = Site(T, PLAN, streams)
    grown = grow_full(site, full=0.5, growth=1.5)
    # East: 500 / 1800 over (33 - 3 - 2) / 60 is 0.6, full; the side street is at 0.37.
    assert [s.flow_vph for s in grown.streams] == [750, 100]
    assert build_demands(site) == {
        frozenset({"east"}): Demand(500 / 1800, (1.0, 0.0, 0.0)),
        frozenset({"side"}): Demand(100 / 1800, (0.0, 0.0, 1.0)),
    }


def test_a_protected_green_need_not_serve_whom_the_permissive_one_lets_through() -> None:
    """Left asks for 0.2 and finds gaps for a quarter of what A has for east, 0.3 / 4 = 0.075."""
    demands = {
        frozenset({"left"}): Demand(0.2, (0.25, 1.0, 0.0)),
        frozenset({"east"}): Demand(0.3, (1.0, 0.0, 0.0)),
        frozenset({"side"}): Demand(0.1, (0.0, 0.0, 1.0)),
    }
    assert spread_ratios(demands, 3) == pytest.approx([0.3, 0.2 - 0.075, 0.1])
    few = {**demands, frozenset({"left"}): Demand(0.05, (0.25, 1.0, 0.0))}
    assert spread_ratios(few, 3) == pytest.approx([0.3, 0.0, 0.1])
    # What finds gaps is what the HCM tells of this plan.
    left = Stream("e", "left", 100, 1800, opposed=(("w", "east", 1.0),))
    streams = (Stream("w", "east", 500, 1800), left)
    asked = build_demands(Site(T, PLAN, streams))[frozenset({"left"})]
    assert asked.ratio == pytest.approx(100 / 1800)
    assert asked.rates == pytest.approx(measure_service(T, PLAN, streams).rate[1])
    assert 0 < asked.rates[0] < 1


def test_a_stage_that_nobody_needs_is_left_out() -> None:
    """Every phase keeps a green: only B can go, whose left turn goes in A as well."""
    orders = [tuple(stage for stage, _ in order.slots) for order in list_orders(T, PLAN)]
    assert orders == [("A", "B", "C"), ("A", "C")]
    few = (
        Stream("w", "east", 300, 1800),
        Stream("e", "left", 20, 1800, opposed=(("w", "east", 1.0),)),
        Stream("s", "side", 200, 1800),
    )
    plan = optimize_plans([Site(T, PLAN, few)], 40.0)["x"]
    assert [stage for stage, _ in plan.slots] == ["A", "C"]
    many = tuple(replace(s, flow_vph=vph) for s, vph in zip(few, (900, 500, 150), strict=True))
    plan = optimize_plans([Site(T, PLAN, many)], 120.0)["x"]
    assert [stage for stage, _ in plan.slots] == ["A", "B", "C"]
    stretched = SafePlan((("A", 60), ("B", 40), ("C", 20)))
    assert measure_delay_s(T, plan, many, START_S) <= measure_delay_s(T, stretched, many, START_S)
    # Where the order of stages is given, none may be left out that must come between.
    ordered = replace(T, successors={"A": {"B"}, "B": {"C"}, "C": {"A"}})
    assert len(list_orders(ordered, PLAN)) == 1


def test_a_shared_lane_is_divided_by_what_is_counted_farther_on() -> None:
    """East's lane holds left turns and through traffic. Nobody counts behind the junction: eight
    parts go straight on for one that turns, each with its green. A count there decides."""
    network = build_network()
    told = {"e": 420.0, "w": 500.0, "s": 100.0, name_lane_flow("e", 0): 420.0}
    flows = {(s.approach, s.phase): s for s in build_streams(network, "x", told)}
    west, left = flows["e", "west"], flows["e", "left"]
    assert west.flow_vph + left.flow_vph == pytest.approx(420)
    assert west.flow_vph == pytest.approx(420 * 8 / 9, rel=0.02)  # their greens are alike
    # Both share one lane: it is as full for the one as for the other.
    assert west.flow_ratio == pytest.approx(420 / 1800)
    assert left.flow_ratio == pytest.approx(420 / 1800)
    assert left.together == {"west", "left"}
    assert left.opposed == (("s", "side", 1.0), ("w", "east", 1.0))
    links = {**network.links, "y_in": replace(network.links["s_out"], id="y_in", to_node="y")}
    other = replace(build_junction(), id="y")
    beyond = Approach("y", "y", ("s_out",), ("side",), 1, 280)
    wider = replace(
        network,
        links=links,
        junctions={"x": T, "y": other},
        plans={"x": PLAN, "y": PLAN},
        approaches={**network.approaches, "y": beyond},
    )
    flows = {(s.approach, s.phase): s for s in build_streams(wider, "x", {**told, "y": 200.0})}
    assert flows["e", "left"].flow_vph == pytest.approx(200, rel=0.1)
    assert flows["e", "west"].flow_vph == pytest.approx(220, rel=0.1)
