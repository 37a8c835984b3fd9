"""How many vehicles wait and come in each lane before stop lines, as lanes or loops tell."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from traffic.control import Observation
from traffic.flows import find_known
from traffic.model import DetectorKind, Network
from traffic.readings import LaneBatch, LoopBatch

STANDING_MPS = 2.0  # what is slower stands or creeps in a queue
VEHICLE_M = 7.5  # of a queue, for each vehicle
CLEAR_S = 4.0  # a stop-line loop free for so long while the advance loop is free: nobody between


@dataclass(frozen=True, slots=True)
class Count:
    """Vehicles of one lane, up to 200 m before its stop line, or as far as loops tell."""

    queued_veh: float
    coming_veh: float


class LaneCounts:
    """Counts the lanes of these approaches, named link_lane; call `update` each second.

    Where the field senses lanes, vehicles are counted as they are, a lane that leads to several
    stop lines by equal parts. Else loops tell what came over the advance loop and has not left
    over the stop-line loop; what cannot be trusted leaves its lane out.
    """

    def __init__(self, network: Network, approaches: Iterable[str]) -> None:
        links = {network.approaches[approach].links[-1] for approach in approaches}
        self.lanes = tuple(
            sorted(
                f"{approach.links[-1]}_{lane}"
                for approach in network.approaches.values()
                if approach.links[-1] in links
                for lanes in [approach.phase_lanes.values()]
                for lane in {lane for of_phase in lanes for lane in of_phase}
            )
        )
        self._parts = _find_parts(network, self.lanes)
        self._gates = _find_gates(network, self.lanes)
        self.loops = frozenset(loop for gate in self._gates.values() for loop in gate.loops)

    def update(self, batch: LoopBatch) -> None:
        """Hear the loops of one second."""
        counts = find_known(batch, batch.count_veh)
        occupancies = find_known(batch, batch.occupancy)
        for gate in self._gates.values():
            gate.update(counts, occupancies, batch.interval_s)

    def count(self, seen: Observation) -> dict[str, Count]:
        """Return lane -> vehicles; lanes of which nothing is known are left out."""
        if seen.lanes is not None and self._parts:
            return self._count_sensed(seen.lanes)
        return {
            lane: Count(gate.inside_veh, 0.0) for lane, gate in self._gates.items() if gate.is_known
        }

    def _count_sensed(self, batch: LaneBatch) -> dict[str, Count]:
        standing = np.concatenate(([0], np.cumsum(batch.speed_mps < STANDING_MPS)))  # V + 1
        found = {}
        for lane, parts in self._parts.items():
            queued = total = 0.0
            for place, share in parts:
                first, last = batch.starts[place], batch.starts[place + 1]
                queued += share * float(standing[last] - standing[first])
                total += share * float(last - first)
            found[lane] = Count(queued, total - queued)
        return found


def _find_parts(network: Network, lanes: Iterable[str]) -> dict[str, tuple[tuple[int, float], ...]]:
    """Return lane -> places in a LaneBatch of itself and of what leads to it, with their parts."""
    if network.lanes is None:
        return {}
    known = network.lanes.lanes
    place = {id_: i for i, id_ in enumerate(network.lanes.sensed)}
    before: dict[str, list[tuple[str, float]]] = {}
    for id_, lane in known.items():
        for onward, _ in lane.onward:
            before.setdefault(onward, []).append((id_, 1.0 / len(lane.onward)))
    parts: dict[str, tuple[tuple[int, float], ...]] = {}
    for target in lanes:
        found: dict[str, float] = {target: 1.0} if target in place else {}
        walk = list(found.items())
        for id_, share in walk:  # grows while it is walked
            for upstream, part in before.get(id_, ()):
                if upstream in place and upstream not in found:
                    found[upstream] = share * part
                    walk.append((upstream, share * part))
        parts[target] = tuple((place[id_], share) for id_, share in found.items())
    return parts


class _Gate:
    """One lane between its advance loop and its stop-line loop."""

    def __init__(self, stop: str, advance: str | None, room_m: float) -> None:
        self.loops = (stop,) if advance is None else (stop, advance)
        self.is_known = False
        self.inside_veh = 0.0
        self._stop, self._advance = stop, advance
        self._room_veh = max(1.0, room_m / VEHICLE_M)
        self._free_s = 0.0

    def update(
        self, counts: Mapping[str, float], occupancies: Mapping[str, float], lasted_s: float
    ) -> None:
        self.is_known = all(loop in counts and loop in occupancies for loop in self.loops)
        if not self.is_known:
            self.inside_veh = self._free_s = 0.0
            return
        if self._advance is None:
            self.inside_veh = float(occupancies[self._stop] > 0)
            return
        self.inside_veh += counts[self._advance] - counts[self._stop]
        is_free = occupancies[self._stop] == 0 and occupancies[self._advance] == 0
        self._free_s = self._free_s + lasted_s if is_free else 0.0
        if self._free_s >= CLEAR_S:
            self.inside_veh = 0.0
        least = float(occupancies[self._stop] > 0)
        is_full = occupancies[self._stop] >= 1 and occupancies[self._advance] >= 1
        least = self._room_veh if is_full else least
        self.inside_veh = min(max(self.inside_veh, least), self._room_veh)


def _find_gates(network: Network, lanes: Iterable[str]) -> dict[str, _Gate]:
    wanted = set(lanes)
    loops: dict[tuple[DetectorKind, str], str] = {}
    back_m: dict[str, float] = {}
    for detector in network.detectors.values():
        lane = f"{detector.link}_{detector.lane}"
        if detector.approach is not None and lane in wanted:
            loops[detector.kind, lane] = detector.id
            back_m[detector.id] = network.links[detector.link].length_m - detector.position_m
    gates = {}
    for lane in sorted(wanted):
        stop = loops.get((DetectorKind.STOP_LINE, lane))
        advance = loops.get((DetectorKind.ADVANCE, lane))
        if stop is not None:
            gates[lane] = _Gate(stop, advance, 0.0 if advance is None else back_m[advance])
    return gates
