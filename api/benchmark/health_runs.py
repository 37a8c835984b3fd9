"""What a lying loop does to the response: the morning with it against the morning without."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from api.assembly import USUAL_CONTROLLER, build_engine, find_loops, find_managed
from api.benchmark.incident_days import write_json
from api.city import SimulatedCity
from api.evidence import finished_folder, read_statistic, read_trips
from controllers import CONTROLLERS
from networks import load
from networks.faulty_field import Fault, FaultKind, FaultyField
from networks.sumo_field import SumoField
from traffic.model import DetectorKind, Network
from traffic.performance import mean_speed_mps
from traffic.snapshot import Snapshot
from traffic.units import to_kmph

TOWN, RESPONSE = "heishizi", "full"
RESULT = "result.json"
NONE = "sound"
WITHOUT = "without"  # a response at all
BLIND = "blind"  # every loop that confirms a breakdown chatters
ONSET_S = 300.0  # of the faults, from the begin of the morning: before the response begins


class _Unrecorded:
    """A journal that keeps nothing."""

    def record(self, snapshot: Snapshot) -> None: ...


@dataclass(frozen=True)
class FaultyMorning:
    """One morning with the full response and, unless it is the sound one, with faults."""

    fault: str  # of FaultKind, or BLIND, NONE or WITHOUT
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f"{TOWN} {self.fault} seed {self.seed}"

    @property
    def target(self) -> Path:
        return self.folder / "response" / self.fault / f"seed-{self.seed}"

    @property
    def is_done(self) -> bool:
        return (self.target / RESULT).is_file()

    def do(self, tell: Callable[[float], None]) -> None:
        """Simulate it. Raises one of USER_ERRORS."""
        with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
            scenario = load(TOWN, self.seed, Path(scratch))
            response = "none" if self.fault == WITHOUT else RESPONSE
            managed = find_managed(scenario, (response,))
            sensing = CONTROLLERS[USUAL_CONTROLLER].needs
            loops = find_loops(scenario, managed, USUAL_CONTROLLER, sensing)
            faults = list_faults(scenario.network, self.fault, scenario.begin_s + ONSET_S)
            first_s = None
            out = Path(scratch) / "evidence"
            with SumoField(scenario, out, loops, managed, sensing=sensing) as field:
                faulty = FaultyField(field, faults)
                engine = build_engine(scenario, faulty, managed, _Unrecorded(), response)
                city = SimulatedCity(engine, field)
                while (snapshot := city.step()) is not None:
                    strategy = snapshot.strategy
                    if first_s is None and strategy is not None and strategy.response.active:
                        first_s = snapshot.time_s
                    passed_s = snapshot.time_s - scenario.begin_s
                    if passed_s % 60.0 == 0:
                        tell(passed_s / (scenario.end_s - scenario.begin_s))
            trips = read_trips(out, scenario.purposes, read_statistic(out / "statistic.xml"))
            speed = mean_speed_mps(trips)
        with finished_folder(self.target) as kept:
            result = {
                "fault": self.fault,
                "seed": self.seed,
                "loops": [loop for fault in faults for loop in fault.loops],
                "mean_speed_kmh": None if speed is None else round(to_kmph(speed), 2),
                "response_begins_s": first_s,
            }
            write_json(kept / RESULT, result)


def list_faults(network: Network, kind: str, begin_s: float) -> tuple[Fault, ...]:
    """Return faults of that kind where the response looks: at the bottleneck and at its feeders.

    They strike every loop of the first cross-section that confirms a breakdown and the middle lane
    of the feeders on the expressway; a swapped one speaks for its feeder, and that one for it.
    """
    if kind in (NONE, WITHOUT):
        return ()
    bottleneck = next(iter(network.bottlenecks.values()))
    if kind == BLIND:
        return tuple(Fault(FaultKind.CHATTERING, loop, begin_s) for loop in bottleneck.watch)
    watched = [network.detectors[loop] for loop in bottleneck.watch]
    first_m = min(loop.position_m for loop in watched)
    struck = [loop.id for loop in watched if loop.position_m == first_m]
    feeders = [
        loop
        for loop in bottleneck.feeders
        if network.detectors[loop].kind is DetectorKind.MAINLINE and loop not in struck
    ]
    chosen = FaultKind(kind)
    if chosen is FaultKind.SWAPPED:
        pairs = zip(struck, feeders, strict=False)
        return tuple(Fault(chosen, one, begin_s, other=other) for one, other in pairs)
    return tuple(Fault(chosen, loop, begin_s) for loop in (*struck, *feeders[1:2]))
