"""The `traffic` command: what it is asked, and who does it."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from api.assembly import RESPONSES
from api.benchmark import command as benchmark
from api.comparing import check_out, find_inert, open_folder
from api.comparing import compare as compare_runs
from api.errors import UserError, attempt
from api.forecasting import command as forecasting
from api.planning.command import Wish, check_file, parse_method, parse_periods
from api.planning.methods import METHODS
from api.runs import Run
from api.seeds import MAX_SEED, parse_seeds
from api.warning import command as warning
from controllers import CONTROLLERS
from networks import SCENARIOS, load
from networks.scenario import Scenario

app = typer.Typer(
    help="Congestion response and signal timing: simulate, compare, serve, replay.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(benchmark.app, name="bench")
app.add_typer(warning.app, name="warning")
app.add_typer(forecasting.app, name="forecast")
console = Console(emoji=False)
errors = Console(stderr=True, emoji=False, markup=False, highlight=False, soft_wrap=True)


def name_scenario(text: str) -> str:
    """A configuration by its whole path, so that its runs can be repeated from anywhere."""
    return str(Path(text).resolve()) if text.endswith(".sumocfg") else text


ScenarioName = Annotated[
    str,
    typer.Argument(
        help="A name from `traffic scenarios`, a .sumocfg path, or resco:<map>.",
        callback=name_scenario,
    ),
]


ControllerName = Annotated[
    str | None,
    typer.Option(
        help=f"At every signal that can be read: {' | '.join(CONTROLLERS)}. "
        "Else only responses command signals.",
        show_default=False,
    ),
]


def check_controller(name: str | None) -> None:
    """Raises UserError when there is no such controller."""
    if name is not None and name not in CONTROLLERS:
        known = ", ".join(CONTROLLERS)
        raise UserError([f"controller {name!r}: expected one of {known}"])


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


def load_scenario(name: str) -> Scenario:
    """Build it once here, so that what is wrong with it is said once and at once."""
    with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
        return load(name, 1, Path(scratch))


def tell_inert(scenario: Scenario, kinds: tuple[str, ...]) -> None:
    inert = find_inert(scenario, kinds)
    if inert:
        errors.print(
            f"note: {scenario.id} has no bottleneck, or no means, for {', '.join(inert)}: "
            "it runs as with none"
        )


@app.command()
def run(
    scenario: ScenarioName,
    response: Annotated[str, typer.Option(help=" | ".join(RESPONSES))] = "full",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED)] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder that keeps the evidence.")] = None,
    gui: Annotated[bool, typer.Option("--gui", help="Watch it in SUMO's window.")] = False,
    controller: ControllerName = None,
) -> None:
    """Run one morning once and print its figures."""
    kinds, loaded, _, _ = attempt(
        lambda: parse_responses(response),
        lambda: load_scenario(scenario),
        lambda: check_out(out, scenario, controller),
        lambda: check_controller(controller),
    )
    if len(kinds) > 1:
        raise UserError([f"--response {response!r}: a run has one; see `traffic compare`"])
    tell_inert(loaded, kinds)
    with open_folder(out) as folder:
        compare_runs([Run(scenario, kinds[0], seed, folder, gui, controller)], 1, console)


@app.command()
def compare(
    scenario: ScenarioName,
    out: Annotated[Path, typer.Option(help="Folder that keeps the evidence.")],
    responses: Annotated[str, typer.Option(help="The first one is the baseline.")] = (
        "none,nav,full"
    ),
    seeds: Annotated[str, typer.Option(help="Such as 1-5 or 1,3,7.")] = "1-5",
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Runs at the same time.")] = 2,
    controller: ControllerName = None,
) -> None:
    """Run responses side by side, print paired differences, write summary.json, report.html."""
    kinds, numbers, loaded, _, _ = attempt(
        lambda: parse_responses(responses),
        lambda: parse_seeds(seeds),
        lambda: load_scenario(scenario),
        lambda: check_out(out, scenario, controller),
        lambda: check_controller(controller),
    )
    tell_inert(loaded, kinds)
    with open_folder(out) as folder:
        runs = [
            Run(scenario, kind, seed, folder, controller=controller)
            for seed in numbers
            for kind in kinds
        ]
        compare_runs(runs, jobs, console, kinds[0])


@app.command()
def optimize(
    scenario: ScenarioName,
    out: Annotated[Path, typer.Option(help="Folder for the plan; replaced when it exists.")],
    method: Annotated[str, typer.Option(help=" < ".join(METHODS))] = "offsets",
    flows: Annotated[
        Path | None, typer.Option(help="CSV or JSON of flows; else they are measured.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Demand that is measured and tried.")] = "11-15",
    periods: Annotated[str, typer.Option(help="When plans begin, such as 06:30,08:00.")] = "",
    cycle: Annotated[float | None, typer.Option(min=1, help="Seconds; else the best.")] = None,
    max_cycle: Annotated[float, typer.Option(min=1, help="Seconds.")] = 120.0,
    budget: Annotated[float, typer.Option(min=0, help="Seconds for refine to try plans.")] = 120.0,
    evaluations: Annotated[
        int | None, typer.Option(min=1, help="Plans for refine to try, instead of --budget.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Runs at the same time.")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the search.")] = 1,
) -> None:
    """Time fixed-time plans for flows: cycle, splits, offsets; write plan.json, plan.add.xml."""
    from api.planning.optimizing import optimize as optimize_plans

    chosen, numbers, begins, _ = attempt(
        lambda: parse_method(method),
        lambda: parse_seeds(seeds),
        lambda: parse_periods(periods),
        lambda: check_file(flows),
    )
    wish = Wish(
        scenario, chosen, out, flows, numbers, begins, cycle, max_cycle, budget, evaluations,
        jobs, seed,
    )  # fmt: skip
    optimize_plans(wish, console)


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
    scenario: Annotated[
        str, typer.Option(help="As for `traffic run`.", callback=name_scenario)
    ] = "heishizi",
    speed: Annotated[float, typer.Option(help="Multiple of real time.")] = 1.0,
    host: Annotated[
        str | None, typer.Option(help="Else TRAFFIC_HOST, else 127.0.0.1.", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Else TRAFFIC_PORT, else 8080.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED)] = 1,
    journal: Annotated[Path, typer.Option(help="Record of the run.")] = Path("journal.jsonl"),
) -> None:
    """Serve the engine: state, alerts, response plans, advisories, events."""
    from api.serving import serve_scenario

    given = {"host": host, "port": port}
    serve_scenario(
        scenario, seed, speed, journal, {k: v for k, v in given.items() if v is not None}
    )
