"""Rolling horizon for one junction: which stage to show so that those who come wait least.

Forward dynamic programming over (moment, stage), with the few best ways to reach each, as in
I. Porche and S. Lafortune, Adaptive look-ahead optimization of traffic signals, 1999, and
S. Sen and K. L. Head, Controlled optimization of phases at an intersection, 1997. Each lane is
served first in, first out, at its saturation headway. Whatever is not served waits the same
whichever plan is followed, so a plan is worth what its departures save: each the time from it to
the horizon, its part of the terminal cost, and its stop if it need not stop.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traffic.optimization.compiled import compiled, inlined
from traffic.optimization.layout import Layout
from traffic.optimization.service import HORIZON_S, serve, sneak

KEPT = 2  # best ways to each moment and stage
FINE_S = 8  # beyond, moments are two seconds apart
VEHICLES = 64  # at most, of one lane


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
        np.zeros(ways, dtype=np.int64),
    )


@inlined
def _copy(work, lanes, phases, source, target):  # type: ignore[no-untyped-def]
    work.value[target] = work.value[source]
    work.is_held[target] = work.is_held[source]
    for i in range(lanes):
        work.served[target, i] = work.served[source, i]
        work.ready_s[target, i] = work.ready_s[source, i]
    for i in range(phases):
        work.green_s[target, i] = work.green_s[source, i]


@inlined
def _is_same(work, one, other):  # type: ignore[no-untyped-def]
    is_close = abs(work.value[one] - work.value[other]) < 1e-9
    return is_close and work.is_held[one] == work.is_held[other]


@inlined
def _keep(work, lanes, phases, node, parent, moment, stage, stages):  # type: ignore[no-untyped-def]
    """Keep a node among the best of its cell."""
    cell = moment * stages + stage
    base = 1 + cell * KEPT
    used = work.used[cell]
    value = work.value[node]
    slot = -1
    if used < KEPT:
        slot = used
        for k in range(used):
            if (
                work.is_held[base + k] == work.is_held[node]
                and abs(work.value[base + k] - value) < 1e-9
            ):
                return
        work.used[cell] = used + 1
    else:
        least = np.inf
        for k in range(KEPT):
            if (
                work.is_held[base + k] == work.is_held[node]
                and abs(work.value[base + k] - value) < 1e-9
            ):
                return
            if work.value[base + k] < least:
                least = work.value[base + k]
                slot = k
        if value <= least:
            return
    target = base + slot
    _copy(work, lanes, phases, node, target)
    work.parent[target] = parent
    work.moment[target] = moment
    work.stage[target] = stage


@inlined
def _change(layout, work, junction, node, stage, after, moment, phases, stages):  # type: ignore[no-untyped-def]
    """Set the node's greens as the change makes them; return when it may change again."""
    green0 = layout.green0[junction]
    delay0 = layout.delay0[junction] + (stage * stages + after) * phases
    free_s = moment + 1.0
    for p in range(phases):
        is_after = layout.green[green0 + after * phases + p] > 0
        if not is_after:
            work.green_s[node, p] = np.inf
        elif work.green_s[node, p] == np.inf:
            start_s = moment + max(1.0, layout.delay_s[delay0 + p])
            work.green_s[node, p] = start_s
            free_s = max(free_s, start_s + layout.min_green_s[layout.phase0[junction] + p])
    return free_s


@inlined
def _grid(moment):  # type: ignore[no-untyped-def]
    if moment > FINE_S and (moment - FINE_S) % 2 == 1:
        moment += 1
    return min(moment, HORIZON_S)


@compiled
def plan_junction(  # type: ignore[no-untyped-def]
    layout,
    weights,
    work,
    junction,
    now_stage,
    green_start_s,
    may_hold,
    free_s,
    length,
    arrive_s,
    way,
    stop,
    blocked,
    caution_s,
    depart_s,
    ready_s,
):
    """Return the stage to show now, and note each vehicle's planned departure.

    `free_s` tells for each stage from when on a change to it is lawful. Returns -1 when nothing
    is.
    """
    lane0 = layout.lane0[junction]
    lanes = layout.lane0[junction + 1] - lane0
    phases = layout.phase0[junction + 1] - layout.phase0[junction]
    stages = layout.stage0[junction + 1] - layout.stage0[junction]
    stage0 = layout.stage0[junction]
    scratch = 1 + (HORIZON_S + 1) * stages * KEPT
    for cell in range((HORIZON_S + 1) * stages):
        work.used[cell] = 0
    work.value[0] = 0.0
    work.is_held[0] = True
    for i in range(lanes):
        work.served[0, i] = 0
        work.ready_s[0, i] = ready_s[lane0 + i]
    for p in range(phases):
        work.green_s[0, p] = green_start_s[layout.phase0[junction] + p]
    root = 1 + now_stage * KEPT
    _copy(work, lanes, phases, 0, root)
    work.parent[root] = -1
    work.moment[root] = 0
    work.stage[root] = now_stage
    work.used[now_stage] = 1
    for moment in range(HORIZON_S):
        step = 1 if moment < FINE_S else 2
        for stage in range(stages):
            cell = moment * stages + stage
            for k in range(work.used[cell]):
                node = 1 + cell * KEPT + k
                if moment > 0 or may_hold:
                    _copy(work, lanes, phases, node, scratch)
                    serve(
                        layout,
                        weights,
                        work,
                        junction,
                        scratch,
                        stage,
                        moment + step,
                        length,
                        arrive_s,
                        way,
                        stop,
                        blocked,
                        caution_s,
                        depart_s,
                        False,
                    )
                    until = min(moment + step, HORIZON_S)
                    _keep(work, lanes, phases, scratch, node, until, stage, stages)
                for other in range(stages):
                    if other == stage:
                        continue
                    if layout.follows[layout.follows0[junction] + stage * stages + other] == 0:
                        continue
                    if work.is_held[node] and moment < free_s[stage0 + other]:
                        continue
                    _copy(work, lanes, phases, node, scratch)
                    serve(
                        layout,
                        weights,
                        work,
                        junction,
                        scratch,
                        stage,
                        moment + weights.amber_s,
                        length,
                        arrive_s,
                        way,
                        stop,
                        blocked,
                        caution_s,
                        depart_s,
                        False,
                    )
                    sneak(
                        layout,
                        weights,
                        work,
                        junction,
                        scratch,
                        stage,
                        moment,
                        length,
                        arrive_s,
                        way,
                        stop,
                        blocked,
                        depart_s,
                        False,
                    )
                    until_s = _change(
                        layout, work, junction, scratch, stage, other, moment, phases, stages
                    )
                    until = _grid(int(np.ceil(until_s)))
                    serve(
                        layout,
                        weights,
                        work,
                        junction,
                        scratch,
                        other,
                        float(until),
                        length,
                        arrive_s,
                        way,
                        stop,
                        blocked,
                        caution_s,
                        depart_s,
                        False,
                    )
                    work.value[scratch] -= weights.change_s
                    work.is_held[scratch] = False
                    _keep(work, lanes, phases, scratch, node, until, other, stages)
    best = -1
    for stage in range(stages):
        cell = HORIZON_S * stages + stage
        for k in range(work.used[cell]):
            node = 1 + cell * KEPT + k
            if best < 0 or work.value[node] > work.value[best] + 1e-9:
                best = node
    if best < 0:
        return -1
    return _follow(
        layout,
        weights,
        work,
        junction,
        best,
        length,
        arrive_s,
        way,
        stop,
        blocked,
        caution_s,
        depart_s,
    )


@compiled
def _follow(  # type: ignore[no-untyped-def]
    layout,
    weights,
    work,
    junction,
    best,
    length,
    arrive_s,
    way,
    stop,
    blocked,
    caution_s,
    depart_s,
):
    """Drive the best plan once more, noting departures; return its stage now."""
    lanes = layout.lane0[junction + 1] - layout.lane0[junction]
    phases = layout.phase0[junction + 1] - layout.phase0[junction]
    stages = layout.stage0[junction + 1] - layout.stage0[junction]
    path = np.empty(HORIZON_S + 2, dtype=np.int32)
    steps = 0
    node = best
    while node >= 0:
        path[steps] = node
        steps += 1
        node = work.parent[node]
    scratch = 1 + (HORIZON_S + 1) * stages * KEPT
    _copy(work, lanes, phases, 0, scratch)
    answer = work.stage[path[steps - 1]]
    for i in range(steps - 2, -1, -1):
        before, after = path[i + 1], path[i]
        stage, other = work.stage[before], work.stage[after]
        moment, until = work.moment[before], work.moment[after]
        if other != stage:
            if moment == 0:
                answer = other
            serve(
                layout,
                weights,
                work,
                junction,
                scratch,
                stage,
                moment + weights.amber_s,
                length,
                arrive_s,
                way,
                stop,
                blocked,
                caution_s,
                depart_s,
                True,
            )
            sneak(
                layout,
                weights,
                work,
                junction,
                scratch,
                stage,
                moment,
                length,
                arrive_s,
                way,
                stop,
                blocked,
                depart_s,
                True,
            )
            _change(layout, work, junction, scratch, stage, other, moment, phases, stages)
        serve(
            layout,
            weights,
            work,
            junction,
            scratch,
            other,
            float(until),
            length,
            arrive_s,
            way,
            stop,
            blocked,
            caution_s,
            depart_s,
            True,
        )
    return answer
