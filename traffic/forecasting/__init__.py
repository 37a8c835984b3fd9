"""Foresight: the inflow that a bottleneck will get, and what every loop will measure.

`inflow` looks ahead at bottlenecks from the counts of their feeders, in the engine's loop.
"""

from traffic.forecasting.inflow import (
    QUANTILES,
    Forecast,
    Forecaster,
    ForecastSettings,
    UsualDay,
    build_usual_day,
)

__all__ = [
    "QUANTILES",
    "Forecast",
    "ForecastSettings",
    "Forecaster",
    "UsualDay",
    "build_usual_day",
]
