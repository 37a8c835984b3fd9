"""`traffic forecast` and `traffic bench forecast`: what they are asked, and who does it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api.comparing import find_blocked, open_folder
from api.errors import UserError

console = Console(emoji=False)


def bench_forecast(
    data: Annotated[Path, typer.Option(help="Folder with the Los-loop data.")],
    out: Annotated[Path, typer.Option(help="Folder that keeps every prediction.")],
    validate: Annotated[
        bool, typer.Option("--validate", help="Hide the test rows; score the last of the others.")
    ] = False,
) -> None:
    """Forecast the Los-loop test windows, batch and streaming; write predictions and summary."""
    from api.forecasting.benchmark import Wish, run_benchmark

    problems = find_blocked(out)
    if not data.is_dir():
        problems.append(f"--data {data}: is no folder")
    if problems:
        raise UserError(problems)
    with open_folder(out) as folder:
        run_benchmark(Wish(data, folder, validate), console)
