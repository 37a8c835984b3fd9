"""Who stands at the begin of the link beyond lets nobody in; who has yet to come onto it does."""

from dataclasses import replace

import pytest
from laned import build_batch
from test_controllers import build_raw
from towns import write_twins

from controllers.horizon import HorizonTeam
from networks import load
from networks.resco import free_scenario
from traffic.interlock import Interlock
from traffic.model import Network
from traffic.readings import Quality


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder = tmp_path_factory.mktemp("twins")
    path = write_twins(folder, 120.0)
    return free_scenario(load(str(path), 1, folder / "loaded")).network


@pytest.mark.parametrize(
    ("at_m", "speed_mps", "is_blocked"),
    [
        ((), 0.0, False),
        ((5.0,), 0.5, True),
        ((5.0,), 5.0, False),
        ((15.0,), 0.5, False),
        ((-5.0,), 0.5, False),
        ((5.0, -5.0), 0.5, True),
        ((15.0, -5.0), 0.5, False),
    ],
)
def test_a_tail_at_the_begin_of_the_next_link_blocks_the_ways_there(
    twins: Network, at_m: tuple[float, ...], speed_mps: float, is_blocked: bool
) -> None:
    assert twins.lanes is not None
    on = [lane for lane in twins.lanes.lanes.values() if lane.link == "lr"]
    team = HorizonTeam(twins, ("L", "R"))
    batch = build_batch(twins, {x.id: [x.length_m - m for m in at_m] for x in on}, speed_mps)
    raw = replace(build_raw(0.0, frozenset(), Quality.GOOD), lanes=batch)
    interlock = Interlock(list(twins.junctions.values()), twins.plans, 0)
    team.decide([interlock.observe(id_, raw, {}) for id_ in ("L", "R")])
    ways = [way for one in team._joined for way in one.ways]
    expected = [is_blocked and way.to_link == "lr" for way in ways]
    assert len(on) == 2
    assert team._queues.blocked.tolist() == expected
