"""A short expressway whose traffic breaks down where an on-ramp merges, and the gate that feeds it.

All of it is invented. Two lanes at 80 km/h are joined by a ramp, whose acceleration lane ends after
300 m; all ramp traffic comes through the signals of one junction, the gate, where its turns have
lanes and stages' greens of their own.

    m0 ===== main_up ====== m1 == main_merge == m2 ====== main_neck ====== m3
                          /
                        r
                        |
    W ----------------- G ----------------- E

A breakdown is not scripted: demand passes the capacity for a while, and the queue emerges where
the lane ends, from the drivers' following behavior. The capacity drop is small, so that gating
moves the queue to the gate more than it saves time. The last five minutes have no departures.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

from networks.demand import QUARTER_S, Flow, sum_turns_vph
from networks.plain_xml import Connection, Edge, Roads, compile_roads
from networks.streets import Road, Streets, build_programs, build_streets

BEGIN_S = 7.0 * 3600.0
END_S = BEGIN_S + 4 * QUARTER_S + 300.0
STEP_S = 0.5

MAINLINE: tuple[str, ...] = ("main_up", "main_merge", "main_neck")
NECK = "main_neck"
WATCHED = "main_merge"
# Measured without a response on seeds 11 to 22. A merge breaks down by chance: the ten minutes
# before onset held 2570 to 3400 veh/h, of which the upper quartile stands for the capacity;
# discharge was 3100 to 3240, median 3155.
CAPACITY_VPH = 3300.0
DISCHARGE_VPH = 3155.0
SPECIAL_LOOPS: dict[str, tuple[float, ...]] = {WATCHED: (200.0,), NECK: (200.0,)}

EXPRESSWAY_MPS = 22.22
RAMP_MPS = 16.67
LANE_M = 3.2
_PLACES = {
    "m0": (-2800.0, 0.0),
    "m1": (-300.0, 0.0),
    "m2": (0.0, 0.0),
    "m3": (800.0, 0.0),
    "r": (-900.0, -250.0),
    "G": (-900.0, -500.0),
    "W": (-1700.0, -500.0),
    "E": (-100.0, -500.0),
}
_WEST = ("t", "l", "l")  # at the gate from the west: two lanes turn left for the expressway
_EAST = ("r", "t")  # from the east: one turns right for it
EXPRESSWAY_FACTORS = (0.82, 0.96, 1.12, 0.50)  # per quarter-hour


@cache
def build_layout() -> Streets:
    """Return streets, ramp and mainline together."""
    streets = build_streets(
        _PLACES,
        [
            Road("W", "G", "", "W", bay_v_m=400, lanes_at_v=_WEST),
            Road("E", "G", "", "E", bay_v_m=400, lanes_at_v=_EAST),
            Road("G", "r", "N", "", speed_mps=RAMP_MPS, one_way=True),
            Road(
                "r", "m1", "", "", 1, RAMP_MPS, one_way=True,
                # Nearly parallel at its end: a joint's angle limits the speed over it.
                shape=((-880.0, -160.0), (-800.0, -90.0), (-650.0, -40.0)),
                end=(_PLACES["m1"][0], -LANE_M * 2.5),
            ),
        ],
        {"r": "zipper"},
    )  # fmt: skip
    mainline = (
        Edge("main_up", "m0", "m1", 2, EXPRESSWAY_MPS),
        Edge("main_merge", "m1", "m2", 3, EXPRESSWAY_MPS),
        Edge(NECK, "m2", "m3", 2, EXPRESSWAY_MPS),
    )
    joins = (
        *(Connection("main_up", "main_merge", lane, lane + 1) for lane in (0, 1)),
        *(Connection("main_merge", NECK, lane + 1, lane) for lane in (0, 1)),
        *(Connection("G_r", "r_m1", lane, 0) for lane in (0, 1)),
        Connection("r_m1", "main_merge", 0, 0),
    )
    return replace(
        streets,
        edges=(*mainline, *streets.edges),
        connections=(*joins, *streets.connections),
        chains={("m0", "m3"): MAINLINE, ("m1", "m3"): MAINLINE[1:], **streets.chains},
    )


def build_flows(scale: float = 1.0) -> tuple[Flow, ...]:
    """Return who travels where; `scale` multiplies all demand."""
    layout = build_layout()
    return tuple(
        Flow(purpose, layout.links_along(places), flow_vph * scale, factors)
        for purpose, places, flow_vph, factors in _list_streams()
    )


def _list_streams() -> Iterable[tuple[str, tuple[str, ...], float, tuple[float, ...]]]:
    """Yield purpose, places on the way, vehicles per hour at factor 1, factors."""
    yield "mainline", ("m0", "m3"), 2650.0, EXPRESSWAY_FACTORS
    yield "ramp", ("W", "G", "r", "m1", "m3"), 520.0, EXPRESSWAY_FACTORS
    yield "ramp", ("E", "G", "r", "m1", "m3"), 280.0, EXPRESSWAY_FACTORS
    yield "local", ("W", "G", "E"), 200.0, (1.0,) * 4
    yield "local", ("E", "G", "W"), 200.0, (1.0,) * 4


def gate_turns() -> tuple[tuple[str, str, str], ...]:
    """Return (junction, link before the stop line, ramp link) of every gated turn."""
    layout = build_layout()
    return tuple(("G", *layout.turn("G", arm, "N")) for arm in ("W", "E"))


def build_roads(folder: Path) -> Path:
    """Compile the network with its fixed-time plan into the folder; return the net file.

    Raises plain_xml.CompileError when netconvert fails.
    """
    layout = build_layout()
    programs = build_programs(layout, sum_turns_vph(build_flows()), {})
    roads = Roads(layout.nodes, layout.edges, layout.connections, programs)
    return compile_roads(roads, folder, "onramp")
