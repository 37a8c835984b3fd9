"""Junctions, lanes and the ways between them as arrays, for a city that decides in one batch."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traffic.lanes import SENSED_M, LaneMap, Way
from traffic.model import Junction
from traffic.optimization.joined import Joined

DEEP_M = 22.5  # through a junction: who waits half way has room for one more behind him


class Layout(NamedTuple):
    """Junctions as arrays. Lanes, ways, phases and stages are numbered within their junction."""

    lane0: NDArray[np.int32]  # J + 1, where each junction's lanes begin
    way0: NDArray[np.int32]  # J + 1
    phase0: NDArray[np.int32]  # J + 1
    stage0: NDArray[np.int32]  # J + 1
    green0: NDArray[np.int32]  # J + 1
    follows0: NDArray[np.int32]  # J + 1
    delay0: NDArray[np.int32]  # J + 1
    inter0: NDArray[np.int32]  # J + 1
    way_lane: NDArray[np.int32]  # W
    way_phase: NDArray[np.int32]  # W, -1 where no signal stops it
    way_line: NDArray[np.int32]  # W, the phase of its stop line, where more stop it after that
    way_over: NDArray[np.int32]  # W, lane that it leads over to a second stop line, or -1
    is_between: NDArray[np.bool_]  # L, some way leads over this lane to a second stop line
    turns_on_red: NDArray[np.bool_]  # W, where it gives way it stops first
    way_exit: NDArray[np.int32]  # W, position in LaneMap.exits
    lane_way0: NDArray[np.int32]  # L + 1, ways of each lane, in the city's numbers
    foe0: NDArray[np.int32]  # W + 1
    foe: NDArray[np.int32]  # ways yielded to
    green: NDArray[np.int8]  # per junction S x P: 0 red, 1 permissive, 2 protected
    is_deep: NDArray[np.bool_]  # as green: gives way, with room behind within the junction
    is_permissive: NDArray[np.int8]  # S, whether a way gives way in the stage
    follows: NDArray[np.int8]  # per junction S x S
    is_barred: NDArray[np.bool_]  # S, may follow none: left as soon as another may
    wait_s: NDArray[np.float64]  # per junction S x S, from a change until it helps somebody
    delay_s: NDArray[np.float64]  # per junction S x S x P, end of one stage to start of green
    inter_s: NDArray[np.float64]  # per junction P x P, lost to gained, -inf without conflict
    regain_s: NDArray[np.float64]  # P, from the end of a green to its next start
    min_green_s: NDArray[np.float64]  # P
    max_green_s: NDArray[np.float64]  # P
    max_red_s: NDArray[np.float64]  # P
    stage_lane0: NDArray[np.int32]  # S + 1
    stage_lane: NDArray[np.int32]  # lanes with a green way in the stage
    is_joined: NDArray[np.bool_]  # J, made of several of the street's
    round_s: NDArray[np.float64]  # J, in which every stage can be shown once, at its shortest


class Roads(NamedTuple):
    """How vehicles come to the lanes at stop lines, in the city's numbers."""

    target0: NDArray[np.int32]  # N + 1, sensed lanes
    target: NDArray[np.int32]  # lanes at stop lines that a sensed lane leads to
    target_m: NDArray[np.float64]  # from the sensed lane's upstream end to that stop line
    lane_mps: NDArray[np.float64]  # L
    sight_m: NDArray[np.float64]  # L, how far upstream of the stop line vehicles are known
    known_m: NDArray[np.float64]  # L, sight_m, or less where the lanes begin nearer
    is_alone: NDArray[np.bool_]  # L, no way of these junctions leads to its junction
    mates0: NDArray[np.int32]  # L + 1
    mates: NDArray[np.int32]  # lanes of the same link, the lane itself among them
    next0: NDArray[np.int32]  # W + 1, where a way leads on to
    next: NDArray[np.int32]  # lanes at the next stop lines
    next_m: NDArray[np.float64]  # to that stop line
    exit_sensed0: NDArray[np.int32]  # W + 1
    exit_sensed: NDArray[np.int32]  # sensed lanes of the link that a way leads to
    sensed_m: NDArray[np.float64]  # N, lengths
    sensed_from_m: NDArray[np.float64]  # N, where sensing begins


def pack_offsets(sizes: Sequence[int]) -> NDArray[np.int32]:
    """Return where each of the runs of these sizes begins, and where the last one ends."""
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)


def list_stop_lanes(junctions: Sequence[Joined]) -> list[str]:
    """The lanes that end at the junctions' stop lines: the axis L."""
    return [lane for one in junctions for lane in dict.fromkeys(w.from_lane for w in one.ways)]


def find_deep(ways: Sequence[Way]) -> frozenset[str]:
    """Phases that lead so far through a junction that another finds room behind who waits in it."""
    return frozenset(w.phase for w in ways if w.phase is not None and w.length_m >= DEEP_M)


def build_layout(lanes: LaneMap, junctions: Sequence[Joined], turns_s: float = 0.0) -> Layout:
    """Return the junctions' signals as arrays, in the order given.

    From one stage to another in which somebody deep in the junction gives way, too, the latter
    starts `turns_s` later than its stage.
    """
    exits = {link: i for i, link in enumerate(lanes.exits)}
    at = {lane: i for i, lane in enumerate(list_stop_lanes(junctions))}
    between = {lane for one in junctions for lane in one.over}
    sizes: dict[str, list[int]] = {name: [] for name in ("lane", "way", "phase", "stage")}
    way_lane, way_phase, way_line, way_exit, lane_ways, foes = [], [], [], [], [], []
    turns_on_red: list[bool] = []
    is_deep: list[bool] = []
    green, is_permissive, follows, inter_s, regain_s = [], [], [], [], []
    wait_s: list[float] = []
    delay_s: list[float] = []
    stage_lanes: list[list[int]] = []
    limits = []
    round_s = []
    is_barred: list[bool] = []
    for one in junctions:
        junction, ways = one.junction, one.ways
        stop_lanes = list(dict.fromkeys(way.from_lane for way in ways))
        phase_at = {phase.id: i for i, phase in enumerate(junction.phases)}
        for name, size in zip(
            sizes, (stop_lanes, ways, junction.phases, junction.stages), strict=True
        ):
            sizes[name].append(len(size))
        way_lane += [stop_lanes.index(way.from_lane) for way in ways]
        way_phase += [-1 if way.phase is None else phase_at[way.phase] for way in ways]
        on_red = {phase.id for phase in junction.phases if phase.turns_on_red}
        turns_on_red += [way.phase in on_red for way in ways]
        way_line += [-1 if phase is None else phase_at[phase] for phase in one.lines]
        way_exit += [exits[link] for link in one.turns]
        lane_ways += [sum(way.from_lane == lane for way in ways) for lane in stop_lanes]
        foes += [way.yields_to for way in ways]
        deep = find_deep(ways)
        order = junction.successors
        for stage in junction.stages:
            aspect = [
                2 if p.id in stage.protected else int(p.id in stage.permissive)
                for p in junction.phases
            ]
            green += aspect
            is_deep += [p.id in deep & stage.permissive for p in junction.phases]
            is_permissive.append(
                any(w.phase is not None and aspect[phase_at[w.phase]] == 1 for w in ways)
            )
            stage_lanes.append(
                [
                    i
                    for i, lane in enumerate(stop_lanes)
                    if any(
                        w.from_lane == lane and (w.phase is None or aspect[phase_at[w.phase]])
                        for w in ways
                    )
                ]
            )
            follows += [order is None or s.id in order[stage.id] for s in junction.stages]
        is_barred += [
            order is not None and not any(s.id in after for after in order.values())
            for s in junction.stages
        ]
        times_s = _measure_changes(junction)
        inter_s += times_s.tolist()
        own_s = _measure_delays(junction, times_s, deep, turns_s)
        delay_s += own_s
        wait_s += _measure_waits(junction, own_s)
        regain_s += _measure_regains(junction)
        round_s.append(
            sum(_measure_round(m, find_deep(lanes.ways[m.id]), turns_s) for m in one.members)
        )
        limits += [(p.min_green_s, p.max_green_s, p.max_red_s) for p in junction.phases]
    stages, phases = np.array(sizes["stage"]), np.array(sizes["phase"])
    floats = np.array(limits, dtype=np.float64).reshape(-1, 3)
    return Layout(
        pack_offsets(sizes["lane"]),
        pack_offsets(sizes["way"]),
        pack_offsets(sizes["phase"]),
        pack_offsets(sizes["stage"]),
        pack_offsets(stages * phases),
        pack_offsets(stages * stages),
        pack_offsets(stages * stages * phases),
        pack_offsets(phases * phases),
        np.array(way_lane, dtype=np.int32),
        np.array(way_phase, dtype=np.int32),
        np.array(way_line, dtype=np.int32),
        np.array(
            [-1 if x is None else at[x] for one in junctions for x in one.over], dtype=np.int32
        ),
        np.array([lane in between for lane in at], dtype=np.bool_),
        np.array(turns_on_red, dtype=np.bool_),
        np.array(way_exit, dtype=np.int32),
        pack_offsets(lane_ways),
        pack_offsets([len(own) for own in foes]),
        np.array([f for own in foes for f in own], dtype=np.int32),
        np.array(green, dtype=np.int8),
        np.array(is_deep, dtype=np.bool_),
        np.array(is_permissive, dtype=np.int8),
        np.array(follows, dtype=np.int8),
        np.array(is_barred, dtype=np.bool_),
        np.array(wait_s, dtype=np.float64),
        np.array(delay_s, dtype=np.float64),
        np.array(inter_s, dtype=np.float64),
        np.array(regain_s, dtype=np.float64),
        floats[:, 0].copy(),
        floats[:, 1].copy(),
        floats[:, 2].copy(),
        pack_offsets([len(own) for own in stage_lanes]),
        np.array([lane for own in stage_lanes for lane in own], dtype=np.int32),
        np.array([len(one.members) > 1 for one in junctions], dtype=np.bool_),
        np.array(round_s, dtype=np.float64),
    )


def _measure_changes(junction: Junction) -> NDArray[np.float64]:
    """Return P x P flat: seconds from one phase's end of green to another's start, or -inf."""
    names = [phase.id for phase in junction.phases]
    return np.array(
        [
            junction.intergreens[one, other].total_s
            if junction.is_conflict(one, other)
            else -np.inf
            for one in names
            for other in names
        ],
        dtype=np.float64,
    )


def _measure_delays(
    junction: Junction, times_s: NDArray[np.float64], deep: frozenset[str], turns_s: float
) -> list[float]:
    """Return S x S x P flat: seconds from the end of a stage to a phase's green in another."""
    names = [phase.id for phase in junction.phases]
    between_s = times_s.reshape(len(names), len(names))
    delays_s = []
    for one in junction.stages:
        for other in junction.stages:
            lost = [i for i, name in enumerate(names) if name in one.green - other.green]
            own_s = [float(max([*between_s[lost, i], 0.0])) for i in range(len(names))]
            late = deep & other.permissive - one.green if deep & one.permissive else frozenset()
            delays_s += [
                delay_s + (turns_s if name in late else 0.0)
                for name, delay_s in zip(names, own_s, strict=True)
            ]
    return delays_s


def _measure_round(junction: Junction, deep: frozenset[str], turns_s: float) -> float:
    """Seconds in which every stage can be shown once, at its shortest."""
    delay_s = _measure_delays(junction, _measure_changes(junction), deep, turns_s)
    count, size = len(junction.stages), len(junction.phases)
    changes_s = np.array(delay_s).reshape(count, count, size)
    total_s = 0.0
    for k, after in enumerate(junction.stages):
        longest_s = 0.0
        for i, before in enumerate(junction.stages):
            gained = [
                1.0 + changes_s[i, k, p] + phase.min_green_s
                for p, phase in enumerate(junction.phases)
                if phase.id in after.green - before.green
            ]
            longest_s = max([longest_s, *gained])
        total_s += longest_s
    return total_s


def _measure_waits(junction: Junction, delay_s: Sequence[float]) -> list[float]:
    """Return S x S flat: seconds from a change until it helps the first of its phases."""
    names = [phase.id for phase in junction.phases]
    waits_s, at = [], 0
    for one in junction.stages:
        for other in junction.stages:
            gained = [delay_s[at + i] for i, p in enumerate(names) if p in other.green - one.green]
            # Those that a phase gives way to may be the ones who lose green.
            waits_s.append(0.0 if other.green & one.permissive else min(gained, default=np.inf))
            at += len(names)
    return waits_s


def _measure_regains(junction: Junction) -> list[float]:
    """As the interlock holds it: a phase shows its amber and a second of red before it returns."""
    found = []
    for phase in junction.phases:
        own = [time for (lost, _), time in junction.intergreens.items() if lost == phase.id]
        amber_s = max((time.amber_s for time in own), default=3.0)
        found.append(max([amber_s + 1.0, *(time.total_s for time in own)]))
    return found


def build_roads(lanes: LaneMap, junctions: Sequence[Joined]) -> Roads:
    """Return how the junctions' stop lines are reached, in the order of their lanes and ways."""
    stop_lanes = list_stop_lanes(junctions)
    at = {lane: i for i, lane in enumerate(stop_lanes)}
    sensed_at = {lane: i for i, lane in enumerate(lanes.sensed)}
    reach = {lane: find_stops(lanes, lane) for lane in lanes.lanes}
    ours = {
        lane: [(at[stop], m) for stop, m in found if stop in at] for lane, found in reach.items()
    }
    ways = [way for one in junctions for way in one.ways]
    by_link: dict[str, list[str]] = {}
    for lane in lanes.lanes.values():
        by_link.setdefault(lane.link, []).append(lane.id)
    onward = []
    for way in ways:
        # On the way to the next stop line a driver may still change lanes: all that its link's
        # lanes lead to.
        best: dict[int, float] = {}
        for id_ in by_link.get(way.to_link, ()) if way.to_lane in lanes.lanes else ():
            for stop, m in ours[id_]:
                best[stop] = min(best.get(stop, np.inf), m + way.length_m)
        onward.append(sorted(best.items()))
    beside = [
        [at[mate] for mate in by_link[lanes.lanes[own].link] if mate in at] for own in stop_lanes
    ]
    owner = [i for i, one in enumerate(junctions) for _ in list_stop_lanes((one,))]
    fed = {owner[stop] for own in onward for stop, _ in own}
    between = {lane for one in junctions for lane in one.over}
    is_alone = np.array(
        [i not in fed and lane not in between for i, lane in zip(owner, stop_lanes, strict=True)],
        dtype=np.bool_,
    )
    known_m = np.zeros(len(stop_lanes))
    for id_ in lanes.sensed:
        for stop, m in ours[id_]:
            known_m[stop] = min(SENSED_M, max(known_m[stop], m))
    exit_lanes = [
        [sensed_at[i] for i in by_link.get(way.to_link, ()) if i in sensed_at] for way in ways
    ]
    return Roads(
        pack_offsets([len(ours[lane]) for lane in lanes.sensed]),
        np.array([stop for lane in lanes.sensed for stop, _ in ours[lane]], dtype=np.int32),
        np.array([m for lane in lanes.sensed for _, m in ours[lane]], dtype=np.float64),
        np.array([lanes.lanes[lane].speed_mps for lane in stop_lanes], dtype=np.float64),
        np.full(len(stop_lanes), SENSED_M),
        known_m,
        is_alone,
        pack_offsets([len(own) for own in beside]),
        np.array([mate for own in beside for mate in own], dtype=np.int32),
        pack_offsets([len(own) for own in onward]),
        np.array([stop for own in onward for stop, _ in own], dtype=np.int32),
        np.array([m for own in onward for _, m in own], dtype=np.float64),
        pack_offsets([len(own) for own in exit_lanes]),
        np.array([i for own in exit_lanes for i in own], dtype=np.int32),
        np.array([lanes.lanes[lane].length_m for lane in lanes.sensed], dtype=np.float64),
        np.array(
            [
                lanes.lanes[lane].stop_m + lanes.lanes[lane].length_m - SENSED_M
                for lane in lanes.sensed
            ],
            dtype=np.float64,
        ),
    )


def find_stops(lanes: LaneMap, start: str) -> list[tuple[str, float]]:
    """Return the lanes at stop lines that a lane leads to, and the meters from its upstream end."""
    found: dict[str, float] = {}
    edge = [(start, 0.0)]
    best = {start: 0.0}
    while edge:
        id_, before_m = edge.pop()
        lane = lanes.lanes[id_]
        end_m = before_m + lane.length_m
        if not lane.onward:
            found[id_] = min(found.get(id_, np.inf), end_m)
        for after, across_m in lane.onward:
            if end_m + across_m < best.get(after, np.inf):
                best[after] = end_m + across_m
                edge.append((after, end_m + across_m))
    return sorted(found.items())
