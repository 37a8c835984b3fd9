"""Ridge regression that learns on: sums that forget, and coefficients of one's own near the common.

For rows x with targets y the sums A = sum f^age x x' and B = sum f^age x y' hold all that ridge
regression needs: coefficients (A + penalty)^-1 B (Hoerl and Kennard 1970); with forgetting f = 1
they are those of the whole batch at once. A detector's own deviation from the common coefficients
has a normal prior around 0 that is worth `strength` rows of the common kind (empirical Bayes after
Lindley and Smith 1972).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
_LEAST = 1e-3  # on the diagonal, so that a feature that never varies has an answer


class PooledRidge:
    """Coefficients common to all detectors, F features to T targets."""

    LEARNED = ("_gram", "_moments")

    def __init__(self, penalty: Doubles, targets: int, forgetting: float) -> None:
        """`penalty` (F) is what each feature's squared coefficient costs."""
        size = len(penalty)
        self._penalty = penalty
        self._forgetting = forgetting
        self._gram = np.zeros((size, size))
        self._moments = np.zeros((size, targets))

    def learn(self, features: Floats, targets: Floats) -> None:
        """Take in rows, N x F and N x T, all of one moment; none may hold NaN."""
        self._gram *= self._forgetting
        self._moments *= self._forgetting
        self._gram += features.T @ features
        self._moments += features.T @ targets

    def solve(self, size: int | None = None) -> Doubles:
        """Return the coefficients of the first `size` features (all by default), size x T."""
        part = slice(size)
        gram = self._gram[part, part] + np.diag(self._penalty[part])
        solved: Doubles = np.linalg.solve(gram, self._moments[part]).astype(np.float64)
        return solved


class OwnRidge:
    """What each of D detectors adds to the common forecast, Q features to T targets."""

    LEARNED = ("_gram", "_moments", "_common", "_rows", "_weight", "coefficients")

    def __init__(
        self, detectors: int, features: int, targets: int, forgetting: float, strength: float
    ) -> None:
        self._forgetting, self._strength = forgetting, strength
        self._gram: Floats = np.zeros((detectors, features, features), np.float32)
        self._moments = np.zeros((detectors, features, targets), np.float32)
        self._common = np.zeros((features, features))
        self._rows = 0.0
        # New rows are scaled up instead of all old ones down; brought back before it overflows.
        self._weight = 1.0
        self.coefficients = np.zeros((detectors, features, targets), np.float32)

    def learn(self, features: Floats, residuals: Floats, known: NDArray[np.bool_]) -> None:
        """Take in one row for each detector where `known` (D): D x Q and, of errors, D x T."""
        self._weight /= self._forgetting
        weighted = features * np.where(known, np.float32(self._weight), np.float32(0))[:, None]
        self._gram += weighted[:, :, None] * features[:, None, :]
        self._moments += weighted[:, :, None] * np.where(known[:, None], residuals, 0)[:, None, :]
        self._common += (weighted.T @ features).astype(float)
        self._rows += self._weight * float(known.sum())
        if self._weight > 1e3:
            for held in (self._gram, self._moments, self._common):
                held /= self._weight
            self._rows, self._weight = self._rows / self._weight, 1.0

    def solve(self, part: slice) -> None:
        """Renew the coefficients of some detectors; before any row is known they stay 0."""
        if not self._rows:
            return
        size = self._common.shape[0]
        prior = self._strength * self._common / self._rows + _LEAST * np.eye(size)
        gram = self._gram[part] / self._weight + prior
        moments = self._moments[part] / self._weight
        self.coefficients[part] = np.linalg.solve(gram.astype(np.float32), moments)

    def add(self, features: Floats) -> Floats:
        """Return what each detector adds, D x T."""
        added: Floats = np.matmul(features[:, None, :], self.coefficients)[:, 0]
        return added
