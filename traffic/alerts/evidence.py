"""What an alert rests on: speeds at cross-sections, readings, and lines that tell of them."""

from collections.abc import Iterable, Mapping

from traffic.alerts.alert import LoopReading
from traffic.flows import is_trusted
from traffic.readings import LoopBatch, Quality

Line = Mapping[str, str]  # language -> text


def find_speed_mps(
    batch: LoopBatch, loops: Iterable[str], standing_occupancy: float
) -> float | None:
    """Return the space mean speed at a cross-section; None where nothing was measured.

    Harmonic over the lanes, weighted by counts; within one loop only the arithmetic mean of
    passing vehicles is known, which is somewhat too high. A lane that is covered at least
    `standing_occupancy` of the time and passed by nobody stands.
    """
    index = {loop: i for i, loop in enumerate(batch.detectors)}
    trusted = is_trusted(batch)
    passed, paced, standing = 0.0, 0.0, 0
    for i in (index[loop] for loop in loops if loop in index):
        if not trusted[i]:
            continue
        count, speed = float(batch.count_veh[i]), float(batch.speed_mps[i])
        if count > 0 and speed > 0:
            passed += count
            paced += count / speed
        elif batch.occupancy[i] >= standing_occupancy:
            standing += 1
    if not passed and not standing:
        return None
    # One vehicle stands for a lane that stands, at walking pace or less.
    return (passed + standing) / (paced + standing)


def list_readings(batch: LoopBatch, loops: Iterable[str]) -> tuple[LoopReading, ...]:
    """Return what these loops told."""
    index = {loop: i for i, loop in enumerate(batch.detectors)}
    return tuple(
        LoopReading(
            loop,
            float(batch.count_veh[i]),
            float(batch.occupancy[i]),
            float(batch.speed_mps[i]),
            Quality(int(batch.quality[i])).name.lower(),
        )
        for loop in loops
        if (i := index.get(loop)) is not None
    )
