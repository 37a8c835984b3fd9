"""What radar or video sees in SUMO of those within a junction: who halts, who comes on."""

from itertools import groupby, pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from towns import write_permissive_town, write_twins

from networks import load
from networks.sumo_field import SumoField
from networks.sumo_lanes import LaneSensors
from traffic.control import Sensing
from traffic.lanes import HALTED_MPS, LEAVES, UNKNOWN_TURN, Lane, LaneMap, Way

sumo = pytest.importorskip("sumo")

FLOWS = """<routes>
  <flow id="oncoming" begin="0" end="25" period="2" from="in_e" to="out_w"/>
  <trip id="left" depart="0" from="in_w" to="out_n"/>
  <trip id="across" depart="4" from="in_n" to="out_s"/>
</routes>"""


def test_who_waits_for_a_gap_within_the_junction_is_seen_to_halt(tmp_path: Path) -> None:
    """One turns left against a stream: it halts past its stop line until the stage ends."""
    path = write_permissive_town(tmp_path)
    (tmp_path / "routes.xml").write_text(FLOWS)
    scenario = load(str(path), 1, tmp_path / "loaded")
    halted = []
    with SumoField(scenario, sensing=Sensing.LANES) as field:
        for _ in range(60):
            lanes = field.read().lanes
            assert lanes is not None
            halted.append(lanes.halted.tolist())
            if not field.advance():
                break
    assert max(halted) == [1]
    first = halted.index([1])
    assert halted[first : first + 4] == [[1]] * 4
    assert halted[:first] == [[0]] * first
    assert halted[-1] == [0]


def test_who_crosses_a_junction_is_seen_on_the_way_to_the_next_stop_line(tmp_path: Path) -> None:
    """No second passes between the two signals in which it is out of sight."""
    path = write_twins(tmp_path, 120.0)
    (tmp_path / "flows.xml").write_text(
        '<routes><trip id="one" depart="0" from="l_street_in" to="r_street_out"/></routes>'
    )
    scenario = load(str(path), 1, tmp_path / "loaded")
    assert scenario.network.lanes is not None
    map_ = scenario.network.lanes
    seen: list[tuple[str, float, int]] = []
    with SumoField(scenario, sensing=Sensing.INTENTIONS) as field:
        while field.advance():
            lanes = field.read().lanes
            assert lanes is not None
            on = [
                (map_.lanes[id_].link, float(lanes.position_m[v]), int(lanes.turn[v]))
                for i, id_ in enumerate(map_.sensed)
                for v in range(lanes.starts[i], lanes.starts[i + 1])
            ]
            if not on and seen:
                break
            assert len(on) <= 1
            seen += on
    assert [link for link, _ in groupby(link for link, _, _ in seen)] == ["l_street_in", "lr"]
    over = [(at_m, turn) for link, at_m, turn in seen if link == "lr"]
    assert min(over)[0] < 0.0
    assert all(before[0] <= after[0] for before, after in pairwise(over))
    assert {map_.exits[turn] for _, turn in over} == {"r_street_out"}


@pytest.mark.parametrize("tells_turns", [True, False])
def test_who_halts_within_a_junction_is_counted_there_alone(tells_turns: bool) -> None:
    """A turn that waits halfway has two lanes of the junction's own, 8 m and 15 m long."""
    lanes = LaneMap(
        {"a_0": Lane("a_0", "a", 0, 90.0, 14.0), "b_0": Lane("b_0", "b", 0, 60.0, 14.0)},
        {
            "J": (Way("a_0", "b_0", "b", None, 23.0),),
            "K": (Way("b_0", "c_0", "c", None, 20.0),),
        },
    )
    links = {"a_0": [("b_0", ":j_0")], ":j_0": [("b_0", ":j_1")], ":j_1": [("b_0", "")]}
    lengths_m = {"a_0": 90.0, "b_0": 60.0, ":j_0": 8.0, ":j_1": 15.0}
    on = {":j_0": ["waits", "starts"], ":j_1": ["drives"]}
    speeds_mps = {"waits": HALTED_MPS - 0.1, "starts": HALTED_MPS, "drives": 6.0}
    at_m = {"waits": 7.9, "starts": 1.0, "drives": 5.0}
    sumo = SimpleNamespace(
        lane=SimpleNamespace(
            getLinks=lambda id_: [(to, True, True, True, via) for to, via in links.get(id_, ())],
            getLength=lengths_m.__getitem__,
            getLastStepVehicleIDs=lambda id_: on.get(id_, ()),
        ),
        vehicle=SimpleNamespace(
            getLanePosition=at_m.__getitem__,
            getSpeed=speeds_mps.__getitem__,
            getRoute=lambda id_: ("a", "b", "c") if id_ == "drives" else ("a", "b"),
            getRouteIndex=lambda _: 0,
        ),
    )
    batch = LaneSensors(sumo, lanes, tells_turns).read()
    assert batch.starts.tolist() == [0, 0, 2]
    assert batch.position_m.tolist() == [-10.0, -22.0]
    turns = [lanes.exits.index("c"), LEAVES] if tells_turns else [UNKNOWN_TURN] * 2
    assert batch.turn.tolist() == turns
    assert batch.halted.tolist() == [1, 0]
