"""A forecaster's learning, kept in a folder: a header to read and arrays, no code in either."""

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from api.arrays import write_arrays
from api.errors import UserError
from api.forecasting.account import find_mistake
from api.forecasting.boosting import BoostedTrees, BoostingSettings
from api.forecasting.grid import EXAMPLES, Grid, build_calendar
from api.forecasting.units import MISTAKES, Unit
from traffic.forecasting.calendar import DAY_S, Calendar
from traffic.forecasting.loops import LoopForecaster
from traffic.forecasting.neighbors import Neighbors
from traffic.forecasting.settings import LoopForecastSettings
from traffic.learned import Learned
from traffic.model import ModelError

FORMAT = "traffic-forecast-model/1"
HEADER, ARRAYS = "model.json", "learned.npz"
LEVEL_WITHIN = 0.1  # of the logarithm, by which a whole feed's level may miss a mistaken unit's

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Header:
    """What people and `load_model` need to know of a model before they use it."""

    format: str
    quantity: str  # speed in m/s, flow in veh/h or occupancy 0..1, whatever unit the data had
    unit: str  # that the data had
    zone: str
    midnight: datetime  # of day 0, from which the model counts time
    learned_to: datetime  # end of the last interval learned from
    detectors: tuple[str, ...]
    calendar: Calendar
    settings: LoopForecastSettings
    boosting: BoostingSettings | None  # none without the challenger
    has_neighbors: bool
    arrays_sha256: str

    def __post_init__(self) -> None:
        problems = []
        if self.format != FORMAT:
            problems.append(f"format {self.format!r} must be {FORMAT!r}")
        if self.zone not in available_timezones():
            problems.append(f"zone {self.zone!r} must be a name such as Asia/Shanghai")
        if self.quantity not in MISTAKES:
            problems.append(f"quantity {self.quantity!r} must be one of {', '.join(MISTAKES)}")
        twice = [name for name, count in Counter(self.detectors).items() if count > 1]
        if twice or not self.detectors:
            problems.append(f"detectors must be one or more, each once; twice: {twice}")
        if self.midnight.tzinfo is None or self.learned_to.tzinfo is None:
            problems.append("midnight and learned_to must have an offset")
        elif self.learned_to <= self.midnight:
            problems.append(f"learned_to {self.learned_to} must be after midnight {self.midnight}")
        if problems:
            raise ModelError("header", problems)


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A forecaster that rests."""

    header: Header
    neighbors: Neighbors | None
    learned: Learned
    trees: Learned | None  # what the challenger has learned

    @property
    def midnight(self) -> datetime:
        """Begin of day 0, in the zone of the data that were learned from."""
        return self.header.midnight.astimezone(ZoneInfo(self.header.zone))

    def build_forecaster(self, end: datetime, background: bool = False) -> LoopForecaster:
        """Return the forecaster, to go on as if it had never rested.

        It knows the changes of the clock up to `end`. In the `background` a challenger learns
        beside the forecasts. Raises UserError when what was learned does not fit the header.
        """
        head = self.header
        span_s = end.timestamp() - self.midnight.timestamp()
        calendar = replace(head.calendar, shifts=build_calendar(self.midnight, span_s).shifts)
        trees = None
        if head.boosting is not None:
            trees = BoostedTrees(head.settings.leads, head.boosting, background)
        made = LoopForecaster(len(head.detectors), calendar, head.settings, self.neighbors, trees)
        try:
            made.put_back(self.learned)
            if trees is not None and self.trees is not None:
                trees.put_back(self.trees)
        except ModelError as error:
            raise UserError(f"--model: {problem}" for problem in error.problems) from error
        return made


def save_model(
    folder: Path,
    forecaster: LoopForecaster,
    detectors: tuple[str, ...],
    unit: Unit,
    midnight: datetime,
) -> None:
    """Write what a forecaster has learned; the same learning gives the same bytes.

    `midnight` is the begin of its calendar's day 0, in the zone of the data. Raises ValueError for
    one that has learned nothing, or whose challenger cannot be kept.
    """
    trees = forecaster.challenger
    if forecaster.time_s is None or not isinstance(trees, BoostedTrees | None):
        raise ValueError("only what has learned, with trees or without a challenger, can be kept")
    kept = forecaster.take_out()
    trees_kept = None if trees is None else trees.take_out()
    arrays = {f"forecaster_{i}": array for i, array in enumerate(kept.arrays)}
    if trees_kept is not None:
        arrays |= {f"challenger_{i}": array for i, array in enumerate(trees_kept.arrays)}
    if forecaster.neighbors is not None:
        arrays["neighbors_index"] = forecaster.neighbors.index
        arrays["neighbors_weight"] = forecaster.neighbors.weight
    plain = {"forecaster": kept.plain, "challenger": trees_kept and trees_kept.plain}
    arrays["plain"] = np.frombuffer(json.dumps(plain).encode(), np.uint8)
    write_arrays(folder / ARRAYS, arrays)
    header = Header(
        FORMAT,
        unit.quantity,
        unit.name,
        str(midnight.tzinfo),
        midnight,
        datetime.fromtimestamp(midnight.timestamp() + forecaster.time_s, midnight.tzinfo),
        detectors,
        forecaster.calendar,
        forecaster.settings,
        None if trees is None else trees.settings,
        forecaster.neighbors is not None,
        hashlib.sha256((folder / ARRAYS).read_bytes()).hexdigest(),
    )
    text = TypeAdapter(Header).dump_json(header, indent=1).decode()
    (folder / HEADER).write_text(text + "\n", encoding="utf-8")


def load_model(folder: Path) -> SavedModel:
    """Read a model from its folder, or the one above. Raises UserError naming all that is wrong."""
    place = folder / "model" if (folder / "model").is_dir() else folder
    absent = [name for name in (HEADER, ARRAYS) if not (place / name).is_file()]
    if absent:
        raise UserError(f"--model {folder}: has no {name}" for name in absent)
    try:
        header = TypeAdapter(Header).validate_json((place / HEADER).read_bytes())
    except ValidationError as error:
        raise UserError(
            f"--model {place / HEADER}: {'.'.join(map(str, found['loc'])) or 'as a whole'}: "
            f"{found['msg']}"
            for found in error.errors()
        ) from error
    held = (place / ARRAYS).read_bytes()
    if hashlib.sha256(held).hexdigest() != header.arrays_sha256:
        raise UserError([f"--model {place / ARRAYS}: is not what {HEADER} was written with"])
    try:
        with np.load(place / ARRAYS, allow_pickle=False) as arrays:
            plain = json.loads(arrays["plain"].tobytes())
            neighbors = (
                Neighbors(arrays["neighbors_index"], arrays["neighbors_weight"])
                if header.has_neighbors
                else None
            )
            learned = Learned(plain["forecaster"], _list_arrays(arrays, "forecaster"))
            trees = (
                None
                if header.boosting is None
                else Learned(plain["challenger"], _list_arrays(arrays, "challenger"))
            )
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError([f"--model {place / ARRAYS}: {error}"]) from error
    return SavedModel(header, neighbors, learned, trees)


def _list_arrays(arrays: Any, owner: str) -> tuple[NDArray[Any], ...]:
    names = [name for name in arrays.files if name.startswith(f"{owner}_")]
    return tuple(arrays[f"{owner}_{i}"] for i in range(len(names)))


def arrange(header: Header, usual: Floats, grid: Grid, unit: Unit) -> Grid:
    """Return the grid with its detectors in the model's order.

    `usual` is what each detector of the model measures on the mean. Raises UserError with all
    reasons why the model cannot go on with these data.
    """
    here, known = set(grid.detectors), set(header.detectors)
    problems = _tell_names("the data lack detectors of the model", known - here)
    problems += _tell_names("the model does not know detectors of the data", here - known)
    problems += _check_times(header, grid)
    if unit.quantity != header.quantity:
        problems.append(
            f"--unit {unit.name} is of {unit.quantity}, but the model has learned {header.quantity}"
        )
    elif len(grid.value) * grid.interval_s >= DAY_S:
        problems += _check_level(dict(zip(header.detectors, usual, strict=True)), grid, unit)
    if problems:
        raise UserError(f"--model: {problem}" for problem in problems)
    place = {name: i for i, name in enumerate(grid.detectors)}
    order = [place[name] for name in header.detectors]
    return replace(grid, detectors=header.detectors, value=grid.value[:, order])


def _tell_names(what: str, names: set[str]) -> list[str]:
    found = sorted(names)
    more = f" and {len(found) - EXAMPLES} more" if len(found) > EXAMPLES else ""
    return [f"{what}: {', '.join(found[:EXAMPLES])}{more}"] if found else []


def _check_times(header: Header, grid: Grid) -> list[str]:
    interval_s = header.settings.interval_s
    if grid.interval_s != interval_s:
        return [f"the data come every {grid.interval_s:g} s, those learned every {interval_s:g} s"]
    late_s = grid.begin.timestamp() - header.learned_to.timestamp()
    learned_to = header.learned_to.astimezone(grid.begin.tzinfo)
    if late_s < 0:
        return [f"the data begin {grid.begin}, but what was learned goes to {learned_to}"]
    if late_s % interval_s:
        return [f"the data begin {grid.begin}, by no whole intervals after {learned_to}"]
    return []


def _check_level(usual: Mapping[str, float], grid: Grid, unit: Unit) -> list[str]:
    """Tell of data that are as a whole a known factor off what was learned."""
    counts = (~np.isnan(grid.value)).sum(axis=0)
    mean = np.nansum(grid.value, axis=0, dtype=float) / np.maximum(counts, 1)
    ratios = [
        mean[i] / usual[name]
        for i, name in enumerate(grid.detectors)
        if mean[i] > 0 and usual.get(name, 0) > 0
    ]
    ratio = float(np.median(ratios)) if ratios else 1.0
    found = find_mistake(unit.quantity, np.log(ratio), LEVEL_WITHIN)
    if found is None:
        return []
    return [
        f"--unit {unit.name}: values are {ratio:.2f} times those learned: looks like {found[0]} "
        f"read as {found[1]}"
    ]
