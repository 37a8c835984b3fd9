"""What loops tell of imaginary vehicles: who has come, who has gone, how far a queue reaches."""

import numpy as np

from traffic.optimization.compiled import compiled
from traffic.optimization.imagined import (
    COMING,
    COUNTED,
    HELD_M,
    INSIDE,
    ROOM,
    SPACING_M,
    STAND_M,
    count_inside,
    drive,
    drop,
    is_open,
    push,
)

FULL_SHARE = 0.99  # of a second that somebody stood on a loop
COVERED_S = 3  # that a loop is stood on, until a queue reaches it
LEFT_M = 60.0  # a queue may reach from the stop line when its green ends without a gap
GAP_S = 2.0  # at a stop line in green, after which nobody queues any more
UNSEEN_OF_VEH = 60.0  # at a stop line, the last ones, of which a share was not announced
UNSEEN_SHARE = 0.37  # fewer are errors of what is imagined, or too few to matter
WITHIN_REACH_M = 25.0  # of the stop-line loop: whoever is farther away, it has counted another
NEIGHBOR_M = 20.0  # a lane change between advance loop and stop line
EARLY_M, EARLY_SHARE = 20.0, 0.2  # before the advance loop, of the way there, that it may yet be
FASTEST = 1.3  # of free speed, that a loop is believed
FORGET_S = 300.0  # time constant of what is learned
STANDING_VEH = 2  # assumed at red where loops fail


@compiled
def _find_first(ground, mem, lane):  # type: ignore[no-untyped-def]
    """The place of the first one that the stop-line loop may count next, or -1."""
    k = 1 if mem.size[lane] > 0 and mem.stage[lane, 0] == COUNTED else 0
    if k >= mem.size[lane]:
        return -1
    gate = ground.advance[lane]
    is_coming = mem.stage[lane, k] == COMING and gate >= 0
    far_m = mem.back_m[lane, k]
    if is_coming and far_m > ground.gate_m[gate] + EARLY_M:
        return -1
    return k if far_m <= ground.stop_m[lane] + WITHIN_REACH_M else -1


@compiled
def _pass_stop(ground, mem, lane, count, occupancy, speed_mps):  # type: ignore[no-untyped-def]
    stood = mem.size[lane] > 0 and mem.stage[lane, 0] == COUNTED
    is_on = stood
    mem.crossed[lane] = mem.crossed[lane] * (1.0 - 1.0 / FORGET_S) + count
    for _ in range(int(count)):
        if is_on:
            drop(mem, lane, 0)
        own = _find_first(ground, mem, lane)
        if own >= 0:
            drop(mem, lane, own)
        is_known = own >= 0 or _take_from_neighbor(ground, mem, lane)
        if mem.guessed[lane] >= 1.0:
            mem.guessed[lane] -= 1.0  # a guess that came true says nothing about loops
        else:
            mem.counted[lane] = min(UNSEEN_OF_VEH, mem.counted[lane] + 1.0)
            mem.unseen[lane] += ((0.0 if is_known else 1.0) - mem.unseen[lane]) / mem.counted[lane]
        going_mps = speed_mps if not np.isnan(speed_mps) else 0.3 * ground.free_mps[lane]
        push(mem, lane, ground.stop_m[lane], going_mps, COUNTED)
        is_on = True
    if count > 0:
        if not stood and count == 1 and not np.isnan(speed_mps):
            drop(mem, lane, 0)
    elif is_on:
        if occupancy == 0 or not np.isnan(speed_mps):
            drop(mem, lane, 0)
    elif occupancy >= FULL_SHARE:
        push(mem, lane, ground.stop_m[lane], 0.0, COUNTED)


@compiled
def _take_from_neighbor(ground, mem, lane):  # type: ignore[no-untyped-def]
    """Remove the one that is most overdue, or else nearest, in a lane beside, if there is one."""
    group = ground.lane_group[lane]
    best, best_k, best_m = -1, -1, np.inf
    for i in range(ground.group0[group], ground.group0[group + 1]):
        other = ground.group_lane[i]
        k = -1 if other == lane else _find_first(ground, mem, other)
        if k < 0 or mem.back_m[other, k] > ground.stop_m[other] + NEIGHBOR_M:
            continue
        far_m = mem.back_m[other, k] - 10.0 * mem.late_s[other, k]
        if far_m < best_m and (k == 0 or mem.speed_mps[other, k] > 1.0):
            best, best_k, best_m = other, k, far_m
    if best >= 0:
        drop(mem, best, best_k)
    return best >= 0


@compiled
def _queues_unseen(ground, mem, lane):  # type: ignore[no-untyped-def]
    is_many = mem.unseen[lane] >= UNSEEN_SHARE
    return is_many and mem.is_queued[lane] and not ground.is_between[lane]


@compiled
def _find_end_m(ground, mem, lane):  # type: ignore[no-untyped-def]
    """How far from the stop line a queue may reach that no loop upstream tells of."""
    return ground.gate_m[ground.advance[lane]] if mem.advance_good[lane] else ground.end_m[lane]


@compiled
def _fill_lane(mem, lane, end_m):  # type: ignore[no-untyped-def]
    """Let a queue reach so far; return how many had to be added."""
    inside, guessed = count_inside(mem, lane), 0
    while inside < int(end_m / SPACING_M) and mem.size[lane] < ROOM:
        push(mem, lane, STAND_M + SPACING_M * inside, 0.0, INSIDE)
        inside += 1
        guessed += 1
    return guessed


@compiled
def _follow_up(mem, lane, end_m):  # type: ignore[no-untyped-def]
    """Let one more come where the queue that leaves has made room."""
    inside = count_inside(mem, lane)
    back_m = mem.back_m[lane, inside - 1] if inside > 0 else STAND_M
    if back_m + 2.0 * SPACING_M <= end_m + STAND_M:
        speed_mps = mem.speed_mps[lane, inside - 1] if inside > 0 else 0.0
        push(mem, lane, end_m, speed_mps, INSIDE)
        mem.guessed[lane] += 1.0


@compiled
def _grow_unseen(ground, mem, lane, occupancy):  # type: ignore[no-untyped-def]
    """Behind one who stood at red, until a gap, those too have queued whom no loop announces."""
    mem.gap_s[lane] = mem.gap_s[lane] + 1.0 if occupancy == 0.0 else 0.0
    if not mem.is_open[lane]:
        mem.is_queued[lane] |= mem.covered_s[ground.stop_loop[lane]] >= COVERED_S
    elif mem.gap_s[lane] >= GAP_S:
        mem.is_queued[lane] = False
        mem.is_backed[lane] = False
        mem.guessed[lane] = 0.0
    if not _queues_unseen(ground, mem, lane):
        return
    if mem.is_backed[lane] and mem.is_open[lane]:
        _follow_up(mem, lane, min(LEFT_M, _find_end_m(ground, mem, lane)))
        return
    mem.hidden[lane] += mem.unseen[lane] * mem.crossed[lane] / FORGET_S
    if mem.hidden[lane] < 1.0:
        return
    mem.hidden[lane] -= 1.0
    back_m, k = STAND_M, 0
    while k < mem.size[lane] and mem.stage[lane, k] != COMING:
        if mem.speed_mps[lane, k] >= 1.0 and not mem.is_open[lane]:
            break
        back_m = mem.back_m[lane, k] + SPACING_M
        k += 1
    if back_m <= _find_end_m(ground, mem, lane):
        push(mem, lane, back_m, 0.0, INSIDE)
        mem.guessed[lane] += 1.0


@compiled
def _deal(ground, mem, gate):  # type: ignore[no-untyped-def]
    """The lane at the stop line that is most behind its share."""
    first, last = ground.target0[gate], ground.target0[gate + 1]
    total = 0.0
    for i in range(first, last):
        total += ground.weight[i] * mem.crossed[ground.target[i]]
    best = first
    for i in range(first, last):
        mem.owed[i] += ground.weight[i] * mem.crossed[ground.target[i]] / total
        if mem.owed[i] > mem.owed[best] + 1e-9:
            best = i
    mem.owed[best] -= 1.0
    return ground.target[best]


@compiled
def _pass_gate(ground, mem, gate, speed_mps):  # type: ignore[no-untyped-def]
    """Take in one that a gate's loop has counted."""
    gate_m, group = ground.gate_m[gate], ground.gate_group[gate]
    first, last = ground.target0[gate], ground.target0[gate + 1]
    lane = -1
    if not ground.gate_is_tail[gate] and not ground.gate_is_side[gate]:
        # The one that has come nearest, in this lane if there is a choice.
        best, best_k, best_m = -1, -1, np.inf
        for g in range(ground.group0[group], ground.group0[group + 1]):
            other = ground.group_lane[g]
            k = count_inside(mem, other)
            if k == mem.size[other]:
                continue
            is_ours = False
            for i in range(first, last):
                is_ours |= ground.target[i] == other
            far_m = mem.back_m[other, k] - gate_m
            reach_m = EARLY_M + EARLY_SHARE * max(0.0, ground.end_m[other] - gate_m)
            cost_m = far_m + (0.0 if is_ours else SPACING_M)
            if far_m <= reach_m and cost_m < best_m:
                best, best_k, best_m = other, k, cost_m
                lane = other if is_ours else -1
        if best >= 0:
            drop(mem, best, best_k)
    if lane < 0:
        lane = _deal(ground, mem, gate)
    if np.isnan(speed_mps):
        speed_mps = 0.5 * ground.free_mps[lane]
    speed_mps = min(speed_mps, FASTEST * ground.free_mps[lane])
    if ground.gate_is_tail[gate]:
        if (mem.size[lane] + 1) * SPACING_M <= ground.end_m[lane] + SPACING_M:
            stage = COMING if mem.advance_good[lane] else INSIDE
            push(mem, lane, gate_m - 0.5 * speed_mps, speed_mps, stage)
        return
    own = ground.advance[lane]
    if ground.gate_is_side[gate] and mem.advance_good[lane] and ground.gate_m[own] < gate_m:
        push(mem, lane, gate_m - 0.5 * speed_mps, speed_mps, COMING)
        return
    inside = count_inside(mem, lane)
    full_m = max(gate_m, ground.gate_m[own]) if own >= 0 else gate_m
    if inside >= int(full_m / SPACING_M) + 1:  # no more fit: one of them has not been real
        drop(mem, lane, 1 if mem.stage[lane, 0] == COUNTED and inside > 1 else 0)
    push(mem, lane, gate_m - 0.5 * speed_mps, speed_mps, INSIDE)


@compiled
def _fill(ground, mem, gate):  # type: ignore[no-untyped-def]
    """A loop that is stood on: the queue reaches it, in the lane where most stand."""
    gate_m = ground.gate_m[gate]
    lane, best = -1, -1.0
    for i in range(ground.target0[gate], ground.target0[gate + 1]):
        option = ground.target[i]
        filled = mem.size[option] + 0.001 * ground.weight[i]
        if ground.gate_is_tail[gate]:
            filled += 2.0 * ground.weight[i]
        if filled > best:
            lane, best = option, filled
    if ground.gate_is_tail[gate]:
        last_m = mem.back_m[lane, mem.size[lane] - 1] if mem.size[lane] > 0 else 0.0
        stage = COMING if mem.advance_good[lane] else INSIDE
        least_m = last_m + 0.9 * SPACING_M
        if stage == COMING:
            least_m = max(least_m, ground.gate_m[ground.advance[lane]] + HELD_M)
        back_m = gate_m + HELD_M
        while back_m >= least_m and mem.size[lane] < ROOM:
            push(mem, lane, back_m, 0.0, stage)
            back_m -= SPACING_M
        return
    inside = count_inside(mem, lane)
    if mem.is_open[lane]:
        if inside == 0 or mem.back_m[lane, inside - 1] < gate_m - SPACING_M:
            push(mem, lane, gate_m, 0.0, INSIDE)
    else:
        _fill_lane(mem, lane, gate_m)


@compiled
def _clear_tail(ground, mem, lane):  # type: ignore[no-untyped-def]
    """A tail loop that nobody stands on: no queue reaches it."""
    k = mem.size[lane] - 1
    stands = k >= 0 and mem.speed_mps[lane, k] < 1.0
    if stands and mem.back_m[lane, k] > ground.gate_m[ground.tail[lane]] - 3.0:
        drop(mem, lane, k)


@compiled
def _grow(ground, mem, group, gate):  # type: ignore[no-untyped-def]
    """Behind an advance loop that is stood on, with no tail loop, the queue grows as it did."""
    mem.grown[group] += mem.rate[group]
    if mem.grown[group] >= 1.0:
        mem.grown[group] -= 1.0
        lane = _deal(ground, mem, gate)
        k = mem.size[lane] - 1
        last_m = max(mem.back_m[lane, k] if k >= 0 else 0.0, ground.gate_m[gate])
        if last_m + SPACING_M <= ground.end_m[lane]:
            push(mem, lane, last_m + SPACING_M, 0.0, COMING)


@compiled
def pass_second(ground, mem, count, occupancy, speed_mps, good, red_s):  # type: ignore[no-untyped-def]
    """Move all vehicles by one second and correct them by what the loops (D) have told of it."""
    lanes = ground.lane_group.size
    for d in range(good.size):
        stands = good[d] and count[d] == 0 and occupancy[d] >= FULL_SHARE
        mem.covered_s[d] = mem.covered_s[d] + 1.0 if stands else 0.0
    for lane in range(lanes):
        was_open = mem.is_open[lane]
        mem.is_open[lane] = is_open(ground, lane, red_s)
        if was_open and not mem.is_open[lane] and _queues_unseen(ground, mem, lane):
            # Whoever is left, nobody tells.
            mem.guessed[lane] += _fill_lane(mem, lane, min(LEFT_M, _find_end_m(ground, mem, lane)))
            mem.is_backed[lane] = True
        mem.stop_good[lane] = ground.stop_loop[lane] >= 0 and good[ground.stop_loop[lane]]
        gate = ground.advance[lane]
        mem.advance_good[lane] = gate >= 0 and good[ground.gate_loop[gate]]
        if not mem.stop_good[lane] and mem.size[lane] > 0 and mem.stage[lane, 0] == COUNTED:
            mem.stage[lane, 0] = INSIDE
        drive(ground, mem, lane, mem.is_open[lane], mem.stop_good[lane], mem.advance_good[lane])
    for lane in range(lanes):
        if mem.stop_good[lane]:
            d = ground.stop_loop[lane]
            _pass_stop(ground, mem, lane, count[d], occupancy[d], speed_mps[d])
            _grow_unseen(ground, mem, lane, occupancy[d])
    for is_tail in (False, True):
        for gate in range(ground.gate_loop.size):
            d = ground.gate_loop[gate]
            if ground.gate_is_tail[gate] != is_tail or not good[d]:
                continue
            group = ground.gate_group[gate]
            for _ in range(int(count[d])):
                _pass_gate(ground, mem, gate, speed_mps[d])
            is_stood_on = mem.covered_s[d] >= COVERED_S
            # On another arm than the approach one may only be waiting to join it.
            if is_stood_on and not ground.gate_is_side[gate]:
                _fill(ground, mem, gate)
            if not is_tail and not ground.gate_is_side[gate]:
                has_tail = ground.tail[ground.target[ground.target0[gate]]] >= 0
                if is_stood_on and not has_tail:
                    _grow(ground, mem, group, gate)
                elif not is_stood_on:
                    mem.rate[group] += count[d] / FORGET_S
    for group in range(mem.rate.size):
        mem.rate[group] *= 1.0 - 1.0 / FORGET_S
    for lane in range(lanes):
        gate = ground.tail[lane]
        if gate >= 0 and good[ground.gate_loop[gate]] and occupancy[ground.gate_loop[gate]] == 0:
            _clear_tail(ground, mem, lane)
        is_blind = not mem.stop_good[lane] or (
            ground.advance[lane] >= 0 and not mem.advance_good[lane]
        )
        if is_blind and not mem.is_open[lane]:
            near = 0
            while near < mem.size[lane] and mem.back_m[lane, near] < SPACING_M * STANDING_VEH + 1.0:
                near += 1
            while near < STANDING_VEH:
                push(mem, lane, STAND_M + SPACING_M * near, 0.0, INSIDE)
                near += 1


@compiled
def _is_tail_seen(ground, mem, gate):  # type: ignore[no-untyped-def]
    """Whether somebody stands at the far end of an approach, on a lane of its own in a batch."""
    is_far = ground.gate_is_tail[gate] and ground.gate_sensed[gate] >= 0
    return is_far and mem.covered_s[ground.gate_loop[gate]] >= COVERED_S


@compiled
def list_vehicles(ground, mem, starts, position_m, speed_mps):  # type: ignore[no-untyped-def]
    """Write the vehicles as a LaneBatch does, and one who stands on each covered tail loop."""
    for i in range(starts.size):
        starts[i] = 0
    for lane in range(mem.size.size):
        starts[ground.sensed[lane] + 1] += mem.size[lane]
    for gate in range(ground.gate_loop.size):
        if _is_tail_seen(ground, mem, gate):
            starts[ground.gate_sensed[gate] + 1] += 1
    for i in range(1, starts.size):
        starts[i] += starts[i - 1]
    for lane in range(mem.size.size):
        first = starts[ground.sensed[lane]]
        back_m = 0.0
        for k in range(mem.size[lane]):
            back_m = max(back_m, mem.back_m[lane, k])  # whatever loops have said, nobody overtakes
            position_m[first + k] = ground.length_m[lane] - back_m
            speed_mps[first + k] = mem.speed_mps[lane, k]
    for gate in range(ground.gate_loop.size):
        if _is_tail_seen(ground, mem, gate):
            position_m[starts[ground.gate_sensed[gate]]] = ground.gate_at_m[gate]
            speed_mps[starts[ground.gate_sensed[gate]]] = 0.0
