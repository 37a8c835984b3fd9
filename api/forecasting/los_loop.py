"""The Los-loop data and the protocol that published figures follow.

207 loop detectors on the expressways of Los Angeles, speed in mph every 5 minutes, 1 to 7 March
2012 (Zhao et al. 2020, T-GCN, IEEE Transactions on Intelligent Transportation Systems 21). The
first 80 % of the rows train, the last 20 % test; 12 input steps; every test window lies wholly
inside the test rows, and as in the published code the last row is in none.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from api.errors import UserError
from traffic.forecasting.calendar import Calendar
from traffic.forecasting.neighbors import Neighbors, build_neighbors

ZONE = ZoneInfo("America/Los_Angeles")
BEGIN = datetime(2012, 3, 1, tzinfo=ZONE)  # of the first row
THURSDAY = 3
STEP_MIN = 5
LEAST_ROWS = 2 * 24 * 60 // STEP_MIN
INPUTS = 12
TRAIN_SHARE = 0.8
HORIZONS = (3, 6, 9, 12)  # steps: 15, 30, 45, 60 min
SLOW_MPH, FAST_MPH = 40.0, 45.0  # an onset: below the one within 30 min, from the other or more
ONSET_STEPS = 6
HIGHEST_MPH = 70.0  # that the loops report
PUBLISHED = {"T-GCN": (5.126, 6.06, 6.71, 7.27), "A3T-GCN": (5.09, 6.00, 6.68, 7.10)}

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LosLoop:
    """T rows of D detectors."""

    detectors: tuple[str, ...]
    speed_mph: Floats  # T x D
    neighbors: Neighbors
    peer_mph: Floats | None  # W x 3 x D, stored predictions of T-GCN for 15 min, where they are

    @property
    def train(self) -> int:
        """Number of rows to train on."""
        return int(len(self.speed_mph) * TRAIN_SHARE)

    @property
    def calendar(self) -> Calendar:
        return Calendar(first_weekday=THURSDAY)

    def hide_test(self, rows: int) -> "LosLoop":
        """Return so many training rows alone, whose last fifth may choose settings (rule 32).

        Raises UserError when they are not two days, or more than there are.
        """
        if not LEAST_ROWS <= rows <= self.train:
            raise UserError([f"--validate {rows}: must be {LEAST_ROWS} to {self.train} rows"])
        return replace(self, speed_mph=self.speed_mph[:rows], peer_mph=None)

    def count_windows(self, steps: int) -> int:
        """Return the number of test windows with so many output steps."""
        return len(self.speed_mph) - self.train - INPUTS - steps

    @property
    def first_issue(self) -> int:
        """Row that is the newest of the first test window's inputs."""
        return self.train + INPUTS - 1


def load_los_loop(folder: Path) -> LosLoop:
    """Read the data from its folder, or the folder above. Raises UserError naming what is wrong."""
    place = folder / "los-loop" if (folder / "los-loop").is_dir() else folder
    names = ("los_speed.csv", "los_adj.csv")
    missing = [f"--data {folder}: has no {name}" for name in names if not (place / name).is_file()]
    if missing:
        raise UserError(missing)
    with (place / names[0]).open(encoding="utf-8") as lines:
        detectors = tuple(next(lines).strip().split(","))
    try:
        speed = np.loadtxt(place / names[0], np.float32, delimiter=",", skiprows=1, ndmin=2)
        near = np.loadtxt(place / names[1], np.float32, delimiter=",", ndmin=2)
        peer_file = place / "tgcn_los_pre3_test_result.csv"
        peer = np.loadtxt(peer_file, np.float32, delimiter=",") if peer_file.is_file() else None
    except ValueError as error:
        raise UserError([f"--data {folder}: {error}"]) from error
    size = len(detectors)
    problems = []
    if speed.shape[1] != size or len(speed) < LEAST_ROWS:
        problems.append(f"los_speed.csv has shape {speed.shape}, not two days or more x {size}")
    if near.shape != (size, size):
        problems.append(f"los_adj.csv has shape {near.shape}, not {size} x {size}")
    if peer is not None and peer.shape[1:] != (size,):
        problems.append(f"stored predictions have shape {peer.shape}, not W x {size}")
    if problems:
        raise UserError(f"--data {folder}: {problem}" for problem in problems)
    links = [(int(i), int(j), float(near[i, j])) for i, j in np.argwhere(near > 0)]
    stored = None if peer is None else peer.reshape(-1, HORIZONS[0], size)
    return LosLoop(detectors, speed, build_neighbors(size, links), stored)


def score_peer(data: LosLoop) -> dict[str, float] | None:
    """Return RMSE and MAE of the stored predictions; an evaluator is right at 5.126 and 3.180.

    Raises UserError when their number is not that of the windows.
    """
    if data.peer_mph is None:
        return None
    windows = data.count_windows(HORIZONS[0])
    if len(data.peer_mph) != windows:
        raise UserError([f"stored predictions are for {len(data.peer_mph)} windows, not {windows}"])
    first = data.first_issue + 1
    truth = np.stack([data.speed_mph[first + h : first + h + windows] for h in range(3)], axis=1)
    errors = data.peer_mph.astype(float) - truth
    return {
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "mae": float(np.mean(np.abs(errors))),
    }
