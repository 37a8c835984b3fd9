"""Can a city's signals be planned vehicle by vehicle each second? Four arms of three lanes each."""

from collections.abc import Mapping, Sequence
from random import Random

import numpy as np

from bench.registry import Case, benchmark
from controllers.horizon import HorizonTeam
from traffic.control import Command, Observation, RawReadings
from traffic.interlock import Interlock
from traffic.lanes import UNKNOWN_TURN, Lane, LaneMap, Way
from traffic.model import Intergreen, Junction, Link, Movement, Network, Phase, SafePlan, Stage
from traffic.readings import LaneBatch, LoopBatch

ARMS = ("north", "east", "south", "west")
LANES = 3  # left, through, through and right
VEHICLES = 3  # on the mean lane
LENGTH_M = 250.0
FREE_MPS = 13.9
ALLOWED_S = 60e-6  # of one core, for a junction's second
SECONDS = 5

Moments = Sequence[Sequence[Observation]]


def build_junction(name: str) -> tuple[Junction, tuple[Way, ...], dict[str, Lane], dict[str, Link]]:
    """Return a crossing with protected lefts: through and left of each axis take turns."""
    phases, ways, lanes, links = [], [], {}, {}
    for i, arm in enumerate(ARMS):
        road = f"{name}{arm}"
        for link in (road, f"{road}-out"):
            shape = ((0.0, 0.0), (LENGTH_M, 0.0))
            links[link] = Link(link, f"{link}0", f"{link}1", LENGTH_M, LANES, FREE_MPS, shape)
        for lane in range(LANES):
            lanes[f"{road}_{lane}"] = Lane(f"{road}_{lane}", road, lane, LENGTH_M, FREE_MPS)
        onward = {turn: f"{name}{ARMS[(i + turn) % 4]}-out" for turn in (1, 2, 3)}
        through, left = f"{arm}-through", f"{arm}-left"
        moves = tuple(Movement(f"{road}{t}", road, onward[t]) for t in (1, 2))
        phases.append(Phase(through, moves, 5.0, 60.0, 120.0))
        phases.append(Phase(left, (Movement(f"{road}3", road, onward[3]),), 5.0, 60.0, 120.0))
        for lane, turn, phase in ((0, 1, through), (0, 2, through), (1, 2, through), (2, 3, left)):
            ways.append(Way(f"{road}_{lane}", f"{onward[turn]}_{lane}", onward[turn], phase, 20.0))
    stages = tuple(
        Stage(f"{axis}-{kind}", frozenset(f"{arm}-{kind}" for arm in ARMS[i::2]))
        for i, axis in enumerate(("ns", "ew"))
        for kind in ("through", "left")
    )
    stage_of = {phase: stage.id for stage in stages for phase in stage.green}
    pairs = [(a, b) for a in stage_of for b in stage_of if stage_of[a] != stage_of[b]]
    junction = Junction(
        name,
        tuple(phases),
        stages,
        frozenset(frozenset(pair) for pair in pairs),
        dict.fromkeys(pairs, Intergreen(3.0, 2.0)),
    )
    return junction, tuple(ways), lanes, links


def build_city(count: int) -> Network:
    """Return so many crossings, each with its own roads."""
    junctions, ways = {}, {}
    lanes: dict[str, Lane] = {}
    links: dict[str, Link] = {}
    for i in range(count):
        name = f"j{i}"
        junctions[name], ways[name], own_lanes, own_links = build_junction(name)
        lanes |= own_lanes
        links |= own_links
    plan = SafePlan(tuple((stage.id, 20.0) for stage in junctions["j0"].stages))
    turns = frozenset(
        (m.from_link, m.to_link) for j in junctions.values() for p in j.phases for m in p.movements
    )
    plans = dict.fromkeys(junctions, plan)
    return Network("city", links, turns, junctions, plans, {}, {}, {}, lanes=LaneMap(lanes, ways))


def build_traffic(network: Network, draw: Random) -> LaneBatch:
    """Return vehicles on every lane: one half of them queued, the others coming at free speed."""
    numbers, at_m, speed_mps = [], [], []
    for _ in network.lanes.sensed if network.lanes else ():
        size = draw.choice((0, 1, 2, 3, 4, 5, 6))
        queued = draw.randint(0, size)
        free_m = sorted(draw.uniform(60.0, 190.0) for _ in range(size - queued))
        numbers.append(size)
        at_m += [LENGTH_M - m for m in (*(1.0 + 7.5 * i for i in range(queued)), *free_m)]
        speed_mps += [0.0] * queued + [FREE_MPS] * (size - queued)
    return LaneBatch(
        np.concatenate(([0], np.cumsum(numbers))).astype(np.int32),
        np.round(np.array(at_m), 1),
        np.array(speed_mps),
        np.full(len(at_m), UNKNOWN_TURN, dtype=np.int32),
    )


def build_moments(network: Network) -> Moments:
    """Return what the city's controllers see in some seconds well within a safe plan."""
    interlock = Interlock(network.junctions.values(), network.plans, 0.0)
    empty = LoopBatch(0.0, 1.0, (), *(np.zeros(0) for _ in range(3)), np.zeros(0, dtype=np.int8))
    draw = Random("horizon")
    moments = []
    for now_s in map(float, range(10 + SECONDS)):
        if now_s >= 10:
            raw = RawReadings(now_s, empty, None, {}, build_traffic(network, draw))
            moments.append([interlock.observe(j, raw, {}) for j in network.junctions])
        interlock.admit([], now_s)
    return moments


class City:
    """A team and what it sees."""

    def __init__(self, count: int) -> None:
        network = build_city(count)
        self.count = count
        self.team = HorizonTeam(network, tuple(network.junctions))
        self.moments = build_moments(network)
        self.stages = {stage.id for stage in network.junctions["j0"].stages}
        # What the team keeps from one second to the next.
        self._kept = (*self.team._heads, *self.team._flow, self.team._queues.caution_s)
        self._before = self._kept
        self.decide()  # compiled, its memory touched, and vehicles seen to cross
        self._before = tuple(array.copy() for array in self._kept)

    def decide(self) -> list[Command | None]:
        """Decide for all seconds, each time from the same memory."""
        for array, before in zip(self._kept, self._before, strict=True):
            array[...] = before
        return [command for seen in self.moments for command in self.team.decide(seen)]

    def check(self, answer: Sequence[Command | None]) -> Mapping[str, tuple[object, object]]:
        stages = [command.stage for command in answer if command is not None]
        return {
            "commands": (self.count * SECONDS, len(stages)),
            "stages beyond the junctions' own": (set(), set(stages) - self.stages),
            "stages that no junction asks for": (set(), self.stages - set(stages)),
        }


@benchmark(
    "horizon", "rolling horizon of 1,000 junctions, per 60 us of each and second", at_most=1.0
)
def build_batch(smoke: bool) -> Case[list[Command | None]]:
    """The whole decision of one batch, on one core."""
    city = City(100 if smoke else 1000)
    return Case(city.decide, city.count * SECONDS * ALLOWED_S, city.check)


@benchmark("horizon-growth", "rolling horizon of 3,000 junctions over 300 times 10", at_most=1.5)
def build_growth(smoke: bool) -> Case[list[Command | None]]:
    """A city costs what its junctions cost, decided for together or by tens."""
    times = 10 if smoke else 300
    city, town = City(10 * times), City(10)

    def decide_often() -> None:
        for _ in range(times):
            town.decide()

    return Case(city.decide, decide_often, city.check)


@benchmark(
    "horizon-second", "rolling horizon of 3,000 junctions, per second of the street", at_most=1.0
)
def build_second(smoke: bool) -> Case[list[Command | None]]:
    """One core suffices for what two are given."""
    city = City(100 if smoke else 3000)
    return Case(city.decide, float(SECONDS), city.check)
