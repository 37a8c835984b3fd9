"""Can one core foresee all loops of a large city? 50,000 of them, twelve lead times, each batch."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bench.registry import Case, benchmark
from traffic.forecasting.calendar import Calendar
from traffic.forecasting.loops import LoopForecast, LoopForecaster
from traffic.forecasting.neighbors import build_neighbors
from traffic.forecasting.settings import LoopForecastSettings

DETECTORS = 50_000
INTERVAL_S = 300.0
NEAR = (1, 2, 3, -1, -2, -3)  # places along the road
WARM = 40  # batches before those that are timed, so that every part is at work
LOWEST_MPS, FREE_MPS = 2.0, 28.0


def make_batch(row: int, size: int) -> NDArray[np.float32]:
    """Return speeds, D: waves that travel along the road, noise, and 2 % of loops silent."""
    rng = np.random.default_rng(row)
    wave = 10 * (1 + np.sin(row / 20 + np.arange(size) / 50))
    speeds = np.maximum(FREE_MPS - wave + rng.normal(0, 1, size), LOWEST_MPS)
    speeds[rng.random(size) < 0.02] = np.nan
    return speeds.astype(np.float32)


@benchmark(
    "loop-forecasts", "50,000 loops updated and forecast, per second", at_most=1.0, repeats=7
)
def build(smoke: bool) -> Case[LoopForecast]:
    """Each repeat is the next batch of one forecaster that has everything at work."""
    size = 300 if smoke else DETECTORS
    links = [
        (i, i + step, 1 / abs(step)) for i in range(size) for step in NEAR if 0 <= i + step < size
    ]
    settings = LoopForecastSettings(
        interval_s=INTERVAL_S, most=60, settle=WARM // 4, onset_below=18, onset_from=20
    )
    forecaster = LoopForecaster(size, Calendar(), settings, build_neighbors(size, links))
    rows = iter(range(WARM + 100))
    for row in range(WARM):
        forecaster.update((next(rows) + 1) * INTERVAL_S, make_batch(row, size))
    batches = iter([make_batch(row, size) for row in range(WARM, WARM + 10)])

    def subject() -> LoopForecast:
        return forecaster.update((next(rows) + 1) * INTERVAL_S, next(batches))

    def check(made: LoopForecast) -> Mapping[str, tuple[object, object]]:
        shape = (settings.leads, size)
        inside = np.mean(np.abs(made.value[0][~made.estimated] - FREE_MPS / 2 - 4) < 16)
        return {
            "lead times x detectors": (shape, made.value.shape),
            "values that are no numbers": (0, int((~np.isfinite(made.value)).sum())),
            "quantiles out of order": (0, int((np.diff(made.quantiles, axis=0) < 0).sum())),
            "who speaks": (("mixture",) * settings.leads, made.model),
            "values near the waves": (True, bool(inside > 0.99)),
        }

    return Case(subject, 1.0, check)
