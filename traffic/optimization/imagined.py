"""Imaginary vehicles before stop lines, as loops let one think of them, and how they drive.

Each one follows its leader at the safe speed of S. Krauss, Microscopic modeling of traffic flow,
1998, with a reaction time of one second. It passes no loop that has not counted it, and vanishes
when it is overdue there.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traffic.optimization.compiled import compiled
from traffic.optimization.service import BRAKING_MPS2, CRUISING

ROOM = 64  # vehicles at most, of one lane
SPACING_M = 7.5
ACCELERATION_MPS2 = 2.0  # until CRUISING; nobody corrects who is imagined too far ahead
STAND_M = 1.0  # before the stop line, of the first one at red
HELD_M = 0.5  # before a loop that has not counted it
LATE_GREEN_S = 3.0  # overdue at the stop line in green, until it vanishes
LATE_RED_S = 8.0
LATE_ADVANCE_S = 4.0
QUEUE_SHARE = 0.4  # of the way from the advance loop: who stands so far back may have others behind
FIRST_VEH = 10.0  # taken to have been announced before anything is learned
COMING, INSIDE, COUNTED = 0, 1, 2  # before the advance loop; past it; at the stop-line loop


class Ground(NamedTuple):
    """Lanes at stop lines L in groups G of one link each, loops D, gates K: upstream loops."""

    group0: NDArray[np.int32]  # G + 1
    group_lane: NDArray[np.int32]  # lanes of each group
    lane_group: NDArray[np.int32]  # L
    length_m: NDArray[np.float64]  # L
    free_mps: NDArray[np.float64]  # L
    sensed: NDArray[np.int32]  # L, place among the sensed lanes
    open0: NDArray[np.int32]  # L + 1
    open_phase: NDArray[np.int32]  # phases that let go somebody of the lane, -1 for no signal
    stop_loop: NDArray[np.int32]  # L, -1 where there is none
    stop_m: NDArray[np.float64]  # L, from the loop to the stop line
    advance: NDArray[np.int32]  # L, gate that a vehicle passes last, -1 where there is none
    tail: NDArray[np.int32]  # L, gate at the far end, -1 where there is none
    end_m: NDArray[np.float64]  # L, from the upstream end of the approach to the stop line
    is_between: NDArray[np.bool_]  # L, between two signals that are planned as one
    gate_loop: NDArray[np.int32]  # K
    gate_m: NDArray[np.float64]  # K, to the stop line
    gate_is_tail: NDArray[np.bool_]  # K
    gate_is_side: NDArray[np.bool_]  # K, upstream of a node, on another arm than the approach
    gate_group: NDArray[np.int32]  # K
    gate_sensed: NDArray[np.int32]  # K, place of its lane, -1 at a stop line or out of sensing
    gate_at_m: NDArray[np.float64]  # K, from that lane's upstream end
    target0: NDArray[np.int32]  # K + 1
    target: NDArray[np.int32]  # lanes at the stop line that the gate leads to
    weight: NDArray[np.float64]  # of that lane before anything is learned


class Memory(NamedTuple):
    """The imaginary vehicles, the first one of each lane first, and what is learned."""

    size: NDArray[np.int32]  # L
    back_m: NDArray[np.float64]  # L x ROOM, to the stop line
    speed_mps: NDArray[np.float64]  # L x ROOM
    stage: NDArray[np.int8]  # L x ROOM: COMING, INSIDE or COUNTED
    late_s: NDArray[np.float64]  # L x ROOM, overdue at the loop before it
    crossed: NDArray[np.float64]  # L, counted at the stop line, old ones fading
    owed: NDArray[np.float64]  # as targets: vehicles that a lane is still due
    covered_s: NDArray[np.float64]  # D, since somebody came to stand there
    rate: NDArray[np.float64]  # G, arrivals a second
    grown: NDArray[np.float64]  # G, part of a vehicle that has arrived unseen
    counted: NDArray[np.float64]  # L, vehicles that the share is of
    unseen: NDArray[np.float64]  # L, share counted at the stop line but announced by no loop
    hidden: NDArray[np.float64]  # L, part of a vehicle that has queued unseen
    guessed: NDArray[np.float64]  # L, in the lane that no loop has told of
    gap_s: NDArray[np.float64]  # L, since somebody was on the stop-line loop
    is_queued: NDArray[np.bool_]  # L, somebody stood at red, and no gap has come since
    is_backed: NDArray[np.bool_]  # L, and the last green ended without one: others come behind
    is_open: NDArray[np.bool_]  # L, somebody of the lane has green
    stop_good: NDArray[np.bool_]  # L, its stop-line loop can be trusted
    advance_good: NDArray[np.bool_]  # L


def build_memory(ground: Ground, loops: int) -> Memory:
    lanes, groups = ground.lane_group.size, ground.group0.size - 1
    shape = (lanes, ROOM)
    flag = np.zeros(lanes, dtype=np.bool_)
    return Memory(
        size=np.zeros(lanes, dtype=np.int32),
        back_m=np.zeros(shape),
        speed_mps=np.zeros(shape),
        stage=np.zeros(shape, dtype=np.int8),
        late_s=np.zeros(shape),
        crossed=np.ones(lanes),
        owed=np.zeros(ground.target.size),
        covered_s=np.zeros(loops),
        rate=np.zeros(groups),
        grown=np.zeros(groups),
        counted=np.full(lanes, FIRST_VEH),
        unseen=np.zeros(lanes),
        hidden=np.zeros(lanes),
        guessed=np.zeros(lanes),
        gap_s=np.zeros(lanes),
        is_queued=flag.copy(),
        is_backed=flag.copy(),
        is_open=flag.copy(),
        stop_good=flag.copy(),
        advance_good=flag.copy(),
    )


@compiled
def push(mem, lane, back_m, speed_mps, stage):  # type: ignore[no-untyped-def]
    k = mem.size[lane]
    if k == ROOM:
        return
    while k > 0 and (
        mem.stage[lane, k - 1] < stage
        or (mem.stage[lane, k - 1] == stage and mem.back_m[lane, k - 1] > back_m)
    ):
        mem.back_m[lane, k] = mem.back_m[lane, k - 1]
        mem.speed_mps[lane, k] = mem.speed_mps[lane, k - 1]
        mem.stage[lane, k] = mem.stage[lane, k - 1]
        mem.late_s[lane, k] = mem.late_s[lane, k - 1]
        k -= 1
    mem.back_m[lane, k] = back_m
    mem.speed_mps[lane, k] = speed_mps
    mem.stage[lane, k] = stage
    mem.late_s[lane, k] = 0.0
    mem.size[lane] += 1


@compiled
def drop(mem, lane, place):  # type: ignore[no-untyped-def]
    for k in range(place, mem.size[lane] - 1):
        mem.back_m[lane, k] = mem.back_m[lane, k + 1]
        mem.speed_mps[lane, k] = mem.speed_mps[lane, k + 1]
        mem.stage[lane, k] = mem.stage[lane, k + 1]
        mem.late_s[lane, k] = mem.late_s[lane, k + 1]
    mem.size[lane] -= 1


@compiled
def count_inside(mem, lane):  # type: ignore[no-untyped-def]
    n = 0
    while n < mem.size[lane] and mem.stage[lane, n] != COMING:
        n += 1
    return n


@compiled
def is_open(ground, lane, red_s):  # type: ignore[no-untyped-def]
    for i in range(ground.open0[lane], ground.open0[lane + 1]):
        if ground.open_phase[i] < 0 or red_s[ground.open_phase[i]] == 0.0:
            return True
    return False


@compiled
def drive(ground, mem, lane, is_open, stop_good, advance_good):  # type: ignore[no-untyped-def]
    """Let a second pass in a lane; who is overdue at a loop vanishes."""
    free_mps = ground.free_mps[lane]
    ahead_m = -np.inf if is_open else STAND_M - SPACING_M
    ahead_mps = 0.0
    held_m = ground.stop_m[lane] + HELD_M if stop_good else -np.inf
    gate_m, is_stood_on = -np.inf, False
    if advance_good:
        gate_m = ground.gate_m[ground.advance[lane]] + HELD_M
        is_stood_on = mem.covered_s[ground.gate_loop[ground.advance[lane]]] > 0
    k = 0
    while k < mem.size[lane]:
        back_m, stage = mem.back_m[lane, k], mem.stage[lane, k]
        speed_mps = mem.speed_mps[lane, k]
        if speed_mps < CRUISING * free_mps:
            speed_mps = min(speed_mps + ACCELERATION_MPS2, free_mps)
        if ahead_m > -np.inf:
            gap_m = back_m - ahead_m - SPACING_M
            root = BRAKING_MPS2**2 + ahead_mps**2 + 2 * BRAKING_MPS2 * gap_m
            speed_mps = min(speed_mps, max(0.0, np.sqrt(max(root, 0.0)) - BRAKING_MPS2))
        if stage == COUNTED:
            if mem.covered_s[ground.stop_loop[lane]] >= 2:
                speed_mps = 0.0
            back_m = max(0.0, back_m - speed_mps)
        else:
            least_m = max(held_m, gate_m) if stage == COMING else held_m
            is_held = back_m - speed_mps <= least_m
            back_m = max(back_m - speed_mps, min(back_m, least_m))
            # Behind one who stands another may stand just short of the loop, unseen by it.
            queues = ahead_mps < 1.0 and ahead_m >= QUEUE_SHARE * gate_m
            waits = stage == COMING and (is_stood_on or queues)
            mem.late_s[lane, k] = mem.late_s[lane, k] + 1.0 if is_held and not waits else 0.0
            limit_s = LATE_ADVANCE_S
            if stage == INSIDE:
                limit_s = LATE_GREEN_S if is_open else LATE_RED_S
            is_first = k == 0 or mem.stage[lane, k - 1] != stage
            if (is_first and mem.late_s[lane, k] >= limit_s) or back_m < 0.0:
                drop(mem, lane, k)
                continue
        mem.back_m[lane, k] = back_m
        mem.speed_mps[lane, k] = speed_mps
        ahead_m, ahead_mps = back_m, speed_mps
        k += 1
