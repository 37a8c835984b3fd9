"""The Heishizi morning: the outbound G50 ahead of a two-lane tunnel, and the streets beside it.

Fact: the G50 leaves Chongqing eastward at Heishizi and enters the hills through a two-lane tunnel
where the morning queue stands; such mainlines have three lanes at 80 km/h with an emergency lane
closed to ordinary traffic, such tunnels two lanes at 70 km/h without one.
Invented: every length and position, all streets, signals and their names, the demand, the two
ways around. No map was used. The emergency lane ends at the tunnel and is left out beyond it. The
signals run plans that a search found (docs/plans.md).

Layout, eastbound to the right (x in metres, the lane drop at 0; A, B: two parallel streets):

    G50   g00 ... exit 1 -- entry 1 -- exit 2 -- entry 2 -- lane drop == tunnel == joins -- g18
                   |          |          |          |                          |     |
    A   WA -- A1 - X1 ------- G1 -- A2 - X2 ------- G2 -- A3 == hill == H1 == H2     |
    B   WB -- B1 ------------ B2 -- B3 ------------ B4 -- B5 ====== riverside ====== R2

G1 and G2 are the gates: their expressway-bound turns have lanes and stages' greens of their own.
A breakdown is not scripted: it emerges at the lane drop from the drivers' following behavior.
"""

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

from networks import heishizi_demand
from networks.demand import Flow
from networks.plain_xml import Connection, Edge, Point, Roads, compile_roads
from networks.scenario import Dispatch, LaneClosure
from networks.street_plans import load_street_programs
from networks.streets import Road, Streets, build_streets

ORIGIN = (106.60, 29.61)  # longitude, latitude of the lane drop, x = y = 0
BEGIN_S = 6.5 * 3600.0
END_S = 9.0 * 3600.0
STEP_S = 0.5

EXPRESSWAY_MPS = 22.22
TUNNEL_MPS = 19.44
RAMP_MPS = 16.67
LANE_M = 3.2
TUNNEL = "tunnel"
NECK = "g50_neck"  # the bottleneck
WATCHED = "g50_drop"  # its loops see the queue of a breakdown first
CAPACITY_VPH = 3400.0  # before breakdown, measured on mornings without a response
DISCHARGE_VPH = 2870.0  # out of the standing queue
INCIDENT = LaneClosure(TUNNEL, 0, 1200.0, 7 * 3600.0 + 300.0, 7 * 3600.0 + 2700.0)
DISPATCH = Dispatch(7 * 3600.0 + 600.0, "g50_01", TUNNEL)  # the incident's command vehicle

# Node, x of it, and of the link that starts there: id, lanes, lanes' offset for the next link.
_G50: tuple[tuple[str, float, str, int], ...] = (
    ("g00", -9700.0, "g50_01", 4),
    ("g01", -8800.0, "g50_02", 4),
    ("g02", -7900.0, "g50_03", 4),
    ("g03", -6950.0, "g50_04", 4),
    ("g04", -5950.0, "g50_exit1", 4),
    ("g05", -5700.0, "g50_06", 4),
    ("g06", -4100.0, "g50_entry1", 4),
    ("g07", -3600.0, "g50_08", 4),
    ("g08", -3300.0, "g50_exit2", 4),
    ("g09", -3050.0, "g50_10", 4),
    ("g10", -1500.0, "g50_entry2", 4),
    ("g11", -1000.0, "g50_drop", 4),
    ("g12", 0.0, "g50_neck", 3),
    ("g13", 400.0, TUNNEL, 2),
    ("g14", 2400.0, "g50_15", 2),
    ("g15", 3000.0, "g50_16", 3),
    ("g16", 3800.0, "g50_entry3", 4),
    ("g17", 4300.0, "g50_18", 3),
    ("g18", 5000.0, "", 0),
)
MAINLINE = tuple(link for _, _, link, _ in _G50 if link)
_AUXILIARY = frozenset({"g50_exit1", "g50_exit2", "g50_entry1", "g50_entry2"})  # lane 0 open to all
_NO_SHOULDER = frozenset({TUNNEL, "g50_15", "g50_16", "g50_entry3", "g50_18"})
EXITS = ("g05_X1", "g09_X2")  # ramps by which mainline drivers may leave upstream of the drop
ENTRIES = ("r1_g06", "r2_g10", "R2_g16")  # ramps onto the mainline
REJOIN = "H2_g15"  # the ramp by which the road over the hill joins again
ALTERNATIVES = ("A3_H1", "B5_R2")  # first links of the ways around: hill, second entrance
# Loop positions (m from the upstream end) besides the rule's: before the drop, in the tunnel.
SPECIAL_LOOPS: dict[str, tuple[float, ...]] = {
    "g50_drop": (450.0, 900.0),
    "g50_neck": (200.0,),
    TUNNEL: (100.0, 650.0, 1200.0, 1750.0),
}
LOOP_SPACING_M = 550.0

_PLACES: dict[str, Point] = {
    **{node: (x, 0.0) for node, x, _, _ in _G50},
    **{"WA": (-7000.0, -600.0), "A1": (-6000.0, -600.0), "X1": (-5050.0, -600.0)},
    **{"G1": (-4650.0, -600.0), "A2": (-3500.0, -600.0), "X2": (-2450.0, -600.0)},
    **{"G2": (-2050.0, -600.0), "A3": (-1000.0, -600.0), "r1": (-4650.0, -300.0)},
    **{"r2": (-2050.0, -300.0), "N1": (-6000.0, 500.0), "N2": (-3500.0, 500.0)},
    **{"N3": (-1000.0, 500.0), "WB": (-7000.0, -1500.0), "B1": (-6000.0, -1500.0)},
    **{"B2": (-4650.0, -1500.0), "B3": (-3500.0, -1500.0), "B4": (-2050.0, -1500.0)},
    **{"B5": (-1000.0, -1500.0), "S1": (-6000.0, -2300.0), "S2": (-4650.0, -2300.0)},
    **{"S3": (-3500.0, -2300.0), "S4": (-2050.0, -2300.0), "H1": (1000.0, -1200.0)},
    **{"SH": (1000.0, -2000.0), "H2": (2200.0, -700.0), "HE": (3000.0, -900.0)},
    **{"R2": (3200.0, -1400.0), "RE": (4200.0, -1500.0)},
}
_HAIER, _BINJIANG, _HILL = "海尔路 Haier Road", "滨江路 Riverside Road", "盘山路 Hill Road"
_GATE_WEST = ("tr", "t", "l", "l")  # expressway-bound left turns in two lanes of their own
_GATE_EAST = ("r", "t", "t", "l")  # expressway-bound right turns
_GATE_SOUTH = ("r", "t", "t", "l")  # expressway-bound straight on, into the ramp
_EXIT_RAMP = ("r", "l", "l")


def _gate(name: str, west: str, east: str, south: str, ramp: str) -> list[Road]:
    return [
        Road(west, name, "E", "W", name=_HAIER, bay_v_m=390, lanes_at_v=_GATE_WEST),
        Road(name, east, "E", "W", name=_HAIER, bay_u_m=350, lanes_at_u=_GATE_EAST),
        Road(south, name, "N", "S", bay_v_m=380, lanes_at_v=_GATE_SOUTH),
        Road(name, ramp, arm_u="N", speed_mps=RAMP_MPS, one_way=True),
    ]


def _roads() -> list[Road]:
    """Return the streets and ramps; the gates' roads carry the storage for held traffic."""
    roads = [*_gate("G1", "X1", "A2", "B2", "r1"), *_gate("G2", "X2", "A3", "B4", "r2")]
    # The roads between a gate and the next junction east need that junction's own bay.
    roads[1] = replace(roads[1], bay_v_m=150)
    roads[5] = replace(roads[5], bay_v_m=200, lanes_at_v=("tr", "t", "l"))
    roads += [
        Road("WA", "A1", "", "W", name=_HAIER),
        Road("A1", "X1", "E", "W", name=_HAIER),
        Road("A2", "X2", "E", "W", name=_HAIER),
        *(Road(b, a, "N", "S") for a, b in (("A1", "B1"), ("A2", "B3"), ("A3", "B5"))),
        *(Road(n, a, "", "N") for n, a in (("N1", "A1"), ("N2", "A2"), ("N3", "A3"))),
        *(Road(s, b, "", "S") for s, b in (("S1", "B1"), ("S2", "B2"), ("S3", "B3"), ("S4", "B4"))),
        Road("WB", "B1", "", "W"),
        *(Road(f"B{i}", f"B{i + 1}", "E", "W") for i in range(1, 5)),
        Road("A3", "H1", "E", "W", name=_HILL,
             shape=((-300.0, -900.0), (300.0, -700.0), (700.0, -1100.0))),
        Road("H1", "H2", "E", "W", name=_HILL, shape=((1500.0, -1300.0), (1800.0, -900.0))),
        Road("SH", "H1", "", "S", 1, 13.89),
        Road("H2", "HE", "E", "", 1, 13.89),
        Road("B5", "R2", "E", "W", 1, 13.89, name=_BINJIANG,
             shape=((-300.0, -2700.0), (2000.0, -2900.0))),
        Road("R2", "RE", "E", "", 1, 13.89),
        _exit("g05", "X1"),
        _exit("g09", "X2"),
        _entry("H2", "g15", "N", lanes=3),
        _entry("R2", "g16", "N"),
        _entry("r1", "g06"),
        _entry("r2", "g10"),
    ]  # fmt: skip
    return roads


def _beside(node: str, lanes: int) -> Point:
    """Return the middle of the right-hand lane, where a ramp meets a carriageway of `lanes`."""
    return _PLACES[node][0], -LANE_M * (lanes - 0.5)


def _entry(start: str, end: str, arm: str = "", lanes: int = 4) -> Road:
    """Bend a ramp until it runs nearly parallel: a joint's angle limits the speed over it."""
    (x0, y0), (x1, _) = _PLACES[start], _PLACES[end]
    shape = (
        (x0, min(y0 + 60.0, -200.0)),
        (x0 + 80.0, -110.0),
        (min(x0 + 250.0, x1 - 350.0), -50.0),
    )
    return Road(start, end, arm, "", 1, RAMP_MPS, shape, True, end=_beside(end, lanes))


def _exit(gore: str, junction: str) -> Road:
    (x0, _), (x1, _) = _PLACES[gore], _PLACES[junction]
    shape = ((x0 + 350.0, -40.0), (x1 - 120.0, -110.0), (x1, -220.0))
    return Road(
        gore, junction, "", "N", 1, RAMP_MPS, shape, True,
        bay_v_m=250, lanes_at_v=_EXIT_RAMP, start=_beside(gore, 4),
    )  # fmt: skip


@cache
def build_layout() -> Streets:
    """Return streets and mainline together, with the links between any two neighboring places."""
    streets = build_streets(_PLACES, _roads(), {"r1": "zipper", "r2": "zipper"})
    mainline = [
        Edge(
            link, node, after[0], lanes, TUNNEL_MPS if link == TUNNEL else EXPRESSWAY_MPS,
            emergency_lanes=frozenset() if link in _AUXILIARY | _NO_SHOULDER else frozenset({0}),
            name="G50",
        )
        for (node, _, link, lanes), after in itertools.pairwise(_G50)
    ]  # fmt: skip
    chains = {(edge.from_node, edge.to_node): (edge.id,) for edge in mainline}
    return replace(
        streets,
        edges=(*mainline, *streets.edges),
        connections=(*_mainline_connections(), *streets.connections),
        chains={**chains, **streets.chains},
    )


def _mainline_connections() -> list[Connection]:
    # (lanes of the link before that go on, first lane of it, first lane of the link after)
    shift = {"g50_drop": (3, 0, 0), "g50_neck": (2, 1, 0), "g50_15": (2, 0, 1), "g50_16": (3, 0, 1)}
    shift["g50_entry3"] = (3, 1, 0)
    lanes = {link: count for _, _, link, count in _G50}
    # At an entry the ramp takes the shoulder's place: with a path from the shoulder as well every
    # driver on the ramp would have to give way. A rescue vehicle moves one lane over there.
    shift |= {"g50_06": (3, 1, 1), "g50_10": (3, 1, 1)}
    found = []
    for before, after in itertools.pairwise(MAINLINE):
        count, from_lane, to_lane = shift.get(before, (lanes[before], 0, 0))
        found += [Connection(before, after, from_lane + i, to_lane + i) for i in range(count)]
    entries = (*zip(ENTRIES, ("g50_entry1", "g50_entry2", "g50_entry3"), strict=True),)
    found += [Connection(ramp, link, 0, 0) for ramp, link in (*entries, (REJOIN, "g50_16"))]
    found += [Connection("g50_exit1", "g05_X1", 0, 0), Connection("g50_exit2", "g09_X2", 0, 0)]
    for gate, ramp, joint in (("G1", "r1_g06", "r1"), ("G2", "r2_g10", "r2")):
        found += [Connection(f"{gate}_{joint}", ramp, lane, 0) for lane in (0, 1)]
    return found


# Turns where the response may hold traffic back: junction, arm of arrival; all lead to arm N.
_GATES = (("G1", "W"), ("G1", "S"), ("G1", "E"), ("G2", "W"), ("G2", "S"), ("G2", "E"))


def gate_turns() -> tuple[tuple[str, str, str], ...]:
    """Return (junction, link before the stop line, ramp link) of every gated turn."""
    layout = build_layout()
    return tuple((gate, *layout.turn(gate, arm, "N")) for gate, arm in _GATES)


def build_roads(folder: Path) -> Path:
    """Compile the network with its fixed-time plans into the folder; return the net file.

    Raises plain_xml.CompileError when netconvert fails.
    """
    layout = build_layout()
    programs = load_street_programs(layout, "heishizi")
    roads = Roads(layout.nodes, layout.edges, layout.connections, programs)
    return compile_roads(roads, folder, "heishizi")


def build_flows(scale: float = 1.0) -> tuple[Flow, ...]:
    """Return who travels where; `scale` multiplies all demand."""
    return heishizi_demand.build_flows(build_layout(), scale)
