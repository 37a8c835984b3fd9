"""What truly came of a recorded day: its breakdown, and how far the queue stood when."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api.figures import UPSTREAM_M
from networks.day_records import DayTruth
from traffic.model import Bottleneck, Network
from traffic.performance import ONSET_SPEED_MPS, Breakdown, Contour, find_breakdown

Floats = NDArray[np.float64]

GAP_M = 600.0  # of free road between two waves of one queue
HEAD_M = 1200.0  # ahead of the bottleneck: a queue has its head within
HELD = 2  # minutes that a tail must stand beyond a place to have passed it


@dataclass(frozen=True, eq=False)
class DayEvents:
    """The day's breakdowns in order; the tail is 0 without a queue."""

    breakdowns: tuple[Breakdown, ...]
    minutes_s: Floats  # T, ends of minutes
    tail_m: Floats  # T, upstream of the bottleneck

    @property
    def onset_s(self) -> float | None:
        """Of the first breakdown."""
        return self.breakdowns[0].onset_s if self.breakdowns else None

    def find_passing_s(self, place_m: float) -> float:
        """Return when the tail first stood beyond a place for HELD minutes; infinite if never."""
        beyond = self.tail_m >= place_m
        held = np.convolve(beyond, np.ones(HELD), "valid") >= HELD
        return float(self.minutes_s[int(np.argmax(held))]) if held.any() else float("inf")


def find_events(truth: DayTruth, network: Network, bottleneck: Bottleneck) -> DayEvents:
    """Find the breakdown as figures of runs define it, and the queue by the minute."""
    lengths = {link: network.links[link].length_m for link in bottleneck.corridor}
    neck_m = sum(length for link, length in lengths.items() if link != bottleneck.link)
    heads = [network.detectors[loop] for loop in bottleneck.watch]
    before = list(bottleneck.corridor)
    head_m = max(sum(lengths[li] for li in before[: before.index(d.link)]) + d.position_m
                 for d in heads)  # fmt: skip
    contour = Contour(
        truth.edges_s, truth.edges_m, truth.speed_mps, truth.flow_vph, truth.density_vpkm
    )
    cell_m = float(truth.edges_m[1] - truth.edges_m[0])
    end_m = float(np.ceil(head_m / cell_m) * cell_m)
    speed = contour.column_speed_mps(end_m - UPSTREAM_M, end_m)
    with np.errstate(invalid="ignore"):
        slow = truth.speed_mps < ONSET_SPEED_MPS  # T x X
    starts_m = truth.edges_m[:-1]
    inside = np.flatnonzero(starts_m < neck_m)[::-1]  # the nearest to the bottleneck first
    tail_m = np.array([_walk_back(row[inside], neck_m - starts_m[inside]) for row in slow])
    return DayEvents(
        tuple(_list_breakdowns(speed, truth.edges_s)),
        truth.edges_s[1:].copy(),
        tail_m,
    )


def _list_breakdowns(speed_mps: Floats, edges_s: Floats) -> Iterable[Breakdown]:
    """Yield the breakdowns of a day: after each recovery another may come."""
    from_s = edges_s[0]
    while (found := _find_from(speed_mps, edges_s, from_s)) is not None:
        yield found
        if found.recovery_s is None:
            return
        from_s = found.recovery_s


def _find_from(speed_mps: Floats, edges_s: Floats, from_s: float) -> Breakdown | None:
    first = int(np.searchsorted(edges_s, from_s))
    if first >= len(speed_mps):
        return None
    return find_breakdown(speed_mps[first:], edges_s[first:])


def _walk_back(slow: NDArray[np.bool_], back_m: Floats) -> float:
    """Return how far the slow cells reach without a gap; `back_m` are their upstream ends."""
    tail_m = 0.0
    for is_slow, end_m in zip(slow, back_m, strict=True):
        if is_slow and (end_m <= HEAD_M or end_m - tail_m <= GAP_M) and (tail_m or end_m <= HEAD_M):
            tail_m = float(end_m)
    return tail_m
