"""Runs a forecaster over recorded readings and keeps what it said.

Linear algebra runs in one thread here. How sums are split between threads changes their last digit,
and trees that split by it differ in the third; and threads that wait for each other over matrices
as small as these take ten times as long on a busy machine.
"""

from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.errors import UserError
from api.forecasting.scores import Said
from traffic.forecasting.loops import Learning, LoopForecaster

Floats = NDArray[np.float32]


def use_one_thread() -> Any:
    """Return a context in which linear algebra runs in one thread.

    Raises UserError with the command that installs what it takes.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError as error:
        raise UserError(
            ["forecasts need threadpoolctl: pip install 'traffic-response[forecast]'"]
        ) from error
    return threadpool_limits(1, user_api="blas")


def run_forecaster(
    forecaster: LoopForecaster,
    readings: Floats,
    rows: range,
    learn: Learning = Learning.ALL,
    latencies_s: list[float] | None = None,
    begin_s: float = 0.0,
) -> Said:
    """Feed rows of readings (T x D, NaN where nothing was) in order; return all that was said.

    `begin_s` is when the interval of row 0 begins, from local midnight of the calendar's day 0.
    """
    leads, size = forecaster.settings.leads, readings.shape[1]
    value = np.full((len(rows), leads, size), np.nan, np.float32)
    quantiles = np.full((3, *value.shape), np.nan, np.float32)
    chance = np.full((len(rows), size), np.nan, np.float32)
    trusted = np.zeros(value.shape, bool)
    models = []
    with use_one_thread():
        for i, row in enumerate(rows):
            begun = perf_counter()
            end_s = begin_s + (row + 1) * forecaster.settings.interval_s
            made = forecaster.update(end_s, readings[row], learn)
            if latencies_s is not None:
                latencies_s.append(perf_counter() - begun)
            value[i], quantiles[:, i] = made.value, made.quantiles
            chance[i], trusted[i] = made.onset_chance, made.trusted
            models.append(made.model)
    return Said(rows.start, value, *quantiles, chance, trusted, tuple(models), readings)
