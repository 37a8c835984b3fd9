"""What the search notes of a lane to use it again is what it would find anew."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from bench.horizon import FREE_MPS, LENGTH_M, build_city
from controllers.horizon import HorizonTeam
from traffic.control import RawReadings
from traffic.interlock import Interlock
from traffic.lanes import UNKNOWN_TURN
from traffic.model import Intergreen, Network, SafePlan, Stage
from traffic.optimization.horizon import HORIZON_S
from traffic.optimization.nodes import ENDED
from traffic.readings import LaneBatch, LoopBatch

AXES = (("north", "south"), ("east", "west"))


def build_crossing() -> Network:
    """Return one with early and late lefts, which share a lane with through traffic."""
    city = build_city(1)
    junction = city.junctions["j0"]
    stages = tuple(
        Stage(f"{axis[0]}-{kind}", frozenset(green))
        for axis in AXES
        for kind, green in (
            ("through", (f"{arm}-through" for arm in axis)),
            ("early", (f"{axis[0]}-through", f"{axis[0]}-left")),
            ("late", (f"{axis[1]}-through", f"{axis[1]}-left")),
        )
    )
    names = [phase.id for phase in junction.phases]
    together = {(a, b) for stage in stages for a in stage.green for b in stage.green}
    pairs = [(a, b) for a in names for b in names if (a, b) not in together]
    assert city.lanes is not None
    ways = []
    for way in city.lanes.ways["j0"]:
        ways.append(way)
        if way.from_lane.endswith("_1"):  # the through lane
            left = next(w for w in city.lanes.ways["j0"] if w.phase == f"{way.phase[:-7]}left")
            ways.append(replace(left, from_lane=way.from_lane))
    crossing = replace(
        junction,
        stages=stages,
        conflicts=frozenset(frozenset(pair) for pair in pairs),
        intergreens=dict.fromkeys(pairs, Intergreen(3.0, 2.0)),
    )
    return replace(
        city,
        junctions={"j0": crossing},
        plans={"j0": SafePlan(tuple((stage.id, 20.0) for stage in stages))},
        lanes=replace(city.lanes, ways={"j0": tuple(ways)}),
    )


def draw_platoons(network: Network, draw: Random) -> LaneBatch:
    """Return a queue or a platoon at free speed on every lane."""
    sizes, at_m, speed_mps = [], [], []
    for _ in network.lanes.sensed if network.lanes else ():
        size = draw.randint(0, 8)
        first_m = draw.choice((1.0, draw.uniform(30.0, 130.0)))
        sizes.append(size)
        at_m += [LENGTH_M - first_m - 8.0 * i for i in range(size)]
        speed_mps += [0.0 if first_m == 1.0 else FREE_MPS] * size
    return LaneBatch(
        np.concatenate(([0], np.cumsum(sizes))).astype(np.int32),
        np.array(at_m),
        np.array(speed_mps),
        np.full(len(at_m), UNKNOWN_TURN, dtype=np.int32),
    )


def test_a_plan_driven_once_more_is_worth_what_the_search_took_it_for() -> None:
    """The search lets a lane go as noted where it may; who drives the plan notes nothing."""
    network = build_crossing()
    team = HorizonTeam(network, ("j0",))
    interlock = Interlock(network.junctions.values(), network.plans, 0.0)
    empty = LoopBatch(0.0, 1.0, (), *(np.zeros(0) for _ in range(3)), np.zeros(0, dtype=np.int8))
    draw = Random(5)
    end = HORIZON_S * len(network.junctions["j0"].stages)
    for now_s in range(300):
        raw = RawReadings(float(now_s), empty, None, {}, draw_platoons(network, draw))
        (command,) = team.decide([interlock.observe("j0", raw, {})])
        interlock.admit([command] if command else [], float(now_s))
        if command is not None and now_s > 0:  # before, nothing is shown
            work = team._work
            cells = range(end, end + len(network.junctions["j0"].stages))
            found = max(work.value[work.kept[c, k]] for c in cells for k in range(work.used[c]))
            assert work.value[ENDED] == pytest.approx(found, abs=1e-6)
