"""Lanes as loops let one imagine them, for a controller that wants to see vehicles."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traffic.flows import is_trusted
from traffic.lanes import UNKNOWN_TURN, LaneMap
from traffic.model import Detector, DetectorKind, Network
from traffic.optimization.imagined import ROOM, Ground, build_memory
from traffic.optimization.joined import Joined
from traffic.optimization.layout import Roads, find_stops, list_stop_lanes, pack_offsets
from traffic.optimization.loop_events import list_vehicles, pass_second
from traffic.readings import LoopBatch

BESIDE = {DetectorKind.ADVANCE: 0.0, DetectorKind.TAIL: 0.3}  # who change lanes after the loop


class _Gate(NamedTuple):
    """A loop upstream of stop lines; targets by lane at a stop line."""

    detector: Detector
    lane: str
    to_m: Mapping[int, float]
    weight: Mapping[int, float]


class _Stop(NamedTuple):
    """A loop of one lane at a stop line, on a joint before it where the lane itself has no room."""

    detector: Detector
    to_m: float


class LoopView:
    """Vehicles between loops and stop lines, moved and corrected second by second.

    `starts`, `position_m`, `speed_mps` and `turn` tell of them as a LaneBatch would; the last three
    are longer than there are vehicles.
    """

    def __init__(self, network: Network, lanes: LaneMap, junctions: Sequence[Joined]) -> None:
        stop_lanes = list_stop_lanes(junctions)
        stops, gates = _find_loops(network, lanes, junctions, stop_lanes)
        names = sorted(
            {stop.detector.id for stop in stops.values()} | {gate.detector.id for gate in gates}
        )
        self.loops = frozenset(names)
        self._names = tuple(names)
        self._ground = _build_ground(network, lanes, junctions, stops, gates, names)
        self._memory = build_memory(self._ground, len(names))
        self._places: tuple[tuple[str, ...], NDArray[np.intp]] = ((), np.zeros(0, dtype=np.intp))
        self._has_begun = False
        most = len(stop_lanes) * ROOM + len(gates)
        self.starts = np.zeros(len(lanes.sensed) + 1, dtype=np.int32)
        self.position_m = np.zeros(most)
        self.speed_mps = np.zeros(most)
        self.turn = np.full(most, UNKNOWN_TURN, dtype=np.int32)
        self.halted = np.zeros(0, dtype=np.int32)  # loops do not look into junctions

    def narrow(self, roads: Roads) -> Roads:
        """Return the roads with sight from the farthest loops on, and tails seen by tail loops."""
        sight_m = np.zeros(roads.sight_m.size)
        from_m = roads.sensed_from_m.copy()
        g = self._ground
        for gate in range(g.gate_loop.size):
            for i in range(g.target0[gate], g.target0[gate + 1]):
                sight_m[g.target[i]] = max(sight_m[g.target[i]], g.gate_m[gate])
            if g.gate_is_tail[gate] and g.gate_sensed[gate] >= 0:
                from_m[g.gate_sensed[gate]] = 0.0
        return roads._replace(
            sight_m=sight_m,
            sensed_from_m=from_m,
            known_m=np.minimum(roads.known_m, sight_m),
        )

    def update(self, batch: LoopBatch, red_s: NDArray[np.float64]) -> None:
        """Let the batch's second pass; `red_s` of all phases is 0 while green."""
        if batch.detectors != self._places[0]:
            place = {loop: i for i, loop in enumerate(batch.detectors)}
            nowhere = len(batch.detectors)
            self._places = batch.detectors, np.array([place.get(x, nowhere) for x in self._names])
        at = self._places[1]
        count, occupancy, speed_mps = (
            np.append(values, np.nan)[at]
            for values in (batch.count_veh, batch.occupancy, batch.speed_mps)
        )
        is_good = np.append(is_trusted(batch), False)[at] & ~np.isnan(count) & ~np.isnan(occupancy)
        if self._has_begun or is_good.any():  # before the first second has passed loops are silent
            pass_second(self._ground, self._memory, count, occupancy, speed_mps, is_good, red_s)
        self._has_begun = True
        list_vehicles(self._ground, self._memory, self.starts, self.position_m, self.speed_mps)


def _find_loops(
    network: Network, lanes: LaneMap, junctions: Sequence[Joined], stop_lanes: Sequence[str]
) -> tuple[dict[int, _Stop], list[_Gate]]:
    """Return stop-line loops by lane, and the loops upstream, those nearer to it first."""
    ours = {member.id for one in junctions for member in one.members}
    at = {lane: i for i, lane in enumerate(stop_lanes)}
    stops: dict[int, _Stop] = {}
    gates = []
    beside: dict[str, list[str]] = {}
    for lane in stop_lanes:
        beside.setdefault(lanes.lanes[lane].link, []).append(lane)
    for detector in network.detectors.values():
        lane = f"{detector.link}_{detector.lane}"
        if detector.approach is None or lane not in lanes.lanes:
            continue
        approach = network.approaches[detector.approach]
        if approach.junction not in ours:
            continue
        found = {
            at[x]: m - detector.position_m
            for x, m in find_stops(lanes, lane)
            if x in at and lanes.lanes[x].link == approach.links[-1]
        }
        if detector.kind is DetectorKind.STOP_LINE:
            if len(found) == 1:  # before a fork nobody knows for which lane it has counted
                stops.update(dict.fromkeys(found, _Stop(detector, *found.values())))
        elif detector.kind in BESIDE:
            weight = dict.fromkeys(found, 1.0)
            if lane in at and BESIDE[detector.kind] > 0:
                for mate in beside[detector.link]:  # as far away as its own lane
                    if mate != lane:
                        found[at[mate]] = found[at[lane]]
                        weight[at[mate]] = BESIDE[detector.kind]
            if found:
                gates.append(_Gate(detector, lane, found, weight))
    gates.sort(key=lambda gate: (gate.detector.kind is DetectorKind.TAIL, gate.detector.id))
    return stops, gates


def _build_ground(
    network: Network,
    lanes: LaneMap,
    junctions: Sequence[Joined],
    stops: Mapping[int, _Stop],
    gates: Sequence[_Gate],
    names: Sequence[str],
) -> Ground:
    stop_lanes = list_stop_lanes(junctions)
    members: dict[str, list[int]] = {}
    for i, lane in enumerate(stop_lanes):
        members.setdefault(lanes.lanes[lane].link, []).append(i)
    numbers = {link: i for i, link in enumerate(members)}
    group = [numbers[lanes.lanes[lane].link] for lane in stop_lanes]
    sensed = {lane: i for i, lane in enumerate(lanes.sensed)}
    ends = set(stop_lanes)
    loop_at = {name: i for i, name in enumerate(names)}
    phases: dict[str, list[int]] = {}
    first = 0
    for one in junctions:
        number = {phase.id: first + i for i, phase in enumerate(one.junction.phases)}
        for way, phase in zip(one.ways, one.lines, strict=True):
            known = phases.setdefault(way.from_lane, [])
            known.append(-1 if phase is None else number[phase])
        first += len(number)
    between = {lane for one in junctions for lane in one.over}
    length_m = np.array([lanes.lanes[lane].length_m for lane in stop_lanes])
    last = {kind: np.full(len(stop_lanes), -1, dtype=np.int32) for kind in BESIDE}
    is_side = [
        gate.detector.link not in network.approaches[str(gate.detector.approach)].links
        for gate in gates
    ]
    for k, gate in enumerate(gates):
        for i, weight in gate.weight.items() if not is_side[k] else ():
            if last[gate.detector.kind][i] < 0 or weight == 1.0:
                last[gate.detector.kind][i] = k
    end_m = length_m.copy()
    for approach in network.approaches.values():
        if approach.links[-1] in members:
            end_m[members[approach.links[-1]]] = sum(
                network.links[link].length_m for link in approach.links
            )
    return Ground(
        pack_offsets([len(own) for own in members.values()]),
        np.array([i for own in members.values() for i in own], dtype=np.int32),
        np.array(group, dtype=np.int32),
        length_m,
        np.array([lanes.lanes[lane].speed_mps for lane in stop_lanes]),
        np.array([sensed[lane] for lane in stop_lanes], dtype=np.int32),
        pack_offsets([len(phases[lane]) for lane in stop_lanes]),
        np.array([p for lane in stop_lanes for p in phases[lane]], dtype=np.int32),
        np.array(
            [loop_at[stops[i].detector.id] if i in stops else -1 for i in range(len(stop_lanes))],
            dtype=np.int32,
        ),
        np.array([stops[i].to_m if i in stops else 0.0 for i in range(len(stop_lanes))]),
        last[DetectorKind.ADVANCE],
        last[DetectorKind.TAIL],
        end_m,
        np.array([lane in between for lane in stop_lanes], dtype=np.bool_),
        np.array([loop_at[gate.detector.id] for gate in gates], dtype=np.int32),
        np.array([min(gate.to_m.values()) for gate in gates], dtype=np.float64),
        np.array([gate.detector.kind is DetectorKind.TAIL for gate in gates], dtype=np.bool_),
        np.array(is_side, dtype=np.bool_),
        np.array([group[min(gate.to_m)] for gate in gates], dtype=np.int32),
        np.array(
            [-1 if gate.lane in ends else sensed.get(gate.lane, -1) for gate in gates],
            dtype=np.int32,
        ),
        np.array([gate.detector.position_m for gate in gates], dtype=np.float64),
        pack_offsets([len(gate.to_m) for gate in gates]),
        np.array([i for gate in gates for i in gate.to_m], dtype=np.int32),
        np.array([gate.weight[i] for gate in gates for i in gate.to_m], dtype=np.float64),
    )
