"""Loop readings of a day in one file, and apart from them what truly stood on the road.

The readings are what a center gets, every loop each 30 s. The truth is for scoring only and lies
in a file of its own.
"""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from networks.scenario import LaneClosure, Scenario
from networks.sumo_field import SumoField
from traffic.model import ModelError
from traffic.readings import LoopBatch, Quality

Floats = NDArray[np.float64]

_ARRAYS = ("end_s", "count_veh", "occupancy", "speed_mps")


@dataclass(frozen=True, eq=False)
class Recording:
    """Batches of one network in order; arrays are read-only, NaN where nothing was measured.

    Raises ValueError naming every array whose shape does not fit.
    """

    interval_s: float
    detectors: tuple[str, ...]  # D
    end_s: Floats  # T
    count_veh: Floats  # T x D
    occupancy: Floats  # T x D, 0..1
    speed_mps: Floats  # T x D

    def __post_init__(self) -> None:
        shape = (len(self.end_s), len(self.detectors))
        wrong = [
            f"{name} has shape {getattr(self, name).shape}, expected {shape}"
            for name in _ARRAYS[1:]
            if getattr(self, name).shape != shape
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        for name in _ARRAYS:
            getattr(self, name).flags.writeable = False

    def batches(self) -> Iterator[LoopBatch]:
        """Yield the batches as they would reach a center, values without a reading MISSING."""
        for i, end_s in enumerate(self.end_s.tolist()):
            count, occupancy = self.count_veh[i], self.occupancy[i]
            missing = np.isnan(count) | np.isnan(occupancy)
            quality = np.where(missing, Quality.MISSING, Quality.GOOD).astype(np.int8)
            yield LoopBatch(
                end_s,
                self.interval_s,
                self.detectors,
                count.copy(),
                occupancy.copy(),
                self.speed_mps[i].copy(),
                quality,
            )

    def save(self, path: Path) -> None:
        """Write one compressed file; speeds and occupancies to about seven digits."""
        np.savez_compressed(
            path,
            interval_s=np.array(self.interval_s),
            detectors=np.array(self.detectors),
            end_s=self.end_s,
            count_veh=self.count_veh.astype(np.float32),
            occupancy=self.occupancy.astype(np.float32),
            speed_mps=self.speed_mps.astype(np.float32),
        )


def load_recording(path: Path) -> Recording:
    """Read a recording; raises ModelError naming the file when it is missing or broken."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: np.array(stored[name], float) for name in _ARRAYS}
            detectors = tuple(str(one) for one in stored["detectors"])
            return Recording(float(stored["interval_s"]), detectors, **arrays)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"recording {path}", [f"can't be read: {error}"]) from error


def collect_batches(batches: Iterable[LoopBatch]) -> Recording:
    """Stack batches of the same loops. Raises ValueError when there are none or loops differ."""
    kept = list(batches)
    if not kept:
        raise ValueError("no batches to record")
    first = kept[0]
    for batch in kept:
        if batch.detectors != first.detectors or batch.interval_s != first.interval_s:
            raise ValueError(f"the batch at {batch.end_s:g} s has other loops or another interval")
    return Recording(
        first.interval_s,
        first.detectors,
        np.array([batch.end_s for batch in kept]),
        np.array([batch.count_veh for batch in kept]),
        np.array([batch.occupancy for batch in kept]),
        np.array([batch.speed_mps for batch in kept]),
    )


@dataclass(frozen=True, slots=True)
class Stand:
    """A vehicle that stood in a lane for a closure; truth, for scoring only."""

    closure: LaneClosure
    begin_s: float
    end_s: float


def record_day(
    scenario: Scenario, tell: Callable[[float], None]
) -> tuple[Recording, tuple[Stand, ...]]:
    """Simulate a day and return its readings and which vehicles stood where and when.

    `tell` hears the share of the day that has passed. Raises FieldError when the simulator fails.
    """
    batches = []
    stood: dict[LaneClosure, tuple[float, float]] = {}
    with SumoField(scenario) as field:
        is_going_on = True
        while is_going_on:
            is_going_on = field.advance()
            _watch(field, stood)
            if (field.now_s - scenario.begin_s) % 30 == 0:
                batch = field.read().centre
                if batch is not None:
                    batches.append(batch)
                tell((field.now_s - scenario.begin_s) / (scenario.end_s - scenario.begin_s))
    stands = (Stand(closure, *times) for closure, times in stood.items())
    return collect_batches(batches), tuple(
        sorted(stands, key=lambda s: (s.begin_s, s.closure.lane))
    )


def _watch(field: SumoField, stood: dict[LaneClosure, tuple[float, float]]) -> None:
    """Note for how long the vehicle of each closure has stood in its lane."""
    vehicles = field.simulator.vehicle
    for closure, vehicle in field.breakdowns.items():
        last_s = closure.end_s + (closure.lasts_s or 0.0) + 60.0
        if field.now_s > last_s or vehicle not in vehicles.getIDList():
            continue
        lane = f"{closure.link}_{closure.lane}"
        if vehicles.getLaneID(vehicle) == lane and vehicles.isStopped(vehicle):
            begin_s, _ = stood.get(closure, (field.now_s, field.now_s))
            stood[closure] = begin_s, field.now_s
