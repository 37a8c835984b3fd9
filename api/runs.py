"""One run of a scenario, with the evidence that it leaves."""

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from api.assembly import USUAL_CONTROLLER, build_engine, find_loops, find_managed
from api.city import SimulatedCity
from api.evidence import AlertLog, build_truth, finished_folder, read_statistic, read_trips
from api.figures import RunLog, compute_figures, write_run
from controllers import CONTROLLERS
from networks import load
from networks.sumo_field import SumoField
from networks.truth import TruthSampler
from traffic.journal import Journal
from traffic.response import Life

PROGRESS_S = 60.0  # simulated, between two words of a run


@dataclass(frozen=True)
class Run:
    """What one simulation is to do."""

    scenario: str
    response: str
    seed: int
    folder: Path  # of the whole comparison
    gui: bool = False  # watch it in a window
    controller: str | None = None  # of CONTROLLERS, at every signal; else only where responses need

    @property
    def name(self) -> str:
        return f"{self.response} seed {self.seed}"

    @property
    def target(self) -> Path:
        return self.folder / self.response / f"seed-{self.seed}"

    def do(self, tell: Callable[[float], None]) -> None:
        run_once(self, tell)


def run_once(run: Run, tell: Callable[[float], None]) -> None:
    """Simulate a morning and keep its evidence; the folder appears only when all is done.

    `tell` hears the share of the morning that has passed. Raises one of USER_ERRORS.
    """
    begun = time.monotonic()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="traffic-")))
        scenario = load(run.scenario, run.seed, scratch)
        out = stack.enter_context(finished_folder(run.target))
        managed = find_managed(scenario, (run.response,), run.controller)
        controller = run.controller or USUAL_CONTROLLER
        sensing = CONTROLLERS[controller].needs
        loops = find_loops(scenario, managed, controller, sensing)
        header = {
            "scenario": run.scenario,
            "response": run.response,
            "seed": run.seed,
            "managed": sorted(managed),
        }
        if run.controller is not None:
            header["controller"] = run.controller
        native: Literal["none", "nav"] = "nav" if run.response == "nav" else "none"
        alerts, activated, vetoes = AlertLog(), set(), 0
        with (
            (out / "journal.jsonl").open("w", encoding="utf-8") as stream,
            SumoField(scenario, out, loops, managed, run.gui, native, sensing) as field,
        ):
            journal = Journal(stream, header)
            engine = build_engine(scenario, field, managed, journal, run.response, controller)
            city = SimulatedCity(engine, field)
            sampler = TruthSampler(field)
            told_s = scenario.begin_s
            while (snapshot := city.step()) is not None:
                sampler.sample()
                vetoes += len(snapshot.vetoes)
                if snapshot.is_fresh and snapshot.strategy is not None:
                    alerts.add(snapshot.time_s, snapshot.strategy.alerts)
                    activated |= {
                        (one.plan.id, one.since_s)
                        for one in snapshot.strategy.response.active
                        if one.life is Life.ACTIVE
                    }
                if snapshot.time_s - told_s >= PROGRESS_S:
                    told_s = snapshot.time_s
                    tell((told_s - scenario.begin_s) / (scenario.end_s - scenario.begin_s))
            journal.end()
            sampler.sample()
            seen = sampler.finish()
        log = RunLog(
            run.scenario,
            scenario.title,
            run.response,
            run.seed,
            alerts.marks,
            len(activated),
            vetoes,
            time.monotonic() - begun,
            next((trip.travel_time_s for trip in field.command_trips), None),
            run.controller,
        )
        statistic = read_statistic(out / "statistic.xml")
        trips = read_trips(out, scenario.purposes, statistic)
        evidence = build_truth(seen, scenario)
        write_run(out, compute_figures(trips, statistic, evidence, log), evidence, log)
