"""Puts readings on a grid of times and detectors, and accounts for what does not fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from api.errors import UserError
from api.forecasting.tables import Declared, Readings
from traffic.forecasting.calendar import DAY_S, Calendar

Floats = NDArray[np.float32]
MICRO = 1_000_000
MOST_CELLS = 400_000_000
EXAMPLES = 5
BEYOND_S = 2 * DAY_S


@dataclass(frozen=True)
class Finding:
    """Something about the data that an engineer should know, in both languages."""

    kind: str
    count: int
    what: dict[str, str]
    examples: tuple[str, ...] = ()
    is_set_aside: bool = True  # the values are taken for missing

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "count": self.count,
            "set_aside": self.is_set_aside,
            "what": self.what,
            "examples": list(self.examples),
        }


@dataclass(frozen=True, eq=False)
class Grid:
    """T intervals of D detectors, in the unit of the engine."""

    detectors: tuple[str, ...]
    begin: datetime  # stamp of the first row, in the zone of the data
    interval_s: float
    value: Floats  # T x D, NaN where nothing was

    def stamp(self, row: int) -> str:
        """Return a row's local time, for people."""
        zone = self.begin.tzinfo
        moment = self.begin.astimezone(UTC) + timedelta(seconds=row * self.interval_s)
        return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M")

    @property
    def midnight(self) -> datetime:
        """Begin of the local day of the first row."""
        return self.begin.replace(hour=0, minute=0, second=0, microsecond=0)

    @property
    def end(self) -> datetime:
        """End of the last row."""
        span = timedelta(seconds=len(self.value) * self.interval_s)
        return (self.begin.astimezone(UTC) + span).astimezone(self.begin.tzinfo)

    @property
    def first_s(self) -> float:
        """Begin of the first row, seconds since midnight of its local day."""
        return self.begin.timestamp() - self.midnight.timestamp()

    def build_calendar(self) -> Calendar:
        """Return the calendar whose day 0 is that of the first row, clock changes included."""
        return build_calendar(self.midnight, self.first_s + len(self.value) * self.interval_s)


def build_calendar(midnight: datetime, end_s: float) -> Calendar:
    """Return the calendar whose day 0 begins at a local midnight, and that goes beyond an end."""
    base, known, shifts = midnight.utcoffset(), midnight.utcoffset(), []
    # Past the end of the data, since forecasts look there.
    for hour in range(int((end_s + BEYOND_S) // 3600)):
        moment = (midnight.astimezone(UTC) + timedelta(hours=hour)).astimezone(midnight.tzinfo)
        offset = moment.utcoffset()
        if offset != known and offset is not None and base is not None:
            shifts.append((hour * 3600.0, (offset - base).total_seconds()))
            known = offset
    return Calendar(midnight.weekday(), shifts=tuple(shifts))


def build_grid(readings: Readings, declared: Declared) -> tuple[Grid, list[Finding]]:
    """Return the readings on a grid. Raises UserError when they do not make one."""
    findings: list[Finding] = []
    stamps, interval_s = np.unique(readings.stamp_us), declared.interval_s
    if interval_s is None:
        if len(stamps) < 3:
            raise UserError(["--data: has fewer than 3 times; what interval is it? --interval"])
        steps, counts = np.unique(np.diff(stamps), return_counts=True)
        interval_s = float(steps[counts.argmax()]) / MICRO
    if interval_s <= 0 or DAY_S % interval_s:
        raise UserError([f"interval {interval_s:g} s: must divide a day"])
    step_us = round(interval_s * MICRO)
    # Most stamps are right, so that what they leave over is the phase of the grid.
    phases, counts = np.unique(stamps % step_us, return_counts=True)
    phase = int(phases[counts.argmax()])
    fits = readings.stamp_us % step_us == phase
    zone = declared.zone
    if not fits.all():
        findings.append(
            Finding(
                "off_grid",
                int((~fits).sum()),
                {
                    "en": f"readings whose time is no multiple of {interval_s:g} s",
                    "zh": f"时刻不在 {interval_s:g} 秒网格上的读数",
                },
                _tell_stamps(readings.stamp_us[~fits], zone),
            )
        )
    at_us, detector = readings.stamp_us[fits], readings.detector[fits]
    value = readings.value[fits]
    first_us = int(at_us.min())
    rows = ((at_us - first_us) // step_us).astype(np.int64)
    size, count = len(readings.detectors), int(rows.max()) + 1
    if count * size > MOST_CELLS:
        raise UserError(
            [f"--data: {count} intervals of {size} detectors are more than {MOST_CELLS:,} readings"]
        )
    findings += _find_disorder(at_us, detector, zone)
    grid = np.full((count, size), np.nan, np.float32)
    findings += _place(grid, rows, detector, value, at_us, readings.detectors, zone)
    begin = datetime.fromtimestamp(first_us / MICRO, tz=UTC).astimezone(zone)
    made = Grid(readings.detectors, begin, interval_s, grid)
    return made, findings + find_gaps(made)


def _find_disorder(
    at_us: NDArray[np.int64], detector: NDArray[np.int32], zone: ZoneInfo
) -> list[Finding]:
    """Tell of readings that come after a later one of the same detector; they are put in order."""
    order = np.argsort(detector, kind="stable")
    stamps, owner = at_us[order], detector[order]
    first = np.r_[True, owner[1:] != owner[:-1]]
    # The latest stamp so far of each detector: owners rise, so that one running maximum does.
    shift = owner.astype(np.int64) * (int(np.ptp(at_us)) + 1) - int(at_us.min())
    latest = np.maximum.accumulate(stamps + shift) - shift
    late = np.zeros(len(stamps), bool)
    late[1:] = ~first[1:] & (stamps[1:] < latest[:-1])
    if not late.any():
        return []
    return [
        Finding(
            "out_of_order",
            int(late.sum()),
            {"en": "readings out of order, put in order", "zh": "乱序读数，已按时刻重排"},
            _tell_stamps(stamps[late], zone),
            is_set_aside=False,
        )
    ]


def _place(
    grid: Floats,
    rows: NDArray[np.int64],
    detector: NDArray[np.int32],
    value: Floats,
    at_us: NDArray[np.int64],
    names: Sequence[str],
    zone: ZoneInfo,
) -> list[Finding]:
    """Fill the grid, T x D; of readings that contradict each other none is believed."""
    cell = rows * grid.shape[1] + detector
    told = ~np.isnan(value)
    cell, value, at_us, detector = cell[told], value[told], at_us[told], detector[told]
    order = np.argsort(cell, kind="stable")
    cell, value, at_us, detector = cell[order], value[order], at_us[order], detector[order]
    again = np.r_[False, cell[1:] == cell[:-1]]
    grid.reshape(-1)[cell] = value
    findings = []
    if again.any():
        same = again & np.isclose(value, np.r_[value[:1], value[:-1]], rtol=1e-5)
        differ = again & ~same
        if same.any():
            findings.append(
                Finding(
                    "duplicate",
                    int(same.sum()),
                    {"en": "readings told twice, alike", "zh": "重复且一致的读数"},
                    _tell_cells(same, detector, at_us, names, zone),
                    is_set_aside=False,
                )
            )
        if differ.any():
            grid.reshape(-1)[cell[differ]] = np.nan
            findings.append(
                Finding(
                    "contradiction",
                    len(np.unique(cell[differ])),
                    {
                        "en": "readings told twice, with different values: none is believed",
                        "zh": "重复且互相矛盾的读数：均不采信",
                    },
                    _tell_cells(differ, detector, at_us, names, zone),
                )
            )
    return findings


def find_gaps(grid: Grid) -> list[Finding]:
    """Tell of missing readings: of all detectors at once, and of single ones."""
    known = ~np.isnan(grid.value)
    findings = []
    silent = ~known.any(axis=1)
    if silent.any():
        runs = find_runs(silent)
        findings.append(
            Finding(
                "gap",
                int(silent.sum()),
                {"en": "intervals without any reading", "zh": "完全无读数的时段数"},
                tuple(
                    f"{grid.stamp(a)} – {grid.stamp(b)} ({(b - a) * grid.interval_s / 3600:.1f} h)"
                    for a, b in sorted(runs, key=lambda run: run[0] - run[1])[:EXAMPLES]
                ),
                is_set_aside=False,
            )
        )
    missing = (~known & ~silent[:, None]).sum(axis=0)
    if missing.any():
        worst = np.argsort(-missing)[:EXAMPLES]
        findings.append(
            Finding(
                "missing",
                int(missing.sum()),
                {
                    "en": f"readings missing at {int((missing > 0).sum())} detectors",
                    "zh": f"{int((missing > 0).sum())} 个检测器缺失的读数",
                },
                tuple(
                    f"{grid.detectors[d]}: {missing[d] / len(grid.value):.1%}"
                    for d in worst
                    if missing[d]
                ),
                is_set_aside=False,
            )
        )
    return findings


def find_runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (begin, end) of each run of True."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False]))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _tell_stamps(stamps: NDArray[np.int64], zone: ZoneInfo) -> tuple[str, ...]:
    return tuple(_tell(int(stamp), zone) for stamp in np.unique(stamps)[:EXAMPLES])


def _tell_cells(
    chosen: NDArray[np.bool_],
    detector: NDArray[np.int32],
    at_us: NDArray[np.int64],
    names: Sequence[str],
    zone: ZoneInfo,
) -> tuple[str, ...]:
    where = np.flatnonzero(chosen)[:EXAMPLES]
    return tuple(f"{names[detector[i]]} {_tell(int(at_us[i]), zone)}" for i in where)


def _tell(stamp_us: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(stamp_us / MICRO, tz=zone).strftime("%Y-%m-%d %H:%M")
