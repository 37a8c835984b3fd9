"""Flows given by an engineer, as streams: each movement's own, or an approach's as a whole."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from traffic.model import ModelError, Network
from traffic.optimization.streams import Stream, build_streams, shape_streams


@dataclass(frozen=True, slots=True)
class GivenFlow:
    """Flow of an approach, or of its movement to one link; `where` names its place in the file."""

    approach: str
    to_link: str | None
    flow_vph: float
    where: str = ""


def build_given_streams(
    network: Network, flows: Iterable[GivenFlow]
) -> dict[str, tuple[Stream, ...]]:
    """Return junction -> streams. What nobody gave is 0.

    Raises ModelError listing every flow of an unknown approach or movement, below 0, given twice,
    or above what the lanes can let through all the time.
    """
    problems: list[str] = []
    whole_vph: dict[str, float] = {}
    by_phase: dict[tuple[str, str], float] = {}
    seen: set[tuple[str, str | None]] = set()
    for flow in flows:
        name = f"{flow.where}: approach {flow.approach}"
        approach = network.approaches.get(flow.approach)
        if approach is None:
            problems.append(f"{name}: unknown; known are {', '.join(sorted(network.approaches))}")
            continue
        if not (math.isfinite(flow.flow_vph) and flow.flow_vph >= 0):
            problems.append(f"{name}: flow_vph {flow.flow_vph} must be finite and not negative")
            continue
        key = (flow.approach, flow.to_link)
        others = {to_link for approach, to_link in seen if approach == flow.approach}
        if flow.to_link in others or (others and None in others | {flow.to_link}):
            problems.append(f"{name}: its flow is given twice")
        seen.add(key)
        if flow.to_link is None:
            whole_vph[flow.approach] = flow.flow_vph
            _check_saturation(
                name, flow.flow_vph, network.saturation_vph * approach.lanes, problems
            )
            continue
        phases = [
            phase.id
            for phase in network.junctions[approach.junction].phases
            if phase.id in approach.phases
            and any(
                m.to_link == flow.to_link and m.from_link in approach.links for m in phase.movements
            )
        ]
        if not phases:
            problems.append(f"{name}: no signal lets it go to link {flow.to_link}")
        for phase in phases:
            pair = (flow.approach, phase)
            by_phase[pair] = by_phase.get(pair, 0.0) + flow.flow_vph / len(phases)
    for (approach_id, phase), vph in sorted(by_phase.items()):
        lanes = network.approaches[approach_id].count_lanes(phase)
        name = f"approach {approach_id}, phase {phase}"
        _check_saturation(name, vph, network.saturation_vph * lanes, problems)
    if problems:
        raise ModelError("flows", problems)
    return {
        id_: _build_streams(network, id_, whole_vph, by_phase) for id_ in sorted(network.junctions)
    }


def _check_saturation(name: str, vph: float, most_vph: float, problems: list[str]) -> None:
    if vph > most_vph:
        problems.append(f"{name}: {vph:g} veh/h is above its saturation flow, {most_vph:g} veh/h")


def _build_streams(
    network: Network,
    junction: str,
    whole_vph: Mapping[str, float],
    by_phase: Mapping[tuple[str, str], float],
) -> tuple[Stream, ...]:
    own = [a.id for a in network.approaches.values() if a.junction == junction]
    shared = build_streams(network, junction, {id_: whole_vph.get(id_, 0.0) for id_ in own})
    flows_vph = {
        (s.approach, s.phase): s.flow_vph
        if s.approach in whole_vph
        else by_phase.get((s.approach, s.phase), 0.0)
        for s in shared
    }
    return shape_streams(network, junction, flows_vph, {})
