"""SUMO's signal program of a junction: its states, what they say of each phase, its stages.

SUMO's own "phase" is a state string with one letter per signal link; here it is called a
*state*. A state with green and without amber is a stage; what lies between two stages is the
change from one to the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from traffic.control import Aspect
from traffic.model import Phase

PROTECTED = "G"
ARROW = "s"  # the turn on red of a green arrow: to stop first, then give way to everybody
PERMISSIVE = "g" + ARROW
AMBER = "yY"
RED = "ru"
LETTERS = {Aspect.RED: "r", Aspect.AMBER: "y", Aspect.PERMISSIVE: "g", Aspect.GREEN: "G"}

DEFAULT_AMBER_S = 3.0
DEFAULT_MIN_GREEN_S = 5.0


@dataclass(frozen=True, slots=True)
class Program:
    """States in order, each with its duration in seconds; state 0 starts at offset_s."""

    kind: str
    offset_s: float
    states: tuple[tuple[str, float], ...]

    @property
    def cycle_s(self) -> float:
        return sum(duration_s for _, duration_s in self.states)

    def state_at(self, now_s: float) -> str:
        """Return the state string in force, as SUMO's static logic shows it."""
        into_s = (now_s - self.offset_s) % self.cycle_s
        for state, duration_s in self.states:
            if into_s < duration_s:
                return state
            into_s -= duration_s
        return self.states[-1][0]


@dataclass(frozen=True, slots=True)
class SignalLink:
    """One letter of the state string: the way from a lane into another road."""

    index: int
    from_link: str
    from_lane: str
    to_link: str


@dataclass(frozen=True, slots=True)
class Run:
    """A stage's place in the cycle, and the change from it to the next stage."""

    state: int
    start_s: float  # from the start of state 0
    green_s: float
    change: tuple[int, ...]  # states
    change_s: float


@dataclass(frozen=True)
class Columns:
    """Letters of each phase over the states, and its link indices; phases in order of index."""

    letters: Mapping[str, str]
    indices: Mapping[str, tuple[int, ...]]

    def is_green(self, phase: str, state: int) -> bool:
        return self.letters[phase][state] in PROTECTED + PERMISSIVE

    def is_protected(self, phase: str, state: int) -> bool:
        return self.letters[phase][state] in PROTECTED

    def is_arrow(self, phase: str) -> bool:
        """Whether its permissive greens are turns on red."""
        return ARROW in self.letters[phase] and "g" not in self.letters[phase]

    def get_green(self, state: int) -> frozenset[str]:
        return frozenset(p for p in self.letters if self.is_green(p, state))

    def get_protected(self, state: int) -> frozenset[str]:
        return frozenset(p for p in self.letters if self.is_protected(p, state))


def spell(aspect: Aspect, phase: Phase) -> str:
    """Return the letter that shows an aspect of a phase."""
    return ARROW if aspect is Aspect.PERMISSIVE and phase.turns_on_red else LETTERS[aspect]


def build_columns(program: Program, links: Sequence[SignalLink]) -> Columns:
    letters = {
        link.index: "".join(state[link.index] for state, _ in program.states) for link in links
    }
    groups = {index: index for index in letters}  # index -> lowest index found with it

    def find(index: int) -> int:
        while groups[index] != index:
            index = groups[index]
        return index

    for one, other in combinations(links, 2):
        if letters[one.index] != letters[other.index] or one.from_link != other.from_link:
            continue
        is_joined = one.from_lane == other.from_lane or one.to_link == other.to_link
        if is_joined or one.index == other.index:
            low, high = sorted((find(one.index), find(other.index)))
            groups[high] = low
    indices: dict[str, tuple[int, ...]] = {}
    for index in sorted(letters):
        phase = f"p{find(index)}"
        indices[phase] = (*indices.get(phase, ()), index)
    # A letter without a traffic lane goes with a phase of the same course. Where there is none it
    # controls nothing, as check_program has seen to it, and goes with the first.
    by_phase = {phase: letters[group[0]] for phase, group in indices.items()}
    for index in sorted(set(range(len(program.states[0][0]))) - letters.keys()):
        course = "".join(state[index] for state, _ in program.states)
        phase = next((p for p, own in by_phase.items() if own == course), next(iter(by_phase)))
        indices[phase] = (*indices[phase], index)
    return Columns(by_phase, indices)


def find_runs(program: Program, columns: Columns) -> list[Run]:
    """Find the stages in order, each with the states of the change that follows it."""
    count = len(program.states)
    starts = [0.0]
    for _, duration_s in program.states:
        starts.append(starts[-1] + duration_s)
    steady = [
        k
        for k in range(count)
        if columns.get_green(k) and not any(c[k] in AMBER for c in columns.letters.values())
    ]
    steady = [k for k in steady if not _is_clearance(k, steady, program, columns)]
    runs = []
    for place, k in enumerate(steady):
        after = steady[(place + 1) % len(steady)]
        change = []
        i = (k + 1) % count
        while i != after:
            change.append(i)
            i = (i + 1) % count
        change_s = sum(program.states[i][1] for i in change)
        runs.append(Run(k, starts[k], program.states[k][1], tuple(change), change_s))
    return runs


def _is_clearance(k: int, steady: list[int], program: Program, columns: Columns) -> bool:
    """Whether a state only waits out the red of lost phases while others stay green."""
    place = steady.index(k)
    before, after = steady[place - 1], steady[(place + 1) % len(steady)]
    if k in (before, after) or program.states[k][1] >= DEFAULT_MIN_GREEN_S:
        return False
    green = columns.get_green(k)
    if not (green < columns.get_green(before) and green < columns.get_green(after)):
        return False
    # It follows amber: otherwise it is a short stage of its own.
    return any(letters[k - 1] in AMBER for letters in columns.letters.values())


def check_program(
    program: Program,
    links: Sequence[SignalLink],
    foes: frozenset[frozenset[int]],
    untold: Iterable[int],
) -> Iterable[str]:
    if not program.states or not program.cycle_s > 0:
        yield "its program has no states"
        return
    lengths = {len(state) for state, _ in program.states}
    if len(lengths) > 1:
        yield f"its states differ in length: {sorted(lengths)} letters"
        return
    (length,) = lengths
    letters = {i: "".join(state[i] for state, _ in program.states) for i in range(length)}
    readable = PROTECTED + PERMISSIVE + AMBER + RED
    named: dict[int, SignalLink] = {}
    for link in links:
        named.setdefault(link.index, link)
    for index, link in sorted(named.items()):
        name = f"link {index} ({link.from_link} to {link.to_link})"
        if index >= length:
            yield f"{name} lies beyond the {length} letters of its states"
            continue
        for letter in sorted(set(letters[index]) - set(readable)):
            yield f"{name} shows {letter!r}, which is no fixed-time indication"
        if not set(letters[index]) & set(PROTECTED + PERMISSIVE):
            yield f"{name} is never green"
    covered = {letters[i] for i in named if i < length}
    for index in sorted(i for i in untold if i < length):
        course = letters[index]
        if course not in covered:
            yield (
                f"link {index} is a crossing or a track with a course of its own, which no phase "
                "for traffic has"
            )
    for pair in sorted(sorted(p) for p in foes if len(p) == 2):
        one, other = pair
        if one not in named or other not in named or other >= length:
            continue
        # Lanes of one road that merge behind the stop line sort themselves out.
        if named[one].from_link == named[other].from_link:
            continue
        if any(letters[one][k] == letters[other][k] == "G" for k in range(len(program.states))):
            yield (
                f"links {one} ({named[one].from_link} to {named[one].to_link}) and {other} "
                f"({named[other].from_link} to {named[other].to_link}) cross or merge and are "
                "both shown G"
            )
