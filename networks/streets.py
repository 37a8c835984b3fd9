"""Streets with signalised junctions, laid out by compass: lanes, turns, stages, fixed-time plans.

A junction has up to four arms (N, E, S, W). On each arm a road widens into a bay in front of the
stop line; the lanes of the bay say which turns they serve ("t", "tr", "l" ..., right to left).
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from networks.plain_xml import Connection, Edge, Node, Point, Program
from traffic.timing import webster_cycle_s, webster_splits_s

COMPASS = "NESW"
TURN_BY_STEPS = {1: "l", 2: "t", 3: "r"}  # quarter turns clockwise from the arm of arrival
AMBER_S = 3.0
ALL_RED_S = 2.0
MIN_GREEN_S = 8.0
LONGEST_CYCLE_S = 110.0
PLANNED_SATURATION = 0.9  # degree that a fixed-time plan should leave no stage above
SATURATION_VPH = 1250.0  # per lane, out of a standing queue of the scenarios' drivers
PLAIN_BAY_M = 110.0
SHORTEST_BODY_M = 60.0  # of a road before its bay; a shorter one is all bay
Turn = tuple[str, str]  # (link before the stop line, link after it)


@dataclass(frozen=True, slots=True)
class Road:
    """A road between two places; an arm is given where it meets a signalised junction.

    `lanes` in each direction; `lanes_at_v` and `lanes_at_u` override what the bay's lanes serve.
    `shape` runs from u to v, without its ends; `start` and `end` are given where the line begins
    or ends beside its node, as a ramp does at a mainline.
    """

    u: str
    v: str
    arm_u: str = ""
    arm_v: str = ""
    lanes: int = 2
    speed_mps: float = 16.67
    shape: tuple[Point, ...] = ()
    one_way: bool = False
    bay_v_m: float = PLAIN_BAY_M
    bay_u_m: float = PLAIN_BAY_M
    lanes_at_v: tuple[str, ...] = ()
    lanes_at_u: tuple[str, ...] = ()
    name: str = ""
    start: Point | None = None
    end: Point | None = None


@dataclass(frozen=True)
class Stop:
    """One arm's stop line: the link that ends there and what each of its lanes serves."""

    link: str
    uses: tuple[str, ...]


@dataclass(frozen=True)
class Streets:
    """What `build_streets` laid out.

    `chains` maps (place, next place) to the links between them, upstream to downstream.
    `stops` maps junction -> arm -> stop line, `exits` junction -> arm -> link that leaves it.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    connections: tuple[Connection, ...]
    signal_links: Mapping[str, tuple[Connection, ...]]
    chains: Mapping[tuple[str, str], tuple[str, ...]]
    stops: Mapping[str, Mapping[str, Stop]]
    exits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def turn(self, junction: str, from_arm: str, to_arm: str) -> Turn:
        """Return the links of a turn; raises KeyError when an arm does not exist."""
        return self.stops[junction][from_arm].link, self.exits[junction][to_arm]

    def links_along(self, places: Sequence[str]) -> tuple[str, ...]:
        """Return the links of a route through these places; raises KeyError where no road runs."""
        return tuple(link for u, v in itertools.pairwise(places) for link in self.chains[u, v])


def build_streets(
    places: Mapping[str, Point], roads: Iterable[Road], kinds: Mapping[str, str] | None = None
) -> Streets:
    """Lay out the roads; every place that is some road's arm becomes a signalised junction.

    `kinds` gives the SUMO node type of other places, where it is not "priority".

    Raises ValueError listing the turns that no lane of a bay serves.
    """
    roads = list(roads)
    signalised = {place for r in roads for place, arm in ((r.u, r.arm_u), (r.v, r.arm_v)) if arm}
    others = kinds or {}
    nodes = [
        Node(place, *xy, "traffic_light" if place in signalised else others.get(place, "priority"))
        for place, xy in places.items()
    ]
    directions = [d for road in roads for d in _directions(road, places)]
    out_arms: dict[str, dict[str, _Direction]] = {place: {} for place in signalised}
    in_arms: dict[str, dict[str, _Direction]] = {place: {} for place in signalised}
    for way in directions:
        if way.arm_u:
            out_arms[way.u][way.arm_u] = way
        if way.arm_v:
            in_arms[way.v][way.arm_v] = way

    edges: list[Edge] = []
    connections: list[Connection] = []
    chains: dict[tuple[str, str], tuple[str, ...]] = {}
    stops: dict[str, dict[str, Stop]] = {place: {} for place in signalised}
    first: dict[tuple[str, str], Edge] = {}
    for way in directions:
        uses = way.uses or _default_uses(way, out_arms)
        pieces, joint = _lay(way, uses)
        nodes += joint
        edges += pieces
        chains[way.u, way.v] = tuple(edge.id for edge in pieces)
        first[way.u, way.v] = pieces[0]
        if way.arm_v:
            stops[way.v][way.arm_v] = Stop(pieces[-1].id, uses)
        if len(pieces) == 2:
            connections += _widen(pieces[0], pieces[1], uses)
    exits = {
        place: {arm: chains[way.u, way.v][0] for arm, way in arms.items()}
        for place, arms in out_arms.items()
    }
    signal_links = {}
    problems: list[str] = []
    for place in sorted(signalised):
        links: list[Connection] = []
        for arm in COMPASS:
            if arm not in stops[place]:
                continue
            for to_arm, way in sorted(out_arms[place].items()):
                turn = _turn(arm, to_arm)
                if turn is None:
                    continue
                found = list(_connect(stops[place][arm], first[way.u, way.v], turn))
                if not found:
                    problems.append(f"junction {place}: no lane of arm {arm} serves turn {turn}")
                links += found
        signal_links[place] = tuple(links)
        connections += links
    if problems:
        raise ValueError("\n".join(problems))
    return Streets(
        tuple(nodes), tuple(edges), tuple(connections), signal_links, chains, stops, exits
    )


def build_programs(
    streets: Streets, flows_vph: Mapping[Turn, float], progression_s: Mapping[str, float]
) -> tuple[Program, ...]:
    """Return fixed-time programs: Webster splits for the flows, one cycle, offsets as given.

    The cycle is the longest that Webster's formula asks for at any junction, or one so much longer
    that the minimum greens leave every stage below PLANNED_SATURATION; `progression_s` is the time
    at which a platoon should find the first stage green, counted from a common zero.
    """
    lost_s = AMBER_S + ALL_RED_S
    stages = {junction: _stages(streets, junction) for junction in sorted(streets.signal_links)}
    ratios = {
        junction: [_flow_ratio(streets, junction, stage, flows_vph) for stage in of_junction]
        for junction, of_junction in stages.items()
    }
    cycle_s = max(
        webster_cycle_s(r, lost_s * len(r), min_cycle_s=60.0, max_cycle_s=LONGEST_CYCLE_S)
        for r in ratios.values()
    )
    cycle_s = 5.0 * math.ceil(cycle_s / 5.0)
    while cycle_s < LONGEST_CYCLE_S and any(
        cycle_s * ratio > PLANNED_SATURATION * green_s
        for of_junction in ratios.values()
        for ratio, green_s in zip(of_junction, _find_greens_s(of_junction, cycle_s), strict=True)
    ):
        cycle_s += 5.0
    greens_s = {junction: _find_greens_s(of, cycle_s) for junction, of in ratios.items()}
    offsets_s = {junction: round(progression_s.get(junction, 0.0) % cycle_s) for junction in stages}
    return build_timed_programs(streets, greens_s, offsets_s)


def count_stages(streets: Streets, junction: str) -> int:
    """Return how many stages a junction has; raises KeyError for one that is unknown."""
    return len(_stages(streets, junction))


def build_timed_programs(
    streets: Streets, greens_s: Mapping[str, Sequence[float]], offsets_s: Mapping[str, float]
) -> tuple[Program, ...]:
    """Return programs with these greens, in order of stages; the first one begins at the offset."""
    programs = []
    for junction in sorted(greens_s):
        links = streets.signal_links[junction]
        states: list[tuple[float, str]] = []
        for green_s, stage in zip(greens_s[junction], _stages(streets, junction), strict=True):
            shown = [(link.from_edge, link.to_edge) in stage for link in links]
            states.append((green_s, "".join("G" if on else "r" for on in shown)))
            states.append((AMBER_S, "".join("y" if on else "r" for on in shown)))
            states.append((ALL_RED_S, "r" * len(links)))
        programs.append(Program(junction, links, tuple(states), offsets_s[junction]))
    return tuple(programs)


def _find_greens_s(ratios: Sequence[float], cycle_s: float) -> list[float]:
    """Return Webster's greens in whole seconds, the rest of the cycle with the tightest stage."""
    lost_s = (AMBER_S + ALL_RED_S) * len(ratios)
    splits_s = webster_splits_s(ratios, cycle_s, lost_s, [MIN_GREEN_S] * len(ratios))
    greens_s = [float(math.floor(s)) for s in splits_s]
    tightest = max(range(len(ratios)), key=lambda i: (ratios[i] / greens_s[i], -i))
    greens_s[tightest] += cycle_s - lost_s - sum(greens_s)
    return greens_s


@dataclass(frozen=True, slots=True)
class _Direction:
    u: str
    v: str
    arm_u: str
    arm_v: str
    lanes: int
    speed_mps: float
    line: tuple[Point, ...]
    bay_m: float
    uses: tuple[str, ...]
    name: str
    spread: str


def _directions(road: Road, places: Mapping[str, Point]) -> Iterable[_Direction]:
    spread = "center" if road.one_way else "right"
    line = (road.start or places[road.u], *road.shape, road.end or places[road.v])
    yield _Direction(
        road.u, road.v, road.arm_u, road.arm_v, road.lanes, road.speed_mps, line,
        road.bay_v_m, road.lanes_at_v, road.name, spread,
    )  # fmt: skip
    if not road.one_way:
        yield _Direction(
            road.v, road.u, road.arm_v, road.arm_u, road.lanes, road.speed_mps, line[::-1],
            road.bay_u_m, road.lanes_at_u, road.name, spread,
        )  # fmt: skip


def _turn(from_arm: str, to_arm: str) -> str | None:
    return TURN_BY_STEPS.get((COMPASS.index(to_arm) - COMPASS.index(from_arm)) % 4)


def _default_uses(
    way: _Direction, out_arms: Mapping[str, Mapping[str, _Direction]]
) -> tuple[str, ...]:
    if not way.arm_v:
        return ("t",) * way.lanes
    turns = {_turn(way.arm_v, arm): ahead for arm, ahead in out_arms[way.v].items()}
    uses = []
    if "t" in turns:
        uses.append("tr" if "r" in turns else "t")
        uses += ["t"] * (min(way.lanes, turns["t"].lanes) - 1)
    elif "r" in turns:
        uses.append("r")
    return (*uses, "l") if "l" in turns else tuple(uses)


def _lay(way: _Direction, uses: tuple[str, ...]) -> tuple[list[Edge], list[Node]]:
    name = f"{way.u}_{way.v}"

    def edge(edge_id: str, u: str, v: str, lanes: int, line: Sequence[Point]) -> Edge:
        return Edge(
            edge_id, u, v, lanes, way.speed_mps, tuple(line), name=way.name, spread=way.spread
        )

    body_m = _length(way.line) - way.bay_m
    needs_bay = len(uses) != way.lanes or way.bay_m > PLAIN_BAY_M
    if not way.arm_v or not needs_bay or body_m < SHORTEST_BODY_M:
        return [edge(name, way.u, way.v, len(uses), way.line)], []
    before, after = _cut(way.line, body_m)
    joint = Node(f"{name}_joint", *before[-1])
    return [
        edge(name, way.u, joint.id, way.lanes, before),
        edge(f"{name}_bay", joint.id, way.v, len(uses), after),
    ], [joint]


def _length(line: Sequence[Point]) -> float:
    return sum(math.dist(a, b) for a, b in itertools.pairwise(line))


def _cut(line: Sequence[Point], at_m: float) -> tuple[list[Point], list[Point]]:
    """Return the line up to the cut and from it on; the cut is an end of both."""
    left_m = at_m
    for i, (a, b) in enumerate(itertools.pairwise(line)):
        piece_m = math.dist(a, b)
        if left_m < piece_m:
            share = left_m / piece_m
            at = (round(a[0] + share * (b[0] - a[0]), 2), round(a[1] + share * (b[1] - a[1]), 2))
            return [*line[: i + 1], at], [at, *line[i + 1 :]]
        left_m -= piece_m
    raise ValueError(f"cut at {at_m} m of a line of {_length(line)} m")


def _widen(body: Edge, bay: Edge, uses: tuple[str, ...]) -> Iterable[Connection]:
    extra = bay.lanes - body.lanes
    right = min(sum(use == "r" for use in uses), max(extra, 0))
    if extra < 0:
        raise ValueError(f"link {bay.id} has fewer lanes than link {body.id}")
    for lane in range(bay.lanes):
        from_lane = min(max(lane - right, 0), body.lanes - 1)
        yield Connection(body.id, bay.id, from_lane, lane)


def _connect(stop: Stop, ahead: Edge, turn: str) -> Iterable[Connection]:
    """Yield the turn's connections: right turns fill the far link from the right, left from the
    left, straight traffic from the right."""
    lanes = [lane for lane, use in enumerate(stop.uses) if turn in use]
    for i, lane in enumerate(lanes):
        to_lane = ahead.lanes - len(lanes) + i if turn == "l" else i
        if 0 <= to_lane < ahead.lanes:
            yield Connection(stop.link, ahead.id, lane, to_lane)


def _stages(streets: Streets, junction: str) -> list[frozenset[Turn]]:
    """Return each stage's turns: per axis straight and right first, then the protected lefts.

    An arm without an opposite one discharges all its turns in a single stage.
    """
    stages: list[frozenset[Turn]] = []
    arms = streets.stops[junction]
    for axis in ("EW", "NS"):
        here = [arm for arm in axis if arm in arms]
        turns = {
            (arm, to_arm): _turn(arm, to_arm)
            for arm in here
            for to_arm in streets.exits[junction]
            if _turn(arm, to_arm)
        }
        if len(here) == 1:
            groups = [list(turns)]
        else:
            groups = [
                [pair for pair, turn in turns.items() if turn != "l"],
                [pair for pair, turn in turns.items() if turn == "l"],
            ]
        stages += [
            frozenset(streets.turn(junction, *pair) for pair in group) for group in groups if group
        ]
    return stages


def _flow_ratio(
    streets: Streets, junction: str, stage: frozenset[Turn], flows_vph: Mapping[Turn, float]
) -> float:
    """Return the critical flow ratio of a stage: of its turns those with the fewest lanes for them.

    Traffic of some turns together has the lanes that serve any of these, and no others.
    """
    ratios = [0.0]
    for arm, stop in streets.stops[junction].items():
        by_turn = {
            _turn(arm, to_arm): flows_vph.get((stop.link, link), 0.0)
            for to_arm, link in streets.exits[junction].items()
            if (stop.link, link) in stage
        }
        for size in range(1, len(by_turn) + 1):
            for group in itertools.combinations(by_turn, size):
                lanes = sum(any(turn and turn in use for turn in group) for use in stop.uses)
                flow_vph = sum(by_turn[turn] for turn in group)
                ratios.append(flow_vph / (lanes * SATURATION_VPH))
    return max(ratios)
