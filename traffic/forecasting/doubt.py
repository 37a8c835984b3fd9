"""Why a forecast is not to be relied upon, in the words that people read."""

import numpy as np

from traffic.forecasting.inflow import Forecast, ForecastSettings
from traffic.forecasting.outlook import LoopOutlook, Quantity


def tell_loop_doubt(
    outlook: LoopOutlook, quantity: Quantity, lead: int, loop: int
) -> dict[str, str] | None:
    """Return why a forecast is not trusted, by language; None when it is.

    `lead` and `loop` are positions.
    """
    made = outlook.by_quantity[quantity]
    if made.trusted[lead, loop]:
        return None
    judged, coverage = int(made.judged[lead]), float(made.coverage[lead])
    if judged < outlook.least_judged:
        return {
            "en": f"still learning: checked {judged} of {outlook.least_judged} times",
            "zh": f"尚在学习：已检验 {judged}/{outlook.least_judged} 次",
        }
    if not made.trusted[lead].any():
        return _tell_lost(90, coverage)
    return {
        "en": "its interval has held too little at this loop, or this loop is hardly known",
        "zh": "该线圈处区间近期覆盖不足，或该线圈数据过少",
    }


def tell_inflow_doubt(forecast: Forecast, row: int, lead: int) -> dict[str, str] | None:
    """Return why the forecast inflow of a bottleneck is not trusted; None when it is.

    `row` and `lead` are positions.
    """
    if np.isnan(forecast.inflow_vph[row, lead]).any():
        return {"en": "too little is known of the inflow", "zh": "来车数据不足"}
    if forecast.trusted is not None and forecast.trusted[row, lead]:
        return None
    coverage = np.nan if forecast.coverage is None else float(forecast.coverage[row, lead])
    if not coverage < ForecastSettings.least_coverage:
        return {
            "en": "still learning: hardly held against what came yet",
            "zh": "尚在学习：与实测对照时间过短",
        }
    return _tell_lost(80, coverage)


def _tell_lost(promised_percent: int, coverage: float) -> dict[str, str]:
    return {
        "en": f"its {promised_percent} % interval has held only {coverage:.0%} of late",
        "zh": f"{promised_percent}% 区间近期仅覆盖 {coverage:.0%}",
    }
