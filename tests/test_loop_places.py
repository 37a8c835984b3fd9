"""Where a city has loops, by rule."""

from pathlib import Path

import pytest

from networks.loops import place_loops, write_loops
from traffic.model import Approach, DetectorKind, Link


def test_the_advance_loop_lies_where_all_arms_of_the_node_upstream_have_met() -> None:
    """Of 45 m before the stop line, one short of the node; of 30 m there is too little room."""
    for last_m, link, position_m in ((45.0, "near", 1.0), (30.0, "far", 80.0)):
        links = {
            "far": Link("far", "a", "b", 100.0, 1, 13.9, ((0.0, 0.0), (1.0, 0.0))),
            "near": Link("near", "b", "c", last_m, 1, 13.9, ((1.0, 0.0), (2.0, 0.0))),
        }
        approach = Approach("near", "J", ("far", "near"), ("p",), 1, 100.0 + last_m, {"p": (0,)})
        placed = place_loops(links, {"far": (0,), "near": (0,)}, [], {"near": approach}, [])
        (loop,) = [d for d in placed.values() if d.kind is DetectorKind.ADVANCE]
        assert (loop.link, loop.position_m) == (link, position_m)


@pytest.mark.parametrize(
    ("arm_m", "last_m", "is_signal", "on_arm", "on_main"),
    [
        (100.0, 10.0, False, 96.0, 96.0),  # 4 m before the node
        (6.0, 10.0, False, 2.0, 96.0),
        (4.0, 10.0, False, None, 96.0),  # no room on the arm
        (100.0, 45.0, False, None, None),  # the approach's own lie where both arms have met
        (100.0, 10.0, True, None, 60.0),  # the arm ends at a signal of its own
    ],
)
def test_where_others_join_near_a_stop_line_advance_loops_lie_before_that_node(
    arm_m: float, last_m: float, is_signal: bool, on_arm: float | None, on_main: float | None
) -> None:
    shape = ((0.0, 0.0), (1.0, 0.0))
    links = {
        "main": Link("main", "a", "b", 100.0, 1, 13.9, shape),
        "arm": Link("arm", "x", "b", arm_m, 1, 13.9, shape),
        "back": Link("back", "c", "b", last_m, 1, 13.9, shape),
        "near": Link("near", "b", "c", last_m, 1, 13.9, shape),
    }
    lengths_m = 100.0 + last_m
    approaches = {
        "near": Approach("near", "J", ("main", "near"), ("p",), 1, lengths_m, {"p": (0,)})
    }
    if is_signal:
        approaches["arm"] = Approach("arm", "K", ("arm",), ("p",), 1, arm_m, {"p": (0,)})
    turns = [("main", "near"), ("arm", "near"), ("back", "near")]
    loops = place_loops(links, dict.fromkeys(links, (0,)), turns, approaches, [])
    own = [d for d in loops.values() if d.approach == "near"]
    found = {d.link: d.position_m for d in own if d.kind is DetectorKind.ADVANCE}
    assert "back" not in found
    assert (found.get("arm"), found.get("main")) == (on_arm, on_main)


def test_others_who_join_farther_up_have_loops_too_as_long_as_that_is_near() -> None:
    """Two nodes 10 and 15 m before the stop line, the nearer one without arms."""
    shape = ((0.0, 0.0), (1.0, 0.0))
    links = {
        "main": Link("main", "a", "b", 100.0, 1, 13.9, shape),
        "arm": Link("arm", "x", "b", 50.0, 1, 13.9, shape),
        "mid": Link("mid", "b", "c", 5.0, 1, 13.9, shape),
        "near": Link("near", "c", "d", 10.0, 1, 13.9, shape),
    }
    approach = Approach("near", "J", ("main", "mid", "near"), ("p",), 1, 115.0, {"p": (0,)})
    turns = [("main", "mid"), ("arm", "mid"), ("mid", "near")]
    loops = place_loops(links, dict.fromkeys(links, (0,)), turns, {"near": approach}, [])
    found = {d.link: d.position_m for d in loops.values() if d.kind is DetectorKind.ADVANCE}
    assert found == {"arm": 46.0, "main": 96.0}


def test_mainline_stations_and_ramps_are_placed_by_rule(tmp_path: Path) -> None:
    def link(id_: str, length_m: float, speed_mps: float = 22.22) -> Link:
        return Link(id_, "u", "v", length_m, 2, speed_mps, ((0.0, 0.0), (length_m, 0.0)))

    links = {
        each.id: each
        for each in (
            link("m1", 900),
            link("m2", 1500),
            link("on", 200, 13.9),
            link("off", 40, 13.9),
        )
    }
    turns = {("m1", "m2"), ("on", "m2"), ("m1", "off")}
    lanes = {"m1": (1, 2), "m2": (0, 1), "on": (0,), "off": (0,)}
    loops = place_loops(links, lanes, turns, {}, stations={"m2": (400.0,)})
    # Stations 100, 650, 1200, ... m from the start; 300 m into m2 gives way to its own at 400 m.
    places = {(d.link, d.position_m) for d in loops.values() if d.kind is DetectorKind.MAINLINE}
    assert places == {("m1", 100.0), ("m1", 650.0), ("m2", 400.0), ("m2", 850.0), ("m2", 1400.0)}
    assert {d.lane for d in loops.values() if d.link == "m1"} == {1, 2}
    ramps = {d.link: d.position_m for d in loops.values() if d.kind is DetectorKind.RAMP}
    assert ramps == {"on": 170.0, "off": 20.0}
    text = write_loops(loops.values(), tmp_path / "loops.add.xml").read_text()
    assert text.count("<inductionLoop ") == len(loops)
    assert 'period="30" file="NUL"' in text
