"""Measured or given flows as streams: the traffic of one approach under one phase.

A stop-line loop counts a lane, not a turn. Where phases share lanes their flows are those that
agree best, in least squares, with the counts of the approach, of lanes that one phase has for
itself, and of the approaches that the turns lead to. What these leave open is settled by the
greens of the plan of today and by the shape of the turn: HCM 2010, exhibit 18-12, takes eight of
ten vehicles to go straight on where nobody counted.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.optimize import nnls

from traffic.flows import has_own_lanes, name_lane_flow
from traffic.model import Approach, Link, Network
from traffic.optimization.greens import build_green_runs, get_green_s

PLANNED_SATURATION = 0.85  # degree that a fixed-time plan is taken to be made for
STRAIGHT_RAD = math.pi / 4  # a turn by less goes straight on
STRAIGHT_PARTS = 8.0  # for one part that turns
# How far each kind of equation is trusted: counts at the stop line, counts farther on (vehicles may
# end or begin their trips between), and what is usual.
_AT_LINE, _ONWARD, _USUAL = 10.0, 1.0, 0.2


@dataclass(frozen=True, slots=True)
class LaneUse:
    """One lane that a stream uses: its part of the stream, and what the lane's traffic is."""

    part: float  # of the stream's flow, 0..1
    shares: tuple[tuple[str, float], ...]  # phase -> share of the lane's flow; they sum to 1


@dataclass(frozen=True, slots=True)
class Stream:
    """Traffic of one approach under one phase; `busiest_ratio` is the flow ratio of one lane.

    `lanes` tells those that it shares with other phases; empty when it shares none. `opposed` holds
    (approach, phase, share) of the traffic that it gives way to in a permissive green.
    """

    approach: str
    phase: str
    flow_vph: float
    saturation_vph: float  # of all its lanes
    busiest_ratio: float = 0.0
    lanes: tuple[LaneUse, ...] = ()
    opposed: tuple[tuple[str, str, float], ...] = ()

    @property
    def flow_ratio(self) -> float:
        """Flow over saturation flow, or that of its busiest lane where turns crowd into one."""
        return max(self.flow_vph / self.saturation_vph, self.busiest_ratio)

    @property
    def together(self) -> frozenset[str]:
        """The phases that use its lanes, its own too."""
        return frozenset({self.phase}).union(p for use in self.lanes for p, _ in use.shares)

    def or_more(self, other: "Stream") -> "Stream":
        """Return this stream with the larger figures of two counts."""
        return replace(
            self,
            flow_vph=max(self.flow_vph, other.flow_vph),
            busiest_ratio=max(self.busiest_ratio, other.busiest_ratio),
        )


def build_streams(
    network: Network, junction_id: str, flow_vph: Mapping[str, float]
) -> tuple[Stream, ...]:
    """Share measured flows among phases; `flow_vph` by the names of `traffic.flows.group_loops`.

    A phase that has lanes for itself is counted in them (`name_lane_flow`); a single other one gets
    what these leave of the approach; several others share it as the module says. A flow that is
    missing or NaN is taken at the degree of saturation that plans are made for, PLANNED_SATURATION.
    """
    plan = network.plans[junction_id]
    green_s = get_green_s(build_green_runs(network.junctions[junction_id], plan))
    flows: dict[tuple[str, str], float] = {}
    own: dict[str, dict[str, list[float]]] = {}
    capacity_vph: dict[tuple[str, str], float] = {}
    divided: Mapping[tuple[str, str], float] | None = None
    approaches = _list_approaches(network, junction_id)
    for approach in approaches:
        for phase in approach.phases:
            all_vph = network.saturation_vph * approach.count_lanes(phase)
            capacity_vph[approach.id, phase] = all_vph * green_s[phase] / plan.cycle_s
        own[approach.id] = _find_own_lanes_vph(approach, flow_vph)
    for approach in approaches:
        lanes_vph = own[approach.id]
        flows |= {(approach.id, phase): sum(vph) for phase, vph in lanes_vph.items()}
        others = [phase for phase in approach.phases if phase not in lanes_vph]
        rest = flow_vph.get(approach.id, math.nan) - sum(map(sum, lanes_vph.values()))
        if math.isnan(rest):
            for phase in others:
                usual = PLANNED_SATURATION * capacity_vph[approach.id, phase]
                flows[approach.id, phase] = usual
        elif len(others) == 1:
            flows[approach.id, others[0]] = max(rest, 0.0)
        elif others:
            if divided is None:
                divided = _divide(network, junction_id, flow_vph, own, capacity_vph)
            total = sum(divided[approach.id, phase] for phase in others)
            for phase in others:
                share = divided[approach.id, phase] / total if total > 0 else 1 / len(others)
                flows[approach.id, phase] = max(rest, 0.0) * share
    return shape_streams(network, junction_id, flows, flow_vph)


def shape_streams(
    network: Network,
    junction_id: str,
    flows_vph: Mapping[tuple[str, str], float],
    lanes_vph: Mapping[str, float],
) -> tuple[Stream, ...]:
    """Return the streams of these flows by (approach, phase); what is missing is 0.

    Phases spread over their lanes until these are equally full; `lanes_vph` tells what was counted
    in lanes (`name_lane_flow`), so that one that is fuller counts for its phases.
    """
    opposed = _find_opposed(network, junction_id)
    streams = []
    for approach in _list_approaches(network, junction_id):
        loads = _fill_lanes(approach, flows_vph)
        for phase in approach.phases:
            lanes = approach.phase_lanes.get(phase, ())
            counted = [lanes_vph.get(name_lane_flow(approach.id, lane), 0.0) for lane in lanes]
            busiest = max((vph for vph in counted if not math.isnan(vph)), default=0.0)
            uses, lane_count = _find_uses(approach, phase, loads)
            streams.append(
                Stream(
                    approach.id,
                    phase,
                    flows_vph.get((approach.id, phase), 0.0),
                    network.saturation_vph * (lane_count or approach.count_lanes(phase)),
                    busiest / network.saturation_vph,
                    uses,
                    opposed.get((approach.id, phase), ()),
                )
            )
    return tuple(streams)


def add_diversion(
    network: Network, junction_id: str, streams: Iterable[Stream], via: tuple[str, ...], vph: float
) -> tuple[Stream, ...]:
    """Add a flow that follows the links `via` to the streams that it joins at the junction."""
    joined = {
        (pair[0], phase.id)
        for phase in network.junctions[junction_id].phases
        for pair in pairwise(via)
        if any((m.from_link, m.to_link) == pair for m in phase.movements)
    }
    return tuple(
        replace(stream, flow_vph=stream.flow_vph + vph)
        if any(
            link in network.approaches[stream.approach].links and phase == stream.phase
            for link, phase in joined
        )
        else stream
        for stream in streams
    )


def _list_approaches(network: Network, junction_id: str) -> list[Approach]:
    own = [a for a in network.approaches.values() if a.junction == junction_id and a.phases]
    return sorted(own, key=lambda a: a.id)


def _find_own_lanes_vph(
    approach: Approach, flow_vph: Mapping[str, float]
) -> dict[str, list[float]]:
    """Return phase -> flow of each lane, where it has lanes for itself and all are known."""
    found = {
        phase: [flow_vph.get(name_lane_flow(approach.id, lane), math.nan) for lane in lanes]
        for phase, lanes in approach.phase_lanes.items()
        if has_own_lanes(approach, (phase,))
    }
    return {phase: vph for phase, vph in found.items() if not any(map(math.isnan, vph))}


def _divide(
    network: Network,
    junction_id: str,
    flow_vph: Mapping[str, float],
    own_vph: Mapping[str, Mapping[str, Sequence[float]]],
    capacity_vph: Mapping[tuple[str, str], float],
) -> dict[tuple[str, str], float]:
    """Return the flow of every (approach, phase) that agrees best with all counts."""
    turns = [
        (approach, phase.id, m.from_link, m.to_link)
        for approach in _list_approaches(network, junction_id)
        for phase in network.junctions[junction_id].phases
        for m in phase.movements
        if phase.id in approach.phases and m.from_link in approach.links
    ]
    # By approach: what is usual of its counts, the phases in proportion to what they can carry.
    parts = np.array(
        [
            capacity_vph[a.id, phase]
            * (STRAIGHT_PARTS if _is_straight(network.links, *pair) else 1.0)
            for a, phase, *pair in turns
        ]
    )
    rows: list[list[float]] = []
    told: list[float] = []

    def tell(weight: float, vph: float, members: Sequence[bool]) -> None:
        if not math.isnan(vph) and any(members):
            rows.append([weight * is_member for is_member in members])
            told.append(weight * vph)

    for approach in _list_approaches(network, junction_id):
        total = flow_vph.get(approach.id, math.nan)
        here = [a is approach for a, *_ in turns]
        tell(_AT_LINE, total, here)
        for phase, lanes in own_vph[approach.id].items():
            tell(_AT_LINE, sum(lanes), [a is approach and p == phase for a, p, *_ in turns])
        whole = float(parts[here].sum())
        for i, is_here in enumerate(here):
            if is_here and whole > 0:
                alone = [k == i for k in range(len(turns))]
                tell(_USUAL, total * float(parts[i]) / whole, alone)
    for link in sorted({to for *_, to in turns}):
        after = [a for a in network.approaches.values() if link in a.links]
        if len(after) == 1 and after[0].junction != junction_id:
            onward = flow_vph.get(after[0].id, math.nan)
            tell(_ONWARD, onward, [to == link for *_, to in turns])
    found: dict[tuple[str, str], float] = {}
    solved, _ = nnls(np.array(rows), np.array(told))
    for (approach, phase, *_), vph in zip(turns, solved, strict=True):
        key = (approach.id, phase)
        found[key] = found.get(key, 0.0) + float(vph)
    return {key: found.get(key, 0.0) for key in capacity_vph}


def _is_straight(links: Mapping[str, Link], from_link: str, to_link: str) -> bool:
    (a, b), (c, d) = links[from_link].shape[-2:], links[to_link].shape[:2]
    before, after = math.atan2(b[1] - a[1], b[0] - a[0]), math.atan2(d[1] - c[1], d[0] - c[0])
    return abs(math.remainder(after - before, math.tau)) < STRAIGHT_RAD


def _fill_lanes(
    approach: Approach, flows_vph: Mapping[tuple[str, str], float]
) -> dict[int, dict[str, float]]:
    """Return lane -> phase -> flow: those with the fewest lanes choose first, the emptiest ones."""
    loads: dict[int, dict[str, float]] = {
        lane: {} for lanes in approach.phase_lanes.values() for lane in lanes
    }
    for phase in sorted(approach.phase_lanes, key=lambda p: (len(approach.phase_lanes[p]), p)):
        left = flows_vph.get((approach.id, phase), 0.0)
        there = sorted((sum(loads[lane].values()), lane) for lane in approach.phase_lanes[phase])
        # Pour until all lanes below the common level are filled up to it.
        count = len(there)
        while count > 1:
            level = (left + sum(load for load, _ in there[:count])) / count
            if level >= there[count - 1][0]:
                break
            count -= 1
        level = (left + sum(load for load, _ in there[:count])) / count
        for load, lane in there[:count]:
            loads[lane][phase] = level - load
    return loads


def _find_uses(
    approach: Approach, phase: str, loads: Mapping[int, Mapping[str, float]]
) -> tuple[tuple[LaneUse, ...], float]:
    """Return how a phase shares lanes, and how many of them are its own; none for no flow."""
    if has_own_lanes(approach, (phase,)):
        return (), 0.0
    own = {lane: load[phase] for lane, load in loads.items() if load.get(phase, 0.0) > 0}
    total = sum(own.values())
    uses = []
    lane_count = 0.0
    for lane, vph in sorted(own.items()):
        whole = sum(loads[lane].values())
        shares = tuple((p, v / whole) for p, v in sorted(loads[lane].items()) if v > 0)
        uses.append(LaneUse(vph / total, shares))
        lane_count += vph / whole
    return tuple(uses), lane_count


def _find_opposed(
    network: Network, junction_id: str
) -> dict[tuple[str, str], tuple[tuple[str, str, float], ...]]:
    """Return (approach, phase) -> (approach, phase, share of its flow) of those it gives way to.

    By the ways through the junction where the network tells them, else by its conflicts.
    """
    junction = network.junctions[junction_id]
    approaches = _list_approaches(network, junction_id)
    pairs = [(a.id, phase) for a in approaches for phase in a.phases]
    ways = network.lanes.ways.get(junction_id, ()) if network.lanes is not None else ()
    if not ways:
        return {
            (approach, phase): tuple(
                (other, foe, 1.0)
                for other, foe in pairs
                if other != approach and junction.is_conflict(phase, foe)
            )
            for approach, phase in pairs
        }
    ends = {link: a.id for a in approaches for link in a.links}
    owners = [(ends.get(way.from_lane.rpartition("_")[0], ""), way.phase) for way in ways]
    found = {}
    for pair in pairs:
        own = [way for way, owner in zip(ways, owners, strict=True) if owner == pair]
        shares: dict[tuple[str, str], float] = {}
        for way in own:
            for place in way.yields_to:
                other, foe = owners[place]
                if foe is not None and other not in ("", pair[0]):
                    part = 1 / (len(own) * owners.count((other, foe)))
                    shares[other, foe] = shares.get((other, foe), 0.0) + part
        found[pair] = tuple((*other, share) for other, share in sorted(shares.items()))
    return found
