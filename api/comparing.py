"""Responses side by side: every run, then summary and report."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from api.assembly import build_plans
from api.errors import FaultError, UserError
from api.figures import read_json
from api.report import write_report
from api.runs import Run
from api.summary import load_runs
from api.tables import print_summary
from api.workers import Failure, Job, run_all
from networks.scenario import Scenario

MANY_RUNS = 12  # whose bars do not all fit on a screen


def compare(runs: Sequence[Run], jobs: int, console: Console, baseline: str | None = None) -> None:
    """Do the runs, `jobs` at a time, and print their figures beside those found in their folder.

    `baseline` is the response that the others are compared with, `none` when not given. Evidence,
    summary.json and report.html are kept in the folder; after Ctrl-C or an error they hold what
    was finished. Raises UserError naming each failed run, FaultError when it was our fault.
    """
    folder = runs[0].folder
    try:
        failures = do_runs(runs, jobs, console)
    finally:
        if any(folder.glob("*/seed-*/figures.json")):
            page = write_report(folder, baseline)
            print_summary(read_json(folder / "summary.json"), console)
    raise_failures(failures)
    console.print(
        f"{folder / 'summary.json'}, {page}", soft_wrap=True, markup=False, highlight=False
    )


def do_runs(runs: Sequence[Job], jobs: int, console: Console) -> tuple[Failure, ...]:
    """Do the runs, `jobs` at a time, and show how far each has come; of many, those under way."""
    is_many = len(runs) > MANY_RUNS
    with _progress(console) as progress:
        whole = progress.add_task(f"{len(runs)} runs", total=len(runs), visible=is_many)
        tasks = {run: progress.add_task(run.name, total=1, visible=not is_many) for run in runs}

        def show(run: Job, share: float) -> None:
            progress.update(tasks[run], completed=share, visible=not is_many or share < 1)
            progress.update(whole, advance=share == 1)

        return run_all(runs, jobs, show)


def raise_failures(failures: Sequence[Failure]) -> None:
    """Raise UserError naming each failed run, FaultError when one was our fault; none is fine.

    One problem is told once, with all runs that have it.
    """
    runs: dict[str, list[str]] = {}
    for failure in failures:
        runs.setdefault(failure.message, []).append(failure.run.name)
    told = [f"{', '.join(names)}: {message}" for message, names in runs.items()]
    if any(failure.is_fault for failure in failures):
        raise FaultError("\n".join(told))
    if told:
        raise UserError(told)


@contextmanager
def open_folder(out: Path | None) -> Iterator[Path]:
    """Give the folder that keeps the evidence, by default one that is gone afterwards.

    Raises UserError when it cannot be made.
    """
    if out is None:
        with tempfile.TemporaryDirectory(prefix="traffic-") as folder:
            yield Path(folder)
        return
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError([f"--out {out}: {error.strerror}"]) from error
    try:
        yield out
    finally:
        if is_new and not any(out.iterdir()):
            out.rmdir()


def check_out(out: Path | None, scenario: str, controller: str | None = None) -> None:
    """Check that runs of a scenario, under a controller at every signal if one is named, may be
    kept there.

    Raises UserError with all problems.
    """
    if out is None:
        return
    problems = find_blocked(out)
    if not problems:
        problems += [
            f"--out {out}: {run.response} seed {run.seed} there belongs to scenario {run.scenario}"
            for run in load_runs(out)
            if run.scenario != scenario
        ]
        problems += [
            f"--out {out}: {run.response} seed {run.seed} there had "
            f"{run.controller or 'no controller of its own'}, not {controller or 'none'}"
            for run in load_runs(out)
            if run.scenario == scenario and run.controller != controller
        ]
    if problems:
        raise UserError(problems)


def find_blocked(out: Path) -> list[str]:
    """Return what keeps a folder, or the folders right in it, from being written to."""
    there = next(place for place in (out, *out.absolute().parents) if place.exists())
    problems = []
    for place in (there, *(place for place in out.glob("*") if place.suffix == "")):
        if not place.is_dir():
            problems.append(f"--out {out}: {place} is a file")
        elif not os.access(place, os.W_OK | os.X_OK):
            problems.append(f"--out {out}: {place} is not writable")
    return problems


def find_inert(scenario: Scenario, responses: Iterable[str]) -> list[str]:
    """Return the kinds of response that the scenario has no bottleneck or no means for."""
    able = {plan.id.rpartition(":")[2] for plan in build_plans(scenario)}
    return [kind for kind in responses if kind not in able | {"none", "nav"}]


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
