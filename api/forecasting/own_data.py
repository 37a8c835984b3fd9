"""`traffic forecast`: learn from one's own loop data, and say how good forecasts of them are."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from api.errors import UserError, attempt
from api.evidence import finished_folder, write_whole
from api.forecasting.account import check_declared, screen, tell_interpolated
from api.forecasting.boosting import BoostedTrees
from api.forecasting.grid import Finding, Grid, build_grid
from api.forecasting.records import need_arrow, write_onsets, write_predictions
from api.forecasting.running import run_forecaster
from api.forecasting.saved import SavedModel, arrange, load_model, save_model
from api.forecasting.scores import (
    Said,
    compare_days,
    score_coverage,
    score_persistence,
    score_windows,
)
from api.forecasting.tables import Declared, read_tables
from api.forecasting.units import LIMITS
from traffic.forecasting.calendar import DAY_S
from traffic.forecasting.loops import LoopForecaster
from traffic.forecasting.neighbors import Neighbors, build_neighbors
from traffic.forecasting.settings import LoopForecastSettings
from traffic.units import to_mps

ACCOUNT, SUMMARY = "account.json", "summary.json"
HORIZON_S = 3600.0  # that forecasts look ahead
ONSET_S = 1800.0
TRAIN = 0.8
MODEL = "model"  # folder of what was learned
SLOW_KMPH, FAST_KMPH = 64.0, 72.0  # about 40 and 45 mph; the engineer's own by --slow


@dataclass(frozen=True)
class Wish:
    """What is asked of some data."""

    data: tuple[Path, ...]
    declared: Declared
    out: Path
    graph: Path | None = None
    free_kmph: float | None = None
    slow_kmph: float | None = None  # SLOW_KMPH if not told
    challenger: bool = False
    train: float | None = None  # share of the rows that are not scored; TRAIN, or none with a model
    model: Path | None = None  # folder of one to go on from; it brings graph, slow and challenger


def load_readings(wish: Wish, console: Console) -> tuple[Grid, list[Finding]]:
    """Read, account for and screen the data; print the account and keep it as account.json.

    Raises UserError when what is left is not enough, or cannot be what was declared.
    """
    need_arrow()
    grid, findings = build_grid(read_tables(wish.data, wish.declared), wish.declared)
    free_mps = None if wish.free_kmph is None else to_mps(wish.free_kmph)
    problems = check_declared(grid, wish.declared.unit, free_mps)
    if problems:
        raise UserError(problems)
    found, more = screen(grid, wish.declared.unit)
    findings += more + tell_interpolated(found)
    write_account(wish.out, found, findings)
    print_account(found, findings, console)
    day = round(DAY_S / found.interval_s)
    if wish.model is None and len(found.value) < day:
        raise UserError([f"--data: {len(found.value)} intervals are less than a day"])
    if np.isnan(found.value).all():
        raise UserError([f"--data: nothing is left that can be true; see {wish.out / ACCOUNT}"])
    return found, findings


def build_forecaster(wish: Wish, grid: Grid) -> LoopForecaster:
    """Return a forecaster that has learned nothing yet."""
    leads = max(int(HORIZON_S / grid.interval_s), 1)
    limits = LIMITS[wish.declared.unit.quantity]
    is_speed = wish.declared.unit.quantity == "speed"
    day = round(DAY_S / grid.interval_s)
    slow_kmph = wish.slow_kmph or SLOW_KMPH
    settings = LoopForecastSettings(
        interval_s=grid.interval_s,
        leads=leads,
        most=limits.most,
        least_scale=limits.least_scale,
        settle=day,
        onset_below=to_mps(slow_kmph) if is_speed else None,
        onset_from=to_mps(slow_kmph * FAST_KMPH / SLOW_KMPH) if is_speed else None,
        onset_leads=max(min(int(ONSET_S / grid.interval_s), leads), 1),
    )
    neighbors = None if wish.graph is None else load_graph(wish.graph, grid.detectors)
    challenger = BoostedTrees(leads) if wish.challenger else None
    return LoopForecaster(
        len(grid.detectors), grid.build_calendar(), settings, neighbors, challenger
    )


def load_graph(path: Path, detectors: Sequence[str]) -> Neighbors:
    """Read a CSV of from, to, weight. Raises UserError naming each wrong row."""
    place = {name: i for i, name in enumerate(detectors)}
    links, problems = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            absent = [n for n in ("from", "to", "weight") if n not in (rows.fieldnames or ())]
            if absent:
                raise UserError([f"--graph {path}: no column {name}" for name in absent])
            for number, row in enumerate(rows, 2):
                unknown = [row[end] for end in ("from", "to") if row[end] not in place]
                problems += [f"--graph {path}:{number}: no detector {n!r}" for n in unknown]
                try:
                    weight = float(row["weight"])
                except (TypeError, ValueError):
                    problems.append(f"--graph {path}:{number}: weight {row['weight']!r}")
                    continue
                if not unknown:
                    links.append((place[row["from"]], place[row["to"]], weight))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError([f"--graph {path}: {error}"]) from error
    if problems:
        raise UserError(problems)
    return build_neighbors(len(detectors), links)


def start(
    wish: Wish, saved: SavedModel | None, grid: Grid
) -> tuple[LoopForecaster, Grid, datetime]:
    """Return a forecaster, new or as it was saved, the grid in its order, and its first midnight.

    Raises UserError with all reasons why the saved one cannot go on with the data.
    """
    if saved is None:
        return build_forecaster(wish, grid), grid, grid.midnight
    told = {"--graph": wish.graph, "--slow": wish.slow_kmph, "--challenger": wish.challenger}
    given = [f"{name}: the model brings its own" for name, value in told.items() if value]
    forecaster = saved.build_forecaster(grid.end)
    _, grid = attempt(
        lambda: _refuse(given),
        lambda: arrange(saved.header, forecaster.scale, grid, wish.declared.unit),
    )
    return forecaster, grid, saved.midnight


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise UserError(problems)


def fit(wish: Wish, console: Console) -> None:
    """Learn from all data; save that, and write what comes next, as from the last reading."""
    saved = None if wish.model is None else load_model(wish.model)
    found, _ = load_readings(wish, console)
    forecaster, grid, midnight = start(wish, saved, found)
    said, _ = _run(forecaster, grid, midnight, len(grid.value) - 1, console)
    with finished_folder(wish.out / MODEL) as folder:
        save_model(folder, forecaster, grid.detectors, wish.declared.unit, midnight)
    with finished_folder(wish.out / "next") as folder:
        _write(folder, wish, said, grid)
    _tell_out(wish, (MODEL, "next"), console)


def evaluate(wish: Wish, console: Console) -> None:
    """Forecast from row to row, learning on; score the rows after the first share."""
    saved = None if wish.model is None else load_model(wish.model)
    found, _ = load_readings(wish, console)
    forecaster, grid, midnight = start(wish, saved, found)
    settings = forecaster.settings
    leads = settings.leads
    train = wish.train if wish.train is not None else 0.0 if wish.model else TRAIN
    first = max(int(len(grid.value) * train), 0 if wish.model else 1)
    if len(grid.value) - first <= leads:
        raise UserError([f"--train {train:g}: leaves less than an hour to score"])
    said, latency_ms = _run(forecaster, grid, midnight, first, console)
    step_min = grid.interval_s / 60
    whole = slice(0, len(said.value) - leads)
    horizons = sorted({max(round(leads * share), 1) for share in (0.25, 0.5, 0.75, 1)})
    factor = wish.declared.unit.factor
    slow = settings.onset_below or 0.0
    scored: dict[str, Any] = {
        f"{steps * step_min:g}": {
            **{k: v / factor for k, v in score_windows(said, whole, steps).items()},
            "persistence_rmse": score_persistence(said, whole, steps) / factor,
        }
        for steps in horizons
    }
    coverage = score_coverage(said, whole, leads, slow)
    coverage["mean_width"] /= factor
    day = round(DAY_S / grid.interval_s)
    offset = round(grid.first_s / grid.interval_s)
    days = compare_days(said, day, offset, {f"{s * step_min:g}": s for s in horizons[:2]})
    summary = {
        "format": "traffic-forecast-evaluation/1",
        "unit": wish.declared.unit.name,
        "scored_from": grid.stamp(first),
        "horizons_min": scored,
        "coverage": coverage,
        "over_persistence_by_day": days,
        "latency_ms": latency_ms,
    }
    with finished_folder(wish.out / "predictions") as folder:
        _write(folder, wish, said, grid)
    text = json.dumps(_clean(summary), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(wish.out / SUMMARY, text + "\n")
    _print_scores(summary, console)
    _tell_out(wish, ("predictions",), console)


def _run(
    forecaster: LoopForecaster, grid: Grid, midnight: datetime, first: int, console: Console
) -> tuple[Said, float]:
    """Run over all rows; return what was said from row `first` on, and the latency in ms."""
    latencies_s: list[float] = []
    with console.status("learning"):
        begin_s = grid.begin.timestamp() - midnight.timestamp()
        run_forecaster(forecaster, grid.value, range(first), begin_s=begin_s)
        said = run_forecaster(
            forecaster, grid.value, range(first, len(grid.value)), latencies_s=latencies_s,
            begin_s=begin_s,
        )  # fmt: skip
    return said, 1e3 * float(np.median(latencies_s))


def _write(folder: Path, wish: Wish, said: Said, grid: Grid) -> None:
    """Write predictions in the unit that was declared, and chances of onset of speeds."""
    step = timedelta(seconds=grid.interval_s)
    factor = np.float32(wish.declared.unit.factor)
    told = Said(
        said.first, said.value / factor, said.low / factor, said.median / factor,
        said.high / factor, said.onset_chance, said.trusted, said.model, said.measured,
    )  # fmt: skip
    write_predictions(folder, told, grid.detectors, grid.begin, step, beyond=True)
    if wish.declared.unit.quantity == "speed":
        write_onsets(folder, said, grid.detectors, grid.begin, step)


def write_account(out: Path, grid: Grid, findings: Sequence[Finding]) -> None:
    account = {
        "format": "traffic-data-account/1",
        "detectors": len(grid.detectors),
        "begin": grid.stamp(0),
        "end": grid.stamp(len(grid.value)),
        "zone": str(grid.begin.tzinfo),
        "interval_s": grid.interval_s,
        "readings": grid.value.size,
        "used": int((~np.isnan(grid.value)).sum()),
        "findings": [finding.to_json() for finding in findings],
    }
    write_whole(out / ACCOUNT, json.dumps(account, indent=1, ensure_ascii=False) + "\n")


def print_account(grid: Grid, findings: Sequence[Finding], console: Console) -> None:
    used = float((~np.isnan(grid.value)).mean())
    table = Table(
        "finding", "count", "", "说明", "such as",
        title=f"{len(grid.detectors)} detectors, {grid.stamp(0)} – {grid.stamp(len(grid.value))} "
        f"every {grid.interval_s:g} s; {used:.1%} used",
    )  # fmt: skip
    if not findings:
        table.add_row("", "0", "nothing found", "未发现问题", "")
    for finding in findings:
        table.add_row(
            finding.kind, f"{finding.count:,}", finding.what["en"], finding.what["zh"],
            "\n".join(finding.examples),
        )  # fmt: skip
    console.print(table)


def _print_scores(summary: Mapping[str, Any], console: Console) -> None:
    unit = summary["unit"]
    table = Table("ahead, min", f"RMSE, {unit}", f"MAE, {unit}", f"persistence RMSE, {unit}")
    for ahead, found in summary["horizons_min"].items():
        table.add_row(ahead, *(f"{found[k]:.4g}" for k in ("rmse", "mae", "persistence_rmse")))
    console.print(table)
    coverage = summary["coverage"]
    console.print(
        f"the 90 % interval covers {coverage['coverage_all']:.3f} of what came, "
        f"mean width {coverage['mean_width']:.4g} {unit}; one batch takes "
        f"{summary['latency_ms']:.1f} ms",
        highlight=False,
    )


def _tell_out(wish: Wish, names: Sequence[str], console: Console) -> None:
    shown = ", ".join(str(wish.out / name) for name in (ACCOUNT, *names))
    console.print(shown, soft_wrap=True, markup=False, highlight=False)


def _clean(value: Any) -> Any:
    """Return the same with null for what is not known."""
    if isinstance(value, dict):
        return {key: _clean(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_clean(held) for held in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
