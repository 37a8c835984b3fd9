"""Turns that give way wait, in a plan too, until all who come before a gap have crossed."""

from dataclasses import replace

import numpy as np
import pytest
from laned import build_batch
from test_controllers import build_raw
from twins_town import TWINS, build_twins_town

from controllers.horizon import HorizonTeam
from traffic.control import Observation
from traffic.optimization.joining import join_junctions
from traffic.optimization.layout import list_stop_lanes
from traffic.readings import Quality

FREE_MPS = 13.9


@pytest.mark.parametrize("platoon", [1, 2, 4, 6])
def test_a_left_turn_is_planned_after_the_platoon_that_it_gives_way_to(platoon: int) -> None:
    """They come two seconds apart at full speed: no gap among them, so it goes after the last."""
    town = build_twins_town(40.0)
    assert town.lanes is not None
    team = HorizonTeam(town, TWINS)
    lanes = list_stop_lanes(join_junctions(town, town.lanes, TWINS))
    come_s = [1.0 + 2.0 * i for i in range(platoon)]
    batch = build_batch(town, {"Lmain_0": [FREE_MPS * s for s in come_s], "RL_1": [1.0]})
    on_main = np.repeat([lane == "Lmain_0" for lane in town.lanes.sensed], np.diff(batch.starts))
    speed_mps = np.where(on_main, FREE_MPS, 0.0)
    batch = replace(batch, speed_mps=speed_mps)
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
    planned_s = team._queues.depart_s[[lanes.index("Lmain_0"), lanes.index("RL_1")]]
    assert planned_s[0, :platoon] == pytest.approx(come_s, abs=0.1)
    assert come_s[-1] + 1.0 <= planned_s[1, 0] < come_s[-1] + 5.0
