"""The scenarios that are built here: roads and demand put together with what the city knows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from networks import SCENARIOS, corridor, crossing, heishizi, onramp
from networks.demand import Flow, share_bound, write_flows
from networks.expressway import build_bottleneck, build_gates
from networks.loops import write_loops
from networks.scenario import Scenario
from networks.scene import find_alert_settings, find_warning_models
from networks.streets import SATURATION_VPH
from networks.sumo_xml import read_network
from networks.usual_day import find_usual_day
from traffic.model import Network
from traffic.response import DecisionPoint

HEISHIZI = "heishizi"
INCIDENT = "heishizi-incident"
CALM = "heishizi-calm"
CALM_SCALE = 0.8
CROSSING = "crossing"
CORRIDOR = "corridor"
ONRAMP = "onramp"

_BEYOND = "g50_18"  # where all ways around have joined the expressway again
# Mainline drivers choose a kilometre or so ahead of an exit.
_CHOICES = ("g50_04", "g50_08")
_AROUND = ("X1", "G1", "A2", "X2", "G2", "A3", "H1", "H2", "B2", "B3", "B4", "B5", "R2")


class Place(Protocol):
    """The face of a scenario's own file."""

    BEGIN_S: float
    END_S: float
    STEP_S: float
    MAINLINE: tuple[str, ...]  # links of the expressway; none without one
    SPECIAL_LOOPS: dict[str, tuple[float, ...]]  # on the mainline, besides the rule's

    def build_roads(self, folder: Path) -> Path: ...

    def build_flows(self, scale: float = 1.0) -> tuple[Flow, ...]: ...


class Expressway(Place, Protocol):
    """The face of a place with a bottleneck on its expressway."""

    NECK: str  # the bottleneck's link
    WATCHED: str  # its loops see the queue of a breakdown first
    CAPACITY_VPH: float  # before breakdown
    DISCHARGE_VPH: float  # out of the standing queue

    def gate_turns(self) -> tuple[tuple[str, str, str], ...]: ...


def build_scenario(name: str, folder: Path, seed: int) -> Scenario:
    """Build a scenario of SCENARIOS into the folder; raises KeyError for any other name."""
    folder.mkdir(parents=True, exist_ok=True)
    return _BUILDERS[name](name, folder, seed)


def _build_place(
    place: Place, town: str, name: str, folder: Path, seed: int, scale: float = 1.0
) -> Scenario:
    """Build what every place has: roads, signals, loops, traffic.

    Scenarios of one town share its network and, for one seed, its draws.
    """
    net_file = place.build_roads(folder)
    flows = place.build_flows(scale)
    route_file = folder / f"{town}.rou.xml"
    write_flows(route_file, net_file, flows, place.BEGIN_S, f"{town}/{seed}")
    compiled = read_network(net_file, town, mainline=place.MAINLINE, stations=place.SPECIAL_LOOPS)
    network = replace(compiled.network, saturation_vph=SATURATION_VPH)
    loops_file = write_loops(network.detectors.values(), folder / "loops.add.xml")
    return Scenario(
        id=name,
        title=SCENARIOS[name],
        network=network,
        net_file=net_file,
        route_file=route_file,
        additional_files=(loops_file,),
        begin_s=place.BEGIN_S,
        end_s=place.END_S,
        step_s=place.STEP_S,
        seed=seed,
        signal_indices=compiled.signal_indices,
        mainline=place.MAINLINE,
        purposes=tuple(dict.fromkeys(flow.purpose for flow in flows)),
    )


def _build_expressway(
    place: Expressway, town: str, name: str, folder: Path, seed: int, scale: float = 1.0
) -> Scenario:
    """Add the bottleneck, and the gates where a response may hold traffic back from it."""
    base = _build_place(place, town, name, folder, seed, scale)
    bottleneck = build_bottleneck(
        base.network,
        town,
        place.NECK,
        mainline=place.MAINLINE,
        watched=place.WATCHED,
        capacity_vph=place.CAPACITY_VPH,
        discharge_vph=place.DISCHARGE_VPH,
        flows=place.build_flows(),
    )
    return replace(
        base,
        network=replace(base.network, bottlenecks={town: bottleneck}),
        gates=tuple(build_gates(base.network, place.gate_turns())),
    )


def _build_streets(place: Place, name: str, folder: Path, seed: int) -> Scenario:
    return _build_place(place, name, name, folder, seed)


def _build_onramp(name: str, folder: Path, seed: int) -> Scenario:
    return _build_expressway(onramp, name, name, folder, seed)


def _build_heishizi(name: str, folder: Path, seed: int) -> Scenario:
    scale = CALM_SCALE if name == CALM else 1.0
    base = _build_expressway(heishizi, HEISHIZI, name, folder, seed, scale)
    is_incident = name == INCIDENT
    return replace(
        base,
        network=replace(base.network, origin=heishizi.ORIGIN),
        closures=(heishizi.INCIDENT,) if is_incident else (),
        alerts=find_alert_settings(HEISHIZI),
        warnings=find_warning_models(HEISHIZI),
        usual_day=find_usual_day(HEISHIZI),
        decision_points=tuple(_decision_points(base.network, heishizi.build_flows())),
        diversion_junctions=_AROUND,
        dispatch=heishizi.DISPATCH if is_incident else None,
    )


def _decision_points(network: Network, flows: Sequence[Flow]) -> Iterable[DecisionPoint]:
    """Exits of the expressway, and the streets where tunnel-bound traffic comes in."""
    streets = [flow.links[0] for flow in flows if flow.purpose == "tunnel_arterial"]
    for link in (*_CHOICES, *dict.fromkeys(streets)):
        share = share_bound(flows, link, heishizi.NECK)
        yield DecisionPoint(link, _BEYOND, share, _count_at(network, link))


def _count_at(network: Network, link: str) -> tuple[str, ...]:
    """Return the loops of one cross-section of the link, the most upstream; none without any."""
    on = [loop for loop in network.detectors.values() if loop.link == link]
    first_m = min((loop.position_m for loop in on), default=0.0)
    return tuple(loop.id for loop in on if loop.position_m == first_m)


_BUILDERS: Mapping[str, Callable[[str, Path, int], Scenario]] = {
    HEISHIZI: _build_heishizi,
    INCIDENT: _build_heishizi,
    CALM: _build_heishizi,
    CROSSING: partial(_build_streets, crossing),
    CORRIDOR: partial(_build_streets, corridor),
    ONRAMP: _build_onramp,
}
