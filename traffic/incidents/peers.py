"""Two classics to be measured against: California algorithm #7 and the standard normal deviate.

Both look at occupancy alone. They were made for freeways, where occupancy of a minute is smooth;
here they get occupancies over about a signal's cycle, of any section with loops at both ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from traffic.incidents.sections import ENTRY, EXIT, Section
from traffic.readings import LoopBatch, Quality

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]

SMOOTHED = 3  # intervals of 30 s in one value: a cycle; at least the minute of the originals


class Occupancies:
    """Mean occupancy at both ends of each section over the latest intervals, in percent."""

    def __init__(self, sections: Sequence[Section], detectors: tuple[str, ...]) -> None:
        index = {loop: i for i, loop in enumerate(detectors)}
        self._ends = [
            [np.array([index[loop] for loop in s.stations[end]], int) for s in sections]
            for end in (ENTRY, EXIT)
        ]
        self._kept = np.full((SMOOTHED, 2, len(sections)), np.nan)

    def update(self, batch: LoopBatch) -> Floats:
        """Return the occupancies above and below, 2 x S, NaN where no loop of an end is heard."""
        occupancy = np.where(batch.quality == Quality.GOOD, batch.occupancy, np.nan)
        self._kept[:-1] = self._kept[1:]
        for end, groups in enumerate(self._ends):
            for i, loops in enumerate(groups):
                heard = occupancy[loops][~np.isnan(occupancy[loops])]
                self._kept[-1, end, i] = heard.mean() if len(heard) else np.nan
        known = ~np.isnan(self._kept)
        number = known.sum(axis=0)
        total = np.where(known, self._kept, 0.0).sum(axis=0)
        return np.asarray(100.0 * np.where(number > 0, total / np.maximum(number, 1), np.nan))


class CaliforniaState(IntEnum):
    """States of algorithm #7."""

    FREE = 0
    TENTATIVE = 1
    CONFIRMED = 2
    CONTINUING = 3


@dataclass(frozen=True, slots=True)
class CaliforniaLimits:
    """Thresholds of algorithm #7, in percent of occupancy but for `relative`."""

    difference: float  # T1: OCCDF, occupancy above less below
    relative: float  # T2: OCCRDF, that difference over the occupancy above, 0..1
    below: float  # T3: DOCC, the occupancy below


def step_california(states: Ints, above: Floats, below: Floats, limits: CaliforniaLimits) -> Ints:
    """Return the states (S) after one more interval of occupancies above and below (S, percent).

    Payne and Tignor (1978), Freeway incident-detection algorithms based on decision trees with
    states, TRR 682: free, and OCCDF >= T1, OCCRDF >= T2, DOCC <= T3: tentative; tentative and
    OCCRDF >= T2: confirmed; confirmed or continuing and OCCRDF >= T2: continuing; else free.
    """
    difference = above - below
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(above > 0, difference / above, 0.0)
    persists = relative >= limits.relative
    begins = persists & (difference >= limits.difference) & (below <= limits.below)
    after = np.where(states == CaliforniaState.FREE, CaliforniaState.TENTATIVE, states + 1)
    after = np.minimum(after, CaliforniaState.CONTINUING)
    goes_on = np.where(states == CaliforniaState.FREE, begins, persists)
    return np.where(goes_on, after, CaliforniaState.FREE)


def run_california(occupancies: Floats, limits: CaliforniaLimits) -> Floats:
    """Return the alarm level of a day, T x S: 1 where confirmed or continuing, else 0.

    `occupancies` is T x 2 x S, percent.
    """
    states = np.zeros(occupancies.shape[2], int)
    levels = np.zeros((len(occupancies), occupancies.shape[2]))
    for t, (above, below) in enumerate(occupancies):
        states = step_california(states, above, below, limits)
        levels[t] = states >= CaliforniaState.CONFIRMED
    return levels


LEAST_DEVIATION = 1.0  # percent of occupancy: an empty road deviates by nothing


def run_snd(occupancies: Floats, base: int, is_confirmed: bool) -> Floats:
    """Return the standard normal deviate of the occupancy above over a day, T x S, 0 if negative.

    Dudek, Messer and Nuckles (1974), Incident detection on urban freeways, TRR 495: the latest
    value less the mean of the `base` values before it, over their standard deviation. Their
    strategy B, `is_confirmed`, takes the smaller of two in a row. `occupancies` is T x 2 x S.
    """
    above = occupancies[:, 0]
    deviates = np.zeros_like(above)
    for t in range(base, len(above)):
        before = above[t - base : t]
        spread = np.maximum(before.std(axis=0), LEAST_DEVIATION)
        deviates[t] = np.nan_to_num((above[t] - before.mean(axis=0)) / spread)
    if is_confirmed:
        deviates[1:] = np.minimum(deviates[1:], deviates[:-1])
    return np.maximum(deviates, 0.0)
