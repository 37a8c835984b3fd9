"""An arterial road with five signalized junctions on one cycle, its offsets set for progression.

All of it is invented. Eastbound traffic is the heavier one, and the offsets let its platoons find
each signal green at 50 km/h; westbound takes what that leaves. The third side road is as large as
the arterial and asks for the common cycle. Rates are constant, and the last ten minutes have no
departures, so that every vehicle arrives.

    N1   N2     N3   N4   N5
    |    |      |    |    |
W - J1 - J2 --- J3 - J4 - J5 - E
    |    |      |    |    |
    S1   S2     S3   S4   S5
"""

import itertools
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from networks.demand import QUARTER_S, Flow, sum_turns_vph
from networks.plain_xml import Roads, compile_roads
from networks.streets import Road, Streets, build_programs, build_streets

BEGIN_S = 7.0 * 3600.0
QUARTERS = 2
END_S = BEGIN_S + QUARTERS * QUARTER_S + 600.0
STEP_S = 0.5
MAINLINE: tuple[str, ...] = ()
SPECIAL_LOOPS: dict[str, tuple[float, ...]] = {}

PROGRESSION_MPS = 14.0
SIDE_MPS = 13.89
SIDE_M = 400.0
LARGE = 3  # the number of the large side road
_X_M = {1: 0.0, 2: 420.0, 3: 940.0, 4: 1360.0, 5: 1720.0}
_PLACES = {
    "W": (-500.0, 0.0),
    **{f"J{i}": (x, 0.0) for i, x in _X_M.items()},
    **{f"N{i}": (x, SIDE_M) for i, x in _X_M.items()},
    **{f"S{i}": (x, -SIDE_M) for i, x in _X_M.items()},
    "E": (2220.0, 0.0),
}
JUNCTIONS = tuple(f"J{i}" for i in _X_M)


@cache
def build_layout() -> Streets:
    """Return the arterial and its side roads."""
    roads = [Road("W", "J1", "", "W"), Road("J5", "E", "E", "")]
    roads += [Road(a, b, "E", "W") for a, b in itertools.pairwise(JUNCTIONS)]
    for i in _X_M:
        lanes = 2 if i == LARGE else 1
        roads += [Road(f"{arm}{i}", f"J{i}", "", arm, lanes, SIDE_MPS) for arm in ("N", "S")]
    return build_streets(_PLACES, roads)


def build_flows(scale: float = 1.0) -> tuple[Flow, ...]:
    """Return who travels where; `scale` multiplies all demand."""
    layout = build_layout()
    return tuple(
        Flow(purpose, layout.links_along(places), flow_vph * scale, (1.0,) * QUARTERS)
        for purpose, places, flow_vph in _list_streams()
    )


def _list_streams() -> Iterable[tuple[str, tuple[str, ...], float]]:
    """Yield purpose, places on the way and vehicles per hour."""
    yield "eastbound", ("W", *JUNCTIONS, "E"), 400.0
    yield "westbound", ("E", *reversed(JUNCTIONS), "W"), 250.0
    for i in _X_M:
        is_large = i == LARGE
        north, south = f"N{i}", f"S{i}"
        from_west, onward = JUNCTIONS[:i], JUNCTIONS[i - 1 :]
        yield "side", (north, f"J{i}", south), 320.0 if is_large else 65.0
        yield "side", (south, f"J{i}", north), 360.0 if is_large else 80.0
        yield "turning", ("W", *from_west, north), 110.0 if is_large else 35.0
        yield "turning", ("W", *from_west, south), 25.0
        yield "turning", ("E", *reversed(onward), south), 110.0 if is_large else 35.0
        yield "turning", ("E", *reversed(onward), north), 25.0
        yield "turning", (north, *onward, "E"), 130.0 if is_large else 35.0
        yield "turning", (south, *onward, "E"), 25.0
        yield "turning", (south, *reversed(from_west), "W"), 130.0 if is_large else 35.0
        yield "turning", (north, *reversed(from_west), "W"), 20.0


def build_roads(folder: Path) -> Path:
    """Compile the network with its fixed-time plans into the folder; return the net file.

    Raises plain_xml.CompileError when netconvert fails.
    """
    layout = build_layout()
    progression_s = {f"J{i}": x / PROGRESSION_MPS for i, x in _X_M.items()}
    programs = build_programs(layout, sum_turns_vph(build_flows()), progression_s)
    roads = Roads(layout.nodes, layout.edges, layout.connections, programs)
    return compile_roads(roads, folder, "corridor")
