"""The only unit conversions of the engine."""

import numpy as np
from numpy.typing import NDArray

SECONDS_PER_HOUR = 3600.0
METERS_PER_KILOMETER = 1000.0
METERS_PER_MILE = 1609.344
PERCENT = 0.01


def to_vph(count_veh: NDArray[np.float64], interval_s: float) -> NDArray[np.float64]:
    """Return hourly flows of counts over one interval; NaN stays NaN."""
    return count_veh * (SECONDS_PER_HOUR / interval_s)


def to_mps(speed_kmph: float) -> float:
    return speed_kmph * METERS_PER_KILOMETER / SECONDS_PER_HOUR


def to_kmph(speed_mps: float) -> float:
    return speed_mps * SECONDS_PER_HOUR / METERS_PER_KILOMETER


def to_clock(time_s: float) -> str:
    """Return HH:MM of seconds since local midnight, rounded down to the minute."""
    minutes = int(time_s // 60) % (24 * 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
