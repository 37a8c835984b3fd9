"""SUMO as the city: readings agree with SUMO's own output, signals and advice take effect."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from street import (
    BEGIN_S,
    GREEN_NS,
    INDICES,
    block,
    build_base,
    find_users,
    read_intervals,
    run,
    with_routes,
)
from test_driver_model import ADVISORY

from networks.driver_model import draw
from networks.scenario import Drivers, Scenario
from networks.sumo_field import SumoField
from networks.truth import TruthSampler
from traffic.control import Aspect, RawReadings
from traffic.readings import Quality


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    return build_base(tmp_path_factory.mktemp("scenario"))


def test_readings_agree_with_the_simulators_own_loop_output(base: Scenario) -> None:
    loops = frozenset({"n0", "n1", "e0", "m1"})
    local: list[RawReadings] = []
    with SumoField(base, loops=loops) as field:
        run(field, 600.0, lambda: local.append(field.read()))
    centre = {raw.now_s: raw.centre for raw in local if raw.centre is not None}
    assert sorted(centre) == [BEGIN_S + 30.0 * k for k in range(1, 21)]
    seen_full = False
    for row in read_intervals(base.route_file.parent / "e1.xml"):
        batch = centre[float(row["end"])]
        i = batch.detectors.index(row["id"])
        assert batch.count_veh[i] == float(row["nVehEntered"])
        assert batch.occupancy[i] * 100 == pytest.approx(float(row["occupancy"]), abs=0.01)
        if float(row["nVehContrib"]):
            assert batch.speed_mps[i] == pytest.approx(float(row["speed"]), abs=0.02)
        else:
            assert np.isnan(batch.speed_mps[i])
        seen_full = seen_full or float(row["occupancy"]) == 100.0
    assert seen_full  # a queue stood on a loop for a whole interval and was not lost
    for batch in centre.values():
        assert batch is not None
        seconds = [raw.local for raw in local if batch.end_s - 30 < raw.now_s <= batch.end_s]
        for k, loop in enumerate(seconds[0].detectors):
            i = batch.detectors.index(loop)
            assert sum(s.count_veh[k] for s in seconds) == batch.count_veh[i]
            share = sum(s.occupancy[k] for s in seconds) / 30
            assert share == pytest.approx(batch.occupancy[i], abs=1e-9)


def test_before_the_first_second_nothing_is_measured(base: Scenario) -> None:
    with SumoField(base, loops=frozenset({"n0"})) as field:
        raw = field.read()
    assert raw.centre is None
    assert np.isnan(raw.local.count_veh).all()
    assert raw.local.quality.tolist() == [Quality.MISSING]


def test_signals_show_what_is_applied_and_return_to_their_own_program(base: Scenario) -> None:
    with SumoField(base, managed=frozenset({"c"})) as field:
        for second in range(120):
            assert second == 0 or field.read().signals["c"] == GREEN_NS
            field.apply({"c": GREEN_NS})
            field.advance()
            state = field.simulator.trafficlight.getRedYellowGreenState("c")
            assert state == "GGGgrrrrGGGgrrrr"
        amber = dict.fromkeys(INDICES, Aspect.AMBER)
        field.apply({"c": amber})
        field.advance()
        assert field.read().signals["c"] == amber
        seen = set()
        for _ in range(120):
            field.apply({})
            field.advance()
            seen.add(field.read().signals["c"]["ew"])
        assert seen == {Aspect.GREEN, Aspect.AMBER, Aspect.RED}


def test_junctions_not_managed_stay_with_their_own_program(base: Scenario) -> None:
    seen: set[str] = set()

    def look() -> None:
        field.apply({"c": GREEN_NS})
        seen.add(field.simulator.trafficlight.getRedYellowGreenState("c"))

    with SumoField(base) as field:
        run(field, 90.0, look)
        assert field.read().signals == {}
    assert len(seen) == 4


def test_advised_drivers_take_the_detour_and_no_others(base: Scenario, tmp_path: Path) -> None:
    scenario = replace(with_routes(base, tmp_path), drivers=Drivers(compliance=0.6))
    advice = replace(ADVISORY, share=0.7, issued_s=BEGIN_S, expires_s=BEGIN_S + 400.0)
    with SumoField(scenario) as field:
        field.hear([advice])
        run(field, 600.0)
        tally = field.tallies["a1"]
    expected = {
        f"through.{i}"
        for i in range(1, 134)  # the first departs before, the last after the advice's life
        if draw(1, f"through.{i}", "compliance") < 0.6
        and draw(1, f"through.{i}", "share at in") < 0.7
    }
    took = find_users(tmp_path, "hill1")
    assert len(took ^ expected) <= 2  # at the edges of the advice's life
    assert tally.complied_veh == len(took)
    assert tally.unable_veh == 0


def test_navigation_follows_present_travel_times(base: Scenario, tmp_path: Path) -> None:
    scenario = block(with_routes(base, tmp_path), 60.0, 600.0, 1, 2)
    scenario = replace(scenario, drivers=Drivers(compliance=0.5))
    with SumoField(scenario, native="nav") as field:
        run(field, 600.0)
    took = find_users(tmp_path, "hill1")
    assert len(took) > 20
    assert all(draw(1, vehicle, "compliance") < 0.5 for vehicle in took)


def test_lane_closure_stands_for_its_time_and_nobody_is_lost(base: Scenario) -> None:
    (closure,) = block(base, 100.0, 300.0, 1).closures
    with SumoField(replace(base, closures=(closure,))) as field:
        run(field, 130.0)
        vehicle = field.breakdowns[closure]
        standing: list[float] = []
        run(field, 299.0, lambda: standing.append(field.simulator.vehicle.getSpeed(vehicle)))
        assert field.simulator.vehicle.getLaneID(vehicle) == "main_1"
        assert field.simulator.vehicle.getLanePosition(vehicle) == pytest.approx(500.0, abs=1.0)
        assert set(standing) == {0.0}
        run(field, 310.0)
        assert field.simulator.vehicle.getSpeed(vehicle) > 1.0
        run(field, 600.0)
        truth = TruthSampler(field).finish()
    assert (truth.teleports, truth.collisions, truth.never_departed_veh) == (0, 0, 0)


@pytest.mark.parametrize("emergency_lane", [True, False])
def test_command_vehicle_passes_the_jam_only_by_the_emergency_lane(
    base: Scenario, emergency_lane: bool
) -> None:
    with SumoField(block(base, 30.0, 500.0, 1, 2)) as field:
        vehicle = field.send_command_vehicle(BEGIN_S + 200.0, "in", "out", emergency_lane)
        run(field, 600.0)
        (trip,) = field.command_trips
    assert trip.vehicle == vehicle
    travel_s = trip.travel_time_s
    free_s = 1600.0 / 13.9
    if emergency_lane:
        assert travel_s is not None
        assert free_s * 0.8 < travel_s < free_s * 1.6
    else:
        assert travel_s is None or travel_s > 300.0
