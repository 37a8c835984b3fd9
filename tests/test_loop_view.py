"""What loops let one imagine of the traffic before a stop line."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laned import add_lanes
from test_response import TOWN

from traffic.lanes import Lane, LaneMap
from traffic.model import Approach, Detector, DetectorKind, Network
from traffic.optimization.imagined import ROOM
from traffic.optimization.joining import join_junctions
from traffic.optimization.layout import build_roads, list_stop_lanes
from traffic.optimization.loop_view import LoopView
from traffic.readings import LoopBatch, Quality

BACK_M = {"stop": 4.0, "advance": 50.0, "tail": 280.0}  # of 300 m
KINDS = {
    "stop": DetectorKind.STOP_LINE,
    "advance": DetectorKind.ADVANCE,
    "tail": DetectorKind.TAIL,
}
GREEN = {False: 20.0, True: 0.0}  # to seconds of red


def build_street(*names: str) -> Network:
    """The town with these loops on South Street, one lane of 300 m at 14 m/s before J1."""
    loops = {
        name: Detector(name, KINDS[name], "s1", 0, 300 - BACK_M[name], "s1_in") for name in names
    }
    approach = Approach("s1_in", "J1", ("s1",), ("cross",), 1, 280, {"cross": (0,)})
    town = add_lanes(TOWN)
    others = {id_: own for id_, own in town.detectors.items() if own.approach != "s1_in"}
    approaches = dict(town.approaches) | {"s1_in": approach}
    return replace(town, detectors=others | loops, approaches=approaches)


class Street:
    """The view of J1, and what it imagines on South Street."""

    def __init__(self, *names: str) -> None:
        self.network = build_street(*names)
        assert self.network.lanes is not None
        self.junctions = join_junctions(self.network, self.network.lanes, ("J1",))
        self.view = LoopView(self.network, self.network.lanes, self.junctions)
        self.place = self.network.lanes.sensed.index("s1_0")
        self.now_s = 0.0

    def tell(
        self,
        is_green: bool,
        counts: dict[str, float] | None = None,
        on: dict[str, float] | None = None,
        failed: tuple[str, ...] = (),
        speed_mps: float = 14.0,
    ) -> list[float]:
        """Let a second pass; return the meters to the stop line, the nearest first."""
        self.now_s += 1.0
        loops = tuple(sorted(self.view.loops))
        count = np.array([(counts or {}).get(loop, 0.0) for loop in loops])
        occupancy = np.array([(on or {}).get(loop, 0.0) for loop in loops])
        speed = np.where(count > 0, speed_mps, np.nan)
        quality = np.array(
            [Quality.MISSING if loop in failed else Quality.GOOD for loop in loops], dtype=np.int8
        )
        batch = LoopBatch(self.now_s, 1.0, loops, count, occupancy, speed, quality)
        phases = self.network.junctions["J1"].phases
        red_s = np.array([GREEN[is_green] if p.id == "cross" else 0.0 for p in phases])
        self.view.update(batch, red_s)
        first, last = self.view.starts[self.place], self.view.starts[self.place + 1]
        return [300.0 - m for m in self.view.position_m[first:last].tolist()]


def test_it_asks_for_the_loops_of_its_junctions_approaches() -> None:
    street = Street("stop", "advance", "tail")
    assert street.view.loops == {"stop", "advance", "tail", "h1_stop"}
    assert street.network.lanes is not None
    roads = build_roads(street.network.lanes, street.junctions)
    sight_m = street.view.narrow(roads).sight_m
    assert sight_m.tolist() == [0.0, 280.0]  # the hill has a stop-line loop only


def test_one_who_passed_the_tail_loop_comes_on_at_free_speed() -> None:
    """280 m back at 14 m/s, half a second ago at the mean: 273 - 14 t, as long as t < 16."""
    street = Street("stop", "advance", "tail")
    assert street.tell(True, {"tail": 1}) == pytest.approx([273.0])
    for second in range(1, 16):
        assert street.tell(True) == pytest.approx([273.0 - 14.0 * second])


def test_the_advance_loop_corrects_when_and_the_stop_line_loop_ends_it() -> None:
    street = Street("stop", "advance", "tail")
    street.tell(True, {"tail": 1})
    for _ in range(13):
        street.tell(True)
    assert street.tell(True, {"advance": 1}) == pytest.approx([43.0])  # not 77: it came early
    street.tell(True)
    assert len(street.tell(True, {"stop": 1})) == 0


def test_one_who_never_arrives_is_forgotten() -> None:
    street = Street("stop", "advance", "tail")
    street.tell(True, {"tail": 1})
    seen = [len(street.tell(True)) for _ in range(40)]
    assert seen[10] == 1
    assert seen[-1] == 0


@pytest.mark.parametrize(("queue", "is_kept"), [(1, False), (5, True)])
def test_one_who_may_stand_behind_a_queue_is_not_forgotten(queue: int, is_kept: bool) -> None:
    """Five reach 32 m of the 50 m to the advance loop: another may stand short of it."""
    street = Street("stop", "advance", "tail")
    for _ in range(queue):
        street.tell(False, {"advance": 1, "tail": 1}, {"advance": 0.3})
        street.tell(False)
    street.tell(False, {"stop": 1}, {"stop": 0.5}, speed_mps=2.0)
    for _ in range(40):
        street.tell(False, on={"stop": 1.0})
    assert len(street.tell(False, {"tail": 1}, {"stop": 1.0})) == queue + 1 + (
        queue if is_kept else 0
    )
    for _ in range(40):
        seen = street.tell(False, on={"stop": 1.0})
    assert (max(seen) > 50.0) == is_kept


def test_a_loop_counts_for_the_stop_lines_of_its_own_approach_only() -> None:
    """Upstream of the street a lane leads to the hill as well, by a way that nothing watches."""
    network = build_street("stop", "advance")
    lanes = network.lanes
    assert lanes is not None
    fork = Lane("up_0", "up", 0, 100.0, 14.0, 0.0, (("s1_0", 5.0), ("h1_0", 400.0)))
    loop = Detector("advance", DetectorKind.ADVANCE, "up", 0, 90.0, "s1_in")
    network = replace(
        network,
        links={**network.links, "up": replace(network.links["s1"], id="up", length_m=100.0)},
        lanes=LaneMap({**lanes.lanes, "up_0": fork}, lanes.ways),
        detectors={**network.detectors, "advance": loop},
    )
    assert network.lanes is not None
    junctions = join_junctions(network, network.lanes, ("J1",))
    ground = LoopView(network, network.lanes, junctions)._ground
    assert [list_stop_lanes(junctions)[k] for k in ground.target] == ["s1_0"]
    assert ground.gate_m.tolist() == [10.0 + 5.0 + 300.0]


@pytest.mark.parametrize("is_forked", [False, True])
def test_a_stop_line_loop_on_a_joint_before_the_lane_counts_unless_the_way_forks(
    is_forked: bool,
) -> None:
    """Where the last link is shorter than 4 m, the loop lies on the one before it."""
    network = build_street("stop")
    lanes = network.lanes
    assert lanes is not None
    joint = Lane("up_0", "up", 0, 100.0, 14.0, 0.0, (("s1_0", 5.0), ("s1_1", 6.0))[: 1 + is_forked])
    (way,) = [way for way in lanes.ways["J1"] if way.from_lane == "s1_0"]
    beside = replace(lanes.lanes["s1_0"], id="s1_1", index=1)
    ways = (*lanes.ways["J1"], replace(way, from_lane="s1_1")) if is_forked else lanes.ways["J1"]
    loop = Detector("stop", DetectorKind.STOP_LINE, "up", 0, 98.0, "s1_in")
    network = replace(
        network,
        links={**network.links, "up": replace(network.links["s1"], id="up", length_m=100.0)},
        lanes=LaneMap(
            {**lanes.lanes, "up_0": joint} | ({"s1_1": beside} if is_forked else {}),
            {**lanes.ways, "J1": ways},
        ),
        detectors={**network.detectors, "stop": loop},
    )
    assert network.lanes is not None
    junctions = join_junctions(network, network.lanes, ("J1",))
    view = LoopView(network, network.lanes, junctions)
    place = list_stop_lanes(junctions).index("s1_0")
    assert ("stop" in view.loops) == (not is_forked)
    assert view._ground.stop_m[place] == (0.0 if is_forked else 2.0 + 5.0 + 300.0)


def build_street_with_arm() -> Street:
    """The street with a loop on an arm of 20 m that joins it at its upstream end."""
    network = build_street("stop", "advance", "tail")
    lanes = network.lanes
    assert lanes is not None
    arm = Lane("arm_0", "arm", 0, 20.0, 14.0, 0.0, (("s1_0", 0.0),))
    loop = Detector("arm", DetectorKind.ADVANCE, "arm", 0, 0.0, "s1_in")
    network = replace(
        network,
        links={**network.links, "arm": replace(network.links["s1"], id="arm", length_m=20.0)},
        lanes=LaneMap({**lanes.lanes, "arm_0": arm}, lanes.ways),
        detectors={**network.detectors, "arm": loop},
    )
    street = Street("stop", "advance", "tail")
    assert network.lanes is not None
    street.network, street.place = network, network.lanes.sensed.index("s1_0")
    street.view = LoopView(network, network.lanes, street.junctions)
    return street


def test_who_comes_by_another_arm_is_not_taken_for_one_who_comes_along_the_approach() -> None:
    """One is on the way from the tail loop; another passes the loop on an arm, 20 m upstream."""
    street = build_street_with_arm()
    street.tell(True, {"tail": 1})
    assert street.tell(True, {"arm": 1}) == pytest.approx([259.0, 313.0])


def test_who_waits_on_another_arm_to_join_is_no_queue_of_the_stop_line() -> None:
    street = build_street_with_arm()
    street.tell(False, {"arm": 1}, {"arm": 0.5})
    for _ in range(8):
        seen = street.tell(False, on={"arm": 1.0})
    assert len(seen) == 1


def test_who_has_just_passed_the_advance_loop_is_not_yet_at_the_stop_line() -> None:
    """Another is counted there, whom nobody had announced: the one 35 m away is still to come."""
    street = Street("stop", "advance")
    street.tell(True, {"advance": 1}, speed_mps=10.0)
    seen = street.tell(True, {"stop": 1}, {"stop": 0.3}, speed_mps=10.0)
    assert max(seen) == pytest.approx(35.0, abs=2.0)


@pytest.mark.parametrize(("speed_mps", "kept_mps"), [(11.0, 11.0), (17.0, 17.0), (70.0, 18.2)])
def test_who_was_counted_at_speed_keeps_it(speed_mps: float, kept_mps: float) -> None:
    """14 m/s are free speed. No more than 1.3 times that is believed."""
    street = Street("stop", "advance", "tail")
    (first_m,) = street.tell(True, {"tail": 1.0}, speed_mps=speed_mps)
    (later_m,) = [street.tell(True) for _ in range(5)][-1]
    assert first_m - later_m == pytest.approx(5 * kept_mps)


def test_a_queue_grows_behind_one_who_stands_where_vehicles_come_unannounced() -> None:
    """Ten a round of 100 s come from a side road past the advance loop: as many queue next time.

    Of 40, as ten are taken to have been announced at first, 30 were not. The flow is learned, and
    fades, with 300 s: after c counts it is c / 300 a second, less and less in a long red.
    """
    street = Street("stop", "advance")
    for _ in range(3):
        for second in range(100):
            leaves = second < 40 and second % 4 == 0
            street.tell(second < 40, {"stop": float(leaves)}, {"stop": 0.5 * leaves})
    counts = 10 * sum(np.exp(-ago_s / 300.0) for ago_s in (80, 180, 280))
    seen = [len(street.tell(False, on={"stop": 1.0})) for _ in range(150)]
    for until_s in (40, 80, 149):
        queued = 30 / 40 * counts * (1.0 - np.exp(-until_s / 300.0))
        assert seen[until_s] == pytest.approx(1 + queued, abs=1.0)
    for _ in range(20):
        left = street.tell(True)
    assert left == []


def leave_without_a_gap(street: Street, red_s: int, green_s: int) -> None:
    """Somebody stands on the stop-line loop in red; in green one passes it each second."""
    for second in range(red_s + green_s):
        leaves = second >= red_s
        street.tell(leaves, {"stop": float(leaves)}, {"stop": 0.9 if leaves else 1.0})


def test_a_lane_is_taken_to_be_full_where_unannounced_vehicles_still_leave_as_green_ends() -> None:
    """One leaves each second: no gap. Six and the one on the loop fill 50 m."""
    street = Street("stop", "advance")
    leave_without_a_gap(street, 5, 15)
    street.tell(True, {"stop": 1.0}, {"stop": 0.9}, speed_mps=3.0)
    assert len(street.tell(False, on={"stop": 1.0})) in {6, 7}


def test_a_queue_that_the_last_green_did_not_clear_goes_on_behind_those_who_leave() -> None:
    """Five reds fill the lane; in a green of 60 s one leaves every 2 s: others always follow."""
    street = Street("stop", "advance")
    for _ in range(5):
        leave_without_a_gap(street, 15, 15)
    street.tell(False, on={"stop": 1.0})
    for second in range(60):
        leaves = float(second % 2 == 0)
        left = street.tell(True, {"stop": leaves}, {"stop": 0.9 * leaves})
        assert len(left) >= 2
    for _ in range(20):
        left = street.tell(True)
    assert left == []


def test_guesses_that_come_true_do_not_count_as_announced() -> None:
    """All came unannounced, ten taken as announced at first: 20 of 30, and no guess adds one."""
    street = Street("stop", "advance")
    for second in range(20):
        street.tell(True, {"stop": float(second % 5 == 0)})
    for _ in range(6):
        leave_without_a_gap(street, 15, 15)
    place = list_stop_lanes(street.junctions).index("s1_0")
    assert street.view._memory.unseen[place] > 0.6


def test_errors_of_what_is_imagined_grow_no_queue() -> None:
    """Two of eleven a round were not announced: unseen, 1.5 would queue in 150 s."""
    street = Street("stop", "advance")
    for _ in range(3):
        for second in range(100):
            enters = second < 40 and second % 4 == 0 and second > 0
            leaves = second < 44 and second % 4 == 3
            counts = {"advance": float(enters), "stop": float(leaves)}
            on = {"advance": 0.3 * enters, "stop": 0.5 * leaves}
            street.tell(second < 60, counts, on)
    assert [len(street.tell(False, on={"stop": 1.0})) for _ in range(150)][-1] == 1


def test_a_queue_builds_at_red_and_leaves_with_the_counts() -> None:
    """Five come over both loops and stand at their spacing, the first one on the loop."""
    street = Street("stop", "advance")
    for _ in range(5):
        street.tell(False, {"advance": 1}, {"advance": 0.3})
        street.tell(False)
    street.tell(False, {"stop": 1}, {"stop": 0.5}, speed_mps=2.0)
    for _ in range(10):
        standing = street.tell(False, on={"stop": 1.0})
    assert len(standing) == 5
    assert np.diff(standing) == pytest.approx([7.5] * 4, abs=3.0)
    for left in (4, 3, 2, 1):
        street.tell(True, on={"stop": 1.0})
        assert len(street.tell(True, {"stop": 1}, {"stop": 0.5}, speed_mps=5.0)) >= left
    street.tell(True)
    assert len(street.tell(True)) == 0


def test_a_covered_loop_tells_of_a_queue_as_far_as_itself() -> None:
    street = Street("stop", "advance")
    for _ in range(6):
        seen = street.tell(False, on={"stop": 1.0, "advance": 1.0})
    assert len(seen) >= 6
    assert max(seen) == pytest.approx(46.0, abs=7.5)


def test_where_loops_fail_somebody_is_taken_to_wait_at_red() -> None:
    street = Street("stop", "advance", "tail")
    street.tell(False)
    failed = ("stop", "advance", "tail")
    assert len(street.tell(False, failed=failed)) == 2
    for _ in range(30):
        street.tell(True, failed=failed)
    assert street.tell(True, failed=failed) == []


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(), ("stop",), ("advance", "tail")]))
def test_whatever_loops_say_lanes_stay_within_their_bounds(seed: int, failed: tuple) -> None:
    """Nearest first, between stop line and upstream end, no more than there is room for."""
    street = Street("stop", "advance", "tail")
    draw = np.random.default_rng(seed)
    for _ in range(200):
        counts = {name: float(draw.choice([0, 0, 0, 1, 2, 7])) for name in BACK_M}
        on = {name: float(draw.choice([0.0, 0.3, 1.0])) for name in BACK_M}
        seen = street.tell(bool(draw.random() < 0.5), counts, on, failed)
        assert len(seen) <= ROOM
        assert all(0.0 <= m <= 310.0 for m in seen)
        assert seen == sorted(seen)
        speeds = street.view.speed_mps[: street.view.starts[-1]]
        assert np.isfinite(speeds).all()
        assert (speeds >= 0).all()
