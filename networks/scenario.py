"""What a simulated morning is made of: roads, demand, drivers, events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from traffic.alerts.settings import CongestionSettings
from traffic.forecasting import UsualDay
from traffic.model import Network
from traffic.optimization.gating import Gate
from traffic.response import DecisionPoint
from traffic.warning.models import WarningModels


@dataclass(frozen=True, slots=True)
class Drivers:
    """How the scenario's drivers take advice; the scenario decides who complies."""

    compliance: float = 0.3  # share with a navigation app that they would follow, 0..1
    accepted_penalty_s: float = 300.0  # longest extra time that a complying driver takes


@dataclass(frozen=True, slots=True)
class LaneClosure:
    """A lane closed to all by an incident, until end_s.

    With `lasts_s` it stays closed for so long from when the first vehicle stands; end_s then bounds
    only how long it may take until one comes by.
    """

    link: str
    lane: int
    position_m: float
    begin_s: float
    end_s: float
    lasts_s: float | None = None


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A command vehicle sent to a scene; a response may give it the emergency lane."""

    depart_s: float
    from_link: str
    to_link: str


@dataclass(frozen=True)
class Scenario:
    """A network compiled by netconvert, its demand for one seed, and what befalls it.

    Times are seconds since local midnight. `files` are those that the simulator reads; `network`
    is what the engine may know of them.
    """

    id: str
    title: Mapping[str, str]  # language -> title
    network: Network
    net_file: Path
    route_file: Path
    additional_files: tuple[Path, ...]
    begin_s: float
    end_s: float
    step_s: float
    seed: int
    signal_indices: Mapping[str, Mapping[str, tuple[int, ...]]]  # junction -> phase -> link indices
    sumo_options: tuple[str, ...] = ()
    drivers: Drivers = Drivers()
    closures: tuple[LaneClosure, ...] = ()
    gates: tuple[Gate, ...] = ()  # where the response may hold traffic back
    decision_points: tuple[DecisionPoint, ...] = ()  # where drivers can still be advised
    diversion_junctions: tuple[str, ...] = ()  # signals on the ways around
    dispatch: Dispatch | None = None  # of a command vehicle
    mainline: tuple[str, ...] = ()  # links of the expressway, upstream to downstream
    alerts: CongestionSettings = field(default_factory=CongestionSettings)  # thresholds
    warnings: Mapping[str, WarningModels] = field(default_factory=dict)  # bottleneck -> fitted
    usual_day: UsualDay | None = None  # what the bottlenecks' feeders count on days like this
    purposes: tuple[str, ...] = ()  # each vehicle's purpose is the part of its id before the dot
