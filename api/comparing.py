"""Responses side by side: runs in processes of their own, then summary and report."""

import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from api.errors import USER_ERRORS, UserError
from api.report import write_report
from api.runs import Run, run_once
from api.summary import write_summary
from api.tables import print_summary
from networks import load

Word = tuple[Run, float]
POLL_S = 0.2

_words: "Queue[Word] | None" = None  # of a worker process


def _enter_worker(words: "Queue[Word]") -> None:
    """Leave Ctrl-C to the parent, which ends the workers."""
    global _words
    _words = words
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(run: Run) -> str | None:
    """Do one run; return the message of what a user can mend, as errors do not cross whole."""
    words = _words

    def tell(share: float) -> None:
        if words is not None:
            words.put((run, share))

    try:
        run_once(run, tell)
    except USER_ERRORS as error:
        return str(error)
    return None


def compare(
    scenario: str,
    responses: Sequence[str],
    seeds: Sequence[int],
    out: Path | None,
    jobs: int,
    console: Console,
) -> None:
    """Run every response with every seed, `jobs` at a time, and print their figures.

    The first response is the baseline. Evidence, summary.json and report.html are kept in `out`;
    after Ctrl-C or an error they hold what was finished. Raises UserError naming each failed run.
    """
    with _folder(out) as folder:
        _check(scenario, folder)
        runs = [Run(scenario, response, seed, folder) for seed in seeds for response in responses]
        try:
            problems = _run_all(runs, jobs, console)
        finally:
            if any(folder.glob("*/seed-*/figures.json")):
                print_summary(write_summary(folder, responses[0]), console)
                write_report(folder)
                if out is not None:
                    console.print(f"{out / 'summary.json'}, {out / 'report.html'}")
        if problems:
            raise UserError(problems)


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
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


def _check(scenario: str, folder: Path) -> None:
    """Build the scenario once here, so that what is wrong with it is said once and at once."""
    with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
        load(scenario, 1, Path(scratch))
    problems = []
    for path in sorted(folder.glob("*/seed-*/figures.json")):
        if f'"scenario": "{scenario}"' not in path.read_text(encoding="utf-8"):
            problems.append(f"--out {folder}: {path} belongs to another scenario")
    if problems:
        raise UserError(problems)


def _run_all(runs: Sequence[Run], jobs: int, console: Console) -> list[str]:
    context = multiprocessing.get_context("spawn")
    words: Queue[Word] = context.Queue()
    problems: list[str] = []
    # The simulator lives once in a process, so each run has one of its own.
    pool = ProcessPoolExecutor(
        min(jobs, len(runs)), context, _enter_worker, (words,), max_tasks_per_child=1
    )
    with _progress(console) as progress:
        tasks = {run: progress.add_task(f"{run.response} seed {run.seed}", total=1) for run in runs}
        try:
            waiting: dict[Future[str | None], Run] = {pool.submit(_work, run): run for run in runs}
            while waiting:
                done, _ = wait(waiting, POLL_S)
                _drain(words, lambda run, share: progress.update(tasks[run], completed=share))
                for future in done:
                    run = waiting.pop(future)
                    progress.update(tasks[run], completed=1)
                    try:
                        problem = future.result()
                    except BrokenProcessPool:
                        problem = "the simulator's process died"
                    if problem:
                        problems.append(f"{run.response} seed {run.seed}: {problem}")
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return problems


def _drain(words: "Queue[Word]", hear: Callable[[Run, float], Any]) -> None:
    while True:
        try:
            hear(*words.get_nowait())
        except Empty:
            return


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
