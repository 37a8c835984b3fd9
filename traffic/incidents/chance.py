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
YOUNG_S = 180.0  # age from which it has stood the test of a few more cycles of signals


@dataclass(frozen=True, slots=True)
class Calibration:
    """Chance = 1 / (1 + exp(-(base + by_odds l + by_age a + by_youth y))), after Platt (1999).

    l are the log odds of the interval, a how long ago the blockage was found, in parts of OLD_S up
    to 1, y what is left of YOUNG_S, from 1 when it is found down to 0.
    """

    base: float
    by_odds: float
    by_age: float
    by_youth: float

    def tell(self, log_odds: float, age_s: float) -> float:
        """Return the chance, 0..1, that the lane is still blocked."""
        return float(self.tell_all(np.array([log_odds]), np.array([age_s]))[0])

    def tell_all(self, log_odds: Floats, age_s: Floats) -> Floats:
        """Return the chances of findings, N."""
        slopes = np.array([self.by_odds, self.by_age, self.by_youth])
        told = self.base + _build_rows(log_odds, age_s) @ slopes
        return np.asarray(1 / (1 + np.exp(-told)))


def _build_rows(log_odds: Floats, age_s: Floats) -> Floats:
    """Return what a chance depends on, N x 3."""
    return np.column_stack(
        [
            np.clip(log_odds, -LARGEST, LARGEST),
            np.clip(age_s / OLD_S, 0.0, 1.0),
            np.clip(1.0 - age_s / YOUNG_S, 0.0, 1.0),
        ]
    )


def fit_calibration(log_odds: Floats, age_s: Floats, is_true: NDArray[np.bool_]) -> Calibration:
    """Fit to the intervals (N) in which findings stood, and whether a blockage stood there too.

    Raises ValueError when all or none did.
    """
    if not 0 < is_true.sum() < len(is_true):
        raise ValueError("findings that are all true, or none, tell no chance")
    beta = fit_logistic(_build_rows(log_odds, age_s), is_true, ridge=1.0)
    return Calibration(*(float(value) for value in beta))
