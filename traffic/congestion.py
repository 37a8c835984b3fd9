"""Alerts: a breakdown that is coming, one that has come, and its end.

One alert per bottleneck at a time. A warning comes from the forecast, a confirmation from the
speeds of the bottleneck's watch loops; a warning that comes true keeps its id. Each threshold
has a lower (or higher) one for clearing, and a time to hold, so that alerts do not flicker. An
operator may acknowledge an alert, let it sleep, make it worse or clear it; one that was cleared
does not come back before its reason has gone, but a jam after a cleared warning is news.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from traffic.alerts.alert import (
    ALERT_ORDERS,
    Alert,
    AlertOrder,
    AlertRefusal,
    Cause,
    Level,
    LoopReading,
    Severity,
)
from traffic.alerts.causes import find_cause, find_queue, find_severity, find_signs
from traffic.alerts.settings import CongestionSettings
from traffic.alerts.texts import tell_alert, tell_tail
from traffic.estimation import State
from traffic.forecasting import Forecast
from traffic.model import Bottleneck, Network
from traffic.readings import LoopBatch, Quality
from traffic.units import to_kmph

__all__ = ["Alert", "Congestion", "CongestionSettings", "Level"]


class Congestion:
    """Raises, confirms and clears alerts; call once for each screened batch, in order."""

    def __init__(self, network: Network, settings: CongestionSettings | None = None) -> None:
        settings = settings or CongestionSettings()
        self._watches = [
            _Watch(bottleneck, network, settings) for bottleneck in network.bottlenecks.values()
        ]
        self.refused: tuple[AlertRefusal, ...] = ()  # of the last update's orders

    def update(
        self,
        batch: LoopBatch,
        state: State,
        forecast: Forecast,
        orders: Iterable[AlertOrder] = (),
    ) -> tuple[Alert, ...]:
        """Follow the orders; return the open alerts and those cleared at this update."""
        self.refused = tuple(
            AlertRefusal(order, reason)
            for order in orders
            if (reason := self._follow(order, batch.end_s))
        )
        row = {bottleneck: i for i, bottleneck in enumerate(forecast.bottlenecks)}
        alerts = []
        for watch in self._watches:
            alert = watch.update(batch, forecast, row.get(watch.bottleneck.id))
            if alert is not None:
                alerts.append(alert)
        return tuple(alerts)

    def _follow(self, order: AlertOrder, now_s: float) -> str | None:
        """Carry out an order; return why it cannot be, if it cannot."""
        if order.kind not in ALERT_ORDERS:
            return f"unknown kind of order {order.kind!r}, known: {', '.join(ALERT_ORDERS)}"
        for watch in self._watches:
            if watch.alert is not None and watch.alert.id == order.alert:
                return watch.follow_order(order, now_s)
        return f"no open alert {order.alert}"


class _Watch:
    """The alert of one bottleneck, if any, and what it waits for."""

    def __init__(
        self, bottleneck: Bottleneck, network: Network, settings: CongestionSettings
    ) -> None:
        self.bottleneck = bottleneck
        self._settings = settings
        name = network.links[bottleneck.link].name or bottleneck.id
        self._place = settings.places.get(bottleneck.id, {"en": name, "zh": name})
        self._stations: dict[tuple[str, int], list[str]] = {}
        for loop in bottleneck.watch:
            detector = network.detectors[loop]
            key = detector.link, round(detector.position_m / 15)
            self._stations.setdefault(key, []).append(loop)
        self._loops = tuple(dict.fromkeys((*bottleneck.watch, *bottleneck.feeders)))
        self.alert: Alert | None = None
        self._closed_by: str | None = None  # who has just cleared the alert
        self._barred: Level | None = None  # up to which level nothing is raised for now
        self._calmer_s = 0.0
        self._high_updates = 0
        self._low_s = self._blind_s = self._free_s = 0.0
        self._jams: deque[bool] = deque()  # of the last intervals, newest last

    def update(self, batch: LoopBatch, forecast: Forecast, row: int | None) -> Alert | None:
        s = self._settings
        now_s, interval_s = batch.end_s, batch.interval_s
        speed_mps = self._find_speed(batch)
        window = max(1, round(s.jam_window_s / interval_s))
        self._jams = deque(self._jams, maxlen=window)
        self._jams.append(speed_mps is not None and speed_mps < s.jam_mps)
        is_jam = sum(self._jams) * interval_s >= s.jam_s
        # Speed that nobody measures, because nobody drives there, is no jam.
        is_free = speed_mps is None or speed_mps > s.free_mps
        self._free_s = self._free_s + interval_s if is_free else 0.0

        chance, onset_s = self._find_chance(forecast, row)
        self._high_updates = self._high_updates + 1 if chance >= s.warn_chance else 0
        self._blind_s = self._blind_s + interval_s if np.isnan(chance) else 0.0
        if chance >= s.clear_chance:
            self._low_s = 0.0
        elif not np.isnan(chance) or self._blind_s >= s.blind_s:
            self._low_s += interval_s
        level = None
        if is_jam:
            level = Level.CONFIRMED
        elif self._high_updates >= s.warn_updates:
            level = Level.WARNING
        if level is None and self._low_s >= s.clear_s and self._free_s >= s.free_s:
            self._barred = None
        alert = self._raise_or_keep(level, now_s, chance, onset_s)
        if alert is None:
            return None
        alert = replace(
            alert,
            evidence=self._tell_evidence(forecast, row, speed_mps),
            readings=self._list_readings(batch),
        )
        if alert.cleared_s is None:
            alert = self._judge(alert, forecast, row, interval_s)
        alert = replace(alert, text=tell_alert(alert, self._place))
        self.alert = alert if alert.cleared_s is None else None
        return alert

    def follow_order(self, order: AlertOrder, now_s: float) -> str | None:
        """Do with the open alert what an operator wants; return why it cannot be, if it cannot."""
        alert = self.alert
        if alert is None:
            return f"no open alert {order.alert}"
        if order.kind == "acknowledge":
            self.alert = replace(alert, acknowledged_by=order.by, acknowledged_s=now_s)
        elif order.kind == "snooze":
            until_s, longest_s = order.until_s, self._settings.longest_snooze_s
            if until_s is None or not now_s < until_s <= now_s + longest_s:
                return f"a snooze ends within {longest_s:g} s from now, not at {until_s}"
            self.alert = replace(alert, snoozed_until_s=until_s)
        elif order.kind == "escalate":
            if alert.severity is Severity.CRITICAL:
                return f"alert {alert.id} is {alert.severity.value} already"
            worse = list(Severity)[alert.severity.rank + 1]
            self._calmer_s = 0.0
            self.alert = replace(alert, severity=worse, escalated_by=order.by, snoozed_until_s=None)
        else:
            self._closed_by = order.by
        return None

    def _raise_or_keep(
        self, level: Level | None, now_s: float, chance: float, onset_s: float | None
    ) -> Alert | None:
        """Raise, escalate, keep up to date or clear the alert."""
        s = self._settings
        before = self.alert
        if before is None:
            is_barred = self._barred is level or self._barred is Level.CONFIRMED
            if level is None or is_barred:
                return None
            self._barred = None
            self._calmer_s = 0.0
            alert = Alert(
                id=f"{self.bottleneck.id}@{now_s:.0f}",
                bottleneck=self.bottleneck.id,
                level=level,
                raised_s=now_s,
                updated_s=now_s,
                cleared_s=None,
                expected_onset_s=onset_s,
                breakdown_chance=chance,
                text={},
                evidence=(),
                settings=s.version,
            )
        else:
            alert = replace(before, updated_s=now_s, breakdown_chance=chance)
            if level is Level.CONFIRMED and before.level is not Level.CONFIRMED:
                alert = replace(alert, level=Level.CONFIRMED, snoozed_until_s=None)
            if onset_s is not None:
                alert = replace(alert, expected_onset_s=onset_s)
            is_over = self._low_s >= s.clear_s and self._free_s >= s.free_s
            if self._closed_by is not None:
                self._barred = alert.level
                alert = replace(alert, cleared_s=now_s, cleared_by=self._closed_by)
                self._closed_by = None
            elif is_over and level is None:
                alert = replace(alert, cleared_s=now_s)
        if alert.level is Level.CONFIRMED:
            alert = replace(alert, expected_onset_s=None)
        return alert

    def _judge(self, alert: Alert, forecast: Forecast, row: int | None, interval_s: float) -> Alert:
        """Tell severity, cause and the queue's tail. What is worse holds at once, what is better
        after a while. The worst cause stays, and once confirmed any does, as a queue hides and
        feigns signs. Doubtful loops that are sound again are no cause any more.
        """
        s = self._settings
        signs, queue = find_signs(forecast, row), find_queue(forecast, row)
        severity = find_severity(alert.level, queue, s)
        if severity.rank >= alert.severity.rank:
            self._calmer_s = 0.0
        else:
            self._calmer_s += interval_s
            if self._calmer_s < s.calmer_s:
                severity = alert.severity
        is_worse = severity.rank > alert.severity.rank and alert.raised_s < alert.updated_s
        cause = find_cause(signs, s)
        if alert.raised_s < alert.updated_s and alert.cause is not Cause.DETECTOR_FAULT:
            is_open = alert.level is Level.WARNING
            cause = max(cause, alert.cause, key=lambda one: one.rank) if is_open else alert.cause
        return replace(
            alert,
            severity=severity,
            cause=cause,
            snoozed_until_s=None if is_worse else alert.snoozed_until_s,
            advice=tell_tail(queue, alert.updated_s, self._place, s.places),
        )

    def _list_readings(self, batch: LoopBatch) -> tuple[LoopReading, ...]:
        """Return what the loops that warnings rest on told."""
        index = {loop: i for i, loop in enumerate(batch.detectors)}
        return tuple(
            LoopReading(
                loop,
                float(batch.count_veh[i]),
                float(batch.occupancy[i]),
                float(batch.speed_mps[i]),
                Quality(int(batch.quality[i])).name.lower(),
            )
            for loop in self._loops
            if (i := index.get(loop)) is not None
        )

    def _find_speed(self, batch: LoopBatch) -> float | None:
        """Return the space mean speed at the slowest station of the watch loops, in m/s.

        Harmonic over the lanes, weighted by counts; within one loop only the arithmetic mean of
        passing vehicles is known, which is somewhat too high. None where nothing was measured.
        """
        index = {loop: i for i, loop in enumerate(batch.detectors)}
        slowest = None
        for loops in self._stations.values():
            passed, paced, standing = 0.0, 0.0, 0
            for i in (index[loop] for loop in loops if loop in index):
                if batch.quality[i] not in (Quality.GOOD, Quality.ESTIMATED):
                    continue
                count, speed = float(batch.count_veh[i]), float(batch.speed_mps[i])
                if count > 0 and speed > 0:
                    passed += count
                    paced += count / speed
                elif batch.occupancy[i] >= self._settings.standing_occupancy:
                    standing += 1
            if passed or standing:
                # One vehicle stands for a lane that stands, at walking pace or less.
                speed = (passed + standing) / (paced + standing)
                slowest = speed if slowest is None else min(slowest, speed)
        return slowest

    def _find_chance(self, forecast: Forecast, row: int | None) -> tuple[float, float | None]:
        """Return the greatest chance over the leads, and when it first passes the threshold."""
        if row is None or np.isnan(forecast.breakdown_chance[row]).all():
            return float("nan"), None
        chances = forecast.breakdown_chance[row]
        high = np.flatnonzero(chances >= self._settings.warn_chance)
        onset_s = forecast.time_s + forecast.lead_s[int(high[0])] if len(high) else None
        return float(np.nanmax(chances)), onset_s

    def _tell_evidence(
        self, forecast: Forecast, row: int | None, speed_mps: float | None
    ) -> tuple[str, ...]:
        told = []
        if row is not None and not np.isnan(forecast.breakdown_chance[row]).all():
            h = int(np.nanargmax(forecast.breakdown_chance[row]))
            low, middle, high = forecast.inflow_vph[row, h]
            told.append(
                f"inflow {middle:.0f} ({low:.0f}-{high:.0f}) veh/h in "
                f"{forecast.lead_s[h] / 60:.0f} min, capacity "
                f"{self.bottleneck.capacity_vph:.0f} veh/h"
            )
        if speed_mps is not None:
            told.append(f"speed {to_kmph(speed_mps):.0f} km/h")
        return tuple(told)
