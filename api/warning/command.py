"""`traffic warning` and `traffic bench warning`: what they are asked, and who does it."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from api.comparing import find_blocked, open_folder
from api.errors import UserError, attempt
from api.evidence import write_whole
from networks.days import TOWN, Day

if TYPE_CHECKING:
    from api.warning.series import DaySeries

app = typer.Typer(help="Warnings of breakdown and spillback.", no_args_is_help=True)
console = Console(emoji=False)

SUMMARY = "summary.json"
TRAINING_DAYS = 20  # by default, as the coefficients that are kept were fitted on

Records = Annotated[Path, typer.Option(help="Folder of recorded days; those missing are added.")]
Train = Annotated[int, typer.Option(min=1, help="Days to fit on, seeds from 1000.")]
Jobs = Annotated[int, typer.Option(min=1, max=256, help="Days simulated at the same time.")]


@app.callback()
def warning() -> None:
    """Warnings of breakdown and spillback."""


@app.command()
def fit(
    out: Annotated[Path, typer.Option(help="Table of coefficients to write, JSON.")],
    records: Records,
    train: Train = TRAINING_DAYS,
    jobs: Jobs = 1,
) -> None:
    """Fit the chances of breakdown and of the queue's reach on simulated days."""
    from api.warning.fitting import fit_models
    from api.warning.recording import check_days, draw_training
    from networks.scene import write_warning_models

    attempt(
        lambda: check_days("--train", train),
        lambda: _require(find_blocked(records)),
        lambda: _require([f"--out {out}: is a folder"] if out.is_dir() else []),
    )
    days = draw_training(train)
    series = load_series(days, records, jobs)
    models = fit_models(series)
    told = out.name if out.is_absolute() else out
    command = f"traffic warning fit --records {records.name} --train {train} --out {told}"
    fitted_on = f"simulated days of seeds {days[0].seed} to {days[-1].seed}"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_warning_models({TOWN: models}, out, command, fitted_on)
    console.print(str(out), soft_wrap=True, markup=False, highlight=False)


def bench(
    out: Annotated[Path, typer.Option(help="Folder that keeps days and scores.")],
    days: Annotated[int, typer.Option(min=1, help="Days to score on, seeds from 2000.")] = 60,
    train: Train = TRAINING_DAYS,
    records: Annotated[
        Path | None, typer.Option(help="Folder of recorded days; else days/ in --out.")
    ] = None,
    jobs: Jobs = 1,
) -> None:
    """Score breakdown and spillback warnings on simulated days, half of them calm."""
    from api.warning.fitting import fit_models
    from api.warning.overview import (
        FITTED,
        PRESENT,
        build_overview,
        judge,
        judge_queues,
    )
    from api.warning.overview import print_overview as print_all
    from api.warning.plots import draw_reliability
    from api.warning.recording import check_days, draw_scoring, draw_training
    from networks.days import DayBuilder
    from traffic.congestion import CongestionSettings

    attempt(
        lambda: check_days("--days", days),
        lambda: check_days("--train", train),
        lambda: _require(find_blocked(out)),
        lambda: _require(find_blocked(records) if records is not None else []),
    )
    with open_folder(out) as folder, tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
        kept = records if records is not None else folder / "days"
        training = load_series(draw_training(train), kept, jobs)
        scored = load_series(draw_scoring(days), kept, jobs)
        scenario = DayBuilder(Path(scratch)).base
        models = scenario.warnings.get(TOWN) or fit_models(training)
        judged = {
            FITTED: judge(training, scored, scenario, scenario.alerts, models),
            PRESENT: judge(training, scored, scenario, CongestionSettings(), None),
        }
        queues = judge_queues(training, scored, models)
        overview = build_overview(scenario, training, judged, queues, scenario.alerts)
        text = json.dumps(overview, indent=1, ensure_ascii=False, allow_nan=False)
        write_whole(folder / SUMMARY, text + "\n")
        panels = {
            f"breakdown, {FITTED}": judged[FITTED].odds,
            f"breakdown, {PRESENT}": judged[PRESENT].odds,
            "storage filled": {lead: one for (share, lead), one in queues.items() if share == 1},
        }
        draw_reliability(panels, folder / "reliability.png")
        print_all(judged, queues, console)
        console.print(str(folder / SUMMARY), soft_wrap=True, markup=False, highlight=False)


def load_series(days: Sequence[Day], folder: Path, jobs: int) -> "list[DaySeries]":
    """Simulate the days that the folder lacks; return all as the engine's parts see them."""
    from api.warning.recording import load_days, record_missing
    from api.warning.series import build_series
    from networks.days import DayBuilder

    record_missing(days, folder, jobs, console)
    with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
        scenario = DayBuilder(Path(scratch)).base
        return [build_series(record, scenario, TOWN) for record in load_days(days, folder)]


def _require(problems: list[str]) -> None:
    if problems:
        raise UserError(problems)
