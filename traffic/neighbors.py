"""Which loops see the same traffic: beside each other, around, and after each other."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from traffic.model import Detector, DetectorKind, Network

Flags = NDArray[np.bool_]

FREEWAY = (DetectorKind.MAINLINE, DetectorKind.RAMP)
LEVEL_M = 15.0  # loops this near along a link form one cross-section


def find_neighbors(
    network: Network, loops: tuple[Detector, ...], reach_m: float
) -> tuple[Flags, Flags]:
    """Return (mates, near), each D x D: loops of one cross-section; those and loops nearby.

    Near a freeway loop are freeway loops up to `reach_m` along the road; near a signal's loop are
    the loops of its approach.
    """
    size = len(loops)
    index = {loop.id: i for i, loop in enumerate(loops)}
    mates, near = np.zeros((size, size), bool), np.zeros((size, size), bool)
    on_link: dict[str, list[Detector]] = {}
    on_approach: dict[str, list[Detector]] = {}
    for loop in loops:
        on_link.setdefault(loop.link, []).append(loop)
        if loop.approach is not None:
            on_approach.setdefault(loop.approach, []).append(loop)
    after = _find_after(network)
    for loop in loops:
        i = index[loop.id]
        for other in on_link[loop.link]:
            is_level = abs(other.position_m - loop.position_m) <= LEVEL_M
            mates[i, index[other.id]] = is_level and other.kind is loop.kind
        if loop.kind in FREEWAY:
            for other in _walk_down(network, after, on_link, loop, reach_m):
                near[i, index[other.id]] = near[index[other.id], i] = True
        elif loop.approach is not None:
            near[i, [index[other.id] for other in on_approach[loop.approach]]] = True
    near |= mates
    np.fill_diagonal(mates, False)
    np.fill_diagonal(near, False)
    return mates, near


def find_below(network: Network, loops: tuple[Detector, ...], reach_m: float) -> Flags:
    """Return D x D: for each freeway loop those after it up to `reach_m`, its cross-section not."""
    index = {loop.id: i for i, loop in enumerate(loops)}
    below = np.zeros((len(loops), len(loops)), bool)
    on_link: dict[str, list[Detector]] = {}
    for loop in loops:
        on_link.setdefault(loop.link, []).append(loop)
    after = _find_after(network)
    for loop in loops:
        if loop.kind in FREEWAY:
            for other in _walk_down(network, after, on_link, loop, reach_m):
                is_level = other.link == loop.link and other.position_m - loop.position_m <= LEVEL_M
                below[index[loop.id], index[other.id]] = not is_level
    return below


def _find_after(network: Network) -> dict[str, list[str]]:
    after: dict[str, list[str]] = {}
    for from_link, to_link in network.turns:
        after.setdefault(from_link, []).append(to_link)
    return after


def _walk_down(
    network: Network,
    after: Mapping[str, list[str]],
    on_link: Mapping[str, list[Detector]],
    start: Detector,
    reach_m: float,
) -> Iterable[Detector]:
    """Yield the freeway loops downstream of `start` within `reach_m`."""
    shortest = {start.link: -start.position_m}  # from the start to the link's upstream end
    open_links = [start.link]
    while open_links:
        link = open_links.pop()
        for loop in on_link.get(link, ()):
            if loop.kind in FREEWAY and 0 <= shortest[link] + loop.position_m <= reach_m:
                yield loop
        end_m = shortest[link] + network.links[link].length_m
        for following in after.get(link, ()):
            if end_m <= min(reach_m, shortest.get(following, np.inf) - 1e-9):
                shortest[following] = end_m
                open_links.append(following)
