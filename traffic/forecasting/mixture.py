"""Weights of several forecasts, from how each has done so far.

The weights, at least 0 and of sum 1, are those whose mixture would have had the least squared error
(Bates and Granger 1969), older errors counting ever less. Nothing is known of a target before it
has come, so a forecast is judged on data that it has not learned from (prequential, Dawid 1984).
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class Mixture:
    """Mixes E experts' forecasts at H lead times."""

    LEARNED = ("_products", "weights")

    def __init__(self, experts: int, leads: int, forgetting: float) -> None:
        self._forgetting = forgetting
        self._products = np.zeros((leads, experts, experts))  # of errors
        self._sets = [
            list(chosen)
            for size in range(1, experts + 1)
            for chosen in combinations(range(experts), size)
        ]
        # Before anything is known the first expert speaks.
        self.weights = np.zeros((leads, experts))  # H x E
        self.weights[:, 0] = 1.0

    def learn(self, lead: int, errors: Floats) -> None:
        """Take in errors at one lead time, E x N, without NaN."""
        self._products[lead] *= self._forgetting
        self._products[lead] += errors @ errors.T

    def solve(self) -> None:
        """Renew the weights: the best of the closed forms of all sets of experts."""
        scale = np.trace(self._products, axis1=1, axis2=2)
        least = np.full(len(scale), np.inf)
        for chosen in self._sets:
            part = self._products[:, chosen][:, :, chosen]
            part = part + 1e-6 * (scale[:, None, None] + 1e-30) * np.eye(len(chosen))
            share = np.linalg.solve(part, np.ones((len(scale), len(chosen), 1)))[..., 0]
            share /= share.sum(axis=1, keepdims=True)
            loss = np.einsum("hi,hij,hj->h", share, part, share)
            better = (scale > 0) & (share >= 0).all(axis=1) & (loss < least)
            least[better] = loss[better]
            self.weights[better] = 0.0
            self.weights[np.ix_(better, chosen)] = share[better]

    def mix(self, forecasts: Floats) -> Floats:
        """Return the mixture, H x D, of forecasts E x H x D."""
        mixed: Floats = np.einsum("he,ehd->hd", self.weights.astype(np.float32), forecasts)
        return mixed
