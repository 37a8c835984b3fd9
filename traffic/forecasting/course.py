"""The course of readings in units of each detector's scale, gaps filled and marked."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traffic.forecasting.calendar import DAY_S, Calendar
from traffic.forecasting.neighbors import Neighbors
from traffic.forecasting.profile import Profile

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Moment:
    """One interval of D detectors, in units of their scales."""

    day_share: float  # of the local day that has passed, 0..1
    measured: Floats  # D, NaN where nothing was
    value: Floats  # D, gaps filled
    estimated: Flags  # D, filled
    profiles: Floats  # W x (1 + H) x D, wide and narrow, from this interval on
    scale: Floats  # D, in the unit of readings
    heard: Flags  # D, ever


class Course:
    """Follows D detectors; call `update` once for each interval, in order."""

    LEARNED = ("_profile", "_sum", "_count", "_scale", "_ahead")

    def __init__(
        self,
        detectors: int,
        calendar: Calendar,
        interval_s: float,
        leads: int,
        widths: tuple[float, float],
        least_scale: float,
        neighbors: Neighbors | None,
        neighbor_gain: float,
    ) -> None:
        self._calendar, self._interval_s, self._leads = calendar, interval_s, leads
        self._slots = round(DAY_S / interval_s)
        self._profile = Profile(detectors, self._slots, calendar.types, widths)
        self._neighbors, self._neighbor_gain = neighbors, neighbor_gain
        self._least_scale = least_scale
        self._sum, self._count = np.zeros(detectors), np.zeros(detectors)
        self._scale = np.ones(detectors, np.float32)
        self._ahead: deque[Floats] = deque()  # 1 + H, W x D each, from the last interval on

    @property
    def scale(self) -> Floats:
        """Scale of each detector, D; NaN if it was never heard."""
        return np.where(self._count > 0, self._scale, np.float32(np.nan))

    def restart(self) -> None:
        """Forget what was ahead, after a gap that is too long to bridge."""
        self._ahead.clear()

    def prime(self, times_s: NDArray[np.float64], values: Floats) -> None:
        """Take in a day that is known already, T x D, before the first update."""
        for time_s, row in zip(times_s.tolist(), values, strict=True):
            self._learn(*self._locate(time_s), row)

    def _learn(self, slot: int, kind: int, values: Floats) -> None:
        self._profile.learn(slot, kind, values)
        # The scale is a detector's mean over its first day, and then stays: sums are in it.
        young = ~np.isnan(values) & (self._count < self._slots)
        self._sum[young] += values[young]
        self._count[young] += 1
        mean = self._sum[young] / self._count[young]
        self._scale[young] = np.maximum(mean, self._least_scale)

    def update(
        self,
        time_s: float,
        values: Floats,
        expected: Floats | None,
        learn: bool,
        disowned: Flags | None = None,
    ) -> Moment:
        """Take in one interval's readings (D); `expected` was forecast for it, in scales.

        `disowned` (D) are those whose last readings turn out to have been wrong.
        """
        known = ~np.isnan(values)
        slot, kind = self._locate(time_s)
        if learn:
            self._learn(slot, kind, values)
        heard = self._count > 0
        # Each interval keeps the profile that it had when it was first forecast, so that what a
        # detector is off by means the same for everyone who looks at that interval.
        if not self._ahead:
            self._ahead.extend(self._look_up(time_s, step) for step in range(self._leads + 1))
        else:
            self._ahead.popleft()
            self._ahead.append(self._look_up(time_s, self._leads))
        profiles = np.stack(self._ahead, axis=1) / self._scale
        # A detector heard for the first time has no profile yet: its scale is the best guess.
        profiles = np.where(np.isnan(profiles), np.float32(1), profiles)
        measured = np.where(known & heard, values / self._scale, np.float32(np.nan))
        profile = profiles[0, 0]
        likely = profile if expected is None else expected
        if disowned is not None:
            likely = np.where(disowned, self._expect_anew(measured, profile), likely)
        value = self._fill(measured, likely)
        return Moment(
            slot / self._slots, measured, value, ~known, profiles, self._scale.copy(), heard
        )

    def _locate(self, time_s: float) -> tuple[int, int]:
        """Return slot of the day and day type of the interval that ends at a time."""
        second, kind = self._calendar.locate(time_s - self._interval_s / 2)
        return int(second // self._interval_s), kind

    def _look_up(self, time_s: float, step: int) -> Floats:
        return self._profile.look_up(*self._locate(time_s + step * self._interval_s))

    def _expect_anew(self, measured: Floats, profile: Floats) -> Floats:
        """Return the profile, off by as much as the neighbors are off theirs."""
        if self._neighbors is None:
            return profile
        off = np.nan_to_num(self._neighbors.average(measured - profile))
        return np.asarray(np.maximum(profile + off, 0), np.float32)

    def _fill(self, measured: Floats, expected: Floats) -> Floats:
        """Fill gaps with what was expected and part of what surprised the neighbors."""
        missing = np.isnan(measured)
        if not missing.any():
            return measured
        surprise = np.zeros_like(measured)
        if self._neighbors is not None:
            surprise = np.nan_to_num(self._neighbors.average(measured - expected))
        return np.where(missing, np.maximum(expected + self._neighbor_gain * surprise, 0), measured)
