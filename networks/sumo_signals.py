"""SUMO's signal program of a junction, read as phases, stages, intergreens and a safe plan."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from networks.sumo_program import (
    AMBER,
    DEFAULT_AMBER_S,
    DEFAULT_MIN_GREEN_S,
    PROTECTED,
    Columns,
    Program,
    Run,
    SignalLink,
    build_columns,
    check_program,
    find_runs,
)
from traffic.model import Intergreen, Junction, ModelError, Movement, Phase, SafePlan, Stage

_log = logging.getLogger(__name__)

LONGEST_ASSUMED_ALL_RED_S = 2.0


@dataclass(frozen=True)
class Signals:
    """A junction's signals; `indices` maps each phase to its letters in the state string."""

    junction: Junction
    plan: SafePlan
    indices: Mapping[str, tuple[int, ...]]


def build_signals(
    junction_id: str,
    program: Program,
    links: Sequence[SignalLink],
    foes: frozenset[frozenset[int]],
    untold: frozenset[int] = frozenset(),
) -> Signals:
    """Read a junction from its program.

    `foes` holds unordered pairs of link indices whose paths cross or merge; `untold` those of
    crossings on foot and tracks, which can only go with a phase of the same course. Raises
    ModelError naming the junction and every link that can't be read.

    A phase is made of the links that leave one road, have the same letters throughout the
    program and share a lane or a destination. Conflicts are foes, and beside them pairs that
    the program never protects together and separates when it changes from one to the other:
    keeping these apart as well lets a change take the course that the city chose. Pairs of foes
    green together, one giving way, stay conflicts: the interlock lets them run in such a stage.
    """
    problems = list(check_program(program, links, foes, untold))
    if problems:
        raise ModelError(f"junction {junction_id}", problems)
    if program.kind != "static":
        _log.warning(
            "junction %s: its %s program is read as fixed-time, by the states' durations",
            junction_id,
            program.kind,
        )
    columns = build_columns(program, links)
    runs = find_runs(program, columns)
    if not runs:
        raise ModelError(
            f"junction {junction_id}", ["its program has no state with green and without amber"]
        )
    phases = tuple(
        _build_phase(phase_id, indices, links, columns, program)
        for phase_id, indices in columns.indices.items()
    )
    stages, slots = _build_stages(runs, columns)
    changes = _measure_changes(program, columns, runs)
    conflicts = _find_conflicts(columns, foes, changes.gaps)
    junction = Junction(
        id=junction_id,
        phases=phases,
        stages=stages,
        conflicts=conflicts,
        intergreens=_build_intergreens(junction_id, conflicts, changes),
    )
    plan = SafePlan(slots, offset_s=program.offset_s + runs[0].start_s - runs[-1].change_s)
    return Signals(junction, plan, dict(columns.indices))


def _build_phase(
    phase_id: str,
    indices: tuple[int, ...],
    links: Sequence[SignalLink],
    columns: Columns,
    program: Program,
) -> Phase:
    movements: dict[tuple[str, str], Movement] = {}
    for link in links:
        if link.index in indices:
            pair = (link.from_link, link.to_link)
            movements[pair] = Movement(f"{pair[0]}>{pair[1]}", *pair)
    moves, is_arrow = tuple(movements.values()), columns.is_arrow(phase_id)
    phase = Phase(phase_id, moves, DEFAULT_MIN_GREEN_S, inf, turns_on_red=is_arrow)
    greens, others = _measure_runs(
        [columns.is_green(phase_id, k) for k in range(len(program.states))],
        [duration_s for _, duration_s in program.states],
    )
    if not others:
        # Green throughout: no limit may make the interlock refuse to keep it so.
        return phase
    return replace(
        phase,
        min_green_s=min(DEFAULT_MIN_GREEN_S, *greens),
        max_green_s=max(90.0, max(greens) + 30.0),
        max_red_s=max(150.0, max(others) + 30.0),
    )


def _measure_runs(flags: list[bool], durations_s: list[float]) -> tuple[list[float], list[float]]:
    """Return the lengths of the runs of true and of false around the cycle, seconds."""
    if all(flags) or not any(flags):
        whole = [sum(durations_s)]
        return (whole, []) if flags[0] else ([], whole)
    first = next(k for k in range(len(flags)) if flags[k] and not flags[k - 1])
    runs: tuple[list[float], list[float]] = ([], [])
    last: bool | None = None
    for k in range(len(flags)):
        flag = flags[(first + k) % len(flags)]
        own = runs[0] if flag else runs[1]
        if flag is last:
            own[-1] += durations_s[(first + k) % len(flags)]
        else:
            own.append(durations_s[(first + k) % len(flags)])
        last = flag
    return runs


def _build_stages(
    runs: list[Run], columns: Columns
) -> tuple[tuple[Stage, ...], tuple[tuple[str, float], ...]]:
    """Return the stages, and slots that each hold the change into a stage and its green.

    The interlock starts a change when a slot begins, so a slot begins where the stage before it
    ends.
    """
    ids: dict[tuple[frozenset[str], frozenset[str]], str] = {}
    stages: list[Stage] = []
    slots: list[tuple[str, float]] = []
    for place, run in enumerate(runs):
        protected = columns.get_protected(run.state)
        permissive = columns.get_green(run.state) - protected
        if (protected, permissive) not in ids:
            ids[protected, permissive] = f"s{len(ids) + 1}"
            stages.append(Stage(ids[protected, permissive], protected, permissive))
        slots.append((ids[protected, permissive], runs[place - 1].change_s + run.green_s))
    return tuple(stages), tuple(slots)


@dataclass
class _Changes:
    """What the program's changes show, seconds."""

    amber_s: dict[str, float]  # lost phase -> its amber
    gaps: dict[tuple[str, str], float]  # (lost, gained) -> end of green to start of green


def _measure_changes(program: Program, columns: Columns, runs: list[Run]) -> _Changes:
    found = _Changes({}, {})
    for place, run in enumerate(runs):
        after = runs[(place + 1) % len(runs)]
        course = (run.state, *run.change, after.state)
        at_s = [0.0]  # start of each state of the course, from the end of the stage
        for k in run.change:
            at_s.append(at_s[-1] + program.states[k][1])
        lost, gained = {}, {}
        for phase, letters in columns.letters.items():
            ends = [i for i, k in enumerate(course) if not columns.is_green(phase, k)]
            if ends and ends[0] > 0:
                ambers = [i for i in ends if letters[course[i]] in AMBER]
                amber_s = sum(program.states[course[i]][1] for i in ambers)
                found.amber_s[phase] = max(found.amber_s.get(phase, 0.0), amber_s)
                if len(course) - 1 in ends:
                    lost[phase] = at_s[ends[0] - 1]
            starts = [
                i
                for i in range(1, len(course))
                if (
                    columns.is_green(phase, course[i])
                    and not columns.is_green(phase, course[i - 1])
                )
                or (
                    columns.is_protected(phase, course[i])
                    and not columns.is_protected(phase, course[i - 1])
                )
            ]
            if starts and len(course) - 1 not in ends:
                gained[phase] = at_s[starts[0] - 1]
        for one, end_s in lost.items():
            for other, start_s in gained.items():
                gap_s = start_s - end_s
                if gap_s > 0:
                    pair = (one, other)
                    found.gaps[pair] = max(found.gaps.get(pair, 0.0), gap_s)
    return found


def _find_conflicts(
    columns: Columns,
    foes: frozenset[frozenset[int]],
    gaps: Mapping[tuple[str, str], float],
) -> frozenset[frozenset[str]]:
    owner = {i: phase for phase, indices in columns.indices.items() for i in indices}
    pairs = {frozenset(owner[i] for i in pair if i in owner) for pair in foes}
    pairs |= {frozenset(pair) for pair in gaps}
    return frozenset(
        pair for pair in pairs if len(pair) == 2 and not _is_protected_together(columns, *pair)
    )


def _is_protected_together(columns: Columns, one: str, other: str) -> bool:
    letters = zip(columns.letters[one], columns.letters[other], strict=True)
    return any(a in PROTECTED and b in PROTECTED for a, b in letters)


def _build_intergreens(
    junction_id: str, conflicts: frozenset[frozenset[str]], changes: _Changes
) -> dict[tuple[str, str], Intergreen]:
    """Take what the program shows; a pair that never follows directly gets what is usual there.

    Usual is the lost phase's own amber (else 3 s), and the junction's longest all-red up to 2 s.
    """
    amber_s = {p: s for p, s in changes.amber_s.items() if s > 0}
    all_red_s = {
        (lost, gained): round(max(0.0, gap_s - amber_s.get(lost, DEFAULT_AMBER_S)), 3)
        for (lost, gained), gap_s in changes.gaps.items()
    }
    usual_s = min(LONGEST_ASSUMED_ALL_RED_S, max(all_red_s.values(), default=0.0))
    pairs = {order for pair in conflicts for order in _get_orders(pair)} | all_red_s.keys()
    assumed = pairs - all_red_s.keys()
    if assumed:
        _log.info(
            "junction %s: %d of %d intergreens never occur in its program; assumed amber as usual "
            "for the lost phase (else %g s) and all-red %g s",
            junction_id,
            len(assumed),
            len(pairs),
            DEFAULT_AMBER_S,
            usual_s,
        )
    return {
        pair: Intergreen(
            amber_s=amber_s.get(pair[0], DEFAULT_AMBER_S),
            all_red_s=all_red_s.get(pair, usual_s),
        )
        for pair in sorted(pairs)
    }


def _get_orders(pair: frozenset[str]) -> tuple[tuple[str, str], tuple[str, str]]:
    one, other = sorted(pair)
    return (one, other), (other, one)
