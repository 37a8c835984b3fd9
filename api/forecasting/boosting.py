"""LightGBM as the challenger: trees that correct the mixture, refitted on the newest days."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.errors import UserError
from traffic.learned import Learned, put_back, take_out
from traffic.model import ModelError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class BoostingSettings:
    """Chosen on the first four fifths of the Los-loop data. Raises ModelError with all problems."""

    first: int = 432  # intervals learned from before the first fit
    every: int = 288  # intervals from one fit to the next
    delay: int = 12  # intervals from the begin of a fit until it speaks
    keep: int = 2016  # newest intervals that a fit looks at
    rows: int = 300  # detectors of an interval that are kept
    trees: int = 200
    anchors: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.75, 1.0)  # leads with own trees
    seed: int = 1

    def __post_init__(self) -> None:
        told = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "anchors"}
        zero = ("delay", "seed")
        problems = [
            f"{name} {value} must be a whole number, {int(name not in zero)} or more"
            for name, value in told.items()
            if not isinstance(value, int) or value < int(name not in zero)
        ]
        if not problems and self.delay > self.every:
            problems.append(f"delay {self.delay} must be at most every {self.every}")
        if not self.anchors or any(not 0 <= share <= 1 for share in self.anchors):
            problems.append(f"anchors {self.anchors} must be shares of the lead times, 0 to 1")
        if problems:
            raise ModelError("boosting settings", problems)


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

    A fit speaks at a set interval after it began, and is waited for there if it takes longer. So
    the same readings give the same forecasts, in the background or not.
    """

    name = "lightgbm"
    LEARNED = ("_kept", "_count", "_texts", "_due", "_made")

    def __init__(
        self,
        leads: int,
        settings: BoostingSettings | None = None,
        background: bool = False,
        threads: int = 1,
    ) -> None:
        need_lightgbm()  # said at once, not at the first fit
        self.settings = s = settings or BoostingSettings()
        self._background, self._threads = background, threads
        self._leads = leads
        self._anchors = sorted({round(share * (leads - 1)) for share in s.anchors})
        self._kept: deque[tuple[Floats, Floats, Floats]] = deque(maxlen=s.keep)
        self._count = 0
        self._texts: tuple[str, ...] | None = None  # of the models that speak, one per anchor
        self._models: tuple[Any, ...] = ()
        self._due: int | None = None  # count at which the newest fit speaks
        self._task: Future[tuple[str, ...]] | None = None
        self._done: tuple[str, ...] | None = None

    @property
    def _made(self) -> tuple[str, ...] | None:
        """What the newest fit has found, once it is done."""
        if self._task is not None:
            self._done, self._task = self._task.result(), None
        return self._done

    @_made.setter
    def _made(self, texts: tuple[str, ...] | None) -> None:
        self._done, self._task = texts, None

    def take_out(self) -> Learned:
        """Return all that has been learned; waits for a fit that is under way."""
        return take_out(self)

    def put_back(self, learned: Learned) -> None:
        """Go on from what another took out that was built alike.

        Raises ModelError with all that does not fit.
        """
        put_back(self, learned)
        wrong = self._texts is not None and len(self._texts) != len(self._anchors)
        try:
            self._speak(self._texts)
        except need_lightgbm().basic.LightGBMError as error:
            raise ModelError("what was learned", [f"trees: {error}"]) from error
        if wrong:
            raise ModelError("what was learned", [f"trees for {len(self._anchors)} leads expected"])

    def forecast(self, features: Floats, value: Floats) -> Floats | None:
        """Return the mixture's forecasts as corrected, H x D; None before the first fit."""
        if not self._models:
            return None
        found = np.stack(
            [
                model.predict(_add_lead(features, value, lead), num_threads=self._threads)
                for lead, model in zip(self._anchors, self._models, strict=True)
            ]
        )
        # Between two leads that have trees the correction goes in a straight line.
        at = np.interp(np.arange(self._leads), self._anchors, np.arange(len(self._anchors)))
        low = np.minimum(at.astype(int), len(self._anchors) - 1)
        high = np.minimum(low + 1, len(self._anchors) - 1)
        share = (at - low)[:, None]
        return (value + (1 - share) * found[low] + share * found[high]).astype(np.float32)

    def learn(self, features: Floats, value: Floats, came: Floats) -> None:
        """Keep what was seen, said and came at one moment; fit when it is time."""
        s = self.settings
        stride = -(-features.shape[0] // s.rows)
        part = slice(self._count % stride, None, stride)
        self._kept.append((features[part].copy(), value[:, part].copy(), came[:, part].copy()))
        self._count += 1
        if self._due is not None and self._count >= self._due:
            self._adopt()
        if self._count >= s.first and (self._count - s.first) % s.every == 0:
            self._begin()

    def fit(self) -> None:
        """Fit to all that is kept, and speak at once."""
        self._begin()
        self._adopt()

    def _begin(self) -> None:
        kept, self._due = list(self._kept), self._count + self.settings.delay
        if self._background:
            worker = ThreadPoolExecutor(1)
            self._task = worker.submit(self._build, kept)
            worker.shutdown(wait=False)
        else:
            self._made = self._build(kept)

    def _adopt(self) -> None:
        """Let the newest fit speak, when it is done."""
        self._speak(self._made)
        self._due = self._made = None

    def _speak(self, texts: tuple[str, ...] | None) -> None:
        # Always from the texts that are saved, so that who loads them says the same.
        booster, self._texts = need_lightgbm().Booster, texts
        self._models = tuple(booster(model_str=text) for text in texts or ())

    def _build(self, kept: list[tuple[Floats, Floats, Floats]]) -> tuple[str, ...]:
        """Return trees for each anchor as LightGBM's text."""
        parameters = PARAMETERS | {"seed": self.settings.seed, "num_threads": self._threads}
        lightgbm, texts = need_lightgbm(), []
        for lead in self._anchors:
            rows = np.concatenate([_add_lead(f, value, lead) for f, value, _ in kept])
            target = np.concatenate([came[lead] - value[lead] for _, value, came in kept])
            known = ~np.isnan(target)
            data = lightgbm.Dataset(rows[known], target[known])
            made = lightgbm.train(parameters, data, self.settings.trees)
            texts.append(made.model_to_string())
        return tuple(texts)


def _add_lead(features: Floats, value: Floats, lead: int) -> Floats:
    """Return features with what the mixture says of a lead, D x (G + 2)."""
    said = np.stack([value[lead], value[lead] - value[0]], axis=1)
    return np.concatenate([features, said], axis=1)
