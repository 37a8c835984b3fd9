"""summary.json of a comparison: a pure fold over the figures of the finished runs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from api.evidence import EvidenceError, write_whole
from api.figures import FIELDS, read_json
from traffic.performance import Interval, mean_interval

FORMAT = 1
CLOCK = "s after midnight"
# Little help to much help; others follow.
ORDER = ("none", "nav", "gating", "timing", "advice", "full")


@dataclass(frozen=True)
class Run:
    """The figures of one finished run, those per purpose or gate named `figure.key`."""

    scenario: str
    title: Mapping[str, str]
    response: str
    seed: int
    figures: Mapping[str, float | None]
    controller: str | None = None  # of every signal, if one was named


def flatten(figures: Mapping[str, Any]) -> dict[str, float | None]:
    """Name each value of a mapping `figure.key`; leave the others as they are."""
    flat: dict[str, float | None] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": each for key, each in value.items()}
        else:
            flat[name] = value
    return flat


def load_runs(folder: Path) -> tuple[Run, ...]:
    """Load the finished runs of `folder/<response>/seed-<n>/`, by response and seed.

    Runs that did not finish left no figures.json and are not there. Raises EvidenceError listing
    every file that is broken.
    """
    runs, problems = [], []
    for path in sorted(folder.glob("*/seed-*/figures.json")):
        if path.parent.name.startswith(".") or path.parts[-3].startswith("."):
            continue
        try:
            run = read_json(path)
            runs.append(
                Run(
                    run["scenario"],
                    run["title"],
                    run["response"],
                    int(run["seed"]),
                    flatten(run["figures"]),
                    run.get("controller"),
                )
            )
        except EvidenceError as error:
            problems.append(str(error))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problems.append(f"{path}: not the figures of a run: {type(error).__name__} {error}")
    if problems:
        raise EvidenceError("\n".join(problems))
    return tuple(sorted(runs, key=_rank))


def _rank(run: Run) -> tuple[int, str, int]:
    known = ORDER.index(run.response) if run.response in ORDER else len(ORDER)
    return known, run.response, run.seed


def is_clock(name: str) -> bool:
    """Whether a figure is a time of day, of which a ratio means nothing."""
    return FIELDS[name.partition(".")[0]].unit == CLOCK


def _names(runs: Iterable[Run]) -> list[str]:
    """All figures of the runs, in the order of FIELDS and then by key."""
    order = {name: at for at, name in enumerate(FIELDS)}
    known = {n for run in runs for n in run.figures if n.partition(".")[0] in order}
    return sorted(known, key=lambda name: (order[name.partition(".")[0]], name))


def _plain(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else asdict(interval)


def _paired(
    names: Iterable[str], base: Mapping[int, Run], other: Mapping[int, Run]
) -> dict[str, dict[str, Any] | None]:
    """Differences other - base over the seeds of both, per figure; None where no pair has both."""
    differences: dict[str, dict[str, Any] | None] = {}
    for name in names:
        pairs = [
            (float(before), float(after))
            for seed in sorted(base.keys() & other.keys())
            if (before := base[seed].figures.get(name)) is not None
            and (after := other[seed].figures.get(name)) is not None
        ]
        interval = mean_interval([after - before for before, after in pairs])
        if interval is None:
            differences[name] = None
            continue
        mean = sum(before for before, _ in pairs) / len(pairs)
        has_ratio = mean > 0 and FIELDS[name.partition(".")[0]].has_ratio
        differences[name] = {
            **asdict(interval),
            "baseline_mean": mean,
            "relative": _plain(interval.relative_to(mean)) if has_ratio else None,
        }
    return differences


def build_summary(runs: Iterable[Run], baseline: str | None = None) -> dict[str, Any]:
    """Fold the runs of one scenario into the content of summary.json.

    `baseline` is the response that the others are compared with; by default `none`, and without
    such runs there are no differences. Raises EvidenceError without runs, or when they are of
    several scenarios.
    """
    by_response: dict[str, dict[int, Run]] = {}
    for run in sorted(runs, key=_rank):
        by_response.setdefault(run.response, {})[run.seed] = run
    every = [run for of_seed in by_response.values() for run in of_seed.values()]
    scenarios = sorted({run.scenario for run in every})
    if not every:
        raise EvidenceError("no finished run to summarize")
    if len(scenarios) > 1:
        raise EvidenceError(f"runs of several scenarios in one place: {', '.join(scenarios)}")
    names = _names(every)
    base_id = "none" if baseline is None else baseline
    base = by_response.get(base_id, {})
    responses = {
        response: {
            "seeds": {str(s): dict(of_seed[s].figures) for s in sorted(of_seed)},
            "mean": {
                name: _plain(
                    mean_interval(
                        [
                            float(value)
                            for run in of_seed.values()
                            if (value := run.figures.get(name)) is not None
                        ]
                    )
                )
                for name in names
            },
        }
        for response, of_seed in sorted(by_response.items(), key=lambda item: item[0] != base_id)
    }
    return {
        "format": FORMAT,
        "scenario": scenarios[0],
        "title": dict(every[0].title),
        "baseline": base_id if base else None,
        "responses": responses,
        "differences": {
            response: _paired(names, base, of_seed)
            for response, of_seed in by_response.items()
            if base and response != base_id
        },
        "fields": {name: asdict(field) for name, field in FIELDS.items()},
    }


def write_summary(folder: Path, baseline: str | None = None) -> dict[str, Any]:
    """Write `folder/summary.json` from the finished runs under it and return its content.

    Raises EvidenceError as `load_runs` and `build_summary` do; an older summary then stands.
    """
    summary = build_summary(load_runs(folder), baseline)
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "summary.json", text + "\n")
    return summary
