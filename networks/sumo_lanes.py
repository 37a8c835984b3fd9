"""Lanes before stop lines: read from a compiled network, and their vehicles from a running one.

Nothing is imported of SUMO here: the network read by sumolib and the simulator are handed in.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import dist
from typing import Any

import numpy as np

from networks.sumo_signals import Signals
from traffic.lanes import HALTED_MPS, LEAVES, SENSED_M, UNKNOWN_TURN, Lane, LaneMap, Way
from traffic.readings import LaneBatch

FOLLOWED_M = 600.0  # from a stop line: lanes that end farther away are not part of its approach
_STEPS_PER_UNIT = 10.0  # of positions and speeds: a radar tells 0.1 m and 0.1 m/s


def build_lanes(net: Any, links: Mapping[str, object], signals: Mapping[str, Signals]) -> LaneMap:
    """Return the lanes open to ordinary traffic that lead to the signals, and the ways there."""
    into: dict[str, list[Any]] = {}
    out: dict[str, list[Any]] = {}
    for edge in net.getEdges(withInternal=False):
        for lane in edge.getLanes() if edge.getID() in links else ():
            for way in lane.getOutgoing():
                if way.getTo().getID() in links and _is_open(lane) and _is_open(way.getToLane()):
                    out.setdefault(lane.getID(), []).append(way)
                    into.setdefault(way.getToLane().getID(), []).append(way)
    stops = {
        lane: way.getTLSID()
        for lane, ways in out.items()
        for way in ways
        if way.getTLSID() in signals
    }
    stop_m = _measure(net, into, stops)
    lanes = {}
    for id_ in sorted(stop_m):
        lane = net.getLane(id_)
        onward = (
            ()
            if id_ in stops
            else tuple(
                (way.getToLane().getID(), _across_m(way))
                for way in out.get(id_, ())
                if way.getToLane().getID() in stop_m
            )
        )
        lanes[id_] = Lane(
            id_,
            lane.getEdge().getID(),
            lane.getIndex(),
            lane.getLength(),
            lane.getSpeed(),
            round(stop_m[id_], 2),
            onward,
        )
    return LaneMap(
        lanes, {id_: _build_ways(id_, read, out, stops) for id_, read in signals.items()}
    )


def _is_open(lane: Any) -> bool:
    return bool(lane.allows("passenger"))


def _across_m(way: Any) -> float:
    """The straight distance across the node; the file tells the curve only with internal lanes."""
    return round(dist(way.getFromLane().getShape()[-1], way.getToLane().getShape()[0]), 2)


def _measure(
    net: Any, into: Mapping[str, Sequence[Any]], stops: Mapping[str, str]
) -> dict[str, float]:
    """Return lane -> least distance from its downstream end to a stop line, walked upstream."""
    found = dict.fromkeys(stops, 0.0)
    edge = list(stops)
    while edge:
        edge, now = [], edge
        for id_ in now:
            head_m = found[id_] + net.getLane(id_).getLength()
            for way in into.get(id_, ()):
                before = way.getFromLane().getID()
                back_m = head_m + _across_m(way)
                if before not in stops and back_m < min(found.get(before, FOLLOWED_M), FOLLOWED_M):
                    found[before] = back_m
                    edge.append(before)
    return found


def _build_ways(
    junction: str, read: Signals, out: Mapping[str, Sequence[Any]], stops: Mapping[str, str]
) -> tuple[Way, ...]:
    owner = {i: phase for phase, indices in read.indices.items() for i in indices}
    own = [way for lane in sorted(out) if stops.get(lane) == junction for way in out[lane]]
    ways = []
    for way in own:
        node = way.getJunction()
        yields_to = tuple(
            i
            for i, other in enumerate(own)
            if other is not way and other.getJunction() is node and node.forbids(other, way)
        )
        is_ours = way.getTLSID() == junction
        ways.append(
            Way(
                way.getFromLane().getID(),
                way.getToLane().getID(),
                way.getTo().getID(),
                owner.get(way.getTLLinkIndex()) if is_ours else None,
                _across_m(way),
                yields_to,
            )
        )
    return tuple(ways)


def _find_within(get_links: Callable[[str], Any], ways: Sequence[Way]) -> tuple[str, ...]:
    """Return the junction's own lanes that the ways lead over; a turn may wait halfway."""
    found: dict[str, None] = {}
    edge = list(dict.fromkeys(way.from_lane for way in ways))
    while edge:
        ahead = [link[4] for link in get_links(edge.pop()) if link[4]]
        edge += [lane for lane in ahead if lane not in found]
        found |= dict.fromkeys(ahead)
    return tuple(found)


def _list_feeding(lanes: LaneMap) -> Iterator[tuple[str, str]]:
    """Yield each lane with each one that it leads on to over a joint or a junction."""
    for id_, lane in lanes.lanes.items():
        yield from ((id_, to_lane) for to_lane, _ in lane.onward)
    for ways in lanes.ways.values():
        yield from ((way.from_lane, way.to_lane) for way in ways)


def _find_course(
    get_links: Callable[[str], Any],
    get_length: Callable[[str], float],
    from_lane: str,
    to_lane: str,
) -> list[tuple[str, float]]:
    """Return the node's own lanes from one lane to the other, each with the meters from its
    upstream end to the other lane; a turn that waits halfway has two."""
    course: list[str] = []
    ahead = [link[4] for link in get_links(from_lane) if link[0] == to_lane and link[4]]
    while ahead:
        course.append(ahead[0])
        ahead = [link[4] for link in get_links(ahead[0]) if link[4]]
    lengths_m = [float(get_length(id_)) for id_ in course]
    return [(id_, sum(lengths_m[i:])) for i, id_ in enumerate(course)]


class LaneSensors:
    """Reads the vehicles before stop lines and within junctions, once a second."""

    def __init__(self, sumo: Any, lanes: LaneMap, tells_turns: bool) -> None:
        self._vehicle, self._lane = sumo.vehicle, sumo.lane
        self._tells_turns = tells_turns
        self._exits = {link: i for i, link in enumerate(lanes.exits)}
        self._links = {lane.link for lane in lanes.lanes.values()}
        self._signalized = {
            way.from_lane.rpartition("_")[0] for w in lanes.ways.values() for way in w
        }
        self._turns: dict[tuple[str, str], int] = {}
        self._told: dict[tuple[str, str], int] = {}
        get_links, get_length = sumo.lane.getLinks, sumo.lane.getLength
        # Sensed lane -> the own lanes of joints and junctions that lead onto it.
        before: dict[str, list[tuple[str, float]]] = {id_: [] for id_ in lanes.sensed}
        for from_lane, to_lane in _list_feeding(lanes):
            if to_lane in before:
                before[to_lane] += _find_course(get_links, get_length, from_lane, to_lane)
        self._within = [_find_within(get_links, ways) for ways in lanes.ways.values()]
        self._inner = {lane for own in self._within for lane in own}
        self._places = [
            (id_, lanes.lanes[id_], float(get_length(id_)), tuple(before[id_]))
            for id_ in lanes.sensed
        ]

    def read(self) -> LaneBatch:
        position_of, speed_of = self._vehicle.getLanePosition, self._vehicle.getSpeed
        vehicles_on = self._lane.getLastStepVehicleIDs
        starts, positions, speeds, turns = [0], [], [], []
        self._told, self._turns = {}, self._told or self._turns
        for id_, lane, length_m, nodes in self._places:
            first_m = lane.stop_m + length_m - SENSED_M
            seen = []
            for vehicle in vehicles_on(id_):
                at_m = position_of(vehicle)
                if at_m >= first_m:
                    seen.append((at_m, vehicle))
            for via, via_m in nodes:
                for vehicle in vehicles_on(via):
                    at_m = position_of(vehicle) - via_m
                    # Who halts within a junction has not left it, and is counted there.
                    waits = via in self._inner and speed_of(vehicle) < HALTED_MPS
                    if at_m >= first_m and not waits:
                        seen.append((at_m, vehicle))
            seen.sort(reverse=True)
            for at_m, vehicle in seen:
                positions.append(at_m)
                speeds.append(speed_of(vehicle))
                turns.append(
                    self._find_turn(vehicle, lane.link) if self._tells_turns else UNKNOWN_TURN
                )
            starts.append(len(positions))
        return LaneBatch(
            np.array(starts, dtype=np.int32),
            np.rint(np.array(positions) * _STEPS_PER_UNIT) / _STEPS_PER_UNIT,
            np.rint(np.array(speeds) * _STEPS_PER_UNIT) / _STEPS_PER_UNIT,
            np.array(turns, dtype=np.int32),
            np.array([self._count_halted(own) for own in self._within], dtype=np.int32),
        )

    def _count_halted(self, within: Sequence[str]) -> int:
        vehicles_on, speed_of = self._lane.getLastStepVehicleIDs, self._vehicle.getSpeed
        return sum(speed_of(v) < HALTED_MPS for lane in within for v in vehicles_on(lane))

    def _find_turn(self, vehicle: str, link: str) -> int:
        """The turn that the vehicle's route takes at the next stop line from this link on."""
        key = (vehicle, link)
        turn = self._turns.get(key)
        if turn is None:
            route = self._vehicle.getRoute(vehicle)
            at = route.index(link, max(self._vehicle.getRouteIndex(vehicle), 0))
            turn = LEAVES
            for place in range(at, len(route) - 1):
                if place > at and route[place] not in self._links:
                    break
                if route[place] in self._signalized:
                    turn = self._exits.get(route[place + 1], LEAVES)
                    break
        self._told[key] = turn
        return turn
