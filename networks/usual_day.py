"""Usual days: what the loops ahead of a bottleneck counted on mornings like the one to come.

A city has such recordings; here they are made with the scenario itself, on seeds that are neither
tuned on nor reported (`python -m networks.usual_day heishizi 21 22 23 24`).
"""

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from networks.scenario import Scenario
from traffic.forecasting import UsualDay, build_usual_day
from traffic.health import HealthScreen
from traffic.model import ModelError
from traffic.readings import LoopBatch

FOLDER = Path(__file__).parent / "data"
STEP_S = 900.0
_TIME, _FLOW = "begin_s", re.compile(r"(?P<loop>\S+) flow_vph")


def find_usual_day(town: str) -> UsualDay | None:
    """Load the day recorded for a town; None where none was."""
    path = FOLDER / f"{town}_usual_day.csv"
    return load_usual_day(path) if path.exists() else None


def load_usual_day(path: Path) -> UsualDay:
    """Load a table of `begin_s` (since midnight) and one column "<loop> flow_vph" for each loop.

    An empty field is a flow that was never seen. Raises ModelError with all problems at once.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream)
    except (OSError, ValueError, csv.Error) as error:
        raise ModelError(f"usual day {path}", [f"can't be read: {error}"]) from error
    columns = [_FLOW.fullmatch(title) for title in header[1:]]
    problems = [
        f"column {title!r} is not '<loop> flow_vph'"
        for title, found in zip(header[1:], columns, strict=True)
        if found is None
    ]
    if header[:1] != [_TIME]:
        problems.append(f"first column is {''.join(header[:1])!r}, expected {_TIME}")
    problems += [f"column {title!r} is there twice" for title in _find_repeated(header)]
    table = np.full((len(rows), max(len(header), 1)), np.nan)
    for i, row in enumerate(rows):
        if len(row) != len(header):
            problems.append(f"row {i + 1} has {len(row)} fields, expected {len(header)}")
            continue
        for j, text in enumerate(row):
            try:
                table[i, j] = float(text or "nan")
            except ValueError:
                problems.append(f"row {i + 1}, {header[j]}: {text!r} is no number")
    steps = np.diff(table[:, 0])
    if len(rows) < 2 or not (steps > 0).all() or not np.allclose(steps, steps[0]):
        problems.append(f"{_TIME} must rise in equal steps, in at least two rows")
    if problems:
        raise ModelError(f"usual day {path}", problems)
    loops = tuple(found["loop"] for found in columns if found is not None)
    return UsualDay(float(table[0, 0]), float(steps[0]), loops, table[:, 1:].copy())


def write_usual_day(day: UsualDay, path: Path) -> None:
    """Write a table that `load_usual_day` reads, flows in whole vehicles per hour."""
    work = path.with_suffix(".partial")
    with work.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([_TIME, *(f"{loop} flow_vph" for loop in day.loops)])
        for i, flows in enumerate(day.flow_vph):
            told = ("" if np.isnan(flow) else f"{flow:.0f}" for flow in flows)
            writer.writerow([f"{day.begin_s + i * day.step_s:.0f}", *told])
    work.replace(path)


def _find_repeated(titles: Sequence[str]) -> list[str]:
    return [title for i, title in enumerate(titles) if title in titles[:i]]


def record_usual_day(scenarios: Iterable[Scenario]) -> UsualDay:
    """Drive scenarios of one network to their end and average what their feeders counted."""
    days: list[LoopBatch] = []
    loops: Sequence[str] = ()
    for scenario in scenarios:
        loops = [loop for b in scenario.network.bottlenecks.values() for loop in b.feeders]
        days += _drive(scenario)
    return build_usual_day(days, tuple(dict.fromkeys(loops)), STEP_S)


def _drive(scenario: Scenario) -> Iterator[LoopBatch]:
    from networks.sumo_field import SumoField

    screen = HealthScreen(scenario.network)
    with SumoField(scenario) as field:
        is_running = True
        while is_running:
            batch = field.read().centre
            if batch is not None:
                yield screen.screen(batch, field.now_s)
            is_running = field.advance()


if __name__ == "__main__":
    from networks import load

    name, *seeds = sys.argv[1:]
    recorded = record_usual_day(load(name, int(seed)) for seed in seeds)
    write_usual_day(recorded, FOLDER / f"{name}_usual_day.csv")
