"""How often findings are true, told by the chance that was told of them."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.benchmark.incident_scores import Event
from traffic.incidents.chance import Calibration
from traffic.incidents.raising import Raiser

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

STEPS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

Told = NDArray[np.float64]  # N x 3: log odds, age_s of the finding, 1 where a blockage stood


def list_told(
    levels: Floats, odds: Floats, end_s: Floats, near: Flags, threshold: float,
    events: Iterable[Event],
) -> Told:  # fmt: skip
    """Return the intervals of a day in which findings stood; levels and odds T x S.

    A finding is true while a blockage stands in its section or beside it.
    """
    raiser = Raiser(near, threshold)
    placed = [event for event in events if event.section is not None]
    found_s: dict[int, float] = {}
    told = []
    for of_levels, of_odds, now_s in zip(levels, odds, end_s.tolist(), strict=True):
        for alarm in raiser.update(of_levels, now_s):
            found_s[alarm.section] = now_s
        for section in list(found_s):
            if not raiser.is_on[section]:
                del found_s[section]
                continue
            is_true = any(
                near[event.section, section] and event.begin_s < now_s <= event.end_s
                for event in placed
            )
            told.append((of_odds[section], now_s - found_s[section], float(is_true)))
    return np.array(told).reshape(-1, 3)


def judge_chances(calibration: Calibration, told: Sequence[Told], usual: float) -> dict[str, Any]:
    """Return Brier scores and the reliability of the chances told of days.

    `usual` is how often findings were true on other days, told of each: the static rate.
    """
    every = np.concatenate(told) if told else np.zeros((0, 3))
    if not len(every):
        return {"intervals": 0}
    chance, came = calibration.tell_all(every[:, 0], every[:, 1]), every[:, 2]
    is_new = every[:, 1] == 0.0
    return {
        "intervals": len(every),
        "brier": _round(((chance - came) ** 2).mean()),
        "brier_static": _round(((usual - came) ** 2).mean()),
        "reliability": _list_steps(chance, came),
        "when_raised": {
            "findings": int(is_new.sum()),
            "told": _round(chance[is_new].mean()),
            "came_true": _round(came[is_new].mean()),
        },
    }


def _list_steps(chance: Floats, came: Floats) -> list[dict[str, float | int]]:
    steps = []
    for low, high in pairwise(STEPS):
        inside = (chance >= low) & (chance < high)
        if inside.any():
            steps.append(
                {
                    "from": low,
                    "to": high,
                    "intervals": int(inside.sum()),
                    "told": _round(chance[inside].mean()),
                    "came_true": _round(came[inside].mean()),
                }
            )
    return steps


def _round(value: float) -> float:
    return round(float(value), 3)
