"""LightGBM as the challenger: trees that correct the mixture, refitted on the newest days."""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.errors import UserError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class BoostingSettings:
    """Chosen on the first four fifths of the Los-loop data."""

    first: int = 432  # intervals learned from before the first fit
    every: int = 288  # intervals from one fit to the next
    keep: int = 2016  # newest intervals that a fit looks at
    rows: int = 300  # detectors of an interval that are kept
    trees: int = 200
    anchors: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.75, 1.0)  # leads with own trees
    seed: int = 1


# Ke et al. 2017, LightGBM: A Highly Efficient Gradient Boosting Decision Tree.
PARAMETERS = {
    "objective": "l2",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 300,
    "lambda_l2": 10.0,
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "feature_fraction": 0.4,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


def need_lightgbm() -> Any:
    """Return lightgbm. Raises UserError with the command that installs it."""
    try:
        import lightgbm
    except ModuleNotFoundError as error:
        raise UserError(
            ["the challenger needs lightgbm: pip install 'traffic-response[forecast]'"]
        ) from error
    return lightgbm


class BoostedTrees:
    """A traffic.forecasting.challenge.Challenger; `background` fits in a thread of its own.

    In the foreground the same readings give the same forecasts.
    """

    name = "lightgbm"

    def __init__(
        self,
        leads: int,
        settings: BoostingSettings | None = None,
        background: bool = False,
        threads: int = 1,
    ) -> None:
        need_lightgbm()  # said at once, not at the first fit
        self._settings = s = settings or BoostingSettings()
        self._background, self._threads = background, threads
        self._leads = leads
        self._anchors = sorted({round(share * (leads - 1)) for share in s.anchors})
        self._kept: deque[tuple[Floats, Floats, Floats]] = deque(maxlen=s.keep)
        self._count = 0
        self._models: dict[int, Any] = {}
        self._task: threading.Thread | None = None

    def forecast(self, features: Floats, value: Floats) -> Floats | None:
        """Return the mixture's forecasts as corrected, H x D; None before the first fit."""
        models = self._models
        if not models:
            return None
        found = np.stack(
            [models[lead].predict(_add_lead(features, value, lead)) for lead in self._anchors]
        )
        # Between two leads that have trees the correction goes in a straight line.
        at = np.interp(np.arange(self._leads), self._anchors, np.arange(len(self._anchors)))
        low = np.minimum(at.astype(int), len(self._anchors) - 1)
        high = np.minimum(low + 1, len(self._anchors) - 1)
        share = (at - low)[:, None]
        return (value + (1 - share) * found[low] + share * found[high]).astype(np.float32)

    def learn(self, features: Floats, value: Floats, came: Floats) -> None:
        """Keep what was seen, said and came at one moment; fit when it is time."""
        s = self._settings
        stride = -(-features.shape[0] // s.rows)
        part = slice(self._count % stride, None, stride)
        self._kept.append((features[part].copy(), value[:, part].copy(), came[:, part].copy()))
        self._count += 1
        if self._count >= s.first and (self._count - s.first) % s.every == 0:
            if self._background:
                self._fit_behind()
            else:
                self.fit()

    def fit(self) -> None:
        """Fit to all that is kept."""
        self._models = self._build(list(self._kept))

    def _fit_behind(self) -> None:
        if self._task is not None and self._task.is_alive():
            return  # the last fit is still under way; the next one will see more
        kept = list(self._kept)

        def work() -> None:
            self._models = self._build(kept)

        self._task = threading.Thread(target=work, daemon=True)
        self._task.start()

    def wait(self) -> None:
        """Wait for a fit in the background."""
        if self._task is not None:
            self._task.join()

    def _build(self, kept: list[tuple[Floats, Floats, Floats]]) -> dict[int, Any]:
        parameters = PARAMETERS | {
            "seed": self._settings.seed, "num_threads": self._threads,
        }  # fmt: skip
        lightgbm, models = need_lightgbm(), {}
        for lead in self._anchors:
            rows = np.concatenate([_add_lead(f, value, lead) for f, value, _ in kept])
            target = np.concatenate([came[lead] - value[lead] for _, value, came in kept])
            known = ~np.isnan(target)
            data = lightgbm.Dataset(rows[known], target[known])
            models[lead] = lightgbm.train(parameters, data, self._settings.trees)
        return models


def _add_lead(features: Floats, value: Floats, lead: int) -> Floats:
    """Return features with what the mixture says of a lead, D x (G + 2)."""
    said = np.stack([value[lead], value[lead] - value[0]], axis=1)
    return np.concatenate([features, said], axis=1)
