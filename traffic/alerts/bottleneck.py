"""The alert of one bottleneck: from the forecast, the speeds and the blocked lanes around it.

Each threshold has a lower (or higher) one for clearing, and a time to hold, so that an alert does
not flicker.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from traffic.alerts.alert import Alert, Cause, Level
from traffic.alerts.blockages import Event
from traffic.alerts.causes import find_cause, find_queue, find_severity, find_signs
from traffic.alerts.evidence import Line, find_speed_mps, list_readings
from traffic.alerts.orders import Attended
from traffic.alerts.settings import CongestionSettings
from traffic.alerts.texts import (
    tell_alert,
    tell_ended,
    tell_inflow,
    tell_speed,
    tell_stand_in,
    tell_suspicion,
    tell_tail,
)
from traffic.forecasting import Forecast
from traffic.incidents.detection import IncidentFinding
from traffic.model import Bottleneck, Network
from traffic.readings import LoopBatch
from traffic.warning.standins import BEYOND_M, Look, WatchPost
from traffic.warning.stations import find_stations

NEAR_M = 1200.0  # upstream of a bottleneck: a lane blocked within is an event of the bottleneck

TOLD = 3  # findings in the evidence, the latest


class BottleneckWatch(Attended):
    """The alert of one bottleneck, if any, and what it waits for."""

    def __init__(
        self, bottleneck: Bottleneck, network: Network, settings: CongestionSettings
    ) -> None:
        super().__init__(settings)
        self.bottleneck = bottleneck
        self.event = Event(network, settings)
        name = network.links[bottleneck.link].name or bottleneck.id
        self._place = settings.places.get(bottleneck.id, {"en": name, "zh": name})
        self._post = WatchPost(network, bottleneck)
        self._back_m = {
            loop: station.back_m
            for station in find_stations(network, bottleneck, BEYOND_M)
            for loop in station.loops
        }
        self._loops = tuple(dict.fromkeys((*bottleneck.watch, *bottleneck.feeders)))
        self._confirmed_s = np.inf  # when the alert was confirmed
        self._behind: dict[str, IncidentFinding] = {}  # findings that the alert rests on, of late
        self._barred: Level | None = None  # up to which level nothing is raised for now
        self._high_updates = 0
        self._low_s = self._blind_s = self._free_s = 0.0
        self._jams: deque[bool] = deque()  # of the last intervals, newest last

    def is_concerned(self, finding: IncidentFinding, forecast: Forecast, row: int | None) -> bool:
        """Whether a lane blocked there is an event of this bottleneck: near it, after it or in
        its queue.
        """
        back_m = self._find_back_m(finding)
        if back_m is None:
            return False
        queue = find_queue(forecast, row)
        tail_m = 0.0 if queue is None else float(np.nan_to_num(queue.tail_m))
        return back_m <= max(NEAR_M, tail_m)

    def _find_back_m(self, finding: IncidentFinding) -> float | None:
        """Return how far upstream its downstream end lies, below 0 after the bottleneck."""
        ends = [self._back_m[loop] for loop in finding.loops if loop in self._back_m]
        return min(ends, default=None)

    def update(
        self,
        batch: LoopBatch,
        forecast: Forecast,
        row: int | None,
        findings: Sequence[IncidentFinding] = (),
    ) -> Alert | None:
        s = self._settings
        now_s, interval_s = batch.end_s, batch.interval_s
        self.event.hear(findings, interval_s)
        look = self._post.look(batch)
        speed_mps = self._find_speed(batch, look)
        window = max(1, round(s.jam_window_s / interval_s))
        self._jams = deque(self._jams, maxlen=window)
        # A jam that nobody sees any more is not over for that.
        if look.stations or self.alert is None or self.alert.level is not Level.CONFIRMED:
            self._jams.append(speed_mps is not None and speed_mps < s.jam_mps)
            # Speed that nobody measures, because nobody drives there, is no jam.
            is_free = speed_mps is None or speed_mps > s.free_mps
            self._free_s = self._free_s + interval_s if is_free else 0.0
        is_jam = sum(self._jams) * interval_s >= s.jam_s

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
        elif self.event.standing:
            level = Level.SUSPECTED
        is_less = level is None or level is Level.SUSPECTED
        if is_less and self._low_s >= s.clear_s and self._free_s >= s.free_s:
            self._barred = None
        if level is not None and self._is_barred(level):
            level = Level.SUSPECTED if self.event.standing else None
        was_confirmed = self.alert is not None and self.alert.level is Level.CONFIRMED
        alert = self._raise_or_keep(level, now_s, chance, onset_s)
        if alert is None:
            return None
        if alert.level is Level.CONFIRMED and not was_confirmed:
            self._confirmed_s = now_s
        self._follow_findings(alert, findings)
        alert = replace(
            alert,
            evidence=self._tell_evidence(forecast, row, speed_mps, look),
            readings=list_readings(batch, self._list_loops(alert, look)),
            confidence=look.confidence,
        )
        if alert.cleared_s is None:
            alert = self._judge(alert, forecast, row, interval_s)
        alert = replace(alert, text=self._tell(alert))
        self.alert = alert if alert.cleared_s is None else None
        return alert

    def _raise_or_keep(
        self, level: Level | None, now_s: float, chance: float, onset_s: float | None
    ) -> Alert | None:
        """Raise, escalate, keep up to date or clear the alert."""
        s = self._settings
        before = self.alert
        if before is None:
            if level is None:
                return None
            if level is not Level.SUSPECTED:
                self._barred = None
            self._calmer_s = 0.0
            self._behind.clear()
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
                links=(self.bottleneck.link,),
            )
        else:
            alert = replace(before, updated_s=now_s, breakdown_chance=chance)
            if level is not None and level.rank > before.level.rank:
                alert = replace(alert, level=level, snoozed_until_s=None)
                self._barred = None
                if before.level is Level.SUSPECTED:
                    alert = replace(alert, warned_s=now_s)
            if onset_s is not None:
                alert = replace(alert, expected_onset_s=onset_s)
            is_calm = self._low_s >= s.clear_s and self._free_s >= s.free_s
            is_less = level is None or level is Level.SUSPECTED
            if self._closed_by is not None:
                # What is suspected anew is news, what is expected or seen is not.
                self._barred = None if alert.level is Level.SUSPECTED else alert.level
                self.event.dismiss()
                alert = replace(alert, cleared_s=now_s, cleared_by=self._closed_by)
                self._closed_by = None
            elif is_less and (is_calm or alert.level is Level.SUSPECTED):
                # A lane that is still blocked when the jam is over remains a suspicion.
                is_over = self.event.is_over
                alert = replace(
                    alert,
                    level=alert.level if is_over else Level.SUSPECTED,
                    cleared_s=now_s if is_over else None,
                    warned_s=alert.warned_s if is_over else None,
                    expected_onset_s=alert.expected_onset_s if is_over else None,
                )
        if alert.level is not Level.WARNING:
            alert = replace(alert, expected_onset_s=None)
        return alert

    def _is_barred(self, level: Level) -> bool:
        """Whether an operator has cleared as much; a lane found blocked since is news."""
        is_known = self._barred is not None and level.rank <= self._barred.rank
        return is_known and level is not Level.SUSPECTED

    def _judge(self, alert: Alert, forecast: Forecast, row: int | None, interval_s: float) -> Alert:
        """Tell severity, cause and the queue's tail.

        The worst cause stays, and once confirmed any does, as a queue hides and feigns signs, but
        for a lane found blocked beyond the queue's head. Doubtful loops that are sound again are
        no cause any more.
        """
        s = self._settings
        signs, queue = find_signs(forecast, row), find_queue(forecast, row)
        alert = self._grade(alert, find_severity(alert.level, queue, s), interval_s)
        standing = self._list_believed(alert)
        cause = find_cause(signs, s, is_blocked=bool(standing))
        if alert.raised_s < alert.updated_s and alert.cause is not Cause.DETECTOR_FAULT:
            if alert.level is not Level.CONFIRMED:
                cause = max(cause, alert.cause, key=lambda one: one.rank)
            else:
                cause = Cause.INCIDENT if standing else alert.cause
        return replace(
            alert,
            cause=cause,
            advice=tell_tail(queue, alert.updated_s, self._place, s.places),
        )

    def _tell(self, alert: Alert) -> dict[str, str]:
        first = self.event.first
        if alert.level is not Level.SUSPECTED or first is None:
            return tell_alert(alert, self._place)
        return tell_suspicion(alert, first.place, first.onset_s, self.event.chance)

    def _list_believed(self, alert: Alert) -> tuple[IncidentFinding, ...]:
        """Return the findings that stand, but for those that the waves of a queue may feign."""
        if alert.level is not Level.CONFIRMED:
            return self.event.standing
        return tuple(
            one
            for one in self.event.standing
            if one.found_s < self._confirmed_s or (self._find_back_m(one) or 0.0) < 0
        )

    def _follow_findings(self, alert: Alert, findings: Sequence[IncidentFinding]) -> None:
        """Keep what the alert rests on, also after it has ended: the cause stays, too."""
        ended = [f for f in findings if f.cleared_s is not None and f.id in self._behind]
        for finding in (*self._list_believed(alert), *ended):
            self._behind[finding.id] = finding
        for name in list(self._behind)[:-TOLD]:
            del self._behind[name]

    def _list_loops(self, alert: Alert, look: Look) -> tuple[str, ...]:
        """Return the loops behind the alert, those that stand in for others and findings' too."""
        seen = (loop for station in look.stations for loop in station.loops)
        found = (loop for finding in self._list_believed(alert) for loop in finding.loops)
        return tuple(dict.fromkeys((*self._loops, *seen, *found)))

    def _find_speed(self, batch: LoopBatch, look: Look) -> float | None:
        """Return the space mean speed at the slowest station that is looked at, in m/s."""
        standing = self._settings.standing_occupancy
        speeds = (find_speed_mps(batch, station.loops, standing) for station in look.stations)
        return min((speed for speed in speeds if speed is not None), default=None)

    def _find_chance(self, forecast: Forecast, row: int | None) -> tuple[float, float | None]:
        """Return the greatest chance over the leads, and when it first passes the threshold."""
        if row is None or np.isnan(forecast.breakdown_chance[row]).all():
            return float("nan"), None
        chances = forecast.breakdown_chance[row]
        high = np.flatnonzero(chances >= self._settings.warn_chance)
        onset_s = forecast.time_s + forecast.lead_s[int(high[0])] if len(high) else None
        return float(np.nanmax(chances)), onset_s

    def _tell_evidence(
        self, forecast: Forecast, row: int | None, speed_mps: float | None, look: Look
    ) -> tuple[Line, ...]:
        told: list[Line] = []
        if row is not None and not np.isnan(forecast.breakdown_chance[row]).all():
            h = int(np.nanargmax(forecast.breakdown_chance[row]))
            inflow = forecast.inflow_vph[row, h]
            told.append(tell_inflow(inflow, forecast.lead_s[h], self.bottleneck.capacity_vph))
        if speed_mps is not None:
            told.append(tell_speed(speed_mps))
        told += [tell_stand_in(one) for one in look.stand_ins]
        for finding in self._behind.values():
            is_ended = finding.cleared_s is not None
            told.append(tell_ended(finding) if is_ended else self.event.tell(finding))
        return tuple(told)
