"""Service at stop lines: whom a stage lets go, when, and what that is worth."""

from typing import NamedTuple

import numpy as np

from traffic.optimization.compiled import compiled

HORIZON_S = 30
VEHICLES = 64  # at most, of one lane
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
    """What a plan is judged by, in seconds of one vehicle but for the share `expected`, 0..1."""

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
    expected: float = 1.0  # of as many beyond sight as came of late, where no neighbor tells
    quiet_s: float = 3.0  # without anybody seen to halt within, before those of a new stage turn


VEHICLE = np.dtype(
    [
        ("come_s", np.float64),  # at the stop line, if unhindered
        ("worth", np.float64),  # of letting it go now
        ("wait", np.float64),  # less for each second later
        ("stop", np.float64),  # more if it need not stop
        ("part", np.float64),  # of a vehicle
        ("launch", np.float64),  # more while a queue gathers speed, by the cube of the seconds left
        ("phase", np.int32),  # that it waits for, or FREE or SHUT
        ("way", np.int32),  # within the junction
    ],
    align=True,
)
# What became of a lane, from one of its vehicles on, when it was last let go in protected green.
RUN = np.dtype(
    [
        ("until_s", np.float64),  # end of service, -inf if it is not to be used again
        ("start_s", np.float64),  # of green
        ("go_s", np.float64),  # departure of the first one
        ("worth", np.float64),
        ("ready_s", np.float64),  # earliest next departure
        ("served", np.int64),  # vehicles of the lane
    ]
)
FREE = -1  # no signal stops it
SHUT = -2  # it cannot leave: a tail stands beyond


@compiled
def weigh(layout, weights, work, junction, queues):  # type: ignore[no-untyped-def]
    """Note what the search asks of each vehicle of a junction again and again."""
    lane0, way0 = layout.lane0[junction], layout.way0[junction]
    for lane in range(layout.lane0[junction + 1] - lane0):
        at = lane0 + lane
        for place in range(queues.length[at]):
            seen, own = queues.seen[at, place], work.vehicles[lane, place]
            left_s = weights.left_s + weights.left_more_s * seen.behind
            own.come_s = seen.arrive_s
            own.wait = seen.weight * queues.urgency[at]
            own.worth = own.wait * (HORIZON_S + left_s)
            own.stop = own.wait * weights.stop_s * seen.stop
            own.part = seen.weight
            own.launch = seen.weight * weights.launch_s / LAUNCH_S**3
            own.phase = SHUT if queues.blocked[seen.way] else layout.way_phase[seen.way]
            own.way = seen.way - way0
            work.runs[lane, place].until_s = -np.inf


@compiled
def _can_stop(seen):  # type: ignore[no-untyped-def]
    """Whether a vehicle that brakes from now on, in steps of 1 s, stands before the stop line."""
    braking_m = seen.speed_mps * seen.speed_mps / (2 * BRAKING_MPS2) - seen.speed_mps / 2
    return seen.back_m >= braking_m


@compiled
def _get_start(work, node, seen):  # type: ignore[no-untyped-def]
    """When a vehicle's green began or will, inf if it has none."""
    if seen.phase >= 0:
        return work.green_s[node, seen.phase]
    return np.inf if seen.phase == SHUT else -np.inf


@compiled
def _find_go(weights, seen, start_s, ready_s):  # type: ignore[no-untyped-def]
    """When a vehicle crosses in green if nobody hinders it, by when the lane is ready for it."""
    return max(max(seen.come_s, start_s + weights.startup_s), ready_s)


@compiled
def _value(seen, go_s):  # type: ignore[no-untyped-def]
    """What a vehicle's departure is worth; more if it goes as it comes and need not stop."""
    worth = seen.worth - seen.wait * go_s
    return worth + seen.stop if go_s <= seen.come_s + 1.0 else worth


@compiled
def _release(weights, seen, start_s, go_s):  # type: ignore[no-untyped-def]
    """When the next one may follow in a protected green."""
    next_s = go_s + weights.headway_s * seen.part
    # While a queue that stood gathers speed.
    still_s = start_s + LAUNCH_S - go_s
    if still_s > 0.0 and go_s > seen.come_s + 1.0:
        next_s += still_s * still_s * (still_s * seen.launch)
    return next_s


@compiled
def serve(layout, weights, work, junction, node, stage, until_s, is_amber, queues, record):  # type: ignore[no-untyped-def]
    """Let go whom the stage lets go before `until_s`; with `record` note when.

    With `is_amber` the stage ends now: of those with a protected green go who cannot stop any more.
    """
    stage_id = layout.stage0[junction] + stage
    if layout.is_permissive[stage_id] == 1:
        _serve_permissive(
            layout, weights, work, junction, node, stage, until_s, is_amber, queues, record
        )
        return
    worth = 0.0
    for k in range(layout.stage_lane0[stage_id], layout.stage_lane0[stage_id + 1]):
        lane = layout.stage_lane[k]
        at = layout.lane0[junction] + lane
        own = work.lanes[node, lane]
        if own.served >= queues.length[at]:
            continue
        first = work.vehicles[lane, own.served]
        start_s = _get_start(work, node, first)
        go_s = _find_go(weights, first, start_s, own.ready_s)
        if go_s >= until_s and not (is_amber and go_s < np.inf):
            continue
        run = work.runs[lane, own.served]
        # Plans that differ in other lanes, or before, ask for the same again.
        is_known = run.until_s == until_s and run.start_s == start_s and run.go_s == go_s
        if is_amber or record or not is_known:
            run.until_s, run.start_s, run.go_s = until_s, start_s, go_s
            _discharge(weights, work, node, lane, at, until_s, is_amber, queues, record)
        worth += run.worth
        own.served, own.ready_s = run.served, run.ready_s
    work.value[node] += worth


@compiled
def _discharge(weights, work, node, lane, at, until_s, is_amber, queues, record):  # type: ignore[no-untyped-def]
    """Let go whom a lane lets go in protected green, and note in its run what became of it."""
    place, ready_s = work.lanes[node, lane].served, work.lanes[node, lane].ready_s
    phase, run = work.vehicles[lane, place].phase, work.runs[lane, place]
    worth = 0.0
    while place < queues.length[at]:
        seen = work.vehicles[lane, place]
        if seen.phase != phase:
            run.until_s = -np.inf  # it depends on more than one green
        start_s = _get_start(work, node, seen)
        if start_s == np.inf:
            break
        go_s = _find_go(weights, seen, start_s, ready_s)
        if _can_stop(queues.seen[at, place]) if is_amber else go_s >= until_s:
            break
        worth += _value(seen, go_s)
        if record:
            queues.seen[at, place].depart_s = go_s
        ready_s = _release(weights, seen, start_s, go_s)
        place += 1
    run.worth, run.served, run.ready_s = worth, place, ready_s


@compiled
def _find_gap(layout, weights, work, way, go_s, known_s, caution_s):  # type: ignore[no-untyped-def]
    """When a way's foes leave a gap, in steps of 1 s; from `known_s` on nobody is known to come."""
    while go_s < known_s:
        first = max(int(go_s - weights.gap_before_s), 0)
        last = min(int(go_s + weights.gap_after_s + caution_s), LAST_BIT)
        window = ((1 << (last + 1)) - 1) ^ ((1 << first) - 1)
        taken = np.int64(0)
        for f in range(layout.foe0[way], layout.foe0[way + 1]):
            taken |= work.hits[layout.foe[f]]
        if taken & window == 0:
            break
        go_s += 1.0
    return go_s


@compiled
def _serve_permissive(  # type: ignore[no-untyped-def]
    layout, weights, work, junction, node, stage, until_s, is_amber, queues, record
):
    """Let go whom a stage lets go in which some give way: these after the others, in their gaps."""
    lane0 = layout.lane0[junction]
    way0 = layout.way0[junction]
    phases = layout.phase0[junction + 1] - layout.phase0[junction]
    green0 = layout.green0[junction] + stage * phases
    stage_id = layout.stage0[junction] + stage
    hits = work.hits
    for w in range(layout.way0[junction + 1] - way0):
        hits[w] = 0
    worth = 0.0
    crossed_s = until_s
    for turn in range(2):
        for k in range(layout.stage_lane0[stage_id], layout.stage_lane0[stage_id + 1]):
            lane = layout.stage_lane[k]
            at = lane0 + lane
            own = work.lanes[node, lane]
            place, ready_s = own.served, own.ready_s
            size = queues.length[at]
            while place < size:
                seen = work.vehicles[lane, place]
                start_s = _get_start(work, node, seen)
                if start_s == np.inf:
                    break
                is_protected = seen.phase < 0 or layout.green[green0 + seen.phase] == 2
                if not is_protected and turn == 0:
                    break
                go_s = _find_go(weights, seen, start_s, ready_s)
                headway_s = weights.turn_headway_s
                if not is_protected:
                    w = seen.way
                    if layout.turns_on_red[way0 + w]:
                        headway_s = ON_RED_HEADWAY_S
                        halt_s = STAND_S + HALT_S * queues.seen[at, place].stop
                        go_s = max(go_s, seen.come_s + halt_s)
                    known_s = crossed_s + weights.gap_before_s
                    caution_s = queues.caution_s[at]
                    go_s = _find_gap(layout, weights, work, way0 + w, go_s, known_s, caution_s)
                    if go_s >= until_s:  # and who crosses now is not forgotten by then
                        ready_s = max(ready_s, min(go_s, known_s))
                stays = go_s >= until_s
                if is_amber and is_protected:
                    stays = _can_stop(queues.seen[at, place])
                    if not stays:
                        crossed_s = max(crossed_s, go_s)
                # Who is only expected hinders nobody.
                if seen.part == 1.0 and go_s < 60.0:
                    hits[seen.way] |= np.int64(1) << np.int64(go_s)
                if stays:
                    break
                worth += _value(seen, go_s)
                if record:
                    queues.seen[at, place].depart_s = go_s
                if is_protected:
                    ready_s = _release(weights, seen, start_s, go_s)
                else:
                    ready_s = go_s + headway_s * seen.part
                place += 1
            own.served, own.ready_s = place, ready_s
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
            place = work.lanes[node, lane].served
            if place >= queues.length[at] or work.vehicles[lane, place].part < 1.0:
                continue
            seen = work.vehicles[lane, place]
            phase = seen.phase
            if phase < 0 or layout.green[green0 + phase] != 1:
                continue
            if layout.turns_on_red[layout.way0[junction] + seen.way]:
                continue  # whoever does waits before the stop line
            if max(seen.come_s, work.green_s[node, phase] + SNEAK_S) > moment:
                continue
            go_s = moment + SNEAK_S
            work.value[node] += _value(seen, go_s)
            if record:
                queues.seen[at, place].depart_s = go_s
            work.lanes[node, lane].served = place + 1
            work.lanes[node, lane].ready_s = go_s + weights.turn_headway_s
