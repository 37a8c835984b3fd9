"""Alerts: a breakdown that is coming, one that has come, and its end.

One alert per bottleneck at a time. A warning comes from the forecast, a confirmation from the
speeds of the bottleneck's watch loops; a warning that comes true keeps its id. Each threshold
has a lower (or higher) one for clearing, and a time to hold, so that alerts do not flicker.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum

import numpy as np

from traffic.estimation import State
from traffic.forecasting import Forecast
from traffic.model import Bottleneck, ModelError, Network
from traffic.readings import LoopBatch, Quality
from traffic.units import to_clock, to_kmph


class Level(Enum):
    """How sure an alert is."""

    WARNING = "warning"
    CONFIRMED = "confirmed"


@dataclass(frozen=True)
class Alert:
    """Congestion expected or seen at a bottleneck."""

    id: str
    bottleneck: str
    level: Level
    raised_s: float
    updated_s: float
    cleared_s: float | None
    expected_onset_s: float | None  # of a warning; None once confirmed
    breakdown_chance: float  # 0..1, NaN when no forecast could be made
    text: Mapping[str, str]  # language -> text
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class CongestionSettings:
    """Raises ModelError with all problems at once."""

    warn_chance: float = 0.7
    clear_chance: float = 0.4
    warn_updates: int = 4  # forecasts in a row
    clear_s: float = 600.0  # the chance must stay below clear_chance this long
    blind_s: float = 1800.0  # without a forecast this long, the old warning no longer counts
    jam_mps: float = 40 / 3.6  # as a breakdown is defined; a merge may be slower for a moment
    free_mps: float = 60 / 3.6
    jam_s: float = 240.0  # below jam_mps, within the last jam_window_s
    jam_window_s: float = 300.0
    free_s: float = 300.0  # above free_mps without a break
    standing_occupancy: float = 0.5  # a loop so covered that nothing passes has a speed of 0

    def __post_init__(self) -> None:
        problems = [
            f"{f.name} {getattr(self, f.name)} must be above 0"
            for f in fields(self)
            if not getattr(self, f.name) > 0
        ]
        if not self.clear_chance < self.warn_chance < 1:
            problems.append(
                f"clear_chance {self.clear_chance} must be below warn_chance "
                f"{self.warn_chance}, which must be below 1"
            )
        if not self.jam_mps < self.free_mps:
            problems.append(f"jam_mps {self.jam_mps} must be below free_mps {self.free_mps}")
        if not self.jam_s <= self.jam_window_s:
            problems.append(f"jam_s {self.jam_s} must be at most jam_window_s {self.jam_window_s}")
        if problems:
            raise ModelError("congestion settings", problems)


class Congestion:
    """Raises, confirms and clears alerts; call once for each screened batch, in order."""

    def __init__(self, network: Network, settings: CongestionSettings | None = None) -> None:
        settings = settings or CongestionSettings()
        self._watches = [
            _Watch(bottleneck, network, settings) for bottleneck in network.bottlenecks.values()
        ]

    def update(self, batch: LoopBatch, state: State, forecast: Forecast) -> tuple[Alert, ...]:
        """Return the open alerts and those cleared at this update."""
        row = {bottleneck: i for i, bottleneck in enumerate(forecast.bottlenecks)}
        alerts = []
        for watch in self._watches:
            alert = watch.update(batch, forecast, row.get(watch.bottleneck.id))
            if alert is not None:
                alerts.append(alert)
        return tuple(alerts)


class _Watch:
    """The alert of one bottleneck, if any, and what it waits for."""

    def __init__(
        self, bottleneck: Bottleneck, network: Network, settings: CongestionSettings
    ) -> None:
        self.bottleneck = bottleneck
        self._settings = settings
        self._place = network.links[bottleneck.link].name or bottleneck.id
        self._stations: dict[tuple[str, int], list[str]] = {}
        for loop in bottleneck.watch:
            detector = network.detectors[loop]
            key = detector.link, round(detector.position_m / 15)
            self._stations.setdefault(key, []).append(loop)
        self._alert: Alert | None = None
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
        evidence = self._tell_evidence(forecast, row, speed_mps)
        return self._follow(level, now_s, chance, onset_s, evidence)

    def _follow(
        self,
        level: Level | None,
        now_s: float,
        chance: float,
        onset_s: float | None,
        evidence: tuple[str, ...],
    ) -> Alert | None:
        """Raise, escalate, keep up to date or clear the alert."""
        s = self._settings
        before = self._alert
        if before is None:
            if level is None:
                return None
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
                evidence=evidence,
            )
        else:
            alert = replace(before, updated_s=now_s, breakdown_chance=chance, evidence=evidence)
            if level is Level.CONFIRMED:
                alert = replace(alert, level=Level.CONFIRMED)
            if onset_s is not None:
                alert = replace(alert, expected_onset_s=onset_s)
            is_over = self._low_s >= s.clear_s and self._free_s >= s.free_s
            if is_over and level is None:
                alert = replace(alert, cleared_s=now_s)
        if alert.level is Level.CONFIRMED:
            alert = replace(alert, expected_onset_s=None)
        alert = replace(alert, text=self._tell(alert))
        self._alert = alert if alert.cleared_s is None else None
        return alert

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

    def _tell(self, alert: Alert) -> dict[str, str]:
        place, since = self._place, to_clock(alert.raised_s)
        if alert.cleared_s is not None:
            at = to_clock(alert.cleared_s)
            return {
                "en": f"{place}: congestion alert of {since} cleared at {at}.",
                "zh": f"{place}：{since} 发布的拥堵预警已于 {at} 解除。",
            }
        if alert.level is Level.CONFIRMED:
            return {
                "en": f"{place}: congestion confirmed, alert since {since}.",
                "zh": f"{place}：已确认拥堵，{since} 起预警。",
            }
        if alert.expected_onset_s is None:
            return {
                "en": f"{place}: congestion possible, alert since {since}.",
                "zh": f"{place}：可能发生拥堵，{since} 起预警。",
            }
        onset = to_clock(alert.expected_onset_s)
        share = f"{alert.breakdown_chance:.0%}"
        return {
            "en": f"{place}: breakdown expected about {onset} (chance {share}).",
            "zh": f"{place}：预计约 {onset} 发生拥堵（概率 {share}）。",
        }
