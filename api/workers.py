"""Runs in processes of their own, as the simulator lives once in a process."""

import logging
import multiprocessing
import shutil
import signal
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar, cast

from api.errors import USER_ERRORS
from api.evidence import name_partial

END_S = 10.0  # for a process to clean up when it is told to end, before it is killed
STOPS = (signal.SIGINT, signal.SIGTERM)


class Job(Protocol):
    """What one process is to do. It is hashable, and crosses to the process whole."""

    @property
    def name(self) -> str: ...

    @property
    def target(self) -> Path:
        """The folder that appears when all is done."""
        ...

    def do(self, tell: Callable[[float], None]) -> None:
        """Do it; `tell` hears the share that is done. Raises one of USER_ERRORS."""
        ...


AnyJob = TypeVar("AnyJob", bound=Job)


@dataclass(frozen=True)
class Failure:
    """Why a run came to nothing; `is_fault` when it is ours and a traceback has been printed."""

    run: Job
    message: str
    is_fault: bool = False


@dataclass(frozen=True)
class _Worker:
    run: Job
    process: BaseProcess


def run_all(
    runs: Sequence[AnyJob], jobs: int, hear: Callable[[AnyJob, float], None]
) -> tuple[Failure, ...]:
    """Do the runs, `jobs` at a time; one that fails leaves the others alone.

    `hear` is told how far each run has come, 0..1. However this ends, no process is left, and
    nothing that was half-written.
    """
    waiting, failures = deque(runs), []
    active: dict[Connection, _Worker] = {}
    said: dict[Job, str] = {}
    with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
        try:
            while waiting or active:
                while waiting and len(active) < jobs:
                    ear, worker = _start(waiting.popleft(), Path(scratch))
                    active[ear] = worker
                for ear in cast(list[Connection], wait(list(active))):
                    run = cast(AnyJob, active[ear].run)
                    try:
                        word = ear.recv()
                    except (EOFError, OSError):
                        failure = _leave(active.pop(ear), said.get(run))
                        failures += [failure] if failure else []
                        hear(run, 1.0)
                        continue
                    if isinstance(word, str):
                        said[run] = word
                    else:
                        hear(run, word)
        finally:
            _end_all(list(active.values()))
    return tuple(failures)


def _start(run: Job, scratch: Path) -> tuple[Connection, _Worker]:
    context = multiprocessing.get_context("spawn")
    ear, mouth = context.Pipe(duplex=False)
    own = Path(tempfile.mkdtemp(dir=scratch))
    process = context.Process(target=_work, args=(run, mouth, own), name=run.name)
    # Ctrl-C goes to all processes of a terminal; the new one ignores it from its first moment.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    mouth.close()
    return ear, _Worker(run, process)


def _work(run: Job, mouth: Connection, scratch: Path) -> None:
    """Do one run; say what a user can mend, as errors do not cross whole."""
    signal.signal(signal.SIGTERM, _end)
    tempfile.tempdir = str(scratch)
    logging.disable(logging.WARNING)  # the parent has loaded the scenario, and said it all
    try:
        run.do(mouth.send)
    except BrokenPipeError:
        return  # nobody waits for it any more
    except (*USER_ERRORS, OSError) as error:
        own = name_partial(run.target, multiprocessing.current_process().pid or 0)
        mouth.send(str(error).replace(f"{own}/", ""))


def _end(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def _leave(worker: _Worker, said: str | None) -> Failure | None:
    """Take leave of a process that has closed its pipe; return what went wrong, if anything."""
    worker.process.join()
    _sweep(worker)
    code = worker.process.exitcode or 0
    if said is not None:
        return Failure(worker.run, said)
    if code < 0:
        name = signal.Signals(-code).name
        return Failure(worker.run, f"the simulator's process died ({name})")
    if code > 0:
        return Failure(worker.run, "a fault of ours, its traceback is above", is_fault=True)
    return None


def _end_all(workers: Sequence[_Worker]) -> None:
    with _deaf():
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(END_S)
            worker.process.kill()
            worker.process.join()
            _sweep(worker)


def _sweep(worker: _Worker) -> None:
    """Remove what a process left that could not clean up itself."""
    partial = name_partial(worker.run.target, worker.process.pid or 0)
    shutil.rmtree(partial, ignore_errors=True)
    if partial.parent.is_dir() and not any(partial.parent.iterdir()):
        partial.parent.rmdir()


@contextmanager
def _deaf() -> Iterator[None]:
    """Heed no second Ctrl-C while what the first one asked for is done."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
