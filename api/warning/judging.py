"""Runs models and alerts over recorded days, to be scored."""

from collections.abc import Iterable, Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from api.warning.fitting import ODDS, find_odds, is_at_risk, list_passings
from api.warning.scores import AlertSpan, Odds, WarnedDay
from api.warning.series import DaySeries, with_odds
from networks.scenario import Scenario
from traffic.alerts.settings import CongestionSettings
from traffic.congestion import Congestion
from traffic.estimation import Estimator
from traffic.forecasting import Forecast
from traffic.warning.foresight import Foresight
from traffic.warning.models import WarningModels
from traffic.warning.spillback import SHARES

Floats = NDArray[np.float64]


def list_fitted(series: DaySeries, models: WarningModels) -> tuple[Forecast, ...]:
    """Return the day's forecasts with fitted odds of breakdown, as Foreseer makes them."""
    chance = models.breakdown.find_chance(series.breakdown)
    found = []
    for forecast, own, signs in zip(series.forecasts, chance, series.signs, strict=True):
        given = {f.name: getattr(forecast, f.name) for f in fields(forecast)}
        known = ~np.isnan(forecast.breakdown_chance).all(axis=1, keepdims=True)
        given["breakdown_chance"] = np.where(known, own[None, :], forecast.breakdown_chance)
        found.append(Foresight(**given, signs=(signs,), queues=(None,)))
    return tuple(found)


def warn(
    series: DaySeries,
    scenario: Scenario,
    forecasts: Sequence[Forecast],
    settings: CongestionSettings,
) -> WarnedDay:
    """Raise and clear alerts over the day."""
    congestion = Congestion(scenario.network, settings)
    state = Estimator(scenario.network).update(series.batches[0])  # alerts heed no state
    spans: dict[str, AlertSpan] = {}
    for batch, forecast in zip(series.batches, forecasts, strict=True):
        for alert in congestion.update(batch, state, forecast):
            spans[alert.id] = AlertSpan(
                alert.raised_s,
                series.end_s if alert.cleared_s is None else alert.cleared_s,
                alert.cause.value,
                alert.severity.value,
            )
    begin_s = series.batches[0].end_s - series.batches[0].interval_s
    kind = series.day.kind.value
    return WarnedDay(series.name, kind, series.events, begin_s, series.end_s, tuple(spans.values()))


def list_breakdown_odds(series: DaySeries, chance: Floats, lead: int) -> Odds:
    """Return the odds of breakdown within one lead, at moments before it; `chance` is N x H."""
    lead_s = series.forecasts[0].lead_s[lead]
    came = series.to_onset_s <= lead_s
    at = is_at_risk(series) & (came | (series.known_s >= lead_s)) & ~np.isnan(chance[:, lead])
    nothing = np.zeros(len(at), int)
    return Odds(nothing, series.time_s, chance[:, lead], came).keep(at)


def list_queue_odds(
    plain: DaySeries, models: WarningModels, lead: int, share: float
) -> Iterable[Odds]:
    """Yield for each storage the odds that the queue passes a share of it, while it has not."""
    series = with_odds(plain, find_odds(models.breakdown, plain), ODDS)
    lead_s = series.forecasts[0].lead_s[lead]
    chance = models.queue.find_chance(series.queue)[..., lead]  # N x P
    known = ~np.isnan(series.queue).any(axis=(1, 2, 3))
    for place, _, passed_s in list_passings(series):
        if SHARES[place % len(SHARES)] != share:
            continue
        ahead_s = passed_s - series.time_s
        came = ahead_s <= lead_s
        at = known & (ahead_s > 0) & (came | (series.known_s >= lead_s))
        group = np.full(len(at), place // len(SHARES))
        yield Odds(group, series.time_s, chance[:, place], came).keep(at)
