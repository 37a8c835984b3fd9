"""Logistic regression with a ridge penalty: the one fit behind weights and chances."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]


def fit_logistic(
    rows: Floats, is_true: NDArray[np.bool_], ridge: float, least: float | None = None
) -> Floats:
    """Return intercept and slopes, 1 + F, for rows N x F and what came true, N.

    `ridge` penalizes half the squares of the slopes, of columns of unit variance; no slope is below
    `least`.
    """
    deviation = rows.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    # Most rows may show nothing at all; they count as one.
    shows = (rows != 0).any(axis=1)
    scaled = np.vstack([rows[shows] / deviation, np.zeros(rows.shape[1])])
    number = np.append(np.ones(int(shows.sum())), (~shows).sum())
    yes = np.append(is_true[shows].astype(float), (is_true & ~shows).sum())

    def judge(beta: Floats) -> tuple[float, Floats]:
        """Return the penalized negative log likelihood and its gradient."""
        odds = beta[0] + scaled @ beta[1:]
        loss = (number * np.logaddexp(0.0, odds) - yes * odds).sum()
        off = number / (1 + np.exp(-odds)) - yes
        slope = np.append(off.sum(), scaled.T @ off + ridge * beta[1:])
        return float(loss + ridge / 2 * (beta[1:] ** 2).sum()), slope

    share = is_true.mean()
    start = np.append(np.log(share / (1 - share)), np.zeros(rows.shape[1]))
    bounds = [(None, None), *[(least, None)] * rows.shape[1]]
    beta = minimize(judge, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return np.append(beta[0], beta[1:] / deviation)
