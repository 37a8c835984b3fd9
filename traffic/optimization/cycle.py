"""One cycle for all junctions, and Webster's shares of it for the flows of each.

Source: F. V. Webster, Traffic Signal Settings, Road Research Technical Paper 39, HMSO 1958. The
effective green is taken to be as long as the green shown: what a queue loses as it starts, it
makes up for in the amber.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traffic.model import Junction, SafePlan
from traffic.optimization.splits import (
    Stream,
    build_green_runs,
    optimize_splits,
    stream_delay_s,
)
from traffic.timing import TimingError, webster_cycle_s, webster_splits_s

CYCLE_STEP_S = 5.0
SHORTEST_SLOT_S = 5.0  # of a stage that gives no phase its green


@dataclass(frozen=True, slots=True)
class Site:
    """One junction to be timed: its plan of today and its flows."""

    junction: Junction
    plan: SafePlan
    streams: tuple[Stream, ...]


def find_lost_s(junction: Junction, plan: SafePlan) -> list[float]:
    """Return the intergreen at the start of each slot (S), seconds."""
    lost_s = [0.0] * len(plan.slots)
    for run in build_green_runs(junction, plan):
        if not run.endless:
            lost_s[run.slots[0]] = max(lost_s[run.slots[0]], run.lost_s)
    return lost_s


def find_floor_s(junction: Junction, plan: SafePlan) -> list[float]:
    """Return the least whole length of each slot (S): intergreen and the minimum of its greens."""
    least = {phase.id: phase.min_green_s for phase in junction.phases}
    lost_s = find_lost_s(junction, plan)
    return [
        float(math.ceil(lost + max((least[p] for p in junction.get_stage(stage).green), default=1)))
        for lost, (stage, _) in zip(lost_s, plan.slots, strict=True)
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


def spread_ratios(site: Site) -> list[float]:
    """Return the flow ratio that each slot (S) must serve, those that only one can serve first."""
    slots: dict[str, set[int]] = {}
    for run in build_green_runs(site.junction, site.plan):
        slots.setdefault(run.phase, set()).update(run.slots)
    ratios = [0.0] * len(site.plan.slots)
    loaded = [s for s in site.streams if slots.get(s.phase)]
    for stream in sorted(loaded, key=lambda s: (len(slots[s.phase]), s.phase, s.approach)):
        own = sorted(slots[stream.phase])
        missing = stream.flow_ratio - sum(ratios[i] for i in own)
        for i in own:
            ratios[i] += max(0.0, missing) / len(own)
    return ratios


def build_webster_plan(site: Site, cycle_s: float) -> SafePlan:
    """Return Webster's greens at a cycle, whole seconds; raises TimingError when they don't fit."""
    floor_s = _require_fit(site.junction, site.plan, cycle_s)
    lost_s = find_lost_s(site.junction, site.plan)
    least_s = [f - lost for f, lost in zip(floor_s, lost_s, strict=True)]
    greens_s = webster_splits_s(spread_ratios(site), cycle_s, sum(lost_s), least_s)
    return _build_plan(site.plan, round_to_sum(greens_s + np.array(lost_s), cycle_s))


def find_webster_cycle_s(sites: Iterable[Site], max_cycle_s: float) -> float:
    """Return the longest cycle that Webster's formula asks for at any junction, in steps of 5 s.

    Raises TimingError naming every junction whose minimum greens do not fit `max_cycle_s`.
    """
    sites = tuple(sites)
    _require_longest(sites, max_cycle_s)
    wanted = [
        webster_cycle_s(
            spread_ratios(site),
            max(sum(find_lost_s(site.junction, site.plan)), 1.0),
            min_cycle_s=find_shortest_cycle_s(site.junction, site.plan),
            max_cycle_s=max_cycle_s,
        )
        for site in sites
    ]
    return min(max_cycle_s, CYCLE_STEP_S * math.ceil(max(wanted) / CYCLE_STEP_S))


def list_cycles_s(sites: Iterable[Site], max_cycle_s: float) -> list[float]:
    """Return the cycles worth a trial, in steps of 5 s, shortest first."""
    sites = tuple(sites)
    _require_longest(sites, max_cycle_s)
    shortest_s = max(find_shortest_cycle_s(site.junction, site.plan) for site in sites)
    first = math.ceil(shortest_s / CYCLE_STEP_S)
    cycles = [CYCLE_STEP_S * k for k in range(first, int(max_cycle_s / CYCLE_STEP_S) + 1)]
    return cycles or [float(math.floor(max_cycle_s))]


def optimize_plans(sites: Iterable[Site], cycle_s: float) -> dict[str, SafePlan]:
    """Return junction -> plan of least delay at a common cycle; convex, begun from Webster's."""
    plans = {}
    for site in sites:
        start = build_webster_plan(site, cycle_s)
        plans[site.junction.id] = optimize_splits(site.junction, start, site.streams).plan
    return plans


def find_best_cycle(
    sites: Sequence[Site], cycles_s: Iterable[float]
) -> tuple[float, dict[str, SafePlan]]:
    """Return the common cycle of least total delay with its plans; the shorter one of equals."""
    found = [(cycle_s, optimize_plans(sites, cycle_s)) for cycle_s in cycles_s]
    if not found:
        raise TimingError("cycles_s is empty: at least one cycle is needed")
    return min(found, key=lambda pair: (predict_delay_s(sites, pair[1]), pair[0]))


def predict_delay_s(sites: Iterable[Site], plans: Mapping[str, SafePlan]) -> float:
    """Return the mean delay of all vehicles, seconds; arrivals uniform, no coordination."""
    weighted = total = 0.0
    for site in sites:
        plan = plans[site.junction.id]
        ratio = measure_green_ratios(site.junction, plan)
        for stream in site.streams:
            weighted += (
                stream.flow_vph * stream_delay_s(stream, plan.cycle_s, ratio[stream.phase])[0]
            )
            total += stream.flow_vph
    return weighted / total if total > 0 else 0.0


def find_saturation(site: Site, plan: SafePlan) -> float:
    """Return the highest degree of saturation of any stream under a plan."""
    ratio = measure_green_ratios(site.junction, plan)
    return max((s.flow_ratio / ratio[s.phase] for s in site.streams), default=0.0)


def measure_green_ratios(junction: Junction, plan: SafePlan) -> dict[str, float]:
    """Return phase -> share of the cycle in which it is green, above 0 to 1."""
    green_s = dict.fromkeys((phase.id for phase in junction.phases), 0.0)
    for run in build_green_runs(junction, plan):
        green_s[run.phase] += run.green_s
    return {phase: min(max(s / plan.cycle_s, 0.01), 1.0) for phase, s in green_s.items()}


def _build_plan(like: SafePlan, slots_s: Sequence[float]) -> SafePlan:
    slots = tuple((stage, s) for (stage, _), s in zip(like.slots, slots_s, strict=True))
    return SafePlan(slots, like.offset_s)


def _require_fit(junction: Junction, plan: SafePlan, cycle_s: float) -> list[float]:
    floor_s = find_floor_s(junction, plan)
    if cycle_s != round(cycle_s) or cycle_s < sum(floor_s):
        raise TimingError(
            f"junction {junction.id}: cycle_s = {cycle_s:g}: must be whole and at least "
            f"{sum(floor_s):g} s, its minimum greens and intergreens"
        )
    return floor_s


def _require_longest(sites: Sequence[Site], max_cycle_s: float) -> None:
    problems = []
    for site in sites:
        shortest_s = find_shortest_cycle_s(site.junction, site.plan)
        if shortest_s > max_cycle_s:
            problems.append(
                f"junction {site.junction.id}: its minimum greens and intergreens take "
                f"{shortest_s:g} s, more than max_cycle_s = {max_cycle_s:g}"
            )
    if problems:
        raise TimingError("\n".join(problems))
