"""From one fixed-time plan to another one, in step again within two cycles.

The old plan ends with a cycle of its own. The new one then runs at most two cycles that are
lengthened or shortened, whichever is less, until its cycle begins where its offset wants it
(the "shortway" of coordinated controllers: NCHRP Report 812, Signal Timing Manual, 2nd edition,
2015, section 7.4). Every green keeps its minimum.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from traffic.model import Junction, ModelError, SafePlan
from traffic.optimization.cycle import find_shortest_cycle_s, stretch_plan
from traffic.optimization.splits import RED_SLACK_S
from traffic.plans import DAY_S, check_plan

MOST_CYCLES = 2

Slots = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Transition:
    """The old plan until begin_s, these slots until end_s, then the new plan, in step."""

    old: SafePlan
    new: SafePlan
    begin_s: float
    cycles: tuple[Slots, ...]

    @property
    def end_s(self) -> float:
        return self.begin_s + sum(length_s for slots in self.cycles for _, length_s in slots)

    def stage_at(self, now_s: float) -> str:
        if now_s < self.begin_s:
            return self.old.stage_at(now_s)
        into_s = now_s - self.begin_s
        for slots in self.cycles:
            for stage, length_s in slots:
                if into_s < length_s:
                    return stage
                into_s -= length_s
        return self.new.stage_at(now_s)


def build_transition(junction: Junction, old: SafePlan, new: SafePlan, now_s: float) -> Transition:
    """Return the least change of the new plan's cycles that brings it into step.

    Minimum greens always hold; of the ways that keep the longest greens and reds too, if there are
    any, that with the least change is taken. Both plans must pass `check_plan`.
    """
    begin_s = old.offset_s + old.cycle_s * math.ceil((now_s - old.offset_s) / old.cycle_s - 1e-9)
    late_s = (new.offset_s - begin_s) % new.cycle_s
    ways: list[tuple[Slots, ...]] = [()] if late_s == 0 else []
    for change_s in (late_s, late_s - new.cycle_s):
        for count in range(1, MOST_CYCLES + 1):
            lengths_s = [new.cycle_s + part for part in _share(change_s, count) if late_s != 0]
            shortest_s = find_shortest_cycle_s(junction, new)
            if lengths_s and min(lengths_s) >= shortest_s:
                ways.append(tuple(stretch_plan(junction, new, s).slots for s in lengths_s))

    def weigh(way: tuple[Slots, ...]) -> tuple[bool, float, int]:
        course = [old.slots, *way, new.slots]
        length_s = sum(s for slots in way for _, s in slots)
        change_s = abs(length_s - len(way) * new.cycle_s)
        return not _keeps_limits(junction, course), change_s, len(way)

    return Transition(old, new, begin_s, min(ways, key=weigh))


def _share(change_s: float, count: int) -> list[float]:
    """Whole seconds for each cycle."""
    first = math.ceil(change_s / count)
    return [float(first)] * (count - 1) + [change_s - first * (count - 1)]


def _keeps_limits(junction: Junction, course: Iterable[Slots]) -> bool:
    """Whether no green and no red within the course is longer than its phase may be."""
    slots = [slot for slots in course for slot in slots]
    for phase in junction.phases:
        red_s = green_s = 0.0
        for stage, length_s in slots:
            is_green = phase.id in junction.get_stage(stage).green
            green_s = green_s + length_s if is_green else 0.0
            # Its intergreen is red, too, and may be as long as any to this phase.
            lost_s = max(
                (
                    t.total_s
                    for (_, gained), t in junction.intergreens.items()
                    if gained == phase.id
                ),
                default=0.0,
            )
            if is_green and red_s + lost_s > phase.max_red_s - RED_SLACK_S:
                return False
            red_s = 0.0 if is_green else red_s + length_s
            if red_s >= phase.max_red_s or green_s > phase.max_green_s + lost_s:
                return False
    return True


class Course:
    """Which stage a junction is to show as the day goes on, plan after plan.

    `schedule` holds (from_s, plan) in order of the time of day. Ask with times that never fall.
    Raises ModelError listing what is wrong with the plans.
    """

    def __init__(self, junction: Junction, schedule: Sequence[tuple[float, SafePlan]]) -> None:
        problems = [
            f"plan from {from_s:g} s: {problem}"
            for from_s, plan in schedule
            for problem in check_plan(junction, plan)
        ]
        times = [from_s for from_s, _ in schedule]
        if not times:
            problems.append("schedule is empty: at least one plan is needed")
        if times != sorted(set(times)):
            problems.append(f"plans begin at {times}: must be in order, each once")
        if problems:
            raise ModelError(f"junction {junction.id}", problems)
        self._junction = junction
        self._schedule = tuple(schedule)
        self._plan: SafePlan | None = None
        self._transition: Transition | None = None

    def stage_at(self, now_s: float) -> str:
        """Return the stage to show; a change of plan begins when its time has come."""
        due = self._find_due(now_s)
        if self._plan is None:
            self._plan = due
        if self._transition is not None and now_s >= self._transition.end_s:
            self._plan, self._transition = self._transition.new, None
        if self._transition is None and due != self._plan:
            self._transition = build_transition(self._junction, self._plan, due, now_s)
        return (self._transition or self._plan).stage_at(now_s)

    def _find_due(self, now_s: float) -> SafePlan:
        begun = [plan for from_s, plan in self._schedule if from_s <= now_s % DAY_S]
        return begun[-1] if begun else self._schedule[-1][1]
