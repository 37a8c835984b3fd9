"""Which time of which kind of day a moment is, through changes of the clock."""

from dataclasses import dataclass

import numpy as np

from traffic.model import ModelError

DAY_S = 86400.0
WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Calendar:
    """Times are seconds since local midnight of day 0. Raises ModelError with all problems at once.

    A day type is a kind of day with a course of its own, as working days and weekends have; types
    count from 0. `shifts` are (time, seconds to add from then on to get local clock time), for
    daylight saving time.
    """

    first_weekday: int = 0  # of day 0; Monday is 0
    day_types: tuple[int, ...] = (0, 0, 0, 0, 0, 1, 1)  # Monday to Sunday
    holidays: frozenset[int] = frozenset()  # days, counted from day 0, that pass like a Sunday
    shifts: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.first_weekday < len(WEEK):
            problems.append(f"first_weekday {self.first_weekday} must be 0 (Monday) to 6 (Sunday)")
        if len(self.day_types) != len(WEEK):
            problems.append(f"day_types {self.day_types} must have one type for each weekday")
        if sorted(set(self.day_types)) != list(range(len(set(self.day_types)))):
            problems.append(f"day_types {self.day_types} must count from 0 without a gap")
        if list(self.shifts) != sorted(set(self.shifts)):
            problems.append(f"shifts {self.shifts} must rise in time")
        if problems:
            raise ModelError("calendar", problems)

    @property
    def types(self) -> int:
        """Number of day types."""
        return max(self.day_types) + 1

    def locate(self, time_s: float) -> tuple[float, int]:
        """Return the second of the local day, 0 up to 86400, and the day's type."""
        local_s = time_s + next((by for since, by in reversed(self.shifts) if time_s >= since), 0.0)
        day = int(np.floor(local_s / DAY_S))
        weekday = 6 if day in self.holidays else (self.first_weekday + day) % 7
        return local_s - day * DAY_S, self.day_types[weekday]
