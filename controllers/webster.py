"""Webster's plan, timed again every few minutes for the flows that loops measure.

Cycle and splits are those of F. V. Webster, Traffic Signal Settings, Road Research Technical
Paper 39, HMSO 1958; stages keep the order of the safe plan.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from controllers.fixed_time import follow_or_wait
from controllers.stages import measure_change_s
from traffic.control import Command, Observation, Sensing
from traffic.flows import find_known, find_phase_flow_vph, has_own_lanes, name_lane_flow
from traffic.model import Approach, DetectorKind, Junction, ModelError, Network, SafePlan
from traffic.optimization.splits import RED_SLACK_S, build_green_runs
from traffic.timing import TimingError, webster_cycle_s, webster_splits_s
from traffic.units import SECONDS_PER_HOUR


@dataclass(frozen=True)
class WebsterSettings:
    """Raises ModelError with all problems at once."""

    period_s: float = 300.0  # flows are measured over this time, then the plan is timed again
    known: float = 0.5  # least share of the period in which a loop must have been trusted, 0..1
    min_cycle_s: float = 30.0
    max_cycle_s: float = 120.0

    def __post_init__(self) -> None:
        problems = []
        if not self.period_s > 0:
            problems.append(f"period_s {self.period_s} must be above 0")
        if not 0 < self.known <= 1:
            problems.append(f"known {self.known} must be above 0 and at most 1")
        if not 0 < self.min_cycle_s <= self.max_cycle_s:
            problems.append(
                f"min_cycle_s {self.min_cycle_s} must be above 0 and at most max_cycle_s "
                f"{self.max_cycle_s}"
            )
        if problems:
            raise ModelError("Webster settings", problems)


class Webster:
    """Runs a plan of Webster's, and the safe plan until flows are known.

    A new plan starts where a cycle of the old one ends. It heeds no order of the strategic half.
    """

    def __init__(
        self, network: Network, junction: str, settings: WebsterSettings = WebsterSettings()
    ) -> None:
        self.junction = junction
        self.needs = Sensing.LOOPS
        self._settings = settings
        self._junction = network.junctions[junction]
        self._safe = self._plan = network.plans[junction]
        self._saturation_vph = network.saturation_vph
        self._approaches = {
            approach.id: approach
            for approach in network.approaches.values()
            if approach.junction == junction
        }
        self._lanes = {
            detector.id: (detector.approach, detector.lane)
            for detector in network.detectors.values()
            if detector.kind is DetectorKind.STOP_LINE and detector.approach in self._approaches
        }
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
            flows = self._measure_vph(seen.now_s - self._since_s)
            ratios = find_flow_ratios(self._junction, self._approaches, flows, self._saturation_vph)
            plan = build_webster_plan(
                self._junction, self._safe, ratios, self._settings, offset_s=seen.now_s
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

    def _measure_vph(self, lasted_s: float) -> dict[str, float]:
        """Return the flows of lanes, and of approaches with the lanes that are known."""
        flows: dict[str, float] = {}
        per_approach: dict[str, list[float]] = {}
        for loop, (approach, lane) in self._lanes.items():
            if approach is None:
                continue
            own = per_approach.setdefault(approach, [])
            if self._known_s[loop] >= self._settings.known * lasted_s:
                own.append(self._counts[loop] / self._known_s[loop] * SECONDS_PER_HOUR)
                flows[name_lane_flow(approach, lane)] = own[-1]
        for approach, known in per_approach.items():
            lanes = sum(1 for place, _ in self._lanes.values() if place == approach)
            if known:
                flows[approach] = sum(known) * lanes / len(known)
        return flows


def find_flow_ratios(
    junction: Junction,
    approaches: Mapping[str, Approach],
    flow_vph: Mapping[str, float],
    saturation_vph: float,
) -> dict[str, float]:
    """Return phase -> flow ratio of its fullest approach; phases without a known flow are left out.

    What was measured on lanes that phases share counts for each by its part of the lanes.
    """
    ratios: dict[str, float] = {}
    for phase in junction.phases:
        for approach in approaches.values():
            if phase.id not in approach.phases:
                continue
            lanes = approach.count_lanes(phase.id)
            own_vph = find_phase_flow_vph(approach, [phase.id], flow_vph)
            if not has_own_lanes(approach, [phase.id]):
                own_vph *= lanes / sum(approach.count_lanes(one) for one in approach.phases)
            if not math.isnan(own_vph):
                ratio = own_vph / (saturation_vph * lanes)
                ratios[phase.id] = max(ratio, ratios.get(phase.id, 0.0))
    return ratios


def build_webster_plan(
    junction: Junction,
    safe: SafePlan,
    flow_ratios: Mapping[str, float],
    settings: WebsterSettings,
    offset_s: float,
) -> SafePlan | None:
    """Return the plan for these flow ratios of phases; None when none keeps the street's limits.

    A phase that is green in several slots needs its ratio once: what one slot gives it, because
    another phase needs it there, the others need not.
    """
    if not flow_ratios:
        return None
    stages = [junction.get_stage(stage) for stage, _ in safe.slots]
    if len(stages) < 2:
        return None
    lost_s = [measure_change_s(junction, stages[i - 1], stage) for i, stage in enumerate(stages)]
    least = {phase.id: phase.min_green_s for phase in junction.phases}
    floor_s = [max((least[phase] for phase in stage.green), default=1.0) for stage in stages]
    ratios = [0.0] * len(stages)
    slots_of = {
        phase: [i for i, stage in enumerate(stages) if phase in stage.protected]
        or [i for i, stage in enumerate(stages) if phase in stage.permissive]
        for phase in flow_ratios
    }
    for phase in sorted(flow_ratios, key=lambda one: (len(slots_of[one]), one)):
        slots = slots_of[phase]
        missing = flow_ratios[phase] - sum(ratios[i] for i in slots)
        for i in slots:
            ratios[i] += max(0.0, missing) / len(slots)
    total_lost_s = sum(lost_s)
    longest_s = min(
        [settings.max_cycle_s, *(phase.max_red_s - RED_SLACK_S for phase in junction.phases)]
    )
    shortest_s = max(settings.min_cycle_s, sum(floor_s) + total_lost_s)
    if shortest_s > longest_s or not total_lost_s > 0:
        return None
    try:
        cycle_s = webster_cycle_s(
            ratios, total_lost_s, min_cycle_s=shortest_s, max_cycle_s=longest_s
        )
        splits_s = webster_splits_s(ratios, cycle_s, total_lost_s, floor_s)
    except TimingError:
        return None
    greens = [round(float(green_s)) for green_s in splits_s]  # the street runs in whole seconds
    slots_s = (
        lost + max(green, floor) for lost, green, floor in zip(lost_s, greens, floor_s, strict=True)
    )
    plan = SafePlan(
        tuple((stage.id, slot_s) for stage, slot_s in zip(stages, slots_s, strict=True)), offset_s
    )
    limits = {phase.id: phase.max_green_s for phase in junction.phases}
    runs = build_green_runs(junction, plan)
    is_long = any(run.green_s > limits[run.phase] for run in runs if not run.endless)
    return None if is_long else plan
