"""How a benchmark registers itself, and how it is run, timed or not.

Every figure is a ratio of two wall times, so that it means the same on a slow machine: the
subject's over the baseline's, which is either other work or the seconds that the street allows.
"""

import gc
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Generic, TypeVar

Work = Callable[[], object]
T = TypeVar("T")


class WrongAnswerError(Exception):
    """A benchmark was fast or slow, but wrong: lists every answer that differs."""


@dataclass(frozen=True)
class Case(Generic[T]):
    """What is timed once everything it needs has been built.

    `check` maps the subject's answer to {what is compared: (expected, found)}.
    """

    subject: Callable[[], T]
    baseline: Work | float  # other work, or the seconds that the subject is compared with
    check: Callable[[T], Mapping[str, tuple[object, object]]]


@dataclass(frozen=True)
class Benchmark:
    """A registered benchmark; `build` gets True when it is only to be tried, and may be small."""

    name: str
    what: str
    at_most: float
    build: Callable[[bool], Case[Any]]
    repeats: int


BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(
    name: str, what: str, at_most: float, repeats: int = 5
) -> Callable[[Callable[[bool], Case[T]]], Callable[[bool], Case[T]]]:
    """Register the decorated function under `name`; raises ValueError when the name is taken."""

    def register(build: Callable[[bool], Case[T]]) -> Callable[[bool], Case[T]]:
        if name in BENCHMARKS:
            raise ValueError(f"benchmark {name} is registered twice")
        BENCHMARKS[name] = Benchmark(name, what, at_most, build, repeats)
        return build

    return register


def load_benchmarks() -> Mapping[str, Benchmark]:
    """Import every file beside this one, so that each registers itself; return them by name."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name != "__main__":
            import_module(f"bench.{module.name}")
    return dict(sorted(BENCHMARKS.items()))


def run_once(entry: Benchmark) -> None:
    """Run subject and baseline once, untimed, and check the answer. Raises WrongAnswerError."""
    case = entry.build(True)
    _check(entry, case, case.subject())
    if callable(case.baseline):
        case.baseline()


def measure(entry: Benchmark) -> float:
    """Return the median ratio over the repeats. Raises WrongAnswerError."""
    case = entry.build(False)
    ratios = []
    for _ in range(entry.repeats):
        # Side by side, so that a machine that slows down slows both.
        baseline_s = _time(case.baseline)[0] if callable(case.baseline) else case.baseline
        subject_s, answer = _time(case.subject)
        _check(entry, case, answer)
        ratios.append(subject_s / baseline_s)
    return median(ratios)


def _check(entry: Benchmark, case: Case[Any], answer: object) -> None:
    wrong = [
        f"{entry.name}: {what}: expected {expected!r}, found {found!r}"
        for what, (expected, found) in case.check(answer).items()
        if expected != found
    ]
    if wrong:
        raise WrongAnswerError("\n".join(wrong))


def _time(work: Work) -> tuple[float, object]:
    gc.collect()
    begun = perf_counter()
    answer = work()
    return perf_counter() - begun, answer
