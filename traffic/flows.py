"""Measured flows: of approaches, of lanes at their stop lines, of any group of loops."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from traffic.model import Approach, DetectorKind, Network
from traffic.readings import LoopBatch, Quality
from traffic.units import SECONDS_PER_HOUR, to_vph

_SMOOTH_S = 300.0  # time constant


def is_trusted(batch: LoopBatch) -> NDArray[np.bool_]:
    """Return for each detector whether its quality lets its values be used."""
    return np.isin(batch.quality, (int(Quality.GOOD), int(Quality.ESTIMATED)))


def find_known(batch: LoopBatch, values: NDArray[np.float64]) -> dict[str, float]:
    """Return detector -> value for those values (D) that are there and can be trusted."""
    known = np.flatnonzero(is_trusted(batch) & ~np.isnan(values))
    return {batch.detectors[i]: float(values[i]) for i in known}


class LoopFlows:
    """Flow over named groups of loops, smoothed.

    A loop without a trustworthy count is left out and the others stand for it; a group with none
    keeps its last flow, NaN before the first.
    """

    def __init__(self, groups: Mapping[str, frozenset[str]]) -> None:
        self._groups = {name: tuple(sorted(loops)) for name, loops in groups.items()}
        self.flow_vph: dict[str, float] = dict.fromkeys(groups, math.nan)
        self._detectors: tuple[str, ...] | None = None  # of the last batch
        self._at: dict[str, list[int]] = {}  # group -> positions of its loops in a batch

    def _place(self, detectors: tuple[str, ...]) -> None:
        self._detectors = detectors
        index = {loop: i for i, loop in enumerate(detectors)}
        self._at = {
            name: [index[loop] for loop in loops if loop in index]
            for name, loops in self._groups.items()
        }

    def update(self, batch: LoopBatch) -> None:
        if batch.detectors != self._detectors:
            self._place(batch.detectors)
        counts = to_vph(batch.count_veh, batch.interval_s)
        is_known = (is_trusted(batch) & ~np.isnan(counts)).tolist()
        vph = counts.tolist()
        gain = 1 - math.exp(-batch.interval_s / _SMOOTH_S)
        for name, loops in self._groups.items():
            known = [vph[i] for i in self._at[name] if is_known[i]]
            if not known:
                continue
            now_vph = sum(known) * len(loops) / len(known)
            last_vph = self.flow_vph[name]
            is_first = math.isnan(last_vph)
            self.flow_vph[name] = now_vph if is_first else last_vph + gain * (now_vph - last_vph)


def name_lane_flow(approach: str, lane: int) -> str:
    """Return the name under which `build_approach_flows` meters one lane of an approach."""
    return f"{approach}/{lane}"


def find_phase_flow_vph(
    approach: Approach, phases: Iterable[str], flow_vph: Mapping[str, float]
) -> float:
    """Return what was measured in the lanes of these phases, or else on the whole approach."""
    phases = tuple(phases)
    lanes = {lane for phase in phases for lane in approach.phase_lanes.get(phase, ())}
    own = sum(flow_vph.get(name_lane_flow(approach.id, lane), math.nan) for lane in lanes)
    if has_own_lanes(approach, phases) and not math.isnan(own):
        return own
    return flow_vph.get(approach.id, math.nan)


def has_own_lanes(approach: Approach, phases: Iterable[str]) -> bool:
    """Whether each of these phases has lanes at the stop line, and no other phase uses them."""
    phases = set(phases)
    own = {lane for phase in phases for lane in approach.phase_lanes.get(phase, ())}
    others = {
        lane
        for phase, lanes in approach.phase_lanes.items()
        for lane in lanes
        if phase not in phases
    }
    return phases <= approach.phase_lanes.keys() and own.isdisjoint(others)


class MeanFlows:
    """Flow over named groups of loops, the mean of all intervals added, or the more of the later
    ones the more often the earlier ones were let fade."""

    def __init__(self, groups: Mapping[str, frozenset[str]]) -> None:
        self._groups = {name: tuple(sorted(loops)) for name, loops in groups.items()}
        self._count_veh: dict[str, float] = {}  # loop -> vehicles
        self._known_s: dict[str, float] = {}  # loop -> time with a count

    def add(self, batch: LoopBatch) -> None:
        for loop, count in find_known(batch, batch.count_veh).items():
            self._count_veh[loop] = self._count_veh.get(loop, 0.0) + count
            self._known_s[loop] = self._known_s.get(loop, 0.0) + batch.interval_s

    def fade(self, kept: float) -> None:
        """Let everything added so far count for this share of what it did, 0..1."""
        self._count_veh = {loop: kept * count for loop, count in self._count_veh.items()}
        self._known_s = {loop: kept * time_s for loop, time_s in self._known_s.items()}

    def build_flow_vph(self, known_s: float = 0.0) -> dict[str, float]:
        """Return group -> flow; loops known for less time than told are left out and the others
        stand for them, NaN where none told anything."""
        flow_vph = {}
        for name, loops in self._groups.items():
            known = [
                self._count_veh[loop] / self._known_s[loop] * SECONDS_PER_HOUR
                for loop in loops
                if self._known_s.get(loop, 0.0) >= max(known_s, 1e-9)
            ]
            flow_vph[name] = sum(known) * len(loops) / len(known) if known else math.nan
        return flow_vph


def build_approach_flows(network: Network) -> LoopFlows:
    """Return the meters of every approach, and of its lanes at the stop line."""
    return LoopFlows(group_loops(network))


def group_loops(network: Network) -> dict[str, frozenset[str]]:
    """Return the loops that meter each approach, and each of its lanes at the stop line.

    An approach is metered at its stop line, or else at its advance loops.
    """
    groups = dict.fromkeys(network.approaches, frozenset[str]())
    for kind in (DetectorKind.ADVANCE, DetectorKind.STOP_LINE):
        for approach in groups:
            loops = frozenset(
                d.id
                for d in network.detectors.values()
                if d.approach == approach and d.kind is kind
            )
            groups[approach] = loops or groups[approach]
    lanes = {
        name_lane_flow(d.approach, d.lane): frozenset({d.id})
        for d in network.detectors.values()
        if d.kind is DetectorKind.STOP_LINE and d.approach is not None
    }
    return groups | lanes


def find_section(network: Network, link: str) -> frozenset[str]:
    """Return the loops of the fullest cross-section on a link, the last of equals."""
    sections: dict[int, set[str]] = {}
    for detector in network.detectors.values():
        if detector.link == link:
            sections.setdefault(round(detector.position_m / 10), set()).add(detector.id)
    best = max(sections, key=lambda at: (len(sections[at]), at), default=None)
    return frozenset() if best is None else frozenset(sections[best])
