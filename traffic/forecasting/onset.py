"""The chance that a detector turns slow: from one value or more now to below another soon.

A logistic regression that all detectors share, learned by Newton steps on sums that forget. It sees
what the forecasts see, and how far below the limit they reach in units of their expected error.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Doubles = NDArray[np.float64]

_FIRST_CHANCE = -4.0  # log odds before anything is known: 2 %
_PENALTY = 10.0
_DEPTHS = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0)  # where the slope may change
_LIKELIES = (0.02, 0.05, 0.1, 0.2, 0.4)
_STILL = 20.0  # features further out than this say nothing more


@dataclass(frozen=True, eq=False)
class Chance:
    """Chance of onset at one moment, and what is needed to learn from it."""

    chance: Floats  # D, 0..1; NaN where a detector is slow already or was not measured
    features: Floats  # R of D x G
    open: Flags  # R, may turn slow


class Onset:
    """Chance of onset; G features come from F of the design."""

    LEARNED = ("_curvature", "_weights")

    def __init__(self, features: int, horizon: int, forgetting: float) -> None:
        """`horizon` in intervals."""
        size = features + len(_DEPTHS) + len(_LIKELIES) + 5
        self._horizon, self._forgetting = horizon, forgetting
        self._curvature = np.zeros((size, size))
        self._weights = np.zeros(size)
        self._weights[-1] = _FIRST_CHANCE

    def build(
        self, plain: Floats, value: Floats, size: Floats, likely: Floats, limit: Floats,
        is_open: Flags, rows: NDArray[np.intp],
    ) -> Chance:  # fmt: skip
        """Return the chances from forecasts (H x D), their expected errors, and the limits (D)."""
        depth = np.clip((limit - value[: self._horizon]) / size[: self._horizon], -_STILL, _STILL)
        deepest = depth.max(axis=0)
        columns = [deepest, depth.mean(axis=0), depth[-1], likely]
        columns += [np.maximum(deepest - knot, 0) for knot in _DEPTHS]
        columns += [np.maximum(likely - knot, 0) for knot in _LIKELIES]
        columns += [np.ones_like(limit)]
        features = np.concatenate([plain, np.stack(columns, axis=1)], axis=1).astype(np.float32)
        chance = expit(features @ self._weights).astype(np.float32)
        return Chance(np.where(is_open, chance, np.float32(np.nan)), features[rows], is_open[rows])

    def learn(self, made: Chance, came: Floats, limit: Floats) -> None:
        """Learn from chances whose horizon has passed: what came, H x R, and the limits (R)."""
        window = came[: self._horizon]
        happened: Flags = np.asarray((window < limit).any(axis=0))
        # Where a value is missing an onset may have been missed; where one was seen, it was.
        told = made.open & (happened | ~np.isnan(window).any(axis=0))
        features = made.features[told].astype(float)
        chance = expit(features @ self._weights)
        self._curvature *= self._forgetting
        self._curvature += (features * (chance * (1 - chance))[:, None]).T @ features
        pull = features.T @ (happened[told].astype(float) - chance)
        ridge = _PENALTY * np.eye(len(self._weights))
        self._weights += np.linalg.solve(self._curvature + ridge, pull)
