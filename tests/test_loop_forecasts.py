"""Forecasts for loops: the statistics behind them, and what holds for every forecast."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_days import make_speeds

from traffic.forecasting.calendar import Calendar
from traffic.forecasting.challenge import Referee
from traffic.forecasting.loops import MIXTURE, Learning, LoopForecast, LoopForecaster
from traffic.forecasting.mixture import Mixture
from traffic.forecasting.neighbors import build_neighbors
from traffic.forecasting.profile import Profile
from traffic.forecasting.ridge import OwnRidge, PooledRidge
from traffic.forecasting.settings import LoopForecastSettings
from traffic.forecasting.spread import PROMISED, Spread, Watch
from traffic.model import ModelError

SMALL = LoopForecastSettings(
    interval_s=900, leads=4, most=60, bent=20, settle=96, onset_below=18, onset_from=20,
    onset_leads=2,
)  # fmt: skip
PER_DAY = 96


def run(
    values: np.ndarray, settings: LoopForecastSettings = SMALL, calendar: Calendar | None = None
) -> tuple[LoopForecaster, list[LoopForecast]]:
    size = values.shape[1]
    near = build_neighbors(size, [(i, i + 1, 1.0) for i in range(size - 1)])
    forecaster = LoopForecaster(size, calendar or Calendar(), settings, near)
    step_s = settings.interval_s
    return forecaster, [forecaster.update((t + 1) * step_s, row) for t, row in enumerate(values)]


def test_recursive_ridge_is_batch_ridge() -> None:
    """With forgetting 1: coefficients = (X'X + P)^-1 X'Y over all rows (Hoerl, Kennard 1970)."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 5)).astype(np.float32)
    y = rng.normal(size=(200, 2)).astype(np.float32)
    penalty = np.array([1.0, 2.0, 3.0, 0.5, 4.0])
    ridge = PooledRidge(penalty, 2, 1.0)
    for part in np.split(np.arange(200), 20):
        ridge.learn(x[part], y[part])
    batch = np.linalg.solve(x.T @ x + np.diag(penalty), x.T @ y)
    assert ridge.solve() == pytest.approx(batch, rel=1e-4, abs=1e-6)
    first = np.linalg.solve(x[:, :3].T @ x[:, :3] + np.diag(penalty[:3]), x[:, :3].T @ y)
    assert ridge.solve(3) == pytest.approx(first, rel=1e-4, abs=1e-6)


def test_forgetting_weighs_rows_by_age() -> None:
    """With forgetting f a row of age k weighs f^k, so that ridge is weighted least squares."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 3)).astype(np.float32)
    y = rng.normal(size=(60, 1)).astype(np.float32)
    ridge = PooledRidge(np.ones(3), 1, 0.9)
    for i in range(60):
        ridge.learn(x[i : i + 1], y[i : i + 1])
    weight = 0.9 ** np.arange(59, -1, -1)
    expected = np.linalg.solve((x * weight[:, None]).T @ x + np.eye(3), (x * weight[:, None]).T @ y)
    assert ridge.solve() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("forgetting", [1.0, 0.5])
def test_own_coefficients_are_those_of_a_normal_prior(forgetting: float) -> None:
    """(G + s G_all / n + e I)^-1 m: s rows of the common kind pull a detector's deviation to 0.

    Forgetting of 0.5 brings the scaled sums back many times on the way.
    """
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 2, 3)).astype(np.float32)
    r = rng.normal(size=(40, 2, 1)).astype(np.float32)
    own = OwnRidge(2, 3, 1, forgetting, strength=10)
    known = rng.random((40, 2)) < 0.8
    for i in range(40):
        own.learn(x[i], r[i], known[i])
    own.solve(slice(0, 2))
    weight = forgetting ** np.arange(39, -1, -1)[:, None] * known
    pooled = np.einsum("nd,ndi,ndj->ij", weight, x, x) / weight.sum()
    for d in range(2):
        gram = (x[:, d] * weight[:, d, None]).T @ x[:, d]
        moments = (x[:, d] * weight[:, d, None]).T @ r[:, d]
        expected = np.linalg.solve(gram + 10 * pooled + 1e-3 * np.eye(3), moments)
        assert own.coefficients[d] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_independent_forecasts_are_weighted_by_inverse_variance() -> None:
    """Of unbiased forecasts with independent errors: w ~ 1 / variance (Bates, Granger 1969)."""
    rng = np.random.default_rng(4)
    mixture = Mixture(2, 1, 1.0)
    assert list(mixture.weights[0]) == [1, 0]  # the first speaks before anything is known
    mixture.learn(0, (rng.normal(size=(2, 100_000)) * [[1.0], [2.0]]).astype(np.float32))
    mixture.solve()
    assert mixture.weights[0] == pytest.approx([0.8, 0.2], abs=0.01)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_weights_are_shares_and_beat_every_single_forecast(seed: int) -> None:
    errors = np.random.default_rng(seed).normal(size=(4, 50)).astype(np.float32)
    errors = errors + errors[:1] * np.float32(seed % 3)
    mixture = Mixture(4, 1, 1.0)
    mixture.learn(0, errors)
    mixture.solve()
    weights = mixture.weights[0]
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    assert np.square(weights @ errors).sum() <= np.square(errors).sum(axis=1).min() * 1.001


def test_a_profile_is_a_weighted_mean_by_time_and_day_type() -> None:
    """(sum w x + p m) / (sum w + p), w a normal curve over slots, m the mean of all readings."""
    profile = Profile(1, 4, 2, widths=(0.5,), prior=2.0, keep=1.0)
    for value in (1.0, 3.0):
        profile.learn(1, 0, np.array([value], np.float32))
    profile.learn(2, 0, np.array([10.0], np.float32))
    profile.learn(1, 1, np.array([np.nan], np.float32))
    mean, near = 14 / 3, np.exp(-0.5 * (1 / 0.5) ** 2)
    near = near if 1 <= 1.5 * 0.5 else 0.0  # curves end at 1.5 deviations
    expected = (1 + 3 + near * 10 + 2 * mean) / (2 + near + 2)
    assert profile.look_up(1, 0)[0, 0] == pytest.approx(expected)
    assert profile.look_up(1, 1)[0, 0] == pytest.approx(mean)  # nothing seen on such days yet


def test_a_calendar_follows_the_clock_through_its_changes() -> None:
    calendar = Calendar(5, holidays=frozenset({2}), shifts=((86400.0 + 7200, 3600.0),))
    assert calendar.locate(0.0) == (0.0, 1)  # Saturday
    assert calendar.locate(86400.0 + 7199) == (7199.0, 1)
    assert calendar.locate(86400.0 + 7200) == (7200.0 + 3600, 1)
    assert calendar.locate(2 * 86400.0) == (3600.0, 1)  # Monday, but a holiday
    assert calendar.locate(3 * 86400.0) == (3600.0, 0)


def test_quantiles_cover_what_they_promise_and_again_after_a_change() -> None:
    """Adaptive conformal: misses average to the promised share whatever the errors do.

    |mean of misses - alpha| <= (max(a, 1 - a) + gain) / (gain T) (Gibbs, Candes 2021, prop. 4.1).
    """
    rng = np.random.default_rng(5)
    spread = Spread(1, 0.999, 0.05)
    value = np.ones((1, 200), np.float32)
    rows = np.arange(200)
    hits = []
    for t in range(900):
        size = spread.expect(np.zeros((1, 200), np.float32))
        band = spread.build(value, size, np.zeros(200, np.float32), rows)
        # Errors turn three times as large, skewed, without a word.
        error = rng.normal(0, 0.05, 200) if t < 400 else rng.gamma(2, 0.1, 200) - 0.1
        came = (1 + error).astype(np.float32)
        below, above = came < band.quantiles[0, 0], came > band.quantiles[2, 0]
        hits.append(1 - below.mean() - above.mean())
        spread.learn(0, came - value[0], band)
        spread.adapt(0, band, np.ones(200, bool), below, above)
        spread.solve(0)
    assert np.mean(hits[100:400]) == pytest.approx(PROMISED, abs=0.01)
    assert np.mean(hits[600:]) == pytest.approx(PROMISED, abs=0.015)


def test_lost_coverage_is_noticed_and_forgiven() -> None:
    watch = Watch(4, 2, memory=10, least=0.8, least_own=0.6)
    known = np.ones((2, 4), bool)
    outside = known.copy()
    outside[1] = False  # the second lead time misses all, and so half of each detector's
    for _ in range(20):
        watch.learn(outside, known)
    assert list(watch.trusted_leads) == [True, False]
    assert not watch.trusted_detectors.any()
    for _ in range(40):
        watch.learn(known, known)
    assert watch.trusted_leads.all()
    assert watch.trusted_detectors.all()


def test_what_was_not_measured_is_no_miss() -> None:
    watch = Watch(3, 1, memory=5, least=0.8, least_own=0.6)
    for _ in range(50):
        watch.learn(np.zeros((1, 3), bool), np.zeros((1, 3), bool))
    assert watch.coverage[0] == pytest.approx(PROMISED)


def test_a_challenger_speaks_only_while_it_wins() -> None:
    referee = Referee(1, memory=20, margin=0.05, least=10)
    came = np.zeros(5, np.float32)
    good, fair, bad = (np.full(5, v, np.float32) for v in (0.5, 1.0, 2.0))
    spoke = []
    for t in range(120):
        referee.judge(0, fair, good if t < 60 else bad, came)
        spoke.append(bool(referee.promoted[0]))
    assert not any(spoke[:9])
    assert all(spoke[9:60])
    assert not any(spoke[80:])
    judged = referee.ratio
    referee.judge(0, fair, good, np.full(5, np.nan, np.float32))
    assert referee.ratio == pytest.approx(judged)


class Oracle:
    """A challenger that knows the values to come."""

    name = "oracle"

    def __init__(self, values: np.ndarray, leads: int) -> None:
        self._values, self._leads = values, leads
        self.row, self.scale = 0, np.ones(values.shape[1], np.float32)
        self.heard = 0

    def forecast(self, features: np.ndarray, value: np.ndarray) -> np.ndarray | None:
        at = np.minimum(self.row + 1 + np.arange(self._leads), len(self._values) - 1)
        return self._values[at] / self.scale

    def learn(self, features: np.ndarray, value: np.ndarray, came: np.ndarray) -> None:
        self.heard += 1
        assert features.shape[0] == value.shape[1] == came.shape[1]


def test_who_speaks_is_in_each_forecast() -> None:
    values = make_speeds(3, 3)
    values[:] = np.round(values)
    oracle = Oracle(values, SMALL.leads)
    forecaster = LoopForecaster(3, Calendar(), replace(SMALL, trial_least=8), None, oracle)
    spoken = []
    for t, row in enumerate(values):
        # The course scales by each detector's mean of its first day.
        oracle.scale, oracle.row = values[: min(t + 1, PER_DAY)].mean(axis=0), t
        spoken.append(forecaster.update((t + 1) * 900.0, row))
    assert spoken[5].model == ("persistence",) * 4
    assert spoken[15].model == (MIXTURE,) * 4
    assert spoken[-1].model == ("oracle",) * 4
    assert spoken[-10].value[0] == pytest.approx(values[-9], rel=1e-3)
    assert oracle.heard > 0


def test_forecasts_beat_persistence_and_cover() -> None:
    values = make_speeds(9)
    _, made = run(values)
    begin, leads = 5 * PER_DAY, SMALL.leads
    errors, still, inside = [], [], []
    for t in range(begin, len(values) - leads):
        came = values[t + 1 : t + 1 + leads]
        errors.append(made[t].value - came)
        still.append(values[t] - came)
        inside.append((came >= made[t].quantiles[0]) & (came <= made[t].quantiles[2]))
    assert np.square(errors).mean() < 0.8 * np.square(still).mean()
    assert np.mean(inside) == pytest.approx(PROMISED, abs=0.03)


def test_the_same_readings_give_the_same_bytes() -> None:
    """Rule 30."""
    values = make_speeds(3)
    (_, one), (_, other) = run(values), run(values)
    for a, b in zip(one, other, strict=True):
        assert a.value.tobytes() == b.value.tobytes()
        assert a.quantiles.tobytes() == b.quantiles.tobytes()


def test_without_learning_the_model_stays() -> None:
    values = make_speeds(4)
    frozen, _ = run(values[: 3 * PER_DAY])
    first = frozen.update((3 * PER_DAY + 1) * 900.0, values[3 * PER_DAY], Learning.NOTHING)
    rows = range(3 * PER_DAY + 1, 4 * PER_DAY)
    weights = frozen._experts.weights.copy()
    for t in rows:
        frozen.update((t + 1) * 900.0, values[t] * np.float32(0.5), Learning.NOTHING)
    assert (frozen._experts.weights == weights).all()
    again, _ = run(values[: 3 * PER_DAY])
    second = again.update((3 * PER_DAY + 1) * 900.0, values[3 * PER_DAY])
    # Learning from a reading happens before forecasting from it.
    assert first.value == pytest.approx(second.value, rel=0.05)


def test_levels_alone_may_move_and_bring_coverage_back() -> None:
    """The values forecast stay those of a model at rest; only how sure they are changes."""
    values = make_speeds(7)
    rng = np.random.default_rng(6)
    values[4 * PER_DAY :] += rng.normal(0, 0.8, values[4 * PER_DAY :].shape)  # less sure
    still, _ = run(values[: 4 * PER_DAY], replace(SMALL, coverage_gain=0.2))
    moved = deepcopy(still)
    inside: dict[Learning, list[float]] = {Learning.NOTHING: [], Learning.LEVELS: []}
    for t in range(4 * PER_DAY, len(values) - 1):
        made = []
        for forecaster, learn in ((still, Learning.NOTHING), (moved, Learning.LEVELS)):
            made.append(forecaster.update((t + 1) * 900.0, values[t], learn))
            low, _, high = made[-1].quantiles[:, 0]
            inside[learn].append(float(np.mean((low <= values[t + 1]) & (values[t + 1] <= high))))
        assert made[0].value.tobytes() == made[1].value.tobytes()
    late = slice(PER_DAY, None)
    assert np.mean(inside[Learning.NOTHING][late]) < 0.85
    assert np.mean(inside[Learning.LEVELS][late]) == pytest.approx(PROMISED, abs=0.03)


def test_a_gap_is_filled_near_the_truth_and_marked() -> None:
    """Rules 17 and 18: never 0, and the mark goes with it."""
    values = make_speeds(7)
    held = values.copy()
    gap = slice(4 * PER_DAY + 28, 4 * PER_DAY + 40)  # the morning peak of the Friday
    held[gap, 3] = np.nan
    _, made = run(held)
    for t in range(gap.start, gap.stop):
        assert made[t].estimated[3]
        assert made[t].estimated.sum() == 1
        assert np.isfinite(made[t].value).all()
        assert np.isnan(made[t].onset_chance[3])
    filled = np.array([made[t].value[0, 3] for t in range(gap.start, gap.stop - 1)])
    truth = values[gap.start + 1 : gap.stop, 3]
    assert np.abs(filled - truth).mean() < 3.0
    assert not made[gap.stop].estimated.any()


def test_a_detector_never_heard_stays_unknown() -> None:
    values = make_speeds(2)
    values[:, 2] = np.nan
    _, made = run(values)
    assert np.isnan(made[-1].value[:, 2]).all()
    assert np.isnan(made[-1].quantiles[:, :, 2]).all()
    assert np.isfinite(np.delete(made[-1].value, 2, axis=1)).all()


def test_half_a_day_of_silence_is_outlived() -> None:
    values = make_speeds(6)
    forecaster, _ = run(values[: 4 * PER_DAY])
    row = 4 * PER_DAY + PER_DAY // 2
    made = forecaster.update((row + 1) * 900.0, values[row])
    assert made.model == ("persistence",) * 4
    assert np.isnan(made.onset_chance).all()
    for t in range(row + 1, 6 * PER_DAY):
        made = forecaster.update((t + 1) * 900.0, values[t])
    assert made.model == (MIXTURE,) * 4


@given(
    st.integers(0, 2**16),
    st.floats(0, 0.9),
    st.sampled_from([0.0, 1.0, 1e3]),
)
@settings(max_examples=12, deadline=None)
def test_every_forecast_is_finite_ordered_and_within_bounds(
    seed: int, missing: float, size: float
) -> None:
    """Whatever comes: noise, zeros, gaps."""
    rng = np.random.default_rng(seed)
    values = (rng.random((40, 3)) * size).astype(np.float32)
    values[0] = size
    values[1:][rng.random((39, 3)) < missing] = np.nan
    _, made = run(values, replace(SMALL, most=900, settle=10))
    for one in made:
        assert np.isfinite(one.value).all()
        assert ((one.value >= 0) & (one.value <= 900)).all()
        known = one.quantiles[:, ~np.isnan(one.quantiles).any(axis=(0, 2))]
        assert (np.diff(known, axis=0) >= 0).all()
        chance = one.onset_chance[~np.isnan(one.onset_chance)]
        assert ((chance >= 0) & (chance <= 1)).all()


@pytest.mark.parametrize("time_s", [900.0, 450.0, 1800.0 + 450.0])
def test_times_must_follow_by_whole_intervals(time_s: float) -> None:
    forecaster, _ = run(make_speeds(1)[:2])
    with pytest.raises(ValueError, match="must follow 1800 s by intervals of 900 s"):
        forecaster.update(time_s, make_speeds(1)[0])


def test_settings_name_all_that_is_wrong() -> None:
    """Rule 19."""
    with pytest.raises(ModelError) as caught:
        LoopForecastSettings(
            interval_s=7, leads=0, forgetting=2, widths=(1.0, 0.0), onset_below=5, least=9, most=8
        )
    message = str(caught.value)
    for name in ("interval_s", "leads", "forgetting", "widths", "onset_below", "least 9"):
        assert name in message


def test_neighbors_name_all_that_is_wrong() -> None:
    with pytest.raises(ModelError) as caught:
        build_neighbors(2, [(0, 5, 1.0), (0, 1, -1.0), (0, 1, float("nan"))])
    assert str(caught.value).count("link") == 3


def test_neighbors_average_what_is_known() -> None:
    near = build_neighbors(3, [(0, 1, 1.0), (0, 2, 3.0), (1, 1, 9.0)])
    mean = near.average(np.array([7.0, 2.0, 6.0], np.float32))
    assert mean[0] == pytest.approx((2 + 3 * 6) / 4)
    assert np.isnan(mean[1:]).all()
    assert near.average(np.array([7.0, np.nan, 6.0], np.float32))[0] == pytest.approx(6.0)
