"""The stretches between loops on which incidents are looked for.

A section is either an approach, from its tail loops to its stop line, or the mainline from one
station to the next. What enters it and what leaves it is counted lane by lane.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from traffic.model import Detector, DetectorKind, Network

Ints = NDArray[np.int_]
Floats = NDArray[np.float64]

ENTRY, MIDDLE, EXIT = range(3)
_STATION = {DetectorKind.TAIL: ENTRY, DetectorKind.ADVANCE: MIDDLE, DetectorKind.STOP_LINE: EXIT}
_SAME_STATION_M = 15.0


class SectionKind(Enum):
    """What ends a section: a stop line, or the next station."""

    STREET = "street"
    MAINLINE = "mainline"


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of road between loops; `links` are those that it covers, at least in part."""

    id: str
    kind: SectionKind
    links: tuple[str, ...]  # upstream to downstream
    length_m: float  # from the entry loops to the exit loops
    free_mps: float
    stations: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # entry, middle, exit loops
    from_m: float = 0.0  # of the entry on the first link
    to_m: float = 0.0  # of the exit on the last link


def build_sections(network: Network) -> tuple[Section, ...]:
    """Return every section that has loops at both ends, approaches first."""
    return (*_build_streets(network), *_build_mainline(network))


def _build_streets(network: Network) -> Iterable[Section]:
    on_approach: dict[str, list[Detector]] = {}
    for loop in network.detectors.values():
        if loop.approach is not None and loop.kind in _STATION:
            on_approach.setdefault(loop.approach, []).append(loop)
    for approach in network.approaches.values():
        stations: list[list[Detector]] = [[], [], []]
        for loop in on_approach.get(approach.id, ()):
            stations[_STATION[loop.kind]].append(loop)
        if not stations[ENTRY]:  # a short approach: what its advance loops see enters it
            stations[ENTRY] = stations[MIDDLE]
        if not stations[ENTRY] or not stations[EXIT]:
            continue
        ends = [_distance_to_end(network, approach.links, stations[i][0]) for i in (ENTRY, EXIT)]
        yield Section(
            approach.id,
            SectionKind.STREET,
            approach.links,
            max(ends[0] - ends[1], 1.0),
            network.links[approach.links[-1]].free_speed_mps,
            _name(stations),
            from_m=0.0,
            to_m=network.links[approach.links[-1]].length_m,
        )


def _distance_to_end(network: Network, links: Sequence[str], loop: Detector) -> float:
    if loop.link not in links:
        return 0.0
    after = links[links.index(loop.link) :]
    return sum(network.links[link].length_m for link in after) - loop.position_m


def _name(
    stations: Sequence[Sequence[Detector]],
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    entry, middle, leave = (
        tuple(loop.id for loop in sorted(one, key=lambda d: (d.link, d.lane))) for one in stations
    )
    return entry, middle, leave


def _build_mainline(network: Network) -> Iterable[Section]:
    stations: dict[str, list[list[Detector]]] = {}  # link -> its stations, upstream to downstream
    loops = [d for d in network.detectors.values() if d.kind is DetectorKind.MAINLINE]
    for loop in sorted(loops, key=lambda d: (d.link, d.position_m, d.lane)):
        on_link = stations.setdefault(loop.link, [])
        if on_link and loop.position_m - on_link[-1][0].position_m <= _SAME_STATION_M:
            on_link[-1].append(loop)
        else:
            on_link.append([loop])
    after: dict[str, list[str]] = {}
    for from_link, to_link in sorted(network.turns):
        after.setdefault(from_link, []).append(to_link)
    for link, on_link in stations.items():
        for k, station in enumerate(on_link):
            if k + 1 < len(on_link):
                yield _pair(network, (link,), station, on_link[k + 1])
            else:
                way = _find_next(network, after, stations, link)
                if way is not None:
                    yield _pair(network, way, station, stations[way[-1]][0])


def _find_next(
    network: Network,
    after: Mapping[str, Sequence[str]],
    stations: Mapping[str, object],
    link: str,
) -> tuple[str, ...] | None:
    """Return the shortest way from a link to the next one with a station, within five links."""
    ways: list[tuple[float, tuple[str, ...]]] = [(0.0, (link,))]
    best: tuple[float, tuple[str, ...]] | None = None
    while ways:
        length_m, way = ways.pop(0)
        for following in after.get(way[-1], ()):
            if following in way or len(way) > 5:
                continue
            longer = (length_m + network.links[following].length_m, (*way, following))
            if following in stations:
                if best is None or longer[0] < best[0]:
                    best = longer
            else:
                ways.append(longer)
    return None if best is None else best[1]


def _pair(
    network: Network, way: tuple[str, ...], above: Sequence[Detector], below: Sequence[Detector]
) -> Section:
    from_m, to_m = above[0].position_m, below[0].position_m
    length_m = sum(network.links[link].length_m for link in way[:-1]) + to_m - from_m
    return Section(
        f"{way[0]}@{from_m:.0f}",
        SectionKind.MAINLINE,
        way,
        max(length_m, 1.0),
        network.links[way[0]].free_speed_mps,
        _name((above, (), below)),
        from_m,
        to_m,
    )


class Layout:
    """Where the readings of loops (D) belong: sections x 3 stations x lanes (S x 3 x K)."""

    def __init__(self, sections: Sequence[Section], detectors: tuple[str, ...]) -> None:
        self.detectors = detectors
        index = {loop: i for i, loop in enumerate(detectors)}
        most = max((len(st) for s in sections for st in s.stations), default=1)
        self.shape = (len(sections), 3, most)
        self._at = np.zeros(self.shape, int)
        self.is_loop = np.zeros(self.shape, bool)
        for i, section in enumerate(sections):
            for j, station in enumerate(section.stations):
                for k, loop in enumerate(station):
                    self._at[i, j, k] = index[loop]
                    self.is_loop[i, j, k] = True

    def gather(self, values: Floats) -> Floats:
        """Return values of loops (... x D) in their places (... x S x 3 x K), else NaN."""
        return np.asarray(np.where(self.is_loop, values[..., self._at], np.nan))


def find_neighbors(network: Network, sections: Sequence[Section]) -> NDArray[np.bool_]:
    """Return S x S: sections that share a link, or that a turn joins, themselves included."""
    size = len(sections)
    near = np.eye(size, dtype=bool)
    first: dict[str, list[int]] = {}
    last: dict[str, list[int]] = {}
    covers: dict[str, list[int]] = {}
    for i, section in enumerate(sections):
        first.setdefault(section.links[0], []).append(i)
        last.setdefault(section.links[-1], []).append(i)
        for link in section.links:
            covers.setdefault(link, []).append(i)
    for from_link, to_link in network.turns:
        for i in last.get(from_link, ()):
            for j in first.get(to_link, ()):
                near[i, j] = near[j, i] = True
    for i, section in enumerate(sections):
        if section.kind is SectionKind.MAINLINE:  # the station between belongs to both
            exits = set(section.stations[EXIT])
            for j, other in enumerate(sections):
                if exits & set(other.stations[ENTRY]):
                    near[i, j] = near[j, i] = True
    return near
