"""Incident detection: the sums, the two classics by hand, alarms and budgets, one blocked lane."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_health import build_network

from traffic.incidents.background import HIGH, TRUSTED, Background
from traffic.incidents.chance import LARGEST, OLD_S, YOUNG_S, Calibration, fit_calibration
from traffic.incidents.detection import (
    CEILING,
    DRIFT,
    IncidentDetector,
    IncidentFinding,
    accumulate,
)
from traffic.incidents.evidence import CROWD, REMNANT, update_crowding, update_cusum
from traffic.incidents.figures import FIGURES, FLOOR, LARGEST_OF
from traffic.incidents.normal import Usual
from traffic.incidents.peers import (
    CaliforniaLimits,
    CaliforniaState,
    Occupancies,
    run_california,
    run_snd,
    step_california,
)
from traffic.incidents.raising import SAME_EVENT_S, CalibrationDay, find_threshold, raise_all
from traffic.incidents.sections import Layout, SectionKind, build_sections, find_neighbors
from traffic.incidents.weights import Weights, fit_weights
from traffic.learned import put_back, take_out
from traffic.model import Detector, DetectorKind, ModelError
from traffic.readings import LoopBatch

NETWORK = build_network()
LOOPS = tuple(NETWORK.detectors)


def test_a_silent_lane_sums_by_its_expected_vehicles() -> None:
    """S = n e (1 - r) after n intervals without a vehicle where e were expected, up to FLOOR."""
    sums = np.zeros(1)
    for n in range(1, 40):
        sums = update_cusum(sums, np.zeros(1), np.array([1.5]), REMNANT)
        assert sums[0] == pytest.approx(min(n * 1.5 * (1 - REMNANT), FLOOR))


def test_usual_traffic_drives_the_sum_down() -> None:
    """A mean count gives e (ln r + 1 - r) < 0: Page's sum stays near 0."""
    assert np.log(REMNANT) + 1 - REMNANT < 0
    rng = np.random.default_rng(1)
    sums, high = np.zeros(200), np.zeros(200)
    for _ in range(300):
        sums = update_cusum(sums, rng.poisson(4.0, 200).astype(float), np.full(200, 4.0), REMNANT)
        high = np.maximum(high, sums)
    # Wald: P(S >= h) <= e^-h per excursion; some 200 x 300 looks stay below 12.
    assert high.max() < 12.0


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=60))
def test_suspicion_stays_within_its_bounds_and_forgets(odds: list[float]) -> None:
    levels = np.zeros(1)
    for one in odds:
        before = levels.copy()
        levels = accumulate(levels, np.array([one]))
        assert 0.0 <= levels[0] <= CEILING
        assert levels[0] - before[0] <= LARGEST + DRIFT + 1e-12
    for _ in range(20):
        levels = accumulate(levels, np.array([-LARGEST]))
    assert levels[0] == 0.0


def test_a_missing_reading_leaves_the_sum_as_it_was() -> None:
    assert update_cusum(np.array([3.0]), np.array([np.nan]), np.array([2.0]), REMNANT)[0] == 3.0


def test_a_crowded_lane_sums_by_its_odds() -> None:
    """S = sum of n ln c - N ln(1 + (c - 1) p); a share c p / (1 + (c - 1) p) makes it grow most."""
    sums = np.zeros(1)
    for n in range(1, 6):
        sums = update_crowding(sums, np.array([4.0]), np.array([6.0]), np.array([1 / 3]))
        each = 4 * np.log(CROWD) - 6 * np.log(1 + (CROWD - 1) / 3)
        assert sums[0] == pytest.approx(n * each)
    rng = np.random.default_rng(1)
    usual, shifted = np.zeros(200), np.zeros(200)
    share = np.full(200, 0.3)
    more = CROWD * 0.3 / (1 + (CROWD - 1) * 0.3)
    total = np.full(200, 20.0)
    for _ in range(40):
        usual = update_crowding(usual, rng.binomial(20, 0.3, 200).astype(float), total, share)
        shifted = update_crowding(shifted, rng.binomial(20, more, 200).astype(float), total, share)
    assert np.median(usual) < 2.0
    assert np.median(shifted) == FLOOR


def test_a_background_is_what_usual_intervals_stay_below() -> None:
    """Uniform figures stay below q of their largest in a share q; n intervals weigh n : TRUSTED."""
    rng = np.random.default_rng(4)
    background = Background(2)
    largest = np.array([LARGEST_OF[name] for name in FIGURES])
    of_kind = 0.5 * largest * np.ones((2, 1))
    assert background.tell(of_kind) == pytest.approx(of_kind)
    for _ in range(4000):
        background.learn(rng.random((2, len(FIGURES))) * largest, np.array([True, False]))
    told = background.tell(of_kind)
    own = (4000 * HIGH + TRUSTED * 0.5) / (4000 + TRUSTED)
    assert told[0] / largest == pytest.approx(np.full(len(FIGURES), own), abs=0.015)
    assert told[1] == pytest.approx(of_kind[1])


def test_a_background_goes_on_after_a_restart() -> None:
    rng = np.random.default_rng(8)
    before, after = teach(), Usual(Layout(build_sections(NETWORK), LOOPS))
    for _ in range(300):
        before.background.learn(rng.random((2, len(FIGURES))), np.array([True, True]))
    put_back(after, take_out(before))
    of_kind = np.zeros((2, len(FIGURES)))
    assert (after.background.tell(of_kind) > 0).all()
    assert (after.background.tell(of_kind) == before.background.tell(of_kind)).all()


def test_figures_that_stay_at_nothing_have_no_background() -> None:
    background = Background(1)
    for _ in range(500):
        background.learn(np.zeros((1, len(FIGURES))), np.array([True]))
    assert (background.tell(np.zeros((1, len(FIGURES)))) == 0.0).all()


def test_california_7_walks_its_states_by_hand() -> None:
    """T1 = 10, T2 = 0.5, T3 = 12 percent; each row: above, below, the state that follows."""
    limits = CaliforniaLimits(10.0, 0.5, 12.0)
    course = [
        (20.0, 15.0, CaliforniaState.FREE),  # difference 5 < T1
        (40.0, 25.0, CaliforniaState.FREE),  # relative 0.375 < T2
        (40.0, 15.0, CaliforniaState.FREE),  # relative 0.625, but below 15 > T3
        (40.0, 10.0, CaliforniaState.TENTATIVE),
        (40.0, 30.0, CaliforniaState.FREE),  # does not persist
        (40.0, 10.0, CaliforniaState.TENTATIVE),
        (14.0, 7.0, CaliforniaState.CONFIRMED),  # persistence asks for T2 alone
        (14.0, 6.0, CaliforniaState.CONTINUING),
        (30.0, 13.0, CaliforniaState.CONTINUING),
        (30.0, 29.0, CaliforniaState.FREE),
        (0.0, 0.0, CaliforniaState.FREE),
        (float("nan"), 5.0, CaliforniaState.FREE),
    ]
    states = np.zeros(1, int)
    for above, below, expected in course:
        states = step_california(states, np.array([above]), np.array([below]), limits)
        assert states[0] == expected
    day = np.array([[[above], [below]] for above, below, _ in course])
    assert np.flatnonzero(run_california(day, limits)[:, 0]).tolist() == [6, 7, 8]


def test_the_standard_normal_deviate_by_hand() -> None:
    """Before: 8, 12 percent: mean 10, deviation 2. Then 16 is 3; 30 after 12, 16 is 8."""
    day = np.zeros((4, 2, 1))
    day[:, 0, 0] = [8.0, 12.0, 16.0, 30.0]
    assert run_snd(day, 2, is_confirmed=False)[:, 0].tolist() == [0.0, 0.0, 3.0, 8.0]
    assert run_snd(day, 2, is_confirmed=True)[:, 0].tolist() == [0.0, 0.0, 0.0, 3.0]


def test_sections_lie_between_stations_and_neighbors_share_them() -> None:
    sections = build_sections(NETWORK)
    assert [s.kind for s in sections] == [SectionKind.MAINLINE] * 2
    assert [s.links for s in sections] == [("m0", "m1"), ("m1", "m2")]
    assert sections[0].length_m == 500.0
    assert find_neighbors(NETWORK, sections).all()


NEAR = np.array([[True, True, False], [True, True, False], [False, False, True]])


def test_one_event_raises_one_alarm_until_it_is_over() -> None:
    levels = np.zeros((80, 3))
    levels[10:40, 0] = 8.0
    levels[12:40, 1] = 9.0  # its queue, next door
    levels[20, 2] = 5.0  # elsewhere
    levels[70:, 0] = 8.0
    end_s = 30.0 * np.arange(1, 81)
    alarms = raise_all(levels, end_s, NEAR, 5.0)
    assert end_s[70] - end_s[12] > SAME_EVENT_S
    assert [(a.section, a.time_s) for a in alarms] == [
        (0, end_s[10]), (2, end_s[20]), (0, end_s[70]),
    ]  # fmt: skip


def build_calibration_days() -> list[CalibrationDay]:
    rng = np.random.default_rng(3)
    days = []
    for _ in range(6):
        levels = rng.exponential(2.0, (120, 3)) * (rng.random((120, 3)) < 0.2)
        excused = np.zeros((120, 3), bool)
        levels[50:60, 1] += 30.0
        excused[45:80, 1] = True
        days.append(CalibrationDay(levels, 30.0 * np.arange(1, 121), excused))
    return days


@pytest.mark.parametrize("budget", [0.2, 0.75, 3.0])
def test_a_budget_is_kept_and_a_larger_one_lowers_the_threshold(budget: float) -> None:
    days = build_calibration_days()
    near = np.eye(3, dtype=bool)
    threshold = find_threshold(days, near, budget)
    false = 0
    for day in days:
        row = {t: i for i, t in enumerate(day.end_s.tolist())}
        alarms = raise_all(day.levels, day.end_s, near, threshold)
        false += sum(not day.is_excused[row[a.time_s], a.section] for a in alarms)
        assert any(a.section == 1 and day.is_excused[row[a.time_s], 1] for a in alarms)
    assert false <= budget * 6
    assert find_threshold(days, near, 2 * budget) <= threshold


def test_a_budget_that_cannot_be_says_all() -> None:
    with pytest.raises(ValueError, match=r"no days to calibrate on; false_per_hour 0 must"):
        find_threshold([], NEAR, 0)


def test_weights_recover_the_odds_that_made_them() -> None:
    """Logistic data of base -2 and slope 1.5 on the first figure, none on the others."""
    rng = np.random.default_rng(5)
    figures = rng.normal(size=(20000, len(FIGURES)))
    chance = 1 / (1 + np.exp(-(-2 + 1.5 * figures[:, 0])))
    fitted = fit_weights(figures, rng.random(20000) < chance)
    assert fitted.base == pytest.approx(-2, abs=0.1)
    assert fitted.by_figure[FIGURES[0]] == pytest.approx(1.5, abs=0.1)
    assert max(abs(fitted.by_figure[name]) for name in FIGURES[1:]) < 0.1


def test_no_figure_speaks_against_a_blockage() -> None:
    rng = np.random.default_rng(6)
    figures = rng.normal(size=(5000, len(FIGURES)))
    chance = 1 / (1 + np.exp(-(-1 - 1.5 * figures[:, 0] + figures[:, 1])))
    fitted = fit_weights(figures, rng.random(5000) < chance)
    assert fitted.by_figure[FIGURES[0]] == 0.0
    assert fitted.by_figure[FIGURES[1]] > 0.5


def test_a_chance_recovers_how_often_findings_came_true() -> None:
    """Logistic data of 0.5 + 0.4 l - 2 a - y: l within 6, a and y by age, see Calibration."""
    rng = np.random.default_rng(7)
    odds, age_s = rng.uniform(-9, 9, 40000), rng.uniform(0, 1.5 * OLD_S, 40000)
    told = 0.5 + 0.4 * np.clip(odds, -LARGEST, LARGEST) - 2 * np.minimum(age_s / OLD_S, 1)
    told -= np.maximum(1 - age_s / YOUNG_S, 0)
    came = rng.random(40000) < 1 / (1 + np.exp(-told))
    fitted = fit_calibration(odds, age_s, came)
    found = (fitted.base, fitted.by_odds, fitted.by_age, fitted.by_youth)
    assert found == pytest.approx((0.5, 0.4, -2, -1), abs=0.2)
    assert fitted.tell_all(odds, age_s) == pytest.approx(1 / (1 + np.exp(-told)), abs=0.05)
    assert Calibration(0.0, 1.0, 0.0, 0.0).tell(0.0, 99.0) == 0.5
    assert Calibration(0.0, 1.0, -1.0, 0.0).tell(50.0, 9e9) == pytest.approx(1 / (1 + np.exp(-5)))
    assert Calibration(2.0, 1.0, 0.0, -2.0).tell(0.0, 0.0) == 0.5
    with pytest.raises(ValueError, match="all true, or none"):
        fit_calibration(odds, age_s, np.ones(40000, bool))


def test_weights_and_detectors_that_cannot_be_say_all() -> None:
    with pytest.raises(ModelError) as told:
        Weights(np.inf, {**dict.fromkeys(FIGURES[1:], 0.0), "odd": 1.0})
    assert len(told.value.problems) == 3
    with pytest.raises(ModelError, match="0 intervals with a blockage, needs 20"):
        fit_weights(np.zeros((30, len(FIGURES))), np.zeros(30, bool))
    with pytest.raises(ModelError) as told:
        IncidentDetector(NETWORK, threshold=0.0, weights={})
    assert len(told.value.problems) == 3


class Road:
    """Three lanes of 720 veh/h each; lane 1 may be closed between the two stations."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.now_s = 25200.0

    def batch(self, blocked: bool = False) -> LoopBatch:
        self.now_s += 30.0
        mainline = np.array([name.startswith("m") for name in LOOPS])
        count = np.where(mainline, self.rng.poisson(6.0, len(LOOPS)), 0).astype(float)
        speed = np.where(mainline, 20.0, np.nan)
        if blocked:
            for name, share, mps in (
                ("m1.1", 0.0, np.nan), ("m1.0", 1.4, 20.0), ("m1.2", 1.4, 20.0),
                ("m2.1", 0.6, 20.0), ("m0.0", 0.7, 4.0), ("m0.1", 0.5, 3.0), ("m0.2", 0.7, 4.0),
            ):  # fmt: skip
                i = LOOPS.index(name)
                count[i], speed[i] = np.round(count[i] * share), mps
        occupancy = np.nan_to_num(count * 6.0 / speed / 30.0)
        speed[count == 0] = np.nan
        quality = np.zeros(len(LOOPS), np.int8)
        return LoopBatch(self.now_s, 30.0, LOOPS, count, occupancy, speed, quality)


def teach() -> Usual:
    usual = Usual(Layout(build_sections(NETWORK), LOOPS))
    for seed in range(4):
        road = Road(seed)
        for _ in range(120):
            usual.learn(road.batch())
    return usual


def test_a_blocked_lane_is_found_named_and_cleared() -> None:
    detector = IncidentDetector(NETWORK, teach())
    road = Road(9)
    assert [detector.update(road.batch()) for _ in range(40)] == [()] * 40
    begun_s = road.now_s
    found = [f for _ in range(20) for f in detector.update(road.batch(blocked=True))]
    assert {f.id for f in found} == {"incident@1"}
    last = found[-1]
    assert (last.section, last.links, last.lane) == ("m0@250", ("m0", "m1"), 1)
    assert begun_s - 60 <= last.onset_s <= last.found_s <= begun_s + 420
    assert last.probability > 0.5
    assert list(last.evidence)
    assert set(last.loops) == {f"m{s}.{lane}" for s in (0, 1) for lane in range(3)}
    assert "between the loops at m0 250 m and m1 250 m, lane 2 from the right" in last.text["en"]
    assert "m0 250 米与 m1 250 米线圈之间，右起第 2 车道" in last.text["zh"]
    told = [f for _ in range(60) for f in detector.update(road.batch())]
    assert told[-1].cleared_s is not None
    assert [f.cleared_s for f in told].count(None) == len(told) - 1


STREET_LOOPS = {
    f"{kind.value}.{lane}": Detector(f"{kind.value}.{lane}", kind, "arm", lane, at_m, "arm")
    for kind, at_m in ((DetectorKind.TAIL, 20.0), (DetectorKind.STOP_LINE, 196.0))
    for lane in (0, 1)
}


def run_street(detector: IncidentDetector, day: int, blocked_from: int) -> list[IncidentFinding]:
    """An hour of a street with two lanes; from one interval on nobody gets through."""
    rng, found = np.random.default_rng(day), []
    for k in range(120):
        is_blocked = k >= blocked_from
        count = rng.poisson(4.0, 4).astype(float) * (not is_blocked)
        occupancy = np.array([1.0, 1.0, 0.0, 0.0]) if is_blocked else np.full(4, 0.1)
        speed = np.where(count > 0, 9.0, np.nan)
        end_s = 86400.0 * day + 25200.0 + 30.0 * (k + 1)
        batch = LoopBatch(
            end_s, 30.0, tuple(STREET_LOOPS), count, occupancy, speed, np.zeros(4, np.int8)
        )
        found += detector.update(batch)
    return found


def test_of_a_street_nothing_is_said_before_its_time_of_day_was_heard_once() -> None:
    network = replace(NETWORK, detectors=STREET_LOOPS)
    assert [s.kind for s in build_sections(network)] == [SectionKind.STREET]
    detector = IncidentDetector(network)
    assert run_street(detector, 0, blocked_from=60) == []
    detector = IncidentDetector(network)
    assert run_street(detector, 0, blocked_from=120) == []
    assert run_street(detector, 1, blocked_from=60) != []


def test_the_finder_takes_no_other_loops() -> None:
    batch = Road().batch()
    other = LoopBatch(
        batch.end_s, 30.0, ("x",), *(np.zeros(1) for _ in range(3)), np.zeros(1, np.int8)
    )
    with pytest.raises(ValueError, match="other loops"):
        IncidentDetector(NETWORK).update(other)
    with pytest.raises(ValueError, match="other loops"):
        teach().learn(other)


def test_peers_read_occupancies_in_percent_at_both_ends() -> None:
    ends = Occupancies(build_sections(NETWORK), LOOPS)
    told = ends.update(Road().batch())
    assert told.shape == (2, 2)
    assert (told > 1).all()
    assert (told < 30).all()
