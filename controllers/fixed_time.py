"""The fixed-time plan as commands, and the courtesy of asking only what the interlock admits."""

from traffic.control import Aspect, Command, Observation, Sensing
from traffic.model import Junction, Network

_VALID_S = 2.0  # a command outlives one missed second, no more
_GREENS = (Aspect.GREEN, Aspect.PERMISSIVE)


def find_lawful(
    junction: Junction, seen: Observation, stage_id: str, source: str, held: frozenset[str]
) -> Command | None:
    """Return a command for the stage, or None when a rule of the street forbids it now."""
    stage = junction.get_stage(stage_id)
    order = junction.successors
    if order is not None and seen.stage is not None:
        is_change = stage_id != seen.stage
        if is_change and stage_id not in order[seen.stage]:
            return None
    green = stage.green - held
    for phase in junction.phases:
        id_ = phase.id
        if seen.aspects[id_] in _GREENS:
            if id_ not in green and seen.green_s[id_] < phase.min_green_s:
                return None
            if id_ in green and seen.green_s[id_] >= phase.max_green_s:
                return None
        elif id_ not in green and seen.red_s[id_] >= phase.max_red_s:
            return None
    return Command(
        junction.id, stage_id, seen.now_s, seen.now_s + _VALID_S, source, held & stage.green
    )


def is_green(seen: Observation, phase: str) -> bool:
    return seen.aspects[phase] in _GREENS


def follow_or_wait(
    junction: Junction,
    seen: Observation,
    stage_id: str,
    source: str,
    held: frozenset[str] = frozenset(),
) -> Command | None:
    """Return the stage if it may come now, else the present one, else leave it to the safe plan."""
    command = find_lawful(junction, seen, stage_id, source, held)
    if command is None and seen.stage is not None and seen.stage != stage_id:
        command = find_lawful(junction, seen, seen.stage, source, held)
    return command


class FixedTime:
    """Runs the junction's safe plan and listens to nobody."""

    needs = Sensing.LOOPS

    def __init__(self, network: Network, junction: str) -> None:
        self.junction = junction
        self.loops: frozenset[str] = frozenset()
        self._junction = network.junctions[junction]
        self._plan = network.plans[junction]

    def decide(self, seen: Observation) -> Command | None:
        stage = self._plan.stage_at(seen.now_s)
        return follow_or_wait(self._junction, seen, stage, "fixed-time")
