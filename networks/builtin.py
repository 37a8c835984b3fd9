"""The scenarios that are built here: roads and demand put together with what the city knows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from networks import SCENARIOS, heishizi, heishizi_demand
from networks.loops import write_loops
from networks.scenario import Scenario
from networks.streets import SATURATION_VPH
from networks.sumo_xml import CompiledNetwork, read_network
from networks.usual_day import FOLDER, load_usual_day
from traffic.model import Bottleneck, Detector, DetectorKind, Network
from traffic.optimization.gating import Gate
from traffic.response import DecisionPoint

HEISHIZI = "heishizi"
INCIDENT = "heishizi-incident"
CALM = "heishizi-calm"
CALM_SCALE = 0.8

BOTTLENECK = "heishizi"
BOTTLENECK_LINK = "g50_neck"
_WATCHED = "g50_drop"  # its loops see the queue of a breakdown first
_BEYOND = "g50_18"  # where all ways around have joined the expressway again
# Mainline drivers choose a kilometre or so ahead of an exit.
_CHOICES = ("g50_04", "g50_08")
_AROUND = ("X1", "G1", "A2", "X2", "G2", "A3", "H1", "H2", "B2", "B3", "B4", "B5", "R2")


def build_scenario(name: str, folder: Path, seed: int) -> Scenario:
    """Build a scenario of SCENARIOS into the folder; raises KeyError for any other name."""
    folder.mkdir(parents=True, exist_ok=True)
    return _BUILDERS[name](name, folder, seed)


def _build_heishizi(name: str, folder: Path, seed: int) -> Scenario:
    net_file = heishizi.build_roads(folder)
    is_incident = name == INCIDENT
    scale = CALM_SCALE if name == CALM else 1.0
    route_file = heishizi.build_demand(folder, net_file, seed, scale)
    compiled = read_network(
        net_file,
        HEISHIZI,
        mainline=heishizi.MAINLINE,
        stations=heishizi.SPECIAL_LOOPS,
        origin=heishizi.ORIGIN,
    )
    network = replace(
        compiled.network,
        bottlenecks={BOTTLENECK: _bottleneck(compiled.network)},
        saturation_vph=SATURATION_VPH,
    )
    loops_file = write_loops(network.detectors.values(), folder / "loops.add.xml")
    return Scenario(
        id=name,
        title=SCENARIOS[name],
        network=network,
        net_file=net_file,
        route_file=route_file,
        additional_files=(loops_file,),
        begin_s=heishizi.BEGIN_S,
        end_s=heishizi.END_S,
        step_s=heishizi.STEP_S,
        seed=seed,
        signal_indices=compiled.signal_indices,
        closures=(heishizi.INCIDENT,) if is_incident else (),
        gates=tuple(_gates(compiled)),
        decision_points=tuple(_decision_points(network)),
        diversion_junctions=_AROUND,
        dispatch=heishizi.DISPATCH if is_incident else None,
        mainline=heishizi.MAINLINE,
        usual_day=load_usual_day(FOLDER / f"{HEISHIZI}_usual_day.csv"),
        purposes=heishizi_demand.PURPOSES,
    )


def _bottleneck(network: Network) -> Bottleneck:
    """The lane drop; its feeders cut every way to it once: the expressway and both entries."""
    along = heishizi.MAINLINE[: heishizi.MAINLINE.index(BOTTLENECK_LINK) + 1]
    first = _loops_on(network, along[0])
    first_m = min(loop.position_m for loop in first)
    feeders = [loop for loop in first if loop.position_m == first_m]
    feeders += [
        loop
        for loop in network.detectors.values()
        if loop.kind is DetectorKind.RAMP and _leads_to(network, loop.link, along)
    ]
    return Bottleneck(
        id=BOTTLENECK,
        link=BOTTLENECK_LINK,
        capacity_vph=heishizi.CAPACITY_VPH,
        discharge_vph=heishizi.DISCHARGE_VPH,
        corridor=along,
        watch=tuple(loop.id for loop in _loops_on(network, _WATCHED)),
        feeders={
            loop.id: (_share_bound(loop.link), round(_travel_s(network, loop, along), 1))
            for loop in feeders
        },
    )


def _loops_on(network: Network, link: str) -> list[Detector]:
    return [
        loop
        for loop in network.detectors.values()
        if loop.link == link and loop.kind is DetectorKind.MAINLINE
    ]


def _leads_to(network: Network, link: str, along: tuple[str, ...]) -> bool:
    return link not in along and any((link, other) in network.turns for other in along)


def _travel_s(network: Network, loop: Detector, along: tuple[str, ...]) -> float:
    """Return the free-flow time from the loop to the start of the bottleneck's link."""
    links, link = network.links, network.links[loop.link]
    total_s = (link.length_m - loop.position_m) / link.free_speed_mps
    if loop.link in along:
        joins = along.index(loop.link) + 1
    else:
        joins = next(i for i, other in enumerate(along) if (loop.link, other) in network.turns)
    return total_s + sum(links[id_].length_m / links[id_].free_speed_mps for id_ in along[joins:-1])


def _share_bound(link: str) -> float:
    """Return the part of the traffic on the link that is bound through the bottleneck, 0..1.

    A city knows it from surveys or plates; here the demand says it, at its usual factors.
    """
    layout = heishizi.build_layout()
    total_vph = bound_vph = 0.0
    for stream in heishizi_demand.STREAMS:
        links = layout.links_along(stream.places)
        if link in links:
            total_vph += stream.flow_vph
            if BOTTLENECK_LINK in links[links.index(link) :]:
                bound_vph += stream.flow_vph
    return round(bound_vph / total_vph, 3) if total_vph else 0.0


def _gates(compiled: CompiledNetwork) -> Iterable[Gate]:
    junctions, detectors = compiled.network.junctions, compiled.network.detectors
    for junction, link, ramp, lanes in heishizi.gate_turns():
        phases = tuple(
            phase.id
            for phase in junctions[junction].phases
            if any(m.from_link == link and m.to_link == ramp for m in phase.movements)
        )
        loops = tuple(
            loop.id
            for loop in detectors.values()
            if loop.approach == link and loop.kind is DetectorKind.STOP_LINE and loop.lane in lanes
        )
        yield Gate(link, phases, loops)


def _decision_points(network: Network) -> Iterable[DecisionPoint]:
    """Exits of the expressway, and the streets where tunnel-bound traffic comes in."""
    layout = heishizi.build_layout()
    streets = [
        layout.links_along(stream.places)[0]
        for stream in heishizi_demand.STREAMS
        if stream.purpose == "tunnel_arterial"
    ]
    for link in (*_CHOICES, *dict.fromkeys(streets)):
        yield DecisionPoint(link, _BEYOND, _share_bound(link), _count_at(network, link))


def _count_at(network: Network, link: str) -> tuple[str, ...]:
    """Return the loops of one cross-section of the link, the most upstream; none without any."""
    on = [loop for loop in network.detectors.values() if loop.link == link]
    first_m = min((loop.position_m for loop in on), default=0.0)
    return tuple(loop.id for loop in on if loop.position_m == first_m)


_BUILDERS: Mapping[str, Callable[[str, Path, int], Scenario]] = {
    HEISHIZI: _build_heishizi,
    INCIDENT: _build_heishizi,
    CALM: _build_heishizi,
}
