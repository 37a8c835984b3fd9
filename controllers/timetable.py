"""A set of fixed-time plans by time of day, with coordinated transitions between them."""

from collections.abc import Sequence

from controllers.fixed_time import follow_or_wait
from traffic.control import Command, Observation, Sensing
from traffic.model import Network, SafePlan
from traffic.optimization.transition import Course


class Timetable:
    """Runs the plan whose time it is and listens to nobody; without any, the safe plan all day.

    `schedule` holds (from_s, plan) in order of the time of day. Raises ModelError listing what is
    wrong with the plans.
    """

    needs = Sensing.LOOPS

    def __init__(
        self,
        network: Network,
        junction: str,
        schedule: Sequence[tuple[float, SafePlan]] = (),
    ) -> None:
        self.junction = junction
        self.loops: frozenset[str] = frozenset()
        self._junction = network.junctions[junction]
        self._safe = network.plans[junction]
        self._course = Course(self._junction, schedule) if schedule else None

    def decide(self, seen: Observation) -> Command | None:
        plan = self._safe if self._course is None else self._course
        return follow_or_wait(self._junction, seen, plan.stage_at(seen.now_s), "timetable")
