"""What every controller owes the street, whichever it is."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from laned import add_lanes, build_batch, build_queue
from test_interlock import PLAN, build_junction
from test_response import TOWN

from controllers import CONTROLLERS
from controllers.responsive import Responsive
from traffic.control import Aspect, Controller, JunctionOrder, Observation, RawReadings, Sensing
from traffic.flows import find_known
from traffic.interlock import Interlock, Veto
from traffic.model import SafePlan
from traffic.readings import LaneBatch, LoopBatch, Quality

GREENS = (Aspect.GREEN, Aspect.PERMISSIVE)
LANED = add_lanes(TOWN)
RETIMED = SafePlan((("A", 20), ("B", 70)))
Shown = dict[str, Aspect]


def build_raw(now_s: float, loops: frozenset[str], quality: Quality) -> RawReadings:
    count = len(loops)
    fill = np.nan if quality is Quality.MISSING else 0.0
    arrays = [np.full(count, fill) for _ in range(3)]
    labels = np.full(count, quality, dtype=np.int8)
    return RawReadings(now_s, LoopBatch(now_s, 1, tuple(sorted(loops)), *arrays, labels), None, {})


def build_traffic(second: int) -> LaneBatch:
    """Queues that grow and vanish, each lane of the town in its own rhythm."""
    sensed = LANED.lanes.sensed if LANED.lanes else ()
    sizes = {lane: (second // (7 + i)) % (i + 3) for i, lane in enumerate(sensed)}
    return build_batch(LANED, {lane: build_queue(size) for lane, size in sizes.items()})


def drive(
    controller: Controller,
    orders: dict[float, JunctionOrder] | None = None,
    seconds: int = 900,
    start_s: float = 0,
    quality: Quality = Quality.GOOD,
) -> Iterator[tuple[float, Shown, tuple[Veto, ...]]]:
    """Yield each second with what is shown and vetoed; `orders` stand from their time on."""
    name = controller.junction
    interlock = Interlock([TOWN.junctions[name]], {name: TOWN.plans[name]}, start_s)
    order = JunctionOrder()
    for second in range(seconds):
        now_s = start_s + second
        order = (orders or {}).get(second, order)
        raw = build_raw(now_s, controller.loops, quality)
        if quality is Quality.GOOD:
            raw = replace(raw, lanes=build_traffic(second))
        seen = interlock.observe(name, raw, {name: order})
        command = controller.decide(seen)
        assert command is None or command.junction == name
        shown, vetoes = interlock.admit([command] if command else [], now_s)
        yield now_s, shown[name], vetoes


STREAMS: dict[str, dict[float, JunctionOrder]] = {
    "none": {},
    "gated": {100: JunctionOrder(None, {"ramp": 12}), 500: JunctionOrder()},
    "below minimum": {0: JunctionOrder(None, {"ramp": 0})},
    "unsteady": {t: JunctionOrder(None, {"ramp": 5 + t % 37}) for t in range(0, 900, 30)},
    "retimed": {130: JunctionOrder(RETIMED), 600: JunctionOrder()},
    "other cycle": {130: JunctionOrder(SafePlan((("A", 60), ("B", 50)), 33)), 600: JunctionOrder()},
    "all": {t: JunctionOrder(RETIMED if t % 60 else None, {"ramp": t % 50}) for t in range(900)},
}

contract = pytest.mark.parametrize("name", sorted(CONTROLLERS))


@contract
@pytest.mark.parametrize("stream", sorted(STREAMS))
@pytest.mark.parametrize("start_s", [0, 47, 25200])
def test_it_asks_only_what_is_lawful_and_starves_nobody(
    name: str, stream: str, start_s: float
) -> None:
    controller = CONTROLLERS[name](LANED, "J2")
    max_red_s = {p.id: p.max_red_s for p in TOWN.junctions["J2"].phases}
    since = dict.fromkeys(max_red_s, start_s)
    for now_s, shown, vetoes in drive(controller, STREAMS[stream], start_s=start_s):
        assert vetoes == ()
        for phase, aspect in shown.items():
            if aspect in GREENS:
                since[phase] = now_s
            assert now_s - since[phase] <= max_red_s[phase]


@contract
def test_dead_detectors_do_not_stop_it(name: str) -> None:
    seen = set()
    for _, shown, vetoes in drive(CONTROLLERS[name](LANED, "J2"), quality=Quality.MISSING):
        assert vetoes == ()
        seen |= {phase for phase, aspect in shown.items() if aspect in GREENS}
    assert seen == {"ramp", "along", "side"}


@contract
def test_it_is_deterministic_and_says_what_it_needs(name: str) -> None:
    one, other = (CONTROLLERS[name](LANED, "J2") for _ in range(2))
    assert list(drive(one, STREAMS["all"])) == list(drive(other, STREAMS["all"]))
    assert one.needs in Sensing
    assert one.loops <= TOWN.detectors.keys()


@pytest.mark.parametrize("name", ["fixed-time", "responsive"])
def test_without_an_order_it_shows_the_safe_plan(name: str) -> None:
    interlock = Interlock([TOWN.junctions["J2"]], {"J2": TOWN.plans["J2"]}, 0)
    for now_s, shown, _ in drive(CONTROLLERS[name](LANED, "J2")):
        assert shown == interlock.admit([], now_s)[0]["J2"]


def greens(orders: dict[float, JunctionOrder], phase: str) -> list[tuple[float, float]]:
    """Return start and length of each whole green."""
    found = []
    begun: float | None = None
    for now_s, shown, _ in drive(Responsive(TOWN, "J2"), orders):
        if shown[phase] in GREENS:
            begun = now_s if begun is None else begun
        elif begun is not None:
            found.append((begun, now_s - begun))
            begun = None
    return found


def test_a_gated_phase_is_cut_at_its_cap_inside_its_stage_and_nobody_else() -> None:
    orders = {96.0: JunctionOrder(None, {"ramp": 12.0}), 450.0: JunctionOrder()}
    # The cap that comes within a green waits for the next one: cycles of 90 s, green from 5 on.
    lengths = dict(greens(orders, "ramp"))
    assert [lengths[t] for t in (95, 185, 275, 365, 455, 545)] == [45, 12, 12, 12, 45, 45]
    assert {length for start, length in greens(orders, "along") if start > 5} == {45}


def test_a_cap_below_the_minimum_green_gives_the_minimum() -> None:
    lengths = [length for _, length in greens({0.0: JunctionOrder(None, {"ramp": 0.0})}, "ramp")]
    assert set(lengths[1:]) == {5}


def test_a_new_plan_begins_with_its_cycle() -> None:
    orders = {100.0: JunctionOrder(RETIMED), 400.0: JunctionOrder()}
    found = dict(greens(orders, "side"))
    # Side starts after stage A's slot and 5 s of intergreen: 55 s into a cycle, retimed 25 s.
    assert [t % 90 for t in found] == [55, 55, 25, 25, 25, 55, 55, 55, 55, 55][: len(found)]


def test_a_bad_loop_is_never_taken_for_a_value() -> None:
    raw = build_raw(0, frozenset({"g1_stop"}), Quality.MISSING)
    assert find_known(raw.local, raw.local.count_veh) == {}


def test_a_cap_leaves_no_red_beyond_its_maximum() -> None:
    junction = TOWN.junctions["J2"]
    phases = tuple(replace(p, max_red_s=70) if p.id == "ramp" else p for p in junction.phases)
    town = replace(TOWN, junctions=TOWN.junctions | {"J2": replace(junction, phases=phases)})
    controller = Responsive(town, "J2")
    interlock = Interlock([town.junctions["J2"]], {"J2": town.plans["J2"]}, 0)
    order = {"J2": JunctionOrder(None, {"ramp": 5.0})}
    red = 0
    for now_s in range(900):
        seen = interlock.observe("J2", build_raw(now_s, frozenset(), Quality.GOOD), order)
        command = controller.decide(seen)
        assert command is not None
        shown, vetoes = interlock.admit([command], now_s)
        assert vetoes == ()
        red = 0 if shown["J2"]["ramp"] in GREENS else red + 1
        assert red <= 70


def test_a_green_that_came_late_keeps_its_minimum() -> None:
    controller = Responsive(TOWN, "J2")
    aspects = {"ramp": Aspect.GREEN, "along": Aspect.GREEN, "side": Aspect.RED}
    order = JunctionOrder(None, {"ramp": 5.0})
    local = build_raw(0, frozenset(), Quality.GOOD).local
    early = Observation(0, local, aspects, "A", dict.fromkeys(aspects, 0.0), {"side": 1.0}, order)
    controller.decide(early)
    for green_s, held in ((2.0, frozenset()), (5.0, frozenset({"ramp"}))):
        seen = replace(
            early,
            now_s=12.0,
            green_s={"ramp": green_s, "along": green_s, "side": 0.0},
            red_s={"ramp": 0.0, "along": 0.0, "side": 10.0},
        )
        command = controller.decide(seen)
        assert command is not None
        assert (command.stage, command.held) == ("A", held)


@contract
def test_it_keeps_the_order_of_stages(name: str) -> None:
    follow = {"A": frozenset("B"), "B": frozenset("C"), "C": frozenset("A")}
    junction = replace(build_junction(), successors=follow)
    roads = {m.from_link for p in junction.phases for m in p.movements} | {"out"}
    town = replace(
        TOWN,
        links=TOWN.links | {road: replace(TOWN.links["side"], id=road) for road in roads},
        junctions={"x": junction},
        plans={"x": PLAN},
        approaches={},
        detectors={},
        bottlenecks={},
    )
    town = add_lanes(town)
    controller = CONTROLLERS[name](town, "x")
    interlock = Interlock([junction], {"x": PLAN}, 0)
    backwards = JunctionOrder(SafePlan((("A", 25), ("C", 15), ("B", 20))))
    for now_s in range(300):
        raw = build_raw(now_s, controller.loops, Quality.GOOD)
        waiting = {("east", "turn", "north")[now_s // 20 % 3] + "_0": build_queue(4)}
        raw = replace(raw, lanes=build_batch(town, waiting))
        command = controller.decide(interlock.observe("x", raw, {"x": backwards}))
        _, vetoes = interlock.admit([command] if command else [], now_s)
        assert vetoes == ()
