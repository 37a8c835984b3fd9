"""Runs a forecaster over recorded readings and keeps what it said."""

from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from api.forecasting.scores import Said
from traffic.forecasting.loops import LoopForecaster

Floats = NDArray[np.float32]


def run_forecaster(
    forecaster: LoopForecaster,
    readings: Floats,
    rows: range,
    learn: bool,
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
