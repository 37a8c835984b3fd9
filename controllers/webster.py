"""Webster's plan, timed again every few minutes for the flows that loops measure.

Cycle and splits are those of F. V. Webster, Traffic Signal Settings, Road Research Technical
Paper 39, HMSO 1958; stages keep the order of the safe plan.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controllers.fixed_time import follow_or_wait
from controllers.stages import list_loops, measure_change_s
from traffic.control import Command, Observation, Sensing
from traffic.flows import find_known
from traffic.model import DetectorKind, Junction, ModelError, Network, SafePlan, Stage
from traffic.optimization.splits import RED_SLACK_S, build_green_runs
from traffic.timing import webster_cycle_s, webster_splits_s
from traffic.units import SECONDS_PER_HOUR


@dataclass(frozen=True)
class WebsterSettings:
    """Raises ModelError with all problems at once."""

    period_s: float = 300.0  # flows are measured over this time, then the plan is timed again
    known: float = 0.5  # least share of the period in which a loop must have been trusted, 0..1
    full: float = 0.85  # share of what its green can carry from which a lane counts as full, 0..1
    growth: float = 1.2  # what a full lane counts for, times what it showed
    start_s: float = 2.0  # of each green until traffic moves, less what it uses of the amber
    min_cycle_s: float = 30.0
    max_cycle_s: float = 120.0

    def __post_init__(self) -> None:
        problems = []
        if not self.period_s > 0:
            problems.append(f"period_s {self.period_s} must be above 0")
        problems += [
            f"{name} {getattr(self, name)} must be above 0 and at most 1"
            for name in ("known", "full")
            if not 0 < getattr(self, name) <= 1
        ]
        if not self.start_s >= 0:
            problems.append(f"start_s {self.start_s} must not be negative")
        if not self.growth >= 1:
            problems.append(f"growth {self.growth} must be at least 1")
        if not 0 < self.min_cycle_s <= self.max_cycle_s:
            problems.append(
                f"min_cycle_s {self.min_cycle_s} must be above 0 and at most max_cycle_s "
                f"{self.max_cycle_s}"
            )
        if problems:
            raise ModelError("Webster settings", problems)


Demands = Mapping[frozenset[str], float]  # phases that use one lane -> its flow ratio


def find_lane_phases(network: Network, junction: str) -> dict[str, frozenset[str]]:
    """Return stop-line loop -> the phases that use its lane, loops of no phase left out."""
    found: dict[str, set[str]] = {}
    for phase, loops in list_loops(network, junction, DetectorKind.STOP_LINE).items():
        for loop in loops:
            found.setdefault(loop, set()).add(phase)
    return {loop: frozenset(phases) for loop, phases in sorted(found.items())}


class Webster:
    """Runs a plan of Webster's, and the safe plan until flows are known.

    A new plan starts where a cycle of the old one ends. It heeds no order of the strategic half.
    """

    needs = Sensing.LOOPS

    def __init__(
        self, network: Network, junction: str, settings: WebsterSettings = WebsterSettings()
    ) -> None:
        self.junction = junction
        self._settings = settings
        self._junction = network.junctions[junction]
        self._safe = self._plan = network.plans[junction]
        self._saturation_vph = network.saturation_vph
        self._lanes = find_lane_phases(network, junction)
        self.loops = frozenset(self._lanes)
        self._since_s: float | None = None  # of the measurement
        self._last_s: float | None = None
        self._counts = dict.fromkeys(self._lanes, 0.0)
        self._known_s = dict.fromkeys(self._lanes, 0.0)

    def decide(self, seen: Observation) -> Command | None:
        for loop, count in find_known(seen.local, seen.local.count_veh).items():
            if loop in self._counts:
                self._counts[loop] += count
                self._known_s[loop] += seen.local.interval_s
        if self._since_s is None:
            self._since_s = seen.now_s
        if self._is_new_cycle(seen.now_s) and seen.now_s - self._since_s >= self._settings.period_s:
            demands = self._measure(seen.now_s - self._since_s)
            plan = build_webster_plan(
                self._junction, self._safe, demands, self._settings, offset_s=seen.now_s
            )
            if plan is None or self._may_begin(plan, seen):  # else with the next cycle
                self._plan = plan or self._plan
                self._since_s = seen.now_s
                self._counts = dict.fromkeys(self._lanes, 0.0)
                self._known_s = dict.fromkeys(self._lanes, 0.0)
        self._last_s = seen.now_s
        stage = self._plan.stage_at(seen.now_s)
        return follow_or_wait(self._junction, seen, stage, "webster")

    def _may_begin(self, plan: SafePlan, seen: Observation) -> bool:
        """Whether no phase left red waits too long in the first cycle of the new plan."""
        limits = {phase.id: phase.max_red_s - RED_SLACK_S for phase in self._junction.phases}
        first_s: dict[str, float] = {}
        for run in build_green_runs(self._junction, plan):
            first_s[run.phase] = min(run.start_s + run.lost_s, first_s.get(run.phase, math.inf))
        return all(seen.red_s[phase] + wait_s <= limits[phase] for phase, wait_s in first_s.items())

    def _is_new_cycle(self, now_s: float) -> bool:
        if self._last_s is None:
            return False
        cycles = [
            math.floor((t - self._plan.offset_s) / self._plan.cycle_s)
            for t in (self._last_s, now_s)
        ]
        return cycles[0] != cycles[1]

    def _measure(self, lasted_s: float) -> Demands:
        """Return the flow ratio of the fullest lane for each set of phases that use one lane.

        Lanes whose loop is not known well enough are left out. One that let through nearly all
        that its green can has perhaps kept others waiting: it counts for more than it showed.
        """
        settings, demands = self._settings, dict[frozenset[str], float]()
        shares = {run.phase: 0.0 for run in build_green_runs(self._junction, self._plan)}
        for run in build_green_runs(self._junction, self._plan):
            shares[run.phase] += run.green_s / self._plan.cycle_s
        for loop, phases in self._lanes.items():
            if self._known_s[loop] < settings.known * lasted_s:
                continue
            flow_vph = self._counts[loop] / self._known_s[loop] * SECONDS_PER_HOUR
            ratio = flow_vph / self._saturation_vph
            if ratio >= settings.full * min(shares[phase] for phase in phases):
                ratio *= settings.growth
            demands[phases] = max(ratio, demands.get(phases, 0.0))
        return demands


def build_webster_plan(
    junction: Junction,
    safe: SafePlan,
    demands: Demands,
    settings: WebsterSettings,
    offset_s: float,
) -> SafePlan | None:
    """Return the plan for these demands; None when none keeps the street's limits.

    A lane that is green in several slots needs its ratio once: what one slot gives it, because
    another lane needs it there, the others need not.
    """
    stages = [junction.get_stage(stage) for stage, _ in safe.slots]
    lost_s = [
        measure_change_s(junction, stages[i - 1], stage) + settings.start_s
        for i, stage in enumerate(stages)
    ]
    total_lost_s = sum(lost_s)
    if not demands or len(stages) < 2 or not total_lost_s > 0:
        return None
    ratios = _spread(stages, demands)
    least_s = {phase.id: phase.min_green_s for phase in junction.phases}
    floor_s = [max((least_s[phase] for phase in stage.green), default=1.0) for stage in stages]
    longest_s = min(
        [settings.max_cycle_s, *(phase.max_red_s - RED_SLACK_S for phase in junction.phases)]
    )
    shortest_s = max(settings.min_cycle_s, sum(floor_s) + total_lost_s)
    if shortest_s > longest_s:
        return None
    cycle_s = webster_cycle_s(ratios, total_lost_s, min_cycle_s=shortest_s, max_cycle_s=longest_s)
    splits_s = webster_splits_s(ratios, cycle_s, total_lost_s, floor_s)
    # The street runs in whole seconds.
    slots_s = [
        lost + max(round(float(green)), floor)
        for lost, green, floor in zip(lost_s, splits_s, floor_s, strict=True)
    ]
    slots = zip((stage.id for stage in stages), slots_s, strict=True)
    plan = SafePlan(tuple(slots), offset_s)
    limits = {phase.id: phase.max_green_s for phase in junction.phases}
    runs = build_green_runs(junction, plan)
    is_long = any(run.green_s > limits[run.phase] for run in runs if not run.endless)
    return None if is_long or plan.cycle_s > longest_s + len(slots_s) / 2 else plan


def _spread(stages: Sequence[Stage], demands: Demands) -> list[float]:
    """Return the flow ratio that each stage must serve, those that only one can serve first."""
    slots_of = {phases: _find_slots(stages, phases) for phases in demands}
    ratios = [0.0] * len(stages)
    for phases in sorted(demands, key=lambda one: (len(slots_of[one]), sorted(one))):
        slots = slots_of[phases]
        missing = demands[phases] - sum(ratios[i] for i in slots)
        for i in slots:
            ratios[i] += max(0.0, missing) / len(slots)
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
