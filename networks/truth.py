"""What truly happened on the simulated street, sampled to score what the engine believed.

A separate door to the simulator, for scoring and tests: nothing here may reach the engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from networks.scenario import Scenario
from networks.sumo_field import SumoField
from traffic.model import DetectorKind

Floats = NDArray[np.float64]

SAMPLE_S = 10
FLOW_S = 60
QUEUED_MPS = 5 / 3.6  # slower vehicles are in the queue, as in SUMO's own jam lengths


@dataclass(frozen=True, eq=False)
class Truth:
    """Samples of a run; arrays are set read-only.

    `time_s`, `x_m`, `speed_mps` hold one entry per vehicle on the mainline and sample; x runs
    along the links of the mainline from the upstream end of the first, the space inside its
    nodes left out.
    """

    sample_s: float
    mainline_m: float
    link_start_m: Mapping[str, float]  # mainline link -> x of its upstream end
    time_s: Floats  # N
    x_m: Floats  # N
    speed_mps: Floats  # N
    clock_s: Floats  # T, the moments of sampling
    running_veh: Floats  # T, on the road, all links
    waiting_veh: Floats  # T, due to depart and not yet let in
    approaches: tuple[str, ...]  # A
    halting_veh: Floats  # A x T, below 0.1 m/s
    gates: tuple[str, ...]  # G
    gate_length_m: Floats  # G, along the approach's links
    queue_m: Floats  # G x T, from the stop line to the last queued vehicle's front
    flow_end_s: Floats  # M, ends of whole minutes
    bottlenecks: tuple[str, ...]  # B
    passed_veh: Floats  # B x M, over its last loops, lane changers twice; NaN without loops
    never_departed_veh: int
    teleports: int
    collisions: int
    emergency_braking: int

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False


class TruthSampler:
    """Watches a field. Call `sample` after each `advance`, and `finish` before the field closes."""

    def __init__(self, field: SumoField) -> None:
        self._field = field
        self._sumo = field.simulator
        scenario, network = field.scenario, field.network
        self._start_m: dict[str, float] = {}
        self._mainline_m = 0.0
        for link in scenario.mainline:
            self._start_m[link] = self._mainline_m
            self._mainline_m += network.links[link].length_m
        self._approaches = tuple(network.approaches)
        self._gates = tuple(gate.approach for gate in scenario.gates)
        # Per gate: (link, metres from its downstream end to the stop line), upstream to downstream.
        self._gate_links: list[list[tuple[str, float]]] = []
        for gate in self._gates:
            places: list[tuple[str, float]] = []
            beyond_m = 0.0
            for link in reversed(network.approaches[gate].links):
                places.append((link, beyond_m))
                beyond_m += network.links[link].length_m
            self._gate_links.append(places)
        self._gate_length_m = [
            sum(network.links[link].length_m for link, _ in places) for places in self._gate_links
        ]
        self._sections = _find_sections(scenario)
        self._mainline: list[tuple[float, float, float]] = []
        self._clock: list[tuple[float, float, float]] = []
        self._halting: list[list[float]] = []
        self._queues: list[list[float]] = []
        self._flow_end_s: list[float] = []
        self._passed: list[list[float]] = []
        self._half_minute = [0.0] * len(self._sections)

    def sample(self) -> None:
        """Look at the street, if a sample is due."""
        now_s = self._field.now_s
        into_s = now_s - self._field.scenario.begin_s
        if into_s % SAMPLE_S == 0:
            self._sample_vehicles(now_s)
        batch = self._field.read().centre if into_s % (FLOW_S / 2) == 0 else None
        if batch is not None:
            count = dict(zip(batch.detectors, batch.count_veh.tolist(), strict=True))
            passed = [
                sum(count[loop] for loop in loops) if loops else float("nan")
                for loops in self._sections
            ]
            if into_s % FLOW_S == 0:
                self._flow_end_s.append(now_s)
                both = zip(self._half_minute, passed, strict=True)
                self._passed.append([first + second for first, second in both])
            else:
                self._half_minute = passed

    def _sample_vehicles(self, now_s: float) -> None:
        edge, vehicle = self._sumo.edge, self._sumo.vehicle
        for link, start_m in self._start_m.items():
            for id_ in edge.getLastStepVehicleIDs(link):
                x_m = start_m + vehicle.getLanePosition(id_)
                self._mainline.append((now_s, x_m, vehicle.getSpeed(id_)))
        pending = len(self._sumo.simulation.getPendingVehicles())
        self._clock.append((now_s, vehicle.getIDCount(), pending))
        links = self._field.network.approaches
        self._halting.append(
            [
                sum(edge.getLastStepHaltingNumber(link) for link in links[name].links)
                for name in self._approaches
            ]
        )
        self._queues.append([self._measure_queue_m(places) for places in self._gate_links])

    def _measure_queue_m(self, places: list[tuple[str, float]]) -> float:
        """Return the distance from the stop line to the farthest queued vehicle, 0 without any."""
        edge, vehicle, link_of = self._sumo.edge, self._sumo.vehicle, self._field.network.links
        longest_m = 0.0
        for link, beyond_m in places:
            for id_ in edge.getLastStepVehicleIDs(link):
                if vehicle.getSpeed(id_) < QUEUED_MPS:
                    left_m = link_of[link].length_m - vehicle.getLanePosition(id_)
                    longest_m = max(longest_m, beyond_m + left_m)
        return longest_m

    def finish(self) -> Truth:
        """Return everything sampled, with SUMO's own counts up to now."""
        time_s, x_m, speed_mps = _columns(self._mainline, 3)
        clock_s, running, waiting = _columns(self._clock, 3)
        return Truth(
            sample_s=float(SAMPLE_S),
            mainline_m=self._mainline_m,
            link_start_m=dict(self._start_m),
            time_s=time_s,
            x_m=x_m,
            speed_mps=speed_mps,
            clock_s=clock_s,
            running_veh=running,
            waiting_veh=waiting,
            approaches=self._approaches,
            halting_veh=_columns(self._halting, len(self._approaches)),
            gates=self._gates,
            gate_length_m=np.array(self._gate_length_m, dtype=np.float64),
            queue_m=_columns(self._queues, len(self._gates)),
            flow_end_s=np.array(self._flow_end_s, dtype=np.float64),
            bottlenecks=tuple(self._field.network.bottlenecks),
            passed_veh=_columns(self._passed, len(self._sections)),
            never_departed_veh=self._count("vehicles.waiting"),
            teleports=self._count("teleports.total"),
            collisions=self._count("safety.collisions"),
            emergency_braking=self._count("safety.emergencyBraking"),
        )

    def _count(self, name: str) -> int:
        return int(self._sumo.simulation.getParameter("", f"stats.{name}"))


def _columns(rows: Any, width: int) -> Floats:
    """Turn rows (one per moment) into one row per column."""
    if not width:
        return np.empty((0, len(rows)))
    table = np.array(rows, dtype=np.float64).reshape(-1, width)
    return np.ascontiguousarray(table.T)


def _find_sections(scenario: Scenario) -> list[list[str]]:
    """Per bottleneck the loops of its last cross-section of mainline loops."""
    network = scenario.network
    sections = []
    for bottleneck in network.bottlenecks.values():
        inside = [
            d
            for d in network.detectors.values()
            if d.link == bottleneck.link and d.kind is DetectorKind.MAINLINE
        ]
        last_m = max((d.position_m for d in inside), default=0.0)
        sections.append([d.id for d in inside if abs(d.position_m - last_m) < 5.0])
    return sections
