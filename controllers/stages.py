"""What controllers that choose stages share: the way to a stage, and whose turn it is."""

from collections.abc import Iterable

from traffic.control import Observation
from traffic.model import DetectorKind, Junction, Network
from traffic.optimization.splits import RED_SLACK_S

PATIENCE_S = 100.0  # longest red of a phase at which somebody waits, where the street allows more


def list_next(junction: Junction, stage: str) -> tuple[str, ...]:
    """Return the stages that may follow, the stage itself left out."""
    after = [one.id for one in junction.stages if one.id != stage]
    if junction.successors is not None:
        after = [one for one in after if one in junction.successors[stage]]
    return tuple(after)


def find_step(junction: Junction, stage: str, target: str) -> str:
    """Return the first stage on the shortest lawful way to the target; the target without a way."""
    before: dict[str, str] = {}
    reached = [stage]
    for at in reached:  # grows while it is walked
        for after in list_next(junction, at):
            if after != stage and after not in before:
                before[after] = at
                reached.append(after)
    step = target
    while before.get(step, stage) != stage:
        step = before[step]
    return step


class Turns:
    """Whose turn it is by the clock, whatever traffic says: long reds, and greens used up.

    A round through all stages at their shortest fits between the red at which a phase is due and
    the longest that the street allows, so that several that are due at once can all be served.
    """

    def __init__(self, junction: Junction, patience_s: float = PATIENCE_S) -> None:
        least = {phase.id: phase.min_green_s for phase in junction.phases}
        change_s = max((time.total_s for time in junction.intergreens.values()), default=0.0)
        shortest_s = [
            max((least[phase] for phase in stage.green), default=0.0) + change_s
            for stage in junction.stages
        ]
        self._junction = junction
        self._patience_s = patience_s
        self._due_s = {
            phase.id: max(0.0, phase.max_red_s - RED_SLACK_S - sum(shortest_s))
            for phase in junction.phases
        }
        self._full_s = {
            phase.id: max(phase.min_green_s, phase.max_green_s - RED_SLACK_S - max(shortest_s))
            for phase in junction.phases
        }

    def is_pressing(self, seen: Observation) -> bool:
        """Whether a phase is due if somebody waits there."""
        return any(
            red_s >= min(self._patience_s, self._due_s[phase])
            for phase, red_s in seen.red_s.items()
        )

    def settle(self, seen: Observation, target: str, waiting: Iterable[str]) -> str:
        """Return the stage to ask for when `target` is wanted: what is due comes before it."""
        if seen.stage is None:
            return target
        present = self._junction.get_stage(seen.stage)
        due = self.find_due(seen, waiting)
        if due is not None and due in present.green:
            target = present.id  # it is about to have its green
        elif due is not None and due not in self._junction.get_stage(target).green:
            waits = frozenset(waiting) - present.green
            able = [stage for stage in self._junction.stages if due in stage.green]
            target = max(able, key=lambda stage: len(stage.green & waits)).id
        full = self.find_full(seen)
        if full & self._junction.get_stage(target).green:
            others = [stage.id for stage in self._junction.stages if not stage.green & full]
            target = others[0] if others else target
        return find_step(self._junction, seen.stage, target)

    def find_due(self, seen: Observation, waiting: Iterable[str]) -> str | None:
        """Return the phase whose red is most overdue; patience counts for those waiting only."""
        waits = frozenset(waiting)
        over_s = {}
        for phase, red_s in seen.red_s.items():
            due_s = self._due_s[phase]
            over_s[phase] = red_s - (min(self._patience_s, due_s) if phase in waits else due_s)
        late = [p for p, seconds in over_s.items() if seconds >= 0 and seen.red_s[p] > 0]
        return max(late, key=lambda phase: (over_s[phase], phase), default=None)

    def find_full(self, seen: Observation) -> frozenset[str]:
        """Return the phases whose green is about to reach its maximum."""
        return frozenset(p for p, green_s in seen.green_s.items() if green_s >= self._full_s[p])


def list_loops(network: Network, junction: str, kind: DetectorKind) -> dict[str, frozenset[str]]:
    """Return phase -> loops of that kind that its traffic passes, by the lanes where they tell.

    Those on arms beside the approach are left out: some who pass them go elsewhere.
    """
    found: dict[str, set[str]] = {phase.id: set() for phase in network.junctions[junction].phases}
    for approach in network.approaches.values():
        if approach.junction != junction:
            continue
        for detector in network.detectors.values():
            if detector.approach != approach.id or detector.kind is not kind:
                continue
            if detector.link not in approach.links:
                continue
            # Lanes upstream of the last link need not be those at the stop line.
            is_told = detector.link == approach.links[-1]
            for phase in approach.phases:
                lanes = approach.phase_lanes.get(phase, ())
                if not (is_told and lanes) or detector.lane in lanes:
                    found[phase].add(detector.id)
    return {phase: frozenset(loops) for phase, loops in found.items()}
