"""The fixed-time plan with what the response asks: other splits, gated phases cut early.

It measures nothing itself, so dead detectors do not touch it.
"""

import math

from controllers.fixed_time import follow_or_wait, is_green
from traffic.control import Command, Observation, Sensing
from traffic.model import Network, SafePlan
from traffic.optimization.greens import GreenRun, build_green_runs
from traffic.optimization.splits import RED_SLACK_S


class Responsive:
    """Runs the plan asked for, or else the safe plan, and holds gated phases to their caps.

    A plan is taken up where its cycle begins and a cap before the green that it shortens begins,
    so that neither breaks a green under way. A cap never shortens a green below its minimum, nor
    holds a phase whose red would outlast its maximum.
    """

    needs = Sensing.LOOPS

    def __init__(self, network: Network, junction: str) -> None:
        self.junction = junction
        self.loops: frozenset[str] = frozenset()
        self._junction = network.junctions[junction]
        self._phases = {phase.id: phase for phase in self._junction.phases}
        self._safe = network.plans[junction]
        self._last_s: float | None = None
        self._caps: dict[str, float] = {}  # phase -> cap of the present or coming green
        self._follow(self._safe)

    def decide(self, seen: Observation) -> Command | None:
        wanted = seen.order.plan or self._safe
        if wanted != self._plan and self._begins(wanted, seen.now_s):
            self._follow(wanted)
        is_new_cycle = self._begins(self._plan, seen.now_s)
        self._last_s = seen.now_s
        into_s = (seen.now_s - self._plan.offset_s) % self._plan.cycle_s
        held: frozenset[str] = frozenset()
        if seen.order.green_cap_s or any(cap_s < math.inf for cap_s in self._caps.values()):
            held = frozenset(
                phase
                for phase, runs in self._runs.items()
                if self._is_held(phase, runs, into_s, is_new_cycle, seen)
            )
        stage = self._plan.stage_at(seen.now_s)
        green = self._junction.get_stage(stage).green
        return follow_or_wait(self._junction, seen, stage, "responsive", held & green)

    def _follow(self, plan: SafePlan) -> None:
        self._plan = plan
        self._runs: dict[str, list[GreenRun]] = {}
        for run in build_green_runs(self._junction, plan):
            self._runs.setdefault(run.phase, []).append(run)

    def _begins(self, plan: SafePlan, now_s: float) -> bool:
        """Whether a cycle of the plan began since the last decision."""
        if self._last_s is None:
            return False
        cycles = [math.floor((t - plan.offset_s) / plan.cycle_s) for t in (self._last_s, now_s)]
        return cycles[0] != cycles[1]

    def _is_held(
        self, phase: str, runs: list[GreenRun], into_s: float, is_new_cycle: bool, seen: Observation
    ) -> bool:
        cycle_s = self._plan.cycle_s
        run = next((r for r in runs if (into_s - r.start_s) % cycle_s < r.length_s), None)
        run_s = math.inf if run is None else (into_s - run.start_s) % cycle_s
        if run is None or (is_new_cycle if run.endless else run_s <= run.lost_s):
            self._caps[phase] = seen.order.green_cap_s.get(phase, math.inf)
        if run is None:
            return False
        limits = self._phases[phase]
        share = run.green_s / sum(r.green_s for r in runs)
        green_s = max(self._caps.get(phase, math.inf) * share, limits.min_green_s)
        if run_s < run.lost_s + green_s:
            return False
        if is_green(seen, phase) and seen.green_s[phase] < limits.min_green_s:
            return False
        next_s = min(((r.start_s + r.lost_s - into_s) % cycle_s) or cycle_s for r in runs)
        return seen.red_s[phase] + next_s + RED_SLACK_S <= limits.max_red_s
