"""Traffic-actuated control: a stage stays while vehicles come close together, and no longer.

Green is extended from loop to loop (gap-out), ends at its maximum when somebody else waits
(max-out), and stages that nobody wants are passed over; see the Traffic Signal Timing Manual,
FHWA-HOP-08-024, 2008, chapter 5.
"""

import math
from dataclasses import dataclass

from controllers.fixed_time import follow_or_wait, is_green
from controllers.stages import Turns, find_step, list_loops
from traffic.control import Aspect, Command, Observation, Sensing
from traffic.flows import find_known
from traffic.model import DetectorKind, ModelError, Network, Stage
from traffic.optimization.greens import build_green_runs, get_green_s


@dataclass(frozen=True)
class ActuatedSettings:
    """Raises ModelError with all problems at once."""

    gap_s: float = 3.0  # longest time between two vehicles that still extends a green
    max_green_s: float = 50.0  # while somebody else waits

    def __post_init__(self) -> None:
        problems = [
            f"{name} {getattr(self, name)} must be above 0"
            for name in ("gap_s", "max_green_s")
            if not getattr(self, name) > 0
        ]
        if problems:
            raise ModelError("actuated settings", problems)


class Actuated:
    """Runs the stages in the order of the safe plan, as stop-line and advance loops ask.

    A phase whose loops cannot be trusted is taken to be wanted always, for the green of the safe
    plan. It heeds no order of the strategic half.
    """

    needs = Sensing.LOOPS

    def __init__(
        self, network: Network, junction: str, settings: ActuatedSettings = ActuatedSettings()
    ) -> None:
        self.junction = junction
        self._settings = settings
        self._junction = network.junctions[junction]
        self._turns = Turns(self._junction)
        plan = network.plans[junction]
        self._order = tuple(dict.fromkeys(stage for stage, _ in plan.slots))
        self._planned_s = get_green_s(build_green_runs(self._junction, plan))
        self._stop = list_loops(network, junction, DetectorKind.STOP_LINE)
        advance = list_loops(network, junction, DetectorKind.ADVANCE)
        self._watched = {phase: loops | advance[phase] for phase, loops in self._stop.items()}
        self.loops = frozenset(loop for loops in self._watched.values() for loop in loops)
        self._seen_s = dict.fromkeys(self._watched, -math.inf)  # last vehicle on a loop
        self._calls: set[str] = set()  # red phases at which somebody has come since green
        self._blind: frozenset[str] = frozenset()

    def decide(self, seen: Observation) -> Command | None:
        self._notice(seen)
        if seen.stage is None or seen.stage not in self._order:
            return follow_or_wait(self._junction, seen, self._order[0], "actuated")
        stage = self._junction.get_stage(seen.stage)
        target = self._choose(stage, seen)
        if target != stage.id:
            target = find_step(self._junction, stage.id, target)
        return follow_or_wait(self._junction, seen, target, "actuated")

    def _notice(self, seen: Observation) -> None:
        occupied = find_known(seen.local, seen.local.occupancy)
        self._blind = frozenset(
            phase for phase, loops in self._watched.items() if loops.isdisjoint(occupied)
        )
        for phase, loops in self._watched.items():
            has_come = any(occupied.get(loop, 0.0) > 0 for loop in loops)
            if has_come:
                self._seen_s[phase] = seen.now_s
            if seen.aspects[phase] is Aspect.GREEN:
                self._calls.discard(phase)
            elif seen.aspects[phase] is Aspect.PERMISSIVE:
                # One that stands there finds no gap; one that passes wants nothing more.
                stands = any(occupied.get(loop, 0.0) >= 1 for loop in self._stop[phase])
                (self._calls.add if stands else self._calls.discard)(phase)
            elif has_come or phase in self._blind:
                self._calls.add(phase)

    def _choose(self, stage: Stage, seen: Observation) -> str:
        """Return the stage wanted, the present one to stay."""
        due = self._turns.find_due(seen, self._calls)
        if due is not None and due not in stage.green:
            return self._find_after(stage, frozenset({due})) or stage.id
        full = self._turns.find_full(seen) & stage.green
        after = self._find_after(stage, frozenset(self._calls))
        if full:
            others = (one for one in self._rotate(stage) if not self._get_green(one) & full)
            return (
                next(others, stage.id) if after is None or self._get_green(after) & full else after
            )
        if after is None:
            return stage.id
        lost = stage.green - self._get_green(after)
        if any(not is_green(seen, phase) for phase in lost):
            return stage.id  # its change is not over yet
        longest_s = max((seen.green_s[phase] for phase in lost), default=math.inf)
        if longest_s >= self._settings.max_green_s:
            return after
        return stage.id if any(self._is_extended(phase, seen) for phase in lost) else after

    def _is_extended(self, phase: str, seen: Observation) -> bool:
        if phase in self._blind:
            return seen.green_s[phase] < self._planned_s[phase]
        return seen.now_s - self._seen_s[phase] < self._settings.gap_s

    def _find_after(self, stage: Stage, wanted: frozenset[str]) -> str | None:
        """Return the next stage in order that gives a wanted phase what it has not got."""
        for one in self._rotate(stage):
            other = self._junction.get_stage(one)
            if wanted & ((other.green - stage.green) | (other.protected - stage.protected)):
                return one
        return None

    def _rotate(self, stage: Stage) -> tuple[str, ...]:
        """The other stages in order, from the one that follows."""
        at = self._order.index(stage.id)
        return self._order[at + 1 :] + self._order[:at]

    def _get_green(self, stage: str) -> frozenset[str]:
        return self._junction.get_stage(stage).green
