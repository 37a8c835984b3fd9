"""The chance that a bottleneck breaks down, direct from what the loops around it tell.

Features are few and each has a meaning in traffic: the inflow that is expected against the
capacity, or what an incident after the bottleneck leaves of it, where it shows long before its
queue has come back; how slow, how unsteady and how ever fuller the road ahead of the bottleneck
is. What is known of now weighs less the farther the lead.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traffic.flows import find_known
from traffic.forecasting import Forecast, UsualDay
from traffic.model import Bottleneck, Network
from traffic.readings import LoopBatch, Quality
from traffic.units import to_vph
from traffic.warning.stations import FLOW, OCCUPANCY, SPEED, StationLog, find_stations

Floats = NDArray[np.float64]

FEATURES = (
    "inflow_excess",  # inflow that is expected at the lead over the capacity that is left, less 1
    "flow_excess",  # flow through the bottleneck now over capacity, less 1
    "slow",  # 1 less speed over free speed at the slowest watch station
    "unsteady",  # standard deviation over minutes of that speed over free speed
    "filling",  # slope of the occupancy ahead of the bottleneck, a minute
    "slow_beyond",  # 1 less speed over free speed at the slowest station after the bottleneck
)
FLOW_EXCESS = FEATURES.index("flow_excess")  # the first of those of now
BEYOND_M = 2600.0  # after the bottleneck's upstream end
RATIO_S = 900.0  # of which inflow is held against the usual day's
BEFORE_S = 1200.0  # how long ago a ratio is compared with
SHORT_S = 180.0
MEDIUM_S = 300.0
LONG_S = 600.0
FADE_S = 900.0  # time constant by which now tells less of later
WINDOW_S = 900.0  # of inflow that is held against capacity
# Of the capacity, lost after the bottleneck: from what counts differ by to what says blocked.
HELD_LEAST, HELD_MOST = 0.12, 0.24
LEFT_LEAST = 0.3  # of the capacity: a road that is closed altogether is another matter
SETTLE_S = 900.0


@dataclass(frozen=True, slots=True)
class Signs:
    """What tells causes apart; NaN where not known."""

    flow_share: float  # through the bottleneck now, over capacity
    slow_beyond: float  # 1 less speed over free speed at the slowest station after it
    held_beyond: float  # flow lost between the bottleneck and those stations, over capacity
    ratio: float  # inflow of the last minutes over the usual day's
    ratio_before: float  # the same, BEFORE_S earlier
    good_share: float  # of the loops that warnings rest on, those that measured, 0..1


class BreakdownWatch:
    """Computes FEATURES of one bottleneck; call `hear` with each screened batch, in order."""

    LEARNED = ("log", "_inflows", "_ratios", "_good_share", "_heard_s", "now_s")

    def __init__(
        self, network: Network, bottleneck: Bottleneck, usual: UsualDay | None = None
    ) -> None:
        self._bottleneck = bottleneck
        self._usual = usual
        self.log = StationLog(find_stations(network, bottleneck, BEYOND_M))
        stations = self.log.stations
        watched = set(bottleneck.watch)
        self._free = np.array([station.free_mps for station in stations])
        self._ahead = np.array([bool(watched & set(s.loops)) for s in stations], bool)
        self._at = np.array([s.link == bottleneck.link for s in stations], bool)
        self._beyond = np.array([s.back_m <= 0 and s.link != bottleneck.link for s in stations])
        back_m = np.array([station.back_m for station in stations])
        from_m = float(back_m[self._at].mean()) if self._at.any() else 0.0
        self._travel_beyond_s = ((from_m - back_m) / self._free)[self._beyond]
        self._loops = tuple(bottleneck.feeders)
        self._share = np.array([share for share, _ in bottleneck.feeders.values()], float)
        self._travel_s = np.array([travel for _, travel in bottleneck.feeders.values()], float)
        self._inflows: deque[tuple[float, float]] = deque()  # counted, usual veh/h, newest last
        self._ratios: deque[float] = deque()  # newest last
        self._asked = frozenset((*bottleneck.watch, *bottleneck.feeders))
        self._good_share = float("nan")
        self._heard_s = 0.0
        self.now_s = np.nan

    def hear(self, batch: LoopBatch) -> None:
        self.log.hear(batch)
        self._heard_s += batch.interval_s
        self.now_s = batch.end_s
        heard = find_known(batch, batch.count_veh)
        counts = np.array([heard.get(loop, np.nan) for loop in self._loops], float)
        flow = self._share * to_vph(counts, batch.interval_s)
        usual = self._find_usual(np.array([batch.end_s - batch.interval_s / 2]))[0]
        told = ~np.isnan(flow) & ~np.isnan(usual)
        self._inflows.append((float(flow[told].sum()), float(usual[told].sum())))
        while len(self._inflows) * batch.interval_s > RATIO_S:
            self._inflows.popleft()
        self._ratios.append(self.ratio if self._heard_s > SETTLE_S else float("nan"))
        while len(self._ratios) * batch.interval_s > BEFORE_S:
            self._ratios.popleft()
        measured = {batch.detectors[i] for i in np.flatnonzero(batch.quality == Quality.GOOD)}
        known = sum(loop in heard and loop in measured for loop in self._asked)
        self._good_share = known / max(len(self._asked), 1)

    def build_signs(self) -> Signs:
        now = self._tell_now()
        is_long = len(self._ratios) * self.log.interval_s >= BEFORE_S
        before = self._ratios[0] if is_long else float("nan")
        at = FEATURES.index
        return Signs(
            float(now[0]) + 1,
            float(now[at("slow_beyond") - FLOW_EXCESS]),
            self._find_held_beyond(),
            self.ratio,
            before,
            self._good_share,
        )

    @property
    def ratio(self) -> float:
        """Inflow of the last minutes over the usual day's; NaN while that is not known."""
        counted = sum(one for one, _ in self._inflows)
        usual = sum(one for _, one in self._inflows)
        return counted / usual if usual > 0 and len(self._inflows) > 1 else float("nan")

    def _find_usual(self, times_s: Floats) -> Floats:
        """Return the usual day's flow bound for the bottleneck, T x feeders; NaN unknown."""
        if self._usual is None:
            return np.full((len(times_s), len(self._loops)), np.nan)
        columns = [self._usual.find_flow(loop, times_s) for loop in self._loops]
        return self._share * np.array(columns).reshape(len(self._loops), -1).T

    def _find_usual_inflow(self, at_s: float) -> float:
        """Return the usual inflow over the window that ends then at the bottleneck."""
        ends_s = at_s - WINDOW_S * (np.arange(3) + 0.5) / 3
        if self._usual is None:
            return float("nan")
        flows = np.empty((len(ends_s), len(self._loops)))  # window parts x feeders
        for i, loop in enumerate(self._loops):
            flows[:, i] = self._usual.find_flow(loop, ends_s - self._travel_s[i])
        return float((self._share * flows).sum(axis=1).mean())

    def expect_inflow_vph(self, forecast: Forecast, row: int) -> Floats:
        """Return the inflow expected in the window that ends at each lead (H).

        The usual day's times the last minutes' ratio to it; the forecast's where no usual day is
        known.
        """
        leads = np.array(forecast.lead_s)
        usual = np.array([self._find_usual_inflow(self.now_s + lead) for lead in leads])
        told = self.ratio * usual
        return np.where(np.isnan(told), forecast.inflow_vph[row, :, 1], told)

    def compute(self, forecast: Forecast, row: int) -> Floats:
        """Return FEATURES per lead of the forecast (H x F), NaN where not known.

        Nothing is known until the stations have been heard for SETTLE_S: roads may only be
        filling.
        """
        leads = np.array(forecast.lead_s)
        values = np.full((len(leads), len(FEATURES)), np.nan)
        if self._heard_s <= SETTLE_S:
            return values
        capacity = self._find_capacity_left()
        values[:, 0] = self.expect_inflow_vph(forecast, row) / capacity - 1
        values[:, FLOW_EXCESS:] = self._tell_now() * np.exp(-leads / FADE_S)[:, None]
        return values

    def _find_capacity_left(self) -> float:
        """Return the capacity, or what passes beyond where flow is lost after the bottleneck."""
        whole = self._bottleneck.capacity_vph
        blocked = (self._find_held_beyond() - HELD_LEAST) / (HELD_MOST - HELD_LEAST)
        if not blocked > 0:
            return whole
        passes_vph = _find_least(self.log.mean(FLOW, SHORT_S)[self._beyond])
        share = min(blocked, 1.0)
        left = (1 - share) * whole + share * min(passes_vph, whole)
        return max(left, LEFT_LEAST * whole)

    def _find_held_beyond(self) -> float:
        """Return the flow lost between the bottleneck and the stations after it, over capacity.

        Each is held against what passed the bottleneck as much before as free traffic takes from
        there, so that a rise of demand on its way is not taken for a loss.
        """
        number = max(1, round(SHORT_S / self.log.interval_s))
        longest = int(np.max(self._travel_beyond_s, initial=0.0) / self.log.interval_s) + 1
        flow = self.log.recall(FLOW, SHORT_S + longest * self.log.interval_s)
        lost = []
        for at, travel_s in zip(np.flatnonzero(self._beyond), self._travel_beyond_s, strict=True):
            lag = round(travel_s / self.log.interval_s)
            if len(flow) >= number + lag:
                before = flow[len(flow) - number - lag : len(flow) - lag, self._at]
                lost.append(_find_mean(before.ravel()) - _find_mean(flow[-number:, at]))
        return _find_most(np.array(lost)) / self._bottleneck.capacity_vph

    def _tell_now(self) -> Floats:
        """Return the features of now, not yet faded."""
        log, capacity = self.log, self._bottleneck.capacity_vph
        flow, speed = log.mean(FLOW, MEDIUM_S), log.mean(SPEED, SHORT_S) / self._free
        ahead = log.recall(SPEED, MEDIUM_S)[:, self._ahead] / self._free[self._ahead]
        occupancy = log.recall(OCCUPANCY, LONG_S)[:, self._ahead]
        through = _find_mean(flow[self._at])
        return np.array(
            [
                through / capacity - 1,
                1 - _find_least(speed[self._ahead]),
                _find_deviation(ahead),
                _find_slope(occupancy) * 60 / log.interval_s,
                1 - _find_least(speed[self._beyond]),
            ]
        )


def _find_mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _find_least(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.min()) if known.size else float("nan")


def _find_most(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.max()) if known.size else float("nan")


def _find_deviation(rows: Floats) -> float:
    """Return the greatest standard deviation over time (T x S) of any column."""
    deviations = [
        float(column[~np.isnan(column)].std())
        for column in rows.T
        if (~np.isnan(column)).sum() >= 3
    ]
    return max(deviations, default=float("nan"))


def _find_slope(rows: Floats) -> float:
    """Return the slope by least squares of the mean over columns, T x S, an interval."""
    means = np.array([_find_mean(row) for row in rows])
    known = np.flatnonzero(~np.isnan(means))
    if known.size < 4:
        return float("nan")
    centered = known - known.mean()
    return float((centered @ means[known]) / (centered @ centered))
