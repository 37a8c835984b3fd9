"""One cycle for all junctions, Webster's shares of it for the flows of each, and stages in it.

Source: F. V. Webster, Traffic Signal Settings, Road Research Technical Paper 39, HMSO 1958. Lost
time is the intergreen before each stage and what a queue loses as it starts, START_S, less what it
makes up for in the amber.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from traffic.model import Junction, SafePlan, Stage
from traffic.optimization.greens import measure_change_s
from traffic.optimization.permitted import START_S, measure_service
from traffic.optimization.splits import measure_delay_s, optimize_splits
from traffic.optimization.streams import Stream
from traffic.timing import TimingError, webster_cycle_s, webster_splits_s

CYCLE_STEP_S = 5.0
FULL = 0.85  # degree of saturation from which a stream counts as full
GROWTH = 1.2  # what a full stream counts for, times what passed: perhaps others still wait
MOST_ORDERS = 1024  # of the stages of one junction that are weighed
TIMED_ORDERS = 2  # of which the best get splits of least delay
TIMED_CYCLES = 4  # that are best with Webster's greens, and get splits of least delay
_LEAST_RATE = 0.1  # of a permissive green: more green than ten times a flow's helps no more


@dataclass(frozen=True, slots=True)
class Demand:
    """What the fullest lane of some phases asks for: its flow ratio to what its best slots let
    through, and the discharge in each slot (S), 1 in the best ones, less in permissive greens."""

    ratio: float
    rates: tuple[float, ...]


Demands = Mapping[frozenset[str], Demand]  # by the phases that use one lane


@dataclass(frozen=True, slots=True)
class Site:
    """One junction to be timed: its plan of today and its flows.

    `orders` of stages may be given to choose among; else they are those of `list_orders`.
    """

    junction: Junction
    plan: SafePlan
    streams: tuple[Stream, ...]
    orders: tuple[SafePlan, ...] = ()

    def list_orders(self) -> Sequence[SafePlan]:
        """Return the orders of stages to choose among."""
        return self.orders or list_orders(self.junction, self.plan)

    def find_shortest_s(self) -> float:
        """Return the shortest cycle of any of its orders."""
        return min(find_shortest_cycle_s(self.junction, order) for order in self.list_orders())


def grow_full(site: Site, full: float = FULL, growth: float = GROWTH) -> Site:
    """Return the site with more flow in every stream that its plan keeps full.

    What a stream lets through when its green is used up is not what wants to pass.
    """
    service = measure_service(site.junction, site.plan, site.streams, START_S)
    ratios = service.find_green_ratios(site.plan)
    streams = tuple(
        replace(
            stream,
            flow_vph=growth * stream.flow_vph,
            busiest_ratio=growth * stream.busiest_ratio,
        )
        if stream.flow_ratio >= full * ratio
        else stream
        for stream, ratio in zip(site.streams, ratios, strict=True)
    )
    return replace(site, streams=streams)


def find_change_s(junction: Junction, plan: SafePlan) -> list[float]:
    """Return the intergreen at the start of each slot (S), seconds."""
    stages = [junction.get_stage(stage) for stage, _ in plan.slots]
    return [measure_change_s(junction, stages[i - 1], stage) for i, stage in enumerate(stages)]


def find_floor_s(junction: Junction, plan: SafePlan) -> list[float]:
    """Return the least whole length of each slot (S): intergreen and the minimum of its greens."""
    least = {phase.id: phase.min_green_s for phase in junction.phases}
    change_s = find_change_s(junction, plan)
    return [
        float(math.ceil(lost + max((least[p] for p in junction.get_stage(stage).green), default=1)))
        for lost, (stage, _) in zip(change_s, plan.slots, strict=True)
    ]


def find_shortest_cycle_s(junction: Junction, plan: SafePlan) -> float:
    """Return the cycle that minimum greens and intergreens fill."""
    return sum(find_floor_s(junction, plan))


def stretch_plan(junction: Junction, plan: SafePlan, cycle_s: float) -> SafePlan:
    """Return the plan at another cycle: what is above the minimum keeps its proportions.

    Raises TimingError when the minimum greens and intergreens do not fit.
    """
    floor_s = _require_fit(junction, plan, cycle_s)
    over = np.array(
        [max(s - f, 0.0) for (_, s), f in zip(plan.slots, floor_s, strict=True)], dtype=np.float64
    )
    if over.sum() <= 0:
        over = np.ones_like(over)
    slots_s = np.array(floor_s) + (cycle_s - sum(floor_s)) * over / over.sum()
    return _build_plan(plan, round_to_sum(slots_s, cycle_s))


def round_to_sum(values: NDArray[np.float64], total: float) -> list[float]:
    """Return whole numbers of the given whole sum, none below the floor of its value."""
    whole = np.floor(values + 1e-9)
    order = np.argsort(whole - values, kind="stable")
    whole[order[: round(total - whole.sum())]] += 1
    return [float(value) for value in whole]


def build_demands(site: Site) -> Demands:
    """Return what each set of phases that use one lane asks for, by its fullest lane.

    Where the best slots of a set are permissive, the ratio is to what these let through.
    """
    stages = [site.junction.get_stage(stage) for stage, _ in site.plan.slots]
    service = measure_service(site.junction, site.plan, site.streams)
    demands: dict[frozenset[str], Demand] = {}
    for stream, rates in zip(site.streams, service.rate, strict=True):
        best = _find_slots(stages, stream.together)
        rate = max([_LEAST_RATE, *(float(rates[i]) for i in best)] if best else [1.0])
        shares = tuple(1.0 if i in best else min(float(r) / rate, 1.0) for i, r in enumerate(rates))
        demand = Demand(stream.flow_ratio / rate, shares)
        known = demands.get(stream.together)
        if known is None or demand.ratio > known.ratio:
            demands[stream.together] = demand
    return demands


def spread_ratios(demands: Demands, slots: int) -> list[float]:
    """Return the flow ratio that each slot must serve, those that only one can serve first.

    A lane that is green in several slots needs its ratio once: what one slot gives it, because
    another lane needs it there, the others need not. So it is for what a permissive green lets
    through of it (HCM 2010, chapter 31, protected-permitted left turns), which is looked at last.
    """
    ratios = [0.0] * slots

    def rank(phases: frozenset[str]) -> tuple[bool, int, list[str]]:
        rates = demands[phases].rates
        return any(0 < rate < 1 for rate in rates), sum(r == 1 for r in rates), sorted(phases)

    for phases in sorted(demands, key=rank):
        demand = demands[phases]
        served = sum(ratio * rate for ratio, rate in zip(ratios, demand.rates, strict=True))
        best = [i for i, rate in enumerate(demand.rates) if rate == 1]
        for i in best:
            ratios[i] += max(0.0, demand.ratio - served) / len(best)
    return ratios


def _find_slots(stages: Sequence[Stage], phases: frozenset[str]) -> list[int]:
    """The slots in which a lane of these phases flows best: all protected, all green, or some."""
    for slots in (
        [i for i, stage in enumerate(stages) if phases <= stage.protected],
        [i for i, stage in enumerate(stages) if phases <= stage.green],
    ):
        if slots:
            return slots
    return [i for i, stage in enumerate(stages) if phases & stage.green]


def share_webster(
    junction: Junction, plan: SafePlan, demands: Demands, cycle_s: float, start_s: float = START_S
) -> SafePlan:
    """Return Webster's greens at a cycle, whole seconds; raises TimingError when they don't fit."""
    floor_s = _require_fit(junction, plan, cycle_s)
    lost_s = [change_s + start_s for change_s in find_change_s(junction, plan)]
    least_s = [max(f - lost, 0.0) for f, lost in zip(floor_s, lost_s, strict=True)]
    lost_s = [min(f, lost) for f, lost in zip(floor_s, lost_s, strict=True)]
    ratios = spread_ratios(demands, len(plan.slots))
    greens_s = webster_splits_s(ratios, cycle_s, sum(lost_s), least_s)
    slots_s = np.maximum(greens_s + np.array(lost_s), floor_s)
    return _build_plan(plan, round_to_sum(slots_s, cycle_s))


def ask_webster_s(
    junction: Junction,
    plan: SafePlan,
    demands: Demands,
    min_cycle_s: float,
    max_cycle_s: float,
    start_s: float = START_S,
) -> float:
    """Return the cycle that Webster's formula asks for, within bounds and all minimum greens.

    Raises TimingError when these do not fit.
    """
    lost_s = [change_s + start_s for change_s in find_change_s(junction, plan)]
    return webster_cycle_s(
        spread_ratios(demands, len(plan.slots)),
        max(sum(lost_s), 1.0),
        min_cycle_s=max(min_cycle_s, find_shortest_cycle_s(junction, plan)),
        max_cycle_s=max_cycle_s,
    )


def build_webster_plan(site: Site, cycle_s: float) -> SafePlan:
    """Return Webster's greens at a cycle, whole seconds; raises TimingError when they don't fit."""
    return share_webster(site.junction, site.plan, build_demands(site), cycle_s)


def find_webster_cycle_s(sites: Iterable[Site], max_cycle_s: float) -> float:
    """Return the longest cycle that Webster's formula asks for at any junction, in steps of 5 s.

    Raises TimingError naming every junction whose minimum greens do not fit `max_cycle_s`.
    """
    sites = tuple(sites)
    _require_longest(sites, max_cycle_s, lambda one: find_shortest_cycle_s(one.junction, one.plan))
    wanted = [
        ask_webster_s(site.junction, site.plan, build_demands(site), 1.0, max_cycle_s)
        for site in sites
    ]
    return min(max_cycle_s, CYCLE_STEP_S * math.ceil(max(wanted) / CYCLE_STEP_S))


def list_orders(junction: Junction, plan: SafePlan) -> list[SafePlan]:
    """Return the plan and every plan that leaves out some of its slots, the fullest first.

    Every phase keeps a green, and stages follow each other as they may. Lengths mean nothing yet.
    """
    count = len(plan.slots)
    masks = range(2**count - 1, 0, -1) if 2**count <= MOST_ORDERS else [2**count - 1]
    phases = {phase.id for phase in junction.phases}
    green = [junction.get_stage(stage).green for stage, _ in plan.slots]
    orders = []
    for mask in masks:
        kept = [i for i in range(count) if mask >> i & 1]
        names = [plan.slots[i][0] for i in kept]
        ways = list(pairwise([*names, names[0]])) if len(names) > 1 else []
        is_whole = phases <= frozenset().union(*(green[i] for i in kept))
        is_new = all(one != other for one, other in ways)
        after = junction.successors
        if len(kept) < count and not (
            is_whole and is_new and (after is None or all(b in after[a] for a, b in ways))
        ):
            continue
        orders.append(SafePlan(tuple(plan.slots[i] for i in kept), plan.offset_s))
    return sorted(orders, key=lambda order: -len(order.slots))


def list_cycles_s(sites: Iterable[Site], max_cycle_s: float) -> list[float]:
    """Return the cycles worth a trial, in steps of 5 s, shortest first."""
    sites = tuple(sites)
    shortest_s = max(site.find_shortest_s() for site in sites)
    _require_longest(sites, max_cycle_s, Site.find_shortest_s)
    first = math.ceil(shortest_s / CYCLE_STEP_S)
    cycles = [CYCLE_STEP_S * k for k in range(first, int(max_cycle_s / CYCLE_STEP_S) + 1)]
    return cycles or [float(math.floor(max_cycle_s))]


Orders = Mapping[str, Sequence[SafePlan]]  # junction -> orders of its stages


def choose_orders(sites: Iterable[Site], cycles_s: Sequence[float]) -> dict[str, list[SafePlan]]:
    """Return the orders worth a closer look: of least delay with Webster's greens at some cycles.

    Raises TimingError when a junction has none that fits the longest cycle.
    """
    some_s = sorted({cycles_s[0], cycles_s[len(cycles_s) // 2], cycles_s[-1]})
    chosen = {}
    for site in sites:
        orders = site.list_orders()
        kept: list[SafePlan] = []
        for cycle_s in some_s:
            timed = _time_orders(site, orders, cycle_s)
            kept += [order for _, order, _ in timed[:TIMED_ORDERS] if order not in kept]
        shortest = min(orders, key=lambda order: find_shortest_cycle_s(site.junction, order))
        _require_fit(site.junction, shortest, max(some_s))
        chosen[site.junction.id] = kept if shortest in kept else [*kept, shortest]
    return chosen


def _time_orders(
    site: Site, orders: Iterable[SafePlan], cycle_s: float
) -> list[tuple[float, SafePlan, SafePlan]]:
    """Return (delay, order, plan with Webster's greens) of those that fit, the best first."""
    timed = []
    for order in orders:
        if find_shortest_cycle_s(site.junction, order) <= cycle_s:
            plan = build_webster_plan(replace(site, plan=order), cycle_s)
            timed.append((_measure(site, plan), order, plan))
    return sorted(timed, key=lambda one: one[0])


def sketch_plans(sites: Iterable[Site], cycle_s: float, orders: Orders) -> dict[str, SafePlan]:
    """Return junction -> the best of the orders with Webster's greens."""
    return {
        site.junction.id: _time_orders(site, orders[site.junction.id], cycle_s)[0][2]
        for site in sites
    }


def optimize_plans(
    sites: Sequence[Site], cycle_s: float, orders: Orders | None = None
) -> dict[str, SafePlan]:
    """Return junction -> plan of least delay at a common cycle: its stages, then their splits.

    All orders get Webster's greens, those of least delay convex splits. Raises TimingError when
    none fits the cycle.
    """
    orders = choose_orders(sites, [cycle_s]) if orders is None else orders
    plans = {}
    for site in sites:
        timed = _time_orders(site, orders[site.junction.id], cycle_s)
        found = [
            optimize_splits(site.junction, plan, site.streams, START_S).plan
            for _, _, plan in timed[:TIMED_ORDERS]
        ]
        plans[site.junction.id] = min(found, key=lambda plan: _measure(site, plan))
    return plans


def find_best_cycle(
    sites: Sequence[Site], cycles_s: Sequence[float]
) -> tuple[float, dict[str, SafePlan]]:
    """Return the common cycle of least total delay with its plans; the shorter one of equals.

    Splits are fitted at the cycles that are best with Webster's greens.
    """
    if not cycles_s:
        raise TimingError("cycles_s is empty: at least one cycle is needed")
    orders = choose_orders(sites, cycles_s)
    rough = {c: predict_delay_s(sites, sketch_plans(sites, c, orders)) for c in cycles_s}
    best_s = sorted(cycles_s, key=lambda c: (rough[c], c))[:TIMED_CYCLES]
    found = [(cycle_s, optimize_plans(sites, cycle_s, orders)) for cycle_s in best_s]
    return min(found, key=lambda pair: (predict_delay_s(sites, pair[1]), pair[0]))


def predict_delay_s(sites: Iterable[Site], plans: Mapping[str, SafePlan]) -> float:
    """Return the mean delay of all vehicles, seconds; arrivals uniform, no coordination."""
    weighted = total = 0.0
    for site in sites:
        vph = sum(stream.flow_vph for stream in site.streams)
        weighted += vph * _measure(site, plans[site.junction.id])
        total += vph
    return weighted / total if total > 0 else 0.0


def _measure(site: Site, plan: SafePlan) -> float:
    return measure_delay_s(site.junction, plan, site.streams, START_S)


def find_saturation(site: Site, plan: SafePlan) -> float:
    """Return the highest degree of saturation of any stream under a plan."""
    service = measure_service(site.junction, plan, site.streams, START_S)
    ratios = service.find_green_ratios(plan)
    return max(
        (float(s.flow_ratio / ratio) for s, ratio in zip(site.streams, ratios, strict=True)),
        default=0.0,
    )


def _build_plan(like: SafePlan, slots_s: Sequence[float]) -> SafePlan:
    stages = [stage for stage, _ in like.slots]
    return SafePlan(tuple(zip(stages, slots_s, strict=True)), like.offset_s)


def _require_fit(junction: Junction, plan: SafePlan, cycle_s: float) -> list[float]:
    floor_s = find_floor_s(junction, plan)
    if cycle_s != round(cycle_s) or cycle_s < sum(floor_s):
        raise TimingError(
            f"junction {junction.id}: cycle_s = {cycle_s:g}: must be whole and at least "
            f"{sum(floor_s):g} s, its minimum greens and intergreens"
        )
    return floor_s


def _require_longest(
    sites: Sequence[Site], max_cycle_s: float, measure_s: Callable[[Site], float]
) -> None:
    problems = []
    for site in sites:
        shortest_s = measure_s(site)
        if shortest_s > max_cycle_s:
            problems.append(
                f"junction {site.junction.id}: its minimum greens and intergreens take "
                f"{shortest_s:g} s, more than max_cycle_s = {max_cycle_s:g}"
            )
    if problems:
        raise TimingError("\n".join(problems))
