"""`traffic bench incidents`: blockages on simulated days, found by ours and by two classics."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from api.benchmark.incident_chances import Told, judge_chances
from api.benchmark.incident_days import Day, find_place, keep_exposure, write_json
from api.benchmark.incident_scores import DayScore, fold_scores
from api.benchmark.incident_trials import (
    ALGORITHMS,
    FOLDS,
    OURS,
    PEERS,
    calibrate,
    fit_places,
    list_usual_backgrounds,
    load_trial,
    score_fresh,
    score_ours,
    score_peer,
)
from api.comparing import do_runs, find_blocked, open_folder, raise_failures
from api.errors import UserError, attempt
from api.seeds import parse_seeds
from networks import SCENARIOS
from networks.resco import RESCO, find_resco_maps
from traffic.incidents.chance import fit_calibration
from traffic.incidents.weights import build_table

SUMMARY = "summary.json"
MAPS = "heishizi,resco:ingolstadt7,resco:cologne8"
# place -> seeds of training, seeds of scoring
PLAN: Mapping[str, tuple[str, str]] = {
    "heishizi": ("101-114", "7-12"),
    "onramp": ("101-130", ""),  # a mainline that is quick to simulate: for the weights only
}
USUAL_PLAN = ("101-160", "37-72")
DRAWS = 1  # seed of the bootstrap
FRESH = "fresh"  # ours in an engine that has just been started, at the scene's threshold

console = Console(emoji=False)

Seeds = tuple[int, ...]


def plan_seeds(
    places: Iterable[str], training: str, scoring: str
) -> dict[str, tuple[Seeds, Seeds]]:
    """Return the seeds of each place. Raises UserError naming all that stand for both."""
    planned, problems = {}, []
    for place in places:
        usual = PLAN.get(place, USUAL_PLAN)
        train = parse_seeds(training or usual[0])
        text = scoring or usual[1]
        score = parse_seeds(text) if usual[1] else ()
        both = sorted(set(train) & set(score))
        if both:
            problems.append(f"{place}: seeds {both} are for training and for scoring")
        planned[place] = (train, score)
    if problems:
        raise UserError(problems)
    return planned


def check_places(places: Iterable[str]) -> list[str]:
    """Return what is wrong with the names of places."""
    maps = sorted(f"{RESCO}{one}" for one in find_resco_maps())
    known = [*SCENARIOS, *maps]
    return [
        f"--maps {place!r}: expected some of {', '.join(known)}"
        for place in places
        if place not in known
    ]


def incidents(
    out: Annotated[Path, typer.Option(help="Folder that keeps every recorded day.")],
    maps: Annotated[str, typer.Option(help="Scenarios and resco:<map>.")] = MAPS,
    training: Annotated[str, typer.Option(help="Seeds to calibrate on; else by place.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds to score on; else by place.")] = "",
    budget: Annotated[float, typer.Option(help="False alarms per network-hour.")] = 0.75,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Days at the same time.")] = 1,
) -> None:
    """Find lane blockages on simulated days; score ours, California #7 and SND."""
    places = tuple(dict.fromkeys(part.strip() for part in maps.split(",")))

    def check() -> None:
        problems = [*check_places(places), *find_blocked(out)]
        if not 0 < budget < 1000:
            problems.append(f"--budget {budget}: expected above 0 and below 1000")
        if problems:
            raise UserError(problems)

    helped = [*places, *(p for p in ("onramp",) if "heishizi" in places and p not in places)]
    planned, _ = attempt(lambda: plan_seeds(helped, training, seeds), check)
    with open_folder(out) as folder:
        _record(folder, planned, jobs)
        overview = score_places(folder, planned, budget)
        print_overview(overview)
        write_json(folder / SUMMARY, overview)
        console.print(str(folder / SUMMARY), soft_wrap=True, markup=False, highlight=False)


def _record(folder: Path, planned: Mapping[str, tuple[Seeds, Seeds]], jobs: int) -> None:
    days = [
        Day(place, seed, folder)
        for place, (train, score) in planned.items()
        for seed in (*train, *score)
    ]
    missing = [day for day in days if not day.is_done]
    for place in dict.fromkeys(day.place for day in missing):
        find_place(folder, place).mkdir(parents=True, exist_ok=True)
        keep_exposure(folder, place)
    if missing:
        raise_failures(do_runs(missing, jobs, console))


def score_places(
    folder: Path, planned: Mapping[str, tuple[Seeds, Seeds]], budget: float
) -> dict[str, Any]:
    """Fit the weights on all training days, calibrate each place on its own, score the rest."""
    trials = [load_trial(place, folder, *seeds) for place, seeds in planned.items()]
    fitted = fit_places(trials)
    by_fold = [fit_places(trials, fold) for fold in range(FOLDS)]
    rng = np.random.default_rng(DRAWS)
    by_place: dict[str, dict[str, Any]] = {}
    everything: dict[str, list[DayScore]] = {name: [] for name in ALGORITHMS}
    trained: list[Told] = []
    scored: list[Told] = []
    for trial in trials:
        if not trial.scoring:
            continue
        found = by_place[trial.name] = {
            "training_seeds": [seen.day.seed for seen in trial.training],
            "scoring_seeds": [seen.day.seed for seen in trial.scoring],
        }
        threshold, told = calibrate(trial, by_fold, budget)
        trained += told
        scores, told = score_ours(trial, fitted, threshold)
        scored += told
        everything[OURS] += scores
        setting: Mapping[str, Any] = {"threshold": round(threshold, 3)}
        found[OURS] = {"setting": setting, **fold_scores(scores, rng)}
        for name in PEERS:
            scores, setting = score_peer(trial, name, budget)
            everything[name] += scores
            found[name] = {"setting": setting, **fold_scores(scores, rng)}
        found[FRESH] = {
            "threshold": trial.threshold,
            "training": fold_scores(
                score_fresh(trial, trial.training), np.random.default_rng(DRAWS)
            ),
            **fold_scores(score_fresh(trial, trial.scoring), np.random.default_rng(DRAWS)),
        }
    return {
        "format": 2,
        "algorithms": dict(ALGORITHMS),
        "budget_per_hour": budget,
        "settings": "weights fitted and thresholds calibrated on the training seeds alone",
        "intervals": "95 %, bootstrap over days",
        "weights": build_table(fitted),
        "backgrounds": list_usual_backgrounds(trials),
        "chance": score_chances(trained, scored),
        "total": {name: fold_scores(scores, rng) for name, scores in everything.items()},
        "places": by_place,
    }


def score_chances(trained: Sequence[Told], scored: Sequence[Told]) -> dict[str, Any]:
    """Calibrate the chance on what was told in training, and judge it on the rest."""
    every = np.concatenate(trained)
    came = every[:, 2] > 0
    if not 0 < came.sum() < len(came):  # too few findings to learn from
        return {"intervals": 0}
    fitted = fit_calibration(every[:, 0], every[:, 1], came)
    return {
        "calibration": {name: round(value, 3) for name, value in asdict(fitted).items()},
        "static_rate": round(float(came.mean()), 3),
        **judge_chances(fitted, scored, float(came.mean())),
    }


def print_overview(overview: Mapping[str, Any]) -> None:
    """Print one line per place and algorithm."""
    budget = overview["budget_per_hour"]
    table = Table("place", "algorithm", title=f"budget {budget:g} false alarms per network-hour")
    for column in ("found", "detection rate", "false/h", "min to detect"):
        table.add_column(column, justify="right")
    for place, found in (*overview["places"].items(), ("total", overview["total"])):
        for name in (*ALGORITHMS, FRESH):
            if name not in found:
                continue
            one = found[name]
            table.add_row(
                place,
                name,
                f"{one['found']} of {one['blockages']}",
                *(
                    _tell(one[figure])
                    for figure in ("detection_rate", "false_per_hour", "time_to_detect_min")
                ),
            )
    console.print(table)


def _tell(value: Mapping[str, float | None]) -> str:
    if value["mean"] is None:
        return "none"
    return f"{value['mean']:.2f} ({value['low']:.2f} to {value['high']:.2f})"
