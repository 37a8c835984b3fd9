"""How good forecasts were, from what was forecast and what came."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Said:
    """Forecasts in order of their issue, beside what was measured, in the unit of the readings."""

    first: int  # row of `measured` that the first issue was the newest of
    value: Floats  # N x H x D, expected
    low: Floats  # N x H x D, 5 % quantile
    median: Floats  # N x H x D
    high: Floats  # N x H x D, 95 % quantile
    onset_chance: Floats  # N x D, NaN where slow already
    trusted: Flags  # N x H x D
    model: tuple[tuple[str, ...], ...]  # N of H
    measured: Floats  # T x D, NaN where nothing was

    def came(self, lead: int) -> Floats:
        """Return what came at a lead (from 0) after each issue, N x D; NaN beyond the data."""
        at = self.first + np.arange(len(self.value)) + lead + 1
        beyond = at >= len(self.measured)
        came = self.measured[np.where(beyond, 0, at)].copy()
        came[beyond] = np.nan
        return came

    def now(self) -> Floats:
        """Return the newest readings at each issue, N x D."""
        return self.measured[self.first : self.first + len(self.value)]


def score_windows(said: Said, issues: slice, leads: int) -> dict[str, float]:
    """Return RMSE and MAE over all issues, the first `leads` lead times and detectors at once."""
    errors = np.stack(
        [(said.value[:, h] - said.came(h)).astype(float)[issues] for h in range(leads)]
    )
    return {
        "rmse": float(np.sqrt(np.nanmean(errors**2))),
        "mae": float(np.nanmean(np.abs(errors))),
    }


def score_persistence(said: Said, issues: slice, leads: int) -> float:
    """Return the RMSE of saying that all stays as it is."""
    now = said.now()
    errors = np.stack([(now - said.came(h)).astype(float)[issues] for h in range(leads)])
    return float(np.sqrt(np.nanmean(errors**2)))


def score_coverage(said: Said, issues: slice, leads: int, slow: float) -> dict[str, float]:
    """Return the share of outcomes between the outer quantiles, and the mean width.

    In congestion: where the outcome is slow, where traffic is slow already, and either.
    """
    inside, known, came_slow, is_slow, width = [], [], [], [], []
    now = said.now()[issues]
    for h in range(leads):
        came, low, high = said.came(h)[issues], said.low[issues, h], said.high[issues, h]
        inside.append((came >= low) & (came <= high))
        known.append(~np.isnan(came) & ~np.isnan(low))
        came_slow.append(came < slow)
        is_slow.append(now < slow)
        width.append(high - low)
    cases = {
        "all": np.stack(known),
        "outcome_slow": np.stack(known) & np.stack(came_slow),
        "slow_already": np.stack(known) & np.stack(is_slow),
    }
    cases["either_slow"] = cases["outcome_slow"] | cases["slow_already"]
    inside_all = np.stack(inside)
    covered = {f"coverage_{name}": _mean(inside_all[case]) for name, case in cases.items()}
    return covered | {"mean_width": _mean(np.stack(width)[cases["all"]])}


def score_onset(
    said: Said, issues: slice, horizon: int, below: float, begin: float
) -> dict[str, float]:
    """Return average precision and Brier skill of the chance of onset within `horizon` leads.

    Skill is against the static rate of these very cases, which no forecast could have known.
    """
    window = np.stack([said.came(h)[issues] for h in range(horizon)])
    happened = (window < below).any(axis=0)
    is_open = (said.now()[issues] >= begin) & (happened | ~np.isnan(window).any(axis=0))
    chance = said.onset_chance[issues]
    told = is_open & ~np.isnan(chance)
    outcome, chance = happened[told], chance[told].astype(float)
    rate = _mean(outcome)
    return {
        "cases": float(told.sum()),
        "rate": rate,
        "average_precision": find_average_precision(outcome, chance),
        "brier_skill": 1 - _mean((chance - outcome) ** 2) / (rate * (1 - rate)),
    }


def find_average_precision(outcome: Flags, chance: Doubles) -> float:
    """Return the mean precision over all onsets, cases of equal chance taken together."""
    if not outcome.any():
        return float("nan")
    order = np.argsort(-chance, kind="stable")
    hits = np.cumsum(outcome[order])
    last = np.r_[np.diff(chance[order]) != 0, True]
    precision = (hits / np.arange(1, len(hits) + 1))[last]
    return float((precision * np.diff(np.r_[0, hits[last]])).sum() / outcome.sum())


def compare_days(
    said: Said, day: int, offset: int, leads: Mapping[str, int]
) -> list[dict[str, float]]:
    """Return for each day of `day` rows the RMSE over persistence's, by horizon.

    `offset` is how many rows of its day the first row of `measured` comes late.
    """
    rows = said.first + np.arange(len(said.value)) + offset
    days = []
    for number in range(int(rows[0] // day), int(rows[-1] // day) + 1):
        of_day = np.flatnonzero(rows // day == number)
        found = {"day": float(number + 1)}
        for name, count in leads.items():
            # Whole windows only, as in the table.
            last = len(said.measured) - 1 - count - said.first
            issues = slice(int(of_day[0]), min(int(of_day[-1]), last) + 1)
            if issues.stop > issues.start:
                ours = score_windows(said, issues, count)["rmse"]
                found[name] = ours / score_persistence(said, issues, count)
        days.append(found)
    return days


def _mean(values: NDArray[np.generic]) -> float:
    return float(np.mean(values, dtype=float)) if values.size else float("nan")
