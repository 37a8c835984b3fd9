"""Fits the hazard models on recorded days."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from api.warning.series import DaySeries, with_odds
from traffic.warning import breakdown, spillback
from traffic.warning.hazard import HazardModel, fit_hazard
from traffic.warning.models import BREAKDOWN, QUEUE, WarningModels

Floats = NDArray[np.float64]

RIDGE = 30.0  # moments 30 s apart tell much the same: some dozens are worth one
ODDS = spillback.FEATURES.index("breakdown")


def is_at_risk(series: DaySeries) -> NDArray[np.bool_]:
    """Return the moments (N) before the day's breakdown at which a forecast can be made."""
    known = ~np.isnan(series.breakdown[:, :, 0]).any(axis=1)
    return np.asarray(known & (series.to_onset_s > 0))


def fit_breakdown(days: Sequence[DaySeries], lead_s: Sequence[float]) -> HazardModel:
    """Fit on moments before each day's breakdown. Raises ModelError."""
    values, event_s, known_s = [], [], []
    for day in days:
        at = is_at_risk(day)
        values.append(day.breakdown[at])
        event_s.append(day.to_onset_s[at])
        known_s.append(day.known_s[at])
    return fit_hazard(
        BREAKDOWN,
        lead_s,
        breakdown.FEATURES,
        np.concatenate(values),
        np.concatenate(event_s),
        np.concatenate(known_s),
        RIDGE,
    )


def find_odds(model: HazardModel, series: DaySeries) -> Floats:
    """Return the log odds of breakdown as the queue's features take them, N x H: 0 in a queue."""
    chance = np.nan_to_num(model.find_chance(series.breakdown), nan=0.5)
    odds = logit(np.clip(chance, 1 - spillback.SURELY, spillback.SURELY))
    return np.where((series.tail_m > 0)[:, None], 0.0, odds)


def list_passings(series: DaySeries) -> Iterable[tuple[int, float, float]]:
    """Yield (position of the place, m, when the tail truly passed it) for each of S x 3 places."""
    lengths = [storage.length_m for storage in series.storages]
    places_m = np.outer(lengths, spillback.SHARES).ravel()
    for at, place_m in enumerate(places_m.tolist()):
        yield at, place_m, series.events.find_passing_s(place_m)


def fit_queue(
    days: Sequence[DaySeries], lead_s: Sequence[float], before: HazardModel
) -> HazardModel:
    """Fit on moments before the tail has passed each place. Raises ModelError."""
    values, event_s, known_s = [], [], []
    for plain in days:
        day = with_odds(plain, find_odds(before, plain), ODDS)
        known = ~np.isnan(day.queue).any(axis=(1, 2, 3))
        for place, _, passed_s in list_passings(day):
            ahead_s = passed_s - day.time_s
            at = known & (ahead_s > 0)
            values.append(day.queue[at, place])
            event_s.append(ahead_s[at])
            known_s.append(day.known_s[at])
    return fit_hazard(
        QUEUE,
        lead_s,
        spillback.FEATURES,
        np.concatenate(values),
        np.concatenate(event_s),
        np.concatenate(known_s),
        RIDGE,
    )


def fit_models(days: Sequence[DaySeries]) -> WarningModels:
    """Fit both on the leads of the days' forecasts. Raises ModelError."""
    lead_s = days[0].forecasts[0].lead_s
    first = fit_breakdown(days, lead_s)
    return WarningModels(first, fit_queue(days, lead_s, first))
