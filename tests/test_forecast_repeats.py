"""The same readings and the same seed give the same bytes (rule 30), on any number of cores."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from loop_days import make_speeds

from traffic.forecasting.calendar import Calendar
from traffic.forecasting.loops import LoopForecaster
from traffic.forecasting.neighbors import build_neighbors
from traffic.forecasting.settings import LoopForecastSettings
from traffic.model import ModelError

pytest.importorskip("pyarrow")
pytest.importorskip("lightgbm")
threads = pytest.importorskip("threadpoolctl")

from api.forecasting.boosting import BoostedTrees, BoostingSettings  # noqa: E402
from api.forecasting.records import PREDICTIONS, write_predictions  # noqa: E402
from api.forecasting.running import run_forecaster  # noqa: E402

PER_DAY, SIZE = 96, 24
SETTINGS = LoopForecastSettings(
    interval_s=900, leads=4, most=60, bent=200, settle=40, onset_below=18, onset_from=20,
    onset_leads=2, trial_least=8, trial_margin=1e-6,
)  # fmt: skip
BOOSTING = BoostingSettings(first=60, every=40, delay=8, keep=300, trees=30, anchors=(0.0, 1.0))


def forecast(folder: Path, cores: int, background: bool = False, seed: int = 1) -> bytes:
    """Forecast invented days on a machine of so many cores; return the file of predictions."""
    values = make_speeds(3, SIZE)
    near = build_neighbors(SIZE, [(i, i + 1, 1.0) for i in range(SIZE - 1)])
    boosting = BoostingSettings(**{**vars(BOOSTING), "seed": seed})
    trees = BoostedTrees(SETTINGS.leads, boosting, background)
    forecaster = LoopForecaster(SIZE, Calendar(), SETTINGS, near, trees)
    with threads.threadpool_limits(cores):
        said = run_forecaster(forecaster, values, range(len(values)))
    assert any("lightgbm" in models for models in said.model[-2 * PER_DAY :])
    begin = datetime(2026, 3, 2, tzinfo=UTC)
    names = [f"d{i}" for i in range(SIZE)]
    write_predictions(folder, said, names, begin, timedelta(minutes=15))
    return (folder / PREDICTIONS).read_bytes()


def test_predictions_are_the_same_bytes_on_any_number_of_cores(tmp_path: Path) -> None:
    one = forecast(tmp_path / "one", 1)
    assert forecast(tmp_path / "two", 2) == one
    assert forecast(tmp_path / "seed", 1, seed=2) != one


def test_fits_in_the_background_speak_at_a_set_interval(tmp_path: Path) -> None:
    """However long they take: the same bytes as when nothing else goes on."""
    assert forecast(tmp_path / "behind", 1, background=True) == forecast(tmp_path / "before", 1)


def test_boosting_settings_name_all_that_is_wrong() -> None:
    """Rule 19."""
    with pytest.raises(ModelError) as caught:
        BoostingSettings(first=0, trees=-1, anchors=(0.0, 1.5))
    message = str(caught.value)
    for name in ("first 0", "trees -1", "anchors"):
        assert name in message
    with pytest.raises(ModelError, match="delay 9 must be at most every 8"):
        BoostingSettings(every=8, delay=9)


def test_trees_speak_so_long_after_their_fit_began() -> None:
    trees = BoostedTrees(1, BoostingSettings(first=10, every=10, delay=3, trees=5))
    rng = np.random.default_rng(1)
    features, value = rng.normal(size=(100, 2)).astype(np.float32), np.ones((1, 100), np.float32)
    for _ in range(12):
        trees.learn(features, value, value)
        assert trees.forecast(features, value) is None
    trees.learn(features, value, value)
    assert trees.forecast(features, value) is not None
