"""The nodes of one junction's search, and which of them are kept."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traffic.optimization.compiled import compiled
from traffic.optimization.layout import Layout
from traffic.optimization.service import HORIZON_S, RUN, VEHICLE, VEHICLES

KEPT = 2  # best ways to each moment and stage
NOW, ENDED, SPARE = 0, 1, 2  # the first nodes: as it is now, at a stage's end, and to try a step

LANE = np.dtype(
    [
        ("ready_s", np.float64),  # earliest next departure
        ("served", np.int64),  # vehicles
    ]
)


class Work(NamedTuple):
    """Memory for one junction's search; M nodes.

    What is asked together lies together, in records: most of the time of a search is memory's.
    """

    value: NDArray[np.float64]  # M
    parent: NDArray[np.int32]  # M
    moment: NDArray[np.int32]  # M
    stage: NDArray[np.int32]  # M
    is_held: NDArray[np.bool_]  # M, nothing has been changed since now
    lanes: NDArray[np.void]  # M x lanes of LANE
    green_s: NDArray[np.float64]  # M x phases, start of green, inf while red
    kept: NDArray[np.int32]  # cells x KEPT, nodes, the used ones first
    used: NDArray[np.int32]  # cells
    start_s: NDArray[np.float64]  # phases, when each green began or will
    waits: NDArray[np.bool_]  # phases, whether somebody does
    is_caught: NDArray[np.bool_]  # phases, whether somebody is who stands between two signals
    free_s: NDArray[np.float64]  # stages, from when on a change to it is lawful
    path: NDArray[np.int32]  # nodes of the best plan, the last one first
    hits: NDArray[np.int64]  # ways, seconds taken by a way's departures as bits
    vehicles: NDArray[np.void]  # lanes x VEHICLES of VEHICLE
    runs: NDArray[np.void]  # lanes x VEHICLES of RUN


def build_work(layout: Layout) -> Work:
    """Memory that is large enough for each junction of the layout."""
    lanes = max(1, int(np.diff(layout.lane0).max()))
    phases = max(1, int(np.diff(layout.phase0).max()))
    stages = max(1, int(np.diff(layout.stage0).max()))
    ways = max(1, int(np.diff(layout.way0).max()))
    cells = (HORIZON_S + 1) * stages
    nodes = SPARE + 1 + cells * KEPT
    return Work(
        np.zeros(nodes),
        np.zeros(nodes, dtype=np.int32),
        np.zeros(nodes, dtype=np.int32),
        np.zeros(nodes, dtype=np.int32),
        np.zeros(nodes, dtype=np.bool_),
        np.zeros((nodes, lanes), dtype=LANE).view(np.recarray),
        np.zeros((nodes, phases)),
        np.zeros((cells, KEPT), dtype=np.int32),
        np.zeros(cells, dtype=np.int32),
        np.zeros(phases),
        np.zeros(phases, dtype=np.bool_),
        np.zeros(phases, dtype=np.bool_),
        np.zeros(stages),
        np.zeros(HORIZON_S + 2, dtype=np.int32),
        np.zeros(ways, dtype=np.int64),
        np.zeros((lanes, VEHICLES), dtype=VEHICLE).view(np.recarray),
        np.zeros((lanes, VEHICLES), dtype=RUN).view(np.recarray),
    )


@compiled
def clear_nodes(work, stages):  # type: ignore[no-untyped-def]
    """Forget all that is kept of another junction."""
    for cell in range((HORIZON_S + 1) * stages):
        work.used[cell] = 0
        for k in range(KEPT):
            work.kept[cell, k] = SPARE + 1 + cell * KEPT + k


@compiled
def copy_node(work, lanes, phases, source, target):  # type: ignore[no-untyped-def]
    work.value[target] = work.value[source]
    work.is_held[target] = work.is_held[source]
    before, after = work.lanes[source], work.lanes[target]
    for i in range(lanes):
        after[i] = before[i]
    green_s, own_green_s = work.green_s[source], work.green_s[target]
    for i in range(phases):
        own_green_s[i] = green_s[i]


@compiled
def keep_node(work, node, parent, moment, stage, stages):  # type: ignore[no-untyped-def]
    """Keep a node among the best of its cell; return one that is free now."""
    cell = moment * stages + stage
    used = work.used[cell]
    own = work.kept[cell]
    value = work.value[node]
    slot, least = used, value
    for k in range(used):
        other = own[k]
        is_close = abs(work.value[other] - value) < 1e-9
        if is_close and work.is_held[other] == work.is_held[node]:
            return node
        if used == KEPT and work.value[other] < least:
            least = work.value[other]
            slot = k
    if slot == KEPT:
        return node
    free = own[slot]
    own[slot] = node
    work.used[cell] = max(used, slot + 1)
    work.parent[node] = parent
    work.moment[node] = moment
    work.stage[node] = stage
    return free
