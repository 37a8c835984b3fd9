"""Reads loop data from CSV and Parquet: wide, a column per detector, or long, a row per reading."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from api.errors import UserError
from api.forecasting.records import need_arrow
from api.forecasting.units import Unit

STAMP_NAMES = ("time", "timestamp", "datetime", "date_time", "stamp", "时间")
NOTHING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "-"]
_FORMATS = ("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M")


@dataclass(frozen=True)
class Declared:
    """What the engineer says of the data."""

    unit: Unit
    zone: ZoneInfo
    stamp: str | None = None  # column of time; else one of STAMP_NAMES
    detector: str | None = None  # column of detectors; the table is long
    value: str = "value"  # column of values of a long table
    begin: datetime | None = None  # of the first row, where a table has no column of time
    interval_s: float | None = None  # else the commonest one that is found


@dataclass(frozen=True, eq=False)
class Readings:
    """All rows as they came, n of them, in the unit of the engine."""

    detectors: tuple[str, ...]
    stamp_us: NDArray[np.int64]  # n, microseconds of UTC
    detector: NDArray[np.int32]  # n, position in detectors
    value: NDArray[np.float32]  # n, NaN where nothing was


def read_tables(paths: Sequence[Path], declared: Declared) -> Readings:
    """Read all files, in the order given. Raises UserError with the problems of all of them."""
    problems: list[str] = []
    parts = []
    for path in paths:
        try:
            parts.append(_read(path, declared))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError(problems)
    names = list(dict.fromkeys(name for part in parts for name in part.detectors))
    place = {name: i for i, name in enumerate(names)}
    moved = [
        np.array([place[n] for n in part.detectors], np.int32)[part.detector] for part in parts
    ]
    return Readings(
        tuple(names),
        np.concatenate([part.stamp_us for part in parts]),
        np.concatenate(moved),
        np.concatenate([part.value for part in parts]),
    )


def _read(path: Path, declared: Declared) -> Readings:
    arrow = need_arrow()
    table = _load(path)
    columns = table.column_names
    if not table.num_rows:
        raise UserError([f"{path}: no rows"])
    if len(set(columns)) < len(columns):
        twice = sorted({name for name in columns if columns.count(name) > 1})
        raise UserError([f"{path}: columns named twice: {', '.join(twice)}"])
    stamps = _find_stamps(path, table, declared)
    rest = [name for name in columns if name != _name_stamp(columns, declared)]
    if declared.detector is None:
        values = np.stack([_find_numbers(path, table, name) for name in rest], axis=1)
        count = len(rest)
        return Readings(
            tuple(rest),
            np.repeat(stamps, count),
            np.tile(np.arange(count, dtype=np.int32), len(stamps)),
            values.reshape(-1) * np.float32(declared.unit.factor),
        )
    missing = [n for n in (declared.detector, declared.value) if n not in columns]
    if missing:
        raise UserError(
            [f"{path}: no column {n!r}; there are {', '.join(columns)}" for n in missing]
        )
    column = table[declared.detector].cast(arrow.string()).combine_chunks()
    if column.null_count:
        raise UserError([f"{path}: {column.null_count} rows name no detector"])
    coded = column.dictionary_encode()
    return Readings(
        tuple(coded.dictionary.to_pylist()),
        stamps,
        coded.indices.to_numpy().astype(np.int32),
        _find_numbers(path, table, declared.value) * np.float32(declared.unit.factor),
    )


def _load(path: Path) -> Any:
    arrow = need_arrow()
    import pyarrow.csv

    try:
        if path.suffix == ".parquet":
            return arrow.parquet.read_table(path)
        convert = pyarrow.csv.ConvertOptions(null_values=NOTHING, strings_can_be_null=True)
        return pyarrow.csv.read_csv(path, convert_options=convert)
    except OSError as error:
        raise UserError([f"{path}: {error.strerror or error}"]) from error
    except arrow.ArrowException as error:
        raise UserError([f"{path}: {error}"]) from error


def _name_stamp(columns: Sequence[str], declared: Declared) -> str | None:
    if declared.stamp is not None:
        return declared.stamp
    return next((name for name in columns if name.lower() in STAMP_NAMES), None)


def _find_stamps(path: Path, table: Any, declared: Declared) -> NDArray[np.int64]:
    """Return when each row was, microseconds of UTC."""
    arrow = need_arrow()
    import pyarrow.compute as compute

    name = _name_stamp(table.column_names, declared)
    if name is None or name not in table.column_names:
        if declared.begin is not None and declared.interval_s is not None:
            first = round(declared.begin.timestamp() * 1e6)
            step = round(timedelta(seconds=declared.interval_s) / timedelta(microseconds=1))
            return first + step * np.arange(table.num_rows, dtype=np.int64)
        wanted = f"no column {name!r}" if name else f"no column of {', '.join(STAMP_NAMES)}"
        raise UserError([f"{path}: {wanted}: name it by --stamp, or give --begin and --interval"])
    column = table[name]
    if arrow.types.is_string(column.type):
        column = _parse_stamps(path, name, column)
    if not arrow.types.is_timestamp(column.type):
        raise UserError([f"{path}: column {name!r} holds {column.type}, not times"])
    if column.null_count:
        raise UserError([f"{path}: {column.null_count} rows of column {name!r} have no time"])
    if column.type.tz is None:
        column = compute.assume_timezone(
            column, str(declared.zone), ambiguous="earliest", nonexistent="earliest"
        )
    micros = column.cast(arrow.timestamp("us", tz="UTC")).cast(arrow.int64())
    return np.asarray(micros.to_numpy(), np.int64)


def _parse_stamps(path: Path, name: str, column: Any) -> Any:
    import pyarrow.compute as compute

    for form in _FORMATS:
        parsed = compute.strptime(column, format=form, unit="us", error_is_null=True)
        if parsed.null_count == column.null_count:
            return parsed
    example = next((text for text in column.to_pylist() if text), "")
    raise UserError([f"{path}: column {name!r}: {example!r} is no time such as 2026-03-01T07:05"])


def _find_numbers(path: Path, table: Any, name: str) -> NDArray[np.float32]:
    arrow = need_arrow()
    column = table[name]
    kind = column.type
    if not (
        arrow.types.is_integer(kind)
        or arrow.types.is_floating(kind)
        or arrow.types.is_null(kind)
        or arrow.types.is_decimal(kind)
    ):
        raise UserError([f"{path}: column {name!r} holds {kind}, not numbers"])
    numbers = column.cast(arrow.float64()).to_numpy(zero_copy_only=False)
    return np.asarray(numbers, np.float32)
