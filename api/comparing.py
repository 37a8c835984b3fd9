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
from api.workers import Failure, run_all
from networks.scenario import Scenario


def compare(runs: Sequence[Run], jobs: int, console: Console, baseline: str | None = None) -> None:
    """Do the runs, `jobs` at a time, and print their figures beside those found in their folder.

    `baseline` is the response that the others are compared with, `none` when not given. Evidence,
    summary.json and report.html are kept in the folder; after Ctrl-C or an error they hold what
    was finished. Raises UserError naming each failed run, FaultError when it was our fault.
    """
    folder = runs[0].folder
    try:
        with _progress(console) as progress:
            tasks = {
                run: progress.add_task(f"{run.response} seed {run.seed}", total=1) for run in runs
            }
            failures = run_all(
                runs, jobs, lambda run, share: progress.update(tasks[run], completed=share)
            )
    finally:
        if any(folder.glob("*/seed-*/figures.json")):
            page = write_report(folder, baseline)
            print_summary(read_json(folder / "summary.json"), console)
    if not failures:
        console.print(
            f"{folder / 'summary.json'}, {page}", soft_wrap=True, markup=False, highlight=False
        )
        return
    if any(failure.is_fault for failure in failures):
        raise FaultError("\n".join(_describe(failures)))
    raise UserError(_describe(failures))


def _describe(failures: Iterable[Failure]) -> list[str]:
    """One problem once, with all runs that have it."""
    runs: dict[str, list[str]] = {}
    for failure in failures:
        name = f"{failure.run.response} seed {failure.run.seed}"
        runs.setdefault(failure.message, []).append(name)
    return [f"{', '.join(names)}: {message}" for message, names in runs.items()]


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


def check_out(out: Path | None, scenario: str) -> None:
    """Check that runs of a scenario may be kept there. Raises UserError with all problems."""
    if out is None:
        return
    there = next(place for place in (out, *out.absolute().parents) if place.exists())
    problems = []
    for place in (there, *(place for place in out.glob("*") if place.suffix == "")):
        if not place.is_dir():
            problems.append(f"--out {out}: {place} is a file")
        elif not os.access(place, os.W_OK | os.X_OK):
            problems.append(f"--out {out}: {place} is not writable")
    if not problems:
        problems += [
            f"--out {out}: {run.response} seed {run.seed} there belongs to scenario {run.scenario}"
            for run in load_runs(out)
            if run.scenario != scenario
        ]
    if problems:
        raise UserError(problems)


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
