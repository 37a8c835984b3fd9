"""A challenger to the mixture: heard in silence, and speaking only while it wins.

Every forecast of a challenger is held against what came, beside the mixture's for the same cases,
before the challenger learns from it (prequential). It is promoted lead time by lead time when its
squared error of late is smaller by a margin, and demoted when that is no longer so.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class Challenger(Protocol):
    """Another way to forecast; values are in units of each detector's scale."""

    @property
    def name(self) -> str:
        """What forecasts say when it speaks."""
        ...

    def forecast(self, features: Floats, value: Floats) -> Floats | None:
        """Return forecasts H x D from features (D x G) and the mixture's forecasts (H x D).

        None while it has learned too little.
        """
        ...

    def learn(self, features: Floats, value: Floats, came: Floats) -> None:
        """Take in what was seen and said at one moment, R x G and H x R, and what came, H x R.

        NaN where nothing came. It may refit now or in the background, but not while it forecasts.
        """
        ...


class Referee:
    """Says for each of H lead times whether a challenger speaks."""

    LEARNED = ("_loss", "_judged", "promoted")

    def __init__(self, leads: int, memory: float, margin: float, least: float) -> None:
        """`memory` and `least` in intervals: what counts, and judged before any promotion.

        `margin` is the share of the mixture's squared error by which a challenger must win.
        """
        self._keep, self._margin, self._least = float(np.exp(-1 / memory)), margin, least
        self._loss = np.zeros((2, leads))  # of mixture and challenger
        self._judged = np.zeros(leads)  # intervals
        self.promoted = np.zeros(leads, bool)

    @property
    def ratio(self) -> Doubles:
        """Squared error of the challenger over the mixture's of late, H; NaN while unknown."""
        known = self._judged > 0
        ratio: Doubles = np.full(len(known), np.nan)
        ratio[known] = self._loss[1, known] / np.maximum(self._loss[0, known], 1e-30)
        return ratio

    def judge(self, lead: int, mixture: Floats, challenger: Floats, came: Floats) -> None:
        """Take in forecasts at one lead (R each) beside what came, NaN where nothing did."""
        known = ~np.isnan(came)
        if not known.any():
            return
        self._loss[:, lead] *= self._keep
        for held, forecast in zip(self._loss, (mixture, challenger), strict=True):
            held[lead] += float(np.mean(np.square(forecast[known] - came[known], dtype=float)))
        self._judged[lead] += 1
        ratio = self.ratio[lead]
        if self._judged[lead] < self._least or ratio >= 1:
            self.promoted[lead] = False
        elif ratio <= 1 - self._margin:
            self.promoted[lead] = True
