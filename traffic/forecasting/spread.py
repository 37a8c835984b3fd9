"""How far a forecast can be off: quantiles of past errors in like cases, corrected by coverage.

An error is held against the size that regression expects of it. Its quantiles are those of past
errors of like expected size at a like level (bins). What they cover is watched, and the levels at
which they are read are moved when it is not what was promised: adaptive conformal inference (Gibbs
and Candes 2021), with the feedback for a lead time of h intervals coming h intervals late.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Doubles = NDArray[np.float64]
Ints = NDArray[np.intp]

PROMISED = 0.9  # share of outcomes between the outer quantiles
TAIL = (1 - PROMISED) / 2
QUANTILES = (TAIL, 0.5, 1 - TAIL)
_SIZES = np.array((0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0))  # edges, over the mean error of the lead
_LEVELS = np.array((0.6, 0.85))  # edges, of the forecast, in scales
_RISKS = np.array((0.01, 0.03, 0.1))  # edges, of the chance of onset, where traffic is fast
_LEAST_SIZE = 0.25  # of the mean error of the lead
_STEP, _STEPS = 0.05, 241  # of asinh(error over its size), which bounds it at 200 sizes
_PRIOR = 50.0  # outcomes that the pooled errors of a lead are worth to a bin
TURNS = 3
_BOUNDS = (0.002, 0.25)  # of the levels at which the outer quantiles are read


@dataclass(frozen=True, eq=False)
class Band:
    """Quantiles made at one moment, in scales, and what is needed to learn from them."""

    quantiles: Floats  # 3 x H x D
    size: Floats  # H x R of D, error expected
    bins: Ints  # H x R


class Spread:
    """Quantiles for H lead times; the errors of all detectors fill bins together."""

    LEARNED = ("_counts", "_error_sum", "_error_count", "_tails", "_table")

    def __init__(self, leads: int, forgetting: float, gain: float) -> None:
        self._forgetting, self._gain = forgetting, gain
        self._cases = len(_LEVELS) + len(_RISKS) + 1
        bins = (len(_SIZES) + 1) * self._cases
        self._counts = np.zeros((leads, bins, _STEPS))
        self._error_sum, self._error_count = np.zeros(leads), np.zeros(leads)
        self._tails = np.full((2, leads, self._cases), TAIL)  # read below, read above
        self._table = np.zeros((3, leads, bins), np.float32)

    def expect(self, size: Floats) -> Floats:
        """Return error sizes (H x D) that can be divided by."""
        mean = self._error_sum / np.maximum(self._error_count, 1e-9)
        mean = np.where(self._error_count > 0, np.maximum(mean, 1e-4), 0.1)
        self._mean = mean.astype(np.float32)[:, None]
        expected: Floats = np.maximum(size, _LEAST_SIZE * self._mean)
        return expected

    def build(self, value: Floats, size: Floats, risk: Floats, rows: Ints) -> Band:
        """Return quantiles around forecasts (H x D) of such error sizes; risk of onset is D."""
        case = np.digitize(value, _LEVELS)
        fast = len(_LEVELS)
        case += np.where(case == fast, np.digitize(risk, _RISKS), 0)
        bins = np.digitize(size / self._mean, _SIZES) * self._cases + case
        leads = np.arange(len(value))[:, None]
        quantiles = value + size * self._table[:, leads, bins]
        return Band(quantiles, size[:, rows], bins[:, rows])

    def learn(self, lead: int, errors: Floats, band: Band) -> None:
        """Take in errors at one lead, R, NaN where nothing came."""
        known = ~np.isnan(errors)
        if not known.any():
            return
        bins, errors = band.bins[lead, known], errors[known]
        bent = np.arcsinh(errors / band.size[lead, known])
        at = np.rint(bent / _STEP).astype(int) + _STEPS // 2
        flat = bins * _STEPS + np.clip(at, 0, _STEPS - 1)
        counts = self._counts[lead]
        counts *= self._forgetting
        counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)
        self._error_sum[lead] *= self._forgetting
        self._error_count[lead] *= self._forgetting
        self._error_sum[lead] += float(np.abs(errors).sum())
        self._error_count[lead] += len(errors)

    def adapt(self, lead: int, band: Band, known: Flags, below: Flags, above: Flags) -> None:
        """Move the levels of the outer quantiles by what came outside of them, R each."""
        if not known.any():
            return
        case = band.bins[lead, known] % self._cases
        total = np.bincount(case, minlength=self._cases)
        for tail, missed in zip(self._tails, (below, above), strict=True):
            misses = np.bincount(case, missed[known], minlength=self._cases)
            # Groups of few outcomes move slowly: their share of misses is mostly chance.
            step = self._gain * total / (total + _PRIOR)
            tail[lead] += step * (TAIL - misses / np.maximum(total, 1))
        np.clip(self._tails, *_BOUNDS, out=self._tails)

    def solve(self, turn: int) -> None:
        """Renew the quantiles of all bins at a third of the lead times, by turns."""
        part = slice(turn % TURNS, None, TURNS)
        counts = self._counts[part]
        pooled = counts.sum(axis=1, keepdims=True)
        pooled = pooled / np.maximum(pooled.sum(axis=2, keepdims=True), 1e-9)
        shares = np.cumsum(counts + _PRIOR * pooled, axis=2)  # of H x B x steps
        shares /= np.maximum(shares[:, :, -1:], 1e-9)
        case = np.arange(shares.shape[1]) % self._cases
        below, above = self._tails[:, part][:, :, case]
        for q, wanted in enumerate((below, np.full_like(below, 0.5), 1 - above)):
            self._table[q, part] = _read(shares, wanted)


def _read(shares: Doubles, wanted: Doubles) -> Doubles:
    """Return the errors at which cumulated shares (.. x steps) reach what is wanted (..)."""
    at = np.minimum((shares < wanted[..., None]).sum(axis=-1), _STEPS - 1)
    upper = np.take_along_axis(shares, at[..., None], -1)[..., 0]
    lower = np.take_along_axis(shares, np.maximum(at - 1, 0)[..., None], -1)[..., 0]
    lower = np.where(at > 0, lower, 0.0)
    within = np.where(upper > lower, (wanted - lower) / np.maximum(upper - lower, 1e-12), 0.5)
    read: Doubles = np.sinh((at - _STEPS // 2 - 0.5 + within) * _STEP)
    return read


class Watch:
    """Says which forecasts still cover what they promise, by lead time and by detector."""

    LEARNED = (
        "_lead", "_detector", "judged", "_judged_detectors", "trusted_leads", "trusted_detectors",
    )  # fmt: skip

    def __init__(
        self,
        detectors: int,
        leads: int,
        memory: float,
        least: float,
        least_own: float,
        begin: float = 12.0,
    ) -> None:
        """`memory` in intervals; `least` coverage of a lead time, `least_own` of a detector.

        Nothing is trusted before it has been judged for `begin` intervals.
        """
        self._forget, self._begin = 1 - float(np.exp(-1 / memory)), begin
        self._least, self._least_own = least, least_own
        # Begins as promised, as if that had been seen for `begin` intervals.
        self._lead = np.full(leads, PROMISED)
        self._detector = np.full(detectors, PROMISED, np.float32)
        self.judged = np.zeros(leads, np.int32)  # intervals in which something came
        self._judged_detectors = np.zeros(detectors, np.int32)
        self.trusted_leads = np.zeros(leads, bool)
        self.trusted_detectors = np.zeros(detectors, bool)

    @property
    def coverage(self) -> Doubles:
        """Share of outcomes within the outer quantiles of late, H."""
        return self._lead.copy()

    def learn(self, inside: Flags, known: Flags) -> None:
        """Take in which outcomes (H x D, where known) lay within their outer quantiles."""
        total = known.sum(axis=1)
        seen = total > 0
        share = (inside & known).sum(axis=1) / np.maximum(total, 1)
        self.judged[seen] += 1
        self._lead[seen] += (self._gain(self.judged) * (share - self._lead))[seen]
        heard = known.sum(axis=0)
        self._judged_detectors += heard > 0
        own = (inside & known).sum(axis=0) / np.maximum(heard, 1)
        moved = self._gain(self._judged_detectors) * (own - self._detector)
        self._detector += np.where(heard > 0, moved, 0).astype(np.float32)
        # Trust comes back a little above where it went.
        self.trusted_leads = self._lead >= self._least + 0.01 * ~self.trusted_leads
        self.trusted_leads &= self.judged >= self._begin
        again = 0.01 * ~self.trusted_detectors
        self.trusted_detectors = self._detector >= self._least_own + again
        self.trusted_detectors &= self._judged_detectors >= self._begin

    def _gain(self, judged: NDArray[np.int32]) -> Doubles:
        """Return the weight of the newest: that of a plain mean until the memory is full."""
        return np.maximum(1 / (self._begin + judged), self._forget)
