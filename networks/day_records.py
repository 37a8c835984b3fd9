"""Recordings of simulated days: what the loops told each 30 s, and apart from it what was true.

A day is simulated once and kept as one file; models are fitted and scored on the files. Truth is
for scoring alone.
"""

import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from networks.days import Day, DayBuilder
from networks.sumo_field import SumoField
from networks.truth import Truth, TruthSampler
from traffic.model import ModelError
from traffic.performance import build_contour
from traffic.readings import LoopBatch

Floats = NDArray[np.float64]

FORMAT = 1
CELL_M = 100.0
CELL_S = 60.0
PROGRESS_S = 60.0  # simulated, between two words of a recording
_READINGS = ("end_s", "count_veh", "occupancy", "speed_mps", "quality")


@dataclass(frozen=True, eq=False)
class DayTruth:
    """What truly happened on a day; arrays are read-only.

    Speed, flow and density of the mainline in Edie's cells.
    """

    edges_s: Floats  # T + 1
    edges_m: Floats  # X + 1, from the mainline's upstream end
    speed_mps: Floats  # T x X, NaN where nobody drove
    flow_vph: Floats  # T x X, all lanes
    density_vpkm: Floats  # T x X, all lanes

    def __post_init__(self) -> None:
        for f in fields(self):
            getattr(self, f.name).flags.writeable = False


@dataclass(frozen=True, eq=False)
class DayRecord:
    """A recorded day: its readings, unspoiled, and its truth."""

    name: str
    drawn: dict[str, object]  # the day as drawn
    batches: tuple[LoopBatch, ...]
    truth: DayTruth
    teleports: int
    never_departed_veh: int


def record_day(day: Day, builder: DayBuilder, tell: Callable[[float], None]) -> DayRecord:
    """Simulate a day without a response; `tell` hears the share that has passed, 0..1."""
    scenario = builder.build(day)
    with SumoField(scenario) as field:
        sampler = TruthSampler(field)
        batches = []
        told_s, is_running = scenario.begin_s, True
        while is_running:
            batch = field.read().centre
            if batch is not None:
                batches.append(batch)
            is_running = field.advance()
            sampler.sample()
            if field.now_s - told_s >= PROGRESS_S:
                told_s = field.now_s
                tell((told_s - scenario.begin_s) / (scenario.end_s - scenario.begin_s))
        last = field.read().centre
        if last is not None:
            batches.append(last)
        seen = sampler.finish()
    return DayRecord(
        day.name,
        asdict(day) | {"kind": day.kind.value},
        tuple(batches),
        _build_truth(seen, scenario.begin_s, scenario.end_s),
        seen.teleports,
        seen.never_departed_veh,
    )


def _build_truth(seen: Truth, begin_s: float, end_s: float) -> DayTruth:
    contour = build_contour(
        seen.time_s,
        seen.x_m,
        seen.speed_mps,
        sample_s=seen.sample_s,
        begin_s=begin_s,
        end_s=end_s,
        length_m=seen.mainline_m,
        cell_m=CELL_M,
        cell_s=CELL_S,
    )
    return DayTruth(
        contour.time_s,
        contour.x_m,
        contour.speed_mps,
        contour.flow_vph,
        contour.density_vpkm,
    )


def write_record(record: DayRecord, path: Path) -> None:
    """Write a file that `load_record` reads; it appears only when it is whole."""
    first = record.batches[0]
    arrays: dict[str, NDArray[np.generic]] = {
        "end_s": np.array([b.end_s for b in record.batches]),
        "count_veh": np.array([b.count_veh for b in record.batches], np.float32),
        "occupancy": np.array([b.occupancy for b in record.batches], np.float32),
        "speed_mps": np.array([b.speed_mps for b in record.batches], np.float32),
        "quality": np.array([b.quality for b in record.batches], np.int8),
    }
    for f in fields(DayTruth):
        values = getattr(record.truth, f.name)
        arrays[f"truth_{f.name}"] = values if values.ndim == 1 else values.astype(np.float32)
    head = {
        "format": FORMAT,
        "name": record.name,
        "drawn": record.drawn,
        "interval_s": first.interval_s,
        "detectors": list(first.detectors),
        "teleports": record.teleports,
        "never_departed_veh": record.never_departed_veh,
    }
    arrays["head"] = np.array(json.dumps(head))
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_suffix(".partial")
    with work.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    work.replace(path)


def load_record(path: Path) -> DayRecord:
    """Load a recorded day. Raises ModelError naming the file and what is wrong with it."""
    try:
        with np.load(path, allow_pickle=False) as found:
            head = json.loads(str(found["head"]))
            if head["format"] != FORMAT:
                raise ModelError(f"day {path}", [f"format {head['format']!r}, expected {FORMAT}"])
            detectors = tuple(head["detectors"])
            columns = [found[name] for name in _READINGS]
            truth = DayTruth(
                **{f.name: found[f"truth_{f.name}"].astype(np.float64) for f in fields(DayTruth)}
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"day {path}", [f"can't be read: {error}"]) from error
    batches = tuple(
        LoopBatch(
            float(end_s),
            float(head["interval_s"]),
            detectors,
            count.astype(np.float64),
            occupancy.astype(np.float64),
            speed.astype(np.float64),
            quality.copy(),
        )
        for end_s, count, occupancy, speed, quality in zip(*columns, strict=True)
    )
    return DayRecord(
        head["name"],
        head["drawn"],
        batches,
        truth,
        int(head["teleports"]),
        int(head["never_departed_veh"]),
    )
