"""Detector health: each fault's onset and its clearing, and the queue that is none."""

from dataclasses import replace

import numpy as np
import pytest

from traffic.health import IRIS_LIMITS, HealthScreen, HealthSettings
from traffic.model import (
    Approach,
    Detector,
    DetectorKind,
    Intergreen,
    Junction,
    Link,
    ModelError,
    Movement,
    Network,
    Phase,
    SafePlan,
    Stage,
)
from traffic.readings import LoopBatch, Quality

LANES, STATIONS, FREE_MPS = 3, 3, 22.0
Values = tuple[float, float, float]


def build_network() -> Network:
    """Three mainline stations of three lanes, 500 m apart, and a signal's loops off to the side."""
    links = {
        f"m{s}": Link(f"m{s}", f"n{s}", f"n{s + 1}", 500, LANES, FREE_MPS, ((0, 0), (1, 0)))
        for s in range(STATIONS)
    }
    links["arm"] = Link("arm", "a", "j", 200, 2, 14.0, ((0, 0), (1, 0)))
    links["out"] = Link("out", "j", "b", 200, 2, 14.0, ((0, 0), (1, 0)))
    loops = [
        Detector(f"m{s}.{lane}", DetectorKind.MAINLINE, f"m{s}", lane, 250)
        for s in range(STATIONS)
        for lane in range(LANES)
    ]
    loops += [Detector(f"stop.{i}", DetectorKind.STOP_LINE, "arm", i, 196, "arm") for i in (0, 1)]
    junction = Junction(
        "j",
        (Phase("p", (Movement("t", "arm", "out"),)),),
        (Stage("s", frozenset({"p"})),),
        frozenset(),
        {("p", "p"): Intergreen(3, 1)},
    )
    return Network(
        "road",
        links,
        frozenset({("m0", "m1"), ("m1", "m2"), ("arm", "out")}),
        {"j": junction},
        {"j": SafePlan((("s", 60.0),))},
        {"arm": Approach("arm", "j", ("arm",), ("p",), 2, 180)},
        {loop.id: loop for loop in loops},
    )


class Street:
    """Feeds a screen 30 s batches of free traffic, changed by the test."""

    def __init__(self, screen: HealthScreen | None = None) -> None:
        self.network = build_network()
        self.screen = screen or HealthScreen(self.network)
        self.ids = tuple(self.network.detectors)
        self.rng = np.random.default_rng(1)
        self.now_s = 25000.0

    def batch(self, **changed: tuple[float, float, float]) -> LoopBatch:
        """Return free flow but for loops changed to (count, occupancy, speed); m0_1 is m0.1."""
        self.now_s += 30
        size = len(self.ids)
        count = 1.0 + self.rng.poisson(8, size)
        speed = self.rng.normal(20, 1, size)
        occupancy = count * 5.5 / speed / 30
        for name, values in changed.items():
            i = self.ids.index(name.replace("_", "."))
            count[i], occupancy[i], speed[i] = values
        quality = np.zeros(size, np.int8)
        return LoopBatch(self.now_s, 30, self.ids, count, occupancy, speed, quality)

    def run(self, seconds: float, **changed: tuple[float, float, float]) -> dict[str, Quality]:
        labels: dict[str, Quality] = {}
        for _ in range(round(seconds / 30)):
            out = self.screen.screen(self.batch(**changed), self.now_s)
            labels = {d: Quality(q) for d, q in zip(out.detectors, out.quality, strict=True)}
        return labels


NAN = float("nan")
SILENT, LOCKED = (0.0, 0.0, NAN), (0.0, 1.0, NAN)


def faulty(labels: dict[str, Quality]) -> dict[str, Quality]:
    return {d: q for d, q in labels.items() if q is not Quality.GOOD}


def test_free_traffic_is_good() -> None:
    street = Street()
    for _ in range(40):
        assert faulty(street.run(90)) == {}


def test_values_pass_unchanged() -> None:
    street = Street()
    batch = street.batch(m0_0=(90.0, 1.4, 20.0))
    out = street.screen.screen(batch, street.now_s)
    assert out.count_veh is batch.count_veh
    assert out.occupancy is batch.occupancy


def test_a_loop_gone_silent_beside_traffic_has_no_hits_until_the_next_vehicle() -> None:
    street = Street()
    street.run(3600)
    assert faulty(street.run(120, m1_1=SILENT)) == {}
    assert faulty(street.run(360, m1_1=SILENT)) == {"m1.1": Quality.NO_HITS}
    assert faulty(street.run(30)) == {}


def test_a_loop_dead_from_the_start_is_found() -> None:
    assert faulty(Street().run(3600, m1_1=SILENT)) == {"m1.1": Quality.NO_HITS}


def test_a_street_gone_quiet_is_no_fault() -> None:
    street = Street()
    street.run(900)
    quiet = {d.replace(".", "_"): SILENT for d in street.ids}
    assert faulty(street.run(3600, **quiet)) == {}


def test_silence_of_hours_is_a_fault_whatever_the_neighbors_see() -> None:
    street = Street()
    quiet = {d.replace(".", "_"): SILENT for d in street.ids}
    hours_s = IRIS_LIMITS[DetectorKind.MAINLINE].no_hits_s
    assert faulty(street.run(hours_s - 30, **quiet)) == {}
    labels = faulty(street.run(30, **quiet))
    assert set(labels.values()) == {Quality.NO_HITS}
    assert len(labels) == LANES * STATIONS


@pytest.mark.parametrize("values", [(39.0, 0.4, 20.0), (20.0, 0.01, 20.0), (-1.0, 0.1, 20.0)])
def test_impossible_counts_are_chatter_for_ten_minutes(values: tuple[float, float, float]) -> None:
    street = Street()
    street.run(120)
    assert faulty(street.run(60, m0_2=values)) == {"m0.2": Quality.CHATTER}
    assert faulty(street.run(570)) == {"m0.2": Quality.CHATTER}
    assert faulty(street.run(60)) == {}


def test_a_full_loop_beside_moving_traffic_is_locked_on() -> None:
    street = Street()
    street.run(300)
    assert faulty(street.run(150, m1_0=LOCKED)) == {}
    assert faulty(street.run(30, m1_0=LOCKED)) == {"m1.0": Quality.LOCKED_ON}
    assert faulty(street.run(630)) == {}


def test_a_standing_queue_is_not_locked_on() -> None:
    street = Street()
    street.run(300)
    # One lane stands for half an hour; the lanes beside it crawl past, and upstream is full too.
    for i in range(60):
        crawl = (2.0, 0.8 + i / 1000, 1.5)
        queue = {f"m{s}_{lane}": crawl for s in (0, 1) for lane in range(LANES)}
        assert faulty(street.run(30, **queue | {"m1_0": LOCKED, "m0_0": LOCKED})) == {}


def test_the_head_of_a_queue_is_not_locked_on() -> None:
    street = Street()
    street.run(300)
    # Only the last station before free road stands, with one lane past it.
    for i in range(60):
        crawl = (3.0, 0.7 + i / 1000, 2.0)
        labels = street.run(30, m1_0=LOCKED, m1_1=LOCKED, m1_2=crawl)
        assert faulty(labels) == {}


def test_a_whole_cross_section_that_stands_is_not_locked_on() -> None:
    street = Street()
    street.run(300)
    queue = {d.replace(".", "_"): LOCKED for d in street.ids if d.startswith("m")}
    assert faulty(street.run(3600, **queue)) == {}


def whole(station: int, values: Values) -> dict[str, Values]:
    return {f"m{station}_{lane}": values for lane in range(LANES)}


def test_a_cross_section_that_lies_in_all_lanes_is_found_by_what_goes_on_around() -> None:
    """Vehicles do not vanish: the stations before and after it get their usual traffic."""
    m1 = {f"m1.{lane}" for lane in range(LANES)}
    for values, name in ((SILENT, Quality.NO_HITS), (LOCKED, Quality.LOCKED_ON)):
        for settled_s in (0, 3600):
            street = Street()
            street.run(settled_s)
            assert faulty(street.run(900, **whole(1, values))) == dict.fromkeys(m1, name)


def test_a_road_that_is_closed_is_not_taken_for_lying_loops() -> None:
    """Ahead of the closure all stand, beyond it nobody comes, or a ramp's few."""
    few = (3.0, 0.02, 20.0)
    for beyond in (SILENT, few):
        street = Street()
        street.run(3600)
        closed = whole(0, LOCKED) | whole(1, LOCKED) | whole(2, beyond)
        for _ in range(60):
            labels = faulty(street.run(30, **closed))
            assert Quality.LOCKED_ON not in labels.values()
        street = Street()
        street.run(3600)
        ahead = whole(0, LOCKED) | whole(1, SILENT) | whole(2, beyond)
        assert Quality.NO_HITS not in faulty(street.run(3600, **ahead)).values()


def test_a_lane_that_dies_in_the_first_minutes_is_found_within_ten() -> None:
    """What is usual is the mean so far, not a mean with hours of nothing before."""
    street = Street()
    street.run(300)
    assert faulty(street.run(600, m1_1=SILENT)) == {"m1.1": Quality.NO_HITS}


def test_a_red_signal_is_not_locked_on_but_ten_minutes_beside_moving_lanes_are() -> None:
    street = Street()
    street.run(300)
    assert faulty(street.run(570, stop_0=LOCKED)) == {}
    assert faulty(street.run(30, stop_0=LOCKED)) == {"stop.0": Quality.LOCKED_ON}


def test_values_that_repeat_are_no_change_until_they_change() -> None:
    street = Street()
    frozen = (7.0, 0.07, 21.0)
    assert faulty(street.run(600, m2_1=frozen)) == {}
    assert faulty(street.run(30, m2_1=frozen)) == {"m2.1": Quality.NO_CHANGE}
    assert faulty(street.run(30)) == {}


def test_occupancy_out_of_range_is_a_spike_for_ten_minutes() -> None:
    street = Street()
    assert faulty(street.run(30, m0_0=(8.0, 1.2, 20.0))) == {"m0.0": Quality.OCCUPANCY_SPIKE}
    assert faulty(street.run(570)) == {"m0.0": Quality.OCCUPANCY_SPIKE}
    assert faulty(street.run(30)) == {}


def test_a_jump_that_no_vehicle_caused_is_a_spike() -> None:
    street = Street()
    street.run(30, m0_0=SILENT)
    assert faulty(street.run(30, m0_0=(0.0, 0.6, NAN))) == {}
    assert faulty(street.run(30, m0_0=SILENT)) == {"m0.0": Quality.OCCUPANCY_SPIKE}


@pytest.mark.parametrize("counted", [0, 1, 2])
def test_a_vehicle_that_stood_on_the_loop_is_no_spike(counted: int) -> None:
    street = Street()
    stay = [(0.0, 0.02, NAN), LOCKED, (0.0, 0.4, NAN)]
    stay[counted] = (1.0, stay[counted][1], 3.0)
    for values in (SILENT, *stay, SILENT):
        assert faulty(street.run(30, stop_0=values)) == {}


def test_a_silent_loop_is_missing_and_a_field_s_own_label_is_kept() -> None:
    street = Street()
    assert faulty(street.run(30, m0_0=(NAN, NAN, NAN))) == {"m0.0": Quality.MISSING}
    batch = street.batch()
    quality = batch.quality.copy()
    quality[1] = Quality.ESTIMATED
    out = street.screen.screen(replace(batch, quality=quality), street.now_s)
    assert out.quality[1] == Quality.ESTIMATED


def test_old_and_repeated_batches_are_stale_until_the_next() -> None:
    street = Street()
    batch = street.batch()
    street.screen.screen(batch, street.now_s)
    assert set(street.screen.screen(batch, street.now_s + 1).quality) == {Quality.STALE}
    late = street.batch()
    assert set(street.screen.screen(late, street.now_s + 120).quality) == {Quality.STALE}
    assert faulty(street.run(30)) == {}


def test_batches_from_the_future_or_a_clock_set_back_are_skewed() -> None:
    street = Street()
    ahead = street.batch()
    assert set(street.screen.screen(ahead, street.now_s - 60).quality) == {Quality.CLOCK_SKEW}
    assert faulty(street.run(30)) == {}
    back = replace(street.batch(), end_s=street.now_s - 3600)
    assert set(street.screen.screen(back, street.now_s).quality) == {Quality.CLOCK_SKEW}


def test_unknown_loops_and_bad_settings_are_named_at_once() -> None:
    street = Street()
    batch = street.batch()
    ids = ("x", "y", *street.ids[2:])
    with pytest.raises(ValueError, match="x, y"):
        street.screen.screen(replace(batch, detectors=ids), street.now_s)
    with pytest.raises(ModelError) as error:
        HealthSettings(limits={}, stale_s=0.0, full_occupancy=1.5)
    for part in ("kind tail", "stale_s 0.0", "full_occupancy 1.5"):
        assert part in str(error.value)


def test_a_lane_that_is_seldom_used_is_no_fault() -> None:
    street = Street()
    for _ in range(40):
        assert faulty(street.run(150, m1_0=SILENT)) == {}
        assert faulty(street.run(30, m1_0=(1.0, 0.01, 20.0))) == {}
