"""Two junctions so near that whoever waits between them stands in one of them.

Where the road between them holds no second vehicle, one who waits at its end for a gap lets the
next one in behind, whose tail stays in the junction that he left. With the same in the other
direction, each holds the other's way out, and nobody moves again. So when somebody stands between
them, or within one of them, who has to give way, both show a stage that lets all between them leave
protected and nobody in, until he has left.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traffic.lanes import LaneMap, Way
from traffic.model import Junction, Network
from traffic.optimization.compiled import compiled
from traffic.optimization.layout import Layout, list_stop_lanes

SHORT_M = 20.0  # room for a bus and a car
STANDS_MPS = 2.0
SETTLED_S = 2.0  # who stands for so long is not just starting
PATIENCE_S = 30.0  # after so long something else holds him
ASKED_S = 2.0  # this second and the next one


class Twins(NamedTuple):
    """Who keeps the way between two junctions clear, in the city's numbers."""

    twin: NDArray[np.int32]  # J, or -1
    is_between: NDArray[np.bool_]  # L, a short lane that comes from the twin
    clears: NDArray[np.bool_]  # S, lets all of those lanes go, protected
    asked_s: NDArray[np.float64]  # J, left in which such a stage is to be shown
    spent_s: NDArray[np.float64]  # J, that somebody has stood between


def build_twins(
    network: Network, lanes: LaneMap, junctions: Sequence[str], layout: Layout
) -> Twins:
    """Find the pairs; a junction with several twins, the first of them. Axes as of `layout`."""
    stop_lanes = list_stop_lanes(lanes, junctions)
    owner = {way.from_lane: i for i, id_ in enumerate(junctions) for way in lanes.ways[id_]}
    between: dict[tuple[int, int], set[str]] = {}  # (from, to) -> short lanes
    for i, id_ in enumerate(junctions):
        for way in lanes.ways[id_]:
            if way.to_lane in owner and lanes.lanes[way.to_lane].length_m < SHORT_M:
                between.setdefault((i, owner[way.to_lane]), set()).add(way.to_lane)
    twin = np.full(len(junctions), -1, dtype=np.int32)
    clears = np.zeros(int(layout.stage0[-1]), dtype=np.bool_)
    for i, k in between:
        if i >= k or (k, i) not in between or twin[i] >= 0 or twin[k] >= 0:
            continue
        clearing = {
            here: _find_clearing(
                network.junctions[junctions[here]],
                lanes.ways[junctions[here]],
                between[there, here],
                between[here, there],
            )
            for here, there in ((i, k), (k, i))
        }
        if any(clearing[i]) and any(clearing[k]):
            twin[i], twin[k] = k, i
            for j in (i, k):
                clears[layout.stage0[j] : layout.stage0[j + 1]] = clearing[j]
    at = [owner[lane] for lane in stop_lanes]
    is_between = np.array(
        [
            lane in between.get((int(twin[k]), k), ())
            for k, lane in zip(at, stop_lanes, strict=True)
        ],
        dtype=np.bool_,
    )
    return Twins(twin, is_between, clears, np.zeros(len(junctions)), np.zeros(len(junctions)))


def _find_clearing(
    junction: Junction, ways: Sequence[Way], coming: Collection[str], going: Collection[str]
) -> list[bool]:
    """Which stages let all who come from the twin leave, protected, and nobody go there.

    None where nobody who comes from it ever has to give way.
    """
    leaving = {way.phase for way in ways if way.from_lane in coming and way.phase is not None}
    feeding = {way.phase for way in ways if way.to_lane in going}
    if not any(leaving & stage.permissive for stage in junction.stages):
        return [False] * len(junction.stages)
    return [leaving <= stage.protected and not feeding & stage.green for stage in junction.stages]


@compiled
def watch_twins(layout, queues, twins, j, stage, halted):  # type: ignore[no-untyped-def]
    """Ask both junctions to clear the way if somebody stands between them for a gap.

    `halted` is how many are seen to halt within the junction: who waits there for a gap may be
    so long that the way behind him is full.
    """
    if stage < 0 or twins.twin[j] < 0:
        return
    stands = halted > 0
    gives_way = twins.clears[layout.stage0[j] + stage]  # he had to, and has not left yet
    green0 = layout.green0[j] + stage * (layout.phase0[j + 1] - layout.phase0[j])
    for lane in range(layout.lane0[j], layout.lane0[j + 1]):
        if not twins.is_between[lane]:
            continue
        if queues.length[lane] > 0 and queues.back_m[lane, 0] <= SHORT_M:
            stands |= queues.speed_mps[lane, 0] <= STANDS_MPS
        for w in range(layout.lane_way0[lane], layout.lane_way0[lane + 1]):
            p = layout.way_phase[w]
            gives_way |= p >= 0 and layout.green[green0 + p] == 1
    if not (stands and gives_way):
        twins.spent_s[j] = 0.0
        return
    twins.spent_s[j] += 1.0
    if SETTLED_S <= twins.spent_s[j] <= PATIENCE_S:
        twins.asked_s[j] = ASKED_S
        twins.asked_s[twins.twin[j]] = ASKED_S
