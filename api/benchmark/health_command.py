"""`traffic bench health`: detectors that lie, found or not, and what they do to the response."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from api.benchmark.health_runs import BLIND, NONE, RESULT, WITHOUT, FaultyMorning
from api.benchmark.health_trials import score_days
from api.benchmark.incident_command import check_places
from api.benchmark.incident_days import Day, find_place, keep_exposure, write_json
from api.comparing import do_runs, find_blocked, open_folder, raise_failures
from api.errors import UserError, attempt
from api.figures import read_json
from api.seeds import parse_seeds
from networks.faulty_field import FaultKind

SUMMARY = "health.json"
MAPS = "heishizi,resco:ingolstadt7,resco:cologne8"
ALL = "all"
CASES = (WITHOUT, NONE, *(kind.value for kind in FaultKind), BLIND)

console = Console(emoji=False)


def health(
    out: Annotated[Path, typer.Option(help="Folder with recorded days; may be that of incidents.")],
    maps: Annotated[str, typer.Option(help="Scenarios and resco:<map>.")] = MAPS,
    seeds: Annotated[str, typer.Option(help="Days to break; multiples of 3 are clear.")] = "3",
    faults: Annotated[
        str, typer.Option(help=f"Mornings to simulate with the response: all, none or of {CASES}.")
    ] = ALL,
    morning_seeds: Annotated[str, typer.Option(help="Seeds of those mornings.")] = "1",
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Runs at the same time.")] = 1,
) -> None:
    """Break detectors in recorded days and in mornings with a response; tell what was found."""
    places = tuple(dict.fromkeys(part.strip() for part in maps.split(",")))
    cases = {ALL: CASES, "none": ()}.get(faults) or _split(faults)

    def check() -> None:
        problems = [*check_places(places), *find_blocked(out)]
        problems += [
            f"--faults {case!r}: expected all, none or some of {', '.join(CASES)}"
            for case in cases
            if case not in CASES
        ]
        if problems:
            raise UserError(problems)

    numbers, mornings, _ = attempt(
        lambda: parse_seeds(seeds), lambda: parse_seeds(morning_seeds), check
    )
    with open_folder(out) as folder:
        days = [Day(place, seed, folder) for place in places for seed in numbers]
        runs = [FaultyMorning(case, seed, folder) for seed in mornings for case in cases]
        _simulate(folder, days, runs, jobs)
        overview = {
            "format": 1,
            "days": "faults begin after 35 % of the day; time to find is counted from there",
            "places": score_days(days),
            "response": [read_json(run.target / RESULT) for run in runs],
        }
        print_overview(overview)
        write_json(folder / SUMMARY, overview)
        console.print(str(folder / SUMMARY), soft_wrap=True, markup=False, highlight=False)


def _split(text: str) -> tuple[str, ...]:
    if text == "none":
        return ()
    return tuple(dict.fromkeys(part.strip() for part in text.split(",")))


def _simulate(folder: Path, days: list[Day], runs: list[FaultyMorning], jobs: int) -> None:
    missing = [day for day in days if not day.is_done]
    for place in dict.fromkeys(day.place for day in missing):
        find_place(folder, place).mkdir(parents=True, exist_ok=True)
        keep_exposure(folder, place)
    if missing:
        raise_failures(do_runs(missing, jobs, console))
    waiting = [run for run in runs if not run.is_done]
    if waiting:
        raise_failures(do_runs(waiting, jobs, console))


def print_overview(overview: Mapping[str, Any]) -> None:
    """Print what was found of each kind, and each morning's speed."""
    table = Table("place", "fault", title="faults in recorded days")
    for column in ("found", "misnamed", "missed", "min to find", "wrongly failed"):
        table.add_column(column, justify="right")
    for place, told in overview["places"].items():
        for kind, one in told["kinds"].items():
            found = f"{one['found']} of {one['injected']}"
            table.add_row(
                place,
                kind,
                found,
                str(one["misnamed"]),
                str(one["missed"]),
                str(one["median_time_to_find_min"]),
                f"{one['wrongly_failed']} of {one['sound_loops']}",
            )
        calm = told["unbroken"]
        wrong = ", ".join(f"{number} {name}" for name, number in calm["wrongly_failed"].items())
        table.add_row(place, "none", "", "", "", "", f"{wrong or 0} of {calm['loop_days']}")
    console.print(table)
    if overview["response"]:
        speeds = Table("fault", "seed", "network mean speed, km/h", "response begins, s")
        for one in overview["response"]:
            speeds.add_row(
                one["fault"],
                str(one["seed"]),
                str(one["mean_speed_kmh"]),
                str(one["response_begins_s"]),
            )
        console.print(speeds)
