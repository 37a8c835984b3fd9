"""A batch of loop readings as arrays, each value with the quality of its loop."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Quality(IntEnum):
    """How far a reading can be trusted."""

    GOOD = 0
    MISSING = 1
    NO_HITS = 2
    CHATTER = 3
    LOCKED_ON = 4
    NO_CHANGE = 5
    OCCUPANCY_SPIKE = 6
    STALE = 7
    CLOCK_SKEW = 8
    ESTIMATED = 9


@dataclass(frozen=True, eq=False)
class LoopBatch:
    """Counts, occupancies and speeds of loops over one interval; arrays are set read-only.

    A value that was not measured is NaN: speed where nothing passed, all where a loop is silent.
    Raises ValueError listing every array of the wrong length.
    """

    end_s: float
    interval_s: float
    detectors: tuple[str, ...]  # D
    count_veh: NDArray[np.float64]  # D, vehicles that entered the loop
    occupancy: NDArray[np.float64]  # D, share of the interval covered, 0..1
    speed_mps: NDArray[np.float64]  # D, arithmetic mean of passing vehicles
    quality: NDArray[np.int8]  # D, Quality

    def __post_init__(self) -> None:
        arrays = ("count_veh", "occupancy", "speed_mps", "quality")
        wrong = [
            f"{name} has shape {getattr(self, name).shape}, expected ({len(self.detectors)},)"
            for name in arrays
            if getattr(self, name).shape != (len(self.detectors),)
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        for name in arrays:
            getattr(self, name).flags.writeable = False
