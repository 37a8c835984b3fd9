"""What the regression sees of each detector: how it and its neighbors leave their profile.

All values are in units of the detector's own scale, its mean, so that one set of coefficients fits
small and large detectors alike.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from traffic.forecasting.neighbors import Neighbors

Floats = NDArray[np.float32]

WINDOW = 12  # newest readings that are looked at
_LAGS = (0, 1, 2, 3, 4, 5, 7, 9, 11)
_NEAR_LAGS = (0, 1, 3, 6)
_KNOTS = (0.5, 0.75, 0.92)  # of the scale: where traffic turns slow
_HIGH_KNOTS = (1.5, 3.0)  # of the scale: where flow or occupancy turns high
OWN_NEIGHBORS = 6  # each with a coefficient of its detector's own


class Design:
    """The newest course of D detectors; call `update` once for each interval, then `build`."""

    LEARNED = ("_value", "_off", "_near", "_near_low")

    def __init__(self, neighbors: Neighbors | None, leads: int) -> None:
        self._neighbors = neighbors
        # The profile ahead enters as four steps of its course, whatever the number of leads.
        self._ahead = sorted({max(1, round(leads * share)) for share in (1 / 6, 1 / 3, 2 / 3, 1)})
        self._value: deque[Floats] = deque(maxlen=WINDOW)  # D each, newest first
        self._off: deque[Floats] = deque(maxlen=WINDOW)  # from the profile
        self._near: deque[Floats] = deque(maxlen=WINDOW)  # the neighbors' mean of it
        self._near_low: deque[Floats] = deque(maxlen=WINDOW)  # how slow the neighbors are

    @property
    def is_ready(self) -> bool:
        """True once a whole window has been seen."""
        return len(self._value) == WINDOW

    @property
    def window(self) -> list[Floats]:
        """The newest values (D each), newest first."""
        return list(self._value)

    def update(self, value: Floats, profile: Floats) -> None:
        """Take in one interval's values and profile (D each), without NaN."""
        off = value - profile
        self._value.appendleft(value)
        self._off.appendleft(off)
        self._near.appendleft(self._average(off))
        self._near_low.appendleft(self._average(np.maximum(_KNOTS[1] - value, 0)))

    def _average(self, values: Floats) -> Floats:
        if self._neighbors is None:
            return np.zeros_like(values)
        return np.nan_to_num(self._neighbors.average(values))

    def build(self, profiles: Floats) -> Floats:
        """Return the features, D x F, given the profiles from now on, W x (1 + H) x D."""
        value, off = self._value[0], self._off[0]
        wide, narrow = profiles[0], profiles[-1]
        columns = [self._off[lag] for lag in _LAGS]
        columns += [self._near[lag] for lag in _NEAR_LAGS]
        columns += [np.ones_like(off), np.full_like(off, off.mean())]
        columns += [np.maximum(knot - value, 0) for knot in _KNOTS]
        columns += [np.maximum(value - knot, 0) for knot in _HIGH_KNOTS]
        columns += [self._near_low[0], self._near_low[3]]
        columns += [off * (wide[0] - 1), wide[0] - 1]
        columns += [wide[step] - wide[0] for step in self._ahead]
        columns += [narrow[step] - wide[step] for step in (0, *self._ahead[1:])]
        columns += [np.std(self._value, axis=0)]
        return np.stack(columns, axis=1).astype(np.float32)

    def build_own(self) -> Floats:
        """Return the features whose coefficients are a detector's own, D x Q."""
        off = self._off[0]
        columns = [np.ones_like(off), off, self._off[3]]
        if self._neighbors is not None:
            near = self._neighbors.index[:, :OWN_NEIGHBORS]
            has = self._neighbors.weight[:, :OWN_NEIGHBORS] > 0
            columns += list(np.where(has, off[near], 0).T)
        return np.stack(columns, axis=1).astype(np.float32)


def count_features(leads: int) -> int:
    """Return F, the number of features that a design builds."""
    design, one = Design(None, leads), np.ones(1, np.float32)
    for _ in range(WINDOW):
        design.update(one, one)
    return int(design.build(np.ones((2, leads + 1, 1), np.float32)).shape[1])


def count_own(neighbors: Neighbors | None) -> int:
    """Return Q, the number of features with coefficients of a detector's own."""
    return 3 if neighbors is None else 3 + min(neighbors.index.shape[1], OWN_NEIGHBORS)
