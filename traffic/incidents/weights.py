"""How much each figure of evidence speaks for a blockage: log odds, fitted by kind of section."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traffic.incidents.figures import FIGURES
from traffic.incidents.fitting import fit_logistic
from traffic.incidents.sections import SectionKind
from traffic.model import ModelError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

RIDGE = 10.0
LEAST_BLOCKED = 20  # intervals with a blockage, below which nothing can be fitted


@dataclass(frozen=True, slots=True)
class Weights:
    """Log odds of a blockage: `base` plus the sum of figures times `by_figure` (F).

    Raises ModelError naming every value that is missing, unknown or not finite.
    """

    base: float
    by_figure: Mapping[str, float]

    def __post_init__(self) -> None:
        problems = [f"no weight for {name}" for name in FIGURES if name not in self.by_figure]
        problems += [f"unknown figure {name}" for name in self.by_figure if name not in FIGURES]
        problems += [
            f"{name} {value} must be finite"
            for name, value in (("base", self.base), *self.by_figure.items())
            if not np.isfinite(value)
        ]
        if problems:
            raise ModelError("incident weights", problems)

    def tell(self, figures: Floats) -> Floats:
        """Return the log odds of figures, ... x F."""
        return np.asarray(self.base + figures @ self.as_array())

    def as_array(self) -> Floats:
        return np.array([self.by_figure[name] for name in FIGURES])


def fit_weights(figures: Floats, is_blocked: Flags) -> Weights:
    """Fit logistic regression with a ridge penalty; figures N x F, whether blocked N.

    A figure speaks for a blockage or not at all: no weight is below 0. Raises
    ModelError when there are too few intervals of either kind.
    """
    blocked = int(is_blocked.sum())
    problems = [
        f"{number} intervals {what}, needs {LEAST_BLOCKED}"
        for number, what in (
            (blocked, "with a blockage"),
            (len(is_blocked) - blocked, "without one"),
        )
        if number < LEAST_BLOCKED
    ]
    if problems:
        raise ModelError("incident weights", problems)
    beta = fit_logistic(figures, is_blocked, RIDGE, least=0.0)
    return Weights(float(beta[0]), dict(zip(FIGURES, beta[1:].tolist(), strict=True)))


def build_table(fitted: Mapping[SectionKind, Weights]) -> dict[str, dict[str, float]]:
    """Return the weights as plain numbers: kind -> figure, and "base", -> log odds."""
    return {
        kind.value: {"base": round(one.base, 3)}
        | {name: round(value, 3) for name, value in one.by_figure.items()}
        for kind, one in fitted.items()
    }
