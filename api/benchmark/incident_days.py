"""Days for the benchmark of incident detection: simulated once, kept, scored again and again.

A day leaves `readings.npz`, what a center hears, `truth.json`, what stood where, and `day.json`,
what was asked for.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from api.evidence import finished_folder, write_whole
from api.figures import read_json
from networks import load
from networks.blockages import SCALES, build_day, measure_exposure
from networks.recordings import record_day
from networks.scenario import Scenario

READINGS, TRUTH, DAY, EXPOSURE = "readings.npz", "truth.json", "day.json", "exposure.json"
NUMBERS: Mapping[str, int] = {"heishizi": 5, "onramp": 2}  # of blockages a day
DEMANDS: Mapping[str, tuple[float, float]] = {"heishizi": (0.7, 1.0)}  # most days stay calm
USUAL_NUMBER = 2  # in the one hour of a RESCO map
CLEAR_EACH = 3  # days of seeds that this divides have no blockage
EXPOSURE_SEED = 1000  # of the day whose traffic tells where accidents are likely


def count_blockages(place: str, seed: int) -> int:
    """Return how many blockages the day of that seed is to have."""
    return 0 if seed % CLEAR_EACH == 0 else NUMBERS.get(place, USUAL_NUMBER)


@dataclass(frozen=True)
class Day:
    """One day to simulate and record."""

    place: str  # a scenario's name
    seed: int
    folder: Path  # of the whole benchmark

    @property
    def name(self) -> str:
        return f"{self.place} seed {self.seed}"

    @property
    def target(self) -> Path:
        return find_place(self.folder, self.place) / f"seed-{self.seed}"

    @property
    def is_done(self) -> bool:
        return (self.target / DAY).is_file()

    def do(self, tell: Callable[[float], None]) -> None:
        """Simulate it. Raises one of USER_ERRORS."""
        exposure = read_json(find_place(self.folder, self.place) / EXPOSURE)
        with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
            scenario = load(self.place, self.seed, Path(scratch))
            number = count_blockages(self.place, self.seed)
            day = build_day(scenario, exposure, number, DEMANDS.get(self.place, SCALES))
            recording, stands = record_day(day, tell)
        with finished_folder(self.target) as out:
            recording.save(out / READINGS)
            write_json(out / TRUTH, {"stands": [asdict(stand) for stand in stands]})
            told = {"place": self.place, "seed": self.seed, "blockages": number}
            told |= {"begin_s": day.begin_s, "end_s": day.end_s, "demand": day.sumo_options[-3]}
            write_json(out / DAY, told)


def find_place(folder: Path, place: str) -> Path:
    """Return where the days of a scenario lie."""
    return folder / "days" / place.replace(":", "-")


def load_place(place: str, scratch: Path) -> Scenario:
    """Build the scenario whose network all its days share."""
    return load(place, EXPOSURE_SEED, scratch)


def keep_exposure(folder: Path, place: str) -> None:
    """Measure once where the vehicle-km of a place are driven, and keep it with its days."""
    path = find_place(folder, place) / EXPOSURE
    if path.is_file():
        return
    with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
        exposure = measure_exposure(load_place(place, Path(scratch)), lambda: False)
    write_json(path, exposure)


def read_stands(target: Path) -> Iterable[Mapping[str, float]]:
    """Yield link, lane, position_m, begin_s, end_s of each vehicle that stood that day."""
    for stand in read_json(target / TRUTH)["stands"]:
        closure = stand["closure"]
        place = {key: closure[key] for key in ("link", "lane", "position_m")}
        yield {**place, "begin_s": stand["begin_s"], "end_s": stand["end_s"]}


def write_json(path: Path, value: Mapping[str, object]) -> None:
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
