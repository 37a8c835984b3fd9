"""Random features: bends that let a linear regression follow what is not linear.

Each is a sum of a few inputs with random weights, bounded on both sides; a ridge regression on many
of them comes near to any smooth function (Rahimi and Recht 2008). They are drawn once, by seed.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class RandomFeatures:
    """Makes R features of F; each input is held against its size in what was seen before `fix`."""

    LEARNED = ("_weights", "_offsets", "_squares", "_count", "_scaled")

    def __init__(self, inputs: int, outputs: int, seed: int, density: float, gain: float) -> None:
        rng = np.random.default_rng(seed)
        mask = rng.random((inputs, outputs)) < density
        weights = rng.normal(size=(inputs, outputs)) * mask * gain / np.sqrt(density * inputs)
        self._weights = weights.astype(np.float32)
        self._offsets = rng.normal(size=outputs).astype(np.float32)
        self._squares, self._count = np.zeros(inputs), 0
        self._scaled: Floats | None = None

    def learn(self, inputs: Floats) -> None:
        """Take in the size of inputs, N x F, until `fix`."""
        self._squares += np.mean(np.square(inputs, dtype=float), axis=0)
        self._count += 1

    def fix(self) -> None:
        """Make features from now on; before, all are 0."""
        size = np.sqrt(self._squares / max(self._count, 1)) + 1e-6
        self._scaled = self._weights / size[:, None].astype(np.float32)

    @property
    def is_fixed(self) -> bool:
        return self._scaled is not None

    def make(self, inputs: Floats) -> Floats:
        """Return N x R, in -1..1."""
        if self._scaled is None:
            return np.zeros((len(inputs), self._weights.shape[1]), np.float32)
        made: Floats = inputs @ self._scaled
        made += self._offsets
        return np.clip(made, -1, 1, out=made)
