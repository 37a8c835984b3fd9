"""How far a bottleneck's queue will reach: chances of passing places, time to spillback, the tail.

The queue grows by what arrives beyond what is discharged, over the density that standing adds
(Lighthill and Whitham 1955, conservation across a shock). That course, from the forecast inflow,
and the growth of the last minutes are two features of a hazard model; how sure they are is fitted.
A storage is the road from the bottleneck back to a ramp: where the queue has filled it, it blocks
traffic that is not bound for the bottleneck.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from traffic.model import Bottleneck, Network
from traffic.units import METERS_PER_KILOMETER, SECONDS_PER_HOUR
from traffic.warning.hazard import HazardModel
from traffic.warning.stations import FLOW, SPEED, StationLog

Floats = NDArray[np.float64]

SHARES = (0.5, 0.8, 1.0)  # of a storage
FEATURES = (  # those of a queue that stands are 0 without one, and the other way round
    "course_beyond",  # km by which the tail would pass the place, were the expected inflow to come
    "trend_beyond",  # the same, were the tail to go on as in the last minutes
    "beyond_now",  # km by which the tail has passed the place, below 0 when not
    "course_to_come",  # as course_beyond, without a queue: were one to form now
    "standing",  # 1 while a queue stands
    "breakdown",  # log odds of a breakdown within the lead, without a queue
)
SLOW_SHARE = 0.5  # of free speed, below which a station lies in the queue
SHORT_S = 120.0
TREND_S = 600.0
HEAD_M = 1200.0  # ahead of the bottleneck: a queue has its head within
LANE_VPKM = 40.0  # per lane that a creeping queue holds more than the free flow
TYPICAL_MPS = 1.0  # at which a queue grows, until its own pace is known
SURELY = 0.98
GRID_M = 250.0  # between places at which the farthest tail is looked for
# Beyond which a distance tells no more, of a queue that stands and of one that may come.
FAR_KM, FAR_TO_COME_KM = 1.5, 2.0


@dataclass(frozen=True, slots=True)
class Storage:
    """Road of `length_m` back from the bottleneck to where the ramp joins or leaves."""

    ramp: str
    length_m: float


def find_storages(network: Network, bottleneck: Bottleneck) -> tuple[Storage, ...]:
    """Return the storages of a bottleneck's queue, the shortest first; each ends at a ramp."""
    corridor = bottleneck.corridor
    found: dict[str, float] = {}
    back_m = 0.0
    for before, after in zip(corridor[-2::-1], corridor[:0:-1], strict=True):
        for one, other in sorted(network.turns):
            if one == before and other not in corridor:
                found.setdefault(other, back_m)
            if other == after and one not in corridor:
                found.setdefault(one, back_m)
        back_m += network.links[before].length_m
    ordered = sorted(found.items(), key=lambda item: (item[1], item[0]))
    return tuple(Storage(ramp, length_m) for ramp, length_m in ordered if length_m > 0)


@dataclass(frozen=True, eq=False)
class QueueOutlook:
    """How far a bottleneck's queue reaches and will reach; arrays are read-only.

    Lengths are from the bottleneck upstream. Chances are NaN while too little is known.
    """

    bottleneck: str
    tail_m: float  # now, 0 without a queue, NaN while not seen
    lead_s: tuple[float, ...]  # H
    storages: tuple[Storage, ...]  # S
    passing: Floats  # S x 3 x H, chance that the tail passes SHARES of each storage
    spillback_s: Floats  # S, median time until a storage is full; infinite beyond the leads
    farthest_m: Floats  # H x 3, quantiles .1 .5 .9 of the farthest tail within the lead

    def __post_init__(self) -> None:
        for values in (self.passing, self.spillback_s, self.farthest_m):
            values.flags.writeable = False


def find_last(back_m: Floats, slow: NDArray[np.bool_]) -> int | None:
    """Return the last station of the queue, None without one.

    `back_m` (S) are stations at or ahead of the bottleneck, the nearest first. One free station
    inside a queue is a gap between waves.
    """
    last = None
    for i, is_slow in enumerate(slow):
        if is_slow and (back_m[i] <= HEAD_M or (last is not None and i - last <= 2)):
            last = i
    return last


def find_median_s(lead_s: tuple[float, ...], chance: Floats) -> float:
    """Return when the chance (H) passes a half, straight lines between leads; else infinity."""
    times, chances = np.array((0.0, *lead_s)), np.concatenate(([0.0], chance))
    if not chances[-1] >= 0.5:
        return float("inf")
    at = int(np.argmax(chances >= 0.5))
    part = (0.5 - chances[at - 1]) / (chances[at] - chances[at - 1])
    return float(times[at - 1] + part * (times[at] - times[at - 1]))


class QueueWatch:
    """Follows a bottleneck's queue; call `follow` with each batch that the log has heard."""

    LEARNED = ("_tails", "tail_m", "_heard_s", "_last", "_came_s", "_creep_mps")

    def __init__(self, network: Network, bottleneck: Bottleneck, log: StationLog) -> None:
        self.bottleneck = bottleneck
        self.storages = find_storages(network, bottleneck)
        self._log = log
        ahead = [i for i, station in enumerate(log.stations) if station.back_m > 0]
        self._ahead = np.array(ahead[::-1], int)  # the nearest first
        self._back_m = np.array([log.stations[i].back_m for i in self._ahead])
        self._free_mps = np.array([log.stations[i].free_mps for i in self._ahead])
        self._neck = np.array([s.link == bottleneck.link for s in log.stations], bool)
        lanes = max(network.links[link].lanes for link in bottleneck.corridor[-2:])
        self._standing_vpkm = LANE_VPKM * lanes
        self._tails: deque[float] = deque()
        self.tail_m = float("nan")
        self._heard_s = 0.0
        self._last: int | None = None  # station of the queue
        self._came_s: float | None = None  # when it came there from downstream
        self._creep_mps = TYPICAL_MPS
        self.corridor_m = sum(network.links[link].length_m for link in bottleneck.corridor[:-1])

    def follow(self) -> None:
        self._heard_s += self._log.interval_s
        speed = self._log.mean(SPEED, SHORT_S)[self._ahead]
        with np.errstate(invalid="ignore"):  # where nothing passed, nothing stands
            slow = speed < SLOW_SHARE * self._free_mps
        is_blind = np.isnan(self._log.recall(FLOW, SHORT_S)[:, self._ahead]).all()
        self.tail_m = float("nan") if is_blind else self._place_tail(slow)
        self._tails.append(self.tail_m)
        while len(self._tails) * self._log.interval_s > TREND_S:
            self._tails.popleft()

    def _place_tail(self, slow: NDArray[np.bool_]) -> float:
        """Return where the queue ends, m upstream of the bottleneck; 0 without one.

        After it has come to a station it goes on towards the next as fast as it came, up to there;
        where it has gone back to a station it is taken to lie half way.
        """
        now_s = self._heard_s
        last = find_last(self._back_m, slow)
        before, self._last = self._last, last
        if last is None:
            self._came_s = None
            return 0.0
        if before is None or last > before:
            from_m = 0.0 if before is None else self._back_m[before]
            took_s = now_s - (self._came_s if self._came_s is not None else now_s)
            self._creep_mps = TYPICAL_MPS
            if took_s > 0:
                pace = (self._back_m[last] - from_m) / took_s
                self._creep_mps = float(np.clip(pace, TYPICAL_MPS / 3, TYPICAL_MPS * 3))
            self._came_s = now_s
        elif last < before:
            self._came_s = None
        nearer = self._back_m[last]
        room_m = self._back_m[last + 1] - nearer if last + 1 < len(self._back_m) else 0.0
        gone_m = room_m / 2
        if self._came_s is not None:
            gone_m = min(self._creep_mps * (now_s - self._came_s), room_m)
        return float(nearer + gone_m)

    def _find_growth_mps(self) -> float:
        """Return the tail's speed upstream over the last minutes, by least squares."""
        tails = np.array(self._tails)
        known = np.flatnonzero(~np.isnan(tails))
        if known.size < 4:
            return 0.0
        centered = known - known.mean()
        slope = float((centered @ tails[known]) / (centered @ centered))
        return slope / self._log.interval_s

    def foretell_course_m(self, leads: Floats, inflow_vph: Floats) -> Floats:
        """Return the tail at each lead (H) if that inflow (H) comes and the queue, standing or to
        come now, discharges as queues do.
        """
        discharge_vph = self.bottleneck.discharge_vph
        if self.tail_m > 0:
            # An incident may discharge less than the bottleneck's own queue.
            through = self._log.mean(FLOW, TREND_S / 2)[self._neck]
            known = through[~np.isnan(through)]
            if known.size:
                discharge_vph = min(discharge_vph, float(known.mean()))
        growth_mps = (
            (inflow_vph - discharge_vph)
            / self._standing_vpkm
            * METERS_PER_KILOMETER
            / SECONDS_PER_HOUR
        )
        steps = np.diff(np.concatenate(([0.0], leads)))
        course, reached = np.full(len(leads), np.nan), self.tail_m
        for h, (growth, step_s) in enumerate(zip(growth_mps, steps, strict=True)):
            reached = max(reached + growth * step_s, 0.0)
            course[h] = reached
        return course

    def compute(
        self, lead_s: tuple[float, ...], inflow_vph: Floats, breakdown: Floats, places_m: Floats
    ) -> Floats:
        """Return FEATURES for each place (P) and lead, P x H x F.

        `inflow_vph` and `breakdown` (H) are the inflow expected and the chance of a breakdown.
        """
        leads = np.array(lead_s)
        places = places_m[:, None]
        trend = np.maximum(self.tail_m + self._find_growth_mps() * leads, 0.0)
        stands = float(self.tail_m > 0)
        waits = 1.0 - stands
        course = (self.foretell_course_m(leads, inflow_vph) - places) / METERS_PER_KILOMETER
        odds = logit(np.clip(breakdown, 1 - SURELY, SURELY))
        shape = (len(places_m), len(leads))
        columns = (
            stands * np.clip(course, -FAR_KM, FAR_KM),
            stands * np.clip((trend - places) / METERS_PER_KILOMETER, -FAR_KM, FAR_KM),
            stands * np.clip((self.tail_m - places) / METERS_PER_KILOMETER, -FAR_KM, FAR_KM),
            waits * np.clip(course, -FAR_TO_COME_KM, FAR_TO_COME_KM),
            np.full(shape, stands),
            waits * odds,
        )
        return np.stack([np.broadcast_to(column, shape) for column in columns], axis=-1)

    def list_places_m(self) -> Floats:
        """Return where SHARES of each storage end, S x 3."""
        lengths = np.array([storage.length_m for storage in self.storages])
        return np.outer(lengths, SHARES)

    def build_outlook(
        self, model: HazardModel, inflow_vph: Floats, breakdown: Floats
    ) -> QueueOutlook:
        """Return the outlook by a model fitted on FEATURES; see `compute` for the others (H)."""
        leads = model.lead_s
        places_m = self.list_places_m()
        passed = places_m <= self.tail_m
        features = self.compute(leads, inflow_vph, breakdown, places_m.ravel())
        chance = model.find_chance(features).reshape(*places_m.shape, -1)
        chance = np.where(passed[..., None], 1.0, chance)
        spillback_s = np.array(
            [
                0.0 if full else find_median_s(leads, by_lead)
                for full, by_lead in zip(passed[:, -1], chance[:, -1], strict=True)
            ]
        )
        return QueueOutlook(
            self.bottleneck.id,
            self.tail_m,
            leads,
            self.storages,
            chance,
            spillback_s,
            self._find_farthest_m(model, inflow_vph, breakdown),
        )

    def _find_farthest_m(self, model: HazardModel, inflow_vph: Floats, breakdown: Floats) -> Floats:
        """Return quantiles of the farthest tail, H x 3: as far as its chance to come so far is
        at least .9, .5 and .1.
        """
        grid_m = np.arange(GRID_M, self.corridor_m + 1, GRID_M)
        features = self.compute(model.lead_s, inflow_vph, breakdown, grid_m)
        chance = model.find_chance(features)  # P x H
        chance = np.where((grid_m <= self.tail_m)[:, None], 1.0, chance)
        if np.isnan(chance).any():
            return np.full((len(model.lead_s), 3), np.nan)
        return np.array(
            [
                [_find_reach(grid_m, by_place, least) for least in (0.9, 0.5, 0.1)]
                for by_place in np.minimum.accumulate(chance, axis=0).T
            ]
        )


def _find_reach(grid_m: Floats, chance: Floats, least: float) -> float:
    reached = grid_m[chance >= least]
    return float(reached[-1]) if reached.size else 0.0
