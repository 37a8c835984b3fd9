"""Fixed-time plans as SUMO programs, for plain SUMO: what the interlock shows, written out.

Every state comes from the interlock itself, second by second, so that amber and all-red are those
of the junction's intergreens.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from networks.scenario import Scenario
from networks.sumo_program import spell
from networks.sumo_xml import read_programs
from traffic.control import Aspect
from traffic.interlock import Interlock
from traffic.model import Junction, SafePlan

PROGRAM = "optimized"

States = tuple[tuple[str, float], ...]  # (letters, seconds)
Shown = Mapping[str, Aspect]  # phase -> aspect


class ProgramWriter:
    """Writes plans for the junctions of a scenario; keeps what it has worked out once."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._own = read_programs((scenario.net_file, *scenario.additional_files))
        self._known: dict[tuple[str, tuple[tuple[str, float], ...]], States] = {}

    def write(self, plans: Mapping[str, SafePlan], path: Path) -> Path:
        """Write one program for each junction that runs all the time."""
        root = ElementTree.Element("additional")
        for junction_id, plan in sorted(plans.items()):
            states = self.build_states(junction_id, plan)
            _add_program(root, junction_id, plan.offset_s, states)
        return _write(root, path)

    def write_day(
        self, stages: Mapping[str, Callable[[float], str]], begin_s: float, end_s: float, path: Path
    ) -> Path:
        """Write one program for each junction that lasts from begin to end, without a cycle.

        `stages` gives junction -> the stage wanted at a moment. Meant for plans that change.
        """
        root = ElementTree.Element("additional")
        for junction_id, stage_at in sorted(stages.items()):
            junction = self._scenario.network.junctions[junction_id]
            shown = run_interlock(junction, stage_at, begin_s, end_s)
            _add_program(root, junction_id, begin_s, self._spell(junction_id, shown))
        return _write(root, path)

    def build_states(self, junction_id: str, plan: SafePlan) -> States:
        """Return the states of one cycle of a plan, from the beginning of its first slot."""
        key = (junction_id, plan.slots)
        if key not in self._known:
            junction = self._scenario.network.junctions[junction_id]
            still = SafePlan(plan.slots)
            # The first cycle settles what the beginning, all red, has upset.
            shown = run_interlock(junction, still.stage_at, 0.0, 2 * plan.cycle_s)
            self._known[key] = self._spell(junction_id, shown[len(shown) // 2 :])
        return self._known[key]

    def _spell(self, junction_id: str, shown: Sequence[Shown]) -> States:
        first = self._own[junction_id].states[0][0]
        indices = self._scenario.signal_indices[junction_id]
        phases = self._scenario.network.junctions[junction_id].phases

        def spell_all(aspects: Shown) -> str:
            letters = list(first)
            for phase in phases:
                for i in indices[phase.id]:
                    letters[i] = spell(aspects[phase.id], phase)
            return "".join(letters)

        runs = [(state, len(list(same))) for state, same in groupby(map(spell_all, shown))]
        return tuple((state, float(seconds)) for state, seconds in runs)


def run_interlock(
    junction: Junction, stage_at: Callable[[float], str], begin_s: float, end_s: float
) -> list[Shown]:
    """Return what the interlock shows each second when it is asked for these stages."""
    follower = _Follower(stage_at)
    interlock = Interlock([junction], {junction.id: follower}, begin_s)
    return [
        interlock.admit([], begin_s + second)[0][junction.id]
        for second in range(round(end_s - begin_s))
    ]


class _Follower:
    """Stands where the interlock expects a plan: any course of stages."""

    def __init__(self, stage_at: Callable[[float], str]) -> None:
        self.slots: tuple[tuple[str, float], ...] = ()
        self.stage_at = stage_at


def _add_program(root: ElementTree.Element, id_: str, offset_s: float, states: States) -> None:
    logic = ElementTree.SubElement(
        root,
        "tlLogic",
        {"id": id_, "type": "static", "programID": PROGRAM, "offset": f"{offset_s:g}"},
    )
    for state, seconds in states:
        ElementTree.SubElement(logic, "phase", {"duration": f"{seconds:g}", "state": state})


def _write(root: ElementTree.Element, path: Path) -> Path:
    ElementTree.indent(root)
    path.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")
    return path


def list_unsafe(junction: Junction, shown: Iterable[Shown]) -> list[str]:
    """Return every moment at which conflicting phases are both protected, or green too early."""
    problems = []
    ended_s: dict[str, int] = {}
    before: Shown = {}
    greens = (Aspect.GREEN, Aspect.PERMISSIVE)
    for second, aspects in enumerate(shown):
        for pair in junction.conflicts:
            one, other = sorted(pair)
            if aspects[one] is aspects[other] is Aspect.GREEN:
                problems.append(f"{second} s: {one} and {other} are both protected")
        for phase, aspect in aspects.items():
            if before.get(phase) in greens and aspect not in greens:
                ended_s[phase] = second
            if aspect is Aspect.GREEN and before.get(phase) is not Aspect.GREEN and before:
                for other, end in ended_s.items():
                    if junction.is_conflict(phase, other):
                        least_s = junction.intergreens[other, phase].total_s
                        if second - end < least_s:
                            problems.append(
                                f"{second} s: {phase} is green {second - end} s after {other}, "
                                f"intergreen {least_s:g} s"
                            )
        before = aspects
    return problems
