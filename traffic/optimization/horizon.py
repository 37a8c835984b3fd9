"""Rolling horizon for one junction: which stage to show so that those who come wait least.

Forward dynamic programming over (moment, stage), with the few best ways to reach each, as in
I. Porche and S. Lafortune, Adaptive look-ahead optimization of traffic signals, 1999, and
S. Sen and K. L. Head, Controlled optimization of phases at an intersection, 1997. Each lane is
served first in, first out, at its saturation headway. Whatever is not served waits the same
whichever plan is followed, so a plan is worth what its departures save: each the time from it to
the horizon, its part of the terminal cost, and its stop if it need not stop.
"""

import numpy as np

from traffic.optimization.compiled import compiled
from traffic.optimization.nodes import ENDED, NOW, SPARE, clear_nodes, copy_node, keep_node
from traffic.optimization.service import HORIZON_S, serve, sneak, weigh

# Moments at which a stage may end: what is decided later is decided again before.
MOMENTS_S = (*range(8), *range(8, 18, 2), *range(18, HORIZON_S, 3), HORIZON_S)
AT_OR_AFTER_S = np.array([min(m for m in MOMENTS_S if m >= s) for s in range(HORIZON_S + 1)])
AMBER_S = 0.5  # that is still driven into, at a moment to come


@compiled
def _change(layout, work, junction, node, stage, after, moment, phases, stages):  # type: ignore[no-untyped-def]
    """Set the node's greens as the change makes them; return when it may change again."""
    green0 = layout.green0[junction]
    delay0 = layout.delay0[junction] + (stage * stages + after) * phases
    free_s = moment + 1.0
    for p in range(phases):
        is_after = layout.green[green0 + after * phases + p] > 0
        if not is_after:
            if work.green_s[node, p] < np.inf:  # it could not return before it has shown its amber
                free_s = max(free_s, moment + layout.regain_s[layout.phase0[junction] + p] - 1.0)
            work.green_s[node, p] = np.inf
        elif work.green_s[node, p] == np.inf:
            start_s = moment + max(1.0, layout.delay_s[delay0 + p])
            work.green_s[node, p] = start_s
            free_s = max(free_s, start_s + layout.min_green_s[layout.phase0[junction] + p])
    return free_s


@compiled
def _start(layout, weights, work, junction, node, stage, other, moment, queues, record):  # type: ignore[no-untyped-def]
    """Start another stage after one that has ended; return the moment from which it may end."""
    phases = layout.phase0[junction + 1] - layout.phase0[junction]
    stages = layout.stage0[junction + 1] - layout.stage0[junction]
    until_s = _change(layout, work, junction, node, stage, other, moment, phases, stages)
    until = AT_OR_AFTER_S[min(int(np.ceil(until_s)), HORIZON_S)]
    serve(layout, weights, work, junction, node, other, float(until), False, queues, record)
    work.value[node] -= weights.change_s
    work.is_held[node] = False
    return until


@compiled
def plan_junction(layout, weights, work, junction, now_stage, start_s, may_hold, free_s, queues):  # type: ignore[no-untyped-def]
    """Return the stage to show now, and note each vehicle's planned departure.

    `start_s` tells for each phase when its green began or will, `free_s` for each stage from
    when on a change to it is lawful. Returns -1 when nothing
    is.
    """
    lane0 = layout.lane0[junction]
    lanes = layout.lane0[junction + 1] - lane0
    phases = layout.phase0[junction + 1] - layout.phase0[junction]
    stages = layout.stage0[junction + 1] - layout.stage0[junction]
    weigh(layout, weights, work, junction, queues)
    clear_nodes(work, stages)
    work.value[NOW] = 0.0
    work.is_held[NOW] = True
    for i in range(lanes):
        work.lanes[NOW, i].served = 0
        work.lanes[NOW, i].ready_s = queues.ready_s[lane0 + i]
    for p in range(phases):
        work.green_s[NOW, p] = start_s[p]
    copy_node(work, lanes, phases, NOW, SPARE)
    trial = keep_node(work, SPARE, -1, 0, now_stage, stages)
    moment = 0
    while moment < HORIZON_S:
        until_held = AT_OR_AFTER_S[moment + 1]
        to_s = float(until_held)
        for stage in range(stages):
            cell = moment * stages + stage
            for k in range(work.used[cell]):
                node = work.kept[cell, k]
                # Whatever comes next, amber is still driven into.
                copy_node(work, lanes, phases, node, ENDED)
                amber_s = moment + AMBER_S
                is_now = moment == 0
                serve(layout, weights, work, junction, ENDED, stage, amber_s, is_now, queues, False)
                if moment > 0 or may_hold:
                    copy_node(work, lanes, phases, ENDED, trial)
                    serve(layout, weights, work, junction, trial, stage, to_s, False, queues, False)
                    trial = keep_node(work, trial, node, until_held, stage, stages)
                sneak(layout, weights, work, junction, ENDED, stage, moment, queues, False)
                for other in range(stages):
                    if other == stage:
                        continue
                    change = layout.follows0[junction] + stage * stages + other
                    if layout.follows[change] == 0:
                        continue
                    if work.is_held[node] and moment < free_s[other]:
                        continue
                    if moment + layout.wait_s[change] + weights.startup_s >= HORIZON_S:
                        continue  # nobody would be let go any more
                    copy_node(work, lanes, phases, ENDED, trial)
                    until = _start(
                        layout,
                        weights,
                        work,
                        junction,
                        trial,
                        stage,
                        other,
                        moment,
                        queues,
                        False,
                    )
                    trial = keep_node(work, trial, node, until, other, stages)
        moment = until_held
    best = -1
    for stage in range(stages):
        cell = HORIZON_S * stages + stage
        for k in range(work.used[cell]):
            node = work.kept[cell, k]
            if best < 0 or work.value[node] > work.value[best] + 1e-9:
                best = node
    if best < 0:
        return -1
    return _follow(layout, weights, work, junction, best, queues)


@compiled
def _follow(layout, weights, work, junction, best, queues):  # type: ignore[no-untyped-def]
    """Drive the best plan once more, noting departures; return its stage now."""
    lanes = layout.lane0[junction + 1] - layout.lane0[junction]
    phases = layout.phase0[junction + 1] - layout.phase0[junction]
    path = work.path
    steps = 0
    node = best
    while node >= 0:
        path[steps] = node
        steps += 1
        node = work.parent[node]
    copy_node(work, lanes, phases, NOW, ENDED)
    answer = work.stage[path[steps - 1]]
    for i in range(steps - 2, -1, -1):
        before, after = path[i + 1], path[i]
        stage, other = work.stage[before], work.stage[after]
        moment, until = work.moment[before], work.moment[after]
        amber_s = moment + AMBER_S
        is_now = moment == 0
        serve(layout, weights, work, junction, ENDED, stage, amber_s, is_now, queues, True)
        if other != stage:
            if moment == 0:
                answer = other
            sneak(layout, weights, work, junction, ENDED, stage, moment, queues, True)
            _start(layout, weights, work, junction, ENDED, stage, other, moment, queues, True)
        else:
            to_s = float(until)
            serve(layout, weights, work, junction, ENDED, stage, to_s, False, queues, True)
    return answer
