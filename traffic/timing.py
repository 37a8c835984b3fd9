"""Signal timing formulas: Webster's cycle, splits and delay; the HCM's uniform delay.

Sources: F. V. Webster, Traffic Signal Settings, Road Research Technical Paper 39, HMSO 1958;
Highway Capacity Manual 2010, chapter 18.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class TimingError(ValueError):
    """A timing problem without an answer; names each field, its value and the rule."""


def _check_flow_ratios(flow_ratios: Sequence[float]) -> list[str]:
    if not flow_ratios:
        return ["flow_ratios is empty: at least one stage is needed"]
    return [
        f"flow_ratios[{i}] = {ratio}: must be finite and not negative"
        for i, ratio in enumerate(flow_ratios)
        if not (math.isfinite(ratio) and ratio >= 0)
    ]


def webster_cycle_s(
    flow_ratios: Sequence[float],
    lost_time_s: float,
    *,
    min_cycle_s: float = 30.0,
    max_cycle_s: float = 120.0,
) -> float:
    """Return the cycle of least delay, (1.5 L + 5) / (1 - Y), kept within the bounds.

    `flow_ratios`: the critical flow ratio of each stage, 0..1. At or above saturation
    (Y >= 1) the formula has no answer and the longest cycle is returned. Webster 1958.
    Raises TimingError listing all bad inputs.
    """
    problems = _check_flow_ratios(flow_ratios)
    if not (math.isfinite(lost_time_s) and lost_time_s > 0):
        problems.append(f"lost_time_s = {lost_time_s}: must be above 0")
    if not 0 < min_cycle_s <= max_cycle_s:
        problems.append(
            f"min_cycle_s = {min_cycle_s}: must be above 0 and at most max_cycle_s = {max_cycle_s}"
        )
    if problems:
        raise TimingError("; ".join(problems))
    total = sum(flow_ratios)
    if total >= 1:
        return max_cycle_s
    return min(max((1.5 * lost_time_s + 5) / (1 - total), min_cycle_s), max_cycle_s)


def webster_splits_s(
    flow_ratios: Sequence[float],
    cycle_s: float,
    lost_time_s: float,
    min_green_s: Sequence[float],
) -> NDArray[np.float64]:
    """Share the effective green in proportion to flow ratios, none below its minimum.

    Returns seconds per stage (S), summing to cycle_s - lost_time_s. Raises TimingError when
    the minimum greens do not fit the cycle, and for every other bad input at once.
    """
    problems = _check_flow_ratios(flow_ratios)
    if len(min_green_s) != len(flow_ratios):
        problems.append(
            f"min_green_s has {len(min_green_s)} stages, flow_ratios {len(flow_ratios)}"
        )
    problems += [
        f"min_green_s[{i}] = {green}: must be finite and not negative"
        for i, green in enumerate(min_green_s)
        if not (math.isfinite(green) and green >= 0)
    ]
    available_s = cycle_s - lost_time_s
    if not sum(min_green_s) - 1e-9 <= available_s < math.inf:  # a sum's rounding is no shortage
        problems.append(
            f"cycle_s = {cycle_s} less lost_time_s = {lost_time_s} leaves {available_s} s: "
            f"less than the minimum greens, {sum(min_green_s)} s"
        )
    if problems:
        raise TimingError("; ".join(problems))
    ratios = np.asarray(flow_ratios, dtype=np.float64)  # S
    floor_s = np.asarray(min_green_s, dtype=np.float64)  # S
    splits_s = floor_s.copy()
    free = np.ones(len(ratios), dtype=bool)
    # Stages whose share falls below their minimum are fixed there, the rest share what is left;
    # each pass fixes at least one stage, so it ends.
    while free.any():
        left_s = available_s - floor_s[~free].sum()
        weight = ratios[free]
        if weight.sum() <= 0:
            weight = np.ones_like(weight)
        share_s = left_s * (weight / weight.sum())  # in this order tiny ratios keep their share
        if (share_s >= floor_s[free] - 1e-9).all():
            splits_s[free] = share_s
            return splits_s
        free[np.flatnonzero(free)[share_s < floor_s[free] - 1e-9]] = False
    splits_s += (available_s - splits_s.sum()) / len(splits_s)
    return splits_s


def uniform_delay_s(cycle_s: float, green_ratio: float, saturation_degree: float) -> float:
    """Return the mean delay of regular arrivals, 0.5 C (1-u)^2 / (1 - u min(1, x)), seconds.

    `green_ratio` u is effective green over cycle, `saturation_degree` x is flow over capacity.
    HCM 2010, equation 18-20; for x <= 1 it is the first term of Webster 1958.
    """
    problems = []
    if not cycle_s > 0:
        problems.append(f"cycle_s = {cycle_s}: must be above 0")
    if not 0 < green_ratio <= 1:
        problems.append(f"green_ratio = {green_ratio}: must be in (0, 1]")
    if not saturation_degree >= 0:
        problems.append(f"saturation_degree = {saturation_degree}: must not be negative")
    if problems:
        raise TimingError("; ".join(problems))
    if green_ratio == 1:
        return 0.0
    served = green_ratio * min(1.0, saturation_degree)
    return 0.5 * cycle_s * (1 - green_ratio) ** 2 / (1 - served)
