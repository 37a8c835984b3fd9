"""Two signals with no room between them, timed as one: `towns.write_twins` and by hand.

Each has stages s1 (the road, and who goes straight on between gives way to it), s2 (all between
leave, nobody is let in) and s3 (the street).
"""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_command import (
    Command,
    command,  # noqa: F401  a fixture
)
from test_optimize_command import read_aspects, run_plain
from towns import write_twins

from networks import load
from networks.plan_files import load_plans
from networks.sumo_plans import list_unsafe
from traffic.model import Network, SafePlan
from traffic.optimization.cycle import Site, find_shortest_cycle_s, optimize_plans, stretch_plan
from traffic.optimization.pairs import Pair, pair_network
from traffic.optimization.streams import Stream
from traffic.plans import Period, PlanSet, check_plan

KEPT_FREE = {("s1", "s2"), ("s2", "s1"), ("s2", "s2"), ("s2", "s3"), ("s3", "s2"), ("s3", "s3")}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder = tmp_path_factory.mktemp("twins")
    return load(str(write_twins(folder, 30.0)), 1, folder / "out").network


def get_pair(network: Network) -> Pair:
    (pair,) = pair_network(network).pairs
    return pair


def draw_plan(pair: Pair, data: st.DataObject) -> SafePlan:
    order = data.draw(st.sampled_from(pair.orders))
    cycle_s = find_shortest_cycle_s(pair.junction, order) + data.draw(st.integers(0, 40))
    offset_s = float(data.draw(st.integers(0, 200)))
    return replace(stretch_plan(pair.junction, order, cycle_s), offset_s=offset_s)


def build_sites(network: Network, vph: float) -> list[Site]:
    return [
        Site(
            junction,
            network.plans[id_],
            tuple(
                Stream(approach.id, phase, vph, 1800)
                for approach in network.approaches.values()
                if approach.junction == id_
                for phase in approach.phases
            ),
        )
        for id_, junction in sorted(network.junctions.items())
    ]


def test_a_pair_shows_only_stages_in_which_nobody_let_in_gives_way(twins: Network) -> None:
    pair = get_pair(twins)
    assert pair.junction.id == "L|R"
    shown = {(one.id, other.id) for one, other in pair.stages.values()}
    assert shown == KEPT_FREE
    # The four phases of a diamond interchange, and the three that let both streets in at once.
    cycles = {
        tuple(pair.stages[s][0].id + pair.stages[s][1].id for s, _ in order.slots)
        for order in pair.orders
    }
    assert ("s1s2", "s3s2", "s2s3", "s2s1") in cycles
    assert ("s1s2", "s3s3", "s2s1") in cycles
    assert all(len(set(cycle)) == len(cycle) for cycle in cycles)


def test_who_has_room_between_is_timed_apart(tmp_path: Path) -> None:
    network = load(str(write_twins(tmp_path, 60.0)), 1, tmp_path / "out").network
    pairing = pair_network(network)
    assert pairing.pairs == ()
    assert pairing.network is network
    sites = build_sites(network, 100.0)
    assert list(pairing.join(sites)) == sites
    assert pairing.split(network.plans) == network.plans


def test_signals_that_cannot_keep_the_road_free_stay_apart(twins: Network) -> None:
    """Without s2 who goes straight on between never goes alone."""
    without = SafePlan((("s1", 30.0), ("s3", 30.0)))
    assert pair_network(replace(twins, plans={"L": without, "R": without})).pairs == ()


def test_a_plan_of_the_pair_is_one_for_each_with_the_same_cycle(twins: Network) -> None:
    """L goes on with s2 while R changes, and with its last slot into its first."""
    pair = get_pair(twins)
    names = {(one.id, other.id): id_ for id_, (one, other) in pair.stages.items()}
    slots = ((("s1", "s2"), 10.0), (("s3", "s3"), 20.0), (("s2", "s2"), 8.0), (("s2", "s1"), 14.0))
    plan = SafePlan(tuple((names[stages], s) for stages, s in slots), 45.0)
    assert pair.split(plan) == {
        "L": SafePlan((("s1", 10.0), ("s3", 20.0), ("s2", 22.0)), 45.0),
        "R": SafePlan((("s2", 10.0), ("s3", 20.0), ("s2", 8.0), ("s1", 14.0)), 45.0),
    }
    turned = SafePlan((*plan.slots[3:], *plan.slots[:3]), 45.0 - 14.0)
    assert pair.split(turned) == {
        "L": SafePlan((("s1", 10.0), ("s3", 20.0), ("s2", 22.0)), 45.0),
        "R": SafePlan((("s1", 14.0), ("s2", 10.0), ("s3", 20.0), ("s2", 8.0)), 31.0),
    }
    still = SafePlan(((names["s2", "s1"], 12.0), (names["s2", "s2"], 6.0)), 20.0)
    assert pair.split(still)["L"] == SafePlan((("s2", 18.0),), 20.0)


@settings(deadline=None)
@given(st.data())
def test_members_show_the_stage_of_the_pair_at_every_second_and_tell_it(
    twins: Network, data: st.DataObject
) -> None:
    pair = get_pair(twins)
    plan = draw_plan(pair, data)
    cycle_s = plan.cycle_s
    assert check_plan(pair.junction, plan) == []
    split = pair.split(plan)
    for id_, own in split.items():
        assert own.cycle_s == cycle_s
        assert check_plan(twins.junctions[id_], own) == []
    merged = pair.merge(split)
    assert merged is not None
    for now_s in range(int(cycle_s)):
        assert merged.stage_at(now_s) == plan.stage_at(now_s)
        stages = pair.stages[plan.stage_at(now_s)]
        assert [split[id_].stage_at(now_s) for id_ in ("L", "R")] == [stage.id for stage in stages]


def test_plans_that_were_not_made_for_the_pair_are_none_of_its(twins: Network) -> None:
    pair = get_pair(twins)
    assert pair.merge(twins.plans) is None  # s1 with s1
    plans = pair.split(stretch_plan(pair.junction, pair.orders[0], 60.0))
    longer = stretch_plan(twins.junctions["R"], plans["R"], 70.0)
    assert pair.merge({**plans, "R": longer}) is None


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_from_plan_to_plan_the_road_between_is_kept_free(
    twins: Network, data: st.DataObject
) -> None:
    pairing = pair_network(twins)
    one, other = (draw_plan(pairing.pairs[0], data) for _ in range(2))
    periods = (
        Period(0.0, pairing.pairs[0].split(one)),
        Period(600.0 + data.draw(st.integers(0, 100)), pairing.pairs[0].split(other)),
    )
    shown = pairing.follow(twins, PlanSet(periods))
    for now_s in range(1000):
        assert tuple(shown[id_](now_s) for id_ in ("L", "R")) in KEPT_FREE
    # In step again within two cycles after the old plan's own.
    for now_s in range(1000, 1100):
        last = pairing.pairs[0].split(other)
        assert [shown[id_](now_s) for id_ in last] == [p.stage_at(now_s) for p in last.values()]


@settings(deadline=None, max_examples=15)
@given(st.integers(10, 600), st.integers(0, 8))
def test_the_best_plans_keep_the_road_between_free(twins: Network, vph: int, steps: int) -> None:
    pairing = pair_network(twins)
    sites = pairing.join(build_sites(twins, vph))
    assert {s.phase for s in sites[0].streams} == {
        f"{m}:{p}" for m in "01" for p in ("p0", "p2", "p3", "p4")
    }
    plans = pairing.split(optimize_plans(sites, 40.0 + 10 * steps))
    assert sorted(plans) == ["L", "R"]
    for now_s in range(120):
        assert tuple(plans[id_].stage_at(now_s) for id_ in ("L", "R")) in KEPT_FREE


def test_the_command_times_a_pair_as_one_and_plain_sumo_runs_it(
    command: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    file, out = write_twins(tmp_path, 30.0), tmp_path / "plan"
    words = ("--method", "refine", "--seeds", "1-2", "--evaluations", "8", "--jobs", "2")
    code, said = command("optimize", file, *words, "--out", out)
    assert code == 0, said
    scenario = load(str(file), 1, tmp_path / "again")
    plans = load_plans(out / "plan.json", scenario.network).periods[0].plans
    assert plans["L"].cycle_s == plans["R"].cycle_s
    for now_s in range(int(plans["L"].cycle_s)):
        assert tuple(plans[id_].stage_at(now_s) for id_ in ("L", "R")) in KEPT_FREE
    states = run_plain(str(file), out / "plan.add.xml", tmp_path)
    for id_, junction in scenario.network.junctions.items():
        indices = dict(scenario.signal_indices[id_])
        assert list_unsafe(junction, read_aspects(junction, indices, states[id_])) == []


def test_a_cycle_too_short_for_a_pair_names_it(
    command: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    file, out = write_twins(tmp_path, 30.0), tmp_path / "plan"
    code, said = command("optimize", file, "--method", "splits", "--cycle", "20", "--out", out)
    assert code == 2
    assert "--cycle 20: junction L|R needs 24 s for its minimum greens and intergreens" in said
    assert not out.exists()
