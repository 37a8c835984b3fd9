"""`traffic bench`: what it is asked, and who does it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api.benchmark.health_command import health
from api.benchmark.incident_command import incidents
from api.benchmark.overview import SUMMARY, print_overview, write_overview
from api.benchmark.trials import (
    OPTIMIZED,
    PEERS,
    TIERS,
    Trial,
    check_asked,
    check_plans,
    is_able,
    load_results,
)
from api.comparing import do_runs, find_blocked, open_folder, raise_failures
from api.errors import UserError, attempt
from api.forecasting.command import bench_forecast
from api.seeds import parse_seeds
from api.warning.command import bench as bench_warning
from controllers import CONTROLLERS
from networks.resco import find_resco_maps

ALL = "all"
# By themselves these run the fixed-time program, too.
_FIXED = ("fixed-time", "responsive", "timetable")
COMPARED = (*PEERS, *(name for name in CONTROLLERS if name not in _FIXED))

app = typer.Typer(
    help="Benchmarks on published maps and data, and on simulated days.", no_args_is_help=True
)
app.command("forecast")(bench_forecast)
app.command()(incidents)
app.command()(health)
console = Console(emoji=False)


@app.callback()
def bench() -> None:
    """Benchmarks on published maps and data."""


@app.command()
def resco(
    out: Annotated[Path, typer.Option(help="Folder that keeps the evidence.")],
    maps: Annotated[str, typer.Option(help="all, or such as cologne1,grid4x4.")] = ALL,
    controllers: Annotated[
        str, typer.Option(help=f"all, or of {', '.join((*PEERS, *CONTROLLERS))}.")
    ] = ALL,
    tier: Annotated[str, typer.Option(help=f"What is sensed: {' | '.join(TIERS)}.")] = "lanes",
    seeds: Annotated[str, typer.Option(help="Such as 1-3 or 1,3,7.")] = "1-3",
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Runs at the same time.")] = 2,
    plans: Annotated[
        Path | None, typer.Option(help="For optimized: DIR/MAP as `traffic optimize` left it.")
    ] = None,
) -> None:
    """Run controllers on the RESCO maps, print their delay, write summary.json."""
    known = find_resco_maps()
    asked_maps = tuple(sorted(known)) if maps == ALL else _split(maps)
    asked = _split(controllers)
    if controllers == ALL:  # all that the tier has senses for
        asked = tuple(one for one in COMPARED if tier not in TIERS or is_able(one, tier))
        asked = tuple(one for one in asked if one != OPTIMIZED or plans is not None)
    _, numbers, _ = attempt(
        lambda: _require(check_asked(asked_maps, asked, tier, known, plans)),
        lambda: parse_seeds(seeds),
        lambda: _require(check_folder(out, tier)),
    )
    if plans is not None and OPTIMIZED in asked:
        _require(check_plans(plans, asked_maps))
    with open_folder(out) as folder:
        trials = [
            Trial(controller, map_id, tier, seed, folder, plans)
            for map_id in asked_maps
            for controller in asked
            for seed in numbers
        ]
        run_benchmark(trials, jobs)


app.command("warning")(bench_warning)


def run_benchmark(trials: Sequence[Trial], jobs: int) -> None:
    """Do the trials, and tell of all that the folder holds, whatever ends it.

    Raises UserError naming each failed run, FaultError when it was our fault.
    """
    folder = trials[0].folder
    try:
        failures = do_runs(trials, jobs, console)
    finally:
        results = load_results(folder)
        if results:
            print_overview(write_overview(folder, results), console)
    raise_failures(failures)
    console.print(str(folder / SUMMARY), soft_wrap=True, markup=False, highlight=False)


def check_folder(out: Path, tier: str) -> list[str]:
    """Return why the benchmark may not be kept there: unwritable, or runs of another tier."""
    problems = find_blocked(out)
    if problems:
        return problems
    return [
        f"--out {out}: {result.controller} on {result.map_id} there was sensed by {result.tier}"
        for result in load_results(out)
        if result.controller not in PEERS and result.tier != tier
    ]


def _split(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",")))


def _require(problems: list[str]) -> None:
    if problems:
        raise UserError(problems)
