"""Estimation against closed forms: q = k v, conservation of vehicles, Little's law."""

import numpy as np
import pytest

from traffic.estimation import EstimationSettings, Estimator, State
from traffic.model import (
    Approach,
    Bottleneck,
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

NAN = float("nan")
FREE_MPS, LENGTH_M = 20.0, 600.0


def build_network() -> Network:
    """A corridor m0 to m4 with loops on m0, m1, m3; a two-lane approach `arm`; a dark link."""
    links = {
        f"m{s}": Link(f"m{s}", f"n{s}", f"n{s + 1}", LENGTH_M, 2, FREE_MPS, ((0, 0), (1, 0)))
        for s in range(5)
    }
    links["far"] = Link("far", "a", "b", 150, 2, 10.0, ((0, 0), (1, 0)))
    links["near"] = Link("near", "b", "j", 150, 2, 10.0, ((0, 0), (1, 0)))
    links["dark"] = Link("dark", "j", "c", 500, 1, 10.0, ((0, 0), (1, 0)))
    loops = [
        Detector(f"m{s}.{lane}", DetectorKind.MAINLINE, f"m{s}", lane, 300)
        for s in (0, 1, 3)
        for lane in (0, 1)
    ]
    for kind, link, position_m in (
        (DetectorKind.STOP_LINE, "near", 147.0),
        (DetectorKind.ADVANCE, "near", 105.0),  # 45 m back: 6 vehicles a lane
        (DetectorKind.TAIL, "far", 30.0),  # 270 m back: 36 vehicles a lane
    ):
        loops += [Detector(f"{kind.value}.{i}", kind, link, i, position_m, "arm") for i in (0, 1)]
    junction = Junction(
        "j",
        (Phase("p", (Movement("t", "near", "dark"),)),),
        (Stage("s", frozenset({"p"})),),
        frozenset(),
        {("p", "p"): Intergreen(3, 1)},
    )
    neck = Bottleneck(
        "neck", "m4", 3500, 3100, tuple(f"m{s}" for s in range(5)), ("m3.0",), {"m0.0": (1, 60)}
    )
    return Network(
        "town",
        links,
        frozenset({(f"m{s}", f"m{s + 1}") for s in range(4)} | {("far", "near"), ("near", "dark")}),
        {"j": junction},
        {"j": SafePlan((("s", 60.0),))},
        {"arm": Approach("arm", "j", ("far", "near"), ("p",), 2, 285)},
        {loop.id: loop for loop in loops},
        {"neck": neck},
    )


class Street:
    """Feeds an estimator; loops not named are empty, None makes one missing."""

    def __init__(self) -> None:
        self.network = build_network()
        self.estimator = Estimator(self.network)
        self.now_s = 25000.0

    def run(
        self, times: int, values: dict[str, tuple[float, float, float] | Quality] | None = None
    ) -> State:
        ids = tuple(self.network.detectors)
        for _ in range(times):
            self.now_s += 30
            table = np.array([(0.0, 0.0, NAN)] * len(ids)).T.copy()
            quality = np.zeros(len(ids), np.int8)
            for prefix, value in (values or {}).items():
                for i, loop in enumerate(ids):
                    if loop.startswith(prefix):
                        if isinstance(value, Quality):
                            quality[i] = value
                        else:
                            table[:, i] = value
            batch = LoopBatch(self.now_s, 30, ids, *table, quality)
            state = self.estimator.update(batch)
        return state


def moving(count: float, speed_mps: float, effective_m: float = 7.0) -> tuple[float, float, float]:
    return count, count * effective_m / speed_mps / 30, speed_mps


def of(state: State, link: str) -> tuple[float, float, float, float]:
    i = state.links.index(link)
    arrays = (state.density_vpkm, state.speed_mps, state.travel_time_s, state.confidence)
    return tuple(float(a[i]) for a in arrays)  # type: ignore[return-value]


@pytest.mark.parametrize("speed_mps", [4.0, 9.0, 19.0])
def test_flow_is_density_times_speed(speed_mps: float) -> None:
    count = 3.0 if speed_mps < 5 else 8.0
    density, speed, time_s, confidence = of(
        Street().run(20, {"m0": moving(count, speed_mps)}), "m0"
    )
    assert speed == pytest.approx(speed_mps, rel=0.01)
    assert density * speed * 3.6 == pytest.approx(count * 120, rel=0.01)  # veh/h and lane
    assert time_s == pytest.approx(LENGTH_M / speed_mps, rel=0.01)
    assert confidence == pytest.approx(1, abs=0.01)


def test_speed_over_lanes_is_the_harmonic_mean() -> None:
    # Equal counts at 10 and 20 m/s: 2 / (1/10 + 1/20) = 13.33, not 15
    state = Street().run(20, {"m0.0": moving(5, 10), "m0.1": moving(5, 20)})
    assert of(state, "m0")[1] == pytest.approx(40 / 3, rel=0.01)


def test_effective_length_is_learned_in_free_flow() -> None:
    street = Street()
    wrong = of(street.run(10, {"m0": moving(8, 19, effective_m=5)}), "m0")[0]
    learned = of(street.run(400, {"m0": moving(8, 19, effective_m=5)}), "m0")[0]
    truth = 8 / 30 / 19 * 1000
    assert wrong < 0.85 * truth
    assert learned == pytest.approx(truth, rel=0.02)


def test_a_standing_queue_has_no_speed_and_a_bounded_travel_time() -> None:
    density, speed, time_s, _ = of(Street().run(30, {"m0": (0.0, 1.0, NAN)}), "m0")
    assert density == pytest.approx(1000 / 7, rel=0.01)
    assert speed == pytest.approx(0, abs=0.01)
    assert time_s == pytest.approx(LENGTH_M / 1.0)


def test_an_empty_road_has_no_speed_but_a_free_flow_time() -> None:
    density, speed, time_s, confidence = of(Street().run(20), "m0")
    assert density == 0
    assert np.isnan(speed)
    assert time_s == pytest.approx(LENGTH_M / FREE_MPS)
    assert confidence > 0.9


def test_what_nothing_sees_is_nan_with_a_free_flow_time_of_low_confidence() -> None:
    density, speed, time_s, confidence = of(Street().run(20), "dark")
    assert np.isnan(density)
    assert np.isnan(speed)
    assert time_s == pytest.approx(50)
    assert confidence == pytest.approx(0.1)


def test_a_corridor_is_interpolated_between_loops_only() -> None:
    state = Street().run(20, {"m1": moving(4, 10), "m3": moving(4, 20)})
    density, speed, _, confidence = of(state, "m2")
    assert np.isnan(density)
    assert speed == pytest.approx(15, rel=0.01)
    assert confidence == pytest.approx(0.5, abs=0.01)
    assert np.isnan(of(state, "m4")[1])


def test_bad_loops_lower_confidence_and_then_the_link_is_unseen() -> None:
    street = Street()
    street.run(20, {"m0": moving(8, 19)})
    half = of(street.run(20, {"m0.0": moving(8, 19), "m0.1": Quality.CHATTER}), "m0")
    assert half[1] == pytest.approx(19, rel=0.01)
    assert half[3] == pytest.approx(0.5, abs=0.01)
    none = of(street.run(20, {"m0": Quality.MISSING}), "m0")
    assert np.isnan(none[0])
    assert none[3] == pytest.approx(0.1)


HELD = {
    "tail": moving(3, 9),
    "advance": (0.0, 1.0, NAN),
    "stop_line": (0.0, 1.0, NAN),
}


def test_a_held_queue_grows_by_what_enters() -> None:
    street = Street()
    flowing = {k: moving(3, 9) for k in ("tail", "advance", "stop_line")}
    begin = street.run(20, flowing).queue_veh[0]
    # 2 lanes x 3 vehicles each 30 s, and nothing leaves. The advance loops say that it is at
    # least 2 x 6 from the first held interval on; conservation holds after.
    first = street.run(1, HELD).queue_veh[0]
    later = street.run(5, HELD).queue_veh[0]
    assert begin < 2 * 6
    assert first >= 2 * 45 / 7.5
    assert later - first == pytest.approx(5 * 6)


def test_a_discharging_queue_falls_by_what_leaves() -> None:
    street = Street()
    before = street.run(8, HELD).queue_veh[0]
    # 2 lanes x 6 vehicles leave and 2 x 3 enter each 30 s: 6 fewer.
    after = street.run(3, HELD | {"stop_line": (6.0, 0.5, 6.0)}).queue_veh[0]
    # The share under way is smoothed, hence the tolerance.
    assert before - after == pytest.approx(3 * 6, abs=0.1)


def test_a_queue_beyond_the_storage_is_full_and_spills_back() -> None:
    street = Street()
    state = street.run(30, HELD)
    assert state.storage_share[0] > 0.9
    assert not state.spillback[0]
    covered = HELD | {"tail": (0.0, 1.0, NAN)}
    assert not street.run(1, covered).spillback[0]
    assert street.run(1, covered).spillback[0]
    assert not street.run(1, HELD).spillback[0]


def test_an_empty_stop_line_ends_the_queue_whatever_was_counted() -> None:
    street = Street()
    assert street.run(8, HELD).queue_veh[0] > 20
    state = street.run(1)
    assert state.queue_veh[0] == 0
    assert state.storage_share[0] == 0


def test_an_approach_s_delay_is_queue_over_throughput() -> None:
    street = Street()
    flowing = HELD | {"stop_line": (3.0, 0.9, 6.0)}
    state = street.run(40, flowing)
    queue, time_s = state.queue_veh[0], of(state, "near")[2]
    assert queue > 10
    assert time_s == pytest.approx(150 / 10 + queue / (6 / 30), rel=0.01)


def test_an_approach_that_nothing_hears_is_unknown() -> None:
    dead = dict.fromkeys(("tail", "advance", "stop_line"), Quality.MISSING)
    state = Street().run(20, dead)
    assert np.isnan(state.queue_veh[0])
    assert np.isnan(state.storage_share[0])
    assert state.approach_confidence[0] == 0


def test_a_dead_lane_is_taken_to_be_like_the_other_with_less_confidence() -> None:
    whole, half = Street(), Street()
    sure = whole.run(6, HELD)
    unsure = half.run(6, HELD | {"tail.1": Quality.NO_HITS})
    assert unsure.queue_veh[0] == pytest.approx(sure.queue_veh[0])
    assert unsure.approach_confidence[0] < 0.6 * sure.approach_confidence[0]


def test_bad_settings_are_named_at_once() -> None:
    with pytest.raises(ModelError) as error:
        EstimationSettings(spacing_m=0.0, free_occupancy=1.5, effective_length_m=20.0)
    for part in ("spacing_m 0.0", "free_occupancy 1.5", "effective_length_m 20.0"):
        assert part in str(error.value)
