"""Controllers that choose stages: lawful whatever they sense, right in cases known beforehand."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from test_controllers import GREENS, LANED, build_raw
from test_response import TOWN

from controllers import CONTROLLERS, TEAMS, build_deciders
from controllers.actuated import Actuated, ActuatedSettings
from controllers.longest_wave import LongestWave
from controllers.max_pressure import MaxPressure
from controllers.stages import find_step, list_loops
from controllers.webster import WebsterSettings, build_webster_plan
from networks import load
from networks.resco import free_scenario
from traffic.control import Command, Observation, RawReadings, Sensing
from traffic.engine import Engine
from traffic.flows import MeanFlows
from traffic.interlock import Interlock
from traffic.lanes import UNKNOWN_TURN
from traffic.model import Detector, DetectorKind, ModelError, Network
from traffic.optimization.cycle import Demand
from traffic.readings import LaneBatch, LoopBatch, Quality
from traffic.trouble import NOTHING_WATCHED

contract = pytest.mark.parametrize("name", sorted(CONTROLLERS))


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A junction with sensed lanes, in free order, with limits on green and red."""
    scenario = free_scenario(load("crossing", 1, tmp_path_factory.mktemp("crossing")))
    (junction,) = scenario.network.junctions.values()
    phases = tuple(replace(p, max_green_s=60.0, max_red_s=120.0) for p in junction.phases)
    limited = replace(junction, phases=phases)
    return replace(scenario.network, junctions={junction.id: limited})


def build_lanes(network: Network, vehicles: dict[str, int], speed_mps: float = 0.0) -> LaneBatch:
    """Return so many vehicles on these lanes."""
    assert network.lanes is not None
    numbers = [vehicles.get(lane, 0) for lane in network.lanes.sensed]
    total = sum(numbers)
    return LaneBatch(
        np.concatenate(([0], np.cumsum(numbers))).astype(np.int32),
        np.zeros(total),
        np.full(total, speed_mps),
        np.full(total, UNKNOWN_TURN, dtype=np.int32),
    )


def build_random(network: Network, loops: frozenset[str], now_s: float, seed: int) -> RawReadings:
    draw = random.Random(f"{seed}/{now_s // 20}")
    raw = build_raw(now_s, loops, Quality.GOOD)
    batch = raw.local
    count = np.array([float(draw.random() < 0.4) for _ in batch.detectors])
    occupancy = np.array([draw.choice([0.0, 0.3, 1.0]) for _ in batch.detectors])
    assert network.lanes is not None
    on = {lane: draw.choice([0, 0, 1, 5, 20]) for lane in network.lanes.sensed}
    local = replace(batch, count_veh=count, occupancy=occupancy)
    return replace(raw, local=local, lanes=build_lanes(network, on))


def list_kinds() -> Iterator[tuple[str, Sensing]]:
    """Yield each kind of controller with the tiers that it works with in its own way."""
    for name, kind in CONTROLLERS.items():
        tiers = [tier for tier in Sensing if tier.value >= kind.needs.value]
        yield from ((name, tier) for tier in (tiers if name in TEAMS else tiers[:1]))


@pytest.mark.parametrize(("name", "tier"), list(list_kinds()))
@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_sensed_commands_are_lawful_and_nobody_starves(
    name: str, tier: Sensing, seed: int, crossing: Network
) -> None:
    (id_,) = crossing.junctions
    junction = crossing.junctions[id_]
    controllers, teams = build_deciders(name, crossing, (id_,), tier)
    (decider,) = (*controllers, *teams)
    interlock = Interlock([junction], {id_: crossing.plans[id_]}, 0)
    shown_s = {phase.id: 0.0 for phase in junction.phases}
    for now_s in range(1200):
        raw = build_random(crossing, decider.loops, now_s, seed)
        seen = interlock.observe(id_, raw, {})
        commands = [team.decide([seen])[0] for team in teams]
        commands += [controller.decide(seen) for controller in controllers]
        shown, vetoes = interlock.admit([command for command in commands if command], now_s)
        assert vetoes == ()
        for phase, aspect in shown[id_].items():
            shown_s[phase] = now_s if aspect in GREENS else shown_s[phase]
        assert now_s - min(shown_s.values()) <= 120


class Silent:
    """A feed of which nothing is due."""

    report = NOTHING_WATCHED

    def screen(self, batch: LoopBatch | None, now_s: float) -> LoopBatch | None:
        return None


class StillField:
    """A field without anything; `network` and `sensing` as any."""

    network = TOWN
    sensing = Sensing.INTENTIONS

    def __init__(self) -> None:
        self.now_s = 0.0
        self.shown: list[Any] = []

    def read(self) -> RawReadings:
        return build_raw(self.now_s, frozenset(), Quality.GOOD)

    def apply(self, shown: Any) -> None:
        self.shown.append(shown["J2"])

    def advance(self) -> bool:
        self.now_s += 1
        return True


@contract
def test_one_that_takes_too_long_is_not_heard(name: str) -> None:
    """Rule 26: its junction follows the safe plan, and the snapshot says why."""
    field = StillField()
    junction, plan = TOWN.junctions["J2"], TOWN.plans["J2"]
    unused = cast(Any, None)
    journal = cast(Any, type("Journal", (), {"record": lambda self, snapshot: None})())
    engine = Engine(
        field,
        Silent(),
        *(unused,) * 6,
        (CONTROLLERS[name](LANED, "J2"),),
        Interlock([junction], {"J2": plan}, 0),
        unused,
        journal,
        budget_s=0.0,
    )
    alone = Interlock([junction], {"J2": plan}, 0)
    for now_s in range(200):
        snapshot = engine.step()
        assert snapshot is not None
        assert "allowed 0.0 s" in snapshot.faults["J2"]
        assert field.shown[-1] == alone.admit([], now_s)[0]["J2"]


class Broken:
    """A team that fails, or says too little."""

    junctions = ("J1", "J2")
    needs = Sensing.LOOPS
    loops: frozenset[str] = frozenset()

    def __init__(self, answer: list[Command | None] | None) -> None:
        self.answer = answer

    def decide(self, seen: Sequence[Observation]) -> Sequence[Command | None]:
        assert [set(one.aspects) for one in seen] == [{"hill", "cross"}, {"ramp", "along", "side"}]
        if self.answer is None:
            raise RuntimeError("no way out")
        return self.answer


@pytest.mark.parametrize(
    ("answer", "budget_s", "fault"),
    [
        (None, None, "RuntimeError: no way out"),
        ([None], None, "ValueError: 1 commands for 2 junctions"),
        ([Command("J1", "B", 0, 1e9, "x"), None], 0.0, "allowed 0.0 s"),
    ],
)
def test_a_team_that_fails_leaves_all_its_junctions_to_their_safe_plans(
    answer: list[Command | None] | None, budget_s: float | None, fault: str
) -> None:
    """Rule 26."""
    field = StillField()
    junctions = [TOWN.junctions[name] for name in Broken.junctions]
    unused = cast(Any, None)
    journal = cast(Any, type("Journal", (), {"record": lambda self, snapshot: None})())
    engine = Engine(
        field,
        Silent(),
        *(unused,) * 6,
        (),
        Interlock(junctions, TOWN.plans, 0),
        unused,
        journal,
        budget_s=budget_s,
        teams=(Broken(answer),),
    )
    alone = Interlock(junctions, TOWN.plans, 0)
    for now_s in range(100):
        snapshot = engine.step()
        assert snapshot is not None
        assert snapshot.faults.keys() == {"J1", "J2"}
        assert all(fault in said for said in snapshot.faults.values())
        assert snapshot.wanted == ()
        assert snapshot.shown == alone.admit([], now_s)[0]


def choose(network: Network, kind: type, vehicles: dict[str, int], speed_mps: float) -> str:
    (id_,) = network.junctions
    controller = kind(network, id_)
    interlock = Interlock([network.junctions[id_]], {id_: network.plans[id_]}, 0)
    raw = build_raw(0, controller.loops, Quality.GOOD)
    seen = interlock.observe(id_, replace(raw, lanes=build_lanes(network, vehicles, speed_mps)), {})
    command = controller.decide(seen)
    assert command is not None
    return str(command.stage)


def list_single_lanes(network: Network) -> Iterator[tuple[str, str]]:
    """Yield each lane of one phase with a stage that is the only one to show it green."""
    for approach in network.approaches.values():
        users = [lane for lanes in approach.phase_lanes.values() for lane in lanes]
        for phase, lanes in approach.phase_lanes.items():
            for junction in network.junctions.values():
                stages = [stage.id for stage in junction.stages if phase in stage.green]
                if len(stages) == 1:
                    for lane in lanes:
                        if users.count(lane) == 1:
                            yield f"{approach.links[-1]}_{lane}", stages[0]


def test_the_fullest_lane_has_its_stage(crossing: Network) -> None:
    """Moving vehicles are no queue, so pressure sees none; they are a wave."""
    cases = list(list_single_lanes(crossing))
    assert cases
    for lane, stage in cases:
        assert choose(crossing, MaxPressure, {lane: 6}, 0.0) == stage
        assert choose(crossing, LongestWave, {lane: 6}, 13.0) == stage
    idle = choose(crossing, MaxPressure, {}, 0.0)
    assert {choose(crossing, MaxPressure, {lane: 6}, 13.0) for lane, _ in cases} == {idle}


def test_green_goes_on_from_gap_to_gap_and_no_longer(crossing: Network) -> None:
    """With a call across, green ends 3 s after the last vehicle, but not before its minimum."""
    (id_,) = crossing.junctions
    junction = crossing.junctions[id_]
    first, *others = dict.fromkeys(stage for stage, _ in crossing.plans[id_].slots)
    own = junction.get_stage(first).green
    across = junction.get_stage(others[-1]).green - own
    stop = list_loops(crossing, id_, DetectorKind.STOP_LINE)
    moving = {loop for phase in own for loop in stop[phase]}
    standing = {loop for phase in across for loop in stop[phase]} - moving

    def drive(until_s: int) -> int:
        """Traffic comes each second until then, while somebody stands across; when does it end?"""
        interlock = Interlock([junction], {id_: crossing.plans[id_]}, 0)
        controller = Actuated(crossing, id_, ActuatedSettings(gap_s=3.0, max_green_s=30.0))
        for now_s in range(100):
            raw = build_raw(now_s, controller.loops, Quality.GOOD)
            on = standing | (moving if now_s < until_s else set())
            occupancy = np.array([float(loop in on) for loop in raw.local.detectors])
            local = replace(raw.local, occupancy=occupancy)
            command = controller.decide(interlock.observe(id_, replace(raw, local=local), {}))
            assert command is not None
            if command.stage != first:
                return now_s
            interlock.admit([command], now_s)
        return 100

    assert drive(0) == 5  # the minimum
    assert drive(12) == 11 + 3
    assert drive(100) == 30  # the maximum


def test_a_loop_on_an_arm_beside_the_approach_calls_nobody(crossing: Network) -> None:
    """It lies on a link that is not of the approach, and some who pass it turn off."""
    (id_,) = crossing.junctions
    approach = next(iter(crossing.approaches.values()))
    elsewhere = next(link for link in crossing.links if link not in approach.links)
    arm = Detector("arm", DetectorKind.ADVANCE, elsewhere, 0, 1.0, approach.id)
    network = replace(crossing, detectors={**crossing.detectors, "arm": arm})
    for kind in (DetectorKind.ADVANCE, DetectorKind.STOP_LINE):
        assert list_loops(network, id_, kind) == list_loops(crossing, id_, kind)


def test_webster_gives_each_stage_its_share(crossing: Network) -> None:
    """C = (1.5 L + 5) / (1 - Y) and greens in the ratio of the critical flows (Webster 1958)."""
    (junction,) = crossing.junctions.values()
    plan = crossing.plans[junction.id]
    stages = [junction.get_stage(stage) for stage, _ in plan.slots]
    phases = [
        next(p for p in stage.protected if sum(p in one.green for one in stages) == 1)
        for stage in stages
        if any(sum(p in one.green for one in stages) == 1 for p in stage.protected)
    ]
    assert len(phases) == len(stages) > 1
    ratios = [0.3 if i == 0 else 0.1 for i in range(len(stages))]
    demands = {
        frozenset({p}): Demand(ratio, tuple(float(p in stage.green) for stage in stages))
        for p, ratio in zip(phases, ratios, strict=True)
    }
    settings = WebsterSettings(start_s=0.0, min_cycle_s=10.0)
    found = build_webster_plan(junction, plan, demands, settings, offset_s=40.0)
    assert found is not None
    lost_s = 3.0 * len(stages)
    cycle_s = (1.5 * lost_s + 5) / (1 - sum(ratios))
    assert found.offset_s == 40.0
    assert found.cycle_s == pytest.approx(cycle_s, abs=len(stages) / 2)
    for (_, slot_s), ratio in zip(found.slots, ratios, strict=True):
        green_s = (cycle_s - lost_s) * ratio / sum(ratios)
        if green_s > 6:
            assert slot_s - 3.0 == pytest.approx(green_s, abs=1.5)


def test_what_was_measured_before_fades_against_what_is_measured_now() -> None:
    """Ten vehicles in 300 s that fade to two thirds, then 20 more in 300 s."""
    flows = MeanFlows({"a": frozenset({"loop"}), "b": frozenset({"dead"})})
    unknown = np.full(2, np.nan)
    quality = np.array([Quality.GOOD, Quality.MISSING], dtype=np.int8)
    for end_s, count in ((300.0, 10.0), (600.0, 20.0)):
        flows.fade(2 / 3)
        counts = np.array([count, np.nan])
        loops = ("loop", "dead")
        flows.add(LoopBatch(end_s, 300.0, loops, counts, unknown.copy(), unknown.copy(), quality))
    expected_vph = 3600 * (10 * 2 / 3 + 20) / (300 * 2 / 3 + 300)
    assert flows.build_flow_vph()["a"] == pytest.approx(expected_vph)
    assert math.isnan(flows.build_flow_vph()["b"])
    # It is known for 500 s by now.
    assert flows.build_flow_vph(known_s=499.0)["a"] == pytest.approx(expected_vph)
    assert math.isnan(flows.build_flow_vph(known_s=501.0)["a"])


def test_the_way_to_a_stage_keeps_the_order_of_stages() -> None:
    junction = TOWN.junctions["J2"]
    stages = [stage.id for stage in junction.stages]
    assert find_step(junction, stages[0], stages[1]) == stages[1]
    assert find_step(junction, stages[0], stages[0]) == stages[0]


def test_settings_that_cannot_be_name_every_problem() -> None:
    with pytest.raises(ModelError) as error:
        WebsterSettings(
            period_s=0.0, known=2.0, memory=1.0, growth=0.5, start_s=-1.0, min_cycle_s=200.0
        )
    assert len(error.value.problems) == 6
    with pytest.raises(ModelError, match="period_s 0 must be above 0"):
        MaxPressure(TOWN, "J2", period_s=0)
    with pytest.raises(ModelError, match=r"gap_s 0 must be above 0(.|\n)*max_green_s 0"):
        ActuatedSettings(gap_s=0, max_green_s=0)


def test_lanes_need_a_field_that_senses_them(tmp_path: Path) -> None:
    from api.assembly import build_engine

    scenario = load("crossing", 1, tmp_path)
    field = cast(Any, type("Blind", (), {"sensing": Sensing.LOOPS}))
    managed = frozenset(scenario.network.junctions)
    with pytest.raises(ModelError, match="longest-wave: needs a field that senses lanes"):
        build_engine(scenario, field, managed, cast(Any, None), controller="longest-wave")
