"""What the first vehicle of each lane tells: which way it turns, and that nothing moves.

A radar sees no turns. A vehicle that stands although its likely way is green wants another way, or
somebody stands in the junction before it: such a lane is not counted on for a while, which breaks
deadlocks. What crossed under which green tells the shares of the turns.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traffic.optimization.compiled import compiled
from traffic.optimization.layout import Layout

HEAD_M = 12.0  # from the stop line: nearer, a standing vehicle is the first
STANDING_MPS = 0.5
STUCK_S = 4.0  # of green without moving, until a lane is not counted on
STUCK_PERMISSIVE_S = 8.0
MOST_CAUTION_S = 30.0
DISTRUST_S = 10.0  # that it is not counted on then
NEAR_M = 18.0  # a vehicle that was nearer a second ago, and is gone, has crossed the stop line
RATE_S = 300.0  # over which crossings are averaged
LEAST_SHARE = 0.02
KNOWN_RATE = 3.0 / RATE_S  # of crossings, from which on shares of ways over a lane are learned
RECENT_S = 5.0  # from a stop line into the road between
SHARE_GAIN = 0.05  # of the newest vehicle


class Heads(NamedTuple):
    """Memory of the lanes at stop lines, from second to second."""

    share: NDArray[np.float64]  # W, of its lane's vehicles, 0..1 once normalized
    stuck_s: NDArray[np.float64]  # L, under green without moving
    distrust_s: NDArray[np.float64]  # L, left of not being counted on
    is_denied: NDArray[np.bool_]  # W, the lane's head has shown not to want it
    back_m: NDArray[np.float64]  # L, of the head a second ago
    stood_s: NDArray[np.float64]  # L, since the head came to stand
    quiet_s: NDArray[np.float64]  # J, since somebody was seen to halt within
    turns_s: NDArray[np.float64]  # J, left in which those who give way in a new stage stay red
    prior: NDArray[np.float64]  # W, share before anything is learned
    over: NDArray[np.float64]  # W, vehicles a second of late that went over the lane between
    recent: NDArray[np.float64]  # L, crossings of the stop line, fading over RECENT_S
    gone: NDArray[np.int32]  # L, crossings in this second
    size: NDArray[np.int32]  # L, vehicles a second ago
    owed: NDArray[np.float64]  # W, vehicles that a way has yet to get, while they are dealt
    rate: NDArray[np.float64]  # L, vehicles a second that crossed the stop line of late
    patience_s: NDArray[np.float64]  # J, that turns may still wait for who is caught within


def build_heads(layout: Layout) -> Heads:
    lanes, ways = int(layout.lane0[-1]), int(layout.way0[-1])
    share = np.zeros(ways)
    for lane in range(lanes):
        known = set()
        for way in range(layout.lane_way0[lane], layout.lane_way0[lane + 1]):
            # Ways to lanes of the same link are one turn.
            turn = layout.way_exit[way], layout.way_phase[way]
            if turn not in known:
                known.add(turn)
                share[way] = 1.0
        own = slice(layout.lane_way0[lane], layout.lane_way0[lane + 1])
        share[own] /= max(share[own].sum(), 1.0)
    return Heads(
        share,
        np.zeros(lanes),
        np.zeros(lanes),
        np.zeros(ways, dtype=np.bool_),
        np.full(lanes, np.inf),
        np.zeros(lanes),
        np.full(layout.lane0.size - 1, np.inf),
        np.zeros(layout.lane0.size - 1),
        share.copy(),
        np.zeros(ways),
        np.zeros(lanes),
        np.zeros(lanes, dtype=np.int32),
        np.zeros(lanes, dtype=np.int32),
        np.zeros(ways),
        np.zeros(lanes),
        np.zeros(layout.lane0.size - 1),
    )


@compiled
def watch_heads(layout, queues, heads, stage, green_s, red_s):  # type: ignore[no-untyped-def]
    """Learn from the lanes' first vehicles; give those of unknown turn, way -1, a likely one."""
    for j in range(layout.lane0.size - 1):
        phase0 = layout.phase0[j]
        phases = layout.phase0[j + 1] - phase0
        green0 = layout.green0[j] + max(stage[j], 0) * phases
        for lane in range(layout.lane0[j], layout.lane0[j + 1]):
            _learn(layout, queues, heads, lane, phase0, green_s, red_s)
        if layout.is_joined[j]:
            _trace(layout, queues, heads, j)
        for lane in range(layout.lane0[j], layout.lane0[j + 1]):
            _assign(layout, queues, heads, lane)
            _distrust(layout, queues, heads, lane, phase0, green0, green_s)


@compiled
def _clear(heads, first, last):  # type: ignore[no-untyped-def]
    for w in range(first, last):
        heads.is_denied[w] = False


@compiled
def _learn(layout, queues, heads, lane, phase0, green_s, red_s):  # type: ignore[no-untyped-def]
    first, last = layout.lane_way0[lane], layout.lane_way0[lane + 1]
    back_m = queues.seen[lane, 0].back_m if queues.length[lane] > 0 else np.inf
    before_m = heads.back_m[lane]
    heads.back_m[lane] = back_m
    is_gone = before_m <= NEAR_M and back_m > before_m + 3.0
    heads.gone[lane] = 1 if is_gone else 0
    heads.recent[lane] *= 1.0 - 1.0 / RECENT_S
    heads.recent[lane] += heads.gone[lane]
    heads.rate[lane] += ((1.0 if is_gone else 0.0) - heads.rate[lane]) / RATE_S
    stands = back_m <= HEAD_M and back_m <= before_m + 3.0
    heads.stood_s[lane] = heads.stood_s[lane] + 1.0 if stands else 0.0
    if before_m <= HEAD_M and back_m > before_m + 3.0:  # it has crossed the stop line
        total = 0.0
        for w in range(first, last):
            p = layout.way_line[w]
            if p < 0 or red_s[phase0 + p] < 4.0:
                total += heads.share[w]
        for w in range(first, last):
            p = layout.way_line[w]
            is_open = p < 0 or red_s[phase0 + p] < 4.0
            part = heads.share[w] / total if is_open and total > 0 else 0.0
            if total > 0 and heads.share[w] > 0:
                kept = heads.share[w] + SHARE_GAIN * (part - heads.share[w])
                heads.share[w] = max(kept, LEAST_SHARE)
        heads.stuck_s[lane] = 0.0
        _clear(heads, first, last)
        queues.caution_s[lane] *= 0.5
    elif back_m > HEAD_M or queues.seen[lane, 0].speed_mps > STANDING_MPS:
        heads.stuck_s[lane] = 0.0
        if back_m > HEAD_M:
            _clear(heads, first, last)


@compiled
def _count(queues, lane):  # type: ignore[no-untyped-def]
    """Vehicles bound for the lane, without those only expected."""
    if queues.length[lane] == 0:
        return 0
    return queues.seen[lane, 0].behind + (1 if queues.seen[lane, 0].weight == 1.0 else 0)


@compiled
def _trace(layout, queues, heads, j):  # type: ignore[no-untyped-def]
    """Learn who goes over a lane between two stop lines, by who crossed when somebody came there.

    The stop line that they cross first has one green for them and for those who turn off there.
    """
    first, last = layout.way0[j], layout.way0[j + 1]
    lane0 = layout.lane0[j]
    for w in range(first, last):
        over = layout.way_over[w]
        if over < 0:
            continue
        came = _count(queues, over) - heads.size[over] + heads.gone[over]
        part = 0.0
        if came > 0:
            total = 0.0
            for other in range(first, last):
                if layout.way_over[other] == over:
                    total += heads.recent[lane0 + layout.way_lane[other]] * heads.share[other]
            if total > 0.0:
                part = came * heads.recent[lane0 + layout.way_lane[w]] * heads.share[w] / total
        heads.over[w] += (part - heads.over[w]) / RATE_S
    for lane in range(lane0, layout.lane0[j + 1]):
        heads.size[lane] = _count(queues, lane)
        _share_over(layout, heads, lane)


@compiled
def _share_over(layout, heads, lane):  # type: ignore[no-untyped-def]
    """Set the shares of a lane's ways by how many of its vehicles went over which lane of late."""
    over, rest = 0.0, 0.0  # shares of those who do, as learned, and of the others, as before
    for w in range(layout.lane_way0[lane], layout.lane_way0[lane + 1]):
        if layout.way_over[w] < 0:
            rest += heads.share[w]
        elif heads.share[w] > 0.0:
            seen = heads.over[w] + KNOWN_RATE * heads.prior[w]
            heads.owed[w] = seen / (heads.rate[lane] + KNOWN_RATE)
            over += heads.owed[w]
    if over == 0.0:
        return
    left = max(0.0, 1.0 - over)
    total = over + (left if rest > 0.0 else 0.0)
    for w in range(layout.lane_way0[lane], layout.lane_way0[lane + 1]):
        if heads.share[w] > 0.0 and layout.way_over[w] >= 0:
            heads.share[w] = heads.owed[w] / total
        elif heads.share[w] > 0.0:
            heads.share[w] = max(LEAST_SHARE, heads.share[w] * left / rest / total)


@compiled
def _assign(layout, queues, heads, lane):  # type: ignore[no-untyped-def]
    """Deal the ways by their shares, the largest shortfall first; the head's by what it denied."""
    first, last = layout.lane_way0[lane], layout.lane_way0[lane + 1]
    size = queues.length[lane]
    for w in range(first, last):
        heads.owed[w] = 0.0
    for k in range(size):
        best = -1
        for w in range(first, last):
            heads.owed[w] += heads.share[w]
            if k == 0 and heads.is_denied[w]:
                continue
            if best < 0 or heads.owed[w] > heads.owed[best]:
                best = w
        if queues.seen[lane, k].way < 0:
            queues.seen[lane, k].way = best if best >= 0 else first
        heads.owed[queues.seen[lane, k].way] -= 1.0


@compiled
def _distrust(layout, queues, heads, lane, phase0, green0, green_s):  # type: ignore[no-untyped-def]
    heads.distrust_s[lane] = max(0.0, heads.distrust_s[lane] - 1.0)
    stands = (
        queues.length[lane] > 0
        and queues.seen[lane, 0].back_m <= HEAD_M
        and queues.seen[lane, 0].speed_mps <= STANDING_MPS
    )
    w = queues.seen[lane, 0].way if stands else -1
    p = layout.way_phase[w] if stands else -1
    if p >= 0 and green_s[phase0 + p] >= 2.0 and not queues.blocked[w]:
        heads.stuck_s[lane] += 1.0
        is_protected = layout.green[green0 + p] == 2
        if not is_protected and heads.stuck_s[lane] > STUCK_S:
            queues.caution_s[lane] = min(queues.caution_s[lane] + 1.0, MOST_CAUTION_S)
        if is_protected and heads.stuck_s[lane] >= STUCK_S:
            for other in range(layout.lane_way0[lane], layout.lane_way0[lane + 1]):
                heads.is_denied[other] |= layout.way_phase[other] == p
        if heads.stuck_s[lane] >= (STUCK_S if is_protected else STUCK_PERMISSIVE_S):
            heads.distrust_s[lane] = DISTRUST_S
            heads.stuck_s[lane] = 0.0
    queues.ready_s[lane] = heads.distrust_s[lane] if heads.distrust_s[lane] > 0 else -1.0
