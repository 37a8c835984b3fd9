"""Faults that no single reading shows: a loop that drifts, speaks for another, or comes late.

Each is held against what the loop itself used to say and what loops near it say now, over tens of
minutes. A queue, a closed lane or a changed demand alone must not look like one.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from traffic.model import ModelError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class TrendSettings:
    """Onset and clearing limits. Raises ModelError with all problems at once."""

    flowing_share: float = 0.6  # of free speed, from which a vehicle's length can be told
    learn_intervals: float = 40.0  # with vehicles, until a loop's usual length is known
    recent_intervals: float = 12.0  # time constant of its present one
    drift_ratio: float = 1.3  # of present to usual length, or its inverse, that is a drift
    cleared_ratio: float = 1.15
    drift_errors: float = 4.0  # standard errors of the present length that a drift must exceed
    usual_s: float = 3600.0  # time constant of a loop's usual count and occupancy
    present_s: float = 300.0  # and of its present ones
    settled_s: float = 1800.0  # until the usual is known
    swap_error: float = 1.2  # of two loops to their own usual readings, from which they are strange
    swap_share: float = 0.3  # of that error, below which the other's usual readings fit
    swap_s: float = 600.0  # that it must last
    lags: int = 9  # intervals
    late_s: float = 1500.0  # time constant of correlations
    late_settled_s: float = 1800.0  # until they can be judged
    late_correlation: float = 0.4  # with the lanes beside it, below which nothing is told
    late_lasting_s: float = 300.0
    late_gain: float = 0.35  # of the correlation at the later lag over that at the usual one

    def __post_init__(self) -> None:
        problems = [
            f"{f.name} {getattr(self, f.name)} must be above 0"
            for f in fields(self)
            if not getattr(self, f.name) > 0
        ]
        if not self.drift_ratio > self.cleared_ratio > 1:
            problems.append(
                f"drift_ratio {self.drift_ratio} must be above cleared_ratio {self.cleared_ratio}, "
                "and that above 1"
            )
        if problems:
            raise ModelError("trend settings", problems)


class Trends:
    """Follows loops (D) and their neighbors; call each of the finders once for each batch.

    `mates` are loops of the same cross-section, `near` those and the next stations (D x D).
    """

    LEARNED = (
        "_usual_m", "_recent_m", "_lengths", "_spread", "_drifts", "_usual", "_present", "_known_s",
        "_strange_s", "_swapped", "_past", "_means", "_cross", "_square", "_heard_s", "_usual_lag",
        "_late_s",
    )  # fmt: skip

    def __init__(
        self, mates: Flags, near: Flags, free_mps: Floats, settings: TrendSettings | None = None
    ) -> None:
        self._settings = settings or TrendSettings()
        size = len(mates)
        self._free_mps = free_mps
        self._mates = mates
        self._pairs = np.argwhere(np.triu(near, 1))  # P x 2
        self._usual_m, self._recent_m = np.full(size, np.nan), np.full(size, np.nan)
        self._lengths, self._spread = np.zeros(size), np.zeros(size)
        self._drifts = np.zeros(size, bool)
        self._usual, self._present = np.zeros((2, size)), np.zeros((2, size))
        self._known_s = np.zeros(size)
        self._strange_s = np.zeros(len(self._pairs))
        self._swapped = np.zeros(len(self._pairs), bool)
        lags = self._settings.lags + 1
        self._past = np.full((lags, size), np.nan)  # what neighbors counted, newest first
        self._means = np.full((2, size), np.nan)  # of a loop's count and of its neighbors'
        self._cross = np.zeros((lags, size))
        self._square = np.zeros((2, size))
        self._heard_s = np.zeros(size)
        self._usual_lag = np.full(size, -1)  # -1 until it is known
        self._late_s = np.zeros(size)

    def forget_course(self) -> None:
        """Forget what was counted of late; what is usual stays."""
        self._past[:] = np.nan
        self._strange_s[:] = 0.0
        self._late_s[:] = 0.0

    def find_drifting(
        self, believed: Flags, count: Floats, occupancy: Floats, speed: Floats, interval_s: float
    ) -> Flags:
        """Find loops whose vehicles grew longer or shorter than they used to be.

        The effective length g = v o T / n of vehicle and loop (Jia, Chen, Coifman and Varaiya
        2001) does not depend on traffic while it flows.
        """
        s = self._settings
        with np.errstate(invalid="ignore", divide="ignore"):
            length_m = speed * occupancy * interval_s / count
            flows = (count >= 2) & (speed > s.flowing_share * self._free_mps) & (occupancy > 0)
        told = believed & flows & ~np.isnan(length_m)
        new = told & np.isnan(self._usual_m)
        self._usual_m[new] = self._recent_m[new] = length_m[new]
        self._lengths[told] += 1
        gain = 1.0 / np.minimum(np.maximum(self._lengths, 1.0), s.recent_intervals)
        self._recent_m[told] += (gain * (length_m - self._recent_m))[told]
        learns = told & (self._lengths <= s.learn_intervals)
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.log(length_m / self._usual_m) ** 2
        self._spread[learns] += ((off - self._spread) / np.maximum(self._lengths, 1.0))[learns]
        usual_gain = 1.0 / np.maximum(self._lengths, 1.0)
        self._usual_m[learns] += (usual_gain * (length_m - self._usual_m))[learns]
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = self._recent_m / self._usual_m
            apart = np.fmax(ratio, 1 / ratio)
        known = self._lengths > s.learn_intervals
        error = np.sqrt(self._spread / s.recent_intervals)
        begins = (apart > s.drift_ratio) & (np.log(apart) > s.drift_errors * error)
        self._drifts = np.where(self._drifts, apart > s.cleared_ratio, begins)
        self._drifts &= known
        return self._drifts.copy()

    def find_swapped(
        self, believed: Flags, count: Floats, occupancy: Floats, interval_s: float
    ) -> Flags:
        """Find pairs that each read as the other used to, and not as they did themselves.

        Errors are |ln of the ratio of counts| + |difference of occupancies| / 0.15, summed over
        both. A closed lane or a queue changes both loops, but does not exchange them.
        """
        s = self._settings
        now = np.array([count * 30.0 / interval_s, occupancy])
        gain = 1 - np.exp(-interval_s / s.present_s)
        slow = 1 - np.exp(-interval_s / s.usual_s)
        fresh = believed & (self._known_s == 0)
        self._usual[:, fresh] = self._present[:, fresh] = now[:, fresh]
        self._known_s[believed] += interval_s
        self._present[:, believed] += gain * (now - self._present)[:, believed]
        a, b = self._pairs.T
        own = self._misfit(a, a) + self._misfit(b, b)
        crossed = self._misfit(a, b) + self._misfit(b, a)
        # Until the usual is known, all that is read is learned, at the pace of a plain mean.
        settling = np.maximum(slow, interval_s / np.maximum(self._known_s, interval_s))
        strange = np.zeros(len(count), bool)
        odd = own >= s.swap_error
        strange[a[odd]] = strange[b[odd]] = True
        learns = believed & (~strange | (self._known_s < s.settled_s))
        self._usual[:, learns] += (settling * (now - self._usual))[:, learns]
        known = (self._known_s >= s.settled_s)[a] & (self._known_s >= s.settled_s)[b]
        fits = known & odd & (crossed <= s.swap_share * own)
        heard = believed[a] & believed[b]
        self._strange_s = np.where(
            heard, np.where(fits, self._strange_s + interval_s, 0.0), self._strange_s
        )
        begins = self._strange_s >= s.swap_s
        ends = heard & (own <= crossed)
        self._swapped = (self._swapped | begins) & ~ends
        found = np.zeros(len(count), bool)
        found[a[self._swapped]] = found[b[self._swapped]] = True
        return found

    def _misfit(self, one: NDArray[np.int_], usual: NDArray[np.int_]) -> Floats:
        counts = np.log((self._present[0, one] + 0.5) / (self._usual[0, usual] + 0.5))
        occupancies = self._present[1, one] - self._usual[1, usual]
        return np.asarray(np.abs(counts) + np.abs(occupancies) / 0.15)

    def find_late(self, believed: Flags, count: Floats, interval_s: float) -> Flags:
        """Find loops whose counts follow those of the lanes beside them later than they used to.

        Platoons and waves reach the lanes of a cross-section together or, where each has its own
        green, always as far apart. Later means by two intervals and more.
        """
        s = self._settings
        mates = self._mates & believed
        number = mates.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            around = (mates @ np.where(believed, count, 0.0)) / number
        gain = 1 - np.exp(-interval_s / s.late_s)
        own = np.where(believed, count, np.nan)
        self._past[1:] = self._past[:-1]
        for row, values in enumerate((own, around)):
            fresh = np.isnan(self._means[row]) & ~np.isnan(values)
            self._means[row, fresh] = values[fresh]
            known = ~np.isnan(values)
            self._means[row, known] += gain * (values - self._means[row])[known]
        off = own - self._means[0]
        self._past[0] = around - self._means[1]
        for row, values in enumerate((off, self._past[0])):
            known = ~np.isnan(values)
            self._square[row, known] += gain * (values**2 - self._square[row])[known]
        product = off * self._past  # lags x D
        known = ~np.isnan(product)
        self._cross[known] += gain * (product - self._cross)[known]
        self._heard_s[~np.isnan(own) & (number > 0)] += interval_s
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = self._cross / np.sqrt(self._square[0] * self._square[1])
        correlation = np.nan_to_num(correlation, posinf=0.0, neginf=0.0)
        rows = np.arange(len(count))
        peak = correlation.argmax(axis=0)
        height = correlation[peak, rows]
        learns = (self._usual_lag < 0) & (self._heard_s >= s.late_settled_s)
        learns &= height >= s.late_correlation
        self._usual_lag[learns] = peak[learns]
        as_usual = correlation[np.maximum(self._usual_lag, 0), rows]
        is_late = (self._usual_lag >= 0) & (peak - self._usual_lag >= 2)
        is_late &= (height >= s.late_correlation) & (height - as_usual >= s.late_gain)
        self._late_s = np.where(is_late, self._late_s + interval_s, 0.0)
        return np.asarray(self._late_s >= s.late_lasting_s)
