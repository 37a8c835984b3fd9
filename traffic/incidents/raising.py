"""From a level of suspicion in each section to alarms: once per event, held and let go."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LOW = 0.5  # of the threshold: below, an alarm ends
SAME_EVENT_S = 900.0  # neighbors' alarms within this time are one event
SAFETY = 0.8  # of the budget: the days of calibration flatter the threshold that they choose


@dataclass(frozen=True, slots=True)
class Alarm:
    """A section whose level passed its threshold, and when."""

    time_s: float
    section: int


class Raiser:
    """Raises alarms of sections (S) from levels; neighbors (S x S) of a recent one stay silent.

    A queue and its shock wave reach the sections around a blockage: those are the same event.
    `threshold` is one number or one for each section (S).
    """

    def __init__(self, near: Flags, threshold: float | Floats) -> None:
        self._near = near
        self._threshold = np.broadcast_to(np.asarray(threshold, float), (len(near),))
        self.is_on = np.zeros(len(near), bool)
        self._spoke_s = np.full(len(near), -np.inf)

    def update(self, levels: Floats, now_s: float) -> tuple[Alarm, ...]:
        """Return the new alarms of one interval; of neighbors that rise together the highest."""
        over = levels >= self._threshold
        rising = np.flatnonzero(over & ~self.is_on)
        alarms = []
        excess = levels - self._threshold
        for section in rising[np.argsort(-excess[rising], kind="stable")]:
            recent = self._near[section] & (now_s - self._spoke_s < SAME_EVENT_S)
            if not recent.any():
                alarms.append(Alarm(now_s, int(section)))
            self._spoke_s[section] = now_s
        self.is_on |= over
        self.is_on &= levels >= LOW * self._threshold
        return tuple(alarms)


def raise_all(
    levels: Floats, end_s: Floats, near: Flags, threshold: float | Floats
) -> tuple[Alarm, ...]:
    """Return the alarms of a whole day: levels T x S at the moments end_s (T)."""
    raiser = Raiser(near, threshold)
    return tuple(
        alarm
        for row, now_s in zip(levels, end_s.tolist(), strict=True)
        for alarm in raiser.update(row, now_s)
    )


@dataclass(frozen=True, eq=False)
class CalibrationDay:
    """A recorded day: levels T x S, moments T, and when alarms would be right, T x S."""

    levels: Floats
    end_s: Floats
    is_excused: Flags

    @property
    def hours(self) -> float:
        interval_s = float(self.end_s[1] - self.end_s[0]) if len(self.end_s) > 1 else 0.0
        return len(self.end_s) * interval_s / 3600.0


def count_false(day: CalibrationDay, near: Flags, threshold: float | Floats) -> int:
    """Count the alarms of a day that nothing excuses."""
    row = {now_s: t for t, now_s in enumerate(day.end_s.tolist())}
    return sum(
        not day.is_excused[row[alarm.time_s], alarm.section]
        for alarm in raise_all(day.levels, day.end_s, near, threshold)
    )


def find_threshold(days: Sequence[CalibrationDay], near: Flags, false_per_hour: float) -> float:
    """Return the lowest threshold whose false alarms on these days stay within the budget.

    The operator sets `false_per_hour`, of the whole network. Raises ValueError when there are no
    days or the budget is not above 0.
    """
    problems = []
    if not days:
        problems.append("no days to calibrate on")
    if not false_per_hour > 0:
        problems.append(f"false_per_hour {false_per_hour} must be above 0")
    if problems:
        raise ValueError("; ".join(problems))
    allowed = SAFETY * false_per_hour * sum(day.hours for day in days)
    top = max(float(day.levels.max()) for day in days)
    chosen = np.nextafter(top, np.inf)
    for threshold in np.geomspace(max(top, 1e-3), 0.1, 120):
        if sum(count_false(day, near, threshold) for day in days) > allowed:
            break
        chosen = threshold
    return float(chosen)
