"""Junctions as they are planned: each for itself, or two near ones as one.

Where the road between two signals holds no second vehicle, as in the median of a dual carriageway,
whoever one of them lets in waits for the other in the way of everybody else. Planned apart, each
lets in whom the other then holds. So they make one junction here. Its stages are all pairs of
theirs, and a way that leads through the road between has green while both of them give it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from traffic.control import Observation
from traffic.lanes import Way
from traffic.model import Intergreen, Junction, Phase, Stage

Need = tuple[str | None, ...]  # the phase that must be green of each member, or None
Reader = Callable[[Sequence[Observation]], tuple[int, Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class Joined:
    """One junction to plan, and those of the street that it is made of.

    By way: `turns`, the link that a vehicle announces for it; `lines`, the phase of `junction` that
    lets it cross its stop line; `over`, the lane between that it leads over, or None. By phase and
    by stage of `junction`: what `phases` and `stages` take of each member.
    """

    junction: Junction
    ways: tuple[Way, ...]
    turns: tuple[str, ...]
    lines: tuple[str | None, ...]
    over: tuple[str | None, ...]
    members: tuple[Junction, ...]
    phases: tuple[Need, ...]
    stages: tuple[tuple[Stage, ...], ...]

    def build_reader(self) -> Reader:
        """Return what reads of the members' observations the number of the stage shown, -1 when
        unknown, and for how many seconds each phase has been green, and red.
        """
        numbers = {tuple(stage.id for stage in own): i for i, own in enumerate(self.stages)}

        def read_one(seen: Sequence[Observation]) -> tuple[int, Sequence[float], Sequence[float]]:
            (one,) = seen
            stage = -1 if one.stage is None else numbers[(one.stage,)]
            return stage, get(one.green_s), get(one.red_s)

        def read_all(seen: Sequence[Observation]) -> tuple[int, Sequence[float], Sequence[float]]:
            green_s, red_s = [], []
            for need in self.phases:
                parts = [(one, p) for one, p in zip(seen, need, strict=True) if p is not None]
                reds_s = [one.red_s[p] for one, p in parts if one.red_s[p] > 0]
                # Since the later end: that signal's amber is to pass before it may return.
                red_s.append(min(reds_s, default=0.0))
                green_s.append(0.0 if reds_s else min(one.green_s[p] for one, p in parts))
            shown = tuple(one.stage for one in seen if one.stage is not None)
            return numbers[shown] if len(shown) == len(seen) else -1, green_s, red_s

        if len(self.members) > 1:
            return read_all
        names = [str(need[0]) for need in self.phases]
        get: Callable[[Mapping[str, float]], Sequence[float]]
        get = itemgetter(*names) if len(names) > 1 else lambda times_s: (times_s[names[0]],)
        return read_one


def keep_junction(junction: Junction, ways: tuple[Way, ...]) -> Joined:
    """Return a junction that is planned for itself."""
    return Joined(
        junction,
        ways,
        tuple(way.to_link for way in ways),
        tuple(way.phase for way in ways),
        (None,) * len(ways),
        (junction,),
        tuple((phase.id,) for phase in junction.phases),
        tuple((stage,) for stage in junction.stages),
    )


def merge_signals(
    members: Sequence[Junction],
    phases: Mapping[Need, Phase],
    pairs: Sequence[tuple[Stage, ...]],
    through: Sequence[tuple[Need, int]],
) -> Junction:
    """Return the signals of two junctions as one, with the phases that `phases` makes of theirs.

    `through` tells of the ways over the road between, and at which member each ends. No stage may
    be entered that lets somebody over it who has to give way at its end: he would wait there. Nor
    may one follow in which the last of those let in would.
    """
    stages = [_merge_stages(pair, phases) for pair in pairs]
    intergreens: dict[tuple[str, str], Intergreen] = {}
    for one, lost in phases.items():
        for other, gained in phases.items():
            times = [
                junction.intergreens[p, q]
                for junction, p, q in zip(members, one, other, strict=True)
                if p is not None and q is not None and junction.is_conflict(p, q)
            ]
            if times:
                intergreens[lost.id, gained.id] = max(times, key=lambda time: time.total_s)
    waiting = {phases[need].id for need, _ in through}
    successors = {
        stages[i].id: frozenset(
            stage.id
            for stage, after in zip(stages, pairs, strict=True)
            if not waiting & stage.permissive
            and (before == after or _lets_leave(before, after, through))
            and all(
                a == b or junction.successors is None or b.id in junction.successors[a.id]
                for junction, a, b in zip(members, before, after, strict=True)
            )
        )
        for i, before in enumerate(pairs)
    }
    return Junction(
        "|".join(junction.id for junction in members),
        tuple(phases.values()),
        tuple(stages),
        frozenset(frozenset(pair) for pair in intergreens),
        intergreens,
        successors,
    )


def _lets_leave(
    before: Sequence[Stage], after: Sequence[Stage], through: Sequence[tuple[Need, int]]
) -> bool:
    """Whether nobody let in over the road between is to give way at its end in the next stage."""
    return not any(
        need[end] in after[end].permissive
        and all(phase in stage.green for stage, phase in zip(before, need, strict=True))
        for need, end in through
    )


def _merge_stages(stages: Sequence[Stage], phases: Mapping[Need, Phase]) -> Stage:
    protected, permissive = set(), set()
    for need, phase in phases.items():
        parts = [(stage, p) for stage, p in zip(stages, need, strict=True) if p is not None]
        if all(p in stage.protected for stage, p in parts):
            protected.add(phase.id)
        elif all(p in stage.green for stage, p in parts):
            permissive.add(phase.id)
    name = "|".join(stage.id for stage in stages)
    return Stage(name, frozenset(protected), frozenset(permissive))
