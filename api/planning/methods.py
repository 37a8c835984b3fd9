"""From flows to plans: webster, splits, offsets, refine, each built on the one before."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from traffic.model import Network, SafePlan
from traffic.optimization.arterial import coordinate_arterial, find_arterial
from traffic.optimization.cycle import (
    Site,
    build_webster_plan,
    find_best_cycle,
    find_webster_cycle_s,
    grow_full,
    list_cycles_s,
    optimize_plans,
)
from traffic.optimization.offsets import build_delay_tables, find_feeds, optimize_offsets
from traffic.optimization.search import list_starts
from traffic.optimization.streams import Stream, build_streams
from traffic.plans import check_plan

METHODS = ("webster", "splits", "offsets", "refine")
MAX_CYCLE_S = 120.0

Plans = Mapping[str, SafePlan]


def normalize_plan(plan: SafePlan) -> SafePlan:
    """Return the plan with its offset within one cycle."""
    return replace(plan, offset_s=plan.offset_s % plan.cycle_s)


def build_sites(network: Network, streams: Mapping[str, Sequence[Stream]]) -> tuple[Site, ...]:
    """Return every junction with its plan of today and its streams."""
    return tuple(
        Site(junction, normalize_plan(network.plans[id_]), tuple(streams[id_]))
        for id_, junction in sorted(network.junctions.items())
    )


def build_measured_sites(network: Network, flow_vph: Mapping[str, float]) -> tuple[Site, ...]:
    """Return every junction with its streams as measured under its plan of today."""
    streams = {id_: build_streams(network, id_, flow_vph) for id_ in sorted(network.junctions)}
    return tuple(grow_full(site) for site in build_sites(network, streams))


def coordinate(network: Network, sites: Sequence[Site], plans: Plans) -> dict[str, SafePlan]:
    """Return plans of one common cycle with offsets.

    Where the network is one arterial they are those of the widest two-way bands, else those of
    least delay between neighbors.
    """
    streams = {site.junction.id: site.streams for site in sites}
    feeds = find_feeds(network, streams)
    arterial = find_arterial(streams, feeds)
    if arterial is not None and arterial.is_all:
        return coordinate_arterial(network, plans, arterial)
    tables = build_delay_tables(network, plans, streams, feeds)
    cycle_s = next(iter(plans.values())).cycle_s
    found = optimize_offsets(sorted(plans), cycle_s, tables)
    return {
        id_: SafePlan(plan.slots, found.offset_s[id_] % plan.cycle_s) for id_, plan in plans.items()
    }


def build_plans(
    method: str,
    network: Network,
    sites: Sequence[Site],
    cycle_s: float | None = None,
    max_cycle_s: float = MAX_CYCLE_S,
) -> dict[str, SafePlan]:
    """Return the plans of a method short of refine; at the given cycle, or the best one."""
    if method == "webster":
        wanted_s = find_webster_cycle_s(sites, max_cycle_s) if cycle_s is None else cycle_s
        plans = {site.junction.id: build_webster_plan(site, wanted_s) for site in sites}
        return {id_: replace(plan, offset_s=0.0) for id_, plan in plans.items()}
    cycles_s = list_cycles_s(sites, max_cycle_s) if cycle_s is None else [cycle_s]
    _, best = find_best_cycle(sites, cycles_s)
    plans = {id_: replace(plan, offset_s=0.0) for id_, plan in best.items()}
    return plans if method == "splits" else coordinate(network, sites, plans)


def list_candidates(
    network: Network,
    sites: Sequence[Site],
    cycle_s: float | None = None,
    max_cycle_s: float = MAX_CYCLE_S,
) -> list[Plans]:
    """Return the plans that simulation should choose among before it refines the best one.

    They are the plans that theory finds best, the plans of today where they are lawful, and, when
    the cycle is free, plans at several cycles, coordinated and not, and at each junction's own.
    """
    candidates: list[Plans] = []
    for method in ("splits", "offsets"):
        candidates.append(build_plans(method, network, sites, cycle_s, max_cycle_s))
    if cycle_s is not None:
        return candidates
    today = {site.junction.id: site.plan for site in sites}
    if not any(check_plan(s.junction, s.plan) for s in sites):
        candidates.append(today)
    cycles_s = list_cycles_s(sites, max_cycle_s)
    for one_s in cycles_s[:: max(1, len(cycles_s) // 8)]:
        plans = {k: replace(p, offset_s=0.0) for k, p in optimize_plans(sites, one_s).items()}
        candidates += [plans, coordinate(network, sites, plans)]
    if len(sites) > 1:
        own = {}
        for site in sites:
            own |= find_best_cycle([site], list_cycles_s([site], max_cycle_s))[1]
        candidates.append({id_: normalize_plan(plan) for id_, plan in own.items()})
    return list_starts(candidates)
