"""Before a fork whoever stands at its end, as one of the lanes is full, blocks all behind him."""

from dataclasses import replace

import pytest
from laned import build_batch, build_queue
from test_joining import observe
from twins_town import TWINS, build_twins_town

from controllers.horizon import HorizonTeam
from traffic.control import Sensing
from traffic.lanes import UNKNOWN_TURN, Lane, LaneMap
from traffic.model import Network
from traffic.optimization.layout import list_stop_lanes

STANDING = build_queue(3)


def build_fork(off: str | None = None) -> Network:
    """A lane of 100 m that parts into the two stop lanes of L, each with room for two."""
    town = build_twins_town(40.0)
    assert town.lanes is not None
    short = {
        id_: replace(town.lanes.lanes[id_], length_m=15.0, stop_m=0.0)
        for id_ in ("Lmain_0", "Lside_0")
    }
    up = Lane("up_0", "up", 0, 100.0, 13.9, 15.0, (("Lmain_0", 0.0), ("Lside_0", 0.0)))
    links = {**town.links, "up": replace(town.links["Lmain"], id="up", length_m=100.0)}
    ways = [
        replace(way, to_lane="Lout_0", to_link="Lout") if way.phase == "side" else way
        for way in town.lanes.ways["L"]
    ]
    if off is not None:  # one way more of the main lane
        ways.insert(2, replace(ways[0], to_lane=f"{off}_0", to_link=off))
    lanes = LaneMap(
        {**town.lanes.lanes, **short, "up_0": up}, {**town.lanes.ways, "L": tuple(ways)}
    )
    return replace(town, links=links, lanes=lanes)


def run(
    town: Network,
    queues: dict[str, list[float]],
    speed_mps: float = 0.0,
    turn: int = UNKNOWN_TURN,
) -> HorizonTeam:
    """Return a team that has decided once; the first vehicle upstream announces `turn`."""
    assert town.lanes is not None
    team = HorizonTeam(town, TWINS, Sensing.INTENTIONS)
    batch = build_batch(town, queues)
    first = batch.starts[town.lanes.sensed.index("up_0")]
    speeds, turns = batch.speed_mps.copy(), batch.turn.copy()
    speeds[first], turns[first] = speed_mps, turn
    batch = replace(batch, speed_mps=speeds, turn=turns)
    team.decide([replace(one, lanes=batch) for one in observe(town, "AA", {})])
    return team


def count(queues: dict[str, list[float]], speed_mps: float = 0.0, turn: int = UNKNOWN_TURN) -> dict:
    """Return how many are counted to which of the two lanes."""
    team = run(build_fork(), queues, speed_mps, turn)
    names = list_stop_lanes(team._joined)
    return {x: int(team._queues.length[names.index(x)]) for x in ("Lmain_0", "Lside_0")}


@pytest.mark.parametrize("full", ["Lmain_0", "Lside_0"])
def test_who_stands_before_the_fork_wants_the_lane_that_is_full(full: str) -> None:
    (other,) = {"Lmain_0", "Lside_0"} - {full}
    assert count({full: [1.0, 8.5], "up_0": STANDING}) == {full: 5, other: 0}


def test_who_is_on_the_move_or_far_from_the_fork_is_dealt_to_the_shorter_lane() -> None:
    assert count({"Lmain_0": [1.0, 8.5], "up_0": STANDING}, speed_mps=5.0)["Lside_0"] > 0
    away = {"Lmain_0": [1.0, 8.5], "up_0": [m + 30.0 for m in STANDING]}
    assert count(away)["Lside_0"] > 0
    assert count({"Lmain_0": [1.0], "up_0": STANDING})["Lside_0"] > 0  # there is room for one more


def test_whose_turn_is_known_blocks_the_lane_only_if_he_needs_the_one_that_is_full() -> None:
    town = build_fork()
    assert town.lanes is not None
    turns = {way.from_lane: town.lanes.exits.index(way.to_link) for way in town.lanes.ways["L"]}
    queues = {"Lmain_0": [1.0, 8.5], "up_0": STANDING}
    assert count(queues, turn=turns["Lmain_0"]) == {"Lmain_0": 5, "Lside_0": 0}
    assert count(queues, turn=turns["Lside_0"])["Lside_0"] > 0


def test_who_waits_for_a_full_lane_keeps_the_turn_that_he_announces() -> None:
    """Of the main lane two ways lead between and one turns off, which is the last to be dealt."""
    town = build_fork(off="Laway")
    assert town.lanes is not None
    turn = town.lanes.exits.index("Laway")
    queues = {"Lmain_0": [1.0, 8.5], "up_0": STANDING}
    team = run(town, queues, turn=turn)
    lane = list_stop_lanes(team._joined).index("Lmain_0")
    third = team._queues.seen.way[lane, 2]
    assert town.lanes.exits[team._layout.way_exit[third]] == "Laway"
