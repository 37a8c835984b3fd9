"""Foresight: the inflow that a bottleneck will get, and what every loop will measure.

`inflow` looks ahead at bottlenecks from the counts of their feeders; `loops` at every loop,
learning from each interval of readings; `outlook` does so in the engine's loop.
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
from traffic.forecasting.outlook import LoopForesight, LoopOutlook, LoopOutlooks
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
    "LoopForesight",
    "LoopOutlook",
    "LoopOutlooks",
    "UsualDay",
    "build_usual_day",
]
