"""Sets of plans: checked, written and read back; their cycle and greens."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_response import TOWN, build_crossing

from networks.plan_files import load_flows, load_plans
from traffic.model import ModelError, SafePlan
from traffic.optimization.cycle import (
    Site,
    build_webster_plan,
    find_best_cycle,
    find_floor_s,
    find_webster_cycle_s,
    list_cycles_s,
    predict_delay_s,
    stretch_plan,
)
from traffic.optimization.demand import GivenFlow, build_given_streams
from traffic.optimization.search import Cost, Search
from traffic.optimization.streams import Stream
from traffic.plans import (
    Period,
    PlanSet,
    build_plan_set,
    check_conflicts,
    check_plan,
    describe_plans,
)
from traffic.timing import TimingError, webster_cycle_s

CROSSING = build_crossing("x", {"east": ("a", "b"), "north": ("c", "d")}, "north")
PLAN = SafePlan((("A", 30), ("B", 60)), 7)


def build_site(east_vph: float, north_vph: float) -> Site:
    streams = (Stream("e", "east", east_vph, 1800), Stream("n", "north", north_vph, 1800))
    return Site(CROSSING, PLAN, streams)


@settings(deadline=None)
@given(st.integers(20, 200))
def test_a_stretched_plan_has_the_cycle_and_keeps_every_minimum(cycle_s: int) -> None:
    stretched = stretch_plan(CROSSING, PLAN, cycle_s)
    assert stretched.cycle_s == cycle_s
    floor_s = find_floor_s(CROSSING, PLAN)
    assert all(s >= least for (_, s), least in zip(stretched.slots, floor_s, strict=True))


def test_a_cycle_too_short_is_named() -> None:
    with pytest.raises(TimingError, match=r"junction x: cycle_s = 19: .* at least 20"):
        stretch_plan(CROSSING, PLAN, 19)
    with pytest.raises(TimingError, match="junction x: its minimum greens"):
        find_webster_cycle_s([build_site(1, 1)], 15)


def test_websters_cycle_is_that_of_the_formula_in_steps_of_five() -> None:
    """(1.5 L + 5) / (1 - Y) with two intergreens of 5 s, and 2 s lost as each green starts."""
    exact_s = webster_cycle_s([0.4, 0.2], 14.0)
    found_s = find_webster_cycle_s([build_site(720, 360)], 120)
    assert exact_s <= found_s < exact_s + 5
    plan = build_webster_plan(build_site(720, 360), 74)
    # Effective greens as the flow ratios, 40 : 20 of 60 s, after 7 s lost each.
    assert plan.slots == (("A", 47), ("B", 27))


def test_the_best_cycle_costs_least() -> None:
    sites = [build_site(500, 400)]
    cycles = list_cycles_s(sites, 120)
    _, best = find_best_cycle(sites, cycles)
    least_s = predict_delay_s(sites, best)
    for cycle_s in cycles:
        plan = {"x": build_webster_plan(sites[0], cycle_s)}
        assert least_s <= predict_delay_s(sites, plan) + 1e-6


SHIFTED = {id_: SafePlan(plan.slots, 3) for id_, plan in TOWN.plans.items()}
TOWN_PLANS = PlanSet((Period(0.0, TOWN.plans), Period(25200.0, SHIFTED)))


def test_a_set_of_plans_survives_its_document() -> None:
    document = json.loads(json.dumps(describe_plans(TOWN, TOWN_PLANS)))
    assert build_plan_set(document, TOWN) == TOWN_PLANS


def test_a_document_names_all_its_problems_at_once(tmp_path: Path) -> None:
    document = json.loads(json.dumps(describe_plans(TOWN, TOWN_PLANS)))
    first, second = (period["junctions"] for period in document["periods"])
    slots = first["J2"]["slots"]
    slots[0]["green"] = sorted({p.id for p in TOWN.junctions["J2"].phases})
    slots[1]["slot_s"] = "long"
    missing = next(id_ for id_ in second if id_ != "J2")
    del second[missing]
    second["J2"]["slots"] = second["J2"]["slots"][:1]
    second["J9"] = {}
    document["network"] = "elsewhere"
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ModelError) as caught:
        load_plans(path, TOWN)
    text = str(caught.value)
    for part in (
        "network 'elsewhere'",
        "are green together",
        "slot_s 'long' must be a number",
        f"junction {missing} has no plan",
        "a stage is missing",
        "junction J9: unknown junction",
    ):
        assert part in text


def test_a_plan_names_short_greens_and_fractions() -> None:
    problems = check_plan(CROSSING, SafePlan((("A", 8), ("B", 60.5)), 0.5))
    assert any("phase east: green 3 s, minimum 5 s" in p for p in problems)
    assert any("slot 1 (B): slot_s 60.5 must be whole" in p for p in problems)
    assert any("offset_s 0.5" in p for p in problems)


def test_a_junction_without_conflicts_is_named() -> None:
    bare = replace(CROSSING, conflicts=frozenset(), intergreens={})
    assert check_conflicts([CROSSING, bare]) == ["junction x: has 2 stages but no conflicts"]


def test_given_flows_name_all_that_is_wrong() -> None:
    approach, other = [a for a in TOWN.approaches.values() if a.phases][:2]
    phases = {p.id: p for p in TOWN.junctions[other.junction].phases}
    other_way = phases[other.phases[0]].movements[0].to_link
    flows = [
        GivenFlow("nowhere", None, 5, "line 2"),
        GivenFlow(approach.id, None, 99999, "line 3"),
        GivenFlow(approach.id, "nowhere", 5, "line 4"),
        GivenFlow(approach.id, None, -1, "line 5"),
        GivenFlow(other.id, other_way, 5, "line 6"),
        GivenFlow(other.id, None, 5, "line 7"),
    ]
    with pytest.raises(ModelError) as caught:
        build_given_streams(TOWN, flows)
    text = str(caught.value)
    for part in (
        "line 2: approach nowhere: unknown",
        "line 3: approach " + approach.id + ": 99999 veh/h is above its saturation flow",
        "line 4",
        "line 5",
        "line 7: approach " + other.id + ": its flow is given twice",
    ):
        assert part in text


def test_given_flows_become_streams(tmp_path: Path) -> None:
    approach = next(a for a in TOWN.approaches.values() if a.phases)
    path = tmp_path / "flows.csv"
    path.write_text(f"approach,to_link,flow_vph\n{approach.id},,300\n")
    streams = build_given_streams(TOWN, load_flows(path))
    own = [s for s in streams[approach.junction] if s.approach == approach.id]
    assert sum(s.flow_vph for s in own) == pytest.approx(300)
    others = [s for all_ in streams.values() for s in all_ if s.approach != approach.id]
    assert {s.flow_vph for s in others} <= {0.0}


def test_a_broken_flow_file_names_each_line(tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    path.write_text("approach,to_link,flow_vph\na,,many\n,,7\n")
    with pytest.raises(ModelError, match=r"(?s)line 2: flow_vph 'many'.*line 3: approach ''"):
        load_flows(path)


def measure_by_hand(plans, best, most_runs=None):  # type: ignore[no-untyped-def]
    """Cheapest at 30 s for A and an offset of 20 s in a cycle of 60 s, at each junction."""
    by_junction = {}
    for id_, plan in plans.items():
        away_s = abs((plan.offset_s - 20 + plan.cycle_s / 2) % plan.cycle_s - plan.cycle_s / 2)
        by_junction[id_] = abs(plan.slots[0][1] - 30) + away_s + abs(plan.cycle_s - 60)
    return Cost((sum(by_junction.values()),), (by_junction,))


def test_search_repeats_and_never_gets_worse() -> None:
    junctions = {"x": CROSSING, "y": replace(CROSSING, id="y")}
    start = {"x": PLAN, "y": PLAN}
    found = [
        Search(junctions, start, measure_by_hand, lambda trials: trials >= 300, seed).run([start])
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1]
    for one in found:
        assert one is not None
        costs = [cost for _, cost in one.history]
        assert costs == sorted(costs, reverse=True)
        assert one.trials == 300
        assert one.cost.total < measure_by_hand(start, None).total / 4
        assert {plan.cycle_s for plan in one.plans.values()} == {one.plans["x"].cycle_s}
