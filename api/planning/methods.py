"""From flows to plans: webster, splits, offsets, refine, each built on the one before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from traffic.model import Network, SafePlan
from traffic.optimization.arterial import coordinate_arterial, find_arterial
from traffic.optimization.cycle import (
    Site,
    build_webster_plan,
    choose_orders,
    find_best_cycle,
    find_shortest_cycle_s,
    find_webster_cycle_s,
    grow_full,
    list_cycles_s,
    optimize_plans,
    predict_delay_s,
    sketch_plans,
)
from traffic.optimization.offsets import (
    SOLVER_EFFORT,
    build_delay_tables,
    find_feeds,
    optimize_offsets,
)
from traffic.optimization.streams import Stream, build_streams
from traffic.plans import check_plan

METHODS = ("webster", "splits", "offsets", "refine")
MAX_CYCLE_S = 120.0
CYCLES = 5  # about so many are worth a simulated trial

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


def build_measured_sites(
    network: Network, flow_vph: Mapping[str, float], today: Plans | None = None
) -> tuple[Site, ...]:
    """Return every junction with its streams as measured under the plans of the network.

    They are to be timed in the order of stages of `today`, where that is not the network's.
    """
    streams = {id_: build_streams(network, id_, flow_vph) for id_ in sorted(network.junctions)}
    grown = [grow_full(site) for site in build_sites(network, streams)]
    plans = network.plans if today is None else today
    return tuple(replace(s, plan=normalize_plan(plans[s.junction.id])) for s in grown)


def coordinate(
    network: Network, sites: Sequence[Site], plans: Plans, effort: float = SOLVER_EFFORT
) -> dict[str, SafePlan]:
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
    found = optimize_offsets(sorted(plans), cycle_s, tables, effort)
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
) -> Iterator[Plans]:
    """Yield the plans that simulation should choose among before it refines the best one.

    They are the plans of least predicted delay at several cycles, coordinated and not, the best
    cycle first; and, when the cycle is free, those at each junction's own cycle.
    """
    cycles_s = list_cycles_s(sites, max_cycle_s) if cycle_s is None else [cycle_s]
    orders = choose_orders(sites, cycles_s)
    sketches = [sketch_plans(sites, one_s, orders) for one_s in cycles_s]
    costs = [predict_delay_s(sites, plans) for plans in sketches]
    best = min(range(len(costs)), key=lambda i: costs[i])
    spaced = range(0, len(cycles_s), max(1, len(cycles_s) // CYCLES))
    for place in dict.fromkeys([best, *sorted(spaced, key=lambda i: costs[i])]):
        plans = optimize_plans(sites, cycles_s[place], orders)
        still = {id_: replace(plan, offset_s=0.0) for id_, plan in plans.items()}
        yield coordinate(network, sites, still, effort=0.0)
        yield still
        if place == best and cycle_s is None and len(sites) > 1:
            yield from _list_own_cycles(sites, sketches, max_cycle_s)


def _list_own_cycles(
    sites: Sequence[Site], sketches: Sequence[Plans], max_cycle_s: float
) -> Iterator[Plans]:
    """Yield plans at each junction's own cycle: of least delay, and Webster's with all stages."""
    own, webster = {}, {}
    for site in sites:
        id_ = site.junction.id
        choices = [plans[id_] for plans in sketches]
        own[id_] = min(choices, key=lambda plan: predict_delay_s([site], {id_: plan}))
        webster[id_] = own[id_]
        if find_shortest_cycle_s(site.junction, site.plan) <= max_cycle_s:
            webster[id_] = build_webster_plan(site, find_webster_cycle_s([site], max_cycle_s))
    for plans in (own, webster):
        yield {id_: normalize_plan(plan) for id_, plan in plans.items()}


def find_today(sites: Sequence[Site], cycle_s: float | None = None) -> Plans | None:
    """Return the plans of today where they are lawful, and have the cycle when one is given."""
    wrong = any(check_plan(site.junction, site.plan) for site in sites)
    other = cycle_s is not None and any(site.plan.cycle_s != cycle_s for site in sites)
    return None if wrong or other else {site.junction.id: site.plan for site in sites}
