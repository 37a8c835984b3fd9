"""Cross-sections of loops ahead of, at and after a bottleneck, and what they told of late."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traffic.model import Bottleneck, Detector, DetectorKind, Network
from traffic.readings import LoopBatch, Quality
from traffic.units import to_vph

Floats = NDArray[np.float64]

LEVEL_M = 15.0  # loops within this of each other form one cross-section
STANDING_OCCUPANCY = 0.5  # a loop so covered that nothing passes has a speed of 0
KEPT_S = 900.0
FLOW, SPEED, OCCUPANCY = range(3)  # what a station tells


@dataclass(frozen=True, slots=True)
class Station:
    """Loops of one cross-section; `back_m` upstream of the bottleneck, below 0 downstream."""

    link: str
    position_m: float
    back_m: float
    loops: tuple[str, ...]
    free_mps: float


def find_stations(network: Network, bottleneck: Bottleneck, beyond_m: float) -> tuple[Station, ...]:
    """Return the mainline stations of the bottleneck's corridor and up to `beyond_m` after its
    upstream end, upstream to downstream.
    """
    links = network.links
    head_m = sum(links[link].length_m for link in bottleneck.corridor[:-1])
    start_m, at_m = {}, -head_m
    for link in bottleneck.corridor:
        start_m[link] = at_m
        at_m += links[link].length_m
    link = bottleneck.corridor[-1]
    while at_m < beyond_m:
        mainline = {d.link for d in network.detectors.values() if d.kind is DetectorKind.MAINLINE}
        after = sorted(b for a, b in network.turns if a == link and b in mainline)
        if not after or after[0] in start_m:
            break
        link = after[0]
        start_m[link] = at_m
        at_m += links[link].length_m
    found = []
    for name, begin_m in start_m.items():
        for position_m, loops in _group(network, name):
            if begin_m + position_m <= beyond_m:
                ids = tuple(loop.id for loop in loops)
                free_mps = links[name].free_speed_mps
                found.append(Station(name, position_m, -begin_m - position_m, ids, free_mps))
    return tuple(sorted(found, key=lambda one: -one.back_m))


def group_stations(network: Network, bottleneck: Bottleneck) -> tuple[Station, ...]:
    """Return the cross-sections of the loops that watch a bottleneck, upstream to downstream."""
    links, ahead_m, start_m = network.links, 0.0, {}
    for link in reversed(bottleneck.corridor[:-1]):
        ahead_m += links[link].length_m
        start_m[link] = ahead_m
    groups: dict[tuple[str, int], list[Detector]] = {}
    for loop in (network.detectors[name] for name in bottleneck.watch):
        groups.setdefault((loop.link, round(loop.position_m / LEVEL_M)), []).append(loop)
    found = [
        Station(
            link,
            loops[0].position_m,
            start_m.get(link, 0.0) - loops[0].position_m,
            tuple(loop.id for loop in loops),
            links[link].free_speed_mps,
        )
        for (link, _), loops in groups.items()
    ]
    return tuple(sorted(found, key=lambda one: -one.back_m))


def _group(network: Network, link: str) -> Iterable[tuple[float, list[Detector]]]:
    groups: dict[int, list[Detector]] = {}
    for loop in network.detectors.values():
        if loop.link == link and loop.kind is DetectorKind.MAINLINE:
            groups.setdefault(round(loop.position_m / LEVEL_M), []).append(loop)
    for loops in groups.values():
        yield loops[0].position_m, loops


class StationLog:
    """What stations (S) told over the last minutes; call `hear` with each screened batch."""

    LEARNED = ("_rows",)

    def __init__(self, stations: Sequence[Station]) -> None:
        self.stations = tuple(stations)
        self._rows: deque[Floats] = deque()  # 3 x S each: flow, speed, occupancy
        self._index: Mapping[str, int] = {}
        self._detectors: tuple[str, ...] = ()
        self.interval_s = np.nan

    def hear(self, batch: LoopBatch) -> None:
        if batch.interval_s != self.interval_s:
            self.interval_s = batch.interval_s
            self._rows = deque(self._rows, maxlen=max(1, round(KEPT_S / batch.interval_s)))
        if batch.detectors != self._detectors:
            self._detectors = batch.detectors
            self._index = {loop: i for i, loop in enumerate(batch.detectors)}
        good = np.isin(batch.quality, (int(Quality.GOOD), int(Quality.ESTIMATED)))
        good &= ~np.isnan(batch.count_veh) & ~np.isnan(batch.occupancy)
        row = np.full((3, len(self.stations)), np.nan)
        for s, station in enumerate(self.stations):
            at = [i for loop in station.loops if (i := self._index.get(loop)) is not None]
            heard = [i for i in at if good[i]]
            if heard:
                row[:, s] = self._sum_up(batch, heard, len(station.loops))
        self._rows.append(row)

    def _sum_up(self, batch: LoopBatch, heard: list[int], loops: int) -> tuple[float, float, float]:
        """Return flow, space mean speed (NaN where nothing passed), mean occupancy.

        Lanes that are not heard are taken to be like the others.
        """
        count, occupancy = batch.count_veh[heard], batch.occupancy[heard]
        speed = batch.speed_mps[heard]
        moving = (count > 0) & (speed > 0)
        standing = int((~moving & (occupancy >= STANDING_OCCUPANCY)).sum())
        passed = float(count[moving].sum())
        paced = float((count[moving] / speed[moving]).sum())
        # One vehicle stands for a lane that stands, at walking pace or less.
        both = passed + standing
        mean_mps = both / (paced + standing) if both else np.nan
        flow_vph = float(to_vph(count.sum() * loops / len(heard), batch.interval_s))
        return flow_vph, mean_mps, float(occupancy.mean())

    def recall(self, what: int, lasting_s: float) -> Floats:
        """Return one row of flow (0), speed (1) or occupancy (2) per interval, T x S, oldest
        first.
        """
        number = max(1, round(lasting_s / self.interval_s))
        rows = list(self._rows)[-number:]
        return np.array([row[what] for row in rows]).reshape(-1, len(self.stations))

    def mean(self, what: int, lasting_s: float) -> Floats:
        """Return the mean of what was known, S; NaN where nothing was."""
        rows = self.recall(what, lasting_s)
        known = ~np.isnan(rows)
        number = known.sum(axis=0)
        total = np.where(known, rows, 0.0).sum(axis=0)
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)
