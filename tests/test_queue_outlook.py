"""How far a queue reaches and will reach, on a road whose queue is known."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic.estimation import Estimator
from traffic.forecasting import Forecast
from traffic.model import Bottleneck, Detector, DetectorKind, Link, ModelError, Network
from traffic.readings import LoopBatch
from traffic.warning import breakdown, spillback
from traffic.warning.foresight import Foreseer
from traffic.warning.hazard import HazardModel
from traffic.warning.models import WarningModels
from traffic.warning.spillback import QueueWatch, find_last, find_median_s, find_storages
from traffic.warning.stations import StationLog, find_stations

LEADS = (300.0, 600.0, 900.0, 1200.0, 1500.0, 1800.0)
BEGIN_S = 7 * 3600.0


def build_network() -> Network:
    """4 km of two lanes, an exit 3 km and an entry 1 km before the bottleneck t, and a road on."""
    lengths = {"a": 1000, "b": 2000, "c": 1000, "t": 500, "u": 1500, "exit": 300, "entry": 300}
    links = {
        name: Link(name, f"{name}-", f"{name}+", length, 2, 20.0, ((0, 0), (1, 0)), name)
        for name, length in lengths.items()
    }
    places = [(link, at) for link in "abctu" for at in range(250, lengths[link], 500)]
    loops = [
        Detector(f"{link}{at}.{lane}", DetectorKind.MAINLINE, link, lane, at)
        for link, at in places
        for lane in (0, 1)
    ]
    neck = Bottleneck(
        "neck", "t", 3600, 3000, ("a", "b", "c", "t"), ("c750.0", "c750.1"),
        {"a250.0": (1.0, 190.0), "a250.1": (1.0, 190.0)},
    )  # fmt: skip
    turns = {("a", "b"), ("a", "exit"), ("b", "c"), ("entry", "c"), ("c", "t"), ("t", "u")}
    return Network(
        "n", links, frozenset(turns), {}, {}, {}, {loop.id: loop for loop in loops}, {"neck": neck}
    )


NETWORK = build_network()
NECK = NETWORK.bottlenecks["neck"]


def build_batch(now_s: float, tail_m: float = 0.0, flow_vph: float = 3000.0) -> LoopBatch:
    """All stations within the queue creep, the others are free; each lane passes half."""
    stations = find_stations(NETWORK, NECK, 3000.0)
    back_m = {loop: station.back_m for station in stations for loop in station.loops}
    loops = tuple(NETWORK.detectors)
    speed = np.array([4.0 if 0 < back_m[loop] <= tail_m else 19.0 for loop in loops])
    count = np.full(len(loops), flow_vph / 2 / 120)
    return LoopBatch(
        now_s, 30.0, loops, count, np.full(len(loops), 0.1), speed, np.zeros(len(loops), np.int8)
    )


def build_forecast(now_s: float, inflow_vph: float, chance: float = 0.5) -> Forecast:
    inflow = np.tile([inflow_vph - 200, inflow_vph, inflow_vph + 200], (1, len(LEADS), 1))
    return Forecast(now_s, ("neck",), LEADS, inflow, np.full((1, len(LEADS)), chance))


def build_watch(tails_m: list[float]) -> QueueWatch:
    log = StationLog(find_stations(NETWORK, NECK, 3000.0))
    watch = QueueWatch(NETWORK, NECK, log)
    for k, tail_m in enumerate(tails_m):
        log.hear(build_batch(BEGIN_S + 30 * k, tail_m))
        watch.follow()
    return watch


def build_hazard(features: tuple[str, ...], **weights: float) -> HazardModel:
    size = len(features)
    weight = np.array([weights.get(name, 0.0) for name in features])
    return HazardModel(
        "test", LEADS, features, np.full(len(LEADS), -3.0), np.zeros(size), np.ones(size), weight
    )


MODELS = WarningModels(
    build_hazard(breakdown.FEATURES, inflow_excess=40.0),
    build_hazard(spillback.FEATURES, course_beyond=8.0, beyond_now=2.0, course_to_come=8.0),
)


def test_storages_end_at_the_ramps_the_shortest_first() -> None:
    found = find_storages(NETWORK, NECK)
    assert [(one.ramp, one.length_m) for one in found] == [("entry", 1000.0), ("exit", 3000.0)]


def test_stations_run_upstream_to_downstream_and_on_beyond() -> None:
    back_m = [station.back_m for station in find_stations(NETWORK, NECK, 1000.0)]
    assert back_m == [3750, 3250, 2750, 2250, 1750, 1250, 750, 250, -250, -750]


def test_a_queue_reaches_to_its_last_slow_station() -> None:
    back_m = np.array([250.0, 750.0, 1250.0, 1750.0, 2250.0])
    for slow, last in (
        ((0, 0, 0, 0, 0), None),
        ((1, 1, 0, 0, 0), 1),
        ((1, 0, 1, 0, 0), 2),  # a gap between waves
        ((1, 0, 0, 1, 0), 0),  # too long a gap: another jam
        ((0, 0, 0, 1, 1), None),  # no queue of this bottleneck
        ((1, 1, 1, 1, 1), 4),
    ):
        assert find_last(back_m, np.array(slow, bool)) == last


def test_between_stations_a_tail_goes_on_as_it_came() -> None:
    """From 250 m to 750 m in 10 min, 0.83 m/s: 250 m farther in 5 min, and never past 1,250 m."""
    reached = build_watch([0.0] * 10 + [300.0] * 20 + [800.0] * 20 + [800.0] * 60)
    assert reached.tail_m == 1250.0
    way = build_watch([0.0] * 10 + [300.0] * 20 + [800.0] * 14)
    assert 750.0 < way.tail_m < 1250.0
    back = build_watch([0.0] * 10 + [800.0] * 20 + [300.0] * 10)
    assert back.tail_m == 500.0


def test_the_course_of_a_tail_follows_conservation() -> None:
    """With inflow q, discharge d and a density k that standing adds, x(t) = x0 + (q - d) / k t."""
    watch = build_watch([1000.0] * 10)
    leads = np.array(LEADS)
    course = watch.foretell_course_m(leads, np.full(6, 3400.0))
    speed_kmph = (3400 - 3000) / (spillback.LANE_VPKM * 2)
    assert watch.tail_m > 750
    assert course == pytest.approx(watch.tail_m + speed_kmph / 3.6 * leads)


def test_a_queue_that_discharges_more_than_comes_is_gone_and_stays_so() -> None:
    watch = build_watch([1000.0] * 10)
    course = watch.foretell_course_m(np.array(LEADS), np.full(6, 2000.0))
    assert (np.diff(course) <= 0).all()
    assert course[-1] == 0.0


@given(st.floats(0, 4000), st.floats(1500, 5000), st.floats(0, 1))
def test_an_outlook_is_consistent(tail_m: float, inflow_vph: float, chance: float) -> None:
    watch = build_watch([tail_m] * 5)
    outlook = watch.build_outlook(MODELS.queue, np.full(6, inflow_vph), np.full(6, chance))
    assert (np.diff(outlook.passing, axis=2) >= -1e-12).all()  # never less with the lead
    assert (np.diff(outlook.passing, axis=1) <= 1e-12).all()  # never more for a farther place
    assert (np.diff(outlook.farthest_m, axis=1) >= 0).all()  # quantiles in order
    full = np.array([one.length_m <= outlook.tail_m for one in outlook.storages])
    assert (outlook.spillback_s[full] == 0).all()
    assert (outlook.passing[full, -1] == 1).all()


def test_the_median_time_lies_where_half_has_come() -> None:
    assert find_median_s((300.0, 600.0), np.array([0.25, 0.75])) == pytest.approx(450.0)
    assert find_median_s((300.0, 600.0), np.array([0.2, 0.4])) == float("inf")


class Steady:
    """A forecast that foretells one inflow."""

    def __init__(self, inflow_vph: float) -> None:
        self._inflow_vph = inflow_vph

    def update(self, batch: LoopBatch, state: object) -> Forecast:
        return build_forecast(batch.end_s, self._inflow_vph)


def foresee(inflow_vph: float, minutes: float = 20, models: WarningModels | None = MODELS):  # type: ignore[no-untyped-def]
    given = {} if models is None else {"neck": models}
    foreseer = Foreseer(NETWORK, Steady(inflow_vph), given)
    estimator = Estimator(NETWORK)
    for k in range(round(minutes * 2)):
        batch = build_batch(BEGIN_S + 30 * k)
        found = foreseer.update(batch, estimator.update(batch))
    return found


def test_more_inflow_raises_the_chance_of_breakdown() -> None:
    chances = [foresee(vph).breakdown_chance[0] for vph in (3000.0, 3600.0, 4200.0)]
    for less, more in itertools.pairwise(chances):
        assert (less < more).all()
    assert (np.diff(chances[1]) > 0).all()


def test_without_coefficients_the_forecast_keeps_its_own_odds() -> None:
    found = foresee(3600.0, models=None)
    assert found.breakdown_chance == pytest.approx(np.full((1, 6), 0.5))
    assert found.queues == (None,)
    assert found.signs[0].good_share == 1.0


def test_nothing_is_told_while_roads_may_only_be_filling() -> None:
    assert np.isnan(foresee(3600.0, minutes=10).breakdown_chance).all()


def test_flow_that_is_lost_beyond_the_bottleneck_takes_capacity_away() -> None:
    """A third of the flow does not arrive beyond: 2,000 veh/h are all that is left to pass."""
    foreseer = Foreseer(NETWORK, Steady(3000.0), {"neck": MODELS})
    estimator = Estimator(NETWORK)
    found = []
    for k in range(60):
        batch = build_batch(BEGIN_S + 30 * k)
        if k >= 50:
            count = batch.count_veh.copy()
            count[[i for i, loop in enumerate(batch.detectors) if loop.startswith("u1")]] *= 2 / 3
            batch = LoopBatch(
                batch.end_s, 30.0, batch.detectors, count, batch.occupancy, batch.speed_mps,
                batch.quality,
            )  # fmt: skip
        found.append(foreseer.update(batch, estimator.update(batch)))
    assert found[-1].signs[0].held_beyond == pytest.approx(1000 / 3600, abs=0.01)
    assert found[49].breakdown_chance[0, -1] < 0.1 < 0.9 < found[-1].breakdown_chance[0, -1]


def test_models_must_fit_the_network_and_the_forecast() -> None:
    with pytest.raises(ModelError, match="unknown bottleneck nowhere"):
        Foreseer(NETWORK, Steady(3000.0), {"nowhere": MODELS})
    other = build_hazard(breakdown.FEATURES)
    with pytest.raises(ModelError, match="must be the same"):
        WarningModels(
            HazardModel(
                "x", LEADS[:5], other.features, other.intercept[:5], other.mean, other.scale,
                other.weight,
            ),
            MODELS.queue,
        )  # fmt: skip
