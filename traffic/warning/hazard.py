"""The chance of an event within each lead, from few features, as a discrete-time hazard.

Time ahead is cut at the leads. Given that nothing has come before, the event falls into the next
piece with a chance of its own, the hazard: logistic in the features, with one intercept for each
piece and weights in common (Allison 1982, "Discrete-time methods for the analysis of event
histories"). What is left after all pieces is the survival, prod(1 - hazard), so that chances never
fall with the lead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from traffic.model import ModelError

Floats = NDArray[np.float64]

_KEYS = ("lead_s", "intercept", "features")
_PARTS = ("mean", "scale", "weight")


def survive(hazard: Floats) -> Floats:
    """Return the chance that the event has come by the end of each piece, along the last axis."""
    return np.asarray(1.0 - np.cumprod(1.0 - hazard, axis=-1))


@dataclass(frozen=True, eq=False)
class HazardModel:
    """Fitted coefficients. Raises ModelError with all problems at once; arrays are read-only."""

    name: str
    lead_s: tuple[float, ...]  # H, ends of the pieces
    features: tuple[str, ...]  # F
    intercept: Floats  # H
    mean: Floats  # F, taken from a feature before it is divided by its scale
    scale: Floats  # F
    weight: Floats  # F

    def __post_init__(self) -> None:
        problems = []
        if not self.lead_s or not self.lead_s[0] > 0 or (np.diff(self.lead_s) <= 0).any():
            problems.append(f"lead_s {self.lead_s} must rise from above 0")
        expected = {"intercept": len(self.lead_s)} | dict.fromkeys(_PARTS, len(self.features))
        for name, size in expected.items():
            values = getattr(self, name)
            if values.shape != (size,):
                problems.append(f"{name} has shape {values.shape}, expected ({size},)")
            elif not np.isfinite(values).all():
                problems.append(f"{name} {values.tolist()} must be finite")
        if not (self.scale > 0).all():
            problems.append(f"scale {self.scale.tolist()} must be above 0")
        if len(set(self.features)) != len(self.features):
            problems.append(f"features {self.features} must differ")
        if problems:
            raise ModelError(f"hazard model {self.name}", problems)
        for name in expected:
            getattr(self, name).flags.writeable = False

    def find_chance(self, values: Floats) -> Floats:
        """Return the chance of the event within each lead, ... x H, from features ... x H x F.

        A feature that is not known counts as its mean; NaN where more than half are not known.
        """
        standard = (values - self.mean) / self.scale
        unknown = np.isnan(standard)
        score = self.intercept + np.where(unknown, 0.0, standard) @ self.weight
        chance = survive(np.asarray(expit(score)))
        lost = (2 * unknown.sum(axis=-1) > len(self.features)).any(axis=-1)
        return np.where(lost[..., None], np.nan, chance)

    def to_table(self) -> dict[str, Any]:
        """Return what `from_table` reads, rounded to five digits."""

        def tell(number: float) -> float:
            return float(f"{number:.5g}")

        rows = zip(self.features, self.mean, self.scale, self.weight, strict=True)
        return {
            "lead_s": list(self.lead_s),
            "intercept": [tell(value) for value in self.intercept],
            "features": {
                name: {"mean": tell(mean), "scale": tell(scale), "weight": tell(weight)}
                for name, mean, scale, weight in rows
            },
        }

    @classmethod
    def from_table(cls, name: str, table: Any, features: Sequence[str]) -> "HazardModel":
        """Read a table; `features` are those that the caller computes, in its order.

        Raises ModelError naming everything that is missing, unknown or no number.
        """
        problems = _check_table(table, features)
        if problems:
            raise ModelError(f"hazard model {name}", problems)
        columns = (
            np.array([table["features"][feature][part] for feature in features], np.float64)
            for part in _PARTS
        )
        lead_s = tuple(float(lead) for lead in table["lead_s"])
        intercept = np.array(table["intercept"], np.float64)
        return cls(name, lead_s, tuple(features), intercept, *columns)


def _check_table(table: Any, features: Sequence[str]) -> list[str]:
    if not isinstance(table, Mapping):
        return [f"is {type(table).__name__}, expected a table"]
    problems = [f"has no {key}" for key in _KEYS if key not in table]
    problems += [f"has an unknown {key}" for key in sorted(table.keys() - set(_KEYS))]
    for key in ("lead_s", "intercept"):
        values = table.get(key, [])
        if not isinstance(values, list) or not all(map(_is_number, values)):
            problems.append(f"{key} is {values!r}, expected a list of numbers")
    rows = table.get("features", {})
    if not isinstance(rows, Mapping):
        return [*problems, f"features is {type(rows).__name__}, expected a table"]
    if "features" in table:
        problems += [f"has no feature {name}" for name in features if name not in rows]
        problems += [f"has an unknown feature {name}" for name in sorted(rows.keys() - {*features})]
    for name, row in rows.items():
        for part in _PARTS:
            value = row.get(part) if isinstance(row, Mapping) else None
            if not _is_number(value):
                problems.append(f"feature {name}: {part} is {value!r}, expected a number")
    return problems


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def fit_hazard(
    name: str,
    lead_s: Sequence[float],
    features: Sequence[str],
    values: Floats,  # N x H x F
    event_s: Floats,  # N, from each moment to its event, infinite when none came
    known_s: Floats,  # N, how long each moment was followed
    ridge: float = 1.0,
) -> HazardModel:
    """Fit by penalized maximum likelihood: ridge / 2 times the squared standardized weights.

    Weights are held at 0 or above, as every feature is one that can only raise the hazard: with
    few events that keeps out what chance alone would bring in.

    A moment counts in a piece when nothing has come before it, and the event came in it or it was
    followed to its end. Raises ModelError when there is nothing to learn from.
    """
    leads = np.asarray(lead_s, np.float64)
    begins = np.concatenate(([0.0], leads[:-1]))
    is_event = (event_s[:, None] > begins) & (event_s[:, None] <= leads)  # N x H
    at_risk = (event_s[:, None] > begins) & (is_event | (known_s[:, None] >= leads))
    mean = np.nanmean(values, axis=(0, 1))
    scale = np.nanstd(values, axis=(0, 1))
    problems = [
        f"piece up to {lead:g} s saw {events} events in {risks} moments"
        for lead, events, risks in zip(
            lead_s, (is_event & at_risk).sum(axis=0), at_risk.sum(axis=0), strict=True
        )
        if not 0 < events < risks
    ]
    problems += [
        f"feature {feature} never changes"
        for feature, one in zip(features, scale, strict=True)
        if not one > 0
    ]
    if problems:
        raise ModelError(f"hazard model {name}", problems)
    standard = np.nan_to_num((values - mean) / scale, nan=0.0)
    rows, pieces = np.nonzero(at_risk)
    design = standard[rows, pieces]  # M x F
    target = is_event[rows, pieces].astype(np.float64)  # M
    size = len(leads)

    def lose(vector: Floats) -> tuple[float, Floats]:
        intercept, weight = vector[:size], vector[size:]
        score = intercept[pieces] + design @ weight
        loss = float(np.logaddexp(0.0, score).sum() - target @ score)
        error = expit(score) - target
        slope = np.concatenate((np.bincount(pieces, error, size), error @ design + ridge * weight))
        return loss + ridge / 2 * float(weight @ weight), slope

    rates = np.bincount(pieces, target, size) / np.bincount(pieces, minlength=size)
    start = np.concatenate((logit(rates), np.zeros(len(features))))
    bounds = [(None, None)] * size + [(0.0, None)] * len(features)
    found = minimize(
        lose, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1000}
    )
    return HazardModel(
        name,
        tuple(float(lead) for lead in lead_s),
        tuple(features),
        found.x[:size].copy(),
        mean,
        scale,
        found.x[size:].copy(),
    )
