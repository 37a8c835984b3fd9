"""Why an alert came, and how bad it is, from the signs and the queue's outlook."""

import numpy as np

from traffic.alerts.alert import Cause, Level, Severity
from traffic.alerts.settings import CongestionSettings
from traffic.forecasting import Forecast
from traffic.warning.breakdown import Signs
from traffic.warning.foresight import Foresight
from traffic.warning.spillback import SHARES, QueueOutlook

SOON_S = 600.0
FULL = SHARES.index(1.0)


def find_signs(forecast: Forecast, row: int | None) -> Signs | None:
    """Return the bottleneck's signs; None from a forecast that has none."""
    return forecast.signs[row] if isinstance(forecast, Foresight) and row is not None else None


def find_queue(forecast: Forecast, row: int | None) -> QueueOutlook | None:
    """Return the outlook of the bottleneck's queue; None from a forecast that has none."""
    return forecast.queues[row] if isinstance(forecast, Foresight) and row is not None else None


def find_cause(
    signs: Signs | None, settings: CongestionSettings, is_blocked: bool = False
) -> Cause:
    """Tell the cause: doubtful loops before a loss of capacity before a rise of demand.

    `is_blocked` says that a lane has been found blocked there.
    """
    if signs is not None and signs.good_share < settings.good_share:
        return Cause.DETECTOR_FAULT
    if is_blocked:
        return Cause.INCIDENT
    if signs is None:
        return Cause.RECURRENT
    if signs.held_beyond >= settings.held_share or signs.slow_beyond >= settings.slow_beyond:
        return Cause.INCIDENT
    if signs.ratio - signs.ratio_before >= settings.surge_rise:
        return Cause.SURGE
    return Cause.RECURRENT


def find_severity(
    level: Level, queue: QueueOutlook | None, settings: CongestionSettings
) -> Severity:
    """A warning is minor, a jam major; likely spillback, or storage nearly full, makes it worse.

    For a warning spillback counts within all leads, for a jam within SOON_S.
    """
    worst = Severity.MAJOR if level is Level.CONFIRMED else Severity.MINOR
    if queue is None or not queue.storages:
        return worst
    leads = np.array(queue.lead_s)
    if level is not Level.CONFIRMED:
        chance = float(np.nan_to_num(queue.passing[-1, FULL, -1]))
        return Severity.MAJOR if chance >= settings.severe_chance else worst
    soon = int(np.searchsorted(leads, min(SOON_S, leads[-1])))
    lengths = np.array([storage.length_m for storage in queue.storages])
    # The next storage to be lost is the shortest that is not full yet.
    coming = np.flatnonzero(lengths > np.nan_to_num(queue.tail_m))
    if not coming.size:
        return Severity.CRITICAL
    at = int(coming[0])
    chance = float(np.nan_to_num(queue.passing[at, FULL, soon]))
    is_near = np.nan_to_num(queue.tail_m) >= settings.near_share * lengths[at]
    return Severity.CRITICAL if chance >= settings.severe_chance or is_near else worst
