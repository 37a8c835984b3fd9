"""Foresight: the inflow that a bottleneck will get, and what every loop will measure.

`inflow` looks ahead at bottlenecks from the counts of their feeders, in the engine's loop; `loops`
at every loop, learning from each batch of readings.
"""

from traffic.forecasting.calendar import Calendar
from traffic.forecasting.inflow import (
    QUANTILES,
    Forecast,
    Forecaster,
    ForecastSettings,
    UsualDay,
    build_usual_day,
)
from traffic.forecasting.loops import LoopForecast, LoopForecaster
from traffic.forecasting.settings import LoopForecastSettings

__all__ = [
    "QUANTILES",
    "Calendar",
    "Forecast",
    "ForecastSettings",
    "Forecaster",
    "LoopForecast",
    "LoopForecastSettings",
    "LoopForecaster",
    "UsualDay",
    "build_usual_day",
]
