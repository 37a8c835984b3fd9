"""`traffic forecast` and `traffic bench forecast`: what they are asked, and who does it."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console

from api.comparing import find_blocked, open_folder
from api.errors import UserError, attempt

console = Console(emoji=False)
app = typer.Typer(help="Forecasts for your own loop data.", no_args_is_help=True)


@app.callback()
def forecast() -> None:
    """Forecasts for your own loop data."""


Data = Annotated[
    list[Path], typer.Option(help="CSV or Parquet; name it again for each further file.")
]
Out = Annotated[Path, typer.Option(help="Folder for the account of the data, and forecasts.")]
UnitName = Annotated[str, typer.Option(help="mph, km/h, m/s, veh/h, veh/5min, percent, ratio.")]
Zone = Annotated[str, typer.Option(help="Of times without an offset, such as Asia/Shanghai.")]
Stamp = Annotated[
    str | None, typer.Option(help="Column of times; else time, timestamp or the like.")
]
DetectorColumn = Annotated[
    str | None,
    typer.Option(help="Column of detectors, of a long table; else each column is a detector."),
]
ValueColumn = Annotated[str, typer.Option(help="Column of values, of a long table.")]
Begin = Annotated[
    str | None, typer.Option(help="Local time of the first row, where there is no column of times.")
]
Interval = Annotated[
    float | None, typer.Option(min=1, help="Seconds; else the commonest one in the data.")
]
Graph = Annotated[
    Path | None, typer.Option(help="CSV of from, to, weight: which detectors are near which.")
]
Free = Annotated[
    float | None, typer.Option(min=1, help="Speed of free traffic, km/h, to check the unit by.")
]
Slow = Annotated[
    float | None, typer.Option(min=1, help="Congestion begins below this speed, km/h; else 64.")
]
Lightgbm = Annotated[bool, typer.Option("--challenger", help="LightGBM speaks where it wins.")]
Model = Annotated[
    Path | None, typer.Option(help="Folder of a fit to go on from, with data that come after.")
]


@app.command()
def fit(
    data: Data,
    unit: UnitName,
    zone: Zone,
    out: Out,
    stamp: Stamp = None,
    detector: DetectorColumn = None,
    value: ValueColumn = "value",
    begin: Begin = None,
    interval: Interval = None,
    graph: Graph = None,
    free: Free = None,
    slow: Slow = None,
    challenger: Lightgbm = False,
    model: Model = None,
) -> None:
    """Learn from all of the data; save that, and write the forecasts after the last reading."""
    from api.forecasting import own_data

    declared = _declare(unit, zone, stamp, detector, value, begin, interval)
    _check(data, out)
    with open_folder(out) as folder:
        wish = own_data.Wish(
            tuple(data), declared, folder, graph, free, slow, challenger, model=model
        )
        own_data.fit(wish, console)


@app.command()
def evaluate(
    data: Data,
    unit: UnitName,
    zone: Zone,
    out: Out,
    stamp: Stamp = None,
    detector: DetectorColumn = None,
    value: ValueColumn = "value",
    begin: Begin = None,
    interval: Interval = None,
    graph: Graph = None,
    free: Free = None,
    slow: Slow = None,
    challenger: Lightgbm = False,
    model: Model = None,
    train: Annotated[
        float | None,
        typer.Option(
            min=0, max=0.99, help="Share of the times that is not scored; else 0.8, 0 of a model."
        ),
    ] = None,
) -> None:
    """Forecast time after time, learning on; score the last part beside persistence."""
    from api.forecasting import own_data

    declared = _declare(unit, zone, stamp, detector, value, begin, interval)
    _check(data, out)
    with open_folder(out) as folder:
        wish = own_data.Wish(
            tuple(data), declared, folder, graph, free, slow, challenger, train, model
        )
        own_data.evaluate(wish, console)


def _declare(
    unit: str,
    zone: str,
    stamp: str | None,
    detector: str | None,
    value: str,
    begin: str | None,
    interval: float | None,
) -> Any:
    """Return what the data are declared to be. Raises UserError with all problems."""
    from api.forecasting.tables import Declared
    from api.forecasting.units import parse_unit

    found_unit, found_zone, first = attempt(
        lambda: parse_unit(unit), lambda: _parse_zone(zone), lambda: _parse_begin(begin)
    )
    if first is not None and first.tzinfo is None:
        first = first.replace(tzinfo=found_zone)
    return Declared(found_unit, found_zone, stamp, detector, value, first, interval)


def _parse_zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UserError([f"--zone {text!r}: expected a name such as Asia/Shanghai"]) from error


def _parse_begin(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError([f"--begin {text!r}: expected a time such as 2026-03-01T00:00"]) from error


def _check(data: list[Path], out: Path) -> None:
    problems = find_blocked(out)
    problems += [f"--data {path}: is no file" for path in data if not path.is_file()]
    if problems:
        raise UserError(problems)


def bench_forecast(
    data: Annotated[Path, typer.Option(help="Folder with the Los-loop data.")],
    out: Annotated[Path, typer.Option(help="Folder that keeps every prediction.")],
    challenger: Annotated[
        bool, typer.Option(help="LightGBM speaks where it wins; needs the extra forecast.")
    ] = True,
    validate: Annotated[
        int | None,
        typer.Option(help="Rows, none of them a test row, of which the last fifth is scored."),
    ] = None,
) -> None:
    """Forecast the Los-loop test windows, batch and streaming; write predictions and summary."""
    from api.forecasting.benchmark import Wish, run_benchmark

    problems = find_blocked(out)
    if not data.is_dir():
        problems.append(f"--data {data}: is no folder")
    if problems:
        raise UserError(problems)
    with open_folder(out) as folder:
        run_benchmark(Wish(data, folder, challenger, validate), console)
