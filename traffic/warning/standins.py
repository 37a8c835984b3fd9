"""What sees a bottleneck's queue where the loops that watch it cannot be trusted.

A watched cross-section without a single trusted loop is blind. While another watched one sees, that
one speaks for both. When all are blind the next trusted one upstream does, which a queue reaches
later, or else the next one downstream, which sees that nobody comes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from traffic.flows import is_trusted
from traffic.model import Bottleneck, Network
from traffic.readings import LoopBatch, Quality
from traffic.warning.stations import Station, find_stations, group_stations

BEYOND_M = 2600.0  # after the bottleneck's upstream end
STAND_IN_WORTH = 0.5  # of the confidence of loops on the spot


@dataclass(frozen=True, slots=True)
class StandIn:
    """A blind cross-section, and the one that is looked at instead; None where nothing sees."""

    blind: Station
    qualities: tuple[str, ...]  # what is wrong with its loops
    seen_at: Station | None


@dataclass(frozen=True, slots=True)
class Look:
    """How a bottleneck is seen in one batch."""

    stations: tuple[Station, ...]  # that are looked at, the watched ones first
    stand_ins: tuple[StandIn, ...]
    confidence: float  # 0..1: shares of trusted loops, a stand-in counts STAND_IN_WORTH


class WatchPost:
    """Finds where a bottleneck's queue can be seen, batch by batch."""

    def __init__(self, network: Network, bottleneck: Bottleneck) -> None:
        self._watched = group_stations(network, bottleneck)
        loops = {loop for station in self._watched for loop in station.loops}
        others = [
            station
            for station in find_stations(network, bottleneck, BEYOND_M)
            if not loops & set(station.loops)
        ]
        farthest_m = max((one.back_m for one in self._watched), default=0.0)
        upstream = sorted((s for s in others if s.back_m > farthest_m), key=lambda s: s.back_m)
        downstream = sorted((s for s in others if s.back_m <= farthest_m), key=lambda s: -s.back_m)
        self._others = (*upstream, *downstream)  # the first to be asked first

    def look(self, batch: LoopBatch) -> Look:
        """Return what is to be looked at."""
        sees = _Trust(batch)
        blind = [station for station in self._watched if not sees.find_share(station)]
        seeing = [station for station in self._watched if sees.find_share(station)]
        instead: Station | None = None
        if not seeing:
            instead = next((s for s in self._others if sees.find_share(s)), None)
        stand_ins = []
        worth = sum(sees.find_share(station) for station in seeing)
        for station in blind:
            seen_at = instead if not seeing else _find_nearest(station, seeing)
            stand_ins.append(StandIn(station, sees.name_faults(station), seen_at))
            worth += STAND_IN_WORTH * (sees.find_share(seen_at) if seen_at else 0.0)
        looked = (*seeing, *((instead,) if instead else ()))
        return Look(looked, tuple(stand_ins), worth / max(len(self._watched), 1))

    def fill(self, batch: LoopBatch) -> LoopBatch:
        """Return the batch with a bottleneck's loops estimated, where all that watch it are blind.

        Each gets the mean of the lanes that stand in for them, and is marked as estimated.
        """
        look = self.look(batch)
        if not look.stand_ins or any(one.seen_at is None for one in look.stand_ins):
            return batch
        if len(look.stand_ins) < len(self._watched):
            return batch
        seen = look.stations[0].loops
        values = np.array([batch.count_veh, batch.occupancy, batch.speed_mps])
        quality = batch.quality.copy()
        index = {loop: i for i, loop in enumerate(batch.detectors)}
        trusted = is_trusted(batch)
        at = [i for loop in seen if (i := index.get(loop)) is not None and trusted[i]]
        told = np.array([_find_mean(row[at]) for row in values])
        for loop in (loop for station in self._watched for loop in station.loops):
            i = index.get(loop)
            if i is not None:
                values[:, i] = told
                quality[i] = Quality.ESTIMATED
        return replace(
            batch, count_veh=values[0], occupancy=values[1], speed_mps=values[2], quality=quality
        )


class StandIns:
    """Keeps the responses of all bottlenecks from going blind; see WatchPost.fill."""

    def __init__(self, network: Network) -> None:
        self._posts = [WatchPost(network, one) for one in network.bottlenecks.values()]

    def fill(self, batch: LoopBatch) -> LoopBatch:
        """Return the batch with the loops of each blind bottleneck estimated."""
        for post in self._posts:
            batch = post.fill(batch)
        return batch


class _Trust:
    """Which loops of a batch told something that can be trusted."""

    def __init__(self, batch: LoopBatch) -> None:
        self._batch = batch
        self._index = {loop: i for i, loop in enumerate(batch.detectors)}
        self._heard = is_trusted(batch) & ~np.isnan(batch.count_veh) & ~np.isnan(batch.occupancy)

    def find_share(self, station: Station) -> float:
        """Return the share of the station's loops that are heard, 0..1."""
        at = [self._index[loop] for loop in station.loops if loop in self._index]
        return float(self._heard[at].sum()) / len(station.loops) if at else 0.0

    def name_faults(self, station: Station) -> tuple[str, ...]:
        """Return the names of what is wrong with the station's loops, each once."""
        at = [self._index[loop] for loop in station.loops if loop in self._index]
        names = [Quality(int(self._batch.quality[i])) for i in at]
        if len(at) < len(station.loops) or any(name is Quality.GOOD for name in names):
            names.append(Quality.MISSING)
        return tuple(dict.fromkeys(n.name.lower() for n in names if n is not Quality.GOOD))


def _find_nearest(station: Station, among: Sequence[Station]) -> Station:
    return min(among, key=lambda one: abs(one.back_m - station.back_m))


def _find_mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
