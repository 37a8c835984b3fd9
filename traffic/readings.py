"""Batches of readings as arrays: loops, each value with its quality, and vehicles on lanes."""

from dataclasses import dataclass, field
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
    DRIFTING = 10
    SWAPPED = 11
    LATE = 12
    WRONG_UNITS = 13


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


def arrange_loops(batch: LoopBatch, detectors: tuple[str, ...]) -> LoopBatch:
    """Return the batch with exactly these detectors, in their order; those it lacks are missing.

    Raises ValueError naming every detector of the batch that is none of them.
    """
    if batch.detectors == detectors:
        return batch
    index = {detector: i for i, detector in enumerate(detectors)}
    unknown = [detector for detector in batch.detectors if detector not in index]
    if unknown:
        raise ValueError(f"the batch has other loops: {', '.join(unknown)}")
    at = [index[detector] for detector in batch.detectors]
    count, occupancy, speed = np.full((3, len(detectors)), np.nan)
    count[at], occupancy[at], speed[at] = batch.count_veh, batch.occupancy, batch.speed_mps
    quality = np.full(len(detectors), int(Quality.MISSING), np.int8)
    quality[at] = batch.quality
    return LoopBatch(batch.end_s, batch.interval_s, detectors, count, occupancy, speed, quality)


@dataclass(frozen=True, eq=False)
class LaneBatch:
    """Vehicles on sensed lanes at one moment, as radar or video sees them; arrays are read-only.

    Those of lane i are at `starts[i]` up to `starts[i + 1]`, the nearest to the stop line first.
    Raises ValueError listing every array that does not fit.
    """

    starts: NDArray[np.int32]  # N + 1, N sensed lanes in the order of LaneMap.sensed
    # V, from the lane's upstream end; below 0 on the node there, but for those counted in `halted`.
    position_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]  # V
    turn: NDArray[np.int32]  # V, position in LaneMap.exits, or UNKNOWN_TURN, or LEAVES
    # J in the order of LaneMap.ways, vehicles slower than HALTED_MPS within the junction, past its
    # stop lines; empty where nobody looks there.
    halted: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))

    def __post_init__(self) -> None:
        wrong = []
        if self.starts.ndim != 1 or self.starts.size == 0:
            wrong.append(f"starts has shape {self.starts.shape}, expected (N + 1,)")
        elif self.starts[0] != 0 or (np.diff(self.starts) < 0).any():
            wrong.append("starts must begin with 0 and never fall")
        vehicles = int(self.starts[-1]) if not wrong else -1
        for name in ("position_m", "speed_mps", "turn"):
            if getattr(self, name).shape != (vehicles,) and vehicles >= 0:
                wrong.append(
                    f"{name} has shape {getattr(self, name).shape}, expected ({vehicles},)"
                )
        if wrong:
            raise ValueError("; ".join(wrong))
        for name in ("starts", "position_m", "speed_mps", "turn", "halted"):
            getattr(self, name).flags.writeable = False
