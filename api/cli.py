"""The `traffic` command. Exit code 0: done, 2: what was asked cannot be, 1: a fault of ours."""

import sys
from pathlib import Path
from typing import Annotated

import click
import typer
from rich.console import Console
from rich.table import Table

from api.assembly import RESPONSES
from api.comparing import compare as compare_runs
from api.errors import USER_ERRORS, UserError
from networks import SCENARIOS

app = typer.Typer(
    help="Congestion response and signal timing: simulate, compare, serve, replay.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
errors = Console(stderr=True)

ScenarioName = Annotated[
    str, typer.Argument(help="A name from `traffic scenarios`, a .sumocfg path, or resco:<map>.")
]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read "1-5" or "1,3,7-9". Raises UserError naming every part that is no seed."""
    seeds: list[int] = []
    wrong = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdigit() and (last.isdigit() if dash else True)):
            wrong.append(part)
            continue
        span = range(int(first), int(last or first) + 1)
        if not 1 <= len(span) <= 1000:
            wrong.append(part)
            continue
        seeds += span
    if wrong:
        raise UserError(
            [f"--seeds {text!r}: {part!r} is no seed and no range such as 1-5" for part in wrong]
        )
    return tuple(dict.fromkeys(seeds))


def parse_responses(text: str) -> tuple[str, ...]:
    """Read "none,nav,full". Raises UserError naming each unknown one."""
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    known = ", ".join(RESPONSES)
    wrong = [
        f"response {kind!r}: expected one of {known}" for kind in kinds if kind not in RESPONSES
    ]
    if wrong:
        raise UserError(wrong)
    return kinds


@app.command()
def scenarios() -> None:
    """List the built-in scenarios."""
    table = Table("name", "what it is", "说明")
    for name, title in SCENARIOS.items():
        table.add_row(name, title["en"], title["zh"])
    console.print(table)


@app.command()
def run(
    scenario: ScenarioName,
    response: Annotated[str, typer.Option(help=" | ".join(RESPONSES))] = "full",
    seed: Annotated[int, typer.Option(min=0)] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder that keeps the evidence.")] = None,
) -> None:
    """Run one morning once and print its figures."""
    (kind,) = parse_responses(response)
    compare_runs(scenario, (kind,), (seed,), out, jobs=1, console=console)


@app.command()
def compare(
    scenario: ScenarioName,
    out: Annotated[Path, typer.Option(help="Folder that keeps the evidence.")],
    responses: Annotated[str, typer.Option(help="The first one is the baseline.")] = (
        "none,nav,full"
    ),
    seeds: Annotated[str, typer.Option(help="Such as 1-5 or 1,3,7.")] = "1-5",
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Runs at the same time.")] = 2,
) -> None:
    """Run responses side by side, print paired differences, write summary.json, report.html."""
    compare_runs(
        scenario, parse_responses(responses), parse_seeds(seeds), out, jobs=jobs, console=console
    )


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(help="A run's folder, with its journal.")],
) -> None:
    """Repeat a run from its journal, without a simulator; report the first difference, if any."""
    from api.replay import replay_run

    steps = replay_run(folder)
    console.print(f"{steps} steps repeated, every record the same")


@app.command()
def serve(
    scenario: Annotated[str, typer.Option(help="As for `traffic run`.")] = "heishizi",
    speed: Annotated[float, typer.Option(help="Multiple of real time.")] = 1.0,
    host: Annotated[str, typer.Option(help="Loopback unless told otherwise.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    journal: Annotated[Path, typer.Option(help="Record of the run.")] = Path("journal.jsonl"),
) -> None:
    """Serve the engine: state, alerts, response plans, advisories, events."""
    from api.serving import serve_scenario

    serve_scenario(
        scenario, seed=seed, speed=speed, host=host, port=port, journal=journal, console=console
    )


def main() -> None:
    """Entry point: one clear message for what the user can mend."""
    try:
        app(standalone_mode=False)
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        errors.print("interrupted")
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except USER_ERRORS as error:
        errors.print(str(error), style="red", markup=False, highlight=False)
        sys.exit(2)
