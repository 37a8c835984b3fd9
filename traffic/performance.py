"""The figures by which a morning is judged: from what truly happened, never from estimates.

Speed, flow and density over space and time follow Edie's definitions: in a cell of area
A = dx * dt, flow is the distance travelled inside it over A, density the time spent inside it
over A, and speed the first over the second (Edie 1963, *Discussion of traffic stream
measurements and definitions*).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from traffic.units import METERS_PER_KILOMETER, SECONDS_PER_HOUR, to_mps

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

JAM_SPEED_MPS = to_mps(30.0)
ONSET_SPEED_MPS = to_mps(40.0)  # half of what such roads allow
SUSTAINED_S = 300.0
RECOVERED_S = 900.0


def _check_shapes(subject: str, expected: int, **arrays: Floats | Bools) -> None:
    wrong = [
        f"{subject}: {name} has shape {a.shape}, expected ({expected},)"
        for name, a in arrays.items()
        if a.shape != (expected,)
    ]
    if wrong:
        raise ValueError("\n".join(wrong))


@dataclass(frozen=True, eq=False)
class Trips:
    """Every vehicle of the demand, those on the road at the end and those never let in included.

    `travel_s` runs from departure to arrival or to the end, `delay_s` is the wait to depart, to
    the end when it never came. Raises ValueError listing every array of the wrong length.
    """

    purpose: tuple[str, ...]  # V
    length_m: Floats  # V, driven so far
    travel_s: Floats  # V
    delay_s: Floats  # V
    departed: Bools  # V
    arrived: Bools  # V

    def __post_init__(self) -> None:
        names = ("length_m", "travel_s", "delay_s", "departed", "arrived")
        _check_shapes("trips", len(self.purpose), **{n: getattr(self, n) for n in names})

    @property
    def spent_s(self) -> Floats:
        return self.travel_s + self.delay_s


def mean_speed_mps(trips: Trips) -> float | None:
    """Distance of all vehicles over their time, wait to depart counted; None when no time passed.

    Space-mean speed of the network, which no arithmetic mean of vehicle speeds is.
    """
    spent_s = float(trips.spent_s.sum())
    return float(trips.length_m.sum()) / spent_s if spent_s > 0 else None


def time_spent_by_purpose_s(trips: Trips) -> dict[str, float]:
    """Total time spent by the vehicles of each purpose, wait to depart counted."""
    names, index = np.unique(np.asarray(trips.purpose, dtype=object), return_inverse=True)
    spent_s = np.bincount(index, weights=trips.spent_s, minlength=len(names))
    return {str(name): float(s) for name, s in zip(names, spent_s, strict=True)}


@dataclass(frozen=True, eq=False)
class Contour:
    """Speed, flow and density of a road in cells of time and space; speed of an empty cell NaN."""

    time_s: Floats  # T + 1, edges
    x_m: Floats  # X + 1, edges, from the road's upstream end
    speed_mps: Floats  # T x X
    flow_vph: Floats  # T x X, all lanes
    density_vpkm: Floats  # T x X, all lanes

    def column_speed_mps(self, from_m: float, to_m: float) -> Floats:
        """Speed (T) over the cells that lie between two places; raises ValueError when none does.

        Edie's definitions on the union of the cells, NaN where they are empty.
        """
        inside = self._inside(from_m, to_m)
        density = self.density_vpkm[:, inside].sum(axis=1)
        kmh = np.full(len(density), np.nan)
        np.divide(self.flow_vph[:, inside].sum(axis=1), density, out=kmh, where=density > 0)
        return kmh * METERS_PER_KILOMETER / SECONDS_PER_HOUR

    def column_flow_vph(self, from_m: float, to_m: float) -> Floats:
        """Flow (T) over the cells that lie between two places; raises ValueError when none does."""
        return np.asarray(self.flow_vph[:, self._inside(from_m, to_m)].mean(axis=1))

    def _inside(self, from_m: float, to_m: float) -> Bools:
        inside = (self.x_m[:-1] >= from_m - 1e-6) & (self.x_m[1:] <= to_m + 1e-6)
        if not inside.any():
            raise ValueError(f"no whole cell lies between {from_m} m and {to_m} m")
        return np.asarray(inside)


def build_contour(
    time_s: Floats,  # N samples of vehicles
    x_m: Floats,  # N
    speed_mps: Floats,  # N
    *,
    sample_s: float,
    begin_s: float,
    end_s: float,
    length_m: float,
    cell_m: float = 100.0,
    cell_s: float = 60.0,
) -> Contour:
    """Build Edie's cells from positions and speeds of all vehicles, sampled every `sample_s`.

    Each sample stands for one vehicle during `sample_s`, so cells must not be shorter in time
    than that. A last cell that the road or the morning does not fill is left out, so that all
    have one area. Raises ValueError listing all that cannot be.
    """
    problems = [
        f"{name} {value} must be above 0"
        for name, value in (("sample_s", sample_s), ("cell_m", cell_m), ("cell_s", cell_s))
        if not value > 0
    ]
    if cell_s < sample_s:
        problems.append(f"cell_s {cell_s} must be at least sample_s {sample_s}")
    if end_s - begin_s < cell_s or length_m < cell_m:
        problems.append(
            f"{begin_s} s to {end_s} s over {length_m} m holds no cell of {cell_s} s by {cell_m} m"
        )
    if problems:
        raise ValueError("\n".join(problems))
    _check_shapes("samples", len(time_s), x_m=x_m, speed_mps=speed_mps)
    cells = np.arange(int((end_s - begin_s) / cell_s + 1e-9) + 1, dtype=np.float64)
    t_edges: Floats = begin_s + cell_s * cells
    x_edges: Floats = cell_m * np.arange(int(length_m / cell_m + 1e-9) + 1, dtype=np.float64)
    distance_m = np.histogram2d(time_s, x_m, (t_edges, x_edges), weights=speed_mps * sample_s)[0]
    spent_s = np.histogram2d(time_s, x_m, (t_edges, x_edges))[0] * sample_s
    speed = np.full(spent_s.shape, np.nan)
    np.divide(distance_m, spent_s, out=speed, where=spent_s > 0)
    area = cell_m * cell_s
    return Contour(
        t_edges,
        x_edges,
        speed,
        distance_m / area * SECONDS_PER_HOUR,
        spent_s / area * METERS_PER_KILOMETER,
    )


def jam_km_h(contour: Contour, below_mps: float = JAM_SPEED_MPS) -> float:
    """Length of road times duration (km*h) of the cells slower than `below_mps`."""
    area = np.outer(
        np.diff(contour.time_s) / SECONDS_PER_HOUR, np.diff(contour.x_m) / METERS_PER_KILOMETER
    )
    with np.errstate(invalid="ignore"):  # an empty cell's NaN is not jammed
        return float(area[contour.speed_mps < below_mps].sum())


def find_sustained(is_so: Bools, edges_s: Floats, sustained_s: float = SUSTAINED_S) -> Floats:
    """Find the starts of all runs of intervals that last `sustained_s`.

    `is_so` holds T intervals, `edges_s` their T + 1 edges.
    """
    changes = np.flatnonzero(np.diff(np.concatenate(([False], is_so, [False])).astype(np.int8)))
    starts_s, ends_s = edges_s[changes[::2]], edges_s[changes[1::2]]
    return np.asarray(starts_s[ends_s - starts_s >= sustained_s - 1e-6])


@dataclass(frozen=True, slots=True)
class Breakdown:
    """When the road upstream of a bottleneck broke down, and when it recovered if it did."""

    onset_s: float
    recovery_s: float | None


def find_breakdown(
    speed_mps: Floats,  # T, upstream of the bottleneck
    edges_s: Floats,  # T + 1
    below_mps: float = ONSET_SPEED_MPS,
    sustained_s: float = SUSTAINED_S,
    recovered_s: float = RECOVERED_S,
) -> Breakdown | None:
    """Find the first lasting fall of speed below the threshold, and the lasting return.

    A breakdown lasts (15 min in HCM 6th edition, chapter 26): speed is below the threshold for
    `sustained_s` on end, and in the mean over `recovered_s`. Stop-and-go waves leave minutes of
    free speed between them, so a return must last `recovered_s` as well, or `sustained_s` and
    until the end of the data.
    """
    with np.errstate(invalid="ignore"):  # a minute without vehicles is no jam
        is_slow = speed_mps < below_mps
    for onset_s in find_sustained(is_slow, edges_s, sustained_s).tolist():
        after = (edges_s[:-1] >= onset_s) & (edges_s[:-1] < onset_s + recovered_s - 1e-6)
        if np.nanmean(speed_mps[after]) < below_mps:
            break
    else:
        return None
    is_free = ~is_slow & (edges_s[:-1] > onset_s)
    returns_s = find_sustained(is_free, edges_s, recovered_s)
    recovery_s = float(returns_s[0]) if len(returns_s) else None
    if recovery_s is None:
        last_slow_end_s = float(edges_s[1:][is_slow][-1])
        if edges_s[-1] - last_slow_end_s >= sustained_s:
            recovery_s = last_slow_end_s
    return Breakdown(onset_s, recovery_s)


@dataclass(frozen=True, slots=True)
class CapacityDrop:
    """Flow through a bottleneck before its breakdown, and out of the standing queue after."""

    before_vph: float
    discharge_vph: float

    @property
    def share(self) -> float:
        """The part of the flow that the breakdown cost, 0..1; below 0 when flow rose."""
        return 1.0 - self.discharge_vph / self.before_vph


def find_capacity_drop(
    flow_vph: Floats,  # T, through the bottleneck
    edges_s: Floats,  # T + 1
    breakdown: Breakdown,
    *,
    before_s: float = 600.0,
    settle_s: float = 300.0,
) -> CapacityDrop | None:
    """Compare the flow of the last minutes before onset with the mean queue discharge.

    Discharge is counted from `settle_s` after onset until recovery or the end of the data
    (Cassidy and Bertini 1999, *Some traffic features at freeway bottlenecks*). None when either
    period lacks data: an onset within `before_s` of the start, a queue gone within `settle_s`.
    """
    start_s, stop_s = edges_s[:-1], edges_s[1:]
    onset_s = breakdown.onset_s
    until_s = edges_s[-1] if breakdown.recovery_s is None else breakdown.recovery_s
    earlier = flow_vph[(start_s >= onset_s - before_s - 1e-6) & (stop_s <= onset_s + 1e-6)]
    later = flow_vph[(start_s >= onset_s + settle_s - 1e-6) & (stop_s <= until_s + 1e-6)]
    covers_before = edges_s[0] <= onset_s - before_s + 1e-6
    if not covers_before or not len(earlier) or not len(later) or not earlier.mean() > 0:
        return None
    return CapacityDrop(float(earlier.mean()), float(later.mean()))


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of n values and its 95 % interval; `low` and `high` are None for a single value."""

    n: int
    mean: float
    low: float | None
    high: float | None

    def relative_to(self, base: float) -> "Interval":
        """The interval over a base above 0 that is taken as known."""
        low, high = (None if end is None else end / base for end in (self.low, self.high))
        return Interval(self.n, self.mean / base, low, high)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Student's t-interval of the mean; None without values.

    Of paired differences this is the paired t-interval. Values are taken as independent draws
    from a normal distribution, as runs with different seeds are to good approximation.
    """
    n = len(values)
    if n == 0:
        return None
    mean = float(np.mean(values))
    if n == 1:
        return Interval(1, mean, None, None)
    quantile = float(student_t.ppf(0.5 + confidence / 2, n - 1))
    half = quantile * float(np.std(values, ddof=1)) / n**0.5
    return Interval(n, mean, mean - half, mean + half)
