"""The small built-in scenarios: whole, repeatable, and behaving as the closed forms say."""

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import numpy as np
import pytest

from api.assembly import build_plans
from api.runs import Run, run_once
from networks import corridor, crossing, load, onramp
from networks.demand import write_flows
from networks.scenario import Scenario
from networks.sumo_field import SumoField, list_vehicles
from networks.truth import Truth, TruthSampler
from traffic.optimization.greens import build_green_runs, get_green_s
from traffic.performance import Breakdown, build_contour, find_breakdown
from traffic.timing import uniform_delay_s

SMALL = ("crossing", "corridor", "onramp")
SEED = 1
UPSTREAM_M = 600.0  # of road before a queue's head, where a breakdown shows first


@dataclass(frozen=True)
class Trip:
    """One vehicle's way, as the simulator tells it."""

    purpose: str
    links: tuple[str, ...]
    depart_s: float  # as planned
    exit_s: tuple[float, ...]  # from each link
    stops: int


@dataclass(frozen=True)
class Outcome:
    scenario: Scenario
    trips: tuple[Trip, ...]
    truth: Truth


def drive(scenario: Scenario, out: Path) -> Outcome:
    """Run the scenario to its end, its signals on their own programs."""
    ways = out / "ways.xml"
    options = ("--vehroute-output", str(ways), "--vehroute-output.exit-times")
    with SumoField(replace(scenario, sumo_options=options), out) as field:
        sampler = TruthSampler(field)
        while field.advance():
            sampler.sample()
        sampler.sample()
        truth = sampler.finish()
    infos = ElementTree.parse(out / "tripinfo.xml").getroot().iter("tripinfo")
    info = {trip.attrib["id"]: trip.attrib for trip in infos}
    trips = []
    for vehicle in ElementTree.parse(ways).getroot().iter("vehicle"):
        id_ = vehicle.attrib["id"]
        route = vehicle.find("route")
        assert route is not None
        trips.append(
            Trip(
                id_.partition(".")[0],
                tuple(route.attrib["edges"].split()),
                float(info[id_]["depart"]) - float(info[id_]["departDelay"]),
                tuple(float(time) for time in route.attrib["exitTimes"].split()),
                int(info[id_]["waitingCount"]),
            )
        )
    return Outcome(scenario, tuple(trips), truth)


@cache
def get_outcome(name: str) -> Outcome:
    with TemporaryDirectory() as folder:
        return drive(load(name, SEED, Path(folder)), Path(folder) / "out")


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    name: str, tmp_path: Path
) -> None:
    """Rule 30."""
    one, again, other = (
        load(name, seed, tmp_path / folder) for folder, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    for files in zip(
        *((s.net_file, s.route_file, *s.additional_files) for s in (one, again)), strict=True
    ):
        assert files[0].read_bytes() == files[1].read_bytes()
    assert one.net_file.read_bytes() == other.net_file.read_bytes()
    assert one.route_file.read_bytes() != other.route_file.read_bytes()


@pytest.mark.parametrize("name", SMALL)
def test_routes_run_over_turns_that_exist_and_have_a_purpose(name: str, tmp_path: Path) -> None:
    scenario = load(name, SEED, tmp_path)
    routes = ElementTree.parse(scenario.route_file).getroot().findall("route")
    assert routes
    for route in routes:
        links = route.attrib["edges"].split()
        assert set(itertools.pairwise(links)) <= scenario.network.turns, route.attrib["id"]
    used = {vehicle.partition(".")[0] for vehicle in list_vehicles(scenario.route_file)}
    assert used == set(scenario.purposes)


@pytest.mark.parametrize(
    ("name", "junctions", "stages"),
    [("crossing", ("C",), 4), ("corridor", corridor.JUNCTIONS, 4), ("onramp", ("G",), 2)],
)
def test_signals_are_read_as_junctions_on_one_cycle(
    name: str, junctions: tuple[str, ...], stages: int, tmp_path: Path
) -> None:
    network = load(name, SEED, tmp_path).network
    assert set(network.junctions) == set(junctions)
    assert len({plan.cycle_s for plan in network.plans.values()}) == 1
    for junction in network.junctions.values():
        assert len(junction.stages) == stages
        # No green gives way to another: every turn is protected.
        assert not any(stage.permissive for stage in junction.stages)


@pytest.mark.parametrize("name", SMALL)
def test_every_vehicle_departs_and_arrives(name: str) -> None:
    outcome = get_outcome(name)
    truth = outcome.truth
    assert (truth.never_departed_veh, truth.teleports, truth.collisions) == (0, 0, 0)
    assert truth.clock_s[-1] == outcome.scenario.end_s
    assert truth.running_veh[-1] == 0
    # One that arrived has left the last link of its way.
    assert len(outcome.trips) == len(list(_planned(name)))
    assert all(trip.exit_s[-1] > trip.depart_s for trip in outcome.trips)


def _planned(name: str) -> list[str]:
    with TemporaryDirectory() as folder:
        return list(list_vehicles(load(name, SEED, Path(folder)).route_file))


def hcm_delay_s(flow_vph: float, saturation_vph: float, green_s: float, cycle_s: float) -> float:
    """HCM 2010, 18-20 and 18-45: d = d1 + d2, with k = 0.5 (fixed time) and I = 1 (isolated).

    d2 = 900 T ((x - 1) + sqrt((x - 1)^2 + 8 k I x / (c T))), c capacity, T hours of analysis.
    """
    capacity_vph = saturation_vph * green_s / cycle_s
    x, hours = flow_vph / capacity_vph, crossing.QUARTERS / 4
    root = math.sqrt((x - 1) ** 2 + 4 * x / (capacity_vph * hours))
    return uniform_delay_s(cycle_s, green_s / cycle_s, x) + 900 * hours * (x - 1 + root)


def test_delay_at_the_crossing_is_that_of_the_highway_capacity_manual() -> None:
    """Mean delay = mean over phases of d1 + d2, within 15 %.

    Measured as time from the planned departure past the stop line, less the way's time at each
    driver's desired speed; that is Normal(v, 0.08 v), so 1 / v has the mean (1 + 0.08^2) / v.
    """
    outcome = get_outcome("crossing")
    network = outcome.scenario.network
    junction, plan = network.junctions[crossing.JUNCTION], network.plans[crossing.JUNCTION]
    green_s = get_green_s(build_green_runs(junction, plan))
    phase_of = {(m.from_link, m.to_link): p.id for p in junction.phases for m in p.movements}
    delays_s: Mapping[str, list[float]] = defaultdict(list)
    lanes = {}
    for trip in outcome.trips:
        at = next(i for i, link in enumerate(trip.links) if link in network.approaches)
        before = [network.links[link] for link in trip.links[: at + 1]]
        free_s = sum(link.length_m / link.free_speed_mps for link in before) * (1 + 0.08**2)
        phase = phase_of[trip.links[at], trip.links[at + 1]]
        delays_s[phase].append(trip.exit_s[at] - trip.depart_s - free_s)
        lanes[phase] = 1 if trip.purpose == "left" else 2
    assert len(delays_s) == 8
    hours = crossing.QUARTERS / 4
    expected_s = [
        hcm_delay_s(
            len(of_phase) / hours,
            crossing.SATURATION_VPH * lanes[phase],
            green_s[phase],
            plan.cycle_s,
        )
        for phase, of_phase in delays_s.items()
        for _ in of_phase
    ]
    measured_s = [delay_s for of_phase in delays_s.values() for delay_s in of_phase]
    assert mean(measured_s) == pytest.approx(mean(expected_s), rel=0.15)


def test_eastbound_platoons_find_the_corridor_green() -> None:
    """Random arrivals stop at a signal with the chance (1 - u) / (1 - y), u = g / C, y = q / s.

    Coordinated, they should stop at the first signal only: less than half as often in all.
    """
    outcome = get_outcome("corridor")
    network = outcome.scenario.network
    stops = {
        purpose: mean(trip.stops for trip in outcome.trips if trip.purpose == purpose)
        for purpose in ("eastbound", "westbound")
    }
    eastbound = next(trip for trip in outcome.trips if trip.purpose == "eastbound")
    by_chance = 0.0
    for here, after in itertools.pairwise(eastbound.links):
        if here not in network.approaches:
            continue
        name = network.approaches[here].junction
        junction, plan = network.junctions[name], network.plans[name]
        green_s = get_green_s(build_green_runs(junction, plan))
        (phase,) = (
            p.id
            for p in junction.phases
            if any((m.from_link, m.to_link) == (here, after) for m in p.movements)
        )
        passed = sum((here, after) in itertools.pairwise(trip.links) for trip in outcome.trips)
        flow_ratio = passed / (corridor.QUARTERS / 4) / (2 * crossing.SATURATION_VPH)
        by_chance += (1 - green_s[phase] / plan.cycle_s) / (1 - flow_ratio)
    assert by_chance > 2.5
    assert stops["eastbound"] < by_chance / 2
    assert stops["eastbound"] < stops["westbound"]


def find_onramp_breakdown(outcome: Outcome) -> Breakdown | None:
    truth, scenario = outcome.truth, outcome.scenario
    contour = build_contour(
        truth.time_s,
        truth.x_m,
        truth.speed_mps,
        sample_s=truth.sample_s,
        begin_s=scenario.begin_s,
        end_s=scenario.end_s,
        length_m=truth.mainline_m,
    )
    head_m = truth.link_start_m[onramp.WATCHED] + onramp.SPECIAL_LOOPS[onramp.WATCHED][-1]
    head_m = math.ceil(head_m / 100.0) * 100.0
    speed_mps = contour.column_speed_mps(head_m - UPSTREAM_M, head_m)
    return find_breakdown(speed_mps, contour.time_s)


def test_a_breakdown_emerges_at_the_ramp_and_recovers() -> None:
    """Flow before it and out of its queue is near the figures that the bottleneck is given."""
    outcome = get_outcome("onramp")
    begin_s, truth = outcome.scenario.begin_s, outcome.truth
    breakdown = find_onramp_breakdown(outcome)
    assert breakdown is not None
    assert begin_s + 900.0 <= breakdown.onset_s <= begin_s + 2700.0
    assert breakdown.recovery_s is not None
    flow_vph, end_s = truth.passed_veh[0] * 60.0, truth.flow_end_s
    before = flow_vph[end_s <= breakdown.onset_s]
    busiest_vph = np.convolve(before, np.full(5, 0.2), "valid").max()
    assert busiest_vph == pytest.approx(onramp.CAPACITY_VPH, rel=0.1)
    is_queued = (end_s > breakdown.onset_s + 300.0) & (end_s <= breakdown.recovery_s)
    assert flow_vph[is_queued].mean() == pytest.approx(onramp.DISCHARGE_VPH, rel=0.05)
    # The queue stays on the modeled road: nobody waits to enter for long.
    assert truth.waiting_veh.max() < 20


def test_without_the_peak_nothing_breaks_down(tmp_path: Path) -> None:
    """The breakdown comes from demand above capacity, not from the road as such."""
    scenario = load("onramp", SEED, tmp_path)
    routes = write_flows(
        tmp_path / "calm.rou.xml",
        scenario.net_file,
        onramp.build_flows(0.8),
        scenario.begin_s,
        "calm/1",
    )
    assert find_onramp_breakdown(drive(replace(scenario, route_file=routes), tmp_path)) is None


def test_the_onramp_has_the_means_to_gate_and_no_other(tmp_path: Path) -> None:
    plans = build_plans(load("onramp", SEED, tmp_path))
    assert [plan.id for plan in plans] == ["onramp:gating"]
    run = Run("onramp", "gating", SEED, tmp_path / "out")
    run_once(run, lambda share: None)
    figures = json.loads((run.target / "figures.json").read_text(encoding="utf-8"))["figures"]
    assert figures["plans_activated"] == 1
    assert (figures["vetoes"], figures["teleports"], figures["collisions"]) == (0, 0, 0)
    # Traffic is held at the gates, where none was held before.
    held_m = sum(figures["longest_queue_by_gate_m"].values())
    assert held_m > get_outcome("onramp").truth.queue_m.max(axis=1).sum()


@pytest.mark.parametrize("name", ["crossing", "corridor"])
def test_streets_without_a_bottleneck_have_nothing_to_respond_to(name: str, tmp_path: Path) -> None:
    scenario = load(name, SEED, tmp_path)
    assert build_plans(scenario) == ()
    assert scenario.mainline == ()
