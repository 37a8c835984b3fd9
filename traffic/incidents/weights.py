"""How much each figure of evidence speaks for a blockage: log odds, fitted by kind of section."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traffic.incidents.evidence import FIGURES
from traffic.incidents.sections import SectionKind
from traffic.model import ModelError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

RIDGE = 10.0
LARGEST_STEP = 1e-6
MOST_STEPS = 50
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
    """Fit logistic regression with a ridge penalty by Newton's method; figures N x F, blocked N.

    Figures are scaled to unit variance for the penalty. Raises ModelError when there are too few
    intervals of either kind.
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
    mean, deviation = figures.mean(axis=0), figures.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    design = np.column_stack([np.ones(len(figures)), (figures - mean) / deviation])
    penalty = RIDGE * np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    beta = np.zeros(design.shape[1])
    for _ in range(MOST_STEPS):
        chance = 1 / (1 + np.exp(-(design @ beta)))
        curve = (design * (chance * (1 - chance))[:, None]).T @ design + penalty
        step = np.linalg.solve(curve, design.T @ (is_blocked - chance) - penalty @ beta)
        beta += step
        if np.abs(step).max() < LARGEST_STEP:
            break
    slopes = beta[1:] / deviation
    base = float(beta[0] - (slopes * mean).sum())
    return Weights(base, dict(zip(FIGURES, slopes.tolist(), strict=True)))


def build_table(fitted: Mapping[SectionKind, Weights]) -> dict[str, dict[str, float]]:
    """Return the weights as plain numbers: kind -> figure, and "base", -> log odds."""
    return {
        kind.value: {"base": round(one.base, 3)}
        | {name: round(value, 3) for name, value in one.by_figure.items()}
        for kind, one in fitted.items()
    }
