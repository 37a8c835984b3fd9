"""Webster's plan, timed again every few minutes for the flows that loops measure.

Cycle and splits are those of F. V. Webster, Traffic Signal Settings, Road Research Technical
Paper 39, HMSO 1958; stages keep the order of the safe plan.
"""

import math
from dataclasses import dataclass, replace

from controllers.fixed_time import follow_or_wait
from traffic.control import Command, Observation, Sensing
from traffic.flows import MeanFlows, group_loops, name_lane_flow
from traffic.model import Junction, ModelError, Network, SafePlan
from traffic.optimization.cycle import (
    FULL,
    GROWTH,
    Demands,
    Site,
    ask_webster_s,
    build_demands,
    find_shortest_cycle_s,
    grow_full,
    share_webster,
)
from traffic.optimization.greens import build_green_runs
from traffic.optimization.permitted import START_S
from traffic.optimization.splits import RED_SLACK_S
from traffic.optimization.streams import build_streams


@dataclass(frozen=True)
class WebsterSettings:
    """Raises ModelError with all problems at once."""

    period_s: float = 300.0  # the plan is timed again after this time
    # What was measured before a period counts for this share of what it did in that one: with 2/3
    # flows are those of 15 min in all, the analysis period of HCM 2010, chapter 18. 0..1
    memory: float = 2 / 3
    known: float = 0.5  # least share of the period, or of what is remembered, with trust, 0..1
    full: float = FULL  # share of what its green can carry from which a lane counts as full, 0..1
    growth: float = GROWTH  # what a full lane counts for, times what it showed
    start_s: float = START_S  # of each green until traffic moves, less what it uses of the amber
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
        if not 0 <= self.memory < 1:
            problems.append(f"memory {self.memory} must be at least 0 and below 1")
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
        self._network = network
        own = {a.id for a in network.approaches.values() if a.junction == junction}
        lanes = {(d.approach, d.lane) for d in network.detectors.values() if d.approach in own}
        names = own | {name_lane_flow(str(approach), lane) for approach, lane in lanes}
        groups = group_loops(network)
        self._groups = {name: loops for name, loops in groups.items() if name in names}
        self.loops = frozenset().union(*self._groups.values())
        self._since_s: float | None = None  # of the measurement
        self._last_s: float | None = None
        self._flows = MeanFlows(self._groups)

    def decide(self, seen: Observation) -> Command | None:
        self._flows.add(seen.local)
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
                self._flows.fade(self._settings.memory)
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
        """Return what the lanes ask for; nothing when no loop was known well enough.

        Where some are, the others are taken to be as busy as the safe plan was made for.
        """
        settings = self._settings
        flow_vph = self._flows.build_flow_vph(settings.known * lasted_s)
        if all(math.isnan(vph) for vph in flow_vph.values()):
            return {}
        streams = build_streams(self._network, self.junction, flow_vph)
        site = grow_full(Site(self._junction, self._plan, streams), settings.full, settings.growth)
        return build_demands(replace(site, plan=self._safe))


def build_webster_plan(
    junction: Junction,
    safe: SafePlan,
    demands: Demands,
    settings: WebsterSettings,
    offset_s: float,
) -> SafePlan | None:
    """Return the plan for these demands; None when none keeps the street's limits."""
    if not demands or len(safe.slots) < 2:
        return None
    longest_s = min(
        [settings.max_cycle_s, *(phase.max_red_s - RED_SLACK_S for phase in junction.phases)]
    )
    shortest_s = max(settings.min_cycle_s, find_shortest_cycle_s(junction, safe))
    if shortest_s > longest_s:
        return None
    cycle_s = ask_webster_s(junction, safe, demands, shortest_s, longest_s, settings.start_s)
    # The street runs in whole seconds.
    whole_s = float(max(math.ceil(shortest_s), min(round(cycle_s), math.floor(longest_s))))
    if whole_s > longest_s:
        return None
    plan = replace(
        share_webster(junction, safe, demands, whole_s, settings.start_s), offset_s=offset_s
    )
    limits = {phase.id: phase.max_green_s for phase in junction.phases}
    runs = build_green_runs(junction, plan)
    is_long = any(run.green_s > limits[run.phase] for run in runs if not run.endless)
    return None if is_long else plan
