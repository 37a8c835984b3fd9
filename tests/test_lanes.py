"""Lanes and the ways through signals: what does not fit is told, and what was seen reads back."""

import io
from dataclasses import replace

import numpy as np
import pytest
from laned import add_lanes, build_batch, build_queue
from test_controllers import build_raw
from test_response import TOWN

from traffic.journal import Journal, JournalError, read_steps
from traffic.lanes import LEAVES, Lane, LaneMap, Way
from traffic.model import ModelError
from traffic.readings import LaneBatch, Quality
from traffic.snapshot import Snapshot

LANED = add_lanes(TOWN)


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    lane = Lane("a", "nowhere", 0, 0.0, -1.0, -2.0, (("b", -3.0),))
    ways = (Way("c", "d_0", "off", "blue", 10.0, (0, 7)),)
    with pytest.raises(ModelError) as caught:
        replace(TOWN, lanes=LaneMap({"x": lane}, {"J1": ways, "J9": ()}))
    for problem in (
        "lane a is listed as x",
        "lane x belongs to unknown link nowhere",
        "lane x: length_m 0.0 must be above 0",
        "lane x: speed_mps -1.0 must be above 0",
        "lane x: stop_m -2.0 must not be negative",
        "lane x leads to unknown lane b",
        "lane x to b: -3.0 m across must not be negative",
        "ways of unknown junction J9",
        "junction J1: way 0 (c to d_0) leaves an unknown lane",
        "leads to unknown link off",
        "is of unknown phase blue",
        "yields to (0, 7), of which one is no other way",
    ):
        assert problem in str(caught.value)


def test_a_lane_ends_at_one_stop_line() -> None:
    assert LANED.lanes is not None
    ways = dict(LANED.lanes.ways)
    ways["J2"] += (replace(ways["J1"][0], phase="side"),)
    with pytest.raises(ModelError, match="ends at the stop lines of several junctions, J2 too"):
        replace(LANED, lanes=LaneMap(LANED.lanes.lanes, ways))


def test_the_ways_of_a_lane_stand_side_by_side() -> None:
    assert LANED.lanes is not None
    ways = dict(LANED.lanes.ways)
    first, *others = ways["J1"]
    assert others
    ways["J1"] = (first, *others, replace(first, to_lane="elsewhere_0"))
    with pytest.raises(ModelError) as caught:
        replace(LANED, lanes=LaneMap(LANED.lanes.lanes, ways))
    problem = f"junction J1: ways of lane {first.from_lane} must stand side by side"
    assert problem in str(caught.value)


def write(lanes: LaneBatch | None) -> str:
    stream = io.StringIO()
    raw = replace(build_raw(5.0, frozenset(), Quality.GOOD), lanes=lanes)
    Journal(stream, {}).record(Snapshot(5.0, raw, (), None, False, (), {}, (), {}))
    return stream.getvalue()


@pytest.mark.parametrize("turn", [None, 0, LEAVES])
def test_lanes_read_back_as_they_were_seen(turn: int | None) -> None:
    seen = build_batch(LANED, {"h1_0": build_queue(3), "side_0": [0.1, 33.3]}, 13.9)
    if turn is not None:
        seen = replace(
            seen,
            turn=np.full(5, turn, dtype=np.int32),
            halted=np.array([0, turn == 0], dtype=np.int32),
        )
    ((raw, _),) = read_steps(io.StringIO(write(seen)))
    assert raw.lanes is not None
    if turn != 0:  # nobody halts: as if nobody looked
        seen = replace(seen, halted=np.zeros(0, dtype=np.int32))
    for name in ("starts", "position_m", "speed_mps", "turn", "halted"):
        one, other = getattr(raw.lanes, name), getattr(seen, name)
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()


def test_a_run_without_lanes_leaves_no_word_of_them() -> None:
    text = write(None)
    assert "lanes" not in text
    ((raw, _),) = read_steps(io.StringIO(text))
    assert raw.lanes is None


@pytest.mark.parametrize(("old", "new"), [('"n":[3,2]', '"n":[3,3]'), ('"i":[', '"i":[99,')])
def test_lanes_that_cannot_be_are_named_by_line(old: str, new: str) -> None:
    text = write(build_batch(LANED, {"h1_0": build_queue(3), "side_0": build_queue(2)}))
    assert old in text
    with pytest.raises(JournalError, match="line 3: "):
        list(read_steps(io.StringIO(text.replace(old, new))))
