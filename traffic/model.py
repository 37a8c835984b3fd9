"""Roads, loops and signalised junctions as the engine knows them, checked when they are built.

Words are those of docs/glossary.md: a *phase* is the movements that share one signal
indication, a *stage* the phases that are green together.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from itertools import combinations

from traffic.lanes import LaneMap


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
    """Movements under one signal indication, with the greens that are safe for them.

    With `turns_on_red` its permissive green is an arrow beside a red: drivers stop first.
    """

    id: str
    movements: tuple[Movement, ...]
    min_green_s: float = 5.0
    max_green_s: float = 90.0
    max_red_s: float = 150.0
    turns_on_red: bool = False


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


@dataclass(frozen=True)
class SafePlan:
    """Fixed-time plan of a junction: stages in order with slots (green and intergreen), seconds."""

    slots: tuple[tuple[str, float], ...]
    offset_s: float = 0.0

    def __post_init__(self) -> None:
        problems = [
            f"slot {i} ({stage}): {length_s} s must be above 0"
            for i, (stage, length_s) in enumerate(self.slots)
            if not length_s > 0
        ]
        if not self.slots:
            problems.append("has no slots")
        if problems:
            raise ModelError("safe plan", problems)

    @cached_property
    def cycle_s(self) -> float:
        return sum(length_s for _, length_s in self.slots)

    def stage_at(self, now_s: float) -> str:
        """Return the stage whose slot holds the moment."""
        into_s = (now_s - self.offset_s) % self.cycle_s
        for stage, length_s in self.slots:
            if into_s < length_s:
                return stage
            into_s -= length_s
        return self.slots[-1][0]


class DetectorKind(Enum):
    """What a loop is there to tell."""

    MAINLINE = "mainline"
    RAMP = "ramp"
    STOP_LINE = "stop_line"
    ADVANCE = "advance"
    TAIL = "tail"


@dataclass(frozen=True, slots=True)
class Detector:
    """A loop in one lane; `approach` names the signal approach that it watches, if any."""

    id: str
    kind: DetectorKind
    link: str
    lane: int
    position_m: float  # from the link's upstream end
    approach: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a road between two nodes; `lanes` counts those open to ordinary traffic."""

    id: str
    from_node: str
    to_node: str
    length_m: float
    lanes: int
    free_speed_mps: float
    shape: tuple[tuple[float, float], ...]  # x, y in metres, upstream to downstream
    name: str = ""


@dataclass(frozen=True, slots=True)
class Approach:
    """Lanes that lead to one stop line, walked upstream through unsignalised joints."""

    id: str
    junction: str
    links: tuple[str, ...]  # upstream to downstream; the last one ends at the stop line
    phases: tuple[str, ...]
    lanes: int  # at the stop line
    storage_m: float  # queue length that fits, per lane
    phase_lanes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # at the stop line

    def count_lanes(self, phase: str) -> float:
        """Return the lanes that serve a phase, one shared by n phases as 1 / n.

        Where `phase_lanes` does not say, all phases have equal parts.
        """
        if phase not in self.phase_lanes:
            return max(self.lanes, 1) / len(self.phases)
        users = [lane for lanes in self.phase_lanes.values() for lane in lanes]
        return sum(1 / users.count(lane) for lane in self.phase_lanes[phase])


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """A place whose capacity the city knows, and the loops that see its inflow coming.

    `feeders` maps each upstream loop to (share of its count bound for the bottleneck 0..1,
    travel time to it in seconds at free flow).
    """

    id: str
    link: str
    capacity_vph: float  # before breakdown
    discharge_vph: float  # out of a standing queue
    corridor: tuple[str, ...]  # links upstream to downstream, the bottleneck's own last
    watch: tuple[str, ...]  # loops whose speed confirms a breakdown
    feeders: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Network:
    """Roads, signals and loops of a city. Raises ModelError with all problems at once.

    `turns` holds the permitted (link, next link) pairs. `origin` is the longitude and latitude
    of x = y = 0, when the network lies somewhere on Earth.
    """

    id: str
    links: Mapping[str, Link]
    turns: frozenset[tuple[str, str]]
    junctions: Mapping[str, Junction]
    plans: Mapping[str, SafePlan]
    approaches: Mapping[str, Approach]
    detectors: Mapping[str, Detector]
    bottlenecks: Mapping[str, Bottleneck] = field(default_factory=dict)
    origin: tuple[float, float] | None = None
    saturation_vph: float = 1800.0  # per lane, out of a queue at green
    lanes: LaneMap | None = None  # for fields that sense more than loops

    def __post_init__(self) -> None:
        problems = [*self._check_roads(), *self._check_sensors(), *self._check_signals()]
        if problems:
            raise ModelError(f"network {self.id}", problems)

    def _check_roads(self) -> Iterable[str]:
        if not self.links:
            yield "has no links"
        if not self.saturation_vph > 0:
            yield f"saturation_vph {self.saturation_vph} must be above 0"
        for link in self.links.values():
            for name in ("length_m", "free_speed_mps"):
                if not getattr(link, name) > 0:
                    yield f"link {link.id}: {name} {getattr(link, name)} must be above 0"
            if link.lanes < 0:
                yield f"link {link.id}: lanes {link.lanes} must not be negative"
        for pair in sorted(self.turns):
            for link_id in pair:
                if link_id not in self.links:
                    yield f"turn {pair[0]} to {pair[1]} names unknown link {link_id}"
        for bottleneck in self.bottlenecks.values():
            for link_id in (bottleneck.link, *bottleneck.corridor):
                if link_id not in self.links:
                    yield f"bottleneck {bottleneck.id} names unknown link {link_id}"
            for loop in (*bottleneck.watch, *bottleneck.feeders):
                if loop not in self.detectors:
                    yield f"bottleneck {bottleneck.id} names unknown detector {loop}"
            if not 0 < bottleneck.discharge_vph <= bottleneck.capacity_vph:
                yield (
                    f"bottleneck {bottleneck.id}: discharge_vph {bottleneck.discharge_vph} must be "
                    f"above 0 and at most capacity_vph {bottleneck.capacity_vph}"
                )

    def _check_sensors(self) -> Iterable[str]:
        for detector in self.detectors.values():
            link = self.links.get(detector.link)
            if link is None:
                yield f"detector {detector.id} lies on unknown link {detector.link}"
            elif not 0 <= detector.position_m <= link.length_m:
                yield (
                    f"detector {detector.id}: position_m {detector.position_m} is off link "
                    f"{link.id}, 0 to {link.length_m}"
                )
            if detector.approach is not None and detector.approach not in self.approaches:
                yield f"detector {detector.id} watches unknown approach {detector.approach}"
        if self.lanes is not None:
            phases = {id_: [p.id for p in j.phases] for id_, j in self.junctions.items()}
            yield from self.lanes.check(self.links, phases)

    def _check_signals(self) -> Iterable[str]:
        for approach in self.approaches.values():
            for link_id in approach.links:
                if link_id not in self.links:
                    yield f"approach {approach.id} runs over unknown link {link_id}"
            junction = self.junctions.get(approach.junction)
            if junction is None:
                yield f"approach {approach.id} leads to unknown junction {approach.junction}"
                continue
            known = {phase.id for phase in junction.phases}
            for phase_id in approach.phase_lanes:
                if phase_id not in approach.phases:
                    yield f"approach {approach.id} gives lanes to phase {phase_id} of no movement"
                if not approach.phase_lanes[phase_id]:
                    yield f"approach {approach.id} gives no lane to phase {phase_id}"
            if approach.phase_lanes:
                for phase_id in approach.phases:
                    if phase_id not in approach.phase_lanes:
                        yield f"approach {approach.id} tells lanes of phases, but not of {phase_id}"
            for phase_id in approach.phases:
                if phase_id not in known:
                    yield f"approach {approach.id} names unknown phase {phase_id}"
        for junction_id in sorted(self.junctions.keys() ^ self.plans.keys()):
            yield f"junction {junction_id} and its safe plan: one is missing"
