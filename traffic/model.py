"""A signalised junction as the engine knows it, checked when it is built.

Words are those of docs/glossary.md: a *phase* is the movements that share one signal
indication, a *stage* the phases that are green together.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations


class ModelError(ValueError):
    """A network element that cannot be: lists every problem found, one per line."""

    def __init__(self, subject: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{subject}: {problem}" for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Movement:
    """Traffic from one link to another across a junction."""

    id: str
    from_link: str
    to_link: str


@dataclass(frozen=True, slots=True)
class Phase:
    """Movements under one signal indication, with the greens that are safe for them."""

    id: str
    movements: tuple[Movement, ...]
    min_green_s: float = 5.0
    max_green_s: float = 90.0
    max_red_s: float = 150.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Phases green together; a permissive phase is green but gives way."""

    id: str
    protected: frozenset[str]
    permissive: frozenset[str] = frozenset()

    @property
    def green(self) -> frozenset[str]:
        return self.protected | self.permissive


@dataclass(frozen=True, slots=True)
class Intergreen:
    """Seconds between a lost phase's end of green and a gained phase's start."""

    amber_s: float
    all_red_s: float

    @property
    def total_s(self) -> float:
        return self.amber_s + self.all_red_s


@dataclass(frozen=True)
class Junction:
    """A signalised junction.

    `conflicts` holds unordered pairs of phase ids whose paths cross; `intergreens` maps
    (lost phase, gained phase) to the time between them and must cover both orders of each
    conflict. `successors` maps each stage to those that may follow it; None leaves the order
    free. Raises ModelError with all problems at once.
    """

    id: str
    phases: tuple[Phase, ...]
    stages: tuple[Stage, ...]
    conflicts: frozenset[frozenset[str]]
    intergreens: Mapping[tuple[str, str], Intergreen]
    successors: Mapping[str, frozenset[str]] | None = None

    def __post_init__(self) -> None:
        problems = [*self._check_phases(), *self._check_stages(), *self._check_intergreens()]
        if problems:
            raise ModelError(f"junction {self.id}", problems)

    def get_stage(self, stage_id: str) -> Stage:
        """Return the stage of that id; raises KeyError naming the junction when missing."""
        for stage in self.stages:
            if stage.id == stage_id:
                return stage
        raise KeyError(f"junction {self.id} has no stage {stage_id!r}")

    def is_conflict(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self.conflicts

    def _check_phases(self) -> Iterable[str]:
        if not self.phases:
            yield "has no phases"
        for phase_id, count in Counter(phase.id for phase in self.phases).items():
            if count > 1:
                yield f"phase {phase_id} is defined {count} times"
        for phase in self.phases:
            if not phase.movements:
                yield f"phase {phase.id} has no movements"
            if not 0 < phase.min_green_s <= phase.max_green_s:
                yield (
                    f"phase {phase.id}: min_green_s {phase.min_green_s} must be above 0 and at "
                    f"most max_green_s {phase.max_green_s}"
                )
            if not phase.max_red_s > 0:
                yield f"phase {phase.id}: max_red_s {phase.max_red_s} must be above 0"

    def _check_stages(self) -> Iterable[str]:
        known = {phase.id for phase in self.phases}
        for stage_id, count in Counter(stage.id for stage in self.stages).items():
            if count > 1:
                yield f"stage {stage_id} is defined {count} times"
        for stage in self.stages:
            for phase_id in sorted(stage.green - known):
                yield f"stage {stage.id} names unknown phase {phase_id}"
            for phase_id in sorted(stage.protected & stage.permissive):
                yield f"stage {stage.id}: phase {phase_id} is both protected and permissive"
            for one, other in combinations(sorted(stage.protected), 2):
                if self.is_conflict(one, other):
                    yield f"stage {stage.id}: conflicting phases {one} and {other} both protected"
        for phase_id in sorted(known - {p for stage in self.stages for p in stage.green}):
            yield f"phase {phase_id} is green in no stage"

        if self.successors is not None:
            yield from self._check_order(self.successors)

    def _check_order(self, successors: Mapping[str, frozenset[str]]) -> Iterable[str]:
        stages = {stage.id for stage in self.stages}
        named = successors.keys() | {s for after in successors.values() for s in after}
        for stage_id in sorted(named - stages):
            yield f"stage order names unknown stage {stage_id}"
        for stage_id in sorted(stages - successors.keys()):
            yield f"stage order does not say what follows stage {stage_id}"

    def _check_intergreens(self) -> Iterable[str]:
        known = {phase.id for phase in self.phases}
        for pair in sorted(sorted(conflict) for conflict in self.conflicts):
            name = " and ".join(pair)
            if len(pair) != 2:
                yield f"conflict {name} must name two different phases"
                continue
            for phase_id in sorted(set(pair) - known):
                yield f"conflict {name} names unknown phase {phase_id}"
            for lost, gained in (tuple(pair), tuple(reversed(pair))):
                if (lost, gained) not in self.intergreens:
                    yield f"no intergreen from {lost} to {gained}, which conflict"
        for (lost, gained), time in sorted(self.intergreens.items()):
            if not (time.amber_s > 0 and time.all_red_s >= 0):
                yield (
                    f"intergreen {lost} to {gained}: amber_s {time.amber_s} must be above 0 "
                    f"and all_red_s {time.all_red_s} not negative"
                )
