"""Two signals with no room between them, timed as one junction by a fixed-time plan.

Who is let in over a road that holds no second vehicle and then waits for a gap at its end stands in
the way of everybody else, of those too whom he waits for. So the two show only pairs of stages in
which nobody who may come over the road between gives way. Of the stages of a diamond interchange
these make its four phases, and the three that let both side roads in at once (C. J. Messer, D. B.
Fambro and S. H. Richards, Optimization of Pretimed Signalized Diamond Interchanges, Transportation
Research Record 644, 1977).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise, product

from traffic.model import Approach, Junction, Network, Phase, SafePlan, Stage
from traffic.optimization.cycle import MOST_ORDERS, Site
from traffic.optimization.joined import Need, merge_signals
from traffic.optimization.joining import SHORT_M
from traffic.optimization.streams import LaneUse, Stream
from traffic.optimization.transition import Course
from traffic.plans import PlanSet

Plans = Mapping[str, SafePlan]
MOST_STEPS = 100_000  # in search of orders of stages


@dataclass(frozen=True)
class Pair:
    """Two junctions as one. `stages` tells which stages of theirs each of its stages is; `orders`
    are the orders of stages to choose among, those that keep all of today's stages first."""

    junction: Junction
    members: tuple[Junction, Junction]
    stages: Mapping[str, tuple[Stage, ...]]
    orders: tuple[SafePlan, ...]

    def join(self, sites: Sequence[Site]) -> Site:
        """Return the sites of the members, in their order, as one; its plan is its first order."""
        streams = tuple(
            _rename(stream, m) for m, site in enumerate(sites) for stream in site.streams
        )
        return Site(self.junction, self.orders[0], streams, self.orders)

    def split(self, plan: SafePlan) -> dict[str, SafePlan]:
        """Return what a plan of the pair is for each member."""
        return {
            member.id: _merge_slots(
                [(self.stages[stage][m].id, slot_s) for stage, slot_s in plan.slots], plan.offset_s
            )
            for m, member in enumerate(self.members)
        }

    def merge(self, plans: Plans) -> SafePlan | None:
        """Return the plan of the pair that two plans of its members are; None when they are none,
        for their cycles differ or they come to stages together that the pair does not show."""
        own = [plans[member.id] for member in self.members]
        if own[0].cycle_s != own[1].cycle_s:
            return None
        first_s, cycle_s = own[0].offset_s, own[0].cycle_s
        begins_s = {
            (plan.offset_s - first_s + sum(s for _, s in plan.slots[:i])) % cycle_s
            for plan in own
            for i in range(len(plan.slots))
        }
        names = {tuple(stage.id for stage in pair): id_ for id_, pair in self.stages.items()}
        slots = []
        for begin_s, end_s in pairwise([*sorted(begins_s), cycle_s]):
            shown = tuple(plan.stage_at(first_s + begin_s) for plan in own)
            if shown not in names:
                return None
            slots.append((names[shown], end_s - begin_s))
        return SafePlan(tuple(slots), first_s)


@dataclass(frozen=True)
class Pairing:
    """A network as its plans are found: `network` has one junction for each of the pairs."""

    network: Network
    pairs: tuple[Pair, ...]

    def join(self, sites: Sequence[Site]) -> tuple[Site, ...]:
        """Return the sites of the street as those of `network`, by junction."""
        rest = {site.junction.id: site for site in sites}
        joined = [pair.join([rest.pop(one.id) for one in pair.members]) for pair in self.pairs]
        return tuple(sorted([*rest.values(), *joined], key=lambda site: site.junction.id))

    def split(self, plans: Plans) -> dict[str, SafePlan]:
        """Return the plans of the street; those that are the street's already stay as they are."""
        split = dict(plans)
        for pair in self.pairs:
            if pair.junction.id in split:
                split |= pair.split(split.pop(pair.junction.id))
        return dict(sorted(split.items()))

    def follow(self, street: Network, plan_set: PlanSet) -> dict[str, Callable[[float], str]]:
        """Return junction of the street -> the stage at a moment; ask with times that never fall.

        From one plan to the next, the signals of a pair change as one where they are timed as one.
        """
        stages: dict[str, Callable[[float], str]] = {
            id_: Course(junction, plan_set.get_schedule(id_)).stage_at
            for id_, junction in sorted(street.junctions.items())
        }
        for pair in self.pairs:
            merged = [(period.from_s, pair.merge(period.plans)) for period in plan_set.periods]
            schedule = [(from_s, plan) for from_s, plan in merged if plan is not None]
            if len(schedule) == len(merged):
                for m, member in enumerate(pair.members):
                    course = Course(pair.junction, schedule)  # one for each that asks
                    stages[member.id] = partial(_show, pair, course, m)
        return stages


def _show(pair: Pair, course: Course, member: int, now_s: float) -> str:
    return pair.stages[course.stage_at(now_s)][member].id


def pair_network(network: Network) -> Pairing:
    """Return the network with junctions as one that have roads of less than SHORT_M between them,
    in both directions.

    One that is near to several is paired with the first of them. Two stay apart where no order of
    their stages would keep the road between free.
    """
    ways = {
        (before, approach.junction, approach.id)
        for approach in network.approaches.values()
        if sum(network.links[link].length_m for link in approach.links) < SHORT_M
        for before, junction in network.junctions.items()
        if before != approach.junction and _list_feeding(junction, approach)
    }
    near = {(one, other) for one, other, _ in ways}
    pairs: list[Pair] = []
    done: set[str] = set()
    for one, other in sorted(near):
        if one < other and (other, one) in near and not done & {one, other}:
            between = [network.approaches[a] for b, c, a in sorted(ways) if {b, c} == {one, other}]
            pair = _pair(network, (one, other), between)
            if pair is not None:
                pairs.append(pair)
                done |= {one, other}
    return Pairing(_replace_junctions(network, pairs) if pairs else network, tuple(pairs))


def _list_feeding(junction: Junction, approach: Approach) -> set[str]:
    """Return the phases that let vehicles into an approach of another junction."""
    return {p.id for p in junction.phases if any(m.to_link in approach.links for m in p.movements)}


def _pair(network: Network, ids: tuple[str, str], between: Sequence[Approach]) -> Pair | None:
    members = (network.junctions[ids[0]], network.junctions[ids[1]])
    rules = []
    for approach in between:
        end = ids.index(approach.junction)
        feeding = _list_feeding(members[1 - end], approach)
        rules.append(_Rule(end, frozenset(feeding), frozenset(approach.phases)))
    used = [{stage for stage, _ in network.plans[id_].slots} for id_ in ids]
    shown = [
        pair
        for pair in product(*(member.stages for member in members))
        if all(stage.id in own for stage, own in zip(pair, used, strict=True))
        and not any(rule.lets_in(pair) and rule.gives_way(pair) for rule in rules)
    ]
    if {(m, p) for pair in shown for m in range(2) for p in pair[m].green} != {
        (m, phase.id) for m in range(2) for phase in members[m].phases
    }:
        return None
    phases: dict[Need, Phase] = {
        (phase.id, None) if m == 0 else (None, phase.id): replace(phase, id=_name(m, phase.id))
        for m, member in enumerate(members)
        for phase in member.phases
    }
    junction = merge_signals(members, phases, shown, ())
    known = {stage.id: pair for stage, pair in zip(junction.stages, shown, strict=True)}
    cycles = list(islice(_list_cycles(junction), MOST_ORDERS))
    # Webster's plans have the first order: all of today's stages, in few slots.
    cycles.sort(key=lambda ids: -sum(len({known[id_][m] for id_ in ids}) for m in range(2)))
    orders = tuple(SafePlan(tuple((id_, 1.0) for id_ in ids)) for ids in cycles)
    return Pair(junction, members, known, orders) if orders else None


@dataclass(frozen=True)
class _Rule:
    """What one road between asks: `waiting` are the phases at its end, at member `end`; `feeding`
    those of the other member that let somebody in."""

    end: int
    feeding: frozenset[str]
    waiting: frozenset[str]

    def lets_in(self, stages: Sequence[Stage]) -> bool:
        return bool(self.feeding & stages[1 - self.end].green)

    def gives_way(self, stages: Sequence[Stage]) -> bool:
        return bool(self.waiting & stages[self.end].permissive)


def _list_cycles(junction: Junction) -> Iterator[tuple[str, ...]]:
    """Yield the orders of stages, none twice, that show all phases, the shortest first.

    Ends after MOST_STEPS: there may be more than anybody can look at.
    """
    after = junction.successors or {}
    green = {stage.id: stage.green for stage in junction.stages}
    number = {id_: i for i, id_ in enumerate(green)}
    phases = {phase.id for phase in junction.phases}
    steps = 0
    for length in range(1, len(green) + 1):
        begun: list[tuple[str, ...]] = [(id_,) for id_ in green]
        while begun:
            walk = begun.pop()
            steps += 1
            if steps > MOST_STEPS:
                return
            if len(walk) < length:
                # Each begins with its first stage by number, so that none is told twice.
                ahead = (id_ for id_ in sorted(after[walk[-1]]) if id_ not in walk)
                begun += [(*walk, id_) for id_ in ahead if number[id_] > number[walk[0]]]
            elif (length == 1 or walk[0] in after[walk[-1]]) and phases.issubset(
                phase for id_ in walk for phase in green[id_]
            ):
                yield walk


def _merge_slots(slots: Sequence[tuple[str, float]], offset_s: float) -> SafePlan:
    """Return the plan of slots some of which go on with the stage of the one before."""
    starts = [i for i in range(len(slots)) if slots[i][0] != slots[i - 1][0]]
    cycle_s = sum(slot_s for _, slot_s in slots)
    if not starts:
        return SafePlan(((slots[0][0], cycle_s),), offset_s)
    turned = [*slots[starts[0] :], *slots[: starts[0]]]
    marks = [i - starts[0] for i in starts] + [len(slots)]
    merged = tuple(
        (turned[begin][0], sum(slot_s for _, slot_s in turned[begin:end]))
        for begin, end in pairwise(marks)
    )
    before_s = sum(slot_s for _, slot_s in slots[: starts[0]])
    return SafePlan(merged, (offset_s + before_s) % cycle_s)


def _replace_junctions(network: Network, pairs: Sequence[Pair]) -> Network:
    """Return the network with each pair as one junction; it is to be timed, not to be sensed."""
    place = {one.id: (pair, m) for pair in pairs for m, one in enumerate(pair.members)}
    junctions = {id_: one for id_, one in network.junctions.items() if id_ not in place}
    plans = {id_: network.plans[id_] for id_ in junctions}
    approaches = {}
    for id_, approach in network.approaches.items():
        if approach.junction in place:
            pair, m = place[approach.junction]
            approach = replace(
                approach,
                junction=pair.junction.id,
                phases=tuple(_name(m, phase) for phase in approach.phases),
                phase_lanes={_name(m, p): lanes for p, lanes in approach.phase_lanes.items()},
            )
        approaches[id_] = approach
    return replace(
        network,
        junctions=junctions | {pair.junction.id: pair.junction for pair in pairs},
        plans=plans | {pair.junction.id: pair.orders[0] for pair in pairs},
        approaches=approaches,
        lanes=None,
    )


def _name(member: int, phase: str) -> str:
    return f"{member}:{phase}"


def _rename(stream: Stream, member: int) -> Stream:
    """Return the stream with the names that its phases have in the pair."""
    lanes = tuple(
        LaneUse(use.part, tuple((_name(member, phase), share) for phase, share in use.shares))
        for use in stream.lanes
    )
    opposed = tuple((a, _name(member, phase), share) for a, phase, share in stream.opposed)
    return replace(stream, phase=_name(member, stream.phase), lanes=lanes, opposed=opposed)
