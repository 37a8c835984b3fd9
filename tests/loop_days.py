"""Invented loop data whose course is known: two peaks on working days, jams that come and go."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FREE_MPS = 28.0
BEGIN = datetime(2026, 3, 2)  # a Monday


def make_speeds(
    days: int, detectors: int = 8, per_day: int = 96, seed: int = 1
) -> NDArray[np.float32]:
    """Return speeds in m/s, T x D: morning and evening jams of a length that differs by day."""
    rng = np.random.default_rng(seed)
    hours = np.arange(per_day) * 24 / per_day
    rows = []
    for day in range(days):
        weekend = day % 7 >= 5
        depth = 0.0 if weekend else 15.0
        dip = np.zeros((per_day, detectors))
        for peak in (8.0, 17.5):
            center = peak + rng.normal(0, 0.2) + 0.1 * np.arange(detectors)
            width = 0.8 + 0.2 * rng.random()
            dip += depth * np.exp(-0.5 * ((hours[:, None] - center) / width) ** 2)
        rows.append(FREE_MPS - dip + rng.normal(0, 0.8, (per_day, detectors)))
    return np.maximum(np.concatenate(rows), 1.0).astype(np.float32)


def write_wide(
    path: Path, values: NDArray[np.float32], per_day: int = 96, begin: datetime = BEGIN
) -> Path:
    """Write a CSV with a column of times and one per detector."""
    step = timedelta(days=1) / per_day
    names = [f"d{i}" for i in range(values.shape[1])]
    lines = [",".join(["time", *names])]
    for i, row in enumerate(values):
        cells = ["" if np.isnan(v) else f"{v:.3f}" for v in row]
        lines.append(",".join([(begin + step * i).isoformat(sep=" "), *cells]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_long(
    path: Path, values: NDArray[np.float32], per_day: int = 96, begin: datetime = BEGIN
) -> list[str]:
    """Write a CSV of time, detector, value; return its lines, the header first."""
    step = timedelta(days=1) / per_day
    lines = ["time,detector,value"]
    for i, row in enumerate(values):
        lines += [
            f"{(begin + step * i).isoformat(sep=' ')},d{d},{v:.3f}" for d, v in enumerate(row)
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines
