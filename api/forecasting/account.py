"""What is wrong with loop data: found, named, and set aside, so that no model learns from it.

Nothing is repaired: a day whose unit or clock is mistaken is missing, and the finding says what it
looks like. Days are held against the other days of the same data, so a mistake that runs through
all of it cannot be seen this way; `check_declared` holds the whole against what was declared.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from api.forecasting.grid import EXAMPLES, Finding, Grid, find_runs
from api.forecasting.units import LIMITS, MISTAKES, Unit
from traffic.forecasting.calendar import DAY_S
from traffic.units import to_kmph

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

UNIT_RUN_S = 1800.0  # a mistaken unit is clear for this long at least
UNIT_LOW_RUN_S = 7200.0  # the same where values are too small
UNIT_DAYS = 3  # of data before days are held against each other
SHIFTS_S = tuple(sign * 900.0 * k for k in range(1, 9) for sign in (1, -1))  # up to 2 h
SHIFT_LEAST_S = 2700.0
SHIFT_GAIN = 0.75  # of the deviation from other days must be left at most
STUCK_S = 7200.0
LEAST_DETECTORS = 3  # that judge a unit together; a single one may have changed by itself
UNLIKELY_MPS = (4.0, 45.0)  # of a network's free traffic


def check_declared(grid: Grid, unit: Unit, free_mps: float | None) -> list[str]:
    """Return why the whole cannot be in the unit that was declared; none is fine.

    `free_mps` is what free traffic does there, when it is known.
    """
    known = ~np.isnan(grid.value)
    if not known.any():
        return ["--data: has no values"]
    values = grid.value[known]
    if unit.quantity == "occupancy":
        if unit.name == "ratio" and np.mean(values > 1) > 0.2:
            return ["--unit ratio: values are 0..100, not 0..1: percent?"]
        if unit.name == "percent" and np.quantile(values, 0.999) <= 0.01:
            return ["--unit percent: no value is above 1: ratio?"]
        return []
    if unit.quantity != "speed":
        return []
    with np.errstate(invalid="ignore"):
        heard = grid.value[:, known.any(axis=0)]
        free = float(np.median(np.nanquantile(np.where(heard > 0, heard, np.nan), 0.85, axis=0)))
    if free_mps is not None:
        found = find_mistake("speed", np.log(free / free_mps), 0.15)
        if found:
            return [
                f"--unit {unit.name}: free traffic does {to_kmph(free):.0f} km/h, not "
                f"{to_kmph(free_mps):.0f}: looks like {found[0]} read as {found[1]}"
            ]
    if not UNLIKELY_MPS[0] <= free <= UNLIKELY_MPS[1]:
        return [
            f"--unit {unit.name}: free traffic does {to_kmph(free):.0f} km/h: which unit is it?"
        ]
    return []


def screen(grid: Grid, unit: Unit) -> tuple[Grid, list[Finding]]:
    """Return the data with all that cannot be true taken for missing, and what that was."""
    value = grid.value.copy()
    findings: list[Finding] = []
    for check in (_find_units, _find_impossible, _find_stuck, _find_clocks):
        found = check(replace(grid, value=value), unit)
        for finding, wrong in found:
            findings.append(finding)
            if finding.is_set_aside:
                value[wrong] = np.nan
    return replace(grid, value=value), findings


def find_mistake(quantity: str, off: float, within: float) -> tuple[str, str] | None:
    """Return (true unit, taken unit) whose factor's logarithm is nearest, if it is near enough."""
    factors = MISTAKES[quantity]
    nearest = min(factors, key=lambda factor: abs(off - np.log(factor)))
    return factors[nearest] if abs(off - np.log(nearest)) <= within else None


Found = list[tuple[Finding, Flags]]  # with T x D, what it is about


def _find_impossible(grid: Grid, unit: Unit) -> Found:
    limits, value = LIMITS[unit.quantity], grid.value
    found: Found = []
    with np.errstate(invalid="ignore"):
        cases: list[tuple[str, Flags, str, str]] = [
            ("negative", value < 0, "values below 0", "负值"),
            (
                "too_high",
                value > limits.most,
                f"values above {limits.most:g} ({unit.quantity}, in m/s, veh/h or 0..1)",
                f"高于 {limits.most:g} 的值（m/s、veh/h 或 0..1）",
            ),
        ]
        if limits.fixed_zero:
            cases.append(
                (
                    "zero",
                    value == 0,
                    "speeds of 0: nothing passed, or silence",
                    "速度为 0：无车或无数据",
                )
            )
    for kind, wrong, en, zh in cases:
        if wrong.any():
            examples = _tell_detectors(grid, wrong)
            found.append((Finding(kind, int(wrong.sum()), {"en": en, "zh": zh}, examples), wrong))
    return found


def _find_units(grid: Grid, unit: Unit) -> Found:
    """Find times at which all values together are a known factor off the other days.

    Such a time begins and ends where the factor fits worse than none, and for long enough within
    it all detectors agree. Where values seem too large they must be larger than those detectors
    ever are; where they seem too small it must last, since a storm slows all traffic too.
    """
    usual = _find_usual(grid)
    if usual is None:
        return []
    with np.errstate(invalid="ignore", divide="ignore"):
        off, over = np.log(grid.value / usual), np.log(grid.value / _find_highest(usual))
    off[~np.isfinite(off)] = np.nan
    over[~np.isfinite(over)] = np.nan
    enough = (~np.isnan(off)).sum(axis=1) >= LEAST_DETECTORS
    low, middle, high, above = np.full((4, len(off)), np.nan)
    low[enough], middle[enough], high[enough] = np.nanquantile(
        off[enough], (0.25, 0.5, 0.75), axis=1
    )
    above[enough] = np.nanmedian(over[enough], axis=1)
    factors = {1.0: ("", ""), **MISTAKES[unit.quantity]}
    logs = np.log(np.array(list(factors)))
    nearest = np.argmin(np.abs(np.nan_to_num(middle)[:, None] - logs), axis=1)
    found: Found = []
    for i, (factor, (truth, taken)) in list(enumerate(factors.items()))[1:]:
        size = abs(logs[i])
        clear = (np.abs(middle - logs[i]) < 0.25 * size) & (high - low < 0.4 * size)
        if factor > 1:
            clear &= above > size / 2
        least = (UNIT_RUN_S if factor > 1 else UNIT_LOW_RUN_S) / grid.interval_s
        runs = [(a, b) for a, b in find_runs(nearest == i) if clear[a:b].sum() >= least]
        if not runs:
            continue
        wrong = np.zeros(grid.value.shape, bool)
        for a, b in runs:
            wrong[a:b] = True
        wrong &= ~np.isnan(grid.value)
        what = {
            "en": f"values {factor:.3g} times those of other days: {truth} read as {taken}?",
            "zh": f"数值为其他日期的 {factor:.3g} 倍：疑似把 {truth} 当作 {taken}",
        }
        found.append((Finding("unit", int(wrong.sum()), what, _tell_runs(grid, runs)), wrong))
    return found


def _find_highest(usual: Floats) -> Floats:
    """Return what each detector reaches on usual days, D; NaN where nothing is known."""
    highest = np.full(usual.shape[1], np.nan, np.float32)
    known = ~np.isnan(usual).all(axis=0)
    highest[known] = np.nanquantile(usual[:, known], 0.95, axis=0)
    return highest


def _find_stuck(grid: Grid, unit: Unit) -> Found:
    """Find detectors that repeat one value; an empty road's 0, and a speed at its cap, may."""
    least = max(int(STUCK_S / grid.interval_s), 6)
    same = np.zeros(grid.value.shape, bool)
    with np.errstate(invalid="ignore"):
        same[1:] = (np.diff(grid.value, axis=0) == 0) & (grid.value[1:] > 0)
        if unit.quantity == "speed" and not np.isnan(grid.value).all():
            same &= grid.value < np.nanmax(grid.value)
    wrong = np.zeros(grid.value.shape, bool)
    for d in np.flatnonzero(same.any(axis=0)):
        for a, b in find_runs(same[:, d]):
            if b - a + 1 >= least:
                wrong[a - 1 : b, d] = True
    if not wrong.any():
        return []
    what = {
        "en": f"values that stay the same for {STUCK_S / 3600:g} h or more",
        "zh": f"持续 {STUCK_S / 3600:g} 小时以上不变的值",
    }
    return [(Finding("stuck", int(wrong.sum()), what, _tell_detectors(grid, wrong)), wrong)]


def _find_clocks(grid: Grid, unit: Unit) -> Found:
    """Find days whose course is that of the other days of their type, only earlier or later."""
    slots = round(DAY_S / grid.interval_s)
    days = _find_days(grid)
    with np.errstate(invalid="ignore"):
        scale = np.nan_to_num(np.nanmean(grid.value, axis=0), nan=1.0) + 1e-6
    courses = {}
    for day, rows in days.items():
        course = np.full((slots, grid.value.shape[1]), np.nan, np.float32)
        course[_find_slots(grid)[rows]] = grid.value[rows] / scale
        courses[day] = course
    found: Found = []
    for day, course in courses.items():
        others = [c for other, c in courses.items() if other != day and _alike(grid, day, other)]
        if len(others) < UNIT_DAYS - 1:
            continue
        usual = _median(np.stack(others))
        before = _deviate(course, usual)
        best_s, least = 0.0, before
        for shift_s in SHIFTS_S:
            steps = round(shift_s / grid.interval_s)
            if steps * grid.interval_s != shift_s:
                continue
            left = _deviate(_shift(course, -steps), usual)
            if left < least:
                best_s, least = shift_s, left
        if abs(best_s) < SHIFT_LEAST_S or not least <= SHIFT_GAIN * before:
            continue
        wrong = np.zeros(grid.value.shape, bool)
        wrong[days[day]] = True
        wrong &= ~np.isnan(grid.value)
        way = ("late", "晚") if best_s > 0 else ("early", "早")
        what = {
            "en": f"readings of a day that is stamped {abs(best_s) / 60:.0f} min {way[0]}",
            "zh": f"整日时间戳偏{way[1]} {abs(best_s) / 60:.0f} 分钟的读数",
        }
        example = (grid.stamp(int(days[day][0]))[:10],)
        found.append((Finding("clock", int(wrong.sum()), what, example), wrong))
    return found


def tell_interpolated(grid: Grid) -> list[Finding]:
    """Tell how many values lie on straight lines between others, as filled gaps do."""
    with np.errstate(invalid="ignore"):
        bend = np.abs(np.diff(grid.value.astype(float), n=2, axis=0))
        step = np.abs(np.diff(grid.value, axis=0))[1:]
        straight = (bend < 1e-5 * np.maximum(np.abs(grid.value[1:-1]), 1e-3)) & (step > 0)
    # Whole numbers lie on a line now and then; three bends in a row that are none do not.
    part = straight[:-2] & straight[1:-1] & straight[2:]
    long = np.zeros(straight.shape, bool)
    for shift in range(3):
        long[shift : len(long) - 2 + shift] |= part
    count = int(long.sum())
    if count < 0.005 * straight.size:
        return []
    what = {
        "en": "values on exact straight lines: gaps filled before?",
        "zh": "恰在直线上的值：此前已被插值？",
    }
    return [Finding("interpolated", count, what, _tell_share(count, straight.size), False)]


def _tell_share(count: int, of: int) -> tuple[str, ...]:
    return (f"{count / of:.1%}",)


def _find_days(grid: Grid) -> dict[int, NDArray[np.intp]]:
    """Return the rows of each local day, counted from that of the first row."""
    calendar = grid.build_calendar()
    local_s = np.array([_localize(calendar.shifts, s) for s in _list_times(grid)])
    day = (local_s // DAY_S).astype(int)
    return {int(d): np.flatnonzero(day == d) for d in np.unique(day)}


def _find_slots(grid: Grid) -> NDArray[np.intp]:
    calendar = grid.build_calendar()
    local_s = np.array([_localize(calendar.shifts, s) for s in _list_times(grid)])
    return ((local_s % DAY_S) // grid.interval_s).astype(np.intp)


def _list_times(grid: Grid) -> NDArray[np.float64]:
    return grid.first_s + np.arange(len(grid.value)) * grid.interval_s


def _localize(shifts: tuple[tuple[float, float], ...], time_s: float) -> float:
    return time_s + next((by for since, by in reversed(shifts) if time_s >= since), 0.0)


def _alike(grid: Grid, one: int, other: int) -> bool:
    """Say whether two days are both working days or both of a weekend."""
    first = grid.begin.weekday()
    return ((first + one) % 7 >= 5) == ((first + other) % 7 >= 5)


def _find_usual(grid: Grid) -> Floats | None:
    """Return for each value the median of other days at that time of day, T x D.

    Days of the same type where there are enough, else of all. None with too few days.
    """
    days, slots = _find_days(grid), _find_slots(grid)
    if len(days) < UNIT_DAYS:
        return None
    count = round(DAY_S / grid.interval_s)
    courses = np.full((len(days), count, grid.value.shape[1]), np.nan, np.float32)
    for i, rows in enumerate(days.values()):
        courses[i, slots[rows]] = grid.value[rows]
    usual = np.full(grid.value.shape, np.nan, np.float32)
    numbers = list(days)
    for i, (day, rows) in enumerate(days.items()):
        others = [k for k, other in enumerate(numbers) if k != i and _alike(grid, day, other)]
        if len(others) < UNIT_DAYS - 1:
            others = [k for k in range(len(numbers)) if k != i]
        usual[rows] = _median(courses[others])[slots[rows]]
    return usual


def _median(stack: Floats) -> Floats:
    """Return the median over the first axis where anything is known."""
    result = np.full(stack.shape[1:], np.nan, np.float32)
    known = ~np.isnan(stack).all(axis=0)
    result[known] = np.nanmedian(stack[:, known], axis=0)
    return result


def _shift(course: Floats, steps: int) -> Floats:
    """Move a day's course by some slots; what would come from other days is missing."""
    moved = np.roll(course, steps, axis=0)
    if steps > 0:
        moved[:steps] = np.nan
    elif steps < 0:
        moved[steps:] = np.nan
    return moved


def _deviate(course: Floats, usual: Floats) -> float:
    """Return the mean deviation, single surprises bounded."""
    off = np.minimum(np.abs(course - usual), 0.5)
    return float(np.nanmean(off)) if (~np.isnan(off)).sum() > off.size // 8 else np.inf


def _tell_detectors(grid: Grid, wrong: Flags) -> tuple[str, ...]:
    counts = wrong.sum(axis=0)
    worst = [int(d) for d in np.argsort(-counts)[:EXAMPLES] if counts[d]]
    return tuple(f"{grid.detectors[d]}: {counts[d]}" for d in worst)


def _tell_runs(grid: Grid, runs: list[tuple[int, int]]) -> tuple[str, ...]:
    longest = sorted(runs, key=lambda run: run[0] - run[1])[:EXAMPLES]
    return tuple(f"{grid.stamp(a)} – {grid.stamp(b)}" for a, b in longest)
