"""Who comes to which stop line and when: vehicles seen, neighbors' departures, and the expected.

At a junction without neighbors those yet to come into sight are expected as evenly as they came of
late: one every EXPECTED_S or sooner, each for the part of a vehicle that comes in that time. A plan
that knew of nobody beyond its sight would take the street for empty then. With neighbors, who tell
of those on some approaches, it would favor the others. Where turns are announced, a plan does not
gain by those expected, and none are (decision 17).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traffic.lanes import LEAVES, UNKNOWN_TURN
from traffic.optimization.compiled import compiled
from traffic.optimization.layout import Layout
from traffic.optimization.service import CRUISING, HORIZON_S, VEHICLES

ACCELERATION_MPS2 = 2.6
JOIN_LOSS_S = 0.9  # of a vehicle that crosses a stop line out of a queue, until free speed
CRUISING_M = 30.0  # from a stop line: nearer, somebody may be slow for the sake of a red
JAM_SPACING_M = 7.5
FULL = 0.8  # of a link's storage; one that hardly moves then takes nobody: a full ring locks
JAM_MPS = 2.0
EXPECTED_S = 3.0
MOST_EXPECTED = 0.99  # of a vehicle: 1 is one that is there
LEAST_RATE = 0.003  # a second: below, nobody is expected
ENTRY_M = 10.0  # a tail that stands this near to a link's begin lets nobody in
FORK_M = 12.0  # from where lanes part, a standing vehicle waits to get into one of them


SEEN = np.dtype(
    [
        ("back_m", np.float64),  # to the stop line
        ("speed_mps", np.float64),
        ("arrive_s", np.float64),  # from now, at the stop line, if unhindered
        ("depart_s", np.float64),  # planned, inf when not within the horizon
        ("stop", np.float64),  # share of a whole stop that stopping would cost
        ("weight", np.float64),  # 1, or less of one that is only expected
        ("way", np.int32),  # in the city's numbers, -1 when not known
        ("behind", np.int32),  # how many follow it, but for those only expected
    ],
    align=True,
)


class Queues(NamedTuple):
    """Vehicles bound for each lane at a stop line, the first one first."""

    length: NDArray[np.int32]  # L, vehicles
    seen: NDArray[np.void]  # L x VEHICLES of SEEN
    blocked: NDArray[np.bool_]  # W, ways that lead into a standing tail
    ready_s: NDArray[np.float64]  # L, earliest next departure
    caution_s: NDArray[np.float64]  # L, gap that it wants beyond the usual
    urgency: NDArray[np.float64]  # L, 1, or more where the first one has stood for long


class Flow(NamedTuple):
    """Departures that were planned or done and have not come into sight downstream."""

    size: NDArray[np.int32]  # 1
    way: NDArray[np.int32]  # in the city's numbers
    depart_s: NDArray[np.float64]  # clock time


def build_queues(layout: Layout) -> Queues:
    lanes, ways = int(layout.lane0[-1]), int(layout.way0[-1])
    return Queues(
        np.zeros(lanes, dtype=np.int32),
        np.zeros((lanes, VEHICLES), dtype=SEEN).view(np.recarray),
        np.zeros(ways, dtype=np.bool_),
        np.full(lanes, -1.0),
        np.zeros(lanes),
        np.ones(lanes),
    )


def build_flow(layout: Layout) -> Flow:
    size = int(layout.lane0[-1]) * VEHICLES
    return Flow(np.zeros(1, dtype=np.int32), np.zeros(size, dtype=np.int32), np.zeros(size))


@compiled
def _time_to(back_m, speed_mps, free_mps):  # type: ignore[no-untyped-def]
    """Seconds to drive `back_m`, at this speed or accelerating to free speed."""
    if back_m <= 0:
        return 0.0
    if speed_mps >= free_mps or (speed_mps >= CRUISING * free_mps and back_m > CRUISING_M):
        return back_m / speed_mps
    gain_m = (free_mps**2 - speed_mps**2) / (2 * ACCELERATION_MPS2)
    if back_m <= gain_m:
        root = np.sqrt(speed_mps**2 + 2 * ACCELERATION_MPS2 * back_m)
        return (root - speed_mps) / ACCELERATION_MPS2
    return (free_mps - speed_mps) / ACCELERATION_MPS2 + (back_m - gain_m) / free_mps


@compiled
def _find_way(layout, lane, turn):  # type: ignore[no-untyped-def]
    for w in range(layout.lane_way0[lane], layout.lane_way0[lane + 1]):
        if layout.way_exit[w] == turn:
            return w
    return -1


@compiled
def _add(queues, lane, back_m, speed_mps, arrive_s, way, stop, weight):  # type: ignore[no-untyped-def]
    size = queues.length[lane]
    if size == VEHICLES:
        return
    seen = queues.seen[lane]
    k = size
    while k > 0 and seen[k - 1].arrive_s > arrive_s and seen[k - 1].back_m > back_m:
        seen[k] = seen[k - 1]
        k -= 1
    own = seen[k]
    own.back_m = back_m
    own.speed_mps = speed_mps
    own.arrive_s = arrive_s
    own.depart_s = np.inf
    own.stop = stop
    own.weight = weight
    own.way = way
    queues.length[lane] = size + 1


@compiled
def gather(layout, roads, queues, flow, starts, position_m, speed_mps, turn, rate, now_s):  # type: ignore[no-untyped-def]
    """Fill the queues with the vehicles in sight and with those that neighbors let go.

    `rate` (L) tells how many a second are expected on each lane beyond sight. Ways are in the
    city's numbers, -1 where the turn is not known.
    """
    lanes = queues.length.size
    for lane in range(lanes):
        queues.length[lane] = 0
    # Lanes with one stop line first, so that the others can be dealt to the shortest.
    for is_split in (False, True):
        for i in range(starts.size - 1):
            first, last = roads.target0[i], roads.target0[i + 1]
            if first == last or (last - first > 1) != is_split:
                continue
            full = -1
            if is_split and starts[i] < starts[i + 1]:
                head = starts[i]
                full = _find_full(
                    layout, roads, queues, i, position_m[head], speed_mps[head], turn[head]
                )
            for v in range(starts[i], starts[i + 1]):
                if speed_mps[v] > JAM_MPS:
                    full = -1
                if turn[v] == LEAVES:
                    continue
                if full >= 0:  # whichever way it wants, it leaves after those who block it
                    serves = _find_way(layout, roads.target[full], turn[v]) >= 0
                    _place(
                        layout,
                        roads,
                        queues,
                        full,
                        full + 1,
                        position_m[v],
                        speed_mps[v],
                        turn[v] if serves else UNKNOWN_TURN,
                    )
                else:
                    _place(layout, roads, queues, first, last, position_m[v], speed_mps[v], turn[v])
    _join(layout, roads, queues, flow, now_s)
    _expect(roads, queues, rate)
    _find_blocked(roads, queues, starts, position_m, speed_mps)


@compiled
def _find_full(layout, roads, queues, i, position_m, speed_mps, turn):  # type: ignore[no-untyped-def]
    """Return which of a lane's targets its first vehicle stands before as it is full, or -1."""
    if speed_mps > JAM_MPS or position_m < roads.sensed_m[i] - FORK_M:
        return -1
    full, is_free = -1, False
    for k in range(roads.target0[i], roads.target0[i + 1]):
        lane = roads.target[k]
        if turn != UNKNOWN_TURN and _find_way(layout, lane, turn) < 0:
            continue
        last = queues.length[lane] - 1
        begin_m = roads.target_m[k] - roads.sensed_m[i]  # from the stop line
        is_full = (
            last >= 0
            and queues.seen[lane, last].back_m > begin_m - FORK_M
            and queues.seen[lane, last].speed_mps < JAM_MPS
        )
        if is_full:
            full = k
        else:
            is_free = True
    if turn == UNKNOWN_TURN:
        return full if is_free else -1  # were all of them full, it might want any
    return -1 if is_free else full


@compiled
def _place(layout, roads, queues, first, last, position_m, speed_mps, turn):  # type: ignore[no-untyped-def]
    """Put a vehicle in sight into the queue of the lane that it is bound for."""
    lane, way, at = -1, -1, first
    for k in range(first, last):
        option = roads.target[k]
        found = -1 if turn == UNKNOWN_TURN else _find_way(layout, option, turn)
        if found < 0 and turn != UNKNOWN_TURN:
            continue
        if lane < 0 or queues.length[option] < queues.length[lane]:
            lane, way, at = option, found, k
    if lane < 0:  # in the wrong lane still
        for k in range(roads.mates0[roads.target[first]], roads.mates0[roads.target[first] + 1]):
            way = _find_way(layout, roads.mates[k], turn)
            if way >= 0:
                lane = roads.mates[k]
                break
    if lane < 0:
        return
    back_m = max(0.0, roads.target_m[at] - position_m)
    free_mps = roads.lane_mps[lane]
    arrive_s = _time_to(back_m, speed_mps, free_mps)
    _add(queues, lane, back_m, speed_mps, arrive_s, way, min(1.0, speed_mps / free_mps), 1.0)


@compiled
def _join(layout, roads, queues, flow, now_s):  # type: ignore[no-untyped-def]
    """Add those who have left, or are planned to leave, the stop line upstream."""
    kept = 0
    for n in range(flow.size[0]):
        way = flow.way[n]
        first, last = roads.next0[way], roads.next0[way + 1]
        if first == last:
            continue
        # Of the lanes that it may choose, the one that fewest are bound for.
        lane, at = -1, -1
        for k in range(first, last):
            option = roads.next[k]
            if lane < 0 or queues.length[option] < queues.length[lane]:
                lane, at = option, k
        free_mps = roads.lane_mps[lane]
        arrive_s = flow.depart_s[n] - now_s + JOIN_LOSS_S + roads.next_m[at] / free_mps
        is_seen = (arrive_s - 1.0) * free_mps < min(roads.sight_m[lane], roads.next_m[at])
        if flow.depart_s[n] <= now_s and is_seen:
            continue
        if flow.depart_s[n] <= now_s:
            flow.way[kept] = way
            flow.depart_s[kept] = flow.depart_s[n]
            kept += 1
        if arrive_s < HORIZON_S:
            _add(queues, lane, arrive_s * free_mps, free_mps, arrive_s, -1, 1.0, 1.0)
    flow.size[0] = kept


@compiled
def _expect(roads, queues, rate):  # type: ignore[no-untyped-def]
    """Add those who are yet to come into sight; count how many follow whom."""
    for lane in range(queues.length.size):
        if roads.is_alone[lane] and rate[lane] >= LEAST_RATE:
            free_mps = roads.lane_mps[lane]
            apart_s = min(EXPECTED_S, MOST_EXPECTED / rate[lane])
            come_s = roads.known_m[lane] / free_mps + apart_s / 2
            weight = rate[lane] * apart_s
            while come_s < HORIZON_S:
                _add(queues, lane, come_s * free_mps, free_mps, come_s, -1, 1.0, weight)
                come_s += apart_s
        behind = 0
        for k in range(queues.length[lane] - 1, -1, -1):
            queues.seen[lane, k].behind = behind
            behind += queues.seen[lane, k].weight == 1.0


@compiled
def _find_blocked(roads, queues, starts, position_m, speed_mps):  # type: ignore[no-untyped-def]
    for way in range(queues.blocked.size):
        first, last = roads.exit_sensed0[way], roads.exit_sensed0[way + 1]
        queues.blocked[way] = first < last
        for k in range(first, last):
            lane = roads.exit_sensed[k]
            tail = starts[lane + 1] - 1
            while tail >= starts[lane] and position_m[tail] < 0.0:
                tail -= 1  # it has yet to come onto the lane
            fill = (tail + 1 - starts[lane]) * JAM_SPACING_M / roads.sensed_m[lane]
            total_mps = 0.0
            for v in range(starts[lane], tail + 1):
                total_mps += speed_mps[v]
            is_jammed = fill > FULL and total_mps < JAM_MPS * (tail + 1 - starts[lane])
            is_open = not is_jammed and (
                roads.sensed_from_m[lane] > 0.0
                or tail < starts[lane]
                or position_m[tail] > ENTRY_M
                or speed_mps[tail] > 1.0
            )
            if is_open:
                queues.blocked[way] = False
                break


@compiled
def note_flow(layout, queues, flow, now_s):  # type: ignore[no-untyped-def]
    """Hand the planned departures to the junctions downstream."""
    n = flow.size[0]
    for lane in range(queues.length.size):
        for k in range(queues.length[lane]):
            seen = queues.seen[lane, k]
            is_planned = seen.weight == 1.0 and seen.depart_s < np.inf
            if is_planned and n < flow.way.size:
                flow.way[n] = seen.way
                flow.depart_s[n] = now_s + seen.depart_s
                n += 1
    flow.size[0] = n
