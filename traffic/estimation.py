"""What the loops say of the street: density, speed, travel time, queue, spillback.

Every figure carries a confidence 0..1 that falls with missing and bad loops. What was not seen
is NaN, but for travel time, which routing always needs: a link without loops takes its free-flow
time with a low confidence, or a share of it interpolated along a known corridor.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from traffic.model import DetectorKind, ModelError, Network
from traffic.readings import LoopBatch, Quality

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

STATIONS = (DetectorKind.STOP_LINE, DetectorKind.ADVANCE, DetectorKind.TAIL)
STOP, ADVANCE, TAIL = range(3)


@dataclass(frozen=True, eq=False)
class State:
    """The street at one moment. Arrays are read-only."""

    time_s: float
    links: tuple[str, ...]  # L
    density_vpkm: Floats  # L, vehicles per km and lane
    speed_mps: Floats  # L, space mean
    travel_time_s: Floats  # L
    confidence: Floats  # L, 0..1
    approaches: tuple[str, ...]  # A
    queue_veh: Floats  # A, over all lanes
    storage_share: Floats  # A, 0..1
    spillback: Flags  # A
    approach_confidence: Floats  # A, 0..1

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False


@dataclass(frozen=True)
class EstimationSettings:
    """Raises ModelError with all problems at once."""

    effective_length_m: float = 7.0  # vehicle and loop, until a loop's own is learned
    shortest_effective_m: float = 4.0
    longest_effective_m: float = 12.0
    learning_gain: float = 0.02  # of a loop's effective length, per interval in free flow
    free_occupancy: float = 0.15  # below, traffic flows freely and speeds can be believed
    dense_occupancy: float = 0.3  # above, occupancy tells speed better than the vehicles that pass
    smoothing_gain: float = 0.5  # weight of the newest interval
    delay_s: float = 300.0  # time constant of delays at stop lines: some cycles
    crawl_mps: float = 1.0  # speed that bounds a jammed link's travel time
    spacing_m: float = 7.5  # of standing vehicles
    empty_occupancy: float = 0.08  # of a stop line without a queue
    standing_occupancy: float = 0.5  # of a loop that a queue covers
    spillback_occupancy: float = 0.6  # of a tail loop in its busiest lane
    spillback_intervals: int = 2
    longest_delay_s: float = 900.0  # at one stop line
    unseen_confidence: float = 0.1  # of a free-flow time on a link that nothing watches

    def __post_init__(self) -> None:
        problems = [
            f"{f.name} {getattr(self, f.name)} must be above 0"
            for f in fields(self)
            if not getattr(self, f.name) > 0
        ]
        for f in fields(self):
            ratio = f.name.endswith(("_occupancy", "_gain", "_confidence"))
            if ratio and getattr(self, f.name) > 1:
                problems.append(f"{f.name} {getattr(self, f.name)} must be at most 1")
        if not self.shortest_effective_m <= self.effective_length_m <= self.longest_effective_m:
            problems.append(
                f"effective_length_m {self.effective_length_m} must lie within "
                f"{self.shortest_effective_m} to {self.longest_effective_m}"
            )
        if problems:
            raise ModelError("estimation settings", problems)


class Estimator:
    """Estimates the state from screened loop batches; call once for each batch, in order."""

    LEARNED = ("_links",)

    def __init__(self, network: Network, settings: EstimationSettings | None = None) -> None:
        self._settings = settings or EstimationSettings()
        self._index = {loop: i for i, loop in enumerate(network.detectors)}
        self._links = _LinkEstimator(network, self._settings)
        self._approaches = _ApproachEstimator(network, self._settings)
        self._end_s = -np.inf

    def update(self, batch: LoopBatch) -> State:
        """Return the state at the batch's end; a stale batch only lowers confidence.

        Raises ValueError naming every loop that the network does not have.
        """
        unknown = [d for d in batch.detectors if d not in self._index]
        if unknown:
            raise ValueError(f"batch names unknown detectors: {', '.join(unknown)}")
        at = np.array([self._index[d] for d in batch.detectors], int)
        values = np.full((3, len(self._index)), np.nan)
        values[:, at] = batch.count_veh, batch.occupancy, batch.speed_mps
        good = np.zeros(len(self._index), bool)
        good[at] = np.isin(batch.quality, (Quality.GOOD, Quality.ESTIMATED))
        good &= ~np.isnan(values[:2]).any(axis=0)
        count, occupancy, speed = values
        queue, share, spillback, trust, delay_s, delayed = self._approaches.update(
            good, count, occupancy, batch.interval_s
        )
        density, mean_mps, time_s, confidence = self._links.update(
            good, count, occupancy, speed, batch.interval_s, delay_s, delayed
        )
        return State(
            batch.end_s,
            self._links.ids,
            density,
            mean_mps,
            time_s,
            confidence,
            self._approaches.ids,
            queue,
            share,
            spillback,
            trust,
        )


class _LinkEstimator:
    """Density, speed and travel time of links (L) from the loops (D) on them."""

    LEARNED = ("_effective_m",)

    def __init__(self, network: Network, settings: EstimationSettings) -> None:
        self._settings = settings
        self.ids = tuple(network.links)
        row = {link: i for i, link in enumerate(self.ids)}
        loops = tuple(network.detectors.values())
        self._link_of = np.array([row[d.link] for d in loops], int)
        # Occupancy at a stop line tells of red, not of density.
        self._tells = np.array([d.kind is not DetectorKind.STOP_LINE for d in loops], bool)
        # Loops near signals see platoons and queues only in part.
        self._faith = np.array([0.6 if d.kind in STATIONS else 1.0 for d in loops], float)
        self._length_m = np.array([li.length_m for li in network.links.values()], float)
        self._free_mps = np.array([li.free_speed_mps for li in network.links.values()], float)
        self._corridors = [
            np.array([row[link] for link in b.corridor], int) for b in network.bottlenecks.values()
        ]
        size = len(loops)
        self._effective_m = np.full(size, settings.effective_length_m)
        self._weight, self._veh = np.zeros(size), np.zeros(size)
        self._on, self._pace = np.zeros(size), np.zeros(size)

    def _sum(self, values: Floats) -> Floats:
        """Add values of loops (D) up to their links (L)."""
        kept = np.where(self._tells, values, 0.0)
        return np.bincount(self._link_of, kept, len(self.ids)).astype(float)

    def update(
        self,
        good: Flags,
        count: Floats,
        occupancy: Floats,
        speed: Floats,
        interval_s: float,
        delay_s: Floats,
        delayed: Floats,
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Return density, speed, travel time, confidence, each L.

        `delay_s` and `delayed` (L) are the delay at a link's stop line and its confidence.
        """
        s = self._settings
        self._learn_lengths(good, count, occupancy, speed, interval_s)
        # Seconds per meter, summed over vehicles. Passing vehicles' arithmetic mean speed is
        # above the space mean when speeds differ (Wardrop 1952: by variance over mean), so where
        # vehicles stand, occupancy is asked: flow over density, q g / o.
        by_occupancy = occupancy * interval_s / self._effective_m
        by_speed = count / np.where(speed > 0, speed, np.nan)
        believed = (occupancy < s.dense_occupancy) & ~np.isnan(by_speed)
        pace = np.where(believed, by_speed, by_occupancy)
        for held, new in (
            (self._weight, np.ones(len(good))),
            (self._veh, count),
            (self._on, occupancy / self._effective_m),
            (self._pace, pace),
        ):
            held *= 1 - s.smoothing_gain
            held[good] += s.smoothing_gain * new[good]
        weight = self._sum(self._weight)
        all_loops = self._sum(np.ones(len(good)))
        seen = weight > 0.05 * np.maximum(all_loops, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            density = np.where(seen, 1000 * self._sum(self._on) / weight, np.nan)
            paced = self._sum(self._pace)
            mean_mps = np.where(seen & (paced > 1e-9), self._sum(self._veh) / paced, np.nan)
            confidence = np.where(seen, self._sum(self._weight * self._faith) / all_loops, 0.0)
        told_mps = np.where(seen, np.where(np.isnan(mean_mps), self._free_mps, mean_mps), np.nan)
        for corridor in self._corridors:
            self._interpolate(corridor, told_mps, mean_mps, confidence)
        time_s = self._length_m / np.maximum(
            np.where(np.isnan(told_mps), self._free_mps, told_mps), s.crawl_mps
        )
        # Where a stop line is watched, free flow and the wait there tell more than a loop's speed.
        at_signal = delayed > 0
        time_s = np.where(at_signal, self._length_m / self._free_mps + delay_s, time_s)
        mean_mps = np.where(at_signal, self._length_m / time_s, mean_mps)
        confidence = np.where(at_signal, delayed, confidence)
        return density, mean_mps, time_s, np.clip(confidence, s.unseen_confidence, 1.0)

    def _learn_lengths(
        self, good: Flags, count: Floats, occupancy: Floats, speed: Floats, interval_s: float
    ) -> None:
        """Learn each loop's effective length g = v o T / n while traffic flows freely.

        After Jia, Chen, Coifman and Varaiya (2001), "The PeMS algorithms for accurate, real-time
        estimates of g-factors and speeds from single-loop detectors".
        """
        s = self._settings
        free = good & (count >= 3) & (occupancy < s.free_occupancy) & (speed > 5)
        with np.errstate(divide="ignore", invalid="ignore"):
            told = np.clip(
                speed * occupancy * interval_s / count,
                s.shortest_effective_m,
                s.longest_effective_m,
            )
        self._effective_m[free] += s.learning_gain * (told - self._effective_m)[free]

    def _interpolate(
        self, corridor: NDArray[np.int_], told_mps: Floats, mean_mps: Floats, confidence: Floats
    ) -> None:
        """Fill unseen links between seen ones with speed over free speed by distance, in place."""
        end_m = np.cumsum(self._length_m[corridor])
        middle_m = end_m - self._length_m[corridor] / 2
        ratio = told_mps[corridor] / self._free_mps[corridor]
        seen = ~np.isnan(ratio)
        if seen.sum() < 2:
            return
        inside = (middle_m > middle_m[seen].min()) & (middle_m < middle_m[seen].max())
        fill = inside & ~seen
        filled = corridor[fill]
        told_mps[filled] = self._free_mps[filled] * np.interp(
            middle_m[fill], middle_m[seen], ratio[seen]
        )
        mean_mps[filled] = told_mps[filled]
        confidence[filled] = 0.5 * np.interp(
            middle_m[fill], middle_m[seen], confidence[corridor][seen]
        )


class _ApproachEstimator:
    """Queue, storage and spillback of approaches (A) from the loops (D) that watch them.

    Vehicles between the tail (or advance) loops and the stop line are counted in and out; the
    queue is what of them is not under way. Counts drift, so occupancy corrects them: a stop line
    without occupancy has no queue, a covered loop has the queue at least up to it, a free one
    at most up to it. A queue beyond the tail loops is not seen.
    """

    def __init__(self, network: Network, settings: EstimationSettings) -> None:
        self._settings = settings
        self.ids = tuple(network.approaches)
        row = {approach: i for i, approach in enumerate(self.ids)}
        approaches = network.approaches.values()
        groups, members, back = [], [], []
        for i, loop in enumerate(network.detectors.values()):
            if loop.approach is None or loop.kind not in STATIONS:
                continue
            links = network.approaches[loop.approach].links
            after = links[links.index(loop.link) + 1 :] if loop.link in links else ()
            groups.append(3 * row[loop.approach] + STATIONS.index(loop.kind))
            members.append(i)
            back.append(
                max(network.links[loop.link].length_m - loop.position_m, 0)
                + sum(network.links[link].length_m for link in after)
            )
        self._group = np.array(groups, int)
        self._member = np.array(members, int)
        size = len(self.ids)
        self._loops = self._sum(np.ones(len(members)))  # A x 3, loops of each station
        with np.errstate(invalid="ignore", divide="ignore"):
            self._back_m = self._sum(np.array(back, float)) / self._loops  # A x 3
        self._lanes = np.array([max(a.lanes, 1) for a in approaches], float)
        self._storage_veh = np.array(
            [max(a.storage_m / settings.spacing_m, 1) * max(a.lanes, 1) for a in approaches], float
        )
        self._free_mps = np.array(
            [network.links[a.links[-1]].free_speed_mps for a in approaches], float
        )
        self._link_row = np.array([list(network.links).index(a.links[-1]) for a in approaches], int)
        self._link_count = len(network.links)
        self._inside_veh = np.zeros(size)  # A, between the section's loops and the stop line
        self._in_vps, self._out_vps = np.zeros(size), np.zeros(size)
        self._mean_queue_veh, self._mean_out_vps = np.zeros(size), np.zeros(size)
        self._trust = np.zeros(size)
        self._full_runs = np.zeros(size)

    def _sum(self, values: Floats) -> Floats:
        """Add values of the member loops up to stations, A x 3."""
        return np.bincount(self._group, values, 3 * len(self.ids)).reshape(-1, 3).astype(float)

    def update(
        self, good: Flags, count: Floats, occupancy: Floats, interval_s: float
    ) -> tuple[Floats, Floats, Flags, Floats, Floats, Floats]:
        """Return queue, storage share, spillback, confidence (A); delay, its confidence (L)."""
        s = self._settings
        heard = good[self._member]
        with np.errstate(divide="ignore", invalid="ignore"):
            good_loops = self._sum(heard.astype(float))
            share = np.where(self._loops > 0, good_loops / self._loops, 0.0)
            mean_occupancy = self._sum(np.where(heard, occupancy[self._member], 0.0)) / good_loops
            # Lanes whose loop is not heard are taken to be like the others of their station.
            passed = self._sum(np.where(heard, count[self._member], 0.0)) / share
        passed[good_loops == 0] = np.nan
        entry = np.where(self._loops[:, TAIL] > 0, TAIL, ADVANCE)
        rows = np.arange(len(self.ids))
        entered, left = passed[rows, entry], passed[:, STOP]
        section_m = np.where(
            self._loops[rows, entry] > 0, self._back_m[rows, entry], self._back_m[:, STOP]
        )
        for held, new in ((self._in_vps, entered), (self._out_vps, left)):
            known = ~np.isnan(new)
            held[known] += s.smoothing_gain * (new[known] / interval_s - held[known])
        under_way = np.nan_to_num(self._in_vps * section_m / self._free_mps)
        counted = ~np.isnan(entered) & ~np.isnan(left)
        self._inside_veh[counted] += (entered - left)[counted]
        queue = self._correct(self._inside_veh - under_way, mean_occupancy, section_m)
        self._inside_veh = queue + under_way

        seen_empty = mean_occupancy[:, STOP] < s.empty_occupancy
        trust = share[:, STOP] * share[rows, entry] * np.where(entry == TAIL, 1.0, 0.7)
        trust = np.where(seen_empty, np.maximum(trust, 0.5 * share[:, STOP]), trust)
        covered = (mean_occupancy >= s.standing_occupancy).any(axis=1)
        trust = np.where(covered, np.maximum(trust, 0.3), trust)
        self._trust += s.smoothing_gain * (trust - self._trust)
        unknown = self._trust < 0.05
        queue = np.where(unknown, np.nan, queue)
        storage_share = np.minimum(queue / self._storage_veh, 1.0)
        spillback = self._find_spillback(heard, occupancy, storage_share)
        gain = 1 - np.exp(-interval_s / s.delay_s)
        for mean, new in ((self._mean_queue_veh, queue), (self._mean_out_vps, left / interval_s)):
            known = ~np.isnan(new)
            mean[known] += gain * (new[known] - mean[known])
        delay_s, delayed = self._delay(queue)
        return queue, storage_share, spillback, self._trust * ~unknown, delay_s, delayed

    def _correct(self, queue: Floats, occupancy: Floats, section_m: Floats) -> Floats:
        """Hold the queue (A) to what mean occupancy (A x 3) at the stations says."""
        s = self._settings
        reach = self._back_m / s.spacing_m * self._lanes[:, None]  # A x 3, vehicles
        fits = np.nan_to_num(section_m) / s.spacing_m * self._lanes
        queue = np.clip(queue, 0.0, fits)
        for station in (TAIL, ADVANCE):
            least = np.where(occupancy[:, station] >= s.standing_occupancy, reach[:, station], 0.0)
            most = np.where(occupancy[:, station] <= s.free_occupancy, reach[:, station], np.inf)
            queue = np.minimum(np.maximum(queue, least), most)
        empty = occupancy[:, STOP] < s.empty_occupancy
        empty &= ~(occupancy[:, ADVANCE] >= s.standing_occupancy)
        return np.where(empty, 0.0, queue)

    def _find_spillback(self, heard: Flags, occupancy: Floats, storage_share: Floats) -> Flags:
        """A tail loop occupied for two intervals; lacking one, a section that counts as full."""
        s = self._settings
        worst = np.full(3 * len(self.ids), -np.inf)
        np.maximum.at(worst, self._group[heard], occupancy[self._member][heard])
        tail = worst.reshape(-1, 3)[:, TAIL]
        blind = (self._loops[:, TAIL] == 0) | np.isneginf(tail)
        full = np.where(blind, storage_share >= 0.95, tail >= s.spillback_occupancy)
        self._full_runs = np.where(full, self._full_runs + 1, 0)
        return self._full_runs >= s.spillback_intervals

    def _delay(self, queue: Floats) -> tuple[Floats, Floats]:
        """Return the wait at links' stop lines and its confidence, L.

        Little's law, n over q, on means over some cycles: one alone tells of its red and green.
        """
        s = self._settings
        known = ~np.isnan(queue) & (self._loops[:, STOP] > 0)
        rows = self._link_row[known]
        waiting = np.bincount(rows, self._mean_queue_veh[known], self._link_count)
        leaving = np.bincount(rows, self._mean_out_vps[known], self._link_count)
        number = np.maximum(np.bincount(rows, minlength=self._link_count), 1)
        trust = np.bincount(rows, self._trust[known], self._link_count) / number
        delay_s = waiting / np.maximum(leaving, 1e-3)
        return np.where(waiting > 0, np.minimum(delay_s, s.longest_delay_s), 0.0), trust
