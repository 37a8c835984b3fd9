"""What the engine adds to the simulation that it controls: readings, decisions, journal and all.

Both runs see one traffic: the engine runs whole, on every junction that a full response commands,
but nothing is switched on, so its signals follow the plans that the bare simulation follows too. A
response would shorten the jam, and with it the simulator's own work, which would flatter us.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from api.assembly import build_engine, find_managed
from bench.registry import Case, benchmark
from networks import load
from networks.sumo_field import SumoField
from traffic.journal import Journal

SMOKE_S = 120.0


@dataclass(frozen=True)
class Answer:
    """What a run of the engine came to."""

    seconds: int
    vetoes: int
    faults: int


@benchmark("engine-cost", "engine and simulation, over the bare simulation", at_most=1.3, repeats=3)
def build(smoke: bool) -> Case[Answer]:
    """The Heishizi morning; its first two minutes for a smoke run."""
    scenario = load("heishizi", seed=1)
    if smoke:
        scenario = replace(scenario, end_s=scenario.begin_s + SMOKE_S)
    managed = find_managed(scenario, ("full",))

    def subject() -> Answer:
        seconds = vetoes = faults = 0
        with (
            TemporaryDirectory() as folder,
            (Path(folder) / "journal.jsonl").open("w", encoding="utf-8") as stream,
            SumoField(scenario, managed=managed) as field,
        ):
            engine = build_engine(scenario, field, managed, Journal(stream, {}))
            while (snapshot := engine.step()) is not None:
                seconds += 1
                vetoes += len(snapshot.vetoes)
                faults += len(snapshot.faults)
        return Answer(seconds, vetoes, faults)

    def baseline() -> None:
        with SumoField(scenario) as field:
            while field.simulator.simulation.getTime() < scenario.end_s:
                field.simulator.simulationStep()

    def check(answer: Answer) -> Mapping[str, tuple[object, object]]:
        return {
            # The last second ends the field, and with it the loop.
            "seconds before the end": (scenario.end_s - scenario.begin_s - 1, answer.seconds),
            "vetoes": (0, answer.vetoes),
            "faults": (0, answer.faults),
        }

    return Case(subject, baseline, check)
