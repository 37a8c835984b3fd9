"""Turns that give way wait, in a plan too, for a gap, and on red until they have halted."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from laned import build_batch, build_queue
from numpy.typing import NDArray
from test_controllers import build_raw
from twins_town import TWINS, build_twins_town

from controllers.horizon import HorizonTeam
from traffic.control import Observation
from traffic.model import Junction, Network, SafePlan
from traffic.optimization.joining import join_junctions
from traffic.optimization.layout import list_stop_lanes
from traffic.optimization.service import HALT_S, ON_RED_HEADWAY_S, STAND_S
from traffic.readings import Quality

FREE_MPS = 13.9


def plan(
    town: Network,
    come_s: Sequence[float],
    left_m: Sequence[float],
    left_mps: float,
    across: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return when those at full speed on the main road of L, and the left turns, are to cross."""
    assert town.lanes is not None
    team = HorizonTeam(town, TWINS)
    lanes = list_stop_lanes(join_junctions(town, town.lanes, TWINS))
    queues = {"Lmain_0": [FREE_MPS * s for s in come_s], "RL_1": left_m}
    batch = build_batch(town, queues | {"Lside_0": build_queue(across)})
    usual_mps = [{"Lmain_0": FREE_MPS, "RL_1": left_mps}.get(x, 0.0) for x in town.lanes.sensed]
    batch = replace(batch, speed_mps=np.repeat(usual_mps, np.diff(batch.starts)))
    phases = [phase.id for phase in town.junctions["L"].phases]
    seen = Observation(
        100.0,
        build_raw(100, frozenset(), Quality.GOOD).local,
        {},
        "A",
        {p: 0.0 if p == "side" else 20.0 for p in phases},
        {p: 20.0 if p == "side" else 0.0 for p in phases},
        lanes=batch,
    )
    left, _ = team.decide([seen, seen])
    assert left is not None
    assert left.stage == "A"
    main_s, left_s = team._queues.seen.depart_s[[lanes.index("Lmain_0"), lanes.index("RL_1")]]
    return main_s[: len(come_s)], left_s[: len(left_m)]


@pytest.mark.parametrize("platoon", [1, 2, 4, 6])
def test_a_left_turn_is_planned_after_the_platoon_that_it_gives_way_to(platoon: int) -> None:
    """They come two seconds apart at full speed: no gap among them, so it goes after the last."""
    come_s = [1.0 + 2.0 * i for i in range(platoon)]
    main_s, left_s = plan(build_twins_town(40.0), come_s, [1.0], 0.0)
    assert main_s == pytest.approx(come_s, abs=0.1)
    assert come_s[-1] + 1.0 <= left_s[0] < come_s[-1] + 5.0


def build_giving_way(is_on_red: bool) -> Network:
    """The town whose left turns have no green of their own, and turn on red or in green."""
    town = build_twins_town(40.0)

    def change(one: Junction) -> Junction:
        phases = tuple(replace(p, turns_on_red=p.id == "left" and is_on_red) for p in one.phases)
        return replace(one, phases=phases, stages=tuple(s for s in one.stages if s.id != "B"))

    junctions = {id_: change(one) for id_, one in town.junctions.items()}
    plans = dict.fromkeys(TWINS, SafePlan((("A", 20.0), ("C", 10.0))))
    return replace(town, junctions=junctions, plans=plans)


def test_a_turn_on_red_is_planned_to_halt_before_it_goes() -> None:
    """The first loses a halt and stands; the next one moves up and does, too (decision 15)."""
    _, rolls_s = plan(build_giving_way(False), [], [20.0, 35.0], FREE_MPS)
    _, halts_s = plan(build_giving_way(True), [], [20.0, 35.0], FREE_MPS)
    assert rolls_s[0] == pytest.approx(20.0 / FREE_MPS, abs=0.1)
    assert halts_s[0] == pytest.approx(rolls_s[0] + HALT_S + STAND_S)
    assert halts_s[1] == pytest.approx(halts_s[0] + ON_RED_HEADWAY_S)


def test_nobody_who_turns_on_red_is_counted_on_after_its_end() -> None:
    """He waits before the stop line, not within the junction as who gives way in green does."""
    come_s = [2.0 * i for i in range(1, 9)]
    _, waits_s = plan(build_giving_way(False), come_s, [1.0], 0.0, across=12)
    _, halts_s = plan(build_giving_way(True), come_s, [1.0], 0.0, across=12)
    assert waits_s[0] + 5.0 < halts_s[0]
