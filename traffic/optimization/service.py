"""Service at stop lines: whom a stage lets go, when, and what that is worth."""

from typing import NamedTuple

import numpy as np

from traffic.optimization.compiled import compiled

HORIZON_S = 30
LAUNCH_S = 11.0  # of green, until a queue is at speed
SNEAK_S = 2.0  # to enter the junction in green, and to leave it after the green
LAST_BIT = 61  # of the seconds that a way's departures are noted for
BRAKING_MPS2 = 4.5  # of a driver who sees amber, SUMO's default
# Before a turn on red (decision 15): lost by a halt from free speed, and then by standing.
HALT_S = 2.8
STAND_S = 0.8
ON_RED_HEADWAY_S = 4.5  # the next one moves up and halts, too
CRUISING = 0.7  # of free speed: drivers this fast are taken to keep their speed


class Weights(NamedTuple):
    """What a plan is judged by, all in seconds of one vehicle."""

    left_s: float  # for one that the horizon leaves unserved
    left_more_s: float  # more for each that stands behind it
    stop_s: float  # for one that stops from free speed
    change_s: float  # for each change of stage
    headway_s: float = 1.47  # of a queue on the move
    startup_s: float = 0.7  # from the start of green
    launch_s: float = 1.2  # more headway at the start of green, while a queue gathers speed
    gap_before_s: float = 1.0  # that a permissive turn keeps from one who crosses before it
    gap_after_s: float = 5.0  # and after it
    turn_headway_s: float = 2.5  # of those who give way
    turns_s: float = 0.0  # that those who give way start later than the others of their stage
    urgent_s: float = 20.0  # beyond URGENT_AFTER_S, after which who stands there weighs double
    caught_s: float = 0.0  # before a second stop line, nearer than which nobody is left to give way
    quiet_s: float = 1.0  # without anybody seen to halt within, before a new stage may start


@compiled
def _gain(weights, queues, lane, place, come_s, go_s):  # type: ignore[no-untyped-def]
    behind = queues.behind[lane, place]
    worth = HORIZON_S - go_s + weights.left_s + weights.left_more_s * behind
    if go_s <= come_s + 1.0:
        worth += weights.stop_s * queues.stop[lane, place]
    return worth * queues.urgency[lane]


@compiled
def _can_stop(queues, lane, place):  # type: ignore[no-untyped-def]
    """Whether a vehicle that brakes from now on, in steps of 1 s, stands before the stop line."""
    speed_mps = queues.speed_mps[lane, place]
    braking_m = speed_mps * speed_mps / (2 * BRAKING_MPS2) - speed_mps / 2
    return queues.back_m[lane, place] >= braking_m


@compiled
def serve(layout, weights, work, junction, node, stage, until_s, is_amber, queues, record):  # type: ignore[no-untyped-def]
    """Let go whom the stage lets go before `until_s`; with `record` note when.

    With `is_amber` the stage ends now: of those with a protected green go who cannot stop any more.
    """
    lane0 = layout.lane0[junction]
    way0 = layout.way0[junction]
    phases = layout.phase0[junction + 1] - layout.phase0[junction]
    green0 = layout.green0[junction] + stage * phases
    stage_id = layout.stage0[junction] + stage
    gives_way = layout.is_permissive[stage_id] == 1
    hits = work.hits
    if gives_way:
        for w in range(layout.way0[junction + 1] - way0):
            hits[w] = 0
    worth = 0.0
    crossed_s = until_s
    for turn in range(2 if gives_way else 1):
        for k in range(layout.stage_lane0[stage_id], layout.stage_lane0[stage_id + 1]):
            lane = layout.stage_lane[k]
            at = lane0 + lane
            place = work.served[node, lane]
            size = queues.length[at]
            if place >= size:
                continue
            ready_s = work.ready_s[node, lane]
            while place < size:
                w = queues.way[at, place] - way0
                phase = layout.way_phase[way0 + w]
                start_s = -np.inf
                shown = 2
                if phase >= 0:
                    shown = layout.green[green0 + phase]
                    start_s = work.green_s[node, phase]
                if shown == 0 or start_s == np.inf or queues.blocked[way0 + w]:
                    break
                come_s = queues.arrive_s[at, place]
                go_s = max(come_s, ready_s, start_s + weights.startup_s)
                headway_s = weights.turn_headway_s
                if shown == 1:
                    if turn == 0:
                        break
                    if layout.turns_on_red[way0 + w]:
                        headway_s = ON_RED_HEADWAY_S
                        go_s = max(go_s, come_s + STAND_S + HALT_S * queues.stop[at, place])
                        come_s = -np.inf  # it saves no stop
                    known_s = crossed_s + weights.gap_before_s
                    while go_s < known_s:
                        first = max(int(go_s - weights.gap_before_s), 0)
                        last = min(int(go_s + weights.gap_after_s + queues.caution_s[at]), LAST_BIT)
                        window = ((1 << (last + 1)) - 1) ^ ((1 << first) - 1)
                        taken = np.int64(0)
                        for f in range(layout.foe0[way0 + w], layout.foe0[way0 + w + 1]):
                            taken |= hits[layout.foe[f]]
                        if taken & window == 0:
                            break
                        go_s += 1.0
                    if go_s >= until_s:  # and who crosses now is not forgotten by then
                        ready_s = max(ready_s, min(go_s, known_s))
                stays = go_s >= until_s
                if is_amber and shown == 2:
                    stays = _can_stop(queues, at, place)
                    if not stays:
                        crossed_s = max(crossed_s, go_s)
                if stays:
                    # Who is only expected hinders nobody.
                    if gives_way and go_s < 60.0 and queues.weight[at, place] == 1.0:
                        hits[w] |= np.int64(1) << np.int64(go_s)
                    break
                weight = queues.weight[at, place]
                worth += weight * _gain(weights, queues, at, place, come_s, go_s)
                if gives_way and weight == 1.0:
                    hits[w] |= np.int64(1) << np.int64(go_s)
                if record:
                    queues.depart_s[at, place] = go_s
                if shown == 2:
                    headway_s = weights.headway_s
                    # While a queue that stood gathers speed.
                    if go_s > come_s + 1.0 and go_s < start_s + LAUNCH_S:
                        still = 1.0 - (go_s - start_s) / LAUNCH_S
                        headway_s += weights.launch_s * still * still * still
                ready_s = go_s + headway_s * weight
                place += 1
            work.served[node, lane] = place
            work.ready_s[node, lane] = ready_s
    work.value[node] += worth


@compiled
def sneak(layout, weights, work, junction, node, stage, moment, queues, record):  # type: ignore[no-untyped-def]
    """At the end of a stage let go one of each lane that has waited in vain for a gap.

    It stands in the junction already and leaves it when the others stop (HCM 2010, chapter 18:
    sneakers).
    """
    lane0 = layout.lane0[junction]
    phases = layout.phase0[junction + 1] - layout.phase0[junction]
    green0 = layout.green0[junction] + stage * phases
    stage_id = layout.stage0[junction] + stage
    if layout.is_permissive[stage_id] == 1:
        for k in range(layout.stage_lane0[stage_id], layout.stage_lane0[stage_id + 1]):
            lane = layout.stage_lane[k]
            at = lane0 + lane
            place = work.served[node, lane]
            if place >= queues.length[at] or queues.weight[at, place] < 1.0:
                continue
            w = queues.way[at, place]
            phase = layout.way_phase[w]
            if phase < 0 or queues.blocked[w] or layout.green[green0 + phase] != 1:
                continue
            if layout.turns_on_red[w]:
                continue  # whoever does waits before the stop line
            come_s = queues.arrive_s[at, place]
            if max(come_s, work.green_s[node, phase] + SNEAK_S) > moment:
                continue
            go_s = moment + SNEAK_S
            work.value[node] += _gain(weights, queues, at, place, come_s, go_s)
            if record:
                queues.depart_s[at, place] = go_s
            work.served[node, lane] = place + 1
            work.ready_s[node, lane] = go_s + weights.turn_headway_s
