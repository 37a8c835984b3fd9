"""What loops usually read at a time of day, learned online from one day to the next."""

import numpy as np
from numpy.typing import NDArray

from traffic.incidents.background import Background
from traffic.incidents.sections import Layout
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

    LEARNED = ("_mean", "_weight")

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

    def knows(self, moment_s: float, interval_s: float) -> NDArray[np.bool_]:
        """Return of which loops (D) this time of day was heard on an earlier day."""
        heard = self._weight[COUNT, int(moment_s % DAY_S / BIN_S)]
        return np.asarray(heard >= BIN_S / interval_s)


CLASSES = 8  # of a station's flow
CLASS_VEH = 4.0  # vehicles of one lane and interval in one class
PRIOR_VEH = 3.0  # vehicles of each lane that are taken for seen, alike in all lanes


class Shares:
    """How a station's flow divides among its lanes, learned for classes of flow.

    The busier a road, the more of it drives in the outer lanes; the time of day says less.
    Stations are rows (N) of lanes (K), `is_lane` where there is one.
    """

    LEARNED = ("_seen_veh",)

    def __init__(self, is_lane: NDArray[np.bool_]) -> None:
        self._is_lane = is_lane
        self._lanes = np.maximum(is_lane.sum(axis=1), 1)
        self._seen_veh = np.zeros((CLASSES, *is_lane.shape))
        self._rows = np.arange(len(is_lane))

    def _classify(self, flow: Floats) -> NDArray[np.int_]:
        place = np.nan_to_num(flow) / self._lanes / CLASS_VEH
        return np.asarray(np.minimum(place.astype(int), CLASSES - 1))

    def learn(self, count: Floats, flow: Floats) -> None:
        """Take in counts, N x K, of an interval with these flows, N; NaN rows are left out."""
        whole = ~np.isnan(np.where(self._is_lane, count, 0.0)).any(axis=1) & ~np.isnan(flow)
        at = self._classify(flow)
        self._seen_veh[at[whole], self._rows[whole]] += np.nan_to_num(count[whole])

    def tell(self, flow: Floats) -> Floats:
        """Return each lane's share at these flows (N), N x K; NaN where there is no lane."""
        at = self._classify(flow)
        seen = self._seen_veh[at, self._rows] + PRIOR_VEH
        # What neighboring classes saw counts for a quarter.
        for beside in (np.maximum(at - 1, 0), np.minimum(at + 1, CLASSES - 1)):
            seen = seen + np.where(
                (beside != at)[:, None], 0.25 * self._seen_veh[beside, self._rows], 0.0
            )
        seen = np.where(self._is_lane, seen, np.nan)
        return np.asarray(seen / np.nansum(seen, axis=1, keepdims=True).clip(1e-9))


class Usual:
    """What a city's loops usually read, how its stations' flow divides among lanes, and how much
    its sections look blocked when they are not.
    """

    LEARNED = ("normal", "_shares", "background")

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.normal = Normal(layout.detectors)
        self.background = Background(layout.shape[0])
        sections, stations, lanes = layout.shape
        self._rows = (sections * stations, lanes)
        self._shares = Shares(layout.is_loop.reshape(self._rows))

    def learn(self, batch: LoopBatch, believed: NDArray[np.bool_] | None = None) -> None:
        """Take in a batch, of the loops `believed` (D) only. Raises ValueError as Normal does."""
        self.normal.learn(batch, believed)
        good = batch.quality == Quality.GOOD
        if believed is not None:
            good = good & believed
        count = self.layout.gather(np.where(good, batch.count_veh, np.nan)).reshape(self._rows)
        flow = np.where(self.layout.is_loop.reshape(self._rows), count, 0.0).sum(axis=1)
        self._shares.learn(count, flow)

    def tell_shares(self, flow: Floats) -> Floats:
        """Return each lane's share at these flows of stations (S x 3), S x 3 x K."""
        return self._shares.tell(flow.reshape(-1)).reshape(self.layout.shape)
