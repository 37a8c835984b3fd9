"""One run of the benchmark: a controller, a map, a seed, and the evidence that it leaves."""

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from api.assembly import build_engine, find_loops
from api.benchmark.scores import score_run
from api.evidence import EvidenceError, finished_folder, write_whole
from api.figures import read_json
from controllers import CONTROLLERS
from networks.plan_files import load_plans
from networks.resco import get_amber_s, load_protocol
from networks.scenario import Scenario
from networks.sumo_field import SumoField
from networks.sumo_peers import ToolError, write_adapted, write_reacting
from networks.sumo_plans import ProgramWriter
from traffic.control import Sensing
from traffic.model import ModelError
from traffic.parts import Journal
from traffic.snapshot import Snapshot

# What runs the signals without us, and what it is.
PEERS: Mapping[str, str] = {
    "static": "the map's own fixed-time program",
    "sumo-actuated": "SUMO's actuated program",
    "sumo-delay-based": "SUMO's delay-based program",
    "sumo-tools": "plans of tlsCycleAdaptation.py and tlsCoordinator.py, which read the demand",
    "optimized": "fixed-time plans of `traffic optimize`, in the folder that --plans names",
}
OPTIMIZED = "optimized"
_REACTING = {"sumo-actuated": "actuated", "sumo-delay-based": "delay_based"}

TIERS = tuple(sensing.name.lower() for sensing in Sensing)
RESULT = "result.json"
PROGRESS_S = 60.0  # simulated, between two words of a run


class _Unrecorded:
    """A journal that keeps nothing: what the signals showed is in tls_states.xml."""

    def record(self, snapshot: Snapshot) -> None: ...


@dataclass(frozen=True)
class Trial:
    """What one simulation is to do."""

    controller: str  # of PEERS or CONTROLLERS
    map_id: str
    tier: str  # what the field senses, a name of Sensing in small letters
    seed: int
    folder: Path  # of the whole benchmark
    plans: Path | None = None  # of OPTIMIZED: a folder of each map's plan.json

    @property
    def name(self) -> str:
        return f"{self.map_id} {self.controller} seed {self.seed}"

    @property
    def target(self) -> Path:
        return self.folder / self.controller / self.map_id / f"seed-{self.seed}"

    def do(self, tell: Callable[[float], None]) -> None:
        run_trial(self, tell)


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished run came to: its figures, or why the peer's tool crashed."""

    controller: str
    map_id: str
    tier: str
    seed: int
    figures: Mapping[str, float | None]  # see scores.FIELDS; empty after a crash
    crash: str | None = None


def run_trial(trial: Trial, tell: Callable[[float], None]) -> None:
    """Simulate the hour and keep its evidence; the folder appears only when all is done.

    `tell` hears the share of the hour that has passed. A tool of SUMO's that crashes is a result,
    too. Raises one of USER_ERRORS.
    """
    begun = time.monotonic()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="traffic-")))
        scenario = load_protocol(trial.map_id, scratch, trial.seed)
        out = stack.enter_context(finished_folder(trial.target))
        figures: dict[str, Any] = {}
        crash = None
        try:
            if trial.controller in PEERS:
                _run_peer(trial, scenario, scratch, out, tell)
            else:
                figures = _run_engine(trial, scenario, out, tell)
        except ToolError as error:
            crash = str(error)
        else:
            figures = asdict(score_run(out)) | {"vetoes": None, "faults": None} | figures
            figures["wall_s"] = round(time.monotonic() - begun, 3)
        for path in (*out.glob("net.xml"), *out.glob("routes.xml"), *out.glob("additional-*.xml")):
            path.unlink()  # large, and the same for every run
        result = Result(trial.controller, trial.map_id, trial.tier, trial.seed, figures, crash)
        text = json.dumps(asdict(result), indent=1, allow_nan=False)
        write_whole(out / RESULT, text + "\n")


def _run_peer(
    trial: Trial, scenario: Scenario, scratch: Path, out: Path, tell: Callable[[float], None]
) -> None:
    amber_s = get_amber_s(trial.map_id)
    programs: tuple[Path, ...] = ()
    if trial.controller in _REACTING:
        file = scratch / "programs.add.xml"
        programs = (write_reacting(scenario, _REACTING[trial.controller], amber_s, file),)
    elif trial.controller == "sumo-tools":
        programs = write_adapted(scenario, amber_s, scratch)
    elif trial.controller == OPTIMIZED and trial.plans is not None:
        plan_set = load_plans(find_plan(trial.plans, trial.map_id), scenario.network)
        plans = plan_set.find_period(scenario.begin_s).plans
        programs = (ProgramWriter(scenario).write(plans, scratch / "programs.add.xml"),)
    # Nobody reads our loops here.
    unread = replace(scenario.network, detectors={})
    files = (*scenario.additional_files, *programs)
    own = replace(scenario, network=unread, additional_files=files)
    with SumoField(own, out) as field:
        while field.advance():
            _tell_share(scenario, field.now_s, tell)


def find_plan(plans: Path, map_id: str) -> Path:
    """Return where a map's plans are, as `traffic optimize --out PLANS/MAP` leaves them."""
    return plans / map_id / "plan.json"


def check_plans(plans: Path, maps: Iterable[str]) -> list[str]:
    """Return what is wrong with the plans of these maps."""
    problems: list[str] = []
    for map_id in maps:
        with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
            network = load_protocol(map_id, Path(scratch), 1).network
        try:
            load_plans(find_plan(plans, map_id), network)
        except ModelError as error:
            problems += [f"{find_plan(plans, map_id)}: {line}" for line in str(error).splitlines()]
    return problems


def _run_engine(
    trial: Trial, scenario: Scenario, out: Path, tell: Callable[[float], None]
) -> dict[str, Any]:
    managed = frozenset(scenario.network.junctions)
    sensing = Sensing[trial.tier.upper()]
    loops = find_loops(scenario, managed, trial.controller, sensing)
    vetoes = faults = 0
    with SumoField(scenario, out, loops, managed, sensing=sensing) as field:
        journal: Journal = _Unrecorded()
        engine = build_engine(scenario, field, managed, journal, controller=trial.controller)
        while (snapshot := engine.step()) is not None:
            vetoes += len(snapshot.vetoes)
            faults += len(snapshot.faults)
            _tell_share(scenario, snapshot.time_s, tell)
    return {"vetoes": vetoes, "faults": faults}


def _tell_share(scenario: Scenario, now_s: float, tell: Callable[[float], None]) -> None:
    passed_s = now_s - scenario.begin_s
    if passed_s % PROGRESS_S == 0:
        tell(passed_s / (scenario.end_s - scenario.begin_s))


def is_able(controller: str, tier: str) -> bool:
    """Whether a tier tells all that a controller needs; peers need nothing of ours."""
    return controller in PEERS or CONTROLLERS[controller].needs.value <= Sensing[tier.upper()].value


def load_results(folder: Path) -> tuple[Result, ...]:
    """Load the finished runs of `folder/<controller>/<map>/seed-<n>/`.

    Raises EvidenceError listing every file that is broken.
    """
    results, problems = [], []
    for path in sorted(folder.glob(f"*/*/seed-*/{RESULT}")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            results.append(Result(**read_json(path)))
        except EvidenceError as error:
            problems.append(str(error))
        except TypeError as error:
            problems.append(f"{path}: not the result of a run: {error}")
    if problems:
        raise EvidenceError("\n".join(problems))
    return tuple(results)


def check_asked(
    maps: Sequence[str],
    controllers: Iterable[str],
    tier: str,
    known_maps: Iterable[str],
    plans: Path | None = None,
) -> list[str]:
    """Return every problem of what is asked for: unknown names, missing plans, and senses that a
    tier lacks."""
    known_maps, controllers = sorted(known_maps), tuple(controllers)
    names = [*PEERS, *CONTROLLERS]
    problems = [
        f"map {one!r}: expected all or one of {', '.join(known_maps)}"
        for one in maps
        if one not in known_maps and known_maps
    ]
    if not known_maps:
        problems.append(
            "the maps come with the package sumo-rl: pip install 'traffic-response[bench]'"
        )
    problems += [
        f"controller {one!r}: expected all or one of {', '.join(names)}"
        for one in controllers
        if one not in names
    ]
    if OPTIMIZED in controllers and plans is None:
        problems.append(f"controller {OPTIMIZED!r} needs --plans, a folder of plans")
    elif OPTIMIZED in controllers and plans is not None:
        missing = [m for m in maps if m in known_maps and not find_plan(plans, m).is_file()]
        problems += [f"--plans {plans}: {find_plan(plans, m)} is no file" for m in missing]
    if tier not in TIERS:
        problems.append(f"tier {tier!r}: expected one of {', '.join(TIERS)}")
    else:
        problems += [
            f"controller {one!r} needs to sense {CONTROLLERS[one].needs.name.lower()}, beyond the "
            f"tier {tier!r}"
            for one in controllers
            if one in CONTROLLERS and not is_able(one, tier)
        ]
    return problems
