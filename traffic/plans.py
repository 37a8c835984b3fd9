"""Fixed-time plans of a network by time of day, checked against its junctions.

As a document a set of plans is a mapping (see docs/plans.md); times are seconds since local
midnight, lengths seconds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from traffic.model import Junction, ModelError, Network, SafePlan
from traffic.optimization.greens import build_green_runs

FORMAT = "traffic-plans/1"
UNITS: Mapping[str, str] = {
    "from_s": "seconds since local midnight from which the plans are valid",
    "cycle_s": "seconds; the sum of the slots",
    "offset_s": "seconds after local midnight, modulo the cycle, at which the first slot begins",
    "slot_s": "seconds from a stage's turn to the next one's: the intergreen before it, its green",
    "green": "phases green in the stage; permissive ones among them give way",
}
DAY_S = 86400.0


@dataclass(frozen=True)
class Period:
    """Plans of all junctions, valid from a time of day on."""

    from_s: float
    plans: Mapping[str, SafePlan]  # junction -> plan


@dataclass(frozen=True)
class PlanSet:
    """Periods in order of time; before the first one the last one is valid, as of the day before.

    Raises ModelError when there is none, or two begin at once.
    """

    periods: tuple[Period, ...]

    def __post_init__(self) -> None:
        times = [period.from_s for period in self.periods]
        problems = [] if times else ["has no periods"]
        if any(b <= a for a, b in pairwise(times)):
            problems.append(f"periods begin at {times}: must be in order, each once")
        if any(not 0 <= t < DAY_S for t in times):
            problems.append(f"periods begin at {times}: each must be in 0..{DAY_S:g} s")
        if problems:
            raise ModelError("set of plans", problems)

    def find_period(self, now_s: float) -> Period:
        """Return the period whose plans are valid at a moment."""
        into_s = now_s % DAY_S
        begun = [period for period in self.periods if period.from_s <= into_s]
        return begun[-1] if begun else self.periods[-1]

    def get_schedule(self, junction: str) -> tuple[tuple[float, SafePlan], ...]:
        """Return (from_s, plan) of one junction."""
        return tuple((period.from_s, period.plans[junction]) for period in self.periods)


def check_plan(junction: Junction, plan: SafePlan) -> list[str]:
    """Return what is wrong with a plan: stages, greens, reds, conflicts, parts of a second."""
    known = {stage.id for stage in junction.stages}
    problems = [f"unknown stage {stage}" for stage, _ in plan.slots if stage not in known]
    if problems:
        return problems
    for i, (stage, slot_s) in enumerate(plan.slots):
        if slot_s != round(slot_s):
            problems.append(f"slot {i} ({stage}): slot_s {slot_s} must be whole seconds")
    if plan.offset_s != round(plan.offset_s):
        problems.append(f"offset_s {plan.offset_s} must be whole seconds")
    order = junction.successors
    if order is not None:
        for i, (stage, _) in enumerate(plan.slots):
            before = plan.slots[i - 1][0]
            if before != stage and stage not in order[before]:
                problems.append(f"slot {i}: stage {stage} may not follow stage {before}")
    runs = build_green_runs(junction, plan)
    for phase in junction.phases:
        own = [run for run in runs if run.phase == phase.id]
        if not own:
            problems.append(f"phase {phase.id} is green in no slot: a stage is missing")
        for run in own:
            if run.endless:
                continue
            if run.green_s < phase.min_green_s:
                problems.append(
                    f"phase {phase.id}: green {run.green_s:g} s, minimum {phase.min_green_s:g} s"
                )
            if run.green_s > phase.max_green_s:
                problems.append(
                    f"phase {phase.id}: green {run.green_s:g} s, maximum {phase.max_green_s:g} s"
                )
        if len(own) == 1 and not own[0].endless:
            red_s = plan.cycle_s - own[0].green_s
            if red_s >= phase.max_red_s:
                problems.append(
                    f"phase {phase.id}: red {red_s:g} s, must be below {phase.max_red_s:g} s"
                )
    return problems


def check_plan_set(network: Network, plans: PlanSet) -> list[str]:
    """Return what is wrong with a set of plans for a network."""
    problems = []
    for period in plans.periods:
        where = f"period from {period.from_s:g} s"
        for missing in sorted(network.junctions.keys() - period.plans.keys()):
            problems.append(f"{where}: junction {missing} has no plan")
        for id_, plan in sorted(period.plans.items()):
            if id_ not in network.junctions:
                problems.append(f"{where}: unknown junction {id_}")
                continue
            found = check_plan(network.junctions[id_], plan)
            problems += [f"{where}: junction {id_}: {problem}" for problem in found]
    return problems


def check_conflicts(junctions: Iterable[Junction]) -> list[str]:
    """Return the junctions that change stages although nothing says what must not be together."""
    return [
        f"junction {junction.id}: has {len(junction.stages)} stages but no conflicts"
        for junction in junctions
        if len(junction.stages) > 1 and not junction.conflicts
    ]


def describe_plans(network: Network, plans: PlanSet) -> dict[str, Any]:
    """Return the document of a set of plans, ready for JSON."""
    return {
        "format": FORMAT,
        "network": network.id,
        "units": dict(UNITS),
        "periods": [
            {
                "from_s": period.from_s,
                "junctions": {
                    id_: _describe_plan(network.junctions[id_], plan)
                    for id_, plan in sorted(period.plans.items())
                },
            }
            for period in plans.periods
        ],
    }


def _describe_plan(junction: Junction, plan: SafePlan) -> dict[str, Any]:
    slots = []
    for stage_id, slot_s in plan.slots:
        stage = junction.get_stage(stage_id)
        slots.append(
            {
                "stage": stage_id,
                "slot_s": slot_s,
                "green": sorted(stage.green),
                "permissive": sorted(stage.permissive),
            }
        )
    return {"cycle_s": plan.cycle_s, "offset_s": plan.offset_s, "slots": slots}


def build_plan_set(document: Any, network: Network) -> PlanSet:
    """Read the document of a set of plans for a network.

    Raises ModelError listing every problem: fields that are missing or of the wrong kind, stages
    that the junction has not or has otherwise, conflicting greens, and all of `check_plan`.
    """
    problems: list[str] = []
    periods: list[Period] = []
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise ModelError("set of plans", [f"format must be {FORMAT!r}"])
    if document.get("network") != network.id:
        problems.append(f"network {document.get('network')!r}: expected {network.id!r}")
    rows = document.get("periods")
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        problems.append("periods must be a list")
        rows = []
    for i, row in enumerate(rows):
        from_s = _read_number(row, "from_s", f"periods[{i}]", problems)
        junctions = row.get("junctions") if isinstance(row, Mapping) else None
        if not isinstance(junctions, Mapping):
            problems.append(f"periods[{i}]: junctions must be a mapping")
            continue
        plans = {}
        for id_, told in junctions.items():
            plan = _read_plan(network, id_, told, f"periods[{i}]: junction {id_}", problems)
            if plan is not None:
                plans[id_] = plan
        for missing in sorted(network.junctions.keys() - junctions.keys()):
            problems.append(f"periods[{i}]: junction {missing} has no plan")
        periods.append(Period(from_s, plans))
    try:
        found = PlanSet(tuple(periods))
    except ModelError as error:
        problems += error.problems
    if problems:
        raise ModelError("set of plans", problems)
    return found


def _read_plan(
    network: Network, id_: str, told: Any, where: str, problems: list[str]
) -> SafePlan | None:
    junction = network.junctions.get(id_)
    if junction is None:
        problems.append(f"{where}: unknown junction")
        return None
    rows = told.get("slots") if isinstance(told, Mapping) else None
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not rows:
        problems.append(f"{where}: slots must be a list that is not empty")
        return None
    offset_s = _read_number(told, "offset_s", where, problems)
    cycle_s = _read_number(told, "cycle_s", where, problems)
    known = {stage.id for stage in junction.stages}
    slots = []
    for k, row in enumerate(rows):
        slot_s = _read_number(row, "slot_s", f"{where}: slots[{k}]", problems)
        if slot_s <= 0:
            problems.append(f"{where}: slots[{k}]: slot_s {slot_s:g} must be above 0")
        stage = row.get("stage") if isinstance(row, Mapping) else None
        problems += [
            f"{where}: slots[{k}]: {problem}" for problem in _check_stage(junction, stage, row)
        ]
        if slot_s > 0 and stage in known:
            slots.append((str(stage), slot_s))
    if len(slots) < len(rows) or math.isnan(offset_s):
        return None  # what is wrong with it has been told; the rest can't be
    plan = SafePlan(tuple(slots), offset_s)
    if plan.cycle_s != cycle_s:
        problems.append(f"{where}: cycle_s {cycle_s:g} must be the sum of slots, {plan.cycle_s:g}")
    if not 0 <= offset_s < plan.cycle_s:
        problems.append(f"{where}: offset_s {offset_s:g} must be in 0..{plan.cycle_s:g}")
    problems += [f"{where}: {problem}" for problem in check_plan(junction, plan)]
    return plan


def _check_stage(junction: Junction, stage_id: Any, row: Any) -> Iterable[str]:
    known = {stage.id: stage for stage in junction.stages}
    if not isinstance(row, Mapping):
        yield "must be a mapping"
        return
    lists = {name: row.get(name) for name in ("green", "permissive")}
    wrong = [name for name, value in lists.items() if not isinstance(value, list)]
    for name in wrong:
        yield f"{name} must be a list of phases"
    if not wrong:
        green, permissive = (frozenset(map(str, row[name])) for name in ("green", "permissive"))
        for one, other in combinations(sorted(green - permissive), 2):
            if junction.is_conflict(one, other):
                yield f"conflicting phases {one} and {other} are green together"
        if stage_id in known and (green, permissive) != (
            known[stage_id].green,
            known[stage_id].permissive,
        ):
            yield (
                f"stage {stage_id} shows {sorted(known[stage_id].green)} there, not {sorted(green)}"
            )
    if stage_id not in known:
        yield f"unknown stage {stage_id!r}"


def _read_number(row: Any, name: str, where: str, problems: list[str]) -> float:
    value = row.get(name) if isinstance(row, Mapping) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(float(value or 0)):
        problems.append(f"{where}: {name} {value!r} must be a number")
        return math.nan
    return float(value)  # type: ignore[arg-type]
