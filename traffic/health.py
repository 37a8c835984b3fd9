"""Detector health: labels what a loop says when it cannot be true, and never drops a value.

The faults and most limits are those of the traffic management system IRIS of the Minnesota DOT
(user guide, "Vehicle Detection", section "Auto-Fail"). IRIS waits hours or a day because it
judges each loop alone; here a loop is also held against its neighbours, which lets a fault be
called within minutes and keeps a real standing queue from being called "locked on".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from traffic.feed import FeedFault, FeedProblem, FeedSettings, FeedWatch
from traffic.model import DetectorKind, ModelError, Network
from traffic.neighbors import find_below, find_neighbors
from traffic.readings import LoopBatch, Quality
from traffic.trends import Trends, TrendSettings
from traffic.units import to_vph

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

HEDGE = 0.08  # weight of five minutes with nothing, in what a loop usually counts


@dataclass(frozen=True, slots=True)
class KindLimits:
    """Limits that differ by what a loop is there to tell."""

    no_hits_s: float  # silence that is a fault whatever the neighbors see (IRIS: by lane type)
    lane_share: float  # least share of its neighbors' flow that a loop never yet hit must carry
    locked_on_s: float  # full and uncounted this long beside moving traffic


# no_hits_s: IRIS has 4 h for mainline, 12 h for queue and passage loops, 24 h for auxiliary lanes.
# lane_share: turning bays and lanes that end may carry next to nothing.
# locked_on_s: IRIS has 2 min for mainline; a queue loop may be covered for a whole red, at most
# 150 s (model.Phase), and 10 min are four of those.
IRIS_LIMITS: Mapping[DetectorKind, KindLimits] = {
    DetectorKind.MAINLINE: KindLimits(no_hits_s=14400, lane_share=0.05, locked_on_s=180),
    DetectorKind.RAMP: KindLimits(no_hits_s=43200, lane_share=0.05, locked_on_s=600),
    DetectorKind.STOP_LINE: KindLimits(no_hits_s=43200, lane_share=0.01, locked_on_s=600),
    DetectorKind.ADVANCE: KindLimits(no_hits_s=43200, lane_share=0.01, locked_on_s=600),
    DetectorKind.TAIL: KindLimits(no_hits_s=43200, lane_share=0.01, locked_on_s=600),
}


@dataclass(frozen=True)
class HealthSettings:
    """Onset and clearing limits. Raises ModelError with all problems at once."""

    limits: Mapping[DetectorKind, KindLimits] = field(default_factory=lambda: IRIS_LIMITS)
    max_flow_vph: float = 4560.0  # of one lane: IRIS, 38 vehicles in 30 s
    min_vehicle_m: float = 2.0  # a motorcycle
    speeding: float = 1.6  # fastest believable speed over the link's free speed
    full_occupancy: float = 0.995
    moving_share: float = 0.5  # of free speed, from which a neighbor's traffic is moving
    lone_locked_on_s: float = 1800.0  # without neighbors: IRIS, 30 min for queue loops
    no_change_s: float = 600.0  # IRIS: 24 h of occupancy alone; here count and speed repeat too
    pulse_occupancy: float = 0.25  # IRIS counts occupancy jumps of 25 %
    silence_veh: float = 40.0  # vehicles that should have come; drivers change lanes in platoons
    silence_s: float = 300.0  # shortest silence that can be a fault
    usual_s: float = 3600.0  # time constant of what a loop usually sees
    clear_s: float = 600.0  # believable values that clear a fault (IRIS: 24 h)
    stale_s: float = 90.0  # age of a batch: three intervals of 30 s
    skew_s: float = 5.0  # a batch may end this far ahead of our clock
    neighbor_m: float = 1200.0  # loops this near along the road are neighbors: two stations
    usual_share: float = 0.7  # of their usual traffic that neighbors get, who miss nothing
    station_share: float = 0.5  # least share of its neighbors' flow in lanes that were never hit
    trends: TrendSettings = field(default_factory=TrendSettings)

    def __post_init__(self) -> None:
        problems = [f"no limits for kind {k.value}" for k in DetectorKind if k not in self.limits]
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, float) and not value > 0:
                problems.append(f"{f.name} {value} must be above 0")
        for name in ("full_occupancy", "moving_share", "pulse_occupancy", "usual_share"):
            if getattr(self, name) > 1:
                problems.append(f"{name} {getattr(self, name)} must be at most 1")
        for kind, limits in self.limits.items():
            for f in fields(limits):
                if not getattr(limits, f.name) > 0:
                    problems.append(
                        f"{kind.value}: {f.name} {getattr(limits, f.name)} must be above 0"
                    )
        if problems:
            raise ModelError("health settings", problems)


class HealthScreen:
    """Labels each loop's reading with its quality; call once for each batch, in order.

    | fault | onset | clears |
    |---|---|---|
    | no hits | silent while neighbors say that 40 vehicles came, or for hours | at a vehicle |
    | | a cross-section in all lanes, while stations around get their usual traffic | |
    | chatter | over 4,560 veh/h, or twice too little occupancy for the count | 10 min without |
    | locked on | full, uncounted, while neighbors' traffic moves | 10 min without |
    | | a cross-section in all lanes, while those after it get their usual traffic | |
    | no change | count, occupancy and speed repeat, not empty, not full | at a change |
    | occupancy spike | not in 0..1, or a jump with no vehicle to cause it | 10 min without |
    | drifting | vehicles 1.3 times as long, or short, as they used to be | within 1.15 |
    | swapped | two loops read as the other used to, 10 min long | when their own fits better |
    | late | counts follow the lanes beside it later than they used to | when they do not |
    | stale | the batch is old or came before | with the next good batch |
    | clock skew | the batch ends ahead of now or before the last one | with the next good batch |
    | wrong units | the feed's occupancies are percent | with the next good one |
    | | its speeds are odd four times running; before, they alone are left out | with the next |

    `problems` says of the latest batch what was wrong with it as a whole; what is wrong as a whole
    changes nothing of what is known of the loops.

    A closed lane looks to its own loop like a lane with a dead loop: it may be labelled "no hits"
    until the first vehicle.
    """

    LEARNED = (
        "_feed", "_trends", "_labels", "_usual_vps", "_usual_weight", "_was_hit", "_silent_s",
        "_missed_veh", "_thin_runs", "_chatter_left_s", "_full_s", "_locked_left_s", "_same_s",
        "_last", "_part_runs", "_spike_left_s", "_pulse_peak", "_pulse_veh",
    )  # fmt: skip

    def __init__(self, network: Network, settings: HealthSettings | None = None) -> None:
        self._settings = settings or HealthSettings()
        loops = tuple(network.detectors.values())
        self._index = {loop.id: i for i, loop in enumerate(loops)}
        self._free_mps = np.array([network.links[d.link].free_speed_mps for d in loops], float)
        by_kind = [self._settings.limits[d.kind] for d in loops]
        self._no_hits_s = np.array([k.no_hits_s for k in by_kind], float)
        self._lane_share = np.array([k.lane_share for k in by_kind], float)
        self._mates, self._near = find_neighbors(network, loops, self._settings.neighbor_m)
        self._below = find_below(network, loops, self._settings.neighbor_m)
        self._locked_on_s = np.where(
            self._near.any(axis=1),
            np.array([k.locked_on_s for k in by_kind], float),
            self._settings.lone_locked_on_s,
        )
        size = len(loops)  # all state: D, in the network's order
        self._is_mainline = np.array([d.kind is DetectorKind.MAINLINE for d in loops], bool)
        clock = FeedSettings(stale_s=self._settings.stale_s, skew_s=self._settings.skew_s)
        self._feed = FeedWatch(self._free_mps, self._is_mainline, clock)
        self._labels = np.zeros(size, np.int8)
        self._usual_vps, self._usual_weight = np.zeros(size), np.zeros(size)
        self._was_hit = np.zeros(size, bool)
        self._silent_s, self._missed_veh = np.zeros(size), np.zeros(size)
        self._thin_runs, self._chatter_left_s = np.zeros(size), np.zeros(size)
        self._full_s, self._locked_left_s = np.zeros(size), np.zeros(size)
        self._same_s = np.zeros(size)
        self._last = np.full((3, size), np.nan)  # count, occupancy, speed
        self._part_runs, self._spike_left_s = np.zeros(size), np.zeros(size)
        self._pulse_peak, self._pulse_veh = np.zeros(size), np.ones(size)
        self._trends = Trends(self._mates, self._near, self._free_mps, self._settings.trends)

    def screen(self, batch: LoopBatch, now_s: float) -> LoopBatch:
        """Return the same values, labelled; labels that the field gave are kept.

        Speeds that the feed as a whole makes doubtful are taken for not measured, NaN.
        Raises ValueError naming every loop that the network does not have.
        """
        unknown = [d for d in batch.detectors if d not in self._index]
        if unknown:
            raise ValueError(f"batch names unknown detectors: {', '.join(unknown)}")
        at = np.array([self._index[d] for d in batch.detectors], int)
        size = len(self._index)
        values = np.full((3, size), np.nan)
        values[:, at] = batch.count_veh, batch.occupancy, batch.speed_mps
        labels = np.full(size, Quality.MISSING, np.int8)
        labels[at] = batch.quality
        labels[(labels == Quality.GOOD) & np.isnan(values[:2]).any(axis=0)] = Quality.MISSING
        seen = labels == Quality.GOOD
        whole = self._feed.check(batch, now_s, values)
        if any(problem.fault is FeedFault.GAP for problem in self.problems):
            self._forget_runs()
        if self._feed.doubts_speeds:
            values[2] = np.nan
            batch = replace(batch, speed_mps=values[2, at])
        if whole is Quality.GOOD:
            self._judge(labels, seen, values, batch.interval_s)
            self._labels = labels
        else:
            labels[seen] = whole
        return replace(batch, quality=labels[at])

    def resume(self, rest_s: float | None) -> None:
        """Go on after a rest; None when time begins anew. The feed itself tells of a gap."""
        if rest_s is None:
            self._feed.restart_clock()
            self._forget_runs()

    @property
    def problems(self) -> tuple[FeedProblem, ...]:
        """What was wrong with the latest batch as a whole."""
        return self._feed.problems

    def _judge(
        self, labels: NDArray[np.int8], seen: Flags, values: Floats, interval_s: float
    ) -> None:
        """Write a fault into `labels` (D) where `seen`; the last one written has precedence."""
        count, occupancy, speed = values
        # What is wrong at a glance tells nothing of trends.
        sound = seen & (self._labels == Quality.GOOD) | seen & (self._labels >= Quality.DRIFTING)
        trends = self._trends
        faults = (
            (Quality.LATE, trends.find_late(sound, count, interval_s)),
            (Quality.SWAPPED, trends.find_swapped(sound, count, occupancy, interval_s)),
            (
                Quality.DRIFTING,
                trends.find_drifting(sound, count, occupancy, speed, interval_s),
            ),
            (Quality.NO_HITS, self._find_no_hits(seen, count, occupancy, interval_s)),
            (Quality.NO_CHANGE, self._find_no_change(seen, values, interval_s)),
            (Quality.LOCKED_ON, self._find_locked_on(seen, count, occupancy, speed, interval_s)),
            (Quality.CHATTER, self._find_chatter(seen, count, occupancy, interval_s)),
            (Quality.OCCUPANCY_SPIKE, self._find_spikes(seen, count, occupancy, interval_s)),
        )
        for quality, found in faults:
            labels[seen & found] = quality
        self._last[:, seen] = values[:, seen]

    def _forget_runs(self) -> None:
        """Forget what was to be repeated in a row: nothing is known of the gap."""
        for runs in (
            self._silent_s, self._missed_veh, self._thin_runs, self._full_s, self._same_s,
            self._part_runs, self._pulse_peak,
        ):  # fmt: skip
            runs[:] = 0.0
        self._pulse_veh[:] = 1.0
        self._last[:] = np.nan
        self._trends.forget_course()

    def _hold(self, left_s: Floats, onset: Flags, seen: Flags, interval_s: float) -> Flags:
        """Count down `left_s` (in place) from the last onset; a fault lasts while it is above 0."""
        left_s[seen] -= interval_s
        left_s[onset & seen] = self._settings.clear_s
        return left_s > 0

    def _find_no_hits(
        self, seen: Flags, count: Floats, occupancy: Floats, interval_s: float
    ) -> Flags:
        s = self._settings
        silent = seen & (count == 0) & (occupancy == 0)
        trusted = seen & (self._labels == Quality.GOOD)
        # Loops of the same cross-section know best; else the stations up- and downstream.
        mates = self._mates & trusted & ~silent
        has_mates = mates.any(axis=1)
        peers = np.where(has_mates[:, None], mates, self._near & ~self._mates & trusted)
        number = np.maximum(peers.sum(axis=1), 1)
        now_veh = (peers @ np.where(trusted, count, 0.0)) / number
        usual_vps = self._find_usual_vps()
        usual_veh = (peers @ usual_vps) / number * interval_s
        like_usual = np.minimum(1.0, now_veh / np.maximum(usual_veh, 1e-9))
        # A whole cross-section is silent in earnest where the road was closed ahead of it; not
        # while the stations around get their usual traffic.
        is_alone = self._mates.any(axis=1) & ~has_mates
        is_whole = is_alone & (like_usual >= s.usual_share)
        like_usual = np.where(is_alone & ~is_whole, 0.0, like_usual)
        # A loop never hit has no usual flow; only lanes beside it can say what it should have, and
        # on a mainline the stations around, where all lanes are silent.
        is_passed = is_whole & self._is_mainline & ((self._below & trusted) @ (count > 0))
        unknown = now_veh * np.where(is_passed, s.station_share, self._lane_share * has_mates)
        expected = np.where(self._was_hit, usual_vps * interval_s * like_usual, unknown)
        expected = np.where(is_passed, np.maximum(expected, unknown), expected)
        self._was_hit |= seen & (count > 0)
        self._silent_s = np.where(silent, self._silent_s + interval_s, self._silent_s * ~seen)
        self._missed_veh = np.where(silent, self._missed_veh + expected, self._missed_veh * ~seen)
        gain = 1 - np.exp(-interval_s / s.usual_s)
        # A long silence must not become what is usual.
        learns = seen & (self._silent_s < s.silence_s)
        self._usual_vps[learns] += gain * (count[learns] / interval_s - self._usual_vps[learns])
        self._usual_weight[learns] += gain * (1 - self._usual_weight[learns])
        return np.asarray(
            ((self._missed_veh >= s.silence_veh) & (self._silent_s >= s.silence_s))
            | (self._silent_s >= self._no_hits_s)
        )

    def _find_usual_vps(self) -> Floats:
        """Return what each loop usually counts, D; in the first hour the mean so far, hedged."""
        return np.asarray(self._usual_vps / np.minimum(self._usual_weight + HEDGE, 1.0))

    def _find_no_change(self, seen: Flags, values: Floats, interval_s: float) -> Flags:
        same = (values == self._last) | (np.isnan(values) & np.isnan(self._last))
        partly = (values[1] > 0) & (values[1] < self._settings.full_occupancy)
        repeated = seen & same.all(axis=0) & partly
        self._same_s = np.where(repeated, self._same_s + interval_s, self._same_s * ~seen)
        return self._same_s >= self._settings.no_change_s

    def _find_locked_on(
        self, seen: Flags, count: Floats, occupancy: Floats, speed: Floats, interval_s: float
    ) -> Flags:
        s = self._settings
        full = seen & (occupancy >= s.full_occupancy) & (count == 0)
        busy = seen & (self._labels == Quality.GOOD) & ((count > 0) | (occupancy > 0))
        moving = busy & (count > 0) & (speed >= s.moving_share * self._free_mps)
        moving |= busy & (count > 0) & np.isnan(speed) & (occupancy < s.pulse_occupancy)
        # More neighbors moving than not, both beside it and around: in a queue, or at the head of
        # one, those in it stand too.
        told = np.ones(len(seen), bool)
        for peers in (self._mates, self._near):
            told &= (2 * (peers @ moving.astype(float)) > peers @ busy.astype(float)) | ~(
                peers.any(axis=1)
            )
        told |= self._is_passed_by(full, moving, seen, count, interval_s)
        self._full_s = np.where(full, self._full_s + interval_s * told, self._full_s * ~seen)
        return self._hold(self._locked_left_s, self._full_s >= self._locked_on_s, seen, interval_s)

    def _is_passed_by(
        self, full: Flags, moving: Flags, seen: Flags, count: Floats, interval_s: float
    ) -> Flags:
        """Whether a cross-section, full and uncounted in all lanes, cannot be: most lanes after it
        move and get their usual traffic, which must have come through it.
        """
        is_whole = self._mates.any(axis=1) & ~(self._mates & (seen & ~full)).any(axis=1)
        below = self._below & seen
        now_veh = below @ np.where(seen, count, 0.0)
        usual_veh = below @ self._find_usual_vps() * interval_s
        most = 2 * (below @ moving.astype(float)) > below.sum(axis=1)
        got = now_veh >= self._settings.usual_share * usual_veh
        return np.asarray(full & is_whole & most & got)

    def _find_chatter(
        self, seen: Flags, count: Floats, occupancy: Floats, interval_s: float
    ) -> Flags:
        s = self._settings
        # The first and the last vehicle may be on the loop in another interval.
        least_s = np.maximum(count - 2, 0) * s.min_vehicle_m / (s.speeding * self._free_mps)
        thin = occupancy * interval_s < least_s
        self._thin_runs = np.where(seen & thin, self._thin_runs + 1, self._thin_runs * ~seen)
        wild = (to_vph(count, interval_s) > s.max_flow_vph) | (count < 0)
        return self._hold(self._chatter_left_s, wild | (self._thin_runs >= 2), seen, interval_s)

    def _find_spikes(
        self, seen: Flags, count: Floats, occupancy: Floats, interval_s: float
    ) -> Flags:
        s = self._settings
        outside = (occupancy < 0) | (occupancy > 1 + 1e-6)
        # Occupancy between nothing and full means that a vehicle came or went: it can pass two
        # intervals uncounted (came before, went after), never three.
        part = seen & (occupancy > 0) & (occupancy < s.full_occupancy) & (count == 0)
        self._part_runs = np.where(part, self._part_runs + 1, self._part_runs * ~seen)
        # A pulse between two empty intervals must hold a vehicle.
        empty = seen & (occupancy == 0)
        pulse = empty & (self._pulse_peak >= s.pulse_occupancy)
        pulse &= self._pulse_veh + np.nan_to_num(count) == 0
        self._pulse_peak = np.where(
            seen, np.where(empty, 0.0, np.maximum(self._pulse_peak, occupancy)), self._pulse_peak
        )
        self._pulse_veh = np.where(
            seen, np.where(empty, count, self._pulse_veh + count), self._pulse_veh + 1
        )
        onset = outside | pulse | (self._part_runs >= 3)
        return self._hold(self._spike_left_s, onset, seen, interval_s)
