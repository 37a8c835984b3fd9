"""`traffic bench forecast`: the Los-loop protocol, batch and streaming."""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from api.errors import UserError
from api.evidence import finished_folder, write_whole
from api.forecasting.boosting import BoostedTrees
from api.forecasting.los_loop import (
    BEGIN,
    FAST_MPH,
    HIGHEST_MPH,
    HORIZONS,
    ONSET_STEPS,
    PUBLISHED,
    SLOW_MPH,
    STEP_MIN,
    LosLoop,
    load_los_loop,
    score_peer,
)
from api.forecasting.records import need_arrow, write_onsets, write_predictions
from api.forecasting.running import run_forecaster
from api.forecasting.scores import (
    Said,
    compare_days,
    score_coverage,
    score_onset,
    score_persistence,
    score_windows,
)
from traffic.forecasting.loops import Learning, LoopForecaster
from traffic.forecasting.settings import LoopForecastSettings

FORMAT = "traffic-forecast-benchmark/2"
SUMMARY = "summary.json"
ALONE = "mixture-alone"  # folder of what the mixture says without a challenger
STEP = timedelta(minutes=STEP_MIN)
DAY = round(timedelta(days=1) / STEP)
FIELDS: Mapping[str, str] = {
    "modes": "batch: after the training rows only the levels of quantiles move; streaming: all",
    "mixture_alone": "the same modes without the challenger",
    "rmse": "root mean square error over windows, steps and detectors, mph",
    "mae": "mean absolute error, mph",
    "persistence_rmse": "of saying that all stays as it is, mph",
    "coverage_all": "share of outcomes between q05 and q95, all lead times; 0.9 is promised",
    "coverage_outcome_slow": "the same where the outcome is below 40 mph",
    "coverage_slow_already": "the same where speed is below 40 mph when the forecast is issued",
    "coverage_either_slow": "the same where either is so",
    "coverage_frozen": "coverage_all of batch if those levels did not move either",
    "mean_width": "of q05 to q95, mph",
    "average_precision": "of onset within 30 min: below 40 mph, from 45 mph or more",
    "brier_skill": "of the same against its static rate in the test itself",
    "rate": "share of cases with an onset",
    "over_persistence": "RMSE over persistence's, by day from the first row on, streaming",
    "speaks": "share of forecasts that each model made",
    "trusted": "share of forecasts marked trusted",
    "fit_s": "wall time of learning from the training rows, s",
    "latency_ms": "wall time of one batch, updated and forecast, ms: median and 95 % quantile",
}


@dataclass(frozen=True)
class Wish:
    """What the benchmark is to do."""

    data: Path
    out: Path
    challenger: bool = True  # LightGBM beside the mixture
    validate: int | None = None  # training rows of which the last fifth is scored, not the test


def run_benchmark(wish: Wish, console: Console) -> None:
    """Run both modes, print their figures, keep predictions and summary.json.

    Raises UserError when the data are not there, or the evaluator does not score the stored
    predictions of T-GCN as published.
    """
    need_arrow()
    data = load_los_loop(wish.data)
    peer = score_peer(data)
    if peer is not None and (round(peer["rmse"], 3), round(peer["mae"], 3)) != (5.126, 3.180):
        raise UserError([f"--data {wish.data}: stored predictions score {peer}, not 5.126 / 3.180"])
    if wish.validate is not None:
        data = data.hide_test(wish.validate)
    modes = _run_modes(data, wish.challenger, wish.out, console)
    alone = _run_modes(data, False, wish.out / ALONE, console) if wish.challenger else None
    summary = {"format": FORMAT, "fields": dict(FIELDS), "published_rmse": PUBLISHED}
    summary |= {"stored_predictions": peer, "validation_rows": wish.validate, "modes": modes}
    summary |= {"mixture_alone": alone}
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(wish.out / SUMMARY, text + "\n")
    print_summary(summary, console)
    console.print(str(wish.out / SUMMARY), soft_wrap=True, markup=False, highlight=False)


def _run_modes(data: LosLoop, challenger: bool, out: Path, console: Console) -> dict[str, Any]:
    """Return the figures of both modes; their predictions go to folders of `out`."""
    settings = LoopForecastSettings(
        most=HIGHEST_MPH,
        onset_below=SLOW_MPH,
        onset_from=FAST_MPH,
        onset_leads=ONSET_STEPS,
    )
    forecaster = LoopForecaster(
        len(data.detectors),
        data.calendar,
        settings,
        data.neighbors,
        BoostedTrees(settings.leads) if challenger else None,
    )
    with console.status("training rows"):
        begun = perf_counter()
        trained = run_forecaster(forecaster, data.speed_mph, range(data.train))
        fit_s = perf_counter() - begun
    modes = {}
    test = range(data.train, len(data.speed_mph))
    for mode, learning in (("batch", Learning.LEVELS), ("streaming", Learning.ALL)):
        latencies_s: list[float] = []
        tested = deepcopy(forecaster)
        mode_fit_s = fit_s
        if mode == "batch" and tested.challenger is not None:
            begun = perf_counter()
            tested.challenger.fit()  # once more, on all training rows
            mode_fit_s += perf_counter() - begun
        frozen = deepcopy(tested) if mode == "batch" else None
        with console.status(f"test rows, {mode}"):
            said = run_forecaster(tested, data.speed_mph, test, learning, latencies_s)
        scored = _cut(said, data)
        modes[mode] = score(scored, data) | {
            "fit_s": mode_fit_s,
            "latency_ms": [1e3 * float(np.quantile(latencies_s, q)) for q in (0.5, 0.95)],
        }
        if frozen is None:
            modes[mode]["over_persistence"] = compare_days(
                _join(trained, said), DAY, 0, {"15": 3, "30": 6}
            )
        else:
            still = run_forecaster(frozen, data.speed_mph, test, Learning.NOTHING)
            found = score(_cut(still, data), data)["coverage"]["coverage_all"]
            modes[mode]["coverage"]["coverage_frozen"] = found
        with finished_folder(out / mode) as folder:
            write_predictions(folder, scored, data.detectors, BEGIN, STEP)
            write_onsets(folder, scored, data.detectors, BEGIN, STEP)
    return modes


def _cut(said: Said, data: LosLoop) -> Said:
    """Keep the issues of the test windows, and the rows that those look at."""
    first, count = data.first_issue - said.first, data.count_windows(HORIZONS[0])
    part = slice(first, first + count)
    last = data.first_issue + count - 1 + HORIZONS[0]
    return Said(
        data.first_issue, said.value[part], said.low[part], said.median[part], said.high[part],
        said.onset_chance[part], said.trusted[part], said.model[part], said.measured[: last + 1],
    )  # fmt: skip


def _join(one: Said, other: Said) -> Said:
    names = ("value", "low", "median", "high", "onset_chance", "trusted")
    parts = [np.concatenate([getattr(one, name), getattr(other, name)]) for name in names]
    return Said(one.first, *parts, one.model + other.model, one.measured)


def score(said: Said, data: LosLoop) -> dict[str, Any]:
    """Return all figures of the test windows."""
    horizons = {}
    for steps in HORIZONS:
        issues = slice(0, data.count_windows(steps))
        found = score_windows(said, issues, steps)
        found["persistence_rmse"] = score_persistence(said, issues, steps)
        horizons[str(steps * STEP_MIN)] = found
    whole = slice(0, data.count_windows(HORIZONS[-1]))
    onsets = slice(0, data.count_windows(ONSET_STEPS))
    return {
        "horizons": horizons,
        "coverage": score_coverage(said, whole, HORIZONS[-1], SLOW_MPH),
        "onset": score_onset(said, onsets, ONSET_STEPS, SLOW_MPH, FAST_MPH),
        "trusted": float(said.trusted[whole].mean()),
        "speaks": {
            model: sum(of_issue.count(model) for of_issue in said.model)
            / len(said.model)
            / HORIZONS[-1]
            for model in sorted({model for of_issue in said.model for model in of_issue})
        },
    }


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """Print what was found, beside what is published."""
    hidden = summary["validation_rows"]
    rows_of = "test rows" if hidden is None else f"last fifth of the first {hidden} rows"
    table = Table("RMSE, mph", title=f"Los-loop, {rows_of}")
    for steps in HORIZONS:
        table.add_column(f"{steps * STEP_MIN} min", justify="right")
    modes = dict(summary["modes"])
    for mode, found in (summary["mixture_alone"] or {}).items():
        modes[f"{mode}, mixture alone"] = found
    for mode, found in modes.items():
        table.add_row(mode, *(f"{h['rmse']:.3f}" for h in found["horizons"].values()))
    persistence = [h["persistence_rmse"] for h in modes["batch"]["horizons"].values()]
    table.add_row("persistence", *(f"{rmse:.3f}" for rmse in persistence))
    for name, published in summary["published_rmse"].items():
        if hidden is not None:
            break  # those are of the test rows
        table.add_row(f"{name}, published", *(f"{rmse:g}" for rmse in published))
    console.print(table)
    table = Table("", *modes)
    rows: tuple[tuple[str, str, str], ...] = (
        ("MAE at 15 min, mph", "horizons", "mae"),
        ("coverage of the 90 % interval", "coverage", "coverage_all"),
        ("coverage, had no level moved", "coverage", "coverage_frozen"),
        ("coverage, outcome below 40 mph", "coverage", "coverage_outcome_slow"),
        ("coverage, below 40 mph already", "coverage", "coverage_slow_already"),
        ("coverage, either", "coverage", "coverage_either_slow"),
        ("mean width, mph", "coverage", "mean_width"),
        ("onset, average precision", "onset", "average_precision"),
        ("onset, Brier skill", "onset", "brier_skill"),
        ("onset, rate", "onset", "rate"),
    )
    for label, group, name in rows:
        found = [m[group]["15"] if group == "horizons" else m[group] for m in modes.values()]
        table.add_row(label, *(f"{f[name]:.3f}" if name in f else "" for f in found))
    table.add_row("trusted", *(f"{m['trusted']:.3f}" for m in modes.values()))
    told = (", ".join(f"{k} {v:.3f}" for k, v in m["speaks"].items()) for m in modes.values())
    table.add_row("who speaks", *told)
    table.add_row(
        "learning from the training rows, s", *(f"{m['fit_s']:.1f}" for m in modes.values())
    )
    latency = ("{:.1f}, {:.1f}".format(*m["latency_ms"]) for m in modes.values())
    table.add_row("one batch, ms: median, 95 %", *latency)
    console.print(table)
    days = modes["streaming"]["over_persistence"]
    table = Table("RMSE over persistence's", *(f"day {d['day']:.0f}" for d in days))
    for name in ("15", "30"):
        table.add_row(f"{name} min", *(f"{d[name]:.3f}" if name in d else "" for d in days))
    console.print(table)
