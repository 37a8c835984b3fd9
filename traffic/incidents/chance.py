"""How often what is found is true: the chance that a lane is still blocked, from odds and age.

One interval's log odds overstate what they know: figures follow each other, and their weights were
fitted on blockages and usual days, not on alarms. Most blockages are over in a quarter of an hour.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traffic.incidents.fitting import fit_logistic

Floats = NDArray[np.float64]

LARGEST = 6.0  # of an interval's log odds: no single reading convinces
OLD_S = 900.0  # age of a finding from which it grows no less likely


@dataclass(frozen=True, slots=True)
class Calibration:
    """Chance = 1 / (1 + exp(-(base + by_odds l + by_age a))), after Platt (1999).

    l are the log odds of the interval, a how long ago the blockage was found, in parts of OLD_S up
    to 1.
    """

    base: float
    by_odds: float
    by_age: float

    def tell(self, log_odds: float, age_s: float) -> float:
        """Return the chance, 0..1, that the lane is still blocked."""
        row = build_rows(np.array([log_odds]), np.array([age_s]))[0]
        told = self.base + row @ np.array([self.by_odds, self.by_age])
        return float(1 / (1 + np.exp(-told)))


def build_rows(log_odds: Floats, age_s: Floats) -> Floats:
    """Return what a chance depends on, N x 2."""
    return np.column_stack([np.clip(log_odds, -LARGEST, LARGEST), np.clip(age_s / OLD_S, 0.0, 1.0)])


def fit_calibration(log_odds: Floats, age_s: Floats, is_true: NDArray[np.bool_]) -> Calibration:
    """Fit to the intervals (N) in which findings stood, and whether a blockage stood there too.

    Raises ValueError when all or none did.
    """
    if not 0 < is_true.sum() < len(is_true):
        raise ValueError("findings that are all true, or none, tell no chance")
    beta = fit_logistic(build_rows(log_odds, age_s), is_true, ridge=1.0)
    return Calibration(*(float(value) for value in beta))
