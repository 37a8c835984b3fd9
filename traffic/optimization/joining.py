"""Which junctions are so near to each other that they are planned as one, and how."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from traffic.lanes import LaneMap, Way
from traffic.model import Junction, Movement, Network, Phase
from traffic.optimization.joined import Joined, Need, keep_junction, merge_signals

SHORT_M = 20.0  # room for a bus and a car
LEAST_GREEN_S = 1.0  # of a way over two stop lines: their phases have their own

Place = tuple[int, int]  # which of the two, which of its ways


def join_junctions(network: Network, lanes: LaneMap, junctions: Sequence[str]) -> list[Joined]:
    """Return the junctions to plan: pairs of near ones as one, all others for themselves.

    A junction that is near to several is joined to the first of them; a pair stays apart if one of
    its phases could never be shown.
    """
    owner = {way.from_lane: id_ for id_ in junctions for way in lanes.ways[id_]}
    near = {
        id_: {
            owner[way.to_lane]
            for way in lanes.ways[id_]
            if way.to_lane in owner and _is_short(lanes, way.to_lane)
        }
        for id_ in junctions
    }
    order = {id_: i for i, id_ in enumerate(junctions)}
    planned: list[Joined] = []
    done: set[str] = set()
    for id_ in junctions:
        if id_ in done:
            continue
        twins = [k for k in near[id_] - done - {id_} if id_ in near[k]]
        twin = min(twins, key=order.__getitem__, default=None)
        joined = None if twin is None else _join(network, lanes, (id_, twin))
        if joined is None:
            joined = keep_junction(network.junctions[id_], lanes.ways[id_])
        done |= {member.id for member in joined.members}
        planned.append(joined)
    return planned


def _is_short(lanes: LaneMap, lane: str) -> bool:
    return lanes.lanes[lane].length_m < SHORT_M


def _join(network: Network, lanes: LaneMap, ids: tuple[str, str]) -> Joined | None:
    """Return two junctions as one, or None if then a phase could never be shown."""
    members = tuple(network.junctions[id_] for id_ in ids)
    way_at = {(m, i): way for m, id_ in enumerate(ids) for i, way in enumerate(lanes.ways[id_])}
    routes = _list_routes(lanes, way_at)
    phases: dict[Need, Phase] = {
        _need({m: phase.id}): replace(phase, id=f"{m}:{phase.id}")
        for m, junction in enumerate(members)
        for phase in junction.phases
    }
    through: list[tuple[Need, int]] = []
    needs = []
    for route in routes:
        need = _need({m: way_at[m, i].phase for m, i in route})
        needs.append(need)
        if None not in need and need not in phases:
            link = lanes.lanes[way_at[route[0]].from_lane].link
            moves = (Movement("through", link, way_at[route[-1]].to_link),)
            name = "+".join(str(part) for part in need)
            phases[need] = Phase(name, moves, LEAST_GREEN_S, float("inf"), float("inf"))
        if None not in need and (need, route[-1][0]) not in through:
            through.append((need, route[-1][0]))
    pairs = list(product(*(junction.stages for junction in members)))
    junction = merge_signals(members, phases, pairs, through)
    if not _shows_all(junction):
        return None
    firsts = [way_at[route[0]] for route in routes]
    lines = [
        None if first.phase is None else phases[_need({route[0][0]: first.phase})].id
        for first, route in zip(firsts, routes, strict=True)
    ]
    return Joined(
        junction,
        tuple(
            Way(
                first.from_lane,
                way_at[route[-1]].to_lane,
                way_at[route[-1]].to_link,
                phases[need].id if need in phases else None,
                sum(way_at[place].length_m for place in route)
                + sum(lanes.lanes[way_at[place].from_lane].length_m for place in route[1:]),
                _list_foes(way_at, routes, route),
            )
            for first, route, need in zip(firsts, routes, needs, strict=True)
        ),
        tuple(first.to_link for first in firsts),
        tuple(lines),
        tuple(way_at[route[1]].from_lane if len(route) > 1 else None for route in routes),
        members,
        tuple(phases),
        tuple(pairs),
    )


def _need(parts: dict[int, str | None]) -> Need:
    return tuple(parts.get(m) for m in range(2))


def _list_routes(lanes: LaneMap, way_at: dict[Place, Way]) -> list[tuple[Place, ...]]:
    """Return the ways as one or two steps: two where they lead over the road between."""
    begins: dict[str, list[Place]] = {}
    for place, way in way_at.items():
        begins.setdefault(way.from_lane, []).append(place)
    between = {
        way.to_lane
        for (m, _), way in way_at.items()
        if way.to_lane in begins
        and begins[way.to_lane][0][0] != m
        and _is_short(lanes, way.to_lane)
    }
    routes: list[tuple[Place, ...]] = []
    for place, way in way_at.items():
        if way.to_lane not in between or way.from_lane in between:
            routes.append((place,))
            continue
        # Lanes that none leads to from one's own link are reached by changing lanes on the way.
        link = lanes.lanes[way.from_lane].link
        led_to = {w.to_lane for w in way_at.values() if lanes.lanes[w.from_lane].link == link}
        beside = {x for x in between - led_to if lanes.lanes[x].link == way.to_link}
        routes += [(place, k) for lane in (way.to_lane, *sorted(beside)) for k in begins[lane]]
    return routes


def _list_foes(
    way_at: dict[Place, Way], routes: Sequence[tuple[Place, ...]], route: tuple[Place, ...]
) -> tuple[int, ...]:
    """Return all routes with a step that a step of this one gives way to."""
    foes = {(m, f) for m, i in route for f in way_at[m, i].yields_to}
    return tuple(k for k, other in enumerate(routes) if other != route and foes & set(other))


def _shows_all(junction: Junction) -> bool:
    """Whether all phases are shown by the stages that may be reached from each one."""
    after = junction.successors or {}
    green = {stage.id: stage.green for stage in junction.stages}
    phases = {phase.id for phase in junction.phases}
    for first in green:
        reached: set[str] = set()
        open_ = set(after[first])
        while open_:
            reached |= open_
            open_ = {id_ for stage in open_ for id_ in after[stage]} - reached
        if {phase for stage in reached for phase in green[stage]} != phases:
            return False
    return True
