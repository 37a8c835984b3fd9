"""A crossing and a road with a way around in SUMO, for tests of the field."""

import subprocess
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from networks.scenario import LaneClosure, Scenario
from networks.sumo_field import SumoField
from traffic.control import Aspect
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


def build_base(room: Path) -> Scenario:
    """Ten minutes of steady traffic on a crossing and on a road with a way around."""
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


def block(
    scenario: Scenario, begin_s: float, end_s: float, *lanes: int, position_m: float = 500.0
) -> Scenario:
    closures = tuple(
        LaneClosure("main", lane, position_m, BEGIN_S + begin_s, BEGIN_S + end_s) for lane in lanes
    )
    return replace(scenario, closures=closures)
