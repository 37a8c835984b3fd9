"""When a plan's phases are green: runs of slots, and what a change between stages costs."""

from collections.abc import Iterable
from dataclasses import dataclass

from traffic.model import Junction, SafePlan, Stage


@dataclass(frozen=True, slots=True)
class GreenRun:
    """Slots of a plan, in order, over which one phase stays green; the last may wrap round."""

    phase: str
    slots: tuple[int, ...]
    start_s: float  # into the cycle, of the first slot
    length_s: float  # of its slots
    lost_s: float  # intergreen before the phase gains its green
    endless: bool  # green in every slot

    @property
    def green_s(self) -> float:
        return self.length_s - self.lost_s


def build_green_runs(junction: Junction, plan: SafePlan) -> tuple[GreenRun, ...]:
    """Return the greens that a plan gives in one cycle, by phase and then by time."""
    stages = [junction.get_stage(stage) for stage, _ in plan.slots]
    lengths = [length_s for _, length_s in plan.slots]
    count = len(stages)
    runs = []
    for phase in junction.phases:
        green = [phase.id in stage.green for stage in stages]
        if all(green):
            runs.append(GreenRun(phase.id, tuple(range(count)), 0.0, plan.cycle_s, 0.0, True))
            continue
        for first in range(count):
            if not green[first] or green[first - 1]:
                continue
            slots = [first]
            while green[(slots[-1] + 1) % count]:
                slots.append((slots[-1] + 1) % count)
            ended = stages[first - 1].green - stages[first].green
            lost_s = max(
                (
                    junction.intergreens[other, phase.id].total_s
                    for other in ended
                    if junction.is_conflict(other, phase.id)
                ),
                default=0.0,
            )
            length_s = sum(lengths[i] for i in slots)
            runs.append(
                GreenRun(phase.id, tuple(slots), sum(lengths[:first]), length_s, lost_s, False)
            )
    return tuple(runs)


def get_green_s(runs: Iterable[GreenRun]) -> dict[str, float]:
    """Return phase -> seconds of green a cycle."""
    green: dict[str, float] = {}
    for run in runs:
        green[run.phase] = green.get(run.phase, 0.0) + run.green_s
    return green


def measure_change_s(junction: Junction, one: Stage, other: Stage) -> float:
    """Return the longest intergreen when one stage gives way to another, seconds.

    A phase that need not give way any more gains, too.
    """
    return max(
        (
            junction.intergreens[lost, gained].total_s
            for lost in one.green - other.green
            for gained in (other.green - one.green) | (other.protected - one.protected)
            if junction.is_conflict(lost, gained)
        ),
        default=0.0,
    )
