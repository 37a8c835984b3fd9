"""Loop data as engineers have them: each mistake is found, named, and teaches no model."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from loop_days import BEGIN, make_speeds, write_long, write_wide
from rich.console import Console

from api.errors import UserError
from api.forecasting.account import screen, tell_interpolated
from api.forecasting.grid import Finding, Grid, build_grid
from api.forecasting.own_data import Wish, load_readings
from api.forecasting.tables import Declared, read_tables
from api.forecasting.units import parse_unit
from traffic.forecasting.calendar import Calendar
from traffic.forecasting.loops import LoopForecaster
from traffic.forecasting.settings import LoopForecastSettings

ZONE = ZoneInfo("Asia/Shanghai")
PER_DAY = 96
DAYS = 8
MPS = parse_unit("m/s")


def declare(unit: str = "m/s", **told: Any) -> Declared:
    return Declared(parse_unit(unit), ZONE, **told)


def build(values: np.ndarray, begin: datetime = BEGIN) -> Grid:
    names = tuple(f"d{i}" for i in range(values.shape[1]))
    return Grid(names, begin.replace(tzinfo=ZONE), 86400 / PER_DAY, values)


def find(findings: list[Finding], kind: str) -> Finding:
    return next(finding for finding in findings if finding.kind == kind)


def day(number: int) -> slice:
    return slice(number * PER_DAY, (number + 1) * PER_DAY)


def load(path: Path, declared: Declared) -> tuple[Grid, list[Finding]]:
    return build_grid(read_tables([path], declared), declared)


def test_good_data_have_no_findings() -> None:
    values = make_speeds(DAYS)
    found, findings = screen(build(values), MPS)
    assert findings == []
    assert (found.value == values).all()


def mistake_unit(values: np.ndarray) -> None:
    values[day(3)] /= 1.609344  # a day in mph among km/h


def mistake_half_a_day(values: np.ndarray) -> None:
    values[3 * PER_DAY : 3 * PER_DAY + PER_DAY // 2] *= 3.6


def mistake_clock(values: np.ndarray) -> None:
    values[day(3)] = np.roll(values[day(3)], 4, axis=0)  # four quarters late


@pytest.mark.parametrize(
    ("spoil", "kind", "words", "where"),
    [
        (mistake_unit, "unit", "mph read as km/h", "2026-03-05 00:00 – 2026-03-06 00:00"),
        (mistake_half_a_day, "unit", "km/h read as m/s", "2026-03-05 00:00 – 2026-03-05 12:00"),
        (mistake_clock, "clock", "stamped 60 min late", "2026-03-05"),
    ],
)
def test_a_mistake_is_named_and_set_aside(
    spoil: Callable[[np.ndarray], None], kind: str, words: str, where: str
) -> None:
    values = make_speeds(DAYS)
    good = values.copy()
    spoil(values)
    found, findings = screen(build(values), MPS)
    finding = find(findings, kind)
    assert words in finding.what["en"]
    assert finding.what["zh"]
    assert where in finding.examples
    wrong = values != good
    assert np.isnan(found.value[wrong]).mean() > 0.99
    # What is set aside beside it is at most the rest of that day.
    beside = np.isnan(found.value) & ~wrong
    assert not np.delete(beside, np.arange(*day(3).indices(len(values))), axis=0).any()
    assert [f.kind for f in findings] == [kind]


def test_an_early_clock_is_told_from_a_late_one() -> None:
    values = make_speeds(DAYS)
    values[day(2)] = np.roll(values[day(2)], -4, axis=0)
    _, findings = screen(build(values), MPS)
    assert "stamped 60 min early" in find(findings, "clock").what["en"]


def test_a_jam_of_all_roads_is_no_mistaken_unit() -> None:
    """Half the usual speed everywhere for three hours of one afternoon, but not alike."""
    values = make_speeds(DAYS)
    jam = slice(3 * PER_DAY + 52, 3 * PER_DAY + 64)
    share = np.random.default_rng(2).uniform(0.3, 0.9, values[jam].shape)
    values[jam] *= share.astype(np.float32)
    assert screen(build(values), MPS)[1] == []


def test_occupancy_in_percent_for_a_day_is_found() -> None:
    rng = np.random.default_rng(3)
    values = (0.05 + (28 - make_speeds(DAYS)) / 100 + rng.random((DAYS * PER_DAY, 8)) / 50).clip(0)
    values = values.astype(np.float32)
    values[day(4)] *= 100
    found, findings = screen(build(values), parse_unit("ratio"))
    assert "0..100 read as 0..1" in find(findings, "unit").what["en"]
    assert np.isnan(found.value[day(4)]).all()
    assert not np.isnan(np.delete(found.value, np.arange(*day(4).indices(10**6)), axis=0)).any()


@pytest.mark.parametrize(
    ("unit", "values", "free_kmph", "message"),
    [
        ("ratio", (28 - make_speeds(2)).clip(0.0), None, "values are 0..100, not 0..1: percent"),
        ("percent", (28 - make_speeds(2)).clip(0.0) / 2000, None, "no value is above 1: ratio"),
        ("km/h", make_speeds(2) * 2.2369, 100.0, "looks like mph read as km/h"),
        ("mph", make_speeds(2) * 3.6, 100.0, "looks like km/h read as mph"),
        ("m/s", make_speeds(2) * 3.6, None, "which unit is it"),
    ],
)
def test_a_unit_mistaken_throughout_is_refused(
    tmp_path: Path, unit: str, values: np.ndarray, free_kmph: float | None, message: str
) -> None:
    path = write_wide(tmp_path / "loops.csv", values)
    wish = Wish((path,), declare(unit), tmp_path / "out", free_kmph=free_kmph)
    with pytest.raises(UserError, match=message):
        load_readings(wish, Console(quiet=True))


def test_duplicates_disorder_and_gaps_are_found_and_named(tmp_path: Path) -> None:
    values = make_speeds(2, 3)
    path = tmp_path / "loops.csv"
    header, *lines = write_long(path, values)
    gap = set(range(3 * 96 + 3 * 20, 3 * 96 + 3 * 68))  # 05:00 to 17:00 of the second day
    kept = [line for i, line in enumerate(lines) if i not in gap]
    kept.append(kept[10])  # alike, and late
    stamp, name, _ = kept[20].split(",")
    kept.append(f"{stamp},{name},3.000")  # contradicts
    kept[40], kept[43] = kept[43], kept[40]  # one detector's readings change places
    path.write_text("\n".join([header, *kept]) + "\n")
    grid, findings = load(path, declare(detector="detector"))
    assert grid.value.shape == values.shape
    assert find(findings, "duplicate").count == 1
    assert not find(findings, "duplicate").is_set_aside
    contradiction = find(findings, "contradiction")
    assert contradiction.count == 1
    assert contradiction.examples == ("d2 2026-03-02 01:30",)
    assert find(findings, "out_of_order").count == 3
    hole = find(findings, "gap")
    assert hole.count == 48
    assert hole.examples == ("2026-03-03 05:00 – 2026-03-03 17:00 (12.0 h)",)
    assert np.isnan(grid.value[6, 2])
    truth = values.copy()
    truth[116:164], truth[6, 2] = np.nan, np.nan
    assert grid.value == pytest.approx(truth, abs=1e-3, nan_ok=True)


def test_wide_and_long_and_parquet_say_the_same(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.csv
    import pyarrow.parquet

    values = make_speeds(1, 3)
    wide, _ = load(write_wide(tmp_path / "wide.csv", values), declare())
    write_long(tmp_path / "long.csv", values)
    long, _ = load(tmp_path / "long.csv", declare(detector="detector"))
    arrow.parquet.write_table(
        pyarrow.csv.read_csv(tmp_path / "wide.csv"), tmp_path / "wide.parquet"
    )
    parquet, _ = load(tmp_path / "wide.parquet", declare())
    for other in (long, parquet):
        assert other.detectors == wide.detectors
        assert other.begin == wide.begin
        assert other.value == pytest.approx(wide.value)
    assert wide.value == pytest.approx(values, abs=1e-3)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("mph", ("speed", 0.44704)),
        ("km/h", ("speed", 1 / 3.6)),
        ("veh/5min", ("flow", 12.0)),
        ("veh/min", ("flow", 60.0)),
        ("percent", ("occupancy", 0.01)),
    ],
)
def test_units_are_brought_to_the_engines(unit: str, expected: tuple[str, float]) -> None:
    found = parse_unit(unit)
    assert (found.quantity, found.factor) == (expected[0], pytest.approx(expected[1]))


@pytest.mark.parametrize("unit", ["knots", "veh/0min", "", "MPH"])
def test_unknown_units_are_refused(unit: str) -> None:
    with pytest.raises(UserError, match="expected one of mph"):
        parse_unit(unit)


def test_what_cannot_be_is_set_aside(tmp_path: Path) -> None:
    values = make_speeds(3)
    values[5, 0], values[6, 0], values[7, 0] = -4.0, 90.0, 0.0
    values[100:130, 2] = values[100, 2]
    found, findings = screen(build(values), MPS)
    kinds = {finding.kind: finding.count for finding in findings}
    assert kinds == {"negative": 1, "too_high": 1, "zero": 1, "stuck": 30}
    assert np.isnan(found.value[5:8, 0]).all()
    assert np.isnan(found.value[100:130, 2]).all()
    assert np.isnan(found.value).sum() == 33


@pytest.mark.parametrize(
    ("text", "told", "message"),
    [
        ("time,a\nnoon,3\n", {}, "'noon' is no time"),
        ("a,b\n1,2\n", {}, "no column of time"),
        ("time,a\n2026-03-02 00:00:00,fast\n", {}, "column 'a' holds string, not numbers"),
        ("time,a,a\n2026-03-02 00:00:00,1,2\n", {}, "columns named twice: a"),
        ("time,a\n2026-03-02 00:00:00,1\n", {"detector": "loop"}, "no column 'loop'"),
        ("time,a\n2026-03-02 00:00:00,1\n", {}, "fewer than 3 times"),
        ("time,a\n", {}, "no rows"),
        ("", {}, "loops.csv: "),
    ],
)
def test_a_table_that_cannot_be_read_says_why(
    tmp_path: Path, text: str, told: dict[str, object], message: str
) -> None:
    path = tmp_path / "loops.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load(path, declare(**told))


def test_local_times_keep_their_day_through_a_change_of_the_clock(tmp_path: Path) -> None:
    """29 March 2026, 02:00 to 03:00 does not exist in Berlin; the next day still begins at 0."""
    berlin = ZoneInfo("Europe/Berlin")
    declared = Declared(MPS, berlin)
    stamps = [f"2026-03-28 {h:02d}:00:00" for h in range(24)]
    stamps += [f"2026-03-29 {h:02d}:00:00" for h in range(24) if h != 2]
    stamps += [f"2026-03-30 {h:02d}:00:00" for h in range(24)]
    path = tmp_path / "loops.csv"
    path.write_text("time,a\n" + "".join(f"{s},{20 + i % 7}\n" for i, s in enumerate(stamps)))
    grid, findings = load(path, declared)
    assert findings == []
    assert len(grid.value) == 71
    calendar = grid.build_calendar()
    assert calendar.locate(47 * 3600.0) == (0.0, 0)  # 47 hours on it is Monday, midnight
    assert calendar.locate(46 * 3600.0) == (23 * 3600.0, 1)


def test_the_account_is_kept_for_machines(tmp_path: Path) -> None:
    values = make_speeds(DAYS)
    mistake_unit(values)
    path = write_wide(tmp_path / "loops.csv", values)
    load_readings(Wish((path,), declare(), tmp_path / "out"), Console(quiet=True))
    account = json.loads((tmp_path / "out" / "account.json").read_text(encoding="utf-8"))
    assert [f["kind"] for f in account["findings"]] == ["unit"]
    assert account["used"] == account["readings"] * 7 // 8


def test_filled_gaps_are_told_from_whole_numbers() -> None:
    values = make_speeds(4)
    assert tell_interpolated(build(np.round(20 * values))) == []
    for first in range(0, 380, 24):
        values[first : first + 9] = np.linspace(values[first], values[first + 8], 9)
    finding = tell_interpolated(build(values))[0]
    assert not finding.is_set_aside
    assert finding.count == 16 * 7 * 8


@pytest.mark.parametrize("spoil", [mistake_unit, mistake_half_a_day, mistake_clock])
def test_what_is_set_aside_teaches_nothing(spoil: Callable[[np.ndarray], None]) -> None:
    """The day after, forecasts are near those of a model that saw good data on the day, too."""
    good = make_speeds(5)
    spoiled = np.concatenate([good, make_speeds(3, seed=2)])
    spoil(spoiled)
    screened = screen(build(spoiled), MPS)[0].value[: len(good)]

    def score(values: np.ndarray) -> float:
        settings = LoopForecastSettings(interval_s=900, leads=4, most=60, bent=20, settle=96)
        forecaster = LoopForecaster(8, Calendar(), settings)
        errors = []
        for t, row in enumerate(values):
            made = forecaster.update((t + 1) * 900.0, row).value
            if 4 * PER_DAY <= t < len(values) - 4:
                errors.append(made - good[t + 1 : t + 5])
        return float(np.sqrt(np.mean(np.square(errors))))

    clean = score(good)
    assert score(screened) < 1.1 * clean  # it has one day less to learn from
    assert score(spoiled[: len(good)]) > score(screened)
