"""What loops measure at a time of day on a kind of day: a mean, smoothed over neighboring times."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Profile:
    """Means of D detectors by time of day and day type; call `learn` once for each interval.

    A mean over slots of time, weighted by a normal curve, is drawn to the detector's mean of all
    times with the weight of `prior` readings. Older days count ever less, `keep` per day.
    """

    LEARNED = ("_sums", "_counts", "_all_sum", "_all_count")

    def __init__(
        self,
        detectors: int,
        slots: int,
        types: int,
        widths: tuple[float, ...],
        prior: float = 3.0,
        keep: float = 0.95,
    ) -> None:
        """`widths` are those of the curves, standard deviations in slots: one profile for each."""
        self._sums = np.zeros((types, slots, detectors), np.float32)
        self._counts = np.zeros((types, slots, detectors), np.float32)
        self._all_sum, self._all_count = np.zeros(detectors), np.zeros(detectors)
        self._slots, self._prior, self._keep = slots, prior, keep
        self._reach = int(np.ceil(1.5 * max(widths)))
        steps = np.arange(-self._reach, self._reach + 1)
        curves = np.exp(-0.5 * (steps / np.array(widths)[:, None]) ** 2)
        self._curves = np.where(np.abs(steps) <= 1.5 * np.array(widths)[:, None], curves, 0.0)
        self._curves = self._curves.astype(np.float32)  # W x slots within reach

    def learn(self, slot: int, kind: int, values: Floats) -> None:
        """Take in the values (D) of one interval, NaN where nothing was measured."""
        known = ~np.isnan(values)
        filled = np.where(known, values, np.float32(0))
        for held, new in ((self._sums, filled), (self._counts, known)):
            held[kind, slot] *= self._keep
            held[kind, slot] += new
        self._all_sum += filled
        self._all_count += known

    def look_up(self, slot: int, kind: int) -> Floats:
        """Return the profiles at one time, W x D; NaN where a detector has never been heard."""
        at = np.arange(slot - self._reach, slot + self._reach + 1) % self._slots
        with np.errstate(invalid="ignore"):
            mean = (self._all_sum / self._all_count).astype(np.float32)
        sums = self._curves @ self._sums[kind, at]
        counts = self._curves @ self._counts[kind, at]
        profiles: Floats = (sums + self._prior * mean) / (counts + self._prior)
        return profiles
