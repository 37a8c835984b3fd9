"""The benchmark protocol: junctions in free order, one amber, no all-red."""

from math import inf
from pathlib import Path

import pytest
from test_interlock import PLAN, build_junction

from networks.resco import find_resco_maps, free_junction, load_protocol
from traffic.control import Aspect, Command
from traffic.interlock import Interlock
from traffic.model import Junction, ModelError

MAPS = sorted(find_resco_maps())


def show(junction: Junction, wanted: list[str]) -> list[dict[str, Aspect]]:
    """Return what is shown, second by second, when these stages are wanted."""
    interlock = Interlock([junction], {junction.id: PLAN}, 0)
    shown = []
    for now_s, stage in enumerate(wanted):
        command = Command(junction.id, stage, now_s, now_s + 2.0, "test")
        aspects, vetoes = interlock.admit([command], now_s)
        assert vetoes == ()
        shown.append(aspects[junction.id])
    return shown


def test_a_junction_goes_from_any_stage_to_any_other_with_its_amber_and_no_all_red() -> None:
    junction = free_junction(build_junction(), 3.0)
    assert junction.successors is None
    for one in junction.stages:
        for other in junction.stages:
            lost, gained = one.green - other.green, other.green - one.green
            if not lost or not gained:
                continue
            shown = show(junction, [one.id] * 10 + [other.id] * 5)
            for phase in lost:
                courses = [aspects[phase] for aspects in shown[10:]]
                assert courses == [Aspect.AMBER] * 3 + [Aspect.RED] * 2
            for phase in gained:
                is_green = [
                    aspects[phase] in (Aspect.GREEN, Aspect.PERMISSIVE) for aspects in shown[10:]
                ]
                assert is_green == [False] * 3 + [True] * 2


def test_only_the_minimum_green_limits_what_a_controller_may_ask() -> None:
    junction = free_junction(build_junction(), 2.0)
    assert {phase.min_green_s for phase in junction.phases} == {5.0}
    assert {phase.max_green_s for phase in junction.phases} == {inf}
    stage = junction.stages[0].id
    show(junction, [stage] * 1000)


def test_an_unknown_map_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("networks.resco.find_resco_maps", lambda: {"one": tmp_path / "one.sumocfg"})
    with pytest.raises(ModelError, match=r"resco:paris: unknown map; known are one"):
        load_protocol("paris", tmp_path, 1)


@pytest.mark.skipif(not MAPS, reason="needs the package sumo-rl")
@pytest.mark.parametrize("map_id", MAPS)
def test_a_map_under_protocol_is_an_hour_with_the_stages_of_its_own_program(
    map_id: str, tmp_path: Path
) -> None:
    scenario = load_protocol(map_id, tmp_path, 1)
    assert scenario.end_s - scenario.begin_s == 3600.0
    assert scenario.step_s == 1.0
    ambers = set()
    for junction in scenario.network.junctions.values():
        assert {time.all_red_s for time in junction.intergreens.values()} == {0.0}
        ambers |= {time.amber_s for time in junction.intergreens.values()}
        planned = {stage for stage, _ in scenario.network.plans[junction.id].slots}
        assert planned == {stage.id for stage in junction.stages}
    assert ambers == {2.0 if map_id == "arterial4x4" else 3.0}
