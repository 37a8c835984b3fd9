"""Offsets on a network: least delay of platoons between neighbors.

For each pair of neighboring signals the delay is a function of the difference of their offsets
alone: the upstream signal turns regular arrivals into a platoon, which spreads on its way, and the
downstream one queues it. The sum over all pairs is minimized exactly (CP-SAT), within a limit.

Sources: platoons spread by D. I. Robertson, TRANSYT: a Traffic Network Study Tool, Road Research
Laboratory Report LR 253, 1969; the sum over pairs by J. A. Hillier, Appendix to Glasgow's
Experiment in Area Traffic Control, Traffic Engineering and Control 7, 1966.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ortools.sat.python import cp_model

from traffic.model import Junction, Network, SafePlan
from traffic.optimization.greens import build_green_runs
from traffic.optimization.permitted import START_S, measure_service
from traffic.optimization.streams import Stream
from traffic.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]

DISPERSION = 0.35  # Robertson's alpha
FIRST_SHARE = 0.8  # Robertson's beta: when the head of a platoon arrives, share of travel time
SOLVER_EFFORT = 2.0  # CP-SAT's deterministic time, so that a run repeats exactly
FURTHEST_JOINTS = 6  # links walked between one signal and the next
_COST_SCALE = 100.0  # vehicle-seconds an hour are told to the solver in whole hundredths


@dataclass(frozen=True, slots=True)
class Feed:
    """Traffic that leaves one signal under a phase and comes to an approach of the next one."""

    from_junction: str
    from_phase: str
    approach: str
    to_junction: str
    travel_s: float
    flow_vph: float
    saturation_vph: float  # of the stream that it is part of, its share
    from_approach: str = ""


def find_feeds(network: Network, streams: Mapping[str, Sequence[Stream]]) -> tuple[Feed, ...]:
    """Return what each signal sends to its neighbors; `streams` by junction.

    Loops do not tell how the traffic of a phase divides: each way out has an equal part.
    """
    follows: dict[str, list[str]] = {}
    for before, after in sorted(network.turns):
        follows.setdefault(before, []).append(after)
    ends = {link: a for a in network.approaches.values() for link in a.links}
    feeds = []
    for id_, junction in sorted(network.junctions.items()):
        exits = {phase.id: phase.movements for phase in junction.phases}
        for stream in streams.get(id_, ()):
            approach = network.approaches[stream.approach]
            ways = [m.to_link for m in exits[stream.phase] if m.from_link in approach.links]
            for to_link in ways:
                reached = _walk(network, follows, ends, to_link)
                for approach_id, travel_s in reached:
                    share = 1 / (len(ways) * len(reached))
                    target = network.approaches[approach_id]
                    if target.junction != id_:
                        feeds.append(
                            Feed(
                                id_,
                                stream.phase,
                                approach_id,
                                target.junction,
                                travel_s,
                                stream.flow_vph * share,
                                stream.saturation_vph * share,
                                stream.approach,
                            )
                        )
    return tuple(feeds)


def _walk(
    network: Network, follows: Mapping[str, Sequence[str]], ends: Mapping[str, object], link: str
) -> list[tuple[str, float]]:
    """Return (approach, seconds) of the approaches that a link leads to before any other signal."""
    found: dict[str, float] = {}
    ahead = [(link, 0.0, 0)]
    seen = {link}
    while ahead:
        at, past_s, depth = ahead.pop(0)
        approach = next((a for a in network.approaches.values() if at in a.links), None)
        if at in ends and approach is not None:
            rest = approach.links[approach.links.index(at) :]
            travel_s = past_s + sum(_travel_s(network, one) for one in rest)
            found.setdefault(approach.id, travel_s)
            continue
        if depth < FURTHEST_JOINTS:
            for after in follows.get(at, ()):
                if after not in seen:
                    seen.add(after)
                    ahead.append((after, past_s + _travel_s(network, at), depth + 1))
    return sorted(found.items())


def _travel_s(network: Network, link: str) -> float:
    return network.links[link].length_m / network.links[link].free_speed_mps


def build_green_mask(junction: Junction, plan: SafePlan, phase: str) -> NDArray[np.bool_]:
    """Return for each second of the cycle (C), from the plan's start, whether a phase is green."""
    cycle = round(plan.cycle_s)
    mask = np.zeros(cycle, dtype=bool)
    for run in build_green_runs(junction, plan):
        if run.phase == phase:
            begin = round(run.start_s + run.lost_s)
            mask[np.arange(begin, begin + round(run.green_s)) % cycle] = True
    return mask


def build_rates(
    junction: Junction, plan: SafePlan, streams: Sequence[Stream]
) -> dict[tuple[str, str], Floats]:
    """Return (approach, phase) -> discharge over saturation flow in each second of the cycle (C).

    That of a permissive green is the same all through its slot; a start costs START_S.
    """
    cycle = round(plan.cycle_s)
    service = measure_service(junction, plan, streams)
    slot_at = np.repeat(np.arange(len(plan.slots)), [round(s) for _, s in plan.slots])
    masks = {s.phase: build_green_mask(junction, plan, s.phase) for s in streams}
    for run in build_green_runs(junction, plan):
        if run.phase in masks and not run.endless:
            begin = round(run.start_s + run.lost_s)
            masks[run.phase][np.arange(begin, begin + round(START_S)) % cycle] = False
    return {
        (s.approach, s.phase): np.where(masks[s.phase], row[slot_at], 0.0)
        for s, row in zip(streams, service.rate, strict=True)
    }


def discharge(arrivals: Floats, served: Floats) -> tuple[Floats, Floats]:
    """Return departures and queue of each second of a cycle, repeated until it is steady.

    Store and forward: queue(t+1) = queue(t) + arrivals(t) - departures(t), with departures what is
    there up to `served`. Arrays end in an axis C of seconds, vehicles; others broadcast. What one
    cycle cannot serve is left out: arrivals are scaled down to what it can.
    """
    shape = np.broadcast_shapes(arrivals.shape, served.shape)
    total = arrivals.sum(axis=-1, keepdims=True)
    can = np.broadcast_to(served, shape).sum(axis=-1, keepdims=True)
    scale = np.minimum(1.0, 0.999 * can / np.maximum(total, 1e-12))
    come = np.broadcast_to(arrivals * scale, shape)
    serve = np.broadcast_to(served, shape)
    queue = np.zeros(shape[:-1])
    left, queued = np.zeros(shape), np.zeros(shape)
    for _ in range(2):  # below saturation the queue of the second cycle repeats
        for t in range(shape[-1]):
            there = queue + come[..., t]
            left[..., t] = np.minimum(there, serve[..., t])
            queue = there - left[..., t]
            queued[..., t] = queue
    return left, queued


def disperse(departures: Floats, travel_s: float) -> Floats:
    """Return a cyclic profile (C) as it arrives after a journey: Robertson's recursion.

    q'(t + T) = F q(t) + (1 - F) q'(t + T - 1), T = beta t, F = 1 / (1 + alpha beta t).
    """
    cycle = len(departures)
    delay = round(FIRST_SHARE * travel_s)
    factor = 1 / (1 + DISPERSION * FIRST_SHARE * travel_s)
    # The cyclic steady state: each second adds a geometric series of those before it.
    weights = factor * (1 - factor) ** np.arange(cycle) / (1 - (1 - factor) ** cycle)
    spread = np.array([departures[(t - np.arange(cycle)) % cycle] @ weights for t in range(cycle)])
    return np.roll(spread, delay)


def build_delay_table(
    network: Network,
    plans: Mapping[str, SafePlan],
    feeds: Iterable[Feed],
    streams: Mapping[str, Sequence[Stream]],
) -> Floats:
    """Return the delay an hour (C), vehicle-seconds, for each offset of the second junction after
    the first; all feeds lead from one junction to another one with the same cycle."""
    feeds = tuple(feeds)
    first, second = feeds[0].from_junction, feeds[0].to_junction
    cycle = round(plans[second].cycle_s)
    table = np.zeros(cycle)
    sent_rates, rates = (
        build_rates(network.junctions[id_], plans[id_], streams[id_]) for id_ in (first, second)
    )
    for approach in sorted({feed.approach for feed in feeds}):
        own = [feed for feed in feeds if feed.approach == approach]
        platoons = np.zeros(cycle)
        for feed in own:
            arrivals = np.full(cycle, feed.flow_vph / SECONDS_PER_HOUR)
            rate = sent_rates[feed.from_approach, feed.from_phase]
            left, _ = discharge(arrivals, rate * feed.saturation_vph / SECONDS_PER_HOUR)
            platoons += disperse(left, feed.travel_s)
        targets = [s for s in streams[second] if s.approach == approach and s.flow_vph > 0]
        total = sum(s.flow_vph for s in targets) / SECONDS_PER_HOUR  # per second
        if not targets or platoons.sum() <= 0:
            continue
        # What loops count there and the neighbor does not send comes at any time.
        sent = platoons.mean()
        profile = platoons * min(1.0, total / sent) + max(0.0, total - sent)
        for stream in targets:
            share = stream.flow_vph / SECONDS_PER_HOUR / total
            rate = rates[stream.approach, stream.phase]
            served = rate * stream.saturation_vph / SECONDS_PER_HOUR
            # Row d: the second junction's clock starts d seconds after the first one's.
            shifted = np.array([np.roll(profile * share, -d) for d in range(cycle)])
            _, queued = discharge(shifted, served)
            table += queued.sum(axis=-1) * SECONDS_PER_HOUR / cycle
    return table


def build_delay_tables(
    network: Network,
    plans: Mapping[str, SafePlan],
    streams: Mapping[str, Sequence[Stream]],
    feeds: Iterable[Feed] | None = None,
) -> dict[tuple[str, str], Floats]:
    """Return (one, other) -> delay table (C) of the offset of other after one, both directions."""
    groups: dict[tuple[str, str], list[Feed]] = {}
    for feed in find_feeds(network, streams) if feeds is None else feeds:
        groups.setdefault((feed.from_junction, feed.to_junction), []).append(feed)
    tables: dict[tuple[str, str], Floats] = {}
    for (one, other), own in sorted(groups.items()):
        if plans[one].cycle_s != plans[other].cycle_s:
            continue
        table = build_delay_table(network, plans, own, streams)
        if one > other:
            one, other, table = other, one, np.roll(table[::-1], 1)
        tables[one, other] = tables.get((one, other), np.zeros_like(table)) + table
    return tables


@dataclass(frozen=True, slots=True)
class Offsets:
    """Junction -> seconds; the cost in the unit of the tables; whether it is proven best."""

    offset_s: Mapping[str, float]
    cost: float
    status: str


def optimize_offsets(
    junctions: Sequence[str],
    cycle_s: float,
    tables: Mapping[tuple[str, str], Floats],
    effort: float = SOLVER_EFFORT,
) -> Offsets:
    """Return the offsets of least total cost in whole seconds; the first junction has offset 0.

    With no effort they are those where no junction alone gains by another offset. `tables` as of
    `build_delay_tables`. Raises ValueError when a table is not one cycle long.
    """
    cycle = round(cycle_s)
    wrong = [pair for pair, table in tables.items() if len(table) != cycle]
    if wrong:
        raise ValueError(f"tables {wrong}: must have {cycle} entries, one for each second")
    start = _descend(junctions, cycle, tables)
    if not tables:
        return Offsets(start, 0.0, "no neighbors")
    if effort <= 0:
        return Offsets(start, measure_offsets(start, cycle, tables), "feasible")
    model = cp_model.CpModel()
    theta = {id_: model.new_int_var(0, cycle - 1, id_) for id_ in junctions}
    model.add(theta[junctions[0]] == 0)
    costs = []
    for (one, other), table in sorted(tables.items()):
        whole = [round(_COST_SCALE * float(value)) for value in table]
        apart = model.new_int_var(0, cycle - 1, f"{one}>{other}")
        wraps = model.new_bool_var(f"{one}>{other} wraps")
        model.add(apart == theta[other] - theta[one] + cycle * wraps)
        cost = model.new_int_var(min(whole), max(whole), f"{one}>{other} cost")
        model.add_element(apart, whole, cost)
        costs.append(cost)
    for id_ in junctions:
        model.add_hint(theta[id_], round(start[id_]))
    model.minimize(sum(costs))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    solver.parameters.max_deterministic_time = effort
    status = solver.solve(model)
    best = start
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        found = {id_: float(solver.value(theta[id_])) for id_ in junctions}
        if measure_offsets(found, cycle, tables) <= measure_offsets(start, cycle, tables):
            best = found
    return Offsets(best, measure_offsets(best, cycle, tables), solver.status_name(status).lower())


def measure_offsets(
    offset_s: Mapping[str, float], cycle: int, tables: Mapping[tuple[str, str], Floats]
) -> float:
    """Return the total cost of offsets in whole seconds."""
    return float(
        sum(t[round(offset_s[b] - offset_s[a]) % cycle] for (a, b), t in sorted(tables.items()))
    )


def _descend(
    junctions: Sequence[str], cycle: int, tables: Mapping[tuple[str, str], Floats]
) -> dict[str, float]:
    """Move one junction at a time to where its own pairs cost least, until none moves."""
    offset_s = dict.fromkeys(junctions, 0.0)
    moments = np.arange(cycle)
    for _ in range(50):
        has_moved = False
        for id_ in junctions[1:]:
            own = np.zeros(cycle)
            for (one, other), table in tables.items():
                if id_ == other:
                    own += table[(moments - round(offset_s[one])) % cycle]
                elif id_ == one:
                    own += table[(round(offset_s[other]) - moments) % cycle]
            best = int(np.argmin(own))
            if own[best] < own[round(offset_s[id_])] - 1e-9:
                offset_s[id_] = float(best)
                has_moved = True
        if not has_moved:
            break
    return offset_s
