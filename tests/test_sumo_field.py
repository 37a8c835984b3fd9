"""SUMO as the city: readings agree with SUMO's own output, signals and advice take effect."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from test_driver_model import ADVISORY

from networks.driver_model import draw
from networks.replay_field import ReplayField
from networks.scenario import Drivers, LaneClosure, Scenario
from networks.sumo_field import FieldError, SumoField
from networks.truth import TruthSampler
from traffic.control import Aspect, RawReadings
from traffic.model import (
    Approach,
    Bottleneck,
    Detector,
    DetectorKind,
    Intergreen,
    Junction,
    Link,
    Movement,
    Network,
    Phase,
    SafePlan,
    Stage,
)
from traffic.optimization.gating import Gate
from traffic.readings import Quality

sumo = pytest.importorskip("sumo")

BEGIN_S = 23400.0
ARMS = "nesw"
OPPOSITE = dict(zip(ARMS, "swne", strict=True))
# netconvert numbers a crossing's links clockwise from the north, right turns first.
INDICES = {
    "ns": (0, 1, 2, 8, 9, 10),
    "ns_left": (3, 11),
    "ew": (4, 5, 6, 12, 13, 14),
    "ew_left": (7, 15),
}
GREEN_NS = {
    "ns": Aspect.GREEN,
    "ns_left": Aspect.PERMISSIVE,
    "ew": Aspect.RED,
    "ew_left": Aspect.RED,
}
# A crossing, and apart from it a road p-q-r-s with a way around by h. The road's lane 0 from q
# to r is an emergency lane.
NODES = {
    "c": (0, 0),
    "n": (0, 300),
    "e": (300, 0),
    "s": (0, -300),
    "w": (-300, 0),
    "p": (0, 1000),
    "q": (400, 1000),
    "h": (800, 1400),
    "r": (1200, 1000),
    "t": (1600, 1000),
}
ROAD = {"in": "pq", "main": "qr", "hill1": "qh", "hill2": "hr", "out": "rt"}


def build_network(net_file: Path) -> Network:
    links = {}
    for edge in ElementTree.parse(net_file).getroot().iter("edge"):
        lanes = edge.findall("lane")
        if edge.get("function") != "internal":
            links[edge.attrib["id"]] = Link(
                id=edge.attrib["id"],
                from_node=edge.attrib["from"],
                to_node=edge.attrib["to"],
                length_m=float(lanes[0].attrib["length"]),
                lanes=sum("allow" not in lane.attrib for lane in lanes),
                free_speed_mps=float(lanes[0].attrib["speed"]),
                shape=((0.0, 0.0), (1.0, 0.0)),
            )
    phases = {
        phase: tuple(
            Movement(f"{arm}>{phase}", f"{arm}_in", f"{OPPOSITE[arm]}_out") for arm in phase[:2]
        )
        for phase in INDICES
    }
    pairs = [p for p in permutations(INDICES, 2) if p[0][:2] != p[1][:2]]
    junction = Junction(
        id="c",
        phases=tuple(Phase(phase, movements) for phase, movements in phases.items()),
        stages=tuple(
            Stage(axis, frozenset({axis}), frozenset({f"{axis}_left"})) for axis in ("ns", "ew")
        ),
        conflicts=frozenset(frozenset(pair) for pair in pairs),
        intergreens=dict.fromkeys(pairs, Intergreen(3.0, 2.0)),
    )
    detectors = [
        Detector(f"{arm}{lane}", DetectorKind.STOP_LINE, f"{arm}_in", lane, 280.0)
        for arm in ARMS
        for lane in (0, 1)
    ]
    detectors += [Detector(f"m{i}", DetectorKind.MAINLINE, "main", i, 700.0) for i in (1, 2)]
    return Network(
        id="test",
        links=links,
        turns=frozenset({("in", "main"), ("in", "hill1"), ("main", "out")}),
        junctions={"c": junction},
        plans={"c": SafePlan((("ns", 45.0), ("ew", 45.0)))},
        approaches={"north": Approach("north", "c", ("n_in",), ("ns",), 2, links["n_in"].length_m)},
        detectors={d.id: d for d in detectors},
        bottlenecks={
            "main": Bottleneck("main", "main", 3600.0, 3200.0, ("in", "main"), ("m1",), {})
        },
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Ten minutes of steady traffic on a crossing and on a road with a way around."""
    room = tmp_path_factory.mktemp("scenario")
    edges = {f"{arm}_in": f"{arm}c" for arm in ARMS} | {f"{arm}_out": f"c{arm}" for arm in ARMS}
    nodes = "".join(
        f'<node id="{n}" x="{x}" y="{y}"' + (' type="traffic_light"/>' if n == "c" else "/>")
        for n, (x, y) in NODES.items()
    )
    roads = "".join(
        f'<edge id="{e}" from="{ends[0]}" to="{ends[1]}" speed="13.9"'
        + (
            ' numLanes="3"><lane index="0" allow="emergency"/></edge>'
            if e in ("main", "in")
            else ' numLanes="2"/>'
        )
        for e, ends in (edges | ROAD).items()
    )
    (room / "n.nod.xml").write_text(f"<nodes>{nodes}</nodes>")
    (room / "n.edg.xml").write_text(f"<edges>{roads}</edges>")
    subprocess.run(
        [
            Path(sumo.SUMO_HOME) / "bin" / "netconvert",
            "--node-files=n.nod.xml",
            "--edge-files=n.edg.xml",
            "--output-file=net.xml",
            "--no-turnarounds",
            "--tls.default-type=static",
        ],
        cwd=room,
        check=True,
        capture_output=True,
    )
    network = build_network(room / "net.xml")
    loops = "".join(
        f'<inductionLoop id="{d.id}" lane="{d.link}_{d.lane}" pos="{d.position_m}" period="30" '
        'file="e1.xml"/>'
        for d in network.detectors.values()
    )
    (room / "loops.add.xml").write_text(f"<additional>{loops}</additional>")
    trips = [
        (BEGIN_S + 5 * i + k, f"local.{arm}{i}", f"{arm}_in {OPPOSITE[arm]}_out")
        for k, arm in enumerate(ARMS)
        for i in range(100)
    ]
    trips += [(BEGIN_S + 3 * i, f"through.{i}", "in main out") for i in range(180)]
    (room / "routes.xml").write_text(
        "<routes>"
        + "".join(
            f'<vehicle id="{v}" depart="{t}" departLane="best" departSpeed="avg">'
            f'<route edges="{route}"/></vehicle>'
            for t, v, route in sorted(trips)
        )
        + "</routes>"
    )
    return Scenario(
        id="test",
        title={"en": "A test", "zh": "测试"},
        network=network,
        net_file=room / "net.xml",
        route_file=room / "routes.xml",
        additional_files=(room / "loops.add.xml",),
        begin_s=BEGIN_S,
        end_s=BEGIN_S + 660.0,
        step_s=0.5,
        seed=1,
        signal_indices={"c": INDICES},
        gates=(Gate("north"),),
        mainline=("in", "main", "out"),
        purposes=("local", "through"),
    )


def run(field: SumoField, until_s: float, each: Callable[[], object] = lambda: None) -> None:
    while field.now_s < BEGIN_S + until_s and field.advance():
        each()


def read_intervals(file: Path) -> Iterable[dict[str, str]]:
    return (element.attrib for element in ElementTree.parse(file).getroot().iter("interval"))


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


def find_users(out: Path, link: str) -> set[str]:
    root = ElementTree.parse(out / "vehroutes.xml").getroot()
    users = set()
    for vehicle in root.iter("vehicle"):
        routes = [r for r in vehicle.iter("route") if r.get("replacedOnEdge") is None]
        if link in routes[-1].attrib["edges"].split():
            users.add(vehicle.attrib["id"])
    return users


def with_routes(scenario: Scenario, out: Path) -> Scenario:
    options = (
        "--vehroute-output",
        str(out / "vehroutes.xml"),
        "--vehroute-output.write-unfinished",
    )
    return replace(scenario, sumo_options=options)


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


def block(
    scenario: Scenario, begin_s: float, end_s: float, *lanes: int, position_m: float = 500.0
) -> Scenario:
    closures = tuple(
        LaneClosure("main", lane, position_m, BEGIN_S + begin_s, BEGIN_S + end_s) for lane in lanes
    )
    return replace(scenario, closures=closures)


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


def test_evidence_is_complete_and_counts_those_never_let_in(base: Scenario, tmp_path: Path) -> None:
    out = tmp_path / 'the "evidence" & more <of it>'
    blocked = block(base, 5.0, 600.0, 1, 2, position_m=100.0)
    with SumoField(replace(blocked, end_s=BEGIN_S + 500.0), out=out) as field:
        run(field, 500.0)
        truth = TruthSampler(field).finish()
    written = {"tripinfo.xml", "statistic.xml", "tls_states.xml"}
    copied = {"net.xml", "routes.xml", "additional-1.xml"}
    assert {file.name for file in out.iterdir()} == written | copied
    demand = {
        v.attrib["id"]
        for v in ElementTree.parse(out / "routes.xml").getroot().iter("vehicle")
        if float(v.attrib["depart"]) < BEGIN_S + 500.0
    }
    trips = ElementTree.parse(out / "tripinfo.xml").getroot()
    assert {t.attrib["id"] for t in trips} == demand
    waited = [t for t in trips if t.attrib["depart"] == "-1"]
    assert len(waited) == truth.never_departed_veh > 0
    states = ElementTree.parse(out / "tls_states.xml").getroot().findall("tlsState")
    assert {s.attrib["id"] for s in states} == {"c"}
    assert (
        ElementTree.parse(out / "statistic.xml").getroot().find("vehicleTripStatistics") is not None
    )


def test_same_scenario_and_seed_give_the_same_readings_and_can_be_replayed(base: Scenario) -> None:
    def record() -> list[RawReadings]:
        with SumoField(base, loops=frozenset({"n0", "m2"})) as field:
            raws = [field.read()]
            run(field, 120.0, lambda: raws.append(field.read()))
        return raws

    def flatten(raw: RawReadings) -> tuple[object, ...]:
        batches = [b for b in (raw.local, raw.centre) if b is not None]
        arrays = [(b.count_veh, b.occupancy, b.speed_mps, b.quality) for b in batches]
        return raw.now_s, [[a.tobytes() for a in group] for group in arrays]

    first, second = record(), record()
    assert [flatten(raw) for raw in first] == [flatten(raw) for raw in second]
    replay = ReplayField(base.network, iter(first))
    again = [replay.read()]
    while replay.advance():
        replay.apply({"c": GREEN_NS})
        again.append(replay.read())
    assert again == first


def test_recording_must_hold_something_and_go_forward(base: Scenario) -> None:
    with pytest.raises(ValueError, match="holds no readings"):
        ReplayField(base.network, [])
    with SumoField(base) as field:
        raw = field.read()
    replay = ReplayField(base.network, [raw, replace(raw, now_s=raw.now_s - 1)])
    with pytest.raises(ValueError, match=r"23399\.0 s follows the one at 23400\.0 s"):
        replay.advance()


def test_truth_samples_agree_with_the_street(base: Scenario) -> None:
    with SumoField(base) as field:
        sampler = TruthSampler(field)
        halting: list[float] = []

        def look() -> None:
            sampler.sample()
            if field.now_s % 10 == 0:
                halting.append(field.simulator.edge.getLastStepHaltingNumber("n_in"))

        run(field, 660.0, look)
        look()  # at the last second, too
        truth = sampler.finish()
        arrived = field.simulator.simulation.getParameter("", "stats.vehicles.inserted")
    assert truth.clock_s.tolist() == [BEGIN_S + 10 * k for k in range(1, 67)]
    assert truth.halting_veh.tolist() == [halting]
    # A queue of n vehicles in 2 lanes is at least (n / 2 - 1) spacings of 7.5 m long.
    n = truth.halting_veh[0]
    assert (truth.queue_m[0] >= 7.5 * (n / 2 - 1) - 2.5).all()
    assert truth.queue_m.max() <= truth.gate_length_m[0]
    # 180 vehicles, all through the bottleneck before the end; one that changes lanes over the
    # loops is counted in both.
    assert 180 <= truth.passed_veh.sum() <= 180 * 1.01
    assert truth.flow_end_s.tolist() == [BEGIN_S + 60 * k for k in range(1, 12)]
    # Vehicles times seconds on the mainline: 180 at about the speed limit over its length.
    spent_s = len(truth.time_s) * truth.sample_s
    assert spent_s == pytest.approx(180 * truth.mainline_m / truth.speed_mps.mean(), rel=0.05)
    assert int(arrived) == 580
    assert not truth.x_m.flags.writeable


def test_only_one_field_at_a_time(base: Scenario) -> None:
    with SumoField(base), pytest.raises(FieldError, match="another simulation is open"):
        SumoField(base)
    with SumoField(base) as field:
        assert field.advance()


def test_bad_scenario_lists_all_problems(base: Scenario, tmp_path: Path) -> None:
    bad = replace(
        base,
        route_file=tmp_path / "gone.xml",
        net_file=tmp_path / "lost.xml",
        step_s=0.7,
        end_s=BEGIN_S,
    )
    with pytest.raises(FieldError) as caught:
        SumoField(bad, out=tmp_path / "out", loops=frozenset({"x9"}), managed=frozenset({"y"}))
    message = str(caught.value)
    for word in ("gone.xml", "lost.xml", "step_s 0.7", "end_s", "no loop x9", "no junction y"):
        assert word in message
    assert not (tmp_path / "out").exists()


def test_unknown_lane_index_and_loop_are_named(base: Scenario) -> None:
    indices = {"c": INDICES | {"ns_left": (3, 99), "ew_left": (7,)}}
    with pytest.raises(FieldError) as caught:
        SumoField(replace(base, signal_indices=indices), managed=frozenset({"c"}))
    assert "junction c: link index 99 is beyond its 16" in str(caught.value)
    assert "junction c: link index 15 belongs to no phase" in str(caught.value)
    closure = LaneClosure("main", 7, 10.0, BEGIN_S, BEGIN_S + 10)
    with pytest.raises(FieldError, match="scenario test: closure of unknown lane main_7"):
        SumoField(replace(base, closures=(closure,)))
    with pytest.raises(FieldError, match="loop n0 is unknown to the simulator"):
        SumoField(replace(base, additional_files=()))


def test_simulator_dying_mid_run_names_scenario_and_second(base: Scenario, tmp_path: Path) -> None:
    good = base.route_file.read_text()
    broken = tmp_path / "routes.xml"
    broken.write_text(good.replace('id="through.90"', 'type="gone" id="through.90"'))
    field = SumoField(replace(base, route_file=broken))
    with pytest.raises(FieldError, match=r"scenario test: the simulator failed at 06:3\d:\d\d"):
        run(field, 600.0)
    with SumoField(base) as again:  # the process is not spoilt
        assert again.advance()


def test_what_the_simulator_would_misread_in_a_path_is_refused(
    base: Scenario, tmp_path: Path
) -> None:
    comma = tmp_path / "a,b.xml"
    comma.write_bytes(base.route_file.read_bytes())
    with pytest.raises(FieldError) as caught:
        SumoField(replace(base, route_file=comma), out=tmp_path / "a:b")
    assert f"file {comma}: no comma" in str(caught.value)
    assert f"{tmp_path / 'a:b'}: no comma or colon" in str(caught.value)


def test_a_window_needs_a_display(base: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(FieldError, match="DISPLAY is not set"):
        SumoField(base, gui=True)
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(FieldError, match="sumo-gui could not start on display :987"):
        SumoField(base, gui=True)


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb")
def test_the_window_shows_the_same_run(base: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    def record(field: SumoField) -> list[float]:
        with field:
            run(field, 60.0)
            batch = field.read().centre
            assert batch is not None
            return batch.count_veh.tolist()

    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=(writer,), stderr=subprocess.DEVNULL) as server:
        os.close(writer)
        try:
            with open(reader) as display:
                monkeypatch.setenv("DISPLAY", f":{display.readline().strip()}")
            seen = record(SumoField(base, gui=True))
            assert seen == record(SumoField(base))
            field = SumoField(base, gui=True)
            with pytest.raises(KeyboardInterrupt), field:
                raise KeyboardInterrupt
            field = SumoField(base, gui=True)
            assert field._window is not None
            field._window.kill()  # as a person does who closes it
            with pytest.raises(FieldError, match="the simulator failed at"):
                run(field, 60.0)
        finally:
            server.terminate()
