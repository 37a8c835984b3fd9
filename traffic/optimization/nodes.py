"""The nodes of one junction's search, and which of them are kept."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traffic.optimization.compiled import compiled
from traffic.optimization.layout import Layout
from traffic.optimization.service import HORIZON_S

KEPT = 2  # best ways to each moment and stage


class Work(NamedTuple):
    """Memory for one junction's search; M nodes."""

    value: NDArray[np.float64]  # M
    parent: NDArray[np.int32]  # M
    moment: NDArray[np.int32]  # M
    stage: NDArray[np.int32]  # M
    is_held: NDArray[np.bool_]  # M, nothing has been changed since now
    served: NDArray[np.int32]  # M x lanes
    ready_s: NDArray[np.float64]  # M x lanes
    green_s: NDArray[np.float64]  # M x phases, start of green, inf while red
    used: NDArray[np.int32]  # cells
    start_s: NDArray[np.float64]  # phases, when each green began or will
    waits: NDArray[np.bool_]  # phases, whether somebody does
    is_caught: NDArray[np.bool_]  # phases, whether somebody is who stands between two signals
    free_s: NDArray[np.float64]  # stages, from when on a change to it is lawful
    path: NDArray[np.int32]  # nodes of the best plan, the last one first
    hits: NDArray[np.int64]  # ways, seconds taken by a way's departures as bits


def build_work(layout: Layout) -> Work:
    """Memory that is large enough for each junction of the layout."""
    lanes = max(1, int(np.diff(layout.lane0).max()))
    phases = max(1, int(np.diff(layout.phase0).max()))
    stages = max(1, int(np.diff(layout.stage0).max()))
    ways = max(1, int(np.diff(layout.way0).max()))
    cells = (HORIZON_S + 1) * stages
    nodes = cells * KEPT + 3
    return Work(
        np.zeros(nodes),
        np.zeros(nodes, dtype=np.int32),
        np.zeros(nodes, dtype=np.int32),
        np.zeros(nodes, dtype=np.int32),
        np.zeros(nodes, dtype=np.bool_),
        np.zeros((nodes, lanes), dtype=np.int32),
        np.zeros((nodes, lanes)),
        np.zeros((nodes, phases)),
        np.zeros(cells, dtype=np.int32),
        np.zeros(phases),
        np.zeros(phases, dtype=np.bool_),
        np.zeros(phases, dtype=np.bool_),
        np.zeros(stages),
        np.zeros(HORIZON_S + 2, dtype=np.int32),
        np.zeros(ways, dtype=np.int64),
    )


@compiled
def copy_node(work, lanes, phases, source, target):  # type: ignore[no-untyped-def]
    work.value[target] = work.value[source]
    work.is_held[target] = work.is_held[source]
    for i in range(lanes):
        work.served[target, i] = work.served[source, i]
        work.ready_s[target, i] = work.ready_s[source, i]
    for i in range(phases):
        work.green_s[target, i] = work.green_s[source, i]


@compiled
def _is_same(work, one, other):  # type: ignore[no-untyped-def]
    is_close = abs(work.value[one] - work.value[other]) < 1e-9
    return is_close and work.is_held[one] == work.is_held[other]


@compiled
def keep_node(work, lanes, phases, node, parent, moment, stage, stages):  # type: ignore[no-untyped-def]
    """Keep a node among the best of its cell."""
    cell = moment * stages + stage
    base = 1 + cell * KEPT
    used = work.used[cell]
    value = work.value[node]
    slot = -1
    if used < KEPT:
        slot = used
        for k in range(used):
            if _is_same(work, base + k, node):
                return
        work.used[cell] = used + 1
    else:
        least = np.inf
        for k in range(KEPT):
            if _is_same(work, base + k, node):
                return
            if work.value[base + k] < least:
                least = work.value[base + k]
                slot = k
        if value <= least:
            return
    target = base + slot
    copy_node(work, lanes, phases, node, target)
    work.parent[target] = parent
    work.moment[target] = moment
    work.stage[target] = stage
