"""A stage chosen anew every few seconds by what waits in the lanes, within the street's limits."""

from collections.abc import Callable, Iterable, Mapping

from controllers.fixed_time import follow_or_wait
from controllers.queues import Count, LaneCounts
from controllers.stages import Turns
from traffic.control import Command, Observation
from traffic.model import ModelError, Network

Score = Callable[[Mapping[str, Count]], Mapping[str, float]]  # counts of lanes -> stage -> score


def find_lanes(network: Network, junction: str) -> dict[str, frozenset[str]]:
    """Return lane at the junction's stop lines, as link_lane -> the phases that use it."""
    found: dict[str, set[str]] = {}
    for approach in network.approaches.values():
        if approach.junction == junction:
            for phase, lanes in approach.phase_lanes.items():
                for lane in lanes:
                    found.setdefault(f"{approach.links[-1]}_{lane}", set()).add(phase)
    return {lane: frozenset(phases) for lane, phases in sorted(found.items())}


def score_stages(
    network: Network,
    junction: str,
    lanes: Mapping[str, frozenset[str]],
    values: Mapping[str, float],
) -> dict[str, float]:
    """Return stage -> the sum of its lanes' values; a lane counts by the part of its phases."""
    scores = {}
    for stage in network.junctions[junction].stages:
        scores[stage.id] = sum(
            values[lane] * len(phases & stage.green) / len(phases)
            for lane, phases in lanes.items()
            if lane in values
        )
    return scores


class PeriodicChoice:
    """Keeps the stage of the best score for a period; the present one stays among equals.

    Before the period is over a stage ends only when its green is used up, or when another phase's
    red has become too long. Without any count the junction is left to its safe plan. Raises
    ModelError.
    """

    def __init__(
        self,
        network: Network,
        junction: str,
        period_s: float,
        source: str,
        approaches: Iterable[str],
    ) -> None:
        if not period_s > 0:
            raise ModelError(source, [f"period_s {period_s} must be above 0"])
        self._period_s = period_s
        self._source = source
        self._junction = network.junctions[junction]
        self._turns = Turns(self._junction)
        self._lanes = find_lanes(network, junction)
        self._counts = LaneCounts(network, approaches)
        self.loops = self._counts.loops
        self._chosen_s: float | None = None
        self._target: str | None = None

    def decide(self, seen: Observation, score: Score) -> Command | None:
        self._counts.update(seen.local)
        is_due = self._chosen_s is None or seen.now_s - self._chosen_s >= self._period_s
        counts: Mapping[str, Count] = {}
        if is_due or self._turns.is_pressing(seen):
            counts = self._counts.count(seen)
        if is_due:
            self._chosen_s = seen.now_s
            self._target = self._choose(score(counts), seen) if counts else None
        if self._target is None:
            return None
        step = self._turns.settle(seen, self._target, self._find_waiting(counts))
        return follow_or_wait(self._junction, seen, step, self._source)

    def _choose(self, scores: Mapping[str, float], seen: Observation) -> str:
        best = max(scores.values())
        if seen.stage is not None and scores[seen.stage] >= best:
            return seen.stage
        return next(stage for stage, score in scores.items() if score >= best)

    def _find_waiting(self, counts: Mapping[str, Count]) -> frozenset[str]:
        """The phases at which somebody waits, or may wait for all that is known."""
        return frozenset(
            phase
            for lane, phases in self._lanes.items()
            if lane not in counts or counts[lane].queued_veh > 0
            for phase in phases
        )
