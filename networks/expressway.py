"""What a city knows of an expressway's bottleneck, and where it may hold traffic back from it."""

from collections.abc import Iterable, Sequence

from networks.demand import Flow, share_bound
from traffic.model import Bottleneck, Detector, DetectorKind, Network
from traffic.optimization.gating import Gate


def build_bottleneck(
    network: Network,
    id_: str,
    link: str,
    *,
    mainline: Sequence[str],
    watched: str,
    capacity_vph: float,
    discharge_vph: float,
    flows: Iterable[Flow],
) -> Bottleneck:
    """Build the bottleneck at the upstream end of a mainline link.

    `watched` is the mainline link whose loops see the queue of a breakdown first. The feeders cut
    every way to the bottleneck once: the expressway at its first loops, and each entry.
    """
    flows = tuple(flows)
    along = tuple(mainline[: mainline.index(link) + 1])
    first = _loops_on(network, along[0])
    first_m = min(loop.position_m for loop in first)
    feeders = [loop for loop in first if loop.position_m == first_m]
    feeders += [
        loop
        for loop in network.detectors.values()
        if loop.kind is DetectorKind.RAMP and _leads_to(network, loop.link, along)
    ]
    return Bottleneck(
        id=id_,
        link=link,
        capacity_vph=capacity_vph,
        discharge_vph=discharge_vph,
        corridor=along,
        watch=tuple(loop.id for loop in _loops_on(network, watched)),
        feeders={
            loop.id: (
                share_bound(flows, loop.link, link),
                round(_measure_travel_s(network, loop, along), 1),
            )
            for loop in feeders
        },
    )


def build_gates(network: Network, turns: Iterable[tuple[str, str, str]]) -> Iterable[Gate]:
    """Build a gate for each turn onto a ramp: junction, link before the stop line, ramp link."""
    for junction, link, ramp in turns:
        phases = tuple(
            phase.id
            for phase in network.junctions[junction].phases
            if any(m.from_link == link and m.to_link == ramp for m in phase.movements)
        )
        yield Gate(link, phases)


def _loops_on(network: Network, link: str) -> list[Detector]:
    return [
        loop
        for loop in network.detectors.values()
        if loop.link == link and loop.kind is DetectorKind.MAINLINE
    ]


def _leads_to(network: Network, link: str, along: Sequence[str]) -> bool:
    return link not in along and any((link, other) in network.turns for other in along)


def _measure_travel_s(network: Network, loop: Detector, along: Sequence[str]) -> float:
    """Return the free-flow time from the loop to the start of the bottleneck's link."""
    links, link = network.links, network.links[loop.link]
    total_s = (link.length_m - loop.position_m) / link.free_speed_mps
    if loop.link in along:
        joins = along.index(loop.link) + 1
    else:
        joins = next(i for i, other in enumerate(along) if (loop.link, other) in network.turns)
    return total_s + sum(links[id_].length_m / links[id_].free_speed_mps for id_ in along[joins:-1])
