"""The last gate before the street: commands in, safe signal indications out.

A controller names the stage it wants; the interlock alone runs the change, amber and all-red
included. A command that breaks a rule is vetoed whole and the junction follows its safe plan,
through the same sequence, until a legal command comes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from traffic.control import Aspect, Command, JunctionOrder, Observation, RawReadings
from traffic.model import Junction, ModelError, Stage


@dataclass(frozen=True, slots=True)
class Veto:
    """A refused command and every rule that it broke."""

    command: Command
    reasons: tuple[str, ...]


class Course(Protocol):
    """Whatever says which stage is due, as a plan does; `slots` name the stages that it knows."""

    @property
    def slots(self) -> tuple[tuple[str, float], ...]: ...

    def stage_at(self, now_s: float) -> str: ...


class _Head:
    """The indications of one junction, second by second."""

    def __init__(self, junction: Junction, now_s: float) -> None:
        self.junction = junction
        self.start_s = now_s
        self.stage: str | None = None  # none before the first second
        self.phases = {phase.id: phase for phase in junction.phases}
        self.aspects = dict.fromkeys(self.phases, Aspect.RED)
        self.greens: set[str] = set()  # phases that show green, protected or permissive
        self.since_s = dict.fromkeys(self.phases, now_s)  # of the present red, amber or green
        self.green_end_s = dict.fromkeys(self.phases, float("-inf"))
        self.amber_s = {
            phase: max(
                (time.amber_s for (lost, _), time in junction.intergreens.items() if lost == phase),
                default=3.0,
            )
            for phase in self.phases
        }
        # A phase that lost its green shows amber and red in full before it starts again.
        self.regain_s = {
            phase: max(
                [self.amber_s[phase] + 1.0]
                + [t.total_s for (lost, _), t in junction.intergreens.items() if lost == phase]
            )
            for phase in self.phases
        }

    def is_young(self, phase: str, now_s: float) -> bool:
        return now_s - self.since_s[phase] < self.phases[phase].min_green_s

    def red_s(self, phase: str, now_s: float) -> float:
        """Seconds since the phase was last green; before its first green, since the start."""
        if phase in self.greens:
            return 0.0
        return now_s - max(self.green_end_s[phase], self.start_s)

    def observe(self, raw: RawReadings, order: JunctionOrder) -> Observation:
        now_s, greens = raw.now_s, self.greens
        ends_s, start_s = self.green_end_s, self.start_s
        return Observation(
            now_s,
            raw.local,
            dict(self.aspects),
            self.stage,
            {p: now_s - s if p in greens else 0.0 for p, s in self.since_s.items()},
            # As `red_s`, of all phases in each second.
            {p: 0.0 if p in greens else now_s - max(s, start_s) for p, s in ends_s.items()},
            order,
            raw.lanes,
        )

    def check_order(self, stage: str) -> Iterable[str]:
        order = self.junction.successors
        if order is not None and self.stage not in (None, stage) and stage not in order[self.stage]:
            yield f"stage {stage} may not follow stage {self.stage}"

    def check_target(self, green: frozenset[str], now_s: float) -> Iterable[str]:
        for phase_id, phase in self.phases.items():
            age_s = now_s - self.since_s[phase_id]
            if phase_id in self.greens:
                if phase_id not in green and age_s < phase.min_green_s:
                    yield f"phase {phase_id}: green {age_s} s, minimum {phase.min_green_s} s"
                if phase_id in green and age_s >= phase.max_green_s:
                    yield f"phase {phase_id}: green {age_s} s, maximum {phase.max_green_s} s"
            elif phase_id not in green:
                red_s = self.red_s(phase_id, now_s)
                if red_s >= phase.max_red_s:
                    yield f"phase {phase_id}: red {red_s} s, maximum {phase.max_red_s} s"

    def advance(self, stage: Stage, held: frozenset[str], now_s: float) -> None:
        self.stage = stage.id
        green = stage.green - held
        for phase in self.phases:
            if phase in self.greens and phase not in green and not self.is_young(phase, now_s):
                self._show(phase, Aspect.AMBER, now_s)
                self.green_end_s[phase] = now_s
            elif (
                self.aspects[phase] is Aspect.AMBER
                and now_s - self.since_s[phase] >= self.amber_s[phase]
            ):
                self._show(phase, Aspect.RED, now_s)
        for phase in sorted(green):
            wanted = Aspect.PERMISSIVE if phase in stage.permissive else Aspect.GREEN
            if self.aspects[phase] not in (Aspect.AMBER, wanted) and self._is_clear(
                phase, wanted, stage, green, now_s
            ):
                if phase in self.greens:
                    self.aspects[phase] = wanted  # the same green goes on
                else:
                    self._show(phase, wanted, now_s)

    def _is_clear(
        self, phase: str, wanted: Aspect, stage: Stage, green: frozenset[str], now_s: float
    ) -> bool:
        if now_s - self.green_end_s[phase] < self.regain_s[phase] and phase not in self.greens:
            return False
        for other in self.phases:
            if not self.junction.is_conflict(phase, other):
                continue
            if other in self.greens:
                gives_way = Aspect.PERMISSIVE in (wanted, self.aspects[other])
                if not (gives_way and other in green):
                    return False
            else:
                time = self.junction.intergreens[other, phase]
                is_ending = self.aspects[other] is Aspect.AMBER
                if is_ending or now_s - self.green_end_s[other] < time.total_s:
                    return False
        return True

    def _show(self, phase: str, aspect: Aspect, now_s: float) -> None:
        self.aspects[phase] = aspect
        self.since_s[phase] = now_s
        if aspect in (Aspect.GREEN, Aspect.PERMISSIVE):
            self.greens.add(phase)
        else:
            self.greens.discard(phase)


class Interlock:
    """Admits commands for the junctions in its care; call `admit` once each second.

    Raises ModelError when a junction lacks a safe plan or a plan names what does not exist.
    """

    def __init__(
        self, junctions: Iterable[Junction], plans: Mapping[str, Course], start_s: float
    ) -> None:
        self._heads = {junction.id: _Head(junction, start_s) for junction in junctions}
        self._plans = dict(plans)
        problems = [f"no safe plan for junction {j}" for j in self._heads if j not in plans]
        problems += [f"plan for unknown junction {j}" for j in plans if j not in self._heads]
        for junction_id, plan in plans.items():
            if junction_id in self._heads:
                known = {stage.id for stage in self._heads[junction_id].junction.stages}
                problems += [
                    f"junction {junction_id}: plan names unknown stage {stage}"
                    for stage, _ in plan.slots
                    if stage not in known
                ]
        if problems:
            raise ModelError("interlock", problems)

    def observe(
        self, junction: str, raw: RawReadings, orders: Mapping[str, JunctionOrder]
    ) -> Observation:
        """Return what the junction's controller may know before it decides."""
        return self._heads[junction].observe(raw, orders.get(junction, JunctionOrder()))

    def admit(
        self, commands: Sequence[Command], now_s: float
    ) -> tuple[dict[str, dict[str, Aspect]], tuple[Veto, ...]]:
        """Return junction -> phase -> aspect for this second, and the commands refused."""
        vetoes = []
        admitted: dict[str, Command] = {}
        counts = Counter(command.junction for command in commands)
        for command in commands:
            reasons = list(self._check(command, counts, now_s))
            if reasons:
                vetoes.append(Veto(command, tuple(reasons)))
            else:
                admitted[command.junction] = command
        shown = {}
        for junction_id, head in self._heads.items():
            given = admitted.get(junction_id)
            stage_id = given.stage if given else self._plans[junction_id].stage_at(now_s)
            held = given.held if given else frozenset[str]()
            head.advance(head.junction.get_stage(stage_id), held, now_s)
            shown[junction_id] = dict(head.aspects)
        return shown, tuple(vetoes)

    def _check(self, command: Command, counts: Counter[str], now_s: float) -> Iterable[str]:
        head = self._heads.get(command.junction)
        if head is None:
            yield f"unknown junction {command.junction}"
            return
        if counts[command.junction] > 1:
            yield f"{counts[command.junction]} commands for one junction"
        if not command.issued_s <= now_s:
            yield f"issued at {command.issued_s} s, after now, {now_s} s"
        if not now_s < command.expires_s:
            yield f"expired at {command.expires_s} s, now {now_s} s"
        stage = next((s for s in head.junction.stages if s.id == command.stage), None)
        if stage is None:
            yield f"unknown stage {command.stage}"
            return
        for phase in sorted(command.held - stage.green):
            yield f"holds phase {phase}, which stage {stage.id} does not show green"
        yield from head.check_order(stage.id)
        yield from head.check_target(stage.green - command.held, now_s)
