"""Which detectors stand near which, from a graph of the road."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traffic.model import ModelError

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest K neighbors of each of D detectors, nearest first; arrays are set read-only."""

    index: NDArray[np.int32]  # D x K, position of the neighbor
    weight: Floats  # D x K, 0 where there is none

    def __post_init__(self) -> None:
        self.index.flags.writeable = False
        self.weight.flags.writeable = False

    def average(self, values: Floats) -> Floats:
        """Return the neighbors' weighted mean (D) of values (D); NaN where none is known."""
        near = values[self.index]
        weight = np.where(np.isnan(near), np.float32(0), self.weight)
        with np.errstate(invalid="ignore"):
            mean: Floats = (weight * np.nan_to_num(near)).sum(axis=1) / weight.sum(axis=1)
        return mean


def build_neighbors(
    detectors: int, links: Iterable[tuple[int, int, float]], most: int = 12
) -> Neighbors:
    """Keep for each detector the `most` neighbors of greatest weight, from (of, to, weight).

    Links of a detector with itself are left out. Raises ModelError with all problems at once.
    """
    problems = []
    found: dict[int, list[tuple[float, int]]] = {}
    for of, to, weight in links:
        if not (0 <= of < detectors and 0 <= to < detectors):
            problems.append(f"link {of} - {to}: positions must be 0 to {detectors - 1}")
        elif not (weight >= 0 and np.isfinite(weight)):
            problems.append(f"link {of} - {to}: weight {weight} must be 0 or more")
        elif of != to and weight > 0:
            found.setdefault(of, []).append((-weight, to))
    if problems:
        raise ModelError("neighbors", problems)
    width = max(min(most, max(map(len, found.values()), default=0)), 1)
    index = np.zeros((detectors, width), np.int32)
    weights = np.zeros((detectors, width), np.float32)
    for of, near in found.items():
        for k, (weight, to) in enumerate(sorted(near)[:width]):
            index[of, k], weights[of, k] = to, -weight
    return Neighbors(index, weights)
