"""What every loop will measure, in the engine's loop: batches in, a forecast each few minutes.

Batches of half a minute are gathered to the interval of the forecast, its readings alone: nothing
of what follows. A reading that is not good is left out, as one that never came.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from traffic.estimation import State
from traffic.forecasting.calendar import Calendar
from traffic.forecasting.inflow import Forecast, UsualDay
from traffic.forecasting.loops import LoopForecast, LoopForecaster
from traffic.forecasting.neighbors import Neighbors, build_neighbors
from traffic.forecasting.settings import LoopForecastSettings
from traffic.model import Network
from traffic.neighbors import find_neighbors
from traffic.readings import LoopBatch, Quality
from traffic.units import SECONDS_PER_HOUR, to_mps

Floats = NDArray[np.float64]
Small = NDArray[np.float32]

Quantity = Literal["speed_mps", "flow_vph", "occupancy"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
SPEED, FLOW, OCCUPANCY = QUANTITIES
SLOW_MPS, OPEN_MPS = to_mps(40.0), to_mps(45.0)  # a loop turns slow from above one to below other
SETTINGS: Mapping[str, LoopForecastSettings] = {
    SPEED: LoopForecastSettings(
        least_scale=1.0, most=60.0, onset_below=SLOW_MPS, onset_from=OPEN_MPS
    ),
    FLOW: LoopForecastSettings(least_scale=60.0, most=4560.0),
    OCCUPANCY: LoopForecastSettings(least_scale=0.01, most=1.0),
}
LEAST_SHARE = 0.5  # of an interval that good readings must cover
REACH_M = 1200.0  # along the road, within which loops are neighbors
NEAR_WEIGHT = 0.5  # of a loop of the next station, beside 1 of one in the same cross-section
# An estimate stands for a loop that fails; a fault of the whole feed is none of a loop's, and what
# was said before it stays true.
NO_FAULT = (
    Quality.GOOD,
    Quality.MISSING,
    Quality.STALE,
    Quality.CLOCK_SKEW,
    Quality.WRONG_UNITS,
)


@dataclass(frozen=True, eq=False)
class LoopOutlook:
    """What D loops will measure at H lead times; of one interval, and standing until the next."""

    time_s: float  # end of the newest interval
    interval_s: float
    since_s: float  # begin of the first interval that was learned from
    is_primed: bool  # a usual day was known before
    loops: tuple[str, ...]  # D
    lead_s: tuple[float, ...]  # H
    by_quantity: Mapping[Quantity, LoopForecast]
    least_judged: int  # intervals, until a lead time can be trusted
    watched: tuple[int, ...] = ()  # positions of loops at bottlenecks


class LoopOutlooks:
    """Makes outlooks of all of a network's loops; call `update` once for each screened batch."""

    LEARNED = ("_forecasters", "_since_s", "_slot", "_held", "_fails", "_failed")

    def __init__(
        self,
        network: Network,
        calendar: Calendar | None = None,
        settings: Mapping[str, LoopForecastSettings] = SETTINGS,
        usual: UsualDay | None = None,
    ) -> None:
        """All settings must have the same interval and lead times. A usual day gives a profile of
        flow to the loops that it knows."""
        self._loops = tuple(network.detectors)
        self._index = {loop: i for i, loop in enumerate(self._loops)}
        self._first = settings[SPEED]
        self._interval_s = self._first.interval_s
        size, near = len(self._loops), build_loop_neighbors(network)
        self._forecasters = {
            name: LoopForecaster(size, calendar or Calendar(), settings[name], near)
            for name in QUANTITIES
        }
        known = [loop for loop in usual.loops if loop in self._index] if usual else []
        if usual is not None and known:
            self._prime(usual, known)
        self._is_primed = bool(known)
        watch = (loop for b in network.bottlenecks.values() for loop in b.watch)
        self._watched = tuple(self._index[loop] for loop in dict.fromkeys(watch))
        self._slot: int | None = None  # number of the interval that is gathered
        self._since_s = np.nan
        # Of the interval that is gathered: length, count, occupancy and speed 3 x D.
        self._held: deque[tuple[float, Floats]] = deque()
        self._fails = np.zeros(len(self._loops), bool)  # D, by the newest batch
        self._failed = self._fails.copy()  # D, when the last interval was over
        self._outlook: LoopOutlook | None = None

    def _prime(self, usual: UsualDay, known: list[str]) -> None:
        first = int(usual.begin_s // self._interval_s)
        last = int((usual.begin_s + usual.step_s * len(usual.flow_vph)) // self._interval_s)
        ends_s = self._interval_s * np.arange(first + 1, last + 1, dtype=np.float64)
        flow = np.full((len(ends_s), len(self._loops)), np.nan, np.float32)
        for loop in known:
            flow[:, self._index[loop]] = usual.find_flow(loop, ends_s - self._interval_s / 2)
        self._forecasters[FLOW].prime(ends_s, flow)

    def resume(self, rest_s: float | None) -> None:
        """Go on after a rest, None when time begins anew; the next interval gives an outlook."""
        if rest_s is not None:
            return
        for forecaster in self._forecasters.values():
            forecaster.resume()
        self._held.clear()
        self._slot, self._since_s = None, np.nan

    def update(self, batch: LoopBatch) -> LoopOutlook | None:
        """Return the outlook of the newest interval that is over; None before the first is."""
        if not self._loops:
            return None
        # A batch belongs to the interval that holds its middle.
        slot = int((batch.end_s - batch.interval_s / 2) // self._interval_s)
        if self._slot is not None and slot < self._slot:
            return self._outlook
        if self._slot is not None and slot > self._slot:
            self._close(self._slot)
        if np.isnan(self._since_s):
            self._since_s = batch.end_s - batch.interval_s
        self._slot = slot
        self._held.append((batch.interval_s, self._read(batch)))
        if batch.end_s + batch.interval_s / 2 >= (slot + 1) * self._interval_s:
            self._close(slot)
            self._slot = slot + 1
        return self._outlook

    def _read(self, batch: LoopBatch) -> Floats:
        """Return count, occupancy, speed (3 x D), NaN where they are not good."""
        values = np.full((3, len(self._loops)), np.nan)
        good = batch.quality == Quality.GOOD
        index = np.array([self._index[loop] for loop in batch.detectors], int)
        self._fails[index] = ~np.isin(batch.quality, NO_FAULT)
        good &= ~np.isnan(batch.count_veh) & ~np.isnan(batch.occupancy)
        at = index[good]
        values[:, at] = batch.count_veh[good], batch.occupancy[good], batch.speed_mps[good]
        return values

    def _close(self, slot: int) -> None:
        """Forecast from an interval that is over."""
        end_s = (slot + 1) * self._interval_s
        values = self._gather()
        self._held.clear()
        found, self._failed = self._fails & ~self._failed, self._fails.copy()
        made = {
            name: self._forecasters[name].update(end_s, values[name], disowned=found)
            for name in QUANTITIES
        }
        self._outlook = LoopOutlook(
            end_s,
            self._interval_s,
            self._since_s,
            self._is_primed,
            self._loops,
            made[SPEED].lead_s,
            made,
            int(np.ceil(self._first.watch_begin)),
            self._watched,
        )

    def _gather(self) -> Mapping[str, Small]:
        """Return the interval's speeds, flows and occupancies, D each, NaN where too few told."""
        size = len(self._loops)
        told_s, passed, covered_s = np.zeros(size), np.zeros(size), np.zeros(size)
        timed, distance = np.zeros(size), np.zeros(size)
        for length_s, (count, occupancy, speed) in self._held:
            known = ~np.isnan(count)
            told_s += length_s * known
            passed += np.where(known, count, 0.0)
            covered_s += np.where(known, occupancy * length_s, 0.0)
            moving = known & (count > 0) & (speed > 0)
            timed += np.where(moving, count, 0.0)
            distance += np.where(moving, count * speed, 0.0)
        # Of a loop that is found to fail, what it said shortly before is not believed either.
        enough = (told_s >= LEAST_SHARE * self._interval_s) & ~self._fails
        with np.errstate(invalid="ignore", divide="ignore"):
            values = {
                SPEED: np.where(enough, distance / timed, np.nan),
                FLOW: np.where(enough, SECONDS_PER_HOUR * passed / told_s, np.nan),
                OCCUPANCY: np.where(enough, covered_s / told_s, np.nan),
            }
        return {name: told.astype(np.float32) for name, told in values.items()}


def build_loop_neighbors(network: Network) -> Neighbors:
    """Return which loops stand near which, from the road: lanes beside, and the next stations."""
    loops = tuple(network.detectors.values())
    mates, near = find_neighbors(network, loops, REACH_M)
    links = [
        (int(of), int(to), 1.0 if mates[of, to] else NEAR_WEIGHT) for of, to in np.argwhere(near)
    ]
    return build_neighbors(len(loops), links)


class Base(Protocol):
    def resume(self, rest_s: float | None) -> None: ...

    def update(self, batch: LoopBatch, state: State) -> Forecast: ...


class LoopForesight:
    """Adds the loops' outlook to a forecast; call once for each screened batch, in order."""

    LEARNED = ("_base", "_outlooks")

    def __init__(self, base: Base, outlooks: LoopOutlooks) -> None:
        self._base = base
        self._outlooks = outlooks

    def resume(self, rest_s: float | None) -> None:
        """Go on after a rest; None when time begins anew."""
        self._base.resume(rest_s)
        self._outlooks.resume(rest_s)

    def update(self, batch: LoopBatch, state: State) -> Forecast:
        """Return the base's forecast with the newest outlook."""
        forecast = self._base.update(batch, state)
        return replace(forecast, loops=self._outlooks.update(batch))
