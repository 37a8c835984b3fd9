"""Five forecasts made side by side, and their mixture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traffic.forecasting.course import Moment
from traffic.forecasting.design import WINDOW, Design, count_features, count_own
from traffic.forecasting.features import RandomFeatures
from traffic.forecasting.mixture import Mixture
from traffic.forecasting.neighbors import Neighbors
from traffic.forecasting.ridge import OwnRidge, PooledRidge
from traffic.forecasting.settings import LoopForecastSettings

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

EXPERTS = ("persistence", "window mean", "profile", "ridge", "bent ridge")
MIX_EVERY = 3  # intervals from one set of weights to the next
TURNS = 12  # intervals in which each detector's own coefficients are renewed once


@dataclass(frozen=True, eq=False)
class Outlook:
    """What was forecast at one moment, in scales, and from what; kept until it has come."""

    value: Floats  # H x D, the mixture
    known: Flags  # D, measured at that moment, not filled in
    rows: NDArray[np.intp]  # R of D, the detectors that teach what is common
    features: Floats  # R x M
    own: Floats  # D x Q, features with own coefficients
    common: Floats  # H x D, the bent ridge before own coefficients
    experts: Floats  # E x H x R
    profile: Floats  # H x D


class Experts:
    """Forecasts for D detectors; call `forecast` once for each interval, then `learn` of the next.

    The pooled sums can serve further targets with the same features: `extra` of them.
    """

    LEARNED = (
        "_design", "_random", "_ridge", "_straight", "_bent", "_own", "_mixture", "_count",
        "_learned",
    )  # fmt: skip

    def __init__(
        self,
        detectors: int,
        settings: LoopForecastSettings,
        neighbors: Neighbors | None,
        extra: int = 0,
    ) -> None:
        self._settings = s = settings
        self._neighbors = neighbors
        self._design = Design(neighbors, s.leads)
        plain = count_features(s.leads)
        self._plain = plain
        self._random = RandomFeatures(plain, s.bent, s.seed, s.bent_density, s.bent_gain)
        penalty = np.r_[np.full(plain, s.penalty), np.full(s.bent, s.bent_penalty)]
        self._ridge = PooledRidge(penalty, s.leads + extra, s.forgetting)
        shape = (plain + s.bent, s.leads + extra)
        self._straight = np.zeros((plain, s.leads), np.float32)
        self._bent = np.zeros(shape, np.float32)
        self._own = OwnRidge(detectors, count_own(neighbors), s.leads, s.forgetting, s.own_strength)
        self._mixture = Mixture(len(EXPERTS), s.leads, s.mixture_forgetting)
        self._detectors, self._count, self._learned = detectors, 0, 0

    def restart(self) -> None:
        """Forget the newest course, after a gap; what was learned stays."""
        self._design = Design(self._neighbors, self._settings.leads)

    @property
    def weights(self) -> NDArray[np.float64]:
        """How much each expert has to say, H x E."""
        return self._mixture.weights

    def forecast(self, moment: Moment) -> tuple[Outlook, Floats, Floats] | None:
        """Take in one interval and look ahead; None until a whole window has been seen.

        Beside the outlook come the features, D x M, plain ones and then random ones, and what the
        pooled sums say of the further targets, D x X.
        """
        s = self._settings
        self._count += 1
        self._design.update(moment.value, moment.profiles[0, 0])
        if not self._design.is_ready:
            return None
        plain = self._design.build(moment.profiles)
        features = np.concatenate([plain, self._random.make(plain)], axis=1)
        own = self._design.build_own()
        profile = moment.profiles[0, 1:]
        straight = profile + (plain @ self._straight).T
        answer = features @ self._bent
        common = profile + answer[:, : s.leads].T
        ones = np.ones((s.leads, 1), np.float32)
        window = self._design.window
        experts = np.stack(
            [
                ones * window[0],
                ones * np.mean(window, axis=0),
                profile,
                straight,
                common + self._own.add(own).T,
            ]
        )
        stride = -(-self._detectors // s.rows)
        rows = np.arange(self._count % stride, self._detectors, stride)
        outlook = Outlook(
            value=self._mixture.mix(experts),
            known=~moment.estimated,
            rows=rows,
            features=features[rows],
            own=own,
            common=common,
            experts=experts[:, :, rows],
            profile=profile,
        )
        return outlook, features, answer[:, s.leads :]

    def judge(self, lead: int, outlook: Outlook, came: Floats) -> None:
        """Hold what was forecast at one lead (from 0) against what came (D, NaN where nothing)."""
        errors = outlook.experts[:, lead] - came[outlook.rows]
        self._mixture.learn(lead, errors[:, ~np.isnan(errors[0])])

    def learn(self, outlook: Outlook, came: Floats, extra: Floats) -> None:
        """Learn from an outlook whose last lead time has come, H x D, and D x X further targets."""
        s = self._settings
        if not self._random.is_fixed:
            self._random.learn(outlook.features[:, : self._plain])
            if self._learned >= s.settle:
                self._random.fix()
        whole = outlook.known & ~np.isnan(came).any(axis=0)
        chosen = whole[outlook.rows]
        rows = outlook.rows[chosen]
        targets = np.concatenate([(came - outlook.profile)[:, rows].T, extra[rows]], axis=1)
        self._ridge.learn(outlook.features[chosen], targets)
        if self._learned >= s.settle:
            self._own.learn(outlook.own, (came - outlook.common).T, whole)
        self._learned += 1
        self._solve()

    def _solve(self) -> None:
        s = self._settings
        if self._learned % s.solve_every == 0 or self._learned < 4 * WINDOW:
            self._straight = self._ridge.solve(self._plain)[:, : s.leads].astype(np.float32)
            self._bent = self._ridge.solve().astype(np.float32)
        if self._learned % MIX_EVERY == 0:
            self._mixture.solve()
        if self._learned > s.settle:
            size = -(-self._detectors // TURNS)
            turn = self._learned % TURNS
            self._own.solve(slice(turn * size, (turn + 1) * size))
