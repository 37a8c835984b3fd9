"""What loops usually read at a time of day, learned online from one day to the next."""

import numpy as np
from numpy.typing import NDArray

from traffic.readings import LoopBatch, Quality

Floats = NDArray[np.float64]

DAY_S = 86400.0
BIN_S = 300.0
BINS = int(DAY_S / BIN_S)
MEMORY = 400.0  # intervals of one bin after which older ones are forgotten
ENOUGH = 5.0  # intervals of one bin from which it is believed

COUNT, OCCUPANCY, SPEED = range(3)


class Normal:
    """Running means of count, occupancy and speed for each loop and 5 min of the day.

    `learn` takes a batch in; `tell` gives what is usual at a moment, between the middles of bins.
    Of a loop that was never heard at that time it tells NaN. Means are per interval; all batches
    must have the same interval.
    """

    def __init__(self, detectors: tuple[str, ...]) -> None:
        self.detectors = detectors
        size = len(detectors)
        self._mean = np.zeros((3, BINS, size), np.float32)
        self._weight = np.zeros((3, BINS, size), np.float32)

    def learn(self, batch: LoopBatch, believed: NDArray[np.bool_] | None = None) -> None:
        """Take in a batch, of the loops `believed` (D) only, and of these only what is good.

        Raises ValueError when the batch has other loops.
        """
        if batch.detectors != self.detectors:
            raise ValueError("the batch has other loops than those that are learned")
        at = int((batch.end_s - batch.interval_s / 2) % DAY_S / BIN_S)
        good = batch.quality == Quality.GOOD
        if believed is not None:
            good = good & believed
        for row, values in enumerate((batch.count_veh, batch.occupancy, batch.speed_mps)):
            known = good & ~np.isnan(values)
            weight, mean = self._weight[row, at], self._mean[row, at]
            weight[known] = np.minimum(weight[known] + 1, MEMORY)
            mean[known] += ((values[known] - mean[known]) / weight[known]).astype(np.float32)

    def tell(self, moment_s: float) -> Floats:
        """Return usual count, occupancy and speed, 3 x D, NaN where too little was heard."""
        place = (moment_s % DAY_S) / BIN_S - 0.5
        low = int(np.floor(place))
        part = place - low
        means = []
        for at, share in ((low % BINS, 1 - part), ((low + 1) % BINS, part)):
            weight = np.where(self._weight[:, at] >= ENOUGH, share, 0.0)
            means.append((weight * self._mean[:, at], weight))
        total = means[0][1] + means[1][1]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(
                np.where(total > 0, (means[0][0] + means[1][0]) / total, np.nan), float
            )
